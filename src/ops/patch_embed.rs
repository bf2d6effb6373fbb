//! Patch embedding: a convolution whose kernel is its stride, as one matrix product, and the tokens put before it.
//!
//! `y[b, i·g + j] = W · patch(b, i, j) + bias`, the patch flattened in (channel, row, column) order, `W [D, C, P, P]`,
//! `x [B, C, H, W]`, `y [B, g², D]`. Then `z = [cls; dist; y] + pos`, `pos [1, N, D]`. Gradients: those of the linear
//! layer on the gathered patches; the image's is scattered back.

use super::case::{Case, Draw, Instance};
use super::{expect, linear};
use crate::cpu;
use crate::tape::record_one;
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Error, Result, Var};

const OP: &str = "patch_embed";

/// Patches of `[B, C, H, W]` as rows: the grid and the patch.
#[derive(Clone, Copy)]
struct Grid {
    channels: usize,
    height: usize,
    width: usize,
    patch: usize,
}

impl Grid {
    fn patches(self) -> usize {
        (self.height / self.patch) * (self.width / self.patch)
    }

    fn row_len(self) -> usize {
        self.channels * self.patch * self.patch
    }

    /// Where run `run` (one row of one channel) of patch `index` starts in the batch.
    fn start(self, index: usize, run: usize) -> usize {
        let (image, at) = (index / self.patches(), index % self.patches());
        let across = self.width / self.patch;
        let (channel, row) = (run / self.patch, run % self.patch);
        let y = at / across * self.patch + row;
        ((image * self.channels + channel) * self.height + y) * self.width + at % across * self.patch
    }
}

/// `y [B, patches, D]` for `x [B, C, H, W]`, `w [D, C, P, P]`, `b [D]`.
pub fn patch_embed(x: &Var, w: &Var, b: &Var) -> Result<Var> {
    let (xs, ws) = (*x.shape(), *w.shape());
    let fits = xs.len() == 4 && ws.len() == 4 && xs[1] == ws[1] && ws[2] == ws[3] && ws[2] > 0;
    if !fits || xs[2] % ws[2] != 0 || xs[3] % ws[3] != 0 {
        return Err(Error::shape(OP, "images [B, C, H, W] cut evenly by a weight [D, C, P, P]", (xs, ws)));
    }
    let grid = Grid { channels: xs[1], height: xs[2], width: xs[3], patch: ws[2] };
    let patches = unfold(x, grid)?;
    linear(&patches, &w.reshape([ws[0], grid.row_len()])?, Some(b))
}

/// `[B, C, H, W] -> [B, patches, C · P · P]`.
fn unfold(x: &Var, grid: Grid) -> Result<Var> {
    let shape = *x.shape();
    let (row, run) = (grid.row_len(), grid.patch);
    let mut out = Tensor::empty([shape[0], grid.patches(), row], x.dtype());
    float_dispatch!(OP, x.dtype(), T => {
        let pixels = x.tensor().slice::<T>()?;
        cpu::rows_mut(out.slice_mut::<T>()?, row, |first, out| {
            for (r, out) in out.chunks_mut(row.max(1)).enumerate() {
                for (k, out) in out.chunks_mut(run).enumerate() {
                    out.copy_from_slice(&pixels[grid.start(first + r, k)..][..run]);
                }
            }
        });
        Ok(())
    })?;
    Ok(record_one("unfold", &[x.handle()], out, move |back| {
        let (Some(dy), true) = (back.dy(0), back.wants(0)) else { return Ok(()) };
        let mut dx = Tensor::empty(shape, dy.dtype());
        float_dispatch!(OP, dy.dtype(), T => {
            let dx = dx.slice_mut::<T>()?;
            for (index, row) in dy.slice::<T>()?.chunks(row.max(1)).enumerate() {
                for (k, run_) in row.chunks(run).enumerate() {
                    dx[grid.start(index, k)..][..run].copy_from_slice(run_);
                }
            }
            Ok(())
        })?;
        back.add(0, dx)
    }))
}

