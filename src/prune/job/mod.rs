//! The main job: a dense model, scores, a plan, the compact model, fine-tuning with distillation, measurement.
//!
//! Each step is a method of [`Job`], so that a program can read as the list of them; [`Job::run`] is that list. Next to
//! the method's plan goes one drawn at random at the same multiply-accumulates, fine-tuned the same way: the baseline
//! without which no table means anything.

mod data;
mod options;
mod report;

pub use data::JobData;
pub use options::JobOptions;
pub use report::{Row, Speed};

use super::plan::{Kind, Plan};
use super::savit::{calibrate, official, scores::Calibration, search};
use super::{apply, plan};
use crate::data::loader::{Loader, LoaderOptions};
use crate::models::{Architecture, LoadOptions, Model};
use crate::ops::Reduction;
use crate::report::{Progress, RunFolder, Show};
use crate::train::{DistillKind, Distillation, Evaluation, Teacher, TrainConfig, Trainer, evaluate, images};
use crate::{DType, Error, Result, Tensor, ops};
use std::path::Path;
use std::sync::Arc;

/// Images per mini-batch of the scoring pass, as published.
const SCORE_BATCH: usize = 32;

/// A compact model on its way: what it was cut to, and how it does before and after fine-tuning.
pub struct Candidate {
    /// `savit` or `random`.
    pub name: String,
    /// What was kept.
    pub plan: Plan,
    /// The compact model.
    pub model: Model,
    /// Without any training after the cut.
    pub before: Evaluation,
    /// After fine-tuning.
    pub after: Evaluation,
}

/// A job in its run folder.
pub struct Job {
    options: JobOptions,
    data: JobData,
    /// The dense model of `--weights`.
    given: Option<Model>,
    folder: RunFolder,
    show: Show,
}

impl Job {
    /// Opens the data and makes the run folder.
    pub fn open(options: JobOptions) -> Result<Self> {
        let options = options.resolve()?;
        let given = options.weights.as_ref().map(|path| Model::load(path, &LoadOptions::default())).transpose()?;
        let own = given.as_ref().map(|model| model.arch().img_size);
        let side = options.img_size.or(own).unwrap_or(if options.data.is_some() { 224 } else { 64 });
        let data = JobData::open(&options, Some(side), given.as_ref().map(|model| model.arch().num_classes))?;
        let folder = RunFolder::create(&options.out)?;
        folder.write_json("options.json", &options)?;
        let show = Show::detect(options.quiet);
        Ok(Self { options, data, given, folder, show })
    }

    /// The whole job; the table's text.
    pub fn run(self) -> Result<String> {
        let dense = self.dense()?;
        let evaluation = self.evaluate("dense", &dense)?;
        let calibration = self.calibrate(&dense)?;
        let (plan, random) = self.plans(&dense, &calibration)?;
        let mut teacher = Teacher::remembering(&dense);
        let pruned = self.finetune(&dense, plan, &mut teacher)?;
        let random = self.finetune(&dense, random, &mut teacher)?;
        self.report(&dense, &evaluation, &[pruned, random])
    }

