//! DeiT and plain ViT, with one or two heads, any widths and head counts. `z = [cls; dist; patches] + pos`, the blocks of
//! [`block`], `logits = head(LN(z)[:, 0])`. Keys and shapes are those of the official checkpoints.

use super::layout::{Init, Layout, Work};
use super::{Architecture, block};
use crate::nn::{Pass, Site, Stream, Tokens};
use crate::{Result, Var, ops};

/// The tensors, in the order of the official checkpoints.
pub fn layout(arch: &Architecture) -> Layout {
    let (d, p, tokens) = (arch.embed_dim, arch.patch_size, arch.num_tokens());
    let mut layout = Layout::default();
    let first = [("cls_token", 1), ("pos_embed", tokens), ("dist_token", 1)];
    for (name, rows) in first.into_iter().take(1 + arch.extra_tokens()) {
        layout.tensor(name, &[1, rows, d], Init::Normal(0.02), Work::None);
    }
    layout.conv("patch_embed.proj", [d, 3, p, p], true, arch.num_patches());
    for (i, block) in arch.blocks.iter().enumerate() {
        block::declare(&mut layout, arch, &key(i), block, d, tokens);
    }
    layout.layernorm("norm", d, tokens);
    arch.heads().for_each(|head| layout.linear(head, [arch.num_classes, d], true, 1));
    layout
}

/// Block `i` in official checkpoints.
pub fn key(i: usize) -> String {
    format!("blocks.{i}")
}

/// The logits of each head (`[B, classes]`; one, or class and distillation; never rounded) for images `[B, 3, H, W]`.
pub fn forward(arch: &Architecture, pass: &Pass, images: &Var) -> Result<Vec<Var>> {
    let [weight, bias] = ["weight", "bias"].map(|part| pass.operand(&format!("patch_embed.proj.{part}")));
    let patches = ops::patch_embed(images, weight?, bias?)?;
    let patches = pass.tap(Site::PatchEmbed, patches)?;
    let first = ["cls_token", "dist_token"].into_iter().take(arch.extra_tokens());
    let first = first.map(|name| pass.operand(name)).collect::<Result<Vec<_>>>()?;
    let mut stream = Stream::new(pass, ops::embed_tokens(&patches, &first, pass.var("pos_embed")?)?)?;
    for i in 0..arch.blocks.len() {
        stream = block::forward(arch, pass, i, &key(i), stream, &Tokens::All)?;
    }
    token_heads(arch, pass, &mut stream)
}

/// Final LayerNorm, and each head on the token of its place.
pub(super) fn token_heads(arch: &Architecture, pass: &Pass, stream: &mut Stream) -> Result<Vec<Var>> {
    // The heads read a token each, and the last LayerNorm goes token by token: only a tap needs it of all of them.
    let all = match pass.hooks.taps() {
        true => Some(pass.tap(Site::Norm, stream.norm(pass, "norm", arch.ln_eps)?)?),
        false => None,
    };
    let logits = |(token, head): (usize, &str)| {
        let normed = match &all {
            Some(all) => ops::select_token(all, token)?,
            None => pass.layernorm("norm", &ops::select_token(stream.value()?, token)?, arch.ln_eps)?,
        };
        pass.head(head, &normed)
    };
    arch.heads().enumerate().map(logits).collect()
}
