//! BatchNorm over the rows of each column, and the activation that follows it.
//!
//! `y = f(n γ + β)`, `n = (x - mean) / sqrt(var + eps)`. Batch mode: mean and biased variance of the rows at hand, by the two-pass
//! formula; running mode: given ones. Gradients, with `dz = dy f'(n γ + β)`: `dβ = sum of dz`, `dγ = sum of dz n`, and
//! `dx = γ rstd (dz - dβ / rows - n dγ / rows)` in batch mode, `dx = γ rstd dz` in running mode.

use super::activation::{Function, function_dispatch};
use super::add::times;
use super::prelude::*;
use super::{Activation, activation};
use crate::gpu::StepState;

const OP: &str = "batchnorm";

/// Mean and variance of each column.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Statistics {
    pub mean: Tensor,
    pub var: Tensor,
}

/// What normalises a value, all by column.
#[derive(Clone)]
struct Norm {
    statistics: Statistics,
    gamma: Tensor,
    beta: Tensor,
    eps: f64,
    function: Activation,
}

/// BatchNorm by the statistics of these rows, at least 2, and those: mean and unbiased variance, for the running ones.
pub fn batchnorm(x: Var, [gamma, beta]: [&Var; 2], eps: f64, function: Activation) -> Result<(Var, Statistics)> {
    let (rows, cols) = x.shape().rows_cols();
    Error::ensure(rows >= 2, "rows of a batch that BatchNorm takes statistics of", "at least 2", rows)?;
    check(&x, gamma, beta, eps)?;
    let mut mean = x.tensor().new_wide([cols])?;
    sum_rows(x.tensor(), &mut mean, false)?;
    let mean = times(&mean, 1.0 / rows as f64)?;
    let squares = squares(x.tensor(), &mean)?;
    let unbiased = times(&squares, 1.0 / (rows - 1) as f64)?;
    let statistics = Statistics { mean: mean.clone(), var: times(&squares, 1.0 / rows as f64)? };
    let y = normalize(x, [gamma, beta], statistics, eps, function, true)?;
    Ok((y, Statistics { mean, var: unbiased }))
}

/// BatchNorm by given statistics, which are constants. In place when `x` is untracked and the sole owner of its memory.
pub fn batchnorm_running(
    x: Var, [gamma, beta]: [&Var; 2], running: Statistics, eps: f64, function: Activation,
) -> Result<Var> {
    check(&x, gamma, beta, eps)?;
    for (what, tensor) in [("running_mean", &running.mean), ("running_var", &running.var)] {
        expect_wide(OP, what, &Var::constant(tensor.clone()), &[x.shape().rows_cols().1], x.tensor())?;
    }
    normalize(x, [gamma, beta], running, eps, function, false)
}

fn check(x: &Var, gamma: &Var, beta: &Var, eps: f64) -> Result<()> {
    let cols = x.shape().rows_cols().1;
    expect_wide(OP, "weight", gamma, &[cols], x.tensor())?;
    expect_wide(OP, "bias", beta, &[cols], x.tensor())?;
    Error::ensure(eps > 0.0, "BatchNorm eps", "above 0", eps)
}

