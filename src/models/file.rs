//! Models in files: official checkpoints in, our own in and out.
//!
//! Our safetensors carry the [`Architecture`] as JSON under `espalier.architecture`, and what the model is in the middle
//! of under `espalier.stage`. Foreign files carry neither: the architecture is then the caller's, or is read off the
//! shapes. A header of a hostile file cannot ask for memory: every shape is compared with the bytes that are there.

use super::{Architecture, Block, Family, Mixer, Model, Reduce};
use crate::io::{self, Blob, BlobType, Checkpoint, keys};
use crate::nn::Params;
use crate::tensor::Tensor;
use crate::{DType, Error, Result};
use std::path::Path;

/// Metadata key of the architecture.
pub const ARCHITECTURE: &str = "espalier.architecture";
/// Metadata key of the stage: `dense`, `finetune` ….
pub const STAGE: &str = "espalier.stage";

/// What to do where a file and the wanted model differ.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The wanted model; `None` takes the file's own, else what the shapes say.
    pub arch: Option<Architecture>,
    /// Head width of a model whose architecture is read off the shapes.
    pub head_dim: usize,
    /// Give a model with another number of classes a fresh head instead of an error.
    pub new_head: bool,
    /// Load a distilled checkpoint into a plain model: its second token, head and position go.
    pub drop_distillation: bool,
    /// Seed of a fresh head.
    pub seed: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { arch: None, head_dim: 64, new_head: false, drop_distillation: false, seed: 0 }
    }
}

impl Model {
    /// Reads a `.pth` or safetensors file. Half-precision weights become `f32`; positions of another grid are resized.
    ///
    /// Errors name file and key: not a checkpoint, keys missing or unexpected, other shapes, values that are not finite.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Model> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let checkpoint = io::read(path)?;
        let own = architecture(&checkpoint)?;
        let mut tensors = keys::unwrap(checkpoint, None)?;
        if options.drop_distillation {
            drop_distillation(&file, &mut tensors)?;
        }
        let found = match own {
            Some(arch) => arch,
            None => infer(&file, &tensors, options.head_dim)?,
        };
        let arch = options.arch.clone().unwrap_or(found);
        arch.validate()?;
        let mut params = Params::default();
        for (name, blob) in tensors {
            params.insert(name.clone(), to_tensor(&file, &name, &blob)?);
        }
        // Only a caller may ask for another grid: a file's own claim could ask for any amount of memory.
        if options.arch.is_some() {
            fit_positions(&arch, &mut params)?;
        }
        if options.new_head {
            renew_heads(&arch, &mut params, options.seed)?;
        }
        Model::new(arch, params, &file)
    }

    /// Writes safetensors with the architecture and `stage`, atomically.
    pub fn save(&self, path: impl AsRef<Path>, stage: &str) -> Result<()> {
        let arch = serde_json::to_string(self.arch()).map_err(|e| Error::invalid("architecture", "JSON", e))?;
        let metadata = [(ARCHITECTURE.to_string(), arch), (STAGE.to_string(), stage.to_string())];
        io::safetensors::write(path, &self.blobs()?, &metadata)
    }

    /// Writes the official form of PyTorch files, `{"model": state_dict}`, atomically.
    pub fn save_pth(&self, path: impl AsRef<Path>) -> Result<()> {
        io::pth::write(path, &self.blobs()?, Some("model"))
    }

    fn blobs(&self) -> Result<Vec<(String, Blob)>> {
        self.params().iter().map(|(name, tensor)| Ok((name.to_string(), to_blob(tensor)?))).collect()
    }
}

/// The architecture that one of our files carries.
pub fn architecture(checkpoint: &Checkpoint) -> Result<Option<Architecture>> {
    let Some((_, text)) = checkpoint.metadata.iter().find(|(key, _)| key == ARCHITECTURE) else { return Ok(None) };
    let wrong = |found: String| Error::Key {
        file: checkpoint.file.display().to_string(),
        key: ARCHITECTURE.into(),
        expected: "an architecture".into(),
        found,
    };
    let arch: Architecture = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    arch.validate().map_err(|e| wrong(e.to_string()))?;
    Ok(Some(arch))
}

