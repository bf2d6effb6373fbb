//! What a loader loads: the [`Dataset`] trait, images of a folder, and a memory cache of decoded images.

use super::image::{RgbImage, decode};
use super::{augment::Transform, folder::ImageFolder};
use crate::{Error, Result, noise::Philox};
use std::{borrow::Cow, sync::Arc, sync::OnceLock};

/// One example: the model's input, CHW `[3, img_size, img_size]`, and its class.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Sample {
    pub pixels: Vec<f32>,
    pub label: usize,
}

/// Labelled images of one size, drawn from many threads at once.
pub trait Dataset: Send + Sync {
    /// The number of examples.
    fn len(&self) -> usize;

    /// The class names, in label order; a label is always below their number.
    fn class_names(&self) -> &[String];

    /// The side of the square images.
    fn img_size(&self) -> usize;

    /// Example `index` in its augmentation `draw` (the epoch, unless an epoch has an example several times): a function of
    /// these two alone, so that every order of calls gives the same bits. Errors: `index` not below `len`, a broken image
    /// ([`Error::Image`], [`Error::Io`]).
    fn sample(&self, index: usize, draw: u64) -> Result<Sample>;

    /// The number of classes.
    fn num_classes(&self) -> usize {
        self.class_names().len()
    }

    /// What tells these examples from others, in words: a training run that is gone on with needs the same.
    fn describe(&self) -> String {
        format!("{} examples of {} classes", self.len(), self.num_classes())
    }

    /// Whether there are no examples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The error of an `index` that is not below `len`.
pub(super) fn check_index(index: usize, len: usize) -> Result<()> {
    Error::ensure(index < len, "sample index", format_args!("below {len}"), index)
}

/// The images of a data set are kept in memory when about all of them fit into this many bytes.
pub const CACHE_BYTES: usize = 1 << 30;

/// Decoded images kept in memory, up to a number of bytes; what is over is made anew each time.
#[derive(Debug)]
pub struct ImageCache {
    slots: Vec<OnceLock<RgbImage>>,
    budget: usize,
}

impl ImageCache {
    /// A cache of `len` images that keeps at most `budget` bytes of pixels.
    pub fn new(len: usize, budget: usize) -> Self {
        Self { slots: (0..len).map(|_| OnceLock::new()).collect(), budget }
    }

    /// Image `index`, from memory or from `make`. Nothing is kept unless images of this size would all fit.
    pub fn get(&self, index: usize, make: impl FnOnce() -> Result<RgbImage>) -> Result<Cow<'_, RgbImage>> {
        let Some(slot) = self.slots.get(index) else { return make().map(Cow::Owned) };
        if let Some(image) = slot.get() {
            return Ok(Cow::Borrowed(image));
        }
        let image = make()?;
        let all_fit = image.pixels.len().saturating_mul(self.slots.len()) <= self.budget;
        Ok(if all_fit { Cow::Borrowed(slot.get_or_init(|| image)) } else { Cow::Owned(image) })
    }
}

/// The images of an [`ImageFolder`] under a [`Transform`]; a set of small images is decoded once.
#[derive(Debug, Clone)]
pub struct FolderDataset {
    folder: Arc<ImageFolder>,
    transform: Transform,
    seed: u64,
    cache: Arc<ImageCache>,
}

impl FolderDataset {
    /// The folder's images with augmentation drawn from (seed, draw, index). Errors: an invalid transform.
    pub fn new(folder: ImageFolder, transform: Transform, seed: u64) -> Result<Self> {
        transform.validate()?;
        let cache = Arc::new(ImageCache::new(folder.files.len(), CACHE_BYTES));
        Ok(Self { folder: Arc::new(folder), transform, seed, cache })
    }

    /// The same images, listed and decoded once, under another transform.
    pub fn with_transform(&self, transform: Transform) -> Result<Self> {
        transform.validate().map(|()| Self { transform, ..self.clone() })
    }

    /// Keeps no decoded image in memory: for a single pass.
    pub fn uncached(mut self) -> Self {
        self.cache = Arc::new(ImageCache::new(0, 0));
        self
    }

    /// Gives class folder `k` the label `labels[k]` among `names`: a few classes of a model that knows more.
    pub fn relabelled(mut self, labels: Vec<usize>, names: Vec<String>) -> Result<Self> {
        let (folders, classes) = (self.folder.classes.len(), names.len());
        let fits = labels.len() == folders && labels.iter().all(|label| *label < classes);
        let expected = format_args!("{folders} labels below {classes}");
        Error::ensure(fits, "labels of the class folders", expected, format_args!("{labels:?}"))?;
        let folder = Arc::make_mut(&mut self.folder);
        folder.files.iter_mut().for_each(|(_, label)| *label = labels[*label]);
        folder.classes = names;
        Ok(self)
    }
}

impl Dataset for FolderDataset {
    fn len(&self) -> usize {
        self.folder.files.len()
    }
    fn class_names(&self) -> &[String] {
        &self.folder.classes
    }
    fn img_size(&self) -> usize {
        self.transform.img_size
    }
    fn describe(&self) -> String {
        let mut names = crc32fast::Hasher::new();
        self.folder.classes.iter().for_each(|name| names.update(name.as_bytes()));
        for (file, label) in &self.folder.files {
            names.update(file.file_name().unwrap_or_default().as_encoded_bytes());
            names.update(&label.to_le_bytes());
        }
        format!("{} images of {} classes, {:08x} by their names", self.len(), self.num_classes(), names.finalize())
    }
    fn sample(&self, index: usize, draw: u64) -> Result<Sample> {
        check_index(index, self.len())?;
        let (file, label) = &self.folder.files[index];
        let image = self.cache.get(index, || decode(file))?;
        let noise = Philox { seed: self.seed, step: draw };
        // An image that does not fit the transform is as unusable as a damaged one, and must be named.
        let pixels = self.transform.apply(&image, &noise, index as u64);
        let pixels = pixels.map_err(|error| Error::Image { file: file.clone(), detail: error.to_string() })?;
        Ok(Sample { pixels, label: *label })
    }
}