/// `running += momentum (batch - running)` for both statistics, and 1 more batch counted in `counter`; on a GPU nothing where
/// the step that stands in `state` is refused.
pub fn batchnorm_update(
    [mean, var, counter]: [&mut Tensor; 3], batch: &Statistics, momentum: f64, state: Option<&StepState>,
) -> Result<()> {
    mean.check_same(OP, &batch.mean)?;
    var.check_same(OP, &batch.var)?;
    Error::ensure_shape(counter.numel() == 1, OP, "a counter of one element", counter.shape())?;
    if let Some(gpu) = mean.gpu() {
        let (dtype, [count]) = (mean.dtype(), gpu::sizes([mean.numel()])?);
        let (batch_mean, batch_var) = (batch.mean.address()?, batch.var.address()?);
        let state = state.map_or(0, StepState::address);
        let (mean, var, counter) = (mean.address_mut()?, var.address_mut()?, counter.address_mut()?);
        let args =
            params::BatchnormUpdate { mean, var, counter, batch_mean, batch_var, state, momentum, count, unused: 0 };
        return gpu.launch(dtype, Grid::elements((count as usize).max(1)), &args);
    }
    float_dispatch!(OP, mean.dtype(), T => {
        let momentum = T::of(momentum);
        cpu::zip_mut::<T>(mean, &batch.mean, #[inline(always)] |r, b| *r += momentum * (b - *r))?;
        cpu::zip_mut::<T>(var, &batch.var, #[inline(always)] |r, b| *r += momentum * (b - *r))?;
        counter.slice_mut::<T>()?[0] += T::of(1.0);
        Ok(())
    })
}

/// Weight `[O, …]` and bias of the convolution that does what one without bias and BatchNorm by running statistics do:
/// `w' = w γ / sqrt(var + eps)`, `b' = β - mean γ / sqrt(var + eps)`, computed in double.
pub fn fold_batchnorm(w: &Tensor, [gamma, beta]: [&Tensor; 2], running: &Statistics, eps: f64) -> Result<[Tensor; 2]> {
    let (outputs, vectors) = (w.dim(0), [gamma, beta, &running.mean, &running.var]);
    for vector in vectors {
        Error::ensure_shape(
            *vector.shape() == [outputs].into(),
            OP,
            format_args!("vectors of [{outputs}]"),
            vector.shape(),
        )?;
    }
    let [gamma, beta, mean, var] = vectors.map(Tensor::to_f64s);
    let (gamma, beta, mean, var, mut weight) = (gamma?, beta?, mean?, var?, w.to_f64s()?);
    let factor: Vec<f64> = gamma.iter().zip(&var).map(|(gamma, var)| gamma / (var + eps).sqrt()).collect();
    let each = weight.len().checked_div(outputs).unwrap_or(0).max(1);
    weight.chunks_mut(each).zip(&factor).for_each(|(row, factor)| row.iter_mut().for_each(|w| *w *= factor));
    let bias: Vec<f64> = (0..outputs).map(|o| beta[o] - mean[o] * factor[o]).collect();
    let back = |tensor: Result<Tensor>| tensor?.to_dtype(w.dtype())?.to_device(w.device());
    Ok([back(Tensor::from_slice(w.shape(), &weight))?, back(Tensor::from_slice([outputs], &bias))?])
}

/// Normalises and records; `batch`: the statistics are those of `x`, so that it has a gradient through them.
fn normalize(
    x: Var, [gamma, beta]: [&Var; 2], statistics: Statistics, eps: f64, function: Activation, batch: bool,
) -> Result<Var> {
    let inputs = [x.handle(), gamma.handle(), beta.handle()];
    let tracked = [&x, gamma, beta].into_iter().any(Var::is_tracked);
    let norm = Norm { statistics, gamma: gamma.tensor().clone(), beta: beta.tensor().clone(), eps, function };
    let x = x.into_tensor();
    let saved = tracked.then(|| x.clone());
    let y = forward(x, &norm)?;
    Ok(record_one(OP, &inputs, y, move |back, dy| {
        let Some(x) = saved else { return Ok(()) };
        let sums = sums(&dy, &x, &norm)?;
        back.add_wanted(0, || backward(dy, &x, &norm, batch.then_some(&sums)))?;
        let [dbeta, dgamma] = sums;
        back.add(1, dgamma)?;
        back.add(2, dbeta)
    }))
}

/// `sum over rows of (x - mean)²`.
fn squares(x: &Tensor, mean: &Tensor) -> Result<Tensor> {
    let ((rows, cols), mut out) = (x.shape().rows_cols(), mean.new_empty(mean.shape())?);
    if let Some(gpu) = x.gpu() {
        let partials = gpu.column_partials(x.dtype(), [rows, cols], 1, |partials, grid| {
            let [rows, cols, stride] = gpu::sizes([rows, cols, x.stored_width()])?;
            let (x_, mean) = (x.address()?, mean.address()?);
            let args = params::BatchnormSquares { partials, x: x_, mean, rows, cols, stride, unused: 0 };
            gpu.launch(x.dtype(), grid, &args)
        })?;
        return gpu.add_partials(&partials, [0, 1], &mut out, false).map(|()| out);
    }
    float_dispatch!(OP, x.dtype(), T => {
        let (x, mean) = (Mat::<T>::of(x)?, mean.slice::<T>()?);
        cpu::sum_columns::<T>(rows, &mut out, false, #[inline(always)] |r, partial| {
            for ((p, x), mean) in partial.iter_mut().zip(x.row(r)).zip(mean) {
                *p += (*x - *mean) * (*x - *mean);
            }
        })
    })?;
    Ok(out)
}

impl Norm {
    /// Per column: mean, `1 / sqrt(var + eps)`, `γ`, `β`.
    fn columns<T: Float>(&self) -> Result<Vec<[T; 4]>> {
        let Statistics { mean, var } = &self.statistics;
        let (mean, var, eps) = (mean.slice::<T>()?, var.slice::<T>()?, T::of(self.eps));
        let affine = self.gamma.slice::<T>()?.iter().zip(self.beta.slice::<T>()?);
        let column =
            |((mean, var), (gamma, beta)): ((&T, &T), (&T, &T))| [*mean, T::one() / (*var + eps).sqrt(), *gamma, *beta];
        Ok(mean.iter().zip(var).zip(affine).map(column).collect())
    }

    /// Addresses of mean, variance, `γ` and `β`.
    fn addresses(&self) -> Result<[u64; 4]> {
        let Statistics { mean, var } = &self.statistics;
        Ok([mean.address()?, var.address()?, self.gamma.address()?, self.beta.address()?])
    }
}

/// `x -> f(n γ + β)`, in place when `x` is the sole owner of its memory.
fn forward(x: Tensor, norm: &Norm) -> Result<Tensor> {
    let Some(gpu) = x.gpu() else {
        let mut y = x;
        float_dispatch!(OP, y.dtype(), T => function_dispatch!(norm.function, F => {
            let columns = norm.columns::<T>()?;
            let [mean, factor, beta] = [0, 1, 2].map(|k| columns.iter().map(|c| [c[0], c[1] * c[2], c[3]][k]).collect::<Vec<T>>());
            cpu::each_row::<T>(&mut y, columns.len(), #[inline(always)] |_, y| {
                for (((y, mean), factor), beta) in y.iter_mut().zip(&mean).zip(&factor).zip(&beta) {
                    *y = F::value((*y - *mean) * *factor + *beta);
                }
            })
        }))?;
        return Ok(y);
    };
    let (shape, from, [mean, var, gamma, beta]) = (x.shape().rows_cols(), x.address()?, norm.addresses()?);
    let [rows, cols, stride] = gpu::sizes([shape.0, shape.1, x.stored_width()])?;
    let mut y = if x.is_shared() { x.new_uncleared()? } else { x };
    let (to, eps, function) = (y.address_mut()?, norm.eps, norm.function as i32);
    let args = params::BatchnormFwd { y: to, x: from, mean, var, gamma, beta, eps, rows, cols, stride, function };
    gpu.launch(y.dtype(), Grid::columns(shape.into(), y.dtype()), &args).map(|()| y)
}

