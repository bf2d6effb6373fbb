//! Matrix products through the `gemm` crate, cut into pieces that do not depend on the number of threads.

use crate::tensor::Float;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Multiply-accumulates done by [`gemm`](super::gemm()) since the program started: the instrumented count of the cost model's tests.
pub mod macs {
    use super::{AtomicU64, Ordering};
    pub(super) static DONE: AtomicU64 = AtomicU64::new(0);

    /// The count so far.
    pub fn total() -> u64 {
        DONE.load(Ordering::Relaxed)
    }
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

    /// The transpose, without a copy.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

struct Out<T>(*mut T);
#[allow(unsafe_code)]
// SAFETY: tasks write disjoint rows or columns of the result.
unsafe impl<T> Send for Out<T> {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl<T> Sync for Out<T> {}

/// `c = alpha a b + beta c` for `c` of `[a.rows, b.cols]` with `stride` elements from row to row.
///
/// The longer side of `c` is cut into pieces that run in parallel, by its length alone; each piece is one sequential product, so the
/// result is the same for any number of threads.
#[allow(unsafe_code)]
pub fn gemm<T: Float>(alpha: T, a: Mat<T>, b: Mat<T>, beta: T, c: &mut [T], stride: usize) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner lengths differ");
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= stride && (m - 1) * stride + n <= c.len(), "result leaves its slice");
    macs::DONE.fetch_add((m * n * k) as u64, Ordering::Relaxed);
    let out = Out(c.as_mut_ptr());
    let piece = |row: usize, rows: usize, col: usize, cols: usize| {
        let out = &out;
        // SAFETY: the asserts above and in `Mat` bound every element read and written; pieces do not overlap.
        unsafe {
            gemm::gemm(
                rows,
                cols,
                k,
                out.0.add(row * stride + col),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
        (0..m * n).map(|i| (0..k).map(|x| a[i / n * k + x] * b[x * n + i % n]).sum()).collect()
    }

    #[test]
    fn agrees_with_the_triple_loop_for_every_layout() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (200, 33, 17), (17, 400, 65), (2, 3, 0)] {
            let a: Vec<f64> = (0..m * k).map(|i| (i as f64 * 0.7).sin()).collect();
            let b: Vec<f64> = (0..k * n).map(|i| (i as f64 * 0.3).cos()).collect();
            let at: Vec<f64> = (0..k * m).map(|i| a[i % m * k + i / m]).collect();
            let bt: Vec<f64> = (0..n * k).map(|i| b[i % k * n + i / k]).collect();
            let expected = naive(&a, &b, m, n, k);
            for (x, y) in [
                (Mat::new(&a, m, k), Mat::new(&b, k, n)),
                (Mat::new(&at, k, m).t(), Mat::new(&b, k, n)),
                (Mat::new(&a, m, k), Mat::new(&bt, n, k).t()),
            ] {
                let mut c = vec![1.0; m * n];
                gemm(2.0, x, y, 1.0, &mut c, n);
                for (got, want) in c.iter().zip(&expected) {
                    approx::assert_abs_diff_eq!(*got, 1.0 + 2.0 * want, epsilon = 1e-9);
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let (m, n, k) = (700, 130, 300);
        let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.7).sin()).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.3).cos()).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut c = vec![0f32; m * n];
            pool.install(|| gemm(1.0, Mat::new(&a, m, k), Mat::new(&b, k, n), 0.0, &mut c, n));
            c
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3));
    }
}
