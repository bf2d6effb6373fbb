//! `y = GELU((x + b) · g)` with the exact `GELU(t) = t Φ(t)`; bias `b [C]` and gate `g [C]` are optional.
//!
//! Gradients, with `t = (x + b) · g`: `dt = dy (Φ(t) + t φ(t))`, `dx = dt · g`, `db = sum over rows of dx`,
//! `dg = sum over rows of dt · (x + b)`. The gate before the activation is SAViT's hidden gate: `g = 0` gives exactly 0.

use super::prelude::*;
use super::{add_bias, gate};
use crate::tape::Back;

const OP: &str = "gelu";

/// `y = x Φ(x)`, plain.
pub fn gelu(x: &Var) -> Result<Var> {
    bias_gelu(x.clone(), None, None)
}

/// `y = GELU((x + b) · g)` over the last axis. In place when `x` is untracked and the sole owner of its memory.
pub fn bias_gelu(x: Var, b: Option<&Var>, g: Option<&Var>) -> Result<Var> {
    let cols = x.shape().rows_cols().1;
    expect_wide(OP, "bias", b, &[cols], x.tensor())?;
    expect_wide(OP, "gate", g, &[cols], x.tensor())?;
    let inputs = [x.handle(), Handle::of(b), Handle::of(g)];
    let tracked = [Some(&x), b, g].into_iter().flatten().any(Var::is_tracked);
    let vectors = [b, g].map(|v| v.map(|v| v.tensor().clone()));
    let x = x.into_tensor();
    let saved = tracked.then(|| x.clone());
    let y = forward(x, &vectors)?;
    Ok(record_one(OP, &inputs, y, move |back, dy| {
        let Some(x) = saved else { return Ok(()) };
        let dx = match x.gpu() {
            Some(gpu) => backward_on(gpu, back, dy, &x, &vectors)?,
            None => float_dispatch!(OP, dy.dtype(), T => backward::<T>(back, dy, &x, &vectors))?,
        };
        back.slot(1, |db, accumulate| sum_rows(&dx, db, accumulate))?;
        back.add(0, dx)
    }))
}

/// Bias and gate, vectors of 0 and 1 for absent ones: the loops then have no branch.
fn with_defaults([b, g]: &[Option<Tensor>; 2], x: &Tensor) -> [Tensor; 2] {
    let or = |v: &Option<Tensor>, default| {
        v.clone().unwrap_or_else(|| Tensor::full([x.shape().rows_cols().1], x.dtype(), default))
    };
    [or(b, 0.0), or(g, 1.0)]
}

/// `x -> GELU((x + b) · g)`, in place when `x` is the sole owner of its memory.
fn forward(x: Tensor, vectors @ [b, g]: &[Option<Tensor>; 2]) -> Result<Tensor> {
    let Some(gpu) = x.gpu() else {
        let ([b, g], mut y) = (with_defaults(vectors, &x), x);
        float_dispatch!(OP, y.dtype(), T => {
            let (b, g) = (b.slice::<T>()?, g.slice::<T>()?);
            cpu::each_row::<T>(&mut y, b.len(), #[inline(always)] |_, y| {
                for ((v, b), g) in y.iter_mut().zip(b).zip(g) {
                    let t = (*v + *b) * *g;
                    *v = t * t.normal_cdf_pdf().0;
                }
            })
        })?;
        return Ok(y);
    };
    let from = x.address()?;
    let [b, g] = [address_of(b.as_ref())?, address_of(g.as_ref())?];
    let ([stride], count) = (gpu::sizes([x.stored_width()])?, x.stored_numel());
    let mut y = if x.is_shared() { x.new_uncleared()? } else { x };
    let args = params::GeluFwd { y: y.address_mut()?, x: from, b, g, count: count as i64, stride, unused: 0 };
    gpu.launch(y.dtype(), Grid::vecs(count, y.dtype()), &args).map(|()| y)
}

/// `dx` from `dy`, in place; adds the gate's gradient.
fn backward<T: Float>(back: &mut Back, mut dt: Tensor, x: &Tensor, vectors: &[Option<Tensor>; 2]) -> Result<Tensor> {
    let [b, g] = with_defaults(vectors, x);
    into_dt::<T>(&mut dt, x, &b, &g)?;
    back.slot(2, |dg, accumulate| gate_gradient::<T>(&dt, x, &b, dg, accumulate))?;
    if vectors[1].is_some() {
        let g = g.slice::<T>()?;
        cpu::each_row::<T>(
            &mut dt,
            g.len(),
            #[inline(always)]
            |_, dt| dt.iter_mut().zip(g).for_each(|(d, g)| *d *= *g),
        )?;
    }
    Ok(dt)
}

