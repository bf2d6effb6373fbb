//! Position tables at another resolution: bicubic interpolation of the tensor kind.
//!
//! Cubic convolution with `a = -0.75` at half-pixel centres, indices clamped at the border, no antialiasing: source
//! coordinate `(i + 0.5) · old / new - 0.5`. (Image resizing is another kernel: `data::resize`.)

use crate::tensor::Tensor;
use crate::{Error, Result};

const A: f64 = -0.75;
/// The longest side of a grid: beyond any model, below any overflow.
const MAX_SIDE: usize = 1 << 12;

/// `pos_embed [1, extra + old², D]` for a grid of `new × new`: the `extra` first rows stay. Source: DeiT's fine-tuning.
///
/// Errors: another rank or leading length, patches that are no square, a side of 0 or above 4096.
pub fn pos_embed(table: &Tensor, extra: usize, new: usize) -> Result<Tensor> {
    let (width, ranked) = (table.dim(2), table.shape().len() == 3 && table.dim(0) == 1);
    let patches = table.dim(1).checked_sub(extra).filter(|n| ranked && is_square(*n));
    let Some(patches) = patches else {
        return Err(Error::shape("pos_embed", format!("[1, {extra} + a square, width]"), table.shape()));
    };
    check_side(new)?;
    let values = table.to_f64s();
    let (first, grid) = values.split_at(extra * width);
    let mut resized = first.to_vec();
    resized.extend(resize(grid, patches.isqrt(), new, width));
    Ok(Tensor::from_slice([1, extra + new * new, width], &resized)?.to_dtype(table.dtype()))
}

/// A relative-position-bias table `[side², heads]`, seen as an image of `heads` channels, for `new_side²` rows; a window of `M`
/// has `side = 2M - 1`. Source: Swin's loading of checkpoints with another window.
///
/// Errors: another rank, rows that are no square, a side of 0 or above 4096.
pub fn bias_table(table: &Tensor, new_side: usize) -> Result<Tensor> {
    if table.shape().len() != 2 || !is_square(table.dim(0)) {
        return Err(Error::shape("bias_table", "[a square, heads]", table.shape()));
    }
    check_side(new_side)?;
    let resized = resize(&table.to_f64s(), table.dim(0).isqrt(), new_side, table.dim(1));
    Ok(Tensor::from_slice([new_side * new_side, table.dim(1)], &resized)?.to_dtype(table.dtype()))
}

fn check_side(side: usize) -> Result<()> {
    let fits = (1..=MAX_SIDE).contains(&side);
    if fits { Ok(()) } else { Err(Error::invalid("side of the new grid", format!("1 to {MAX_SIDE}"), side)) }
}

fn is_square(n: usize) -> bool {
    n > 0 && n.isqrt() * n.isqrt() == n
}

/// `[old, old, channels] -> [new, new, channels]`, columns then rows.
fn resize(image: &[f64], old: usize, new: usize, channels: usize) -> Vec<f64> {
    if old == new {
        return image.to_vec();
    }
    let taps: Vec<[(usize, f64); 4]> = (0..new).map(|i| taps(i, old, new)).collect();
    let mut out = vec![0.0; new * new * channels];
    for (y, rows) in taps.iter().enumerate() {
        for (x, columns) in taps.iter().enumerate() {
            for c in 0..channels {
                let at = |row: usize, column: usize| image[(row * old + column) * channels + c];
                let line = |row: usize| columns.iter().map(|(column, w)| w * at(row, *column)).sum::<f64>();
                out[(y * new + x) * channels + c] = rows.iter().map(|(row, w)| w * line(*row)).sum();
            }
        }
    }
    out
}

/// The four source indices of output `i`, clamped, with their weights.
fn taps(i: usize, old: usize, new: usize) -> [(usize, f64); 4] {
    let source = (i as f64 + 0.5) * old as f64 / new as f64 - 0.5;
    let (base, t) = (source.floor(), source - source.floor());
    let near = |s: f64| ((A + 2.0) * s - (A + 3.0)) * s * s + 1.0;
    let far = |s: f64| ((A * s - 5.0 * A) * s + 8.0 * A) * s - 4.0 * A;
    let weights = [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)];
    std::array::from_fn(|k| {
        let index = (base as isize + k as isize - 1).clamp(0, old as isize - 1);
        (index as usize, weights[k])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

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
