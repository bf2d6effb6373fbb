//! LayerNorm, and the residual sum fused with the LayerNorm that follows it.
//!
//! `y = (x - mean) · rstd · γ + β` over the last axis, `rstd = 1 / sqrt(var + eps)`, biased variance by the two-pass
//! formula. Fused: `sum = x + s · branch` (`s` per sample, drop path), `y = LayerNorm(sum)`; both are outputs.
//!
//! Gradients, with `n = (x - mean) rstd` and `h = dy γ`: `dx = rstd (h - mean(h) - n mean(h n))`,
//! `dγ = sum of dy n`, `dβ = sum of dy`; for the fused form `dx` also takes the gradient at `sum`, and `dbranch = s dx`.

use super::case::{Case, Draw, Instance};
use super::{add_scaled, expect, same};
use crate::cpu::{self, reduce};
use crate::tape::{Back, Handle, record};
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Error, Result, Var};

const OP: &str = "layernorm";

/// `LayerNorm(x)` over the last axis with `γ [C]` and `β [C]`.
pub fn layernorm(x: &Var, gamma: &Var, beta: &Var, eps: f64) -> Result<Var> {
    let (handle, tensor) = x.clone().split();
    normalize(handle, None, tensor, [gamma, beta], eps).map(|(_, y)| y)
}

/// `(sum, y)` with `sum = x + s · branch` and `y = LayerNorm(sum)`. In place on `x` when it is the sole owner.
pub fn add_layernorm(
    x: Var,
    branch: &Var,
    s: Option<&Tensor>,
    gamma: &Var,
    beta: &Var,
    eps: f64,
) -> Result<(Var, Var)> {
    same(OP, x.tensor(), branch.tensor())?;
    let (handle, tensor) = x.split();
    let sum = add_scaled(Var::constant(tensor), &branch.detach(), s)?.into_tensor();
    let fused = Some((branch.handle(), s.cloned()));
    normalize(handle, fused, sum, [gamma, beta], eps)
}

/// Normalises `sum` and records the op; `fused` is the branch that was added, with its factors.
fn normalize(
    x: Handle,
    fused: Option<(Handle, Option<Tensor>)>,
    sum: Tensor,
    [gamma, beta]: [&Var; 2],
    eps: f64,
) -> Result<(Var, Var)> {
    let cols = sum.shape().rows_cols().1;
    let like = Var::constant(sum.clone());
    expect(OP, "weight", gamma, &[cols], &like)?;
    expect(OP, "bias", beta, &[cols], &like)?;
    drop(like);
    if eps.is_nan() || eps <= 0.0 {
        return Err(Error::invalid("LayerNorm eps", "above 0", eps));
    }
    let (y, stats) = float_dispatch!(OP, sum.dtype(), T => forward::<T>(&sum, gamma.tensor(), beta.tensor(), eps))?;
    let mut inputs = vec![x, gamma.handle(), beta.handle()];
    let (saved, weight) = (sum.clone(), gamma.tensor().clone());
    let scale = fused.map(|(handle, s)| {
        inputs.push(handle);
        s
    });
    let fused = scale.is_some();
    let outputs = if fused { vec![sum.clone(), y] } else { vec![y] };
    let mut outputs = record(OP, &inputs, outputs, move |back| backward(back, &saved, &weight, &stats, scale));
    let Some(y) = outputs.pop() else { return Err(Error::shape(OP, "an output", "none")) };
    Ok((outputs.pop().unwrap_or(Var::constant(sum)), y))
}

fn backward(back: &mut Back, x: &Tensor, gamma: &Tensor, stats: &Tensor, scale: Option<Option<Tensor>>) -> Result<()> {
    let (dsum, dy) = if scale.is_some() { (back.dy(0), back.dy(1)) } else { (None, back.dy(0)) };
    let mut dx = match dy {
        None => return forward_sum_only(back, dsum, scale),
        Some(dy) => float_dispatch!(OP, dy.dtype(), T => {
            parameter_gradients::<T>(back, &dy, x, stats)?;
            input_gradient::<T>(dy, x, gamma, stats)
        })?,
    };
    if let Some(dsum) = dsum {
        cpu::accumulate(&mut dx, &dsum)?;
    }
    forward_sum_only(back, Some(dx), scale)
}

/// The gradient at the sum goes to `x` and, scaled, to the branch.
fn forward_sum_only(back: &mut Back, dsum: Option<Tensor>, scale: Option<Option<Tensor>>) -> Result<()> {
    let Some(dsum) = dsum else { return Ok(()) };
    if let Some(s) = scale.filter(|_| back.wants(3)) {
        back.add(3, super::add::scaled_by_sample(&dsum, s.as_ref())?)?;
    }
    back.add(0, dsum)
}

