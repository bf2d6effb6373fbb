//! Fully connected layer: `y = x Wᵀ + b`, `x [.., in]`, `W [out, in]`, `b [out]`, `y [.., out]`.
//!
//! Gradients: `dx = dy W`, `dW = dyᵀ x`, `db = sum over rows of dy`. All three products go into the gradient buffers
//! directly, added to what is there when the weight is used more than once.

use super::prelude::*;
use crate::cpu::gemm::packed::Packed;
use crate::gpu::{Epilogue, Matrix};

const OP: &str = "linear";

/// `y = x Wᵀ + b`. An inner width of 0 gives the bias alone.
pub fn linear(x: &Var, w: &Var, b: Option<&Var>) -> Result<Var> {
    let inner = x.shape().rows_cols().1;
    let fits = w.shape().len() == 2 && w.shape()[1] == inner && w.dtype() == x.dtype() && !x.shape().is_empty();
    Error::ensure_shape(fits, OP, format_args!("weight [out, {inner}] {:?}", x.dtype()), (w.shape(), w.dtype()))?;
    x.tensor().check_device(OP, w.tensor())?;
    let out = w.shape()[0];
    expect(OP, "bias", b, &[out], x.tensor())?;
    let y = forward(x.tensor(), w.tensor(), b.map(Var::tensor))?;
    let (xt, wt) = (x.tensor().clone(), w.tensor().clone());
    Ok(record_one(OP, &[x.handle(), w.handle(), Handle::of(b)], y, move |back, dy| {
        back.slot(0, |dx, accumulate| product([&dy, &wt], false, dx, accumulate))?;
        back.slot(1, |dw, accumulate| product([&dy, &xt], true, dw, accumulate))?;
        back.slot(2, |db, accumulate| sum_rows(&dy, db, accumulate))
    }))
}

/// `x Wᵀ + b`; on a GPU the bias is the product's epilogue.
fn forward(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let out = w.dim(0);
    let mut y = x.new_empty(x.shape().with_last(out))?;
    let Some(gpu) = x.gpu() else {
        float_dispatch!(OP, x.dtype(), T => {
            let b = b.map(Tensor::slice::<T>).transpose()?;
            cpu::gemm_then(
                1.0,
                Mat::of(x)?,
                Mat::<T>::of(w)?.t(),
                0.0,
                y.slice_mut()?,
                out,
                #[inline(always)]
                |_, column, y| add(y, b, column),
            );
            Ok(())
        })?;
        return Ok(y);
    };
    let epilogue = b.filter(|_| w.numel() > 0).map_or(Ok(Epilogue::None), |b| b.address().map(Epilogue::Bias))?;
    let (x, w) = (Matrix::of(x)?, Matrix::of(w)?.t());
    gpu.gemm(1, 1.0, x, w, 0.0, Matrix::out(&mut y)?, epilogue)?;
    match b.filter(|_| epilogue == Epilogue::None) {
        Some(b) => {
            let b = b.to_dtype(y.dtype().wide())?;
            Ok(super::add_bias(&Var::constant(y), &Var::constant(b))?.into_tensor())
        }
        None => Ok(y),
    }
}

/// Adds the part of the bias that begins at `column`.
#[inline(always)]
fn add<T: Float>(y: &mut [T], b: Option<&[T]>, column: usize) {
    if let Some(b) = b {
        y.iter_mut().zip(&b[column..]).for_each(|(y, b)| *y += *b);
    }
}

/// [`linear`] in main memory and without gradients, with the bits of it, by weights that were packed before.
pub fn linear_packed(x: &Var, w: &Packed, b: Option<&Var>) -> Result<Var> {
    packed(x, w, b, |_| ())
}

/// `GELU(x Wᵀ + b)` in the same way: with the bits of [`linear`] and [`bias_gelu`](super::bias_gelu).
pub fn linear_gelu_packed(x: &Var, w: &Packed, b: Option<&Var>) -> Result<Var> {
    packed(
        x,
        w,
        b,
        #[inline(always)]
        |y| y.iter_mut().for_each(|y| *y *= y.normal_cdf_pdf().0),
    )
}

/// `then` of rows of the result while they are in the cache.
fn packed(x: &Var, w: &Packed, b: Option<&Var>, then: impl Fn(&mut [f32]) + Sync) -> Result<Var> {
    let [inner, out] = w.shape();
    let (rows, found) = x.shape().rows_cols();
    let fits = found == inner && x.dtype() == DType::F32 && x.tensor().gpu().is_none() && !x.shape().is_empty();
    Error::ensure_shape(fits, OP, format_args!("[.., {inner}] F32 in main memory"), (x.shape(), x.dtype()))?;
    expect(OP, "bias", b, &[out], x.tensor())?;
    let b = b.map(|b| b.tensor().slice::<f32>()).transpose()?;
    let mut y = x.tensor().new_empty(x.shape().with_last(out))?;
    let rows = Mat::new(x.tensor().slice()?, rows, inner);
    w.multiply(
        1.0,
        rows,
        false,
        y.slice_mut()?,
        out,
        #[inline(always)]
        |_, column, y| {
            add(y, b, column);
            then(y);
        },
    );
    Ok(Var::constant(y))
}

/// `out (+)= a b`, or `aᵀ b`.
fn product([a, b]: [&Tensor; 2], transpose_a: bool, out: &mut Tensor, accumulate: bool) -> Result<()> {
    let beta = f64::from(u8::from(accumulate));
    if let Some(gpu) = a.gpu() {
        let left = if transpose_a { Matrix::of(a)?.t() } else { Matrix::of(a)? };
        return gpu.gemm(1, 1.0, left, Matrix::of(b)?, beta, Matrix::out(out)?, Epilogue::None);
    }
    float_dispatch!(OP, a.dtype(), T => {
        let left = if transpose_a { Mat::<T>::of(a)?.t() } else { Mat::of(a)? };
        let cols = out.shape().rows_cols().1;
        gemm(1.0, left, Mat::of(b)?, T::of(beta), out.slice_mut()?, cols);
        Ok(())
    })
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("linear/bias", |d| {
            let [rows, inner, out] = d.sizes([256 * 197, 384, 1536]);
            let inputs = [d.normal([1, rows, inner]), d.normal([out, inner]), d.normal([out])];
            Instance::new(inputs, |v| linear(&v[0], &v[1], Some(&v[2])))
                .weights([1, 2])
                .cost(rows * out, 2 * rows * inner * out)
        }),
        Case::new("linear/no_bias", |d| {
            let [rows, inner, out] = d.sizes([512 * 197, 384, 384]);
            let inputs = [d.normal([rows, inner]), d.normal([out, inner])];
            Instance::new(inputs, |v| linear(&v[0], &v[1], None)).weights([1]).cost(rows * out, 2 * rows * inner * out)
        }),
        Case::new("linear/shared_weight", |d| {
            let [rows, width] = d.sizes([512 * 197, 384]);
            // weights as a model's: a layer leaves values about as large as they were
            let weight = d.uniform([width, width], -0.5, 0.5);
            let inputs = [d.normal([rows, width]), weight, d.normal([width])];
            let run = |v: &[Var]| linear(&linear(&v[0], &v[1], Some(&v[2]))?, &v[1], Some(&v[2]));
            Instance::new(inputs, run).weights([1, 2]).cost(2 * rows * width, 4 * rows * width * width)
        }),
    ]
}
