//! Kinds without a model: losses, schedules, position tables, validation images.

use super::super::case::Case;
use super::super::produced::Produced;
use super::support::{put, put_grad, tensor, text};
use espalier::data::image::RgbImage;
use espalier::data::resize::{Filter, centre_rect, crop, normalize, resize_short_side};
use espalier::models::interpolate;
use espalier::ops::{self, Reduction};
use espalier::optim::Cosine;
use espalier::train::distill::{DistillKind, Distillation};
use espalier::{DType, Result as Outcome, Tape, Var};
use serde_json::Value;

/// Every loss of the library that the case's inputs allow, with its gradients.
pub fn losses(case: &Case) -> Result<Produced, String> {
    let classes = *case.tensor("in/logits")?.shape.last().ok_or("logits without classes")?;
    let smoothing = case.f64_at("/smoothing")?;
    let optional = |name: &str| case.has(name).then(|| tensor(case, name)).transpose();
    let (soft, bce) = (optional("in/soft_target")?, optional("in/bce_target")?);
    let (second, teacher) = (optional("in/logits_dist")?, optional("in/teacher_logits")?);
    let labels = case.has("in/label").then(|| case.usizes("in/label")).transpose()?.map(|(_, labels)| labels);
    let hot = |e: f64| labels.as_deref().map(|l| text(ops::one_hot(l, classes, e, DType::F32))).transpose();
    let mut produced = Produced::new();
    for (name, target) in [("ce", hot(0.0)?), ("label_smoothing", hot(smoothing)?), ("soft_target", soft.clone())] {
        if let Some(target) = target {
            loss(case, &mut produced, name, |z| ops::cross_entropy(&z[0], &target))?;
        }
    }
    if let Some(target) = bce {
        loss(case, &mut produced, "bce_with_logits", |z| ops::bce_with_logits(&z[0], &target))?;
    }
    if let (Some(target), Some(_), Some(teacher)) = (soft, second, teacher) {
        let (alpha, tau) = (case.f64_at("/alpha")?, case.f64_at("/tau")?);
        for (name, kind) in [("none", DistillKind::None), ("soft", DistillKind::Soft), ("hard", DistillKind::Hard)] {
            let reduction = Reduction::PerElement;
            let distillation = Distillation { kind, alpha, tau, reduction, single_head: false };
            loss(case, &mut produced, &format!("distill_{name}"), |z| {
                distillation.loss(z, ops::cross_entropy(&z[0], &target)?, Some(&teacher))
            })?;
        }
    }
    Ok(produced)
}

fn loss(case: &Case, produced: &mut Produced, name: &str, f: impl Fn(&[Var]) -> Outcome<Var>) -> Result<(), String> {
    let tape = Tape::new();
    let names: Vec<&str> = ["logits", "logits_dist"].into_iter().filter(|n| case.has(&format!("in/{n}"))).collect();
    let leaf = |n: &&str| Ok(tape.leaf(tensor(case, &format!("in/{n}"))?));
    let logits: Vec<Var> = names.iter().map(leaf).collect::<Result<_, String>>()?;
    let loss = text(f(&logits))?;
    produced.put_scalar(case, &format!("out/{name}/loss"), text(loss.tensor().item())?);
    let grads = text(tape.backward(&loss))?;
    for (input, var) in names.iter().zip(&logits) {
        put_grad(produced, format!("grad/{name}/{input}"), &grads, var);
    }
    Ok(())
}

/// The schedules of `cases` at the recorded times.
pub fn cosine_schedules(case: &Case) -> Result<Produced, String> {
    let mut produced = Produced::new();
    for i in 0..case.list_at("/cases")?.len() {
        let number = |key: &str| case.f64_at(&format!("/cases/{i}/{key}"));
        let natural = |key: &str| case.usize_at(&format!("/cases/{i}/{key}"));
        let schedule = Cosine {
            lr: number("lr")?,
            length: natural("t_initial")?,
            min_lr: number("lr_min")?,
            warmup_lr: number("warmup_lr")?,
            warmup: natural("warmup_t")?,
            warmup_prefix: case.bool_at(&format!("/cases/{i}/warmup_prefix"))?,
            lag: 0,
        };
        text(schedule.validate())?;
        let (shape, times) = case.usizes(&format!("in/{i}/t"))?;
        produced.put(format!("out/{i}/lr_f64"), &shape, times.into_iter().map(|t| schedule.at(t)).collect());
        produced.put_scalar(case, &format!("out/{i}/lr_at_construction_f64"), schedule.at_construction());
    }
    Ok(produced)
}

