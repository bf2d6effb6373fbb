//! Augmentation: crops, RandAugment's operations, erasing, mixing, repeated augmentation, with recorded draws.

use super::super::case::Case;
use super::super::produced::Produced;
use super::base_data::channels;
use super::parts::{Outcome, put};
use espalier::data::augment::{Augment, BoxDraws, Transform, random_box};
use espalier::data::erasing::{Erasing, paste};
use espalier::data::image::RgbImage;
use espalier::data::mixup::{Mix, mix_images, mix_targets};
use espalier::data::pixel_ops::PixelOp;
use espalier::data::randaugment::{OPERATIONS, Strength};
use espalier::data::resize::{Filter, Rect, crop, normalize, resize};
use espalier::data::sampler::{Order, Shard};
use espalier::{DType, ops};
use serde_json::Value;
use std::collections::VecDeque;

/// Recorded draws, first uniforms and places by their kind.
#[derive(Default)]
struct Draws {
    uniforms: VecDeque<f64>,
    places: VecDeque<usize>,
    /// A draw from another range than the recorded one, or beyond the recording.
    wrong: bool,
    ranges: VecDeque<[f64; 2]>,
}

impl BoxDraws for Draws {
    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        let range = self.ranges.pop_front().unwrap_or([low, high]);
        self.wrong |= (range[0] - low).abs() > 1e-12 || (range[1] - high).abs() > 1e-12;
        self.uniforms.pop_front().unwrap_or_else(|| {
            self.wrong = true;
            low
        })
    }
    fn below(&mut self, n: usize) -> usize {
        let place = self.places.pop_front();
        self.wrong |= place.is_none_or(|place| place >= n);
        place.unwrap_or(0)
    }
}

impl Draws {
    /// Whether all of the recording was used, and nothing else.
    fn used_up(&self) -> Outcome<()> {
        let fits = !self.wrong && self.uniforms.is_empty() && self.places.is_empty();
        if fits { Ok(()) } else { Err("other draws than the recorded ones".into()) }
    }
}

fn image(case: &Case, name: &str) -> Outcome<RgbImage> {
    let (shape, pixels) = case.u8s(name)?;
    let &[height, width, 3] = shape.as_slice() else { return Err(format!("an image of shape {shape:?}").into()) };
    Ok(RgbImage::new(width, height, pixels)?)
}

fn put_image(produced: &mut Produced, name: impl Into<String>, image: &RgbImage) {
    let (width, height) = image.size();
    produced.put(name, &[height, width, 3], image.pixels().iter().map(|&v| v.into()).collect());
}

fn four(value: &Value) -> Outcome<[usize; 4]> {
    Ok(serde_json::from_value(value.clone())?)
}

/// [top, left, height, width].
fn rect(case: &Case, pointer: &str) -> Outcome<Rect> {
    let [top, left, height, width] = four(case.at(pointer)?)?;
    Ok(Rect { top, left, height, width })
}

/// The box from recorded attempts, and what it holds at the target size.
pub fn random_resized_crop(case: &Case) -> Outcome<Produced> {
    let mut produced = Produced::new();
    let target = case.usize_at("/target")?;
    for (index, item) in case.list_at("/items")?.iter().enumerate() {
        let range = |key: &str| serde_json::from_value::<[f64; 2]>(item[key].clone());
        let (scale, ratio) = (range("scale")?, range("ratio")?);
        let mut draws = Draws::default();
        for attempt in item["attempts"].as_array().ok_or("no attempts")? {
            draws.uniforms.extend(["area_fraction", "log_ratio"].iter().filter_map(|key| attempt[key].as_f64()));
            draws.places.extend(["i", "j"].iter().filter_map(|key| attempt[key].as_u64()).map(|place| place as usize));
        }
        let image = image(case, &format!("in/{index}/image"))?;
        let rect = random_box(image.size().0, image.size().1, scale, ratio, &mut draws);
        draws.used_up()?;
        let resized = resize(&crop(&image, rect)?, target, target, Filter::Bicubic)?;
        put_image(&mut produced, format!("out/{index}/crop_resized"), &resized);
        produced.put_json(format!("items.{index}.box_i_j_h_w"), vec![rect.top, rect.left, rect.height, rect.width]);
    }
    Ok(produced)
}

/// The operation that the case calls by its increasing or relative form.
fn operation(name: &str, strength: Strength) -> Outcome<PixelOp> {
    let plain = name.trim_end_matches("Increasing").trim_end_matches("Rel");
    let found = OPERATIONS.iter().find(|(known, _)| *known == plain);
    Ok(found.ok_or_else(|| format!("no operation {name}"))?.1(strength))
}

