//! Models in files: safetensors with the architecture in its metadata, and PyTorch's `.pth` in and out.
//!
//! Keys and shapes are those of the official checkpoints (base_models 1.4). Metadata that [`Model::save`] writes:
//! [`ARCHITECTURE`] (JSON), [`STAGE`] and [`FORMAT_VERSION`]. A file without it is read by its shapes.

use super::{Architecture, Block, Family, Mixer, Model, Reduce, deit, interpolate};
use crate::io::keys::{self, Stage};
use crate::io::{self, Blob, Checkpoint, pth, safetensors};
use crate::nn::Params;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};
use std::path::Path;

/// Metadata key of the [`Architecture`], as JSON.
pub const ARCHITECTURE: &str = "espalier.architecture";
/// Metadata key of what the model is in the middle of: `dense` for a plain one, pruned or not.
pub const STAGE: &str = "espalier.stage";
/// Metadata key of the version of this layout: `1`.
pub const FORMAT_VERSION: &str = "espalier.format_version";

const DENSE: &str = "dense";
const VERSION: &str = "1";

/// How [`Model::load`] reads a file; the default takes it as it is.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The model to fill. `None`: the one that the metadata names, else the one that the shapes imply.
    pub architecture: Option<Architecture>,
    /// Width of a head, for files that do not say: 64 when `None`, as in every published DeiT.
    pub head_dim: Option<usize>,
    /// Key of the weights inside a `.pth`, such as `model_ema`; `None`: the usual ones.
    pub wrapper: Option<String>,
    /// Side of the images in place of the architecture's; the position embedding is resized (base_models 1.5).
    pub img_size: Option<usize>,
    /// Number of classes in place of the architecture's; needs [`Self::new_head`] when the file has another.
    pub num_classes: Option<usize>,
    /// Seed of fresh heads: heads that the file lacks, or has for another number of classes, are initialised.
    pub new_head: Option<u64>,
    /// Drops the distillation token, its position and its head, to fill a plain model.
    pub drop_distillation: bool,
}

/// Names and float tensors of a checkpoint that are on their way into a model.
struct Weights {
    file: String,
    params: Params,
}

impl Model {
    /// Reads a model from a safetensors or `.pth` file.
    ///
    /// The architecture is that of `options`, else the metadata's, else implied by the shapes: depth, embedding width,
    /// hidden widths, patch size, classes and distillation directly, heads as `rows(qkv) / (3 head_dim)`, the image
    /// size from the position embedding. Other float types become `f32`. Errors name file, key, what was expected and
    /// what was found: [`Error::Io`], [`Error::File`] for a damaged file, [`Error::Key`] for missing, unexpected,
    /// misshapen or non-finite tensors, [`Error::Invalid`] for an architecture that no model can have.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        Self::from_checkpoint(io::read(path)?, options)
    }

    /// [`Model::load`] of a checkpoint that is in memory already.
    pub fn from_checkpoint(checkpoint: Checkpoint, options: &LoadOptions) -> Result<Self> {
        let file = checkpoint.file.display().to_string();
        let stored = metadata(&file, &checkpoint)?;
        let tensors = keys::unwrap(checkpoint, options.wrapper.as_deref())?;
        let family = options.architecture.as_ref().or(stored.as_ref()).map_or(Family::Deit, |arch| arch.family);
        let depth = depth(&file, &tensors)?;
        let tensors = keys::from_file(&file, tensors, &keys::rules(family, Stage::Dense, depth))?;
        let mut weights = Weights::new(file, tensors)?;
        let mut arch = match options.architecture.clone().or(stored) {
            Some(arch) => arch,
            None => weights.infer(depth, options.head_dim.unwrap_or(64))?,
        };
        if options.drop_distillation {
            arch.distilled = options.architecture.is_some() && arch.distilled;
        }
        arch.img_size = options.img_size.unwrap_or(arch.img_size);
        arch.num_classes = options.num_classes.unwrap_or(arch.num_classes);
        arch.validate()?;
        // A header may claim a million blocks; the tensors that are there bound what is worth listing.
        if arch.blocks.len() > weights.params.len().max(1) && options.architecture.is_none() {
            let found = format!("{} tensors", weights.params.len());
            return Err(weights.error(ARCHITECTURE, &format!("tensors of {} blocks", arch.blocks.len()), found));
        }
        weights.distillation(&arch, options.drop_distillation)?;
        if options.architecture.is_some() || options.img_size.is_some() {
            weights.positions(&arch)?;
        }
        weights.heads(&arch, options.new_head)?;
        Model::new(arch, weights.params, &weights.file)
    }

    /// Writes the model to a safetensors file, atomically, with its architecture in the metadata and `extra` behind it.
    ///
    /// Errors: [`Error::Invalid`] for an `extra` key that is taken, [`Error::Io`].
    pub fn save(&self, path: impl AsRef<Path>, extra: &[(String, String)]) -> Result<()> {
        let json = serde_json::to_string(self.arch())
            .map_err(|error| Error::invalid("architecture", "one that JSON can hold", error))?;
        let own = [(FORMAT_VERSION, VERSION.to_string()), (STAGE, DENSE.into()), (ARCHITECTURE, json)];
        let own = own.into_iter().map(|(key, value)| (key.to_string(), value));
        let metadata: Vec<(String, String)> = own.chain(extra.iter().cloned()).collect();
        safetensors::write(path, &self.blobs()?, &metadata)
    }

    /// Writes the model as the official checkpoints are, `{"model": state_dict}`, atomically; it carries no metadata,
    /// so a reader needs the width of the heads when it is not 64.
    ///
    /// Errors: [`Error::Invalid`] for more than 4 GiB, [`Error::Io`].
    pub fn save_pth(&self, path: impl AsRef<Path>) -> Result<()> {
        pth::write(path, &self.blobs()?, Some("model"))
    }

    fn blobs(&self) -> Result<Vec<(String, Blob)>> {
        let blob = |(name, tensor): (&str, &Tensor)| {
            let values = tensor.to_dtype(DType::F32);
            Ok((name.to_string(), Blob::from_f32(tensor.shape().to_vec(), values.slice::<f32>()?)?))
        };
        let blobs: Result<Vec<_>> = self.params().iter().map(blob).collect();
        let rules = keys::rules(self.arch().family, Stage::Dense, self.arch().blocks.len());
        keys::to_file("model", blobs?, &rules)
    }
}

