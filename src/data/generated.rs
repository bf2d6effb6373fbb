//! The built-in data set: ten textures on objects of random shape, place and size over blocky clutter, made by rule.
//!
//! It needs no download, has any image size and any number of images, and the object's mask is known, so that a method
//! that drops tokens can be checked against where the object is. Image `index` of a split is a function of
//! ([`GENERATOR_VERSION`], [`Difficulty`], seed, split, index, size) in +, −, ·, /, √ and libm alone: the same bytes on
//! every machine. With p = 0…255 per channel, s ∈ [−1, 1] the class's texture and U a uniform:
//!
//! ```text
//! object:      p = colour + contrast · s(x, y) · tint + noise · U(−1, 1)
//! background:  p = colour + blocks of side/4 + blocks of side/8 + noise · U(−1, 1)
//! ```

use super::dataset::{Dataset, ImageCache, Sample, check_index};
use super::image::RgbImage;
use super::resize::{IMAGENET_MEAN, IMAGENET_STD, normalize};
use crate::{Error, Result, noise::Philox, noise::Stream};
use std::f32::consts::{FRAC_PI_4, PI};

/// Changes whenever an image would; results name it.
pub const GENERATOR_VERSION: u32 = 2;
/// The classes, in label order. Angles are of the direction across the stripes, from the x axis towards the y axis.
pub const CLASSES: [&str; 10] = [
    "stripes_0", "stripes_45", "stripes_90", "stripes_135", "check_straight", "check_diagonal", "rings", "coarse_0",
    "coarse_90", "plain",
];

/// How hard the set is; ranges are uniform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difficulty {
    /// The object's radius, as a share of the image's side.
    pub radius: [f32; 2],
    /// The texture's amplitude, in levels of 255.
    pub contrast: [f32; 2],
    /// The amplitude of the background's blocks, in levels.
    pub clutter: f32,
    /// The amplitude of the noise of each channel of each pixel, in levels.
    pub noise: f32,
    /// The period of stripes, checks and rings, as a share of the side.
    pub fine_period: f32,
    /// The period of the coarse stripes.
    pub coarse_period: f32,
    /// Periods are multiplied by U(1 − this, 1 + this).
    pub period_jitter: f32,
    /// Angles are turned by U(−this, this) radians.
    pub angle_jitter: f32,
}

impl Default for Difficulty {
    fn default() -> Self {
        Self {
            radius: [0.30, 0.45],
            contrast: [50.0, 110.0],
            clutter: 36.0,
            noise: 64.0,
            fine_period: 0.10,
            coarse_period: 0.21,
            period_jitter: 0.20,
            angle_jitter: 0.15,
        }
    }
}

/// Which stream of images; the two never share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// For training.
    Train,
    /// For evaluation.
    Test,
}

/// The first `len` images of a split.
#[derive(Debug)]
pub struct GeneratedDataset {
    split: Split,
    len: usize,
    img_size: usize,
    seed: u64,
    difficulty: Difficulty,
    names: Vec<String>,
    cache: ImageCache,
}

impl GeneratedDataset {
    /// Generated images are kept in memory when all of them fit into this many bytes.
    pub const CACHE_BYTES: usize = 1 << 30;

    /// `len` images of `img_size` × `img_size` pixels at the default difficulty. Error: a size outside 8 to 4096.
    pub fn new(split: Split, len: usize, img_size: usize, seed: u64) -> Result<Self> {
        if !(8..=4096).contains(&img_size) {
            return Err(Error::invalid("img_size of the generated data set", "8 to 4096", img_size));
        }
        let names = CLASSES.iter().map(|name| (*name).to_string()).collect();
        let cache = ImageCache::new(len, Self::CACHE_BYTES);
        Ok(Self { split, len, img_size, seed, difficulty: Difficulty::default(), names, cache })
    }

    /// The same images, easier or harder. Error: a value that is not finite, negative, or a period of 0.
    pub fn with_difficulty(mut self, difficulty: Difficulty) -> Result<Self> {
        let d = difficulty;
        let all = [d.radius, d.contrast, [d.clutter, d.noise], [d.period_jitter, d.angle_jitter]];
        let periods = [d.fine_period, d.coarse_period, d.radius[0], 1.0 - d.period_jitter];
        if !all.iter().flatten().all(|v| v.is_finite() && *v >= 0.0) || !periods.iter().all(|v| *v > 0.0) {
            return Err(Error::invalid("difficulty", "finite values, periods and radius positive", format!("{d:?}")));
        }
        self.difficulty = difficulty;
        self.cache = ImageCache::new(self.len, Self::CACHE_BYTES);
        Ok(self)
    }

