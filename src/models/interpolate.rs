//! Position tables at another resolution: bicubic interpolation of the tensor kind.
//!
//! Cubic convolution with `a = -0.75` at half-pixel centres, indices clamped at the border, no antialiasing: source
//! coordinate `(i + 0.5) · old / new - 0.5`. (Image resizing is another kernel: `data::resize`.)

use crate::tensor::Tensor;
use crate::{Error, Result};

const A: f64 = -0.75;

/// `pos_embed [1, extra + old², D]` for a grid of `new × new`: the `extra` first rows stay.
pub fn pos_embed(table: &Tensor, extra: usize, new: usize) -> Result<Tensor> {
    let width = table.dim(2);
    let patches = table.dim(1).checked_sub(extra).filter(|n| table.shape().len() == 3 && is_square(*n));
    let Some(patches) = patches else {
        return Err(Error::shape("pos_embed", format!("[1, {extra} + a square, width]"), table.shape()));
    };
    let values = table.to_f64s();
    let (first, grid) = values.split_at(extra * width);
    let mut resized = first.to_vec();
    resized.extend(resize(grid, patches.isqrt(), new, width));
    Ok(Tensor::from_slice([1, extra + new * new, width], &resized)?.to_dtype(table.dtype()))
}

/// A relative-position-bias table `[side², heads]`, seen as an image of `heads` channels, for `new_side²` rows.
pub fn bias_table(table: &Tensor, new_side: usize) -> Result<Tensor> {
    if table.shape().len() != 2 || !is_square(table.dim(0)) {
        return Err(Error::shape("bias_table", "[a square, heads]", table.shape()));
    }
    let resized = resize(&table.to_f64s(), table.dim(0).isqrt(), new_side, table.dim(1));
    Ok(Tensor::from_slice([new_side * new_side, table.dim(1)], &resized)?.to_dtype(table.dtype()))
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
