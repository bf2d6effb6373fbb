//! Resizing, cropping and normalising, bit by bit as Pillow 9.5 (8-bit channels) and torchvision do. Per axis with n →
//! m: scale s = n/m, f = max(s, 1), support R = 2f (bicubic) or f (bilinear). Output i has centre c = (i + ½)s, taps j
//! from max(0, ⌊c − R + ½⌋) to min(n, ⌊c + R + ½⌋) with weights k((j − c + ½)/f) divided by their sum, rounded to
//! 22-bit fixed point. Rows first (horizontal pass), then columns, the middle image rounded to 8 bit.

use super::image::{MAX_PIXELS, RgbImage};
use crate::{Error, Result, cpu::simd};

/// ImageNet's channel means (RGB, of values in [0, 1]).
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// ImageNet's channel deviations.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The interpolation kernel k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Cubic convolution with a = −0.5.
    Bicubic,
    /// max(0, 1 − |x|).
    Bilinear,
}

/// Cubic convolution: (a+2)|x|³ − (a+3)|x|² + 1 up to 1, a|x|³ − 5a|x|² + 8a|x| − 4a up to 2, 0 beyond.
pub(crate) fn cubic(x: f64, a: f64) -> f64 {
    match x.abs() {
        x if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}

/// A rectangle of pixels: its first row and column, its numbers of rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Rect {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

/// The taps of one output pixel: input positions `first ..` with 22-bit fixed-point weights.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

const PRECISION: u32 = 22;

/// The taps of `len` outputs from `start` on, of an axis of `from` pixels resized to `to`.
fn taps(from: usize, to: usize, start: usize, len: usize, filter: Filter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let (support, kernel): (f64, fn(f64) -> f64) = match filter {
        Filter::Bicubic => (2.0 * stretch, |x| cubic(x, -0.5)),
        Filter::Bilinear => (stretch, |x| (1.0 - x.abs()).max(0.0)),
    };
    let output = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let inverse = 1.0 / stretch;
        let raw: Vec<f64> = (first..end).map(|j| kernel((j as f64 - centre + 0.5) * inverse)).collect();
        let sum: f64 = raw.iter().sum();
        let fixed = |w: f64| {
            let w = if sum == 0.0 { w } else { w / sum } * f64::from(1u32 << PRECISION);
            (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
        };
        Taps { first, weights: raw.into_iter().map(fixed).collect() }
    };
    (start..start + len).map(output).collect()
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
/// Errors: a zero size, a region outside the resized image, a region of more than 2²⁸ pixels.
pub fn resize_region(image: &RgbImage, width: usize, height: usize, filter: Filter, region: Rect) -> Result<RgbImage> {
    check_rect(width, height, region, "resize")?;
    if (width, height) == (image.width, image.height) {
        return crop(image, region);
    }
    let columns = taps(image.width, width, region.left, region.width, filter);
    let rows = taps(image.height, height, region.top, region.height, filter);
    // The taps move monotonically: the first output row starts first, the last ends last.
    let (first, last) = (rows[0].first, &rows[rows.len() - 1]);
    let stride = region.width * 3;
    let mut middle = vec![0u8; stride * (last.first + last.weights.len() - first)];
    let mut pixels = vec![0u8; stride * region.height];
    let (mut padded, mut sums) = (vec![0u8; image.width * 3 + 1], vec![0i32; stride]);
    simd(
        #[inline(always)]
        || {
            for (y, out) in middle.chunks_exact_mut(stride).enumerate() {
                padded[..image.width * 3].copy_from_slice(image.row(first + y));
                horizontal_row(&padded, &columns, out);
            }
            for (tap, out) in rows.iter().zip(pixels.chunks_exact_mut(stride)) {
                vertical_row(&middle[(tap.first - first) * stride..], &tap.weights, &mut sums, out);
            }
        },
    );
    RgbImage::new(region.width, region.height, pixels)
}

fn check_rect(width: usize, height: usize, rect: Rect, what: &str) -> Result<()> {
    let inside = |start: usize, len: usize, side: usize| len > 0 && start.checked_add(len).is_some_and(|e| e <= side);
    let fits = inside(rect.left, rect.width, width) && inside(rect.top, rect.height, height);
    let found = format_args!("{rect:?}");
    Error::ensure(fits, what, format_args!("a non-empty rectangle inside {width} x {height} pixels"), found)?;
    let few = rect.width as u64 * rect.height as u64 <= MAX_PIXELS;
    Error::ensure(few, what, format_args!("at most {MAX_PIXELS} pixels"), found)
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

/// The centred `size` × `size` square of a `width` × `height` image: offsets (side − size)/2 rounded half to even. An
/// error when the image is smaller than the square.
pub fn centre_rect(width: usize, height: usize, size: usize) -> Result<Rect> {
    let short = width.min(height);
    let fits = (1..=short).contains(&size);
    Error::ensure(fits, "centre crop", format_args!("1 to {short}, the shorter side of the image"), size)?;
    let offset = |slack: usize| slack / 2 + usize::from(slack % 4 == 3);
    Ok(Rect { top: offset(height - size), left: offset(width - size), height: size, width: size })
}

/// The rectangle as an image of its own; an error when it is empty or leaves the image.
pub fn crop(image: &RgbImage, rect: Rect) -> Result<RgbImage> {
    check_rect(image.width, image.height, rect, "crop")?;
    let columns = rect.left * 3..(rect.left + rect.width) * 3;
    let rows = (rect.top..rect.top + rect.height).map(|y| &image.row(y)[columns.clone()]);
    RgbImage::new(rect.width, rect.height, rows.collect::<Vec<_>>().concat())
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
