//! Matrix products through the `gemm` crate, cut into pieces that do not depend on the number of threads.

use crate::{Result, tensor::Float, tensor::Tensor};
use rayon::prelude::*;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

static MACS: AtomicU64 = AtomicU64::new(0);
/// Multiply-accumulates done by [`gemm()`] since the program started: the count that the cost model is tested against.
pub fn macs_done() -> u64 {
    MACS.load(Ordering::Relaxed)
}

/// Rows (or columns) of the result that one task computes, about: the other operand is packed once for each piece.
const PIECE: usize = 256;
/// Pieces are whole multiples of this, so that few end in a partial register tile.
const GRAIN: usize = 64;

/// A matrix inside a slice: element `(r, c)` is `data[r * row_stride + c * col_stride]`.
#[derive(Clone, Copy)]
pub struct Mat<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// Row-major `[rows, cols]`.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Row-major with `row_stride` elements from row to row.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= data.len(), "matrix leaves its slice");
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// A tensor as rows of its last axis.
    pub fn of(tensor: &'a Tensor) -> Result<Self>
    where
        T: Float,
    {
        let (rows, cols) = tensor.shape().rows_cols();
        Ok(Self::new(tensor.slice::<T>()?, rows, cols))
    }

    /// Row `r` of a matrix that is not transposed.
    #[inline(always)]
    pub fn row(&self, r: usize) -> &'a [T] {
        &self.data[r * self.row_stride..][..self.cols]
    }

    /// The transpose, without a copy.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// `c = alpha a b + beta c` for `c` of `[a.rows, b.cols]` with `stride` elements from row to row. The longer side of
/// `c` is cut into pieces that run in parallel, by its length alone; each piece is one sequential product, so the
/// result is the same for any number of threads.
#[allow(unsafe_code)]
pub fn gemm<T: Float>(alpha: T, a: Mat<T>, b: Mat<T>, beta: T, c: &mut [T], stride: usize) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner lengths differ");
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= stride && (m - 1) * stride + n <= c.len(), "result leaves its slice");
    MACS.fetch_add((m * n * k) as u64, Ordering::Relaxed);
    let out = AtomicPtr::new(c.as_mut_ptr());
    let piece = |row: usize, rows: usize, col: usize, cols: usize| {
        // SAFETY: the asserts above and in `Mat` bound every element read and written; pieces do not overlap.
        unsafe {
            gemm::gemm(
                rows,
                cols,
                k,
                out.load(Ordering::Relaxed).add(row * stride + col),
                1,
                stride as isize,
                beta != T::zero(),
                a.data.as_ptr().wrapping_add(row * a.row_stride),
                a.col_stride as isize,
                a.row_stride as isize,
                b.data.as_ptr().wrapping_add(col * b.col_stride),
                b.col_stride as isize,
                b.row_stride as isize,
                beta,
                alpha,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    };
    let by_rows = m >= n;
    let long = m.max(n);
    if m * n * k < 1 << 18 || long < 2 * GRAIN {
        return piece(0, m, 0, n);
    }
    // An even number of near-equal pieces keeps two, four … cores busy to the end.
    let pieces = 2 * long.div_ceil(2 * PIECE);
    let size = long.div_ceil(pieces).next_multiple_of(GRAIN);
    (0..long.div_ceil(size)).into_par_iter().for_each(|p| {
        let (start, len) = (p * size, size.min(long - p * size));
        if by_rows { piece(start, len, 0, n) } else { piece(0, m, start, len) }
    });
}
