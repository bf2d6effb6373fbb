//! What several kinds need: tensors and models from a case, drop path as recorded, taps.

use super::super::case::Case;
use super::super::produced::Produced;
use clap::ValueEnum;
use espalier::models::{Architecture, Model};
use espalier::nn::{Hooks, Mode, Params, Pass, Site};
use espalier::noise::Recorded;
use espalier::{Device, Tape, Tensor, Var};
use std::cell::RefCell;
use std::collections::HashMap;

/// A result whose error is the library's or a sentence.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The error in words.
pub fn told(outcome: Outcome<Produced>) -> Result<Produced, String> {
    outcome.map_err(|error| error.to_string())
}

/// Where the cases are computed: what `ESPALIER_GOLDEN_DEVICE` names, else the CPU.
pub fn device() -> Result<Device, String> {
    let name = std::env::var("ESPALIER_GOLDEN_DEVICE").unwrap_or_else(|_| "cpu".into());
    Device::from_str(&name, false).map_err(|_| format!("ESPALIER_GOLDEN_DEVICE: no device {name} in this build"))
}

/// A float32 tensor of the case, or a BatchNorm's count of batches.
pub fn tensor(case: &Case, name: &str) -> Outcome<Tensor> {
    let (shape, values) = match name.ends_with(".num_batches_tracked") {
        true => case.i64s(name).map(|(shape, counts)| (shape, counts.into_iter().map(|n| n as f32).collect()))?,
        false => case.f32(name)?,
    };
    Ok(Tensor::from_slice(shape.as_slice(), &values)?.to_device(device()?)?)
}

/// All tensors whose names start with `prefix`, under the rest of their names.
pub fn params(case: &Case, prefix: &str) -> Outcome<Params> {
    let names: Vec<&str> = case.under(prefix).map(|(name, _)| name).collect();
    names.into_iter().map(|name| Ok((name.to_owned(), tensor(case, &format!("{prefix}{name}"))?))).collect()
}

/// Adds a tensor to the results.
pub fn put(produced: &mut Produced, name: impl Into<String>, tensor: &Tensor) {
    produced.put(name, tensor.shape(), tensor.to_f64s().unwrap());
}

/// Adds tensors to the results, each under `prefix` and its name.
pub fn put_all<'a>(produced: &mut Produced, prefix: &str, tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) {
    tensors.for_each(|(name, tensor)| put(produced, format!("{prefix}{name}"), tensor));
}

/// The uniform DeiT that `config` describes.
pub fn architecture(case: &Case) -> Outcome<Architecture> {
    let size = |key: &str| case.config_usize(key);
    let dim = size("embed_dim")?;
    let mut arch = Architecture::deit(size("img_size")?, size("patch_size")?, dim, size("depth")?, size("num_heads")?)
        .with_classes(size("num_classes")?);
    let hidden = (dim as f64 * case.config_f64("mlp_ratio")?) as usize;
    arch.blocks.iter_mut().for_each(|block| block.hidden = hidden);
    arch.distilled = case.maybe("/distilled").and_then(|flag| flag.as_bool()).unwrap_or(false);
    arch.ln_eps = case.maybe("/config/ln_eps").and_then(|eps| eps.as_f64()).unwrap_or(arch.ln_eps);
    Ok(arch)
}

/// The model with the weights under `param/`.
pub fn model(case: &Case, arch: Architecture) -> Outcome<Model> {
    Ok(Model::new(arch, params(case, "param/")?, case.name())?)
}

/// `config.drop_path_rate`, 0 where there is none.
pub fn drop_path_rate(case: &Case) -> f64 {
    case.maybe("/config/drop_path_rate").and_then(|rate| rate.as_f64()).unwrap_or(0.0)
}

/// Uniforms `[branches, B]` under the sites that draw them: attention, then MLP, of every block but the first, whose
/// rate is 0.
pub fn drop_path_draws(depth: usize, shape: &[usize], uniforms: &[f32]) -> Outcome<Recorded> {
    let branches = 2 * depth.saturating_sub(1);
    let &[rows, samples] = shape else { return Err(format!("drop path of shape {shape:?}").into()) };
    if rows != branches {
        return Err(format!("{rows} drop-path rows for {branches} branches").into());
    }
    let mut recorded = Recorded::default();
    for (row, uniforms) in uniforms.chunks(samples.max(1)).enumerate() {
        let branch = if row % 2 == 0 { "attn" } else { "mlp" };
        let site = format!("blocks.{}.{branch}.drop_path", 1 + row / 2);
        uniforms.iter().enumerate().for_each(|(sample, &u)| recorded.insert(site.clone(), sample as u64, vec![u]));
    }
    Ok(recorded)
}

/// The same from 0/1 keep masks: the smallest uniform drops a branch, the largest keeps it.
pub fn drop_path_keep(case: &Case, name: &str, depth: usize) -> Outcome<Recorded> {
    const LARGEST: f32 = 1.0 - f32::EPSILON / 2.0;
    let (shape, keep) = case.f32(name)?;
    let uniforms: Vec<f32> = keep.iter().map(|&keep| if keep == 0.0 { 0.0 } else { LARGEST }).collect();
    drop_path_draws(depth, &shape, &uniforms)
}

/// Keeps every value that is tapped.
#[derive(Default)]
pub struct Taps(RefCell<HashMap<Site, Tensor>>);

impl Hooks for Taps {
    fn taps(&self) -> bool {
        true
    }

    fn tap(&self, site: Site, value: Var) -> espalier::Result<Var> {
        self.0.borrow_mut().insert(site, value.tensor().clone());
        Ok(value)
    }
}

impl Taps {
    /// The values of one forward pass without gradients.
    pub fn of(model: &Model, mode: Mode, images: &Tensor) -> Outcome<HashMap<Site, Tensor>> {
        let taps = Self::default();
        model.forward(&Pass::new(model.params(), None, mode, &taps)?, &Var::constant(images.clone()))?;
        Ok(taps.0.into_inner())
    }
}

/// The gradients of `loss` by parameter name, and that of `images` when it is tracked.
pub fn gradients(
    tape: &Tape, loss: &Var, model: &Model, pass: &Pass, images: &Var,
) -> Outcome<(Params, Option<Tensor>)> {
    let mut grads = tape.backward(loss)?;
    let mut by_name = Params::default();
    for (name, _) in model.params().iter() {
        if let Some(grad) = grads.take(pass.var(name)?) {
            by_name.insert(name, grad);
        }
    }
    Ok((by_name, grads.take(images)))
}
