//! SAViT: the gated model, its compact twin, losses and counts.

use super::super::case::Case;
use super::super::produced::Produced;
use super::parts;
use espalier::models::cost::{self, MaskedFlops};
use espalier::models::{Architecture, Mixer, Model, block};
use espalier::nn::{Hooks, Mode, Params, Pass, Site, Stream, Tokens};
use espalier::prune::plan::{Kind, Plan, Units, kept};
use espalier::prune::savit::gated::{self, Gated, Gates};
use espalier::prune::savit::losses::{Features, Inside, PrunedLoss, Teachers};
use espalier::train::{DistillKind, Distillation};
use espalier::{Result, Tape, Tensor, Var, ops};
use serde_json::{Value, json};
use std::cell::RefCell;

/// The library's errors as the runner's.
pub fn text(error: espalier::Error) -> String {
    error.to_string()
}

/// A float tensor of the case.
pub fn tensor(case: &Case, name: &str) -> Result<Tensor, String> {
    parts::tensor(case, name).map_err(|error| error.to_string())
}

/// Adds a tensor.
pub fn put(out: &mut Produced, name: impl Into<String>, tensor: &Tensor) {
    out.put(name, tensor.shape(), tensor.to_f64s().unwrap());
}

/// Adds a value for every unit under the cases' names of the gate vectors.
pub fn put_units(out: &mut Produced, prefix: &str, units: &Units<f64>) {
    for kind in Kind::ALL {
        for (index, values) in units.of(kind).iter().enumerate() {
            out.put(format!("{prefix}{}", vector_name(kind, index)), &[values.len()], values.clone());
        }
    }
}

/// `head.0`, `hidden.3`, `embed`.
pub fn vector_name(kind: Kind, index: usize) -> String {
    match kind {
        Kind::Heads => format!("head.{index}"),
        Kind::Hidden => format!("hidden.{index}"),
        Kind::Embed => "embed".into(),
    }
}

/// `param/*` with `rename` of the names.
fn params(case: &Case, rename: impl Fn(&str) -> String) -> Result<Params, String> {
    case.under("param/").map(|(name, _)| Ok((rename(name), tensor(case, &format!("param/{name}"))?))).collect()
}

/// The architecture of `config`; hidden widths are those of the parameters.
fn architecture(case: &Case, params: &Params) -> Result<Architecture, String> {
    let [image, patch, width, depth, heads] =
        ["img_size", "patch_size", "embed_dim", "depth", "num_heads"].map(|key| case.config_usize(key));
    let mut arch = Architecture::deit(image?, patch?, width?, depth?, heads?);
    arch.num_classes = case.config_usize("num_classes")?;
    for (index, block) in arch.blocks.iter_mut().enumerate() {
        block.hidden = params.get(&format!("blocks.{index}.mlp.fc1.weight")).map_err(text)?.dim(0);
    }
    Ok(arch)
}

/// The plain model of `param/*` and its gates.
pub fn model(case: &Case) -> Result<(Model, Gates), String> {
    let params = params(case, str::to_owned)?;
    let arch = architecture(case, &params)?;
    let (plain, gates) = gated::split_params(&arch, &params, "param").map_err(text)?;
    Ok((Model::new(arch, plain, "param").map_err(text)?, gates))
}

/// Logits behind the official gates.
pub fn masked_logits(model: &Model, gates: &Gates, images: &Tensor) -> Result<Tensor> {
    let gated = Gated::new(model.arch(), gates, model.params().place(), None)?;
    let pass = Pass::new(model.params(), None, Mode::eval(), &gated)?;
    Ok(model.forward(&pass, &Var::constant(images.clone()))?.remove(0).into_tensor())
}

/// Gates that keep a copy of everything that passes.
struct Watched<'a>(&'a Gated, RefCell<Vec<(Site, Tensor)>>);

