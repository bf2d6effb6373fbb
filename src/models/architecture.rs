//! A deployed model as data: everything the plain inference path needs to know, block by block.
//!
//! A pruned model is the same struct with smaller numbers, so results of different methods combine, save, load,
//! count and export the same way. What exists only while searching or training is not in it.

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
pub enum Mixer {
    /// Multi-head self-attention of inner width `heads * head_dim`; with 0 heads only the projection's bias is left.
    Attention {
        /// Number of heads kept.
        heads: usize,
        /// Width of one head; the softmax scale is `head_dim^-0.5` of the original model.
        head_dim: usize,
    },
}

/// What happens to the tokens after a block.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Reduce {
    /// All tokens go on.
    #[default]
    None,
}

/// One transformer block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Token mixer.
    pub mixer: Mixer,
    /// Hidden width of the MLP.
    pub hidden: usize,
    /// Token reduction after the block.
    #[serde(default)]
    pub reduce: Reduce,
}

impl Block {
    /// Attention heads of the block.
    pub fn heads(&self) -> usize {
        match self.mixer {
            Mixer::Attention { heads, .. } => heads,
        }
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        match self.mixer {
            Mixer::Attention { head_dim, .. } => head_dim,
        }
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
        let block = Block { mixer: Mixer::Attention { heads, head_dim }, hidden: 4 * embed_dim, reduce: Reduce::None };
        Self {
            family: Family::Deit,
            img_size,
            patch_size,
            num_classes: 1000,
            embed_dim,
            distilled: false,
            ln_eps: 1e-6,
            blocks: vec![block; depth],
        }
    }

    /// The same with `num_classes` classes.
    pub fn with_classes(mut self, num_classes: usize) -> Self {
        self.num_classes = num_classes;
        self
    }

    /// The same with hidden width `hidden` in every block.
    pub fn with_hidden(mut self, hidden: usize) -> Self {
        self.blocks.iter_mut().for_each(|block| block.hidden = hidden);
        self
    }

    /// The same with a distillation token and head.
    pub fn with_distillation(mut self) -> Self {
        self.distilled = true;
        self
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
        let positive = [
            ("img_size", self.img_size),
            ("patch_size", self.patch_size),
            ("num_classes", self.num_classes),
            ("embed_dim", self.embed_dim),
            ("blocks", self.blocks.len()),
        ];
        for (what, value) in positive {
            if value == 0 || value > 1 << 20 {
                return Err(Error::invalid(what, "1 to 1048576", value));
            }
        }
        if !self.img_size.is_multiple_of(self.patch_size) {
            return Err(Error::invalid(
                "img_size",
                format!("a multiple of patch_size {}", self.patch_size),
                self.img_size,
            ));
        }
        if self.num_tokens() > 1 << 14 {
            return Err(Error::invalid("img_size / patch_size", "at most 16384 tokens", self.num_tokens()));
        }
        if !(self.ln_eps > 0.0 && self.ln_eps < 1.0) {
            return Err(Error::invalid("ln_eps", "between 0 and 1", self.ln_eps));
        }
        for (index, block) in self.blocks.iter().enumerate() {
            if block.head_dim() == 0 || block.head_dim() > 1 << 16 || block.heads() > 1 << 16 || block.hidden > 1 << 20
            {
                return Err(Error::invalid(
                    format!("blocks[{index}]"),
                    "head_dim > 0 and sane widths",
                    format!("{block:?}"),
                ));
            }
        }
        Ok(())
    }
}
