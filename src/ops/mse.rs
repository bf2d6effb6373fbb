//! Element-wise losses: mean squared error and binary cross entropy on logits.
//!
//! `mse = mean (a - b)²`, `da = 2 (a - b) / n`, `db = -da`.
//! `bce = mean (max(z, 0) - z t + log(1 + e^-|z|))`, `dz = (σ(z) - t) / n`.

use super::case::{Case, Draw, Instance};
use super::same;
use crate::tape::record_one;
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Result, Var};

/// `mean (a - b)²` over all elements: `[]`.
pub fn mse(a: &Var, b: &Var) -> Result<Var> {
    same("mse", a.tensor(), b.tensor())?;
    let (loss, gap) = float_dispatch!("mse", a.dtype(), T => {
        let gap = zip::<T>(a.tensor(), b.tensor(), |a, b| a - b)?;
        let sum: f64 = gap.slice::<T>()?.iter().map(|g| g.f64() * g.f64()).sum();
        Ok((Tensor::full([], a.dtype(), sum / gap.numel().max(1) as f64), gap))
    })?;
    Ok(record_one("mse", &[a.handle(), b.handle()], loss, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        let factor = 2.0 * dy.item()? / gap.numel().max(1) as f64;
        let gap = Var::constant(gap);
        back.add(0, super::scale(&gap, factor)?.into_tensor())?;
        back.add(1, super::scale(&gap, -factor)?.into_tensor())
    }))
}

/// Binary cross entropy on logits `z` against targets `t` of the same shape, mean over all elements: `[]`.
pub fn bce_with_logits(z: &Var, target: &Tensor) -> Result<Var> {
    same("bce", z.tensor(), target)?;
    let (loss, gap) = float_dispatch!("bce", z.dtype(), T => {
        let terms = zip::<T>(z.tensor(), target, |z, t| z.max(T::of(0.0)) - z * t + (-z.abs()).exp().ln_1p())?;
        let gap = zip::<T>(z.tensor(), target, |z, t| T::of(1.0) / (T::of(1.0) + (-z).exp()) - t)?;
        let sum: f64 = terms.slice::<T>()?.iter().map(|v| v.f64()).sum();
        Ok((Tensor::full([], z.dtype(), sum / gap.numel().max(1) as f64), gap))
    })?;
    Ok(record_one("bce", &[z.handle()], loss, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        let factor = dy.item()? / gap.numel().max(1) as f64;
        back.add(0, super::scale(&Var::constant(gap), factor)?.into_tensor())
    }))
}

fn zip<T: Float>(a: &Tensor, b: &Tensor, f: impl Fn(T, T) -> T) -> Result<Tensor> {
    let mut out = Tensor::empty(*a.shape(), a.dtype());
    let pairs = a.slice::<T>()?.iter().zip(b.slice::<T>()?);
    out.slice_mut::<T>()?.iter_mut().zip(pairs).for_each(|(o, (a, b))| *o = f(*a, *b));
    Ok(out)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn squared(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(256), d.size(1000)];
        let n: usize = shape.iter().product();
        Ok(Instance::new(vec![d.normal(shape), d.normal(shape)], |v| Ok(vec![mse(&v[0], &v[1])?])).cost(n, 3 * n))
    }
    fn binary(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(256), d.size(1000)];
        let n: usize = shape.iter().product();
        let run = |v: &[Var]| Ok(vec![bce_with_logits(&v[0], v[1].tensor())?]);
        let inputs = vec![d.away_from_zero(shape, 0.01), d.uniform(shape, 0.0, 1.0)];
        Ok(Instance::new(inputs, run).constant(1).cost(n, 8 * n))
    }
    vec![Case::new("mse/mse", squared), Case::new("mse/bce", binary)]
}
