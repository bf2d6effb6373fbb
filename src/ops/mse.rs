//! Element-wise losses: mean squared error and binary cross entropy on logits.
//!
//! `mse = mean (a - b)²`, `da = 2 (a - b) / n`, `db = -da`.
//! `bce = mean (max(z, 0) - z t + log(1 + e^-|z|))`, `dz = (σ(z) - t) / n`.

use super::add::times;
use super::prelude::*;

/// `mean (a - b)²` over all elements: `[]`.
pub fn mse(a: &Var, b: &Var) -> Result<Var> {
    a.tensor().check_same("mse", b.tensor())?;
    let mut gap = a.tensor().clone();
    float_dispatch!("mse", a.dtype(), T => cpu::zip_mut::<T>(&mut gap, b.tensor(), |a, b| *a -= b))?;
    let loss = mean(&gap, |g| g * g)?;
    Ok(record_one("mse", &[a.handle(), b.handle()], loss, move |back, dy| {
        let factor = 2.0 * dy.item()? / gap.numel().max(1) as f64;
        back.add_wanted(0, || times(&gap, factor))?;
        back.add_wanted(1, || times(&gap, -factor))
    }))
}

/// Binary cross entropy on logits `z` against targets `t` of the same shape, mean over all elements: `[]`.
pub fn bce_with_logits(z: &Var, target: &Tensor) -> Result<Var> {
    z.tensor().check_same("bce", target)?;
    let (mut terms, mut gap) = (z.tensor().clone(), z.tensor().clone());
    float_dispatch!("bce", z.dtype(), T => {
        cpu::zip_mut::<T>(&mut terms, target, |z, t| *z = z.max(0.0) - *z * t + (-z.abs()).exp().ln_1p())?;
        cpu::zip_mut::<T>(&mut gap, target, |z, t| *z = 1.0 / (1.0 + (-*z).exp()) - t)
    })?;
    Ok(record_one("bce", &[z.handle()], mean(&terms, |v| v)?, move |back, dy| {
        back.add(0, times(&gap, dy.item()? / gap.numel().max(1) as f64)?)
    }))
}

/// The mean of `f` over all elements, summed in `f64`: `[]`.
fn mean(x: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
    let sum: f64 = float_dispatch!("mse", x.dtype(), T => Ok(x.slice::<T>()?.iter().map(|v| f(v.f64())).sum()))?;
    Ok(Tensor::full([], x.dtype(), sum / x.numel().max(1) as f64))
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("mse/mse", |d| {
            let shape = d.sizes([256, 1000]);
            Instance::new([d.normal(shape), d.normal(shape)], |v| mse(&v[0], &v[1])).cost_each(1, 3)
        }),
        Case::new("mse/bce", |d| {
            let shape = d.sizes([256, 1000]);
            let inputs = [d.away_from_zero(shape, 0.01), d.uniform(shape, 0.0, 1.0)];
            let run = |v: &[Var]| bce_with_logits(&v[0], v[1].tensor());
            Instance::new(inputs, run).constant(1).cost_each(1, 8)
        }),
    ]
}
