//! LV-ViT in both published forms. A stem of convolutions makes the patches' tokens; then `z = [cls; patches] + pos`, the blocks of
//! [`block`] without qkv bias, their branches over `residual_divisor`. SiT's form reads the class token alone; token
//! labeling's adds, in evaluation, half of the largest logit that its dense head gives to a patch, and trains that head on patches
//! that were mixed within the batch ([`dense_forward`]). Keys and shapes are those of the official checkpoints.

use super::deit::token_heads;
use super::layout::{Init, Layout, Work};
use super::{Architecture, Stem, block, deit::key};
use crate::nn::{Pass, Site, Stream, Tokens};
use crate::noise::Noise;
use crate::ops::{self, Activation, Conv2d, TokenBox};
use crate::{Result, Var};

/// A convolution of the stem with BatchNorm: channels in and out, side of the kernel, stride.
struct Layer {
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    function: Activation,
}

/// The stem's convolutions in order.
fn layers(arch: &Architecture) -> Vec<Layer> {
    let [eighth, quarter, half, all] = [8, 4, 2, 1].map(|part| arch.embed_dim / part);
    let (widths, strides, kernel) = match arch.stem {
        Stem::Conv4 => (vec![eighth, quarter, half, all], vec![2; 4], 3),
        Stem::Conv6 => (vec![eighth, eighth, eighth, quarter, half, all], vec![2, 1, 1, 2, 2, 2], 3),
        Stem::TokenLabel { filters } => (vec![filters; 3], vec![2, 1, 1], 7),
        Stem::Patch | Stem::Overlap { .. } | Stem::Conv { .. } => return Vec::new(),
    };
    let last = widths.len() - 1;
    let layer = |(i, stride): (usize, usize)| {
        let function = match arch.stem {
            Stem::TokenLabel { .. } => Activation::Relu,
            _ if i == last => Activation::Identity,
            _ => Activation::Gelu,
        };
        let (channels, kernel) = if i == 0 { ([3, widths[0]], kernel) } else { ([widths[i - 1], widths[i]], 3) };
        Layer { channels, kernel, stride, function }
    };
    strides.into_iter().enumerate().map(layer).collect()
}

/// Channels and side of the patches that are projected, behind the convolutions; none where these make the tokens.
fn patches(arch: &Architecture) -> Option<[usize; 2]> {
    match arch.stem {
        Stem::Patch => Some([3, arch.patch_size]),
        Stem::TokenLabel { filters } => Some([filters, arch.patch_size / 2]),
        _ => None,
    }
}

/// The tensors, in the order of the official checkpoints.
pub fn layout(arch: &Architecture) -> Layout {
    let (d, tokens) = (arch.embed_dim, arch.num_tokens());
    let mut layout = Layout::default();
    layout.tensor("cls_token", &[1, 1, d], Init::Normal(0.02), Work::None);
    layout.tensor("pos_embed", &[1, tokens, d], Init::Normal(0.02), Work::None);
    let mut side = arch.img_size;
    for (i, Layer { channels: [input, output], kernel, stride, .. }) in (1..).zip(layers(arch)) {
        side = side.div_ceil(stride);
        let names = [format!("patch_embed.conv{i}"), format!("patch_embed.bn{i}")];
        layout.conv_norm(
            names.each_ref().map(String::as_str),
            [output, input, kernel, kernel],
            side * side,
            arch.folded,
        );
    }
    if let Some([channels, patch]) = patches(arch) {
        layout.conv("patch_embed.proj", [d, channels, patch, patch], true, arch.num_patches());
    }
    for (i, block) in arch.blocks.iter().enumerate() {
        block::declare(&mut layout, arch, &key(i), block, d, tokens);
    }
    layout.layernorm("norm", d, tokens);
    layout.linear("head", [arch.num_classes, d], true, 1);
    let rows = if arch.dense_head { arch.num_patches() } else { 0 };
    layout.linear("aux_head", [arch.num_classes, d], true, rows);
    layout
}

