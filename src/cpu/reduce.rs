//! Sums inside a row, in lanes: they vectorise, and the order of additions is fixed.

use crate::tensor::Float;

/// Independent partial sums; a multiple of the widest vector.
const LANES: usize = 16;

/// `sum over i < n of f(i)`.
#[inline(always)]
pub fn sum<T: Float>(n: usize, f: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::zero(); LANES];
    let full = n - n % LANES;
    let mut base = 0;
    while base < full {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += f(base + lane);
        }
        base += LANES;
    }
    for (lane, i) in (full..n).enumerate() {
        lanes[lane] += f(i);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            let other = lanes[lane + width];
            lanes[lane] += other;
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest element; negative infinity for an empty row, NaN when there is one.
#[inline(always)]
pub fn max<T: Float>(row: &[T]) -> T {
    let mut best = T::neg_infinity();
    for &v in row {
        best = if v > best || v.is_nan() { v } else { best };
    }
    best
}
