//! Forward and backward passes with frozen weights: what a mini-batch says about the gates.
//!
//! Only gates are leaves, so no weight gradient is ever computed. With `o` a gate's output and `y = dL/do`, a
//! mini-batch scores a unit by one [`Method`]; the second derivatives between gate vectors are central differences of
//! gate gradients, `(Σ_j G_j(g_i·(1+ε)) − Σ_j G_j(g_i·(1−ε))) / 2ε`, which never differentiate twice.

use super::gated::{Gated, Gates};
use super::scores::{LayerPicks, taylor};
use super::{Hessian, Scores, check_scores};
use crate::models::{Architecture, Model, mean_of_heads};
use crate::nn::{Hooks, Mode, Params, Pass, Site};
use crate::prune::plan::{Kind, Units};
use crate::tape::Grads;
use crate::{DType, Error, Result, Tape, Tensor, Var, ops};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// Images `[B, 3, H, W]` and soft targets `[B, K]`.
pub type Batch = (Tensor, Tensor);

/// How a mini-batch scores a unit; the numbers of the official code. SAViT, importance of a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// 1: the mean of `|y·o|` over samples and tokens (and the columns of a head).
    MeanAbsolute,
    /// 2, of all published results: `(g·dL/dg)²`, the square of the batch's sum.
    #[default]
    Taylor,
    /// 3: the sum over samples of `(Σ y·o)²`, inner sum over tokens (and columns).
    PerSample,
    /// 4: the sum over samples and tokens of `|Σ y·o|`, inner sum over the columns of a head.
    PerToken,
}

/// What a mini-batch says.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Soft-target cross entropy, the batch's mean.
    pub loss: f64,
    /// `dL/dg` of every gate, summed over all uses.
    pub gradients: Scores,
    /// By the method.
    pub scores: Scores,
}

/// Scores a mini-batch of `model` behind `gates`; `step` numbers it in errors. Methods 1, 3 and 4 see a gate's last
/// output and the gradient at its first, which are two different uses of the embedding gate as in the official code.
pub fn score(model: &Model, gates: &Gates, batch: &Batch, method: Method, step: usize) -> Result<Scored> {
    let (tape, arch) = (Tape::new(), model.arch());
    let dtype = batch.0.dtype();
    let gated = Gated::new(arch, gates, dtype, Some(&tape))?;
    let taps = Taps { gated, tape: tape.clone(), seen: RefCell::default(), on: method != Method::Taylor };
    let (loss, grads) = backward(model, model.params(), &taps, batch, &tape, step)?;
    let gradients = taps.gated.gradients(&grads);
    let scores = match method {
        Method::Taylor => square(gates, &gradients)?,
        _ => taps.scores(arch, &grads, method)?,
    };
    check_scores(&scores).map_err(|error| at_step(error, step))?;
    Ok(Scored { loss, gradients, scores })
}

fn square(gates: &Gates, gradients: &Scores) -> Result<Scores> {
    let each = |kind| gates.of(kind).iter().zip(gradients.of(kind)).map(|(w, g)| taylor(w, g)).collect::<Result<_>>();
    let embed = taylor(&gates.embed, &gradients.embed)?;
    Ok(Units { heads: each(Kind::Heads)?, hidden: each(Kind::Hidden)?, embed })
}

/// Loss and gradients of a pass that tracks nothing but what `hooks` put on `tape`.
fn backward(
    model: &Model,
    params: &Params,
    hooks: &dyn Hooks,
    (images, targets): &Batch,
    tape: &Tape,
    step: usize,
) -> Result<(f64, Grads)> {
    let pass = Pass::new(params, None, Mode::eval(), hooks);
    let logits = mean_of_heads(model.forward(&pass, &Var::constant(images.clone()))?)?;
    let loss = ops::cross_entropy(&logits, targets)?;
    let value = loss.tensor().item()?;
    if !value.is_finite() {
        return Err(Error::NonFinite { step, layer: "loss".into(), value });
    }
    Ok((value, tape.backward(&loss)?))
}

