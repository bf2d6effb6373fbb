//! In what a pass computes.

use crate::{Error, Result, tensor::DType, tensor::Device};
use serde::{Deserialize, Serialize};

/// What activations and the operands of products are rounded to; sums, statistics, losses, gradients of parameters and the
/// parameters themselves are never less than `f32`. Other than [`Precision::F32`] needs a GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, clap::ValueEnum, strum::Display, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Precision {
    /// The type of the parameters: nothing is rounded.
    #[default]
    F32,
    /// `f32`, but products round their operands to 10 bits of mantissa.
    Tf32,
    /// 8 bits of mantissa, the range of `f32`.
    Bf16,
    /// 11 bits of mantissa, values to 65,504: gradients need a loss scale.
    F16,
}

impl Precision {
    /// An error where `device` is not there or does not compute in it.
    pub fn ensure_on(self, device: Device) -> Result<()> {
        let fits = device.gpu()?.is_some() || self == Self::F32;
        Error::ensure(fits, "dtype", "f32 on the CPU", self)
    }

    /// The 16-bit type, where there is one.
    pub fn half(self) -> Option<DType> {
        match self {
            Self::F32 | Self::Tf32 => None,
            Self::Bf16 => Some(DType::BF16),
            Self::F16 => Some(DType::F16),
        }
    }
}
