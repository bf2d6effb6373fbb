//! Patch embedding: a convolution whose kernel is its stride, as one matrix product, and the tokens put before it.
//!
//! `y[b, i·g + j] = W · patch(b, i, j) + bias`, the patch flattened in (channel, row, column) order, `W [D, C, P, P]`,
//! `x [B, C, H, W]`, `y [B, g², D]`. Then `z = [cls; dist; y] + pos`, `pos [1, N, D]`. Gradients: those of the linear
//! layer on the gathered patches; the image's is scattered back.

use super::linear;
use super::prelude::*;

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
    let fits = fits && xs[2] % ws[2] == 0 && xs[3] % ws[3] == 0;
    Error::ensure_shape(fits, OP, "images [B, C, H, W] cut evenly by a weight [D, C, P, P]", (xs, ws))?;
    let grid = Grid { channels: xs[1], height: xs[2], width: xs[3], patch: ws[2] };
    linear(&unfold(x, grid)?, &w.reshape([ws[0], grid.row_len()])?, Some(b))
}

/// `[B, C, H, W] -> [B, patches, C · P · P]`.
fn unfold(x: &Var, grid: Grid) -> Result<Var> {
    let (shape, row, run) = (*x.shape(), grid.row_len(), grid.patch);
    let out = float_dispatch!(OP, x.dtype(), T => {
        let pixels = x.tensor().slice::<T>()?;
        cpu::new_rows::<T>([shape[0], grid.patches(), row], row, |index, out| {
            for (k, out) in out.chunks_mut(run).enumerate() {
                out.copy_from_slice(&pixels[grid.start(index, k)..][..run]);
            }
        })
    })?;
    Ok(record_one("unfold", &[x.handle()], out, move |back, dy| {
        let mut dx = Tensor::empty(shape, dy.dtype());
        float_dispatch!(OP, dy.dtype(), T => {
            let dx = dx.slice_mut::<T>()?;
            for (index, row) in dy.slice::<T>()?.chunks(row.max(1)).enumerate() {
                for (k, from) in row.chunks(run).enumerate() {
                    dx[grid.start(index, k)..][..run].copy_from_slice(from);
                }
            }
            Ok(())
        })?;
        back.add(0, dx)
    }))
}

/// `[first tokens; patches] + pos`: `first` are `[1, 1, D]` each, `patches [B, n, D]`, `pos [1, first + n, D]`.
pub fn embed_tokens(patches: &Var, first: &[&Var], pos: &Var) -> Result<Var> {
    const OP: &str = "embed_tokens";
    let (shape, dtype) = (*patches.shape(), patches.dtype());
    Error::ensure_shape(shape.len() == 3, OP, "patches [batch, patches, width]", shape)?;
    let (batch, n, width, extra) = (shape[0], shape[1], shape[2], first.len());
    let tokens = extra + n;
    for token in first {
        expect(OP, "token", *token, &[1, 1, width], dtype)?;
    }
    expect(OP, "pos_embed", pos, &[1, tokens, width], dtype)?;
    let out = float_dispatch!(OP, dtype, T => {
        let (own, pos) = (Mat::<T>::new(patches.tensor().slice()?, batch, n * width), pos.tensor().slice::<T>()?);
        let first = first.iter().map(|token| token.tensor().slice::<T>()).collect::<Result<Vec<_>>>()?.concat();
        cpu::new_rows::<T>([batch, tokens, width], tokens * width, |image, out| {
            let values = first.iter().chain(own.row(image));
            out.iter_mut().zip(values).zip(pos).for_each(|((o, x), p)| *o = *x + *p);
        })
    })?;
    let inputs: Vec<Handle> = [patches, pos].iter().chain(first).map(|v| v.handle()).collect();
    Ok(record_one(OP, &inputs, out, move |back, dy| {
        let mut dpos = Tensor::empty([tokens, width], dtype);
        cpu::sum_rows(&dy, &mut dpos, false)?;
        for k in 0..extra {
            back.add(2 + k, dpos.rows(k, k + 1)?.reshape([1, 1, width])?)?;
        }
        back.add(1, dpos.reshape([1, tokens, width])?)?;
        back.add(
            0,
            float_dispatch!(OP, dtype, T => {
                let g = Mat::<T>::new(dy.slice()?, batch, tokens * width);
                cpu::new_rows::<T>(shape, n * width, |image, dx| dx.copy_from_slice(&g.row(image)[extra * width..]))
            })?,
        )
    }))
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("patch_embed/conv", |d| {
            let (batch, rows, cols) = (d.size(64), d.positive(14).min(14), d.positive(14).min(14));
            let (patch, width) = (d.positive(16).min(16), d.size(384));
            let image = [batch, 3, rows * patch, cols * patch];
            let inputs = [d.normal(image), d.normal([width, 3, patch, patch]), d.normal([width])];
            let n = batch * rows * cols;
            let run = |v: &[Var]| patch_embed(&v[0], &v[1], &v[2]);
            Instance::new(inputs, run).cost(n * width, 2 * n * width * 3 * patch * patch)
        }),
        Case::new("patch_embed/tokens", |d| {
            let [batch, n, width] = d.sizes([64, 196, 384]);
            let [token, pos] = [[1, 1, width], [1, n + 2, width]];
            let inputs = [d.normal([batch, n, width]), d.normal(token), d.normal(token), d.normal(pos)];
            let run = |v: &[Var]| embed_tokens(&v[0], &[&v[1], &v[2]], &v[3]);
            Instance::new(inputs, run).cost(batch * (n + 2) * width, batch * n * width)
        }),
    ]
}
