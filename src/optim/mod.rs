//! From gradients to new parameters: groups, AdamW, schedule, moving average, clipping.

mod adamw;
mod groups;
mod schedule;

pub use adamw::{AdamW, AdamwConfig, clip_factor, ema};
pub use groups::{GroupRule, default_rules, group_of};
pub use schedule::Cosine;
