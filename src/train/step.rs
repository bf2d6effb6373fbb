//! One training step: loss, gradients, clipping, update, moving average. Its images come in one batch, or in several whose
//! gradients are added: the draws, and up to rounding the results, are those of one.
//!
//! On a GPU nothing in it waits for the device: the numbers that change from step to step stand in a [`StepState`], so the
//! second step of a batch size is captured as a graph and every further one is a replay. Only then are loss and gradient
//! norm read back. A step whose loss or norm is not finite changes no parameter, on any device.

use super::Trainer;
use crate::gpu::{Gpu, Graph, StepState, params::StepNumbers};
use crate::nn::{NoHooks, Params, Pass};
use crate::noise::{Noise, OnDevice, Philox, Shifted};
use crate::ops::{self, Numbers, Statistics};
use crate::optim::clip_factor;
use crate::{Device, Error, Result, Tape, Tensor, Var};

/// What a step is given, on the model's device: images `[B, 3, H, W]`, targets `[B, K]`, and the teacher's logits `[B, K]`.
pub(super) struct Inputs {
    pub images: Tensor,
    pub target: Tensor,
    pub taught: Option<Tensor>,
}

/// What a run keeps on its GPU.
#[derive(Default)]
pub(super) struct OnGpu {
    state: Option<StepState>,
    images: Vec<usize>, // in the batches of the last step that was run kernel by kernel
    captured: Option<Captured>,
}

/// A recorded step: what it reads, and the loss that it writes.
struct Captured {
    inputs: Vec<Inputs>,
    graph: Graph,
    loss: Tensor,
}

impl Inputs {
    /// Overwrites the values, from main memory.
    fn copy_from(&mut self, new: &Inputs) -> Result<()> {
        self.images.copy_from(&new.images)?;
        self.target.copy_from(&new.target)?;
        match (&mut self.taught, &new.taught) {
            (Some(taught), Some(new)) => taught.copy_from(new),
            (None, None) => Ok(()),
            _ => Err(Error::invalid("teacher", "in all steps of a run, or none", "in some")),
        }
    }

    fn to_device(&self, device: Device) -> Result<Inputs> {
        let taught = self.taught.as_ref().map(|taught| taught.to_device(device)).transpose()?;
        Ok(Inputs { images: self.images.to_device(device)?, target: self.target.to_device(device)?, taught })
    }
}

/// Loss, gradients, and the statistics of every BatchNorm.
type Found = (Tensor, Params, Vec<(String, Statistics)>);

fn on(device: Device, inputs: &[Inputs]) -> Result<Vec<Inputs>> {
    inputs.iter().map(|inputs| inputs.to_device(device)).collect()
}

