//! The model families, from an [`Architecture`].

pub mod architecture;

pub use architecture::{Architecture, Block, Family, Mixer, Reduce};
