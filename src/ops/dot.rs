//! Whole-tensor sums: `dot = sum a · b` and the rows' L2 normalisation `y = x / max(|x|, 1e-12)`.
//!
//! Gradients: `da = b`, `db = a` (times the incoming scalar); `dx = (dy - y <dy, y>) / |x|`, and `dy / 1e-12` for a row
//! that is shorter than the floor. The sum runs in chunks of constant size, added in order in `f64`.

use super::case::{Case, Draw, Instance};
use super::same;
use crate::cpu::{self, reduce};
use crate::tape::record_one;
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Result, Var};

const CHUNK: usize = 16 * 1024;
const FLOOR: f64 = 1e-12;

/// `sum a · b` over all elements: `[]`.
pub fn dot(a: &Var, b: &Var) -> Result<Var> {
    same("dot", a.tensor(), b.tensor())?;
    let sum = float_dispatch!("dot", a.dtype(), T => inner::<T>(a.tensor(), b.tensor()))?;
    let (at, bt) = (a.detach(), b.detach());
    let out = Tensor::full([], a.dtype(), sum);
    Ok(record_one("dot", &[a.handle(), b.handle()], out, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        let factor = dy.item()?;
        for (k, other) in [(0, &bt), (1, &at)] {
            if back.wants(k) {
                back.add(k, super::scale(other, factor)?.into_tensor())?;
            }
        }
        Ok(())
    }))
}

/// Every row of the last axis divided by its length.
pub fn l2_normalize(x: &Var) -> Result<Var> {
    let (rows, cols) = x.shape().rows_cols();
    let (y, lengths) = float_dispatch!("l2_normalize", x.dtype(), T => {
        let xs = x.tensor().slice::<T>()?;
        let (mut y, mut lengths) = (Tensor::empty(*x.shape(), x.dtype()), Tensor::empty([rows], x.dtype()));
        cpu::rows_mut2(lengths.slice_mut::<T>()?, 1, y.slice_mut::<T>()?, cols, |first, lengths, y| {
            for (r, (length, y)) in lengths.iter_mut().zip(y.chunks_mut(cols.max(1))).enumerate() {
                let row = &xs[(first + r) * cols..][..cols];
                *length = reduce::sum(cols, |i| row[i] * row[i]).sqrt().max(T::of(FLOOR));
                y.iter_mut().zip(row).for_each(|(y, x)| *y = *x / *length);
            }
        });
        Ok((y, lengths))
    })?;
    let saved = y.clone();
    Ok(record_one("l2_normalize", &[x.handle()], y, move |back| {
        let Some(mut dy) = back.dy(0) else { return Ok(()) };
        float_dispatch!("l2_normalize", dy.dtype(), T => {
            let (y, lengths) = (saved.slice::<T>()?, lengths.slice::<T>()?);
            cpu::rows_mut(dy.slice_mut::<T>()?, cols, |first, dy| {
                for (r, dy) in dy.chunks_mut(cols.max(1)).enumerate() {
                    let (y, length) = (&y[(first + r) * cols..][..cols], lengths[first + r]);
                    let along = if length > T::of(FLOOR) { reduce::sum(cols, |i| dy[i] * y[i]) } else { T::of(0.0) };
                    dy.iter_mut().zip(y).for_each(|(d, y)| *d = (*d - *y * along) / length);
                }
            });
            Ok(())
        })?;
        back.add(0, dy)
    }))
}

/// `sum a · b` in `f64`, chunk by chunk in order.
pub(crate) fn inner<T: Float>(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (a, b) = (a.slice::<T>()?, b.slice::<T>()?);
    let chunk = |task: usize| -> f64 {
        let range = task * CHUNK..((task + 1) * CHUNK).min(a.len());
        a[range.clone()].iter().zip(&b[range]).map(|(a, b)| a.f64() * b.f64()).sum()
    };
    Ok(cpu::rows(a.len().div_ceil(CHUNK), chunk).into_iter().sum())
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn product(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(64 * 197), d.size(384)];
        let n: usize = shape.iter().product();
        Ok(Instance::new(vec![d.normal(shape), d.normal(shape)], |v| Ok(vec![dot(&v[0], &v[1])?])).cost(0, 2 * n))
    }
    fn normalize(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(64 * 197), d.positive(384)];
        let n: usize = shape.iter().product();
        let inputs = vec![d.away_from_zero(shape, 0.3)];
        Ok(Instance::new(inputs, |v| Ok(vec![l2_normalize(&v[0])?])).cost(n, 3 * n))
    }
    vec![Case::new("dot/product", product), Case::new("dot/l2_normalize", normalize)]
}
