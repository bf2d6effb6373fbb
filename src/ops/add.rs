//! Sums: `y = x + s · b`, `y = c x`.
//!
//! `s` is absent, or one factor per sample (leading axis): drop path multiplies a branch by `keep / (1 - rate)`.
//! Gradients: `dx = dy`, `db = s · dy`; none for `s`.

use super::case::{Case, Draw, Instance};
use super::same;
use crate::cpu;
use crate::tape::record_one;
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Error, Result, Var};

const OP: &str = "add";

/// `y = x + b`, element by element, equal shapes. In place when `x` is the sole owner of its memory.
pub fn add(x: Var, b: &Var) -> Result<Var> {
    add_scaled(x, b, None)
}

/// `y[i, …] = x[i, …] + s[i] b[i, …]` for a factor `s` per sample (`[samples]`), 1 when absent.
pub fn add_scaled(x: Var, b: &Var, s: Option<&Tensor>) -> Result<Var> {
    same(OP, x.tensor(), b.tensor())?;
    check_scale(x.tensor(), s)?;
    let (handle, mut y) = x.split();
    float_dispatch!(OP, y.dtype(), T => add_into::<T>(&mut y, b.tensor(), s))?;
    let s = s.cloned();
    Ok(record_one(OP, &[handle, b.handle()], y, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        if back.wants(1) {
            back.add(1, scaled_by_sample(&dy, s.as_ref())?)?;
        }
        back.add(0, dy)
    }))
}

/// `y = c x`.
pub fn scale(x: &Var, c: f64) -> Result<Var> {
    let y = float_dispatch!("scale", x.dtype(), T => times::<T>(x.tensor(), c))?;
    Ok(record_one("scale", &[x.handle()], y, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        back.add(0, float_dispatch!("scale", dy.dtype(), T => times::<T>(&dy, c))?)
    }))
}

/// `s · dy`, one factor per sample, without recording.
pub(crate) fn scaled_by_sample(dy: &Tensor, s: Option<&Tensor>) -> Result<Tensor> {
    float_dispatch!(OP, dy.dtype(), T => scaled::<T>(dy, s))
}

fn check_scale(x: &Tensor, s: Option<&Tensor>) -> Result<()> {
    match s {
        Some(s) if s.numel() != x.dim(0) || s.dtype() != x.dtype() => {
            Err(Error::shape(OP, format!("{} factors of {:?}", x.dim(0), x.dtype()), s.shape()))
        }
        _ => Ok(()),
    }
}

/// Elements of one sample.
fn sample_len(x: &Tensor) -> usize {
    x.numel() / x.dim(0).max(1)
}

fn add_into<T: Float>(y: &mut Tensor, b: &Tensor, s: Option<&Tensor>) -> Result<()> {
    let Some(s) = s else { return cpu::accumulate(y, b) };
    let (len, b, s) = (sample_len(y), b.slice::<T>()?, s.slice::<T>()?);
    cpu::rows_mut(y.slice_mut::<T>()?, len, |first, y| {
        for (i, row) in y.chunks_mut(len.max(1)).enumerate() {
            let (factor, b) = (s[first + i], &b[(first + i) * len..]);
            row.iter_mut().zip(b).for_each(|(y, b)| *y += factor * *b);
        }
    });
    Ok(())
}

fn scaled<T: Float>(dy: &Tensor, s: Option<&Tensor>) -> Result<Tensor> {
    let Some(s) = s else { return Ok(dy.clone()) };
    let (len, s, g) = (sample_len(dy), s.slice::<T>()?, dy.slice::<T>()?);
    let mut out = Tensor::empty(*dy.shape(), dy.dtype());
    cpu::rows_mut(out.slice_mut::<T>()?, len, |first, out| {
        for (i, row) in out.chunks_mut(len.max(1)).enumerate() {
            let (factor, g) = (s[first + i], &g[(first + i) * len..]);
            row.iter_mut().zip(g).for_each(|(o, g)| *o = factor * *g);
        }
    });
    Ok(out)
}

fn times<T: Float>(x: &Tensor, c: f64) -> Result<Tensor> {
    let (values, c) = (x.slice::<T>()?, T::of(c));
    let mut y = Tensor::empty(*x.shape(), x.dtype());
    cpu::rows_mut(y.slice_mut::<T>()?, 1, |first, y| {
        y.iter_mut().zip(&values[first..]).for_each(|(y, x)| *y = c * *x);
    });
    Ok(y)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn plain(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(64), d.size(197), d.size(384)];
        let n: usize = shape.iter().product();
        Ok(Instance::new(vec![d.normal(shape), d.normal(shape)], |v| Ok(vec![add(v[0].clone(), &v[1])?])).cost(n, n))
    }
    fn drop_path(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(64), d.size(197), d.size(384)];
        let n: usize = shape.iter().product();
        let inputs = vec![d.normal(shape), d.normal(shape), d.uniform([shape[0]], 0.0, 2.0)];
        let run = |v: &[Var]| Ok(vec![add_scaled(v[0].clone(), &v[1], Some(v[2].tensor()))?]);
        Ok(Instance::new(inputs, run).constant(2).cost(n, 2 * n))
    }
    fn times(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(64 * 197), d.size(384)];
        let n: usize = shape.iter().product();
        Ok(Instance::new(vec![d.normal(shape)], |v| Ok(vec![scale(&v[0], -1.7)?])).cost(n, n))
    }
    vec![Case::new("add/plain", plain), Case::new("add/drop_path", drop_path), Case::new("add/scale", times)]
}