    /// The class of image `index`: index mod 10.
    pub fn label(&self, index: usize) -> usize {
        index % CLASSES.len()
    }

    /// Image `index` (any index, also beyond `len`).
    pub fn image(&self, index: usize) -> RgbImage {
        let mut stream = self.stream(index);
        let object = Object::draw(&mut stream, &self.difficulty, self.label(index));
        let pixels = render(&mut stream, &object, &self.difficulty, self.img_size);
        RgbImage { width: self.img_size, height: self.img_size, pixels }
    }

    /// 1 where image `index` shows the object, 0 elsewhere: `[img_size, img_size]`, row by row.
    pub fn mask(&self, index: usize) -> Vec<u8> {
        let object = Object::draw(&mut self.stream(index), &self.difficulty, self.label(index));
        let at = |i: usize| object.local((i % self.img_size) as f32, (i / self.img_size) as f32, self.img_size as f32);
        (0..self.img_size * self.img_size).map(|i| u8::from(object.covers(at(i)))).collect()
    }

    fn stream(&self, index: usize) -> Stream {
        let site = match self.split {
            Split::Train => "generated/train",
            Split::Test => "generated/test",
        };
        Philox { seed: self.seed, step: u64::from(GENERATOR_VERSION) }.stream(site, index as u64)
    }
}

impl Dataset for GeneratedDataset {
    fn len(&self) -> usize {
        self.len
    }
    fn class_names(&self) -> &[String] {
        &self.names
    }
    fn img_size(&self) -> usize {
        self.img_size
    }

    /// The image normalised by ImageNet's mean and deviation; the same in every draw.
    fn sample(&self, index: usize, _draw: u64) -> Result<Sample> {
        check_index(index, self.len)?;
        let image = self.cache.get(index, || Ok(self.image(index)))?;
        Ok(Sample { pixels: normalize(&image, IMAGENET_MEAN, IMAGENET_STD), label: self.label(index) })
    }
}

/// (cos, sin) by libm: the standard library's may differ from system to system.
fn cos_sin(angle: f32) -> [f32; 2] {
    [libm::cosf(angle), libm::sinf(angle)]
}

/// Where one object is and what it looks like; lengths are shares of the image's side.
struct Object {
    class: usize,
    centre: [f32; 2],
    radius: [f32; 2],
    /// 0 ellipse, 1 rectangle, 2 diamond, 3 three lobes.
    shape: usize,
    turn: [f32; 2],
    /// Unit vectors across the texture's first and second stripes, over the period.
    waves: [[f32; 2]; 2],
    phase: [f32; 2],
    period: f32,
    colour: [f32; 3],
    /// contrast · tint.
    swing: [f32; 3],
}

impl Object {
    fn draw(s: &mut Stream, d: &Difficulty, class: usize) -> Self {
        let size = s.range(d.radius[0], d.radius[1]);
        let aspect = s.range(0.8, 1.25);
        let mut place = || if size < 0.5 { s.range(size, 1.0 - size) } else { 0.5 };
        let centre = [place(), place()];
        let shape = s.below(4);
        let turn = cos_sin(s.range(0.0, PI));
        let base = [0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 0.0, 0.0, 2.0, 0.0][class] * FRAC_PI_4;
        let angle = base + s.range(-d.angle_jitter, d.angle_jitter);
        let period = if matches!(class, 7 | 8) { d.coarse_period } else { d.fine_period };
        let period = period * s.range(1.0 - d.period_jitter, 1.0 + d.period_jitter);
        let [c, n] = cos_sin(angle);
        let waves = [[c / period, n / period], [-n / period, c / period]];
        let phase = [s.next_f32(), s.next_f32()];
        let contrast = s.range(d.contrast[0], d.contrast[1]);
        let sign = if s.next_f32() < 0.5 { -1.0 } else { 1.0 };
        let colour = [(); 3].map(|()| s.range(60.0, 195.0));
        let swing = [(); 3].map(|()| sign * contrast * s.range(0.4, 1.0));
        let radius = [size * aspect.min(1.0), size / aspect.max(1.0)];
        Self { class, centre, radius, shape, turn, waves, phase, period, colour, swing }
    }

