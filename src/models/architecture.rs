//! A deployed model as data: everything the plain inference path needs to know, block by block. A pruned model is the
//! same struct with smaller numbers, so results of different methods combine, save, load, count and export the same
//! way. What exists only while searching or training is not in it.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The model family: decides key names and the order of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// DeiT and plain ViT: patch embedding, class token, pre-norm blocks.
    Deit,
}

/// What mixes the tokens of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
#[expect(missing_docs, reason = "a variant's lines name its fields")]
pub enum Mixer {
    /// Multi-head self-attention: `heads` kept heads of width `head_dim`, softmax scale `head_dim^-0.5`; with 0 heads
    /// only the projection's bias is left.
    Attention { heads: usize, head_dim: usize },
}

/// What happens to the tokens after a block.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Reduce {
    /// All tokens go on.
    #[default]
    None,
}

/// One transformer block: its token mixer, the hidden width of its MLP, and the token reduction after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Block {
    pub mixer: Mixer,
    pub hidden: usize,
    #[serde(default)]
    pub reduce: Reduce,
}

impl Block {
    /// Attention heads of the block.
    pub fn heads(&self) -> usize {
        let Mixer::Attention { heads, .. } = self.mixer;
        heads
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        let Mixer::Attention { head_dim, .. } = self.mixer;
        head_dim
    }

    /// Inner width of the attention, `heads * head_dim`.
    pub fn inner(&self) -> usize {
        self.heads() * self.head_dim()
    }
}

/// A whole model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Family.
    pub family: Family,
    /// Side of the square input image in pixels.
    pub img_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Classes of the head(s).
    pub num_classes: usize,
    /// Width of the residual stream.
    pub embed_dim: usize,
    /// A second token and head trained on a teacher's labels.
    #[serde(default)]
    pub distilled: bool,
    /// LayerNorm epsilon.
    pub ln_eps: f64,
    /// The blocks in order.
    pub blocks: Vec<Block>,
}

impl Architecture {
    /// A uniform DeiT: `heads` heads of width `embed_dim / heads`, hidden width `mlp_ratio * embed_dim`.
    pub fn deit(img_size: usize, patch_size: usize, embed_dim: usize, depth: usize, heads: usize) -> Self {
        let head_dim = embed_dim.checked_div(heads).unwrap_or(0);
        let block = Block {
            mixer: Mixer::Attention { heads, head_dim },
            hidden: embed_dim.saturating_mul(4),
            reduce: Reduce::None,
        };
        let (family, num_classes, distilled, ln_eps) = (Family::Deit, 1000, false, 1e-6);
        let blocks = vec![block; depth];
        Self { family, img_size, patch_size, num_classes, embed_dim, distilled, ln_eps, blocks }
    }

    /// The same with `num_classes` classes.
    pub fn with_classes(mut self, num_classes: usize) -> Self {
        self.num_classes = num_classes;
        self
    }

    /// The names of the heads: class, and distillation when there is one.
    pub fn heads(&self) -> impl Iterator<Item = &'static str> {
        ["head", "head_dist"].into_iter().take(self.extra_tokens())
    }

    /// Patches along one side of the image.
    pub fn grid(&self) -> usize {
        self.img_size / self.patch_size.max(1)
    }

    /// Patches of an image.
    pub fn num_patches(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Tokens before the patches: class, and distillation when there is one.
    pub fn extra_tokens(&self) -> usize {
        1 + usize::from(self.distilled)
    }

    /// Tokens of an image: `extra_tokens + num_patches`.
    pub fn num_tokens(&self) -> usize {
        self.extra_tokens() + self.num_patches()
    }

    /// Refuses sizes that no model can have; widths of pruned models may be odd.
    pub fn validate(&self) -> Result<()> {
        let Self { img_size, patch_size, num_classes, embed_dim, ln_eps, ref blocks, .. } = *self;
        let sizes = [("img_size", img_size), ("patch_size", patch_size), ("num_classes", num_classes)];
        for (what, size) in sizes.into_iter().chain([("embed_dim", embed_dim), ("blocks", blocks.len())]) {
            Error::ensure((1..=1 << 20).contains(&size), what, "1 to 1048576", size)?;
        }
        let whole = img_size.is_multiple_of(patch_size);
        Error::ensure(whole, "img_size", format_args!("a multiple of patch_size {patch_size}"), img_size)?;
        let tokens = self.num_tokens();
        Error::ensure(tokens <= 1 << 14, "img_size / patch_size", "at most 16384 tokens", tokens)?;
        Error::ensure(ln_eps > 0.0 && ln_eps < 1.0, "ln_eps", "between 0 and 1", ln_eps)?;
        for (index, block) in blocks.iter().enumerate() {
            let sane = (1..=1 << 16).contains(&block.head_dim()) && block.heads() <= 1 << 16 && block.hidden <= 1 << 20;
            let (what, found) = (format_args!("blocks[{index}]"), format_args!("{block:?}"));
            Error::ensure(sane, what, "head_dim > 0 and sane widths", found)?;
        }
        Ok(())
    }
}
