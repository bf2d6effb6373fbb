//! A deployed model as data: everything the plain inference path needs to know, block by block. A pruned model is the
//! same struct with smaller numbers, so results of different methods combine, save, load, count and export the same
//! way. What exists only while searching or training is not in it.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The model family: decides key names and the order of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Family {
    /// DeiT and plain ViT: patch embedding, class token, pre-norm blocks.
    Deit,
    /// Swin: blocks with windows, stages with patch merging between them, the mean over the tokens.
    Swin,
    /// LV-ViT: as DeiT, behind a stem of convolutions, without qkv bias, with a second, dense head.
    Lvvit,
    /// RegNetY: stages of bottleneck blocks with squeeze-excite.
    Regnet,
    /// PiT: patches that overlap, stages of pre-norm blocks with a class token, pooling by convolution between them.
    Pit,
}

impl Family {
    /// Whether the layers that make queries, keys and values have a bias.
    pub fn qkv_bias(self) -> bool {
        match self {
            Self::Deit | Self::Swin | Self::Pit => true,
            Self::Lvvit | Self::Regnet => false,
        }
    }
}

/// What makes tokens of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Stem {
    /// A convolution with bias whose kernel and stride are `patch_size`.
    #[default]
    Patch,
    /// The same with patches `stride` apart.
    Overlap {
        /// Pixels from one to the next.
        stride: usize,
    },
    /// Four convolutions 3 × 3 of stride 2 with BatchNorm, to 1/8, 1/4, 1/2 and all of the width, GELU between: SiT's `4c`.
    Conv4,
    /// The same with two more of stride 1 behind the first: SiT's `6c`.
    Conv6,
    /// Token labeling's `4_2`: convolutions to `filters`, 7 × 7 of stride 2 and two 3 × 3, each with BatchNorm and ReLU, then patches of
    /// half `patch_size`.
    TokenLabel {
        /// Channels between.
        filters: usize,
    },
    /// RegNet's: one convolution 3 × 3 of stride 2 with BatchNorm and ReLU.
    Conv {
        /// Its channels.
        width: usize,
    },
}

/// Blocks of one width on one grid of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Stage {
    pub depth: usize,
    pub embed_dim: usize,
}

/// What mixes the tokens of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
#[expect(missing_docs, reason = "a variant's lines name its fields")]
pub enum Mixer {
    /// Multi-head self-attention: `heads` kept heads of width `head_dim`, softmax scale `head_dim^-0.5`; with 0 heads
    /// only the projection's bias is left.
    Attention { heads: usize, head_dim: usize },
    /// The same inside windows of side `window` of the grid rolled by `shift`, with a table of relative positions.
    Window { heads: usize, head_dim: usize, window: usize, shift: usize },
    /// RegNetY's whole block: convolutions 1 × 1, 3 × 3 in groups of `group_width` channels and 1 × 1, a gate of `squeeze` hidden
    /// units on each channel before the last; no MLP. The first block of a stage has stride 2.
    Bottleneck { group_width: usize, squeeze: usize },
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
    /// Attention heads of the block; 0 without attention.
    pub fn heads(&self) -> usize {
        match self.mixer {
            Mixer::Attention { heads, .. } | Mixer::Window { heads, .. } => heads,
            Mixer::Bottleneck { .. } => 0,
        }
    }

