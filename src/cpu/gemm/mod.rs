//! Matrix products, cut into pieces that do not depend on the number of threads: in `f32` by tiles of our own where the
//! processor has AVX2 or AVX-512 ([`tile`], [`packed`]), else through the `gemm` crate.

pub mod packed;
#[allow(unsafe_code)]
pub mod tile;

use super::simd;
use crate::{DType, Result, tensor::Float, tensor::Tensor};
use packed::Packed;
use rayon::prelude::*;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

static MACS: AtomicU64 = AtomicU64::new(0);
/// Multiply-accumulates done by products since the program started: the count that the cost model is tested against.
pub fn macs_done() -> u64 {
    MACS.load(Ordering::Relaxed)
}

/// Adds those of a product that is not [`gemm()`]'s.
pub fn count_macs(macs: usize) {
    MACS.fetch_add(macs as u64, Ordering::Relaxed);
}

/// Rows of the result that one task computes, at most: `b`, mostly weights, is packed once for each such piece.
const ROWS: usize = 512;
/// Columns of pieces are whole multiples of this: of the register tiles of every processor, 24, 32 or 96 wide.
const GRAIN: usize = 96;

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

    /// `rows` rows from `row` on and `cols` columns from `col` on.
    pub fn part(self, row: usize, rows: usize, col: usize, cols: usize) -> Self {
        assert!(row + rows <= self.rows && col + cols <= self.cols, "part leaves its matrix");
        let first = (row * self.row_stride + col * self.col_stride).min(self.data.len());
        Self { data: &self.data[first..], rows, cols, ..self }
    }

    /// The same elements as those of the type that `T` is.
    fn cast<U: Float>(self) -> Mat<'a, U>
    where
        T: Float,
    {
        let Self { data, rows, cols, row_stride, col_stride } = self;
        Mat { data: bytemuck::cast_slice(data), rows, cols, row_stride, col_stride }
    }

    /// The transpose, without a copy.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// Rows and columns of the pieces that a result `[m, n]` is cut into. Columns first: no column of `b` is then packed twice.
fn piece_of(m: usize, n: usize) -> [usize; 2] {
    let whole = match n / GRAIN {
        0 | 1 => n,
        2 | 3 => GRAIN,
        _ => 2 * GRAIN,
    };
    // Where the columns stay together, an even number of near-equal pieces keeps two, four … cores busy to the end.
    let pieces = if whole < n { m.div_ceil(ROWS) } else { 2 * m.div_ceil(ROWS) };
    [m.div_ceil(pieces).next_multiple_of(4), whole]
}

/// `c = alpha a b + beta c` for `c` of `[a.rows, b.cols]` with `stride` elements from row to row. The result is cut into pieces
/// that run in parallel, by its size alone; each piece is one sequential product, so the result is the same for any number of
/// threads.
pub fn gemm<T: Float>(alpha: T, a: Mat<T>, b: Mat<T>, beta: T, c: &mut [T], stride: usize) {
    gemm_then(alpha, a, b, beta, c, stride, |_, _, _| ());
}

