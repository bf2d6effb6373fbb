//! Stochastic depth: factors `scale · keep / (1 - rate)` per sample, `keep = floor((1 - rate) + u)`, `u` uniform in [0, 1).
//!
//! On a GPU the draws are made there, with the same bits: a captured training step then draws anew in every replay, with the
//! step that stands in its [`StepState`](crate::gpu::StepState). No gradient: [`add_scaled`](super::add_scaled) uses them.

use super::prelude::*;
use crate::noise::{Computed, Noise, Philox, Step, fnv1a64};

/// The factors `[samples]` of `like`'s leading axis, of its wide type and on its device; `None` when all are 1. Draws of
/// `site`, one for each sample, unless `rate` is 0.
pub fn drop_path(noise: &dyn Noise, site: &str, rate: f64, scale: f64, like: &Tensor) -> Result<Option<Tensor>> {
    if rate == 0.0 && scale == 1.0 {
        return Ok(None);
    }
    let (keep, samples) = (1.0 - rate, like.dim(0));
    if let (Some(gpu), Some(Computed { seed, step, first })) = (like.gpu(), noise.computed()) {
        let (mut out, [count], site) = (like.new_wide([samples])?, gpu::sizes([samples])?, fnv1a64(site));
        let (state, step) = match step {
            Step::Number(step) => (0, step),
            Step::At(state) => (state, 0),
        };
        let args =
            params::DropPath { out: out.address_mut()?, state, seed, step, site, first, keep, scale, count, unused: 0 };
        return gpu.launch(like.dtype(), Grid::elements(samples), &args).map(|()| Some(out));
    }
    let factor = |sample: usize| {
        let mut u = [0f32];
        if rate > 0.0 {
            noise.uniform(site, sample as u64, &mut u)?;
        }
        Ok(scale * f64::from((keep as f32 + u[0]).floor()) / keep)
    };
    let factors: Vec<f64> = (0..samples).map(factor).collect::<Result<_>>()?;
    let factors = Tensor::from_slice([samples], &factors)?.to_dtype(like.dtype().wide())?;
    factors.to_device(like.device()).map(Some)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    let factors = Case::new("drop_path/factors", |d| {
        let shape = [d.size(1 << 25), d.positive(1)];
        let run = |v: &[Var]| {
            let factors = drop_path(&Philox { seed: 3, step: 7 }, "blocks.1.attn.drop_path", 0.3, 0.5, v[0].tensor())?;
            Ok(Var::constant(factors.map_or_else(|| v[0].tensor().new_full([0], 0.0), Ok)?))
        };
        Instance::new([d.normal(shape)], run).cost(shape[0], 0)
    });
    vec![factors.without_gradient("random factors")]
}
