//! SAViT: structured pruning of heads, hidden units and embedding channels by first-order Taylor scores, with the
//! fractions of the three kinds chosen together from a 3×3 matrix of their interactions.
//!
//! 1. [`gated`]: the model with a factor on every unit; [`passes`]: what one mini-batch says about the factors;
//! 2. [`calibrate`](mod@calibrate) and [`scores`]: the scoring pass and what it accumulates;
//! 3. [`search`]: this crate's search on real multiply-accumulates, and the random plan at the same counts;
//! 4. [`masks`] and [`official`]: the released code's thresholds, masks and searches, for parity;
//! 5. [`losses`]: what the smaller model is fine-tuned on.
//!
//! [`run`] is all of it, from a model and images to a [`Plan`]; [`choose`] finds the plan of another
//! target from the same scores; [`apply`](super::apply()) makes the smaller model.

pub mod calibrate;
pub mod gated;
pub mod losses;
pub mod masks;
pub mod official;
pub mod passes;
pub mod scores;
pub mod search;

pub use calibrate::{calibrate, iterate};
pub use gated::Gated;
pub use scores::Calibration;

use super::plan::{Kind, Plan, Units};
use crate::models::Model;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// One importance per unit, larger is more important.
pub type Scores = Units<f64>;

/// One bit per unit: true is kept.
pub type Masks = Units<bool>;

/// Interactions between the kinds, in the order of [`Kind`]; only the upper triangle is read.
pub type Hessian = [[f64; 3]; 3];

/// `J = vᵀHv` of the pruned fractions `v`, from the upper triangle. SAViT, collaborative optimisation.
pub fn objective(hessian: &Hessian, [a, b, c]: [f64; 3]) -> f64 {
    let h = hessian;
    h[0][0] * a * a
        + h[1][1] * b * b
        + h[2][2] * c * c
        + 2.0 * h[0][1] * a * b
        + 2.0 * h[0][2] * a * c
        + 2.0 * h[1][2] * b * c
}

/// Refuses a matrix that is not finite or, unless `allow_zero`, has an upper triangle of zeros (every choice would
/// tie); returns a warning when it is indefinite, so that `J` rewards pruning somewhere.
pub fn check_hessian(hessian: &Hessian, allow_zero: bool) -> Result<Vec<String>> {
    let upper = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)];
    if let Some((i, j)) = upper.into_iter().find(|&(i, j)| !hessian[i][j].is_finite()) {
        return Err(Error::NonFinite { step: 0, layer: format!("hessian[{i}][{j}]"), value: hessian[i][j] });
    }
    let largest = upper.into_iter().map(|(i, j)| hessian[i][j].abs()).fold(0.0, f64::max);
    if largest == 0.0 {
        let zero = || Error::invalid("hessian", "an entry other than 0 (was it accumulated?)", 0);
        return if allow_zero { Ok(vec!["the Hessian is zero: all choices tie".into()]) } else { Err(zero()) };
    }
    let h = |i: usize, j: usize| hessian[i.min(j)][i.max(j)] / largest;
    let minor = |i, j| h(i, i) * h(j, j) - h(i, j) * h(i, j);
    let det = h(0, 0) * minor(1, 2) - h(0, 1) * (h(0, 1) * h(2, 2) - h(1, 2) * h(0, 2))
        + h(0, 2) * (h(0, 1) * h(1, 2) - h(1, 1) * h(0, 2));
    let minors = [h(0, 0), h(1, 1), h(2, 2), minor(0, 1), minor(0, 2), minor(1, 2), det];
    let indefinite = minors.into_iter().any(|minor| minor < -1e-9);
    Ok(indefinite.then(|| "the Hessian is indefinite: the objective rewards pruning".into()).into_iter().collect())
}

/// Refuses a NaN or an infinity, naming the unit.
pub fn check_scores(scores: &Scores) -> Result<()> {
    for kind in Kind::ALL {
        for (vector, values) in scores.of(kind).iter().enumerate() {
            if let Some(unit) = values.iter().position(|value| !value.is_finite()) {
                let layer = format!("score of {}[{vector}][{unit}]", kind.name());
                return Err(Error::NonFinite { step: 0, layer, value: values[unit] });
            }
        }
    }
    Ok(())
}

/// Units of a gate vector of length `n` that are always kept: `max(⌊0.05·n⌋, 1)` when protected, else none but the
/// last embedding channel. SAViT, official code.
pub fn always_kept(kind: Kind, n: usize, protect: bool) -> usize {
    match (protect, kind) {
        (true, _) => (n / 20).max(1).min(n),
        (false, Kind::Embed) => 1.min(n),
        (false, _) => 0,
    }
}

/// How the units that go are chosen from the scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Search {
    /// This crate's: exact on real multiply-accumulates, every unit by its own score.
    Exact(search::Options),
    /// The released code's.
    Official {
        /// Target, protection, unit assignment.
        options: official::Options,
        /// The seed of the evolution; the exhaustive optimum of the same problem without.
        evolve: Option<u64>,
    },
}

/// Settings of a whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The scoring pass.
    pub calibrate: calibrate::Options,
    /// The choice.
    pub search: Search,
}

/// What a run found.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Scores and Hessian, to keep: another target takes seconds.
    pub calibration: Calibration,
    /// What goes.
    pub plan: Plan,
    /// Counts and cost of the exact search.
    pub found: Option<search::Found>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// One-shot pruning of `model`: the scoring pass over `data`, then [`choose`].
pub fn run(
    model: &Model,
    data: impl IntoIterator<Item = Result<passes::Batch>>,
    options: &Options,
    progress: calibrate::Progress,
) -> Result<Outcome> {
    choose(calibrate(model, data, &options.calibrate, progress)?, &options.search)
}

/// The plan that `search` finds in a calibration. No image is needed.
pub fn choose(calibration: Calibration, search: &Search) -> Result<Outcome> {
    let Calibration { model, scores, hessian } = &calibration;
    let (plan, found, warnings) = match search {
        Search::Exact(options) => {
            let (plan, found) = search::plan(model, scores, hessian, options)?;
            let warnings = found.warnings.clone();
            (plan, Some(found), warnings)
        }
        Search::Official { options, evolve } => {
            let mut draws = evolve.map(|seed| official::Uniforms(super::uniforms(seed)));
            let draws = draws.as_mut().map(|draws| draws as &mut dyn official::Draws);
            let (plan, warnings) = official::plan(model, scores, hessian, options, draws)?;
            (plan, None, warnings)
        }
    };
    Ok(Outcome { calibration, plan, found, warnings })
}
