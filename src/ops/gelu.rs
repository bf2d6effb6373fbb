//! `y = GELU((x + b) · g)` with the exact `GELU(t) = t Φ(t)`; bias `b [C]` and gate `g [C]` are optional.
//!
//! Gradients, with `t = (x + b) · g`: `dt = dy (Φ(t) + t φ(t))`, `dx = dt · g`, `db = sum over rows of dx`,
//! `dg = sum over rows of dt · (x + b)`. The gate before the activation is SAViT's hidden gate: `g = 0` gives exactly 0.

use super::case::{Case, Draw, Instance};
use super::{add_bias, expect, gate};
use crate::cpu;
use crate::tape::record_one;
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Result, Var};

const OP: &str = "gelu";

/// `y = x Φ(x)`, plain.
pub fn gelu(x: &Var) -> Result<Var> {
    bias_gelu(x.clone(), None, None)
}

/// `y = GELU((x + b) · g)` over the last axis. In place when `x` is untracked and the sole owner of its memory.
pub fn bias_gelu(x: Var, b: Option<&Var>, g: Option<&Var>) -> Result<Var> {
    let cols = x.shape().rows_cols().1;
    for (what, v) in [("bias", b), ("gate", g)] {
        if let Some(v) = v {
            expect(OP, what, v, &[cols], &x)?;
        }
    }
    let mut inputs = vec![x.handle()];
    inputs.extend([b, g].into_iter().flatten().map(Var::handle));
    let tracked = [Some(&x), b, g].into_iter().flatten().any(Var::is_tracked);
    let (bt, gt) = (b.map(|b| b.tensor().clone()), g.map(|g| g.tensor().clone()));
    let mut y = x.into_tensor();
    let saved = tracked.then(|| y.clone());
    float_dispatch!(OP, y.dtype(), T => forward::<T>(&mut y, bt.as_ref(), gt.as_ref()))?;
    Ok(record_one(OP, &inputs, y, move |back| {
        let (Some(dy), Some(x)) = (back.dy(0), saved) else { return Ok(()) };
        let mut dt = dy;
        let gate_slot = 1 + usize::from(bt.is_some());
        float_dispatch!(OP, dt.dtype(), T => {
            into_dt::<T>(&mut dt, &x, bt.as_ref(), gt.as_ref())?;
            if let Some(g) = &gt {
                back.slot(gate_slot, |dg, acc| gate_gradient::<T>(&dt, &x, bt.as_ref(), dg, acc))?;
                times_gate::<T>(&mut dt, g)?;
            }
            if bt.is_some() {
                back.slot(1, |db, acc| super::linear::sum_rows::<T>(dt.slice::<T>()?, db, acc))?;
            }
            Ok(())
        })?;
        back.add(0, dt)
    }))
}

/// An optional vector, or `cols` times `default`: the loops then have no branch.
fn or_default<T: Float>(v: Option<&Tensor>, cols: usize, default: T) -> Result<Vec<T>> {
    Ok(match v {
        Some(v) => v.slice::<T>()?.to_vec(),
        None => vec![default; cols],
    })
}

fn forward<T: Float>(y: &mut Tensor, b: Option<&Tensor>, g: Option<&Tensor>) -> Result<()> {
    let cols = y.shape().rows_cols().1;
    let (b, g) = (or_default(b, cols, T::zero())?, or_default(g, cols, T::one())?);
    cpu::rows_mut(y.slice_mut::<T>()?, cols, |_, y| {
        for row in y.chunks_mut(cols.max(1)) {
            for ((v, b), g) in row.iter_mut().zip(&b).zip(&g) {
                let t = (*v + *b) * *g;
                *v = t * t.normal_cdf_pdf().0;
            }
        }
    });
    Ok(())
}

/// `dy -> dt = dy (Φ(t) + t φ(t))`, in place.
fn into_dt<T: Float>(dy: &mut Tensor, x: &Tensor, b: Option<&Tensor>, g: Option<&Tensor>) -> Result<()> {
    let (cols, x) = (x.shape().rows_cols().1, x.slice::<T>()?);
    let (b, g) = (or_default(b, cols, T::zero())?, or_default(g, cols, T::one())?);
    cpu::rows_mut(dy.slice_mut::<T>()?, cols, |first, dy| {
        let rows = x[first * cols..].chunks(cols.max(1));
        for (dy, x) in dy.chunks_mut(cols.max(1)).zip(rows) {
            for (((d, x), b), g) in dy.iter_mut().zip(x).zip(&b).zip(&g) {
                let t = (*x + *b) * *g;
                let (cdf, pdf) = t.normal_cdf_pdf();
                *d *= cdf + t * pdf;
            }
        }
    });
    Ok(())
}

fn gate_gradient<T: Float>(dt: &Tensor, x: &Tensor, b: Option<&Tensor>, dg: &mut Tensor, acc: bool) -> Result<()> {
    let ((rows, cols), dt, x) = (x.shape().rows_cols(), dt.slice::<T>()?, x.slice::<T>()?);
    let b = or_default(b, cols, T::zero())?;
    cpu::sum_columns(rows, dg.slice_mut::<T>()?, acc, |first, end, partial| {
        for r in first..end {
            let (dt, x) = (&dt[r * cols..][..cols], &x[r * cols..][..cols]);
            for (((p, dt), x), b) in partial.iter_mut().zip(dt).zip(x).zip(&b) {
                *p += *dt * (*x + *b);
            }
        }
    });
    Ok(())
}

fn times_gate<T: Float>(dt: &mut Tensor, g: &Tensor) -> Result<()> {
    let (cols, g) = (dt.shape().rows_cols().1, g.slice::<T>()?);
    cpu::rows_mut(dt.slice_mut::<T>()?, cols, |_, dt| {
        for row in dt.chunks_mut(cols.max(1)) {
            row.iter_mut().zip(g).for_each(|(d, g)| *d *= *g);
        }
    });
    Ok(())
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn plain(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(64 * 197), d.size(1536)];
        let n: usize = shape.iter().product();
        Ok(Instance::new(vec![d.normal(shape)], |v| Ok(vec![gelu(&v[0])?])).cost(n, 20 * n))
    }
    fn bias(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(64 * 197), d.size(1536)];
        let n: usize = shape.iter().product();
        let inputs = vec![d.normal(shape), d.normal([shape[1]])];
        let plain = |v: &[Var]| Ok(vec![gelu(&add_bias(&v[0], &v[1])?)?]);
        let run = |v: &[Var]| Ok(vec![bias_gelu(v[0].clone(), Some(&v[1]), None)?]);
        Ok(Instance::new(inputs, run).reference(plain).cost(n, 21 * n))
    }
    fn gated(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(64 * 197), d.size(1536)];
        let n: usize = shape.iter().product();
        let inputs = vec![d.normal(shape), d.normal([shape[1]]), d.uniform([shape[1]], -0.2, 1.3)];
        let plain = |v: &[Var]| Ok(vec![gelu(&gate(&add_bias(&v[0], &v[1])?, &v[2], 1)?)?]);
        let run = |v: &[Var]| Ok(vec![bias_gelu(v[0].clone(), Some(&v[1]), Some(&v[2]))?]);
        Ok(Instance::new(inputs, run).reference(plain).cost(n, 22 * n))
    }
    vec![Case::new("gelu/plain", plain), Case::new("gelu/bias", bias), Case::new("gelu/bias_gate", gated)]
}
