//! DeiT forward and backward, and the losses.

use super::super::case::Case;
use super::super::produced::Produced;
use super::parts::{self, Outcome, Taps, put, tensor};
use espalier::models::Model;
use espalier::nn::{Mode, NoHooks, Pass, Site};
use espalier::noise::Recorded;
use espalier::train::{DistillKind, Distillation};
use espalier::{Tape, Tensor, Var, ops};

/// One training pass with every recorded intermediate value, the loss and all gradients; then evaluation.
pub fn deit(case: &Case) -> Outcome<Produced> {
    let model = parts::model(case, parts::architecture(case)?)?;
    let images = tensor(case, "in/x")?;
    let rate = parts::drop_path_rate(case);
    let noise = match case.has("in/drop_path_keep") {
        true => parts::drop_path_keep(case, "in/drop_path_keep", model.arch().blocks.len())?,
        false => Recorded::default(),
    };
    let mode = Mode { drop_path: rate, noise: &noise, ..Mode::eval() };
    let mut produced = Produced::new();
    training(case, &model, mode, &images, &mut produced)?;
    let taps = Taps::of(&model, mode, &images)?;
    for (site, value) in &taps {
        match site {
            Site::PatchEmbed => put(&mut produced, "out/patch_embed", value),
            Site::Block(i) => put(&mut produced, format!("out/block{i}"), value),
            Site::Attention(i) => put(&mut produced, format!("out/block{i}_attn"), value),
            Site::Norm => put(&mut produced, "out/norm", value),
            _ => {}
        }
    }
    put(&mut produced, "out/logits_eval", &model.predict(&images)?);
    Ok(produced)
}

/// Logits, loss and gradients of the pass that training uses, with its fused ops.
pub fn training(case: &Case, model: &Model, mode: Mode, images: &Tensor, produced: &mut Produced) -> Outcome<()> {
    let tape = Tape::new();
    let pass = Pass::new(model.params(), Some(&tape), mode, &NoHooks)?;
    let images = tape.leaf(images.clone());
    let logits = model.forward(&pass, &images)?;
    let names: &[&str] = if model.arch().distilled { &["logits_cls", "logits_dist"] } else { &["logits"] };
    for (name, logits) in names.iter().zip(&logits) {
        put(produced, format!("out/{name}"), logits.tensor());
    }
    let base = ops::cross_entropy(logits.first().ok_or("no head")?, &tensor(case, "in/soft_target")?)?;
    let distillation = distillation(case)?;
    let teacher = match distillation.kind {
        DistillKind::None => None,
        _ => Some(tensor(case, "in/teacher_logits")?),
    };
    let loss = distillation.loss(&logits, base, teacher.as_ref())?;
    produced.put_scalar(case, "out/loss", loss.tensor().item()?);
    let (grads, of_images) = parts::gradients(&tape, &loss, model, &pass, &images)?;
    let prefix = case.maybe("/grad_param_prefix").and_then(|prefix| prefix.as_str()).unwrap_or("grad/");
    parts::put_all(produced, prefix, grads.iter());
    put(produced, "grad/in.x", &of_images.ok_or("no gradient of the images")?);
    Ok(())
}

/// `distillation` of the case; nothing is distilled where it is null.
fn distillation(case: &Case) -> Outcome<Distillation> {
    if case.maybe("/distillation").is_none() {
        return Ok(Distillation::default());
    }
    let kind = serde_json::from_value(case.at("/distillation/type")?.clone())?;
    let [alpha, tau] = ["alpha", "tau"].map(|key| case.f64_at(&format!("/distillation/{key}")));
    Ok(Distillation { kind, alpha: alpha?, tau: tau?, ..Distillation::default() })
}

/// A loss of the two heads' logits.
type Loss<'a> = &'a dyn Fn(&[Var]) -> espalier::Result<Var>;

/// Every loss on its own, with its gradients.
pub fn losses(case: &Case) -> Outcome<Produced> {
    let mut produced = Produced::new();
    let (_, labels) = case.usizes("in/label")?;
    let [soft, teacher] = ["in/soft_target", "in/teacher_logits"].map(|name| tensor(case, name));
    let (soft, teacher) = (soft?, teacher?);
    let bce = tensor(case, "in/bce_target")?;
    let one_hot = |smoothing| ops::one_hot(&labels, soft.dim(-1), smoothing, soft.dtype())?.to_device(soft.device());
    let smoothing = case.f64_at("/smoothing")?;
    let (hard, smooth) = (one_hot(0.0)?, one_hot(smoothing)?);
    let (alpha, tau) = (case.f64_at("/alpha")?, case.f64_at("/tau")?);
    let distilled = |kind: DistillKind, logits: &[Var]| {
        let base = ops::cross_entropy(&logits[0], &soft)?;
        Distillation { kind, alpha, tau, ..Distillation::default() }.loss(logits, base, Some(&teacher))
    };
    let losses: [(&str, Loss); 7] = [
        ("ce", &|z| ops::cross_entropy(&z[0], &hard)),
        ("label_smoothing", &|z| ops::cross_entropy(&z[0], &smooth)),
        ("soft_target", &|z| ops::cross_entropy(&z[0], &soft)),
        ("bce_with_logits", &|z| ops::bce_with_logits(&z[0], &bce)),
        ("distill_none", &|z| distilled(DistillKind::None, z)),
        ("distill_soft", &|z| distilled(DistillKind::Soft, z)),
        ("distill_hard", &|z| distilled(DistillKind::Hard, z)),
    ];
    for (name, loss) in losses {
        let tape = Tape::new();
        let logits = [tape.leaf(tensor(case, "in/logits")?), tape.leaf(tensor(case, "in/logits_dist")?)];
        let loss = loss(&logits)?;
        produced.put_scalar(case, &format!("out/{name}/loss"), loss.tensor().item()?);
        let mut grads = tape.backward(&loss)?;
        for (logits, input) in logits.iter().zip(["logits", "logits_dist"]) {
            if let Some(grad) = grads.take(logits) {
                put(&mut produced, format!("grad/{name}/{input}"), &grad);
            }
        }
    }
    Ok(produced)
}
