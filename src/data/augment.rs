//! From an 8-bit image to a normalised CHW tensor: the evaluation transform and the augmentation of training. Draws come
//! from [`Philox`] at (seed, draw, site, sample) with the sites `data/crop`, `data/flip`, `data/colour`, `data/erase` and
//! `data/erase_noise`, so that a sample's augmentation does not depend on who loads it, or when.

use super::randaugment::{RandAugment, color_jitter};
use super::{erasing::Erasing, image::RgbImage, resize::*};
use crate::{Error, Result, noise::Philox, noise::Stream};
use serde::{Deserialize, Serialize};

/// Which part of the image is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "a variant's line names its fields")]
pub enum Crop {
    /// The shorter side resized to `resize` (256 for 224 models; if absent, not at all), then the centre.
    Centre { resize: Option<usize> },
    /// A uniformly placed square of the image with a zero border of `padding`, without resizing (for up to 32 pixels).
    Padded { padding: usize },
    /// torchvision's RandomResizedCrop: `scale` is the range of the area as a fraction of the image's, `ratio` that of
    /// width / height (see [`random_box`]).
    RandomResized { scale: [f64; 2], ratio: [f64; 2] },
}

/// The kernel of the resize, and of RandAugment's affine maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Interpolation {
    Bicubic,
    Bilinear,
    /// Either, each time anew.
    Random,
}

impl Interpolation {
    /// The kernel; `Random` draws it.
    pub fn filter(self, stream: &mut Stream) -> Filter {
        match self {
            Interpolation::Bicubic => Filter::Bicubic,
            Interpolation::Bilinear => Filter::Bilinear,
            Interpolation::Random => [Filter::Bilinear, Filter::Bicubic][stream.below(2)],
        }
    }
}

/// What happens to images of any size between the file and the model. The default is what DeiT's and Swin's recipes have in
/// common before they change colours: RandomResizedCrop(0.08–1, 3/4–4/3) and flip, evaluation by the centre.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Area of the random crop, as a share of the image's.
    pub scale: [f64; 2],
    /// Width / height of the random crop.
    pub ratio: [f64; 2],
    /// Probability of a horizontal flip.
    pub flip: f32,
    /// Kernel of the resize in training.
    pub interpolation: Interpolation,
    /// RandAugment's policy, such as `rand-m9-mstd0.5-inc1`.
    pub rand_augment: Option<RandAugment>,
    /// Brightness, contrast and saturation, where there is no policy.
    pub color_jitter: f64,
    /// Random erasing.
    pub erasing: Option<Erasing>,
    /// Evaluation: the share of the shorter side that the centre crop takes.
    pub crop_pct: f64,
    /// Channel means, of values in [0, 1].
    pub mean: [f32; 3],
    /// Channel deviations.
    pub std: [f32; 3],
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip: 0.5,
            interpolation: Interpolation::Bicubic,
            rand_augment: None,
            color_jitter: 0.0,
            erasing: None,
            crop_pct: 0.875,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
        }
    }
}

impl Augment {
    /// Evaluation at `img_size` pixels: shorter side to ⌊img_size / crop_pct⌋, centre; up to 32 nothing is resized.
    pub fn eval(&self, img_size: usize) -> Transform {
        let crop = Crop::Centre { resize: (img_size > 32).then(|| (img_size as f64 / self.crop_pct) as usize) };
        let &Self { mean, std, .. } = self;
        let (interpolation, rand_augment, color_jitter, erasing) = (Interpolation::Bicubic, None, 0.0, None);
        Transform { img_size, crop, flip: 0.0, interpolation, rand_augment, color_jitter, erasing, mean, std }
    }

    /// Training at `img_size` pixels: up to 32 a crop with a border of 4 instead of a resize.
    pub fn train(&self, img_size: usize) -> Transform {
        let &Self { scale, ratio, flip, interpolation, rand_augment, color_jitter, erasing, .. } = self;
        let crop = if img_size > 32 { Crop::RandomResized { scale, ratio } } else { Crop::Padded { padding: 4 } };
        Transform { crop, flip, interpolation, rand_augment, color_jitter, erasing, ..self.eval(img_size) }
    }
}

