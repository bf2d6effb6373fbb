//! SAViT: the search from recorded draws, and whole one-shot runs from weights and images.

use super::super::case::Case;
use super::super::produced::Produced;
use super::savit::{flops, masked_logits, model, plan, put, put_units, text, vector_name};
use super::savit_scores::{batches, picks};
use espalier::models::cost::{MaskedFlops, SAVIT_TOKENS, savit_masked};
use espalier::models::{Architecture, Model};
use espalier::prune::plan::{Kind, every_unit};
use espalier::prune::savit::calibrate::Options;
use espalier::prune::savit::masks::{Assignment, Candidates};
use espalier::prune::savit::official::{Child, Draws, POPULATION, Problem, Surrogate};
use espalier::prune::savit::passes::Method;
use espalier::prune::savit::{Calibration, Hessian, Masks, always_kept, calibrate, gated, scores};
use serde_json::{Value, json};

/// The best index triple of every generation, replayed from the draws under `prefix`.
fn evolve(case: &Case, problem: &Problem, prefix: &str) -> Result<Vec<[usize; 3]>, String> {
    let floats = |name: &str| case.f64(&format!("{prefix}{name}")).map(|(_, values)| values);
    let integers = |name: &str| -> Result<Vec<usize>, String> {
        let values = case.i64s(&format!("{prefix}{name}"))?.1;
        values.into_iter().map(|value| usize::try_from(value).map_err(|error| error.to_string())).collect()
    };
    let (genes, strengths) = (floats("init_dna")?, floats("init_mut")?);
    let (parents, take_first) = (integers("parents")?, integers("take_first_parent")?);
    let (uniforms, normals) = (floats("mut_uniform")?, floats("mut_normal")?);
    let children = parents.chunks(2).zip(take_first).zip(uniforms.into_iter().zip(normals));
    let draws = Draws {
        population: [0, 1].map(|kind| {
            let strengths = strengths.iter().skip(POPULATION * kind).take(POPULATION);
            strengths.map(|&strength| (genes[kind], strength)).collect()
        }),
        children: children
            .map(|((parents, bit), (uniform, normal))| Child {
                parent: parents[usize::from(bit != 1)],
                uniform,
                normal,
            })
            .collect(),
    };
    problem.evolve(&draws).map_err(text)
}

fn put_generations(out: &mut Produced, name: String, best: &[[usize; 3]]) {
    let values: Vec<i64> = best.iter().flatten().map(|&index| index as i64).collect();
    out.put_integers(name, &[best.len(), 3], &values);
}

pub fn search(case: &Case) -> Result<Produced, String> {
    let mut out = Produced::new();
    let [width, depth, heads] = ["embed_dim", "depth", "num_heads"].map(|key| case.config_usize(key));
    let arch = Architecture::deit(224, 16, width?, depth?, heads?);
    let tokens = case.config_usize("token_count")?;
    let surrogate = Surrogate::of(&arch, tokens).map_err(text)?;
    let units = every_unit(&arch);
    let candidates =
        |kind: Kind| units.of(kind).iter().map(|v| v.len() - always_kept(kind, v.len(), true)).sum::<usize>();
    let limits = Kind::ALL.map(|kind| candidates(kind) - 1);
    for name in case.object_at("/variants")?.keys() {
        let at = |key: &str| format!("/variants/{name}/{key}");
        let mut hessian: Hessian = [[0.0; 3]; 3];
        for (i, row) in hessian.iter_mut().enumerate() {
            let values = case.f64s_at(&at(&format!("second_coef/{i}")))?;
            *row = values.try_into().map_err(|_| "second_coef is not 3 by 3")?;
        }
        let (target, tolerance) = (case.f64_at(&at("target"))?, case.f64_at(&at("threshold"))?);
        let problem = Problem { surrogate, hessian, limits, target, tolerance };
        let best = evolve(case, &problem, &format!("rng/{name}."))?;
        put_generations(&mut out, format!("out/{name}.best_per_generation"), &best);
        let selected = *best.last().ok_or("no generations")?;
        let (index, objective) = problem.exhaustive();
        out.put_json(format!("{name}.index_limits"), limits.to_vec());
        out.put_json(format!("{name}.selected_index"), selected.to_vec());
        out.put_json(format!("{name}.objective"), problem.objective(selected));
        out.put_json(format!("{name}.exhaustive.index"), index.to_vec());
        out.put_json(format!("{name}.exhaustive.objective"), objective);
        out.put_json(format!("{name}.surrogate_reduction"), surrogate.reduction(selected));
        out.put_json(format!("{name}.dense_surrogate_GFLOPs"), surrogate.gflops([0; 3]));
    }
    Ok(out)
}

