//! Published models by name, with the figures that their papers, model zoos and logs give (`zoo.toml`).

use super::{Architecture, Mixer, cost::Counting};
use crate::{Error, Result};
use serde::Deserialize;

/// A published count of multiply-accumulates.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// The convention.
    pub counting: Counting,
    /// Multiply-accumulates of one image.
    pub value: u64,
    /// The published figure's last digit: the true count is within half of it; 0 when all digits are given.
    #[serde(default)]
    pub rounded_to: u64,
}

/// What was published about a model; nothing here is computed by this crate.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Figures {
    /// ImageNet top-1 accuracy in percent.
    pub top1: Option<f64>,
    /// ImageNet top-5 accuracy in percent.
    pub top5: Option<f64>,
    /// Trainable parameters.
    pub params: Option<u64>,
    /// Multiply-accumulates, each under a named counting.
    pub count: Vec<Count>,
    /// Where the figures come from.
    pub source: String,
}

/// A published model.
#[derive(Debug, Clone, PartialEq)]
pub struct ZooEntry {
    /// Its name, the official one where there is one.
    pub name: String,
    /// File name of the official checkpoint.
    pub file: Option<String>,
    /// Name of the model that it was pruned from.
    pub dense: Option<String>,
    /// The model.
    pub architecture: Architecture,
    /// Published figures.
    pub published: Figures,
}

/// Every published model, in the order of `zoo.toml`.
pub fn zoo() -> Result<Vec<ZooEntry>> {
    let file: File =
        toml::from_str(include_str!("zoo.toml")).map_err(|error| Error::invalid("zoo.toml", "a model list", error))?;
    file.model.into_iter().map(Row::entry).collect()
}

/// The model called `name`; the error lists the known names.
pub fn find(name: &str) -> Result<ZooEntry> {
    let entries = zoo()?;
    let known = entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = entries.into_iter().find(|entry| entry.name == name);
    found.ok_or_else(|| Error::invalid("model", format!("one of {known}"), name))
}

#[derive(Deserialize)]
struct File {
    model: Vec<Row>,
}

/// One number for all blocks, or one for each.
#[derive(Deserialize)]
#[serde(untagged)]
enum PerBlock {
    All(usize),
    Each(Vec<usize>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    file: Option<String>,
    dense: Option<String>,
    img_size: Option<usize>,
    embed_dim: usize,
    heads: PerBlock,
    hidden: Option<Vec<usize>>,
    #[serde(default)]
    distilled: bool,
    #[serde(default)]
    published: Figures,
}

impl Row {
    /// DeiT's constants (224 pixels, patch 16, 12 blocks, head width 64, ratio 4) fill what the row leaves out.
    fn entry(self) -> Result<ZooEntry> {
        let Self { name, file, dense, published, .. } = self;
        let heads = match self.heads {
            PerBlock::All(heads) => vec![heads; 12],
            PerBlock::Each(heads) => heads,
        };
        let mut architecture = Architecture::deit(self.img_size.unwrap_or(224), 16, self.embed_dim, heads.len(), 1);
        architecture.distilled = self.distilled;
        let hidden = self.hidden.unwrap_or_else(|| vec![4 * self.embed_dim; heads.len()]);
        let what = format_args!("{name}.hidden");
        Error::ensure(hidden.len() == heads.len(), what, format_args!("{} blocks", heads.len()), hidden.len())?;
        for (block, (heads, hidden)) in architecture.blocks.iter_mut().zip(heads.into_iter().zip(hidden)) {
            (block.mixer, block.hidden) = (Mixer::Attention { heads, head_dim: 64 }, hidden);
        }
        architecture.validate()?;
        Ok(ZooEntry { name, file, dense, architecture, published })
    }
}
