//! Published models by name, with the figures that their papers, model zoos and logs give (`zoo.toml`); those whose pruned
//! structure is not built yet have figures alone.

use super::{Architecture, Block, Mixer, Reduce, Stem, cost, cost::Counting, regnet::WidthRule};
use crate::{Error, Result};
use serde::Deserialize;

/// A published count of the multiply-accumulates of one image, by its convention; `rounded_to` is the figure's last
/// digit: the true count is within half of it (0 when all digits are given).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Count<C = Counting> {
    pub counting: C,
    pub value: u64,
    #[serde(default)]
    pub rounded_to: u64,
}

/// What was published about a model; nothing here is computed by this crate. ImageNet accuracies in percent, trainable
/// parameters, multiply-accumulates, and where the figures come from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Figures<C = Counting> {
    pub top1: Option<f64>,
    pub top5: Option<f64>,
    pub params: Option<u64>,
    pub count: Vec<Count<C>>,
    pub source: String,
}

/// A published model: its name (the official one where there is one), the name of the official checkpoint's `file` and the
/// address (`url`) of it, the name of the `dense` model that it was pruned from, and the share of the resized image's shorter
/// side that the crop of its evaluation takes (`crop_pct`), where that is not the usual one.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct ZooEntry {
    pub name: String,
    pub file: Option<String>,
    pub url: Option<String>,
    pub dense: Option<String>,
    pub crop_pct: Option<f64>,
    pub architecture: Architecture,
    pub published: Figures,
}

/// A published model that its `method` made of the `dense` one, with a structure that is not built yet. Its figures may be counted
/// by conventions that are known by name alone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Waiting {
    pub name: String,
    pub dense: String,
    pub method: String,
    pub published: Figures<String>,
}

/// A published integer beside the one computed here.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Compared {
    /// `params`, or the name of the counting.
    pub figure: &'static str,
    pub published: u64,
    pub here: u64,
    /// Whether they differ by more than the published rounding.
    pub differs: bool,
}

impl Count {
    /// Whether the published figure may stand for `count`.
    pub fn allows(&self, count: u64) -> bool {
        count.abs_diff(self.value) <= self.rounded_to / 2
    }
}

impl ZooEntry {
    /// The name that the checkpoint has on the disk.
    pub fn file_name(&self) -> String {
        self.file.clone().unwrap_or_else(|| format!("{}.pth", self.name))
    }

    /// The digits that the SHA-256 of the official file begins with: they end its name, as in `-a1311bcf.pth`.
    pub fn sha256(&self) -> Option<&str> {
        let (_, digits) = self.file.as_deref()?.strip_suffix(".pth")?.rsplit_once('-')?;
        (digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(digits)
    }

    /// The model before pruning; the model itself when nothing was pruned.
    pub fn unpruned(&self) -> Result<Architecture> {
        self.dense.as_deref().map_or_else(|| Ok(self.architecture.clone()), |name| Ok(find(name)?.architecture))
    }

    /// Every published integer beside ours: parameters, then the counts.
    pub fn compared(&self) -> Result<Vec<Compared>> {
        let (published, dense) = (&self.published, self.unpruned()?);
        let params = published.params.map(|published| {
            let here = cost::params(&self.architecture);
            Compared { figure: "params", published, here, differs: here != published }
        });
        let counts = published.count.iter().map(|count| {
            let here = count.counting.count(&self.architecture, &dense);
            let (figure, differs) = (count.counting.name(), !count.allows(here));
            Compared { figure, published: count.value, here, differs }
        });
        Ok(params.into_iter().chain(counts).collect())
    }
}

/// Every published model that can be built, in the order of `zoo.toml`.
pub fn zoo() -> Result<Vec<ZooEntry>> {
    entries(lists()?.model)
}

/// The other published models, in the order of `zoo.toml`.
pub fn waiting() -> Result<Vec<Waiting>> {
    Ok(lists()?.waiting)
}

/// The model called `name`; the error lists the known names, or says what the model waits for.
pub fn find(name: &str) -> Result<ZooEntry> {
    let Lists { model, waiting } = lists()?;
    if let Some(Waiting { method, .. }) = waiting.iter().find(|entry| entry.name == name) {
        let found = format!("{name}: its pruned structure is not built yet, it waits for the method {method}");
        return Err(Error::invalid("model", "one that can be built", found));
    }
    let entries = entries(model)?;
    let known = entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = entries.into_iter().find(|entry| entry.name == name);
    found.ok_or_else(|| Error::invalid("model", format!("one of {known}"), name))
}

/// The published model that `arch` is, for images of any size and any number of classes, its BatchNorm folded or not.
pub fn published(arch: &Architecture) -> Result<Option<ZooEntry>> {
    let same = |entry: &ZooEntry| {
        let Architecture { img_size, num_classes, folded, .. } = entry.architecture;
        let arch = Architecture { folded, ..arch.clone() };
        arch.with_img_size(img_size).with_classes(num_classes) == entry.architecture
    };
    Ok(zoo()?.into_iter().find(same))
}

fn lists() -> Result<Lists> {
    toml::from_str(include_str!("zoo.toml")).map_err(|error| Error::invalid("zoo.toml", "lists of models", error))
}

fn entries(rows: Vec<Row>) -> Result<Vec<ZooEntry>> {
    rows.into_iter().map(Row::entry).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    model: Vec<Row>,
    waiting: Vec<Waiting>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    file: Option<String>,
    url: Option<String>,
    dense: Option<String>,
    crop_pct: Option<f64>,
    img_size: Option<usize>,
    #[serde(default)]
    embed_dim: usize,
    #[serde(default)]
    heads: Vec<usize>,
    depths: Option<Vec<usize>>,
    depth: Option<usize>,
    stem: Option<Stem>,
    residual_divisor: Option<f64>,
    regnet: Option<WidthRule>,
    hidden: Option<Vec<usize>>,
    #[serde(default)]
    distilled: bool,
    #[serde(default)]
    published: Figures,
}

impl Row {
    fn entry(self) -> Result<ZooEntry> {
        let architecture = self.architecture()?;
        architecture.validate()?;
        let Self { name, file, url, dense, crop_pct, published, .. } = self;
        Ok(ZooEntry { name, file, url, dense, crop_pct, architecture, published })
    }

