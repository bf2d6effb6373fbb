//! From gradients to new parameters: groups, AdamW, schedule, moving average, clipping.

mod adamw;
mod ema;
mod groups;
mod schedule;

pub use adamw::{AdamW, AdamwConfig, clip_factor};
pub use ema::ema;
pub use groups::{GroupRule, default_rules, group_of};
pub use schedule::Cosine;
