//! Parameters and multiply-accumulates of one image, layer by layer, and the countings of published tables.
//!
//! Symbols: `n` patches of side `P`, `N` tokens, width `D`; per block `h` heads of width `d` and `f` hidden units;
//! `K` classes. One multiply-accumulate counts 1. Dense and pruned models go through the same formulas. Counts are
//! exact integers that saturate at `u64::MAX`.

use super::architecture::{Architecture, Block, Reduce};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// One row of the cost table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCost {
    /// The layer, by the prefix of its keys in a checkpoint; `blocks.3.attn` is the two attention products.
    pub name: String,
    /// Trainable parameters.
    pub params: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
}

/// A published table's own way to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Published {
    /// DeiT and most tables since: [`Counting::Macs`] + 5 per element that enters a LayerNorm.
    Fvcore,
    /// SAViT's counter of the masked model: norms and classifier stay dense.
    SavitMasked,
    /// SAViT's counter of the deployed model: biases count too.
    SavitDeployed,
    /// SAViT's search: blocks only, always 197 tokens.
    SavitSurrogate,
}

/// How multiply-accumulates are counted; two countings never share a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counting {
    /// The truth: what the matrix products of [`layers`] multiply, nothing else.
    Macs,
    /// A published table's convention.
    Published(Published),
}

/// The token count that SAViT's official search assumes whatever the image size.
pub const SAVIT_TOKENS: usize = 197;

impl Counting {
    /// Every counting, in the order of tables.
    pub const ALL: [Counting; 5] = [
        Counting::Macs,
        Counting::Published(Published::Fvcore),
        Counting::Published(Published::SavitMasked),
        Counting::Published(Published::SavitDeployed),
        Counting::Published(Published::SavitSurrogate),
    ];

    /// Its name on the command line and in the zoo.
    pub fn name(self) -> &'static str {
        match self {
            Counting::Macs => "macs",
            Counting::Published(Published::Fvcore) => "fvcore",
            Counting::Published(Published::SavitMasked) => "savit-masked",
            Counting::Published(Published::SavitDeployed) => "savit-deployed",
            Counting::Published(Published::SavitSurrogate) => "savit-surrogate",
        }
    }

    /// The counting of that [`name`](Self::name); the error lists the known ones.
    pub fn find(name: &str) -> Result<Counting> {
        Self::ALL
            .into_iter()
            .find(|counting| counting.name() == name)
            .ok_or_else(|| Error::invalid("counting", format!("one of {}", Self::ALL.map(Self::name).join(", ")), name))
    }

    /// The count of one image through `model`. `dense` is the model before pruning, which only `savit-masked` reads.
    pub fn count(self, model: &Architecture, dense: &Architecture) -> u64 {
        match self {
            Counting::Macs => macs(model),
            Counting::Published(Published::Fvcore) => macs(model).saturating_add(layer_norms(model)),
            Counting::Published(Published::SavitMasked) => savit_masked(model, dense).total,
            Counting::Published(Published::SavitDeployed) => savit_deployed(model),
            Counting::Published(Published::SavitSurrogate) => savit_surrogate(model, SAVIT_TOKENS),
        }
    }
}

