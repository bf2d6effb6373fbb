//! DeiT and plain ViT, with one or two heads, any widths and head counts. `z = [cls; dist; patches] + pos`; per block
//! `z += Attn(LN1(z))`, `z += MLP(LN2(z))`; `logits = head(LN(z)[:, 0])`. Attention: one packed linear layer (which,
//! head, column), scale `head_dim^-0.5`; MLP: exact GELU. Drop path of block `i` has rate `i / (depth - 1)` of the
//! mode's. Keys and shapes are those of the official checkpoints.

use super::Architecture;
use crate::nn::{Params, Pass, Site, Stream, Tokens};
use crate::noise::{Philox, Stream as Draws};
use crate::{Error, Result, Tensor, Var, ops};

/// Names and shapes of all parameters, in the order of the official checkpoints.
pub fn shapes(arch: &Architecture) -> Vec<(String, Vec<usize>)> {
    let (d, p, classes) = (arch.embed_dim, arch.patch_size, arch.num_classes);
    let tokens = [("cls_token", 1), ("pos_embed", arch.num_tokens()), ("dist_token", 1)];
    let tokens = tokens.into_iter().take(1 + arch.extra_tokens());
    let mut list: Vec<_> = tokens.map(|(name, rows)| (name.to_string(), vec![1, rows, d])).collect();
    let mut layer = |name: String, weight: Vec<usize>| {
        let bias = vec![weight[0]];
        list.extend([(format!("{name}.weight"), weight), (format!("{name}.bias"), bias)]);
    };
    layer("patch_embed.proj".into(), vec![d, 3, p, p]);
    for (i, block) in arch.blocks.iter().enumerate() {
        let inner = block.inner();
        layer(format!("blocks.{i}.norm1"), vec![d]);
        layer(format!("blocks.{i}.attn.qkv"), vec![3 * inner, d]);
        layer(format!("blocks.{i}.attn.proj"), vec![d, inner]);
        layer(format!("blocks.{i}.norm2"), vec![d]);
        layer(format!("blocks.{i}.mlp.fc1"), vec![block.hidden, d]);
        layer(format!("blocks.{i}.mlp.fc2"), vec![d, block.hidden]);
    }
    layer("norm".into(), vec![d]);
    arch.heads().for_each(|head| layer(head.into(), vec![classes, d]));
    list
}

/// Fresh parameters: normal(0, 0.02) for linear weights, tokens and positions, zeros for biases, ones for LayerNorm
/// weights, uniform within `1 / sqrt(3 P²)` for the patch convolution.
pub fn init(arch: &Architecture, seed: u64) -> Result<Params> {
    arch.validate()?;
    let fresh = |(name, shape): (String, Vec<usize>)| fresh(arch, seed, &name, &shape).map(|tensor| (name, tensor));
    shapes(arch).into_iter().map(fresh).collect()
}

/// One parameter of [`init`]; its values depend on the seed and its name only.
pub(super) fn fresh(arch: &Architecture, seed: u64, name: &str, shape: &[usize]) -> Result<Tensor> {
    let mut draws = Philox { seed, step: 0 }.stream(name, 0);
    let bound = 1.0 / ((3 * arch.patch_size * arch.patch_size) as f32).sqrt();
    let value: &dyn Fn(&mut Draws) -> f32 = match name {
        n if n.starts_with("patch_embed") => &|draws| draws.range(-bound, bound),
        n if n.contains("norm") && n.ends_with("weight") => &|_| 1.0,
        n if n.ends_with("bias") => &|_| 0.0,
        _ => &|draws| draws.normal() * 0.02,
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| value(&mut draws)).collect();
    Tensor::from_slice(shape, &values)
}

