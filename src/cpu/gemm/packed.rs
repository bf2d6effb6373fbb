//! The right side of `f32` products, packed once: panels as wide as a tile, one after the other, for a block of `k` at a time.

use super::super::simd;
use super::tile::{Kernel, MOST, Walk};
use super::{Mat, count_macs};
use crate::tensor::Host;
use rayon::prelude::*;
use std::array::from_fn;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Steps of `k` in a block, at most: a panel of them and the rows that meet it stay in the second cache.
const STEPS: usize = 384;
/// Rows and columns of the result that one task computes: a multiple of every tile's.
const ROWS: usize = 48;
const COLS: usize = 192;
/// Multiply-accumulates below which a product is not spread over threads, and elements below which packing is not.
const SPREAD: usize = 1 << 18;
const SPREAD_PACKING: usize = 1 << 15;

/// `b [k, n]` in panels; columns behind the last are 0.
pub struct Packed {
    kernel: &'static Kernel,
    k: usize,
    n: usize,
    values: Host,
}

/// Blocks of `k` of near-equal length.
fn blocks(k: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let each = k.div_ceil(k.div_ceil(STEPS).max(1)).max(1);
    (0..k).step_by(each).map(move |first| (first, each.min(k - first)))
}

impl Packed {
    /// Packs `b` for this processor; `None` where it has no tiles.
    pub fn new(b: Mat<f32>) -> Option<Self> {
        Kernel::get().map(|kernel| Self::with(kernel, b))
    }

    /// Packs `b` for `kernel`.
    pub fn with(kernel: &'static Kernel, b: Mat<f32>) -> Self {
        let (k, n, width) = (b.rows, b.cols, kernel.cols);
        let across = n.div_ceil(width);
        let mut values = Host::take(k * across * width * size_of::<f32>());
        let mut rest: &mut [f32] = bytemuck::cast_slice_mut(values.bytes_mut());
        let mut panels = Vec::new();
        for (first, steps) in blocks(k) {
            for panel in 0..across {
                let (to, behind) = rest.split_at_mut(steps * width);
                let cols = width.min(n - panel * width);
                panels.push((b.part(first, steps, panel * width, cols), to));
                rest = behind;
            }
        }
        match k * n < SPREAD_PACKING {
            true => panels.into_iter().for_each(|(from, to)| pack(from, to, width)),
            false => panels.into_par_iter().for_each(|(from, to)| pack(from, to, width)),
        }
        Self { kernel, k, n, values }
    }

