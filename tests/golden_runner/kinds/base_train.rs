//! Optimiser, training steps and schedules.

use super::super::case::Case;
use super::super::produced::Produced;
use super::parts::{self, Outcome, put_all, tensor};
use espalier::models::{Block, Mixer, Model, Reduce};
use espalier::nn::{Mode, NoHooks, Params, Pass};
use espalier::noise::Recorded;
use espalier::optim::{AdamW, Cosine, clip_factor, default_rules, ema, group_of};
use espalier::{Tape, Tensor, Var, ops};
use serde_json::{Value, json};

/// AdamW with the settings below the JSON pointer `at`.
fn optimizer(case: &Case, at: &str, weight_decay: f64, params: &Params) -> Outcome<AdamW> {
    let [b1, b2] = case.f64s_at(&format!("{at}/betas"))?[..] else { return Err("betas are not two".into()) };
    let eps = case.f64_at(&format!("{at}/eps"))?;
    Ok(AdamW { betas: (b1, b2), eps, weight_decay, ..AdamW::new(params)? })
}

/// The names of the parameters that decay, or of those that do not.
fn group(params: &Params, decayed: bool) -> Vec<&str> {
    let rules = default_rules();
    let decays = |name: &str, tensor: &Tensor| group_of(&rules, name, tensor, 1.0).0 != 0.0;
    params.iter().filter(|(name, tensor)| decays(name, tensor) == decayed).map(|(name, _)| name).collect()
}

/// One step as the trainer makes it: clipping of the global norm, then AdamW; the norm before clipping.
fn step(optimizer: &mut AdamW, params: &mut Params, grads: &Params, lr: f64, clip: Option<f64>) -> Outcome<f64> {
    let norm = ops::global_norm(params.iter().filter_map(|(name, _)| grads.find(name)))?;
    optimizer.step(params, grads, lr, clip.map_or(1.0, |limit| clip_factor(norm, limit)))?;
    Ok(norm)
}

fn clip(case: &Case) -> Option<f64> {
    case.maybe("/clip_grad_norm").and_then(Value::as_f64)
}

/// AdamW on given gradients.
pub fn adamw(case: &Case) -> Outcome<Produced> {
    let mut produced = Produced::new();
    let mut params = parts::params(case, "in/param/")?;
    let mut optimizer = optimizer(case, "", case.f64_at("/weight_decay")?, &params)?;
    produced.put_json("no_decay", group(&params, false));
    for (index, lr) in case.f64s_at("/lr_per_step")?.into_iter().enumerate() {
        let n = index + 1;
        let grads = parts::params(case, &format!("in/grad{n}/"))?;
        step(&mut optimizer, &mut params, &grads, lr, clip(case))?;
        put_all(&mut produced, &format!("out/step{n}/"), params.iter());
    }
    put_all(&mut produced, "out/exp_avg/", optimizer.m.iter());
    put_all(&mut produced, "out/exp_avg_sq/", optimizer.v.iter());
    Ok(produced)
}

/// Loss, logits and gradients of one batch.
fn forward_backward(model: &Model, mode: Mode, images: Tensor, target: &Tensor) -> Outcome<(Var, Var, Params)> {
    let tape = Tape::new();
    let pass = Pass::new(model.params(), Some(&tape), mode, &NoHooks)?;
    let images = Var::constant(images);
    let logits = model.forward(&pass, &images)?.into_iter().next().ok_or("no head")?;
    let loss = ops::cross_entropy(&logits, target)?;
    let (grads, _) = parts::gradients(&tape, &loss, model, &pass, &images)?;
    Ok((loss, logits, grads))
}