/// `dβ` and `dγ`: one pass over the rows.
fn sums(dy: &Tensor, x: &Tensor, norm: &Norm) -> Result<[Tensor; 2]> {
    let (rows, cols) = x.shape().rows_cols();
    if let Some(gpu) = x.gpu() {
        let [mean, var, gamma, beta] = norm.addresses()?;
        let partials = gpu.column_partials(x.dtype(), [rows, cols], 2, |partials, grid| {
            let (dy, from, eps, function) = (dy.address()?, x.address()?, norm.eps, norm.function as i32);
            let [rows, cols, stride] = gpu::sizes([rows, cols, x.stored_width()])?;
            let args = params::BatchnormColumns {
                partials,
                dy,
                x: from,
                mean,
                var,
                gamma,
                beta,
                eps,
                rows,
                cols,
                stride,
                function,
            };
            gpu.launch(x.dtype(), grid, &args)
        })?;
        let sum = |which| {
            let mut out = norm.gamma.new_empty([cols])?;
            gpu.add_partials(&partials, [which, 2], &mut out, false).map(|()| out)
        };
        return Ok([sum(0)?, sum(1)?]);
    }
    // Both in one vector: dβ, then dγ.
    let mut both = x.new_empty([2 * cols])?;
    float_dispatch!(OP, x.dtype(), T => function_dispatch!(norm.function, F => {
        let (dy, xs, columns) = (Mat::<T>::of(dy)?, Mat::<T>::of(x)?, norm.columns::<T>()?);
        cpu::sum_columns::<T>(rows, &mut both, false, #[inline(always)] |r, partial| {
            let (dbeta, dgamma) = partial.split_at_mut(cols);
            let sums = dbeta.iter_mut().zip(dgamma).zip(dy.row(r)).zip(xs.row(r)).zip(&columns);
            for ((((dbeta, dgamma), dy), x), [mean, rstd, gamma, beta]) in sums {
                let n = (*x - *mean) * *rstd;
                let dz = *dy * F::slope(n * *gamma + *beta);
                *dbeta += dz;
                *dgamma += dz * n;
            }
        })
    }))?;
    Ok([both.rows(0, cols)?, both.rows(cols, 2 * cols)?])
}

