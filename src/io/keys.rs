//! Names of tensors in files and in the crate: one list of [`Rule`]s for each family and stage, applied in both
//! directions. A name that no rule mentions is the same on both sides.
//!
//! A list of rules says nothing about completeness: a rule whose tensors are all absent is passed over, and the model
//! that is filled lists what it misses.

use super::{Blob, BlobType, Checkpoint};
use crate::models::architecture::Family;
use crate::{Error, Result};

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
pub enum Rule {
    /// The same tensor under another name.
    Rename {
        /// Name in the file.
        file: String,
        /// Name in the crate.
        ours: String,
    },
    /// One tensor that the file repeats under several names, all equal.
    Copies {
        /// Names in the file; reading accepts any of them, writing emits all.
        files: Vec<String>,
        /// Name in the crate.
        ours: String,
    },
    /// Tensors of the file whose rows (dimension 0) follow each other in ours.
    Rows {
        /// Names in the file, each with its share of the rows: `[("qk", 2), ("v", 1)]`.
        files: Vec<(String, usize)>,
        /// Name in the crate.
        ours: String,
    },
    /// A tensor of the file that is recomputed or not needed; not written.
    Ignore {
        /// Name in the file.
        file: String,
    },
}

/// The rules of a model with `depth` blocks.
pub fn rules(family: Family, stage: Stage, depth: usize) -> Vec<Rule> {
    let rename = |file: String, ours: String| Rule::Rename { file, ours };
    match (family, stage) {
        (Family::Deit, Stage::Dense) => Vec::new(),
        (Family::Deit, Stage::SavitGated) => {
            let mut rules = Vec::with_capacity(2 * depth + 1);
            for l in 0..depth {
                rules.push(rename(format!("blocks.{l}.attn.attn_gate.weight"), format!("gates.heads.{l}")));
                rules.push(rename(format!("blocks.{l}.mlp.hidden_gate1.weight"), format!("gates.hidden.{l}")));
            }
            let mut files: Vec<_> = (0..depth).map(|l| format!("blocks.{l}.res_gate.weight")).collect();
            files.push("res_gate.weight".into());
            rules.push(Rule::Copies { files, ours: "gates.embed".into() });
            rules
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
        return Err(key_error(&checkpoint.file.display().to_string(), wrapper, "tensors under this key", "none"));
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
    let mut tensors: Tensors = tensors.into();
    for rule in rules {
        match rule {
            Rule::Rename { file, ours } => {
                tensors.replace(&[file], |mut found| Ok(vec![(ours.clone(), found.remove(0))]))?
            }
            Rule::Ignore { file } => tensors.replace(&[file], |_| Ok(Vec::new()))?,
            Rule::Copies { files, ours } => {
                let names: Vec<&String> = files.iter().collect();
                tensors.replace(&names, |mut found| match found.iter().all(|blob| *blob == found[0]) {
                    true => Ok(vec![(ours.clone(), found.remove(0))]),
                    false => Err(key_error(file, &files.join(", "), "equal copies", "different tensors")),
                })?;
            }
            Rule::Rows { files, ours } => {
                let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
                tensors.replace(&names, |found| Ok(vec![(ours.clone(), concat_rows(file, files, found)?)]))?;
            }
        }
    }
    Ok(tensors.list())
}

/// The inverse of [`from_file`]: what to write to a file.
///
/// Errors: [`Error::Key`] when rows cannot be split as the rule says.
pub fn to_file(file: &str, tensors: Vec<(String, Blob)>, rules: &[Rule]) -> Result<Vec<(String, Blob)>> {
    let mut tensors: Tensors = tensors.into();
    for rule in rules {
        match rule {
            Rule::Rename { file, ours } => {
                tensors.replace(&[ours], |mut found| Ok(vec![(file.clone(), found.remove(0))]))?
            }
            Rule::Ignore { .. } => {}
            Rule::Copies { files, ours } => tensors
                .replace(&[ours], |found| Ok(files.iter().map(|name| (name.clone(), found[0].clone())).collect()))?,
            Rule::Rows { files, ours } => {
                tensors.replace(&[ours], |mut found| split_rows(file, files, ours, found.remove(0)))?;
            }
        }
    }
    Ok(tensors.list())
}

/// Named tensors in order, with holes where one was taken out.
struct Tensors {
    slots: Vec<Vec<(String, Blob)>>,
    index: std::collections::HashMap<String, usize>,
}

impl From<Vec<(String, Blob)>> for Tensors {
    fn from(list: Vec<(String, Blob)>) -> Self {
        let index = list.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        Self { slots: list.into_iter().map(|tensor| vec![tensor]).collect(), index }
    }
}

impl Tensors {
    /// Takes the tensors called `names` out, those that there are in the order of `names`, and puts what `make` makes
    /// of them in the place of the last. Does nothing when there are none.
    fn replace(
        &mut self,
        names: &[&String],
        make: impl FnOnce(Vec<Blob>) -> Result<Vec<(String, Blob)>>,
    ) -> Result<()> {
        let places: Vec<usize> = names.iter().filter_map(|name| self.index.remove(*name)).collect();
        let Some(last) = places.iter().max().copied() else {
            return Ok(());
        };
        let taken = places.iter().flat_map(|at| std::mem::take(&mut self.slots[*at])).map(|(_, blob)| blob).collect();
        self.slots[last] = make(taken)?;
        Ok(())
    }

    fn list(self) -> Vec<(String, Blob)> {
        self.slots.into_iter().flatten().collect()
    }
}

fn key_error(file: &str, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::Key { file: file.into(), key: key.into(), expected: expected.into(), found: found.into() }
}

fn concat_rows(file: &str, parts: &[(String, usize)], found: Vec<Blob>) -> Result<Blob> {
    let names = || parts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let rows: Vec<usize> = found.iter().map(|blob| blob.shape.first().copied().unwrap_or(0)).collect();
    let (dtype, tail) = (found[0].dtype, found[0].shape.get(1..).unwrap_or_default().to_vec());
    let alike = |blob: &Blob| blob.dtype == dtype && blob.shape.get(1..) == Some(&tail[..]);
    let unit = rows[0] / parts[0].1.max(1);
    let shares = rows.iter().zip(parts).all(|(rows, (_, share))| Some(*rows) == unit.checked_mul(*share));
    if found.len() != parts.len() || !shares || !found.iter().all(alike) {
        let shapes: Vec<_> = found.iter().map(|blob| (blob.dtype.name(), &blob.shape)).collect();
        return Err(key_error(file, &names(), "all of them, alike but for their rows", format!("{shapes:?}")));
    }
    let shape: Vec<usize> = std::iter::once(rows.iter().sum()).chain(tail).collect();
    Blob::new(dtype, shape, found.into_iter().flat_map(|blob| blob.bytes).collect())
}

fn split_rows(file: &str, parts: &[(String, usize)], ours: &str, blob: Blob) -> Result<Vec<(String, Blob)>> {
    let shares: usize = parts.iter().map(|(_, share)| share).sum();
    let rows = blob.shape.first().copied().unwrap_or(0);
    if shares == 0 || blob.shape.is_empty() || !rows.is_multiple_of(shares) {
        return Err(key_error(file, ours, format!("rows in {shares} equal shares"), format!("{:?}", blob.shape)));
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

/// The gates a dense checkpoint lacks are 1: `count` ones.
pub fn open_gate(count: usize) -> Blob {
    let bytes = std::iter::repeat_n(1.0f32.to_le_bytes(), count).flatten().collect();
    Blob { dtype: BlobType::F32, shape: vec![count], bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(rows: usize, first: f32) -> Blob {
        let values: Vec<f32> = (0..2 * rows).map(|i| first + i as f32).collect();
        Blob::from_f32([rows, 2], &values).unwrap_or_else(|error| panic!("{error}"))
    }

    fn named(list: &[(&str, &Blob)]) -> Vec<(String, Blob)> {
        list.iter().map(|(name, blob)| (name.to_string(), (*blob).clone())).collect()
    }

    #[test]
    fn savit_gates_round_trip_with_all_copies() -> Result<()> {
        let (a, b, c, w) = (blob(1, 0.0), blob(2, 5.0), blob(3, 9.0), blob(1, 7.0));
        let ours = named(&[("gates.heads.1", &a), ("norm.weight", &w), ("gates.hidden.0", &b), ("gates.embed", &c)]);
        let rules = rules(Family::Deit, Stage::SavitGated, 2);
        let file = to_file("f", ours.clone(), &rules)?;
        let names: Vec<&str> = file.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "blocks.1.attn.attn_gate.weight",
            "norm.weight",
            "blocks.0.mlp.hidden_gate1.weight",
            "blocks.0.res_gate.weight",
            "blocks.1.res_gate.weight",
            "res_gate.weight",
        ];
        assert_eq!(names, expected);
        assert_eq!(from_file("f", file.clone(), &rules)?, ours);
        let one_copy = file[..4].to_vec();
        assert_eq!(from_file("f", one_copy, &rules)?, ours);
        let mut unequal = file;
        unequal[5].1 = blob(3, 1.0);
        assert!(matches!(from_file("f", unequal, &rules), Err(Error::Key { .. })));
        assert_eq!(open_gate(2).to_f32()?, [1.0, 1.0]);
        Ok(())
    }

    #[test]
    fn rows_are_joined_and_split() -> Result<()> {
        let rules = [
            Rule::Rows { files: vec![("qk".into(), 2), ("v".into(), 1)], ours: "qkv".into() },
            Rule::Ignore { file: "index".into() },
        ];
        let (qk, v, x) = (blob(4, 0.0), blob(2, 8.0), blob(1, 0.5));
        let ours = from_file("f", named(&[("v", &v), ("index", &x), ("qk", &qk), ("x", &x)]), &rules)?;
        assert_eq!(ours, named(&[("qkv", &blob(6, 0.0)), ("x", &x)]));
        assert_eq!(to_file("f", ours, &rules)?, named(&[("qk", &qk), ("v", &v), ("x", &x)]));
        assert!(from_file("f", named(&[("qk", &qk)]), &rules).is_err());
        assert!(from_file("f", named(&[("qk", &qk), ("v", &qk)]), &rules).is_err());
        assert!(to_file("f", named(&[("qkv", &qk)]), &rules).is_err());
        Ok(())
    }

    #[test]
    fn dense_weights_are_unwrapped() -> Result<()> {
        let (a, b) = (blob(1, 0.0), blob(1, 1.0));
        let tensors = named(&[("optimizer/0", &b), ("model_ema/w", &b), ("model/module.w", &a)]);
        let checkpoint = Checkpoint { tensors, ..Checkpoint::default() };
        assert_eq!(unwrap(checkpoint.clone(), None)?, named(&[("w", &a)]));
        assert_eq!(unwrap(checkpoint.clone(), Some("model_ema"))?, named(&[("w", &b)]));
        assert!(unwrap(checkpoint, Some("state_dict")).is_err());
        let bare = Checkpoint { tensors: named(&[("module.w", &a), ("b", &b)]), ..Checkpoint::default() };
        let tensors = unwrap(bare, None)?;
        assert_eq!(tensors, named(&[("w", &a), ("b", &b)]));
        assert_eq!(from_file("f", tensors.clone(), &rules(Family::Deit, Stage::Dense, 2))?, tensors);
        Ok(())
    }
}
