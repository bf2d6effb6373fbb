//! Where files keep the weights of a model, and under which names: tables that loading and saving both read. DeiT's own
//! names in the crate are those of the official checkpoints; rows that are split or joined come with their families.

use super::{Blob, Checkpoint};
use crate::{Error, Result};

/// Keys under which training scripts keep the weights, in order of preference (base_models 1.4).
pub const WRAPPERS: [&str; 4] = ["model", "state_dict", "model_ema", "state_dict_ema"];

/// The weights of a checkpoint: unwrapped, without the `module.` of data-parallel training. With `wrapper` the tensors
/// under that key, else those under the first of [`WRAPPERS`] that has any, else all. Errors: [`Error::Key`] when there
/// is nothing under `wrapper`.
pub fn unwrap(checkpoint: Checkpoint, wrapper: Option<&str>) -> Result<Vec<(String, Blob)>> {
    fn inside<'a>(name: &'a str, wrapper: &str) -> Option<&'a str> {
        name.strip_prefix(wrapper)?.strip_prefix('/')
    }
    let has_any = |wrapper: &&str| checkpoint.tensors.iter().any(|(name, _)| inside(name, wrapper).is_some());
    if let Some(wrapper) = wrapper.filter(|wrapper| !has_any(wrapper)) {
        return Err(Error::key(&checkpoint.file.display().to_string(), wrapper, "tensors under this key", "none"));
    }
    let wrapper = wrapper.or_else(|| WRAPPERS.into_iter().find(has_any));
    let tensors = checkpoint.tensors.into_iter().filter_map(|(name, blob)| {
        let name = wrapper.map_or(Some(&name[..]), |wrapper| inside(&name, wrapper))?;
        Some((name.strip_prefix("module.").unwrap_or(name).to_string(), blob))
    });
    Ok(tensors.collect())
}

/// The names in files of a gate vector (`heads` or `hidden` of `block`, else the embedding's) of SAViT's gated model of
/// `depth` blocks (savit 9). The embedding gate has `depth + 1` equal copies: any is read, all are written.
pub fn savit_gate(kind: &str, block: usize, depth: usize) -> Vec<String> {
    let of = |block: usize, gate: &str| format!("blocks.{block}.{gate}.weight");
    match kind {
        "heads" => vec![of(block, "attn.attn_gate")],
        "hidden" => vec![of(block, "mlp.hidden_gate1")],
        _ => ["res_gate.weight".into()].into_iter().chain((0..depth).map(|i| of(i, "res_gate"))).collect(),
    }
}
