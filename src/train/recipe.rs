//! A training run as data: everything but the folders and the device. The published ones are in `recipes/`; a file may
//! extend another and say only what differs (`extends`), or is left out (`unset`).

use super::{Distillation, TrainConfig};
use crate::data::{augment::Augment, erasing::Erasing, mixup::Mixup, sampler::Order};
use crate::models::{Architecture, zoo};
use crate::{Error, Result, nn::Precision, optim::Cosine, report::table::shorten};
use serde::{Deserialize, Serialize};
use std::path::Path;
use toml::{Table, Value};

macro_rules! recipes {
    ($($name:literal),* $(,)?) => {
        /// The recipes that the crate brings along, by name.
        pub const RECIPES: &[(&str, &str)] = &[$(($name, include_str!(concat!("recipes/", $name, ".toml")))),*];
    };
}

recipes! {
    "deit", "deit_tiny", "deit_small", "deit_base",
    "deit_tiny_distilled", "deit_small_distilled", "deit_base_distilled", "deit_base_384",
    "swin", "swin_tiny", "swin_small", "swin_base",
    "savit_tiny", "savit_small", "savit_base",
    "deit_tiny_cifar10",
}

/// Learning rates, each at `lr_batch` images a step where that is given: `lr` (with `scale_all` the others, too) grows with
/// the images of a step. Warm-up and cosine are in epochs; [`Cosine`] says what they do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the lines above and Cosine say it")]
pub struct Rates {
    pub lr: f64,
    pub lr_batch: Option<usize>,
    pub scale_all: bool,
    pub min_lr: f64,
    pub warmup_lr: f64,
    pub warmup_epochs: usize,
    /// Epochs until `min_lr`, by default all; what the recipe trains longer is at that rate.
    pub cosine_epochs: usize,
    pub warmup_prefix: bool,
    /// Whether the rate changes with every step instead of every epoch.
    pub in_steps: bool,
    pub lag: usize,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            lr: 5e-4,
            lr_batch: None,
            scale_all: false,
            min_lr: 1e-5,
            warmup_lr: 1e-6,
            warmup_epochs: 0,
            cosine_epochs: 0,
            warmup_prefix: false,
            in_steps: false,
            lag: 0,
        }
    }
}

impl Rates {
    fn cosine_epochs(&self, epochs: usize) -> usize {
        if self.cosine_epochs == 0 { epochs } else { self.cosine_epochs }
    }

    /// The schedule of a run of `epochs` epochs of `steps` steps of `images` images.
    pub fn cosine(&self, epochs: usize, steps: usize, images: usize) -> Cosine {
        let scale = self.lr_batch.map_or(1.0, |batch| images as f64 / batch.max(1) as f64);
        let low = if self.scale_all { scale } else { 1.0 };
        let unit = if self.in_steps { steps } else { 1 };
        let cosine = self.cosine_epochs(epochs);
        let length = if self.warmup_prefix { cosine.saturating_sub(self.warmup_epochs) } else { cosine };
        Cosine {
            lr: self.lr * scale,
            length: (length * unit).max(1),
            min_lr: self.min_lr * low,
            warmup_lr: self.warmup_lr * low,
            warmup: self.warmup_epochs * unit,
            warmup_prefix: self.warmup_prefix,
            lag: self.lag,
        }
    }
}