/// The patches' tokens `[B, patches, D]` for images `[B, 3, H, W]`.
pub fn stem(arch: &Architecture, pass: &Pass, images: &Var) -> Result<Var> {
    let (mut x, mut side) = (images.clone(), arch.img_size);
    for (i, Layer { kernel, stride, function, .. }) in (1..).zip(layers(arch)) {
        let names = [format!("patch_embed.conv{i}"), format!("patch_embed.bn{i}")];
        let at = Conv2d { size: [side; 2], stride, padding: kernel / 2, groups: 1 };
        x = pass.conv_norm(names.each_ref().map(String::as_str), &x, at, function)?;
        side = side.div_ceil(stride);
    }
    if let Some([_, patch]) = patches(arch) {
        x = pass.conv("patch_embed.proj", &x, Conv2d::patches([side; 2], patch))?;
    }
    pass.tap(Site::PatchEmbed, x)
}

/// The residual stream behind all blocks, from the patches' tokens.
fn blocks(arch: &Architecture, pass: &Pass, patches: &Var) -> Result<Stream> {
    let embedded = ops::embed_tokens(patches, &[pass.operand("cls_token")?], pass.var("pos_embed")?)?;
    let mut stream = Stream::new(pass, embedded)?;
    for i in 0..arch.blocks.len() {
        stream = block::forward(arch, pass, i, &key(i), stream, &Tokens::All)?;
    }
    Ok(stream)
}

/// The logits of an image `[B, classes]`, never rounded, for images `[B, 3, H, W]`.
pub fn forward(arch: &Architecture, pass: &Pass, images: &Var) -> Result<Vec<Var>> {
    if !arch.dense_head {
        return token_heads(arch, pass, &mut blocks(arch, pass, &stem(arch, pass, images)?)?);
    }
    let [class, dense] = dense_forward(arch, pass, images, None)?;
    Ok(vec![ops::add(class, &ops::scale(&ops::max_tokens(&dense)?, 0.5)?)?])
}

/// Training with the dense head: the class's logits `[B, classes]` and those of every patch `[B, patches, classes]`. Patches in
/// `mix` change places with those of the flipped batch before the blocks, their logits change back.
pub fn dense_forward(arch: &Architecture, pass: &Pass, images: &Var, mix: Option<TokenBox>) -> Result<[Var; 2]> {
    let grid = [arch.grid(); 2];
    let mixed = |x: Var| mix.map_or(Ok(x.clone()), |mix| ops::mix_tokens(&x, grid, mix));
    let mut stream = blocks(arch, pass, &mixed(stem(arch, pass, images)?)?)?;
    let all = pass.tap(Site::Norm, stream.norm(pass, "norm", arch.ln_eps)?)?;
    let class = pass.head("head", &ops::select_token(&all, 0)?)?;
    let dense = pass.head("aux_head", &ops::slice_tokens(&all, 1, arch.num_patches())?)?;
    Ok([class, mixed(dense)?])
}

/// The box of mix-token on a grid: sides `√(1 - λ)` of the grid's around a token, `λ` and the token uniform; cut at the border.
pub fn mix_box(noise: &dyn Noise, [height, width]: [usize; 2]) -> Result<TokenBox> {
    let mut draws = [0f32; 3];
    noise.uniform("mix_token", 0, &mut draws)?;
    let [lambda, row, col] = draws.map(f64::from);
    let cut = (1.0 - lambda).sqrt();
    let range = |size: usize, draw: f64| {
        let (half, centre) = ((size as f64 * cut) as usize / 2, (size as f64 * draw) as usize);
        (centre.saturating_sub(half), (centre + half).min(size))
    };
    let ((top, bottom), (left, right)) = (range(height, row), range(width, col));
    Ok(TokenBox { top, bottom, left, right })
}
