//! Kinds that take optimiser steps: `base/adamw`, `base/train_steps` and `savit/finetune_step`.

use super::super::case::Case;
use super::super::produced::Produced;
use super::support::{
    adamw as config, architecture, config_or, drop_path, groups, model, params, pruned_architecture, put, put_params,
    tensor, text,
};
use espalier::models::Model;
use espalier::nn::{Mode, NoHooks, Params, Pass};
use espalier::noise::{Philox, Recorded};
use espalier::optim::{AdamW, Cosine, Ema, clip_factor};
use espalier::{DType, Tape, Tensor, Var, ops};
use serde_json::{Map, Value};
use std::collections::HashMap;

type ByName = HashMap<String, Tensor>;

/// The global norm of the gradients, and the factor that clips them when the case asks for it.
fn clip(case: &Case, grads: &ByName) -> Result<(f64, f64), String> {
    let norm = text(ops::global_norm(grads.values()))?;
    let factor = case.maybe("/clip_grad_norm").and_then(Value::as_f64).map_or(1.0, |most| clip_factor(norm, most));
    Ok((norm, factor))
}

/// AdamW on given gradients.
pub fn adamw(case: &Case) -> Result<Produced, String> {
    let mut params = params(case, "in/param/")?;
    let mut optimizer = AdamW::new(config(case, "", case.f64_at("/weight_decay")?)?, &params);
    let mut produced = Produced::new();
    let mut norms = Vec::new();
    for (step, lr) in case.f64s_at("/lr_per_step")?.into_iter().enumerate() {
        let prefix = format!("in/grad{}/", step + 1);
        let grads: ByName = case
            .under(&prefix)
            .map(|(name, _)| Ok((name.to_string(), tensor(case, &format!("{prefix}{name}"))?)))
            .collect::<Result<_, String>>()?;
        let (norm, factor) = clip(case, &grads)?;
        norms.push(norm);
        text(optimizer.step(&mut params, &grads, lr, factor))?;
        put_params(&mut produced, &format!("out/step{}/", step + 1), &params);
    }
    put_params(&mut produced, "out/exp_avg/", &optimizer.m);
    put_params(&mut produced, "out/exp_avg_sq/", &optimizer.v);
    produced.put("out/grad_norms", &[norms.len()], norms);
    produced.put_json("no_decay", groups(&params).0);
    Ok(produced)
}

/// Logits of the class head, loss and gradients by name of one step on `images` and `target`.
fn step(model: &Model, mode: Mode, images: Tensor, target: &Tensor) -> Result<(Tensor, f64, ByName), String> {
    let tape = Tape::new();
    let pass = Pass::new(model.params(), Some(&tape), mode, &NoHooks);
    let logits = text(model.forward(&pass, &Var::constant(images)))?;
    let class = logits.first().ok_or("no logits")?;
    let loss = text(ops::cross_entropy(class, target))?;
    let mut grads = text(tape.backward(&loss))?;
    let mut by_name = ByName::new();
    for (name, _) in model.params().iter() {
        by_name.extend(grads.take(text(pass.var(name))?).map(|grad| (name.to_string(), grad)));
    }
    Ok((class.tensor().clone(), text(loss.tensor().item())?, by_name))
}

/// Forward, backward, clip, AdamW, moving average.
pub fn train_steps(case: &Case) -> Result<Produced, String> {
    let mut model = model(case, architecture(case)?)?;
    let mut optimizer = AdamW::new(config(case, "", case.f64_at("/weight_decay")?)?, model.params());
    let mut ema = Ema::new(model.params(), case.f64_at("/ema_decay")?);
    let smoothing = smoothing(case)?;
    let (images, (_, labels)) = (tensor(case, "in/x")?, case.usizes("in/label")?);
    let [steps, batch, ..] = **images.shape() else { return Err("in/x without steps".into()) };
    let rates = case.f64s_at("/lr_per_step")?;
    let (mut losses, mut norms, mut produced) = (Vec::new(), Vec::new(), Produced::new());
    let unused = Philox { seed: 0, step: 0 };
    for (s, lr) in rates.into_iter().enumerate().take(steps) {
        let x = text(images.rows(s, s + 1).and_then(|x| x.reshape(&x.shape()[1..])))?;
        let labels = labels.get(s * batch..(s + 1) * batch).ok_or("too few labels")?;
        let target = text(ops::one_hot(labels, model.arch().num_classes, smoothing, DType::F32))?;
        let (_, loss, grads) = step(&model, Mode { drop_path: 0.0, noise: &unused }, x, &target)?;
        let (norm, factor) = clip(case, &grads)?;
        losses.push(loss);
        norms.push(norm);
        text(optimizer.step(model.params_mut(), &grads, lr, factor))?;
        text(ema.update(model.params()))?;
    }
    produced.put("out/losses", &[losses.len()], losses);
    produced.put("out/grad_norms", &[norms.len()], norms);
    put_params(&mut produced, "out/param/", model.params());
    put_params(&mut produced, "out/ema/", &ema.params);
    let (no_decay, decay) = groups(model.params());
    produced.put_json("group_no_decay", no_decay);
    produced.put_json("group_decay", decay);
    Ok(produced)
}

