//! Vision-transformer pruning on a tensor core of our own. Read in this order:
//!
//! 1. [`error`]: how every failure is reported;
//! 2. [`models::architecture`]: a model as data; [`models::cost`] counts it, [`models::zoo`] lists published ones;
//! 3. [`prune`]: what goes, from scores to a smaller model.
#![deny(missing_docs)]

pub mod error;
pub mod models;
pub mod prune;

pub use error::{Error, Result};
