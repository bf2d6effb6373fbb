//! SAViT: scoring passes, the Hessian and iterative pruning.

use super::super::case::Case;
use super::super::produced::Produced;
use super::savit::{model, plan, put_units, tensor, text};
use espalier::models::cost;
use espalier::prune::plan::Kind;
use espalier::prune::savit::calibrate::{Iterative, iterate};
use espalier::prune::savit::gated;
use espalier::prune::savit::passes::{Batch, Curvature, Method, score};
use espalier::prune::savit::scores::{HessianSum, LayerPicks, Norm, Windows, normalised};
use espalier::{DType, Result};

/// All recorded mini-batches.
pub fn batches(case: &Case) -> Result<Vec<Batch>, String> {
    let names = (0..).map(|b| (format!("in/images.{b}"), format!("in/soft_targets.{b}")));
    let names = names.take_while(|(images, _)| case.has(images));
    names.map(|(images, targets)| Ok((tensor(case, &images)?, tensor(case, &targets)?))).collect()
}

/// The seven draws of every mini-batch.
pub fn picks(case: &Case) -> Result<Vec<LayerPicks>, String> {
    let draws = case.usizes("in/layer_picks")?.1;
    draws.chunks(7).map(|row| Ok(LayerPicks(row.try_into().map_err(|_| "layer_picks has no rows of 7")?))).collect()
}

pub fn scores(case: &Case) -> Result<Produced, String> {
    let ((model, gates), batches, mut out) = (model(case)?, batches(case)?, Produced::new());
    let methods = [Method::MeanAbsolute, Method::Taylor, Method::PerSample, Method::PerToken];
    for (number, method) in (1..).zip(methods) {
        let mut windows = Windows::default();
        for (b, batch) in batches.iter().enumerate() {
            let scored = score(&model, &gates, batch, method, b).map_err(text)?;
            put_units(&mut out, &format!("out/m{number}.batch{b}."), &scored.scores);
            windows.add(&scored.scores).map_err(text)?;
            if method == Method::Taylor {
                out.put_scalar(case, &format!("out/loss.{b}"), scored.loss);
                put_units(&mut out, &format!("out/gate_grad.batch{b}."), &scored.gradients);
            }
        }
        let criteria = windows.close().map_err(text)?;
        put_units(&mut out, &format!("out/m{number}.criteria."), &criteria);
        for (norm, kind) in [(1, Norm::L1), (2, Norm::L2)] {
            put_units(&mut out, &format!("out/m{number}.norm{norm}.criteria."), &normalised(&criteria, kind));
        }
    }
    Ok(out)
}

pub fn hessian(case: &Case) -> Result<Produced, String> {
    let ((model, gates), batches, mut out) = (model(case)?, batches(case)?, Produced::new());
    let mut sum = HessianSum::new(model.arch(), case.f64_at("/hessian_embed")?);
    let curvature = Curvature::new(&model, DType::F64).unwrap();
    out.put("out/num_coms", &[3, 3], sum.normaliser.concat());
    for (b, (batch, picks)) in batches.iter().zip(picks(case)?).enumerate() {
        let q = curvature.block_sums(&gates, batch, &picks, b).map_err(text)?;
        out.put(format!("out/contribution.{b}"), &[3, 3], sum.add(&q).concat());
        out.put(format!("out/cumulative.{b}"), &[3, 3], sum.sum.concat());
        let name = format!("out/all_block_sums.{b}");
        if case.has(&name) {
            let table = curvature.all_block_sums(&gates, batch).map_err(text)?;
            out.put(name, &[table.len(), table.len()], table.concat());
        }
    }
    out.put("out/second_coef", &[3, 3], sum.mean().concat());
    Ok(out)
}

pub fn iterative_momentum(case: &Case) -> Result<Produced, String> {
    let ((model, _), batches, mut out) = (model(case)?, batches(case)?, Produced::new());
    let units = ["head", "hidden", "embed"].map(|kind| case.usize_at(&format!("/units_per_iteration/{kind}")));
    let [heads, hidden, embed] = units;
    let options = Iterative {
        frequency: case.usize_at("/frequency")?,
        iterations: case.usize_at("/iterations")?,
        units: [heads?, hidden?, embed?],
    };
    let rounds = iterate(&model, &mut batches.into_iter().map(Ok), &options, &mut |_, _| ()).map_err(text)?;
    let dense = cost::savit_masked(model.arch(), model.arch()).total as f64;
    for (index, round) in rounds.iter().enumerate() {
        let gates = gated::from_masks(&round.masks);
        put_units(&mut out, &format!("out/iter{}.criteria.", index + 1), &round.criteria);
        put_units(&mut out, &format!("out/iter{}.mask.", index + 1), &gates);
        let small = plan(model.arch(), &gates).and_then(|plan| plan.apply_to(model.arch())).map_err(text)?;
        let total = cost::savit_masked(&small, model.arch()).total as f64;
        let gone = |kind| round.masks.of(kind).concat().iter().filter(|kept| !**kept).count();
        let log = |key: &str| format!("log.{index}.{key}");
        out.put_json(log("after_batch"), round.after_batch);
        out.put_json(log("loss"), round.loss);
        out.put_json(log("pruned"), Kind::ALL.map(gone).to_vec());
        out.put_json(log("total_flops"), total);
        out.put_json(log("reduction_percent"), 100.0 * (dense - total) / dense);
        for (kind, threshold) in ["head", "hidden", "embed"].iter().zip(round.thresholds) {
            out.put_json(log(&format!("thresholds.{kind}")), threshold);
        }
    }
    Ok(out)
}
