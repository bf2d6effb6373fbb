//! The ops: one file each, with equation, forward, gradient, CPU kernel and test cases.
//!
//! An op is a function from [`crate::Var`]s to `Var`s. Inside its file, top to bottom: the doc comment with the equation
//! and its gradient, the function, the CPU kernel generic over `f32` and `f64`, and `cases()`, which feeds the gradient
//! check, the comparison of `f32` with `f64`, the edge sizes and the benchmark. To add an op: the file and one line here.

pub mod case;

use crate::{DType, Error, Result, Var};
use case::Op;

/// What every op's file uses.
mod prelude {
    pub(super) use super::case::{Case, Draw, Instance};
    pub(super) use super::expect;
    pub(super) use crate::cpu::{self, Mat, gemm, reduce};
    pub(super) use crate::tape::{Handle, record, record_one};
    pub(super) use crate::tensor::{DType, Element, Float, Tensor, float_dispatch};
    pub(super) use crate::{Error, Result, Var};
    pub(super) use rayon::prelude::*;
}

macro_rules! ops {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*

        /// Every op with its cases.
        pub fn all() -> Vec<Op> {
            vec![$(Op { name: stringify!($name), cases: $name::cases },)*]
        }
    };
}

ops!(
    add,
    linear,
    bmm,
    gelu,
    gate,
    layernorm,
    softmax,
    attention,
    select,
    patch_embed,
    cross_entropy,
    kd,
    mse,
    dot,
    score,
    adamw,
);

pub use adamw::{AdamwStep, AdamwTensor, adamw, ema, global_norm};
pub use add::{add, add_scaled, scale};
pub use attention::{attention, attention_map};
pub use bmm::bmm;
pub use cross_entropy::{argmax, argmax_row, cross_entropy, one_hot};
pub use dot::{dot, l2_normalize};
pub use gate::{add_bias, gate};
pub use gelu::{bias_gelu, gelu};
pub use kd::{Reduction, kd};
pub use layernorm::{add_layernorm, layernorm};
pub use linear::linear;
pub use mse::{bce_with_logits, mse};
pub use patch_embed::{embed_tokens, patch_embed};
pub use score::taylor_accumulate;
pub use select::{gather_columns, scatter_columns, select_token};
pub use softmax::{log_softmax, masked_softmax, softmax};

/// An error of `op` unless `v`, when there is one, has exactly this shape and dtype.
fn expect<'a>(
    op: &'static str,
    what: &str,
    v: impl Into<Option<&'a Var>>,
    shape: &[usize],
    dtype: DType,
) -> Result<()> {
    match v.into() {
        Some(v) if **v.shape() != *shape || v.dtype() != dtype => {
            Err(Error::shape(op, format!("{what} of {shape:?} {dtype:?}"), (v.shape(), v.dtype())))
        }
        _ => Ok(()),
    }
}
