//! The training loop.

use super::step::{Inputs, OnGpu};
use super::{Accuracy, LossScale, Teacher, TrainConfig, evaluate, first_nonfinite, images, nonfinite};
use crate::data::loader::{Batch, Loader};
use crate::data::mixup::{mix_images, mix_targets};
use crate::nn::{BatchNorm, Mode, Params};
use crate::noise::{Noise, Philox};
use crate::optim::{AdamW, no_decay_rules};
use crate::report::{Progress, RunFolder, Show};
use crate::{DType, Error, Result, models::Model, ops};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
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

/// How far an epoch has come: the place of the next example in its order, and loss times images, and images, so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Within {
    pub place: usize,
    total: f64,
    images: usize,
}

/// One training run of `model`.
pub struct Trainer<'a> {
    pub(super) model: &'a mut Model,
    pub(super) config: TrainConfig,
    pub(super) optimizer: AdamW,
    pub(super) ema: Option<Params>,
    /// Epochs done so far.
    pub epoch: usize,
    pub(super) within: Within,
    /// Whether steps on a GPU are captured and replayed; the results have the same bits.
    pub graphs: bool,
    pub(super) on_gpu: OnGpu,
    pub(super) scale: LossScale,
    /// Where the model goes after every evaluation that is the best so far.
    pub keep_best: Option<PathBuf>,
    pub(super) best: Option<f64>,
    folder: Option<&'a RunFolder>,
    checkpoint: Option<PathBuf>,
    /// What it is trained on, in words; until it runs that of the checkpoint.
    pub(super) data: Option<String>,
    show: Show,
}

impl<'a> Trainer<'a> {
    /// A fresh run. With a folder it logs there.
    pub fn new(model: &'a mut Model, config: TrainConfig, folder: Option<&'a RunFolder>, show: Show) -> Result<Self> {
        config.validate()?;
        model.arch().ensure_trained_by_classes()?;
        let mut optimizer = AdamW { weight_decay: config.weight_decay, ..AdamW::new(model.params())? };
        if let Some(patterns) = &config.no_decay {
            optimizer.rules = no_decay_rules(patterns);
        }
        let ema = config.ema_decay.map(|_| model.params().clone());
        let (on_gpu, scale, within) = (OnGpu::default(), LossScale::new(config.precision), Within::default());
        Ok(Self {
            model,
            config,
            optimizer,
            ema,
            epoch: 0,
            within,
            graphs: true,
            on_gpu,
            scale,
            keep_best: None,
            best: None,
            folder,
            checkpoint: None,
            data: None,
            show,
        })
    }

    /// Goes on from the checkpoint at `path` when there is one, and writes there as often as the settings say. What the
    /// folder's log has of later steps is struck out: they will come again.
    pub fn resuming(mut self, path: PathBuf) -> Result<Self> {
        if path.exists() {
            self.load(&path)?;
        }
        let (stage, step, epoch) = (self.config.stage.as_str(), self.optimizer.steps as u64, self.epoch as u64);
        let done = |record: &Value| match record["epoch"].as_u64() {
            Some(after) => after <= epoch,
            None => record["step"].as_u64().is_none_or(|before| before < step),
        };
        self.folder.map_or(Ok(()), |folder| folder.keep(|record| record["stage"] != stage || done(record)))?;
        self.checkpoint = Some(path);
        Ok(self)
    }

    /// Trains to the end; evaluates on `test` as the settings say. Errors: more batches to a step than an epoch has; other
    /// images, or in another order, than those that the checkpoint goes on with.
    pub fn run(mut self, train: &Loader, test: Option<&Loader>, mut teacher: Option<&mut Teacher>) -> Result<Outcome> {
        let (data, before) = (train.describe(), self.data.take());
        if let (Some(path), Some(before)) = (&self.checkpoint, before) {
            Error::ensure_key(data == before, &path.display().to_string(), "training images", before, &data)?;
        }
        self.data = Some(data);
        let (batches, parts) = (train.batches(), self.config.parts());
        Error::ensure(parts <= batches, "accumulate", format_args!("at most {batches} batches, an epoch's"), parts)?;
        let batch = parts * train.dataset().len().checked_div(batches).unwrap_or(0);
        let whole = self.config.epochs.saturating_sub(self.epoch) * (batches / parts);
        let progress = Progress::with((whole.min(self.steps_left()) * batch) as u64, &self.config.stage, self.show);
        progress.inc(self.within.images as u64);
        let mut outcome = Outcome { accuracy: None, loss: f64::NAN, ema: None, broken: BTreeSet::new() };
        while self.epoch < self.config.epochs {
            outcome.broken.extend(self.one_epoch(train, teacher.as_deref_mut(), &progress)?);
            let Within { total, images, .. } = std::mem::take(&mut self.within);
            outcome.loss = total / images.max(1) as f64;
            self.epoch = if self.steps_left() == 0 { self.config.epochs } else { self.epoch + 1 };
            outcome.accuracy = self.end_of_epoch(test, outcome.loss)?.or(outcome.accuracy);
        }
        if let Some(layer) = nonfinite::named("parameter", self.model.params())? {
            return Err(Error::NonFinite { step: self.optimizer.steps, layer, value: f64::NAN });
        }
        outcome.ema = self.ema;
        Ok(outcome)
    }