/// `[first tokens; patches] + pos`: `first` are `[1, 1, D]` each, `patches [B, n, D]`, `pos [1, first + n, D]`.
pub fn embed_tokens(patches: &Var, first: &[&Var], pos: &Var) -> Result<Var> {
    let shape = *patches.shape();
    if shape.len() != 3 {
        return Err(Error::shape("embed_tokens", "patches [batch, patches, width]", shape));
    }
    let (batch, n, width, extra) = (shape[0], shape[1], shape[2], first.len());
    for token in first {
        expect("embed_tokens", "token", token, &[1, 1, width], patches)?;
    }
    expect("embed_tokens", "pos_embed", pos, &[1, extra + n, width], patches)?;
    let out = float_dispatch!("embed_tokens", patches.dtype(), T => join::<T>(patches.tensor(), first, pos.tensor()))?;
    let mut inputs = vec![patches.handle(), pos.handle()];
    inputs.extend(first.iter().map(|t| t.handle()));
    Ok(record_one("embed_tokens", &inputs, out, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        float_dispatch!("embed_tokens", dy.dtype(), T => {
            let g = dy.slice::<T>()?;
            let mut dpos = Tensor::empty([1, extra + n, width], dy.dtype());
            linear::sum_rows::<T>(g, &mut dpos, false)?;
            for k in 0..extra {
                let row = Tensor::from_slice([1, 1, width], &dpos.slice::<T>()?[k * width..][..width])?;
                back.add(2 + k, row)?;
            }
            back.add(1, dpos)?;
            let mut dx = Tensor::empty([batch, n, width], dy.dtype());
            let images = g.chunks(((extra + n) * width).max(1));
            for (dx, g) in dx.slice_mut::<T>()?.chunks_mut((n * width).max(1)).zip(images) {
                dx.copy_from_slice(&g[extra * width..]);
            }
            back.add(0, dx)
        })
    }))
}

fn join<T: Float>(patches: &Tensor, first: &[&Var], pos: &Tensor) -> Result<Tensor> {
    let (batch, n, width) = (patches.dim(0), patches.dim(1), patches.dim(2));
    let mut head = Vec::with_capacity(first.len() * width);
    for token in first {
        head.extend_from_slice(token.tensor().slice::<T>()?);
    }
    let (patches, pos) = (patches.slice::<T>()?, pos.slice::<T>()?);
    let mut out = Tensor::empty([batch, first.len() + n, width], T::DTYPE);
    cpu::rows_mut(out.slice_mut::<T>()?, pos.len(), |image, out| {
        for (i, out) in out.chunks_mut(pos.len().max(1)).enumerate() {
            let own = &patches[(image + i) * n * width..][..n * width];
            out.iter_mut().zip(head.iter().chain(own)).zip(pos).for_each(|((o, x), p)| *o = *x + *p);
        }
    });
    Ok(out)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn embed(d: &mut Draw) -> Result<Instance> {
        let (batch, rows, cols) = (d.size(64), d.positive(14).min(14), d.positive(14).min(14));
        let (patch, width) = (d.positive(16).min(16), d.size(384));
        let image = [batch, 3, rows * patch, cols * patch];
        let inputs = vec![d.normal(image), d.normal([width, 3, patch, patch]), d.normal([width])];
        let run = |v: &[Var]| Ok(vec![patch_embed(&v[0], &v[1], &v[2])?]);
        let n = batch * rows * cols;
        Ok(Instance::new(inputs, run).cost(n * width, 2 * n * width * 3 * patch * patch))
    }
    fn tokens(d: &mut Draw) -> Result<Instance> {
        let (batch, n, width) = (d.size(64), d.size(196), d.size(384));
        let token = [1, 1, width];
        let inputs = vec![d.normal([batch, n, width]), d.normal(token), d.normal(token), d.normal([1, n + 2, width])];
        let run = |v: &[Var]| Ok(vec![embed_tokens(&v[0], &[&v[1], &v[2]], &v[3])?]);
        Ok(Instance::new(inputs, run).cost(batch * (n + 2) * width, batch * n * width))
    }
    vec![Case::new("patch_embed/conv", embed), Case::new("patch_embed/tokens", tokens)]
}
