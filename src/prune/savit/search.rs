//! The crate's own search: how many heads, hidden units and embedding channels go, on real multiply-accumulates. With
//! one head width `d`, the cost depends only on the totals kept, `H` heads, `F` hidden units, `D` channels:
//! `Macs = D·(n·3P² + heads·K) + H·d·(4·N·D + 2·N²) + F·2·N·D`, so for every `(H, D)` the largest affordable `F` is a
//! bisection and the whole plane takes milliseconds. For a latency the same search goes by the milliseconds of a [table](Times)
//! instead, of blocks that share what is kept evenly; since they do not, [`plan`] aims until the plan itself is at the target.

use super::*;
use crate::models::{Reduce, cost, timetable::Times};
use std::array::from_fn;

/// How far below the target, as a fraction of what the dense model costs, a choice may fall.
pub const WINDOW: f64 = 0.005;
/// How many searches a latency target may take.
const AIMS: usize = 16;

/// What to search for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Fraction of multiply-accumulates to keep, or of milliseconds, between 0 and 1.
    pub keep: f64,
    /// The milliseconds of the model and of all that may be cut from it, when these are what `keep` is a fraction of.
    pub latency: Option<Times>,
    /// Which kinds may lose units, in the order of [`Kind`].
    pub kinds: [bool; 3],
    /// Keep at least `max(⌊0.05·n⌋, 1)` units of every gate vector.
    pub protect: bool,
    /// Go on with a Hessian of zeros: fewest heads, then fewest channels go.
    pub allow_zero_hessian: bool,
    /// Widths become multiples of it ([`align()`]); 1 leaves them as they were found.
    pub align: usize,
}

impl Options {
    /// All kinds, protected, a real Hessian, any width.
    pub fn keeping(fraction: f64) -> Self {
        let (kinds, protect, allow_zero_hessian) = ([true; 3], true, false);
        Self { keep: fraction, latency: None, kinds, protect, allow_zero_hessian, align: 1 }
    }

    /// What `keep` is called in errors.
    pub(super) fn target(&self) -> String {
        let what = if self.latency.is_some() { "milliseconds" } else { "multiply-accumulates" };
        format!("fraction of {what} to keep")
    }

    fn check(&self) -> Result<()> {
        Error::ensure(self.keep > 0.0 && self.keep < 1.0, self.target(), "between 0 and 1", self.keep)
    }

    /// What kept `[heads, hidden, embed]` of `model` cost: multiply-accumulates, or nanoseconds. It rises with each.
    pub(super) fn cost(&self, model: &Architecture) -> Result<impl Fn([usize; 3]) -> u128> {
        let (macs, blocks) = (closed_form(model)?, model.blocks.len());
        Ok(move |kept| match &self.latency {
            None => macs(kept),
            Some(times) => (1e6 * times.even(blocks, kept)) as u128,
        })
    }

    /// The fraction that `small` costs of `model`.
    fn share(&self, small: &Architecture, model: &Architecture) -> f64 {
        match &self.latency {
            None => cost::macs(small) as f64 / cost::macs(model) as f64,
            Some(times) => times.model(small) / times.model(model),
        }
    }
}

/// What was found: how many units go `[heads, hidden, embed]`, multiply-accumulates after and before, the fraction kept of what
/// the target is in, `J` of the pruned fractions, and what the user should know.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Found {
    pub pruned: [usize; 3],
    pub macs: u64,
    pub dense_macs: u64,
    pub share: f64,
    pub objective: f64,
    pub warnings: Vec<String>,
}

/// The closed form of the multiply-accumulates that kept `[heads, hidden, embed]` cost.
fn closed_form(model: &Architecture) -> Result<impl Fn([usize; 3]) -> u128> {
    let width = model.blocks.first().map_or(0, |block| block.head_dim());
    let uniform = model.blocks.iter().all(|block| block.head_dim() == width && block.reduce == Reduce::None);
    let expected = "blocks of one head width that keep all tokens";
    Error::ensure(uniform, "model to prune by savit", expected, format!("{:?}", model.blocks))?;
    let [d, n, patches] = [width, model.num_tokens(), model.num_patches()].map(|x| x as u128);
    let [patch, classes, heads] = [model.patch_size, model.num_classes, model.extra_tokens()].map(|x| x as u128);
    let stem = patches * 3 * patch * patch + heads * classes;
    Ok(move |kept: [usize; 3]| {
        let [heads, hidden, embed] = kept.map(|units| units as u128);
        embed * stem + heads * d * (4 * n * embed + 2 * n * n) + hidden * 2 * n * embed
    })
}

