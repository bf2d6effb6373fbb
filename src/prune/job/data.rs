//! The images of a job.

use super::JobOptions;
use crate::data::cifar::CifarDataset;
use crate::data::dataset::{Dataset, FolderDataset};
use crate::data::folder::{ImageFolder, imagenet_classes};
use crate::data::generated::{GENERATOR_VERSION, GeneratedDataset, Split};
use crate::{Error, Result, data::augment::Transform};
use std::{path::Path, path::PathBuf, sync::Arc};

/// Images of one size, and what they are, for the report: `train` augmented, and for scoring as evaluation sees them.
#[expect(missing_docs, reason = "the line above says it")]
pub struct JobData {
    pub name: String,
    pub train: Arc<dyn Dataset>,
    pub scoring: Arc<dyn Dataset>,
    pub test: Arc<dyn Dataset>,
}

impl JobData {
    /// Opens the folder of the options (images, or CIFAR's binary form), or the generated set, at `side` pixels, for a model of `classes` classes.
    /// Errors: an incomplete split, class folders that differ between training and test, and what the folders report.
    pub fn open(options: &JobOptions, side: usize, classes: Option<usize>) -> Result<Self> {
        let Some(root) = &options.data else {
            let set = |split, len| GeneratedDataset::new(split, len, side, options.seed);
            let train: Arc<dyn Dataset> = Arc::new(set(Split::Train, options.train_images)?);
            let test = Arc::new(set(Split::Test, options.test_images)?);
            let name = format!("generated v{GENERATOR_VERSION}, {side} px");
            return Ok(Self { name, scoring: Arc::clone(&train), train, test });
        };
        if CifarDataset::is_at(root) {
            let open = |split, transform| CifarDataset::open(root, split, transform, options.seed);
            let train = Arc::new(open(Split::Train, Transform::train(side))?);
            let scoring = Arc::new(open(Split::Train, Transform::eval(side))?);
            let test = Arc::new(open(Split::Test, Transform::eval(side))?);
            return Ok(Self { name: root.display().to_string(), train, scoring, test });
        }
        let [train, test] = folders(root)?;
        let same = if train == test { " (tested on the training images)" } else { "" };
        let open = |root: &Path, transform| folder(root, transform, options.seed, classes);
        let data = Self {
            name: format!("{}{same}", root.display()),
            train: open(&train, Transform::train(side))?,
            scoring: open(&train, Transform::eval(side))?,
            test: open(&test, Transform::eval(side))?,
        };
        let (ours, theirs) = (data.train.class_names(), data.test.class_names());
        if let Some(k) = (0..ours.len().max(theirs.len())).find(|&k| ours.get(k) != theirs.get(k)) {
            let what = format!("class {k} of {}", test.display());
            let expected = format!("{:?} as in {}", ours.get(k), train.display());
            return Err(Error::invalid(what, expected, format!("{:?}", theirs.get(k))));
        }
        Ok(data)
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
fn folder(root: &Path, transform: Transform, seed: u64, classes: Option<usize>) -> Result<Arc<dyn Dataset>> {
    let folder = ImageFolder::open(root)?;
    let imagenet = imagenet_classes();
    let labels = folder.class_indices(imagenet);
    let dataset = FolderDataset::new(folder, transform, seed)?;
    match labels {
        Ok(labels) if classes == Some(imagenet.len()) => {
            let names = imagenet.iter().map(|(_, _, name)| name.to_string()).collect();
            Ok(Arc::new(dataset.relabelled(labels, names)?))
        }
        _ => Ok(Arc::new(dataset)),
    }
}
