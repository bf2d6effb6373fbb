//! Vision-transformer pruning on a tensor core of our own. Read in this order:
//!
//! 1. [`error`]: how every failure is reported;
//! 2. [`models::architecture`]: a model as data;
//! 3. [`io`]: checkpoint files and the names in them.
#![deny(missing_docs)]

pub mod error;
pub mod io;
pub mod models;

pub use error::{Error, Result};
