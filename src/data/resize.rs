//! Resizing, cropping and normalising, bit by bit as Pillow 9.5 (8-bit channels) and torchvision do.
//!
//! Per axis with n → m: scale s = n/m, f = max(s, 1), support R = 2f (bicubic) or f (bilinear). Output i has centre
//! c = (i + ½)s, taps j from max(0, ⌊c − R + ½⌋) to min(n, ⌊c + R + ½⌋) with weights k((j − c + ½)/f) divided by their
//! sum, rounded to 22-bit fixed point. Rows first (horizontal pass), then columns, the middle image rounded to 8 bit.

use super::image::{MAX_PIXELS, RgbImage};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// ImageNet's channel means (RGB, of values in [0, 1]).
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// ImageNet's channel deviations.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The interpolation kernel k.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Cubic convolution with a = −0.5.
    #[default]
    Bicubic,
    /// max(0, 1 − |x|).
    Bilinear,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Filter::Bicubic => 2.0,
            Filter::Bilinear => 1.0,
        }
    }

    fn kernel(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Filter::Bilinear => (1.0 - x).max(0.0),
            Filter::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Filter::Bicubic => 0.0,
        }
    }
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// The taps of one output pixel: input positions `first ..` with 22-bit fixed-point weights.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

const PRECISION: u32 = 22;

fn taps(from: usize, to: usize, range: std::ops::Range<usize>, filter: Filter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let one = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let inverse = 1.0 / stretch;
        let raw: Vec<f64> = (first..end).map(|j| filter.kernel((j as f64 - centre + 0.5) * inverse)).collect();
        let sum: f64 = raw.iter().sum();
        let fixed = |w: f64| {
            let w = if sum == 0.0 { w } else { w / sum } * f64::from(1u32 << PRECISION);
            (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
        };
        Taps { first, weights: raw.into_iter().map(fixed).collect() }
    };
    range.map(one).collect()
}

#[inline(always)]
fn to_u8(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// One row: out[x] = Σ_j w_j · row[first + j] for the three channels; `row` has one spare byte at its end.
#[inline(always)]
fn horizontal_row(row: &[u8], taps: &[Taps], out: &mut [u8]) {
    for (tap, pixel) in taps.iter().zip(out.as_chunks_mut::<3>().0) {
        let mut sum = [1 << (PRECISION - 1); 4];
        let source = &row[tap.first * 3..];
        for (j, &weight) in tap.weights.iter().enumerate() {
            // Four bytes instead of three, so that they fill a vector; the fourth sum is dropped.
            for (s, &v) in sum.iter_mut().zip(&source[j * 3..j * 3 + 4]) {
                *s += i32::from(v) * weight;
            }
        }
        *pixel = [to_u8(sum[0]), to_u8(sum[1]), to_u8(sum[2])];
    }
}

/// One row of the vertical pass: out = Σ_j w_j · rows[j], rows of `out.len()` bytes.
#[inline(always)]
fn vertical_row(rows: &[u8], weights: &[i32], sums: &mut [i32], out: &mut [u8]) {
    sums.fill(1 << (PRECISION - 1));
    for (row, &weight) in rows.chunks_exact(out.len()).zip(weights) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += i32::from(value) * weight;
        }
    }
    for (value, &sum) in out.iter_mut().zip(&*sums) {
        *value = to_u8(sum);
    }
}

/// The part `region` of the image resized to `width` × `height`, equal to resizing all and cropping, without the rest.
///
/// Errors: a zero size, a region outside the resized image, a region of more than 2²⁸ pixels.
pub fn resize_region(image: &RgbImage, width: usize, height: usize, filter: Filter, region: Rect) -> Result<RgbImage> {
    check_rect(width, height, region, "resize")?;
    let columns = region.left..region.left + region.width;
    let vertical = taps(image.height, height, region.top..region.top + region.height, filter);
    // The taps move monotonically: the first output row starts first, the last ends last.
    let ends = |t: &Taps| t.first + t.weights.len();
    let (first, end) = match (vertical.first(), vertical.last()) {
        (Some(a), Some(b)) if height != image.height => (a.first, ends(b)),
        _ => (region.top, region.top + region.height),
    };
    let stride = region.width * 3;
    let mut middle = vec![0u8; stride * (end - first)];
    if width == image.width {
        for (y, out) in (first..end).zip(middle.chunks_exact_mut(stride)) {
            out.copy_from_slice(&image.row(y)[columns.start * 3..columns.end * 3]);
        }
    } else {
        let horizontal = taps(image.width, width, columns, filter);
        let mut padded = vec![0u8; image.width * 3 + 1];
        pulp::Arch::new().dispatch(|| {
            for (y, out) in (first..end).zip(middle.chunks_exact_mut(stride)) {
                padded[..image.width * 3].copy_from_slice(image.row(y));
                horizontal_row(&padded, &horizontal, out);
            }
        });
    }
    if height == image.height {
        return RgbImage::new(region.width, region.height, middle);
    }
    let mut pixels = vec![0u8; stride * region.height];
    let mut sums = vec![0i32; stride];
    pulp::Arch::new().dispatch(|| {
        for (tap, out) in vertical.iter().zip(pixels.chunks_exact_mut(stride)) {
            vertical_row(&middle[(tap.first - first) * stride..], &tap.weights, &mut sums, out);
        }
    });
    RgbImage::new(region.width, region.height, pixels)
}

