//! The settings of a training run.

use super::Distillation;
use crate::{Error, Result, data::mixup::Mixup, nn::Precision, optim::Cosine};
use serde::{Deserialize, Serialize};

/// Everything that decides a run besides model and data, kept in every checkpoint. The default trains nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// What the run is for: `dense`, `finetune` ….
    pub stage: String,
    /// Passes over the data.
    pub epochs: usize,
    /// Stops after this many steps, in the middle of an epoch if need be.
    pub max_steps: Option<usize>,
    /// Learning rate.
    pub schedule: Cosine,
    /// Whether the schedule counts steps instead of epochs.
    pub schedule_in_steps: bool,
    /// AdamW weight decay of the group that decays.
    pub weight_decay: f64,
    /// Names of parameters that do not decay beside biases and tensors of one axis; `None`: DeiT's ([`crate::optim::default_rules`]).
    #[serde(default)]
    pub no_decay: Option<Vec<String>>,
    /// Largest global gradient norm; `None` never clips.
    pub clip_norm: Option<f64>,
    /// Label smoothing.
    pub smoothing: f64,
    /// How the images of a batch are mixed with each other.
    #[serde(default)]
    pub mixup: Mixup,
    /// Stochastic depth of the last block.
    pub drop_path: f64,
    /// Decay of the moving average; `None` keeps none.
    pub ema_decay: Option<f64>,
    /// Teacher.
    pub distillation: Distillation,
    /// In what a step computes: 16-bit types have `f32` parameters beside them.
    #[serde(default)]
    pub precision: Precision,
    /// Seed of every draw of the run.
    pub seed: u64,
    /// Epochs between evaluations; 0 evaluates only at the end.
    pub eval_every: usize,
    /// Epochs between checkpoints; 0 writes none.
    pub checkpoint_every: usize,
    /// Steps between checkpoints within an epoch; 0 writes none.
    #[serde(default)]
    pub checkpoint_every_steps: usize,
    /// Batches whose gradients make one step; 0 is 1.
    #[serde(default)]
    pub accumulate: usize,
    /// Whether the blocks keep no intermediate values for the gradients, but compute them again: less memory, more time.
    #[serde(default)]
    pub recompute: bool,
}

impl TrainConfig {
    /// A short run of `steps` steps: warm-up over a tenth, cosine to a hundredth of `lr`, all else off.
    pub fn short(stage: &str, epochs: usize, steps: usize, lr: f64) -> Self {
        let (warmup, low) = (steps / 10, lr / 100.0);
        let length = steps.saturating_sub(warmup).max(1);
        let schedule = Cosine { lr, length, min_lr: low, warmup_lr: low, warmup, warmup_prefix: true, lag: 0 };
        let (stage, max_steps) = (stage.into(), Some(steps));
        let fixed = Self { schedule_in_steps: true, weight_decay: 0.05, clip_norm: Some(1.0), ..Self::default() };
        Self { stage, epochs, max_steps, schedule, ..fixed }
    }

    /// Batches of a step.
    pub fn parts(&self) -> usize {
        self.accumulate.max(1)
    }

    /// Refuses values that no run can have.
    pub fn validate(&self) -> Result<()> {
        self.schedule.validate()?;
        self.mixup.validate()?;
        self.distillation.validate()?;
        let ema_decay = self.ema_decay.unwrap_or(0.0);
        for (what, value) in [("smoothing", self.smoothing), ("drop_path", self.drop_path), ("ema_decay", ema_decay)] {
            Error::ensure((0.0..1.0).contains(&value), what, "0 to below 1", value)?;
        }
        let (decay, norm) = (self.weight_decay, self.clip_norm.unwrap_or(f64::INFINITY));
        Error::ensure((0.0..f64::INFINITY).contains(&decay), "weight_decay", "at least 0", decay)?;
        Error::ensure(norm > 0.0, "clip_norm", "above 0", norm)
    }
}
