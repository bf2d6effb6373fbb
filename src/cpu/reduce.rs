//! Sums inside a row, in lanes: they vectorise, and the order of additions is fixed.

use crate::tensor::Float;

/// Independent partial sums; the widest vector of `f32`.
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
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            let other = lanes[lane + width];
            lanes[lane] += other;
        }
    }
    lanes[0]
}

/// The largest element; negative infinity for an empty row, NaN when there is one.
#[inline(always)]
pub fn max<T: Float>(row: &[T]) -> T {
    row.iter().fold(T::neg_infinity(), |best, &v| if v > best || v.is_nan() { v } else { best })
}
