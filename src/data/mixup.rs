//! Mixup (Zhang et al., 2018) and cutmix (Yun et al., 2019) on a batch, as timm 0.4.12 has them: image i of B is mixed
//! with its partner B − 1 − i, and so are their targets.
//!
//! ```text
//! mixup    x = λ x_i + (1 − λ) x_partner                                            λ ~ Beta(α, α)
//! cutmix   a rectangle of √(1 − λ) of both sides, cut off at the border, is the partner's;  λ := 1 − its share of x
//! target   t = λ t_i + (1 − λ) t_partner                                            of smoothed one-hot rows
//! ```

use super::resize::Rect;
use crate::{Error, Result, noise::Philox, noise::Stream};
use serde::{Deserialize, Serialize};

/// What shares one λ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixMode {
    /// The batch.
    #[default]
    Batch,
    /// An image and its partner.
    Pair,
    /// An image.
    Elem,
}

/// How a batch is mixed; the default does not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixup {
    /// Mixup's α; 0 turns it off.
    pub mixup: f64,
    /// Cutmix's α; 0 turns it off.
    pub cutmix: f64,
    /// The probability that anything is mixed.
    pub probability: f64,
    /// The probability of cutmix where both are on.
    pub switch: f64,
    /// What shares one λ.
    pub mode: MixMode,
}

impl Default for Mixup {
    fn default() -> Self {
        Self { mixup: 0.0, cutmix: 0.0, probability: 1.0, switch: 0.5, mode: MixMode::Batch }
    }
}

/// How an image is mixed with its partner; λ is the share of the image itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// The share of the image itself, after the correction.
    pub lambda: f64,
    /// The partner's rectangle; `None` blends.
    pub cut: Option<Rect>,
}

impl Mix {
    /// Nothing.
    pub const NONE: Self = Self { lambda: 1.0, cut: None };

    /// Cutmix of images of `height` × `width` at the drawn `lambda` with the centre (`y`, `x`): the sides are ⌊side ·
    /// √(1 − λ)⌋, halved downwards to both directions.
    pub fn cut(height: usize, width: usize, lambda: f64, (y, x): (usize, usize)) -> Self {
        let share = (1.0 - lambda).sqrt();
        let span = |side: usize, centre: usize| {
            let half = (side as f64 * share) as usize / 2;
            (centre.saturating_sub(half), (centre + half).min(side))
        };
        let ((top, bottom), (left, right)) = (span(height, y), span(width, x));
        let rect = Rect { top, left, height: bottom - top, width: right - left };
        let lambda = 1.0 - (rect.height * rect.width) as f64 / (height * width) as f64;
        Self { lambda, cut: Some(rect) }
    }
}

impl Mixup {
    /// Whether anything is ever mixed.
    pub fn is_on(&self) -> bool {
        self.probability > 0.0 && (self.mixup > 0.0 || self.cutmix > 0.0)
    }

    /// Refuses values that have no meaning.
    pub fn validate(&self) -> Result<()> {
        let unit = |value: f64| (0.0..=1.0).contains(&value);
        let alphas = [self.mixup, self.cutmix].iter().all(|alpha| (0.0..=1e6).contains(alpha));
        let fits = alphas && unit(self.probability) && unit(self.switch);
        Error::ensure(fits, "mixup", "alphas of 0 to 1e6, probabilities of 0 to 1", format_args!("{self:?}"))
    }

    /// How each image of a batch of `images` × `height` × `width` is mixed, drawn at `train/mixup` of the step. An error
    /// for an odd number of images.
    pub fn draw(&self, images: usize, height: usize, width: usize, noise: &Philox) -> Result<Vec<Mix>> {
        let half = images / 2;
        Error::ensure(images == 2 * half, "batch to be mixed", "an even number of images", images)?;
        let one = |sample| self.draw_one(height, width, &mut noise.stream("train/mixup", sample));
        Ok(match self.mode {
            MixMode::Batch => vec![one(0); images],
            MixMode::Elem => (0..images as u64).map(one).collect(),
            MixMode::Pair => (0..images).map(|i| one(i.min(images - 1 - i) as u64)).collect(),
        })
    }