fn check_rect(width: usize, height: usize, rect: Rect, what: &str) -> Result<()> {
    let inside = |start: usize, len: usize, side: usize| len > 0 && start.checked_add(len).is_some_and(|e| e <= side);
    if !inside(rect.left, rect.width, width) || !inside(rect.top, rect.height, height) {
        let expected = format!("a non-empty rectangle inside {width} x {height} pixels");
        return Err(Error::invalid(what, expected, format!("{rect:?}")));
    }
    if rect.width as u64 * rect.height as u64 > MAX_PIXELS {
        return Err(Error::invalid(what, format!("at most {MAX_PIXELS} pixels"), format!("{rect:?}")));
    }
    Ok(())
}

/// The image resized to `width` × `height`. Errors: a zero side, more than 2²⁸ pixels.
pub fn resize(image: &RgbImage, width: usize, height: usize, filter: Filter) -> Result<RgbImage> {
    resize_region(image, width, height, filter, Rect { top: 0, left: 0, height, width })
}

/// (width, height) after resizing the shorter side to `side`: the longer becomes ⌊side · long / short⌋.
pub fn short_side_size(width: usize, height: usize, side: usize) -> (usize, usize) {
    let long = |long: usize, short: usize| (side as u128 * long as u128 / short.max(1) as u128) as usize;
    if width <= height { (side, long(height, width)) } else { (long(width, height), side) }
}

/// The image resized so that its shorter side is `side` (torchvision's `Resize(side)`).
pub fn resize_short_side(image: &RgbImage, side: usize, filter: Filter) -> Result<RgbImage> {
    let (width, height) = short_side_size(image.width, image.height, side);
    resize(image, width, height, filter)
}

/// The centred `size` × `size` square of a `width` × `height` image: offsets (side − size)/2 rounded half to even.
///
/// An error when the image is smaller than the square.
pub fn centre_rect(width: usize, height: usize, size: usize) -> Result<Rect> {
    if size == 0 || size > width || size > height {
        let expected = format!("1 to {}, the shorter side of the image", width.min(height));
        return Err(Error::invalid("centre crop", expected, size));
    }
    let offset = |side: usize| {
        let slack = side - size;
        slack / 2 + usize::from(slack % 4 == 3)
    };
    Ok(Rect { top: offset(height), left: offset(width), height: size, width: size })
}

/// The centred `size` × `size` square (see [`centre_rect`]).
pub fn centre_crop(image: &RgbImage, size: usize) -> Result<RgbImage> {
    crop(image, centre_rect(image.width, image.height, size)?)
}

/// The rectangle as an image of its own; an error when it is empty or leaves the image.
pub fn crop(image: &RgbImage, rect: Rect) -> Result<RgbImage> {
    check_rect(image.width, image.height, rect, "crop")?;
    let mut pixels = Vec::with_capacity(rect.width * rect.height * 3);
    for y in rect.top..rect.top + rect.height {
        pixels.extend_from_slice(&image.row(y)[rect.left * 3..(rect.left + rect.width) * 3]);
    }
    RgbImage::new(rect.width, rect.height, pixels)
}

/// (v/255 − mean)/std per channel, HWC bytes to CHW floats `[3, height, width]`.
pub fn normalize(image: &RgbImage, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
    let plane = image.width * image.height;
    let mut out = vec![0.0; plane * 3];
    for (c, values) in out.chunks_exact_mut(plane).enumerate() {
        let table: [f32; 256] = std::array::from_fn(|v| (v as f32 / 255.0 - mean[c]) / std[c]);
        for (value, pixel) in values.iter_mut().zip(image.pixels.as_chunks::<3>().0) {
            *value = table[usize::from(pixel[c])];
        }
    }
    out
}