/// DeiT's rate of every epoch, one epoch late.
pub fn deit_lr_used_per_epoch(case: &Case) -> Result<Produced, String> {
    let epochs = case.usize_at("/epochs")?;
    let schedule = Cosine {
        lr: case.f64_at("/base_lr")?,
        length: epochs,
        min_lr: case.f64_at("/min_lr")?,
        warmup_lr: case.f64_at("/warmup_lr")?,
        warmup: case.usize_at("/warmup_epochs")?,
        warmup_prefix: false,
        lag: 1,
    };
    let mut produced = Produced::new();
    let used = (0..epochs).map(|epoch| schedule.used_at(epoch)).collect();
    produced.put("out/lr_used_in_epoch_f64", &[epochs], used);
    Ok(produced)
}

/// The position embedding and the bias table for another grid.
pub fn pos_interp(case: &Case) -> Result<Produced, String> {
    let (new, extra) = (case.usize_at("/new")?, case.usize_at("/extra_tokens")?);
    let mut produced = Produced::new();
    if case.has("in/pos_embed") {
        let pos = tensor(case, "in/pos_embed")?;
        put(&mut produced, "out/pos_embed", &text(interpolate::resize_pos_embed(&pos, extra, new))?);
    }
    if case.has("in/rel_bias_table") {
        let table = tensor(case, "in/rel_bias_table")?;
        put(&mut produced, "out/rel_bias_table", &text(interpolate::resize_bias_table(&table, new))?);
    }
    Ok(produced)
}

/// Resize, centre crop, normalise.
pub fn resize_crop_normalize(case: &Case) -> Result<Produced, String> {
    let channels = |key: &str| -> Result<[f32; 3], String> {
        let values: Vec<f32> = case.f64s_at(key)?.into_iter().map(|value| value as f32).collect();
        values.try_into().map_err(|_| format!("{key} is not three numbers"))
    };
    let (mean, std) = (channels("/mean")?, channels("/std")?);
    let mut produced = Produced::new();
    for (at, item) in case.list_at("/items")?.iter().enumerate() {
        let i = item["index"].as_u64().unwrap_or(at as u64);
        let natural = |key: &str| case.usize_at(&format!("/items/{at}/{key}"));
        let image = input(case, i, natural("in_h")?, natural("in_w")?, item["input"].as_str().unwrap_or(""))?;
        let filter: Filter =
            serde_json::from_value(item["interpolation"].clone()).map_err(|error| format!("item {i}: {error}"))?;
        let resized = text(resize_short_side(&image, natural("resize_short_side")?, filter))?;
        let rect = text(centre_rect(resized.width, resized.height, natural("crop")?))?;
        let cropped = text(crop(&resized, rect))?;
        for (name, image) in [("resized", &resized), ("cropped", &cropped)] {
            let pixels = image.pixels.iter().map(|&pixel| pixel.into()).collect();
            produced.put(format!("out/{i}/{name}"), &[image.height, image.width, 3], pixels);
        }
        let values = normalize(&cropped, mean, std);
        produced.put_f32(format!("out/{i}/normalized"), &[3, cropped.height, cropped.width], &values);
        let sizes = [("resized_h", resized.height), ("resized_w", resized.width)];
        for (name, value) in sizes.into_iter().chain([("crop_top", rect.top), ("crop_left", rect.left)]) {
            produced.put_json(format!("items.{i}.{name}"), Value::from(value));
        }
    }
    Ok(produced)
}

/// The image of an item: a tensor, or `(ax + by + cc + d((x y) mod e)) mod f` with the formula's own six numbers.
fn input(case: &Case, i: u64, height: usize, width: usize, source: &str) -> Result<RgbImage, String> {
    let name = format!("in/{i}/image");
    if case.has(&name) {
        let (shape, pixels) = case.u8s(&name)?;
        if shape != [height, width, 3] {
            return Err(format!("{name} is {shape:?}, not {height} x {width}"));
        }
        return text(RgbImage::new(width, height, pixels));
    }
    let template: String = source.chars().filter(|c| !c.is_ascii_digit() && !c.is_whitespace()).collect();
    let numbers: Vec<usize> = source.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    let ([a, b, c, d, e, f], "formula:v(y,x,c)=(x+y+c+*((x*y)mod))mod") =
        (<[usize; 6]>::try_from(numbers).map_err(|_| format!("item {i}: unknown input {source}"))?, template.as_str())
    else {
        return Err(format!("item {i}: unknown input {source}"));
    };
    let pixel = |at: usize| {
        let (y, x, channel) = (at / 3 / width, at / 3 % width, at % 3);
        ((a * x + b * y + c * channel + d * (x * y % e.max(1))) % f.clamp(1, 256)) as u8
    };
    text(RgbImage::new(width, height, (0..height * width * 3).map(pixel).collect()))
}