/// The operation at the recorded level, whose argument must be the recorded one.
fn at_level(recorded: &Value, level: &str) -> Outcome<PixelOp> {
    let sign = if recorded["negated"] == true { -1.0 } else { 1.0 };
    let t = recorded[level].as_f64().unwrap_or(0.0) / 10.0;
    let name = recorded["op"].as_str().ok_or("no op")?;
    let operation = operation(name, Strength { t, sign, increasing: true })?;
    let argument = match operation {
        PixelOp::AutoContrast | PixelOp::Equalize | PixelOp::Invert => None,
        PixelOp::Posterize(n) | PixelOp::Solarize(n) | PixelOp::SolarizeAdd(n) => Some(f64::from(n)),
        PixelOp::Color(x) | PixelOp::Contrast(x) | PixelOp::Brightness(x) | PixelOp::Sharpness(x) => Some(x),
        PixelOp::Rotate(x) | PixelOp::ShearX(x) | PixelOp::ShearY(x) => Some(x),
        PixelOp::TranslateX(x) | PixelOp::TranslateY(x) => Some(x),
    };
    // A draw through clip(N(9, 0.5)) in another order of operations may differ in the last bit.
    let near = |(a, b): (f64, f64)| (a - b).abs() <= 1e-15 * a.abs().max(1.0);
    match argument.zip(recorded["arg"].as_f64()) {
        Some(pair) if near(pair) => Ok(operation),
        None if argument.is_none() && recorded["arg"].is_null() => Ok(operation),
        _ => Err(format!("{name}: argument {argument:?}, recorded {}", recorded["arg"]).into()),
    }
}

/// Every operation at several levels.
pub fn randaugment_ops(case: &Case) -> Outcome<Produced> {
    let mut produced = Produced::new();
    let image = image(case, "in/image")?;
    let fill: [u8; 3] = serde_json::from_value(case.at("/fill_rgb")?.clone())?;
    if Augment::default().train(224).fill() != fill {
        return Err(format!("fill colour {:?}", Augment::default().train(224).fill()).into());
    }
    for (index, recorded) in case.list_at("/ops")?.iter().enumerate() {
        let filter = if recorded["resample"] == "bilinear" { Filter::Bilinear } else { Filter::Bicubic };
        let mut changed = image.clone();
        at_level(recorded, "level")?.apply(&mut changed, filter, fill);
        put_image(&mut produced, format!("out/{index:03}"), &changed);
    }
    Ok(produced)
}

/// Erasing, the rectangles from recorded draws, filled with the recorded noise.
pub fn random_erasing(case: &Case) -> Outcome<Produced> {
    let mut produced = Produced::new();
    let number = |key: &str| case.f64_at(key);
    let (low, probability) = (number("/min_aspect")?, number("/probability")?);
    let area = [number("/min_area")?, number("/max_area")?];
    let erasing = Erasing { probability, count: case.usize_at("/max_count")?, area, ratio: [low, 1.0 / low] };
    for (index, item) in case.list_at("/items")?.iter().enumerate() {
        let mut draws = Draws::default();
        for draw in item["draws"].as_array().ok_or("no draws")? {
            let value = draw[3].as_f64().ok_or("a draw without its value")?;
            if draw[0] == "randint" {
                draws.places.push_back(value as usize);
            } else {
                draws.uniforms.push_back(value);
                draws.ranges.push_back([draw[1].as_f64().unwrap_or(0.0), draw[2].as_f64().unwrap_or(0.0)]);
            }
        }
        let (shape, mut values) = case.f32(&format!("in/{index}/x"))?;
        let rects = erasing.boxes(shape[1], shape[2], &mut draws);
        draws.used_up()?;
        for (k, rect) in rects.into_iter().enumerate() {
            let (size, noise) = case.f32(&format!("in/{index}/noise{k}"))?;
            if size[1..] != [rect.height, rect.width] {
                return Err(format!("rectangle {rect:?} for noise of {size:?}").into());
            }
            paste(&mut values, shape[1], shape[2], rect, &noise);
        }
        produced.put_f32(format!("out/{index}/y"), &shape, &values);
    }
    Ok(produced)
}

