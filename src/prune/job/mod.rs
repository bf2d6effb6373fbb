//! The main job: a dense model, scores, a plan, the compact model, fine-tuning with distillation, measurement. Each
//! step is a method of [`Job`], so that a program can read as the list of them; [`Job::run`] is that list. Next to the
//! method's plan goes one drawn at random at the same multiply-accumulates, fine-tuned the same way: the baseline
//! without which no table means anything. On request, the method's plan with aligned widths goes there, too.

mod options;
mod report;

pub use options::JobOptions;

use super::savit::{Calibration, calibrate, official, search};
use super::{apply, plan::Plan, plan::every_unit};
use crate::data::augment::Augment;
use crate::data::loader::{Batch, Loader, LoaderOptions};
use crate::data::source::{Images, Source};
use crate::models::timetable::{Table, Times};
use crate::models::{Architecture, LoadOptions, Model, Trained};
use crate::report::{Progress, RunFolder, Show, tell};
use crate::train::{DistillKind, Distillation, Evaluation, Teacher, TrainConfig, Trainer, evaluate, images};
use crate::{DType, Error, Result, ops};
use std::{path::Path, sync::Arc};

/// What was kept by `savit`, with aligned widths or at `random`, the compact model, and how it does before and after fine-tuning.
#[expect(missing_docs, reason = "the line above says it")]
pub struct Candidate {
    pub plan: Plan,
    pub model: Model,
    pub before: Evaluation,
    pub after: Evaluation,
}

/// A job in its run folder.
pub struct Job {
    options: JobOptions,
    data: Images,
    arch: Architecture,          // of the dense model
    given: Option<Model>,        // by `--weights`
    trained: Trained,            // the given model's, else of the data
    scores: Option<Calibration>, // by `--calibration`
    latency: Option<Times>,      // for `--target-latency`
    /// The run folder.
    pub folder: RunFolder,
    show: Show,
}

impl Job {
    /// Opens the data and makes the run folder. Refuses a target that no plan reaches before anything is trained: what
    /// can be reached needs no weights.
    pub fn open(options: JobOptions) -> Result<Self> {
        let options = options.resolve()?;
        options.dtype.ensure_on(options.device)?; // why it cannot, before anything else
        let loading = LoadOptions { img_size: options.img_size, ..LoadOptions::default() };
        let given = options.weights.as_ref().map(|path| Model::load(path, &loading)).transpose()?;
        let arch = given.as_ref().map_or_else(|| options.architecture(), |model| Ok(model.arch().clone()))?;
        let own_classes = given.is_some().then_some(arch.num_classes);
        let (side, generated) = (arch.img_size, [options.train_images, options.test_images]);
        let source = Source { root: options.data.as_deref(), generated, seed: options.seed, classes: own_classes };
        let known = given.as_ref().and_then(Model::trained);
        let augment = known.map_or_else(Augment::default, Trained::augment);
        let data = Images::open(source, &augment.train(side), &augment.eval(side))?;
        let classes = data.test.num_classes();
        let own = own_classes.unwrap_or(classes);
        Error::ensure(classes == own, "classes of the data", format!("the model's {own}"), classes)?;
        let arch = arch.with_classes(classes);
        let trained = known.cloned().unwrap_or_else(|| Trained::new(data.train.class_names(), &augment));
        tell_names(&trained.class_names, data.train.class_names());
        let calibration = options.calibration.as_deref().map(|path| saved_scores(path, &arch)).transpose()?;
        calibration.iter().zip(&given).try_for_each(|(scores, model)| ensure_scores_of(scores, model))?;
        let scores = every_unit(&arch).map(|_, units| vec![0.0; units.len()]);
        let zeros = Calibration { model: arch.clone(), weights: None, scores, hessian: [[0.0; 3]; 3] };
        let (align, show) = (options.align.unwrap_or(1), Show::detect(options.quiet));
        let latency = options.target_latency.map(|_| {
            let mut table = Table::open(options.device, show)?;
            table.times(&arch, options.latency_batch, options.dtype)
        });
        let latency = latency.transpose()?;
        let search = search::Options { latency: latency.clone(), allow_zero_hessian: true, align, ..options.search() };
        search::plan(&zeros, &search)?;
        let folder = RunFolder::create(&options.out)?;
        folder.write_json("options.json", &options)?;
        Ok(Self { show, options, data, arch, given, trained, scores: calibration, latency, folder })
    }

    /// The whole job; the table's text.
    pub fn run(self) -> Result<String> {
        let dense = self.dense()?;
        let evaluation = self.evaluate("dense", &dense)?;
        let calibration = self.calibrate(&dense)?;
        let mut teacher = Teacher::remembering(&dense);
        let plans = self.plans(&dense, &calibration)?.into_iter();
        let candidates = plans.map(|plan| self.finetune(&dense, plan, &mut teacher)).collect::<Result<Vec<_>>>()?;
        self.report(&dense, &evaluation, &candidates)
    }

