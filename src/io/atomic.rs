//! Writing a file so that nobody ever sees half of it.

use crate::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, ErrorKind};
use std::path::Path;

/// Writes `path` through `write`: a temporary file in the same folder, synced to the disk, then renamed over `path`.
///
/// On an error ([`Error::Io`] naming `path`: full disk, unwritable folder …) or a panic in `write` the temporary file
/// is removed and a file that was at `path` stays as it was.
pub fn write_atomic(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    replace(path, write).map_err(Error::io("write", path))
}

fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>) -> std::io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "not the name of a file"));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let prefix = format!(".{}.", name.to_string_lossy());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)] // the rights of any new file, less the umask
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.tempfile_in(folder)?;
    let mut writer = BufWriter::with_capacity(1 << 20, temporary.as_file());
    write(&mut writer)?;
    writer.into_inner()?.sync_all()?;
    temporary.persist(path)?;
    // The rename itself reaches the disk with the folder; not every file system can sync one.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}