/// Parameters and multiply-accumulates of every layer, in the order of the forward pass.
///
/// Macs: patches `n·3P²·D`; per block qkv `N·D·3hd`, attention `2·h·d·N²`, projection `N·hd·D`, MLP `2·N·D·f`;
/// heads `D·K` on the class (and distillation) token only. Base models, counting (b).
pub fn layers(model: &Architecture) -> Vec<LayerCost> {
    let (dim, classes, patches) = (model.embed_dim, model.num_classes, model.num_patches());
    let pixels = product([3, model.patch_size, model.patch_size]) as usize;
    let mut table = vec![
        linear("patch_embed.proj", patches, pixels, dim),
        parameters("tokens", product([model.extra_tokens() + model.num_tokens(), dim])),
    ];
    for (index, (block, tokens)) in blocks(model).enumerate() {
        let name = |layer: &str| format!("blocks.{index}.{layer}");
        let inner = block.inner();
        table.extend([
            parameters(name("norm1"), product([2, dim])),
            linear(name("attn.qkv"), tokens, dim, 3 * inner),
            LayerCost { name: name("attn"), params: 0, macs: product([2, inner, tokens, tokens]) },
            linear(name("attn.proj"), tokens, inner, dim),
            parameters(name("norm2"), product([2, dim])),
            linear(name("mlp.fc1"), tokens, dim, block.hidden),
            linear(name("mlp.fc2"), tokens, block.hidden, dim),
        ]);
    }
    table.push(parameters("norm", product([2, dim])));
    let heads = ["head", "head_dist"].into_iter().take(model.extra_tokens());
    table.extend(heads.map(|name| linear(name, 1, dim, classes)));
    table
}

/// Trainable parameters.
pub fn params(model: &Architecture) -> u64 {
    total(layers(model).into_iter().map(|layer| layer.params))
}

/// [`Counting::Macs`] of one image.
pub fn macs(model: &Architecture) -> u64 {
    total(layers(model).into_iter().map(|layer| layer.macs))
}

/// SAViT's masked count with its two parts; both parts include the classifier, the total counts it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskedFlops {
    /// Attention and classifier.
    pub attn_only: u64,
    /// MLPs and classifier.
    pub ffn_only: u64,
    /// Everything.
    pub total: u64,
}

/// The masked-model counter: `n·D·3P² + Σ_l [2·D₀·N + 4·N·D·hd + 2·hd·N² + 2·N·D·f] + D₀·K` with `D₀` of `dense`.
///
/// The official formula multiplies dense counts by kept fractions in float32; this is its exact value. SAViT,
/// official code, the "FLOPs reduction" of the logs.
pub fn savit_masked(model: &Architecture, dense: &Architecture) -> MaskedFlops {
    let (dim, dense_dim) = (model.embed_dim, dense.embed_dim);
    let classifier = product([dense_dim, model.num_classes]);
    let patches = product([model.num_patches(), dim, 3, model.patch_size, model.patch_size]);
    let norms = total(blocks(model).map(|(_, tokens)| product([2, dense_dim, tokens])));
    let attention = total(blocks(model).map(|(block, tokens)| {
        total([product([4, tokens, dim, block.inner()]), product([2, block.inner(), tokens, tokens])])
    }));
    let mlp = total(blocks(model).map(|(block, tokens)| product([2, tokens, dim, block.hidden])));
    MaskedFlops {
        attn_only: total([attention, classifier]),
        ffn_only: total([mlp, classifier]),
        total: total([patches, norms, attention, mlp, classifier]),
    }
}

/// The deployed-model counter: [`Counting::Macs`] + the patch bias once per patch + every other bias once. SAViT,
/// official code (ptflops).
pub fn savit_deployed(model: &Architecture) -> u64 {
    let dim = model.embed_dim;
    let patch_bias = product([model.num_patches(), dim]);
    let biases = blocks(model).map(|(block, _)| (3 * block.inner() + dim + block.hidden + dim) as u64);
    let heads = product([model.extra_tokens(), model.num_classes]);
    total([macs(model), patch_bias, total(biases), heads])
}

/// The search's surrogate of a pruned model, `2·N·Σ_l [N·hd + 2·hd·D + f·D]` with `N = tokens`: attention, qkv,
/// projection and MLP only. SAViT, collaborative optimisation, official code.
pub fn savit_surrogate(model: &Architecture, tokens: usize) -> u64 {
    total(model.blocks.iter().map(|block| {
        let width = block.inner() + block.inner();
        let [products, linears, mlp] =
            [[tokens, block.inner()], [width, model.embed_dim], [block.hidden, model.embed_dim]];
        total([products, linears, mlp].map(|[a, b]| product([2, tokens, a, b])))
    }))
}