/// [`backward`] on a GPU.
fn backward_on(gpu: &Gpu, back: &mut Back, dy: Tensor, x: &Tensor, [b, g]: &[Option<Tensor>; 2]) -> Result<Tensor> {
    let ((rows, cols), count, stride) = (x.shape().rows_cols(), x.stored_numel(), x.stored_width());
    let [b, g, xa, dya] = [address_of(b.as_ref())?, address_of(g.as_ref())?, x.address()?, dy.address()?];
    back.slot(2, |dg, accumulate| {
        let partials = gpu.column_partials(x.dtype(), [rows, cols], 1, |partials, grid| {
            let [rows, cols, stride] = gpu::sizes([rows, cols, stride])?;
            let args = params::GeluGate { partials, dy: dya, x: xa, b, g, rows, cols, stride, unused: 0 };
            gpu.launch(x.dtype(), grid, &args)
        })?;
        gpu.add_partials(&partials, [0, 1], dg, accumulate)
    })?;
    let (mut dx, [stride]) = (dy.new_uncleared()?, gpu::sizes([stride])?);
    let (dx_address, count_) = (dx.address_mut()?, count as i64);
    let args = params::GeluBwd { dx: dx_address, dy: dya, x: xa, b, g, count: count_, stride, unused: 0 };
    gpu.launch(x.dtype(), Grid::vecs(count, x.dtype()), &args).map(|()| dx)
}

/// `dy -> dt = dy (Φ(t) + t φ(t))`, in place.
fn into_dt<T: Float>(dy: &mut Tensor, x: &Tensor, b: &Tensor, g: &Tensor) -> Result<()> {
    let (x, b, g) = (Mat::<T>::of(x)?, b.slice::<T>()?, g.slice::<T>()?);
    cpu::each_row::<T>(
        dy,
        b.len(),
        #[inline(always)]
        |r, dy| {
            for (((d, x), b), g) in dy.iter_mut().zip(x.row(r)).zip(b).zip(g) {
                let t = (*x + *b) * *g;
                let (cdf, pdf) = t.normal_cdf_pdf();
                *d *= cdf + t * pdf;
            }
        },
    )
}

/// `dg (+)= sum over rows of dt · (x + b)`.
fn gate_gradient<T: Float>(dt: &Tensor, x: &Tensor, b: &Tensor, dg: &mut Tensor, accumulate: bool) -> Result<()> {
    let rows = x.shape().rows_cols().0;
    let (dt, x, b) = (Mat::<T>::of(dt)?, Mat::<T>::of(x)?, b.slice::<T>()?);
    cpu::sum_columns::<T>(
        rows,
        dg,
        accumulate,
        #[inline(always)]
        |r, partial| {
            for (((p, dt), x), b) in partial.iter_mut().zip(dt.row(r)).zip(x.row(r)).zip(b) {
                *p += *dt * (*x + *b);
            }
        },
    )
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    const SIZES: [usize; 2] = [256 * 197, 1536];
    vec![
        Case::new("gelu/plain", |d| {
            let shape = d.sizes(SIZES);
            Instance::new([d.normal(shape)], |v| gelu(&v[0])).cost_each(1, 20)
        }),
        Case::new("gelu/bias", |d| {
            let [rows, cols] = d.sizes(SIZES);
            let run = |v: &[Var]| bias_gelu(v[0].clone(), Some(&v[1]), None);
            let plain = |v: &[Var]| gelu(&add_bias(&v[0], &v[1])?);
            Instance::new([d.normal([rows, cols]), d.normal([cols])], run).reference(plain).wide([1]).cost_each(1, 21)
        }),
        Case::new("gelu/bias_gate", |d| {
            let [rows, cols] = d.sizes(SIZES);
            let inputs = [d.normal([rows, cols]), d.normal([cols]), d.uniform([cols], -0.2, 1.3)];
            let run = |v: &[Var]| bias_gelu(v[0].clone(), Some(&v[1]), Some(&v[2]));
            let plain = |v: &[Var]| gelu(&gate(&add_bias(&v[0], &v[1])?, &v[2], 1)?);
            Instance::new(inputs, run).reference(plain).wide([1, 2]).cost_each(1, 22)
        }),
    ]
}
