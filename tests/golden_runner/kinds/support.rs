//! Between the cases and the library: tensors, parameters, architectures, drop-path recordings.

use super::super::case::Case;
use super::super::produced::Produced;
use espalier::models::{Architecture, Block, Mixer, Model, Reduce};
use espalier::nn::Params;
use espalier::noise::Recorded;
use espalier::ops::Reduction;
use espalier::optim::{AdamwConfig, default_rules, group_of};
use espalier::tape::Grads;
use espalier::train::distill::{DistillKind, Distillation};
use espalier::{Tensor, Var};
use serde_json::Value;

/// The library's errors as the runner's.
pub fn text<T>(result: espalier::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// A float tensor of the case.
pub fn tensor(case: &Case, name: &str) -> Result<Tensor, String> {
    let (shape, values) = case.f32(name)?;
    text(Tensor::from_slice(&shape, &values))
}

/// Every tensor under `prefix`.
pub fn params(case: &Case, prefix: &str) -> Result<Params, String> {
    case.under(prefix).map(|(name, _)| Ok((name.to_string(), tensor(case, &format!("{prefix}{name}"))?))).collect()
}

/// Adds a tensor to the results.
pub fn put(produced: &mut Produced, name: impl Into<String>, tensor: &Tensor) {
    produced.put(name, tensor.shape(), tensor.to_f64s());
}

/// Adds every tensor of `params` under `prefix`.
pub fn put_params(produced: &mut Produced, prefix: &str, params: &Params) {
    params.iter().for_each(|(name, tensor)| put(produced, format!("{prefix}{name}"), tensor));
}

/// Adds a gradient under `name`, zeros when none flowed to `var`.
pub fn put_grad(produced: &mut Produced, name: impl Into<String>, grads: &Grads, var: &Var) {
    match grads.get(var) {
        Some(grad) => put(produced, name, grad),
        None => produced.put(name, var.shape(), vec![0.0; var.tensor().numel()]),
    }
}

/// A number of `config` that may be missing.
pub fn config_or(case: &Case, key: &str, default: f64) -> f64 {
    case.maybe(&format!("/config/{key}")).and_then(Value::as_f64).unwrap_or(default)
}

/// The uniform DeiT of `config`.
pub fn architecture(case: &Case) -> Result<Architecture, String> {
    let number = |key: &str| case.config_usize(key);
    if case.maybe("/config/qkv_bias") == Some(&Value::Bool(false)) {
        return Err("a model without qkv bias".into());
    }
    let (dim, depth, heads) = (number("embed_dim")?, number("depth")?, number("num_heads")?);
    let mut arch = Architecture::deit(number("img_size")?, number("patch_size")?, dim, depth, heads)
        .with_classes(number("num_classes")?)
        .with_hidden((dim as f64 * config_or(case, "mlp_ratio", 4.0)) as usize);
    arch.ln_eps = config_or(case, "ln_eps", 1e-6);
    arch.distilled = case.maybe("/distilled").and_then(Value::as_bool).unwrap_or(case.has("param/dist_token"));
    Ok(arch)
}

/// The same with the widths of a pruned model: `heads` and `hidden` per block, `embed` channels.
pub fn pruned_architecture(case: &Case) -> Result<Architecture, String> {
    let mut arch = architecture(case)?;
    let head_dim = arch.blocks.first().ok_or("no blocks")?.head_dim();
    arch.embed_dim = case.config_usize("embed")?;
    let (heads, hidden) = (case.usizes_at("/config/heads")?, case.usizes_at("/config/hidden")?);
    if heads.len() != arch.blocks.len() || hidden.len() != arch.blocks.len() {
        return Err("heads and hidden are not one number a block".into());
    }
    let block = |(heads, hidden)| Block { mixer: Mixer::Attention { heads, head_dim }, hidden, reduce: Reduce::None };
    arch.blocks = heads.into_iter().zip(hidden).map(block).collect();
    Ok(arch)
}

/// The model of `param/*`.
pub fn model(case: &Case, arch: Architecture) -> Result<Model, String> {
    text(Model::new(arch, params(case, "param/")?, case.name()))
}

/// Drop-path draws from `rows`, in call order: for each block with a rate above 0 attention, then MLP.
pub fn drop_path(rows: &[f32], samples: usize, depth: usize) -> Result<Recorded, String> {
    let sites = (1..depth).flat_map(|i| ["attn", "mlp"].map(|branch| format!("blocks.{i}.{branch}.drop_path")));
    let mut recorded = Recorded::default();
    let mut rows = rows.chunks(samples.max(1));
    for site in sites {
        let row = rows.next().ok_or_else(|| format!("no drop-path row for {site}"))?;
        row.iter().enumerate().for_each(|(sample, &u)| recorded.insert(site.as_str(), sample as u64, vec![u]));
    }
    if rows.next().is_some() { Err("more drop-path rows than branches".into()) } else { Ok(recorded) }
}

/// The field `distillation`, with DeiT's reduction over all elements; none when it is null.
pub fn distillation(case: &Case) -> Result<Distillation, String> {
    let plain = Distillation::default();
    let Some(settings) = case.maybe("/distillation") else { return Ok(plain) };
    let kind = match settings["type"].as_str() {
        Some("soft") => DistillKind::Soft,
        Some("hard") => DistillKind::Hard,
        Some("none") => DistillKind::None,
        other => return Err(format!("distillation {other:?}")),
    };
    let number = |key: &str, default: f64| settings[key].as_f64().unwrap_or(default);
    let (alpha, tau) = (number("alpha", plain.alpha), number("tau", plain.tau));
    Ok(Distillation { kind, alpha, tau, reduction: Reduction::PerElement, single_head: false })
}

/// AdamW with the library's groups from the fields `betas`, `eps` and `weight_decay` below `at`.
pub fn adamw(case: &Case, at: &str, weight_decay: f64) -> Result<AdamwConfig, String> {
    let [first, second] = case.f64s_at(&format!("{at}/betas"))?[..] else { return Err("betas are not two".into()) };
    let eps = case.f64_at(&format!("{at}/eps"))?;
    Ok(AdamwConfig { betas: (first, second), eps, weight_decay, rules: default_rules() })
}

/// The names that the library's groups keep from decay, and the others.
pub fn groups(params: &Params) -> (Vec<String>, Vec<String>) {
    let rules = default_rules();
    let decays = |(name, tensor): &(&str, &Tensor)| group_of(&rules, name, tensor, 1.0).0 != 0.0;
    let (decay, no_decay): (Vec<_>, Vec<_>) = params.iter().partition(decays);
    let names = |list: Vec<(&str, &Tensor)>| list.into_iter().map(|(name, _)| name.to_string()).collect();
    (names(no_decay), names(decay))
}
