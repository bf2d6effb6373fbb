//! Counter-based random numbers: every draw has a name, so a run can be replayed and checked.
//!
//! A draw is addressed by (seed, step, site, sample): `seed` of the run, `step` (training step or epoch), `site`
//! (what the draw is for) and `sample` (which image). No state is carried from one draw to the next, so results do
//! not depend on the number of threads. With F = Philox4x32-10 (Salmon et al., SC 2011) and h = FNV-1a-64(site):
//!
//! ```text
//! (k0, k1, k2, _) = F(key = (seed_lo, seed_hi), counter = (h_lo, h_hi, step_lo, step_hi))
//! word 4b + i     = F(key = (k0, k1), counter = (b, k2, sample_lo, sample_hi))[i]
//! uniform         = (word >> 8) · 2⁻²⁴                                  in [0, 1)
//! ```

use crate::{Error, Result, gpu::StepState};
use std::collections::HashMap;

/// Philox4x32 with 10 rounds: a bijection of the 128-bit `counter` for each `key`. One round: (c0, c1, c2, c3) ←
/// (hi(M1·c2) ⊕ c1 ⊕ k0, lo(M1·c2), hi(M0·c0) ⊕ c3 ⊕ k1, lo(M0·c0)), then the key moves on by the Weyl constants. Equal
/// bits on every machine.
#[inline]
pub fn philox4x32(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let ([mut k0, mut k1], [mut c0, mut c1, mut c2, mut c3]) = (key, counter);
    for _ in 0..10 {
        let a = u64::from(c0) * 0xD251_1F53;
        let b = u64::from(c2) * 0xCD9E_8D57;
        (c0, c1, c2, c3) = ((b >> 32) as u32 ^ c1 ^ k0, b as u32, (a >> 32) as u32 ^ c3 ^ k1, a as u32);
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// FNV-1a, 64 bit: h ← (h ⊕ byte) · 0x100000001b3 from 0xcbf29ce484222325.
pub fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Two standard normals from two uniforms: √(−2 ln(1−u))·(cos 2πv, sin 2πv), in f64 by libm, so equal everywhere.
fn box_muller(u: f32, v: f32) -> [f32; 2] {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - f64::from(u)));
    let angle = std::f64::consts::TAU * f64::from(v);
    [(radius * libm::cos(angle)) as f32, (radius * libm::sin(angle)) as f32]
}

/// A source of named draws: computed ([`Philox`]) or recorded ([`Recorded`]).
pub trait Noise {
    /// Fills `out` with uniforms in [0, 1). Errors when the source has no such draws.
    fn uniform(&self, site: &str, sample: u64, out: &mut [f32]) -> Result<()>;

    /// Fills `out` with standard normals: elements 2i and 2i+1 are the Box–Muller pair of uniforms 2i and 2i+1.
    fn normal(&self, site: &str, sample: u64, out: &mut [f32]) -> Result<()> {
        let mut uniforms = vec![0.0; out.len().next_multiple_of(2)];
        self.uniform(site, sample, &mut uniforms)?;
        for (pair, u) in out.chunks_mut(2).zip(uniforms.chunks_exact(2)) {
            pair.copy_from_slice(&box_muller(u[0], u[1])[..pair.len()]);
        }
        Ok(())
    }

    /// What a device needs to make the draws itself; `None` for recorded ones.
    fn computed(&self) -> Option<Computed> {
        None
    }
}

/// A computed source as a device sees it.
#[derive(Debug, Clone, Copy)]
pub struct Computed {
    /// The run's seed.
    pub seed: u64,
    /// The step.
    pub step: Step,
    /// The number of the first sample.
    pub first: u64,
}

impl Noise for Computed {
    /// An error for a step whose number the host does not know.
    fn uniform(&self, site: &str, sample: u64, out: &mut [f32]) -> Result<()> {
        match self.step {
            Step::Number(step) => Philox { seed: self.seed, step }.uniform(site, self.first + sample, out),
            Step::At(_) => Err(Error::invalid(format!("draws {site:?}"), "a kernel that makes them", "the host")),
        }
    }

    fn computed(&self) -> Option<Computed> {
        Some(*self)
    }
}

/// The draws of another source for samples that begin at `first` there: for a part of a batch.
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Shifted<'a> {
    pub noise: &'a dyn Noise,
    pub first: u64,
}

impl Noise for Shifted<'_> {
    fn uniform(&self, site: &str, sample: u64, out: &mut [f32]) -> Result<()> {
        self.noise.uniform(site, self.first + sample, out)
    }

    fn computed(&self) -> Option<Computed> {
        self.noise.computed().map(|source| Computed { first: source.first + self.first, ..source })
    }
}

