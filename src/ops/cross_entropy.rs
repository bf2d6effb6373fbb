//! Cross entropy with soft targets, fused with log-softmax: `L = mean over b of -sum_k t_bk log softmax(z_b)_k`.
//!
//! Gradient: `dz = (p sum_k t_k - t) / B`. Hard labels and label smoothing are special targets ([`one_hot`]). An empty
//! batch has loss 0.

use super::case::{Case, Draw, Instance};
use super::softmax::log_softmax_row;
use super::{log_softmax, same};
use crate::cpu::{self, reduce};
use crate::tape::record_one;
use crate::tensor::{DType, Float, Tensor, float_dispatch};
use crate::{Error, Result, Var};

const OP: &str = "cross_entropy";

/// The loss `[]` for logits `z [B, K]` and targets `t [B, K]`.
pub fn cross_entropy(z: &Var, target: &Tensor) -> Result<Var> {
    same(OP, z.tensor(), target)?;
    let (rows, cols) = z.shape().rows_cols();
    let (loss, log_p) = float_dispatch!(OP, z.dtype(), T => forward::<T>(z.tensor(), target))?;
    let target = target.clone();
    Ok(record_one(OP, &[z.handle()], loss, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        let factor = dy.item()? / rows.max(1) as f64;
        let mut dz = log_p;
        float_dispatch!(OP, dz.dtype(), T => {
            let (factor, t) = (T::of(factor), target.slice::<T>()?);
            cpu::rows_mut(dz.slice_mut::<T>()?, cols, |first, dz| {
                for (r, dz) in dz.chunks_mut(cols.max(1)).enumerate() {
                    let t = &t[(first + r) * cols..][..cols];
                    let total = reduce::sum(cols, |i| t[i]);
                    dz.iter_mut().zip(t).for_each(|(d, t)| *d = factor * (d.exp_() * total - *t));
                }
            });
            Ok(())
        })?;
        back.add(0, dz)
    }))
}

/// Targets `[B, K]` with `on` at the label and `off` elsewhere: plain labels are `(1, 0)`, smoothing by `e` is
/// `(1 - e + e / K, e / K)`.
pub fn one_hot(labels: &[usize], classes: usize, smoothing: f64, dtype: DType) -> Result<Tensor> {
    if let Some(bad) = labels.iter().find(|label| **label >= classes) {
        return Err(Error::shape(OP, format!("labels below {classes}"), bad));
    }
    if !(0.0..1.0).contains(&smoothing) {
        return Err(Error::invalid("label smoothing", "0 to below 1", smoothing));
    }
    let off = smoothing / classes.max(1) as f64;
    let mut target = Tensor::full([labels.len(), classes], dtype, off);
    float_dispatch!(OP, dtype, T => {
        let values = target.slice_mut::<T>()?;
        labels.iter().enumerate().for_each(|(i, label)| values[i * classes + label] = T::of(1.0 - smoothing + off));
        Ok(())
    })?;
    Ok(target)
}

/// The index of the largest value of each row, the first of equals.
pub fn argmax(z: &Tensor) -> Vec<usize> {
    let cols = z.shape().rows_cols().1;
    z.to_f64s().chunks(cols.max(1)).map(argmax_row).collect()
}

/// The index of the largest value, the first of equals; 0 for an empty row.
pub fn argmax_row<T: PartialOrd>(row: &[T]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// `(loss, log softmax)`; the mean over samples is summed in `f64`.
fn forward<T: Float>(z: &Tensor, target: &Tensor) -> Result<(Tensor, Tensor)> {
    let (rows, cols) = z.shape().rows_cols();
    let (zs, t) = (z.slice::<T>()?, target.slice::<T>()?);
    let mut log_p = Tensor::empty(*z.shape(), z.dtype());
    cpu::rows_mut(log_p.slice_mut::<T>()?, cols, |first, out| {
        for (r, out) in out.chunks_mut(cols.max(1)).enumerate() {
            log_softmax_row(&zs[(first + r) * cols..][..cols], out);
        }
    });
    let log_p_ = log_p.slice::<T>()?;
    let total: f64 = log_p_.chunks(cols.max(1)).zip(t.chunks(cols.max(1))).map(|(l, t)| row_loss(l, t)).sum();
    Ok((Tensor::full([], z.dtype(), total / rows.max(1) as f64), log_p))
}

/// `-sum_k t_k l_k`; a zero target leaves out even an infinite term.
fn row_loss<T: Float>(log_p: &[T], target: &[T]) -> f64 {
    let terms = log_p.iter().zip(target).filter(|(_, t)| **t != T::zero());
    -terms.map(|(l, t)| l.f64() * t.f64()).sum::<f64>()
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn soft(d: &mut Draw) -> Result<Instance> {
        let (rows, cols) = (d.size(256), d.positive(1000));
        let target = d.uniform([rows, cols], 0.0, 1.0); // rows that do not sum to 1 are legal
        let plain = |v: &[Var]| {
            let log_p = log_softmax(&v[0])?;
            let sum = super::dot(&log_p, &v[1].detach())?;
            Ok(vec![super::scale(&sum, -1.0 / v[0].shape()[0].max(1) as f64)?])
        };
        let run = |v: &[Var]| Ok(vec![cross_entropy(&v[0], v[1].tensor())?]);
        let n = rows * cols;
        let instance = Instance::new(vec![d.normal([rows, cols]), target], run).reference(plain).constant(1);
        Ok(instance.cost(n, 8 * n))
    }
    vec![Case::new("cross_entropy/soft", soft)]
}
