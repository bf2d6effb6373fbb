//! The numbers that change from one training step to the next, in device memory.

use super::{Buffer, Gpu, params::StepNumbers};
use crate::Result;

/// [`StepNumbers`] on a GPU: written before a step, and partly by it.
#[derive(Debug)]
pub struct StepState(Buffer);

impl StepState {
    /// Zeros.
    pub fn new(gpu: &'static Gpu) -> Result<Self> {
        let buffer = gpu.alloc(size_of::<StepNumbers>())?;
        gpu.zero(buffer.address(), buffer.bytes()).map(|()| Self(buffer))
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
        let mut numbers = StepNumbers { lr: 0.0, bias1: 0.0, bias2: 0.0, grad_scale: 0.0, grad_norm: 0.0, step: 0 };
        self.0.gpu().download(self.address(), bytemuck::bytes_of_mut(&mut numbers)).map(|()| numbers)
    }
}
