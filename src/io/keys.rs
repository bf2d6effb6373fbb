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

/// The classifier of Swin in timm's files.
const TIMM_HEAD: &str = "head.fc.";

/// What timm's files call tensor `name` of an official Swin file: the merge after stage `s` stands at the head of stage `s + 1`,
/// the classifier one level deeper.
pub fn swin_to_timm(name: &str) -> String {
    match name.strip_prefix("head.") {
        Some(rest) => format!("{TIMM_HEAD}{rest}"),
        None => merge_of_stage(name, |stage| stage.checked_add(1)),
    }
}

/// The reverse of [`swin_to_timm`].
pub fn swin_from_timm(name: &str) -> String {
    match name.strip_prefix(TIMM_HEAD) {
        Some(rest) => format!("head.{rest}"),
        None => merge_of_stage(name, |stage| stage.checked_sub(1)),
    }
}

/// `name`, if it is of a merge, with another number of the stage.
fn merge_of_stage(name: &str, number: impl Fn(usize) -> Option<usize>) -> String {
    let parts = name.strip_prefix("layers.").and_then(|rest| rest.split_once(".downsample."));
    let moved = parts.and_then(|(stage, rest)| Some((number(stage.parse().ok()?)?, rest)));
    moved.map_or(name.into(), |(stage, rest)| format!("layers.{stage}.downsample.{rest}"))
}

/// The tensors of a Swin file under their official names, without the buffers, which the sizes give; of other files as they are.
pub fn swin(tensors: Vec<(String, Blob)>) -> Vec<(String, Blob)> {
    let any = |is: &dyn Fn(&str) -> bool| tensors.iter().any(|(name, _)| is(name));
    if !any(&|name| name.ends_with(".relative_position_bias_table")) {
        return tensors;
    }
    // Official files have a merge in the first stage, timm's never.
    let first = any(&|name| name.starts_with("layers.0.downsample."));
    let timm = any(&|name| name.starts_with(TIMM_HEAD)) || !first && any(&|name| name.contains(".downsample."));
    let buffer = |name: &str| name.ends_with(".relative_position_index") || name.ends_with(".attn_mask");
    let kept = tensors.into_iter().filter(|(name, _)| !buffer(name));
    kept.map(|(name, blob)| (if timm { swin_from_timm(&name) } else { name }, blob)).collect()
}
