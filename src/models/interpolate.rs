//! Position tables for another grid: bicubic resizing of the tensor kind (base_models 1.5).
//!
//! Per axis with n → m points: source coordinate `s = (i + ½) n / m - ½`, base `⌊s⌋`, fraction `t = s - ⌊s⌋`, taps at
//! `⌊s⌋ - 1 … ⌊s⌋ + 2` clamped to the table, weights `c2(1 + t), c1(t), c1(1 - t), c2(2 - t)` with `a = -¾`,
//! `c1(x) = (a + 2) x³ - (a + 3) x² + 1`, `c2(x) = a x³ - 5a x² + 8a x - 4a`. No antialiasing.

use crate::tensor::Tensor;
use crate::{Error, Result};

const A: f64 = -0.75;

/// The four taps of one output point: positions and weights.
type Taps = [(usize, f64); 4];

fn near(x: f64) -> f64 {
    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
}

fn far(x: f64) -> f64 {
    ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
}

fn taps(from: usize, to: usize) -> Vec<Taps> {
    let last = from as isize - 1;
    let one = |i: usize| {
        let source = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let (base, t) = (source.floor(), source - source.floor());
        let at = |offset: isize| (base as isize + offset).clamp(0, last) as usize;
        [(at(-1), far(1.0 + t)), (at(0), near(t)), (at(1), near(1.0 - t)), (at(2), far(2.0 - t))]
    };
    (0..to).map(one).collect()
}

/// A square image `[from², channels]`, channels last, resized to `[to², channels]`.
fn resize(image: &[f64], from: usize, to: usize, channels: usize) -> Vec<f64> {
    let taps = taps(from, to);
    let mut middle = vec![0.0; from * to * channels];
    for (row, out) in image.chunks_exact(from * channels).zip(middle.chunks_exact_mut(to * channels)) {
        for (taps, out) in taps.iter().zip(out.chunks_exact_mut(channels)) {
            for (at, weight) in taps {
                out.iter_mut().zip(&row[at * channels..]).for_each(|(o, v)| *o += weight * v);
            }
        }
    }
    let stride = to * channels;
    let mut resized = vec![0.0; to * stride];
    for (taps, out) in taps.iter().zip(resized.chunks_exact_mut(stride)) {
        for (at, weight) in taps {
            out.iter_mut().zip(&middle[at * stride..]).for_each(|(o, v)| *o += weight * v);
        }
    }
    resized
}

/// The side of a square of `count` points, if it is one.
pub(super) fn side_of(count: usize) -> Option<usize> {
    let side = count.isqrt();
    (side * side == count && side > 0).then_some(side)
}

/// A position embedding `[1, extra + g², D]` for a grid of `new` × `new`: `[1, extra + new², D]`.
///
/// The first `extra` rows (class, distillation) stay as they are, the others are an image of `g` × `g` points, row by
/// row, and are resized channel by channel; the same tensor when `g` is `new` already. Source: base_models 1.5.
/// Errors: [`Error::Shape`] for another shape, [`Error::Invalid`] for a grid of 0 or above 4096.
pub fn pos_embed(table: &Tensor, extra: usize, new: usize) -> Result<Tensor> {
    let wrong = || Error::shape("pos_embed", format!("[1, {extra} + a square, channels]"), table.shape());
    let [1, tokens, channels] = **table.shape() else { return Err(wrong()) };
    let side = tokens.checked_sub(extra).and_then(side_of).filter(|_| channels > 0).ok_or_else(wrong)?;
    check_side(new)?;
    if side == new {
        return Ok(table.clone());
    }
    let values = table.to_f64s();
    let (first, image) = values.split_at(extra * channels);
    let resized = [first, &resize(image, side, new, channels)].concat();
    Ok(Tensor::from_slice([1, extra + new * new, channels], &resized)?.to_dtype(table.dtype()))
}

/// A table of relative position biases `[side², heads]`, seen as an image of `heads` channels: `[new_side², heads]`.
/// Windows of `w` × `w` have sides of `2w - 1`.
///
/// Errors: [`Error::Shape`] for another shape, [`Error::Invalid`] for a side of 0 or above 4096.
pub fn bias_table(table: &Tensor, new_side: usize) -> Result<Tensor> {
    let wrong = || Error::shape("bias_table", "[a square, heads]", table.shape());
    let [points, heads] = **table.shape() else { return Err(wrong()) };
    let side = side_of(points).filter(|_| heads > 0).ok_or_else(wrong)?;
    check_side(new_side)?;
    if side == new_side {
        return Ok(table.clone());
    }
    let resized = resize(&table.to_f64s(), side, new_side, heads);
    Ok(Tensor::from_slice([new_side * new_side, heads], &resized)?.to_dtype(table.dtype()))
}

fn check_side(side: usize) -> Result<()> {
    if side == 0 || side > 1 << 12 {
        return Err(Error::invalid("grid", "1 to 4096 points along a side", side));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_a_plane_keeps_its_slope_inside() {
        for (from, to) in [(1, 3), (4, 6), (14, 24), (24, 7)] {
            for taps in taps(from, to) {
                let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
                assert!((sum - 1.0).abs() < 1e-12, "{from} to {to}: {sum}");
            }
        }
        let plane: Vec<f64> = (0..64).map(|i| (i % 8) as f64 + 10.0 * (i / 8) as f64).collect();
        let resized = resize(&plane, 8, 16, 1);
        for (y, x) in [(6, 6), (7, 9), (9, 8)] {
            let at = |i: usize| (i as f64 + 0.5) / 2.0 - 0.5;
            // A cubic kernel with a = -3/4 reproduces constants exactly and slopes to 0.07 of a step.
            assert!((resized[y * 16 + x] - at(x) - 10.0 * at(y)).abs() < 0.08 * 11.0);
        }
    }

    #[test]
    fn the_same_grid_is_the_same_table_and_bad_shapes_are_errors() -> Result<()> {
        let pos = Tensor::from_slice([1, 5, 2], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])?;
        assert_eq!(pos_embed(&pos, 1, 2)?.slice::<f32>()?, pos.slice::<f32>()?);
        let larger = pos_embed(&pos, 1, 3)?;
        assert_eq!((&**larger.shape(), &larger.slice::<f32>()?[..2]), (&[1, 10, 2][..], &[0.0, 1.0][..]));
        assert_eq!(&larger.slice::<f32>()?[10..12], [5.0, 6.0]); // the centre is the mean of the four corners
        for (extra, grid) in [(2, 2), (6, 2), (1, 0), (1, usize::MAX)] {
            assert!(pos_embed(&pos, extra, grid).is_err(), "{extra} {grid}");
        }
        assert!(bias_table(&pos, 2).is_err());
        assert!(bias_table(&Tensor::zeros([5, 1], crate::DType::F32), 2).is_err());
        assert_eq!(**bias_table(&Tensor::zeros([9, 2], crate::DType::F32), 7)?.shape(), [49, 2]);
        Ok(())
    }
}