/// Puts the number of the mini-batch into an error that does not know it.
fn at_step(error: Error, step: usize) -> Error {
    match error {
        Error::NonFinite { layer, value, .. } => Error::NonFinite { step, layer, value },
        other => other,
    }
}

/// A gated model that also records gate outputs and the gradients there.
struct Taps {
    gated: Gated,
    tape: Tape,
    seen: RefCell<Vec<(Site, Tensor, Var)>>,
    on: bool,
}

impl Hooks for Taps {
    fn head_gate(&self, block: usize) -> Option<&Var> {
        self.gated.head_gate(block)
    }

    fn hidden_gate(&self, block: usize) -> Option<&Var> {
        self.gated.hidden_gate(block)
    }

    fn residual_gate(&self) -> Option<&Var> {
        self.gated.residual_gate()
    }

    fn taps(&self) -> bool {
        self.on
    }

    fn tap(&self, site: Site, value: Var) -> Result<Var> {
        if !matches!(site, Site::GatedHeads(_) | Site::GatedHidden(_) | Site::Residual(_)) {
            return Ok(value);
        }
        // the gradient of a leaf of zeros that is added to a value is the gradient at the value
        let zeros = self.tape.leaf(Tensor::zeros(*value.shape(), value.dtype()));
        self.seen.borrow_mut().push((site, value.tensor().clone(), zeros.clone()));
        ops::add(value, &zeros)
    }
}

impl Taps {
    fn scores(&self, arch: &Architecture, grads: &Grads, method: Method) -> Result<Scores> {
        let product = |last: Site, first: Site, group: usize| {
            let seen = self.seen.borrow();
            let at = |site: Site| seen.iter().find(|entry| entry.0 == site);
            let (Some((_, o, _)), Some(y)) = (at(last), at(first).and_then(|(_, _, leaf)| grads.get(leaf))) else {
                return Err(Error::invalid(format!("gate at {last:?}"), "an output and its gradient", "none"));
            };
            Ok(reduce(o, y, group, method))
        };
        let blocks = || arch.blocks.iter().enumerate();
        let heads = blocks().map(|(i, block)| product(Site::GatedHeads(i), Site::GatedHeads(i), block.head_dim()));
        let hidden = blocks().map(|(i, _)| product(Site::GatedHidden(i), Site::GatedHidden(i), 1));
        let (heads, hidden) = (heads.collect::<Result<_>>()?, hidden.collect::<Result<_>>()?);
        let embed = product(Site::Residual(2 * arch.blocks.len()), Site::Residual(0), 1)?;
        Ok(Units { heads, hidden, embed })
    }
}

/// A method's reduction of `y·o`, both `[B, N, units · group]`.
fn reduce(o: &Tensor, y: &Tensor, group: usize, method: Method) -> Vec<f64> {
    let (o, y, (samples, tokens)) = (o.to_f64s(), y.to_f64s(), (o.dim(0), o.dim(1)));
    let columns = o.len() / (samples * tokens).max(1);
    let mut scores = vec![0.0; columns / group.max(1)];
    let mean = 1.0 / (samples * tokens * group).max(1) as f64;
    for sample in 0..samples {
        let mut inner = vec![0.0; scores.len()];
        for token in 0..tokens {
            let row = (sample * tokens + token) * columns;
            for (unit, (score, inner)) in scores.iter_mut().zip(&mut inner).enumerate() {
                let products = (row + unit * group..row + (unit + 1) * group).map(|at| o[at] * y[at]);
                match method {
                    Method::MeanAbsolute => *score += mean * products.map(f64::abs).sum::<f64>(),
                    Method::PerToken => *score += products.sum::<f64>().abs(),
                    _ => *inner += products.sum::<f64>(),
                }
            }
        }
        scores.iter_mut().zip(&inner).for_each(|(score, inner)| *score += inner * inner);
    }
    scores
}

