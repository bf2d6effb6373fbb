//! Kinds of whole DeiT models: `base/deit` and `base/real_weights`.

use super::super::case::Case;
use super::super::produced::Produced;
use super::support::{architecture, config_or, distillation, drop_path, model, put, put_grad, tensor, text};
use espalier::models::{LoadOptions, Model};
use espalier::nn::{Hooks, Mode, NoHooks, Pass, Site};
use espalier::noise::Recorded;
use espalier::{Tape, Tensor, Var, data, ops};
use std::cell::RefCell;
use std::collections::HashMap;

/// Keeps every value that the forward pass shows.
#[derive(Default)]
struct Seen(RefCell<HashMap<Site, Tensor>>);

impl Hooks for Seen {
    fn taps(&self) -> bool {
        true
    }

    fn tap(&self, site: Site, value: Var) -> espalier::Result<Var> {
        self.0.borrow_mut().insert(site, value.tensor().clone());
        Ok(value)
    }
}

/// Training forward with its intermediate values, loss and gradients, and the evaluation's logits.
pub fn deit(case: &Case) -> Result<Produced, String> {
    let arch = architecture(case)?;
    let model = model(case, arch)?;
    let images = tensor(case, "in/x")?;
    let rate = config_or(case, "drop_path_rate", 0.0);
    let noise = recorded_masks(case, rate, model.arch().blocks.len())?;
    let mode = Mode { drop_path: rate, noise: &noise };
    let mut produced = Produced::new();

    let seen = Seen::default();
    let pass = Pass::new(model.params(), None, mode, &seen);
    text(model.forward(&pass, &Var::constant(images.clone())))?;
    for (site, value) in seen.0.into_inner() {
        let name = match site {
            Site::PatchEmbed => "patch_embed".into(),
            Site::Block(i) => format!("block{i}"),
            Site::Attention(i) => format!("block{i}_attn"),
            Site::Norm => "norm".into(),
            _ => continue,
        };
        put(&mut produced, format!("out/{name}"), &value);
    }
    put(&mut produced, "out/logits_eval", &text(model.predict(&images))?);
    // Loss and gradients come from the pass without hooks: the fused ops that training uses.
    gradients(case, &model, &images, mode, &mut produced)?;
    Ok(produced)
}

fn gradients(case: &Case, model: &Model, images: &Tensor, mode: Mode, out: &mut Produced) -> Result<(), String> {
    let tape = Tape::new();
    let pass = Pass::new(model.params(), Some(&tape), mode, &NoHooks);
    let images = tape.leaf(images.clone());
    let logits = text(model.forward(&pass, &images))?;
    match &logits[..] {
        [class, dist] => {
            put(out, "out/logits_cls", class.tensor());
            put(out, "out/logits_dist", dist.tensor());
        }
        heads => heads.iter().for_each(|head| put(out, "out/logits", head.tensor())),
    }
    let class = logits.first().ok_or("no logits")?;
    let base = text(ops::cross_entropy(class, &tensor(case, "in/soft_target")?))?;
    let teacher = case.has("in/teacher_logits").then(|| tensor(case, "in/teacher_logits")).transpose()?;
    let loss = text(distillation(case)?.loss(&logits, base, teacher.as_ref()))?;
    out.put_scalar(case, "out/loss", text(loss.tensor().item())?);
    let grads = text(tape.backward(&loss))?;
    let prefix = case.str_at("/grad_param_prefix")?;
    for (name, _) in model.params().iter() {
        put_grad(out, format!("{prefix}{name}"), &grads, text(pass.var(name))?);
    }
    for (name, of) in case.object_at("/grad_of")? {
        if of == "in/x" {
            put_grad(out, name, &grads, &images);
        }
    }
    Ok(())
}

/// Uniforms that give the recorded masks: a kept sample draws above every rate, a dropped one 0.
fn recorded_masks(case: &Case, rate: f64, depth: usize) -> Result<Recorded, String> {
    if rate == 0.0 || !case.has("in/drop_path_keep") {
        return Ok(Recorded::default());
    }
    let (shape, keep) = case.f32("in/drop_path_keep")?;
    let kept = 0.5 + rate as f32 / 2.0;
    let uniforms: Vec<f32> = keep.iter().map(|&keep| if keep == 0.0 { 0.0 } else { kept }).collect();
    drop_path(&uniforms, shape.last().copied().unwrap_or(1), depth)
}

/// A real checkpoint on a real image: the first three tokens after every block, and the logits.
pub fn real_weights(case: &Case) -> Result<Produced, String> {
    let model = text(Model::load(case.shared_file(0)?, &LoadOptions::default()))?;
    let channels = |key: &str| -> Result<[f32; 3], String> {
        let values: Vec<f32> = case.f64s_at(key)?.into_iter().map(|value| value as f32).collect();
        values.try_into().map_err(|_| format!("{key} is not three numbers"))
    };
    let (shape, pixels) = case.u8s("in/cropped_u8")?;
    let [height, width, 3] = shape[..] else { return Err(format!("an image of shape {shape:?}")) };
    let image = text(data::image::RgbImage::new(width, height, pixels))?;
    let values = data::resize::normalize(&image, channels("/mean")?, channels("/std")?);
    let images = Var::constant(text(Tensor::from_slice([1, 3, height, width], &values))?);

    let seen = Seen::default();
    let pass = Pass::new(model.params(), None, Mode::eval(), &seen);
    text(model.forward(&pass, &images))?;
    let seen = seen.0.into_inner();
    let (mut tokens, depth, dim) = (Vec::new(), model.arch().blocks.len(), model.arch().embed_dim);
    for i in 0..depth {
        let block = seen.get(&Site::Block(i)).ok_or("a block was not seen")?;
        tokens.extend(block.to_f64s().into_iter().take(3 * dim));
    }
    let logits = text(model.predict(images.tensor()))?.to_f64s();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let mut produced = Produced::new();
    produced.put("out/block_first3_tokens", &[depth, 3, dim], tokens);
    produced.put_json("top5", order[..5.min(order.len())].to_vec());
    produced.put("out/logits", &[logits.len()], logits);
    Ok(produced)
}
