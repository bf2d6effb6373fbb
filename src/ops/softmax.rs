//! Softmax and log-softmax over the last axis, optionally with a mask of keys.
//!
//! `p_j = m_j e^{x_j - max} / sum_k m_k e^{x_k - max}`; a row without any living key gives zeros, not NaN.
//! Gradients: `dx = p (dp - sum_j dp_j p_j)`; for `l = log p`: `dx = dl - p sum_j dl_j`.

use super::prelude::*;

const OP: &str = "softmax";

/// `softmax(x)` over the last axis.
pub fn softmax(x: &Var) -> Result<Var> {
    masked_softmax(x, None)
}

/// `softmax` over the keys whose mask (`[rows, cols]` or `[cols]`, 0 or 1) is not 0.
pub fn masked_softmax(x: &Var, mask: Option<&Tensor>) -> Result<Var> {
    let ((rows, cols), dtype) = (x.shape().rows_cols(), x.dtype().wide());
    if let Some(m) = mask.filter(|m| m.dtype() != dtype || (m.numel() != cols && m.numel() != rows * cols)) {
        return Err(Error::shape(OP, format!("a mask of [{cols}] or [{rows}, {cols}] {dtype:?}"), m.shape()));
    }
    mask.map_or(Ok(()), |mask| x.tensor().check_device(OP, mask))?;
    let y = softmax_rows(x.tensor(), mask)?;
    let p = y.clone();
    Ok(record_one(OP, &[x.handle()], y, move |back, dy| back.add(0, softmax_gradient(dy, &p)?)))
}

/// [`masked_softmax`] without recording.
fn softmax_rows(x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let (rows, cols) = x.shape().rows_cols();
    let Some(gpu) = x.gpu() else {
        return float_dispatch!(OP, x.dtype(), T => {
            let (xs, mask) = (Mat::<T>::of(x)?, mask.map(Tensor::slice::<T>).transpose()?);
            cpu::new_rows::<T>(x.shape(), cols, #[inline(always)] |r, y| {
                y.copy_from_slice(xs.row(r));
                softmax_row(y, mask.map(|m| if m.len() == cols { m } else { &m[r * cols..][..cols] }));
            })
        });
    };
    let mut y = x.new_uncleared()?;
    // One mask for all rows is a matrix whose rows are no elements apart; its rows are padded also where those of x are not.
    let one_row = mask.is_some_and(|m| m.numel() == cols);
    let mask = mask.map(|m| m.reshape([if one_row { 1 } else { rows }, cols])).transpose()?;
    let mask_stride = mask.as_ref().filter(|_| !one_row).map_or(0, Tensor::stored_width);
    let [rows_, cols, stride, mask_stride] = gpu::sizes([rows, cols, x.stored_width(), mask_stride])?;
    let (y_address, x, mask) = (y.address_mut()?, x.address()?, address_of(mask.as_ref())?);
    let args = params::SoftmaxFwd { y: y_address, x, mask, rows: rows_, cols, stride, mask_stride };
    gpu.launch(y.dtype(), Grid::warps(rows), &args).map(|()| y)
}

