//! Fully connected layer: `y = x Wᵀ + b`, `x [.., in]`, `W [out, in]`, `b [out]`, `y [.., out]`.
//!
//! Gradients: `dx = dy W`, `dW = dyᵀ x`, `db = sum over rows of dy`. All three products go into the gradient buffers
//! directly, added to what is there when the weight is used more than once.

use super::case::{Case, Draw, Instance};
use super::expect;
use crate::cpu::{self, Mat, gemm};
use crate::tape::record_one;
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Error, Result, Var};

const OP: &str = "linear";

/// `y = x Wᵀ + b`. An inner width of 0 gives the bias alone.
pub fn linear(x: &Var, w: &Var, b: Option<&Var>) -> Result<Var> {
    let (rows, inner) = x.shape().rows_cols();
    if w.shape().len() != 2 || w.shape()[1] != inner || w.dtype() != x.dtype() || x.shape().is_empty() {
        return Err(Error::shape(OP, format!("weight [out, {inner}] {:?}", x.dtype()), (w.shape(), w.dtype())));
    }
    let out = w.shape()[0];
    if let Some(b) = b {
        expect(OP, "bias", b, &[out], x)?;
    }
    let mut y = Tensor::empty(x.shape().with_last(out), x.dtype());
    float_dispatch!(OP, x.dtype(), T => forward::<T>(x.tensor(), w.tensor(), b.map(Var::tensor), &mut y))?;
    let (xt, wt, has_bias) = (x.tensor().clone(), w.tensor().clone(), b.is_some());
    let mut inputs = vec![x.handle(), w.handle()];
    inputs.extend(b.map(Var::handle));
    Ok(record_one(OP, &inputs, y, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        float_dispatch!(OP, dy.dtype(), T => {
            let g = dy.slice::<T>()?;
            back.slot(0, |dx, acc| {
                gemm(T::of(1.0), Mat::new(g, rows, out), Mat::new(wt.slice::<T>()?, out, inner), beta(acc), dx.slice_mut()?, inner);
                Ok(())
            })?;
            back.slot(1, |dw, acc| {
                gemm(T::of(1.0), Mat::new(g, rows, out).t(), Mat::new(xt.slice::<T>()?, rows, inner), beta(acc), dw.slice_mut()?, inner);
                Ok(())
            })?;
            if has_bias {
                back.slot(2, |db, acc| sum_rows::<T>(g, db, acc))?;
            }
            Ok(())
        })
    }))
}

fn beta<T: Float>(accumulate: bool) -> T {
    if accumulate { T::one() } else { T::zero() }
}

/// `out[c] (+)= sum over rows of g[., c]`.
pub(crate) fn sum_rows<T: Float>(g: &[T], out: &mut Tensor, accumulate: bool) -> Result<()> {
    let cols = out.numel();
    let rows = g.len().checked_div(cols).unwrap_or(0);
    cpu::sum_columns(rows, out.slice_mut::<T>()?, accumulate, |first, end, partial| {
        for row in g[first * cols..end * cols].chunks_exact(cols) {
            partial.iter_mut().zip(row).for_each(|(p, g)| *p += *g);
        }
    });
    Ok(())
}

fn forward<T: Float>(x: &Tensor, w: &Tensor, b: Option<&Tensor>, y: &mut Tensor) -> Result<()> {
    let ((rows, inner), out) = (x.shape().rows_cols(), w.shape()[0]);
    let y = y.slice_mut::<T>()?;
    if let Some(b) = b {
        let b = b.slice::<T>()?;
        cpu::rows_mut(y, out, |_, y| y.chunks_mut(out.max(1)).for_each(|row| row.copy_from_slice(b)));
    }
    let x = Mat::new(x.slice::<T>()?, rows, inner);
    gemm(T::one(), x, Mat::new(w.slice::<T>()?, out, inner).t(), beta(b.is_some()), y, out);
    Ok(())
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn with_bias(d: &mut Draw) -> Result<Instance> {
        let (rows, inner, out) = (d.size(64 * 197), d.size(384), d.size(1536));
        let inputs = vec![d.normal([1, rows, inner]), d.normal([out, inner]), d.normal([out])];
        let run = |v: &[Var]| Ok(vec![linear(&v[0], &v[1], Some(&v[2]))?]);
        Ok(Instance::new(inputs, run).cost(rows * out, 2 * rows * inner * out))
    }
    fn without_bias(d: &mut Draw) -> Result<Instance> {
        let (rows, inner, out) = (d.size(64 * 197), d.size(384), d.size(384));
        let run = |v: &[Var]| Ok(vec![linear(&v[0], &v[1], None)?]);
        let inputs = vec![d.normal([rows, inner]), d.normal([out, inner])];
        Ok(Instance::new(inputs, run).cost(rows * out, 2 * rows * inner * out))
    }
    fn shared_weight(d: &mut Draw) -> Result<Instance> {
        let (rows, width) = (d.size(64 * 197), d.size(384));
        let inputs = vec![d.normal([rows, width]), d.normal([width, width]), d.normal([width])];
        let run = |v: &[Var]| {
            let once = linear(&v[0], &v[1], Some(&v[2]))?;
            Ok(vec![linear(&once, &v[1], Some(&v[2]))?])
        };
        Ok(Instance::new(inputs, run).cost(2 * rows * width, 4 * rows * width * width))
    }
    vec![
        Case::new("linear/bias", with_bias),
        Case::new("linear/no_bias", without_bias),
        Case::new("linear/shared_weight", shared_weight),
    ]
}
