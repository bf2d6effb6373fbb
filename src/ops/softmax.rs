//! Softmax and log-softmax over the last axis, optionally with a mask of keys.
//!
//! `p_j = m_j e^{x_j - max} / sum_k m_k e^{x_k - max}`; a row without any living key gives zeros, not NaN.
//! Gradients: `dx = p (dp - sum_j dp_j p_j)`; for `l = log p`: `dx = dl - p sum_j dl_j`.

use super::case::{Case, Draw, Instance};
use crate::cpu::{self, reduce};
use crate::tape::record_one;
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Error, Result, Var};

const OP: &str = "softmax";

/// `softmax(x)` over the last axis.
pub fn softmax(x: &Var) -> Result<Var> {
    masked_softmax(x, None)
}

/// `softmax` over the keys whose mask (`[rows, cols]` or `[cols]`, 0 or 1) is not 0.
pub fn masked_softmax(x: &Var, mask: Option<&Tensor>) -> Result<Var> {
    let (rows, cols) = x.shape().rows_cols();
    if let Some(m) = mask.filter(|m| m.dtype() != x.dtype() || (m.numel() != cols && m.numel() != rows * cols)) {
        return Err(Error::shape(OP, format!("a mask of [{cols}] or [{rows}, {cols}] {:?}", x.dtype()), m.shape()));
    }
    let y = float_dispatch!(OP, x.dtype(), T => {
        let mut y = Tensor::empty(*x.shape(), x.dtype());
        let (xs, mask) = (x.tensor().slice::<T>()?, mask.map(|m| m.slice::<T>()).transpose()?);
        cpu::rows_mut(y.slice_mut::<T>()?, cols, |first, y| {
            for (r, y) in y.chunks_mut(cols.max(1)).enumerate() {
                y.copy_from_slice(&xs[(first + r) * cols..][..cols]);
                let mask = mask.map(|m| if m.len() == cols { m } else { &m[(first + r) * cols..][..cols] });
                softmax_row(y, mask);
            }
        });
        Ok(y)
    })?;
    let p = y.clone();
    Ok(record_one(OP, &[x.handle()], y, move |back| {
        let Some(mut dy) = back.dy(0) else { return Ok(()) };
        float_dispatch!(OP, dy.dtype(), T => {
            let p = p.slice::<T>()?;
            cpu::rows_mut(dy.slice_mut::<T>()?, cols, |first, dy| {
                for (r, dy) in dy.chunks_mut(cols.max(1)).enumerate() {
                    softmax_row_gradient(dy, &p[(first + r) * cols..][..cols]);
                }
            });
            Ok(())
        })?;
        back.add(0, dy)
    }))
}

/// `log softmax(x)` over the last axis.
pub fn log_softmax(x: &Var) -> Result<Var> {
    let cols = x.shape().rows_cols().1;
    let y = float_dispatch!(OP, x.dtype(), T => {
        let mut y = Tensor::empty(*x.shape(), x.dtype());
        let xs = x.tensor().slice::<T>()?;
        cpu::rows_mut(y.slice_mut::<T>()?, cols, |first, y| {
            for (r, y) in y.chunks_mut(cols.max(1)).enumerate() {
                log_softmax_row(&xs[(first + r) * cols..][..cols], y);
            }
        });
        Ok(y)
    })?;
    let saved = y.clone();
    Ok(record_one("log_softmax", &[x.handle()], y, move |back| {
        let Some(mut dy) = back.dy(0) else { return Ok(()) };
        float_dispatch!(OP, dy.dtype(), T => {
            let log_p = saved.slice::<T>()?;
            cpu::rows_mut(dy.slice_mut::<T>()?, cols, |first, dy| {
                for (r, dy) in dy.chunks_mut(cols.max(1)).enumerate() {
                    let total = reduce::sum(cols, |i| dy[i]);
                    let log_p = &log_p[(first + r) * cols..][..cols];
                    dy.iter_mut().zip(log_p).for_each(|(d, l)| *d -= l.exp_() * total);
                }
            });
            Ok(())
        })?;
        back.add(0, dy)
    }))
}

/// `row = softmax(row)` over the living keys, in place.
#[inline(always)]
pub(crate) fn softmax_row<T: Float>(row: &mut [T], mask: Option<&[T]>) {
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
pub(crate) fn softmax_row_gradient<T: Float>(dp: &mut [T], p: &[T]) {
    let inner = reduce::sum(p.len(), |i| dp[i] * p[i]);
    dp.iter_mut().zip(p).for_each(|(d, p)| *d = *p * (*d - inner));
}

/// `out = log softmax(row)`.
#[inline(always)]
pub(crate) fn log_softmax_row<T: Float>(row: &[T], out: &mut [T]) {
    let top = reduce::max(row);
    out.iter_mut().zip(row).for_each(|(o, x)| *o = (*x - top).exp_());
    let log_sum = top + reduce::sum(row.len(), |i| out[i]).ln();
    out.iter_mut().zip(row).for_each(|(o, x)| *o = *x - log_sum);
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn plain(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(64 * 6 * 197), d.size(197)];
        let n: usize = shape.iter().product();
        Ok(Instance::new(vec![d.normal(shape)], |v| Ok(vec![softmax(&v[0])?])).cost(n, 5 * n))
    }
    fn masked(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(64 * 6 * 197), d.size(197)];
        let n: usize = shape.iter().product();
        let mut mask = d.indices(n, 2).to_dtype(crate::DType::F64).reshape(shape)?;
        if shape[0] > 0 {
            mask.slice_mut::<f64>()?[..shape[1]].fill(0.0); // the first row is masked whole
        }
        let run = |v: &[Var]| Ok(vec![masked_softmax(&v[0], Some(v[1].tensor()))?]);
        Ok(Instance::new(vec![d.normal(shape), mask], run).constant(1).cost(n, 5 * n))
    }
    fn log(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(256), d.positive(1000)];
        let n: usize = shape.iter().product();
        Ok(Instance::new(vec![d.normal(shape)], |v| Ok(vec![log_softmax(&v[0])?])).cost(n, 5 * n))
    }
    vec![Case::new("softmax/plain", plain), Case::new("softmax/masked", masked), Case::new("softmax/log", log)]
}