    /// The rest of the present epoch; what is wrong with each broken image.
    fn one_epoch(
        &mut self, train: &Loader, mut teacher: Option<&mut Teacher>, progress: &Progress,
    ) -> Result<Vec<String>> {
        let mut batches = train.epoch_from(self.epoch as u64, self.within.place)?;
        while self.steps_left() > 0 {
            let parts: Vec<Batch> = batches.by_ref().take(self.config.parts()).collect::<Result<_>>()?;
            // As a larger batch would be, an incomplete one is left out.
            if parts.len() < self.config.parts() {
                break;
            }
            let loss = self.step(&parts, teacher.as_deref_mut())?;
            let images: usize = parts.iter().map(|batch| batch.labels.len()).sum();
            let Within { total, images: before, .. } = self.within;
            self.within =
                Within { place: batches.place(), total: total + loss * images as f64, images: before + images };
            progress.message(format!("loss {loss:.4}"));
            progress.inc(images as u64);
            let every = self.config.checkpoint_every_steps;
            let due = every > 0 && self.optimizer.steps.is_multiple_of(every);
            if let Some(path) = self.checkpoint.clone().filter(|_| due) {
                self.save(&path)?;
            }
        }
        Ok(batches.broken().iter().map(|(_, error)| error.to_string()).collect())
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
        if let (Some(accuracy), Some(path)) = (accuracy, &self.keep_best)
            && self.best.is_none_or(|best| accuracy.top1 > best)
        {
            self.model.save(path, &config.stage)?;
            self.best = Some(accuracy.top1);
        }
        let steps = self.optimizer.steps;
        let mut record = json!({"stage": config.stage, "epoch": epoch, "step": steps, "epoch_loss": loss});
        if let Some(accuracy) = accuracy {
            record["top1"] = accuracy.top1.into();
            record["top5"] = accuracy.top5.into();
        }
        self.folder.map_or(Ok(()), |folder| folder.log(&record))?;
        // Behind the record: what a checkpoint is not ahead of is struck out, never lost.
        let every = config.checkpoint_every;
        if let Some(path) = self.checkpoint.clone().filter(|_| every > 0 && due(every)) {
            self.save(&path)?;
        }
        Ok(accuracy)
    }

    /// What a step needs of its batch number `part`.
    fn inputs(&self, batch: &Batch, part: usize, teacher: Option<&mut Teacher>) -> Result<Inputs> {
        let (config, arch, step) = (&self.config, self.model.arch(), self.optimizer.steps);
        let (mut images, side) = (images(batch, arch.img_size)?, arch.img_size);
        let mut target = ops::one_hot(&batch.labels, arch.num_classes, config.smoothing, DType::F32)?;
        let mixed = config.mixup.is_on();
        if mixed {
            let noise = Philox { seed: config.seed, step: (step * config.parts() + part) as u64 };
            let mixes = config.mixup.draw(batch.labels.len(), side, side, &noise)?;
            mix_images(images.slice_mut()?, side, side, &mixes);
            mix_targets(target.slice_mut()?, &mixes);
        }
        // What a teacher says of a mixed image is of no use for another batch.
        let ask = |teacher: &mut Teacher| if mixed { teacher.ask(&images) } else { teacher.logits(&images, batch) };
        let taught = teacher.map(ask).transpose()?;
        Ok(Inputs { images, target, taught })
    }

    /// One step on its batches; the loss before it.
    fn step(&mut self, batches: &[Batch], mut teacher: Option<&mut Teacher>) -> Result<f64> {
        let (config, step) = (&self.config, self.optimizer.steps);
        let mut inputs = Vec::with_capacity(batches.len());
        for (part, batch) in batches.iter().enumerate() {
            inputs.push(self.inputs(batch, part, teacher.as_deref_mut())?);
        }
        let lr = config.schedule.used_at(if config.schedule_in_steps { step } else { self.epoch });
        let (loss, norm) = self.advance(&inputs, lr)?;
        let mut record = json!({"stage": self.config.stage, "step": step, "loss": loss, "lr": lr, "grad_norm": norm});
        if self.scale.is_dynamic() {
            record["loss_scale"] = self.scale.factor.into();
        }
        self.folder.map_or(Ok(()), |folder| folder.log(&record)).map(|()| loss)
    }

    pub(super) fn mode<'n>(&self, noise: &'n dyn Noise) -> Mode<'n> {
        let &TrainConfig { drop_path, precision, recompute, .. } = &self.config;
        Mode { drop_path, noise, precision, recompute, batch_norm: BatchNorm::Batch }
    }

    /// What is not finite in a step, by name: a gradient when the loss is, else a layer.
    pub(super) fn broken(&self, inputs: &[Inputs], noise: &dyn Noise, finite_loss: bool) -> Result<String> {
        let grads = if finite_loss { self.gradients(inputs, noise, None)?.1 } else { Params::default() };
        if let Some(gradient) = nonfinite::named("gradient of", &grads)? {
            return Ok(gradient);
        }
        let mut layer = String::new();
        for part in inputs {
            layer = first_nonfinite(self.model, &part.images, self.mode(noise))?;
            if layer != nonfinite::NOTHING {
                break;
            }
        }
        Ok(layer)
    }
}