/// The architecture in the metadata, after checking version and stage.
fn metadata(file: &str, checkpoint: &Checkpoint) -> Result<Option<Architecture>> {
    let find = |name: &str| checkpoint.metadata.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    for (key, expected) in [(FORMAT_VERSION, VERSION), (STAGE, DENSE)] {
        if let Some(found) = find(key).filter(|found| *found != expected) {
            return Err(key_error(file, key, expected, found));
        }
    }
    let Some(json) = find(ARCHITECTURE) else { return Ok(None) };
    let parsed = serde_json::from_str::<Architecture>(json).map_err(|error| error.to_string());
    let checked = parsed.and_then(|arch| arch.validate().map(|()| arch).map_err(|error| error.to_string()));
    checked.map(Some).map_err(|error| key_error(file, ARCHITECTURE, "an architecture", error))
}

/// One more than the largest block index.
fn depth(file: &str, tensors: &[(String, Blob)]) -> Result<usize> {
    let index = |name: &str| name.strip_prefix("blocks.")?.split('.').next()?.parse::<usize>().ok();
    let last = tensors.iter().filter_map(|(name, _)| Some((index(name)?, name))).max();
    match last {
        None => Ok(0),
        Some((index, _)) if index < tensors.len() => Ok(index + 1),
        Some((_, name)) => {
            Err(key_error(file, name, "blocks numbered from 0 on", format!("{} tensors in all", tensors.len())))
        }
    }
}

fn key_error(file: &str, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::Key { file: file.into(), key: key.into(), expected: expected.into(), found: found.into() }
}

