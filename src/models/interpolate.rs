//! Position tables at another resolution: bicubic interpolation of the tensor kind. Cubic convolution with `a = -0.75`
//! at half-pixel centres, indices clamped at the border, no antialiasing: source coordinate `(i + 0.5) · old / new -
//! 0.5`. (Image resizing is another kernel: `data::resize`.)

use crate::{Error, Result, Tensor, data::resize::cubic};

const A: f64 = -0.75;
/// The longest side of a grid: beyond any model, below any overflow.
const MAX_SIDE: usize = 1 << 12;
/// A small table of a file does not become more.
const MAX_VALUES: usize = 1 << 24;

/// `pos_embed [1, extra + old², D]` for a grid of `new × new`: the `extra` first rows stay. Source: DeiT's fine-tuning.
/// Errors: another rank or leading length, patches that are no square, a side of 0 or above 4096.
pub fn pos_embed(table: &Tensor, extra: usize, new: usize) -> Result<Tensor> {
    let (width, ranked) = (table.dim(2), table.shape().len() == 3 && table.dim(0) == 1);
    let old = table.dim(1).checked_sub(extra).and_then(side_of).filter(|_| ranked);
    let old = old.ok_or_else(|| Error::shape("pos_embed", format!("[1, {extra} + a square, width]"), table.shape()))?;
    let values = table.to_f64s()?;
    let (first, grid) = values.split_at(extra * width);
    let resized = [first, &resize(grid, old, new, width)?].concat();
    Tensor::from_slice([1, extra + new * new, width], &resized)?.to_dtype(table.dtype())
}

/// The same for a map of positions `[1, C, old, old]`, as PiT has.
pub fn pos_map(map: &Tensor, new: usize) -> Result<Tensor> {
    match **map.shape() {
        [1, channels, side, width] if side == width && side > 0 => {
            let values = map.to_f64s()?;
            let planes = values.chunks_exact(side * side).map(|plane| resize(plane, side, new, 1));
            let planes = planes.collect::<Result<Vec<_>>>()?;
            Tensor::from_slice([1, channels, new, new], &planes.concat())?.to_dtype(map.dtype())
        }
        _ => Err(Error::shape("pos_map", "[1, channels, a square]", map.shape())),
    }
}

/// A relative-position-bias table `[side², heads]`, seen as an image of `heads` channels, for `new_side²` rows; a
/// window of `M` has `side = 2M - 1`. Source: Swin's loading of checkpoints with another window. Errors: another rank,
/// rows that are no square, a side of 0 or above 4096.
pub fn bias_table(table: &Tensor, new_side: usize) -> Result<Tensor> {
    match **table.shape() {
        [rows, heads] if side_of(rows).is_some() => {
            pos_embed(&table.reshape([1, rows, heads])?, 0, new_side)?.reshape([new_side * new_side, heads])
        }
        _ => Err(Error::shape("bias_table", "[a square, heads]", table.shape())),
    }
}

/// The side of a square of `count` points, if it is one.
pub(super) fn side_of(count: usize) -> Option<usize> {
    let side = count.isqrt();
    (side * side == count && side > 0).then_some(side)
}

/// `[old, old, channels] -> [new, new, channels]`, columns then rows.
fn resize(image: &[f64], old: usize, new: usize, channels: usize) -> Result<Vec<f64>> {
    Error::ensure((1..=MAX_SIDE).contains(&new), "side of the new grid", format_args!("1 to {MAX_SIDE}"), new)?;
    let values = channels.saturating_mul(new * new);
    Error::ensure(values <= MAX_VALUES, "values of the new grid", format_args!("at most {MAX_VALUES}"), values)?;
    if old == new {
        return Ok(image.to_vec());
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
    Ok(out)
}

/// The four source indices of output `i`, clamped, with their weights.
fn taps(i: usize, old: usize, new: usize) -> [(usize, f64); 4] {
    let source = (i as f64 + 0.5) * old as f64 / new as f64 - 0.5;
    let (base, t) = (source.floor(), source - source.floor());
    let distances = [1.0 + t, t, 1.0 - t, 2.0 - t];
    std::array::from_fn(|k| {
        let index = (base as isize + k as isize - 1).clamp(0, old as isize - 1);
        (index as usize, cubic(distances[k], A))
    })
}