/// The DeiT that these tensors belong to, from their shapes; `head_dim` is not in them.
pub fn infer(file: &str, tensors: &[(String, Blob)], head_dim: usize) -> Result<Architecture> {
    let shape = |name: &str, rank: usize| -> Result<&[usize]> {
        let found = tensors.iter().find(|(key, _)| key == name).map(|(_, blob)| blob.shape.as_slice());
        match found {
            Some(shape) if shape.len() == rank => Ok(shape),
            other => Err(Error::Key {
                file: file.into(),
                key: name.into(),
                expected: format!("a DeiT's tensor of {rank} dimensions"),
                found: other.map_or("none".into(), |shape| format!("{shape:?}")),
            }),
        }
    };
    let patch = shape("patch_embed.proj.weight", 4)?;
    let distilled = tensors.iter().any(|(key, _)| key == "dist_token");
    let patches = shape("pos_embed", 3)?[1].saturating_sub(1 + usize::from(distilled));
    let grid = patches.isqrt();
    let mut blocks = Vec::new();
    while tensors.iter().any(|(key, _)| *key == format!("blocks.{}.attn.qkv.weight", blocks.len())) {
        let i = blocks.len();
        let rows = shape(&format!("blocks.{i}.attn.qkv.weight"), 2)?[0];
        let hidden = shape(&format!("blocks.{i}.mlp.fc1.weight"), 2)?[0];
        let heads = rows / (3 * head_dim.max(1));
        blocks.push(Block { mixer: Mixer::Attention { heads, head_dim }, hidden, reduce: Reduce::None });
    }
    Ok(Architecture {
        family: Family::Deit,
        img_size: grid.saturating_mul(patch[2]),
        patch_size: patch[2],
        num_classes: shape("head.weight", 2)?[0],
        embed_dim: patch[0],
        distilled,
        ln_eps: 1e-6,
        blocks,
    })
}

/// Takes out what only a distilled model has.
fn drop_distillation(file: &str, tensors: &mut Vec<(String, Blob)>) -> Result<()> {
    let before = tensors.len();
    tensors.retain(|(name, _)| name != "dist_token" && !name.starts_with("head_dist."));
    if tensors.len() == before {
        return Ok(());
    }
    let Some((name, blob)) = tensors.iter_mut().find(|(name, _)| name == "pos_embed") else { return Ok(()) };
    let (&[1, tokens, width], true) = (blob.shape.as_slice(), blob.check().is_ok() && blob.shape.get(1) > Some(&1))
    else {
        let found = format!("{:?}", blob.shape);
        return Err(Error::Key { file: file.into(), key: name.clone(), expected: "[1, tokens, width]".into(), found });
    };
    let row = width * blob.dtype.size();
    blob.bytes.drain(row..2 * row);
    blob.shape = vec![1, tokens - 1, width];
    Ok(())
}

/// Resizes `pos_embed` when the grid of `arch` is another one.
fn fit_positions(arch: &Architecture, params: &mut Params) -> Result<()> {
    let Some(positions) = params.find("pos_embed") else { return Ok(()) };
    if positions.shape().len() != 3 || positions.dim(1) == arch.num_tokens() {
        return Ok(());
    }
    let resized = super::interpolate::pos_embed(positions, arch.extra_tokens(), arch.grid())?;
    params.insert("pos_embed", resized);
    Ok(())
}

/// Replaces heads of another number of classes by fresh ones.
fn renew_heads(arch: &Architecture, params: &mut Params, seed: u64) -> Result<()> {
    let fresh = Model::init(arch.clone(), seed)?;
    for head in ["head", "head_dist"] {
        let other = params.find(&format!("{head}.weight")).is_some_and(|weight| weight.dim(0) != arch.num_classes);
        for part in ["weight", "bias"] {
            let name = format!("{head}.{part}");
            if let Some(tensor) = fresh.params().find(&name).filter(|_| other) {
                params.insert(name, tensor.clone());
            }
        }
    }
    Ok(())
}

/// A float tensor for a file.
pub fn to_blob(tensor: &Tensor) -> Result<Blob> {
    let dtype = match tensor.dtype() {
        DType::F32 => BlobType::F32,
        DType::F64 => BlobType::F64,
        DType::F16 => BlobType::F16,
        DType::BF16 => BlobType::BF16,
        other => return Err(Error::shape("to_blob", "a float tensor", other)),
    };
    Blob::new(dtype, tensor.shape().to_vec(), tensor.bytes().to_vec())
}

/// An `f32` tensor from a file; an error naming file and key when a value is not finite.
pub fn to_tensor(file: &str, name: &str, blob: &Blob) -> Result<Tensor> {
    let tensor = Tensor::from_slice(blob.shape.as_slice(), &blob.to_f32()?)?;
    if tensor.is_finite() {
        return Ok(tensor);
    }
    let (file, key) = (file.to_string(), name.to_string());
    Err(Error::Key { file, key, expected: "finite values".into(), found: "NaN or infinity".into() })
}
