//! From gradients to new parameters: groups, AdamW, schedule, moving average, clipping.

mod adamw;
mod schedule;

pub use adamw::{AdamW, GroupRule, clip_factor, default_rules, ema, group_of, no_decay_rules};
pub use schedule::Cosine;
