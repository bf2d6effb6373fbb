//! SAViT's arithmetic against the golden cases, and properties of the crate's own search.

use espalier::models::Architecture;
use espalier::models::cost::{self, Counting, MaskedFlops};
use espalier::models::zoo;
use espalier::ops::case::Draw;
use espalier::prune::plan::{every_unit, kept, qkv_rows};
use espalier::prune::savit::masks::{Assignment, Candidates, iterative};
use espalier::prune::savit::official::{self, Child, Draws, Problem, Surrogate};
use espalier::prune::savit::scores::{
    Calibration, HESSIAN_EMBED, HessianSum, LayerPicks, Norm, Windows, batches, normalised, taylor,
};
use espalier::prune::savit::search::{self, Options, WINDOW, fractions, random_plan, select};
use espalier::prune::savit::{Hessian, Masks, Scores, always_kept, objective};
use espalier::prune::{Kind, Plan, Step, Units};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::HashMap;

/// A golden case: its JSON and its tensors as numbers.
struct Case {
    json: Value,
    tensors: HashMap<String, Vec<f64>>,
}

fn case(name: &str) -> Case {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/savit");
    let json = serde_json::from_slice(&std::fs::read(format!("{folder}/{name}.json")).unwrap()).unwrap();
    let bytes = std::fs::read(format!("{folder}/{name}.safetensors")).unwrap_or_default();
    let mut tensors = HashMap::new();
    if let Some((length, rest)) = bytes.split_first_chunk::<8>() {
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let header: HashMap<String, Value> = serde_json::from_slice(header).unwrap();
        for (key, entry) in header.into_iter().filter(|(key, _)| key != "__metadata__") {
            let at = |i: usize| entry["data_offsets"][i].as_u64().unwrap() as usize;
            tensors.insert(key, numbers(&data[at(0)..at(1)], entry["dtype"].as_str().unwrap()));
        }
    }
    Case { json, tensors }
}

fn numbers(bytes: &[u8], dtype: &str) -> Vec<f64> {
    match dtype {
        "F64" => bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        "F32" => bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
        "I32" => bytes.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
        other => panic!("{other}"),
    }
}

impl Case {
    fn ints(&self, key: &str) -> Vec<i32> {
        self.tensors[key].iter().map(|&x| x as i32).collect()
    }

    /// `prefix.head.0`, `prefix.hidden.0`, …, `prefix.embed`.
    fn units(&self, prefix: &str) -> Scores {
        let list = |kind: &str| {
            let key = |l| format!("{prefix}.{kind}.{l}");
            (0..).map_while(|l| self.tensors.get(&key(l)).cloned()).collect()
        };
        Units { heads: list("head"), hidden: list("hidden"), embed: self.tensors[&format!("{prefix}.embed")].clone() }
    }

    fn masks(&self, prefix: &str) -> Masks {
        self.units(prefix).map(|_, vector| vector.iter().map(|&x| x != 0.0).collect())
    }

    fn model(&self) -> Architecture {
        let field = |name: &str| self.json["config"][name].as_u64().unwrap() as usize;
        let [image, patch, dim] = ["img_size", "patch_size", "embed_dim"].map(field);
        Architecture::deit(image, patch, dim, field("depth"), field("num_heads")).with_classes(field("num_classes"))
    }

    fn evolve(&self, problem: &Problem, prefix: &str, generations: usize) -> Vec<[usize; 3]> {
        let [genes, strengths, parents, take_first, uniforms, normals] =
            ["init_dna", "init_mut", "parents", "take_first_parent", "mut_uniform", "mut_normal"]
                .map(|name| self.tensors[&format!("rng/{prefix}{name}")].as_slice());
        let first = |kind: usize| strengths.chunks(100).nth(kind).unwrap().iter().map(move |&s| (genes[kind], s));
        let numbers = parents.chunks(2).zip(take_first).zip(uniforms.iter().zip(normals));
        let child = |((parents, &first), (&uniform, &normal)): ((&[f64], &f64), (&f64, &f64))| {
            let parent = parents[usize::from(first != 1.0)] as usize;
            Child { parent, uniform, normal }
        };
        let draws =
            Draws { population: [0, 1].map(|kind| first(kind).collect()), children: numbers.map(child).collect() };
        let best = problem.evolve(&draws).unwrap();
        assert_eq!(best.len(), generations);
        best
    }
}

