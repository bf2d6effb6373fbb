//! Patch merging: four neighbouring tokens of a grid side by side.
//!
//! `x [B, H · W, C] -> y [B, H/2 · W/2, 4C]`: the token at an even row and an even column, then odd row and even column, even row and
//! odd column, both odd. The gradient puts every token's columns back.

use super::prelude::*;

const OP: &str = "patch_merge";

/// A grid of tokens `width` wide, rows of `cols` elements.
#[derive(Clone, Copy)]
struct Grid2 {
    width: usize,
    cols: usize,
}

impl Grid2 {
    /// The token of `x` that part `part` of row `row` of `y` is; rows of all images, whose heights are even.
    fn token(self, row: usize, part: usize) -> usize {
        let across = self.width / 2;
        (2 * (row / across) + part % 2) * self.width + 2 * (row % across) + part / 2
    }
}

/// `x [B, height · width, C] -> [B, height · width / 4, 4C]`; an odd height or width is an error.
pub fn patch_merge(x: &Var, height: usize, width: usize) -> Result<Var> {
    let shape = *x.shape();
    let even = height.is_multiple_of(2) && width.is_multiple_of(2);
    Error::ensure(even, OP, "a grid of even height and width", format_args!("{height} by {width}"))?;
    let fits = shape.len() == 3 && shape[1] == height * width;
    Error::ensure_shape(fits, OP, format_args!("[batch, {height} · {width}, columns]"), shape)?;
    let grid = Grid2 { width, cols: shape[2] };
    let y = merge(x.tensor(), grid)?;
    Ok(record_one(OP, &[x.handle()], y, move |back, dy| back.add(0, split(&dy, grid)?)))
}

fn merge(x: &Tensor, grid: Grid2) -> Result<Tensor> {
    let (shape, cols) = ([x.dim(0), x.dim(1) / 4, 4 * grid.cols], grid.cols);
    if let Some(gpu) = x.gpu() {
        let mut y = x.new_empty(shape)?;
        let (count, to, x_stride) = (y.stored_numel(), y.address_mut()?, x.stored_width());
        let [width, cols, stride, x_stride] = gpu::sizes([grid.width, cols, y.stored_width(), x_stride])?;
        let args = params::PatchMergeFwd { y: to, x: x.address()?, count: count as i64, width, cols, stride, x_stride };
        return gpu.launch(x.dtype(), Grid::vecs(count, x.dtype()), &args).map(|()| y);
    }
    float_dispatch!(OP, x.dtype(), T => {
        let xs = Mat::<T>::of(x)?;
        cpu::new_rows::<T>(shape, 4 * cols, #[inline(always)] |row, y| {
            let parts = y.chunks_mut(cols.max(1)).enumerate();
            parts.for_each(|(part, y)| y.copy_from_slice(xs.row(grid.token(row, part))));
        })
    })
}

fn split(dy: &Tensor, grid: Grid2) -> Result<Tensor> {
    let (shape, Grid2 { width, cols }) = ([dy.dim(0), 4 * dy.dim(1), grid.cols], grid);
    if let Some(gpu) = dy.gpu() {
        let mut dx = dy.new_empty(shape)?;
        let (count, to, dy_stride) = (dx.stored_numel(), dx.address_mut()?, dy.stored_width());
        let [width, cols, stride, dy_stride] = gpu::sizes([width, cols, dx.stored_width(), dy_stride])?;
        let (dy_, count_) = (dy.address()?, count as i64);
        let args = params::PatchMergeBwd { dx: to, dy: dy_, count: count_, width, cols, stride, dy_stride };
        return gpu.launch(dy.dtype(), Grid::vecs(count, dy.dtype()), &args).map(|()| dx);
    }
    float_dispatch!(OP, dy.dtype(), T => {
        let dys = Mat::<T>::of(dy)?;
        cpu::new_rows::<T>(shape, cols, #[inline(always)] |token, dx| {
            let (y, x) = (token / width, token % width);
            let row = dys.row(y / 2 * (width / 2) + x / 2);
            dx.copy_from_slice(&row[(y % 2 + 2 * (x % 2)) * cols..][..cols]);
        })
    })
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new("patch_merge/grid", |d| {
        let (batch, cols, down, across) = (d.size(128), d.size(96), d.size(28), d.size(28));
        let x = d.normal([batch, 4 * down * across, cols]);
        Instance::new([x], move |v| patch_merge(&v[0], 2 * down, 2 * across)).cost_each(1, 0)
    })]
}
