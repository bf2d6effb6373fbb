//! Swin: patch embedding with a LayerNorm; stages of the blocks of [`block`], whose attention stays inside windows;
//! between stages four neighbouring tokens become one of twice the width, `x = W LN([four tokens])`; `logits = head(mean LN(x))`.
//! Keys and shapes are those of the official checkpoints, without the two buffers, which [`with_buffers`] makes.

use super::layout::Layout;
use super::{Architecture, Mixer, block};
use crate::io::Blob;
use crate::nn::{Pass, Site, Stream, Tokens};
use crate::{Result, Var, ops, ops::Windows};

/// The tensors, in the order of the official checkpoints.
pub fn layout(arch: &Architecture) -> Layout {
    let (p, mut tokens, mut blocks) = (arch.patch_size, arch.num_patches(), arch.blocks.iter());
    let mut layout = Layout::default();
    layout.conv("patch_embed.proj", [arch.embed_dim, 3, p, p], true, tokens);
    layout.layernorm("patch_embed.norm", arch.embed_dim, tokens);
    let stages = arch.all_stages();
    for (s, stage) in stages.iter().enumerate() {
        tokens = arch.stage_grid(s).pow(2);
        for (b, block) in blocks.by_ref().take(stage.depth).enumerate() {
            block::declare(&mut layout, arch, &key(s, b), block, stage.embed_dim, tokens);
        }
        if let Some(next) = stages.get(s + 1) {
            let merged = stage.embed_dim.saturating_mul(4);
            layout.linear(&format!("layers.{s}.downsample.reduction"), [next.embed_dim, merged], false, tokens / 4);
            layout.layernorm(&format!("layers.{s}.downsample.norm"), merged, tokens / 4);
        }
    }
    let width = stages.last().map_or(0, |stage| stage.embed_dim);
    layout.layernorm("norm", width, tokens);
    arch.heads().for_each(|head| layout.linear(head, [arch.num_classes, width], true, 1));
    layout
}

/// Block `b` of stage `s` in official checkpoints.
pub fn key(s: usize, b: usize) -> String {
    format!("layers.{s}.blocks.{b}")
}

/// The logits (`[B, classes]`, never rounded) for images `[B, 3, H, W]`.
pub fn forward(arch: &Architecture, pass: &Pass, images: &Var) -> Result<Vec<Var>> {
    let [weight, bias] = ["weight", "bias"].map(|part| pass.operand(&format!("patch_embed.proj.{part}")));
    let patches = ops::patch_embed(images, weight?, bias?)?;
    let x = pass.layernorm("patch_embed.norm", &patches, arch.ln_eps)?;
    drop(patches);
    let mut stream = Stream::new(pass, pass.tap(Site::PatchEmbed, x)?)?;
    for (i, (s, b)) in arch.places().enumerate() {
        if s > 0 && b == 0 {
            stream = Stream::resume(merge(arch, pass, s - 1, &stream.into_value()?)?, i);
        }
        stream = block::forward(arch, pass, i, &key(s, b), stream, &Tokens::All)?;
    }
    let normed = pass.tap(Site::Norm, stream.norm(pass, "norm", arch.ln_eps)?)?;
    let mean = ops::mean_tokens(&normed)?;
    arch.heads().map(|head| pass.head(head, &mean)).collect()
}

/// The patch merging after stage `s`.
fn merge(arch: &Architecture, pass: &Pass, s: usize, x: &Var) -> Result<Var> {
    let (grid, key) = (arch.stage_grid(s), format!("layers.{s}.downsample"));
    let merged = ops::patch_merge(x, grid, grid)?;
    let normed = pass.layernorm(&format!("{key}.norm"), &merged, arch.ln_eps)?;
    pass.tap(Site::Merge(s), pass.linear(&format!("{key}.reduction"), &normed)?)
}

/// The tensors of a file with the buffers that official ones hold besides: `relative_position_index [M², M²]` behind each table of
/// relative positions, `attn_mask [windows, M², M²]` at the head of each block that rolls the grid.
pub fn with_buffers(arch: &Architecture, tensors: Vec<(String, Blob)>) -> Result<Vec<(String, Blob)>> {
    let mut before = Vec::new(); // the name that a buffer precedes
    for ((s, b), block) in arch.places().zip(&arch.blocks) {
        let Mixer::Window { window, shift, .. } = block.mixer else { continue };
        let (key, side) = (key(s, b), arch.stage_grid(s));
        let windows = Windows { height: side, width: side, window, shift };
        let n = windows.len();
        if shift > 0 {
            let mask: Vec<f32> = (0..windows.count()).flat_map(|window| windows.mask(window)).collect();
            let mask = Blob::from_f32([windows.count(), n, n], &mask)?;
            before.push((format!("{key}.norm1.weight"), format!("{key}.attn_mask"), mask));
        }
        let index: Vec<i64> = (0..n * n).map(|at| windows.entry(at / n, at % n) as i64).collect();
        let name = format!("{key}.attn.relative_position_index");
        before.push((format!("{key}.attn.qkv.weight"), name, Blob::from_i64([n, n], &index)?));
    }
    let mut before = before.into_iter().peekable();
    let mut all = Vec::new();
    for (name, blob) in tensors {
        while let Some((_, buffer, values)) = before.next_if(|(follower, ..)| *follower == name) {
            all.push((buffer, values));
        }
        all.push((name, blob));
    }
    Ok(all)
}
