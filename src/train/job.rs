//! A training run by a recipe: data, model, teacher, the loop, and what it leaves in its folder.

use super::recipe::Recipe;
use super::{DistillKind, Evaluation, Outcome, Teacher, Trainer, evaluate};
use crate::data::loader::{Loader, LoaderOptions};
use crate::data::source::{Images, Source};
use crate::io::write_atomic;
use crate::models::{Architecture, LoadOptions, Model, zoo};
use crate::report::{Progress, RunFolder, Show, Table, tell};
use crate::{Device, Error, Result, nn::Params, nn::Precision};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{io::Write, path::Path, path::PathBuf, sync::Arc};

/// What a run is given besides its recipe.
#[derive(Args, Debug, Clone, Serialize, Deserialize)]
pub struct TrainOptions {
    /// Folder of images: train/ and val/ (or test/) with a folder per class, class folders used for both, or CIFAR's binary
    /// files [default: the generated data set]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Weights to begin with (.pth or .safetensors); a head for other classes begins anew
    #[arg(long)]
    pub weights: Option<PathBuf>,
    /// Weights of the recipe's teacher
    #[arg(long)]
    pub teacher_weights: Option<PathBuf>,
    /// Generated training images
    #[arg(long, default_value_t = 16_000)]
    pub train_images: usize,
    /// Generated test images
    #[arg(long, default_value_t = 4_000)]
    pub test_images: usize,
    /// Leave out broken test images too (they are counted and named) instead of stopping
    #[arg(long)]
    pub skip_broken: bool,
    /// Device to run on
    #[arg(long, value_enum, default_value_t)]
    pub device: Device,
    /// What steps and evaluations compute in [default: the recipe's on a GPU, f32 on the CPU]
    #[arg(long, value_enum)]
    pub dtype: Option<Precision>,
}

/// A run in its folder.
pub struct TrainJob {
    recipe: Recipe,
    options: TrainOptions,
    data: Images,
    model: Model,
    teacher: Option<Model>,
    /// The run folder.
    pub folder: RunFolder,
    show: Show,
}

const OPTIONS: &str = "options.json";
const RECIPE: &str = "recipe.toml";
const CHECKPOINT: &str = "checkpoint.safetensors";
const BEST: &str = "best.safetensors";

impl TrainJob {
    /// A new run of `recipe` in a folder at `out`, or beside it where something is there already.
    pub fn open(recipe: Recipe, mut options: TrainOptions, out: &Path, show: Show) -> Result<Self> {
        let (recipe, data, model, teacher) = prepare(recipe, &options)?;
        // A run may be gone on with from another folder.
        for path in [&mut options.data, &mut options.weights, &mut options.teacher_weights].into_iter().flatten() {
            *path = path.canonicalize().map_err(Error::io("open", &*path))?;
        }
        let folder = RunFolder::create(out)?;
        folder.write_json(OPTIONS, &options)?;
        let text = recipe.to_toml()?;
        write_atomic(folder.file(RECIPE)?, |file| file.write_all(text.as_bytes()))?;
        Ok(Self { recipe, options, data, model, teacher, folder, show })
    }

    /// The run in the folder at `path`, which was stopped.
    pub fn resume(path: &Path, show: Show) -> Result<Self> {
        let read = |name: &str| std::fs::read_to_string(path.join(name)).map_err(Error::io("read", path.join(name)));
        let wrong = |error| Error::invalid(path.join(OPTIONS).display().to_string(), "the options of a run", error);
        let options: TrainOptions = serde_json::from_str(&read(OPTIONS)?).map_err(wrong)?;
        read(RECIPE)?;
        let recipe = Recipe::load(&path.join(RECIPE).display().to_string(), &[])?;
        let (recipe, data, model, teacher) = prepare(recipe, &options)?;
        Ok(Self { recipe, options, data, model, teacher, folder: RunFolder::open(path)?, show })
    }

    /// The recipe in force.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Trains to the end; the table's text. The folder then has `model.safetensors`, `best.safetensors` (of all evaluations),
    /// `average.safetensors` (of the weights, where the recipe keeps one), curves and results.
    pub fn run(mut self) -> Result<String> {
        let &Recipe { batch_size, seed, .. } = &self.recipe;
        let order = LoaderOptions { order: self.recipe.order(), ..LoaderOptions::train(batch_size, seed) };
        let train = Loader::new(Arc::clone(&self.data.train), order)?;
        let settings = LoaderOptions { skip_broken: self.options.skip_broken, ..LoaderOptions::eval(64) };
        let test = Loader::new(Arc::clone(&self.data.test), settings)?;
        let (config, best) = (self.recipe.config(train.batches())?, self.folder.file(BEST)?);
        let mut trainer = Trainer::new(&mut self.model, config, Some(&self.folder), self.show)?;
        trainer.keep_best = Some(best);
        let trainer = trainer.resuming(self.folder.file(CHECKPOINT)?)?;
        let mut teacher = self.teacher.as_ref().map(Teacher::remembering);
        let outcome = trainer.run(&train, Some(&test), teacher.as_mut())?;
        outcome.broken.iter().for_each(|error| tell(format_args!("warning: left out: {error}")));
        self.report(&test, outcome)
    }