impl Hooks for Watched<'_> {
    fn head_gate(&self, block: usize) -> Option<&Var> {
        self.0.head_gate(block)
    }
    fn hidden_gate(&self, block: usize) -> Option<&Var> {
        self.0.hidden_gate(block)
    }
    fn residual_gate(&self) -> Option<&Var> {
        self.0.residual_gate()
    }
    fn taps(&self) -> bool {
        true
    }
    fn tap(&self, site: Site, value: Var) -> Result<Var> {
        self.1.borrow_mut().push((site, value.tensor().clone()));
        Ok(value)
    }
}

pub fn gated_block(case: &Case) -> Result<Produced, String> {
    let shared = "res_gate.weight";
    let name = |name: &str| if name == shared { name.to_owned() } else { format!("blocks.0.{name}") };
    let params = params(case, name)?;
    let arch = architecture(case, &params)?;
    let (plain, gates) = gated::split_params(&arch, &params, "param").map_err(text)?;
    block(case, &arch, &plain, &gates).map_err(text)?
}

fn block(case: &Case, arch: &Architecture, plain: &Params, gates: &Gates) -> Result<Result<Produced, String>> {
    let (x, cotangent) = match (tensor(case, "in/x"), tensor(case, "in/cotangent")) {
        (Ok(x), Ok(cotangent)) => (x, cotangent),
        (Err(why), _) | (_, Err(why)) => return Ok(Err(why)),
    };
    let run = |pass: &Pass, x: &Var| {
        block::forward(arch, pass, 0, "blocks.0", Stream::resume(x.clone(), 0), &Tokens::All)?.into_value()
    };
    let (mut out, tape) = (Produced::new(), Tape::new());
    let gated = Gated::new(arch, gates, plain.place(), Some(&tape))?;
    let pass = Pass::new(plain, Some(&tape), Mode::eval(), &gated)?;
    let x = tape.leaf(x);
    let y = run(&pass, &x)?;
    put(&mut out, "out/y", y.tensor());
    let grads = tape.backward_from(&[(&y, cotangent)])?;
    put_gradients(&mut out, &pass, plain, &grads, |name| format!("grad/{}", name.trim_start_matches("blocks.0.")))?;
    let gate_gradients = gated::to_params(&gated.gradients(&grads).unwrap())?;
    for (name, grad) in gate_gradients.iter().filter(|(name, _)| *name != "blocks.0.res_gate.weight") {
        put(&mut out, format!("grad/{}", name.trim_start_matches("blocks.0.")), grad);
    }
    if let Some(grad) = grads.get(&x) {
        put(&mut out, "grad/in.x", grad);
    }
    let still = Gated::new(arch, gates, plain.place(), None)?;
    let watched = Watched(&still, RefCell::default());
    run(&Pass::new(plain, None, Mode::eval(), &watched)?, &x.detach())?;
    let seen = watched.1.into_inner();
    let at = |site: Site| seen.iter().find(|entry| entry.0 == site).map(|entry| entry.1.clone());
    let names = [
        (Site::Residual(1), "after_attn_residual_gated"),
        (Site::Hidden(0), "hidden_pre_gate"),
        (Site::Activated(0), "hidden_after_gate_gelu"),
    ];
    for (site, name) in names {
        if let Some(value) = at(site) {
            put(&mut out, format!("out/{name}"), &value);
        }
    }
    let (heads, head_dim) = (arch.blocks[0].heads(), arch.blocks[0].head_dim());
    if let (Some(qkv), Some(o)) = (at(Site::Qkv(0)), at(Site::Heads(0))) {
        put(&mut out, "out/attn_probs", &ops::attention_map(&qkv, heads, head_dim)?);
        let (batch, tokens, values) = (o.dim(0), o.dim(1), o.to_f64s().unwrap());
        let element = |b: usize, h: usize, n: usize, k: usize| values[((b * tokens + n) * heads + h) * head_dim + k];
        let mut by_head = Vec::with_capacity(values.len());
        for (b, h) in (0..batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
            by_head.extend((0..tokens * head_dim).map(|at| element(b, h, at / head_dim, at % head_dim)));
        }
        out.put("out/head_out_pre_gate", &[batch, heads, tokens, head_dim], by_head);
    }
    Ok(Ok(out))
}