/// The relative step of the differences: 1e-3 in f32, where rounding then costs about 1e-4 of the largest entry, 1e-4
/// in f64, where rounding and truncation stay below 1e-6.
fn epsilon(dtype: DType) -> f64 {
    if dtype == DType::F64 { 1e-4 } else { 1e-3 }
}

/// Second derivatives between gate vectors, on a copy of the parameters in the precision asked for.
pub struct Curvature<'a> {
    model: &'a Model,
    params: Params,
    dtype: DType,
}

impl<'a> Curvature<'a> {
    /// For `model` in `dtype`: f64 is as good as exact and the default of a calibration; f32 takes half the time and
    /// keeps the third digit.
    pub fn new(model: &'a Model, dtype: DType) -> Self {
        let cast = |(name, tensor): (&str, &Tensor)| (name.to_string(), tensor.to_dtype(dtype));
        Self { model, params: model.params().iter().map(cast).collect(), dtype }
    }

    /// `1ᵀ H 1` of the blocks between gate vector `(kind, block)` and every other: the change of each vector's summed
    /// gradient along the gates of this one. Two passes.
    pub fn row(&self, gates: &Gates, batch: &Batch, kind: Kind, block: usize, step: usize) -> Result<Units<f64>> {
        let epsilon = epsilon(self.dtype);
        let sums = |factor: f64| -> Result<Units<f64>> {
            let mut moved = gates.clone();
            let found = moved.of_mut(kind).get_mut(block);
            let what = || Error::invalid(format!("picked block of {}", kind.name()), "one of the model's", block);
            found.ok_or_else(what)?.iter_mut().for_each(|gate| *gate *= factor);
            let tape = Tape::new();
            let gated = Gated::new(self.model.arch(), &moved, self.dtype, Some(&tape))?;
            let cast = (batch.0.to_dtype(self.dtype), batch.1.to_dtype(self.dtype));
            let (_, grads) = backward(self.model, &self.params, &gated, &cast, &tape, step)?;
            Ok(gated.gradients(&grads).map(|_, gradients| vec![gradients.iter().sum()]))
        };
        let (above, mut row) = (sums(1.0 + epsilon)?, sums(1.0 - epsilon)?);
        for kind in Kind::ALL {
            for (low, high) in row.of_mut(kind).iter_mut().zip(above.of(kind)) {
                low[0] = (high[0] - low[0]) / (2.0 * epsilon);
            }
        }
        check_scores(&row).map_err(|error| at_step(error, step))?;
        Ok(row)
    }

    /// The nine block sums `q` that `picks` names. Six passes.
    pub fn block_sums(&self, gates: &Gates, batch: &Batch, picks: &LayerPicks, step: usize) -> Result<Hessian> {
        let mut q = [[0.0; 3]; 3];
        for i in Kind::ALL {
            let row = self.row(gates, batch, i, picks.pair(i, Kind::Embed).0, step)?;
            for j in Kind::ALL {
                let picked = row.of(j).get(picks.pair(i, j).1);
                let what = || {
                    Error::invalid(format!("picked block of {}", j.name()), "one of the model's", picks.pair(i, j).1)
                };
                q[i as usize][j as usize] = picked.ok_or_else(what)?[0];
            }
        }
        Ok(q)
    }

    /// Block sums between all pairs of gate vectors, heads then hidden units then the embedding. `2·(2L + 1)` passes.
    pub fn all_block_sums(&self, gates: &Gates, batch: &Batch) -> Result<Vec<Vec<f64>>> {
        let mut table = Vec::new();
        for kind in Kind::ALL {
            for block in 0..gates.of(kind).len() {
                let row = self.row(gates, batch, kind, block, 0)?;
                table.push(Kind::ALL.iter().flat_map(|&j| row.of(j).concat()).collect());
            }
        }
        Ok(table)
    }
}
