//! A pruning result as data: which heads, hidden units and embedding channels of a source model are kept. Index sets
//! (SAViT, deployable model): with `E` the kept channels, `Hd` and `Fd` the kept heads and hidden units of a block,
//! `A = {i·d + k : i ∈ Hd, 0 ≤ k < d}` and `A3 = A, A + h·d, A + 2·h·d`: qkv becomes `[A3][:, E]`, proj `[E][:, A]`,
//! fc1 `[Fd][:, E]`, fc2 `[E][:, Fd]`, norms, tokens and patch rows `[E]`, heads `[:, E]`.

use crate::{Error, Result, io, models::Architecture, models::Block, models::Family, models::Mixer};
use serde::{Deserialize, Serialize};
use std::{convert::Infallible, slice::from_mut, slice::from_ref};

/// The three kinds of prunable unit, in the order of SAViT's Hessian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Attention heads, a vector per block.
    Heads,
    /// Hidden units of the MLPs, a vector per block.
    Hidden,
    /// Channels of the residual stream, one vector for the whole model.
    Embed,
}

impl Kind {
    /// All, in order.
    pub const ALL: [Kind; 3] = [Kind::Heads, Kind::Hidden, Kind::Embed];

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        ["heads", "hidden", "embed"][self as usize]
    }
}

/// One list per gate vector of a model (heads and hidden units by block): a value for every unit, or indices of some.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names of Kind")]
pub struct Units<T> {
    pub heads: Vec<Vec<T>>,
    pub hidden: Vec<Vec<T>>,
    pub embed: Vec<T>,
}

impl<T> Units<T> {
    /// The vectors of one kind: one per block, or the single embedding vector.
    pub fn of(&self, kind: Kind) -> &[Vec<T>] {
        [&self.heads[..], &self.hidden, from_ref(&self.embed)][kind as usize]
    }

    /// The same, to change.
    pub fn of_mut(&mut self, kind: Kind) -> &mut [Vec<T>] {
        let [heads, hidden, embed] = [&mut self.heads[..], &mut self.hidden, from_mut(&mut self.embed)];
        [heads, hidden, embed][kind as usize]
    }

    /// All vectors with their kind and block (0 for the embedding).
    pub fn vectors(&self) -> impl Iterator<Item = (Kind, usize, &Vec<T>)> {
        let of = |kind| self.of(kind).iter().enumerate().map(move |(block, vector)| (kind, block, vector));
        Kind::ALL.into_iter().flat_map(of)
    }

    /// The first unit of which `test` holds, such as `hidden[3][17]`, and its value.
    pub fn find(&self, test: impl Fn(&T) -> bool) -> Option<(String, &T)> {
        self.vectors().find_map(|(kind, block, vector)| {
            let unit = vector.iter().position(&test)?;
            Some((format!("{}[{block}][{unit}]", kind.name()), &vector[unit]))
        })
    }

    /// Units of every kind over all vectors: `[heads, hidden, embed]`.
    pub fn totals(&self) -> [usize; 3] {
        Kind::ALL.map(|kind| self.of(kind).iter().map(Vec::len).sum())
    }

    /// `f(kind, block, vector)` of every vector, or the first error.
    pub fn try_map<U, E>(&self, mut f: impl FnMut(Kind, usize, &[T]) -> Result<Vec<U>, E>) -> Result<Units<U>, E> {
        let mut each =
            |kind| self.of(kind).iter().enumerate().map(|(block, v)| f(kind, block, v)).collect::<Result<_, E>>();
        let (heads, hidden) = (each(Kind::Heads)?, each(Kind::Hidden)?);
        Ok(Units { heads, hidden, embed: f(Kind::Embed, 0, &self.embed)? })
    }

    /// `f(kind, vector)` of every vector.
    pub fn map<U>(&self, mut f: impl FnMut(Kind, &[T]) -> Vec<U>) -> Units<U> {
        let Ok(units) = self.try_map(|kind, _, vector| Ok::<_, Infallible>(f(kind, vector)));
        units
    }

    /// `f` of every unit's two values. Refuses vectors of other lengths.
    pub fn zip<U, V>(&self, other: &Units<U>, f: impl Fn(&T, &U) -> V) -> Result<Units<V>> {
        other.check_like("savit scores", self)?;
        self.try_map(|kind, block, vector| {
            Ok(vector.iter().zip(&other.of(kind)[block]).map(|(a, b)| f(a, b)).collect())
        })
    }

    /// Refuses vectors that are not as long as those of `model`.
    pub fn check_like<U>(&self, what: &'static str, model: &Units<U>) -> Result<()> {
        let (expected, found) = (model.map(|_, v| vec![v.len()]), self.map(|_, v| vec![v.len()]));
        if expected == found { Ok(()) } else { Err(Error::shape(what, format!("{expected:?}"), found)) }
    }
}

/// The indices of every unit of `model`.
pub fn every_unit(model: &Architecture) -> Units<usize> {
    let each = |units: fn(&Block) -> usize| model.blocks.iter().map(|block| (0..units(block)).collect()).collect();
    Units { heads: each(Block::heads), hidden: each(|block| block.hidden), embed: (0..model.embed_dim).collect() }
}

