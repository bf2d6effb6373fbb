//! Activation functions with an optional bias before them: `y = f(x + b)`, `b [C]`.
//!
//! `GELU(t) = t Φ(t)`, `ReLU(t) = max(t, 0)`, `SiLU(t) = t σ(t)`, `σ(t) = 1 / (1 + e^-t)`. Gradients: `dx = dy f'(x + b)`,
//! `db = sum over rows of dx`; `ReLU'(0) = 0`, `SiLU' = σ + t σ (1 - σ)`, `σ' = σ (1 - σ)`. [BatchNorm](mod@super::batchnorm)
//! applies the same functions to its result.

use super::prelude::*;
use super::{add_bias, bias_gelu};
use serde::{Deserialize, Serialize};

const OP: &str = "activation";

/// A function of each element.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the equations stand at the top of the file")]
pub enum Activation {
    /// `y = x`.
    #[default]
    Identity,
    Gelu,
    Relu,
    Silu,
    Sigmoid,
}

/// An [`Activation`] as a type, so that a loop over it is compiled for it.
pub(super) trait Function: Send + Sync {
    fn value<T: Float>(t: T) -> T;
    fn slope<T: Float>(t: T) -> T;
}

pub(super) struct Identity;
pub(super) struct Gelu;
pub(super) struct Relu;
pub(super) struct Silu;
pub(super) struct Sigmoid;

/// `1 / (1 + e^-t)`; where `e^-t` is infinite, 0.
#[inline(always)]
fn sigmoid<T: Float>(t: T) -> T {
    T::one() / (T::one() + (-t).exp_())
}

macro_rules! functions {
    ($($name:ident: $t:ident => $value:expr, $slope:expr;)*) => {$(
        impl Function for $name {
            #[inline(always)]
            fn value<T: Float>($t: T) -> T {
                $value
            }
            #[inline(always)]
            fn slope<T: Float>($t: T) -> T {
                $slope
            }
        }
    )*};
}
functions! {
    Identity: t => t, { let _ = t; T::one() };
    Gelu: t => t * t.normal_cdf_pdf().0, { let (cdf, pdf) = t.normal_cdf_pdf(); cdf + t * pdf };
    Relu: t => if t < T::zero() { T::zero() } else { t }, if t > T::zero() { T::one() } else { T::zero() };
    Silu: t => t * sigmoid(t), { let s = sigmoid(t); s + t * s * (T::one() - s) };
    Sigmoid: t => sigmoid(t), { let s = sigmoid(t); s * (T::one() - s) };
}

/// Runs `$body` with `$F` bound to the function's type.
macro_rules! function_dispatch {
    ($function:expr, $F:ident => $body:expr) => {
        function_dispatch!(@ $function, $F => $body; Identity, Gelu, Relu, Silu, Sigmoid)
    };
    (@ $function:expr, $F:ident => $body:expr; $($name:ident),*) => {
        match $function {
            $($crate::ops::Activation::$name => {
                type $F = $crate::ops::activation::$name;
                $body
            })*
        }
    };
}
pub(super) use function_dispatch;

/// `y = f(x + b)` over the last axis. In place when `x` is untracked and the sole owner of its memory.
pub fn activation(x: Var, b: Option<&Var>, function: Activation) -> Result<Var> {
    if function == Activation::Gelu {
        return bias_gelu(x, b, None);
    }
    let cols = x.shape().rows_cols().1;
    expect_wide(OP, "bias", b, &[cols], x.tensor())?;
    let (inputs, bias) = ([x.handle(), Handle::of(b)], b.map(|b| b.tensor().clone()));
    let tracked = x.is_tracked() || b.is_some_and(Var::is_tracked);
    let x = x.into_tensor();
    let saved = tracked.then(|| x.clone());
    let y = forward(x, bias.as_ref(), function)?;
    Ok(record_one(OP, &inputs, y, move |back, dy| {
        let Some(x) = saved else { return Ok(()) };
        let dx = backward(dy, &x, bias.as_ref(), function)?;
        back.slot(1, |db, accumulate| sum_rows(&dx, db, accumulate))?;
        back.add(0, dx)
    }))
}