/// Training with label smoothing, clipping, AdamW and the moving average.
pub fn train_steps(case: &Case) -> Outcome<Produced> {
    let mut model = parts::model(case, parts::architecture(case)?)?;
    let mut produced = Produced::new();
    produced.put_json("group_no_decay", group(model.params(), false));
    produced.put_json("group_decay", group(model.params(), true));
    let (images, (label_shape, labels)) = (tensor(case, "in/x")?, case.usizes("in/label")?);
    let batch = label_shape.get(1).copied().ok_or("labels are not [steps, B]")?;
    let smoothing = smoothing(case)?;
    let mut optimizer = optimizer(case, "", case.f64_at("/weight_decay")?, model.params())?;
    let decay = case.maybe("/ema_decay").and_then(Value::as_f64);
    let mut average = decay.map(|decay| (model.params().clone(), decay));
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for (n, lr) in case.f64s_at("/lr_per_step")?.into_iter().enumerate() {
        let x = images.rows(n, n + 1)?.reshape(&images.shape()[1..])?;
        let labels = labels.get(n * batch..(n + 1) * batch).ok_or("too few labels")?;
        let target = ops::one_hot(labels, model.arch().num_classes, smoothing, x.dtype())?.to_device(x.device())?;
        let (loss, _, grads) = forward_backward(&model, Mode::eval(), x, &target)?;
        losses.push(loss.tensor().item()?);
        norms.push(step(&mut optimizer, model.params_mut(), &grads, lr, clip(case))?);
        if let Some((average, decay)) = &mut average {
            ema(average, model.params(), *decay)?;
        }
    }
    produced.put("out/losses", &[losses.len()], losses);
    produced.put("out/grad_norms", &[norms.len()], norms);
    put_all(&mut produced, "out/param/", model.params().iter());
    put_all(&mut produced, "out/ema/", average.iter().flat_map(|(average, _)| average.iter()));
    Ok(produced)
}

/// `smoothing`, or the number that `op` names after "LabelSmoothing".
fn smoothing(case: &Case) -> Outcome<f64> {
    match case.maybe("/smoothing").and_then(Value::as_f64) {
        Some(smoothing) => Ok(smoothing),
        None => Ok(number_after(case.str_at("/op")?, "LabelSmoothing").ok_or("no label smoothing")?),
    }
}

/// The number that follows `word` in a text.
fn number_after(text: &str, word: &str) -> Option<f64> {
    let rest = text.split_once(word)?.1.trim_start_matches([' ', '=', ':']);
    let end = rest.find(|c: char| !c.is_ascii_digit() && !".eE+-".contains(c)).unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', '-', '+']).parse().ok()
}

/// The rates of each schedule of `cases`.
pub fn cosine_schedules(case: &Case) -> Outcome<Produced> {
    let mut produced = Produced::new();
    for index in 0..case.list_at("/cases")?.len() {
        let at = |key: &str| format!("/cases/{index}/{key}");
        let cosine = Cosine {
            lr: case.f64_at(&at("lr"))?,
            length: case.usize_at(&at("t_initial"))?,
            min_lr: case.f64_at(&at("lr_min"))?,
            warmup_lr: case.f64_at(&at("warmup_lr"))?,
            warmup: case.usize_at(&at("warmup_t"))?,
            warmup_prefix: case.bool_at(&at("warmup_prefix"))?,
            lag: 0,
        };
        cosine.validate()?;
        let (shape, times) = case.usizes(&format!("in/{index}/t"))?;
        produced.put(format!("out/{index}/lr_f64"), &shape, times.into_iter().map(|t| cosine.at(t)).collect());
        produced.put_scalar(case, &format!("out/{index}/lr_at_construction_f64"), cosine.at(0));
    }
    Ok(produced)
}

