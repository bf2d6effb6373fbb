//! Cosine learning rate with linear warm-up, in the units (epochs or steps) that the caller counts.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// `lr(t) = warmup_lr + t (lr - warmup_lr) / warmup` for `t < warmup`, then
/// `min_lr + (lr - min_lr) (1 + cos(π t' / length)) / 2`, `min_lr` from `t' = length` on.
/// `t' = t - warmup` when the warm-up is a prefix (Swin), else `t' = t`: the cosine runs under the warm-up (DeiT).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cosine {
    /// Highest rate.
    pub lr: f64,
    /// Length of the cosine.
    pub length: usize,
    /// Last rate.
    pub min_lr: f64,
    /// Rate at 0.
    pub warmup_lr: f64,
    /// Length of the warm-up.
    pub warmup: usize,
    /// Whether the cosine starts after the warm-up.
    pub warmup_prefix: bool,
    /// Steps by which the rate in use lags: 1 for DeiT and SAViT, whose loops set the rate of `e` after epoch `e`.
    pub lag: usize,
}

impl Cosine {
    /// Refuses rates that are negative or not finite, and a length of 0.
    pub fn validate(&self) -> Result<()> {
        let rates = [("lr", self.lr), ("min_lr", self.min_lr), ("warmup_lr", self.warmup_lr)];
        for (what, rate) in rates {
            Error::ensure(rate.is_finite() && rate >= 0.0, what, "a finite rate, at least 0", rate)?;
        }
        Error::ensure(self.length > 0, "length of the schedule", "at least 1", 0)
    }

    /// The rate at `t`, without the lag.
    pub fn at(&self, t: usize) -> f64 {
        if t < self.warmup {
            return self.warmup_lr + t as f64 * (self.lr - self.warmup_lr) / self.warmup as f64;
        }
        let t = if self.warmup_prefix { t - self.warmup } else { t };
        if t >= self.length {
            return self.min_lr;
        }
        self.min_lr + 0.5 * (self.lr - self.min_lr) * (1.0 + (PI * t as f64 / self.length as f64).cos())
    }

    /// The rate that is used at `t`: `lr(max(t - lag, 0))`.
    pub fn used_at(&self, t: usize) -> f64 {
        self.at(t.saturating_sub(self.lag))
    }
}