/// A recipe; what a file leaves out has the value of the default, which augments and regularises nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Where it was published.
    pub source: String,
    /// A name of the zoo; without one the weights say what they are.
    pub model: Option<String>,
    /// Side of the images, if not the model's.
    pub img_size: Option<usize>,
    /// Side of a patch, if not the model's.
    pub patch_size: Option<usize>,
    /// Passes over the data.
    pub epochs: usize,
    /// Images of a batch; mixing is drawn for each, so that a published process's batch is one.
    pub batch_size: usize,
    /// Batches of a step; the learning rate follows the images of all.
    pub accumulate: usize,
    /// How often an image comes in a row, augmented anew each time; 1 is plain shuffling.
    pub repeated_augmentation: usize,
    /// AdamW's weight decay.
    pub weight_decay: f64,
    /// AdamW's decay of the first and second moment.
    pub betas: [f64; 2],
    /// What AdamW adds to the root of the second moment.
    pub eps: f64,
    /// Names (`*suffix`, `prefix*`) of parameters that do not decay; biases and tensors of one axis never do.
    pub no_decay: Vec<String>,
    /// Largest global norm of the gradients.
    pub clip_norm: Option<f64>,
    /// Decay of the moving average of the weights.
    pub ema_decay: Option<f64>,
    /// Stochastic depth of the last block.
    pub drop_path: f64,
    /// Label smoothing.
    pub smoothing: f64,
    /// What steps compute in on a GPU.
    pub precision: Precision,
    /// What evaluations compute in on a GPU.
    pub eval_precision: Precision,
    /// Whether blocks are computed again for their gradients, to save memory.
    pub recompute: bool,
    /// A name of the zoo: the teacher, for `distillation`.
    pub teacher: Option<String>,
    /// Seed of every draw.
    pub seed: u64,
    /// Epochs between evaluations.
    pub eval_every: usize,
    /// Epochs between checkpoints.
    pub checkpoint_every: usize,
    /// Steps between checkpoints; 0 writes none within an epoch.
    pub checkpoint_every_steps: usize,
    /// Learning rates.
    pub rates: Rates,
    /// Augmentation.
    pub augment: Augment,
    /// Mixup and cutmix.
    pub mixup: Mixup,
    /// Distillation.
    pub distillation: Distillation,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            source: String::new(),
            model: None,
            img_size: None,
            patch_size: None,
            epochs: 300,
            batch_size: 64,
            accumulate: 1,
            repeated_augmentation: 1,
            weight_decay: 0.05,
            betas: [0.9, 0.999],
            eps: 1e-8,
            no_decay: ["pos_embed", "cls_token", "dist_token"].map(String::from).into(),
            clip_norm: None,
            ema_decay: None,
            drop_path: 0.0,
            smoothing: 0.0,
            precision: Precision::F32,
            eval_precision: Precision::F32,
            recompute: false,
            teacher: None,
            seed: 0,
            eval_every: 1,
            checkpoint_every: 1,
            checkpoint_every_steps: 0,
            rates: Rates::default(),
            augment: Augment::default(),
            mixup: Mixup::default(),
            distillation: Distillation::default(),
        }
    }
}

impl Recipe {
    /// The recipe `name` of [`RECIPES`], else the file of that name, with `changes` such as `rates.lr=1e-3` or
    /// `clip_norm=` (which leaves it out). Errors name the recipe and the key: an unknown name, no TOML, a key that no
    /// recipe has, a value of another type, a circle of extensions.
    pub fn load(name: &str, changes: &[String]) -> Result<Self> {
        let mut table = table(name, 0)?;
        for change in changes {
            set(&mut table, name, change)?;
        }
        let mut recipe: Recipe = Value::Table(table).try_into().map_err(|error| wrong(name, error))?;
        recipe.rates.cosine_epochs = recipe.rates.cosine_epochs(recipe.epochs);
        recipe.validate().map(|()| recipe)
    }

