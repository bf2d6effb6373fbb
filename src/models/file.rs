//! Models in files: official checkpoints in, our own in and out.
//!
//! Keys and shapes are those of the official checkpoints (base_models 1.4). Our safetensors carry the [`Architecture`]
//! as JSON under [`ARCHITECTURE`], what the model was trained on under [`TRAINED`] where that is known, what it is in the
//! middle of under [`STAGE`], and [`FORMAT_VERSION`]. Foreign files carry none: the architecture is then the caller's, or is
//! read off the shapes. A header of a hostile file cannot ask for memory: what is listed or made is bounded by the tensors
//! that are there.

use super::interpolate::{self, side_of};
use super::layout::{COUNTER, Slot};
use super::{Architecture, Block, Family, Mixer, Model, Reduce, Stage, Stem, Trained};
use super::{block::bias_table, deit, pit, swin, zoo};
use crate::io::{self, Blob, BlobType, Checkpoint, keys, pth, safetensors};
use crate::{DType, Error, Result, Tensor, nn::Params};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Display, path::Path};

/// Metadata key of the architecture.
pub const ARCHITECTURE: &str = "espalier.architecture";
/// Metadata key of what the model was trained on.
pub const TRAINED: &str = "espalier.trained";
/// Metadata key of the stage: `dense`, `finetune` ….
pub const STAGE: &str = "espalier.stage";
/// Metadata key of the version of this layout: `1`.
pub const FORMAT_VERSION: &str = "espalier.format_version";
const VERSION: &str = "1";
/// What is under [`TRAINED`], in errors.
const WHAT: &str = "what the model was trained on";
/// Width of a head in the published models.
const HEAD_DIM: usize = 64;

/// What to do where a file and the wanted model differ.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The wanted model; `None` takes the file's own, else what the shapes say.
    pub arch: Option<Architecture>,
    /// Another image size for it.
    pub img_size: Option<usize>,
    /// Head width of a model whose architecture is read off the shapes; `None`: that of the published models, 64 except in PiT.
    pub head_dim: Option<usize>,
    /// Give the wanted model `arch`, where the file lacks its heads or has them for other classes, fresh ones instead of an error.
    pub new_head: bool,
    /// Load a distilled checkpoint into a plain model: its second token, head and position go.
    pub drop_distillation: bool,
    /// Seed of a fresh head.
    pub seed: u64,
    /// Key of the weights inside a training checkpoint, such as `model_ema`; `None`: the usual ones.
    pub wrapper: Option<String>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        let (arch, img_size, head_dim, wrapper) = (None, None, None, None);
        Self { arch, img_size, head_dim, new_head: false, drop_distillation: false, seed: 0, wrapper }
    }
}

