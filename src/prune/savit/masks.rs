//! Thresholds and masks as the released code makes them: candidates, inclusive thresholds, and its index misalignment.

use super::*;

/// Which unit a candidate's score prunes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignment {
    /// Its own: what is meant.
    Aligned,
    /// The unit whose index is the candidate's position in [`Candidates::order`], as the released code does.
    Official,
}

/// The prunable units of every gate vector and a copy of the scores: the released code shrinks its own list, so that a
/// second search on it differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidates {
    /// Unit indices per gate vector, in the order of [`candidate_order`] (in index order without protection).
    pub order: Units<usize>,
    scores: Scores,
}

impl Candidates {
    /// Sets aside [`always_kept`] units of every gate vector if `protect`. Refuses scores that are not finite.
    pub fn new(scores: &Scores, protect: bool) -> Result<Self> {
        check_scores(scores, 0)?;
        let order = scores.map(|kind, vector| match protect {
            true => candidate_order(vector, vector.len() - always_kept(kind, vector.len(), true)),
            false => (0..vector.len()).collect(),
        });
        Ok(Self { order, scores: scores.clone() })
    }

    /// The largest admissible index of each kind: candidates − 1; index `k` prunes `k + 1` units.
    pub fn limits(&self) -> [usize; 3] {
        self.order.totals().map(|candidates| candidates.saturating_sub(1))
    }

    /// The highest of the `counts[kind]` lowest scores, −∞ of none; all units that tie with it go, too.
    pub fn thresholds(&self, counts: [usize; 3]) -> Result<[f64; 3]> {
        let [heads, hidden, embed] = Kind::ALL.map(|kind| {
            let vectors = self.order.of(kind).iter().zip(self.scores.of(kind));
            let mut scores: Vec<f64> = vectors.flat_map(|(order, v)| order.iter().map(|&unit| v[unit])).collect();
            scores.sort_by(f64::total_cmp);
            let (all, count) = (scores.len(), counts[kind as usize]);
            Error::ensure(count <= all, kind.name(), format!("at most {all} to prune"), count)?;
            Ok(scores[..count].last().copied().unwrap_or(f64::NEG_INFINITY))
        });
        Ok([heads?, hidden?, embed?])
    }

    /// Prunes every candidate at or below its kind's threshold.
    pub fn masks(&self, thresholds: [f64; 3], assignment: Assignment) -> Masks {
        let mut masks = self.scores.map(|_, vector| vec![true; vector.len()]);
        for (kind, block, order) in self.order.vectors() {
            let (vector, mask) = (&self.scores.of(kind)[block], &mut masks.of_mut(kind)[block]);
            for (position, &unit) in order.iter().enumerate() {
                if vector[unit] <= thresholds[kind as usize] {
                    mask[if assignment == Assignment::Aligned { unit } else { position }] = false;
                }
            }
        }
        masks
    }
}

/// Masks and thresholds of iterative pruning, without protection: all at or below the `pruned[kind]`-th smallest
/// criterion of a kind goes (0: nothing); `pruned` is cumulative, units that are gone count as 0. Taylor_pruning.
pub fn iterative(criteria: &Scores, pruned: [usize; 3]) -> Result<(Masks, [f64; 3])> {
    let candidates = Candidates::new(criteria, false)?;
    let thresholds = candidates.thresholds(pruned)?;
    Ok((candidates.masks(thresholds, Assignment::Aligned), thresholds))
}

/// The indices of the `kth` smallest of `values` in the order that a scalar introselect leaves them (what the released
/// code's `argpartition` returned). Without its median-of-medians fallback, which changes the order only after
/// `2·log₂ n` bad pivots. SAViT, official code, protection.
pub fn candidate_order(values: &[f64], kth: usize) -> Vec<usize> {
    let mut v: Vec<usize> = (0..values.len()).collect();
    let less = |v: &[usize], i: usize, j: usize| values[v[i]] < values[v[j]];
    if kth < 3.min(v.len()) {
        for i in 0..=kth {
            let smallest = (i + 1..v.len()).fold(i, |best, k| if less(&v, k, best) { k } else { best });
            v.swap(i, smallest);
        }
    } else if kth + 1 == v.len() {
        let largest = (1..v.len()).fold(0, |best, k| if less(&v, k, best) { best } else { k });
        v.swap(kth, largest);
    } else if kth < v.len() {
        partition(&mut v, kth, less);
    }
    v.truncate(kth);
    v
}

fn partition(v: &mut [usize], kth: usize, less: impl Fn(&[usize], usize, usize) -> bool) {
    let (mut low, mut high) = (0, v.len() - 1);
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        for (i, j) in [(high, middle), (high, low), (low, middle)] {
            if less(v, i, j) {
                v.swap(i, j);
            }
        }
        v.swap(middle, low + 1);
        let (mut left, mut right) = (low + 1, high);
        loop {
            // the median of three at `low` and its neighbours stop both scans inside the range
            left += 1;
            while less(v, left, low) {
                left += 1;
            }
            right -= 1;
            while less(v, low, right) {
                right -= 1;
            }
            if right < left {
                break;
            }
            v.swap(right, left);
        }
        v.swap(low, right);
        (low, high) = (if right <= kth { left } else { low }, if right >= kth { right - 1 } else { high });
    }
    if high == low + 1 && less(v, high, low) {
        v.swap(high, low);
    }
}