/// The rate of every epoch of DeiT's loop, which lags behind by one.
pub fn deit_lr_used_per_epoch(case: &Case) -> Outcome<Produced> {
    let epochs = case.usize_at("/epochs")?;
    let cosine = Cosine {
        lr: case.f64_at("/base_lr")?,
        length: epochs,
        min_lr: case.f64_at("/min_lr")?,
        warmup_lr: case.f64_at("/warmup_lr")?,
        warmup: case.usize_at("/warmup_epochs")?,
        warmup_prefix: false,
        lag: 1,
    };
    cosine.validate()?;
    let mut produced = Produced::new();
    produced.put("out/lr_used_in_epoch_f64", &[epochs], (0..epochs).map(|epoch| cosine.used_at(epoch)).collect());
    Ok(produced)
}

/// SAViT: AdamW steps of a deployed model with drop path, all in the first epoch.
pub fn finetune_step(case: &Case) -> Outcome<Produced> {
    let mut model = deployed(case)?;
    let mut produced = Produced::new();
    let schedule = finetune_schedule(case)?;
    let rates = case.object_at("/lr_after_scheduler_step_epoch")?.keys();
    let rates = rates.map(|epoch| Ok((epoch.clone(), json!(schedule.at(epoch.parse()?))))).collect::<Outcome<_>>()?;
    produced.put_json("lr_after_scheduler_step_epoch", Value::Object(rates));
    produced.put_json("no_decay_params", group(model.params(), false));
    let weight_decay = case.f64s_at("/optimizer/weight_decay_groups")?.into_iter().fold(0.0, f64::max);
    let mut optimizer = optimizer(case, "/optimizer", weight_decay, model.params())?;
    let rate = parts::drop_path_rate(case);
    for n in 0..case.config_usize("steps")? {
        let draws = format!("in/droppath_uniform.{n}");
        let noise = match case.has(&draws) {
            true => {
                let (shape, uniforms) = case.f32(&draws)?;
                parts::drop_path_draws(model.arch().blocks.len(), &shape, &uniforms)?
            }
            false => Recorded::default(),
        };
        let mode = Mode { drop_path: rate, noise: &noise, ..Mode::eval() };
        let target = tensor(case, &format!("in/soft_targets.{n}"))?;
        let (loss, logits, grads) = forward_backward(&model, mode, tensor(case, &format!("in/images.{n}"))?, &target)?;
        parts::put(&mut produced, format!("out/logits.{n}"), logits.tensor());
        produced.put_scalar(case, &format!("out/loss.{n}"), loss.tensor().item()?);
        if n == 0 {
            put_all(&mut produced, "grad/", grads.iter());
        }
        step(&mut optimizer, model.params_mut(), &grads, schedule.used_at(0), None)?;
    }
    put_all(&mut produced, "out/after/", model.params().iter());
    Ok(produced)
}

/// The pruned model of `config`: heads and hidden units per block, kept width, head width of the original.
fn deployed(case: &Case) -> Outcome<Model> {
    let mut arch = parts::architecture(case)?;
    let head_dim = case.config_usize("embed_dim")? / case.config_usize("num_heads")?.max(1);
    let (heads, hidden) = (case.usizes_at("/config/heads")?, case.usizes_at("/config/hidden")?);
    let block = |(heads, hidden)| Block { mixer: Mixer::Attention { heads, head_dim }, hidden, reduce: Reduce::None };
    arch.blocks = heads.into_iter().zip(hidden).map(block).collect();
    arch.embed_dim = case.config_usize("embed")?;
    parts::model(case, arch)
}

/// The schedule that `scheduler` describes in words: "cosine, 300 epochs, no warm-up, min_lr 1e-5; …".
fn finetune_schedule(case: &Case) -> Outcome<Cosine> {
    let words = case.str_at("/scheduler")?;
    let length = number_after(words, "cosine,").ok_or("no length of the schedule")? as usize;
    let min_lr = number_after(words, "min_lr").ok_or("no min_lr of the schedule")?;
    let lr = case.f64_at("/optimizer/lr")?;
    let cosine = Cosine { lr, length, min_lr, warmup_lr: 0.0, warmup: 0, warmup_prefix: false, lag: 1 };
    cosine.validate()?;
    Ok(cosine)
}