/// What the masks leave of the masked model's count.
fn count(arch: &Architecture, masks: &Masks) -> Result<MaskedFlops, String> {
    let small = plan(arch, &gated::from_masks(masks)).and_then(|plan| plan.apply_to(arch)).map_err(text)?;
    Ok(savit_masked(&small, arch))
}

fn reduction_percent(arch: &Architecture, masks: &Masks) -> Result<f64, String> {
    let (dense, left) = (savit_masked(arch, arch).total as f64, count(arch, masks)?.total as f64);
    Ok(100.0 * (dense - left) / dense)
}

fn named(index: [usize; 3]) -> Value {
    json!({"head": index[0], "hidden": index[1], "embed": index[2]})
}

pub fn prune_run(case: &Case) -> Result<Produced, String> {
    let ((model, _), batches, mut out) = (model(case)?, batches(case)?, Produced::new());
    let options = Options {
        fraction: case.f64_at("/settings/pruning_feed_percent")?,
        per_epoch: case.usize_at("/settings/max_iter")?,
        method: Method::Taylor,
        hessian_embed: case.f64_at("/settings/hessian_embed")?,
        double: true,
        seed: 0,
        picks: Some(picks(case)?),
    };
    let (in_scores, in_hessian) = scores::batches(options.fraction, options.per_epoch).map_err(text)?;
    out.put_json("batches_in_scores", in_scores);
    out.put_json("batches_in_hessian", in_hessian);
    let mut data = batches.iter().cloned().map(Ok);
    let calibration = calibrate(&model, &mut data, &options, &mut |_, _| ()).map_err(text)?;
    put_units(&mut out, "out/criteria.", &calibration.scores);
    out.put("out/second_coef", &[3, 3], calibration.hessian.concat());
    let masks = choose(case, &model, &calibration, &mut out)?;
    for (b, batch) in batches.iter().enumerate() {
        let logits = masked_logits(&model, &gated::from_masks(&masks), &batch.0).map_err(text)?;
        put(&mut out, format!("out/masked_logits.{b}"), &logits);
    }
    Ok(out)
}

/// The problem whose `J` is compared. The cases hold `J` to 1e-6, but their float32 matrix is itself only good to some
/// 1e-5 of it, so indices come from the problem at hand and the value of `J` there from the matrix that the case says
/// may be fed in.
fn recorded(case: &Case, problem: &Problem) -> Result<Problem, String> {
    let may = |name: &Value| name == "out/second_coef";
    let allowed =
        case.maybe("/recorded_intermediates").and_then(Value::as_array).is_some_and(|all| all.iter().any(may));
    let mut problem = problem.clone();
    if allowed && case.has("out/second_coef") {
        let values = case.f64("out/second_coef")?.1;
        let entry = |i: usize, j: usize| values.get(3 * i + j).copied().unwrap_or(f64::NAN);
        problem.hessian = std::array::from_fn(|i| std::array::from_fn(|j| entry(i, j)));
    }
    Ok(problem)
}