/// The bias, zeros for an absent one: the loops then have no branch.
fn or_zeros(b: Option<&Tensor>, x: &Tensor) -> Tensor {
    b.cloned().unwrap_or_else(|| Tensor::zeros([x.shape().rows_cols().1], x.dtype()))
}

/// `x -> f(x + b)`, in place when `x` is the sole owner of its memory.
fn forward(x: Tensor, b: Option<&Tensor>, function: Activation) -> Result<Tensor> {
    let Some(gpu) = x.gpu() else {
        let (b, mut y) = (or_zeros(b, &x), x);
        float_dispatch!(OP, y.dtype(), T => function_dispatch!(function, F => {
            let b = b.slice::<T>()?;
            cpu::each_row::<T>(&mut y, b.len(), #[inline(always)] |_, y| {
                y.iter_mut().zip(b).for_each(|(v, b)| *v = F::value(*v + *b));
            })
        }))?;
        return Ok(y);
    };
    let (from, b, count) = (x.address()?, address_of(b)?, x.stored_numel());
    let [stride, cols] = gpu::sizes([x.stored_width(), x.shape().rows_cols().1])?;
    let mut y = if x.is_shared() { x.new_uncleared()? } else { x };
    let (y_address, function) = (y.address_mut()?, function as i32);
    let args =
        params::ActivationFwd { y: y_address, x: from, b, count: count as i64, stride, cols, function, unused: 0 };
    gpu.launch(y.dtype(), Grid::vecs(count, y.dtype()), &args).map(|()| y)
}

/// `dy -> dy f'(x + b)`.
fn backward(mut dy: Tensor, x: &Tensor, b: Option<&Tensor>, function: Activation) -> Result<Tensor> {
    let Some(gpu) = x.gpu() else {
        let b = or_zeros(b, x);
        float_dispatch!(OP, dy.dtype(), T => function_dispatch!(function, F => {
            let (x, b) = (Mat::<T>::of(x)?, b.slice::<T>()?);
            cpu::each_row::<T>(&mut dy, b.len(), #[inline(always)] |r, dy| {
                dy.iter_mut().zip(x.row(r)).zip(b).for_each(|((d, x), b)| *d *= F::slope(*x + *b));
            })
        }))?;
        return Ok(dy);
    };
    let (b, count, [stride]) = (address_of(b)?, x.stored_numel(), gpu::sizes([x.stored_width()])?);
    let mut dx = dy.new_uncleared()?;
    let (dx_address, dy, x, function) = (dx.address_mut()?, dy.address()?, x.address()?, function as i32);
    let args = params::ActivationBwd { dx: dx_address, dy, x, b, count: count as i64, stride, function };
    gpu.launch(dx.dtype(), Grid::vecs(count, dx.dtype()), &args).map(|()| dx)
}

/// A case of `function` with bias; inputs keep away from the kink of ReLU.
fn case(d: &mut Draw, function: Activation) -> Instance {
    let [rows, cols] = d.sizes([256 * 197, 1536]);
    let inputs = [d.away_from_zero([rows, cols], 0.5), d.uniform([cols], -0.25, 0.25)];
    let run = move |v: &[Var]| activation(v[0].clone(), Some(&v[1]), function);
    let plain = move |v: &[Var]| activation(add_bias(&v[0], &v[1])?, None, function);
    Instance::new(inputs, run).reference(plain).wide([1]).cost_each(1, 10)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("activation/identity", |d| case(d, Activation::Identity)),
        Case::new("activation/relu", |d| case(d, Activation::Relu)),
        Case::new("activation/silu", |d| case(d, Activation::Silu)),
        Case::new("activation/sigmoid", |d| case(d, Activation::Sigmoid)),
    ]
}
