//! A training run by a recipe: data, model, teacher, the loop, and what it leaves in its folder.

use super::recipe::Recipe;
use super::{DistillKind, Evaluation, Outcome, Teacher, Trainer, evaluate};
use crate::data::augment::Augment;
use crate::data::loader::{Loader, LoaderOptions};
use crate::data::source::{Images, Source};
use crate::io::{from_json, write_atomic};
use crate::models::{Architecture, LoadOptions, Model, Trained, zoo};
use crate::report::{Progress, RunFolder, Show, Table, tell};
use crate::{Device, Error, Result, nn::Precision};
use clap::Args;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
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

impl TrainOptions {
    /// A run may be gone on with from another folder.
    fn make_absolute(&mut self) -> Result<()> {
        let paths = [&mut self.data, &mut self.weights, &mut self.teacher_weights].into_iter().flatten();
        // what is gone was not needed, or was missed before
        paths.filter(|path| path.exists()).try_for_each(|path| {
            *path = path.canonicalize().map_err(Error::io("open", &*path))?;
            Ok(())
        })
    }
}

/// The recipe in force, and what it works on.
struct Parts {
    recipe: Recipe,
    /// The images' name.
    data: String,
    train: Loader,
    test: Loader,
    model: Model,
    teacher: Option<Model>,
}

/// A run in its folder.
pub struct TrainJob {
    parts: Parts,
    options: TrainOptions,
    /// The run folder.
    pub folder: RunFolder,
    show: Show,
}

const OPTIONS: &str = "options.json";
const RECIPE: &str = "recipe.toml";
const ARCHITECTURE: &str = "architecture.json";
const CHECKPOINT: &str = "checkpoint.safetensors";
const BEST: &str = "best.safetensors";

impl TrainJob {
    /// A new run of `recipe` in a folder at `out`, or beside it where something is there already.
    pub fn open(recipe: Recipe, mut options: TrainOptions, out: &Path, show: Show) -> Result<Self> {
        let parts = prepare(recipe, &options, None)?;
        let text = parts.recipe.to_toml()?;
        options.make_absolute()?;
        let folder = RunFolder::create(out)?;
        folder.write_json(OPTIONS, &options)?;
        folder.write_json(ARCHITECTURE, parts.model.arch())?;
        write_atomic(folder.file(RECIPE)?, |file| file.write_all(text.as_bytes()))?;
        Ok(Self { parts, options, folder, show })
    }

    /// The run in the folder at `path`, which was stopped; `anew` may say where its images are now, and to leave out broken ones.
    pub fn resume(path: &Path, anew: TrainOptions, show: Show) -> Result<Self> {
        let before: TrainOptions = read_json(&path.join(OPTIONS), "the options of a run")?;
        let (data, skip_broken) = (anew.data.or(before.data.clone()), anew.skip_broken || before.skip_broken);
        let mut options = TrainOptions { data, skip_broken, ..before };
        let recipe = path.join(RECIPE);
        std::fs::metadata(&recipe).map_err(Error::io("read", &recipe))?;
        let recipe = Recipe::load(&recipe.display().to_string(), &[])?;
        // A checkpoint holds every parameter: nobody has to keep the weights that the run began with.
        let begun = path.join(CHECKPOINT).exists();
        let begun = begun.then(|| read_json(&path.join(ARCHITECTURE), "an architecture")).transpose()?;
        let (parts, folder) = (prepare(recipe, &options, begun)?, RunFolder::open(path)?);
        options.make_absolute()?;
        folder.write_json(OPTIONS, &options)?;
        Ok(Self { parts, options, folder, show })
    }

    /// The recipe in force.
    pub fn recipe(&self) -> &Recipe {
        &self.parts.recipe
    }

    /// Trains to the end; the table's text. The folder then has `model.safetensors`, `best.safetensors` (of all evaluations),
    /// `average.safetensors` (of the weights, where the recipe keeps one), curves and results.
    pub fn run(mut self) -> Result<String> {
        if self.options.data.is_none() {
            // A flip makes stripes_45 of stripes_135.
            tell(
                "warning: generated images are not augmented, only mixed: a crop, flip or turn can change their class",
            );
        }
        let Parts { recipe, train, test, model, teacher, .. } = &mut self.parts;
        let (config, best) = (recipe.config(train.batches())?, self.folder.file(BEST)?);
        let mut trainer = Trainer::new(model, config, Some(&self.folder), self.show)?;
        (trainer.optimizer.betas, trainer.optimizer.eps) = (recipe.betas.into(), recipe.eps);
        let mut trainer = trainer.resuming(self.folder.file(CHECKPOINT)?)?;
        trainer.best = trainer.best.filter(|_| best.exists()); // the next evaluation makes it anew
        trainer.keep_best = Some(best);
        let mut teacher = teacher.as_ref().map(Teacher::remembering);
        let outcome = trainer.run(train, Some(test), teacher.as_mut())?;
        outcome.broken.iter().for_each(|error| tell(format_args!("warning: left out: {error}")));
        self.report(outcome)
    }

