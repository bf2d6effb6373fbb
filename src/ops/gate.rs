//! Multiplicative gates and column-wise bias: `y[.., c] = x[.., c] · g[c / group]`, `y[.., c] = x[.., c] + b[c]`.
//!
//! `group` is the head width for a head gate on `[.., heads · head_dim]` and 1 for a channel gate. Gradients:
//! `dx = dy · g`, `dg[u] = sum over rows and the unit's columns of dy · x`, reduced in a fixed order (SAViT, eq. of the
//! first-order Taylor score, needs exactly this number). A gate for each sample (squeeze-excite) sums over its tokens alone.

use super::prelude::*;

const OP: &str = "gate";

/// `y[.., c] = x[.., c] · g[c / group]` for `g [cols / group]`.
pub fn gate(x: &Var, g: &Var, group: usize) -> Result<Var> {
    let cols = x.shape().rows_cols().1;
    Error::ensure_shape(
        group > 0 && cols.is_multiple_of(group),
        OP,
        format_args!("units of {group} columns"),
        x.shape(),
    )?;
    expect_wide(OP, "gate", g, &[cols / group], x.tensor())?;
    let y = times(x.tensor(), g.tensor(), group)?;
    let (xt, gt) = (x.tensor().clone(), g.tensor().clone());
    Ok(record_one(OP, &[x.handle(), g.handle()], y, move |back, dy| {
        back.slot(1, |dg, accumulate| match xt.gpu() {
            Some(gpu) => unit_gradient_on(gpu, [&dy, &xt], group, dg, accumulate),
            None => float_dispatch!(OP, dy.dtype(), T => unit_gradient::<T>(&dy, &xt, group, dg, accumulate)),
        })?;
        back.add_wanted(0, || times(&dy, &gt, group))
    }))
}

/// `y[.., c] = x[.., c] + b[c]`, the plain reference of the fused bias.
pub fn add_bias(x: &Var, b: &Var) -> Result<Var> {
    let cols = x.shape().rows_cols().1;
    expect_wide("add_bias", "bias", b, &[cols], x.tensor())?;
    let y = plus(x.tensor(), b.tensor())?;
    Ok(record_one("add_bias", &[x.handle(), b.handle()], y, move |back, dy| {
        back.slot(1, |db, accumulate| sum_rows(&dy, db, accumulate))?;
        back.add(0, dy)
    }))
}

/// `y[b, n, c] = x[b, n, c] · g[b, c]` for tokens `x [B, N, C]` and `g [B, C]`: squeeze-excite.
pub fn gate_samples(x: &Var, g: &Var) -> Result<Var> {
    let shape = *x.shape();
    Error::ensure_shape(shape.len() == 3, OP, "tokens [batch, tokens, width]", shape)?;
    expect_wide(OP, "gate", g, &[shape[0], shape[2]], x.tensor())?;
    let y = times_samples(x.tensor(), g.tensor())?;
    let (xt, gt) = (x.tensor().clone(), g.tensor().clone());
    Ok(record_one("gate_samples", &[x.handle(), g.handle()], y, move |back, dy| {
        back.slot(1, |dg, accumulate| samples_gradient([&dy, &xt], dg, accumulate))?;
        back.add_wanted(0, || times_samples(&dy, &gt))
    }))
}

/// `x[b, n, c] · g[b, c]`.
fn times_samples(x: &Tensor, g: &Tensor) -> Result<Tensor> {
    let (tokens, cols) = (x.dim(1), x.dim(2));
    let Some(gpu) = x.gpu() else {
        return float_dispatch!(OP, x.dtype(), T => {
            let (xs, g) = (Mat::<T>::of(x)?, Mat::<T>::of(g)?);
            cpu::new_rows::<T>(x.shape(), cols, #[inline(always)] |r, y| {
                y.iter_mut().zip(xs.row(r)).zip(g.row(r / tokens)).for_each(|((y, x), g)| *y = *x * *g);
            })
        });
    };
    let (mut y, count, [tokens, stride]) =
        (x.new_uncleared()?, x.stored_numel(), gpu::sizes([tokens, x.stored_width()])?);
    let (y_address, x, g) = (y.address_mut()?, x.address()?, g.address()?);
    let args = params::GateSamples { y: y_address, x, g, count: count as i64, tokens, stride };
    gpu.launch(y.dtype(), Grid::vecs(count, y.dtype()), &args).map(|()| y)
}

/// `dg[b, c] (+)= sum over n of dy[b, n, c] · x[b, n, c]`.
fn samples_gradient([dy, x]: [&Tensor; 2], dg: &mut Tensor, accumulate: bool) -> Result<()> {
    let [samples, tokens, cols] = [0, 1, 2].map(|axis| x.dim(axis));
    if let Some(gpu) = x.gpu() {
        let (dg_address, dy, from) = (dg.address_mut()?, dy.address()?, x.address()?);
        let [samples_, tokens, cols_, stride] = gpu::sizes([samples, tokens, cols, x.stored_width()])?;
        let (samples, grid, accumulate) = (samples_, Grid::elements(samples * cols), accumulate.into());
        let (cols, unused) = (cols_, 0);
        let args =
            params::GateSamplesBwd { dg: dg_address, dy, x: from, samples, tokens, cols, stride, accumulate, unused };
        return gpu.launch(x.dtype(), grid, &args);
    }
    float_dispatch!(OP, x.dtype(), T => {
        let (dy, x) = (Mat::<T>::of(dy)?, Mat::<T>::of(x)?);
        cpu::each_row::<T>(dg, cols, #[inline(always)] |sample, dg| {
            if !accumulate {
                dg.fill(T::of(0.0));
            }
            for r in sample * tokens..(sample + 1) * tokens {
                dg.iter_mut().zip(dy.row(r)).zip(x.row(r)).for_each(|((g, dy), x)| *g += *dy * *x);
            }
        })
    })
}

