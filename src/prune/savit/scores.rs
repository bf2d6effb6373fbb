//! What a scoring pass accumulates: averaged Taylor scores and the normalised Hessian between the kinds.

use super::{gated::Gates, *};
use crate::io;
use serde::{Deserialize, Serialize};
use std::array::from_fn;

/// `(w·G)²` per unit, with `G = dL/dw` of one mini-batch, already summed over all uses of a gate: the square of a sum,
/// not a sum of squares. SAViT, importance, method 2.
pub fn taylor(gates: &Gates, gradients: &Scores) -> Result<Scores> {
    gates.zip(gradients, |w, g| (w * g).powi(2))
}

/// A norm of a gate vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the usual names")]
pub enum Norm {
    L1,
    L2,
}

/// Each gate vector divided by its norm (`Σ|s|` or `√Σs²`) + 1e-8. SAViT, official code, normalisation by layer, types 1 and 2.
pub fn normalised(scores: &Scores, norm: Norm) -> Scores {
    scores.map(|_, vector| {
        let length = match norm {
            Norm::L1 => vector.iter().map(|s| s.abs()).sum::<f64>(),
            Norm::L2 => vector.iter().map(|s| s * s).sum::<f64>().sqrt(),
        };
        vector.iter().map(|s| s / (length + 1e-8)).collect()
    })
}

/// The mini-batches of a pass over the fraction `p` of an epoch of `M`: `⌊p·M⌋` for the scores, and in all, for the
/// Hessian, one more if the epoch has it. Refuses `p` outside (0, 1] and `p·M < 2`.
pub fn batches(fraction: f64, per_epoch: usize) -> Result<(usize, usize)> {
    let what = "fraction of an epoch to score";
    Error::ensure(fraction > 0.0 && fraction <= 1.0, what, "above 0, at most 1", fraction)?;
    let scores = (fraction * per_epoch as f64) as usize;
    Error::ensure(scores >= 2, what, format!("at least 2 of the {per_epoch} mini-batches"), fraction)?;
    Ok((scores, (scores + 1).min(per_epoch)))
}

/// Scores averaged within a window of batches and, with momentum 0.9, over windows:
/// `avg ← contribution` at first, then `avg ← 0.9·avg + 0.1·contribution`. SAViT, official code.
#[derive(Debug, Clone, Default)]
pub struct Windows {
    sum: Option<Scores>,
    count: usize,
    average: Option<Scores>,
}

impl Windows {
    /// Adds the scores of a mini-batch to the open window.
    pub fn add(&mut self, batch: &Scores) -> Result<()> {
        check_scores(batch, 0)?;
        self.sum = Some(self.sum.as_ref().map_or_else(|| Ok(batch.clone()), |sum| sum.zip(batch, |a, b| a + b))?);
        self.count += 1;
        Ok(())
    }

    /// Closes the window; the average.
    pub fn close(&mut self) -> Result<Scores> {
        let count = std::mem::take(&mut self.count) as f64;
        let sum = self.sum.take().ok_or_else(|| Error::invalid("scoring window", "at least 1 mini-batch", 0))?;
        let contribution = sum.map(|_, vector| vector.iter().map(|s| s / count).collect());
        let average = match &self.average {
            Some(average) => average.zip(&contribution, |a, b| 0.9 * a + 0.1 * b)?,
            None => contribution,
        };
        Ok(self.average.insert(average).clone())
    }
}

/// The blocks whose gate vectors a mini-batch pairs: `[l1, l2(0,0), l2(0,1), l2(1,0), l2(1,1), l2(2,0), l2(2,1)]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerPicks(pub [usize; 7]);

impl LayerPicks {
    /// Draws the seven with `below_or_equal(max)`, uniform in `0..=max`: `l1` among the blocks, each `l2 ≤ l1` (0 for
    /// the embedding row, whose draws are consumed all the same). SAViT, official code.
    pub fn draw(depth: usize, mut below_or_equal: impl FnMut(usize) -> usize) -> Self {
        let l1 = below_or_equal(depth.saturating_sub(1));
        Self(from_fn(|i| if i == 0 { l1 } else { below_or_equal(if i < 5 { l1 } else { 0 }) }))
    }

    /// Positions `(vector of kind i, vector of kind j)` of entry `[i][j]`; the embedding has the single vector 0.
    pub fn pair(&self, i: Kind, j: Kind) -> (usize, usize) {
        let first = if i == Kind::Embed { 0 } else { self.0[0] };
        let second = if j == Kind::Embed { 0 } else { self.0[1 + 2 * i as usize + j as usize] };
        (first, second)
    }
}

/// The official factor of the embedding's size in the Hessian.
pub const HESSIAN_EMBED: f64 = 6.0;

/// Sums of the normalised second derivatives `q_ij / (n_i·n_j)`, with `q_ij` the sum of all entries of the picked block
/// of `d²L / dgate dgate`, `n = [D, F, D·L·embed]`. SAViT, collaborative optimisation.
#[derive(Debug, Clone)]
pub struct HessianSum {
    /// What each block sum is divided by, `n_i·n_j`, and all contributions so far.
    pub normaliser: Hessian,
    #[expect(missing_docs, reason = "the line above says it")]
    pub sum: Hessian,
    count: usize,
}

impl HessianSum {
    /// An empty sum for `model`; `embed` is [`HESSIAN_EMBED`] in all published runs.
    pub fn new(model: &Architecture, embed: f64) -> Self {
        let width = model.embed_dim as f64;
        let hidden = model.blocks.iter().map(|block| block.hidden).max().unwrap_or(0).max(1) as f64;
        let sizes = [width, hidden, width * model.blocks.len() as f64 * embed];
        Self { normaliser: sizes.map(|a| sizes.map(|b| a * b)), sum: [[0.0; 3]; 3], count: 0 }
    }

    /// Adds the block sums `q` of a mini-batch; returns its normalised contribution.
    pub fn add(&mut self, q: &Hessian) -> Hessian {
        let contribution: Hessian = from_fn(|i| from_fn(|j| q[i][j] / self.normaliser[i][j]));
        self.sum = from_fn(|i| from_fn(|j| self.sum[i][j] + contribution[i][j]));
        self.count += 1;
        contribution
    }

    /// The matrix so far, `sum / (count + 1e-9)` rounded to float32 as in the official code.
    pub fn mean(&self) -> Hessian {
        self.sum.map(|row| row.map(|entry| (entry / (self.count as f64 + 1e-9)) as f32 as f64))
    }
}

/// All that the search needs from a scoring pass of `model`: kept, another target takes seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "their types' lines say it")]
pub struct Calibration {
    pub model: Architecture,
    /// [`Params::fingerprint`](crate::nn::Params::fingerprint) of the weights, where they are known.
    #[serde(default)]
    pub weights: Option<u32>,
    pub scores: Scores,
    pub hessian: Hessian,
}

impl Calibration {
    /// As JSON.
    pub fn to_json(&self) -> Result<String> {
        check_scores(&self.scores, 0)?;
        check_hessian(&self.hessian, true)?;
        io::to_json(self, false).map_err(|error| Error::invalid("calibration", "finite numbers", error))
    }

    /// From [`to_json`](Self::to_json), checked against its own model.
    pub fn from_json(text: &str) -> Result<Self> {
        let read: Self = io::from_json(text).map_err(|error| Error::invalid("calibration", "scores in JSON", error))?;
        read.model.validate()?;
        read.scores.check_like("savit scores", &every_unit(&read.model)).map(|()| read)
    }
}
