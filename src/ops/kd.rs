//! Knowledge distillation: `L = τ² / M · sum over b, k of q (log q - log p)`, `q = softmax(teacher / τ)`,
//! `p = softmax(student / τ)`.
//!
//! `M = B` ([`Reduction::PerSample`], the textbook mean) or `M = B · K` ([`Reduction::PerElement`], DeiT's code).
//! Gradient at the student: `τ / M · (p - q)`; none at the teacher.

use super::case::{Case, Draw, Instance};
use super::same;
use super::softmax::log_softmax_row;
use crate::cpu;
use crate::tape::record_one;
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Error, Result, Var};

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
    same(OP, student.tensor(), teacher)?;
    if !(tau > 0.0 && tau.is_finite()) {
        return Err(Error::invalid("distillation temperature", "above 0", tau));
    }
    let (rows, cols) = student.shape().rows_cols();
    let count = match reduction {
        Reduction::PerSample => rows,
        Reduction::PerElement => rows * cols,
    };
    let scale = tau * tau / count.max(1) as f64;
    let (sum, gap) = float_dispatch!(OP, student.dtype(), T => forward::<T>(student.tensor(), teacher, tau))?;
    let loss = Tensor::full([], student.dtype(), scale * sum);
    Ok(record_one(OP, &[student.handle()], loss, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        let factor = dy.item()? * scale / tau;
        let mut ds = gap;
        float_dispatch!(OP, ds.dtype(), T => {
            cpu::rows_mut(ds.slice_mut::<T>()?, cols, |_, ds| ds.iter_mut().for_each(|d| *d *= T::of(factor)));
            Ok(())
        })?;
        back.add(0, ds)
    }))
}

/// `(sum of q (log q - log p), p - q)`.
fn forward<T: Float>(student: &Tensor, teacher: &Tensor, tau: f64) -> Result<(f64, Tensor)> {
    let (rows, cols) = student.shape().rows_cols();
    let (s, t, inverse) = (student.slice::<T>()?, teacher.slice::<T>()?, T::of(1.0 / tau));
    let mut gap = Tensor::empty(*student.shape(), student.dtype());
    let mut sums = vec![T::zero(); rows];
    cpu::rows_mut2(&mut sums, 1, gap.slice_mut::<T>()?, cols, |first, sums, gap| {
        let (mut scaled, mut log_q) = (vec![T::zero(); cols], vec![T::zero(); cols]);
        for (r, (sum, gap)) in sums.iter_mut().zip(gap.chunks_mut(cols.max(1))).enumerate() {
            let from = (first + r) * cols;
            scaled.iter_mut().zip(&t[from..]).for_each(|(o, v)| *o = *v * inverse);
            log_softmax_row(&scaled, &mut log_q);
            scaled.iter_mut().zip(&s[from..]).for_each(|(o, v)| *o = *v * inverse);
            log_softmax_row(&scaled, gap);
            for (g, lq) in gap.iter_mut().zip(&log_q) {
                let (q, log_p) = (lq.exp_(), *g);
                *sum += if q > T::zero() { q * (*lq - log_p) } else { T::zero() };
                *g = log_p.exp_() - q;
            }
        }
    });
    Ok((sums.iter().map(|v| v.f64()).sum(), gap))
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn instance(d: &mut Draw, reduction: Reduction, tau: f64) -> Result<Instance> {
        let shape = [d.size(256), d.positive(1000)];
        let n: usize = shape.iter().product();
        let run = move |v: &[Var]| Ok(vec![kd(&v[0], v[1].tensor(), tau, reduction)?]);
        Ok(Instance::new(vec![d.normal(shape), d.normal(shape)], run).constant(1).cost(n, 16 * n))
    }
    fn per_sample(d: &mut Draw) -> Result<Instance> {
        instance(d, Reduction::PerSample, 1.0)
    }
    fn per_element(d: &mut Draw) -> Result<Instance> {
        instance(d, Reduction::PerElement, 3.0)
    }
    vec![Case::new("kd/per_sample", per_sample), Case::new("kd/per_element", per_element)]
}
