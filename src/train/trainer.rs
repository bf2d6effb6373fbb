//! The training loop.

use super::{Accuracy, State, Teacher, TrainConfig, evaluate, first_nonfinite, images};
use crate::data::loader::{Batch, Loader};
use crate::models::Model;
use crate::nn::{Mode, NoHooks, Pass};
use crate::noise::Philox;
use crate::optim::{AdamW, AdamwConfig, Ema, clip_factor};
use crate::report::{Progress, RunFolder, Show};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result, Tape, Var, ops};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

/// What a run ends with.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Accuracy of the last evaluation, when there was test data.
    pub accuracy: Option<Accuracy>,
    /// Mean loss of the last epoch.
    pub loss: f64,
    /// Images trained on per second, over the whole run.
    pub images_per_second: f64,
    /// The moving average, when the settings ask for one.
    pub ema: Option<Ema>,
    /// What is wrong with each broken image that was skipped, by file.
    pub broken: BTreeSet<String>,
}

/// One training run of `model`.
pub struct Trainer<'a> {
    model: &'a mut Model,
    config: TrainConfig,
    state: State,
    folder: Option<&'a RunFolder>,
    checkpoint: Option<PathBuf>,
    show: Show,
}

impl<'a> Trainer<'a> {
    /// A fresh run. With a folder it logs there.
    pub fn new(model: &'a mut Model, config: TrainConfig, folder: Option<&'a RunFolder>, show: Show) -> Result<Self> {
        config.validate()?;
        let settings = AdamwConfig { weight_decay: config.weight_decay, ..AdamwConfig::default() };
        let optimizer = AdamW::new(settings, model.params());
        let ema = config.ema_decay.map(|decay| Ema::new(model.params(), decay));
        Ok(Self { model, config, state: State { optimizer, ema, epoch: 0 }, folder, checkpoint: None, show })
    }

    /// Goes on from the checkpoint at `path` when there is one, and writes there after every `checkpoint_every` epochs.
    pub fn resuming(mut self, path: PathBuf) -> Result<Self> {
        if path.exists() {
            self.state.load(&path, self.model.params_mut(), &self.config)?;
        }
        self.checkpoint = Some(path);
        Ok(self)
    }

    /// Epochs done so far.
    pub fn epoch(&self) -> usize {
        self.state.epoch
    }

    /// Trains to the end; evaluates on `test` as the settings say.
    pub fn run(mut self, train: &Loader, test: Option<&Loader>, mut teacher: Option<&mut Teacher>) -> Result<Outcome> {
        let progress = Progress::with(self.images_left(train), &self.config.stage, self.show);
        let started = std::time::Instant::now();
        let mut outcome =
            Outcome { accuracy: None, loss: f64::NAN, images_per_second: 0.0, ema: None, broken: BTreeSet::new() };
        let mut seen = 0;
        while self.state.epoch < self.config.epochs {
            let epoch = self.state.epoch as u64;
            let (mut total, mut count) = (0.0, 0);
            let mut batches = train.epoch(epoch)?;
            while !self.done() {
                let Some(batch) = batches.next().transpose()? else { break };
                let loss = self.step(&batch, epoch, teacher.as_deref_mut())?;
                total += loss * batch.labels.len() as f64;
                count += batch.labels.len();
                progress.inc(batch.labels.len() as u64);
                progress.message(format!("loss {loss:.4}"));
            }
            outcome.broken.extend(batches.broken().iter().map(|(_, error)| error.to_string()));
            outcome.loss = total / count.max(1) as f64;
            seen += count;
            self.state.epoch = if self.done() { self.config.epochs } else { self.state.epoch + 1 };
            outcome.accuracy = self.end_of_epoch(test, &outcome)?.or(outcome.accuracy);
        }
        progress.finish();
        let step = self.state.optimizer.steps;
        if let Some((name, _)) = self.model.params().iter().find(|(_, tensor)| !tensor.is_finite()) {
            return Err(Error::NonFinite { step, layer: format!("parameter {name}"), value: f64::NAN });
        }
        outcome.ema = self.state.ema.take();
        outcome.images_per_second = seen as f64 / started.elapsed().as_secs_f64().max(1e-9);
        Ok(outcome)
    }

    /// Whether the limit on steps is reached.
    fn done(&self) -> bool {
        self.config.max_steps.is_some_and(|limit| self.state.optimizer.steps >= limit)
    }

