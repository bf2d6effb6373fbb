//! The training loop, evaluation, distillation, checkpoints; recipes, and the job that follows one.

mod checkpoint;
mod config;
pub mod distill;
mod evaluate;
pub mod job;
mod loss_scale;
mod nonfinite;
pub mod recipe;
mod step;
mod trainer;

pub use config::TrainConfig;
pub use distill::{DistillKind, Distillation, Teacher};
pub use evaluate::{Accuracy, Evaluation, evaluate};
pub use loss_scale::LossScale;
pub use nonfinite::first_nonfinite;
pub use trainer::{Outcome, Trainer};

use crate::{Result, Tensor, data::loader::Batch};

/// The images of a batch as a tensor `[B, 3, side, side]`.
pub fn images(batch: &Batch, side: usize) -> Result<Tensor> {
    Tensor::from_slice([batch.labels.len(), 3, side, side], &batch.images)
}
