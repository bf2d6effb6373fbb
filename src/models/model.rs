//! A model: an architecture and its parameters.

use super::layout::{Layout, Slot};
use super::{Architecture, Family, Predictor, Trained, deit, lvvit, pit, regnet, swin};
use crate::gpu::Tf32;
use crate::nn::{BATCHNORM_EPS, Params, Pass, Precision};
use crate::ops::{self, Statistics};
use crate::report::{Rival, Timing, interleaved};
use crate::{DType, Device, Error, Result, Tensor, Var};

/// An architecture with parameters that fit it.
#[derive(Clone, Debug)]
pub struct Model {
    arch: Architecture,
    params: Params,
    precision: Precision,
    trained: Option<Trained>,
}

impl Model {
    /// Fresh parameters from `seed`.
    pub fn init(arch: Architecture, seed: u64) -> Result<Self> {
        arch.validate()?;
        Ok(Self { params: Self::layout(&arch).init(seed)?, arch, precision: Precision::F32, trained: None })
    }

    /// Takes `params` after checking every name and shape; an error lists what is missing, unexpected or of another
    /// shape, naming `source` (the file they came from).
    pub fn new(arch: Architecture, params: Params, source: &str) -> Result<Self> {
        arch.validate()?;
        let layout = Self::layout(&arch);
        let (mut ordered, mut missing) = (Params::default(), Vec::new());
        for Slot { name, shape, .. } in &layout.slots {
            match params.find(name) {
                // A tensor of another shape says most about what went wrong, so it comes before the lists.
                Some(tensor) if **tensor.shape() != **shape => {
                    return Err(Error::key(source, name, format!("{shape:?}"), format!("{:?}", tensor.shape())));
                }
                Some(tensor) => ordered.insert(name, tensor.clone()),
                None => missing.push(name.as_str()),
            }
        }
        let extra: Vec<&str> =
            params.iter().map(|(name, _)| name).filter(|name| ordered.find(name).is_none()).collect();
        let found = match (missing.len(), extra.len()) {
            (0, 0) => return Ok(Self { params: ordered, arch, precision: Precision::F32, trained: None }),
            (0, _) => "unexpected".into(),
            (_, 0) => "missing".into(),
            (first, _) => format!("the first {first} missing, the others unexpected"),
        };
        let keys = [some_of(&missing), some_of(&extra)].concat().join(", ");
        Err(Error::key(source, keys, format!("the {} keys of the model", layout.slots.len()), found))
    }

    /// The tensors of a model of `arch`, in order.
    pub fn layout(arch: &Architecture) -> Layout {
        match arch.family {
            Family::Deit => deit::layout(arch),
            Family::Swin => swin::layout(arch),
            Family::Lvvit => lvvit::layout(arch),
            Family::Regnet => regnet::layout(arch),
            Family::Pit => pit::layout(arch),
        }
    }

    /// The same model for inference, every BatchNorm folded into the convolution before it; as it is when it has none.
    pub fn fold_batchnorm(&self) -> Result<Self> {
        let mut params = self.params.clone();
        for (name, mean) in self.params.iter() {
            // BatchNorms are called as their convolutions, `bn` in place of `conv`.
            let Some(norm) = name.strip_suffix(".running_mean") else { continue };
            let Some((before, after)) = norm.rsplit_once("bn") else { continue };
            let conv = format!("{before}conv{after}");
            let part = |part: &str| self.params.get(&format!("{norm}.{part}"));
            let running = Statistics { mean: mean.clone(), var: part("running_var")?.clone() };
            let weight = self.params.get(&format!("{conv}.weight"))?;
            let [weight, bias] =
                ops::fold_batchnorm(weight, [part("weight")?, part("bias")?], &running, BATCHNORM_EPS)?;
            params.insert(format!("{conv}.weight"), weight);
            params.insert(format!("{conv}.bias"), bias);
        }
        let arch = Architecture { folded: params.len() > self.params.len() || self.arch.folded, ..self.arch.clone() };
        let ours = Self::layout(&arch).slots.into_iter();
        let kept = ours.map(|slot| Ok((params.get(&slot.name)?.clone(), slot.name)));
        let params = kept.map(|entry| entry.map(|(tensor, name)| (name, tensor))).collect::<Result<_>>()?;
        Ok(Self { params, arch, precision: self.precision, trained: self.trained.clone() })
    }

