//! Position embeddings and bias tables at another resolution.
//!
//! Per axis with n → m positions, cubic convolution with a = −0.75, half-pixel centres, no antialiasing, clamped borders:
//! `x = (i + ½) n / m − ½`, `t = x − ⌊x⌋`, `out[i] = Σ_k w_k(t) in[clamp(⌊x⌋ + k, 0, n − 1)]` for `k = −1 … 2`,
//! `w = (c2(1 + t), c1(t), c1(1 − t), c2(2 − t))`, `c1(s) = (a + 2)s³ − (a + 3)s² + 1`, `c2(s) = a(s³ − 5s² + 8s − 4)`.
//! It is what DeiT's fine-tuning and Swin's loading do (`interpolate(mode="bicubic", align_corners=False)` of PyTorch).

use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// The longest side of a grid that is accepted: beyond any model, below any overflow.
const MAX_SIDE: usize = 1 << 12;

/// A position table `[1, extra + old², D]` for a grid of `new × new`: `[1, extra + new², D]`, the first `extra` rows
/// (class and distillation token) as they are. Source: DeiT's fine-tuning code.
///
/// Errors: another rank or leading size, patches that are no square, a side of 0 or more than 4096.
pub fn pos_embed(table: &Tensor, extra: usize, new: usize) -> Result<Tensor> {
    let [1, rows, width] = **table.shape() else {
        return Err(Error::shape("pos_embed", "[1, tokens, width]", table.shape()));
    };
    let Some(old) = rows.checked_sub(extra).and_then(side_of) else {
        return Err(Error::shape("pos_embed", format!("{extra} tokens and a square of patches"), table.shape()));
    };
    let values = table.to_f64s();
    let (first, patches) = values.split_at(extra * width);
    let mut out = first.to_vec();
    out.extend(square(patches, old, new, width)?);
    finish([1, extra + new * new, width], &out, table.dtype())
}

/// A table of relative position biases `[side², heads]` as an image of `new_side × new_side`: `[new_side², heads]`; for a
/// window of M the side is 2M − 1. Source: Swin Transformer's loading of checkpoints with another window.
///
/// Errors: another rank, rows that are no square, a side of 0 or more than 4096.
pub fn bias_table(table: &Tensor, new_side: usize) -> Result<Tensor> {
    let [rows, heads] = **table.shape() else {
        return Err(Error::shape("bias_table", "[side², heads]", table.shape()));
    };
    let Some(old) = side_of(rows) else {
        return Err(Error::shape("bias_table", "a square of rows", table.shape()));
    };
    let out = square(&table.to_f64s(), old, new_side, heads)?;
    finish([new_side * new_side, heads], &out, table.dtype())
}

fn finish<const N: usize>(shape: [usize; N], values: &[f64], dtype: DType) -> Result<Tensor> {
    Ok(Tensor::from_slice(shape, values)?.to_dtype(dtype))
}

/// The positive side of a square of `count` positions.
fn side_of(count: usize) -> Option<usize> {
    let side = count.isqrt();
    (side > 0 && side * side == count).then_some(side)
}

/// `[old, old, width]` resized to `[new, new, width]`.
fn square(values: &[f64], old: usize, new: usize, width: usize) -> Result<Vec<f64>> {
    if new == 0 || new > MAX_SIDE || old > MAX_SIDE {
        return Err(Error::invalid("side of the new grid", format!("1 to {MAX_SIDE}"), new));
    }
    if new == old {
        return Ok(values.to_vec());
    }
    let taps = taps(old, new);
    let columns = resize_axis(values, old, width, &taps);
    Ok(resize_axis(&columns, 1, new * width, &taps))
}

/// Positions and weights of each output.
type Taps = Vec<[(usize, f64); 4]>;

fn taps(old: usize, new: usize) -> Taps {
    const A: f64 = -0.75;
    let near = |s: f64| ((A + 2.0) * s - (A + 3.0)) * s * s + 1.0;
    let far = |s: f64| ((s - 5.0) * s + 8.0) * s * A - 4.0 * A;
    let one = |i: usize| {
        let x = (i as f64 + 0.5) * old as f64 / new as f64 - 0.5;
        let t = x - x.floor();
        let weights = [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)];
        let at = |k: usize| (x.floor() + k as f64 - 1.0).clamp(0.0, (old - 1) as f64) as usize;
        std::array::from_fn(|k| (at(k), weights[k]))
    };
    (0..new).map(one).collect()
}

/// `[rows, old, width]` to `[rows, taps, width]`; the length of `values` decides how long an axis is left.
fn resize_axis(values: &[f64], rows: usize, width: usize, taps: &Taps) -> Vec<f64> {
    let row = values.len() / rows.max(1);
    let mut out = Vec::with_capacity(rows * taps.len() * width);
    for row in values.chunks(row.max(1)) {
        for tap in taps {
            out.extend((0..width).map(|c| tap.iter().map(|&(at, weight)| weight * row[at * width + c]).sum::<f64>()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stays_and_extra_rows_are_kept() {
        let mut values = vec![7.0f32, 9.0];
        values.extend([3.0; 8]);
        let table = Tensor::from_slice([1, 5, 2], &values).unwrap();
        for new in [1, 2, 3, 5] {
            let out = pos_embed(&table, 1, new).unwrap().to_f64s();
            assert_eq!((out.len(), &out[..2]), (2 + 2 * new * new, &[7.0, 9.0][..]));
            assert!(out[2..].iter().all(|v| (v - 3.0).abs() < 1e-6), "{out:?}");
        }
    }

    #[test]
    fn halving_a_line_samples_between_its_middle_points() {
        // Four to two: t = ½, weights (−3, 19, 19, −3) / 32, the border taps clamped.
        let line = [0.0f32, 1.0, 2.0, 3.0];
        let table: Vec<f32> = (0..16).map(|i| line[i % 4]).collect();
        let out = bias_table(&Tensor::from_slice([16, 1], &table).unwrap(), 2).unwrap().to_f64s();
        let expected = (19.0 - 3.0 * 2.0) / 32.0;
        for (value, expected) in out.iter().zip([expected, 3.0 - expected, expected, 3.0 - expected]) {
            assert!((value - expected).abs() < 1e-6, "{out:?}");
        }
    }

    #[test]
    fn other_shapes_and_sides_are_refused() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32);
        for (shape, extra, new) in
            [(&[1, 6, 2][..], 1, 2), (&[2, 5, 2], 1, 2), (&[5, 2], 1, 2), (&[1, 1, 2], 2, 2), (&[1, 5, 2], 1, 0)]
        {
            assert!(pos_embed(&zeros(shape), extra, new).is_err(), "{shape:?}");
        }
        assert!(bias_table(&zeros(&[5, 2]), 3).is_err() && bias_table(&zeros(&[4, 2]), usize::MAX).is_err());
    }
}
