//! Vision-transformer pruning on a tensor core of our own. Read in this order:
//!
//! 1. [`error`]: how every failure is reported;
//! 2. [`models::architecture`]: a model as data;
//! 3. [`report`]: tables, pictures, run folders, progress and timings.
#![deny(missing_docs)]

pub mod error;
pub mod models;
pub mod report;

pub use error::{Error, Result};