/// What the search takes for `H`, and warnings: `H` itself unless it is indefinite, as an estimate from few batches can be. `J`
/// would then reward pruning whatever has negative curvature, down to the last unit; `|H|`, the eigenvalues without their
/// signs, counts curvature of either sign as a reason to keep (Dauphin et al., Identifying and attacking the saddle point
/// problem, 2014). The released code takes `H` as it is.
pub fn curvature(hessian: &Hessian, allow_zero: bool) -> Result<(Hessian, Vec<String>)> {
    let found = check_hessian(hessian, allow_zero)?;
    if found.is_empty() || *hessian == [[0.0; 3]; 3] {
        return Ok((*hessian, found));
    }
    Ok((magnitude(hessian), vec!["the Hessian is indefinite: its absolute value was searched".into()]))
}

/// `Q |Λ| Qᵀ` of the symmetric matrix `Q Λ Qᵀ` whose upper triangle is given, by Jacobi rotations.
fn magnitude(hessian: &Hessian) -> Hessian {
    let mut a: Hessian = from_fn(|i| from_fn(|j| hessian[i.min(j)][i.max(j)]));
    let mut q: Hessian = from_fn(|i| from_fn(|j| f64::from(u8::from(i == j))));
    for (i, j) in [(0, 1), (0, 2), (1, 2)].into_iter().cycle().take(3 * 12) {
        // The angle that makes a[i][j] zero.
        let (sin, cos) = (0.5 * (2.0 * a[i][j]).atan2(a[i][i] - a[j][j])).sin_cos();
        let turn = |row: [f64; 3]| {
            let mut turned = row;
            (turned[i], turned[j]) = (cos * row[i] + sin * row[j], cos * row[j] - sin * row[i]);
            turned
        };
        let columns = a.map(turn);
        let rows: Hessian = from_fn(|c| turn(from_fn(|r| columns[r][c])));
        a = from_fn(|r| from_fn(|c| rows[c][r]));
        q = q.map(turn);
    }
    from_fn(|i| from_fn(|j| (0..3).map(|k| q[i][k] * a[k][k].abs() * q[j][k]).sum()))
}

/// Chooses how many units of each kind go: of all `(heads, embed)` with the fewest hidden units that meet the target,
/// those within [`WINDOW`] below it (or nearest to it, with a warning), the one of least `J`; ties to the fewest heads,
/// then the fewest channels. An unreachable target is an error that names the least reachable fraction.
pub fn search(model: &Architecture, hessian: &Hessian, options: &Options) -> Result<Found> {
    options.check()?;
    model.validate()?;
    let (hessian, mut warnings) = curvature(hessian, options.allow_zero_hessian)?;
    let (units, macs) = (every_unit(model).totals(), closed_form(model)?);
    let dense = options.cost(model)?(units) as f64;
    let [budget, window] = [options.keep, WINDOW].map(|share| (share * dense) as u128);
    let points = feasible(model, options, budget)?;
    let nearest = points.iter().map(|point| point.1).max().unwrap_or(0);
    if nearest + window < budget {
        let share = nearest as f64 / dense;
        warnings.push(format!("nothing nearer to the target {} than {share:.4} can be reached", options.keep));
    }
    let lowest = nearest.min(budget.saturating_sub(window));
    let near = points.into_iter().filter(|point| point.1 >= lowest);
    let best = least(near.map(|point| (point, objective(&hessian, fractions(point.0, units)))));
    let ((pruned, cost), objective) = best.ok_or_else(|| Error::invalid("search", "a feasible point", "none"))?;
    let (kept, share) = (from_fn(|kind| units[kind] - pruned[kind]), cost as f64 / dense);
    Ok(Found { pruned, macs: macs(kept) as u64, dense_macs: cost::macs(model), share, objective, warnings })
}

/// `pruned / units` of each kind, 0 for a kind without units.
pub fn fractions(pruned: [usize; 3], units: [usize; 3]) -> [f64; 3] {
    from_fn(|kind| if units[kind] == 0 { 0.0 } else { pruned[kind] as f64 / units[kind] as f64 })
}

/// For every number of pruned heads and channels, the fewest hidden units that meet `budget`, and the cost.
fn feasible(model: &Architecture, options: &Options, budget: u128) -> Result<Vec<([usize; 3], u128)>> {
    let (cost, all) = (options.cost(model)?, every_unit(model));
    let units = all.totals();
    let mut most = [0; 3];
    for (kind, _, vector) in all.vectors().filter(|(kind, ..)| options.kinds[*kind as usize]) {
        most[kind as usize] += vector.len() - always_kept(kind, vector.len(), options.protect);
    }
    let left = |pruned: [usize; 3]| cost(from_fn(|kind| units[kind] - pruned[kind]));
    let mut points = Vec::new();
    for (heads, embed) in (0..=most[0]).flat_map(|heads| (0..=most[2]).map(move |embed| (heads, embed))) {
        let fits = |hidden| left([heads, hidden, embed]) <= budget;
        if !fits(most[1]) {
            continue;
        }
        let (mut low, mut high) = (0, most[1]); // the fewest that must go is among them
        while low < high {
            let middle = (low + high) / 2;
            (low, high) = if fits(middle) { (low, middle) } else { (middle + 1, high) };
        }
        points.push(([heads, high, embed], left([heads, high, embed])));
    }
    let least = left(most) as f64 / left([0; 3]) as f64;
    let expected = format!("at least {least:.4}, the least that these kinds and this protection can reach");
    Error::ensure(!points.is_empty(), options.target(), expected, options.keep).map(|()| points)
}