    /// Width of one head; 0 without attention.
    pub fn head_dim(&self) -> usize {
        match self.mixer {
            Mixer::Attention { head_dim, .. } | Mixer::Window { head_dim, .. } => head_dim,
            Mixer::Bottleneck { .. } => 0,
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
    /// What makes tokens of an image.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stem: Stem,
    /// Classes of the head(s).
    pub num_classes: usize,
    /// Width of the residual stream, in the first stage if there are several.
    pub embed_dim: usize,
    /// A second token and head trained on a teacher's labels.
    #[serde(default)]
    pub distilled: bool,
    /// BatchNorm is folded into the convolutions before it: for inference alone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub folded: bool,
    /// Evaluation adds half of the largest logits that the dense head (`aux_head`) gives to a patch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dense_head: bool,
    /// LayerNorm epsilon.
    pub ln_eps: f64,
    /// What every residual branch is divided by.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub residual_divisor: f64,
    /// The stages where the grid or the width changes on the way; none stands for one stage of all blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// The blocks of all stages in order.
    pub blocks: Vec<Block>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> f64 {
    1.0
}

fn is_one(value: &f64) -> bool {
    *value == 1.0
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
        let blocks = vec![block; depth];
        Self { embed_dim, blocks, ..Self::empty(Family::Deit, img_size, patch_size) }
    }

    /// Swin: stages of `depths` blocks with `heads` heads each, the width doubled and the grid halved from one to the next,
    /// epsilon 1e-5; the window of a block is [`Architecture::with_img_size`]'s rule.
    pub fn swin(
        img_size: usize, patch_size: usize, embed_dim: usize, depths: &[usize], heads: &[usize], window: usize,
    ) -> Self {
        let mut arch = Self { embed_dim, ln_eps: 1e-5, ..Self::empty(Family::Swin, img_size, patch_size) };
        let mut width = embed_dim;
        for (&depth, &heads) in depths.iter().zip(heads) {
            let head_dim = width.checked_div(heads).unwrap_or(0);
            let mixer = Mixer::Window { heads, head_dim, window, shift: 0 };
            arch.stages.push(Stage { depth, embed_dim: width });
            arch.blocks.extend(vec![Block { mixer, hidden: width.saturating_mul(4), reduce: Reduce::None }; depth]);
            width = width.saturating_mul(2);
        }
        arch.with_img_size(img_size)
    }

    /// The same for images of another size. Windows keep the largest side that one has; where the grid is no larger it is one
    /// window, elsewhere every second block of a stage rolls the grid by half of it.
    pub fn with_img_size(mut self, img_size: usize) -> Self {
        self.img_size = img_size;
        let side = |block: &Block| if let Mixer::Window { window, .. } = block.mixer { window } else { 0 };
        let largest = self.blocks.iter().map(side).max().unwrap_or(0);
        let (places, grids) = (self.places(), (0..self.all_stages().len()).map(|stage| self.stage_grid(stage)));
        let grids: Vec<usize> = grids.collect();
        for ((stage, at), block) in places.zip(&mut self.blocks) {
            let grid = grids[stage];
            if let Mixer::Window { window, shift, .. } = &mut block.mixer {
                *window = grid.min(largest);
                *shift = if grid > largest && at % 2 == 1 { largest / 2 } else { 0 };
            }
        }
        self
    }

    /// The stage of every block, and its number there.
    pub fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let stages = self.all_stages().into_iter().enumerate();
        stages.flat_map(|(stage, Stage { depth, .. })| (0..depth).map(move |at| (stage, at)))
    }

    /// A uniform LV-ViT: `heads` heads on the width, hidden width 3 times the width, LayerNorm epsilon 1e-5.
    pub fn lvvit(img_size: usize, stem: Stem, embed_dim: usize, depth: usize, heads: usize, divisor: f64) -> Self {
        let head_dim = embed_dim.checked_div(heads).unwrap_or(0);
        let mixer = Mixer::Attention { heads, head_dim };
        let block = Block { mixer, hidden: embed_dim.saturating_mul(3), reduce: Reduce::None };
        let (blocks, ln_eps, residual_divisor) = (vec![block; depth], 1e-5, divisor);
        Self { stem, embed_dim, blocks, ln_eps, residual_divisor, ..Self::empty(Family::Lvvit, img_size, 16) }
    }

    /// PiT: stages of `depths` blocks with `heads` heads of width `head_dim` each, hidden width 4 times the width, the grid halved
    /// from one to the next; patches of `patch_size` pixels that lie `stride` apart.
    pub fn pit(
        img_size: usize, [patch_size, stride]: [usize; 2], head_dim: usize, depths: &[usize], heads: &[usize],
    ) -> Self {
        let mut arch = Self { stem: Stem::Overlap { stride }, ..Self::empty(Family::Pit, img_size, patch_size) };
        for (&depth, &heads) in depths.iter().zip(heads) {
            let (embed_dim, mixer) = (heads.saturating_mul(head_dim), Mixer::Attention { heads, head_dim });
            let block = Block { mixer, hidden: embed_dim.saturating_mul(4), reduce: Reduce::None };
            arch.stages.push(Stage { depth, embed_dim });
            arch.blocks.extend(vec![block; depth]);
        }
        Self { embed_dim: arch.stages.first().map_or(0, |stage| stage.embed_dim), ..arch }
    }

    /// A model of `family` without blocks or width: 1000 classes, one head, epsilon 1e-6, residual branches as they are.
    pub fn empty(family: Family, img_size: usize, patch_size: usize) -> Self {
        Self {
            family,
            img_size,
            patch_size,
            stem: Stem::Patch,
            num_classes: 1000,
            embed_dim: 0,
            distilled: false,
            folded: false,
            dense_head: false,
            ln_eps: 1e-6,
            residual_divisor: 1.0,
            stages: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// The same with `num_classes` classes.
    pub fn with_classes(mut self, num_classes: usize) -> Self {
        self.num_classes = num_classes;
        self
    }

    /// The names of the heads: class, and distillation when there is one.
    pub fn heads(&self) -> impl Iterator<Item = &'static str> {
        let first = if self.family == Family::Regnet { "head.fc" } else { "head" };
        [first, "head_dist"].into_iter().take(1 + usize::from(self.distilled))
    }

    /// Patches along one side of the image, in the first stage.
    pub fn grid(&self) -> usize {
        match self.stem {
            Stem::Patch | Stem::TokenLabel { .. } => self.img_size / self.patch_size.max(1),
            Stem::Overlap { stride } => self.img_size.saturating_sub(self.patch_size) / stride.max(1) + 1,
            Stem::Conv4 | Stem::Conv6 => self.img_size.div_ceil(16),
            Stem::Conv { .. } => self.img_size.div_ceil(4),
        }
    }

    /// Tokens of the image along one side in stage `stage`: half of the stage before, rounded up.
    pub fn stage_grid(&self, stage: usize) -> usize {
        self.grid().div_ceil(1usize.checked_shl(stage as u32).unwrap_or(usize::MAX))
    }

    /// Patches of an image, in the first stage.
    pub fn num_patches(&self) -> usize {
        self.grid() * self.grid()
    }

    /// The stages; one of all blocks where the model lists none.
    pub fn all_stages(&self) -> Vec<Stage> {
        match self.stages.is_empty() {
            true => vec![Stage { depth: self.blocks.len(), embed_dim: self.embed_dim }],
            false => self.stages.clone(),
        }
    }

    /// Tokens before the patches: class, and distillation when there is one.
    pub fn extra_tokens(&self) -> usize {
        match self.family {
            Family::Deit | Family::Lvvit | Family::Pit => 1 + usize::from(self.distilled),
            Family::Swin | Family::Regnet => 0,
        }
    }

    /// Tokens of an image in the first stage: `extra_tokens + num_patches`.
    pub fn num_tokens(&self) -> usize {
        self.extra_tokens() + self.num_patches()
    }

    /// Refuses sizes that no model can have; widths of pruned models may be odd.
    pub fn validate(&self) -> Result<()> {
        let Self { img_size, patch_size, num_classes, embed_dim, ln_eps, residual_divisor, ref blocks, .. } = *self;
        let sizes = [("img_size", img_size), ("patch_size", patch_size), ("num_classes", num_classes)];
        for (what, size) in sizes.into_iter().chain([("embed_dim", embed_dim), ("blocks", blocks.len())]) {
            Error::ensure((1..=1 << 20).contains(&size), what, "1 to 1048576", size)?;
        }
        let (whole, expected) = match self.stem {
            Stem::Conv { .. } => (true, "any size"),
            Stem::Overlap { .. } => (img_size >= patch_size, "at least"),
            _ => (img_size.is_multiple_of(patch_size), "a multiple of"),
        };
        Error::ensure(whole, "img_size", format_args!("{expected} patch_size {patch_size}"), img_size)?;
        self.check_stem()?;
        let tokens = self.num_tokens();
        Error::ensure(tokens <= 1 << 14, "img_size / patch_size", "at most 16384 tokens", tokens)?;
        Error::ensure(ln_eps > 0.0 && ln_eps < 1.0, "ln_eps", "between 0 and 1", ln_eps)?;
        let sane = residual_divisor.is_finite() && residual_divisor > 0.0;
        Error::ensure(sane, "residual_divisor", "above 0", residual_divisor)?;
        self.check_stages()?;
        self.check_mixers()?;
        for (index, block) in blocks.iter().enumerate() {
            let width = |width: usize| (1..=1 << 16).contains(&width);
            let sane = match block.mixer {
                Mixer::Attention { heads, head_dim } | Mixer::Window { heads, head_dim, .. } => {
                    width(head_dim) && heads <= 1 << 16 && block.hidden <= 1 << 20
                }
                Mixer::Bottleneck { group_width, squeeze } => width(group_width) && width(squeeze) && block.hidden == 0,
            };
            let (what, found) = (format_args!("blocks[{index}]"), format_args!("{block:?}"));
            Error::ensure(sane, what, "head_dim > 0 and sane widths", found)?;
        }
        Ok(())
    }

    /// Refuses a stem that the family does not have, or that does not fit the patches.
    fn check_stem(&self) -> Result<()> {
        let (family, stem, patch) = (self.family, &self.stem, self.patch_size);
        let width = |width: usize| (1..=1 << 16).contains(&width);
        let fits = match (family, stem) {
            (Family::Lvvit, Stem::Conv4 | Stem::Conv6) => patch == 16 && self.embed_dim >= 8,
            (Family::Lvvit, Stem::TokenLabel { filters }) => patch.is_multiple_of(2) && width(*filters),
            (Family::Regnet, Stem::Conv { width: channels }) => width(*channels) && !self.stages.is_empty(),
            (Family::Pit, Stem::Overlap { stride }) => (1..=patch).contains(stride),
            (Family::Regnet | Family::Pit, _) => false,
            (_, stem) => *stem == Stem::Patch,
        };
        let fits =
            fits && (self.family == Family::Lvvit || !self.dense_head) && (family == Family::Deit || !self.distilled);
        let found =
            format_args!("{stem:?}, patch {patch}, distilled {}, dense_head {}", self.distilled, self.dense_head);
        Error::ensure(fits, "stem", format_args!("one that {family} has"), found)
    }

    /// Refuses stages that are not those of the blocks.
    fn check_stages(&self) -> Result<()> {
        let Some(first) = self.stages.first() else { return Ok(()) };
        let sane = |stage: &Stage| (1..=1 << 20).contains(&stage.embed_dim) && stage.depth > 0;
        let depth = self.stages.iter().fold(0usize, |sum, stage| sum.saturating_add(stage.depth));
        let fits = first.embed_dim == self.embed_dim && self.stages.iter().all(sane) && depth == self.blocks.len();
        let (embed_dim, blocks) = (self.embed_dim, self.blocks.len());
        let expected = format_args!("{blocks} blocks, the first stage of width {embed_dim}");
        Error::ensure(fits, "stages", expected, format_args!("{:?}", self.stages))?;
        // Pooling makes as many channels of each.
        let pooled = |pair: &[Stage]| pair[1].embed_dim.is_multiple_of(pair[0].embed_dim);
        let fits = self.family != Family::Pit || self.stages.windows(2).all(pooled);
        Error::ensure(fits, "stages", "widths that are multiples of the one before", format_args!("{:?}", self.stages))
    }

    /// Refuses mixers of another family, and windows that do not cut the grids of the stages evenly.
    fn check_mixers(&self) -> Result<()> {
        let (stages, grid) = (self.all_stages().len(), self.grid());
        if self.family == Family::Swin {
            Error::ensure(!self.distilled, "distilled", "false for a model of family swin", self.distilled)?;
            let halved = stages <= 16 && grid.is_multiple_of(1 << (stages - 1));
            let expected = format_args!("a multiple of patch_size {} and of 2^{}", self.patch_size, stages - 1);
            Error::ensure(halved, "img_size", expected, self.img_size)?;
        }
        for (index, ((stage, _), block)) in self.places().zip(&self.blocks).enumerate() {
            let grid = self.stage_grid(stage);
            let fits = match block.mixer {
                Mixer::Attention { .. } => matches!(self.family, Family::Deit | Family::Lvvit | Family::Pit),
                Mixer::Bottleneck { .. } => self.family == Family::Regnet,
                Mixer::Window { window, shift, .. } => {
                    self.family == Family::Swin && window > 0 && shift < window && grid.is_multiple_of(window)
                }
            };
            let expected = format_args!("a mixer of family {} that cuts {grid} by {grid} tokens evenly", self.family);
            Error::ensure(fits, format_args!("blocks[{index}]"), expected, format_args!("{:?}", block.mixer))?;
        }
        Ok(())
    }

    /// Refuses a model that the classes of images cannot train: a dense head learns from labels of their patches.
    pub fn ensure_trained_by_classes(&self) -> Result<()> {
        let expected = "one without a dense head, such as the sit_lvvit models: token labels are not read yet";
        Error::ensure(!self.dense_head, "model to train", expected, "a dense head")
    }

    /// Refuses a model of another family than `what` works on.
    pub fn ensure_family(&self, what: &str, family: Family) -> Result<()> {
        Error::ensure(self.family == family, what, format_args!("a model of family {family}"), self.family)
    }
}
