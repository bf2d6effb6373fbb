//! Published models by name, with the figures that their papers, model zoos and logs give (`zoo.toml`).

use super::architecture::{Architecture, Block, Mixer, Reduce};
use super::cost::Counting;
use crate::{Error, Result};
use serde::Deserialize;

/// A published count of multiply-accumulates.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// [`Counting::name`] of the convention.
    pub counting: String,
    /// Multiply-accumulates of one image.
    pub value: u64,
    /// The published figure's last digit: the true count is within half of it.
    #[serde(default = "one")]
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
    let mut entries = zoo()?;
    let Some(index) = entries.iter().position(|entry| entry.name == name) else {
        let known: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        return Err(Error::invalid("model", format!("one of {}", known.join(", ")), name));
    };
    Ok(entries.swap_remove(index))
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
    #[serde(default = "image")]
    img_size: usize,
    embed_dim: usize,
    heads: PerBlock,
    hidden: Option<Vec<usize>>,
    #[serde(default)]
    distilled: bool,
    #[serde(default)]
    published: Figures,
}

fn one() -> u64 {
    1
}

fn image() -> usize {
    224
}

impl Row {
    /// DeiT's constants (patch 16, 12 blocks, head width 64, ratio 4) fill what the row leaves out.
    fn entry(self) -> Result<ZooEntry> {
        let heads = match self.heads {
            PerBlock::All(heads) => vec![heads; 12],
            PerBlock::Each(heads) => heads,
        };
        let hidden = self.hidden.unwrap_or_else(|| vec![4 * self.embed_dim; heads.len()]);
        if hidden.len() != heads.len() {
            return Err(Error::invalid(
                format!("{}.hidden", self.name),
                format!("{} blocks", heads.len()),
                hidden.len(),
            ));
        }
        let block =
            |(heads, hidden)| Block { mixer: Mixer::Attention { heads, head_dim: 64 }, hidden, reduce: Reduce::None };
        let mut architecture = Architecture::deit(self.img_size, 16, self.embed_dim, 0, 1);
        architecture.distilled = self.distilled;
        architecture.blocks = heads.into_iter().zip(hidden).map(block).collect();
        architecture.validate()?;
        for count in &self.published.count {
            Counting::find(&count.counting)?;
        }
        Ok(ZooEntry { name: self.name, file: self.file, dense: self.dense, architecture, published: self.published })
    }
}

#[cfg(test)]
mod tests {
    use super::super::cost;
    use super::*;

    #[test]
    fn every_published_figure_is_recomputed() {
        for entry in zoo().unwrap() {
            let dense =
                entry.dense.as_deref().map_or(entry.architecture.clone(), |name| find(name).unwrap().architecture);
            if let Some(params) = entry.published.params {
                assert_eq!(cost::params(&entry.architecture), params, "{}", entry.name);
            }
            for count in &entry.published.count {
                let computed = Counting::find(&count.counting).unwrap().count(&entry.architecture, &dense);
                let margin = count.rounded_to / 2;
                assert!(computed.abs_diff(count.value) <= margin, "{} {count:?}: {computed}", entry.name);
            }
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = find("deit_huge").unwrap_err().to_string();
        assert!(message.contains("deit_small_patch16_224") && message.contains("savit_deit_base"), "{message}");
    }
}