impl Model {
    /// Reads a `.pth` or safetensors file. Other float types become `f32`. The architecture is that of `options`, else
    /// the file's own, else read off keys and shapes: heads are `rows(qkv) / (3 head_dim)`, the image size comes from the
    /// position embedding. Only for the caller's architecture or image size positions of another grid are resized
    /// (base_models 1.5). Errors name file, key, what was expected and found: [`Error::Io`], [`Error::File`] for a
    /// damaged file, [`Error::Key`] for missing, unexpected, misshapen or non-finite tensors and metadata that lie,
    /// [`Error::Invalid`] for an architecture that no model can have. A model with fresh heads was trained on nothing yet.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Model> {
        Self::from_checkpoint(io::read(path)?, options)
    }

    /// [`Model::load`] of a checkpoint that is in memory already.
    pub fn from_checkpoint(checkpoint: Checkpoint, options: &LoadOptions) -> Result<Model> {
        let file = checkpoint.file.display().to_string();
        let (own, trained) = (architecture(&checkpoint)?, carried::<Trained>(&checkpoint, TRAINED, WHAT)?);
        let tensors = keys::swin(keys::unwrap(checkpoint, options.wrapper.as_deref())?);
        let tensor = |(name, blob): (String, Blob)| to_tensor(&file, &name, &blob).map(|tensor| (name, tensor));
        let params = tensors.into_iter().map(tensor).collect::<Result<_>>()?;
        let mut weights = Weights { file, params };
        let mut arch = match options.arch.clone().or(own) {
            Some(arch) => arch,
            None => weights.infer(options.head_dim)?,
        };
        arch.distilled &= options.arch.is_some() || !options.drop_distillation;
        if let Some(img_size) = options.img_size {
            arch = arch.with_img_size(img_size);
        }
        arch.validate()?;
        // A header may claim a million blocks; the tensors that are there bound what is worth listing.
        let (blocks, there) = (arch.blocks.len(), weights.params.len());
        let (expected, found) = (format_args!("tensors of {blocks} blocks"), format_args!("{there} tensors"));
        weights.ensure(blocks <= there.max(1) || options.arch.is_some(), ARCHITECTURE, expected, found)?;
        weights.distillation(&arch, options.drop_distillation)?;
        if options.arch.is_some() || options.img_size.is_some() {
            weights.positions(&arch);
            weights.bias_tables(&arch);
        }
        // A head that a file lies about is not made: its size is anybody's guess.
        let seed = (options.new_head && options.arch.is_some()).then_some(options.seed);
        let fresh = weights.heads(&arch, seed)?;
        let model = Model::new(arch, weights.params, &weights.file)?.with_trained(trained.filter(|_| !fresh));
        model.map_err(|error| match error {
            Error::Invalid { .. } => Error::key(&weights.file, TRAINED, WHAT, error.to_string()),
            other => other,
        })
    }

    /// Writes safetensors with the architecture, what the model was trained on and `stage`, atomically. Reading and writing again gives equal bytes.
    /// Errors: [`Error::Io`]; a file that was there stays as it was then.
    pub fn save(&self, path: impl AsRef<Path>, stage: &str) -> Result<()> {
        let (version, arch) = ((FORMAT_VERSION, VERSION.into()), (ARCHITECTURE, json(ARCHITECTURE, self.arch())?));
        let trained = self.trained().map(|trained| Ok((TRAINED, json(TRAINED, trained)?))).transpose()?;
        let metadata = [version, (STAGE, stage.into()), arch].into_iter().chain(trained);
        let metadata: Vec<(String, String)> = metadata.map(|(key, value)| (key.to_string(), value)).collect();
        safetensors::write(path, &self.blobs()?, &metadata)
    }

    /// Writes the official form of PyTorch files, `{"model": state_dict}`, atomically. It carries no metadata, so a
    /// reader needs the width of the heads when it is not 64. Errors: [`Error::Invalid`] for more than 4 GiB,
    /// [`Error::Io`].
    pub fn save_pth(&self, path: impl AsRef<Path>) -> Result<()> {
        let blobs = match self.arch().family {
            Family::Swin => swin::with_buffers(self.arch(), self.blobs()?)?,
            Family::Deit | Family::Lvvit | Family::Regnet | Family::Pit => self.blobs()?,
        };
        pth::write(path, &blobs, Some("model"))
    }

    fn blobs(&self) -> Result<Vec<(String, Blob)>> {
        let blob = |(name, tensor): (&str, &Tensor)| match name.ends_with(COUNTER) {
            true => Blob::from_i64(tensor.shape().to_vec(), &[tensor.item()? as i64]),
            false => to_blob(tensor),
        };
        self.params().iter().map(|(name, tensor)| Ok((name.to_string(), blob((name, tensor))?))).collect()
    }
}

/// The architecture that one of our files carries; an error when it cannot be, or the file's layout is a newer one.
fn architecture(checkpoint: &Checkpoint) -> Result<Option<Architecture>> {
    let file = checkpoint.file.display().to_string();
    let version = entry(checkpoint, FORMAT_VERSION).unwrap_or(VERSION);
    Error::ensure_key(version == VERSION, &file, FORMAT_VERSION, VERSION, version)?;
    let what = "an architecture";
    let arch = carried::<Architecture>(checkpoint, ARCHITECTURE, what)?;
    let checked = arch.as_ref().map_or(Ok(()), Architecture::validate);
    checked.map_err(|error| Error::key(&file, ARCHITECTURE, what, error.to_string()))?;
    Ok(arch)
}

/// The metadata under `key`.
fn entry<'a>(checkpoint: &'a Checkpoint, key: &str) -> Option<&'a str> {
    checkpoint.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// The same, parsed: `what`.