/// Prunes exactly `counts` units: in each gate vector the best are set aside, the rest of all vectors of a kind are
/// ranked together by (score, block, unit), and the lowest go. SAViT, ranking within a kind.
pub fn select(scores: &Scores, counts: [usize; 3], protect: bool) -> Result<Masks> {
    check_scores(scores, 0)?;
    let by_score = |a: &(f64, usize, usize), b: &(f64, usize, usize)| a.0.total_cmp(&b.0);
    let mut masks = scores.map(|_, vector| vec![true; vector.len()]);
    for kind in Kind::ALL {
        let mut candidates = Vec::new();
        for (block, vector) in scores.of(kind).iter().enumerate() {
            let mut order: Vec<_> = vector.iter().enumerate().map(|(unit, &score)| (score, block, unit)).collect();
            order.sort_by(by_score);
            order.truncate(vector.len() - always_kept(kind, vector.len(), protect));
            candidates.extend(order);
        }
        candidates.sort_by(by_score); // stable, so that equals stay in order
        let count = counts[kind as usize];
        Error::ensure(count <= candidates.len(), kind.name(), format!("at most {} to prune", candidates.len()), count)?;
        candidates[..count].iter().for_each(|&(_, block, unit)| masks.of_mut(kind)[block][unit] = false);
    }
    Ok(masks)
}

/// Search, selection and alignment: the plan of the units that stay, named `savit`, or `savit-align8` for multiples of 8. For a
/// latency the search is repeated, aiming lower or higher, until the plan itself is within [`WINDOW`] below the target.
pub fn plan(calibration: &Calibration, options: &Options) -> Result<(Plan, Found)> {
    if options.latency.is_none() {
        return plan_at(calibration, options);
    }
    options.check()?;
    let (keep, mut best, mut unreached) = (options.keep, None::<(Plan, Found)>, None);
    let (mut aim, mut low, mut high) = (keep, 0.0, 1.0);
    for _ in 0..AIMS {
        let found = plan_at(calibration, &Options { keep: aim, ..options.clone() });
        match found {
            Ok(found) if found.1.share <= keep => {
                low = aim;
                let better = best.as_ref().is_none_or(|best| found.1.share > best.1.share);
                best = if better { Some(found) } else { best };
            }
            Ok(_) => high = aim,
            Err(error) => {
                low = aim;
                unreached.get_or_insert(error); // the first says what was asked for
            }
        }
        if best.as_ref().is_some_and(|best| best.1.share + WINDOW >= keep) {
            break;
        }
        aim = f64::clamp((low + high) / 2.0, 0.8 * aim, 1.25 * aim);
    }
    let none = || unreached.unwrap_or_else(|| Error::invalid(options.target(), "one that a plan reaches", keep));
    best.ok_or_else(none)
}

/// The plan of one search.
fn plan_at(calibration: &Calibration, options: &Options) -> Result<(Plan, Found)> {
    let (Calibration { model, scores, hessian, .. }, align) = (calibration, options.align);
    let all = every_unit(model);
    scores.check_like("savit scores", &all)?;
    let found = search(model, hessian, options)?;
    let masks = select(scores, found.pruned, options.protect)?;
    if align == 1 {
        let plan = Plan::keeping("savit", model, kept(&masks))?;
        let share = options.share(&plan.apply_to(model)?, model);
        return Ok((plan, Found { share, ..found }));
    }
    let kept = kept(&super::align(model, scores, &masks, options)?);
    let (units, left) = (all.totals(), kept.totals());
    let pruned = from_fn(|kind| units[kind] - left[kind]);
    let plan = Plan::keeping(&format!("savit-align{align}"), model, kept)?;
    let (hessian, _) = curvature(hessian, options.allow_zero_hessian)?;
    let (small, objective) = (plan.apply_to(model)?, objective(&hessian, fractions(pruned, units)));
    let (macs, share) = (cost::macs(&small), options.share(&small, model));
    Ok((plan, Found { pruned, macs, share, objective, ..found }))
}

/// The baseline of every table, *random at the same MACs*: the same number of units of each kind, drawn uniformly, with
/// the same minimum in every gate vector.
pub fn random_plan(model: &Architecture, pruned: [usize; 3], protect: bool, seed: u64) -> Result<Plan> {
    let mut uniform = crate::prune::uniforms(seed);
    let scores = every_unit(model).map(|_, vector| vector.iter().map(|_| uniform()).collect());
    Plan::keeping("random", model, kept(&select(&scores, pruned, protect)?))
}