/// The step of [`Computed`] draws.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Its number.
    Number(u64),
    /// Where a [`StepState`] holds it in device memory.
    At(u64),
}

/// Draws that only a device makes, of the step that stands in its [`StepState`]: for training steps that are captured once
/// and replayed.
#[derive(Debug, Clone, Copy)]
pub struct OnDevice<'a> {
    /// The run's seed.
    pub seed: u64,
    /// Where the step stands.
    pub state: &'a StepState,
}

impl OnDevice<'_> {
    fn source(&self) -> Computed {
        Computed { seed: self.seed, step: Step::At(self.state.address()), first: 0 }
    }
}

impl Noise for OnDevice<'_> {
    /// Always an error: the host does not know the step.
    fn uniform(&self, site: &str, sample: u64, out: &mut [f32]) -> Result<()> {
        self.source().uniform(site, sample, out)
    }

    fn computed(&self) -> Option<Computed> {
        Some(self.source())
    }
}

/// Draws computed by Philox4x32-10 (equation in the [module](self)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Philox {
    /// The run's seed.
    pub seed: u64,
    /// The training step, or the epoch.
    pub step: u64,
}

impl Philox {
    /// The draws of `site` and `sample` one after the other, starting at word 0.
    pub fn stream(&self, site: &str, sample: u64) -> Stream {
        let hash = fnv1a64(site);
        let counter = [hash as u32, (hash >> 32) as u32, self.step as u32, (self.step >> 32) as u32];
        let [k0, k1, k2, _] = philox4x32([self.seed as u32, (self.seed >> 32) as u32], counter);
        let counter = [0, k2, sample as u32, (sample >> 32) as u32];
        Stream { key: [k0, k1], counter, words: [0; 4], used: 4 }
    }

    /// A uniformly drawn permutation of 0..n: Fisher–Yates from the last place to the first, on sample 0 of `site`.
    pub fn permutation(&self, site: &str, n: usize) -> Vec<usize> {
        let (mut draws, mut order) = (self.stream(site, 0), (0..n).collect::<Vec<_>>());
        (1..n).rev().for_each(|i| order.swap(i, draws.below(i + 1)));
        order
    }
}

impl Noise for Philox {
    fn uniform(&self, site: &str, sample: u64, out: &mut [f32]) -> Result<()> {
        let mut stream = self.stream(site, sample);
        out.fill_with(|| stream.next_f32());
        Ok(())
    }

    fn computed(&self) -> Option<Computed> {
        Some(Computed { seed: self.seed, step: Step::Number(self.step), first: 0 })
    }
}

/// The words of one (seed, step, site, sample), in order; 2³⁴ of them before they repeat.
#[derive(Debug, Clone)]
pub struct Stream {
    key: [u32; 2],
    counter: [u32; 4],
    words: [u32; 4],
    used: usize,
}

impl Stream {
    /// The next 32 random bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.words = philox4x32(self.key, self.counter);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// The next 64 random bits: the low word first.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// A uniform in [0, 1) with 24 bits: one word.
    #[inline]
    pub fn next_f32(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// A uniform in [0, 1) with 53 bits: two words.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A uniform integer in [0, n): ⌊word64 · n / 2⁶⁴⌋, two words, bias below n/2⁶⁴. 0 when n is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// A uniform in [low, high): one word.
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.next_f32()
    }

    /// A standard normal (the cosine half of Box–Muller): two words.
    pub fn normal(&mut self) -> f32 {
        box_muller(self.next_f32(), self.next_f32())[0]
    }
}

/// Recorded draws by site and sample, as golden cases inject them.
#[derive(Debug, Clone, Default)]
pub struct Recorded(HashMap<(String, u64), Vec<f32>>);

impl Recorded {
    /// Records the draws of one site and sample, in drawing order; replaces earlier ones.
    pub fn insert(&mut self, site: impl Into<String>, sample: u64, values: Vec<f32>) {
        self.0.insert((site.into(), sample), values);
    }
}

impl Noise for Recorded {
    /// An error unless exactly `out.len()` values are recorded.
    fn uniform(&self, site: &str, sample: u64, out: &mut [f32]) -> Result<()> {
        let what = format_args!("recorded draws {site:?}, sample {sample}");
        let values = self.0.get(&(site.into(), sample));
        let values = values.ok_or_else(|| Error::invalid(what.to_string(), "a recording", "none"))?;
        Error::ensure(values.len() == out.len(), what, format_args!("{} values", out.len()), values.len())?;
        out.copy_from_slice(values);
        Ok(())
    }

    /// The same: a recording holds final values, whatever their distribution.
    fn normal(&self, site: &str, sample: u64, out: &mut [f32]) -> Result<()> {
        self.uniform(site, sample, out)
    }
}
