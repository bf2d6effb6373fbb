//! The released code's search, for `--compat official`: surrogate cost, bisection on hidden units, evolution or
//! exhaustive choice. Indices count unprotected units from 0 and prune one more; fractions divide by all units.

use super::masks::{Assignment, Candidates};
use super::search::fractions;
use super::{Hessian, Scores, check_hessian};
use crate::models::Architecture;
use crate::models::cost::SAVIT_TOKENS;
use crate::prune::plan::{Plan, every_unit, kept};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Individuals of the evolution.
pub const POPULATION: usize = 100;
/// Children of each kind in a generation.
pub const CHILDREN: usize = 50;
/// Generations of the official run.
pub const GENERATIONS: usize = 100;

/// The cost model of the search, in 1e9: `C(a, b, c) = 2·N·D·L·(N·r_a + 2·r_a·r_c·D + 4·r_b·r_c·D)`, `r = 1 − fraction`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Surrogate {
    /// Tokens `N`; 197 in the official code whatever the image.
    pub tokens: usize,
    /// Dense width `D`.
    pub embed_dim: usize,
    /// Blocks `L`.
    pub depth: usize,
    /// All units: heads, hidden units, channels.
    pub units: [usize; 3],
}

impl Surrogate {
    /// Of a dense DeiT, the only model for which the formula holds.
    pub fn of(model: &Architecture, tokens: usize) -> Result<Self> {
        model.validate()?;
        let dim = model.embed_dim;
        if let Some(block) = model.blocks.iter().find(|block| block.inner() != dim || block.hidden != 4 * dim) {
            let expected = format!("heads of total width {dim} and {} hidden units", 4 * dim);
            return Err(Error::invalid("block for the official savit search", expected, format!("{block:?}")));
        }
        Ok(Self { tokens, embed_dim: dim, depth: model.blocks.len(), units: every_unit(model).totals() })
    }

    /// `C` in 1e9 with `pruned` units gone.
    pub fn gflops(&self, pruned: [usize; 3]) -> f64 {
        let [a, b, c] = fractions(pruned, self.units).map(|fraction| 1.0 - fraction);
        let (n, d) = (self.tokens as f64, self.embed_dim as f64);
        2.0 * n * d * self.depth as f64 * (n * a + 2.0 * a * c * d + 4.0 * b * c * d) / 1e9
    }

    /// `(C(0) − C) / C(0)`.
    pub fn reduction(&self, pruned: [usize; 3]) -> f64 {
        let dense = self.gflops([0; 3]);
        (dense - self.gflops(pruned)) / dense
    }
}

/// The random numbers of one child.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Child {
    /// Two different individuals.
    pub parents: [usize; 2],
    /// Inherit from the first, else from the second.
    pub first: bool,
    /// `u` in [0, 1): the strength moves by `u − 0.5`.
    pub uniform: f64,
    /// Standard normal `z`: the gene moves by `strength·z`.
    pub normal: f64,
}

/// Where the evolution gets its random numbers, asked in the official order; `None` when a record ends.
pub trait Draws {
    /// The first gene (`kind` 0 heads, 1 embedding) of the whole population, in [0, 1).
    fn gene(&mut self, kind: usize) -> Option<f64>;
    /// The first mutation strength of an individual, in [0, 1).
    fn strength(&mut self, kind: usize, individual: usize) -> Option<f64>;
    /// A child's numbers.
    fn child(&mut self, generation: usize, kind: usize, child: usize) -> Option<Child>;
}

/// Recorded draws, row-major with the shapes in brackets.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// `[2]`.
    pub genes: &'a [f64],
    /// `[2, 100]`.
    pub strengths: &'a [f64],
    /// `[generations, 2, 50, 2]`.
    pub parents: &'a [i32],
    /// `[generations, 2, 50]`, 1 takes the first parent.
    pub take_first: &'a [i32],
    /// `[generations, 2, 50]`.
    pub uniforms: &'a [f64],
    /// `[generations, 2, 50]`.
    pub normals: &'a [f64],
}

impl Draws for Recorded<'_> {
    fn gene(&mut self, kind: usize) -> Option<f64> {
        self.genes.get(kind).copied()
    }

    fn strength(&mut self, kind: usize, individual: usize) -> Option<f64> {
        self.strengths.get(kind * POPULATION + individual).copied()
    }

    fn child(&mut self, generation: usize, kind: usize, child: usize) -> Option<Child> {
        let at = (generation * 2 + kind) * CHILDREN + child;
        let parent = |which| self.parents.get(2 * at + which).and_then(|&parent| usize::try_from(parent).ok());
        Some(Child {
            parents: [parent(0)?, parent(1)?],
            first: *self.take_first.get(at)? == 1,
            uniform: *self.uniforms.get(at)?,
            normal: *self.normals.get(at)?,
        })
    }
}

