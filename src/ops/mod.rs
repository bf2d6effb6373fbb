//! The ops: one file each, with equation, forward, gradient, CPU kernel and test cases.
//!
//! An op is a function from [`crate::Var`]s to `Var`s. Inside its file, top to bottom: the doc comment with the equation
//! and its gradient, the function, the CPU kernel generic over `f32` and `f64`, and `cases()`, which feeds the gradient
//! check, the comparison of `f32` with `f64`, the edge sizes and the benchmark. To add an op: the file and one line here.

pub mod activation;
pub mod adamw;
pub mod add;
pub mod attention;
pub mod batchnorm;
pub mod bmm;
pub mod case;
pub mod cast;
pub mod conv2d;
pub mod cross_entropy;
pub mod depthwise;
pub mod dot;
pub mod drop_path;
pub mod gate;
pub mod gelu;
pub mod kd;
pub mod layernorm;
pub mod linear;
pub mod max_tokens;
pub mod mean_tokens;
pub mod mix_tokens;
pub mod mse;
pub mod patch_embed;
pub mod patch_merge;
pub mod score;
pub mod select;
pub mod softmax;
pub mod window_attention;

use crate::{DType, Error, Result, Tensor, Var, cpu};
use case::Op;

/// What every op's file uses.
mod prelude {
    pub(super) use super::case::{Case, Draw, Instance};
    pub(super) use super::{address_of, expect, expect_wide, sum_rows};
    pub(super) use crate::cpu::{self, Mat, gemm, reduce};
    pub(super) use crate::gpu::{self, Gpu, Grid, params};
    pub(super) use crate::tape::{Handle, record, record_one};
    pub(super) use crate::tensor::{DType, Element, Float, Tensor, float_dispatch};
    pub(super) use crate::{Error, Result, Var};
    pub(super) use rayon::prelude::*;
}

macro_rules! ops {
    ($($name:ident: $($item:ident),*;)*) => {
        $($(pub use $name::$item;)*)*

        /// Every op with its cases.
        pub fn all() -> Vec<Op> {
            vec![$(Op { name: stringify!($name), cases: $name::cases },)*]
        }
    };
}

// The file of each op and what it offers.
ops! {
    add: add, add_scaled, scale;
    linear: linear, linear_gelu_packed, linear_packed;
    bmm: bmm;
    gelu: bias_gelu, gelu;
    activation: Activation, activation;
    gate: add_bias, gate, gate_samples;
    layernorm: add_layernorm, layernorm;
    batchnorm: Statistics, batchnorm, batchnorm_running, batchnorm_update, fold_batchnorm;
    softmax: log_softmax, masked_softmax, softmax;
    attention: attention, attention_map;
    window_attention: Windows, window_attention;
    patch_merge: patch_merge;
    mean_tokens: mean_tokens;
    max_tokens: max_tokens;
    mix_tokens: TokenBox, mix_tokens;
    select: gather_columns, pad_tokens, scatter_columns, select_token, slice_tokens;
    conv2d: Conv2d, conv2d;
    depthwise: ; // conv2d's
    patch_embed: embed_tokens, flatten_maps, patch_embed;
    cross_entropy: argmax, argmax_row, cross_entropy, hard_target, one_hot;
    kd: Reduction, kd;
    mse: bce_with_logits, mse;
    dot: dot, l2_normalize;
    drop_path: drop_path;
    score: taylor_accumulate;
    cast: cast;
    adamw: AdamwTensor, Numbers, adamw, clip_scale, ema, global_norm, loss_seed;
}

/// An error of `op` unless `v`, when there is one, has exactly this shape, and dtype and device of `like`.
fn expect<'a>(
    op: &'static str, what: &str, v: impl Into<Option<&'a Var>>, shape: &[usize], like: &Tensor,
) -> Result<()> {
    expect_typed(op, what, v.into(), shape, like.dtype(), like)
}

/// [`expect`] for what is kept in the wide type of `like`.
fn expect_wide<'a>(
    op: &'static str, what: &str, v: impl Into<Option<&'a Var>>, shape: &[usize], like: &Tensor,
) -> Result<()> {
    expect_typed(op, what, v.into(), shape, like.dtype().wide(), like)
}

fn expect_typed(
    op: &'static str, what: &str, v: Option<&Var>, shape: &[usize], dtype: DType, like: &Tensor,
) -> Result<()> {
    let Some(v) = v else { return Ok(()) };
    let fits = **v.shape() == *shape && v.dtype() == dtype;
    Error::ensure_shape(fits, op, format_args!("{what} of {shape:?} {dtype:?}"), (v.shape(), v.dtype()))?;
    like.check_device(op, v.tensor())
}

/// `out[c] (+)= sum over rows of x[., c]`, `x` seen as rows as long as `out`.
fn sum_rows(x: &Tensor, out: &mut Tensor, accumulate: bool) -> Result<()> {
    match x.gpu() {
        Some(gpu) => gpu.sum_rows(x, out, accumulate),
        None => cpu::sum_rows(x, out, accumulate),
    }
}

/// An optional input's device address; 0 for none.
fn address_of(tensor: Option<&Tensor>) -> Result<u64> {
    tensor.map_or(Ok(0), Tensor::address)
}