    fn images_left(&self, train: &Loader) -> u64 {
        let batch = train.dataset().len().checked_div(train.batches()).unwrap_or(0);
        let steps = self.config.epochs.saturating_sub(self.state.epoch) * train.batches();
        let limit = self.config.max_steps.unwrap_or(usize::MAX).saturating_sub(self.state.optimizer.steps);
        (steps.min(limit) * batch) as u64
    }

    /// Evaluation, log and checkpoint that are due after an epoch.
    fn end_of_epoch(&mut self, test: Option<&Loader>, outcome: &Outcome) -> Result<Option<Accuracy>> {
        let (epoch, last) = (self.state.epoch, self.state.epoch == self.config.epochs);
        let due = |every: usize| last || (every > 0 && epoch.is_multiple_of(every));
        let accuracy = match test.filter(|_| due(self.config.eval_every)) {
            Some(test) => Some(evaluate(self.model, test, &Progress::with(0, "evaluate", Show::Quiet))?.accuracy),
            None => None,
        };
        let every = self.config.checkpoint_every;
        if let Some(path) = self.checkpoint.as_deref().filter(|_| every > 0 && due(every)) {
            self.state.save(path, self.model.params(), &self.config)?;
        }
        let Some(folder) = self.folder else { return Ok(accuracy) };
        let (stage, step) = (&self.config.stage, self.state.optimizer.steps);
        let mut record = json!({"stage": stage, "epoch": epoch, "step": step, "epoch_loss": outcome.loss});
        if let Some(accuracy) = accuracy {
            record["top1"] = accuracy.top1.into();
            record["top5"] = accuracy.top5.into();
        }
        folder.log(&record)?;
        Ok(accuracy)
    }

    /// One step on a batch; the loss before it. A value that is not finite stops with step and layer named.
    fn step(&mut self, batch: &Batch, epoch: u64, teacher: Option<&mut Teacher>) -> Result<f64> {
        let step = self.state.optimizer.steps;
        let noise = Philox { seed: self.config.seed, step: step as u64 };
        let mode = Mode { drop_path: self.config.drop_path, noise: &noise };
        let x = images(batch, self.model.arch().img_size)?;
        let classes = self.model.arch().num_classes;
        let target = ops::one_hot(&batch.labels, classes, self.config.smoothing, DType::F32)?;
        let taught = teacher.map(|teacher| teacher.logits(&x, epoch, &batch.indices)).transpose()?;
        let (loss, grads) = self.gradients(&x, &target, taught.as_ref(), mode)?;
        let norm = ops::global_norm(self.model.params().iter().filter_map(|(name, _)| grads.get(name)))?;
        if !loss.is_finite() || !norm.is_finite() {
            let bad_grad =
                self.model.params().iter().find(|(name, _)| grads.get(*name).is_some_and(|g| !g.is_finite()));
            let layer = match bad_grad.filter(|_| loss.is_finite()) {
                Some((name, _)) => format!("gradient of {name}"),
                None => first_nonfinite(self.model, &x, mode)?,
            };
            return Err(Error::NonFinite { step, layer, value: if loss.is_finite() { norm } else { loss } });
        }
        let at = if self.config.schedule_in_steps { step } else { self.state.epoch };
        let lr = self.config.schedule.used_at(at);
        let scale = self.config.clip_norm.map_or(1.0, |limit| clip_factor(norm, limit));
        self.state.optimizer.step(self.model.params_mut(), &grads, lr, scale)?;
        if let Some(ema) = &mut self.state.ema {
            ema.update(self.model.params())?;
        }
        if let Some(folder) = self.folder {
            folder
                .log(&json!({"stage": self.config.stage, "step": step, "loss": loss, "lr": lr, "grad_norm": norm}))?;
        }
        Ok(loss)
    }

    fn gradients(
        &self,
        x: &Tensor,
        target: &Tensor,
        taught: Option<&Tensor>,
        mode: Mode,
    ) -> Result<(f64, HashMap<String, Tensor>)> {
        let tape = Tape::new();
        let pass = Pass::new(self.model.params(), Some(&tape), mode, &NoHooks);
        let logits = self.model.forward(&pass, &Var::constant(x.clone()))?;
        let Some(first) = logits.first() else { return Err(Error::shape("heads", "at least one head", 0)) };
        let base = ops::cross_entropy(first, target)?;
        let loss = self.config.distillation.loss(&logits, base, taught)?;
        let mut grads = tape.backward(&loss)?;
        let mut by_name = HashMap::new();
        for (name, _) in self.model.params().iter() {
            if let Some(grad) = grads.take(pass.var(name)?) {
                by_name.insert(name.to_string(), grad);
            }
        }
        Ok((loss.tensor().item()?, by_name))
    }
}
