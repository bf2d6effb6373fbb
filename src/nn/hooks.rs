//! The places where a search or a training method wraps a plain model. Unused hooks cost nothing.

use crate::{Result, Var};

/// A value inside the forward pass that [`Hooks::tap`] sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Site {
    /// Patch embedding `[B, patches, D]`.
    PatchEmbed,
    /// Packed queries, keys and values of a block `[B, N, 3 · heads · head_dim]`.
    Qkv(usize),
    /// Heads of a block side by side `[B, N, heads · head_dim]`, before the head gate.
    Heads(usize),
    /// The same behind the head gate, before the projection.
    GatedHeads(usize),
    /// Attention branch of a block, before drop path and residual.
    Attention(usize),
    /// Hidden units of a block's MLP `[B, N, hidden]`, bias added, before the hidden gate.
    Hidden(usize),
    /// The same behind the hidden gate, before the activation.
    GatedHidden(usize),
    /// The same behind the activation.
    Activated(usize),
    /// The residual stream behind the `k`-th use of the residual gate: 0 after the position embedding, `2i + 1` and
    /// `2i + 2` after the two sums of block `i`.
    Residual(usize),
    /// Output of a block.
    Block(usize),
    /// Output of the patch merging or the pooling after a stage.
    Merge(usize),
    /// A bottleneck block behind its grouped convolution and ReLU.
    Grouped(usize),
    /// The same behind squeeze-excite.
    Excited(usize),
    /// Output of the final LayerNorm.
    Norm,
}

/// What a wrapper adds to a plain model.
pub trait Hooks {
    /// A factor per head on its output, `[heads]`.
    fn head_gate(&self, _block: usize) -> Option<&Var> {
        None
    }

    /// A factor per hidden unit before the activation, `[hidden]`.
    fn hidden_gate(&self, _block: usize) -> Option<&Var> {
        None
    }

    /// A factor per channel on the residual stream, `[D]`, applied after the position embedding and after every sum.
    fn residual_gate(&self) -> Option<&Var> {
        None
    }

    /// The channels over which LayerNorm statistics run, when not all: its other outputs are 0.
    fn living_channels(&self) -> Option<&[usize]> {
        None
    }

    /// Another token mixer in place of a block's attention: from the normalised tokens to the branch.
    fn mixer(&self, _block: usize, _tokens: &Var) -> Option<Result<Var>> {
        None
    }

    /// Whether there is none of these.
    fn none(&self) -> bool {
        false
    }

    /// Whether [`Hooks::tap`] wants to be called; fused ops are taken apart then.
    fn taps(&self) -> bool {
        false
    }

    /// Sees a value and hands it on, changed or not.
    fn tap(&self, _site: Site, value: Var) -> Result<Var> {
        Ok(value)
    }
}

/// The plain model.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn none(&self) -> bool {
        true
    }
}
