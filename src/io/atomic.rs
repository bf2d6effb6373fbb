//! Writing a file so that nobody ever sees half of it.

use crate::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Removes a temporary file unless it was renamed.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes `path` through `write`: a temporary file in the same folder, synced to the disk, then renamed over `path`.
///
/// On an error ([`Error::Io`] naming `path`: full disk, unwritable folder …) or a panic in `write` the temporary file
/// is removed and a file that was at `path` stays as it was.
pub fn write_atomic(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    replace(path, write).map_err(Error::io("write", path))
}

fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> std::io::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not the name of a file"));
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A killed process of the same number may have left its file.
    let (hidden, file) = loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let hidden = folder.join(format!(".{}.{}-{number}.tmp", name.to_string_lossy(), std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&hidden) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 1 << 20 => {}
            file => break (hidden, file?),
        }
    };
    let mut temporary = Temporary { path: hidden, renamed: false };
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    write(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    drop(writer);
    std::fs::rename(&temporary.path, path)?;
    temporary.renamed = true;
    // The rename itself reaches the disk with the folder; not every file system can sync one.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_failed_write_changes_nothing() -> Result<()> {
        let folder = tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))?;
        let path = folder.path().join("weights");
        write_atomic(&path, |out| out.write_all(b"old"))?;
        let error = write_atomic(&path, |out| {
            out.write_all(b"new")?;
            Err(std::io::ErrorKind::StorageFull.into())
        });
        assert!(matches!(error, Err(Error::Io { action: "write", path: named, .. }) if named == path));
        assert_eq!(std::fs::read(&path).ok().as_deref(), Some(&b"old"[..]));
        assert_eq!(names(folder.path()), ["weights"]);
        write_atomic(&path, |out| out.write_all(b"new"))?;
        assert_eq!(std::fs::read(&path).ok().as_deref(), Some(&b"new"[..]));
        Ok(())
    }

    #[test]
    fn a_missing_folder_and_a_folder_as_target_are_errors() -> Result<()> {
        let folder = tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))?;
        assert!(write_atomic(folder.path().join("no/where"), |_| Ok(())).is_err());
        let target = folder.path().join("folder");
        std::fs::create_dir_all(target.join("full")).map_err(Error::io("create", &target))?;
        assert!(write_atomic(&target, |_| Ok(())).is_err());
        assert_eq!(names(folder.path()), ["folder"]);
        assert!(write_atomic("/", |_| Ok(())).is_err());
        Ok(())
    }
}