/// `dy -> dx`; with the sums `dβ` and `dγ` in batch mode.
fn backward(mut dy: Tensor, x: &Tensor, norm: &Norm, sums: Option<&[Tensor; 2]>) -> Result<Tensor> {
    let (rows, cols) = x.shape().rows_cols();
    let per_row = 1.0 / rows.max(1) as f64;
    if let Some(gpu) = x.gpu() {
        let ([mean, var, gamma, beta], from, grid) =
            (norm.addresses()?, x.address()?, Grid::columns([rows, cols], x.dtype()));
        let [dbeta, dgamma] = [0, 1].map(|k| address_of(sums.map(|sums| &sums[k])));
        let [rows, cols, stride] = gpu::sizes([rows, cols, x.stored_width()])?;
        let mut dx = dy.new_uncleared()?;
        let args = params::BatchnormBwd {
            dx: dx.address_mut()?,
            dy: dy.address()?,
            x: from,
            mean,
            var,
            gamma,
            beta,
            dbeta: dbeta?,
            dgamma: dgamma?,
            eps: norm.eps,
            per_row,
            rows,
            cols,
            stride,
            function: norm.function as i32,
        };
        return gpu.launch(dx.dtype(), grid, &args).map(|()| dx);
    }
    float_dispatch!(OP, dy.dtype(), T => function_dispatch!(norm.function, F => {
        let (xs, columns, per_row) = (Mat::<T>::of(x)?, norm.columns::<T>()?, T::of(per_row));
        let mean_of = |k: usize| match sums {
            Some(sums) => Ok(sums[k].slice::<T>()?.iter().map(|sum| *sum * per_row).collect()),
            None => Ok::<Vec<T>, Error>(vec![T::of(0.0); cols]),
        };
        let (dbeta, dgamma) = (mean_of(0)?, mean_of(1)?);
        cpu::each_row::<T>(&mut dy, cols, #[inline(always)] |r, dy| {
            let terms = dy.iter_mut().zip(xs.row(r)).zip(&columns).zip(dbeta.iter().zip(&dgamma));
            for (((d, x), [mean, rstd, gamma, beta]), (dbeta, dgamma)) in terms {
                let n = (*x - *mean) * *rstd;
                *d = *gamma * *rstd * (*d * F::slope(n * *gamma + *beta) - *dbeta - n * *dgamma);
            }
        })
    }))?;
    Ok(dy)
}