impl Weights {
    /// Converts to `f32`; refuses integers, NaN and infinities.
    fn new(file: String, tensors: Vec<(String, Blob)>) -> Result<Self> {
        let mut params = Params::default();
        for (name, blob) in tensors {
            if !blob.dtype.is_float() {
                return Err(key_error(&file, &name, "a float type", blob.dtype.name()));
            }
            let values = blob.to_f32()?;
            if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
                return Err(key_error(&file, &name, "finite weights", format!("{} at element {bad}", values[bad])));
            }
            params.insert(name, Tensor::from_slice(&blob.shape, &values)?);
        }
        Ok(Self { file, params })
    }

    fn error(&self, key: &str, expected: &str, found: impl Into<String>) -> Error {
        key_error(&self.file, key, expected, found)
    }

    fn remove(&mut self, gone: impl Fn(&str) -> bool) {
        let kept = self.params.iter().filter(|(name, _)| !gone(name));
        self.params = kept.map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    }

    /// The shape of `key`, which must have `rank` axes.
    fn shape<const RANK: usize>(&self, key: &str) -> Result<[usize; RANK]> {
        let Some(tensor) = self.params.find(key) else { return Err(self.error(key, "a tensor", "no such key")) };
        let found = || self.error(key, &format!("{RANK} axes"), format!("{:?}", tensor.shape()));
        tensor.shape().to_vec().try_into().map_err(|_| found())
    }

    /// The uniform or pruned DeiT whose shapes these are.
    fn infer(&self, depth: usize, head_dim: usize) -> Result<Architecture> {
        let [embed_dim, _, patch_size, _] = self.shape("patch_embed.proj.weight")?;
        let [num_classes, _] = self.shape("head.weight")?;
        let [_, tokens, _] = self.shape("pos_embed")?;
        let distilled = self.params.find("dist_token").is_some();
        let patches = tokens.checked_sub(1 + usize::from(distilled));
        let Some(grid) = patches.and_then(interpolate::side_of) else {
            return Err(self.error("pos_embed", "rows of a square grid and the extra tokens", tokens.to_string()));
        };
        let block = |i: usize| {
            let key = format!("blocks.{i}.attn.qkv.weight");
            let ([rows, _], [hidden, _]) = (self.shape(&key)?, self.shape(&format!("blocks.{i}.mlp.fc1.weight"))?);
            let unit = head_dim.saturating_mul(3);
            if unit == 0 || rows % unit != 0 {
                let expected = format!("a multiple of 3 x {head_dim} rows (the width of a head can be given)");
                return Err(self.error(&key, &expected, format!("{rows} rows")));
            }
            Ok(Block { mixer: Mixer::Attention { heads: rows / unit, head_dim }, hidden, reduce: Reduce::None })
        };
        Ok(Architecture {
            family: Family::Deit,
            img_size: grid.saturating_mul(patch_size),
            patch_size,
            num_classes,
            embed_dim,
            distilled,
            ln_eps: 1e-6,
            blocks: (0..depth).map(block).collect::<Result<_>>()?,
        })
    }

    /// Drops what only a distilled model has, when asked; otherwise a distilled file does not fit a plain model.
    fn distillation(&mut self, arch: &Architecture, drop: bool) -> Result<()> {
        let ours = |name: &str| name == "dist_token" || name.starts_with("head_dist.");
        let found: Vec<&str> = self.params.iter().map(|(name, _)| name).filter(|name| ours(name)).collect();
        if arch.distilled || !found.contains(&"dist_token") {
            return Ok(());
        }
        if !drop {
            let expected = "the keys of a plain model (distillation can be dropped on request)";
            return Err(self.error(&found.join(", "), expected, "a distilled checkpoint"));
        }
        let [one, tokens, dim] = self.shape("pos_embed")?;
        if one != 1 || tokens < 2 {
            return Err(self.error("pos_embed", "[1, 2 + patches, D]", format!("{:?}", [one, tokens, dim])));
        }
        let mut values = self.params.get("pos_embed")?.slice::<f32>()?.to_vec();
        values.drain(dim..2 * dim);
        self.remove(ours);
        self.params.insert("pos_embed", Tensor::from_slice([1, tokens - 1, dim], &values)?);
        Ok(())
    }

    /// Resizes the position embedding to the grid of `arch`; what is no grid at all is left for the shape check.
    fn positions(&mut self, arch: &Architecture) -> Result<()> {
        let Some(pos) = self.params.find("pos_embed") else { return Ok(()) };
        let extra = arch.extra_tokens();
        let rows = pos.shape().get(1).and_then(|rows| rows.checked_sub(extra));
        if **pos.shape() == [1, rows.map_or(0, |rows| rows + extra), arch.embed_dim]
            && rows.and_then(interpolate::side_of).is_some()
        {
            let resized = interpolate::resize_pos_embed(pos, extra, arch.grid())?;
            self.params.insert("pos_embed", resized);
        }
        Ok(())
    }

    /// Fresh heads in place of missing ones and of those for another number of classes, when a seed is given.
    fn heads(&mut self, arch: &Architecture, seed: Option<u64>) -> Result<()> {
        for head in ["head", "head_dist"].into_iter().take(arch.extra_tokens()) {
            let key = format!("{head}.weight");
            let rows = self.params.find(&key).map(|weight| weight.shape().first().copied().unwrap_or(0));
            match (rows, seed) {
                (Some(rows), _) if rows == arch.num_classes => {}
                (None, None) => {}
                (_, Some(seed)) => {
                    for (name, shape) in [
                        (key, vec![arch.num_classes, arch.embed_dim]),
                        (format!("{head}.bias"), vec![arch.num_classes]),
                    ] {
                        self.params.insert(name.clone(), deit::fresh(arch, seed, &name, &shape)?);
                    }
                }
                (Some(rows), None) => {
                    let expected = format!("{} classes (a new head can be asked for)", arch.num_classes);
                    return Err(self.error(&key, &expected, format!("{rows} classes")));
                }
            }
        }
        Ok(())
    }
}
