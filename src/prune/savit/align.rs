//! Widths that hardware likes: a selection of the exact search, moved to multiples of the alignment at no more
//! multiply-accumulates than the target. A width is the hidden units of a block, the embedding channels, or a block's
//! heads times the width of one.

use super::search::Options;
use super::*;

/// A gate vector on its ladder: `order` lists its units by ascending score, the last `rungs[at]` of them are kept.
struct Ladder {
    kind: Kind,
    block: usize,
    order: Vec<usize>,
    scores: Vec<f64>, // in that order
    rungs: Vec<usize>,
    at: usize,
}

impl Ladder {
    fn kept(&self) -> usize {
        self.rungs[self.at]
    }

    /// The units between a rung and the next: what they score together.
    fn score_above(&self, rung: usize) -> f64 {
        let from = |rung: usize| self.scores.len() - self.rungs[rung];
        self.scores[from(rung + 1)..from(rung)].iter().sum()
    }

    /// The kept `[heads, hidden, embed]` when this one goes to another rung.
    fn moved(&self, mut totals: [usize; 3], rung: usize) -> [usize; 3] {
        let total = &mut totals[self.kind as usize];
        *total = *total - self.kept() + self.rungs[rung];
        totals
    }
}

/// The ladder of every gate vector, on the rung nearest to what `masks` keep (of two the lower).
fn ladders(model: &Architecture, scores: &Scores, masks: &Masks, options: &Options) -> Vec<Ladder> {
    let ladder = |(kind, block, vector): (Kind, usize, &Vec<f64>)| {
        let units = vector.len();
        let mut order: Vec<usize> = (0..units).collect();
        order.sort_by(|&a, &b| vector[a].total_cmp(&vector[b])); // stable: equals by index, as in the selection
        let kept = masks.of(kind)[block].iter().filter(|&&bit| bit).count();
        let width = if kind == Kind::Heads { model.blocks[block].head_dim() } else { 1 };
        let least = always_kept(kind, units, options.protect);
        let fits = |rung: usize| rung == units || rung >= least && (rung * width).is_multiple_of(options.align);
        let rungs: Vec<usize> = match kept {
            0 => vec![0],
            _ if !options.kinds[kind as usize] => vec![units],
            _ => (1..=units).filter(|&rung| fits(rung)).collect(),
        };
        let at = (0..rungs.len()).min_by_key(|&at| rungs[at].abs_diff(kept)).unwrap_or(0);
        let scores = order.iter().map(|&unit| vector[unit]).collect();
        Ladder { kind, block, order, scores, rungs, at }
    };
    scores.vectors().map(ladder).collect()
}

/// `masks`, a [selection](search::select) that meets the target, with every width that may be cut at the multiple of
/// [`Options::align`] nearest to it. While that costs more than the target, the width that loses the least score for a
/// multiply-accumulate saved goes down by one multiple; then, as long as one fits, the width that gains the most score for
/// a multiply-accumulate spent goes up by one.
///
/// Guaranteed: every width is a multiple, or whole (which a source width that is none may stay); one that the selection
/// empties is empty, every other keeps at least one multiple (or is whole) and what is protected; what is kept of a vector
/// are its highest-scored units; the multiply-accumulates are at most the target, and no single width could go up by one
/// multiple within it. Aligning again changes nothing. A target that multiples can't reach is an error that names the
/// least that they can.
pub fn align(model: &Architecture, scores: &Scores, masks: &Masks, options: &Options) -> Result<Masks> {
    Error::ensure(options.align > 0, "align", "at least 1", options.align)?;
    check_scores(scores, 0)?;
    masks.check_like("savit masks", scores)?;
    let cost = options.cost(model)?;
    let dense = cost(every_unit(model).totals()) as f64;
    let budget = (options.keep * dense) as u128;
    let mut ladders = ladders(model, scores, masks, options);
    let mut totals = [0; 3];
    ladders.iter().for_each(|ladder| totals[ladder.kind as usize] += ladder.kept());
    while cost(totals) > budget {
        let down = ladders.iter().enumerate().filter(|(_, ladder)| ladder.at > 0).map(|(i, ladder)| {
            let saved = cost(totals).saturating_sub(cost(ladder.moved(totals, ladder.at - 1)));
            (i, ladder.score_above(ladder.at - 1) / saved.max(1) as f64)
        });
        let (i, _) = least(down).ok_or_else(|| {
            let (share, align) = (cost(totals) as f64 / dense, options.align);
            Error::invalid(
                options.target(),
                format!("at least {share:.4}, the least that multiples of {align} reach"),
                options.keep,
            )
        })?;
        totals = ladders[i].moved(totals, ladders[i].at - 1);
        ladders[i].at -= 1;
    }
    loop {
        let above = ladders.iter().enumerate().filter(|(_, ladder)| ladder.at + 1 < ladder.rungs.len());
        let up = above.filter_map(|(i, ladder)| {
            let more = cost(ladder.moved(totals, ladder.at + 1));
            (more <= budget)
                .then(|| (i, -ladder.score_above(ladder.at) / more.saturating_sub(cost(totals)).max(1) as f64))
        });
        let Some((i, _)) = least(up) else { break };
        totals = ladders[i].moved(totals, ladders[i].at + 1);
        ladders[i].at += 1;
    }
    let mut aligned = scores.map(|_, vector| vec![false; vector.len()]);
    for ladder in &ladders {
        let mask = &mut aligned.of_mut(ladder.kind)[ladder.block];
        ladder.order[ladder.order.len() - ladder.kept()..].iter().for_each(|&unit| mask[unit] = true);
    }
    Ok(aligned)
}
