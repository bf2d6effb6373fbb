//! Mix-token: a box of each image's tokens from the image as far from the batch's other end.
//!
//! `y[b, n] = x[B - 1 - b, n]` for the tokens `n` of the grid that lie in the box, `x[b, n]` for the others. It is its own inverse and
//! its own transpose: `dx` is `dy` mixed with the same box.

use super::prelude::*;

const OP: &str = "mix_tokens";

/// Rows `top` to before `bottom` and columns `left` to before `right` of a grid of tokens; it may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct TokenBox {
    pub top: usize,
    pub bottom: usize,
    pub left: usize,
    pub right: usize,
}

impl TokenBox {
    /// Tokens inside.
    pub fn area(&self) -> usize {
        self.bottom.saturating_sub(self.top) * self.right.saturating_sub(self.left)
    }

    fn holds(&self, row: usize, col: usize) -> bool {
        (self.top..self.bottom).contains(&row) && (self.left..self.right).contains(&col)
    }
}

/// `x [B, H · W, C]` with the tokens of `mix` on the grid `[H, W]` from the flipped batch.
pub fn mix_tokens(x: &Var, grid: [usize; 2], mix: TokenBox) -> Result<Var> {
    let shape = *x.shape();
    let fits = shape.len() == 3 && shape[1] == grid[0] * grid[1];
    Error::ensure_shape(fits, OP, format_args!("tokens of a grid {grid:?}"), shape)?;
    let y = mixed(x.tensor(), grid[1], mix)?;
    Ok(record_one(OP, &[x.handle()], y, move |back, dy| back.add(0, mixed(&dy, grid[1], mix)?)))
}

fn mixed(x: &Tensor, across: usize, mix: TokenBox) -> Result<Tensor> {
    let [images, tokens, cols] = [0, 1, 2].map(|axis| x.dim(axis));
    if let Some(gpu) = x.gpu() {
        let mut y = x.new_uncleared()?;
        let (count, to, x_) = (y.stored_numel(), y.address_mut()?, x.address()?);
        let [top, bottom, left, right] = gpu::sizes([mix.top, mix.bottom, mix.left, mix.right])?;
        let [images, tokens, across, stride] = gpu::sizes([images, tokens, across, x.stored_width()])?;
        let args = params::MixTokens {
            y: to,
            x: x_,
            count: count as i64,
            images,
            tokens,
            across,
            top,
            bottom,
            left,
            right,
            stride,
        };
        return gpu.launch(x.dtype(), Grid::vecs(count, x.dtype()), &args).map(|()| y);
    }
    float_dispatch!(OP, x.dtype(), T => {
        let xs = Mat::<T>::of(x)?;
        cpu::new_rows::<T>(x.shape(), cols, #[inline(always)] |r, y| {
            let (image, token) = (r / tokens, r % tokens);
            let inside = mix.holds(token / across, token % across);
            y.copy_from_slice(xs.row(if inside { (images - 1 - image) * tokens + token } else { r }));
        })
    })
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new("mix_tokens/box", |d| {
        let (batch, height, width, cols) = (d.size(256), d.positive(14).min(14), d.positive(14).min(14), d.size(384));
        let mix = TokenBox { top: height / 3, bottom: height, left: 0, right: width.div_ceil(2) };
        let x = d.normal([batch, height * width, cols]);
        Instance::new([x], move |v| mix_tokens(&v[0], [height, width], mix)).cost_each(1, 0)
    })]
}