/// Everything between decoding and the model, in this order: crop, flip, colours, normalisation, erasing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// The side of the square output.
    pub img_size: usize,
    /// Which part of the image.
    pub crop: Crop,
    /// The probability of a horizontal flip.
    pub flip: f32,
    /// The kernel of the resize.
    pub interpolation: Interpolation,
    /// RandAugment's policy.
    #[serde(default)]
    pub rand_augment: Option<RandAugment>,
    /// How far brightness, contrast and saturation are changed; nothing while there is a policy.
    #[serde(default)]
    pub color_jitter: f64,
    /// Random erasing.
    #[serde(default)]
    pub erasing: Option<Erasing>,
    /// Channel means, of values in [0, 1].
    pub mean: [f32; 3],
    /// Channel deviations.
    pub std: [f32; 3],
}

impl Transform {
    /// Checks what a configuration file can get wrong.
    pub fn validate(&self) -> Result<()> {
        let (size, most, colours) = (self.img_size, 1 << 14, (self.mean, self.std));
        let range = |[low, high]: [f64; 2]| low > 0.0 && low <= high && high.is_finite();
        let usable = colours.0.iter().all(|m| m.is_finite()) && colours.1.iter().all(|s| s.is_finite() && *s > 0.0);
        Error::ensure((1..=most).contains(&size), "img_size", format_args!("1 to {most}"), size)?;
        Error::ensure((0.0..=1.0).contains(&self.flip), "flip", "a probability", self.flip)?;
        Error::ensure(usable, "mean, std", "finite, std positive", format_args!("{colours:?}"))?;
        Error::ensure((0.0..=100.0).contains(&self.color_jitter), "color_jitter", "0 to 100", self.color_jitter)?;
        self.rand_augment.map_or(Ok(()), |policy| policy.validate())?;
        self.erasing.map_or(Ok(()), |erasing| erasing.validate())?;
        match self.crop {
            Crop::Centre { resize } => {
                let side = resize.unwrap_or(size);
                Error::ensure(side >= size, "crop.centre.resize", format_args!("at least {size}"), side)
            }
            Crop::Padded { padding } => {
                Error::ensure(padding <= most, "crop.padded.padding", format_args!("at most {most}"), padding)
            }
            Crop::RandomResized { scale, ratio } => {
                let (fits, found) = (range(scale) && range(ratio) && scale[1] <= 1.0, format!("{scale:?}, {ratio:?}"));
                Error::ensure(fits, "crop.random_resized: scale, ratio", "0 < low <= high, scale at most 1", found)
            }
        }
    }

    /// The part of the image, `img_size` × `img_size`, flipped or not. `noise.step` is the draw (the epoch), `sample` the
    /// image's index. Errors: an image smaller than a crop without resize.
    pub fn crop_and_flip(&self, image: &RgbImage, noise: &Philox, sample: u64) -> Result<RgbImage> {
        let size = self.img_size;
        let (mut stream, filter) =
            (noise.stream("data/crop", sample), |stream: &mut Stream| self.interpolation.filter(stream));
        let mut out = match self.crop {
            Crop::Centre { resize } => {
                let side = resize.unwrap_or(image.width.min(image.height));
                let (width, height) = short_side_size(image.width, image.height, side);
                resize_region(image, width, height, filter(&mut stream), centre_rect(width, height, size)?)?
            }
            Crop::Padded { padding } => padded_crop(image, padding, size, &mut stream)?,
            Crop::RandomResized { scale, ratio } => {
                let rect = random_box(image.width, image.height, scale, ratio, &mut stream);
                resize(&crop(image, rect)?, size, size, filter(&mut stream))?
            }
        };
        if self.flip > 0.0 && noise.stream("data/flip", sample).next_f32() < self.flip {
            out.mirror();
        }
        Ok(out)
    }

    /// Changes the colours, and with a policy the shapes, of a cropped image.
    pub fn colour(&self, image: &mut RgbImage, noise: &Philox, sample: u64) {
        let mut stream = noise.stream("data/colour", sample);
        match self.rand_augment {
            Some(policy) => policy.apply(image, self.interpolation, self.fill(), &mut stream),
            None if self.color_jitter > 0.0 => color_jitter(image, self.color_jitter, &mut stream),
            None => {}
        }
    }