/// Draws from a stream of uniforms in [0, 1); normals by Box and Muller.
pub struct Uniforms<F>(pub F);

impl<F: FnMut() -> f64> Draws for Uniforms<F> {
    fn gene(&mut self, _: usize) -> Option<f64> {
        Some((self.0)())
    }

    fn strength(&mut self, _: usize, _: usize) -> Option<f64> {
        Some((self.0)())
    }

    fn child(&mut self, _: usize, _: usize, _: usize) -> Option<Child> {
        let mut uniform = || (self.0)();
        let first = (uniform() * POPULATION as f64) as usize;
        let second = (first + 1 + (uniform() * (POPULATION - 1) as f64) as usize) % POPULATION;
        let (bit, step, radius, angle) = (uniform() < 0.5, uniform(), 1.0 - uniform(), uniform());
        let normal = libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(std::f64::consts::TAU * angle);
        Some(Child { parents: [first, second], first: bit, uniform: step, normal })
    }
}

/// The search problem: minimise `J` over head and embedding indices, the hidden index following from the target.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Cost model.
    pub surrogate: Surrogate,
    /// Interactions.
    pub hessian: Hessian,
    /// The largest index of each kind, [`Candidates::limits`].
    pub limits: [usize; 3],
    /// Fraction of the surrogate to REMOVE.
    pub target: f64,
    /// Tolerance of the bisection, officially 1e-4.
    pub tolerance: f64,
}

impl Problem {
    /// `J` at an index triple, rounded to float32 after every product and sum as in the recorded runs (the squares of
    /// the fractions are exact before their one rounding).
    pub fn objective(&self, index: [usize; 3]) -> f64 {
        let v = fractions(index, self.surrogate.units);
        let own = |i: usize| self.hessian[i][i] as f32 * (v[i] * v[i]) as f32;
        let pair = |i: usize, j: usize| 2.0 * self.hessian[i][j] as f32 * v[i] as f32 * v[j] as f32;
        (own(0) + own(1) + own(2) + pair(0, 1) + pair(0, 2) + pair(1, 2)) as f64
    }

    /// The hidden index that meets the target, by the official bisection; 0 when heads and channels alone exceed it
    /// (such choices are kept), the last reached when it cannot be met.
    pub fn hidden_index(&self, head: usize, embed: usize) -> usize {
        let reduction = |hidden| self.surrogate.reduction([head, hidden, embed]);
        if reduction(0) > self.target {
            return 0;
        }
        let (mut low, mut high) = (0, self.limits[1]);
        let mut middle = (low + high).div_ceil(2);
        while low < high {
            let reached = reduction(middle);
            if reached < self.target - self.tolerance && middle > low {
                low = middle;
            } else if reached > self.target + self.tolerance && middle < high {
                high = middle;
            } else {
                break;
            }
            middle = (low + high) / 2;
        }
        middle
    }

    /// The best of all head and embedding indices; ties to the lowest head index, then the lowest embedding index.
    pub fn exhaustive(&self) -> ([usize; 3], f64) {
        let mut best = ([0; 3], f64::INFINITY);
        for head in 0..=self.limits[0] {
            for embed in 0..=self.limits[2] {
                let index = [head, self.hidden_index(head, embed), embed];
                let j = self.objective(index);
                if j < best.1 {
                    best = (index, j);
                }
            }
        }
        best
    }