    /// The dense model: given weights, the cached one of an equal earlier run, or a freshly trained one.
    pub fn dense(&self) -> Result<Model> {
        let (options, arch) = (&self.options, self.arch.clone());
        let &JobOptions { device, dtype, .. } = options;
        let ready =
            |model: &Model| model.to_device(device)?.with_precision(dtype).with_trained(Some(self.trained.clone()));
        if let Some(model) = &self.given {
            return ready(model);
        }
        let &JobOptions { epochs, drop_path, smoothing, seed, .. } = options;
        let cached = options.cache.join(options.dense_key(&arch, self.data.train.len())?);
        if cached.exists() {
            match Model::load(&cached, &LoadOptions { arch: Some(arch.clone()), ..LoadOptions::default() }) {
                Ok(model) => {
                    if self.show != Show::Quiet {
                        tell(format_args!("dense model from {}", cached.display()));
                    }
                    return ready(&model);
                }
                Err(error) => tell(format_args!("the cached dense model is made anew: {error}")),
            }
        }
        let (mut model, train) = (ready(&Model::init(arch, seed)?)?, self.training(seed)?);
        let short = TrainConfig::short("dense", epochs, epochs * train.batches(), options.lr());
        // a killed run goes on from its last whole epoch
        let config = TrainConfig { drop_path, smoothing, seed, precision: dtype, checkpoint_every: 1, ..short };
        let checkpoint = cached.with_extension("checkpoint");
        std::fs::create_dir_all(&options.cache).map_err(Error::io("create", &options.cache))?;
        let trainer = Trainer::new(&mut model, config, Some(&self.folder), self.show)?.resuming(checkpoint.clone())?;
        if trainer.epoch > 0 && self.show != Show::Quiet {
            tell(format_args!("going on after epoch {} of {}", trainer.epoch, checkpoint.display()));
        }
        tell_broken(&trainer.run(&train, None, None)?.broken);
        model.save(&cached, "dense")?;
        if checkpoint.exists() {
            std::fs::remove_file(&checkpoint).map_err(Error::io("remove", &checkpoint))?;
        }
        Ok(model)
    }

    fn training(&self, seed: u64) -> Result<Loader> {
        Loader::new(Arc::clone(&self.data.train), LoaderOptions::train(self.options.batch_size, seed))
    }

    /// Accuracy on the test images.
    pub fn evaluate(&self, name: &str, model: &Model) -> Result<Evaluation> {
        let settings = LoaderOptions { skip_broken: self.options.skip_broken, ..LoaderOptions::eval(64) };
        let test = Loader::new(Arc::clone(&self.data.test), settings)?;
        let progress = Progress::with(self.data.test.len() as u64, &format!("evaluate {name}"), self.show);
        let evaluation = evaluate(model, &test, &progress)?;
        tell_broken(&evaluation.broken);
        Ok(evaluation)
    }

    /// SAViT's scores and Hessian, from an earlier run's file when one was given; saved for later targets.
    pub fn calibrate(&self, dense: &Model) -> Result<Calibration> {
        if let Some(calibration) = &self.scores {
            return ensure_scores_of(calibration, dense).map(|()| calibration.clone());
        }
        let &JobOptions { score_batches, seed, .. } = &self.options;
        let batch = self.data.scoring.len().min(32); // as published
        let loader = Loader::new(Arc::clone(&self.data.scoring), LoaderOptions::train(batch, seed ^ 1))?;
        // single precision is within 1e-4 of the largest entry here, far below the noise of few batches
        let published = calibrate::Options::published(2 * score_batches, seed);
        let options = calibrate::Options { fraction: 0.5, double: false, ..published };
        // enough epochs for small data sets, each shuffled anew
        let batches = (0..).flat_map(|epoch| match loader.epoch(epoch) {
            Ok(batches) => Box::new(batches) as Box<dyn Iterator<Item = _>>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        });
        let mut batches = batches.map(|batch: Result<Batch>| {
            let batch = batch?;
            let targets = ops::one_hot(&batch.labels, self.arch.num_classes, 0.0, DType::F32)?;
            Ok((images(&batch, self.arch.img_size)?, targets))
        });
        let progress = Progress::with((batch * (score_batches + 1)) as u64, "score", self.show);
        let calibration = calibrate::calibrate(dense, &mut batches, &options, &mut |_, _| progress.inc(batch as u64))?;
        self.folder.write_text("calibration.json", &calibration.to_json()?)?;
        Ok(calibration)
    }