    /// The colour of places from outside the image: round(255 · mean).
    pub fn fill(&self) -> [u8; 3] {
        self.mean.map(|mean| (255.0 * f64::from(mean)).round_ties_even() as u8)
    }

    /// The model's input, CHW `[3, img_size, img_size]`: [`Self::crop_and_flip`], [`Self::colour`], (v/255 − mean)/std,
    /// erasing.
    pub fn apply(&self, image: &RgbImage, noise: &Philox, sample: u64) -> Result<Vec<f32>> {
        let mut image = self.crop_and_flip(image, noise, sample)?;
        self.colour(&mut image, noise, sample);
        let mut values = normalize(&image, self.mean, self.std);
        let (width, height) = image.size();
        self.erasing.map_or(Ok(()), |erasing| erasing.apply(&mut values, height, width, noise, sample))?;
        Ok(values)
    }
}

/// Where the box of [`random_box`] gets its draws: a [`Stream`], or a recording.
pub trait BoxDraws {
    /// Uniform in [low, high).
    fn uniform(&mut self, low: f64, high: f64) -> f64;
    /// Uniform integer in [0, n).
    fn below(&mut self, n: usize) -> usize;
}

impl BoxDraws for Stream {
    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.next_f64()
    }
    fn below(&mut self, n: usize) -> usize {
        Stream::below(self, n)
    }
}

/// RandomResizedCrop's box. Up to 10 attempts: area = U(scale)·W·H, r = exp(U(ln ratio)), w = round(√(area·r)),
/// h = round(√(area/r)), half to even; if it fits, top and then left are drawn uniformly. Otherwise the centre at the
/// nearest allowed ratio.
pub fn random_box(w: usize, h: usize, scale: [f64; 2], ratio: [f64; 2], draws: &mut impl BoxDraws) -> Rect {
    let total = w as f64 * h as f64;
    for _ in 0..10 {
        let area = draws.uniform(scale[0], scale[1]) * total;
        let r = libm::exp(draws.uniform(libm::log(ratio[0]), libm::log(ratio[1])));
        let width = (area * r).sqrt().round_ties_even() as usize;
        let height = (area / r).sqrt().round_ties_even() as usize;
        if (1..=w).contains(&width) && (1..=h).contains(&height) {
            let top = draws.below(h - height + 1);
            return Rect { top, left: draws.below(w - width + 1), height, width };
        }
    }
    let width = ((h as f64 * ratio[1]).round_ties_even() as usize).clamp(1, w);
    let height = ((w as f64 / ratio[0]).round_ties_even() as usize).clamp(1, h);
    Rect { top: (h - height) / 2, left: (w - width) / 2, height, width }
}

/// A `size` × `size` square at a uniform place of the image with a zero border of `padding`.
pub fn padded_crop(image: &RgbImage, padding: usize, size: usize, draws: &mut impl BoxDraws) -> Result<RgbImage> {
    let (width, height) = (image.width + 2 * padding, image.height + 2 * padding);
    let found = format_args!("{} x {} and a border of {padding}", image.width, image.height);
    let fits = (1..=width.min(height)).contains(&size);
    Error::ensure(fits, "padded crop", format_args!("at least {size} pixels a side"), found)?;
    let (top, left) = (draws.below(height - size + 1), draws.below(width - size + 1));
    let mut pixels = vec![0; size * size * 3];
    for (y, row) in (top..).zip(pixels.chunks_exact_mut(size * 3)) {
        let Some(source) = y.checked_sub(padding).filter(|y| *y < image.height).map(|y| image.row(y)) else { continue };
        for (x, pixel) in (left..).zip(row.as_chunks_mut::<3>().0) {
            let inside = x.checked_sub(padding).and_then(|x| source.as_chunks::<3>().0.get(x));
            *pixel = inside.copied().unwrap_or_default();
        }
    }
    RgbImage::new(size, size, pixels)
}
