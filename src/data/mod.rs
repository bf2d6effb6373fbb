//! Data: image files, Pillow-exact preprocessing, folders of classes, augmentation, loading, and the generated set.
//!
//! 1. [`image`]: files to 8-bit RGB;
//! 2. [`resize`]: Pillow's resize, crops, normalisation;
//! 3. [`augment`]: the evaluation and training transforms;
//! 4. [`folder`]: classes on disk, ImageNet's class names;
//! 5. [`dataset`]: what a loader loads;
//! 6. [`loader`]: batches, prefetched, in the same order for any number of threads;
//! 7. [`generated`]: the built-in data set.

pub mod augment;
pub mod dataset;
pub mod folder;
pub mod generated;

pub mod image;
pub mod loader;
pub mod resize;