/// The field `smoothing`, or the number in `… LabelSmoothing 0.1, …`.
fn smoothing(case: &Case) -> Result<f64, String> {
    if let Some(smoothing) = case.maybe("/smoothing").and_then(Value::as_f64) {
        return Ok(smoothing);
    }
    let text = case.str_at("/op")?.split_once("LabelSmoothing ").ok_or("no label smoothing")?.1;
    let number = text.split([',', ' ', ';']).next().and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("label smoothing {text}"))
}

/// Steps of a pruned model with recorded drop-path uniforms.
pub fn finetune_step(case: &Case) -> Result<Produced, String> {
    let mut model = model(case, pruned_architecture(case)?)?;
    let decays = case.f64s_at("/optimizer/weight_decay_groups")?;
    let decay = decays.into_iter().fold(0.0, f64::max);
    let mut optimizer = AdamW::new(config(case, "/optimizer", decay)?, model.params());
    let schedule = schedule(case)?;
    let rate = config_or(case, "drop_path_rate", 0.0);
    let mut produced = Produced::new();
    for s in 0..case.config_usize("steps")? {
        let noise = match case.has(&format!("in/droppath_uniform.{s}")) {
            false => Recorded::default(),
            true => {
                let (shape, rows) = case.f32(&format!("in/droppath_uniform.{s}"))?;
                drop_path(&rows, shape.last().copied().unwrap_or(1), model.arch().blocks.len())?
            }
        };
        let (images, target) =
            (tensor(case, &format!("in/images.{s}"))?, tensor(case, &format!("in/soft_targets.{s}"))?);
        let (logits, loss, grads) = step(&model, Mode { drop_path: rate, noise: &noise }, images, &target)?;
        put(&mut produced, format!("out/logits.{s}"), &logits);
        produced.put_scalar(case, &format!("out/loss.{s}"), loss);
        if s == 0 {
            let by_name: Params = grads.iter().map(|(name, grad)| (name.clone(), grad.clone())).collect();
            put_params(&mut produced, case.str_at("/grad_param_prefix")?, &by_name);
        }
        // All steps are of the first epoch.
        text(optimizer.step(model.params_mut(), &grads, schedule.used_at(0), 1.0))?;
    }
    put_params(&mut produced, "out/after/", model.params());
    let mut rates = Map::new();
    for epoch in case.object_at("/lr_after_scheduler_step_epoch")?.keys() {
        let t: usize = epoch.parse().map_err(|_| format!("epoch {epoch}"))?;
        rates.insert(epoch.clone(), schedule.at(t).into());
    }
    produced.put_json("lr_after_scheduler_step_epoch", rates);
    produced.put_json("no_decay_params", groups(model.params()).0);
    Ok(produced)
}

/// The cosine of the sentence `cosine, 300 epochs, no warm-up, min_lr 1e-5; …`, one epoch late.
fn schedule(case: &Case) -> Result<Cosine, String> {
    let words: Vec<&str> = case.str_at("/scheduler")?.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    let after = |word: &str| words.iter().position(|w| *w == word).and_then(|at| words.get(at + 1)?.parse().ok());
    let epochs = words.windows(2).find(|pair| pair[1] == "epochs").and_then(|pair| pair[0].parse().ok());
    Ok(Cosine {
        lr: case.f64_at("/optimizer/lr")?,
        length: epochs.ok_or("no epochs in the schedule")?,
        min_lr: after("min_lr").ok_or("no min_lr in the schedule")?,
        warmup_lr: 0.0,
        warmup: 0,
        warmup_prefix: false,
        lag: 1,
    })
}
