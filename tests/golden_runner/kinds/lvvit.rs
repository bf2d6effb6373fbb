//! LV-ViT: stems, the backbone with its gradients, both forms' evaluation, full-size models whose weights are a formula.

use super::super::case::Case;
use super::super::produced::Produced;
use super::parts::{self, Outcome, Taps, put, tensor};
use super::regnet::put_map;
use espalier::models::{Architecture, Model, Stem, lvvit};
use espalier::nn::{BatchNorm, Mode, NoHooks, Params, Pass, Site};
use espalier::noise::Recorded;
use espalier::ops::TokenBox;
use espalier::{Tape, Tensor, Var, ops};
use serde_json::json;

/// The model that `config` describes, its stem by the official name.
fn architecture(case: &Case) -> Outcome<Architecture> {
    let size = |key: &str| case.config_usize(key);
    let stem = match case.at("/config/p_emb")?.as_str() {
        Some("4c") => Stem::Conv4,
        Some("6c") => Stem::Conv6,
        Some("4_2") => Stem::TokenLabel { filters: 64 },
        _ => Stem::Patch,
    };
    let dim = if case.maybe("/config/dim").is_some() { size("dim")? } else { size("embed_dim")? };
    let number = |key: &str, default: usize| case.maybe(&format!("/config/{key}")).map_or(Ok(default), |_| size(key));
    let divisor = case.maybe("/config/skip_lam").and_then(|value| value.as_f64()).unwrap_or(1.0);
    let patch_size = number("patch", 16)?;
    let plain = Architecture::lvvit(size("img")?, stem, dim, number("depth", 1)?, number("heads", 1)?, divisor);
    Ok(Architecture { patch_size, num_classes: number("classes", 1000)?, ..plain })
}

/// The stem alone: training with gradients and the running statistics after it, and evaluation.
pub fn stem(case: &Case) -> Outcome<Produced> {
    let arch = architecture(case)?;
    let given = parts::params(case, "param/")?;
    let mut params: Params =
        given.iter().map(|(name, tensor)| (format!("patch_embed.{name}"), tensor.clone())).collect();
    let mut produced = Produced::new();
    let images = tensor(case, "in/x")?;
    let evaluated = lvvit::stem(&arch, &Pass::eval(&params)?, &Var::constant(images.clone()))?;
    put_map(&mut produced, "out/eval/y", evaluated.tensor())?;
    let tape = Tape::new();
    let mode = Mode { batch_norm: BatchNorm::Batch, ..Mode::eval() };
    let pass = Pass::new(&params, Some(&tape), mode, &NoHooks)?;
    let images = tape.leaf(images);
    let y = lvvit::stem(&arch, &pass, &images)?;
    put_map(&mut produced, "out/y", y.tensor())?;
    let (shape, cotangent) = case.f32("in/cotangent")?;
    let seed = channels_last(&shape, &cotangent, y.tensor())?;
    let mut grads = tape.backward_from(&[(&y, seed)])?;
    for (name, _) in params.iter() {
        if let Some(grad) = grads.take(pass.var(name)?) {
            put(&mut produced, format!("grad/{}", name.trim_start_matches("patch_embed.")), &grad);
        }
    }
    put(&mut produced, "grad/in/x", &grads.take(&images).ok_or("no gradient of the images")?);
    let statistics = pass.batch_statistics();
    drop(pass);
    params.update_statistics(&statistics, None)?;
    put_buffers(&mut produced, &params, "patch_embed.");
    Ok(produced)
}

/// `[B, C, H, W]` as tokens like `like`.
fn channels_last(shape: &[usize], values: &[f32], like: &Tensor) -> Outcome<Tensor> {
    let (width, count) = (shape[1], shape[2] * shape[3]);
    let at = |i: usize| (i / (width * count) * width + i % width) * count + i / width % count;
    let tokens: Vec<f32> = (0..values.len()).map(|i| values[at(i)]).collect();
    Ok(Tensor::from_slice(like.shape(), &tokens)?.to_device(like.device())?)
}

/// The running statistics, without `prefix`.
fn put_buffers(produced: &mut Produced, params: &Params, prefix: &str) {
    let buffer = |name: &str| name.contains(".running_") || name.ends_with(".num_batches_tracked");
    for (name, tensor) in params.iter().filter(|(name, _)| buffer(name)) {
        let result = format!("out/after/{}", name.strip_prefix(prefix).unwrap_or(name));
        match name.ends_with(".num_batches_tracked") {
            true => produced.put_integers(result, &[], &[tensor.item().unwrap() as i64]),
            false => put(produced, result, tensor),
        }
    }
}

/// The keep masks that the case recorded, by branch.
fn keep_masks(case: &Case) -> Outcome<Recorded> {
    const LARGEST: f32 = 1.0 - f32::EPSILON / 2.0;
    let mut recorded = Recorded::default();
    let branches: Vec<String> = case.under("in/drop_path/").map(|(name, _)| name.to_owned()).collect();
    for branch in branches {
        for (sample, keep) in case.f32(&format!("in/drop_path/{branch}"))?.1.into_iter().enumerate() {
            let uniform = if keep == 0.0 { 0.0 } else { LARGEST };
            recorded.insert(format!("{branch}.drop_path"), sample as u64, vec![uniform]);
        }
    }
    Ok(recorded)
}

