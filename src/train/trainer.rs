//! The training loop.

use super::step::{Inputs, OnGpu};
use super::{Accuracy, LossScale, Teacher, TrainConfig, evaluate, first_nonfinite, images, nonfinite};
use crate::data::loader::{Batch, Loader};
use crate::nn::{BatchNorm, Mode, Params};
use crate::noise::Noise;
use crate::optim::AdamW;
use crate::report::{Progress, RunFolder, Show};
use crate::{DType, Error, Result, models::Model, ops};
use serde_json::json;
use std::{collections::BTreeSet, path::PathBuf};

/// What a run ends with: accuracy of the last evaluation (when there was test data), mean loss of the last epoch, the
/// moving average (when asked for), and what is wrong with each broken image that was skipped, by file.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Outcome {
    pub accuracy: Option<Accuracy>,
    pub loss: f64,
    pub ema: Option<Params>,
    pub broken: BTreeSet<String>,
}

/// One training run of `model`.
pub struct Trainer<'a> {
    pub(super) model: &'a mut Model,
    pub(super) config: TrainConfig,
    pub(super) optimizer: AdamW,
    pub(super) ema: Option<Params>,
    /// Epochs done so far.
    pub epoch: usize,
    /// Whether steps on a GPU are captured and replayed; the results have the same bits.
    pub graphs: bool,
    pub(super) on_gpu: OnGpu,
    pub(super) scale: LossScale,
    folder: Option<&'a RunFolder>,
    checkpoint: Option<PathBuf>,
    show: Show,
}

impl<'a> Trainer<'a> {
    /// A fresh run. With a folder it logs there.
    pub fn new(model: &'a mut Model, config: TrainConfig, folder: Option<&'a RunFolder>, show: Show) -> Result<Self> {
        config.validate()?;
        let optimizer = AdamW { weight_decay: config.weight_decay, ..AdamW::new(model.params())? };
        let ema = config.ema_decay.map(|_| model.params().clone());
        let (on_gpu, scale, checkpoint) = (OnGpu::default(), LossScale::new(config.precision), None);
        Ok(Self { model, config, optimizer, ema, epoch: 0, graphs: true, on_gpu, scale, folder, checkpoint, show })
    }

    /// Goes on from the checkpoint at `path` when there is one, and writes there after every `checkpoint_every` epochs.
    pub fn resuming(mut self, path: PathBuf) -> Result<Self> {
        if path.exists() {
            self.load(&path)?;
        }
        self.checkpoint = Some(path);
        Ok(self)
    }

    /// Trains to the end; evaluates on `test` as the settings say.
    pub fn run(mut self, train: &Loader, test: Option<&Loader>, mut teacher: Option<&mut Teacher>) -> Result<Outcome> {
        let batch = train.dataset().len().checked_div(train.batches()).unwrap_or(0);
        let steps = self.config.epochs.saturating_sub(self.epoch) * train.batches();
        let progress = Progress::with((steps.min(self.steps_left()) * batch) as u64, &self.config.stage, self.show);
        let mut outcome = Outcome { accuracy: None, loss: f64::NAN, ema: None, broken: BTreeSet::new() };
        while self.epoch < self.config.epochs {
            let epoch = self.epoch as u64;
            let mut batches = train.epoch(epoch)?;
            let (mut total, mut count) = (0.0, 0);
            while self.steps_left() > 0 {
                let Some(batch) = batches.next().transpose()? else { break };
                let loss = self.step(&batch, epoch, teacher.as_deref_mut())?;
                total += loss * batch.labels.len() as f64;
                count += batch.labels.len();
                progress.message(format!("loss {loss:.4}"));
                progress.inc(batch.labels.len() as u64);
            }
            outcome.broken.extend(batches.broken().iter().map(|(_, error)| error.to_string()));
            outcome.loss = total / count.max(1) as f64;
            self.epoch = if self.steps_left() == 0 { self.config.epochs } else { self.epoch + 1 };
            outcome.accuracy = self.end_of_epoch(test, outcome.loss)?.or(outcome.accuracy);
        }
        if let Some(layer) = nonfinite::named("parameter", self.model.params())? {
            return Err(Error::NonFinite { step: self.optimizer.steps, layer, value: f64::NAN });
        }
        outcome.ema = self.ema;
        Ok(outcome)
    }

    /// Steps until the limit, if there is one.
    fn steps_left(&self) -> usize {
        self.config.max_steps.unwrap_or(usize::MAX).saturating_sub(self.optimizer.steps)
    }

    /// Evaluation, log and checkpoint that are due after an epoch of mean loss `loss`.
    fn end_of_epoch(&mut self, test: Option<&Loader>, loss: f64) -> Result<Option<Accuracy>> {
        let (config, epoch) = (self.config.clone(), self.epoch);
        let due = |every: usize| epoch == config.epochs || (every > 0 && epoch.is_multiple_of(every));
        let quiet = Progress::with(0, "evaluate", Show::Quiet);
        let test = test.filter(|_| due(config.eval_every));
        let accuracy = test.map(|test| evaluate(self.model, test, &quiet)).transpose()?.map(|found| found.accuracy);
        let every = config.checkpoint_every;
        if let Some(path) = self.checkpoint.clone().filter(|_| every > 0 && due(every)) {
            self.save(&path)?;
        }
        let steps = self.optimizer.steps;
        let mut record = json!({"stage": config.stage, "epoch": epoch, "step": steps, "epoch_loss": loss});
        if let Some(accuracy) = accuracy {
            record["top1"] = accuracy.top1.into();
            record["top5"] = accuracy.top5.into();
        }
        self.folder.map_or(Ok(()), |folder| folder.log(&record)).map(|()| accuracy)
    }

    /// One step on a batch; the loss before it.
    fn step(&mut self, batch: &Batch, epoch: u64, teacher: Option<&mut Teacher>) -> Result<f64> {
        let (config, arch, step) = (&self.config, self.model.arch(), self.optimizer.steps);
        let images = images(batch, arch.img_size)?;
        let target = ops::one_hot(&batch.labels, arch.num_classes, config.smoothing, DType::F32)?;
        let taught = teacher.map(|teacher| teacher.logits(&images, epoch, &batch.indices)).transpose()?;
        let lr = config.schedule.used_at(if config.schedule_in_steps { step } else { self.epoch });
        let (loss, norm) = self.advance(&Inputs { images, target, taught }, lr)?;
        let mut record = json!({"stage": self.config.stage, "step": step, "loss": loss, "lr": lr, "grad_norm": norm});
        if self.scale.is_dynamic() {
            record["loss_scale"] = self.scale.factor.into();
        }
        self.folder.map_or(Ok(()), |folder| folder.log(&record)).map(|()| loss)
    }

    pub(super) fn mode<'n>(&self, noise: &'n dyn Noise) -> Mode<'n> {
        let Self { config: TrainConfig { drop_path, precision, .. }, .. } = *self;
        Mode { drop_path, noise, precision, batch_norm: BatchNorm::Batch }
    }

    /// What is not finite in a step, by name: a gradient when the loss is, else a layer.
    pub(super) fn broken(&self, inputs: &Inputs, noise: &dyn Noise, finite_loss: bool) -> Result<String> {
        let grads = if finite_loss { self.gradients(inputs, noise, None)?.1 } else { Params::default() };
        let mode = self.mode(noise);
        nonfinite::named("gradient of", &grads)?.map_or_else(|| first_nonfinite(self.model, &inputs.images, mode), Ok)
    }
}
