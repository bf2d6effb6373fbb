//! Parameters and multiply-accumulates of one image, layer by layer, and the countings of published tables. Symbols:
//! `n` patches of side `P`, `N` tokens, width `D`; per block `h` heads of width `d` and `f` hidden units; `K` classes.
//! One multiply-accumulate counts 1. Dense and pruned models go through the same formulas. Counts are exact integers
//! that saturate at `u64::MAX`.

use super::layout::{Slot, Work};
use super::{Architecture, Block, Model};
use serde::{Deserialize, Serialize};

/// Trainable parameters, and multiply-accumulates of one image, of the tensor with this key in a checkpoint;
/// `blocks.3.attn` is the two attention products. Beside them what fvcore counts for a norm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct LayerCost {
    pub name: String,
    pub params: u64,
    pub macs: u64,
    pub norm: u64,
}

/// How multiply-accumulates are counted; two countings never share a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Counting {
    /// The truth: what the matrix products of [`layers`] multiply, nothing else.
    #[default]
    Macs,
    /// DeiT and most tables since: [`Counting::Macs`] + 5 per element that enters a LayerNorm, 2 a BatchNorm.
    Fvcore,
    /// Swin's repository: [`Counting::Macs`] + 1 per element that enters a LayerNorm, the last one as if on `n / 2^stages` tokens.
    Swin,
    /// SAViT's counter of the masked model ([`savit_masked`]): norms and classifier stay dense.
    SavitMasked,
    /// SAViT's counter of the deployed model ([`savit_deployed`]): biases count too.
    SavitDeployed,
    /// SAViT's search ([`savit_surrogate`]): blocks only, always 197 tokens.
    SavitSurrogate,
}

/// The token count that SAViT's official search assumes whatever the image size.
pub const SAVIT_TOKENS: usize = 197;

impl Counting {
    /// Every counting, in the order of tables.
    pub const ALL: [Self; 6] =
        [Self::Macs, Self::Fvcore, Self::Swin, Self::SavitMasked, Self::SavitDeployed, Self::SavitSurrogate];

    /// Its name on the command line and in the zoo.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The count of one image through `model`. `dense` is the model before pruning, which only `savit-masked` reads.
    pub fn count(self, model: &Architecture, dense: &Architecture) -> u64 {
        match self {
            Self::Macs => macs(model),
            Self::Fvcore => total(layers(model).into_iter().flat_map(|layer| [layer.macs, layer.norm])),
            Self::Swin => swin_repository(model),
            Self::SavitMasked => savit_masked(model, dense).total,
            Self::SavitDeployed => savit_deployed(model),
            Self::SavitSurrogate => savit_surrogate(model, SAVIT_TOKENS),
        }
    }
}

/// The cost of every tensor of a checkpoint, in its order, then of the products of activations. Macs: the elements of a
/// weight for every row that enters its layer. Base models, counting (b).
pub fn layers(model: &Architecture) -> Vec<LayerCost> {
    let layout = Model::layout(model);
    let tensors = layout.slots.into_iter().map(|Slot { name, shape, work, .. }| {
        let elements = product(shape);
        let (macs, norm) = match work {
            Work::Rows(rows) => (elements.saturating_mul(rows as u64), 0),
            Work::Norm { rows, each } => (0, elements.saturating_mul(product([rows, each]))),
            Work::None | Work::Buffer => (0, 0),
        };
        LayerCost { name, params: if work == Work::Buffer { 0 } else { elements }, macs, norm }
    });
    let products = layout.products.into_iter();
    let products = products.map(|(name, factors)| LayerCost { name, params: 0, macs: product(factors), norm: 0 });
    tensors.chain(products).collect()
}

/// Trainable parameters.
pub fn params(model: &Architecture) -> u64 {
    total(layers(model).iter().map(|layer| layer.params))
}

/// [`Counting::Macs`] of one image.
pub fn macs(model: &Architecture) -> u64 {
    total(layers(model).iter().map(|layer| layer.macs))
}

/// The count of Swin's repository: base models, counting (c).
pub fn swin_repository(model: &Architecture) -> u64 {
    let stages = model.all_stages();
    let (width, patches) = (stages.last().map_or(0, |stage| stage.embed_dim), model.num_patches());
    let last = product([width, patches >> stages.len().min(63)]);
    let norm = |layer: &LayerCost| if layer.name == "norm.weight" { last } else { layer.norm / 5 };
    total(layers(model).iter().flat_map(|layer| [layer.macs, norm(layer)]))
}

/// SAViT's masked count with its two parts; both parts include the classifier, the total counts it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct MaskedFlops {
    pub attn_only: u64,
    pub ffn_only: u64,
    pub total: u64,
}

/// The masked-model counter: `n·D·3P² + Σ_l [2·D₀·N + 4·N·D·hd + 2·hd·N² + 2·N·D·f] + D₀·K` with `D₀` of `dense`. The
/// official formula multiplies dense counts by kept fractions in float32; this is its exact value. SAViT, official
/// code, the "FLOPs reduction" of the logs.
pub fn savit_masked(model: &Architecture, dense: &Architecture) -> MaskedFlops {
    let (dim, dense_dim, tokens) = (model.embed_dim, dense.embed_dim, model.num_tokens());
    let classifier = product([dense_dim, model.num_classes]);
    let patches = product([model.num_patches(), dim, 3, model.patch_size, model.patch_size]);
    let norms = product([model.blocks.len(), 2, dense_dim, tokens]);
    let inner = |block: &Block| [product([4, tokens, dim, block.inner()]), product([2, block.inner(), tokens, tokens])];
    let attention = total(model.blocks.iter().flat_map(inner));
    let mlp = total(model.blocks.iter().map(|block| product([2, tokens, dim, block.hidden])));
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
    let biases = model.blocks.iter().map(|block| (3 * block.inner() + dim + block.hidden + dim) as u64);
    let heads = product([model.extra_tokens(), model.num_classes]);
    total([macs(model), product([model.num_patches(), dim]), total(biases), heads])
}

/// The search's surrogate of a pruned model, `2·N·Σ_l [N·hd + 2·hd·D + f·D]` with `N = tokens`: attention, qkv,
/// projection and MLP only. SAViT, collaborative optimisation, official code.
pub fn savit_surrogate(model: &Architecture, tokens: usize) -> u64 {
    let dim = model.embed_dim;
    total(model.blocks.iter().flat_map(|block| {
        let attention = product([2, tokens, tokens, block.inner()]);
        [attention, product([4, tokens, block.inner(), dim]), product([2, tokens, block.hidden, dim])]
    }))
}

fn product(factors: impl IntoIterator<Item = usize>) -> u64 {
    factors.into_iter().fold(1, |product, factor| product.saturating_mul(factor as u64))
}

fn total(terms: impl IntoIterator<Item = u64>) -> u64 {
    terms.into_iter().fold(0, u64::saturating_add)
}
