//! A model: an architecture and its parameters.

use super::{Architecture, Family, deit};
use crate::nn::{Params, Pass};
use crate::tensor::Tensor;
use crate::{Error, Result, Var, ops};
use std::collections::HashSet;

/// An architecture with parameters that fit it.
#[derive(Clone, Debug)]
pub struct Model {
    arch: Architecture,
    params: Params,
}

impl Model {
    /// Fresh parameters from `seed`.
    pub fn init(arch: Architecture, seed: u64) -> Result<Self> {
        let params = match arch.family {
            Family::Deit => deit::init(&arch, seed)?,
        };
        Ok(Self { arch, params })
    }

    /// Takes `params` after checking every name and shape; an error lists what is missing, unexpected or of another
    /// shape, naming `source` (the file they came from).
    pub fn new(arch: Architecture, params: Params, source: &str) -> Result<Self> {
        arch.validate()?;
        let expected = Self::shapes(&arch);
        let error =
            |key: String, expected: String, found: String| Error::Key { file: source.into(), key, expected, found };
        // A tensor of another shape says most about what went wrong, so it comes before the lists.
        for (name, shape) in &expected {
            if let Some(tensor) = params.find(name).filter(|tensor| **tensor.shape() != **shape) {
                return Err(error(name.clone(), format!("{shape:?}"), format!("{:?}", tensor.shape())));
            }
        }
        let known: HashSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        let missing: Vec<&str> =
            expected.iter().map(|(name, _)| name.as_str()).filter(|name| params.find(name).is_none()).collect();
        let extra: Vec<&str> = params.iter().map(|(name, _)| name).filter(|name| !known.contains(name)).collect();
        if !(missing.is_empty() && extra.is_empty()) {
            let found = match (missing.is_empty(), extra.is_empty()) {
                (true, _) => "unexpected".into(),
                (_, true) => "missing".into(),
                _ => format!("the first {} missing, the others unexpected", missing.len()),
            };
            let keys = [missing, extra].concat().join(", ");
            return Err(error(keys, format!("the {} keys of the model", expected.len()), found));
        }
        let ordered = expected.into_iter().map(|(name, _)| params.get(&name).cloned().map(|tensor| (name, tensor)));
        let params = ordered.collect::<Result<_>>()?;
        Ok(Self { arch, params })
    }

    /// Names and shapes of the parameters of `arch`, in order.
    pub fn shapes(arch: &Architecture) -> Vec<(String, Vec<usize>)> {
        match arch.family {
            Family::Deit => deit::shapes(arch),
        }
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

    /// The logits of each head for images `[B, 3, H, W]`.
    pub fn forward(&self, pass: &Pass, images: &Var) -> Result<Vec<Var>> {
        match self.arch.family {
            Family::Deit => deit::forward(&self.arch, pass, images),
        }
    }

    /// Evaluation: logits `[B, classes]`, the mean of the heads, without gradients.
    pub fn predict(&self, images: &Tensor) -> Result<Tensor> {
        let logits = self.forward(&Pass::eval(&self.params), &Var::constant(images.clone()))?;
        Ok(mean_of_heads(logits)?.into_tensor())
    }
}

/// `(a + b) / 2` of two heads; one head as it is.
pub fn mean_of_heads(mut logits: Vec<Var>) -> Result<Var> {
    let count = logits.len();
    let Some(mut sum) = logits.pop() else { return Err(Error::shape("heads", "at least one head", count)) };
    if count == 1 {
        return Ok(sum);
    }
    for other in &logits {
        sum = ops::add(sum, other)?;
    }
    ops::scale(&sum, 1.0 / count as f64)
}
