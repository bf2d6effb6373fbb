//! Sums: `y = x + s · b`, `y = c x`.
//!
//! `s` is absent, or one factor per sample (leading axis): drop path multiplies a branch by `keep / (1 - rate)`.
//! Gradients: `dx = dy`, `db = s · dy`; none for `s`.

use super::prelude::*;

const OP: &str = "add";

/// `y = x + b`, element by element, equal shapes. In place when `x` is the sole owner of its memory.
pub fn add(x: Var, b: &Var) -> Result<Var> {
    add_scaled(x, b, None)
}

/// `y[i, …] = x[i, …] + s[i] b[i, …]` for a factor `s` per sample (`[samples]`), 1 when absent.
pub fn add_scaled(x: Var, b: &Var, s: Option<&Tensor>) -> Result<Var> {
    x.tensor().check_same(OP, b.tensor())?;
    check_factors(x.tensor(), s)?;
    let (handle, mut y) = x.split();
    match (y.gpu(), s) {
        (Some(gpu), s) => {
            let (count, sample) = sizes(&y, y.dim(0));
            let (x, b, s) = (y.address()?, b.tensor().address()?, address_of(s)?);
            if y.is_shared() {
                y = y.new_empty(y.shape())?;
            }
            let args = params::AddScaled { y: y.address_mut()?, x, b, s, count, sample };
            gpu.launch(y.dtype(), Grid::vecs(y.stored_numel(), y.dtype()), &args)?;
        }
        (None, Some(s)) => float_dispatch!(OP, y.dtype(), T => add_by_sample::<T>(&mut y, b.tensor(), s))?,
        (None, None) => cpu::accumulate(&mut y, b.tensor())?,
    }
    let s = s.cloned();
    Ok(record_one(OP, &[handle, b.handle()], y, move |back, dy| {
        back.add_wanted(1, || scale_by_sample(&dy, s.as_ref()))?;
        back.add(0, dy)
    }))
}

/// An error unless `s`, when there is one, has a factor for each sample of `x`.
pub(super) fn check_factors(x: &Tensor, s: Option<&Tensor>) -> Result<()> {
    let Some(s) = s else { return Ok(()) };
    Error::ensure_shape(x.shape().len() > 1, OP, "samples of one axis and more", x.shape())?;
    let (samples, dtype) = (x.dim(0), x.dtype().wide());
    let fits = s.numel() == samples && s.dtype() == dtype;
    Error::ensure_shape(fits, OP, format_args!("{samples} factors of {dtype:?}"), s.shape())?;
    x.check_device(OP, s)
}

/// `y = c x`.
pub fn scale(x: &Var, c: f64) -> Result<Var> {
    let y = times(x.tensor(), c)?;
    Ok(record_one("scale", &[x.handle()], y, move |back, dy| back.add(0, times(&dy, c)?)))
}

/// `c x`, without recording.
pub(super) fn times(x: &Tensor, c: f64) -> Result<Tensor> {
    if let Some(gpu) = x.gpu() {
        return multiple(gpu, x, c, None, 1);
    }
    let mut y = Tensor::empty(*x.shape(), x.dtype());
    float_dispatch!("scale", x.dtype(), T => {
        let c = T::of(c);
        cpu::zip_mut::<T>(&mut y, x, #[inline(always)] |y, x| *y = c * x)
    })?;
    Ok(y)
}

/// `s · c / over · x` for a scalar `s`, which a GPU reads where it is, without recording: how a loss passes its gradient on.
pub(super) fn times_scalar(x: &Tensor, s: &Tensor, c: f64, over: f64) -> Result<Tensor> {
    match x.gpu() {
        Some(gpu) => multiple(gpu, x, c / over, Some(s), 1),
        None => times(x, s.item()? * c / over),
    }
}

/// `s · c x` on a GPU, one factor for each of `samples` equal parts of `x`.
fn multiple(gpu: &Gpu, x: &Tensor, c: f64, s: Option<&Tensor>, samples: usize) -> Result<Tensor> {
    let (mut y, (count, sample)) = (x.new_uncleared()?, sizes(x, samples));
    let args = params::Scale { y: y.address_mut()?, x: x.address()?, s: address_of(s)?, c, count, sample };
    gpu.launch(x.dtype(), Grid::vecs(x.stored_numel(), x.dtype()), &args).map(|()| y)
}

/// Elements in memory, in all and of one sample (at least 1).
fn sizes(x: &Tensor, samples: usize) -> (i64, i64) {
    let count = x.stored_numel();
    (count as i64, (count / samples.max(1)).max(1) as i64)
}

/// `s · dy`, one factor per sample, without recording.
pub(super) fn scale_by_sample(dy: &Tensor, s: Option<&Tensor>) -> Result<Tensor> {
    let Some(s) = s else { return Ok(dy.clone()) };
    if let Some(gpu) = dy.gpu() {
        return multiple(gpu, dy, 1.0, Some(s), dy.dim(0));
    }
    float_dispatch!(OP, dy.dtype(), T => {
        let ((rows, len), s) = (samples::<T>(dy)?, s.slice::<T>()?);
        cpu::new_rows::<T>(dy.shape(), len, #[inline(always)] |i, out| {
            out.iter_mut().zip(rows.row(i)).for_each(|(o, g)| *o = s[i] * *g);
        })
    })
}

fn add_by_sample<T: Float>(y: &mut Tensor, b: &Tensor, s: &Tensor) -> Result<()> {
    let ((b, len), s) = (samples::<T>(b)?, s.slice::<T>()?);
    cpu::each_row::<T>(
        y,
        len,
        #[inline(always)]
        |i, y| y.iter_mut().zip(b.row(i)).for_each(|(y, b)| *y += s[i] * *b),
    )
}

/// One row a sample, and its length.
fn samples<T: Float>(x: &Tensor) -> Result<(Mat<'_, T>, usize)> {
    let len = x.numel() / x.dim(0).max(1);
    Ok((Mat::new(x.slice()?, x.dim(0), len), len))
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("add/plain", |d| {
            let shape = d.sizes([512, 197, 384]);
            Instance::new([d.normal(shape), d.normal(shape)], |v| add(v[0].clone(), &v[1])).cost_each(1, 1)
        }),
        Case::new("add/drop_path", |d| {
            let shape = d.sizes([512, 197, 384]);
            let inputs = [d.normal(shape), d.normal(shape), d.uniform([shape[0]], 0.0, 2.0)];
            let run = |v: &[Var]| add_scaled(v[0].clone(), &v[1], Some(v[2].tensor()));
            Instance::new(inputs, run).constant(2).wide([2]).cost_each(1, 2)
        }),
        Case::new("add/scale", |d| {
            let shape = d.sizes([512 * 197, 384]);
            Instance::new([d.normal(shape)], |v| scale(&v[0], -1.7)).cost_each(1, 1)
        }),
    ]
}