fn carried<T: DeserializeOwned>(checkpoint: &Checkpoint, key: &str, what: &str) -> Result<Option<T>> {
    let parsed = entry(checkpoint, key).map(io::from_json).transpose();
    parsed.map_err(|error| Error::key(&checkpoint.file.display().to_string(), key, what, error))
}

fn json(key: &str, value: &impl Serialize) -> Result<String> {
    io::to_json(value, false).map_err(|error| Error::invalid(key, "JSON", error))
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
    Blob::new(dtype, tensor.shape().to_vec(), tensor.bytes()?.into_owned())
}

/// An `f32` tensor from a file; an error naming file and key for integers and values that are not finite.
pub fn to_tensor(file: &str, name: &str, blob: &Blob) -> Result<Tensor> {
    let fits = blob.dtype.is_float() || (name.ends_with(COUNTER) && blob.dtype == BlobType::I64);
    Error::ensure_key(fits, file, name, "a float type", blob.dtype.name())?;
    let values = blob.to_f32()?;
    if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::key(file, name, "finite values", format!("{} at element {bad}", values[bad])));
    }
    Tensor::from_slice(blob.shape.as_slice(), &values)
}

/// The weight that makes queries, keys and values in block `key`.
fn qkv(key: &str) -> String {
    format!("{key}.attn.qkv.weight")
}

/// Names and float tensors of a checkpoint that are on their way into a model.
struct Weights {
    file: String,
    params: Params,
}

impl Weights {
    fn error(&self, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::key(&self.file, key, expected, found)
    }

    fn ensure(&self, holds: bool, key: &str, expected: impl Display, found: impl Display) -> Result<()> {
        Error::ensure_key(holds, &self.file, key, expected, found)
    }

    /// The shape of `key`, which must have `rank` axes.
    fn shape<const RANK: usize>(&self, key: &str) -> Result<[usize; RANK]> {
        let Some(tensor) = self.params.find(key) else { return Err(self.error(key, "a tensor", "no such key")) };
        let found = || self.error(key, format!("{RANK} axes"), format!("{:?}", tensor.shape()));
        tensor.shape().to_vec().try_into().map_err(|_| found())
    }

    /// One more than the largest block index.
    fn depth(&self) -> Result<usize> {
        let index = |name: &str| name.strip_prefix("blocks.")?.split('.').next()?.parse::<usize>().ok();
        let (names, count) = (self.params.iter().map(|(name, _)| name), self.params.len());
        match names.filter_map(|name| Some((index(name)?, name))).max() {
            None => Ok(0),
            Some((index, _)) if index < count => Ok(index + 1),
            Some((_, name)) => Err(self.error(name, "blocks numbered from 0 on", format!("{count} tensors in all"))),
        }
    }

    /// The model whose keys and shapes these are.
    fn infer(&self, head_dim: Option<usize>) -> Result<Architecture> {
        let has = |key: &str| self.params.find(key).is_some();
        let width = head_dim.unwrap_or(HEAD_DIM);
        if has(&bias_table(&swin::key(0, 0))) {
            self.infer_swin(width)
        } else if has(&qkv(&pit::key(0, 0))) {
            self.infer_pit(head_dim)
        } else if has("stem.conv.weight") {
            self.infer_regnet()
        } else if has("aux_head.weight") {
            self.infer_lvvit()
        } else {
            self.infer_deit(width)
        }
    }

    /// A block with plain attention whose shapes these are.
    fn block(&self, key: &str, head_dim: usize) -> Result<Block> {
        let qkv = qkv(key);
        let ([rows, _], [hidden, _]) = (self.shape(&qkv)?, self.shape(&format!("{key}.mlp.fc1.weight"))?);
        let heads = rows.checked_div(head_dim.saturating_mul(3)).unwrap_or(0);
        let expected = format_args!("a multiple of 3 x {head_dim} rows (the width of a head can be given)");
        self.ensure(3 * heads * head_dim == rows, &qkv, expected, format_args!("{rows} rows"))?;
        Ok(Block { mixer: Mixer::Attention { heads, head_dim }, hidden, reduce: Reduce::None })
    }