/// `(y, stats)`, `stats [rows, 2]` holding mean and rstd.
fn forward<T: Float>(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let (rows, cols) = x.shape().rows_cols();
    let (xs, gamma, beta) = (x.slice::<T>()?, gamma.slice::<T>()?, beta.slice::<T>()?);
    let mut stats = Tensor::empty([rows, 2], x.dtype());
    let mut y = Tensor::empty(*x.shape(), x.dtype());
    let count = T::of(cols.max(1) as f64);
    cpu::rows_mut2(stats.slice_mut::<T>()?, 2, y.slice_mut::<T>()?, cols, |first, stats, y| {
        for (r, (stats, y)) in stats.chunks_mut(2).zip(y.chunks_mut(cols.max(1))).enumerate() {
            let row = &xs[(first + r) * cols..][..cols];
            let mean = reduce::sum(cols, |i| row[i]) / count;
            let var = reduce::sum(cols, |i| (row[i] - mean) * (row[i] - mean)) / count;
            let rstd = T::one() / (var + T::of(eps)).sqrt();
            (stats[0], stats[1]) = (mean, rstd);
            for (((y, x), gamma), beta) in y.iter_mut().zip(row).zip(gamma).zip(beta) {
                *y = (*x - mean) * rstd * *gamma + *beta;
            }
        }
    });
    Ok((y, stats))
}

/// `dγ` and `dβ`, one pass over the rows each that is wanted.
fn parameter_gradients<T: Float>(back: &mut Back, dy: &Tensor, x: &Tensor, stats: &Tensor) -> Result<()> {
    let (rows, cols) = x.shape().rows_cols();
    let (g, xs, stats) = (dy.slice::<T>()?, x.slice::<T>()?, stats.slice::<T>()?);
    back.slot(1, |dgamma, acc| {
        cpu::sum_columns(rows, dgamma.slice_mut::<T>()?, acc, |first, end, partial| {
            for r in first..end {
                let (mean, rstd) = (stats[2 * r], stats[2 * r + 1]);
                let (g, x) = (&g[r * cols..][..cols], &xs[r * cols..][..cols]);
                for ((p, g), x) in partial.iter_mut().zip(g).zip(x) {
                    *p += *g * (*x - mean) * rstd;
                }
            }
        });
        Ok(())
    })?;
    back.slot(2, |dbeta, acc| super::linear::sum_rows::<T>(g, dbeta, acc))
}

/// `dy -> dx`, in place.
fn input_gradient<T: Float>(mut dy: Tensor, x: &Tensor, gamma: &Tensor, stats: &Tensor) -> Result<Tensor> {
    let cols = x.shape().rows_cols().1;
    let (xs, gamma, stats) = (x.slice::<T>()?, gamma.slice::<T>()?, stats.slice::<T>()?);
    let count = T::of(cols.max(1) as f64);
    cpu::rows_mut(dy.slice_mut::<T>()?, cols, |first, dy| {
        for (r, g) in dy.chunks_mut(cols.max(1)).enumerate() {
            let (mean, rstd) = (stats[2 * (first + r)], stats[2 * (first + r) + 1]);
            let row = &xs[(first + r) * cols..][..cols];
            let h = reduce::sum(cols, |c| g[c] * gamma[c]) / count;
            let hn = reduce::sum(cols, |c| g[c] * gamma[c] * (row[c] - mean) * rstd) / count;
            for ((g, gamma), x) in g.iter_mut().zip(gamma).zip(row) {
                *g = rstd * (*g * *gamma - h - (*x - mean) * rstd * hn);
            }
        }
    });
    Ok(dy)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn plain(d: &mut Draw) -> Result<Instance> {
        let (rows, cols) = (d.size(64 * 197), d.positive(384));
        let inputs = vec![d.normal([rows, cols]), d.normal([cols]), d.normal([cols])];
        // eps 0.1 keeps rows of one or two columns differentiable.
        Ok(Instance::new(inputs, |v| Ok(vec![layernorm(&v[0], &v[1], &v[2], 0.1)?])).cost(rows * cols, 8 * rows * cols))
    }
    fn fused(d: &mut Draw) -> Result<Instance> {
        let (samples, tokens, cols) = (d.size(64), d.size(197), d.positive(384));
        let shape = [samples, tokens, cols];
        let s = d.uniform([samples], 0.0, 2.0);
        let inputs = vec![d.normal(shape), d.normal(shape), d.normal([cols]), d.normal([cols]), s];
        let run = |v: &[Var]| {
            let (sum, y) = add_layernorm(v[0].clone(), &v[1], Some(v[4].tensor()), &v[2], &v[3], 0.1)?;
            Ok(vec![sum, y])
        };
        let plain = |v: &[Var]| {
            let sum = add_scaled(v[0].clone(), &v[1], Some(v[4].tensor()))?;
            let y = layernorm(&sum, &v[2], &v[3], 0.1)?;
            Ok(vec![sum, y])
        };
        let n = shape.iter().product::<usize>();
        Ok(Instance::new(inputs, run).reference(plain).constant(4).cost(2 * n, 10 * n))
    }
    vec![Case::new("layernorm/plain", plain), Case::new("layernorm/residual", fused)]
}