    /// The run folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The dense model: given weights, the cached one of an equal earlier run, or a freshly trained one.
    pub fn dense(&self) -> Result<Model> {
        if let (Some(model), Some(path)) = (&self.given, &self.options.weights) {
            let (mut model, side) = (model.clone(), self.data.test.img_size());
            if model.arch().img_size != side {
                let arch = Architecture { img_size: side, ..model.arch().clone() };
                model = Model::load(path, &LoadOptions { arch: Some(arch), ..LoadOptions::default() })?;
            }
            self.check_classes(model.arch())?;
            self.check_target(model.arch())?;
            return Ok(model);
        }
        let arch = self.options.architecture(self.data.train.num_classes())?;
        self.check_target(&arch)?;
        let cached = self.options.cache.join(self.options.dense_key(&arch, self.data.train.len())?);
        if cached.exists() {
            self.say(&format!("dense model from {}", cached.display()));
            return Model::load(&cached, &LoadOptions { arch: Some(arch), ..LoadOptions::default() });
        }
        let mut model = Model::init(arch, self.options.seed)?;
        let train = self.data.training(&self.options, self.options.seed)?;
        let epochs = self.options.epochs;
        let mut config = TrainConfig::short("dense", epochs, epochs * train.batches(), self.options.lr);
        (config.drop_path, config.smoothing, config.seed) =
            (self.options.drop_path, self.options.smoothing, self.options.seed);
        // A killed run goes on from its last whole epoch.
        config.checkpoint_every = 1;
        let checkpoint = cached.with_extension("checkpoint");
        std::fs::create_dir_all(&self.options.cache).map_err(Error::io("create", &self.options.cache))?;
        let trainer = Trainer::new(&mut model, config, Some(&self.folder), self.show)?.resuming(checkpoint.clone())?;
        if trainer.epoch() > 0 {
            self.say(&format!("going on after epoch {} of {}", trainer.epoch(), checkpoint.display()));
        }
        self.tell_broken(&trainer.run(&train, None, None)?.broken);
        model.save(&cached, "dense")?;
        if checkpoint.exists() {
            std::fs::remove_file(&checkpoint).map_err(Error::io("remove", &checkpoint))?;
        }
        Ok(model)
    }

    /// Accuracy on the test images.
    pub fn evaluate(&self, name: &str, model: &Model) -> Result<Evaluation> {
        let test = self.data.testing(&self.options)?;
        let progress = Progress::with(self.data.test.len() as u64, &format!("evaluate {name}"), self.show);
        let evaluation = evaluate(model, &test, &progress)?;
        self.tell_broken(&evaluation.broken);
        Ok(evaluation)
    }

    /// SAViT's scores and Hessian, from an earlier run's file when one was given; saved for later targets.
    pub fn calibrate(&self, dense: &Model) -> Result<Calibration> {
        if let Some(path) = &self.options.calibration {
            let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
            let wrong = |e| Error::invalid(path.display().to_string(), "a saved calibration", e);
            let calibration = Calibration::from_json(&text).map_err(wrong)?;
            if calibration.model != *dense.arch() {
                let found = format!("that of {:?}", calibration.model);
                return Err(Error::invalid(path.display().to_string(), "the calibration of this model", found));
            }
            return Ok(calibration);
        }
        let batch = SCORE_BATCH.min(self.data.scoring.len());
        let loader = Loader::new(Arc::clone(&self.data.scoring), LoaderOptions::train(batch, self.options.seed ^ 1))?;
        let mut options = calibrate::Options::published(2 * self.options.score_batches, self.options.seed);
        options.fraction = 0.5;
        // Single precision is within 1e-4 of the largest entry here, far below the noise of few batches.
        options.double = false;
        let (side, classes) = (dense.arch().img_size, dense.arch().num_classes);
        // Enough epochs for small data sets; each shuffles anew.
        let batches = (0..).flat_map(|epoch| match loader.epoch(epoch) {
            Ok(batches) => Box::new(batches) as Box<dyn Iterator<Item = _>>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        });
        let batches = batches.map(|batch| {
            let batch = batch?;
            Ok((images(&batch, side)?, ops::one_hot(&batch.labels, classes, 0.0, DType::F32)?))
        });
        let progress = Progress::with((batch * (self.options.score_batches + 1)) as u64, "score", self.show);
        let calibration = calibrate::calibrate(dense, batches, &options, &mut |_, _| progress.inc(batch as u64))?;
        drop(progress);
        self.folder.write_text("calibration.json", &calibration.to_json()?)?;
        Ok(calibration)
    }