/// `x[.., c] + b[c]`.
fn plus(x: &Tensor, b: &Tensor) -> Result<Tensor> {
    let Some(gpu) = x.gpu() else {
        return float_dispatch!("add_bias", x.dtype(), T => {
            let (xs, b) = (Mat::<T>::of(x)?, b.slice::<T>()?);
            cpu::new_rows::<T>(x.shape(), b.len(), #[inline(always)] |r, y| {
                y.iter_mut().zip(xs.row(r)).zip(b).for_each(|((y, x), b)| *y = *x + *b);
            })
        });
    };
    let (mut y, count, [stride]) = (x.new_uncleared()?, x.stored_numel(), gpu::sizes([x.stored_width()])?);
    let (y_address, x, b) = (y.address_mut()?, x.address()?, b.address()?);
    let args = params::AddBias { y: y_address, x, b, count: count as i64, stride, unused: 0 };
    gpu.launch(y.dtype(), Grid::vecs(count, y.dtype()), &args).map(|()| y)
}

/// `x[.., c] · g[c / group]`.
fn times(x: &Tensor, g: &Tensor, group: usize) -> Result<Tensor> {
    let Some(gpu) = x.gpu() else {
        return float_dispatch!(OP, x.dtype(), T => {
            let (xs, g) = (Mat::<T>::of(x)?, g.slice::<T>()?);
            cpu::new_rows::<T>(x.shape(), x.shape().rows_cols().1, #[inline(always)] |r, y| {
                for ((y, x), g) in y.chunks_mut(group).zip(xs.row(r).chunks(group)).zip(g) {
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = *x * *g);
                }
            })
        });
    };
    let (mut y, count, [stride, group]) =
        (x.new_uncleared()?, x.stored_numel(), gpu::sizes([x.stored_width(), group])?);
    let (y_address, x, g) = (y.address_mut()?, x.address()?, g.address()?);
    let args = params::Gate { y: y_address, x, g, count: count as i64, stride, group };
    gpu.launch(y.dtype(), Grid::vecs(count, y.dtype()), &args).map(|()| y)
}

fn unit_gradient<T: Float>(dy: &Tensor, x: &Tensor, group: usize, dg: &mut Tensor, accumulate: bool) -> Result<()> {
    let (rows, dy, x) = (x.shape().rows_cols().0, Mat::<T>::of(dy)?, Mat::<T>::of(x)?);
    cpu::sum_columns::<T>(
        rows,
        dg,
        accumulate,
        #[inline(always)]
        |r, partial| {
            for ((p, dy), x) in partial.iter_mut().zip(dy.row(r).chunks(group)).zip(x.row(r).chunks(group)) {
                *p += reduce::sum(group, |i| dy[i] * x[i]);
            }
        },
    )
}

/// [`unit_gradient`] on a GPU: by column, then over each unit's columns.
fn unit_gradient_on(gpu: &Gpu, [dy, x]: [&Tensor; 2], group: usize, dg: &mut Tensor, accumulate: bool) -> Result<()> {
    let ((rows, cols), dtype) = (x.shape().rows_cols(), x.dtype());
    let partials = gpu.column_partials(dtype, [rows, cols], 1, |partials, grid| {
        let [rows, cols, stride] = gpu::sizes([rows, cols, x.stored_width()])?;
        let (dy, x) = (dy.address()?, x.address()?);
        gpu.launch(dtype, grid, &params::GateColumns { partials, dy, x, rows, cols, stride, unused: 0 })
    })?;
    if group == 1 {
        return gpu.add_partials(&partials, [0, 1], dg, accumulate);
    }
    let mut columns = x.new_wide([cols])?;
    gpu.add_partials(&partials, [0, 1], &mut columns, false)?;
    let [units, group] = gpu::sizes([cols / group, group])?;
    let (dg_address, columns, accumulate) = (dg.address_mut()?, columns.address()?, accumulate.into());
    let args = params::GateUnits { dg: dg_address, columns, units, group, accumulate, unused: 0 };
    gpu.launch(dtype, Grid::warps(units as usize), &args)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("gate/heads", |d| {
            let (rows, units, group) = (d.size(512 * 197), d.size(6), d.positive(64));
            let inputs = [d.normal([rows, units * group]), d.uniform([units], -0.2, 1.3)];
            Instance::new(inputs, move |v| gate(&v[0], &v[1], group)).wide([1]).cost_each(1, 1)
        }),
        Case::new("gate/shared_twice", |d| {
            let [rows, cols] = d.sizes([512 * 197, 384]);
            let inputs = [d.normal([rows, cols]), d.uniform([cols], -0.2, 1.3)];
            Instance::new(inputs, |v| gate(&gate(&v[0], &v[1], 1)?, &v[1], 1)).wide([1]).cost_each(2, 2)
        }),
        Case::new("gate/samples", |d| {
            let [samples, tokens, cols] = d.sizes([256, 196, 1232]);
            let inputs = [d.normal([samples, tokens, cols]), d.uniform([samples, cols], -0.2, 1.3)];
            Instance::new(inputs, |v| gate_samples(&v[0], &v[1])).wide([1]).cost_each(1, 1)
        }),
        Case::new("gate/add_bias", |d| {
            let [rows, cols] = d.sizes([512 * 197, 384]);
            let inputs = [d.normal([rows, cols]), d.normal([cols])];
            Instance::new(inputs, |v| add_bias(&v[0], &v[1])).wide([1]).cost_each(1, 1)
        }),
    ]
}
