//! Loops over rows on all cores. Work is cut into chunks of constant size, never by the number of threads.

use super::Mat;
use crate::{Result, tensor::Float, tensor::Shape, tensor::Tensor, tensor::float_dispatch};
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
    let per_task = rows_per_task(cols);
    let task = |(task, chunk): (usize, &mut [T])| {
        simd(
            #[inline(always)]
            || f(task * per_task, chunk),
        );
    };
    let len = per_task * cols.max(1);
    if out.len() <= len {
        return task((0, out));
    }
    out.par_chunks_mut(len).enumerate().for_each(task);
}

/// Calls `f(r, row)` for every row of `out`, seen as `[rows, cols]`.
pub fn each_row<T: Float>(out: &mut Tensor, cols: usize, f: impl Fn(usize, &mut [T]) + Sync + Send) -> Result<()> {
    rows_mut(
        out.slice_mut::<T>()?,
        cols,
        #[inline(always)]
        |first, rows| {
            for (r, row) in rows.chunks_mut(cols.max(1)).enumerate() {
                f(first + r, row);
            }
        },
    );
    Ok(())
}

/// A new tensor of `shape` whose rows, of `cols` elements each, are written by `f(r, row)`.
pub fn new_rows<T: Float>(
    shape: impl Into<Shape>, cols: usize, f: impl Fn(usize, &mut [T]) + Sync + Send,
) -> Result<Tensor> {
    let mut out = Tensor::empty(shape, T::DTYPE);
    each_row(&mut out, cols, f)?;
    Ok(out)
}

/// Calls `f(r, a_row, b_row)` for every row of the last axes of `a` and `b`, which have equally many.
pub fn each_row_pair<T: Float>(
    a: &mut Tensor, b: &mut Tensor, f: impl Fn(usize, &mut [T], &mut [T]) + Sync + Send,
) -> Result<()> {
    let [a_cols, b_cols] = [&a, &b].map(|t| t.shape().rows_cols().1.max(1));
    let per_task = rows_per_task(b_cols);
    let chunks = a.slice_mut()?.par_chunks_mut(per_task * a_cols).zip(b.slice_mut()?.par_chunks_mut(per_task * b_cols));
    chunks.enumerate().for_each(|(task, (a, b))| {
        simd(
            #[inline(always)]
            || {
                for (r, (a, b)) in a.chunks_mut(a_cols).zip(b.chunks_mut(b_cols)).enumerate() {
                    f(task * per_task + r, a, b);
                }
            },
        );
    });
    Ok(())
}

/// Calls `f(out[i], x[i])` for every element.
pub fn zip_mut<T: Float>(out: &mut Tensor, x: &Tensor, f: impl Fn(&mut T, T) + Sync + Send) -> Result<()> {
    let x = x.slice::<T>()?;
    rows_mut(
        out.slice_mut::<T>()?,
        1,
        #[inline(always)]
        |first, out| out.iter_mut().zip(&x[first..]).for_each(|(o, x)| f(o, *x)),
    );
    Ok(())
}

/// `sum += b`, element by element: how gradients of several uses are joined.
pub fn accumulate(sum: &mut Tensor, b: &Tensor) -> Result<()> {
    sum.check_same("accumulate", b)?;
    float_dispatch!("accumulate", b.dtype(), T => zip_mut::<T>(sum, b, #[inline(always)] |s, b| *s += b))
}

/// `out[c] (+)= sum over rows of row(r)[c]`, where `add(r, partial)` adds row `r` into `partial`. Partial sums of
/// chunks of constant size are added in index order: the result does not depend on the threads.
pub fn sum_columns<T: Float>(
    count: usize, out: &mut Tensor, accumulate: bool, add: impl Fn(usize, &mut [T]) + Sync + Send,
) -> Result<()> {
    let out = out.slice_mut::<T>()?;
    let chunk = SUM_ROWS.max(CHUNK / out.len().max(1) / 4);
    let partial_sum = |task: usize| {
        let mut partial = vec![T::zero(); out.len()];
        simd(
            #[inline(always)]
            || (task * chunk..count.min((task + 1) * chunk)).for_each(|r| add(r, &mut partial)),
        );
        partial
    };
    let partials: Vec<Vec<T>> = (0..count.div_ceil(chunk)).into_par_iter().map(partial_sum).collect();
    if !accumulate {
        out.fill(T::zero());
    }
    for partial in partials {
        out.iter_mut().zip(partial).for_each(|(o, p)| *o += p);
    }
    Ok(())
}

/// `out[c] (+)= sum over rows of x[., c]`, `x` seen as rows as long as `out`.
pub fn sum_rows(x: &Tensor, out: &mut Tensor, accumulate: bool) -> Result<()> {
    let cols = out.numel();
    let count = x.numel().checked_div(cols).unwrap_or(0);
    float_dispatch!("sum_rows", x.dtype(), T => {
        let x = Mat::new(x.slice::<T>()?, count, cols);
        sum_columns::<T>(count, out, accumulate, #[inline(always)] |r, partial| {
            partial.iter_mut().zip(x.row(r)).for_each(|(p, x)| *p += *x);
        })
    })
}
