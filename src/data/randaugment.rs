//! RandAugment (Cubuk et al., 2020) as DeiT and Swin use it, and colour jitter. Of [`OPERATIONS`] some are drawn with
//! replacement; each is applied with probability ½, at a magnitude m = clamp(N(magnitude, std), 0, 10) and a sign of
//! its own.

use super::augment::Interpolation;
use super::{image::RgbImage, pixel_ops::PixelOp};
use crate::{Error, Result, noise::Stream};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The policy, as a string `rand-n2-m9-mstd0.5-inc1`; what is left out is 2 operations, magnitude 10, deviation 0, inc0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RandAugment {
    /// Operations an image.
    pub ops: usize,
    /// Mean magnitude, 0 to 10.
    pub magnitude: f64,
    /// Deviation of the magnitude.
    pub std: f64,
    /// Whether every operation is stronger at a greater magnitude.
    pub increasing: bool,
}

/// How strong an operation is: t = m/10, the sign ±1, and [`RandAugment::increasing`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Strength {
    pub t: f64,
    pub sign: f64,
    pub increasing: bool,
}

impl Strength {
    /// What an integer argument is at t: `whole` less the share t of `most`, or that share.
    fn down_from(self, whole: u32, most: f64) -> u32 {
        let share = (self.t * most) as u32;
        if self.increasing { whole.saturating_sub(share) } else { share }
    }

    fn factor(self) -> f64 {
        if self.increasing { 1.0 + self.sign * (self.t * 0.9) } else { self.t * 1.8 + 0.1 }
    }
}

/// What makes an operation of its strength.
pub type Operation = fn(Strength) -> PixelOp;

/// The operations by name.
pub const OPERATIONS: [(&str, Operation); 15] = [
    ("AutoContrast", |_| PixelOp::AutoContrast),
    ("Equalize", |_| PixelOp::Equalize),
    ("Invert", |_| PixelOp::Invert),
    ("Rotate", |s| PixelOp::Rotate(s.sign * (s.t * 30.0))),
    ("Posterize", |s| PixelOp::Posterize(s.down_from(4, 4.0))),
    ("Solarize", |s| PixelOp::Solarize(s.down_from(256, 256.0))),
    ("SolarizeAdd", |s| PixelOp::SolarizeAdd((s.t * 110.0) as u32)),
    ("Color", |s| PixelOp::Color(s.factor())),
    ("Contrast", |s| PixelOp::Contrast(s.factor())),
    ("Brightness", |s| PixelOp::Brightness(s.factor())),
    ("Sharpness", |s| PixelOp::Sharpness(s.factor())),
    ("ShearX", |s| PixelOp::ShearX(s.sign * (s.t * 0.3))),
    ("ShearY", |s| PixelOp::ShearY(s.sign * (s.t * 0.3))),
    ("TranslateX", |s| PixelOp::TranslateX(s.sign * (s.t * 0.45))),
    ("TranslateY", |s| PixelOp::TranslateY(s.sign * (s.t * 0.45))),
];

impl RandAugment {
    /// Refuses values that no policy can have.
    pub fn validate(&self) -> Result<()> {
        let fits = (1..=32).contains(&self.ops) && (0.0..=10.0).contains(&self.magnitude);
        let fits = fits && (0.0..=100.0).contains(&self.std);
        Error::ensure(fits, "rand_augment", "n 1 to 32, m 0 to 10, mstd 0 to 100", self)
    }

    /// The operations of one image: which, then for each whether, how strong, of which sign.
    pub fn draw(&self, stream: &mut Stream) -> Vec<PixelOp> {
        let chosen: Vec<Operation> = (0..self.ops).map(|_| OPERATIONS[stream.below(OPERATIONS.len())].1).collect();
        let mut strength = |operation: Operation| {
            let applied = stream.next_f64() <= 0.5;
            let t = (self.magnitude + self.std * f64::from(stream.normal())).clamp(0.0, 10.0) / 10.0;
            let sign = if stream.next_f64() > 0.5 { -1.0 } else { 1.0 };
            applied.then(|| operation(Strength { t, sign, increasing: self.increasing }))
        };
        chosen.into_iter().filter_map(&mut strength).collect()
    }

    /// Changes the image by [`Self::draw`]; places from outside have the colour `fill`.
    pub fn apply(&self, image: &mut RgbImage, interpolation: Interpolation, fill: [u8; 3], stream: &mut Stream) {
        for operation in self.draw(stream) {
            operation.apply(image, interpolation.filter(stream), fill);
        }
    }
}

/// Brightness, contrast and saturation in random order, each by a factor U(max(0, 1 − strength), 1 + strength).
pub fn color_jitter(image: &mut RgbImage, strength: f64, stream: &mut Stream) {
    let mut operations: [fn(f64) -> PixelOp; 3] = [PixelOp::Brightness, PixelOp::Contrast, PixelOp::Color];
    (1..operations.len()).rev().for_each(|i| operations.swap(i, stream.below(i + 1)));
    for operation in operations {
        let low = (1.0 - strength).max(0.0);
        let factor = low + (1.0 + strength - low) * stream.next_f64();
        operation(factor).apply(image, super::resize::Filter::Bicubic, [0; 3]);
    }
}

impl FromStr for RandAugment {
    type Err = Error;

    /// Errors: another policy than `rand`, a part that is unknown, given twice or without its number.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |part: &str| {
            let expected = "rand, then -nOPS, -mMAGNITUDE, -mstdDEVIATION, -inc0 or -inc1, each once at the most";
            Error::invalid(format!("augmentation policy {text:?}"), expected, format!("{part:?}"))
        };
        let mut parts = text.split('-');
        let policy = parts.next().filter(|policy| *policy == "rand");
        policy.ok_or_else(|| wrong(text.split('-').next().unwrap_or("")))?;
        let (mut found, mut seen) = (Self { ops: 2, magnitude: 10.0, std: 0.0, increasing: false }, Vec::new());
        for part in parts {
            let (key, value) = part.split_at(part.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(part.len()));
            let number = || value.parse::<f64>().map_err(|_| wrong(part));
            match (key, value) {
                _ if seen.contains(&key) => return Err(wrong(part)),
                ("n", _) => found.ops = value.parse().map_err(|_| wrong(part))?,
                ("m", _) => found.magnitude = number()?,
                ("mstd", _) => found.std = number()?,
                ("inc", "0" | "1") => found.increasing = value == "1",
                _ => return Err(wrong(part)),
            }
            seen.push(key);
        }
        found.validate().map(|()| found)
    }
}

impl fmt::Display for RandAugment {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { ops, magnitude, std, increasing } = self;
        write!(f, "rand-n{ops}-m{magnitude}-mstd{std}-inc{}", u8::from(*increasing))
    }
}

impl TryFrom<String> for RandAugment {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RandAugment> for String {
    fn from(policy: RandAugment) -> String {
        policy.to_string()
    }
}
