//! Images to train and to test on: a folder, CIFAR's binary files, or the generated set.

use super::augment::Transform;
use super::cifar::CifarDataset;
use super::dataset::{Dataset, FolderDataset};
use super::folder::{ImageFolder, imagenet_classes};
use super::generated::{GENERATOR_VERSION, GeneratedDataset, Split};
use crate::{Error, Result};
use std::{path::Path, path::PathBuf, sync::Arc};

/// Where images come from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// A folder with train/ and val/ (or test/), each with a folder per class; class folders used for both; or CIFAR's
    /// binary files. `None` is the generated set.
    pub root: Option<&'a Path>,
    /// Generated images, to train and to test on.
    pub generated: [usize; 2],
    /// The seed of augmentation and of generated images.
    pub seed: u64,
    /// The classes of the model: one of 1,000 gets ImageNet's labels for folders that are named by wordnet ids.
    pub classes: Option<usize>,
}

/// Images of one size, and what they are, for reports: `train` augmented, `scoring` the same, read once, as evaluation sees
/// them.
#[expect(missing_docs, reason = "the line above says it")]
pub struct Images {
    pub name: String,
    pub train: Arc<dyn Dataset>,
    pub scoring: Arc<dyn Dataset>,
    pub test: Arc<dyn Dataset>,
}

impl Images {
    /// Opens what `source` says under the transforms `train` and `eval`, of one size. The generated set is not augmented.
    /// Errors: an incomplete split, class folders that differ between training and test, and what the folders report.
    pub fn open(source: Source, train: &Transform, eval: &Transform) -> Result<Self> {
        let Some(root) = source.root else { return Self::generated(source, eval.img_size) };
        let seed = source.seed;
        if CifarDataset::is_at(root) {
            let open = |split, transform: &Transform| CifarDataset::open(root, split, transform.clone(), seed);
            let (train, test) = (open(Split::Train, train)?, Arc::new(open(Split::Test, eval)?));
            let (name, scoring) = (root.display().to_string(), Arc::new(train.with_transform(eval.clone())?));
            return Ok(Self { name, train: Arc::new(train), scoring, test });
        }
        let [train_root, test_root] = folders(root)?;
        let same = if train_root == test_root { " (tested on the training images)" } else { "" };
        let open = |root: &Path, transform: &Transform| folder(root, transform.clone(), source);
        let train = open(&train_root, train)?;
        let scoring = Arc::new(train.with_transform(eval.clone())?);
        let test = if same.is_empty() { Arc::new(open(&test_root, eval)?) } else { Arc::clone(&scoring) };
        let images = Self { name: format!("{}{same}", root.display()), train: Arc::new(train), scoring, test };
        let (ours, theirs) = (images.train.class_names(), images.test.class_names());
        if let Some(k) = (0..ours.len().max(theirs.len())).find(|&k| ours.get(k) != theirs.get(k)) {
            let what = format!("class {k} of {}", test_root.display());
            let expected = format!("{:?} as in {}", ours.get(k), train_root.display());
            return Err(Error::invalid(what, expected, format!("{:?}", theirs.get(k))));
        }
        Ok(images)
    }

    fn generated(Source { generated: [train, test], seed, .. }: Source, side: usize) -> Result<Self> {
        let set = |split, len| GeneratedDataset::new(split, len, side, seed);
        let train: Arc<dyn Dataset> = Arc::new(set(Split::Train, train)?);
        let name = format!("generated v{GENERATOR_VERSION}, {side} px");
        Ok(Self { name, scoring: Arc::clone(&train), train, test: Arc::new(set(Split::Test, test)?) })
    }
}

/// `train/` and `val/` (or `test/`) below `root`, else `root` for both.
fn folders(root: &Path) -> Result<[PathBuf; 2]> {
    let find = |names: &[&str]| names.iter().map(|name| root.join(name)).find(|path| path.is_dir());
    match (find(&["train"]), find(&["val", "test"])) {
        (Some(train), Some(test)) => Ok([train, test]),
        (None, None) => Ok([root.to_path_buf(), root.to_path_buf()]),
        (Some(found), None) | (None, Some(found)) => {
            let expected = "train/ with val/ or test/, or class folders alone";
            Err(Error::invalid(root.display().to_string(), expected, found.display()))
        }
    }
}

/// Labels are the folders' ranks; for a model of 1,000 classes, folders named by ImageNet's wnids get those labels.
fn folder(root: &Path, transform: Transform, source: Source) -> Result<FolderDataset> {
    let folder = ImageFolder::open(root)?;
    let imagenet = imagenet_classes();
    let labels = folder.class_indices(imagenet);
    let dataset = FolderDataset::new(folder, transform, source.seed)?;
    match labels {
        Ok(labels) if source.classes == Some(imagenet.len()) => {
            let names = imagenet.iter().map(|(_, _, name)| name.to_string()).collect();
            dataset.relabelled(labels, names)
        }
        _ => Ok(dataset),
    }
}