/// From scores and Hessian to the official masks.
fn choose(case: &Case, model: &Model, calibration: &Calibration, out: &mut Produced) -> Result<Masks, String> {
    let arch = model.arch();
    let setting = |key: &str| case.f64_at(&format!("/settings/{key}"));
    let candidates = Candidates::new(&calibration.scores, case.bool_at("/settings/pruning_protect")?).map_err(text)?;
    let problem = Problem {
        surrogate: Surrogate::of(arch, SAVIT_TOKENS).map_err(text)?,
        hessian: calibration.hessian,
        limits: candidates.limits(),
        target: setting("pruning_flops_percentage")?,
        tolerance: setting("pruning_flops_threshold")?,
    };
    let best = evolve(case, &problem, "rng/")?;
    put_generations(out, "out/best_per_generation".into(), &best);
    let selected = *best.last().ok_or("no generations")?;
    let thresholds = candidates.thresholds(selected.map(|k| k + 1)).map_err(text)?;
    let masks = candidates.masks(thresholds, Assignment::Official);
    out.put("out/thresholds", &[3], thresholds.to_vec());
    put_units(out, "out/mask.", &gated::from_masks(&masks));
    put_units(out, "out/mask_aligned.", &gated::from_masks(&candidates.masks(thresholds, Assignment::Aligned)));
    for kind in Kind::ALL {
        for (index, order) in candidates.order.of(kind).iter().enumerate() {
            let values: Vec<i64> = order.iter().map(|&unit| unit as i64).collect();
            out.put_integers(format!("out/protect_order.{}", vector_name(kind, index)), &[values.len()], &values);
        }
    }
    let (exhaustive, on_record) = (problem.exhaustive().0, recorded(case, &problem)?);
    out.put_json("ea.selected_index", named(selected));
    out.put_json("ea.objective", on_record.objective(selected));
    let mut optimum = named(exhaustive);
    optimum["objective"] = on_record.objective(exhaustive).into();
    out.put_json("ea.exhaustive_optimum", optimum);
    let surrogate = problem.surrogate;
    out.put_json(
        "surrogate",
        json!({
            "token_count": surrogate.tokens,
            "dense_GFLOPs": surrogate.gflops([0; 3]),
            "selected_GFLOPs": surrogate.gflops(selected),
            "reduction": surrogate.reduction(selected),
        }),
    );
    out.put_json("masked_flops_dense", flops(savit_masked(arch, arch)));
    out.put_json("masked_flops_after", flops(count(arch, &masks)?));
    out.put_json("reduction_after_percent", reduction_percent(arch, &masks)?);
    let gone = |mask: &Vec<bool>| mask.iter().filter(|kept| !**kept).count();
    let per_block = |masks: &[Vec<bool>]| masks.iter().map(gone).collect::<Vec<_>>();
    out.put_json(
        "pruned_counts",
        json!({"head": per_block(&masks.heads), "hidden": per_block(&masks.hidden), "embed": gone(&masks.embed)}),
    );
    rising(case, arch, &candidates, &problem, out)?;
    Ok(masks)
}

/// The masks of other targets, whose searches were not recorded but for the index that they chose.
fn rising(
    case: &Case, arch: &Architecture, candidates: &Candidates, problem: &Problem, out: &mut Produced,
) -> Result<(), String> {
    for index in 0..case.maybe("/rising_targets").and_then(Value::as_array).map_or(0, Vec::len) {
        let at = |key: &str| format!("/rising_targets/{index}/{key}");
        let selected = <[usize; 3]>::try_from(case.usizes_at(&at("selected_index"))?)
            .map_err(|_| "selected_index is not three")?;
        let thresholds = candidates.thresholds(selected.map(|k| k + 1)).map_err(text)?;
        let masks = candidates.masks(thresholds, Assignment::Official);
        put_units(out, &format!("out/target{index}.mask."), &gated::from_masks(&masks));
        let aligned = candidates.masks(thresholds, Assignment::Aligned);
        put_units(out, &format!("out/target{index}.mask_aligned."), &gated::from_masks(&aligned));
        let best = Problem { target: case.f64_at(&at("target"))?, ..problem.clone() }.exhaustive().0;
        let fitness = -recorded(case, problem)?.objective(best);
        let name = |key: &str| format!("rising_targets.{index}.{key}");
        out.put_json(name("total_flops"), count(arch, &masks)?.total);
        out.put_json(name("reduction_percent"), reduction_percent(arch, &masks)?);
        out.put_json(name("surrogate_reduction"), problem.surrogate.reduction(selected));
        out.put_json(name("exhaustive_optimum"), json!([fitness, best[0], best[1], best[2]]));
    }
    Ok(())
}
