//! Folders of images: `root/<class>/…/<file>`, as torchvision's `ImageFolder` reads them.

use crate::{Error, Result};
use std::{path::Path, path::PathBuf, sync::LazyLock};

/// The file extensions that count as images, in lower case: what cannot be read among them is an error with the file's name.
const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];

/// A data set on disk: the classes are the sub-folders of the root sorted by code point, the label is the rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    /// The folder names, in label order.
    pub classes: Vec<String>,
    /// Each file with its label: by class, then in sorted walk order.
    pub files: Vec<(PathBuf, usize)>,
}

impl ImageFolder {
    /// Lists the images below each sub-folder of `root`. Errors: `root` cannot be read, holds no folder, a folder holds
    /// no image or has a name that is not UTF-8.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let (folders, _) = list(root.as_ref())?;
        Error::ensure(!folders.is_empty(), root.as_ref().display(), "a sub-folder for each class", "none")?;
        let (mut classes, mut files) = (Vec::new(), Vec::new());
        for (label, folder) in folders.iter().enumerate() {
            files.extend(walk(folder)?.into_iter().map(|file| (file, label)));
            let name = folder.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| Error::invalid("class folder", "a UTF-8 name", folder.display()))?;
            classes.push(name.to_string());
        }
        Ok(Self { classes, files })
    }

    /// For each class folder, named by its wordnet id, the class index of a model: `indices[label]`. `records` are
    /// (index, wnid, name), such as [`imagenet_classes`]. An error names the first folder not in them.
    pub fn class_indices(&self, records: &[(usize, &str, &str)]) -> Result<Vec<usize>> {
        let find = |class: &String| {
            let record = records.iter().find(|(_, wnid, _)| wnid == class).map(|(index, ..)| *index);
            let expected = format!("one of {} wordnet ids", records.len());
            record.ok_or_else(|| Error::invalid("class folder", expected, class))
        };
        self.classes.iter().map(find).collect()
    }
}

/// The images that `paths` name: files as they are, folders walked in sorted order. Errors: a path that does not exist,
/// a folder without images.
pub fn loose_files<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths.iter().map(AsRef::as_ref) {
        let is_folder = std::fs::metadata(path).map_err(Error::io("read", path))?.is_dir();
        files.extend(if is_folder { walk(path)? } else { vec![path.to_path_buf()] });
    }
    Ok(files)
}

/// The folders and the other entries of `folder`, each sorted by name; links are followed.
fn list(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = paths.map_err(Error::io("read", folder))?;
    paths.sort();
    Ok(paths.into_iter().partition(|path| path.is_dir()))
}

/// Every image below `root`: by the path of its folder as text, then by name, as Python's `sorted(os.walk(…))`. An error
/// when there is none.
fn walk(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut pending, mut found) = (vec![(root.to_path_buf(), 0)], Vec::new());
    while let Some((folder, depth)) = pending.pop() {
        // Links can make a circle.
        Error::ensure(depth <= 64, folder.display(), "at most 64 folders deep", "more")?;
        let (folders, files) = list(&folder)?;
        pending.extend(folders.into_iter().map(|inner| (inner, depth + 1)));
        found.push((folder.into_os_string(), files));
    }
    found.sort();
    let extension = |file: &PathBuf| file.extension().unwrap_or_default().to_ascii_lowercase();
    let is_image = |file: &PathBuf| EXTENSIONS.iter().any(|known| extension(file) == *known);
    let images: Vec<_> = found.into_iter().flat_map(|(_, files)| files).filter(is_image).collect();
    let expected = "at least one image (JPEG or PNG)";
    Error::ensure(!images.is_empty(), root.display(), expected, "none").map(|()| images)
}

/// The 1000 ImageNet classes (index, wordnet id, name) in the label order of all official weights. Two names occur
/// twice: identify a class by index or wordnet id.
pub fn imagenet_classes() -> &'static [(usize, &'static str, &'static str)] {
    static CLASSES: LazyLock<Vec<(usize, &str, &str)>> = LazyLock::new(|| {
        let lines = include_str!("imagenet_classes.txt").lines().filter_map(|line| line.split_once('\t'));
        lines.enumerate().map(|(index, (wnid, name))| (index, wnid, name)).collect()
    });
    &CLASSES
}
