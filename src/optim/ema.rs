//! The moving average of a model's parameters.

use crate::nn::Params;
use crate::{Result, ops};

/// `average ← decay · average + (1 - decay) · parameter`, of each parameter by its place; begins as a clone of them.
pub fn ema(average: &mut Params, params: &Params, decay: f64) -> Result<()> {
    let mut pairs = average.iter_mut().zip(params.iter());
    pairs.try_for_each(|((_, average), (_, param))| ops::ema(average, param, decay))
}
