//! Names of tensors in files and in the crate: one list of [`Rule`]s for each family and stage, applied in both
//! directions. A name that no rule mentions is the same on both sides.
//!
//! A list of rules says nothing about completeness: a rule whose tensors are all absent is passed over, and the model
//! that is filled lists what it misses.

use super::{Blob, Checkpoint};
use crate::models::architecture::Family;
use crate::{Error, Result};
use std::collections::HashMap;

/// What a model is in the middle of; decides which tensors there are beside the plain ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A plain model, as published, pruned or fine-tuned.
    Dense,
    /// SAViT's gated model (savit 9): `gates.heads.{l}`, `gates.hidden.{l}` and `gates.embed`.
    SavitGated,
}

/// How tensors of a file become one of the crate's, and back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "`files` are names in the file, `ours` is the name in the crate")]
pub enum Rule {
    /// One tensor that has other names in the file; reading accepts any of them, all equal, writing emits all.
    Names { files: Vec<String>, ours: String },
    /// Tensors of the file whose rows (dimension 0) follow each other in ours, each with its share of the rows:
    /// `[("qk", 2), ("v", 1)]`.
    Rows { files: Vec<(String, usize)>, ours: String },
    /// A tensor of the file that is recomputed or not needed; not written.
    Ignore { file: String },
}

/// The rules of a model with `depth` blocks.
pub fn rules(family: Family, stage: Stage, depth: usize) -> Vec<Rule> {
    match (family, stage) {
        (Family::Deit, Stage::Dense) => Vec::new(),
        (Family::Deit, Stage::SavitGated) => {
            let rename = |file: String, ours: String| Rule::Names { files: vec![file], ours };
            let gates = (0..depth).flat_map(|l| {
                let heads = rename(format!("blocks.{l}.attn.attn_gate.weight"), format!("gates.heads.{l}"));
                [heads, rename(format!("blocks.{l}.mlp.hidden_gate1.weight"), format!("gates.hidden.{l}"))]
            });
            let copies = (0..depth).map(|l| format!("blocks.{l}.res_gate.weight"));
            let files = copies.chain(["res_gate.weight".into()]).collect();
            gates.chain([Rule::Names { files, ours: "gates.embed".into() }]).collect()
        }
    }
}

/// Keys under which training scripts keep the weights, in order of preference (base_models 1.4).
pub const WRAPPERS: [&str; 4] = ["model", "state_dict", "model_ema", "state_dict_ema"];

/// The weights of a checkpoint: unwrapped, without the `module.` of data-parallel training.
///
/// With `wrapper` the tensors under that key, else those under the first of [`WRAPPERS`] that has any, else all.
/// Errors: [`Error::Key`] when there is nothing under `wrapper`.
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

/// Renames, merges and drops the tensors of a file, in the file's order (a merged tensor stands where its last part
/// stood). `file` is what errors name.
///
/// Errors: [`Error::Key`] for copies that differ, for parts that are missing or do not fit together.
pub fn from_file(file: &str, tensors: Vec<(String, Blob)>, rules: &[Rule]) -> Result<Vec<(String, Blob)>> {
    replace_each(
        tensors,
        rules,
        |rule| match rule {
            Rule::Names { files, .. } => files.iter().collect(),
            Rule::Rows { files, .. } => files.iter().map(|(name, _)| name).collect(),
            Rule::Ignore { file } => vec![file],
        },
        |rule, mut found| match rule {
            Rule::Names { files, .. } if found.iter().any(|blob| *blob != found[0]) => {
                Err(Error::key(file, files.join(", "), "equal copies", "different tensors"))
            }
            Rule::Names { ours, .. } => Ok(vec![(ours.clone(), found.remove(0))]),
            Rule::Rows { files, ours } => Ok(vec![(ours.clone(), concat_rows(file, files, found)?)]),
            Rule::Ignore { .. } => Ok(Vec::new()),
        },
    )
}

