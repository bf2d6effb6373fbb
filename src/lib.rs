//! Vision-transformer pruning on a tensor core of our own. Read in this order:
//!
//! 1. [`error`]: how every failure is reported;
//! 2. [`tensor`] and [`tape`]: memory with a shape, and reverse-mode differentiation over it;
//! 3. [`ops`]: every operation, one file each, on the kernels of [`cpu`];
//! 4. [`noise`]: random draws with names;
//! 5. [`nn`] and [`models`]: named parameters, one forward pass, a model as data, its cost, the published ones;
//! 6. [`prune`]: what goes, from scores to a smaller model;
//! 7. [`optim`] and [`train`]: optimiser, schedule, the loop, evaluation;
//! 8. [`data`]: images in, and the generated set;
//! 9. [`io`]: checkpoints in and out; [`report`]: tables, pictures, run folders.
#![deny(missing_docs)]

pub mod cpu;
pub mod data;
pub mod error;
pub mod gpu;
pub mod io;
pub mod models;
pub mod nn;
pub mod noise;
pub mod ops;
pub mod optim;
pub mod prune;
pub mod report;
pub mod tape;
pub mod tensor;
pub mod train;

pub use error::{Error, Result};
pub use tape::{Tape, Var};
pub use tensor::{DType, Device, Shape, Tensor};