/// The logits of each head (`[B, classes]`; one, or class and distillation; never rounded) for images `[B, 3, H, W]`.
pub fn forward(arch: &Architecture, pass: &Pass, images: &Var) -> Result<Vec<Var>> {
    let (side, found) = (arch.img_size, images.shape());
    let fits = found.len() == 4 && found[1..] == [3, side, side];
    Error::ensure_shape(fits, "deit", format_args!("images [batch, 3, {side}, {side}]"), found)?;
    let [weight, bias] = ["weight", "bias"].map(|part| pass.operand(&format!("patch_embed.proj.{part}")));
    let patches = ops::patch_embed(images, weight?, bias?)?;
    let patches = tap(pass, Site::PatchEmbed, patches)?;
    let first = ["cls_token", "dist_token"].into_iter().take(arch.extra_tokens());
    let first = first.map(|name| pass.operand(name)).collect::<Result<Vec<_>>>()?;
    let mut stream = Stream::new(pass, ops::embed_tokens(&patches, &first, pass.var("pos_embed")?)?)?;
    for i in 0..arch.blocks.len() {
        block(arch, pass, i, &mut stream, &Tokens::All)?;
        stream.tap(pass, Site::Block(i))?;
    }
    // The heads read a token each, and the last LayerNorm goes token by token: only a tap needs it of all of them.
    let all = match pass.hooks.taps() {
        true => Some(tap(pass, Site::Norm, stream.norm(pass, "norm", arch.ln_eps)?)?),
        false => None,
    };
    let logits = |(token, head): (usize, &str)| {
        let normed = match &all {
            Some(all) => ops::select_token(all, token)?,
            None => pass.layernorm("norm", &ops::select_token(stream.value()?, token)?, arch.ln_eps)?,
        };
        let logits = pass.linear(head, &normed)?;
        ops::cast(&logits, logits.dtype().wide())
    };
    arch.heads().enumerate().map(logits).collect()
}

/// Block `i` on the `tokens` of the residual stream.
pub fn block(arch: &Architecture, pass: &Pass, i: usize, stream: &mut Stream, tokens: &Tokens) -> Result<()> {
    let Tokens::All = tokens;
    let depth = arch.blocks.len();
    let rate = if depth > 1 { pass.mode.drop_path * i as f64 / (depth - 1) as f64 } else { 0.0 };
    for (branch, norm) in [("attn", "norm1"), ("mlp", "norm2")] {
        let x = stream.norm(pass, &format!("blocks.{i}.{norm}"), arch.ln_eps)?;
        let out = if branch == "attn" { attention(arch, pass, i, &x)? } else { mlp(pass, i, &x)? };
        let factors = ops::drop_path(pass.mode.noise, &format!("blocks.{i}.{branch}.drop_path"), rate, out.tensor())?;
        stream.push(pass, out, factors)?;
    }
    Ok(())
}

fn attention(arch: &Architecture, pass: &Pass, i: usize, x: &Var) -> Result<Var> {
    if let Some(branch) = pass.hooks.mixer(i, x) {
        return tap(pass, Site::Attention(i), branch?);
    }
    let (heads, head_dim) = (arch.blocks[i].heads(), arch.blocks[i].head_dim());
    let qkv = tap(pass, Site::Qkv(i), pass.linear(&format!("blocks.{i}.attn.qkv"), x)?)?;
    let mut o = tap(pass, Site::Heads(i), ops::attention(&qkv, heads, head_dim, None)?)?;
    drop(qkv);
    if let Some(g) = pass.hooks.head_gate(i) {
        o = ops::gate(&o, g, head_dim)?;
    }
    let o = tap(pass, Site::GatedHeads(i), o)?;
    tap(pass, Site::Attention(i), pass.linear(&format!("blocks.{i}.attn.proj"), &o)?)
}

fn mlp(pass: &Pass, i: usize, x: &Var) -> Result<Var> {
    let layer = format!("blocks.{i}.mlp.fc1");
    let (weight, bias) = (pass.operand(&format!("{layer}.weight"))?, pass.var(&format!("{layer}.bias"))?);
    let gate = pass.hooks.hidden_gate(i);
    let hidden = ops::linear(x, weight, None)?;
    let activated = if pass.hooks.taps() {
        let mut t = tap(pass, Site::Hidden(i), ops::add_bias(&hidden, bias)?)?;
        if let Some(g) = gate {
            t = ops::gate(&t, g, 1)?;
        }
        tap(pass, Site::Activated(i), ops::gelu(&tap(pass, Site::GatedHidden(i), t)?)?)?
    } else {
        ops::bias_gelu(hidden, Some(bias), gate)?
    };
    pass.linear(&format!("blocks.{i}.mlp.fc2"), &activated)
}

fn tap(pass: &Pass, site: Site, value: Var) -> Result<Var> {
    if pass.hooks.taps() { pass.hooks.tap(site, value) } else { Ok(value) }
}
