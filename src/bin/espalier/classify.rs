//! `espalier classify`: the most probable classes of image files.

use crate::{show::print, source};
use espalier::data::folder::{ImageFolder, imagenet_classes, loose_files};
use espalier::data::{augment::Augment, dataset::FolderDataset};
use espalier::data::{loader::Loader, loader::LoaderOptions};
use espalier::models::{Model, Predictor, zoo};
use espalier::nn::Precision;
use espalier::{Device, Error, Result, report::table::one_line, report::tell, train::images};
use serde_json::{Value, json};
use std::{path::Path, path::PathBuf, sync::Arc};

/// Print the most probable classes of images, one file a line
///
/// Preprocessing is that of DeiT's and Swin's evaluation: shorter side to 8/7 of the input (256 for 224; what another published
/// model takes, `espalier zoo --json` says), bicubic, centre crop, ImageNet mean and deviation; other models need other values. A
/// file of `espalier train` or `espalier prune` brings its own, and the names of its classes. Files are taken in the order given, folders in sorted order with all below them.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the model (see `espalier zoo`); the file says it for a checkpoint written by espalier
    #[arg(long, required_unless_present = "weights")]
    model: Option<String>,
    /// Checkpoint: .pth or .safetensors [default: what `espalier fetch` downloaded for the model]
    #[arg(long)]
    weights: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Classes to print for each image
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// Images in one forward pass
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Name broken images on standard error and go on
    #[arg(long)]
    skip_broken: bool,
    /// Input side in pixels, if not the model's; position embeddings are interpolated
    #[arg(long)]
    img_size: Option<usize>,
    /// Mean of the training's images, of values from 0 to 1: one for all channels, or three [default: the file's, else
    /// ImageNet's]
    #[arg(long, value_delimiter = ',', num_args = 1)]
    mean: Vec<f32>,
    /// Deviation, as --mean [default: the file's, else ImageNet's]
    #[arg(long, value_delimiter = ',', num_args = 1)]
    std: Vec<f32>,
    /// Share of the resized image's shorter side that the centre crop takes, such as 0.9 for many models of timm [default: the
    /// file's, else that of the model in `espalier zoo`, else 0.875]
    #[arg(long)]
    crop_pct: Option<f64>,
    /// Device to run on
    #[arg(long, value_enum, default_value_t)]
    device: Device,
    /// What to compute in; other than f32 needs a GPU
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
    /// Image files and folders
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    source::at_least_one("--batch", args.batch)?;
    source::at_least_one("--top", args.top)?;
    args.dtype.ensure_on(args.device)?; // why it cannot, before anything else
    let files: Vec<(PathBuf, usize)> = loose_files(&args.paths)?.into_iter().map(|file| (file, 0)).collect();
    let model = source::load(args.model.as_deref(), args.weights.as_deref(), args.img_size)?;
    let model = model.to_device(args.device)?.with_precision(args.dtype);
    let mut predictor = Predictor::new(&model);
    let (side, classes) = (model.arch().img_size, model.arch().num_classes);
    let folder = ImageFolder { classes: vec!["unknown".into()], files: files.clone() };
    let dataset = FolderDataset::new(folder, preprocessing(args, &model)?.eval(side), 0)?.uncached();
    let options = LoaderOptions { skip_broken: args.skip_broken, ..LoaderOptions::eval(args.batch) };
    let mut batches = Loader::new(Arc::new(dataset), options)?.epoch(0)?;
    let mut told = 0;
    loop {
        let batch = batches.next().transpose();
        let broken = &batches.broken()[told..];
        broken.iter().for_each(|(_, error)| tell(format_args!("skipped: {}", one_line(&error.to_string()))));
        told += broken.len();
        let Some(batch) = batch? else { break };
        let logits = predictor.logits(&images(&batch, side)?)?.to_f64s()?;
        let mut rows = batch.indices.iter().zip(logits.chunks(classes));
        rows.try_for_each(|(&index, logits)| report(&files[index].0, logits, &model, args))?;
    }
    if told > 0 {
        tell(format_args!("{told} of {} images are broken and were left out", files.len()));
    }
    Ok(())
}

/// What happens to an image before the model sees it.
fn preprocessing(args: &Args, model: &Model) -> Result<Augment> {
    let usual = match model.trained() {
        Some(trained) => trained.augment(),
        None => {
            let (plain, published) = (Augment::default(), zoo::published(model.arch())?);
            Augment { crop_pct: published.and_then(|entry| entry.crop_pct).unwrap_or(plain.crop_pct), ..plain }
        }
    };
    let crop_pct = args.crop_pct.unwrap_or(usual.crop_pct);
    Error::ensure((0.1..=1.0).contains(&crop_pct), "--crop-pct", "0.1 to 1", crop_pct)?;
    let plain = Augment { crop_pct, ..usual };
    let channels = |what: &str, values: &[f32], usual| match *values {
        [] => Ok(usual),
        [one] => Ok([one; 3]),
        [red, green, blue] => Ok([red, green, blue]),
        _ => Err(Error::invalid(what, "one value or three", values.len())),
    };
    let mean = channels("--mean", &args.mean, plain.mean)?;
    Ok(Augment { mean, std: channels("--std", &args.std, plain.std)?, ..plain })
}

/// Prints the most probable classes, of equals the first, by the names that the file gives them, in a model of 1000 classes else by
/// ImageNet's, else as `class 3`.
fn report(file: &Path, logits: &[f64], model: &Model, args: &Args) -> Result<()> {
    if let Some(value) = logits.iter().find(|value| !value.is_finite()) {
        let detail = format!("expected finite logits, found {value}: the weights are broken");
        return Err(Error::Image { file: file.into(), detail });
    }
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let best = order.into_iter().take(args.top).map(|index| {
        let imagenet = imagenet_classes().get(index).filter(|_| logits.len() == imagenet_classes().len());
        let own = model.trained().map(|trained| trained.class_names[index].as_str());
        let name = own.or(imagenet.map(|(_, _, name)| *name)).map_or_else(|| format!("class {index}"), String::from);
        (index, name, (logits[index] - largest).exp() / sum)
    });
    let file = file.display().to_string();
    if args.json {
        let object = |(index, name, probability)| json!({ "index": index, "name": name, "probability": probability });
        let top = format!("top{}", args.top);
        return print(json!({ "file": file, top: best.map(object).collect::<Vec<Value>>() }));
    }
    let list: Vec<String> = best.map(|(_, name, probability)| format!("{name} {:.1} %", 100.0 * probability)).collect();
    print(one_line(&format!("{file}: {}", list.join(", "))))
}
