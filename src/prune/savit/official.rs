//! The released code's search, for `--compat official`: surrogate cost, bisection on hidden units, evolution or
//! exhaustive choice. Indices count unprotected units from 0 and prune one more; fractions divide by all units.

use super::masks::{Assignment, Candidates};
use super::{search::fractions, *};
use crate::{models::cost::SAVIT_TOKENS, prune::uniforms};

/// Individuals of the evolution.
pub const POPULATION: usize = 100;
/// Children of each kind in a generation.
pub const CHILDREN: usize = 50;
/// Of the official run: generations, and tolerance of the bisection.
const GENERATIONS: usize = 100;
const TOLERANCE: f64 = 1e-4;

/// The cost model of the search, in 1e9: `C(a, b, c) = 2·N·D·L·(N·r_a + 2·r_a·r_c·D + 4·r_b·r_c·D)`, `r = 1 − fraction`,
/// for a dense model of width `D` and `L` blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Surrogate {
    /// Tokens `N`; 197 in the official code whatever the image.
    pub tokens: usize,
    /// All units: heads, hidden units, channels.
    pub units: [usize; 3],
    width: f64,
    depth: f64,
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
        let (units, depth) = (every_unit(model).totals(), model.blocks.len() as f64);
        Ok(Self { tokens, units, width: dim as f64, depth })
    }

    /// `C` in 1e9 with `pruned` units gone.
    pub fn gflops(&self, pruned: [usize; 3]) -> f64 {
        let [a, b, c] = fractions(pruned, self.units).map(|fraction| 1.0 - fraction);
        let (n, d) = (self.tokens as f64, self.width);
        2.0 * n * d * self.depth * (n * a + 2.0 * a * c * d + 4.0 * b * c * d) / 1e9
    }

    /// `(C(0) − C) / C(0)`.
    pub fn reduction(&self, pruned: [usize; 3]) -> f64 {
        let dense = self.gflops([0; 3]);
        (dense - self.gflops(pruned)) / dense
    }
}

/// The random numbers of an evolution, recorded or [`random`](Self::random).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draws {
    /// The first [`POPULATION`] of heads and of the embedding: gene and mutation strength, in [0, 1).
    pub population: [Vec<(f64, f64)>; 2],
    /// Of every generation [`CHILDREN`] of heads, then of the embedding.
    pub children: Vec<Child>,
}

/// The random numbers of a child: one of two different individuals, `u` in [0, 1) by which the strength moves, `u − 0.5`,
/// and a standard normal `z` by which the gene does, `strength·z`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Child {
    pub parent: usize,
    pub uniform: f64,
    pub normal: f64,
}

impl Draws {
    /// Draws for `generations` from a stream of uniforms in [0, 1), in the official order; normals by Box and Muller.
    pub fn random(generations: usize, mut uniform: impl FnMut() -> f64) -> Self {
        let mut draws = Self::default();
        for population in &mut draws.population {
            let gene = uniform(); // of all
            population.extend((0..POPULATION).map(|_| (gene, uniform())));
        }
        for _ in 0..generations * 2 * CHILDREN {
            let first = (uniform() * POPULATION as f64) as usize;
            let second = (first + 1 + (uniform() * (POPULATION - 1) as f64) as usize) % POPULATION;
            let parent = if uniform() < 0.5 { first } else { second };
            let (step, radius, angle) = (uniform(), 1.0 - uniform(), uniform());
            let normal = libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(std::f64::consts::TAU * angle);
            draws.children.push(Child { parent, uniform: step, normal });
        }
        draws
    }
}