/// [`gemm()`], and then `finish(row, column, elements)` of parts of rows of the result, each while it is in the cache.
pub fn gemm_then<T: Float>(
    alpha: T, a: Mat<T>, b: Mat<T>, beta: T, c: &mut [T], stride: usize, finish: impl Fn(usize, usize, &mut [T]) + Sync,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner lengths differ");
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= stride && (m - 1) * stride + n <= c.len(), "result leaves its slice");
    if T::DTYPE == DType::F32
        && let Some(b) = Packed::new(b.cast())
    {
        if beta != T::zero() && beta != T::one() {
            c.chunks_mut(stride).for_each(|row| row[..n].iter_mut().for_each(|c| *c *= beta));
        }
        let (alpha, add) = (alpha.f64() as f32, beta != T::zero());
        return b.multiply(
            alpha,
            a.cast(),
            add,
            bytemuck::cast_slice_mut(c),
            stride,
            #[inline(always)]
            |row, column, c| finish(row, column, bytemuck::cast_slice_mut(c)),
        );
    }
    let out = AtomicPtr::new(c.as_mut_ptr());
    let piece = |row: usize, rows: usize, col: usize, cols: usize| {
        product(alpha, a.part(row, rows, 0, k), b.part(0, k, col, cols), beta, &out, row * stride + col, stride);
    };
    let [rows, cols] = if m * n * k < 1 << 18 { [m, n] } else { piece_of(m, n) };
    let across = n.div_ceil(cols);
    let run = |p: usize| {
        let (row, col) = (p / across * rows, p % across * cols);
        piece(row, rows.min(m - row), col, cols.min(n - col));
    };
    let pieces = m.div_ceil(rows) * across;
    if pieces == 1 {
        run(0)
    } else {
        (0..pieces).into_par_iter().for_each(run)
    }
    c.par_chunks_mut(stride).enumerate().take(m).for_each(|(row, c)| {
        simd(
            #[inline(always)]
            || finish(row, 0, &mut c[..n]),
        );
    });
}

/// Elements of a block of rows that a task of [`gemm_of`] writes before it multiplies them.
const BLOCK: usize = 1 << 18;

/// `c_g = a_g b_g`, or `c_g += a_g b_g` if `add`, for matrices side by side in `c`, whose rows `row(g, r, out)` writes when they are needed: a task
/// takes a block of constant size, so there is never more of them than that for every thread. `b` are the matrices on the right.
#[allow(unsafe_code)]
pub fn gemm_of<T: Float>(
    rows: usize, b: &[Mat<T>], add: bool, c: &mut [T], row: impl Fn(usize, usize, &mut [T]) + Sync + Send,
) {
    let Some((k, n)) = b.first().map(|b| (b.rows, b.cols)) else { return };
    let stride = n * b.len();
    assert!(rows * stride == c.len() && b.iter().all(|b| (b.rows, b.cols) == (k, n)), "matrices of other sizes");
    let out = AtomicPtr::new(c.as_mut_ptr());
    let block = (BLOCK / k.max(1)).clamp(16, 1024);
    let blocks = rows.div_ceil(block);
    let size = rows.div_ceil(blocks.max(1)).max(1);
    let packed: Option<Vec<Packed>> = match T::DTYPE {
        DType::F32 => b.iter().map(|b| Packed::new(b.cast())).collect(),
        _ => None,
    };
    (0..blocks * b.len()).into_par_iter().for_each(|task| {
        let (group, start) = (task / blocks, task % blocks * size);
        let count = size.min(rows - start);
        let mut a = Tensor::empty([count, k], T::DTYPE);
        let Ok(a) = a.slice_mut::<T>() else { return };
        simd(
            #[inline(always)]
            || a.chunks_exact_mut(k.max(1)).enumerate().for_each(|(r, to)| row(group, start + r, to)),
        );
        let (a, at) = (Mat::new(a, count, k), start * stride + group * n);
        match &packed {
            Some(packed) => {
                let c = out.load(Ordering::Relaxed).cast();
                // SAFETY: the assert above bounds all rows; each task has rows and a group of its own.
                unsafe { packed[group].multiply_at(a.cast(), add, c, at, stride) }
            }
            None => product(T::one(), a, b[group], T::of(f64::from(u8::from(add))), &out, at, stride),
        }
    });
}

/// One sequential product into a part of the result that nobody else writes: from `at` on, `stride` from row to row.
#[allow(unsafe_code)]
fn product<T: Float>(alpha: T, a: Mat<T>, b: Mat<T>, beta: T, out: &AtomicPtr<T>, at: usize, stride: usize) {
    count_macs(a.rows * b.cols * a.cols);
    // SAFETY: the asserts of the callers and of `Mat` bound every element read and written; their parts do not overlap.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.load(Ordering::Relaxed).add(at),
            1,
            stride as isize,
            beta != T::zero(),
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
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
}