    /// Evaluates what the run ends with, writes it, and says how it did.
    fn report(&self, test: &Loader, outcome: Outcome) -> Result<String> {
        let average = outcome.ema.map(|ema| self.averaged(ema)).transpose()?;
        let load = LoadOptions { arch: Some(self.model.arch().clone()), ..LoadOptions::default() };
        let best = Model::load(self.folder.file(BEST)?, &load)?.to_device(self.model.device())?;
        let best = best.with_precision(self.model.precision());
        let models = [
            ("last", "model", Some(&self.model)),
            ("best", "best", Some(&best)),
            ("average", "average", average.as_ref()),
        ];
        let (mut table, mut records) =
            (Table::new(&["weights", "top-1", "top-5", "loss", "images", "file"]), Vec::new());
        for (name, file, model) in models {
            let Some(model) = model else { continue };
            let Evaluation { accuracy, .. } = self.evaluate(name, model, test)?;
            let file = format!("{file}.safetensors");
            if name != "best" {
                model.save(self.folder.file(&file)?, "train")?;
            }
            let percent = [accuracy.top1, accuracy.top5].map(|share| format!("{share:.2}"));
            let rest = [format!("{:.4}", accuracy.loss), accuracy.images.to_string(), file.clone()];
            table.row([name.to_string()].into_iter().chain(percent).chain(rest));
            records.push(json!({"weights": name, "file": file, "accuracy": accuracy}));
        }
        self.folder.write_json("result.json", &records)?;
        self.folder.curves()?;
        Ok(format!("{}: {}\n{}", self.data.name, self.recipe.source, table.text()))
    }

    fn averaged(&self, ema: Params) -> Result<Model> {
        Ok(Model::new(self.model.arch().clone(), ema, "moving average")?.with_precision(self.model.precision()))
    }

    fn evaluate(&self, name: &str, model: &Model, test: &Loader) -> Result<Evaluation> {
        evaluate(model, test, &Progress::with(self.data.test.len() as u64, &format!("evaluate {name}"), self.show))
    }
}

/// Recipe in force, images, model and teacher. Everything that can be refused is refused here, before anything is written.
fn prepare(mut recipe: Recipe, options: &TrainOptions) -> Result<(Recipe, Images, Model, Option<Model>)> {
    let device = options.device;
    let chosen = options.dtype.or((device == Device::Cpu).then_some(Precision::F32));
    recipe.precision = chosen.unwrap_or(recipe.precision);
    recipe.eval_precision = chosen.unwrap_or(recipe.eval_precision);
    [recipe.precision, recipe.eval_precision].into_iter().try_for_each(|precision| precision.ensure_on(device))?;
    let (arch, seed) = (recipe.architecture()?, recipe.seed);
    let given = |arch| LoadOptions { arch, img_size: recipe.img_size, new_head: true, seed, ..LoadOptions::default() };
    let own = match (&arch, &options.weights) {
        (None, Some(weights)) => Some(Model::load(weights, &given(None))?),
        _ => None,
    };
    let arch = arch.or_else(|| own.as_ref().map(|model| model.arch().clone()));
    let neither = || Error::invalid("recipe", "a model, or weights that say which it is", "neither");
    let arch = arch.ok_or_else(neither)?;
    arch.ensure_trained_by_classes()?;
    let (root, generated) = (options.data.as_deref(), [options.train_images, options.test_images]);
    let source = Source { root, generated, seed, classes: Some(arch.num_classes) };
    let data = Images::open(source, &recipe.augment.train(arch.img_size), &recipe.augment.eval(arch.img_size))?;
    let arch = arch.with_classes(data.train.num_classes());
    let model = match (own, &options.weights) {
        (Some(model), _) if *model.arch() == arch => model,
        (_, Some(weights)) => Model::load(weights, &given(Some(arch)))?,
        (_, None) => Model::init(arch, seed)?,
    };
    let (size, images) = (recipe.batch_size, data.train.len());
    Error::ensure(
        size * recipe.accumulate <= images,
        "batch_size x accumulate",
        format_args!("at most {images}, the images"),
        size * recipe.accumulate,
    )?;
    let model = model.to_device(device)?.with_precision(recipe.eval_precision);
    let teacher = teacher(&recipe, options, model.arch())?;
    Ok((recipe, data, model, teacher))
}

/// The teacher of `student`, where the recipe wants one: for the same images, BatchNorm folded, in the precision of evaluations.
fn teacher(recipe: &Recipe, options: &TrainOptions, student: &Architecture) -> Result<Option<Model>> {
    if recipe.distillation.kind == DistillKind::None {
        return Ok(None);
    }
    let name = recipe.teacher.as_deref();
    let weights = options.teacher_weights.as_ref();
    let weights = weights.ok_or_else(|| {
        Error::invalid("teacher-weights", format!("weights of {}", name.unwrap_or("the teacher")), "none")
    })?;
    let arch = name.map(zoo::find).transpose()?.map(|entry| entry.architecture);
    let img_size = Some(student.img_size);
    let model = Model::load(weights, &LoadOptions { arch, img_size, ..LoadOptions::default() })?;
    let (classes, found) = (student.num_classes, model.arch().num_classes);
    Error::ensure(found == classes, "classes of the teacher", format_args!("{classes}, the data's"), found)?;
    Ok(Some(model.fold_batchnorm()?.to_device(options.device)?.with_precision(recipe.eval_precision)))
}
