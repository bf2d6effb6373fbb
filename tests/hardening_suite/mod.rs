//! What `tests/hardening.rs` is made of.

pub mod corpus;
pub mod counting;
pub mod hostile;
pub mod inputs;
pub mod mutate;
pub mod readers;
pub mod saving;
pub mod watch;
