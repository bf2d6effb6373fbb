//! The model families, from an [`Architecture`].

pub mod architecture;
pub mod cost;
pub mod zoo;

pub use architecture::{Architecture, Block, Family, Mixer, Reduce};