    /// `[k, n]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.k, self.n]
    }

    /// `c = alpha a b`, or `c += alpha a b` if `add`, for `c [a.rows, n]` with `stride` elements from row to row. Of what a task
    /// has computed, `finish(row, column, elements)` gets each row while it is in the cache.
    #[allow(unsafe_code)]
    pub fn multiply(
        &self, alpha: f32, a: Mat<f32>, add: bool, c: &mut [f32], stride: usize,
        finish: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) {
        let (m, n, k) = (a.rows, self.n, self.k);
        assert_eq!(a.cols, k, "inner lengths differ");
        if m == 0 || n == 0 {
            return;
        }
        assert!(n <= stride && (m - 1) * stride + n <= c.len(), "result leaves its slice");
        count_macs(m * n * k);
        let panels: &[f32] = bytemuck::cast_slice(self.values.bytes());
        let out = AtomicPtr::new(c.as_mut_ptr());
        let task = |row: usize, rows: usize, col: usize, cols: usize| {
            // SAFETY: rows and columns lie within `c`, which is borrowed for as long; tasks have parts of their own.
            let to = unsafe {
                let to = out.load(Ordering::Relaxed).add(row * stride + col);
                self.part(panels, alpha, a.part(row, rows, 0, k), add, to, stride, [col, cols]);
                to
            };
            simd(
                #[inline(always)]
                || {
                    for r in 0..rows {
                        // SAFETY: the same row of the same part, and the tiles are done with it.
                        finish(row + r, col, unsafe { std::slice::from_raw_parts_mut(to.add(r * stride), cols) });
                    }
                },
            );
        };
        if m * n * k < SPREAD {
            return task(0, m, 0, n);
        }
        // Near-equal blocks of whole tiles; a thread goes down a column of them, whose panels it then has at hand.
        let rows = m.div_ceil(m.div_ceil(ROWS)).next_multiple_of(self.kernel.rows);
        let down = m.div_ceil(rows);
        (0..down * n.div_ceil(COLS)).into_par_iter().for_each(|p| {
            let (row, col) = (p % down * rows, p / down * COLS);
            task(row, rows.min(m - row), col, COLS.min(n - col));
        });
    }

    /// `c = a b`, or `c += a b` if `add`, sequentially, from element `at` of `c` on.
    ///
    /// # Safety
    /// `a.rows` rows of `n` elements, `stride` apart, are there, and nobody else uses them.
    #[allow(unsafe_code)]
    pub(super) unsafe fn multiply_at(&self, a: Mat<f32>, add: bool, c: *mut f32, at: usize, stride: usize) {
        assert_eq!(a.cols, self.k, "inner lengths differ");
        count_macs(a.rows * self.n * self.k);
        // SAFETY: the caller's promise.
        unsafe { self.part(bytemuck::cast_slice(self.values.bytes()), 1.0, a, add, c.add(at), stride, [0, self.n]) };
    }

    /// The columns `col..col + cols` of `a b`, written from `c` on; `col` is the first of a panel.
    ///
    /// # Safety
    /// From `c` on there are `a.rows` rows of `cols` elements, `stride` apart, which nobody else uses.
    #[allow(unsafe_code, clippy::too_many_arguments)]
    unsafe fn part(
        &self, panels: &[f32], alpha: f32, a: Mat<f32>, add: bool, c: *mut f32, stride: usize, [col, cols]: [usize; 2],
    ) {
        let (width, padded) = (self.kernel.cols, self.n.next_multiple_of(self.kernel.cols));
        if self.k == 0 && !add {
            // SAFETY: the caller's promise.
            (0..a.rows).for_each(|r| unsafe { std::slice::from_raw_parts_mut(c.add(r * stride), cols).fill(0.0) });
        }
        for (first, steps) in blocks(self.k) {
            let add = add || first > 0;
            for at in (0..cols).step_by(width) {
                let panel = &panels[first * padded + (col + at) * steps..][..steps * width];
                for row in (0..a.rows).step_by(self.kernel.rows) {
                    let rows = self.kernel.rows.min(a.rows - row);
                    let left = a.part(row, rows, first, steps);
                    // SAFETY: the tile lies in the caller's rows.
                    let to = unsafe { c.add(row * stride + at) };
                    let walk = Walk {
                        k: steps,
                        a: left.data.as_ptr(),
                        a_row: left.row_stride,
                        a_col: left.col_stride,
                        b: panel.as_ptr(),
                        c: to,
                        stride,
                        alpha,
                        add,
                    };
                    // SAFETY: `left`, `panel` and the tile at `to` bound what is read and written; an incomplete one goes
                    // through memory of its own.
                    unsafe {
                        match width <= cols - at {
                            true => self.kernel.run(rows, &walk),
                            false => self.narrow(rows, cols - at, walk),
                        }
                    }
                }
            }
        }
    }

    /// A tile of which only the first `cols` columns are there.
    ///
    /// # Safety
    /// As for [`Kernel::run`], with `c` of `cols` columns.
    #[allow(unsafe_code)]
    unsafe fn narrow(&self, rows: usize, cols: usize, walk: Walk) {
        let (mut whole, width) = ([0f32; MOST], self.kernel.cols);
        // SAFETY: `rows` rows of `cols` elements are there by the caller's promise, and in `whole`.
        unsafe {
            let copy = |from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize| {
                (0..rows).for_each(|r| from.add(r * from_stride).copy_to(to.add(r * to_stride), cols));
            };
            if walk.add {
                copy(walk.c, walk.stride, whole.as_mut_ptr(), width);
            }
            self.kernel.run(rows, &Walk { c: whole.as_mut_ptr(), stride: width, ..walk });
            copy(whole.as_ptr(), width, walk.c, walk.stride);
        }
    }
}

/// One panel: the rows of `from`, `width` elements apart in `to`.
fn pack(from: Mat<f32>, to: &mut [f32], width: usize) {
    if from.col_stride == 1 {
        for (r, to) in to.chunks_exact_mut(width).enumerate() {
            let (values, behind) = to.split_at_mut(from.cols);
            values.copy_from_slice(from.row(r));
            behind.fill(0.0);
        }
        return;
    }
    to.chunks_exact_mut(width).for_each(|to| to[from.cols..].fill(0.0));
    simd(
        #[inline(always)]
        || transpose(from, to, width),
    );
}

/// Rows and columns of a block that is transposed in registers.
const SIDE: usize = 8;

/// `from`, whose columns are contiguous, row by row, `width` elements apart.
#[inline(always)]
fn transpose(from: Mat<f32>, to: &mut [f32], width: usize) {
    let [rows, cols] = [from.rows, from.cols].map(|n| n - n % SIDE);
    let at = |r: usize, c: usize| &from.data[r * from.row_stride + c * from.col_stride..];
    for r in (0..rows).step_by(SIDE).filter(|_| from.row_stride == 1) {
        for c in (0..cols).step_by(SIDE) {
            let columns: [&[f32; SIDE]; SIDE] = from_fn(|i| at(r, c + i).first_chunk().unwrap_or(&[0.0; SIDE]));
            for i in 0..SIDE {
                let row: [f32; SIDE] = from_fn(|j| columns[j][i]);
                to[(r + i) * width + c..][..SIDE].copy_from_slice(&row);
            }
        }
    }
    let (rows, cols) = if from.row_stride == 1 { (rows, cols) } else { (0, 0) };
    for c in 0..from.cols {
        let first = if c < cols { rows } else { 0 };
        (first..from.rows).for_each(|r| to[r * width + c] = at(r, c)[0]);
    }
}