/// The search problem: minimise `J` over head and embedding indices up to [`Candidates::limits`], the hidden index
/// following, by a bisection to `tolerance` (officially 1e-4), from the `target`: the fraction of the surrogate to REMOVE.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Problem {
    pub surrogate: Surrogate,
    pub hessian: Hessian,
    pub limits: [usize; 3],
    pub target: f64,
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

    fn index(&self, head: usize, embed: usize) -> [usize; 3] {
        [head, self.hidden_index(head, embed), embed]
    }

    /// The best of all head and embedding indices; ties to the lowest head index, then the lowest embedding index.
    pub fn exhaustive(&self) -> ([usize; 3], f64) {
        let [heads, _, embeds] = self.limits;
        let all = (0..=heads).flat_map(|head| (0..=embeds).map(move |embed| self.index(head, embed)));
        least(all.map(|index| (index, self.objective(index)))).unwrap_or(([0; 3], f64::INFINITY))
    }

    /// The best individual of every generation of the official evolution (the last is the result). SAViT,
    /// collaborative pruning by an evolutionary algorithm.
    pub fn evolve(&self, draws: &Draws) -> Result<Vec<[usize; 3]>> {
        let (mut populations, children) = (draws.population.clone(), &draws.children);
        let whole = populations.iter().all(|population| population.len() == POPULATION)
            && children.iter().all(|child| child.parent < POPULATION)
            && children.len().is_multiple_of(2 * CHILDREN);
        let found = format!("{} children, or unknown parents", children.len());
        Error::ensure(whole, "random draws of the savit search", "whole generations", found)?;
        let mut best = Vec::new();
        for generation in children.chunks(2 * CHILDREN) {
            for (population, children) in populations.iter_mut().zip(generation.chunks(CHILDREN)) {
                for child in children {
                    let (gene, strength) = population[child.parent];
                    let strength = (strength + (child.uniform - 0.5)).max(0.0);
                    population.push(((gene + strength * child.normal).clamp(0.0, 1.0), strength));
                }
            }
            best.push(self.survive(&mut populations));
        }
        Ok(best)
    }

    /// Keeps the fittest, least fit first (a stable sort: ties stay in order); returns the best individual's indices.
    fn survive(&self, populations: &mut [Vec<(f64, f64)>; 2]) -> [usize; 3] {
        let at = |gene: f64, kind: usize| (self.limits[kind] as f64 * gene) as usize;
        let individuals = populations[0].iter().zip(&populations[1]);
        let indices: Vec<_> = individuals.map(|(head, embed)| self.index(at(head.0, 0), at(embed.0, 2))).collect();
        let mut order: Vec<_> = indices.iter().map(|&index| self.objective(index)).enumerate().collect();
        let best = least(order.iter().copied()).map_or([0; 3], |(individual, _)| indices[individual]);
        order.sort_by(|a, b| (-a.1).total_cmp(&-b.1));
        for population in populations {
            *population = order[CHILDREN..].iter().map(|&(individual, _)| population[individual]).collect();
        }
        best
    }
}

/// Settings of a run that repeats the released code.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Fraction of the surrogate to REMOVE: 0.5 base, 0.3 small, 0.235 tiny.
    pub target: f64,
    /// Which unit a score prunes.
    pub assignment: Assignment,
    /// The seed of the evolution; the exhaustive optimum of the same problem without.
    pub evolve: Option<u64>,
}

impl Options {
    /// The published settings at a target; units are protected in all.
    pub fn removing(target: f64) -> Self {
        Self { target, assignment: Assignment::Official, evolve: Some(0) }
    }
}

/// The whole official step from scores to a plan. Returns what the released code does not say, too: an indefinite
/// Hessian, a reduction that misses the target by more than the tolerance.
pub fn plan(calibration: &Calibration, options: &Options) -> Result<(Plan, Vec<String>)> {
    let (Calibration { model, scores, hessian, .. }, target) = (calibration, options.target);
    Error::ensure(target > 0.0 && target < 1.0, "fraction of the surrogate to remove", "between 0 and 1", target)?;
    let mut warnings = check_hessian(hessian, false)?;
    scores.check_like("savit scores", &every_unit(model))?;
    let surrogate = Surrogate::of(model, SAVIT_TOKENS)?;
    let candidates = Candidates::new(scores, true)?;
    let limits = candidates.limits();
    let problem = Problem { surrogate, hessian: *hessian, limits, target, tolerance: TOLERANCE };
    let index = match options.evolve {
        Some(seed) => problem.evolve(&Draws::random(GENERATIONS, uniforms(seed)))?.last().copied().unwrap_or_default(),
        None => problem.exhaustive().0,
    };
    let reached = surrogate.reduction(index);
    if (reached - target).abs() > TOLERANCE {
        warnings.push(format!("the surrogate falls by {reached:.4}, not by the target {target}"));
    }
    let masks = candidates.masks(candidates.thresholds(index.map(|k| k + 1))?, options.assignment);
    Ok((Plan::keeping("savit", model, kept(&masks))?, warnings))
}
