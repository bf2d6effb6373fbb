//! AdamW over a model's parameters, clipping, and the moving average.

use super::groups::{GroupRule, default_rules, group_of};
use crate::ops::{self, AdamwStep, AdamwTensor};
use crate::{Error, Result, Tensor, nn::Params};

/// Settings of [`AdamW`].
#[derive(Debug, Clone, PartialEq)]
pub struct AdamwConfig {
    /// Decay of the first and second moment.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay where no rule says otherwise.
    pub weight_decay: f64,
    /// Parameter groups.
    pub rules: Vec<GroupRule>,
}

impl Default for AdamwConfig {
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.05, rules: default_rules() }
    }
}

/// AdamW with decoupled decay (equation in [`ops::adamw`](mod@crate::ops::adamw)), its moments, and the step count.
#[derive(Debug, Clone)]
pub struct AdamW {
    /// Settings.
    pub config: AdamwConfig,
    /// First moments by parameter name.
    pub m: Params,
    /// Second moments by parameter name.
    pub v: Params,
    /// Steps done.
    pub steps: usize,
}

impl AdamW {
    /// Moments of zero for every parameter.
    pub fn new(config: AdamwConfig, params: &Params) -> Self {
        let zeros = || params.iter().map(|(name, t)| (name.into(), Tensor::zeros(t.shape(), t.dtype()))).collect();
        Self { config, m: zeros(), v: zeros(), steps: 0 }
    }

    /// One step at rate `lr` on gradients by name, each multiplied by `scale`. Parameters without a gradient, and
    /// those whose group has a rate factor of 0, stay as they are.
    pub fn step(&mut self, params: &mut Params, grads: &Params, lr: f64, scale: f64) -> Result<()> {
        if self.m.len() != params.len() || self.v.len() != params.len() {
            return Err(Error::shape("adamw", format!("{} moments", params.len()), self.m.len()));
        }
        self.steps += 1;
        let &AdamwConfig { betas, eps, weight_decay, ref rules } = &self.config;
        let mut list = Vec::new();
        for (((name, param), (_, m)), (_, v)) in params.iter_mut().zip(self.m.iter_mut()).zip(self.v.iter_mut()) {
            let (weight_decay, lr_scale) = group_of(rules, name, param, weight_decay);
            let Some(grad) = grads.find(name).filter(|_| lr_scale != 0.0) else { continue };
            let step = AdamwStep { lr: lr * lr_scale, betas, eps, weight_decay, step: self.steps, grad_scale: scale };
            list.push(AdamwTensor { param, m, v, grad, step });
        }
        ops::adamw(list)
    }
}

/// `min(1, max_norm / (norm + 1e-6))`: the factor that clips gradients of global norm `norm`.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

/// `average ← decay · average + (1 - decay) · parameter`, of each parameter by its place; begins as a clone of them.
pub fn ema(average: &mut Params, params: &Params, decay: f64) -> Result<()> {
    let mut pairs = average.iter_mut().zip(params.iter());
    pairs.try_for_each(|((_, average), (_, param))| ops::ema(average, param, decay))
}
