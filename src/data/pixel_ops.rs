//! The operations of RandAugment and of colour jitter on 8-bit RGB, bit by bit as Pillow 9.5 computes them: maps of
//! single values, of values by the channel's histogram, blends `⌊a + f(b − a)⌋` in `f32`, and
//! [affine](super::affine) maps.

use super::affine::{rotation, transform};
use super::{image::RgbImage, resize::Filter};
use crate::cpu::simd;

/// An operation with its argument.
#[derive(Debug, Clone, Copy, PartialEq, strum::IntoStaticStr)]
pub enum PixelOp {
    /// Stretches each channel to 0–255.
    AutoContrast,
    /// Makes each channel's histogram flat.
    Equalize,
    /// 255 − v.
    Invert,
    /// Keeps this many of the upper bits.
    Posterize(u32),
    /// 255 − v from this value on.
    Solarize(u32),
    /// Adds this to values below 128.
    SolarizeAdd(u32),
    /// Away from grey, where the factor is 0.
    Color(f64),
    /// Away from the image's mean.
    Contrast(f64),
    /// Away from black.
    Brightness(f64),
    /// Away from the smoothed image.
    Sharpness(f64),
    /// By degrees, counter-clockwise.
    Rotate(f64),
    /// x + this · y.
    ShearX(f64),
    /// y + this · x.
    ShearY(f64),
    /// By a share of the width.
    TranslateX(f64),
    /// By a share of the height.
    TranslateY(f64),
}

impl PixelOp {
    /// Changes the image; `filter` and the colour `fill` of places outside are those of the affine maps.
    pub fn apply(self, image: &mut RgbImage, filter: Filter, fill: [u8; 3]) {
        let (width, height) = image.size();
        let matrix = match self {
            Self::AutoContrast => return by_histogram(image, auto_contrast),
            Self::Equalize => return by_histogram(image, equalize),
            Self::Invert => return by_value(image, |v| 255 - v),
            Self::Posterize(bits) => return by_value(image, |v| v & (0xff00 >> bits.min(8)) as u8),
            Self::Solarize(from) => return by_value(image, |v| if u32::from(v) < from { v } else { 255 - v }),
            Self::SolarizeAdd(amount) => {
                let amount = amount.min(255) as u8;
                return by_value(image, |v| if v < 128 { v.saturating_add(amount) } else { v });
            }
            Self::Brightness(f) => return by_value(image, |v| blend(0, v, f as f32)),
            Self::Contrast(f) => {
                let mean = mean_grey(image);
                return by_value(image, |v| blend(mean, v, f as f32));
            }
            Self::Color(f) => {
                let colour = |pixel: &mut [u8; 3]| *pixel = pixel.map(|v| blend(grey(*pixel), v, f as f32));
                return image.pixels.as_chunks_mut::<3>().0.iter_mut().for_each(colour);
            }
            Self::Sharpness(f) => return sharpen(image, f as f32),
            Self::Rotate(degrees) if degrees % 360.0 == 0.0 => return,
            Self::Rotate(degrees) => rotation(degrees, width, height),
            Self::ShearX(factor) => [[1.0, factor, 0.0], [0.0, 1.0, 0.0]],
            Self::ShearY(factor) => [[1.0, 0.0, 0.0], [factor, 1.0, 0.0]],
            Self::TranslateX(share) => [[1.0, 0.0, share * width as f64], [0.0, 1.0, 0.0]],
            Self::TranslateY(share) => [[1.0, 0.0, 0.0], [0.0, 1.0, share * height as f64]],
        };
        *image = transform(image, matrix, filter, fill);
    }
}

fn look_up(image: &mut RgbImage, tables: &[[u8; 256]; 3]) {
    for pixel in image.pixels.as_chunks_mut::<3>().0 {
        *pixel = std::array::from_fn(|c| tables[c][usize::from(pixel[c])]);
    }
}

