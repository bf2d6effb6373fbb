//! Vision-transformer pruning on a tensor core of our own. Read in this order:
//!
//! 1. [`error`]: how every failure is reported;
//! 2. [`models::architecture`]: a model as data;
//! 3. [`noise`]: random draws by name;
//! 4. [`data`]: from image files to batches.
#![deny(missing_docs)]

pub mod data;
pub mod error;
pub mod models;
pub mod noise;

pub use error::{Error, Result};