/// The inverse of [`from_file`]: what to write to a file.
///
/// Errors: [`Error::Key`] when rows cannot be split as the rule says.
pub fn to_file(file: &str, tensors: Vec<(String, Blob)>, rules: &[Rule]) -> Result<Vec<(String, Blob)>> {
    replace_each(
        tensors,
        rules,
        |rule| match rule {
            Rule::Names { ours, .. } | Rule::Rows { ours, .. } => vec![ours],
            Rule::Ignore { .. } => Vec::new(),
        },
        |rule, found| match rule {
            Rule::Names { files, .. } => Ok(files.iter().map(|name| (name.clone(), found[0].clone())).collect()),
            Rule::Rows { files, ours } => split_rows(file, files, ours, &found[0]),
            Rule::Ignore { .. } => Ok(Vec::new()),
        },
    )
}

/// For every rule, takes the tensors that `names` says and puts what `make` makes of those that there are, in the order
/// of the names, in the place of the last. A rule without any tensor does nothing.
fn replace_each<'r>(
    tensors: Vec<(String, Blob)>,
    rules: &'r [Rule],
    names: impl Fn(&'r Rule) -> Vec<&'r String>,
    make: impl Fn(&Rule, Vec<Blob>) -> Result<Vec<(String, Blob)>>,
) -> Result<Vec<(String, Blob)>> {
    let mut index: HashMap<String, usize> =
        tensors.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
    let mut slots: Vec<_> = tensors.into_iter().map(|tensor| vec![tensor]).collect();
    for rule in rules {
        let places: Vec<usize> = names(rule).into_iter().filter_map(|name| index.remove(name)).collect();
        let Some(last) = places.iter().max() else { continue };
        let taken = places.iter().flat_map(|at| std::mem::take(&mut slots[*at])).map(|(_, blob)| blob).collect();
        slots[*last] = make(rule, taken)?;
    }
    Ok(slots.into_iter().flatten().collect())
}

fn concat_rows(file: &str, parts: &[(String, usize)], found: Vec<Blob>) -> Result<Blob> {
    let rows: Vec<usize> = found.iter().map(|blob| blob.shape.first().copied().unwrap_or(0)).collect();
    let (dtype, tail) = (found[0].dtype, found[0].shape.get(1..).unwrap_or_default().to_vec());
    let alike = |blob: &Blob| blob.dtype == dtype && blob.shape.get(1..) == Some(&tail[..]);
    let unit = rows[0] / parts[0].1.max(1);
    let shares = rows.iter().zip(parts).all(|(rows, (_, share))| Some(*rows) == unit.checked_mul(*share));
    if found.len() != parts.len() || !shares || !found.iter().all(alike) {
        let names: Vec<_> = parts.iter().map(|(name, _)| name.as_str()).collect();
        let shapes: Vec<_> = found.iter().map(|blob| (blob.dtype.name(), &blob.shape)).collect();
        return Err(Error::key(file, names.join(", "), "all of them, alike but for their rows", format!("{shapes:?}")));
    }
    let shape: Vec<usize> = std::iter::once(rows.iter().sum()).chain(tail).collect();
    Blob::new(dtype, shape, found.into_iter().flat_map(|blob| blob.bytes).collect())
}

fn split_rows(file: &str, parts: &[(String, usize)], ours: &str, blob: &Blob) -> Result<Vec<(String, Blob)>> {
    let shares: usize = parts.iter().map(|(_, share)| share).sum();
    let rows = blob.shape.first().copied().unwrap_or(0);
    if shares == 0 || blob.shape.is_empty() || !rows.is_multiple_of(shares) {
        return Err(Error::key(file, ours, format!("rows in {shares} equal shares"), format!("{:?}", blob.shape)));
    }
    let mut rest = &blob.bytes[..];
    let parts = parts.iter().map(|(name, share)| {
        let (bytes, after) = rest.split_at(blob.bytes.len() / shares * share);
        rest = after;
        let mut shape = blob.shape.clone();
        shape[0] = rows / shares * share;
        Ok((name.clone(), Blob::new(blob.dtype, shape, bytes.to_vec())?))
    });
    parts.collect()
}
