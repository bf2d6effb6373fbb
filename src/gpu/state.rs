//! The numbers that change from one training step to the next, in device memory.

use super::{Buffer, Gpu, params::StepNumbers};
use crate::Result;

/// [`StepNumbers`] on a GPU: written before a step, and partly by it.
#[derive(Debug)]
pub struct StepState(Buffer);

impl StepState {
    /// Zeros, and a loss scale of 1.
    pub fn new(gpu: &'static Gpu) -> Result<Self> {
        Self::of(gpu, &StepNumbers { loss_scale: 1.0, ..bytemuck::Zeroable::zeroed() })
    }

    /// These numbers.
    pub fn of(gpu: &'static Gpu, numbers: &StepNumbers) -> Result<Self> {
        let state = Self(gpu.alloc(size_of::<StepNumbers>())?);
        state.write(numbers).map(|()| state)
    }

    /// What kernels are given.
    pub fn address(&self) -> u64 {
        self.0.address()
    }

    /// Sets the numbers of the next step.
    pub fn write(&self, numbers: &StepNumbers) -> Result<()> {
        self.0.gpu().upload(self.address(), bytemuck::bytes_of(numbers))
    }

    /// The numbers as the last step left them; waits for it.
    pub fn read(&self) -> Result<StepNumbers> {
        let mut numbers: StepNumbers = bytemuck::Zeroable::zeroed();
        self.0.gpu().download(self.address(), bytemuck::bytes_of_mut(&mut numbers)).map(|()| numbers)
    }
}