    /// The method's plan, with `--align` the same with aligned widths, and one at random at the multiply-accumulates of
    /// the first.
    pub fn plans(&self, dense: &Model, calibration: &Calibration) -> Result<Vec<Plan>> {
        let &JobOptions { seed, target_flops, align, .. } = &self.options;
        let search = search::Options { latency: self.latency.clone(), ..self.options.search() };
        let (plan, mut warnings) = if self.options.compat.is_some() {
            let published = official::Options::removing(1.0 - target_flops);
            official::plan(calibration, &official::Options { evolve: Some(seed), ..published })?
        } else {
            search::plan(calibration, &search).map(|(plan, found)| (plan, found.warnings))?
        };
        let (all, kept) = (every_unit(dense.arch()).totals(), plan.kept()?.totals());
        let pruned = std::array::from_fn(|kind| all[kind] - kept[kind]);
        self.folder.write_text("plan.json", &plan.to_json()?)?;
        let mut plans = vec![plan];
        if let Some(align) = align {
            let (plan, found) = search::plan(calibration, &search::Options { align, ..search })?;
            let (share, target) = (found.share, self.options.target());
            if share + search::WINDOW < target {
                warnings.push(format!("with multiples of {align}, {share:.4} was reached of the target {target}"));
            }
            plans.push(plan);
        }
        plans.push(search::random_plan(dense.arch(), pruned, true, seed)?);
        for plan in &plans[1..] {
            self.folder.write_text(&format!("{}.plan.json", plan.method), &plan.to_json()?)?;
        }
        warnings.iter().for_each(|warning| tell(format_args!("warning: {warning}")));
        Ok(plans)
    }

    /// Cuts `dense` to `plan`, fine-tunes with `teacher`, saves checkpoint, `.pth` form and architecture.
    pub fn finetune(&self, dense: &Model, plan: Plan, teacher: &mut Teacher) -> Result<Candidate> {
        let &JobOptions { finetune_epochs: epochs, finetune_lr: lr, seed, .. } = &self.options;
        let &JobOptions { distill_alpha: alpha, distill_tau: tau, .. } = &self.options;
        let (name, mut model) = (plan.method.clone(), apply(dense, &plan)?);
        let before = self.evaluate(&format!("{name}, not fine-tuned"), &model)?;
        let train = self.training(seed ^ 2)?;
        let steps = (epochs * train.batches() as f64).round() as usize;
        let mut after = before.clone();
        if steps > 0 {
            let (kind, reduction) = (DistillKind::Soft, ops::Reduction::PerSample);
            let distillation = Distillation { kind, alpha, tau, reduction, single_head: true };
            let short = TrainConfig::short(&format!("finetune-{name}"), epochs.ceil() as usize, steps, lr);
            let config = TrainConfig { seed, distillation, precision: self.options.dtype, ..short };
            let trainer = Trainer::new(&mut model, config, Some(&self.folder), self.show)?;
            tell_broken(&trainer.run(&train, None, Some(teacher))?.broken);
            after = self.evaluate(&name, &model)?;
        }
        model.save(self.folder.file(&format!("{name}.safetensors"))?, "finetune")?;
        model.save_pth(self.folder.file(&format!("{name}.pth"))?)?;
        self.folder.write_json(&format!("{name}.architecture.json"), model.arch())?;
        Ok(Candidate { plan, model, before, after })
    }
}

/// The scores in a file, which have to be those of a model like `arch`.
fn saved_scores(path: &Path, arch: &Architecture) -> Result<Calibration> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let wrong = |e| Error::invalid(path.display().to_string(), "a saved calibration", e);
    let calibration = Calibration::from_json(&text).map_err(wrong)?;
    let (fits, found) = (calibration.model == *arch, format!("that of {:?}", calibration.model));
    Error::ensure(fits, path.display(), "the calibration of this model", found)?;
    Ok(calibration)
}

fn ensure_scores_of(calibration: &Calibration, model: &Model) -> Result<()> {
    let own = model.params().fingerprint()?;
    let fits = calibration.weights.is_none_or(|weights| weights == own);
    Error::ensure(fits, "calibration", "the scores of the dense model's weights", "scores of other weights")
}

/// Warns of the first class that a given model calls otherwise than the data: its images would count as another's.
fn tell_names(model: &[String], data: &[String]) {
    if let Some((k, (ours, theirs))) = model.iter().zip(data).enumerate().find(|(_, (ours, theirs))| ours != theirs) {
        tell(format_args!("warning: class {k} is {theirs:?} in the data, {ours:?} in the model"));
    }
}

fn tell_broken<'a>(broken: impl IntoIterator<Item = &'a String>) {
    broken.into_iter().for_each(|error| tell(format_args!("warning: left out: {error}")));
}
