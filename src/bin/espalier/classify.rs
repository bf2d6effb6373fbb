//! `espalier classify`: the most probable classes of image files.

use crate::show::print;
use crate::source;
use espalier::data::augment::Transform;
use espalier::data::folder::{imagenet_classes, loose_files};
use espalier::data::image;
use espalier::noise::Philox;
use espalier::report::table::one_line;
use espalier::{Error, Result, Tensor};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Print the most probable classes of images, one file a line
///
/// Preprocessing is that of the official evaluation: shorter side to 8/7 of the input (256 for 224), bicubic, centre
/// crop, ImageNet mean and deviation. Files are taken in the order given, folders in sorted order with all below them.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the model (see `espalier zoo`); the file says it for a checkpoint written by espalier
    #[arg(long)]
    model: Option<String>,
    /// Checkpoint: .pth or .safetensors
    #[arg(long)]
    weights: PathBuf,
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
    /// Image files and folders
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    source::at_least_one("--batch", args.batch)?;
    source::at_least_one("--top", args.top)?;
    let files = loose_files(&args.paths)?;
    let model = source::load(args.model.as_deref(), &args.weights, args.img_size)?;
    let (side, classes) = (model.arch().img_size, model.arch().num_classes);
    let transform = Transform::eval(side);
    transform.validate()?;
    let mut broken = 0;
    for files in files.chunks(args.batch) {
        let images: Vec<Result<Vec<f32>>> = files.par_iter().map(|file| read(file, &transform)).collect();
        let (mut whole, mut pixels) = (Vec::new(), Vec::new());
        for (file, image) in files.iter().zip(images) {
            match image {
                Ok(image) => {
                    whole.push(file);
                    pixels.extend(image);
                }
                Err(error) if args.skip_broken => eprintln!("skipped: {}", one_line(&error.to_string())),
                Err(error) => return Err(error),
            }
        }
        broken += files.len() - whole.len();
        if whole.is_empty() {
            continue;
        }
        let logits = model.predict(&Tensor::from_slice([whole.len(), 3, side, side], &pixels)?)?.to_f64s();
        whole.iter().zip(logits.chunks(classes)).try_for_each(|(file, logits)| report(file, logits, args))?;
    }
    if broken > 0 {
        eprintln!("{broken} of {} images are broken and were left out", files.len());
    }
    if broken == files.len() {
        return Err(Error::invalid("images", "at least one that can be read", format!("none of {broken}")));
    }
    Ok(())
}

/// The pixels of an image as the model takes them; an error names the image.
fn read(file: &Path, transform: &Transform) -> Result<Vec<f32>> {
    let image = image::decode(file).and_then(|image| transform.apply(&image, &Philox { seed: 0, step: 0 }, 0));
    image.map_err(|error| match error {
        Error::Image { .. } | Error::Io { .. } => error,
        other => Error::Image { file: file.into(), detail: other.to_string() },
    })
}

/// Prints the most probable classes, of equals the first: ImageNet's names in a model of 1000 classes, else `class 3`.
fn report(file: &Path, logits: &[f64], args: &Args) -> Result<()> {
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
        let name = imagenet.map_or_else(|| format!("class {index}"), |(_, _, name)| name.to_string());
        (index, name, (logits[index] - largest).exp() / sum)
    });
    let file = file.display().to_string();
    if args.json {
        let object = |(index, name, probability)| json!({ "index": index, "name": name, "probability": probability });
        let top = format!("top{}", args.top);
        return print(json!({ "file": file, top: best.map(object).collect::<Vec<Value>>() }));
    }
    let list: Vec<String> = best.map(|(_, name, probability)| format!("{name} {:.1} %", 100.0 * probability)).collect();
    print(format!("{}: {}", one_line(&file), list.join(", ")))
}