/// `dy -> p (dy - <dy, p>)` of every row.
fn softmax_gradient(mut dy: Tensor, p: &Tensor) -> Result<Tensor> {
    let (rows, cols) = p.shape().rows_cols();
    let Some(gpu) = dy.gpu() else {
        float_dispatch!(OP, dy.dtype(), T => {
            let p = Mat::<T>::of(p)?;
            cpu::each_row::<T>(&mut dy, cols, #[inline(always)] |r, dy| softmax_row_gradient(dy, p.row(r)))
        })?;
        return Ok(dy);
    };
    let mut dx = dy.new_uncleared()?;
    let [rows_, cols, stride] = gpu::sizes([rows, cols, dy.stored_width()])?;
    let (dx_address, dy, p) = (dx.address_mut()?, dy.address()?, p.address()?);
    let args = params::SoftmaxBwd { dx: dx_address, dy, p, rows: rows_, cols, stride, unused: 0 };
    gpu.launch(dx.dtype(), Grid::warps(rows), &args).map(|()| dx)
}

/// `log softmax(x)` over the last axis.
pub fn log_softmax(x: &Var) -> Result<Var> {
    let y = log_softmax_rows(x.tensor())?;
    let saved = y.clone();
    Ok(record_one("log_softmax", &[x.handle()], y, move |back, dy| back.add(0, log_softmax_gradient(dy, &saved)?)))
}

/// `dy -> dy - e^y sum dy` of every row.
fn log_softmax_gradient(mut dy: Tensor, y: &Tensor) -> Result<Tensor> {
    let (rows, cols) = y.shape().rows_cols();
    let Some(gpu) = dy.gpu() else {
        float_dispatch!(OP, dy.dtype(), T => {
            let log_p = Mat::<T>::of(y)?;
            cpu::each_row::<T>(&mut dy, cols, #[inline(always)] |r, dy| {
                let total = reduce::sum(cols, |i| dy[i]);
                dy.iter_mut().zip(log_p.row(r)).for_each(|(d, l)| *d -= l.exp_() * total);
            })
        })?;
        return Ok(dy);
    };
    let mut dx = dy.new_uncleared()?;
    let [rows_, cols, stride] = gpu::sizes([rows, cols, dy.stored_width()])?;
    let (dx_address, dy, y) = (dx.address_mut()?, dy.address()?, y.address()?);
    let args = params::LogSoftmaxBwd { dx: dx_address, dy, y, rows: rows_, cols, stride, unused: 0 };
    gpu.launch(dx.dtype(), Grid::warps(rows), &args).map(|()| dx)
}

/// `log softmax(x)` without recording.
pub(super) fn log_softmax_rows(x: &Tensor) -> Result<Tensor> {
    let (rows, cols) = x.shape().rows_cols();
    let Some(gpu) = x.gpu() else {
        return float_dispatch!(OP, x.dtype(), T => {
            let xs = Mat::<T>::of(x)?;
            cpu::new_rows::<T>(x.shape(), cols, #[inline(always)] |r, out| {
                let x = xs.row(r);
                let top = reduce::max(x);
                out.iter_mut().zip(x).for_each(|(o, x)| *o = (*x - top).exp_());
                let log_sum = top + reduce::sum(x.len(), |i| out[i]).ln();
                out.iter_mut().zip(x).for_each(|(o, x)| *o = *x - log_sum);
            })
        });
    };
    let mut y = x.new_uncleared()?;
    let [rows_, cols, stride] = gpu::sizes([rows, cols, x.stored_width()])?;
    let args = params::LogSoftmaxFwd { y: y.address_mut()?, x: x.address()?, rows: rows_, cols, stride, unused: 0 };
    gpu.launch(y.dtype(), Grid::warps(rows), &args).map(|()| y)
}

/// `row = softmax(row)` over the living keys, in place.
#[inline(always)]
pub(super) fn softmax_row<T: Float>(row: &mut [T], mask: Option<&[T]>) {
    if let Some(mask) = mask {
        row.iter_mut().zip(mask).for_each(|(v, m)| *v = if *m == T::zero() { T::neg_infinity() } else { *v });
    }
    let top = reduce::max(row);
    if top == T::neg_infinity() {
        return row.fill(T::zero());
    }
    row.iter_mut().for_each(|v| *v = (*v - top).exp_());
    let scale = T::one() / reduce::sum(row.len(), |i| row[i]);
    row.iter_mut().for_each(|v| *v *= scale);
}

/// `dp -> p (dp - <dp, p>)`, in place.
#[inline(always)]
pub(super) fn softmax_row_gradient<T: Float>(dp: &mut [T], p: &[T]) {
    let inner = reduce::sum(p.len(), |i| dp[i] * p[i]);
    dp.iter_mut().zip(p).for_each(|(d, p)| *d = *p * (*d - inner));
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("softmax/plain", |d| {
            let shape = d.sizes([256 * 6 * 197, 197]);
            Instance::new([d.normal(shape)], |v| softmax(&v[0])).cost_each(1, 5)
        }),
        Case::new("softmax/masked", |d| {
            let shape = d.sizes([256 * 6 * 197, 197]);
            let mask = d.mask(shape);
            let run = |v: &[Var]| masked_softmax(&v[0], Some(v[1].tensor()));
            Instance::new([d.normal(shape), mask], run).constant(1).wide([1]).cost_each(1, 5)
        }),
        Case::new("softmax/log", |d| {
            let shape = [d.size(40 * 1024), d.positive(1000)];
            Instance::new([d.normal(shape)], |v| log_softmax(&v[0])).cost_each(1, 5)
        }),
    ]
}