/// The gradients of all parameters that have one.
fn put_gradients(
    out: &mut Produced, pass: &Pass, params: &Params, grads: &espalier::tape::Grads, name: impl Fn(&str) -> String,
) -> Result<()> {
    for (key, _) in params.iter() {
        if let Some(grad) = grads.get(pass.var(key)?) {
            put(out, name(key), grad);
        }
    }
    Ok(())
}

/// The small architecture that binary gates leave.
pub fn plan(arch: &Architecture, gates: &Gates) -> Result<Plan> {
    Plan::keeping("savit", arch, kept(&gated::to_masks(gates)?))
}

/// The counts of the masked model.
pub fn flops(count: MaskedFlops) -> Value {
    json!({"attn_only": count.attn_only, "ffn_only": count.ffn_only, "total": count.total})
}

pub fn gated_model(case: &Case) -> Result<Produced, String> {
    let (model, gates) = model(case)?;
    let (images, targets) = (tensor(case, "in/images")?, tensor(case, "in/soft_targets")?);
    let mut out = Produced::new();
    let mut compute = || -> Result<()> {
        let tape = Tape::new();
        let gated = Gated::new(model.arch(), &gates, model.params().place(), Some(&tape))?;
        let pass = Pass::new(model.params(), Some(&tape), Mode::eval(), &gated)?;
        let images = tape.leaf(images.clone());
        let logits = model.forward(&pass, &images)?.remove(0);
        let loss = ops::cross_entropy(&logits, &targets)?;
        put(&mut out, "out/logits", logits.tensor());
        out.put_scalar(case, "out/loss", loss.tensor().item()?);
        let grads = tape.backward(&loss)?;
        put_gradients(&mut out, &pass, model.params(), &grads, |name| format!("grad/{name}"))?;
        for (name, grad) in gated::to_params(&gated.gradients(&grads).unwrap())?.iter() {
            put(&mut out, format!("grad/{name}"), grad);
        }
        if let Some(grad) = grads.get(&images) {
            put(&mut out, "grad/in.images", grad);
        }
        // only binary gates leave a model that can be counted
        if let Ok(plan) = plan(model.arch(), &gates) {
            let count = cost::savit_masked(&plan.apply_to(model.arch())?, model.arch());
            out.put_json("masked_flops.attn_only", count.attn_only);
            out.put_json("masked_flops.ffn_only", count.ffn_only);
            out.put_json("masked_flops.total", count.total);
        }
        Ok(())
    };
    compute().map_err(text)?;
    Ok(out)
}

pub fn deploy(case: &Case) -> Result<Produced, String> {
    let (model, gates) = model(case)?;
    let (images, targets) = (tensor(case, "in/images")?, tensor(case, "in/soft_targets")?);
    let mut full = gates.clone();
    full.embed.fill(1.0);
    let mut out = Produced::new();
    let mut compute = |gates: &Gates, variant: &str, weights: &str| -> Result<()> {
        let small = espalier::prune::apply(&model, &plan(model.arch(), gates)?)?;
        put(&mut out, format!("out/{variant}.masked_logits"), &masked_logits(&model, gates, &images)?);
        for (name, tensor) in small.params().iter() {
            put(&mut out, format!("out/{weights}/{name}"), tensor);
        }
        let tape = Tape::new();
        let pass = Pass::new(small.params(), Some(&tape), Mode::eval(), &espalier::nn::NoHooks)?;
        let logits = small.forward(&pass, &Var::constant(images.clone()))?.remove(0);
        put(&mut out, format!("out/{variant}.deploy_logits"), logits.tensor());
        if weights == "deploy" {
            let loss = ops::cross_entropy(&logits, &targets)?;
            out.put_scalar(case, "out/loss", loss.tensor().item()?);
            let grads = tape.backward(&loss)?;
            put_gradients(&mut out, &pass, small.params(), &grads, |name| format!("grad/deploy/{name}"))?;
        }
        let arch = small.arch();
        let heads: Vec<usize> = arch.blocks.iter().map(|block| block.heads()).collect();
        let hidden: Vec<usize> = arch.blocks.iter().map(|block| block.hidden).collect();
        out.put_json(format!("{variant}.deploy_macs"), cost::savit_deployed(arch));
        out.put_json(format!("{variant}.deploy_params"), small.params().numel());
        out.put_json(format!("{variant}.heads"), heads);
        out.put_json(format!("{variant}.hidden"), hidden);
        out.put_json(format!("{variant}.embed"), arch.embed_dim);
        out.put_json(format!("{variant}.masked_flops"), cost::savit_masked(arch, model.arch()).total);
        Ok(())
    };
    compute(&full, "a_embed_full", "deploy_a").map_err(text)?;
    compute(&gates, "b_embed_pruned", "deploy").map_err(text)?;
    out.put_json("dense.deploy_macs", cost::savit_deployed(model.arch()));
    out.put_json("dense.deploy_params", model.params().numel());
    Ok(out)
}

