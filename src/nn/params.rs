//! Parameters by name, in the model's order.

use crate::ops::{self, Statistics};
use crate::{Error, Result, gpu::StepState, tensor::DType, tensor::Device, tensor::Tensor};
use indexmap::IndexMap;

/// Named tensors in a fixed order.
#[derive(Clone, Default, Debug)]
pub struct Params(IndexMap<String, Tensor>);

impl Params {
    /// Appends a tensor, or replaces the one of that name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.0.insert(name.into(), tensor);
    }

    /// The tensor `name`; an error naming it when there is none.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.find(name).ok_or_else(|| missing(name))
    }

    /// The tensor `name`, if there is one.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Names and tensors in order, for writing.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Tensor)> {
        self.0.iter_mut().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Moves the running statistics of each BatchNorm towards those of its batch, and counts the batch; on a GPU not when the step
    /// at `state` is refused.
    pub fn update_statistics(&mut self, batches: &[(String, Statistics)], state: Option<&StepState>) -> Result<()> {
        const MOMENTUM: f64 = 0.1;
        for (name, batch) in batches {
            let parts = ["running_mean", "running_var", "num_batches_tracked"].map(|part| format!("{name}.{part}"));
            let [Some(mean), Some(var), Some(count)] = self.0.get_disjoint_mut(parts.each_ref()) else {
                return Err(missing(&parts.join(", ")));
            };
            ops::batchnorm_update([mean, var, count], batch, MOMENTUM, state)?;
        }
        Ok(())
    }

    /// CRC-32 over names and values: equal for the same weights on any device.
    pub fn fingerprint(&self) -> Result<u32> {
        let mut hash = crc32fast::Hasher::new();
        for (name, tensor) in self.iter() {
            hash.update(name.as_bytes());
            hash.update(&tensor.bytes()?);
        }
        Ok(hash.finalize())
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Element type and device of the tensors, which all share them.
    pub fn place(&self) -> (DType, Device) {
        self.0.first().map_or((DType::F32, Device::Cpu), |(_, tensor)| (tensor.dtype(), tensor.device()))
    }

    /// The same rounded to `dtype`; on a GPU in one launch.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let rounded = Tensor::all_to_dtype(&self.0.values().collect::<Vec<_>>(), dtype)?;
        Ok(self.0.keys().cloned().zip(rounded).collect())
    }

    /// Number of elements of all tensors.
    pub fn numel(&self) -> usize {
        self.0.values().map(Tensor::numel).sum()
    }
}

/// The error of a name that no parameter has.
pub(super) fn missing(name: &str) -> Error {
    Error::key("model", name, "a parameter", "none")
}

impl FromIterator<(String, Tensor)> for Params {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}
