//! Where a tensor lives.

use crate::{Result, gpu, gpu::Gpu};

/// Where a tensor lives and its kernels run.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    clap::ValueEnum,
    strum::Display,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Device {
    /// Main memory; kernels run on the cores of the machine.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// The CUDA kernels run by the processor, for tests.
    #[cfg(feature = "sim")]
    CudaSim,
}

impl Device {
    /// What runs the kernels, `None` for the CPU. An error says why a device is not there.
    pub fn gpu(self) -> Result<Option<&'static Gpu>> {
        match self {
            Self::Cpu => Ok(None),
            Self::Cuda => gpu::cuda().map(Some),
            #[cfg(feature = "sim")]
            Self::CudaSim => gpu::sim().map(Some),
        }
    }
}
