//! Data: [`image`] files, Pillow-exact preprocessing ([`resize`]), the evaluation and training transforms ([`augment`]),
//! classes on disk ([`folder`]), what a loader loads ([`dataset`]), batches ([`loader`]), and the [`generated`] set.

pub mod augment;
pub mod dataset;
pub mod folder;
pub mod generated;
pub mod image;
pub mod loader;
pub mod resize;