/// Tokens of patches behind every block.
fn patch_tokens(model: &Model, images: &Tensor) -> Outcome<Vec<Tensor>> {
    let taps = Taps::of(model, Mode::eval(), images)?;
    let block = |i: usize| {
        let all = taps.get(&Site::Block(i)).ok_or("no tokens of a block")?;
        Ok(ops::slice_tokens(&Var::constant(all.clone()), 1, all.dim(1) - 1)?.into_tensor())
    };
    (0..model.arch().blocks.len()).map(block).collect()
}

/// SiT's backbone: evaluation with the tokens of every block, and a training pass with its gradients.
pub fn backbone(case: &Case) -> Outcome<Produced> {
    let mut model = parts::model(case, architecture(case)?)?;
    let (mut produced, images) = (Produced::new(), tensor(case, "in/x")?);
    put(&mut produced, "out/eval/logits", &model.predict(&images)?);
    for (i, tokens) in patch_tokens(&model, &images)?.iter().enumerate() {
        put(&mut produced, format!("out/eval/tokens.{i}"), tokens);
    }
    let target = tensor(case, "in/target")?;
    training(case, &mut model, &images, &mut produced, |model, pass, images, produced| {
        let logits = model.forward(pass, images)?.pop().ok_or("no head")?;
        put(produced, "out/train/logits", logits.tensor());
        Ok(ops::cross_entropy(&logits, &target)?)
    })?;
    Ok(produced)
}

/// What a training pass computes: from the model, a pass and the images to the loss.
type LossOf<'a> = &'a dyn Fn(&Model, &Pass, &Var, &mut Produced) -> Outcome<Var>;

/// Loss, gradients and running statistics of a training pass.
fn training(
    case: &Case, model: &mut Model, images: &Tensor, produced: &mut Produced,
    loss: impl Fn(&Model, &Pass, &Var, &mut Produced) -> Outcome<Var>,
) -> Outcome<()> {
    let (loss, noise): (LossOf, _) = (&loss, keep_masks(case)?);
    let drop_path = case.config_f64("drop_path")?;
    let mode = Mode { drop_path, noise: &noise, batch_norm: BatchNorm::Batch, ..Mode::eval() };
    let tape = Tape::new();
    let pass = Pass::new(model.params(), Some(&tape), mode, &NoHooks)?;
    let images = tape.leaf(images.clone());
    let loss = loss(model, &pass, &images, produced)?;
    produced.put_scalar(case, "out/loss", loss.tensor().item()?);
    let (grads, of_images) = parts::gradients(&tape, &loss, model, &pass, &images)?;
    parts::put_all(produced, "grad/", grads.iter());
    put(produced, "grad/in/x", &of_images.ok_or("no gradient of the images")?);
    let statistics = pass.batch_statistics();
    drop(pass);
    model.params_mut().update_statistics(&statistics, None)?;
    put_buffers(produced, model.params(), "");
    Ok(())
}

/// Token labeling's model: evaluation with the dense head, a training pass with the recorded box of mix-token, and the loss
/// `w_cls CE(class, mixed whole-crop label) + w_dense CE(patches, their labels)`.
pub fn token_label(case: &Case) -> Outcome<Produced> {
    let mut model = parts::model(case, Architecture { dense_head: true, ..architecture(case)? })?;
    let (mut produced, images) = (Produced::new(), tensor(case, "in/x")?);
    put(&mut produced, "out/eval/logits", &model.predict(&images)?);
    let taps = Taps::of(&model, Mode::eval(), &images)?;
    put(&mut produced, "out/eval/features", taps.get(&Site::Norm).ok_or("no features")?);
    let corner = |i: usize| case.usize_at(&format!("/config/mix_token_box_r0_c0_r1_c1/{i}"));
    let mix = TokenBox { top: corner(0)?, left: corner(1)?, bottom: corner(2)?, right: corner(3)? };
    let [whole, tokens] = labels(case, &mix, model.arch())?;
    let [w_cls, w_dense] = ["cls_weight", "dense_weight"].map(|key| case.config_f64(key));
    let (w_cls, w_dense) = (w_cls?, w_dense?);
    training(case, &mut model, &images, &mut produced, |model, pass, images, produced| {
        let [class, dense] = lvvit::dense_forward(model.arch(), pass, images, Some(mix))?;
        put(produced, "out/train/cls_logits", class.tensor());
        put(produced, "out/train/token_logits", dense.tensor());
        let dense = ops::cross_entropy(&dense.reshape(tokens.shape())?, &tokens)?;
        let class = ops::cross_entropy(&class, &whole)?;
        Ok(ops::add(ops::scale(&class, w_cls)?, &ops::scale(&dense, w_dense)?)?)
    })?;
    Ok(produced)
}

