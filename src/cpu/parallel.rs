//! Loops over rows on all cores. Work is cut into chunks of constant size, never by the number of threads.

use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Error, Result};
use rayon::prelude::*;

/// Elements of one parallel task: small enough to spread, large enough to pay for the hand-over.
const CHUNK: usize = 16 * 1024;

/// Rows of one partial sum in [`sum_columns`].
const SUM_ROWS: usize = 32;

/// Runs `f` compiled for the widest vectors of this machine; `f` must be `#[inline(always)]` all the way down.
#[inline(always)]
pub fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Rows of `cols` elements that one task should take.
fn rows_per_task(cols: usize) -> usize {
    (CHUNK / cols.max(1)).max(1)
}

/// Calls `f(first_row, rows)` on chunks of `out` (`[rows, cols]`).
pub fn rows_mut<T: Send>(out: &mut [T], cols: usize, f: impl Fn(usize, &mut [T]) + Sync + Send) {
    if out.is_empty() {
        return;
    }
    let per_task = rows_per_task(cols);
    if out.len() <= per_task * cols.max(1) {
        return simd(
            #[inline(always)]
            || f(0, out),
        );
    }
    out.par_chunks_mut(per_task * cols.max(1)).enumerate().for_each(|(task, chunk)| {
        simd(
            #[inline(always)]
            || f(task * per_task, chunk),
        );
    });
}

/// [`rows_mut`] for two outputs with the same rows: `a [rows, a_cols]` and `b [rows, b_cols]`.
pub fn rows_mut2<T: Send>(
    a: &mut [T],
    a_cols: usize,
    b: &mut [T],
    b_cols: usize,
    f: impl Fn(usize, &mut [T], &mut [T]) + Sync + Send,
) {
    let per_task = rows_per_task(b_cols);
    let chunks = a.par_chunks_mut(per_task * a_cols.max(1)).zip(b.par_chunks_mut(per_task * b_cols.max(1)));
    chunks.enumerate().for_each(|(task, (a, b))| {
        simd(
            #[inline(always)]
            || f(task * per_task, a, b),
        );
    });
}

/// `sum += b`, element by element: how gradients of several uses are joined.
pub fn accumulate(sum: &mut Tensor, b: &Tensor) -> Result<()> {
    if sum.shape() != b.shape() || sum.dtype() != b.dtype() {
        return Err(Error::shape("accumulate", format!("{:?} {:?}", sum.shape(), sum.dtype()), (b.shape(), b.dtype())));
    }
    float_dispatch!("accumulate", b.dtype(), T => {
        let b = b.slice::<T>()?;
        rows_mut(sum.slice_mut::<T>()?, 1, |first, sum| {
            sum.iter_mut().zip(&b[first..]).for_each(|(s, b)| *s += *b);
        });
        Ok(())
    })
}

/// Calls `f(row)` for every row in parallel and collects the results in order.
pub fn rows<R: Send>(count: usize, f: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    (0..count).into_par_iter().map(f).collect()
}

/// `out[c] (+)= sum over rows of row(r)[c]`, where `add(first, end, partial)` adds rows `first..end` into `partial`.
///
/// Partial sums of chunks of constant size are added in index order: the result does not depend on the threads.
pub fn sum_columns<T: Float>(
    count: usize,
    out: &mut [T],
    accumulate: bool,
    add: impl Fn(usize, usize, &mut [T]) + Sync + Send,
) {
    let cols = out.len();
    let chunk = SUM_ROWS.max(CHUNK / cols.max(1) / 4);
    let partials: Vec<Vec<T>> = (0..count.div_ceil(chunk))
        .into_par_iter()
        .map(|task| {
            let mut partial = vec![T::zero(); cols];
            simd(
                #[inline(always)]
                || add(task * chunk, ((task + 1) * chunk).min(count), &mut partial),
            );
            partial
        })
        .collect();
    if !accumulate {
        out.fill(T::zero());
    }
    for partial in partials {
        out.iter_mut().zip(partial).for_each(|(o, p)| *o += p);
    }
}
