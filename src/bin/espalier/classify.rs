//! `espalier classify`: the most probable classes of image files.

use crate::show::{one_line, print, print_json};
use crate::source;
use espalier::data::augment::Transform;
use espalier::data::folder::{imagenet_classes, loose_files};
use espalier::data::image;
use espalier::models::Model;
use espalier::noise::Philox;
use espalier::{Error, Result, Tensor};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
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
    let (batch, top) = (source::at_least_one("--batch", args.batch)?, source::at_least_one("--top", args.top)?);
    let files = loose_files(&args.paths)?;
    let model = source::load(args.model.as_deref(), &args.weights, args.img_size)?;
    let transform = Transform::eval(model.arch().img_size);
    transform.validate()?;
    let mut broken = 0;
    for files in files.chunks(batch) {
        let (files, pixels) = read(files, &transform, args.skip_broken, &mut broken)?;
        if files.is_empty() {
            continue;
        }
        let logits = predict(&model, files.len(), &pixels)?;
        for (file, logits) in files.iter().zip(logits.chunks(model.arch().num_classes)) {
            report(file, &best(file, logits, top)?, args, model.arch().num_classes)?;
        }
    }
    if broken > 0 {
        eprintln!("{broken} of {} images are broken and were left out", files.len());
    }
    if broken == files.len() {
        return Err(Error::invalid("images", "at least one that can be read", format!("none of {broken}")));
    }
    Ok(())
}

/// The files that can be read and their pixels, one after the other.
fn read<'a>(
    files: &'a [PathBuf],
    transform: &Transform,
    skip_broken: bool,
    broken: &mut usize,
) -> Result<(Vec<&'a Path>, Vec<f32>)> {
    let noise = Philox { seed: 0, step: 0 };
    let load = |file: &PathBuf| transform.apply(&image::decode(file)?, &noise, 0);
    let images: Vec<Result<Vec<f32>>> = files.par_iter().map(load).collect();
    let (mut kept, mut pixels) = (Vec::new(), Vec::new());
    for (file, image) in files.iter().zip(images) {
        match image {
            Ok(image) => {
                kept.push(file.as_path());
                pixels.extend(image);
            }
            Err(error) if skip_broken => {
                *broken += 1;
                eprintln!("skipped: {}", one_line(&named(error, file).to_string()));
            }
            Err(error) => return Err(named(error, file)),
        }
    }
    Ok((kept, pixels))
}

/// The same error, naming the image.
fn named(error: Error, file: &Path) -> Error {
    match error {
        Error::Image { .. } | Error::Io { .. } => error,
        other => Error::Image { file: file.to_path_buf(), detail: other.to_string() },
    }
}

fn predict(model: &Model, count: usize, pixels: &[f32]) -> Result<Vec<f64>> {
    let size = model.arch().img_size;
    Ok(model.predict(&Tensor::from_slice([count, 3, size, size], pixels)?)?.to_f64s())
}

/// The `top` most probable classes with their probabilities; of equals the first.
fn best(file: &Path, logits: &[f64], top: usize) -> Result<Vec<(usize, f64)>> {
    if let Some(value) = logits.iter().find(|value| !value.is_finite()) {
        let detail = format!("expected finite logits, found {value}: the weights are broken");
        return Err(Error::Image { file: file.to_path_buf(), detail });
    }
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    Ok(order.into_iter().take(top).map(|class| (class, (logits[class] - largest).exp() / sum)).collect())
}

/// ImageNet's name in a model of 1000 classes, else `class 3`.
fn class_name(class: usize, classes: usize) -> String {
    let names = imagenet_classes();
    let name = names.get(class).filter(|_| classes == names.len());
    name.map_or_else(|| format!("class {class}"), |(_, _, name)| name.to_string())
}

fn report(file: &Path, best: &[(usize, f64)], args: &Args, classes: usize) -> Result<()> {
    let file = file.display().to_string();
    let named = best.iter().map(|&(class, probability)| (class, class_name(class, classes), probability));
    if !args.json {
        let list: Vec<String> = named.map(|(_, name, p)| format!("{name} {:.1} %", 100.0 * p)).collect();
        return print(&format!("{}: {}\n", one_line(&file), list.join(", ")));
    }
    let list =
        named.map(|(index, name, probability)| json!({ "index": index, "name": name, "probability": probability }));
    let mut object = Map::new();
    object.insert("file".into(), file.into());
    object.insert(format!("top{}", args.top), list.collect::<Vec<Value>>().into());
    print_json(&object.into())
}
