//! LayerNorm, and the residual sum fused with the LayerNorm that follows it.
//!
//! `y = (x - mean) · rstd · γ + β` over the last axis, `rstd = 1 / sqrt(var + eps)`, biased variance by the two-pass
//! formula. Fused: `sum = x + s · branch` (`s` per sample, drop path), `y = LayerNorm(sum)`; both are outputs.
//!
//! Gradients, with `n = (x - mean) rstd` and `h = dy γ`: `dx = rstd (h - mean(h) - n mean(h n))`,
//! `dγ = sum of dy n`, `dβ = sum of dy`; for the fused form `dx` also takes the gradient at `sum`, and `dbranch = s dx`.

use super::add::{add_scaled, check_factors, scale_by_sample};
use super::prelude::*;
use crate::tape::Back;

const OP: &str = "layernorm";

/// What is normalised: `x`, or `x + s · branch`.
struct Terms {
    x: Tensor,
    branch: Option<Tensor>,
    s: Option<Tensor>,
}

/// `LayerNorm(x)` over the last axis with `γ [C]` and `β [C]`.
pub fn layernorm(x: &Var, gamma: &Var, beta: &Var, eps: f64) -> Result<Var> {
    let terms = Terms { x: x.tensor().clone(), branch: None, s: None };
    let [_, y] = normalize(terms, [x.handle(), Handle::of(None)], [gamma, beta], eps)?;
    Ok(y)
}

/// `(sum, y)` with `sum = x + s · branch` and `y = LayerNorm(sum)`. In place on `x` when it is the sole owner.
pub fn add_layernorm(
    x: Var, branch: &Var, s: Option<&Tensor>, gamma: &Var, beta: &Var, eps: f64,
) -> Result<(Var, Var)> {
    x.tensor().check_same(OP, branch.tensor())?;
    check_factors(x.tensor(), s)?;
    let (handle, x) = x.split();
    let terms = Terms { x, branch: Some(branch.tensor().clone()), s: s.cloned() };
    Ok(normalize(terms, [handle, branch.handle()], [gamma, beta], eps)?.into())
}

/// `(sum, LayerNorm(sum))`, recorded for both terms.
fn normalize(terms: Terms, [x, branch]: [Handle; 2], [gamma, beta]: [&Var; 2], eps: f64) -> Result<[Var; 2]> {
    let cols = terms.x.shape().rows_cols().1;
    expect_wide(OP, "weight", gamma, &[cols], &terms.x)?;
    expect_wide(OP, "bias", beta, &[cols], &terms.x)?;
    Error::ensure(eps > 0.0, "LayerNorm eps", "above 0", eps)?;
    let (inputs, s) = ([x, branch, gamma.handle(), beta.handle()], terms.s.clone());
    let [sum, y, stats] = forward(terms, gamma.tensor(), beta.tensor(), eps)?;
    let (saved, gamma) = (sum.clone(), gamma.tensor().clone());
    Ok(record(OP, &inputs, [sum, y], move |back| {
        let mut dsum = back.dy(0);
        if let Some(dy) = back.dy(1) {
            dsum = Some(match dy.gpu() {
                Some(gpu) => backward_on(gpu, back, [&dy, &saved, &gamma, &stats], dsum)?,
                None => {
                    let mut dx = float_dispatch!(OP, dy.dtype(), T => backward::<T>(back, dy, &saved, &gamma, &stats))?;
                    dsum.map_or(Ok(()), |dsum| cpu::accumulate(&mut dx, &dsum))?;
                    dx
                }
            });
        }
        let Some(dsum) = dsum else { return Ok(()) };
        back.add_wanted(1, || scale_by_sample(&dsum, s.as_ref()))?;
        back.add(0, dsum)
    }))
}

/// `(sum, y, stats)`; on a GPU one launch for all three.
fn forward(Terms { x, branch, s }: Terms, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<[Tensor; 3]> {
    let Some(gpu) = x.gpu() else {
        let sum = match branch {
            Some(branch) => add_scaled(Var::constant(x), &Var::constant(branch), s.as_ref())?.into_tensor(),
            None => x,
        };
        let (y, stats) = float_dispatch!(OP, sum.dtype(), T => rows_forward::<T>(&sum, gamma, beta, eps))?;
        return Ok([sum, y, stats]);
    };
    let ((rows, cols), from) = (x.shape().rows_cols(), x.address()?);
    let sample_rows = (rows / x.dim(0).max(1)).max(1);
    let (mut y, mut stats) = (x.new_uncleared()?, x.new_wide([rows, 2, 1, 1])?);
    let mut sum = if branch.is_some() && x.is_shared() { x.new_uncleared()? } else { x };
    let [rows_, cols, stride, sample_rows] = gpu::sizes([rows, cols, sum.stored_width(), sample_rows])?;
    let args = params::LayernormFwd {
        y: y.address_mut()?,
        sum: if branch.is_some() { sum.address_mut()? } else { 0 },
        stats: stats.address_mut()?,
        x: from,
        branch: address_of(branch.as_ref())?,
        s: address_of(s.as_ref())?,
        gamma: gamma.address()?,
        beta: beta.address()?,
        eps,
        rows: rows_,
        cols,
        stride,
        sample_rows,
    };
    gpu.launch(y.dtype(), Grid::warps(rows), &args).map(|()| [sum, y, stats])
}

/// `(y, stats)`, `stats [rows, 2]` holding mean and rstd.
fn rows_forward<T: Float>(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let (rows, cols) = x.shape().rows_cols();
    let (xs, gamma, beta) = (Mat::<T>::of(x)?, gamma.slice::<T>()?, beta.slice::<T>()?);
    let (mut stats, mut y) = (Tensor::empty([rows, 2], x.dtype()), Tensor::empty(*x.shape(), x.dtype()));
    let count = T::of(cols.max(1) as f64);
    cpu::each_row_pair::<T>(
        &mut stats,
        &mut y,
        #[inline(always)]
        |r, stats, y| {
            let x = xs.row(r);
            let mean = reduce::sum(cols, |i| x[i]) / count;
            let var = reduce::sum(cols, |i| (x[i] - mean) * (x[i] - mean)) / count;
            let rstd = T::one() / (var + T::of(eps)).sqrt();
            (stats[0], stats[1]) = (mean, rstd);
            for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                *y = (*x - mean) * rstd * *gamma + *beta;
            }
        },
    )?;
    Ok((y, stats))
}

