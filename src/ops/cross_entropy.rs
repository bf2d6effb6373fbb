//! Cross entropy with soft targets, fused with log-softmax: `L = mean over b of -sum_k t_bk log softmax(z_b)_k`.
//!
//! Gradient: `dz = (p sum_k t_k - t) / B`. Hard labels and label smoothing are special targets ([`one_hot`]). An empty
//! batch has loss 0.

use super::log_softmax;
use super::prelude::*;
use super::softmax::log_softmax_rows;

const OP: &str = "cross_entropy";

/// The loss `[]` for logits `z [B, K]` and targets `t [B, K]`.
pub fn cross_entropy(z: &Var, target: &Tensor) -> Result<Var> {
    z.tensor().check_same(OP, target)?;
    let (log_p, loss) = forward(z.tensor(), target)?;
    let target = target.clone();
    Ok(record_one(OP, &[z.handle()], loss, move |back, dy| back.add(0, gradient(log_p, &target, &dy)?)))
}

/// `log softmax(z)` and the loss.
fn forward(z: &Tensor, target: &Tensor) -> Result<(Tensor, Tensor)> {
    let (rows, cols) = z.shape().rows_cols();
    let Some(gpu) = z.gpu() else {
        let log_p = log_softmax_rows(z)?;
        let total = float_dispatch!(OP, z.dtype(), T => total_loss::<T>(&log_p, target))?;
        return Ok((log_p, Tensor::full([], z.dtype(), total / rows.max(1) as f64)));
    };
    let (mut log_p, mut losses) = (z.new_uncleared()?, z.new_wide([rows, 1, 1, 1])?);
    let [rows_, cols, stride] = gpu::sizes([rows, cols, z.stored_width()])?;
    let (log_p_address, loss) = (log_p.address_mut()?, losses.address_mut()?);
    let (z, t) = (z.address()?, target.address()?);
    let args = params::CrossEntropyFwd { log_p: log_p_address, loss, z, t, rows: rows_, cols, stride, unused: 0 };
    gpu.launch(log_p.dtype(), Grid::warps(rows), &args)?;
    Ok((log_p, gpu.total(&losses, 1.0 / rows.max(1) as f64)?))
}

/// `log p -> dloss / B · (p sum_k t_k - t)`.
fn gradient(mut log_p: Tensor, target: &Tensor, dloss: &Tensor) -> Result<Tensor> {
    let (rows, cols) = log_p.shape().rows_cols();
    let Some(gpu) = log_p.gpu() else {
        let factor = dloss.item()? / rows.max(1) as f64;
        float_dispatch!(OP, log_p.dtype(), T => {
            let (factor, t) = (T::of(factor), Mat::<T>::of(target)?);
            cpu::each_row::<T>(&mut log_p, cols, #[inline(always)] |r, dz| {
                let t = t.row(r);
                let total = reduce::sum(cols, |i| t[i]);
                dz.iter_mut().zip(t).for_each(|(d, t)| *d = factor * (d.exp_() * total - *t));
            })
        })?;
        return Ok(log_p);
    };
    let [rows_, cols, stride] = gpu::sizes([rows, cols, log_p.stored_width()])?;
    let (dz, t, dloss, scale) = (log_p.address_mut()?, target.address()?, dloss.address()?, 1.0 / rows.max(1) as f64);
    let args = params::CrossEntropyBwd { dz, t, dloss, scale, rows: rows_, cols, stride, unused: 0 };
    gpu.launch(log_p.dtype(), Grid::warps(rows), &args).map(|()| log_p)
}

/// Targets `[B, K]` with `on` at the label and `off` elsewhere: plain labels are `(1, 0)`, smoothing by `e` is
/// `(1 - e + e / K, e / K)`. In main memory.
pub fn one_hot(labels: &[usize], classes: usize, smoothing: f64, dtype: DType) -> Result<Tensor> {
    if let Some(bad) = labels.iter().find(|label| **label >= classes) {
        return Err(Error::shape(OP, format!("labels below {classes}"), bad));
    }
    Error::ensure((0.0..1.0).contains(&smoothing), "label smoothing", "0 to below 1", smoothing)?;
    let off = smoothing / classes.max(1) as f64;
    let mut target = Tensor::full([labels.len(), classes], dtype, off);
    float_dispatch!(OP, dtype, T => {
        let values = target.slice_mut::<T>()?;
        labels.iter().enumerate().for_each(|(i, label)| values[i * classes + label] = T::of(1.0 - smoothing + off));
        Ok(())
    })?;
    Ok(target)
}

/// The one-hot target of each row's largest value, the first of equals, where `z [B, K]` is: what a teacher is sure of.
pub fn hard_target(z: &Tensor) -> Result<Tensor> {
    let (rows, cols) = z.shape().rows_cols();
    let Some(gpu) = z.gpu() else { return one_hot(&argmax(z)?, cols, 0.0, z.dtype()) };
    let mut y = z.new_uncleared()?;
    let [rows_, cols, stride] = gpu::sizes([rows, cols, z.stored_width()])?;
    let args = params::HardTarget { y: y.address_mut()?, z: z.address()?, rows: rows_, cols, stride, unused: 0 };
    gpu.launch(z.dtype(), Grid::warps(rows), &args).map(|()| y)
}

/// The index of the largest value of each row, the first of equals.
pub fn argmax(z: &Tensor) -> Result<Vec<usize>> {
    let cols = z.shape().rows_cols().1;
    Ok(z.to_f64s()?.chunks(cols.max(1)).map(argmax_row).collect())
}

/// The index of the largest value, the first of equals; 0 for an empty row.
pub fn argmax_row<T: PartialOrd>(row: &[T]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// `sum over b of -sum_k t_bk l_bk` in `f64`; a zero target leaves out even an infinite term.
fn total_loss<T: Float>(log_p: &Tensor, target: &Tensor) -> Result<f64> {
    let cols = target.shape().rows_cols().1.max(1);
    let row_loss = |(log_p, target): (&[T], &[T])| -> f64 {
        let terms = log_p.iter().zip(target).filter(|(_, t)| **t != T::zero());
        -terms.map(|(l, t)| l.f64() * t.f64()).sum::<f64>()
    };
    Ok(log_p.slice()?.chunks(cols).zip(target.slice()?.chunks(cols)).map(row_loss).sum())
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    let hard = Case::new("cross_entropy/hard_target", |d| {
        // few different values: equal ones are common
        let (shape, count) = ([d.size(40 * 1024), d.positive(1000)], 4);
        let levels = d.indices(shape[0] * shape[1], count);
        let values: Vec<f64> = levels.iter().map(|level| *level as f64).collect();
        let z = Tensor::from_slice(shape, &values).unwrap_or_else(|_| Tensor::zeros(shape, DType::F64));
        Instance::new([z], |v| hard_target(v[0].tensor()).map(Var::constant)).cost_each(1, 1)
    });
    let soft = Case::new("cross_entropy/soft", |d| {
        let shape = [d.size(40 * 1024), d.positive(1000)];
        let target = d.uniform(shape, 0.0, 1.0); // rows that do not sum to 1 are legal
        let run = |v: &[Var]| cross_entropy(&v[0], v[1].tensor());
        let plain = |v: &[Var]| {
            let sum = super::dot(&log_softmax(&v[0])?, &v[1].detach())?;
            super::scale(&sum, -1.0 / v[0].shape()[0].max(1) as f64)
        };
        Instance::new([d.normal(shape), target], run).reference(plain).constant(1).cost_each(1, 8)
    });
    vec![soft, hard.without_gradient("a target")]
}
