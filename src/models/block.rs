//! The pre-norm block that all families share: `x += f Mixer(LN1(x))`, `x += f MLP(LN2(x))`. Mixers with queries, keys and
//! values: one packed linear layer (which, head, column), softmax scale `head_dim^-0.5`, a projection. MLP: exact GELU.
//! `f` is drop path's factor of the sample over `residual_divisor`; the rate of block `i` is `i / (depth - 1)` of the mode's.

use super::layout::Layout;
use super::{Architecture, Block, Mixer};
use crate::nn::{Pass, Site, Stream, Tokens};
use crate::{Error, Result, Var, ops};

/// The tensors of block `key` of width `dim` on `tokens` tokens.
pub fn declare(layout: &mut Layout, arch: &Architecture, key: &str, block: &Block, dim: usize, tokens: usize) {
    let inner = block.inner();
    layout.layernorm(&format!("{key}.norm1"), dim, tokens);
    match block.mixer {
        Mixer::Attention { .. } => layout.product(format!("{key}.attn"), [2, inner, tokens, tokens]),
        Mixer::Bottleneck { .. } => {} // RegNetY declares its own
    }
    layout.linear(&format!("{key}.attn.qkv"), [inner.saturating_mul(3), dim], arch.family.qkv_bias(), tokens);
    layout.linear(&format!("{key}.attn.proj"), [dim, inner], true, tokens);
    layout.layernorm(&format!("{key}.norm2"), dim, tokens);
    layout.linear(&format!("{key}.mlp.fc1"), [block.hidden, dim], true, tokens);
    layout.linear(&format!("{key}.mlp.fc2"), [dim, block.hidden], true, tokens);
}

/// Block `i` of the model, called `key`, on the `tokens` of the residual stream.
pub fn forward(
    arch: &Architecture, pass: &Pass, i: usize, key: &str, stream: &mut Stream, tokens: &Tokens,
) -> Result<()> {
    let Tokens::All = tokens;
    let depth = arch.blocks.len();
    let rate = if depth > 1 { pass.mode.drop_path * i as f64 / (depth - 1) as f64 } else { 0.0 };
    for (branch, norm) in [("attn", "norm1"), ("mlp", "norm2")] {
        let x = stream.norm(pass, &format!("{key}.{norm}"), arch.ln_eps)?;
        let out = if branch == "attn" { attention(arch, pass, i, key, &x)? } else { mlp(pass, i, key, &x)? };
        // Draws have the number of the block, whatever the family calls it.
        let (noise, site) = (pass.mode.noise, format!("blocks.{i}.{branch}.drop_path"));
        let factors = ops::drop_path(noise, &site, rate, 1.0 / arch.residual_divisor, out.tensor())?;
        stream.push(pass, out, factors)?;
    }
    stream.tap(pass, Site::Block(i))
}

fn attention(arch: &Architecture, pass: &Pass, i: usize, key: &str, x: &Var) -> Result<Var> {
    if let Some(branch) = pass.hooks.mixer(i, x) {
        return pass.tap(Site::Attention(i), branch?);
    }
    let block = &arch.blocks[i];
    let qkv = pass.tap(Site::Qkv(i), pass.linear(&format!("{key}.attn.qkv"), x)?)?;
    let mixed = match block.mixer {
        Mixer::Attention { heads, head_dim } => ops::attention(&qkv, heads, head_dim, None)?,
        Mixer::Bottleneck { .. } => return Err(Error::invalid(key, "a mixer of tokens", "a bottleneck")),
    };
    drop(qkv);
    let mut o = pass.tap(Site::Heads(i), mixed)?;
    if let Some(g) = pass.hooks.head_gate(i) {
        o = ops::gate(&o, g, block.head_dim())?;
    }
    let o = pass.tap(Site::GatedHeads(i), o)?;
    pass.tap(Site::Attention(i), pass.linear(&format!("{key}.attn.proj"), &o)?)
}

fn mlp(pass: &Pass, i: usize, key: &str, x: &Var) -> Result<Var> {
    let layer = format!("{key}.mlp.fc1");
    let (weight, bias) = (pass.operand(&format!("{layer}.weight"))?, pass.var(&format!("{layer}.bias"))?);
    let gate = pass.hooks.hidden_gate(i);
    let hidden = ops::linear(x, weight, None)?;
    let activated = if pass.hooks.taps() {
        let mut t = pass.tap(Site::Hidden(i), ops::add_bias(&hidden, bias)?)?;
        if let Some(g) = gate {
            t = ops::gate(&t, g, 1)?;
        }
        pass.tap(Site::Activated(i), ops::gelu(&pass.tap(Site::GatedHidden(i), t)?)?)?
    } else {
        ops::bias_gelu(hidden, Some(bias), gate)?
    };
    pass.linear(&format!("{key}.mlp.fc2"), &activated)
}
