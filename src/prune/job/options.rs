//! What the main job can be told.

use crate::data::generated::GENERATOR_VERSION;
use crate::models::{Architecture, zoo};
use crate::prune::{Kind, savit::search};
use crate::{Device, Error, Result, nn::Precision};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use std::path::PathBuf;

/// Options of the main job: dense model, SAViT, fine-tuning with distillation, measurement.
#[derive(Args, Debug, Clone, Serialize)]
pub struct JobOptions {
    /// Architecture whose widths and depth are used, a name of `espalier zoo`
    #[arg(long, default_value = "deit_small_patch16_224")]
    pub model: String,
    /// Side of the input images in pixels [default: 64 for the generated data, else the model's]
    #[arg(long)]
    pub img_size: Option<usize>,
    /// Side of a patch in pixels [default: the model's]
    #[arg(long)]
    pub patch_size: Option<usize>,
    /// Weights of the dense model (.pth or .safetensors) instead of training one
    #[arg(long)]
    pub weights: Option<PathBuf>,
    /// Folder of images: train/ and val/ (or test/) with a folder per class, or class folders used for both
    /// [default: the generated data set]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Fraction of the multiply-accumulates to keep
    #[arg(long, default_value_t = 0.5)]
    pub target_flops: f64,
    /// Fraction of the milliseconds to keep instead, by a table that is measured once on this device (a minute at most)
    #[arg(long, conflicts_with_all = ["target_flops", "compat"])]
    pub target_latency: Option<f64>,
    /// Batch size that `--target-latency` is meant for
    #[arg(long, default_value_t = 1)]
    pub latency_batch: usize,
    /// Search and unit assignment of the official code (over its surrogate count) instead of the crate's own
    #[arg(long, value_parser = ["official"])]
    pub compat: Option<String>,
    /// Adds a row: the same plan with widths that are multiples of this, which hardware likes
    #[arg(long, value_parser = PossibleValuesParser::new(["8", "64"]).try_map(|text| text.parse::<usize>()))]
    pub align: Option<usize>,
    /// Kinds that may lose units
    #[arg(long, value_delimiter = ',', default_value = "heads,hidden,embed", value_parser = ["heads", "hidden", "embed"])]
    pub kinds: Vec<String>,
    /// Mini-batches whose gradients score the units (one more enters the Hessian)
    #[arg(long, default_value_t = 8)]
    pub score_batches: usize,
    /// Scores and Hessian saved by an earlier run: another target takes seconds
    #[arg(long)]
    pub calibration: Option<PathBuf>,
    /// Images in a mini-batch
    #[arg(long, default_value_t = 16)]
    pub batch_size: usize,
    /// Generated training images
    #[arg(long, default_value_t = 16_000)]
    pub train_images: usize,
    /// Generated test images
    #[arg(long, default_value_t = 4_000)]
    pub test_images: usize,
    /// Passes over the training images for the dense model
    #[arg(long, default_value_t = 1)]
    pub epochs: usize,
    /// Highest learning rate of the dense model [default: 0.0003, with --quick 0.001]
    #[arg(long)]
    pub lr: Option<f64>,
    /// Passes over the training images for fine-tuning; a fraction takes that share of the images
    #[arg(long, default_value_t = 0.3)]
    pub finetune_epochs: f64,
    /// Highest learning rate of fine-tuning
    #[arg(long, default_value_t = 2e-4)]
    pub finetune_lr: f64,
    /// Weight of the dense teacher in the fine-tuning loss
    #[arg(long, default_value_t = 0.5)]
    pub distill_alpha: f64,
    /// Temperature of the distillation
    #[arg(long, default_value_t = 2.0)]
    pub distill_tau: f64,
    /// Stochastic depth of the dense training
    #[arg(long, default_value_t = 0.0)]
    pub drop_path: f64,
    /// Label smoothing of the dense training
    #[arg(long, default_value_t = 0.0)]
    pub smoothing: f64,
    /// Leave out broken images in evaluation too (they are counted and named) instead of stopping
    #[arg(long)]
    pub skip_broken: bool,
    /// Seed of every random draw
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Device to run on
    #[arg(long, value_enum, default_value_t)]
    pub device: Device,
    /// What training steps and predictions compute in; other than f32 needs a GPU
    #[arg(long, value_enum, default_value_t)]
    pub dtype: Precision,
    /// Run folder; an existing one gets a numbered sibling
    #[arg(long, default_value = "runs/prune_savit")]
    pub out: PathBuf,
    /// Where dense models are cached
    #[arg(long, default_value = "runs/cache")]
    pub cache: PathBuf,
    /// Rounds of the speed measurement
    #[arg(long, default_value_t = 20)]
    pub rounds: usize,
    /// A small model on few images: shows the whole job within a minute
    #[arg(long)]
    pub quick: bool,
    /// No progress on the terminal
    #[arg(long)]
    pub quiet: bool,
}