/// `dγ` and `dβ`, one pass over the rows each that is wanted; then `dy -> dx`, in place.
fn backward<T: Float>(back: &mut Back, mut dy: Tensor, x: &Tensor, gamma: &Tensor, stats: &Tensor) -> Result<Tensor> {
    let (rows, cols) = x.shape().rows_cols();
    let (x, gamma, stats) = (Mat::<T>::of(x)?, gamma.slice::<T>()?, Mat::<T>::of(stats)?);
    back.slot(2, |dgamma, accumulate| {
        let g = Mat::<T>::of(&dy)?;
        cpu::sum_columns::<T>(
            rows,
            dgamma,
            accumulate,
            #[inline(always)]
            |r, partial| {
                let (mean, rstd) = (stats.row(r)[0], stats.row(r)[1]);
                for ((p, g), x) in partial.iter_mut().zip(g.row(r)).zip(x.row(r)) {
                    *p += *g * (*x - mean) * rstd;
                }
            },
        )
    })?;
    back.slot(3, |dbeta, accumulate| cpu::sum_rows(&dy, dbeta, accumulate))?;
    let count = T::of(cols.max(1) as f64);
    cpu::each_row::<T>(
        &mut dy,
        cols,
        #[inline(always)]
        |r, g| {
            let (x, mean, rstd) = (x.row(r), stats.row(r)[0], stats.row(r)[1]);
            let h = reduce::sum(cols, |c| g[c] * gamma[c]) / count;
            let hn = reduce::sum(cols, |c| g[c] * gamma[c] * (x[c] - mean) * rstd) / count;
            for ((g, gamma), x) in g.iter_mut().zip(gamma).zip(x) {
                *g = rstd * (*g * *gamma - h - (*x - mean) * rstd * hn);
            }
        },
    )?;
    Ok(dy)
}

/// The same on a GPU, and `dsum` added.
fn backward_on(
    gpu: &Gpu, back: &mut Back, [dy, x, gamma, stats]: [&Tensor; 4], dsum: Option<Tensor>,
) -> Result<Tensor> {
    let (rows, cols) = x.shape().rows_cols();
    let [rows_, cols_, stride] = gpu::sizes([rows, cols, x.stored_width()])?;
    let [dya, xa, stats] = [dy.address()?, x.address()?, stats.address()?];
    let mut partials = None; // of both gradients, from one pass, for the first that is wanted
    for (which, input) in [2, 3].into_iter().enumerate() {
        back.slot(input, |out, accumulate| {
            if partials.is_none() {
                partials = Some(gpu.column_partials(x.dtype(), [rows, cols], 2, |partials, grid| {
                    let (dy, x_, rows, cols, unused) = (dya, xa, rows_, cols_, 0);
                    let args = params::LayernormColumns { partials, dy, x: x_, stats, rows, cols, stride, unused };
                    gpu.launch(x.dtype(), grid, &args)
                })?);
            }
            partials.iter().try_for_each(|partials| gpu.add_partials(partials, [which, 2], out, accumulate))
        })?;
    }
    let mut dx = dy.new_uncleared()?;
    let args = params::LayernormBwd {
        dx: dx.address_mut()?,
        dy: dya,
        dsum: address_of(dsum.as_ref())?,
        x: xa,
        stats,
        gamma: gamma.address()?,
        rows: rows_,
        cols: cols_,
        stride,
        unused: 0,
    };
    gpu.launch(x.dtype(), Grid::warps(rows), &args).map(|()| dx)
}

/// Test and benchmark cases; eps 0.1 keeps rows of one or two columns differentiable.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("layernorm/plain", |d| {
            let (rows, cols) = (d.size(512 * 197), d.positive(384));
            let inputs = [d.normal([rows, cols]), d.normal([cols]), d.normal([cols])];
            Instance::new(inputs, |v| layernorm(&v[0], &v[1], &v[2], 0.1)).wide([1, 2]).cost_each(1, 8)
        }),
        Case::new("layernorm/residual", |d| {
            let shape @ [samples, _, cols] = [d.size(512), d.size(197), d.positive(384)];
            let s = d.uniform([samples], 0.0, 2.0);
            let inputs = [d.normal(shape), d.normal(shape), d.normal([cols]), d.normal([cols]), s];
            let run = |v: &[Var]| {
                let (sum, y) = add_layernorm(v[0].clone(), &v[1], Some(v[4].tensor()), &v[2], &v[3], 0.1)?;
                Ok([sum, y])
            };
            let plain = |v: &[Var]| {
                let sum = add_scaled(v[0].clone(), &v[1], Some(v[4].tensor()))?;
                let y = layernorm(&sum, &v[2], &v[3], 0.1)?;
                Ok([sum, y])
            };
            Instance::new(inputs, run).reference(plain).constant(4).wide([2, 3, 4]).cost_each(2, 10)
        }),
    ]
}