impl Trainer<'_> {
    /// One step at rate `lr` on batches in main memory: the loss before it and the norm of the gradients.
    pub(super) fn advance(&mut self, inputs: &[Inputs], lr: f64) -> Result<(f64, f64)> {
        let device = self.model.device();
        let (loss, norm) = loop {
            let (loss, norm) = match device.gpu()? {
                None => self.advance_on_cpu(inputs, lr)?,
                Some(_) => self.advance_on_gpu(inputs, lr)?,
            };
            if loss.is_finite() && norm.is_finite() {
                self.scale.held();
                return Ok((loss, norm));
            }
            // The same step with a smaller loss scale, unless that is not what is wrong.
            if !loss.is_finite() || !self.scale.overflowed() {
                break (loss, norm);
            }
        };
        let (step, inputs) = (self.optimizer.steps, on(device, inputs)?);
        let noise = Philox { seed: self.config.seed, step: step as u64 };
        let layer = self.broken(&inputs, &noise, loss.is_finite())?;
        Err(Error::NonFinite { step, layer, value: if loss.is_finite() { norm } else { loss } })
    }

    fn advance_on_cpu(&mut self, inputs: &[Inputs], lr: f64) -> Result<(f64, f64)> {
        let noise = Philox { seed: self.config.seed, step: self.optimizer.steps as u64 };
        let (loss, grads, statistics) = self.gradients(inputs, &noise, None)?;
        let (loss, norm) = (loss.item()?, ops::global_norm(grads.iter().map(|(_, grad)| grad))?);
        if loss.is_finite() && norm.is_finite() {
            let scale = self.config.clip_norm.map_or(1.0, |limit| clip_factor(norm, limit));
            self.optimizer.steps += 1;
            self.model.params_mut().update_statistics(&statistics, None)?;
            let numbers = StepNumbers { grad_scale: scale, ..self.optimizer.numbers(lr) };
            self.update(&grads, Numbers::Host(numbers))?;
        }
        Ok((loss, norm))
    }

    fn advance_on_gpu(&mut self, inputs: &[Inputs], lr: f64) -> Result<(f64, f64)> {
        let Some(gpu) = self.model.device().gpu()? else { return self.advance_on_cpu(inputs, lr) };
        let state = self.on_gpu.state.take().map_or_else(|| StepState::new(gpu), Ok)?;
        let advanced = self.advance_with(gpu, &state, inputs, lr);
        if advanced.is_err() {
            self.on_gpu.captured = None; // it points to the state
        }
        self.on_gpu.state = advanced.is_ok().then_some(state);
        advanced
    }

    fn advance_with(&mut self, gpu: &'static Gpu, state: &StepState, inputs: &[Inputs], lr: f64) -> Result<(f64, f64)> {
        self.optimizer.steps += 1;
        state.write(&StepNumbers { loss_scale: self.scale.factor, ..self.optimizer.numbers(lr) })?;
        let sizes = |inputs: &[Inputs]| inputs.iter().map(|inputs| inputs.images.dim(0)).collect::<Vec<_>>();
        let images = sizes(inputs);
        // A smaller last batch of every epoch stays launched: its graph would take the place of the usual one.
        let captured = self.on_gpu.captured.as_ref().map_or(0, |step| sizes(&step.inputs).iter().sum());
        if self.graphs && captured < images.iter().sum::<usize>() && self.on_gpu.images == images {
            self.on_gpu.captured = None; // its memory first
            self.on_gpu.captured = Some(self.capture(on(gpu.device(), inputs)?, state)?);
        }
        let loss = match &mut self.on_gpu.captured {
            Some(step) if sizes(&step.inputs) == images => {
                step.inputs.iter_mut().zip(inputs).try_for_each(|(own, new)| own.copy_from(new))?;
                step.graph.replay()?;
                step.loss.clone()
            }
            _ => {
                self.on_gpu.images = images;
                self.launch(&on(gpu.device(), inputs)?, state)?
            }
        };
        let (loss, norm) = (loss.item()?, state.read()?.grad_norm);
        self.optimizer.steps -= usize::from(!(loss.is_finite() && norm.is_finite()));
        Ok((loss, norm))
    }

    /// Records a step on `inputs`.
    fn capture(&mut self, inputs: Vec<Inputs>, state: &StepState) -> Result<Captured> {
        // A tensor that is shared with another would be copied at every replay: not once this has made them sole owners.
        let (params, optimizer) = (self.model.params_mut(), &mut self.optimizer);
        let all = [Some(params), Some(&mut optimizer.m), Some(&mut optimizer.v), self.ema.as_mut()];
        let gpu = all.into_iter().flatten().flat_map(|params| params.iter_mut()).try_fold(None, |_, (_, tensor)| {
            tensor.address_mut()?;
            Ok::<_, Error>(tensor.gpu())
        })?;
        let Some(gpu) = gpu else { return Err(Error::shape("capture", "a model on a GPU", self.model.device())) };
        let (graph, loss) = gpu.capture(|| self.launch(&inputs, state))?;
        Ok(Captured { inputs, graph, loss })
    }

    /// Puts a whole step on the device's stream: the loss, when it is done.
    fn launch(&mut self, inputs: &[Inputs], state: &StepState) -> Result<Tensor> {
        let noise = OnDevice { seed: self.config.seed, state };
        let (loss, grads, statistics) = self.gradients(inputs, &noise, Some(state))?;
        let list: Vec<&Tensor> = grads.iter().map(|(_, grad)| grad).collect();
        ops::clip_scale(&list, &loss, self.config.clip_norm, state)?;
        self.model.params_mut().update_statistics(&statistics, Some(state))?;
        self.update(&grads, Numbers::Device(state)).map(|()| loss)
    }

    /// Parameters, moments and average, in one go.
    fn update(&mut self, grads: &Params, numbers: Numbers) -> Result<()> {
        let average = self.ema.as_mut().zip(self.config.ema_decay);
        self.optimizer.update(self.model.params_mut(), grads, average, numbers)
    }

    /// The loss, the gradients of the parameters that it depends on (the mean of those of all images), and the statistics of each
    /// batch at every BatchNorm. With a `state` the gradients are multiplied by its loss scale.
    pub(super) fn gradients(&self, inputs: &[Inputs], noise: &dyn Noise, state: Option<&StepState>) -> Result<Found> {
        let total: usize = inputs.iter().map(|part| part.images.dim(0)).sum();
        let (mut first, mut sum) = (0, None::<Found>);
        for part in inputs {
            let (count, noise) = (part.images.dim(0), Shifted { noise, first: first as u64 });
            let found = self.part(part, &noise, state, count as f64 / total.max(1) as f64)?;
            match &mut sum {
                None => sum = Some(found),
                Some((loss, grads, statistics)) => {
                    loss.accumulate(&found.0)?;
                    let mut pairs = grads.iter_mut().zip(found.1.iter());
                    pairs.try_for_each(|((_, sum), (_, grad))| sum.accumulate(grad))?;
                    statistics.extend(found.2);
                }
            }
            first += count;
        }
        sum.ok_or_else(|| Error::shape("step", "at least one batch", 0))
    }

    /// The same of one batch, loss and gradients times its `share` of the step's images.
    fn part(&self, inputs: &Inputs, noise: &dyn Noise, state: Option<&StepState>, share: f64) -> Result<Found> {
        let tape = Tape::new();
        let pass = Pass::new(self.model.params(), Some(&tape), self.mode(noise), &NoHooks)?;
        let logits = self.model.forward(&pass, &Var::constant(inputs.images.clone()))?;
        let Some(first) = logits.first() else { return Err(Error::shape("heads", "at least one head", 0)) };
        let base = ops::cross_entropy(first, &inputs.target)?;
        let mut loss = self.config.distillation.loss(&logits, base, inputs.taught.as_ref())?;
        if share != 1.0 {
            loss = ops::scale(&loss, share)?;
        }
        let seed = ops::loss_seed(loss.tensor(), state)?;
        let mut grads = tape.backward_from(&[(&loss, seed)])?;
        let mut named = |name: &str| Ok(grads.take(pass.var(name)?).map(|grad| (name.to_string(), grad)));
        let grads =
            self.model.params().iter().filter_map(|(name, _)| named(name).transpose()).collect::<Result<_>>()?;
        Ok((loss.into_tensor(), grads, pass.batch_statistics()))
    }
}