impl JobOptions {
    /// The options in force, `--quick` with its caps. Refuses what no job can do.
    pub fn resolve(mut self) -> Result<Self> {
        let ranges = [
            ("batch-size", self.batch_size as f64, 1.0..=1e6, "1 to 1000000"),
            ("train-images", self.train_images as f64, 1.0..=1e8, "1 to 100000000"),
            ("test-images", self.test_images as f64, 1.0..=1e8, "1 to 100000000"),
            ("epochs", self.epochs as f64, 1.0..=1e6, "1 to 1000000"),
            ("rounds", self.rounds as f64, 1.0..=1e6, "1 to 1000000"),
            ("score-batches", self.score_batches as f64, 2.0..=1e6, "2 to 1000000"),
            ("drop-path", self.drop_path, 0.0..=1.0 - f64::EPSILON, "0 to below 1"),
            ("smoothing", self.smoothing, 0.0..=1.0 - f64::EPSILON, "0 to below 1"),
            ("target-flops", self.target_flops, f64::MIN_POSITIVE..=1.0 - f64::EPSILON, "between 0 and 1"),
            ("target-latency", self.target(), f64::MIN_POSITIVE..=1.0 - f64::EPSILON, "between 0 and 1"),
            ("latency-batch", self.latency_batch as f64, 1.0..=4096.0, "1 to 4096"),
            ("finetune-epochs", self.finetune_epochs, 0.0..=1000.0, "0 to 1000"),
            ("distill-alpha", self.distill_alpha, 0.0..=1.0, "0 to 1"),
            ("distill-tau", self.distill_tau, 1e-3..=1e3, "0.001 to 1000"),
            ("lr", self.lr(), 0.0..=1.0, "0 to 1"),
            ("finetune-lr", self.finetune_lr, 0.0..=1.0, "0 to 1"),
        ];
        if let Some((what, value, _, expected)) = ranges.iter().find(|(_, value, range, _)| !range.contains(value)) {
            return Err(Error::invalid(*what, *expected, value));
        }
        let all_or_own = self.compat.is_none() || self.search().kinds == [true; 3];
        Error::ensure(all_or_own, "kinds", "all three with --compat official", self.kinds.join(","))?;
        let own_or_exact = self.compat.is_none() || self.align.is_none();
        // the released code's cut goes by misplaced indices: there is no order in which units could come back
        Error::ensure(own_or_exact, "align", "the crate's own search (no --compat official)", self.align.unwrap_or(1))?;
        if self.quick {
            self.train_images = self.train_images.min(12_800);
            self.test_images = self.test_images.min(1_000);
            self.score_batches = self.score_batches.min(3);
            self.rounds = self.rounds.min(5);
        }
        self.lr = Some(self.lr());
        Ok(self)
    }

    /// The dense architecture to train, for ImageNet's classes.
    pub fn architecture(&self) -> Result<Architecture> {
        let mut arch = zoo::find(&self.model)?.architecture;
        arch.img_size = self.img_size.unwrap_or(if self.data.is_none() { 64 } else { arch.img_size });
        arch.patch_size = self.patch_size.unwrap_or(arch.patch_size);
        if self.quick {
            let small = Architecture::deit(arch.img_size, arch.patch_size, 192, arch.blocks.len().min(2), 3);
            arch = Architecture { distilled: arch.distilled, ..small };
        }
        arch.validate().map(|()| arch)
    }

    /// The dense model's highest learning rate.
    pub fn lr(&self) -> f64 {
        self.lr.unwrap_or(if self.quick { 1e-3 } else { 3e-4 })
    }

    /// The fraction to keep, of milliseconds or multiply-accumulates.
    pub fn target(&self) -> f64 {
        self.target_latency.unwrap_or(self.target_flops)
    }

    /// The search for the target among the kinds, of any widths; for a latency target the caller adds the table.
    pub fn search(&self) -> search::Options {
        let kinds = Kind::ALL.map(|kind| self.kinds.iter().any(|name| name == kind.name()));
        search::Options { kinds, ..search::Options::keeping(self.target()) }
    }

    /// The file of a cached dense model, named after what it depends on besides code: data (folder, classes and number
    /// of `images`), architecture and training.
    pub fn dense_key(&self, arch: &Architecture, images: usize) -> Result<String> {
        let data = match &self.data {
            Some(folder) => folder.canonicalize().map_err(Error::io("open", folder))?.display().to_string(),
            None => format!("generated v{GENERATOR_VERSION}"),
        };
        let training = (self.epochs, self.batch_size, self.lr(), self.drop_path, self.smoothing, self.seed);
        // the bits of a device are its own
        let device = (self.device != Device::Cpu).then_some((self.device, self.dtype));
        let text = serde_json::to_string(&(format!("{data} x{images}"), arch, training, device))
            .map_err(|error| Error::invalid("options", "JSON", error))?;
        Ok(format!("dense-{:016x}.safetensors", crate::noise::fnv1a64(&text)))
    }
}
