//! `y = GELU((x + b) · g)` with the exact `GELU(t) = t Φ(t)`; bias `b [C]` and gate `g [C]` are optional.
//!
//! Gradients, with `t = (x + b) · g`: `dt = dy (Φ(t) + t φ(t))`, `dx = dt · g`, `db = sum over rows of dx`,
//! `dg = sum over rows of dt · (x + b)`. The gate before the activation is SAViT's hidden gate: `g = 0` gives exactly 0.

use super::prelude::*;
use super::{add_bias, gate};

const OP: &str = "gelu";

/// `y = x Φ(x)`, plain.
pub fn gelu(x: &Var) -> Result<Var> {
    bias_gelu(x.clone(), None, None)
}

/// `y = GELU((x + b) · g)` over the last axis. In place when `x` is untracked and the sole owner of its memory.
pub fn bias_gelu(x: Var, b: Option<&Var>, g: Option<&Var>) -> Result<Var> {
    let cols = x.shape().rows_cols().1;
    expect(OP, "bias", b, &[cols], x.dtype())?;
    expect(OP, "gate", g, &[cols], x.dtype())?;
    let inputs = [x.handle(), Handle::of(b), Handle::of(g)];
    let (tracked, gated) = ([Some(&x), b, g].into_iter().flatten().any(Var::is_tracked), g.is_some());
    // An absent vector is one of 0 or 1: the loops then have no branch.
    let or =
        |v: Option<&Var>, default| v.map_or_else(|| Tensor::full([cols], x.dtype(), default), |v| v.tensor().clone());
    let (b, g) = (or(b, 0.0), or(g, 1.0));
    let mut y = x.into_tensor();
    let saved = tracked.then(|| y.clone());
    float_dispatch!(OP, y.dtype(), T => {
        let (b, g) = (b.slice::<T>()?, g.slice::<T>()?);
        cpu::each_row::<T>(&mut y, cols, |_, y| {
            for ((v, b), g) in y.iter_mut().zip(b).zip(g) {
                let t = (*v + *b) * *g;
                *v = t * t.normal_cdf_pdf().0;
            }
        })
    })?;
    Ok(record_one(OP, &inputs, y, move |back, mut dt| {
        let Some(x) = saved else { return Ok(()) };
        float_dispatch!(OP, dt.dtype(), T => {
            into_dt::<T>(&mut dt, &x, &b, &g)?;
            back.slot(2, |dg, accumulate| gate_gradient::<T>(&dt, &x, &b, dg, accumulate))?;
            if gated {
                let g = g.slice::<T>()?;
                cpu::each_row::<T>(&mut dt, cols, |_, dt| dt.iter_mut().zip(g).for_each(|(d, g)| *d *= *g))?;
            }
            Ok(())
        })?;
        back.slot(1, |db, accumulate| cpu::sum_rows(&dt, db, accumulate))?;
        back.add(0, dt)
    }))
}

/// `dy -> dt = dy (Φ(t) + t φ(t))`, in place.
fn into_dt<T: Float>(dy: &mut Tensor, x: &Tensor, b: &Tensor, g: &Tensor) -> Result<()> {
    let (x, b, g) = (Mat::<T>::of(x)?, b.slice::<T>()?, g.slice::<T>()?);
    cpu::each_row::<T>(dy, b.len(), |r, dy| {
        for (((d, x), b), g) in dy.iter_mut().zip(x.row(r)).zip(b).zip(g) {
            let t = (*x + *b) * *g;
            let (cdf, pdf) = t.normal_cdf_pdf();
            *d *= cdf + t * pdf;
        }
    })
}

/// `dg (+)= sum over rows of dt · (x + b)`.
fn gate_gradient<T: Float>(dt: &Tensor, x: &Tensor, b: &Tensor, dg: &mut Tensor, accumulate: bool) -> Result<()> {
    let rows = x.shape().rows_cols().0;
    let (dt, x, b) = (Mat::<T>::of(dt)?, Mat::<T>::of(x)?, b.slice::<T>()?);
    cpu::sum_columns::<T>(rows, dg, accumulate, |r, partial| {
        for (((p, dt), x), b) in partial.iter_mut().zip(dt.row(r)).zip(x.row(r)).zip(b) {
            *p += *dt * (*x + *b);
        }
    })
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    const SIZES: [usize; 2] = [64 * 197, 1536];
    vec![
        Case::new("gelu/plain", |d| {
            let shape = d.sizes(SIZES);
            Instance::new([d.normal(shape)], |v| gelu(&v[0])).cost_each(1, 20)
        }),
        Case::new("gelu/bias", |d| {
            let [rows, cols] = d.sizes(SIZES);
            let run = |v: &[Var]| bias_gelu(v[0].clone(), Some(&v[1]), None);
            let plain = |v: &[Var]| gelu(&add_bias(&v[0], &v[1])?);
            Instance::new([d.normal([rows, cols]), d.normal([cols])], run).reference(plain).cost_each(1, 21)
        }),
        Case::new("gelu/bias_gate", |d| {
            let [rows, cols] = d.sizes(SIZES);
            let inputs = [d.normal([rows, cols]), d.normal([cols]), d.uniform([cols], -0.2, 1.3)];
            let run = |v: &[Var]| bias_gelu(v[0].clone(), Some(&v[1]), Some(&v[2]));
            let plain = |v: &[Var]| gelu(&gate(&add_bias(&v[0], &v[1])?, &v[2], 1)?);
            Instance::new(inputs, run).reference(plain).cost_each(1, 22)
        }),
    ]
}