fn by_value(image: &mut RgbImage, map: impl Fn(u8) -> u8) {
    let table = std::array::from_fn(|v| map(v as u8));
    look_up(image, &[table; 3]);
}

fn by_histogram(image: &mut RgbImage, table: impl Fn(&[usize; 256]) -> [u8; 256]) {
    let mut histograms = [[0; 256]; 3];
    for pixel in image.pixels.as_chunks::<3>().0 {
        (0..3).for_each(|c| histograms[c][usize::from(pixel[c])] += 1);
    }
    look_up(image, &histograms.map(|histogram| table(&histogram)));
}

const IDENTITY: fn(usize) -> u8 = |v| v as u8;

fn auto_contrast(histogram: &[usize; 256]) -> [u8; 256] {
    let low = histogram.iter().position(|&n| n > 0).unwrap_or(0);
    let high = histogram.iter().rposition(|&n| n > 0).unwrap_or(0);
    if high <= low {
        return std::array::from_fn(IDENTITY);
    }
    let scale = 255.0 / (high - low) as f64;
    let offset = -(low as f64) * scale;
    std::array::from_fn(|v| (v as f64 * scale + offset) as u8)
}

/// With step = ⌊(pixels − those of the last value that occurs) / 255⌋: v becomes ⌊(step/2 + pixels below v) / step⌋.
fn equalize(histogram: &[usize; 256]) -> [u8; 256] {
    let last = histogram.iter().rev().find(|&&n| n > 0).copied().unwrap_or(0);
    let step = (histogram.iter().sum::<usize>() - last) / 255;
    if step == 0 {
        return std::array::from_fn(IDENTITY);
    }
    let mut below = step / 2;
    histogram.map(|n| {
        let value = (below / step).min(255) as u8;
        below += n;
        value
    })
}

/// a + f(b − a), truncated and cut off to 0–255.
#[inline(always)]
fn blend(a: u8, b: u8, f: f32) -> u8 {
    (f32::from(a) + f * (f32::from(b) - f32::from(a))) as u8
}

/// Luma in 16-bit fixed point.
#[inline(always)]
fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + 32768) >> 16) as u8
}

fn mean_grey(image: &RgbImage) -> u8 {
    let pixels = image.pixels.as_chunks::<3>().0;
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(grey(pixel))).sum();
    (sum as f64 / pixels.len() as f64 + 0.5) as u8
}

fn sharpen(image: &mut RgbImage, f: f32) {
    simd(
        #[inline(always)]
        || {
            let smooth = smooth(image);
            image.pixels.iter_mut().zip(&smooth).for_each(|(v, s)| *v = blend(*s, *v, f));
        },
    );
}

/// The kernel [1 1 1; 1 5 1; 1 1 1]/13 in `f32`, rows from the lowest to the uppermost; the border stays.
#[inline(always)]
fn smooth(image: &RgbImage) -> Vec<u8> {
    let mut out = image.pixels.clone();
    let rows = out.chunks_exact_mut(image.width * 3).enumerate();
    for (y, out) in rows.take(image.height - 1).skip(1).filter(|_| image.width > 2) {
        let n = out.len() - 6;
        let [below, here, above] = [y + 1, y, y - 1].map(|y| image.row(y));
        let [below, here, above] = [below, here, above].map(|row| [&row[..n], &row[3..n + 3], &row[6..n + 6]]);
        for (i, value) in out[3..n + 3].iter_mut().enumerate() {
            *value = (0.5 + weighted(below, i, 1.0) + weighted(here, i, 5.0) + weighted(above, i, 1.0)) as u8;
        }
    }
    out
}

/// A row's share in the value at `i`, from the row itself and shifted by one and two pixels.
#[inline(always)]
fn weighted([left, centre, right]: [&[u8]; 3], i: usize, weight: f32) -> f32 {
    f32::from(left[i]) * (1.0 / 13.0) + f32::from(centre[i]) * (weight / 13.0) + f32::from(right[i]) * (1.0 / 13.0)
}
