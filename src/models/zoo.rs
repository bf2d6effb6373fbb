//! Published models by name, with the figures that their papers, model zoos and logs give (`zoo.toml`).

use super::{Architecture, Block, Mixer, Reduce, cost::Counting};
use crate::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A published count of the multiply-accumulates of one image, by its convention; `rounded_to` is the figure's last
/// digit: the true count is within half of it (0 when all digits are given).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Count {
    pub counting: Counting,
    pub value: u64,
    #[serde(default)]
    pub rounded_to: u64,
}

/// What was published about a model; nothing here is computed by this crate. ImageNet accuracies in percent, trainable
/// parameters, multiply-accumulates, and where the figures come from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Figures {
    pub top1: Option<f64>,
    pub top5: Option<f64>,
    pub params: Option<u64>,
    pub count: Vec<Count>,
    pub source: String,
}

/// A published model: its name (the official one where there is one), the name of the official checkpoint's `file`, and
/// of the `dense` model that it was pruned from.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct ZooEntry {
    pub name: String,
    pub file: Option<String>,
    pub dense: Option<String>,
    pub architecture: Architecture,
    pub published: Figures,
}

/// Every published model, in the order of `zoo.toml`.
pub fn zoo() -> Result<Vec<ZooEntry>> {
    let lists = toml::from_str::<BTreeMap<String, Vec<Row>>>(include_str!("zoo.toml"));
    let lists = lists.map_err(|error| Error::invalid("zoo.toml", "a model list", error))?;
    lists.into_values().flatten().map(Row::entry).collect()
}

/// The model called `name`; the error lists the known names.
pub fn find(name: &str) -> Result<ZooEntry> {
    let entries = zoo()?;
    let known = entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = entries.into_iter().find(|entry| entry.name == name);
    found.ok_or_else(|| Error::invalid("model", format!("one of {known}"), name))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    file: Option<String>,
    dense: Option<String>,
    img_size: Option<usize>,
    embed_dim: usize,
    heads: Vec<usize>,
    depths: Option<Vec<usize>>,
    hidden: Option<Vec<usize>>,
    #[serde(default)]
    distilled: bool,
    #[serde(default)]
    published: Figures,
}

impl Row {
    /// A row with depths is a Swin: patch 4, windows of 7 at 224 pixels and of 12 at 384, heads by stage. Of other rows
    /// DeiT's constants (224 pixels, patch 16, 12 blocks, head width 64, ratio 4) fill what the row leaves out; one number
    /// of heads is that of all blocks.
    fn entry(self) -> Result<ZooEntry> {
        let Self { name, file, dense, published, .. } = self;
        if let Some(depths) = self.depths {
            let img_size = self.img_size.unwrap_or(224);
            let architecture = Architecture::swin(img_size, 4, self.embed_dim, &depths, &self.heads, img_size / 32);
            architecture.validate()?;
            return Ok(ZooEntry { name, file, dense, architecture, published });
        }
        let heads = if let [heads] = self.heads[..] { vec![heads; 12] } else { self.heads };
        let hidden = self.hidden.unwrap_or_else(|| vec![4 * self.embed_dim; heads.len()]);
        let what = format_args!("{name}.hidden");
        Error::ensure(hidden.len() == heads.len(), what, format_args!("{} blocks", heads.len()), hidden.len())?;
        let block =
            |(heads, hidden)| Block { mixer: Mixer::Attention { heads, head_dim: 64 }, hidden, reduce: Reduce::None };
        let blocks = heads.into_iter().zip(hidden).map(block).collect();
        let plain = Architecture::deit(self.img_size.unwrap_or(224), 16, self.embed_dim, 0, 1);
        let architecture = Architecture { distilled: self.distilled, blocks, ..plain };
        architecture.validate()?;
        Ok(ZooEntry { name, file, dense, architecture, published })
    }
}