/// From `in/target [B, classes, 2 + N]`: the whole crop's label `[B, classes]`, mixed with that of the flipped batch by the share of
/// the box, and the patches' `[B · N, classes]`.
fn labels(case: &Case, mix: &TokenBox, arch: &Architecture) -> Outcome<[Tensor; 2]> {
    let (shape, target) = case.f32("in/target")?;
    let [batch, classes, columns] = shape[..] else { return Err("a target of another rank".into()) };
    let at = |b: usize, c: usize, column: usize| target[(b * classes + c) * columns + column];
    let share = 1.0 - mix.area() as f32 / arch.num_patches() as f32;
    let whole = |i: usize| {
        let (b, c) = (i / classes, i % classes);
        share * at(b, c, 1) + (1.0 - share) * at(batch - 1 - b, c, 1)
    };
    let tokens = columns - 2;
    let patch = |i: usize| at(i / (tokens * classes), i % classes, 2 + i / classes % tokens);
    let whole: Vec<f32> = (0..batch * classes).map(whole).collect();
    let patches: Vec<f32> = (0..batch * tokens * classes).map(patch).collect();
    let on_device = |shape: [usize; 2], values: &[f32]| -> Outcome<Tensor> {
        Ok(Tensor::from_slice(shape, values)?.to_device(parts::device()?)?)
    };
    Ok([on_device([batch, classes], &whole)?, on_device([batch * tokens, classes], &patches)?])
}

/// A full-size model with weights by the formula of `config.weight_rule`: logits, statistics of the tokens, parameters.
pub fn full(case: &Case) -> Outcome<Produced> {
    let side = case.config_usize("img")?;
    let size = |key: &str| case.config_usize(key);
    let stem = if size("embed_dim")? == 768 { Stem::Conv6 } else { Stem::Conv4 };
    let divisor = case.config_f64("skip_lam")?;
    let arch = Architecture::lvvit(side, stem, size("embed_dim")?, size("depth")?, size("heads")?, divisor);
    let slots = Model::layout(&arch).slots;
    let params = slots.iter().map(|slot| Ok((slot.name.clone(), by_formula(&slot.name, &slot.shape)?)));
    let model = Model::new(arch.clone(), params.collect::<Outcome<_>>()?, case.name())?;
    let images = Tensor::from_slice([1, 3, side, side], &uniforms("input", 3 * side * side, |u| 1.7 * u))?;
    let mut produced = Produced::new();
    put(&mut produced, "out/logits", &model.predict(&images)?);
    let rows: Vec<f64> = patch_tokens(&model, &images)?.iter().map(statistics).collect::<Outcome<Vec<_>>>()?.concat();
    produced.put("out/token_stats", &[arch.blocks.len(), rows.len() / arch.blocks.len()], rows);
    let checked = case.at("/config/check_values")?.as_object().ok_or("no check values")?;
    let first = |name: &str| -> Outcome<serde_json::Value> { Ok(json!(&model.params().get(name)?.to_f64s()?[..3])) };
    let values = checked.keys().map(|name| Ok((name.clone(), first(name)?)));
    produced.put_json("check_values", values.collect::<Outcome<serde_json::Map<_, _>>>()?);
    produced.put_json("params_total_without_rtsm", json!(espalier::models::cost::params(&arch)));
    produced.put_json("tokens_per_stage", json!([arch.num_patches()]));
    Ok(produced)
}

/// Mean, mean of absolute values, root of the mean square, first element and last token's last element.
fn statistics(tokens: &Tensor) -> Outcome<Vec<f64>> {
    let values = tokens.to_f64s()?;
    let mean = |of: &dyn Fn(f64) -> f64| values.iter().map(|&v| of(v)).sum::<f64>() / values.len() as f64;
    let [first, last] = [values.first(), values.last()].map(|v| v.copied().unwrap_or(f64::NAN));
    Ok(vec![mean(&|v| v), mean(&f64::abs), mean(&|v| v * v).sqrt(), first, last])
}

/// The numbers `scale(u)` of a key, `u` in [-1, 1) by splitmix64.
fn uniforms(key: &str, count: usize, scale: impl Fn(f64) -> f64) -> Vec<f32> {
    let start = espalier::noise::fnv1a64(key);
    let number = |i: u64| {
        let mut z = start.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        scale((z >> 40) as f64 / f64::from(1 << 24) * 2.0 - 1.0) as f32
    };
    (1..=count as u64).map(number).collect()
}

fn by_formula(name: &str, shape: &[usize]) -> Outcome<Tensor> {
    let norm = ["norm", ".bn"].iter().any(|part| name.contains(part));
    let fan_in: usize = shape.iter().skip(1).product();
    let scale: &dyn Fn(f64) -> f64 = match name {
        _ if name.ends_with("running_mean") => &|u| 0.1 * u,
        _ if name.ends_with("running_var") => &|u| 1.0 + 0.5 * u,
        _ if name.ends_with("num_batches_tracked") => &|_| 0.0,
        "cls_token" | "pos_embed" => &|u| 0.5 * u,
        _ if name.ends_with("bias") => &|u| 0.1 * u,
        _ if norm => &|u| 1.0 + 0.2 * u,
        _ => &move |u| u * (3.0 / fan_in as f64).sqrt(),
    };
    Ok(Tensor::from_slice(shape, &uniforms(name, shape.iter().product(), scale))?)
}