/// Rows, at least 2, and what normalises them, for a benchmark of the first feature map of LV-ViT-S.
fn inputs(d: &mut Draw) -> [Tensor; 3] {
    let (rows, cols) = (d.size(32 * 112 * 112).max(2), d.size(64));
    [d.normal([rows, cols]), d.uniform([cols], 0.5, 1.5), d.normal([cols])]
}

/// Statistics for running mode.
fn running(d: &mut Draw, cols: usize) -> [Tensor; 2] {
    [d.normal([cols]), d.uniform([cols], 0.5, 2.0)]
}

/// Test and benchmark cases; eps 0.1 keeps columns of two rows differentiable.
pub fn cases() -> Vec<Case> {
    const EPS: f64 = 0.1;
    vec![
        Case::new("batchnorm/batch", |d| {
            let run = |v: &[Var]| Ok(batchnorm(v[0].clone(), [&v[1], &v[2]], EPS, Activation::Identity)?.0);
            Instance::new(inputs(d), run).wide([1, 2]).cost_each(1, 8)
        }),
        Case::new("batchnorm/statistics", |d| {
            let run = |v: &[Var]| {
                let (_, Statistics { mean, var }) = batchnorm(v[0].clone(), [&v[1], &v[2]], EPS, Activation::Identity)?;
                Ok([mean, var].map(Var::constant))
            };
            Instance::new(inputs(d), run).wide([1, 2]).cost_each(1, 8)
        })
        .without_gradient("constants for the running statistics"),
        Case::new("batchnorm/batch_gelu", |d| {
            let run = |v: &[Var]| Ok(batchnorm(v[0].clone(), [&v[1], &v[2]], EPS, Activation::Gelu)?.0);
            let plain = |v: &[Var]| {
                let (y, _) = batchnorm(v[0].clone(), [&v[1], &v[2]], EPS, Activation::Identity)?;
                activation(y, None, Activation::Gelu)
            };
            Instance::new(inputs(d), run).reference(plain).wide([1, 2]).cost_each(1, 28)
        }),
        Case::new("batchnorm/running_silu", |d| {
            let [x, gamma, beta] = inputs(d);
            let [mean, var] = running(d, gamma.numel());
            let with = |v: &[Var], function| {
                let running = Statistics { mean: v[3].tensor().clone(), var: v[4].tensor().clone() };
                batchnorm_running(v[0].clone(), [&v[1], &v[2]], running, EPS, function)
            };
            let run = move |v: &[Var]| with(v, Activation::Silu);
            let plain = move |v: &[Var]| activation(with(v, Activation::Identity)?, None, Activation::Silu);
            let instance = Instance::new([x, gamma, beta, mean, var], run).reference(plain);
            instance.constant(3).constant(4).wide([1, 2, 3, 4]).cost_each(1, 14)
        }),
        Case::new("batchnorm/update", |d| {
            let cols = d.size(1 << 20);
            let ([mean, var], [batch_mean, batch_var]) = (running(d, cols), running(d, cols));
            let run = |v: &[Var]| {
                let [mut mean, mut var, mut counter] = [0, 1, 4].map(|k| v[k].tensor().clone());
                let batch = Statistics { mean: v[2].tensor().clone(), var: v[3].tensor().clone() };
                batchnorm_update([&mut mean, &mut var, &mut counter], &batch, 0.1, None)?;
                Ok([mean, var, counter].map(Var::constant))
            };
            let counter = d.uniform([1], 0.0, 9.0);
            Instance::new([mean, var, batch_mean, batch_var, counter], run)
                .wide([0, 1, 2, 3, 4])
                .cost(2 * cols, 6 * cols)
        })
        .without_gradient("an update of buffers"),
    ]
}