/// The indices of the units whose mask is true.
pub fn kept(masks: &Units<bool>) -> Units<usize> {
    masks.map(|_, mask| (0..mask.len()).filter(|&unit| mask[unit]).collect())
}

/// `A`: the columns of a block's projection that belong to the kept `heads` of width `head_dim`.
pub fn head_columns(heads: &[usize], head_dim: usize) -> Vec<usize> {
    heads.iter().flat_map(|head| head * head_dim..(head + 1) * head_dim).collect()
}

/// `A3`: the rows of a block's qkv layer that belong to the kept `heads` of the source's `total_heads`; q, k, then v.
pub fn qkv_rows(heads: &[usize], total_heads: usize, head_dim: usize) -> Vec<usize> {
    let columns = head_columns(heads, head_dim);
    let stride = total_heads * head_dim;
    (0..3).flat_map(|which| columns.iter().map(move |column| which * stride + column)).collect()
}

/// What stays of one kind; sorted indices count the units that the steps before left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "keep", deny_unknown_fields)]
pub enum Step {
    /// Heads of each block; an empty list leaves the projection's bias.
    Heads(Vec<Vec<usize>>),
    /// Hidden units of each block; an empty list leaves the second layer's bias.
    Hidden(Vec<Vec<usize>>),
    /// Embedding channels, at least one.
    Embed(Vec<usize>),
}

/// The result of the pruning method so named: what goes, in order, of the model that it was made for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Plan {
    pub method: String,
    pub source: Architecture,
    pub steps: Vec<Step>,
}

impl Plan {
    /// The plan that keeps `kept` of `source`; kinds that lose nothing get no step.
    pub fn keeping(method: &str, source: &Architecture, kept: Units<usize>) -> Result<Plan> {
        let all = every_unit(source);
        let steps = [
            (kept.heads != all.heads).then_some(Step::Heads(kept.heads)),
            (kept.hidden != all.hidden).then_some(Step::Hidden(kept.hidden)),
            (kept.embed != all.embed).then_some(Step::Embed(kept.embed)),
        ];
        let steps = steps.into_iter().flatten().collect();
        let plan = Plan { method: method.into(), source: source.clone(), steps };
        plan.kept().map(|_| plan)
    }

    /// The kept units in the source's own indices, all steps together. Every list is checked: one per block, indices
    /// ascending and below the number of units, at least one embedding channel.
    pub fn kept(&self) -> Result<Units<usize>> {
        self.source.validate()?;
        self.source.ensure_family("plan", Family::Deit)?;
        let mut kept = every_unit(&self.source);
        for (index, step) in self.steps.iter().enumerate() {
            let (kind, keep) = match step {
                Step::Heads(keep) => (Kind::Heads, keep.as_slice()),
                Step::Hidden(keep) => (Kind::Hidden, keep.as_slice()),
                Step::Embed(keep) => (Kind::Embed, from_ref(keep)),
            };
            let what = |vector: usize| format!("plan step {index}, {}[{vector}]", kind.name());
            let before = kept.of_mut(kind);
            Error::ensure(keep.len() == before.len(), what(0), format!("{} index lists", before.len()), keep.len())?;
            for (vector, (units, indices)) in before.iter_mut().zip(keep).enumerate() {
                *units = pick(units, indices, || what(vector))?;
            }
            Error::ensure(!kept.embed.is_empty(), what(0), "at least 1 embedding channel", 0)?;
        }
        Ok(kept)
    }

    /// The smaller model. `model` may differ from the source in classes, image size or distillation, not in blocks or
    /// embedding width. Takes effect on weights by slicing [`kept`](Self::kept).
    pub fn apply_to(&self, model: &Architecture) -> Result<Architecture> {
        let widths = |m: &Architecture| format!("embed_dim {}, blocks {:?}", m.embed_dim, m.blocks);
        let [expected, found] = [&self.source, model].map(widths);
        Error::ensure(expected == found, "model to prune", expected, found)?;
        let kept = self.kept()?;
        let mut small = Architecture { embed_dim: kept.embed.len(), ..model.clone() };
        for ((block, heads), hidden) in small.blocks.iter_mut().zip(&kept.heads).zip(&kept.hidden) {
            block.mixer = Mixer::Attention { heads: heads.len(), head_dim: block.head_dim() };
            block.hidden = hidden.len();
        }
        Ok(small)
    }

    /// The plan as readable JSON.
    pub fn to_json(&self) -> Result<String> {
        io::to_json(self, true).map_err(|error| Error::invalid("plan", "finite numbers", error))
    }

    /// A checked plan from [`to_json`](Self::to_json).
    pub fn from_json(text: &str) -> Result<Plan> {
        let plan: Plan = io::from_json(text).map_err(|error| Error::invalid("plan", "a plan in JSON", error))?;
        plan.kept().map(|_| plan)
    }
}

/// `units` at the ascending `indices`.
fn pick(units: &[usize], indices: &[usize], what: impl Fn() -> String) -> Result<Vec<usize>> {
    if let Some(pair) = indices.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(Error::invalid(what(), "ascending indices", format!("{} before {}", pair[0], pair[1])));
    }
    let below = || format!("indices below {}", units.len());
    let unit = |&index: &usize| units.get(index).copied().ok_or_else(|| Error::invalid(what(), below(), index));
    indices.iter().map(unit).collect()
}
