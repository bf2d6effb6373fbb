//! The images of a job.

use super::JobOptions;
use crate::Result;
use crate::data::augment::{Crop, Transform};
use crate::data::dataset::{Dataset, FolderDataset};
use crate::data::folder::{ImageFolder, imagenet_classes};
use crate::data::generated::{GENERATOR_VERSION, GeneratedDataset, Split};
use crate::data::loader::{Loader, LoaderOptions};
use std::path::Path;
use std::sync::Arc;

/// Training and test images of one size.
pub struct JobData {
    /// What they are, for the report.
    pub name: String,
    /// For training, fine-tuning and scoring.
    pub train: Arc<dyn Dataset>,
    /// For evaluation.
    pub test: Arc<dyn Dataset>,
}

impl JobData {
    /// Opens the folder of the options, or the generated set, at `img_size` pixels.
    pub fn open(options: &JobOptions, img_size: Option<usize>) -> Result<Self> {
        let Some(root) = &options.data else {
            let side = img_size.unwrap_or(64);
            let set = |split, len| GeneratedDataset::new(split, len, side, options.seed);
            return Ok(Self {
                name: format!("generated v{GENERATOR_VERSION}, {side} px"),
                train: Arc::new(set(Split::Train, options.train_images)?),
                test: Arc::new(set(Split::Test, options.test_images)?),
            });
        };
        let side = img_size.unwrap_or(224);
        let [train, test] = folders(root);
        // Small images are cropped with padding, large ones at random sizes: the official recipes' two cases.
        let mut augmented = Transform::train(side);
        if side <= 32 {
            augmented.crop = Crop::Padded { padding: 4 };
        }
        Ok(Self {
            name: root.display().to_string(),
            train: folder(&train, augmented, options.seed)?,
            test: folder(&test, Transform::eval(side), options.seed)?,
        })
    }

    /// Shuffled training batches over the first `share` of an epoch's images.
    pub fn training(&self, options: &JobOptions, seed: u64) -> Result<Loader> {
        Loader::new(Arc::clone(&self.train), LoaderOptions::train(options.batch_size, seed))
    }

    /// Test batches in order.
    pub fn testing(&self, options: &JobOptions) -> Result<Loader> {
        let settings = LoaderOptions { skip_broken: options.skip_broken, ..LoaderOptions::eval(64) };
        Loader::new(Arc::clone(&self.test), settings)
    }
}

/// `train/` and `val/` (or `test/`) below `root`, else `root` for both.
fn folders(root: &Path) -> [std::path::PathBuf; 2] {
    let train = root.join("train");
    let test = ["val", "test"].into_iter().map(|name| root.join(name)).find(|path| path.is_dir());
    match test {
        Some(test) if train.is_dir() => [train, test],
        _ => [root.to_path_buf(), root.to_path_buf()],
    }
}

/// Folders named by ImageNet's wnids get the labels of the 1,000 classes, others their rank.
fn folder(root: &Path, transform: Transform, seed: u64) -> Result<Arc<dyn Dataset>> {
    let folder = ImageFolder::open(root)?;
    let imagenet = imagenet_classes();
    let labels = folder.class_indices(imagenet);
    let dataset = FolderDataset::new(folder, transform, seed)?;
    Ok(Arc::new(match labels {
        Ok(labels) => {
            let names = imagenet.iter().map(|(_, _, name)| name.to_string()).collect();
            dataset.relabelled(labels, names)?
        }
        Err(_) => dataset,
    }))
}