    /// The architecture.
    pub fn arch(&self) -> &Architecture {
        &self.arch
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The parameters, for an optimiser: values may change, names and shapes must not.
    pub fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    /// The same model with its parameters on `device`.
    pub fn to_device(&self, device: Device) -> Result<Self> {
        let moved = |(name, tensor): (&str, &Tensor)| Ok((name.to_string(), tensor.to_device(device)?));
        Ok(Self { params: self.params.iter().map(moved).collect::<Result<_>>()?, ..self.clone() })
    }

    /// The same model, predicting in `precision`. The parameters stay as they are.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// What it predicts in; `f32` unless asked for otherwise.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The same model, trained on `trained`. Errors: other than a name for each class, values that no image can be given.
    pub fn with_trained(self, trained: Option<Trained>) -> Result<Self> {
        trained.as_ref().map_or(Ok(()), |trained| trained.validate(self.arch.num_classes))?;
        Ok(Self { trained, ..self })
    }

    /// What it was trained on, where that is known.
    pub fn trained(&self) -> Option<&Trained> {
        self.trained.as_ref()
    }

    /// Where the parameters are.
    pub fn device(&self) -> Device {
        self.params.place().1
    }

    /// The logits of each head for images `[B, 3, H, W]`.
    pub fn forward(&self, pass: &Pass, images: &Var) -> Result<Vec<Var>> {
        let _products = Tf32::set(pass.mode.precision == Precision::Tf32);
        let (arch, side, found) = (&self.arch, self.arch.img_size, images.shape());
        let fits = found.len() == 4 && found[1..] == [3, side, side];
        let expected = format_args!("images [batch, 3, {side}, {side}]");
        Error::ensure_shape(fits, "model", expected, found)?;
        match arch.family {
            Family::Deit => deit::forward(arch, pass, images),
            Family::Swin => swin::forward(arch, pass, images),
            Family::Lvvit => lvvit::forward(arch, pass, images),
            Family::Regnet => regnet::forward(arch, pass, images),
            Family::Pit => pit::forward(arch, pass, images),
        }
    }

    /// Evaluation: logits `[B, classes]` in main memory, the mean of the heads, without gradients. Images may lie anywhere.
    /// Again and again a [`Predictor`] is faster.
    pub fn predict(&self, images: &Tensor) -> Result<Tensor> {
        Predictor::new(self).logits(images)
    }
}

/// Milliseconds for `batch` grey images (speed does not depend on the values) that lie on the model's device, until the
/// logits are in main memory; all models in turn within each of `rounds` after two that are not timed.
pub fn latency<'a>(models: &[(&'a str, &'a Model)], batch: usize, rounds: usize) -> Result<Vec<Timing>> {
    let rival = |&(name, model): &(&'a str, &'a Model)| -> Result<Rival<'a>> {
        let side = model.arch.img_size;
        let images = Tensor::full([batch, 3, side, side], DType::F32, 0.1).to_device(model.device())?;
        let mut predictor = Predictor::new(model);
        Ok((name, Box::new(move || predictor.logits(&images).map(drop))))
    };
    interleaved(&mut models.iter().map(rival).collect::<Result<Vec<_>>>()?, rounds, 2)
}

/// The first names, and how many more there are: another model's file has hundreds.
fn some_of(names: &[&str]) -> Vec<String> {
    const MOST: usize = 8;
    let more = (names.len() > MOST).then(|| format!("{} more", names.len() - MOST));
    names.iter().take(MOST).map(|name| name.to_string()).chain(more).collect()
}

/// `(a + b) / 2` of two heads; one head as it is.
pub fn mean_of_heads(mut logits: Vec<Var>) -> Result<Var> {
    let count = logits.len();
    let Some(last) = logits.pop() else { return Err(Error::shape("heads", "at least one head", count)) };
    let sum = logits.iter().try_fold(last, ops::add)?;
    if count == 1 { Ok(sum) } else { ops::scale(&sum, 1.0 / count as f64) }
}