    /// Evaluates what the run ends with, writes it, and says how it did.
    fn report(&self, outcome: Outcome) -> Result<String> {
        let Parts { recipe, data, model, .. } = &self.parts;
        let average = outcome.ema.map(|ema| Model::new(model.arch().clone(), ema, "moving average")).transpose()?;
        let average = average.map(|average| average.with_precision(model.precision()));
        let average = average.map(|average| average.with_trained(model.trained().cloned())).transpose()?;
        let load = LoadOptions { arch: Some(model.arch().clone()), ..LoadOptions::default() };
        let best = Model::load(self.folder.file(BEST)?, &load).and_then(|best| best.to_device(model.device()));
        let best = best.inspect_err(|error| tell(format_args!("warning: the best weights are lost: {error}")));
        let best = best.ok().map(|best| best.with_precision(model.precision()));
        let models =
            [("last", "model", Some(model)), ("best", "best", best.as_ref()), ("average", "average", average.as_ref())];
        let (mut table, mut records) =
            (Table::new(&["weights", "top-1", "top-5", "loss", "images", "file"]), Vec::new());
        for (name, file, model) in models {
            let Some(model) = model else { continue };
            let Evaluation { accuracy, .. } = self.evaluate(name, model)?;
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
        Ok(format!("{data}: {}\n{}", recipe.source, table.text()))
    }

    fn evaluate(&self, name: &str, model: &Model) -> Result<Evaluation> {
        let test = &self.parts.test;
        evaluate(model, test, &Progress::with(test.dataset().len() as u64, &format!("evaluate {name}"), self.show))
    }
}

fn read_json<T: DeserializeOwned>(file: &Path, what: &str) -> Result<T> {
    let text = std::fs::read_to_string(file).map_err(Error::io("read", file))?;
    from_json(&text).map_err(|error| Error::invalid(file.display().to_string(), what, error))
}

/// Everything that can be refused is refused here, before anything is written. A run that has `begun` finds its parameters in its
/// checkpoint.
fn prepare(mut recipe: Recipe, options: &TrainOptions, begun: Option<Architecture>) -> Result<Parts> {
    recipe.validate()?;
    for (what, images) in [("train-images", options.train_images), ("test-images", options.test_images)] {
        Error::ensure((1..=100_000_000).contains(&images), what, "1 to 100000000", images)?;
    }
    let device = options.device;
    let chosen = options.dtype.or((device == Device::Cpu).then_some(Precision::F32));
    recipe.precision = chosen.unwrap_or(recipe.precision);
    recipe.eval_precision = chosen.unwrap_or(recipe.eval_precision);
    [recipe.precision, recipe.eval_precision].into_iter().try_for_each(|precision| precision.ensure_on(device))?;
    let weights = options.weights.as_ref().filter(|_| begun.is_none());
    let (arch, seed) = (begun.map_or_else(|| recipe.architecture(), |arch| Ok(Some(arch)))?, recipe.seed);
    let given = |arch| LoadOptions { arch, img_size: recipe.img_size, new_head: true, seed, ..LoadOptions::default() };
    let own = match (&arch, weights) {
        (None, Some(weights)) => {
            let said = recipe.patch_size.map_or("none".into(), |side| side.to_string());
            Error::ensure(recipe.patch_size.is_none(), "patch_size", "none beside weights that say the model", said)?;
            Some(Model::load(weights, &given(None))?)
        }
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
    let model = match (own, weights) {
        (Some(model), _) if *model.arch() == arch => model,
        (_, Some(weights)) => Model::load(weights, &given(Some(arch)))?,
        (_, None) => Model::init(arch, seed)?,
    };
    let (train, test) = loaders(&recipe, options, &data)?;
    let model = model.to_device(device)?.with_precision(recipe.eval_precision);
    // Generated images come by the default's mean and deviation.
    let seen = root.map_or_else(Augment::default, |_| recipe.augment.clone());
    let model = model.with_trained(Some(Trained::new(data.train.class_names(), &seen)))?;
    let teacher = teacher(&recipe, options, model.arch())?;
    Ok(Parts { recipe, data: data.name, train, test, model, teacher })
}

/// What loads images to train and to test on. Errors: fewer than a step needs, or than the order does.
fn loaders(recipe: &Recipe, options: &TrainOptions, data: &Images) -> Result<(Loader, Loader)> {
    for (what, images) in [("training images", &data.train), ("test images", &data.test)] {
        Error::ensure(!images.is_empty(), what, "at least 1", 0)?;
    }
    let &Recipe { batch_size, accumulate, seed, .. } = recipe;
    let train = LoaderOptions::train(batch_size, seed);
    let order = LoaderOptions { order: recipe.order(), parts: accumulate, ..train };
    let train = Loader::new(Arc::clone(&data.train), order)?;
    let batches = train.batches();
    let expected = format_args!("at most {batches}, the batches of an epoch");
    Error::ensure(accumulate <= batches, "accumulate", expected, accumulate)?;
    recipe.config(batches)?.validate()?;
    let settings = LoaderOptions { skip_broken: options.skip_broken, ..LoaderOptions::eval(64) };
    Ok((train, Loader::new(Arc::clone(&data.test), settings)?))
}

/// The teacher of `student`, where the recipe wants one: for the same images, BatchNorm folded, in the precision of evaluations.
fn teacher(recipe: &Recipe, options: &TrainOptions, student: &Architecture) -> Result<Option<Model>> {
    let (learned, weights) = (recipe.distillation, options.teacher_weights.as_ref());
    if learned.kind == DistillKind::None {
        let found = weights.map_or(String::new(), |file| file.display().to_string());
        Error::ensure(weights.is_none(), "teacher-weights", "none for a recipe without distillation", found)?;
        return Ok(None);
    }
    let fits = student.distilled || learned.single_head;
    Error::ensure(fits, "distillation", "a student with two heads, or distillation.single_head", "one head")?;
    let name = recipe.teacher.as_deref();
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
