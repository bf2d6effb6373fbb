//! SAViT: structured pruning of heads, hidden units and embedding channels by first-order Taylor scores, with the
//! fractions of the three kinds chosen together from a 3×3 matrix of their interactions.
//!
//! 1. [`scores`]: what a scoring pass accumulates;
//! 2. [`search`]: this crate's search on real multiply-accumulates, and the random plan at the same counts;
//! 3. [`masks`] and [`official`]: the released code's thresholds, masks and searches, for parity.
//!
//! Nothing here touches a tensor: vectors in, a [`Plan`](super::Plan) out.

pub mod masks;
pub mod official;
pub mod scores;
pub mod search;

use super::plan::{Kind, Units};
use crate::{Error, Result};

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
