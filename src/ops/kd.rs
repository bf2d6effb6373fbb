//! Knowledge distillation: `L = τ² / M · sum over b, k of q (log q - log p)`, `q = softmax(teacher / τ)`,
//! `p = softmax(student / τ)`.
//!
//! `M = B` ([`Reduction::PerSample`], the textbook mean) or `M = B · K` ([`Reduction::PerElement`], DeiT's code).
//! Gradient at the student: `τ / M · (p - q)`; none at the teacher.

use super::add::{times, times_scalar};
use super::prelude::*;
use super::softmax::log_softmax_rows;

const OP: &str = "kd";

/// What the sum of divergences is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// The number of samples.
    PerSample,
    /// Samples times classes.
    PerElement,
}

/// The loss `[]` for `student [B, K]` against `teacher [B, K]` at temperature `tau`.
pub fn kd(student: &Var, teacher: &Tensor, tau: f64, reduction: Reduction) -> Result<Var> {
    student.tensor().check_same(OP, teacher)?;
    Error::ensure(tau > 0.0 && tau.is_finite(), "distillation temperature", "above 0", tau)?;
    let (rows, cols) = student.shape().rows_cols();
    let count = match reduction {
        Reduction::PerSample => rows,
        Reduction::PerElement => rows * cols,
    };
    let scale = tau * tau / count.max(1) as f64;
    let (gap, loss) = forward(student.tensor(), teacher, 1.0 / tau, scale)?;
    Ok(record_one(OP, &[student.handle()], loss, move |back, dy| back.add(0, times_scalar(&gap, &dy, scale, tau)?)))
}

/// `p - q`, and `scale` times the sum of `q (log q - log p)`.
fn forward(student: &Tensor, teacher: &Tensor, inverse_tau: f64, scale: f64) -> Result<(Tensor, Tensor)> {
    let (rows, cols) = student.shape().rows_cols();
    if let Some(gpu) = student.gpu() {
        let (mut gap, mut sums) = (student.new_uncleared()?, student.new_wide([rows, 1, 1, 1])?);
        let [rows_, cols, stride] = gpu::sizes([rows, cols, student.stored_width()])?;
        let (out, sum, dtype, unused) = (gap.address_mut()?, sums.address_mut()?, gap.dtype(), 0);
        let (student, teacher) = (student.address()?, teacher.address()?);
        let args = params::KdFwd { gap: out, sum, student, teacher, inverse_tau, rows: rows_, cols, stride, unused };
        gpu.launch(dtype, Grid::warps(rows), &args)?;
        return Ok((gap, gpu.total(&sums, scale)?));
    }
    let log_softmax = |logits: &Tensor| log_softmax_rows(&times(logits, inverse_tau)?);
    // From log p to p - q, and the row sums of q (log q - log p).
    let (mut gap, log_q) = (log_softmax(student)?, log_softmax(teacher)?);
    let mut sums = Tensor::zeros([rows, 1], student.dtype());
    float_dispatch!(OP, student.dtype(), T => {
        let log_q = Mat::<T>::of(&log_q)?;
        cpu::each_row_pair::<T>(&mut sums, &mut gap, #[inline(always)] |r, sum, gap| {
            for (g, log_q) in gap.iter_mut().zip(log_q.row(r)) {
                let (q, log_p) = (log_q.exp_(), *g);
                sum[0] += if q > 0.0 { q * (*log_q - log_p) } else { 0.0 };
                *g = log_p.exp_() - q;
            }
        })
    })?;
    let loss = Tensor::full([], student.dtype(), scale * sums.to_f64s()?.iter().sum::<f64>());
    Ok((gap, loss))
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn instance(d: &mut Draw, reduction: Reduction, tau: f64) -> Instance {
        let shape = [d.size(40 * 1024), d.positive(1000)];
        let run = move |v: &[Var]| kd(&v[0], v[1].tensor(), tau, reduction);
        Instance::new([d.normal(shape), d.normal(shape)], run).constant(1).cost_each(1, 16)
    }
    vec![
        Case::new("kd/per_sample", |d| instance(d, Reduction::PerSample, 1.0)),
        Case::new("kd/per_element", |d| instance(d, Reduction::PerElement, 3.0)),
    ]
}
