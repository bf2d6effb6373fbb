//! PiT (Heo et al., Rethinking Spatial Dimensions of Vision Transformers, ICCV 2021): patches that overlap, a map of positions added
//! to them, a class token without position; stages of the blocks of [`block`]; between stages the patches go through a
//! depthwise convolution 3 × 3 of stride 2 that widens them, the class token through a linear layer; `logits = head(LN(cls))`.
//! Keys and shapes are those of the official checkpoints.

use super::layout::{Init, Layout, Work};
use super::{Architecture, Stem, block, deit::token_heads};
use crate::nn::{Pass, Site, Stream, Tokens};
use crate::{Result, Var, ops, ops::Conv2d};

/// The tensors, in the order of the official checkpoints.
pub fn layout(arch: &Architecture) -> Layout {
    let (d, p, grid, stages) = (arch.embed_dim, arch.patch_size, arch.grid(), arch.all_stages());
    let mut layout = Layout::default();
    layout.tensor("pos_embed", &[1, d, grid, grid], Init::Normal(0.02), Work::None);
    layout.tensor("cls_token", &[1, 1, d], Init::Normal(0.02), Work::None);
    layout.conv("patch_embed.conv", [d, 3, p, p], true, arch.num_patches());
    for ((s, b), block) in arch.places().zip(&arch.blocks) {
        let tokens = arch.extra_tokens() + arch.stage_grid(s).pow(2);
        block::declare(&mut layout, arch, &key(s, b), block, stages[s].embed_dim, tokens);
    }
    for (s, pair) in stages.windows(2).enumerate() {
        let [from, to] = [pair[0].embed_dim, pair[1].embed_dim];
        layout.conv(&format!("pools.{s}.conv"), [to, 1, 3, 3], true, arch.stage_grid(s + 1).pow(2));
        layout.linear(&format!("pools.{s}.fc"), [to, from], true, 1);
    }
    let width = stages.last().map_or(0, |stage| stage.embed_dim);
    layout.layernorm("norm", width, 1);
    arch.heads().for_each(|head| layout.linear(head, [arch.num_classes, width], true, 1));
    layout
}

/// Block `b` of stage `s` in official checkpoints.
pub fn key(s: usize, b: usize) -> String {
    format!("transformers.{s}.blocks.{b}")
}

/// The logits (`[B, classes]`, never rounded) for images `[B, 3, H, W]`.
pub fn forward(arch: &Architecture, pass: &Pass, images: &Var) -> Result<Vec<Var>> {
    let mut stream = Stream::new(pass, embed(arch, pass, images)?)?;
    for (i, (s, b)) in arch.places().enumerate() {
        if s > 0 && b == 0 {
            stream = Stream::resume(pool(arch, pass, s - 1, &stream.into_value()?)?, i);
        }
        stream = block::forward(arch, pass, i, &key(s, b), stream, &Tokens::All)?;
    }
    token_heads(arch, pass, &mut stream)
}

/// `[cls; patches + pos]`.
fn embed(arch: &Architecture, pass: &Pass, images: &Var) -> Result<Var> {
    let mut at = Conv2d::patches([arch.img_size; 2], arch.patch_size);
    if let Stem::Overlap { stride } = arch.stem {
        at.stride = stride;
    }
    let patches = pass.tap(Site::PatchEmbed, pass.conv("patch_embed.conv", images, at)?)?;
    let pos = ops::pad_tokens(&ops::flatten_maps(pass.var("pos_embed")?)?, arch.extra_tokens(), 0)?;
    ops::embed_tokens(&patches, &[pass.operand("cls_token")?], &pos)
}

/// `[fc cls; conv patches]` after stage `s`.
fn pool(arch: &Architecture, pass: &Pass, s: usize, x: &Var) -> Result<Var> {
    let (key, side, after) = (format!("pools.{s}"), arch.stage_grid(s), arch.stage_grid(s + 1).pow(2));
    let at = Conv2d { size: [side; 2], stride: 2, padding: 1, groups: arch.all_stages()[s].embed_dim };
    let patches = pass.conv(&format!("{key}.conv"), &ops::slice_tokens(x, 1, side * side)?, at)?;
    let class = pass.linear(&format!("{key}.fc"), &ops::slice_tokens(x, 0, 1)?)?;
    let pooled = ops::add(ops::pad_tokens(&class, 0, after)?, &ops::pad_tokens(&patches, 1, 0)?)?;
    pass.tap(Site::Merge(s), pooled)
}