fn matrix(values: &[f64]) -> Hessian {
    std::array::from_fn(|i| std::array::from_fn(|j| values[3 * i + j]))
}

fn floats(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().flat_map(floats).collect(),
        Value::Object(map) => map.values().flat_map(floats).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

fn triple(value: &Value) -> [usize; 3] {
    let list: Vec<usize> = floats(value).into_iter().map(|x| x as usize).collect();
    list.try_into().unwrap()
}

fn close(found: f64, expected: f64, relative: f64) {
    assert!((found - expected).abs() <= relative * expected.abs(), "{found} is not {expected}");
}

fn close_masked(found: MaskedFlops, expected: &[f64]) {
    [found.attn_only, found.ffn_only, found.total].iter().zip(expected).for_each(|(&a, &b)| close(a as f64, b, 1e-6));
}

fn small(model: &Architecture, masks: &Masks) -> Architecture {
    Plan::keeping("test", model, kept(masks)).unwrap().apply_to(model).unwrap()
}

fn pruned(masks: &Masks) -> [usize; 3] {
    let (units, left) = (masks.totals(), kept(masks).totals());
    std::array::from_fn(|kind| units[kind] - left[kind])
}

#[test]
fn search_replays_every_variant() {
    let case = case("search");
    let model = Architecture::deit(224, 16, 768, 12, 12);
    let surrogate = Surrogate::of(&model, 197).unwrap();
    assert_eq!(surrogate.units, triple(&case.json["config"]["components"]));
    for (name, variant) in case.json["variants"].as_object().unwrap() {
        let number = |key: &str| variant[key].as_f64().unwrap();
        let problem = Problem {
            surrogate,
            hessian: matrix(&floats(&variant["second_coef"])),
            limits: triple(&variant["index_limits"]),
            target: number("target"),
            tolerance: number("threshold"),
        };
        let protected =
            every_unit(&model).map(|kind, vector| vec![vector.len() - always_kept(kind, vector.len(), true)]);
        let candidates = Kind::ALL.map(|kind| protected.of(kind).concat().iter().sum::<usize>() - 1);
        assert_eq!(candidates, problem.limits, "{name}");
        let best = case.evolve(&problem, &format!("{name}."), 14);
        let expected = case.ints(&format!("out/{name}.best_per_generation"));
        assert_eq!(best.concat().iter().map(|&x| x as i32).collect::<Vec<_>>(), expected, "{name}");
        let selected = best[13];
        assert_eq!(selected, triple(&variant["selected_index"]), "{name}");
        close(problem.objective(selected), number("objective"), 1e-9);
        close(surrogate.reduction(selected), number("surrogate_reduction"), 1e-9);
        close(surrogate.gflops([0; 3]), number("dense_surrogate_GFLOPs"), 1e-9);
        let (index, j) = problem.exhaustive();
        assert_eq!(index, triple(&variant["exhaustive"]["index"]), "{name}");
        close(j, variant["exhaustive"]["objective"].as_f64().unwrap(), 1e-9);
        assert!(j <= problem.objective(selected), "{name}");
    }
}

#[test]
fn a_prune_run_matches_from_recorded_criteria_to_masks() {
    let case = case("prune_run");
    let (model, settings) = (case.model(), &case.json["settings"]);
    assert_eq!(settings["pruning_protect"], true);
    let (scores, hessian) = (case.units("out/criteria"), matrix(&case.tensors["out/second_coef"]));
    let before = scores.clone();
    let candidates = Candidates::new(&scores, true).unwrap();
    assert_eq!(candidates, Candidates::new(&scores, true).unwrap());
    assert_eq!(scores, before);
    let surrogate = Surrogate::of(&model, 197).unwrap();
    let problem = Problem {
        surrogate,
        hessian,
        limits: candidates.limits(),
        target: settings["pruning_flops_percentage"].as_f64().unwrap(),
        tolerance: settings["pruning_flops_threshold"].as_f64().unwrap(),
    };
    let best = case.evolve(&problem, "", 100);
    let recorded = case.ints("out/best_per_generation");
    assert_eq!(best.concat().iter().map(|&x| x as i32).collect::<Vec<_>>(), recorded);
    let index = best[99];
    let ea = &case.json["ea"];
    assert_eq!(index, triple(&ea["selected_index"]));
    close(problem.objective(index), ea["objective"].as_f64().unwrap(), 1e-9);
    let (optimum, j) = problem.exhaustive();
    let expected = floats(&ea["exhaustive_optimum"]);
    assert_eq!(optimum.map(|x| x as f64), expected[1..]);
    close(j, expected[0], 1e-9);
    let costs = [surrogate.gflops([0; 3]), surrogate.gflops(index), surrogate.reduction(index)];
    costs.iter().zip(&floats(&case.json["surrogate"])[1..]).for_each(|(&a, &b)| close(a, b, 1e-9));

    let thresholds = candidates.thresholds(index.map(|k| k + 1)).unwrap();
    assert_eq!(thresholds.to_vec(), case.tensors["out/thresholds"]);
    let masks = candidates.masks(thresholds, Assignment::Official);
    assert_eq!(masks, case.masks("out/mask"));
    let order = case.units("out/protect_order").map(|_, v| v.iter().map(|&x| x as usize).collect::<Vec<_>>());
    assert_eq!(candidates.order, order);
    let aligned = candidates.masks(thresholds, Assignment::Aligned);
    assert_eq!(aligned, case.masks("out/mask_aligned"));
    assert_eq!(aligned, select(&scores, index.map(|i| i + 1), true).unwrap());
    assert_eq!(pruned(&aligned), pruned(&masks));
    assert_eq!(pruned(&masks), index.map(|i| i + 1));
    let counts = masks.map(|_, mask| vec![mask.iter().filter(|&&bit| !bit).count() as f64]);
    let counts = [counts.heads.concat(), counts.hidden.concat(), counts.embed].concat();
    assert_eq!(counts, floats(&case.json["pruned_counts"]));
    let dense = cost::savit_masked(&model, &model);
    close_masked(dense, &floats(&case.json["masked_flops_dense"]));
    let after = cost::savit_masked(&small(&model, &masks), &model);
    close_masked(after, &floats(&case.json["masked_flops_after"]));
    let reduction = 100.0 * (dense.total - after.total) as f64 / dense.total as f64;
    close(reduction, case.json["reduction_after_percent"].as_f64().unwrap(), 1e-5);
    let seen =
        batches(settings["pruning_feed_percent"].as_f64().unwrap(), settings["max_iter"].as_u64().unwrap() as usize);
    let seen = seen.unwrap();
    assert_eq!(seen.0 as u64, case.json["batches_in_scores"]);
    assert_eq!(seen.1 as u64, case.json["batches_in_hessian"]);
}

#[test]
fn rising_targets_match() {
    let case = case("prune_run");
    let (model, scores) = (case.model(), case.units("out/criteria"));
    let candidates = Candidates::new(&scores, true).unwrap();
    let surrogate = Surrogate::of(&model, 197).unwrap();
    for (i, run) in case.json["rising_targets"].as_array().unwrap().iter().enumerate() {
        let index = triple(&run["selected_index"]);
        let thresholds = candidates.thresholds(index.map(|k| k + 1)).unwrap();
        thresholds.iter().zip(floats(&run["thresholds"])).for_each(|(&a, b)| close(a, b, 1e-6));
        let masks = candidates.masks(thresholds, Assignment::Official);
        assert_eq!(masks, case.masks(&format!("out/target{i}.mask")));
        let aligned = candidates.masks(thresholds, Assignment::Aligned);
        assert_eq!(aligned, case.masks(&format!("out/target{i}.mask_aligned")));
        let after = cost::savit_masked(&small(&model, &masks), &model).total as f64;
        close(after, run["total_flops"].as_f64().unwrap(), 1e-6);
        close(surrogate.reduction(index), run["surrogate_reduction"].as_f64().unwrap(), 1e-9);
        let hessian = matrix(&case.tensors["out/second_coef"]);
        let (limits, target) = (candidates.limits(), run["target"].as_f64().unwrap());
        let (best, j) = Problem { surrogate, hessian, limits, target, tolerance: 1e-4 }.exhaustive();
        let expected = floats(&run["exhaustive_optimum"]);
        assert_eq!(best.map(|x| x as f64), expected[1..]);
        close(-j, expected[0], 1e-9);
    }
}

/// The recorded run is among the cases that a folder holds; here the smallest of each kind are found by sorting.
#[test]
fn iterative_pruning_takes_the_smallest_of_each_kind() {
    let mut draw = Draw::random(vec![1], 6);
    let mut list = |units: usize| draw.uniform([units], 0.1, 1.0).to_f64s().unwrap();
    let mut criteria: Scores = Units { heads: vec![list(3), list(3)], hidden: vec![list(9), list(7)], embed: list(8) };
    for i in 1..=3 {
        let counts = [1, 4, 2].map(|units| units * i);
        let (masks, thresholds) = iterative(&criteria, counts).unwrap();
        let values = [criteria.heads.concat(), criteria.hidden.concat(), criteria.embed.clone()];
        let kept = [masks.heads.concat(), masks.hidden.concat(), masks.embed.clone()];
        for ((values, kept), (count, threshold)) in values.iter().zip(&kept).zip(counts.into_iter().zip(thresholds)) {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            assert_eq!(threshold, sorted[count - 1]);
            let above: Vec<bool> = values.iter().map(|value| sorted[count..].contains(value)).collect();
            assert_eq!((kept, kept.iter().filter(|&&kept| !kept).count()), (&above, count));
        }
        // What is gone counts as 0 from here on, and so goes again.
        let gone = |values: &mut Vec<f64>, kept: &Vec<bool>| {
            values.iter_mut().zip(kept).filter(|(_, kept)| !**kept).for_each(|(value, _)| *value = 0.0);
        };
        criteria.heads.iter_mut().zip(&masks.heads).for_each(|(values, kept)| gone(values, kept));
        criteria.hidden.iter_mut().zip(&masks.hidden).for_each(|(values, kept)| gone(values, kept));
        gone(&mut criteria.embed, &masks.embed);
    }
}

#[test]
fn published_structures_and_toy_models_count_exactly() {
    for (name, expected) in case("flops_published").json["models"].as_object().unwrap() {
        let entry = zoo::find(&format!("savit_deit_{name}")).unwrap();
        let dense = zoo::find(entry.dense.as_deref().unwrap()).unwrap().architecture;
        let model = entry.architecture;
        for (which, model) in [("dense", &dense), ("pruned", &model)] {
            close_masked(cost::savit_masked(model, &dense), &floats(&expected["masked_flops"][which]));
            assert_eq!(cost::savit_deployed(model), expected["deploy"][format!("{which}_macs")]);
            assert_eq!(cost::params(model), expected["deploy"][format!("{which}_params")]);
        }
        let gates: usize = every_unit(&dense).totals().iter().sum();
        assert_eq!(cost::params(&dense) + gates as u64, expected["masked_model_params_incl_gates"]);
    }
    let gated = case("gated_model");
    let after = cost::savit_masked(&small(&gated.model(), &gates(&gated)), &gated.model());
    close_masked(after, &floats(&gated.json["masked_flops_float32"]));
}

/// The binary gates of a masked checkpoint.
fn gates(case: &Case) -> Masks {
    let bits = |key: String| case.tensors[&key].iter().map(|&gate| gate != 0.0).collect::<Vec<_>>();
    let blocks =
        |name: &str| (0..case.model().blocks.len()).map(|l| bits(format!("param/blocks.{l}.{name}.weight"))).collect();
    let embed = bits("param/res_gate.weight".into());
    Units { heads: blocks("attn.attn_gate"), hidden: blocks("mlp.hidden_gate1"), embed }
}

#[test]
fn a_plan_slices_the_masked_checkpoint_to_the_deployed_one() {
    let case = case("deploy");
    let (model, masks) = (case.model(), gates(&case));
    let full = Masks { embed: vec![true; model.embed_dim], ..masks.clone() };
    for (name, masks) in [("a_embed_full", &full), ("b_embed_pruned", &masks)] {
        let (variant, small) = (&case.json["variants"][name], small(&model, masks));
        assert_eq!(cost::savit_deployed(&small), variant["deploy_macs"]);
        assert_eq!(cost::params(&small), variant["deploy_params"]);
        close(cost::savit_masked(&small, &model).total as f64, variant["masked_flops"].as_f64().unwrap(), 1e-6);
    }
    let kept = kept(&masks);
    for (l, block) in model.blocks.iter().enumerate() {
        let rows = qkv_rows(&kept.heads[l], block.heads(), block.head_dim());
        let weight = &case.tensors[&format!("param/blocks.{l}.attn.qkv.weight")];
        let (dim, embed) = (model.embed_dim, &kept.embed);
        let at = |row: usize| embed.iter().map(move |column| weight[row * dim + column]);
        let sliced: Vec<f64> = rows.into_iter().flat_map(at).collect();
        assert_eq!(sliced, case.tensors[&format!("out/deploy/blocks.{l}.attn.qkv.weight")]);
    }
}

#[test]
fn plans_round_trip_and_refuse_bad_indices() {
    let model = Architecture::deit(32, 8, 8, 2, 2);
    let plan = random_plan(&model, [1, 20, 2], true, 7).unwrap();
    assert_eq!(Plan::from_json(&plan.to_json().unwrap()).unwrap(), plan);
    let twice = Plan { steps: vec![Step::Embed(vec![1, 3, 5]), Step::Embed(vec![0, 2])], ..plan.clone() };
    assert_eq!(twice.kept().unwrap().embed, [1, 5]);
    let bias_only = Plan { steps: vec![Step::Heads(vec![vec![], vec![0]])], ..plan.clone() };
    assert_eq!(bias_only.apply_to(&model).unwrap().blocks[0].heads(), 0);
    let bad = [
        (Step::Embed(vec![]), "at least 1"),
        (Step::Embed(vec![8]), "below 8"),
        (Step::Embed(vec![2, 2]), "ascending"),
        (Step::Heads(vec![vec![0]]), "2 index lists"),
        (Step::Hidden(vec![vec![1, 0], vec![]]), "ascending"),
    ];
    for (step, expected) in bad {
        let message = Plan { steps: vec![step], ..plan.clone() }.kept().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert!(plan.apply_to(&Architecture::deit(32, 8, 8, 3, 2)).is_err());
    assert!(plan.apply_to(&model.with_classes(10)).is_ok());
    assert!(Plan::from_json("{\"method\": 3}").is_err());
    for (step, text) in [
        (Step::Heads(vec![vec![0], vec![]]), r#"{"kind":"heads","keep":[[0],[]]}"#),
        (Step::Embed(vec![0, 2]), r#"{"kind":"embed","keep":[0,2]}"#),
    ] {
        assert_eq!(serde_json::to_string(&step).unwrap(), text);
        assert_eq!(serde_json::from_str::<Step>(text).unwrap(), step);
        assert!(serde_json::from_str::<Step>(&text.replace('}', ",\"more\":1}")).is_err());
    }
}

#[test]
fn windows_average_with_momentum_and_batches_are_counted() {
    let units = |x: f64| Units { heads: vec![vec![x]], hidden: vec![vec![2.0 * x, 0.0]], embed: vec![x] };
    let mut windows = Windows::default();
    [1.0, 3.0].iter().for_each(|&x| windows.add(&units(x)).unwrap());
    assert_eq!(windows.close().unwrap(), units(2.0));
    windows.add(&units(12.0)).unwrap();
    let gates = Units { heads: vec![vec![1.0]], hidden: vec![vec![0.0, 1.0]], embed: vec![1.0] };
    let criteria = windows.close().unwrap().zip(&gates, |average, gate| average * gate).unwrap();
    assert!((criteria.heads[0][0] - 3.0).abs() < 1e-12 && criteria.hidden[0][0] == 0.0);
    assert!(windows.close().is_err() && windows.add(&units(f64::NAN)).is_err());
    let imagenet = batches(0.1, 40032).unwrap();
    assert_eq!(imagenet, (4003, 4004));
    assert_eq!(batches(1.0, 5).unwrap().1, 5);
    for (fraction, per_epoch) in [(0.1, 19), (0.0, 100), (1.1, 100), (f64::NAN, 100), (0.5, 0)] {
        assert!(batches(fraction, per_epoch).is_err(), "{fraction} of {per_epoch}");
    }
    let vector = |embed: &[f64]| Units { embed: embed.to_vec(), ..Units::default() };
    assert_eq!(taylor(&vector(&[1.0, 2.0]), &vector(&[-3.0, 0.5])).unwrap(), vector(&[9.0, 1.0]));
    assert!(taylor(&vector(&[1.0]), &vector(&[])).is_err());
    let picks = LayerPicks([5, 1, 2, 3, 4, 0, 0]);
    assert_eq!(
        [(0, 1), (1, 0), (2, 0), (0, 2)].map(|(i, j)| picks.pair(Kind::ALL[i], Kind::ALL[j])),
        [(5, 2), (5, 3), (0, 0), (5, 0)]
    );
    assert_eq!(normalised(&units(3.0), Norm::L1).hidden[0][0], 6.0 / (6.0 + 1e-8));
}

#[test]
fn the_hessian_is_normalised_by_kind_and_a_calibration_round_trips() {
    let model = Architecture::deit(32, 8, 40, 3, 5);
    let mut sum = HessianSum::new(&model, HESSIAN_EMBED);
    let sizes = [40.0, 160.0, 40.0 * 3.0 * 6.0];
    let q: Hessian = std::array::from_fn(|i| std::array::from_fn(|j| (1 + 3 * i + j) as f64 * sizes[i] * sizes[j]));
    assert_eq!(sum.add(&q)[2], [7.0, 8.0, 9.0]);
    sum.add(&[[0.0; 3]; 3]);
    assert_eq!(sum.mean()[0], [0.5, 1.0, 1.5]);
    let mut bounds = Vec::new();
    let picks = LayerPicks::draw(12, |most| {
        bounds.push(most);
        most
    });
    assert_eq!((picks.0, bounds), ([11, 11, 11, 11, 11, 0, 0], vec![11, 11, 11, 11, 11, 0, 0]));
    let scores = every_unit(&model).map(|_, vector| vector.iter().map(|&unit| unit as f64 / 3.0).collect());
    let calibration = Calibration { model, weights: None, scores, hessian: sum.mean() };
    assert_eq!(Calibration::from_json(&calibration.to_json().unwrap()).unwrap(), calibration);
    let mut short = calibration;
    short.scores.hidden[1].pop();
    assert!(Calibration::from_json(&short.to_json().unwrap()).is_err());
}

const DEFINITE: Hessian = [[3e-4, 1e-5, 2e-5], [1e-5, 6e-5, 1.5e-5], [2e-5, 1.5e-5, 9e-5]];

#[test]
fn the_search_meets_targets_on_real_sizes_and_says_what_it_cannot() {
    for (name, keep) in
        [("deit_tiny_patch16_224", 0.75), ("deit_base_patch16_224", 0.5), ("deit_base_patch16_384", 0.3)]
    {
        let model = zoo::find(name).unwrap().architecture;
        let found = search::search(&model, &DEFINITE, &Options::keeping(keep)).unwrap();
        let share = found.macs as f64 / found.dense_macs as f64;
        assert!(share <= keep && share > keep - WINDOW && found.warnings.is_empty(), "{name}: {found:?}");
    }
    let model = zoo::find("deit_tiny_patch16_224").unwrap().architecture;
    let with = |change: fn(&mut Options), hessian: &Hessian| {
        let mut options = Options::keeping(0.5);
        change(&mut options);
        search::search(&model, hessian, &options)
    };
    let message = with(|o| o.kinds = [true, false, false], &DEFINITE).unwrap_err().to_string();
    assert!(message.contains("at least 0.7"), "{message}");
    let heads = with(|o| (o.kinds, o.keep) = ([true, false, false], 0.9), &DEFINITE).unwrap();
    assert!(heads.pruned[0] > 0 && heads.pruned[1..] == [0, 0], "{heads:?}");
    assert!(with(|o| o.keep = 0.0, &DEFINITE).is_err() && with(|o| o.keep = f64::NAN, &DEFINITE).is_err());
    assert!(with(|_| (), &[[0.0; 3]; 3]).is_err());
    assert_eq!(with(|o| o.allow_zero_hessian = true, &[[0.0; 3]; 3]).unwrap().warnings.len(), 1);
    assert_eq!(with(|_| (), &[[1.0, 5.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).unwrap().warnings.len(), 1);
    assert!(with(|_| (), &[[1.0, f64::NAN, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).is_err());
}

#[test]
fn the_official_plan_warns_where_the_released_code_is_silent() {
    let case = case("prune_run");
    let (model, scores, hessian) = (case.model(), case.units("out/criteria"), matrix(&case.tensors["out/second_coef"]));
    let calibration = Calibration { model, weights: None, scores, hessian };
    let aligned =
        official::Options { assignment: Assignment::Aligned, evolve: None, ..official::Options::removing(0.35) };
    let (plan, _) = official::plan(&calibration, &aligned).unwrap();
    assert_eq!(plan.kept().unwrap(), kept(&case.masks("out/mask_aligned")));
    let evolved = official::Options { evolve: Some(3), ..official::Options::removing(0.9) };
    let drawn = official::plan(&calibration, &evolved).unwrap();
    assert!(drawn.1.iter().any(|warning| warning.contains("not by the target")), "{:?}", drawn.1);
    let mut broken = calibration;
    broken.scores.hidden[2][17] = f64::NAN;
    let message = official::plan(&broken, &aligned).unwrap_err().to_string();
    assert!(message.contains("hidden[2][17]"), "{message}");
}

/// The least `J` by trying everything, counting each model layer by layer.
fn brute_force(model: &Architecture, hessian: &Hessian, options: &Options) -> Option<(f64, [usize; 3])> {
    let units = every_unit(model);
    let totals = units.totals();
    let scores = units.map(|_, vector| vector.iter().map(|&unit| unit as f64).collect());
    let most = Kind::ALL
        .map(|kind| units.of(kind).iter().map(|v| v.len() - always_kept(kind, v.len(), options.protect)).sum());
    let dense = cost::macs(model) as f64;
    let [heads, hidden, embed]: [usize; 3] = std::array::from_fn(|k| if options.kinds[k] { most[k] } else { 0 });
    let (hessian, _) = search::curvature(hessian, false).unwrap();
    let mut points = Vec::new();
    for (a, c) in (0..=heads).flat_map(|a| (0..=embed).map(move |c| (a, c))) {
        let macs = |b| cost::macs(&small(model, &select(&scores, [a, b, c], options.protect).unwrap()));
        if let Some(b) = (0..=hidden).find(|&b| macs(b) as f64 <= options.keep * dense) {
            points.push(([a, b, c], macs(b) as f64));
        }
    }
    let nearest = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let lowest = nearest.min((options.keep * dense).floor() - (WINDOW * dense).floor());
    let inside = points.into_iter().filter(|point| point.1 >= lowest);
    let scored = inside.map(|(pruned, _)| (objective(&hessian, fractions(pruned, totals)), pruned));
    scored.fold(None, |best, point| if best.is_none_or(|(j, _)| point.0 < j) { Some(point) } else { best })
}

/// An indefinite matrix is searched as its absolute value: positive along every direction, and of the same magnitude. Kinds of
/// negative curvature are then no longer pruned to the last unit.
#[test]
fn negative_curvature_is_no_reward() {
    let apart: Hessian = [[-3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, -0.5]];
    let (found, warnings) = search::curvature(&apart, false).unwrap();
    let expected = [[3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.5]];
    let gaps = found.iter().flatten().zip(expected.iter().flatten()).map(|(a, b): (&f64, &f64)| (a - b).abs());
    assert!(gaps.fold(0.0, f64::max) < 1e-12 && warnings.len() == 1, "{found:?}");
    // |A|² = A², and |A| is not negative anywhere.
    let mixed: Hessian = [[-1.0, 0.7, -0.4], [0.7, 0.3, 1.1], [-0.4, 1.1, 0.2]];
    let (found, _) = search::curvature(&mixed, false).unwrap();
    let square = |m: &Hessian, i: usize, j: usize| (0..3).map(|k| m[i][k] * m[k][j]).sum::<f64>();
    for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
        assert!((square(&found, i, j) - square(&mixed, i, j)).abs() < 1e-12, "{found:?}");
    }
    for at in 0..200 {
        let v = [(at as f64).sin(), (1.7 * at as f64).cos(), (2.3 * at as f64).sin()];
        assert!(objective(&found, v) >= -1e-12);
    }
    let (same, warnings) = search::curvature(&DEFINITE, false).unwrap();
    assert!(same == DEFINITE && warnings.is_empty());

    let model = zoo::find("deit_small_patch16_224").unwrap().architecture;
    let heads = [[-3e-8, 0.0, 0.0], [0.0, 2e-9, 0.0], [0.0, 0.0, 1.6e-8]];
    let found = search::search(&model, &heads, &Options::keeping(0.5)).unwrap();
    assert!(found.pruned[0] < 20 && found.pruned[1] > 10_000, "{found:?}");
}

fn hessians() -> impl Strategy<Value = Hessian> {
    prop::array::uniform3(prop::array::uniform3(-1.0..1.0f64))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_search_equals_brute_force(
        h in hessians(), keep in 0.3..0.98f64, heads in 1..4usize, depth in 1..3usize, protect: bool, kinds: [bool; 3],
    ) {
        let mut model = Architecture::deit(16, 4, 2 * heads, depth, heads).with_classes(3);
        model.blocks.iter_mut().for_each(|block| block.hidden = 5);
        let options = Options { protect, kinds, ..Options::keeping(keep) };
        match (search::search(&model, &h, &options), brute_force(&model, &h, &options)) {
            (Ok(found), Some((j, pruned))) => {
                prop_assert_eq!(found.pruned, pruned);
                prop_assert_eq!(found.objective, j);
            }
            (found, expected) => prop_assert!(found.is_err() && expected.is_none(), "{found:?} {expected:?}"),
        }
    }

    #[test]
    fn plans_are_feasible_and_random_plans_cost_the_same(seed: u64, h in hessians(), keep in 0.25..0.95f64) {
        let model = Architecture::deit(32, 8, 40, 3, 5).with_classes(10);
        let mut uniform = espalier::prune::uniforms(seed);
        // coarse scores, so that ties are common
        let scores = every_unit(&model).map(|_, v| v.iter().map(|_| (uniform() * 8.0).floor()).collect());
        let calibration = Calibration { model: model.clone(), weights: None, scores, hessian: h };
        let (plan, found) = search::plan(&calibration, &Options::keeping(keep)).unwrap();
        let dense = cost::macs(&model) as f64;
        let macs = Counting::Macs.count(&plan.apply_to(&model).unwrap(), &model);
        prop_assert_eq!(macs, found.macs);
        prop_assert!(macs as f64 <= keep * dense && macs as f64 >= (keep - WINDOW) * dense - 1.0);
        let random = random_plan(&model, found.pruned, true, seed).unwrap();
        prop_assert_eq!(cost::macs(&random.apply_to(&model).unwrap()), macs);
        for plan in [plan, random] {
            let (left, all) = (plan.kept().unwrap(), every_unit(&model));
            prop_assert_eq!(std::array::from_fn(|k| all.totals()[k] - left.totals()[k]), found.pruned);
            for kind in Kind::ALL {
                let enough = |(l, a): (&Vec<usize>, &Vec<usize>)| l.len() >= always_kept(kind, a.len(), true);
                prop_assert!(left.of(kind).iter().zip(all.of(kind)).all(enough));
            }
        }
    }

    #[test]
    fn candidates_are_the_smallest(values in prop::collection::vec(0..50u32, 1..200), share in 0.0..=1.0f64) {
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        let kth = (share * values.len() as f64) as usize;
        let order = espalier::prune::savit::masks::candidate_order(&values, kth);
        let mut chosen: Vec<f64> = order.iter().map(|&unit| values[unit]).collect();
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        chosen.sort_by(f64::total_cmp);
        prop_assert_eq!(&chosen, &sorted[..kth]);
        let mut unique = order;
        unique.sort();
        unique.dedup();
        prop_assert_eq!(unique.len(), kth);
    }
}
