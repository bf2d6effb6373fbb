//! Writing a file so that nobody ever sees half of it.

use crate::{Error, Result};
use std::{fs, fs::File, io, io::BufWriter, path::Path};
use tempfile::NamedTempFile;

/// Writes `path` through `write`: a temporary file in the same folder, synced to the disk, then renamed over `path`. On
/// an error ([`Error::Io`] naming `path`: full disk, unwritable folder …) or a panic in `write` the temporary file is
/// removed and a file that was at `path` stays as it was; what a killed process left of its own is removed by the next
/// one that writes there.
pub fn write_atomic(path: impl AsRef<Path>, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<()> {
    let path = path.as_ref();
    replace(path, |file| write(file).map_err(Error::io("write", path)))
}

/// The same where `write` may fail for reasons of its own.
pub fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> Result<()>) -> Result<()> {
    let begin = || {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"));
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let prefix = format!(".{}.", name.to_string_lossy());
        remove_abandoned(folder, &prefix);
        Ok((create_locked(folder, &prefix)?, folder))
    };
    let (temporary, folder) = begin().map_err(Error::io("write", path))?;
    let mut writer = BufWriter::with_capacity(1 << 20, temporary.as_file());
    write(&mut writer)?;
    let synced = writer.into_inner().map_err(io::Error::from).and_then(|file| file.sync_all());
    synced.and_then(|()| Ok(temporary.persist(path)?)).map_err(Error::io("write", path))?;
    // The rename itself reaches the disk with the folder; not every file system can sync one.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

const SUFFIX: &str = ".tmp";

/// A new file that is locked as long as its writer lives.
fn create_locked(folder: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(SUFFIX);
    #[cfg(unix)] // the rights of any new file, less the umask
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    loop {
        let file = builder.tempfile_in(folder)?;
        let _ = file.as_file().lock(); // not every file system has locks
        // another writer may have taken it for abandoned before it was locked
        if file.path().exists() {
            return Ok(file);
        }
    }
}

/// Removes the files of this name whose writers are gone: those that can be locked.
fn remove_abandoned(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(SUFFIX)) {
            let abandoned = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
            let _ = if abandoned { fs::remove_file(entry.path()) } else { Ok(()) };
        }
    }
}
