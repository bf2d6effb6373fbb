//! Random erasing (Zhong et al., 2020) of normalised images: rectangles of them become N(0, 1) noise.

use super::{augment::BoxDraws, resize::Rect};
use crate::{Error, Result, noise::Noise, noise::Philox};
use serde::{Deserialize, Serialize};

/// How often, how many and how large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Erasing {
    /// The share of images that lose something.
    pub probability: f64,
    /// The largest number of rectangles; it is uniform from 1 on.
    pub count: usize,
    /// The range of their whole area, as a share of the image's.
    pub area: [f64; 2],
    /// The range of height / width.
    pub ratio: [f64; 2],
}

impl Default for Erasing {
    /// The published recipes': one rectangle in a quarter of the images.
    fn default() -> Self {
        Self { probability: 0.25, count: 1, area: [0.02, 1.0 / 3.0], ratio: [0.3, 1.0 / 0.3] }
    }
}

impl Erasing {
    /// Refuses values that have no meaning.
    pub fn validate(&self) -> Result<()> {
        let range = |[low, high]: [f64; 2]| low > 0.0 && low <= high && high.is_finite();
        let fits = (0.0..=1.0).contains(&self.probability) && (1..=64).contains(&self.count);
        let fits = fits && range(self.area) && self.area[1] <= 1.0 && range(self.ratio);
        let expected = "a probability, a count of 1 to 64, 0 < low <= high, area at most 1";
        Error::ensure(fits, "erasing", expected, format_args!("{self:?}"))
    }

    /// The rectangles of one image. None unless u ≤ probability; then for each up to 10 attempts: area = U(area)·H·W /
    /// count, r = exp(U(ln ratio)), h = round(√(area·r)), w = round(√(area/r)), half to even; if h < H and w < W, top
    /// and then left are drawn uniformly.
    pub fn boxes(&self, height: usize, width: usize, draws: &mut impl BoxDraws) -> Vec<Rect> {
        if draws.uniform(0.0, 1.0) > self.probability {
            return Vec::new();
        }
        let count = if self.count > 1 { 1 + draws.below(self.count) } else { 1 };
        let total = (height * width) as f64;
        let mut attempt = || {
            let area = draws.uniform(self.area[0], self.area[1]) * total / count as f64;
            let r = libm::exp(draws.uniform(libm::log(self.ratio[0]), libm::log(self.ratio[1])));
            let h = (area * r).sqrt().round_ties_even() as usize;
            let w = (area / r).sqrt().round_ties_even() as usize;
            let mut place = || (draws.below(height - h + 1), draws.below(width - w + 1));
            let (top, left) = (h < height && w < width).then(&mut place)?;
            Some(Rect { top, left, height: h, width: w })
        };
        (0..count).filter_map(|_| (0..10).find_map(|_| attempt())).collect()
    }

    /// Erases rectangles of the image `values`, `[C, height, width]`, drawn at the sites `data/erase` and
    /// `data/erase_noise`.
    pub fn apply(&self, values: &mut [f32], height: usize, width: usize, noise: &Philox, sample: u64) -> Result<()> {
        let boxes = self.boxes(height, width, &mut noise.stream("data/erase", sample));
        let channels = values.len() / (height * width).max(1);
        let sizes: Vec<usize> = boxes.iter().map(|rect| channels * rect.height * rect.width).collect();
        let mut normals = vec![0.0; sizes.iter().sum()];
        noise.normal("data/erase_noise", sample, &mut normals)?;
        let mut rest = normals.as_slice();
        for (rect, size) in boxes.into_iter().zip(sizes) {
            let (own, others) = rest.split_at(size);
            paste(values, height, width, rect, own);
            rest = others;
        }
        Ok(())
    }
}

/// Writes `[C, rect.height, rect.width]` into the rectangle of `[C, height, width]`.
pub fn paste(values: &mut [f32], height: usize, width: usize, rect: Rect, new: &[f32]) {
    let Rect { top, left, height: rows, width: columns } = rect;
    let planes = values.chunks_exact_mut((height * width).max(1));
    for (plane, new) in planes.zip(new.chunks_exact((rows * columns).max(1))) {
        for (row, new) in plane.chunks_exact_mut(width).skip(top).zip(new.chunks_exact(columns)) {
            row[left..left + columns].copy_from_slice(new);
        }
    }
}