    fn draw_one(&self, height: usize, width: usize, stream: &mut Stream) -> Mix {
        let (mixed, switched) = (stream.next_f64() < self.probability, stream.next_f64() < self.switch);
        let cut = self.cutmix > 0.0 && (switched || self.mixup == 0.0);
        let alpha = if cut { self.cutmix } else { self.mixup };
        if !mixed || alpha == 0.0 {
            return Mix::NONE;
        }
        match beta(alpha, stream) {
            1.0 => Mix::NONE,
            lambda if cut => Mix::cut(height, width, lambda, (stream.below(height), stream.below(width))),
            lambda => Mix { lambda, cut: None },
        }
    }
}

/// Mixes every two of `rows` by their `mixes`; `cut` takes a rectangle of the partner's row.
fn mix_pairs(rows: &mut [f32], mixes: &[Mix], cut: impl Fn(&mut [f32], &[f32], Mix)) {
    let width = rows.len() / mixes.len().max(1);
    let (first, second) = rows.split_at_mut(rows.len() / 2);
    let pairs = first.chunks_exact_mut(width.max(1)).zip(second.chunks_exact_mut(width.max(1)).rev());
    for ((a, b), (to_a, to_b)) in pairs.zip(mixes.iter().zip(mixes.iter().rev())) {
        let before = a.to_vec();
        cut(a, b, *to_a);
        cut(b, &before, *to_b);
    }
}

fn blend(row: &mut [f32], partner: &[f32], lambda: f64) {
    let (own, other) = (lambda as f32, (1.0 - lambda) as f32);
    if own != 1.0 {
        row.iter_mut().zip(partner).for_each(|(x, y)| *x = *x * own + y * other);
    }
}

/// Mixes the images, `[mixes.len(), C, height, width]`.
pub fn mix_images(images: &mut [f32], height: usize, width: usize, mixes: &[Mix]) {
    mix_pairs(images, mixes, |image, partner, mix| {
        let Some(rect) = mix.cut else { return blend(image, partner, mix.lambda) };
        let planes = image.chunks_exact_mut(height * width).zip(partner.chunks_exact(height * width));
        for (plane, partner) in planes {
            for y in rect.top..rect.top + rect.height {
                let row = y * width + rect.left..y * width + rect.left + rect.width;
                plane[row.clone()].copy_from_slice(&partner[row]);
            }
        }
    });
}

/// Mixes the targets, `[mixes.len(), classes]`.
pub fn mix_targets(targets: &mut [f32], mixes: &[Mix]) {
    mix_pairs(targets, mixes, |row, partner, mix| blend(row, partner, mix.lambda));
}

/// A draw of Beta(α, α) as G/(G + G′) of two gamma variables, by their logarithms: for small α both are next to 0.
pub fn beta(alpha: f64, stream: &mut Stream) -> f64 {
    let (a, b) = (ln_gamma_draw(alpha, stream), ln_gamma_draw(alpha, stream));
    1.0 / (1.0 + libm::exp(b - a))
}

/// ln of a draw of Gamma(α, 1), after Marsaglia and Tsang (2000): with d = α − ⅓ and v = (1 + x/√(9d))³, x ~ N(0, 1), take
/// d·v with probability min(1, exp(x²/2 + d − dv + d ln v)); below 1, Gamma(α) = Gamma(α + 1) · U^(1/α).
fn ln_gamma_draw(alpha: f64, stream: &mut Stream) -> f64 {
    let boost = if alpha < 1.0 { libm::log(1.0 - stream.next_f64()) / alpha } else { 0.0 };
    let d = if alpha < 1.0 { alpha + 1.0 } else { alpha } - 1.0 / 3.0;
    loop {
        let x = f64::from(stream.normal());
        let root = 1.0 + x / (9.0 * d).sqrt();
        let v = root * root * root;
        let u = 1.0 - stream.next_f64(); // never 0
        if v > 0.0 && libm::log(u) < 0.5 * x * x + d - d * v + d * libm::log(v) {
            return libm::log(d * v) + boost;
        }
    }
}