    /// The method's plan, and one at random at the same multiply-accumulates.
    pub fn plans(&self, dense: &Model, calibration: &Calibration) -> Result<(Plan, Plan)> {
        let (arch, keep) = (dense.arch(), self.options.target_flops);
        let (plan, warnings) = if self.options.compat.is_some() {
            let settings = official::Options::removing(1.0 - keep);
            let mut draws = official::Uniforms(super::uniforms(self.options.seed));
            official::plan(arch, &calibration.scores, &calibration.hessian, &settings, Some(&mut draws))?
        } else {
            let settings = self.search_options();
            let (plan, found) = search::plan(arch, &calibration.scores, &calibration.hessian, &settings)?;
            (plan, found.warnings)
        };
        warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        let (all, kept) = (plan::every_unit(arch).totals(), plan.kept()?.totals());
        let pruned = std::array::from_fn(|kind| all[kind] - kept[kind]);
        let random = search::random_plan(arch, pruned, true, self.options.seed)?;
        self.folder.write_text("plan.json", &plan.to_json()?)?;
        self.folder.write_text("random.plan.json", &random.to_json()?)?;
        Ok((plan, random))
    }

    fn search_options(&self) -> search::Options {
        let mut settings = search::Options::keeping(self.options.target_flops);
        settings.kinds = Kind::ALL.map(|kind| self.options.kinds.iter().any(|name| name == kind.name()));
        settings
    }

    /// Refuses a target that no plan reaches before anything is trained: what can be reached needs no weights.
    fn check_target(&self, arch: &Architecture) -> Result<()> {
        let settings = search::Options { allow_zero_hessian: true, ..self.search_options() };
        search::search(arch, &[[0.0; 3]; 3], &settings).map(drop)
    }

    /// Cuts `dense` to `plan`, fine-tunes with `teacher`, saves checkpoint, `.pth` form and architecture.
    pub fn finetune(&self, dense: &Model, plan: Plan, teacher: &mut Teacher) -> Result<Candidate> {
        let name = plan.method.clone();
        let mut model = apply(dense, &plan)?;
        let before = self.evaluate(&format!("{name}, not fine-tuned"), &model)?;
        let train = self.data.training(&self.options, self.options.seed ^ 2)?;
        let steps = (self.options.finetune_epochs * train.batches() as f64).round() as usize;
        let mut after = before.clone();
        if steps > 0 {
            let epochs = self.options.finetune_epochs.ceil() as usize;
            let mut config = TrainConfig::short(&format!("finetune-{name}"), epochs, steps, self.options.finetune_lr);
            config.seed = self.options.seed;
            config.distillation = Distillation {
                kind: DistillKind::Soft,
                alpha: self.options.distill_alpha,
                tau: self.options.distill_tau,
                reduction: Reduction::PerSample,
                single_head: true,
            };
            let trainer = Trainer::new(&mut model, config, Some(&self.folder), self.show)?;
            self.tell_broken(&trainer.run(&train, None, Some(teacher))?.broken);
            after = self.evaluate(&name, &model)?;
        }
        model.save(self.folder.file(&format!("{name}.safetensors"))?, "finetune")?;
        model.save_pth(self.folder.file(&format!("{name}.pth"))?)?;
        self.folder.write_json(&format!("{name}.architecture.json"), model.arch())?;
        Ok(Candidate { name, plan, model, before, after })
    }

    fn check_classes(&self, arch: &Architecture) -> Result<()> {
        let found = self.data.test.num_classes();
        if found == arch.num_classes {
            return Ok(());
        }
        Err(Error::invalid("classes of the data", format!("the model's {}", arch.num_classes), found))
    }

    fn tell_broken<'a>(&self, broken: impl IntoIterator<Item = &'a String>) {
        broken.into_iter().for_each(|error| eprintln!("warning: left out: {error}"));
    }

    fn say(&self, line: &str) {
        if !matches!(self.show, Show::Quiet) {
            eprintln!("{line}");
        }
    }
}

/// A batch of zeros of a model's input size: speed does not depend on the values.
fn blank(model: &Model, batch: usize) -> Tensor {
    let side = model.arch().img_size;
    Tensor::zeros([batch, 3, side, side], DType::F32)
}
