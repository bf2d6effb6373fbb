//! The scoring pass: mini-batches in, a [`Calibration`] out. Weights never change.

use super::gated::{from_masks, open};
use super::passes::{Batch, Curvature, Method, score};
use super::scores::{HESSIAN_EMBED, HessianSum, LayerPicks, Windows, batches};
use super::{masks::iterative, *};
use crate::noise::Philox;

/// Where the mini-batches come from.
pub type Batches<'a> = &'a mut dyn Iterator<Item = Result<Batch>>;
/// Called after every mini-batch with how many are done and how many there are in all.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// Settings of a scoring pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Fraction `p` of an epoch to score, above 0, at most 1.
    pub fraction: f64,
    /// Mini-batches `M` in an epoch; `⌊p·M⌋` enter the scores and one more the Hessian. Refused when `p·M < 2`.
    pub per_epoch: usize,
    /// Score of a mini-batch.
    pub method: Method,
    /// The factor of the embedding's size in the Hessian.
    pub hessian_embed: f64,
    /// Element type of the Hessian's passes, f32 or f64.
    pub double: bool,
    /// Seed of the blocks that each mini-batch pairs (site `savit.layer_picks`, the mini-batch as sample).
    pub seed: u64,
    /// Recorded pairs instead, one for every mini-batch.
    pub picks: Option<Vec<LayerPicks>>,
}

impl Options {
    /// The published settings for an epoch of `per_epoch` mini-batches: a tenth of it, method 2, factor 6.
    pub fn published(per_epoch: usize, seed: u64) -> Self {
        let (method, hessian_embed) = (Method::Taylor, HESSIAN_EMBED);
        Self { fraction: 0.1, per_epoch, method, hessian_embed, double: true, seed, picks: None }
    }

    fn picks(&self, depth: usize, step: usize) -> Result<LayerPicks> {
        let Some(recorded) = &self.picks else {
            let mut draws = Philox { seed: self.seed, step: 0 }.stream("savit.layer_picks", step as u64);
            return Ok(LayerPicks::draw(depth, |most| draws.below(most + 1)));
        };
        let ended = || Error::invalid("recorded layer picks", format!("more than {step}"), recorded.len());
        recorded.get(step).copied().ok_or_else(ended)
    }
}

/// Scores `model` in evaluation mode over the first mini-batches of `data`: `S = Σ s / n` per unit and the Hessian
/// between the kinds. Refuses data that end early, and names the step and layer of anything that is not finite.
pub fn calibrate(model: &Model, data: Batches, options: &Options, progress: Progress) -> Result<Calibration> {
    let (scored, total) = batches(options.fraction, options.per_epoch)?;
    let (gates, depth) = (open(model.arch()), model.arch().blocks.len());
    let curvature = Curvature::new(model, if options.double { DType::F64 } else { DType::F32 })?;
    let (mut windows, mut hessian) = (Windows::default(), HessianSum::new(model.arch(), options.hessian_embed));
    for numbered in first(model, data, total)? {
        let (step, batch) = numbered?;
        if step < scored {
            windows.add(&score(model, &gates, &batch, options.method, step)?.scores)?;
        }
        hessian.add(&curvature.block_sums(&gates, &batch, &options.picks(depth, step)?, step)?);
        progress(step + 1, total);
    }
    let weights = Some(model.params().fingerprint()?);
    Ok(Calibration { model: model.arch().clone(), weights, scores: windows.close()?, hessian: hessian.mean() })
}

/// Settings of iterative pruning: `iterations` rounds `frequency` mini-batches apart (the first has one more), in each of
/// which `units` go: `[heads, hidden, embed]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Iterative {
    pub frequency: usize,
    pub iterations: usize,
    pub units: [usize; 3],
}

/// One round of iterative pruning: the mini-batch before it, from 0, and its loss behind the gates of the round before;
/// averages with momentum 0.9 over rounds, times the gates; thresholds of the kinds; what is left.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Round {
    pub after_batch: usize,
    pub loss: f64,
    pub criteria: Scores,
    pub thresholds: [f64; 3],
    pub masks: Masks,
}

/// Prunes a few units, scores what is left, prunes again; weights stay. No protection. SAViT's ancestor
/// Taylor_pruning, iterative loop; the last round's masks make the plan.
pub fn iterate(model: &Model, data: Batches, options: &Iterative, progress: Progress) -> Result<Vec<Round>> {
    let found = format!("{} rounds of {}", options.iterations, options.frequency);
    let any = options.frequency > 0 && options.iterations > 0;
    Error::ensure(any, "iterative pruning", "at least 1 round of 1 mini-batch", found)?;
    let (mut gates, mut windows, mut rounds) = (open(model.arch()), Windows::default(), Vec::new());
    let total = options.frequency * options.iterations + 1;
    for numbered in first(model, data, total)? {
        let (step, batch) = numbered?;
        let scored = score(model, &gates, &batch, Method::Taylor, step)?;
        windows.add(&scored.scores)?;
        if step > 0 && step.is_multiple_of(options.frequency) {
            let criteria = windows.close()?.zip(&gates, |average, gate| average * gate)?;
            let (masks, thresholds) = iterative(&criteria, options.units.map(|units| units * (rounds.len() + 1)))?;
            gates = from_masks(&masks);
            rounds.push(Round { after_batch: step, loss: scored.loss, criteria, thresholds, masks });
        }
        progress(step + 1, total);
    }
    Ok(rounds)
}

/// The first `total` mini-batches by number. Refuses data that end early and weights that are not finite, by name: a
/// loss would only say that something is wrong somewhere.
fn first(model: &Model, data: Batches, total: usize) -> Result<impl Iterator<Item = Result<(usize, Batch)>>> {
    for (name, tensor) in model.params().iter() {
        if let Some(value) = tensor.to_f64s()?.into_iter().find(|value| !value.is_finite()) {
            return Err(Error::NonFinite { step: 0, layer: name.into(), value });
        }
    }
    let ended = move |step| Err(Error::invalid("mini-batches to score", total.to_string(), step));
    Ok((0..total).map(move |step| Ok((step, data.next().unwrap_or_else(|| ended(step))?))))
}