pub fn flops_published(case: &Case) -> Result<Produced, String> {
    let mut out = Produced::new();
    for name in case.object_at("/models")?.keys() {
        let at = |key: &str| case.usize_at(&format!("/models/{name}/{key}"));
        let mut dense =
            Architecture::deit(at("image")?, at("patch")?, at("embed_dim")?, at("depth")?, at("num_heads")?)
                .with_classes(at("classes")?);
        let head_dim = at("head_dim")?;
        for block in &mut dense.blocks {
            block.mixer = Mixer::Attention { heads: block.heads(), head_dim };
        }
        let list = |key: &str| case.usizes_at(&format!("/models/{name}/kept/{key}"));
        let mut small = Architecture { embed_dim: at("kept/embed")?, ..dense.clone() };
        for ((block, heads), hidden) in small.blocks.iter_mut().zip(list("heads")?).zip(list("hidden")?) {
            (block.mixer, block.hidden) = (Mixer::Attention { heads, head_dim }, hidden);
        }
        for (which, arch) in [("dense", &dense), ("pruned", &small)] {
            let count = cost::savit_masked(arch, &dense);
            let list = vec![count.attn_only, count.ffn_only, count.total];
            out.put_json(format!("{name}.masked_flops.{which}"), list);
        }
        let [macs, params] = [cost::savit_deployed, cost::params];
        let counts = json!({
            "dense_macs": macs(&dense), "dense_params": params(&dense),
            "pruned_macs": macs(&small), "pruned_params": params(&small),
        });
        out.put_json(format!("{name}.deploy"), counts);
        let gates: usize = gated::open(&dense).totals().iter().sum();
        out.put_json(format!("{name}.masked_model_params_incl_gates"), params(&dense) + gates as u64);
    }
    Ok(out)
}

pub fn losses(case: &Case) -> Result<Produced, String> {
    let mut out = Produced::new();
    for name in case.object_at("/variants")?.keys() {
        let (tape, setting) = (Tape::new(), case.at(&format!("/variants/{name}"))?);
        let mut leaves = Vec::new();
        for (input, _) in case.under("in/student_") {
            let input = format!("student_{input}");
            let leaf = tape.leaf(tensor(case, &format!("in/{input}"))?);
            leaves.push((input, leaf));
        }
        let loss = loss(case, setting, &leaves)?;
        out.put_scalar(case, &format!("out/{name}.loss"), loss.tensor().item().map_err(text)?);
        let grads = tape.backward(&loss).map_err(text)?;
        for (input, leaf) in &leaves {
            if let Some(grad) = grads.get(leaf) {
                put(&mut out, format!("grad/{name}.{input}"), grad);
            }
        }
    }
    Ok(out)
}