    /// The best individual of every generation of the official evolution (the last is the result). SAViT,
    /// collaborative pruning by an evolutionary algorithm.
    pub fn evolve(&self, draws: &mut dyn Draws, generations: usize) -> Result<Vec<[usize; 3]>> {
        let ended = || {
            Error::invalid(
                "random draws of the savit search",
                format!("{generations} generations"),
                "fewer, or unknown parents",
            )
        };
        let mut genes = [Vec::new(), Vec::new()];
        for (kind, population) in genes.iter_mut().enumerate() {
            let gene = draws.gene(kind).ok_or_else(ended)?;
            for individual in 0..POPULATION {
                population.push((gene, draws.strength(kind, individual).ok_or_else(ended)?));
            }
        }
        let mut best = Vec::with_capacity(generations);
        for generation in 0..generations {
            for (kind, population) in genes.iter_mut().enumerate() {
                for child in 0..CHILDREN {
                    let drawn = draws.child(generation, kind, child).ok_or_else(ended)?;
                    let parent = population[..POPULATION].get(drawn.parents[usize::from(!drawn.first)]);
                    let &(gene, strength): &(f64, f64) = parent.ok_or_else(ended)?;
                    let strength = (strength + (drawn.uniform - 0.5)).max(0.0);
                    population.push(((gene + strength * drawn.normal).clamp(0.0, 1.0), strength));
                }
            }
            best.push(self.survive(&mut genes));
        }
        Ok(best)
    }

    /// Keeps the fittest, least fit first (a stable sort: ties stay in order); returns the best individual's indices.
    fn survive(&self, genes: &mut [Vec<(f64, f64)>; 2]) -> [usize; 3] {
        let [head, embed] = [0, 1].map(|kind| genes[kind].iter().map(|gene| gene.0));
        let at = |gene: f64, kind: usize| (self.limits[kind] as f64 * gene) as usize;
        let indices: Vec<[usize; 3]> = head
            .zip(embed)
            .map(|(head, embed)| (at(head, 0), at(embed, 2)))
            .map(|(head, embed)| [head, self.hidden_index(head, embed), embed])
            .collect();
        let fitness: Vec<f64> = indices.iter().map(|&index| -self.objective(index)).collect();
        let best = (0..indices.len()).fold(0, |best, i| if fitness[i] > fitness[best] { i } else { best });
        let mut order: Vec<usize> = (0..indices.len()).collect();
        order.sort_by(|&a, &b| fitness[a].total_cmp(&fitness[b]));
        for population in genes {
            *population = order[CHILDREN..].iter().map(|&i| population[i]).collect();
        }
        indices[best]
    }
}

/// Settings of a run that repeats the released code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Fraction of the surrogate to REMOVE: 0.5 base, 0.3 small, 0.235 tiny.
    pub target: f64,
    /// Tolerance, 1e-4.
    pub tolerance: f64,
    /// Tokens of the surrogate, 197.
    pub tokens: usize,
    /// Protection, on.
    pub protect: bool,
    /// Which unit a score prunes.
    pub assignment: Assignment,
    /// Go on with a Hessian of zeros.
    pub allow_zero_hessian: bool,
}

impl Options {
    /// The published settings at a target.
    pub fn removing(target: f64) -> Self {
        let assignment = Assignment::Official;
        Self { target, tolerance: 1e-4, tokens: SAVIT_TOKENS, protect: true, assignment, allow_zero_hessian: false }
    }
}

/// The whole official step from scores to a plan, by evolution with `draws` or exhaustively without; returns what the
/// released code does not say: an indefinite Hessian, a reduction that misses the target by more than the tolerance.
pub fn plan(
    model: &Architecture,
    scores: &Scores,
    hessian: &Hessian,
    options: &Options,
    draws: Option<&mut dyn Draws>,
) -> Result<(Plan, Vec<String>)> {
    if !(options.target > 0.0 && options.target < 1.0) {
        return Err(Error::invalid("fraction of the surrogate to remove", "between 0 and 1", options.target));
    }
    if options.tolerance.is_nan() || options.tolerance <= 0.0 {
        return Err(Error::invalid("tolerance of the savit search", "above 0", options.tolerance));
    }
    let mut warnings = check_hessian(hessian, options.allow_zero_hessian)?;
    scores.check_lengths("savit scores", model)?;
    let surrogate = Surrogate::of(model, options.tokens)?;
    let candidates = Candidates::new(scores, options.protect)?;
    let (target, tolerance) = (options.target, options.tolerance);
    let problem = Problem { surrogate, hessian: *hessian, limits: candidates.limits(), target, tolerance };
    let index = match draws {
        Some(draws) => problem.evolve(draws, GENERATIONS)?.last().copied().unwrap_or_default(),
        None => problem.exhaustive().0,
    };
    let reached = surrogate.reduction(index);
    if (reached - target).abs() > tolerance {
        warnings.push(format!("the surrogate falls by {reached:.4}, not by the target {target}"));
    }
    let masks = candidates.masks(candidates.thresholds(index)?, options.assignment);
    Ok((Plan::keeping("savit", model, kept(&masks))?, warnings))
}
