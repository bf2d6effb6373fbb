//! Evaluation passes one after the other. On a GPU the parameters are rounded once, if they are; the second pass of a batch
//! size is captured as a graph, and every further one is a replay.

use super::Model;
use super::model::mean_of_heads;
use crate::gpu::Graph;
use crate::nn::{Mode, NoHooks, Packs, Params, Pass};
use crate::{Device, Result, Tensor, Var};

/// What asks a model again and again, in the model's precision.
pub struct Predictor<'a> {
    model: &'a Model,
    operands: Option<Params>,
    packs: Packs,
    batch: usize, // of the last pass that was launched kernel by kernel
    captured: Option<Captured>,
}

/// A recorded pass: what it reads, and the logits that it writes.
struct Captured {
    images: Tensor,
    graph: Graph,
    logits: Tensor,
}

impl<'a> Predictor<'a> {
    /// For `model` as it is now.
    pub fn new(model: &'a Model) -> Self {
        Self { model, operands: None, packs: Packs::default(), batch: 0, captured: None }
    }

    /// Logits `[B, classes]` in main memory, the mean of the heads. Images `[B, 3, H, W]` may lie anywhere.
    pub fn logits(&mut self, images: &Tensor) -> Result<Tensor> {
        self.run(images)?.to_device(Device::Cpu)
    }

    /// The same left on the model's device, where the next call may overwrite them.
    pub fn run(&mut self, images: &Tensor) -> Result<Tensor> {
        if let (None, Some(half)) = (&self.operands, self.model.precision().half()) {
            self.operands = Some(self.model.params().to_dtype(half)?);
        }
        let Some(gpu) = self.model.device().gpu()? else { return self.launch(images) };
        let batch = images.dim(0);
        if self.captured.as_ref().is_some_and(|pass| pass.images.shape()[1..] != images.shape()[1..]) {
            return self.launch(&images.to_device(gpu.device())?); // which says what is wrong with them
        }
        // A smaller last batch stays launched: its graph would take the place of the usual one.
        let captured = self.captured.as_ref().map_or(0, |pass| pass.images.dim(0));
        if captured < batch && self.batch == batch {
            self.captured = None; // its memory first
            // Filled before every replay; a capture runs nothing.
            let own = Tensor::empty_on(gpu.device(), *images.shape(), images.dtype())?;
            let (graph, logits) = gpu.capture(|| self.launch(&own))?;
            self.captured = Some(Captured { images: own, graph, logits });
        }
        match &mut self.captured {
            Some(pass) if pass.images.dim(0) == batch => {
                pass.images.copy_from(images)?;
                pass.graph.replay()?;
                Ok(pass.logits.clone())
            }
            _ => {
                self.batch = batch;
                self.launch(&images.to_device(gpu.device())?)
            }
        }
    }

    /// One pass, put on the device's stream.
    fn launch(&self, images: &Tensor) -> Result<Tensor> {
        let mode = Mode { precision: self.model.precision(), ..Mode::eval() };
        let pass = Pass::with_operands(self.model.params(), self.operands.as_ref(), None, mode, &NoHooks)?
            .with_packs(&self.packs);
        let logits = self.model.forward(&pass, &Var::constant(images.clone()))?;
        mean_of_heads(logits).map(Var::into_tensor)
    }
}