    /// The RegNetY whose shapes these are, for images of 224 pixels: its shapes fit any.
    fn infer_regnet(&self) -> Result<Architecture> {
        let ([width, ..], [num_classes, _]) = (self.shape::<4>("stem.conv.weight")?, self.shape("head.fc.weight")?);
        let plain = Architecture { num_classes, ..Architecture::empty(Family::Regnet, 224, 4) };
        let mut arch = Architecture { stem: Stem::Conv { width }, folded: self.folded("stem.conv"), ..plain };
        let key = |s: usize, b: usize, name: &str| format!("s{}.b{}.{name}.weight", s + 1, b + 1);
        let there = |s, b| self.params.find(&key(s, b, "conv2.conv")).is_some();
        for s in (0..).take_while(|&s| there(s, 0)) {
            let [embed_dim, ..] = self.shape::<4>(&key(s, 0, "conv2.conv"))?;
            let first = arch.blocks.len();
            for b in (0..).take_while(|&b| there(s, b)) {
                let [_, group_width, ..] = self.shape::<4>(&key(s, b, "conv2.conv"))?;
                let [squeeze, ..] = self.shape::<4>(&key(s, b, "se.fc1"))?;
                let mixer = Mixer::Bottleneck { group_width, squeeze };
                arch.blocks.push(Block { mixer, hidden: 0, reduce: Reduce::None });
            }
            arch.stages.push(Stage { depth: arch.blocks.len() - first, embed_dim });
        }
        arch.embed_dim = arch.stages.first().map_or(0, |stage| stage.embed_dim);
        Ok(arch)
    }

    /// The published LV-ViT of this stem, width and depth: what its residual branches are divided by is in no shape.
    fn infer_lvvit(&self) -> Result<Architecture> {
        let ([_, tokens, dim], [num_classes, _]) = (self.shape("pos_embed")?, self.shape("head.weight")?);
        let (depth, conv) =
            (self.depth()?, |i: usize| self.params.find(&format!("patch_embed.conv{i}.weight")).is_some());
        let stem = match (conv(6), conv(4), conv(1)) {
            (true, ..) => Stem::Conv6,
            (_, true, _) => Stem::Conv4,
            (.., true) => Stem::TokenLabel { filters: self.shape::<4>("patch_embed.conv1.weight")?[0] },
            _ => Stem::Patch,
        };
        let ours = |arch: &Architecture| (&arch.stem, arch.embed_dim, arch.blocks.len()) == (&stem, dim, depth);
        let known = zoo::zoo()?.into_iter().map(|entry| entry.architecture).filter(|arch| arch.family == Family::Lvvit);
        let found = format!("{dim} channels, {depth} blocks, stem {stem:?}");
        let unknown = || self.error("pos_embed", "a published LV-ViT (another's architecture can be given)", found);
        let arch = known.into_iter().find(ours).ok_or_else(unknown)?;
        let misfit = || self.error("pos_embed", "rows of a square grid and the class token", tokens.to_string());
        let grid = tokens.checked_sub(1).and_then(side_of).ok_or_else(misfit)?;
        let (folded, img_size) = (self.folded("patch_embed.conv1"), grid.saturating_mul(arch.patch_size));
        Ok(Architecture { num_classes, folded, ..arch }.with_img_size(img_size))
    }

    /// Whether BatchNorm is folded into convolution `name`, which has no bias otherwise.
    fn folded(&self, name: &str) -> bool {
        self.params.find(&format!("{name}.bias")).is_some()
    }

    /// The uniform or pruned DeiT whose shapes these are.
    fn infer_deit(&self, head_dim: usize) -> Result<Architecture> {
        let depth = self.depth()?;
        let [embed_dim, _, patch_size, _] = self.shape("patch_embed.proj.weight")?;
        let [num_classes, _] = self.shape("head.weight")?;
        let [_, tokens, _] = self.shape("pos_embed")?;
        let distilled = self.params.find("dist_token").is_some();
        let grid = tokens.checked_sub(1 + usize::from(distilled)).and_then(side_of);
        let misfit = || self.error("pos_embed", "rows of a square grid and the extra tokens", tokens.to_string());
        let grid = grid.ok_or_else(misfit)?;
        let blocks = (0..depth).map(|i| self.block(&deit::key(i), head_dim)).collect::<Result<_>>()?;
        let plain = Architecture::deit(grid.saturating_mul(patch_size), patch_size, embed_dim, 0, 1);
        Ok(Architecture { num_classes, distilled, blocks, ..plain })
    }