    /// The whole recipe as TOML, defaults and all.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::invalid("recipe", "values that TOML can hold", error))
    }

    /// Refuses what no run can do.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("epochs", self.epochs, 1),
            ("batch_size", self.batch_size, 1),
            ("accumulate", self.accumulate, 1),
            ("eval_every", self.eval_every, 1),
            ("checkpoint_every", self.checkpoint_every, 0),
            ("checkpoint_every_steps", self.checkpoint_every_steps, 0),
            ("rates.lr_batch", self.rates.lr_batch.unwrap_or(1), 1),
            ("rates.warmup_epochs", self.rates.warmup_epochs, 0),
            ("rates.cosine_epochs", self.rates.cosine_epochs, 0),
            ("rates.lag", self.rates.lag, 0),
        ];
        for (what, value, least) in counts {
            Error::ensure((least..=1 << 24).contains(&value), what, format_args!("{least} to 16777216"), value)?;
        }
        let repeats = self.repeated_augmentation;
        Error::ensure((1..=64).contains(&repeats), "repeated_augmentation", "1 to 64", repeats)?;
        let seed = self.seed;
        Error::ensure(seed <= i64::MAX as u64, "seed", format_args!("at most {}, TOML's largest", i64::MAX), seed)?;
        let (betas, eps) = (self.betas, self.eps);
        let within = betas.iter().all(|beta| (0.0..1.0).contains(beta));
        Error::ensure(within, "betas", "0 to below 1", format_args!("{betas:?}"))?;
        Error::ensure(eps > 0.0 && eps.is_finite(), "eps", "above 0", eps)?;
        let (even, odd) = (self.batch_size.is_multiple_of(2) || !self.mixup.is_on(), self.batch_size);
        Error::ensure(even, "batch_size", "an even number for mixup and cutmix", odd)?;
        let crop_pct = self.augment.crop_pct;
        Error::ensure((0.1..=1.0).contains(&crop_pct), "augment.crop_pct", "0.1 to 1", crop_pct)?;
        self.augment.train(self.img_size.unwrap_or(224)).validate()?;
        self.config(1)?.validate()
    }

    /// The architecture that it names, for ImageNet's classes.
    pub fn architecture(&self) -> Result<Option<Architecture>> {
        let Some(model) = &self.model else { return Ok(None) };
        let mut arch = zoo::find(model)?.architecture;
        arch.patch_size = self.patch_size.unwrap_or(arch.patch_size);
        let arch = arch.clone().with_img_size(self.img_size.unwrap_or(arch.img_size));
        arch.validate().map(|()| Some(arch))
    }

    /// The order of the examples.
    pub fn order(&self) -> Order {
        if self.repeated_augmentation > 1 { Order::Repeated(self.repeated_augmentation) } else { Order::Shuffled }
    }

    /// The settings of a run whose epochs have `batches` batches.
    pub fn config(&self, batches: usize) -> Result<TrainConfig> {
        let accumulate = self.accumulate.max(1);
        let schedule = self.rates.cosine(self.epochs, batches / accumulate, self.batch_size * accumulate);
        Ok(TrainConfig {
            stage: "train".into(),
            epochs: self.epochs,
            max_steps: None,
            schedule,
            schedule_in_steps: self.rates.in_steps,
            weight_decay: self.weight_decay,
            no_decay: Some(self.no_decay.clone()),
            clip_norm: self.clip_norm,
            smoothing: self.smoothing,
            mixup: self.mixup,
            drop_path: self.drop_path,
            ema_decay: self.ema_decay,
            distillation: self.distillation,
            precision: self.precision,
            seed: self.seed,
            eval_every: self.eval_every,
            checkpoint_every: self.checkpoint_every,
            checkpoint_every_steps: self.checkpoint_every_steps,
            accumulate,
            recompute: self.recompute,
        })
    }
}

/// Of a recipe file: in memory it can be eighty times as much.
const MOST_BYTES: u64 = 1 << 18;

fn wrong(name: &str, error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("recipe {name}"), "a recipe in TOML", shorten(&error.to_string(), 400))
}

