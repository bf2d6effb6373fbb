//! Element-wise losses: mean squared error and binary cross entropy on logits.
//!
//! `mse = mean (a - b)²`, `da = 2 (a - b) / n`, `db = -da`.
//! `bce = mean (max(z, 0) - z t + log(1 + e^-|z|))`, `dz = (σ(z) - t) / n`.

use super::add::times_scalar;
use super::prelude::*;

/// `mean (a - b)²` over all elements: `[]`.
pub fn mse(a: &Var, b: &Var) -> Result<Var> {
    a.tensor().check_same("mse", b.tensor())?;
    let (gap, loss) = squares(a.tensor(), b.tensor())?;
    Ok(record_one("mse", &[a.handle(), b.handle()], loss, move |back, dy| {
        back.add_wanted(0, || times_scalar(&gap, &dy, 2.0, count(&gap)))?;
        back.add_wanted(1, || times_scalar(&gap, &dy, -2.0, count(&gap)))
    }))
}

/// `a - b`, and the mean of its squares.
fn squares(a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor)> {
    let Some(gpu) = a.gpu() else {
        let mut gap = a.clone();
        float_dispatch!("mse", a.dtype(), T => cpu::zip_mut::<T>(&mut gap, b, #[inline(always)] |a, b| *a -= b))?;
        let loss = mean(&gap, |g| g * g)?;
        return Ok((gap, loss));
    };
    let mut gap = a.new_uncleared()?;
    let loss = gpu.sum_chunks(a, 1.0 / count(a), |partials, count, grid| {
        let (gap, a_, b) = (gap.address_mut()?, a.address()?, b.address()?);
        gpu.launch(a.dtype(), grid, &params::MseFwd { gap, partials, a: a_, b, count })
    })?;
    Ok((gap, loss))
}

/// Binary cross entropy on logits `z` against targets `t` of the same shape, mean over all elements: `[]`.
pub fn bce_with_logits(z: &Var, target: &Tensor) -> Result<Var> {
    z.tensor().check_same("bce", target)?;
    let (gap, loss) = entropies(z.tensor(), target)?;
    Ok(record_one("bce", &[z.handle()], loss, move |back, dy| back.add(0, times_scalar(&gap, &dy, 1.0, count(&gap))?)))
}

/// `σ(z) - t`, and the mean binary cross entropy.
fn entropies(z: &Tensor, target: &Tensor) -> Result<(Tensor, Tensor)> {
    let Some(gpu) = z.gpu() else {
        let (mut terms, mut gap) = (z.clone(), z.clone());
        float_dispatch!("bce", z.dtype(), T => {
            cpu::zip_mut::<T>(&mut terms, target, #[inline(always)] |z, t| *z = z.max(0.0) - *z * t + (-z.abs()).exp().ln_1p())?;
            cpu::zip_mut::<T>(&mut gap, target, #[inline(always)] |z, t| *z = 1.0 / (1.0 + (-*z).exp()) - t)
        })?;
        return Ok((gap, mean(&terms, |v| v)?));
    };
    let mut gap = z.new_uncleared()?;
    let [cols, stride] = gpu::sizes([z.shape().rows_cols().1, z.stored_width()])?;
    let loss = gpu.sum_chunks(z, 1.0 / count(z), |partials, count, grid| {
        let (gap, z_, t) = (gap.address_mut()?, z.address()?, target.address()?);
        gpu.launch(z.dtype(), grid, &params::BceFwd { gap, partials, z: z_, t, count, cols, stride })
    })?;
    Ok((gap, loss))
}

/// What a mean is over; 1 for nothing.
fn count(x: &Tensor) -> f64 {
    x.numel().max(1) as f64
}

/// The mean of `f` over all elements, summed in `f64`: `[]`.
fn mean(x: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
    let sum: f64 = float_dispatch!("mse", x.dtype(), T => Ok(x.slice::<T>()?.iter().map(|v| f(v.f64())).sum()))?;
    Ok(Tensor::full([], x.dtype(), sum / count(x)))
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("mse/mse", |d| {
            let shape = d.sizes([40 * 1024, 1000]);
            Instance::new([d.normal(shape), d.normal(shape)], |v| mse(&v[0], &v[1])).cost_each(1, 3)
        }),
        Case::new("mse/bce", |d| {
            let shape = d.sizes([40 * 1024, 1000]);
            let inputs = [d.away_from_zero(shape, 0.01), d.uniform(shape, 0.0, 1.0)];
            let run = |v: &[Var]| bce_with_logits(&v[0], v[1].tensor());
            Instance::new(inputs, run).constant(1).cost_each(1, 8)
        }),
    ]
}
