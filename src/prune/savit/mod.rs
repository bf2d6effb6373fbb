//! SAViT: structured pruning of heads, hidden units and embedding channels by first-order Taylor scores, with the
//! fractions of the three kinds chosen together from a 3×3 matrix of their interactions.
//!
//! 1. [`gated`]: the model with a factor on every unit; [`passes`]: what one mini-batch says about the factors;
//! 2. [`calibrate`](mod@calibrate) and [`scores`]: the scoring pass and what it accumulates;
//! 3. [`search`]: this crate's search on real multiply-accumulates, and the random plan at the same counts;
//!    [`align`](mod@align): its widths as multiples of 8 or 64;
//! 4. [`masks`] and [`official`]: the released code's thresholds, masks and searches, for parity;
//! 5. [`losses`]: what the smaller model is fine-tuned on.
//!
//! From images to a plan: [`calibrate()`], then [`search::plan`] (or [`official::plan`]), whose result another target gets
//! from the same [`Calibration`] in seconds; [`apply`](super::apply()) makes the smaller model.

pub mod align;
pub mod calibrate;
pub mod gated;
pub mod losses;
pub mod masks;
pub mod official;
pub mod passes;
pub mod scores;
pub mod search;

pub use align::align;
pub use calibrate::{calibrate, iterate};
pub use gated::Gated;
pub use scores::Calibration;

use super::plan::{Kind, Plan, Units, every_unit, kept};
use crate::{DType, Device, Error, Result, Tape, Tensor, Var, models::Architecture, models::Model, ops, tape::Grads};

/// One importance per unit, larger is more important.
pub type Scores = Units<f64>;
/// One bit per unit: true is kept.
pub type Masks = Units<bool>;
/// Interactions between the kinds, in the order of [`Kind`]; only the upper triangle is read.
pub type Hessian = [[f64; 3]; 3];

/// `J = vᵀHv` of the pruned fractions `v`, from the upper triangle. SAViT, collaborative optimisation.
pub fn objective(hessian: &Hessian, v: [f64; 3]) -> f64 {
    let (own, pair) = (|i: usize| hessian[i][i] * v[i] * v[i], |i: usize, j: usize| 2.0 * hessian[i][j] * v[i] * v[j]);
    own(0) + own(1) + own(2) + pair(0, 1) + pair(0, 2) + pair(1, 2)
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
        Error::ensure(allow_zero, "hessian", "an entry other than 0 (was it accumulated?)", 0)?;
        return Ok(vec!["the Hessian is zero: all choices tie".into()]);
    }
    let h = |i: usize, j: usize| hessian[i.min(j)][i.max(j)] / largest;
    let minor = |i, j| h(i, i) * h(j, j) - h(i, j) * h(i, j);
    let det = h(0, 0) * minor(1, 2) - h(0, 1) * (h(0, 1) * h(2, 2) - h(1, 2) * h(0, 2))
        + h(0, 2) * (h(0, 1) * h(1, 2) - h(1, 1) * h(0, 2));
    let minors = [h(0, 0), h(1, 1), h(2, 2), minor(0, 1), minor(0, 2), minor(1, 2), det];
    let indefinite = minors.into_iter().find(|&minor| minor < -1e-9);
    Ok(indefinite.map(|_| "the Hessian is indefinite: the objective rewards pruning".into()).into_iter().collect())
}

/// Refuses a NaN or an infinity, naming the unit and the mini-batch `step`.
pub fn check_scores(scores: &Scores, step: usize) -> Result<()> {
    let broken = scores.find(|score| !score.is_finite());
    broken.map_or(Ok(()), |(unit, &value)| Err(Error::NonFinite { step, layer: format!("score of {unit}"), value }))
}

/// The choice of least value; of equals the first.
fn least<T>(choices: impl Iterator<Item = (T, f64)>) -> Option<(T, f64)> {
    choices.min_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(std::cmp::Ordering::Equal))
}

/// Units of a gate vector of length `n` that are always kept: `max(⌊0.05·n⌋, 1)` when protected, else none but the
/// last embedding channel. SAViT, official code.
pub fn always_kept(kind: Kind, n: usize, protect: bool) -> usize {
    let least = if protect { (n / 20).max(1) } else { usize::from(kind == Kind::Embed) };
    least.min(n)
}
