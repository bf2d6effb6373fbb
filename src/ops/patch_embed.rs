//! Patch embedding: a convolution whose kernel is its stride, and the tokens put before the patches.
//!
//! `y[b, i·g + j] = W · patch(b, i, j) + bias`, the patch flattened in (channel, row, column) order, `W [D, C, P, P]`,
//! `x [B, C, H, W]`, `y [B, g², D]`: see [`conv2d`](super::conv2d()). Then `z = [cls; dist; y] + pos`, `pos [1, N, D]`; positions
//! that are a map become tokens first: `y[b, (i, j), c] = x[b, c, i, j]`, whose gradient goes the same way back.

use super::conv2d::{fold, unfold};
use super::prelude::*;
use super::select::tokens_of;
use super::{Conv2d, conv2d};
use crate::cpu::Windows;

const OP: &str = "patch_embed";

/// `y [B, patches, D]` for `x [B, C, H, W]`, `w [D, C, P, P]`, `b [D]`.
pub fn patch_embed(x: &Var, w: &Var, b: &Var) -> Result<Var> {
    let (xs, ws) = (*x.shape(), *w.shape());
    let fits = xs.len() == 4 && ws.len() == 4 && ws[2] > 0;
    let fits = fits && xs[2].is_multiple_of(ws[2]) && xs[3].is_multiple_of(ws[2]);
    Error::ensure_shape(fits, OP, "images [B, C, H, W] cut evenly by a weight [D, C, P, P]", (xs, ws))?;
    conv2d(x, w, Some(b), Conv2d::patches([xs[2], xs[3]], ws[2]))
}

/// Maps as tokens, `x [B, C, H, W] -> [B, H · W, C]`, both of the wide type.
pub fn flatten_maps(x: &Var) -> Result<Var> {
    const OP: &str = "flatten_maps";
    let (shape, dtype) = (*x.shape(), x.dtype());
    let fits = shape.len() == 4 && shape[1..].iter().all(|&side| side > 0) && dtype == dtype.wide();
    Error::ensure_shape(fits, OP, "maps [B, C, H, W] of a pixel or more, of a wide type", (shape, dtype))?;
    let ([batch, channels], size) = ([shape[0], shape[1]], [shape[2], shape[3]]);
    // Windows of a pixel each.
    let at = Windows { images: true, channels, groups: 1, size, out: size, kernel: 1, stride: 1, padding: 0 };
    let y = unfold(x.tensor(), at, dtype)?.reshape([batch, at.count(), channels])?;
    Ok(record_one(OP, &[x.handle()], y, move |back, dy| {
        let mut dx = dy.new_empty(shape)?;
        fold(&dy.reshape([1, batch * at.count(), channels])?, at, 0, &mut dx)?;
        back.add(0, dx)
    }))
}

/// `[first tokens; patches] + pos`: `first` are `[1, 1, D]` each, at most 2, `patches [B, n, D]`, `pos [1, first + n, D]`.
pub fn embed_tokens(patches: &Var, first: &[&Var], pos: &Var) -> Result<Var> {
    const OP: &str = "embed_tokens";
    let shape = *patches.shape();
    Error::ensure_shape(shape.len() == 3, OP, "patches [batch, patches, width]", shape)?;
    let (n, width, extra) = (shape[1], shape[2], first.len());
    let tokens = extra + n;
    Error::ensure(extra <= 2, "tokens before the patches", "at most 2", extra)?;
    for token in first {
        expect(OP, "token", *token, &[1, 1, width], patches.tensor())?;
    }
    expect_wide(OP, "pos_embed", pos, &[1, tokens, width], patches.tensor())?;
    let values: Vec<&Tensor> = first.iter().map(|token| token.tensor()).collect();
    let out = put_together(patches.tensor(), &values, pos.tensor())?;
    let inputs: Vec<Handle> = [patches, pos].iter().chain(first).map(|v| v.handle()).collect();
    Ok(record_one(OP, &inputs, out, move |back, dy| {
        let mut dpos = dy.new_wide([tokens, width])?;
        sum_rows(&dy, &mut dpos, false)?;
        for k in 0..extra {
            back.add(2 + k, dpos.rows(k, k + 1)?.reshape([1, 1, width])?)?;
        }
        back.add(1, dpos.reshape([1, tokens, width])?)?;
        back.add_wanted(0, || tokens_of(&dy, extra, &shape, n))
    }))
}

/// [`embed_tokens`] without recording.
fn put_together(patches: &Tensor, first: &[&Tensor], pos: &Tensor) -> Result<Tensor> {
    let [batch, n, width] = [0, 1, 2].map(|axis| patches.dim(axis));
    let tokens = first.len() + n;
    if let Some(gpu) = patches.gpu() {
        let mut y = patches.new_empty([batch, tokens, width])?;
        let (to, x, pos, count) = (y.address_mut()?, patches.address()?, pos.address()?, y.stored_numel());
        let [first, second] = [0, 1].map(|k| address_of(first.get(k).copied()));
        let [tokens, extra, stride] = gpu::sizes([tokens, tokens - n, y.stored_width()])?;
        let (first, second, unused) = (first?, second?, 0);
        let args =
            params::EmbedTokens { y: to, x, pos, first, second, count: count as i64, tokens, extra, stride, unused };
        gpu.launch(y.dtype(), Grid::vecs(count, y.dtype()), &args)?;
        return Ok(y);
    }
    float_dispatch!(OP, patches.dtype(), T => {
        let (own, pos) = (Mat::<T>::new(patches.slice()?, batch, n * width), pos.slice::<T>()?);
        let first = first.iter().map(|token| token.slice::<T>()).collect::<Result<Vec<_>>>()?.concat();
        cpu::new_rows::<T>([batch, tokens, width], tokens * width, #[inline(always)] |image, out| {
            let values = first.iter().chain(own.row(image));
            out.iter_mut().zip(values).zip(pos).for_each(|((o, x), p)| *o = *x + *p);
        })
    })
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("patch_embed/conv", |d| {
            let (batch, rows, cols) = (d.size(256), d.positive(14).min(14), d.positive(14).min(14));
            let (patch, width) = (d.positive(16).min(16), d.size(384));
            let image = [batch, 3, rows * patch, cols * patch];
            let inputs = [d.normal(image), d.normal([width, 3, patch, patch]), d.normal([width])];
            let n = batch * rows * cols;
            let run = |v: &[Var]| patch_embed(&v[0], &v[1], &v[2]);
            Instance::new(inputs, run).wide([0]).weights([1, 2]).cost(n * width, 2 * n * width * 3 * patch * patch)
        }),
        Case::new("patch_embed/maps", |d| {
            let (batch, channels) = (d.size(512), d.positive(384));
            let (height, width) = (d.positive(27).min(27), d.positive(27).min(27));
            let map = d.normal([batch, channels, height, width]);
            let written = batch * channels * height * width;
            Instance::new([map], |v| flatten_maps(&v[0])).wide([0]).cost(written, 0)
        }),
        Case::new("patch_embed/tokens", |d| {
            let [batch, n, width] = d.sizes([512, 196, 384]);
            let [token, pos] = [[1, 1, width], [1, n + 2, width]];
            let inputs = [d.normal([batch, n, width]), d.normal(token), d.normal(token), d.normal(pos)];
            let run = |v: &[Var]| embed_tokens(&v[0], &[&v[1], &v[2]], &v[3]);
            Instance::new(inputs, run).weights([1, 2]).wide([3]).cost(batch * (n + 2) * width, batch * n * width)
        }),
    ]
}
