//! The moving average of a model's parameters.

use crate::nn::Params;
use crate::{Result, ops};

/// `ema ← decay · ema + (1 - decay) · parameter` after every step.
#[derive(Debug, Clone)]
pub struct Ema {
    /// The averages by parameter name.
    pub params: Params,
    /// The decay.
    pub decay: f64,
}

impl Ema {
    /// Starts at the parameters' values.
    pub fn new(params: &Params, decay: f64) -> Self {
        Self { params: params.clone(), decay }
    }

    /// Takes in the parameters after a step.
    pub fn update(&mut self, params: &Params) -> Result<()> {
        for ((_, average), (_, param)) in self.params.iter_mut().zip(params.iter()) {
            ops::ema(average, param, self.decay)?;
        }
        Ok(())
    }
}
