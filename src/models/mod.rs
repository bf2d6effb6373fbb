//! The model families, from an [`Architecture`].

pub mod architecture;
pub mod block;
pub mod cost;
pub mod deit;
pub mod file;
pub mod interpolate;
pub mod layout;
pub mod lvvit;
mod model;
pub mod pit;
mod predictor;
pub mod regnet;
pub mod swin;
pub mod timetable;
pub mod trained;
pub mod zoo;

pub use architecture::{Architecture, Block, Family, Mixer, Reduce, Stage, Stem};
pub use file::LoadOptions;
pub use model::{Model, latency, mean_of_heads};
pub use predictor::Predictor;
pub use trained::Trained;
