//! Latency of rivals measured in turn, so that a machine that slows down slows all of them, and the machine's ceiling.

use super::table::spread;
use crate::{Error, Result, cpu::Mat, cpu::gemm};
use serde::Serialize;
use std::time::Instant;

/// A name and what to time.
pub type Rival<'a> = (&'a str, Box<dyn FnMut() -> Result<()> + 'a>);

/// The times of one rival in milliseconds: median, 5th and 95th percentile, and every round in order.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Timing {
    pub name: String,
    pub median: f64,
    pub p5: f64,
    pub p95: f64,
    pub samples: Vec<f64>,
}

impl Timing {
    /// The statistics of samples in milliseconds.
    pub fn new(name: impl Into<String>, samples: Vec<f64>) -> Timing {
        let [median, p5, p95] = [0.5, 0.05, 0.95].map(|q| percentile(&samples, q));
        Timing { name: name.into(), median, p5, p95, samples }
    }

    /// Items per second at `items` a round: median, 5th and 95th percentile.
    pub fn per_second(&self, items: usize) -> Timing {
        Timing::new(self.name.clone(), self.samples.iter().map(|ms| items as f64 * 1e3 / ms).collect())
    }
}

impl std::fmt::Display for Timing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&spread(self.median, self.p5, self.p95))
    }
}

/// Times every rival once a round after `warmup` untimed rounds; round r begins with rival r mod n.
pub fn interleaved(rivals: &mut [Rival<'_>], rounds: usize, warmup: usize) -> Result<Vec<Timing>> {
    Error::ensure((1..=1 << 20).contains(&rounds), "rounds", "1 to 1048576", rounds)?;
    let mut samples = vec![Vec::new(); rivals.len()];
    for round in 0..warmup + rounds {
        for turn in 0..rivals.len() {
            let at = (round + turn) % rivals.len();
            let start = Instant::now();
            (rivals[at].1)()?;
            samples[at].push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let timed = |((name, _), mut samples): (&Rival, Vec<f64>)| Timing::new(*name, samples.split_off(warmup));
    Ok(rivals.iter().zip(samples).map(timed).collect())
}

/// The `q`-quantile (0 to 1) with linear interpolation between ranks; NaN of nothing.
pub fn percentile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let rank = q.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    low + (high - low) * rank.fract()
}

/// The most GFLOP/s (2 a multiply-accumulate) that `f32` matrix products reach in about `seconds`.
pub fn gemm_peak(seconds: f64) -> f64 {
    const SIDE: usize = 1024;
    let (a, b, mut c) = (vec![0.5f32; SIDE * SIDE], vec![0.25f32; SIDE * SIDE], vec![0f32; SIDE * SIDE]);
    let (a, b) = (Mat::new(&a, SIDE, SIDE), Mat::new(&b, SIDE, SIDE));
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    while best.is_infinite() || begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        gemm(1.0, a, b, 0.0, &mut c, SIDE);
        best = best.min(start.elapsed().as_secs_f64());
    }
    2.0 * (SIDE as f64).powi(3) / best / 1e9
}