/// The table of a recipe laid over that of the one it extends; a file's is looked for beside it first.
fn table(name: &str, depth: usize) -> Result<Table> {
    Error::ensure(depth < 8, format_args!("recipe {name}"), "at most 8 extensions", "more")?;
    let own = RECIPES.iter().find(|(known, _)| *known == name).map(|(_, text)| text.to_string());
    let text = match own {
        Some(text) => text,
        None if Path::new(name).is_file() => {
            let bytes = std::fs::metadata(name).map_err(Error::io("read", name))?.len();
            Error::ensure(
                bytes <= MOST_BYTES,
                format_args!("recipe {name}"),
                format_args!("at most {MOST_BYTES} bytes"),
                bytes,
            )?;
            std::fs::read_to_string(name).map_err(Error::io("read", name))?
        }
        None => {
            let known = RECIPES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            return Err(Error::invalid("recipe", format!("a file, or one of {known}"), name));
        }
    };
    let mut over: Table = text.parse().map_err(|error: toml::de::Error| {
        let line =
            error.span().and_then(|span| text.get(..span.start)).map_or(0, |before| before.matches('\n').count());
        wrong(name, format_args!("{} in line {}", error.message(), line + 1))
    })?;
    match over.remove("extends") {
        None => Ok(over),
        Some(Value::String(base)) => {
            let beside = Path::new(name).with_file_name(&base);
            let base = if beside.is_file() { beside.display().to_string() } else { base };
            let mut under = table(&base, depth + 1)?;
            let unset = over.remove("unset").unwrap_or_else(|| Value::Array(Vec::new()));
            let no_list = || Error::invalid(format!("recipe {name}, unset"), "a list of keys", &unset);
            for key in unset.as_array().ok_or_else(no_list)? {
                let (inner, last) = place(&mut under, name, key.as_str().ok_or_else(no_list)?)?;
                inner.remove(last);
            }
            lay_over(&mut under, over);
            Ok(under)
        }
        Some(other) => Err(Error::invalid(format!("recipe {name}, extends"), "a name", other)),
    }
}

fn lay_over(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => lay_over(inner, value),
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

/// `a.b=value` for the recipe `name`: TOML, or a bare word; nothing leaves the key out.
fn set(table: &mut Table, name: &str, change: &str) -> Result<()> {
    let expected = "key=value, such as rates.lr=1e-3";
    let (path, value) =
        change.split_once('=').ok_or_else(|| Error::invalid("change of the recipe", expected, change))?;
    let (inner, last) = place(table, name, path.trim())?;
    match value.trim() {
        "" => inner.remove(last),
        value => inner.insert(last.into(), parsed(value)),
    };
    Ok(())
}

/// Where the key `path` of the recipe `name` belongs: the table, and the key there.
fn place<'t, 'p>(table: &'t mut Table, name: &str, path: &'p str) -> Result<(&'t mut Table, &'p str)> {
    let unknown = || Error::invalid(format!("recipe {name}"), "a key that recipes have", path);
    let every = Value::Table(every_key()?);
    path.split('.').try_fold(&every, |inner, part| inner.get(part)).ok_or_else(unknown)?;
    let (tables, last) = path.rsplit_once('.').map_or((None, path), |(tables, last)| (Some(tables), last));
    let inner = tables
        .into_iter()
        .flat_map(|tables| tables.split('.'))
        .try_fold(table, |inner, part| inner.entry(part).or_insert_with(|| Value::Table(Table::new())).as_table_mut());
    Ok((inner.ok_or_else(unknown)?, last))
}

/// A recipe with every key that there is.
fn every_key() -> Result<Table> {
    let (some, erasing) = (|| Some(String::new()), Some(Erasing::default()));
    let recipe = Recipe {
        model: some(),
        img_size: Some(1),
        patch_size: Some(1),
        clip_norm: Some(1.0),
        ema_decay: Some(0.0),
        teacher: some(),
        rates: Rates { lr_batch: Some(1), ..Rates::default() },
        augment: Augment { rand_augment: Some("rand".parse()?), erasing, ..Augment::default() },
        ..Recipe::default()
    };
    Table::try_from(recipe).map_err(|error| Error::invalid("recipe", "values that TOML can hold", error))
}

fn parsed(text: &str) -> Value {
    let table = format!("v = {text}").parse::<Table>().ok();
    table.and_then(|mut table| table.remove("v")).unwrap_or_else(|| Value::String(text.into()))
}
