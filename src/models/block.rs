//! The pre-norm block that all families share: `x += f Mixer(LN1(x))`, `x += f MLP(LN2(x))`. Mixers with queries, keys and
//! values: one packed linear layer (which, head, column), softmax scale `head_dim^-0.5`, a projection. MLP: exact GELU.
//! `f` is drop path's factor of the sample over `residual_divisor`, at the rate of [`drop_rate`].

use super::layout::{Init, Layout, Work};
use super::{Architecture, Block, Family, Mixer};
use crate::nn::{Pass, Site, Stream, Tokens};
use crate::{Error, Result, Var, ops, ops::Windows};

/// The tensors of block `key` of width `dim` on `tokens` tokens.
pub fn declare(layout: &mut Layout, arch: &Architecture, key: &str, block: &Block, dim: usize, tokens: usize) {
    let inner = block.inner();
    layout.layernorm(&format!("{key}.norm1"), dim, tokens);
    match block.mixer {
        Mixer::Attention { .. } => layout.product(format!("{key}.attn"), [2, inner, tokens, tokens]),
        Mixer::Window { heads, window, .. } => {
            layout.product(format!("{key}.attn"), [2, inner, tokens, window, window]);
            let entries = window.saturating_mul(2).saturating_sub(1).saturating_pow(2);
            layout.tensor(bias_table(key), &[entries, heads], Init::Normal(0.02), Work::None);
        }
        Mixer::Bottleneck { .. } => {} // RegNetY declares its own
    }
    layout.linear(&format!("{key}.attn.qkv"), [inner.saturating_mul(3), dim], arch.family.qkv_bias(), tokens);
    layout.linear(&format!("{key}.attn.proj"), [dim, inner], true, tokens);
    layout.layernorm(&format!("{key}.norm2"), dim, tokens);
    layout.linear(&format!("{key}.mlp.fc1"), [block.hidden, dim], true, tokens);
    layout.linear(&format!("{key}.mlp.fc2"), [dim, block.hidden], true, tokens);
}

/// The table of relative positions of block `key`.
pub(super) fn bias_table(key: &str) -> String {
    format!("{key}.attn.relative_position_bias_table")
}

/// Block `i` of the model, called `key`, on the `tokens` of the residual stream; recomputed for the gradient if the mode
/// says so.
pub fn forward(
    arch: &Architecture, pass: &Pass, i: usize, key: &str, mut stream: Stream, tokens: &Tokens,
) -> Result<Stream> {
    let Tokens::All = tokens;
    if !pass.recomputes() {
        branches(arch, pass, i, key, &mut stream)?;
        return Ok(stream);
    }
    let (arch, name) = (arch.clone(), key.to_string());
    let y = pass.recompute(key, stream.into_value()?, move |pass, x| {
        let mut stream = Stream::resume(x, i);
        branches(&arch, pass, i, &name, &mut stream)?;
        stream.into_value()
    })?;
    Ok(Stream::resume(y, i + 1))
}

/// The drop-path rate of block `i`: `i / (blocks - 1)` of the model's `rate`, but `i / blocks` in PiT, as its authors publish it;
/// the specification is silent about PiT's.
pub fn drop_rate(arch: &Architecture, i: usize, rate: f64) -> f64 {
    let blocks = arch.blocks.len();
    let parts = if arch.family == Family::Pit { blocks } else { blocks.saturating_sub(1) };
    rate * i as f64 / parts.max(1) as f64
}

/// The two residual branches of a block.
fn branches(arch: &Architecture, pass: &Pass, i: usize, key: &str, stream: &mut Stream) -> Result<()> {
    let rate = drop_rate(arch, i, pass.mode.drop_path);
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
        Mixer::Window { heads, head_dim, window, shift } => {
            let side = qkv.shape()[1].isqrt(); // the tokens are a square grid
            let windows = Windows { height: side, width: side, window, shift };
            ops::window_attention(&qkv, pass.var(&bias_table(key))?, windows, heads, head_dim)?
        }
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
    let gate = pass.hooks.hidden_gate(i);
    let activated = if pass.hooks.taps() {
        let (weight, bias) = (pass.operand(&format!("{layer}.weight"))?, pass.var(&format!("{layer}.bias"))?);
        let mut t = pass.tap(Site::Hidden(i), ops::add_bias(&ops::linear(x, weight, None)?, bias)?)?;
        if let Some(g) = gate {
            t = ops::gate(&t, g, 1)?;
        }
        pass.tap(Site::Activated(i), ops::gelu(&pass.tap(Site::GatedHidden(i), t)?)?)?
    } else {
        pass.linear_gelu(&layer, x, gate)?
    };
    pass.linear(&format!("{key}.mlp.fc2"), &activated)
}