    /// The pixel's place relative to the object's centre.
    fn local(&self, x: f32, y: f32, side: f32) -> [f32; 2] {
        [(x + 0.5) / side - self.centre[0], (y + 0.5) / side - self.centre[1]]
    }

    fn covers(&self, [x, y]: [f32; 2]) -> bool {
        let [c, n] = self.turn;
        let u = (x * c + y * n) / self.radius[0];
        let v = (y * c - x * n) / self.radius[1];
        let square = u * u + v * v;
        match self.shape {
            0 => square <= 1.0,
            1 => u.abs().max(v.abs()) <= 0.8,
            2 => u.abs() + v.abs() <= 1.15,
            // r ≤ 0.82 + 0.18 cos 3θ, with cos 3θ = (4 cos²θ − 3) cos θ.
            _ => {
                let r = square.sqrt().max(1e-6);
                let cos = u / r;
                r <= 0.82 + 0.18 * (4.0 * cos * cos - 3.0) * cos
            }
        }
    }

    /// s(x, y) of the module's equation.
    fn texture(&self, [x, y]: [f32; 2]) -> f32 {
        let along = |i: usize| x * self.waves[i][0] + y * self.waves[i][1] + self.phase[i];
        match self.class {
            4 | 5 => (2.0 * wave(along(0)) * wave(along(1))).clamp(-1.0, 1.0),
            6 => wave((x * x + y * y).sqrt() / self.period + self.phase[0]),
            9 => 0.0,
            _ => wave(along(0)),
        }
    }
}

/// A sine of period 1 by two parabolas: 8t(1 − 2t) on the first half, its negative on the second.
fn wave(t: f32) -> f32 {
    let t = t - t.floor();
    let half = if t < 0.5 { t } else { t - 0.5 };
    let bump = 8.0 * half * (1.0 - 2.0 * half);
    if t < 0.5 { bump } else { -bump }
}

/// A grid of blocks of random colours, `cell` pixels each, shifted at random.
struct Blocks {
    colours: Vec<[f32; 3]>,
    /// The block column of each pixel column, and the block row of each pixel row.
    places: [Vec<usize>; 2],
    columns: usize,
}

impl Blocks {
    fn draw(stream: &mut Stream, side: usize, cells: usize, amplitude: f32) -> Self {
        let columns = cells + 1;
        let cell = side as f32 / cells as f32;
        let places = [(); 2].map(|()| {
            let shift = stream.next_f32();
            (0..side).map(|i| (((i as f32 + 0.5) / cell + shift) as usize).min(columns - 1)).collect()
        });
        let colours = (0..columns * columns).map(|_| [(); 3].map(|()| stream.range(-amplitude, amplitude))).collect();
        Self { colours, places, columns }
    }

    fn at(&self, x: usize, y: usize) -> [f32; 3] {
        self.colours[self.places[1][y] * self.columns + self.places[0][x]]
    }
}

fn render(stream: &mut Stream, object: &Object, d: &Difficulty, side: usize) -> Vec<u8> {
    let base = [(); 3].map(|()| stream.range(70.0, 185.0));
    let coarse = Blocks::draw(stream, side, 4, d.clutter);
    let fine = Blocks::draw(stream, side, 8, d.clutter * 0.6);
    let mut pixels = vec![0; side * side * 3];
    for (i, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let (x, y) = (i % side, i / side);
        let place = object.local(x as f32, y as f32, side as f32);
        let clean: [f32; 3] = if object.covers(place) {
            let s = object.texture(place);
            std::array::from_fn(|c| object.colour[c] + object.swing[c] * s)
        } else {
            let (a, b) = (coarse.at(x, y), fine.at(x, y));
            std::array::from_fn(|c| base[c] + a[c] + b[c])
        };
        // One word serves the pixel: ten bits a channel.
        let bits = stream.next_u32();
        for (c, value) in pixel.iter_mut().enumerate() {
            let uniform = (bits >> (10 * c) & 1023) as f32 * (2.0 / 1023.0) - 1.0;
            *value = (clean[c] + d.noise * uniform + 0.5).clamp(0.0, 255.0) as u8;
        }
    }
    pixels
}