/// 5 per element of the `2L + 1` LayerNorms.
fn layer_norms(model: &Architecture) -> u64 {
    let inside = total(blocks(model).map(|(_, tokens)| product([10, tokens, model.embed_dim])));
    let last = blocks(model).last().map_or(model.num_tokens(), |(block, tokens)| after(block, tokens));
    total([inside, product([5, last, model.embed_dim])])
}

/// The blocks with the tokens that enter each.
fn blocks(model: &Architecture) -> impl Iterator<Item = (&Block, usize)> {
    model.blocks.iter().scan(model.num_tokens(), |tokens, block| {
        let entering = *tokens;
        *tokens = after(block, entering);
        Some((block, entering))
    })
}

/// Tokens after a block that `tokens` entered.
fn after(block: &Block, tokens: usize) -> usize {
    match block.reduce {
        Reduce::None => tokens,
    }
}

fn linear(name: impl Into<String>, rows: usize, inputs: usize, outputs: usize) -> LayerCost {
    let params = total([product([inputs, outputs]), outputs as u64]);
    LayerCost { name: name.into(), params, macs: product([rows, inputs, outputs]) }
}

fn parameters(name: impl Into<String>, params: u64) -> LayerCost {
    LayerCost { name: name.into(), params, macs: 0 }
}

fn product<const N: usize>(factors: [usize; N]) -> u64 {
    factors.into_iter().fold(1, |product, factor| product.saturating_mul(factor as u64))
}

fn total(terms: impl IntoIterator<Item = u64>) -> u64 {
    terms.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (model, parameters, macs, fvcore or its rounding, half of the last digit given): base models, counting (a), (b).
    #[test]
    fn deit_counts_equal_the_published_integers() {
        let [ti, s, b] =
            [(192, 3), (384, 6), (768, 12)].map(|(dim, heads)| Architecture::deit(224, 16, dim, 12, heads));
        let rounded = [
            (ti.clone().with_distillation(), 5_910_800, 1_266_000_000, 500_000),
            (s.clone().with_distillation(), 22_436_432, 4_634_000_000, 500_000),
            (b.clone().with_distillation(), 87_338_192, 17_676_000_000, 500_000),
            (Architecture::deit(384, 16, 768, 12, 12), 86_859_496, 55_540_000_000, 5_000_000),
            (ti.clone(), 5_717_416, 1_258_411_200, 0),
            (s.clone(), 22_050_664, 4_608_338_304, 0),
            (b.clone(), 86_567_656, 17_582_740_224, 0),
        ];
        for (model, expected_params, fvcore, margin) in rounded {
            assert_eq!(params(&model), expected_params);
            let count = Counting::Published(Published::Fvcore).count(&model, &model);
            assert!(count.abs_diff(fvcore) <= margin, "{count} is not {fvcore}");
        }
        assert_eq!(macs(&ti), 1_253_683_200);
        assert_eq!(macs(&s), 57_802_752 + 4_183_415_808 + 357_663_744);
        assert_eq!(macs(&b), 115_605_504 + 16_732_895_232 + 715_327_488);
        assert_eq!(savit_surrogate(&b, SAVIT_TOKENS), 17_447_454_720);
    }

    #[test]
    fn huge_widths_saturate_instead_of_overflowing() {
        let model = Architecture::deit(1 << 20, 1, 1 << 20, 2, 1 << 16);
        assert_eq!(macs(&model), u64::MAX);
        assert_eq!(savit_masked(&model, &model).total, u64::MAX);
    }

    #[test]
    fn an_unknown_counting_lists_the_known_ones() {
        let message = Counting::find("flops").unwrap_err().to_string();
        assert!(message.contains("fvcore") && message.contains("savit-surrogate"), "{message}");
        assert!(Counting::ALL.into_iter().all(|counting| Counting::find(counting.name()).unwrap() == counting));
    }
}