/// Crop, flip, RandAugment, normalisation and erasing, all decisions given.
pub fn train_pipeline(case: &Case) -> Outcome<Produced> {
    let mut produced = Produced::new();
    let size = case.usize_at("/size")?;
    let (mean, std) = (channels(case, "/mean")?, channels(case, "/std")?);
    let cropped = crop(&image(case, "in/image")?, rect(case, "/crop_i_j_h_w")?)?;
    let mut picture = resize(&cropped, size, size, Filter::Bicubic)?;
    if case.at("/hflip")? == true {
        picture.mirror();
    }
    put_image(&mut produced, "out/after_flip", &picture);
    let fill = Transform { mean, std, ..Augment::default().train(size) }.fill();
    for recorded in case.list_at("/randaugment")? {
        at_level(recorded, "magnitude")?.apply(&mut picture, Filter::Bicubic, fill);
    }
    put_image(&mut produced, "out/after_randaugment", &picture);
    let mut values = normalize(&picture, mean, std);
    produced.put_f32("out/normalized", &[3, size, size], &values);
    paste(&mut values, size, size, rect(case, "/erase_top_left_h_w")?, &case.f32("in/erase_noise")?.1);
    produced.put_f32("out/final", &[3, size, size], &values);
    Ok(produced)
}

/// Cutmix at the drawn λ whose rectangle is the recorded [top, bottom, left, right]: that of some centre.
fn cut(height: usize, width: usize, lambda: f64, recorded: &Value) -> Outcome<Mix> {
    let [top, bottom, left, right] = four(recorded)?;
    let rect = Rect { top, left, height: bottom - top, width: right - left };
    let centres = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    let mut mixes = centres.map(|centre| Mix::cut(height, width, lambda, centre));
    mixes.find(|mix| mix.cut == Some(rect)).ok_or_else(|| format!("no centre gives {rect:?} at {lambda}").into())
}

/// Images and smoothed targets under `mixes`.
fn mixed(case: &Case, classes: usize, smoothing: f64, mixes: &[Mix]) -> Outcome<Produced> {
    let mut produced = Produced::new();
    let (shape, mut images) = case.f32("in/x")?;
    mix_images(&mut images, shape[2], shape[3], mixes);
    let mut target = ops::one_hot(&case.usizes("in/label")?.1, classes, smoothing, DType::F32)?;
    mix_targets(target.slice_mut()?, mixes);
    produced.put_f32("out/x", &shape, &images);
    put(&mut produced, "out/target", &target);
    Ok(produced)
}

/// Mixup and cutmix with recorded λ and rectangles: of the batch, of pairs or of single images.
pub fn mixup(case: &Case) -> Outcome<Produced> {
    let shape = &case.tensor("in/x")?.shape;
    let (images, height, width) = (shape[0], shape[2], shape[3]);
    let mut boxes = case.list_at("/cutmix_boxes_yl_yh_xl_xh_in_order")?.iter();
    let switches = case.list_at("/use_cutmix")?;
    let mut mixes = Vec::new();
    for (&lambda, switch) in case.f64s_at("/sampled_lambda")?.iter().zip(switches) {
        mixes.push(match *switch == true && lambda != 1.0 {
            true => cut(height, width, lambda, boxes.next().ok_or("too few boxes")?)?,
            false => Mix { lambda, cut: None },
        });
    }
    let mixes: Vec<Mix> = match case.str_at("/mode")? {
        "batch" => vec![*mixes.first().ok_or("no lambda")?; images],
        "pair" => (0..images).map(|i| mixes[i.min(images - 1 - i)]).collect(),
        _ => mixes,
    };
    mixed(case, case.usize_at("/num_classes")?, case.f64_at("/smoothing")?, &mixes)
}

/// The same as the SiT recipe has it, of the batch.
pub fn sit_mixup(case: &Case) -> Outcome<Produced> {
    let shape = &case.tensor("in/x")?.shape;
    let lambda = case.config_f64("lam_drawn")?;
    let mix = match case.maybe("/config/box_y0_y1_x0_x1") {
        Some(recorded) => cut(shape[2], shape[3], lambda, recorded)?,
        None => Mix { lambda, cut: None },
    };
    if (mix.lambda - case.config_f64("lam_used")?).abs() > 1e-12 {
        return Err(format!("λ of {}", mix.lambda).into());
    }
    mixed(case, case.config_usize("classes")?, case.config_f64("smoothing")?, &vec![mix; shape[0]])
}

/// The lists of all ranks from one permutation.
pub fn repeated_augmentation_sampler(case: &Case) -> Outcome<Produced> {
    let mut produced = Produced::new();
    let (world, order) = (case.usize_at("/world")?, Order::Repeated(case.usize_at("/repeats")?));
    for rank in 0..world {
        let views = order.views(Shard { rank, world }, &case.usizes("in/perm")?.1, 0);
        let indices: Vec<i64> = views.iter().map(|view| view.index as i64).collect();
        produced.put_integers(format!("out/rank{rank}"), &[indices.len()], &indices);
    }
    Ok(produced)
}
