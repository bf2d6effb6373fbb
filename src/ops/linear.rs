//! Fully connected layer: `y = x Wᵀ + b`, `x [.., in]`, `W [out, in]`, `b [out]`, `y [.., out]`.
//!
//! Gradients: `dx = dy W`, `dW = dyᵀ x`, `db = sum over rows of dy`. All three products go into the gradient buffers
//! directly, added to what is there when the weight is used more than once.

use super::prelude::*;

const OP: &str = "linear";

/// `y = x Wᵀ + b`. An inner width of 0 gives the bias alone.
pub fn linear(x: &Var, w: &Var, b: Option<&Var>) -> Result<Var> {
    let inner = x.shape().rows_cols().1;
    let fits = w.shape().len() == 2 && w.shape()[1] == inner && w.dtype() == x.dtype() && !x.shape().is_empty();
    Error::ensure_shape(fits, OP, format_args!("weight [out, {inner}] {:?}", x.dtype()), (w.shape(), w.dtype()))?;
    let out = w.shape()[0];
    expect(OP, "bias", b, &[out], x.dtype())?;
    let mut y = Tensor::empty(x.shape().with_last(out), x.dtype());
    float_dispatch!(OP, x.dtype(), T => {
        if let Some(b) = b {
            let b = b.tensor().slice::<T>()?;
            cpu::each_row::<T>(&mut y, out, |_, y| y.copy_from_slice(b))?;
        }
        product::<T>(Mat::of(x.tensor())?, Mat::of(w.tensor())?.t(), &mut y, b.is_some())
    })?;
    let (xt, wt) = (x.tensor().clone(), w.tensor().clone());
    Ok(record_one(OP, &[x.handle(), w.handle(), Handle::of(b)], y, move |back, dy| {
        float_dispatch!(OP, dy.dtype(), T => {
            let g = Mat::<T>::of(&dy)?;
            back.slot(0, |dx, accumulate| product(g, Mat::of(&wt)?, dx, accumulate))?;
            back.slot(1, |dw, accumulate| product(g.t(), Mat::of(&xt)?, dw, accumulate))
        })?;
        back.slot(2, |db, accumulate| cpu::sum_rows(&dy, db, accumulate))
    }))
}

/// `out (+)= a b`.
fn product<T: Float>(a: Mat<T>, b: Mat<T>, out: &mut Tensor, accumulate: bool) -> Result<()> {
    let beta = if accumulate { T::one() } else { T::zero() };
    let cols = out.shape().rows_cols().1;
    gemm(T::one(), a, b, beta, out.slice_mut()?, cols);
    Ok(())
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("linear/bias", |d| {
            let [rows, inner, out] = d.sizes([64 * 197, 384, 1536]);
            let inputs = [d.normal([1, rows, inner]), d.normal([out, inner]), d.normal([out])];
            Instance::new(inputs, |v| linear(&v[0], &v[1], Some(&v[2]))).cost(rows * out, 2 * rows * inner * out)
        }),
        Case::new("linear/no_bias", |d| {
            let [rows, inner, out] = d.sizes([64 * 197, 384, 384]);
            let inputs = [d.normal([rows, inner]), d.normal([out, inner])];
            Instance::new(inputs, |v| linear(&v[0], &v[1], None)).cost(rows * out, 2 * rows * inner * out)
        }),
        Case::new("linear/shared_weight", |d| {
            let [rows, width] = d.sizes([64 * 197, 384]);
            let inputs = [d.normal([rows, width]), d.normal([width, width]), d.normal([width])];
            let run = |v: &[Var]| linear(&linear(&v[0], &v[1], Some(&v[2]))?, &v[1], Some(&v[2]));
            Instance::new(inputs, run).cost(2 * rows * width, 4 * rows * width * width)
        }),
    ]
}
