//! Data: [`image`] files, Pillow-exact preprocessing ([`resize`]), the evaluation and training transforms ([`augment`]) with
//! [`randaugment`] (its [`pixel_ops`] and [`affine`] maps) and [`erasing`]; classes on disk ([`folder`]), [`cifar`], the
//! [`generated`] set; what a loader loads ([`dataset`]), in which order ([`sampler`]), in batches ([`loader`]); [`mixup`].

pub mod affine;
pub mod augment;
pub mod cifar;
pub mod dataset;
pub mod erasing;
pub mod folder;
pub mod generated;
pub mod image;
pub mod loader;
pub mod mixup;
pub mod pixel_ops;
pub mod randaugment;
pub mod resize;
pub mod sampler;
