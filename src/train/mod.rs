//! Training.

pub mod distill;
