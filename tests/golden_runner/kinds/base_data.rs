//! Preprocessing, position embeddings at another resolution, real weights.

use super::super::case::Case;
use super::super::produced::Produced;
use super::formula::formula;
use super::parts::{Outcome, Taps, put, tensor};
use espalier::data::augment::{Augment, Crop, Interpolation, Transform};
use espalier::data::image::RgbImage;
use espalier::data::resize::{Filter, centre_rect, normalize, resize, short_side_size};
use espalier::models::{LoadOptions, Model, interpolate};
use espalier::nn::{Mode, Site};
use espalier::noise::Philox;
use espalier::{Tensor, ops};

/// Position embedding and relative position biases at another resolution.
pub fn pos_interp(case: &Case) -> Outcome<Produced> {
    let mut produced = Produced::new();
    let new = case.usize_at("/new")?;
    if case.has("in/pos_embed") {
        let table = tensor(case, "in/pos_embed")?;
        let resized = interpolate::pos_embed(&table, case.usize_at("/extra_tokens")?, new)?;
        put(&mut produced, "out/pos_embed", &resized);
    }
    if case.has("in/rel_bias_table") {
        // A window of M has 2M - 1 offsets per axis.
        let side = (2 * new).checked_sub(1).ok_or("new is 0")?;
        let resized = interpolate::bias_table(&tensor(case, "in/rel_bias_table")?, side)?;
        put(&mut produced, "out/rel_bias_table", &resized);
    }
    Ok(produced)
}

/// A position table with a class row at another grid.
pub fn pos_resize(case: &Case) -> Outcome<Produced> {
    let mut produced = Produced::new();
    let resized = interpolate::pos_embed(&tensor(case, "in/pos_embed")?, 1, case.config_usize("new_grid")?)?;
    put(&mut produced, "out/pos_embed", &resized);
    Ok(produced)
}

/// `mean` or `std`.
pub fn channels(case: &Case, key: &str) -> Outcome<[f32; 3]> {
    let values: Vec<f32> = case.f64s_at(key)?.into_iter().map(|value| value as f32).collect();
    Ok(values.try_into().map_err(|_| format!("{key} has not three values"))?)
}

/// The recorded image, or what the item's formula gives.
fn input(case: &Case, index: usize) -> Outcome<RgbImage> {
    let (height, width) =
        (case.usize_at(&format!("/items/{index}/in_h"))?, case.usize_at(&format!("/items/{index}/in_w"))?);
    let name = format!("in/{index}/image");
    if case.has(&name) {
        return Ok(RgbImage::new(width, height, case.u8s(&name)?.1)?);
    }
    let text = case.str_at(&format!("/items/{index}/input"))?;
    let body = text.split_once('=').ok_or("no formula of the image")?.1;
    let mut pixels = Vec::with_capacity(width * height * 3);
    for (y, x, c) in (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (y, x, c)))) {
        let value = formula(body, &[('x', x as i64), ('y', y as i64), ('c', c)])?;
        pixels.push(u8::try_from(value)?);
    }
    Ok(RgbImage::new(width, height, pixels)?)
}

/// Validation preprocessing: resized, cropped and normalised, with all sizes; the last two by the loader's transform.
pub fn resize_crop_normalize(case: &Case) -> Outcome<Produced> {
    let mut produced = Produced::new();
    let (mean, std) = (channels(case, "/mean")?, channels(case, "/std")?);
    for index in 0..case.list_at("/items")?.len() {
        let at = |key: &str| format!("/items/{index}/{key}");
        let (side, size) = (case.usize_at(&at("resize_short_side"))?, case.usize_at(&at("crop"))?);
        let (filter, interpolation) = match case.at(&at("interpolation"))?.as_str() {
            Some("bicubic") => (Filter::Bicubic, Interpolation::Bicubic),
            Some("bilinear") => (Filter::Bilinear, Interpolation::Bilinear),
            other => return Err(format!("interpolation {other:?}").into()),
        };
        let image = input(case, index)?;
        let (width, height) = short_side_size(image.size().0, image.size().1, side);
        let resized = resize(&image, width, height, filter)?;
        let (width, height) = resized.size();
        let rect = centre_rect(width, height, size)?;
        let crop = Crop::Centre { resize: Some(side) };
        let transform = Transform { crop, interpolation, mean, std, ..Augment::default().eval(size) };
        let noise = Philox { seed: 0, step: 0 };
        let cropped = transform.crop_and_flip(&image, &noise, 0)?;
        produced.put_f32(format!("out/{index}/normalized"), &[3, size, size], &transform.apply(&image, &noise, 0)?);
        for (name, image) in [("resized", &resized), ("cropped", &cropped)] {
            let values = image.pixels().iter().map(|&v| v.into()).collect();
            produced.put(format!("out/{index}/{name}"), &[image.size().1, image.size().0, 3], values);
        }
        let sizes = [height, width, rect.top, rect.left];
        for (key, value) in ["resized_h", "resized_w", "crop_top", "crop_left"].into_iter().zip(sizes) {
            produced.put_json(format!("items.{index}.{key}"), value);
        }
    }
    Ok(produced)
}

/// Published weights on a real image: logits, the first three tokens after every block, the five best classes.
pub fn real_weights(case: &Case) -> Outcome<Produced> {
    let model = Model::load(case.shared_file(0)?, &LoadOptions::default())?;
    let (shape, pixels) = case.u8s("in/cropped_u8")?;
    let &[height, width, 3] = shape.as_slice() else { return Err(format!("an image of shape {shape:?}").into()) };
    let image = RgbImage::new(width, height, pixels)?;
    let values = normalize(&image, channels(case, "/mean")?, channels(case, "/std")?);
    let images = Tensor::from_slice([1, 3, height, width], &values)?;
    let mut produced = Produced::new();
    let logits = model.predict(&images)?;
    let (depth, width) = (model.arch().blocks.len(), model.arch().embed_dim);
    let taps = Taps::of(&model, Mode::eval(), &images)?;
    let mut tokens = Vec::new();
    for block in 0..depth {
        tokens.extend(&taps.get(&Site::Block(block)).ok_or("a block without a tap")?.to_f64s().unwrap()[..3 * width]);
    }
    produced.put("out/block_first3_tokens", &[depth, 3, width], tokens);
    produced.put_json("top5", best(&logits, case.list_at("/top5")?.len())?);
    put(&mut produced, "out/logits", &logits.reshape([logits.numel()])?);
    Ok(produced)
}

/// The `count` best classes, best first.
fn best(logits: &Tensor, count: usize) -> Outcome<Vec<usize>> {
    let mut left = logits.clone();
    let mut classes = Vec::new();
    for _ in 0..count.min(logits.numel()) {
        let class = ops::argmax(&left)?[0];
        left.slice_mut::<f32>()?[class] = f32::NEG_INFINITY;
        classes.push(class);
    }
    Ok(classes)
}