    /// RegNetY by its rule, PiT by its stem (patches twice as wide as they are apart), Swin by its depths (patch 4, windows of 7 at
    /// 224 pixels and of 12 at 384), LV-ViT by its stem, else DeiT.
    fn architecture(&self) -> Result<Architecture> {
        let img_size = self.img_size.unwrap_or(224);
        if let Some(rule) = self.regnet {
            return Ok(rule.architecture(img_size));
        }
        if let (Some(Stem::Overlap { stride }), Some(depths)) = (&self.stem, &self.depths) {
            let head_dim = self.heads.first().and_then(|&heads| self.embed_dim.checked_div(heads)).unwrap_or(0);
            return Ok(Architecture::pit(img_size, [2 * stride, *stride], head_dim, depths, &self.heads));
        }
        if let Some(depths) = &self.depths {
            return Ok(Architecture::swin(img_size, 4, self.embed_dim, depths, &self.heads, img_size / 32));
        }
        let Some(stem) = self.stem.clone() else { return self.deit(img_size) };
        let (heads, divisor) = (self.heads.first().copied().unwrap_or(0), self.residual_divisor.unwrap_or(1.0));
        let dense_head = matches!(stem, Stem::TokenLabel { .. });
        let plain = Architecture::lvvit(img_size, stem, self.embed_dim, self.depth.unwrap_or(0), heads, divisor);
        Ok(Architecture { dense_head, ..plain })
    }

    /// DeiT's constants (224 pixels, patch 16, 12 blocks, head width 64, ratio 4) fill what the row leaves out; one number
    /// of heads is that of all blocks.
    fn deit(&self, img_size: usize) -> Result<Architecture> {
        let Self { name, .. } = self;
        let heads = if let [heads] = self.heads[..] { vec![heads; 12] } else { self.heads.clone() };
        let hidden = self.hidden.clone().unwrap_or_else(|| vec![4 * self.embed_dim; heads.len()]);
        let what = format_args!("{name}.hidden");
        Error::ensure(hidden.len() == heads.len(), what, format_args!("{} blocks", heads.len()), hidden.len())?;
        let block =
            |(heads, hidden)| Block { mixer: Mixer::Attention { heads, head_dim: 64 }, hidden, reduce: Reduce::None };
        let blocks = heads.into_iter().zip(hidden).map(block).collect();
        let plain = Architecture::deit(img_size, 16, self.embed_dim, 0, 1);
        Ok(Architecture { distilled: self.distilled, blocks, ..plain })
    }
}