    /// The PiT: patches overlap by half and give the size of the images; heads are as wide as those of the published model whose
    /// first stage is as wide, unless the caller says otherwise.
    fn infer_pit(&self, head_dim: Option<usize>) -> Result<Architecture> {
        let [embed_dim, _, patch_size, _] = self.shape("patch_embed.conv.weight")?;
        let ([num_classes, _], [_, _, grid, _]) = (self.shape("head.weight")?, self.shape("pos_embed")?);
        let stride = patch_size.div_ceil(2);
        let img_size = grid.saturating_sub(1).saturating_mul(stride).saturating_add(patch_size);
        let published = |arch: &Architecture| arch.family == Family::Pit && arch.embed_dim == embed_dim;
        let published = zoo::zoo()?.into_iter().map(|entry| entry.architecture).find(published);
        let head_dim = head_dim.or(published.map(|arch| arch.blocks[0].head_dim())).unwrap_or(HEAD_DIM);
        let mut arch = Architecture::pit(img_size, [patch_size, stride], head_dim, &[], &[]);
        (arch.num_classes, arch.embed_dim) = (num_classes, embed_dim);
        let there = |s, b| self.params.find(&qkv(&pit::key(s, b))).is_some();
        for s in (0..).take_while(|&s| there(s, 0)) {
            let blocks = (0..).take_while(|&b| there(s, b)).map(|b| self.block(&pit::key(s, b), head_dim));
            let blocks = blocks.collect::<Result<Vec<_>>>()?;
            let [_, embed_dim] = self.shape(&qkv(&pit::key(s, 0)))?;
            arch.stages.push(Stage { depth: blocks.len(), embed_dim });
            arch.blocks.extend(blocks);
        }
        Ok(arch)
    }

    /// The Swin. The images are taken to be those whose last grid is one window.
    fn infer_swin(&self, head_dim: usize) -> Result<Architecture> {
        let [embed_dim, _, patch_size, _] = self.shape("patch_embed.proj.weight")?;
        let [num_classes, _] = self.shape("head.weight")?;
        let mut arch = Architecture { num_classes, ..Architecture::swin(0, patch_size, embed_dim, &[], &[], 0) };
        let qkv = |s, b| qkv(&swin::key(s, b));
        let (mut last, there) = (0, |name: &str| self.params.find(name).is_some());
        for s in (0..).take_while(|&s| there(&qkv(s, 0))) {
            let first = arch.blocks.len();
            for b in (0..).take_while(|&b| there(&qkv(s, b))) {
                let (key, table) = (qkv(s, b), bias_table(&swin::key(s, b)));
                let ([rows, _], [entries, heads]) = (self.shape(&key)?, self.shape(&table)?);
                let [hidden, _] = self.shape(&format!("{}.mlp.fc1.weight", swin::key(s, b)))?;
                let head_dim = rows.checked_div(3 * heads).unwrap_or(head_dim);
                let whole = 3 * heads * head_dim == rows;
                self.ensure(whole, &key, format_args!("a multiple of 3 x {heads} rows"), format_args!("{rows} rows"))?;
                let side = side_of(entries).filter(|side| side % 2 == 1);
                let misfit = || self.error(&table, "the square of an odd number of rows", entries.to_string());
                last = side.ok_or_else(misfit)?.div_ceil(2);
                let mixer = Mixer::Window { heads, head_dim, window: last, shift: 0 };
                arch.blocks.push(Block { mixer, hidden, reduce: Reduce::None });
            }
            let [_, embed_dim] = self.shape(&qkv(s, 0))?;
            arch.stages.push(Stage { depth: arch.blocks.len() - first, embed_dim });
        }
        let scale = 1usize.checked_shl(arch.stages.len().saturating_sub(1) as u32).unwrap_or(0);
        Ok(arch.with_img_size(patch_size.saturating_mul(last).saturating_mul(scale)))
    }