fn loss(case: &Case, setting: &Value, leaves: &[(String, Var)]) -> Result<Var, String> {
    let find = |name: &str| leaves.iter().find(|leaf| leaf.0 == name).map(|leaf| &leaf.1);
    let number = |keys: [&str; 2], default: f64| keys.iter().find_map(|key| setting[*key].as_f64()).unwrap_or(default);
    let word = |keys: [&str; 2]| keys.iter().find_map(|key| setting[*key].as_str()).unwrap_or("none").to_owned();
    let kind: DistillKind = serde_json::from_value(word(["type", "ty"]).into()).map_err(|e| e.to_string())?;
    let cls = find("student_cls").ok_or("no student_cls")?;
    let base = ops::cross_entropy(cls, &tensor(case, "in/soft_targets")?).map_err(text)?;
    let (dist, cnn) = (find("student_dist"), tensor(case, "in/teacher_cnn")?);
    if setting["cls"] == "DistillationLoss" {
        let (alpha, tau) = (number(["alpha", "al"], 0.5), number(["tau", "tau"], 1.0));
        let settings = Distillation { kind, alpha, tau, ..Distillation::default() };
        let heads: Vec<Var> = [Some(cls), dist].into_iter().flatten().cloned().collect();
        return settings.loss(&heads, base, Some(&cnn)).map_err(text);
    }
    let full: DistillKind = serde_json::from_value(word(["full", "full"]).into()).map_err(|e| e.to_string())?;
    let features: Option<Features> = match word(["im_type", "im_type"]).as_str() {
        "none" => None,
        kind => Some(serde_json::from_value(kind.into()).map_err(|e| e.to_string())?),
    };
    let default = PrunedLoss::default();
    let settings = PrunedLoss {
        gt: setting["gt"].as_bool().unwrap_or(true),
        kind,
        alpha: number(["alpha", "al"], default.alpha),
        full,
        alpha_full: number(["alpha_full", "af"], default.alpha_full),
        tau_full: number(["tau_full", "tauf"], default.tau_full),
        features,
        alpha_im: number(["alpha_im", "alpha_im"], default.alpha_im),
        alpha_attn: number(["alpha_attn", "alpha_attn"], default.alpha_attn),
        alpha_mlp: number(["alpha_mlp", "alpha_mlp"], default.alpha_mlp),
    };
    let [full_cls, full_dist] = ["cls", "dist"].map(|name| tensor(case, &format!("in/teacher_full_{name}")));
    let (full_cls, full_dist) = (full_cls?, full_dist?);
    let student_list = |what: &str| -> Vec<Var> {
        (0..).map_while(|layer| find(&format!("student_{what}.{layer}")).cloned()).collect()
    };
    let teacher_list = |what: &str| -> Result<Vec<Var>, String> {
        let names = (0..).map(|layer| format!("in/teacher_{what}.{layer}")).take_while(|name| case.has(name));
        names.map(|name| tensor(case, &name).map(Var::constant)).collect()
    };
    let width = if features == Some(Features::Mse) { "mlp_same_width" } else { "mlp_other_width" };
    let [q, k, v, mlp] = ["q", "k", "v", "mlp"].map(student_list);
    let [tq, tk, tv, tmlp] = ["q", "k", "v", width].map(teacher_list);
    let (tq, tk, tv, tmlp) = (tq?, tk?, tv?, tmlp?);
    let layers = |q: Vec<Var>, k: Vec<Var>, v: Vec<Var>| -> Vec<[Var; 3]> {
        q.into_iter().zip(k).zip(v).map(|((q, k), v)| [q, k, v]).collect()
    };
    let [qkv, tqkv] = [layers(q, k, v), layers(tq, tk, tv)];
    let inside = [Inside { qkv: &qkv, mlp: &mlp }, Inside { qkv: &tqkv, mlp: &tmlp }];
    let teachers = Teachers { cnn: Some(&cnn), full: Some([&full_cls, &full_dist]), inside: Some(inside) };
    settings.of(&base, cls, dist, &teachers).map_err(text)
}