    /// Drops what only a distilled model has, when asked; otherwise a distilled file does not fit a plain model.
    fn distillation(&mut self, arch: &Architecture, drop: bool) -> Result<()> {
        let ours = |name: &str| name == "dist_token" || name.starts_with("head_dist.");
        let found: Vec<&str> = self.params.iter().map(|(name, _)| name).filter(|name| ours(name)).collect();
        let plain = found.is_empty() && self.params.find("cls_token").is_some();
        let keys = "dist_token, head_dist.weight, head_dist.bias";
        let missing = "missing: the file holds a plain one";
        self.ensure(!(arch.distilled && plain), keys, "the keys of a distilled model", missing)?;
        if arch.distilled || !found.contains(&"dist_token") {
            return Ok(());
        }
        let expected = "the keys of a plain model (distillation can be dropped on request)";
        self.ensure(drop, &found.join(", "), expected, "a distilled checkpoint")?;
        let [one, tokens, dim] = self.shape("pos_embed")?;
        let found = format_args!("{:?}", [one, tokens, dim]);
        self.ensure(one == 1 && tokens >= 2, "pos_embed", "[1, 2 + patches, D]", found)?;
        let mut values = self.params.get("pos_embed")?.slice::<f32>()?.to_vec();
        values.drain(dim..2 * dim);
        let kept = self.params.iter().filter(|(name, _)| !ours(name));
        self.params = kept.map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
        self.params.insert("pos_embed", Tensor::from_slice([1, tokens - 1, dim], &values)?);
        Ok(())
    }

    /// Resizes the position embedding to the grid of `arch`; what is no grid at all is left for the shape check.
    fn positions(&mut self, arch: &Architecture) {
        let channels = if arch.family == Family::Pit { 1 } else { 2 };
        let table = self.params.find("pos_embed").filter(|table| table.dim(channels) == arch.embed_dim);
        let resize = |table: &Tensor| match arch.family {
            Family::Pit => interpolate::pos_map(table, arch.grid()).ok(),
            _ => interpolate::pos_embed(table, arch.extra_tokens(), arch.grid()).ok(),
        };
        if let Some(resized) = table.and_then(resize) {
            self.params.insert("pos_embed", resized);
        }
    }

    /// Resizes the tables of relative positions to the windows of `arch`; what is no square is left for the shape check.
    fn bias_tables(&mut self, arch: &Architecture) {
        for ((s, b), block) in arch.places().zip(&arch.blocks) {
            let (Mixer::Window { window, .. }, key) = (&block.mixer, bias_table(&swin::key(s, b))) else { continue };
            let resize = |table: &Tensor| interpolate::bias_table(table, 2 * window - 1).ok();
            if let Some(resized) = self.params.find(&key).and_then(resize) {
                self.params.insert(key, resized);
            }
        }
    }

    /// Fresh heads in place of missing ones and of those for another number of classes, when a seed is given; whether there were any.
    fn heads(&mut self, arch: &Architecture, seed: Option<u64>) -> Result<bool> {
        let (classes, layout) = (arch.num_classes, Model::layout(arch));
        let dense = (arch.family == Family::Lvvit).then_some("aux_head"); // of the same classes
        let mut any = false;
        for head in arch.heads().chain(dense) {
            let key = format!("{head}.weight");
            let Some(dim) = layout.find(&key).map(|slot| slot.shape[1]) else { continue };
            let shape = self.params.find(&key).map(|weight| weight.shape());
            let rows = shape.map(|shape| shape.first().copied().unwrap_or(0));
            if rows == Some(classes) {
                continue;
            }
            if let Some(seed) = seed {
                any = true;
                let ours = |slot: &&Slot| slot.name.strip_prefix(head).is_some_and(|rest| rest.starts_with('.'));
                // A new head of Swin begins with zeros.
                let fresh = |slot: &Slot| match arch.family {
                    Family::Swin => Ok(Tensor::zeros(&*slot.shape, DType::F32)),
                    Family::Deit | Family::Lvvit | Family::Regnet | Family::Pit => slot.fresh(seed),
                };
                for slot in layout.slots.iter().filter(ours) {
                    self.params.insert(&*slot.name, fresh(slot)?);
                }
            } else if let Some(rows) = rows.filter(|_| shape.is_some_and(|shape| shape.ends_with(&[dim]))) {
                // A head of another width belongs to another model; the shape check names the first misfit then.
                let expected = format!("{classes} classes (a new head can be asked for)");
                return Err(self.error(&key, expected, format!("{rows} classes")));
            }
        }
        Ok(any)
    }
}
