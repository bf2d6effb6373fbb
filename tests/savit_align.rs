//! Aligned widths: what `align` guarantees, on models of any shape, and which width moves when.

use espalier::models::{Architecture, Mixer, cost, zoo};
use espalier::prune::Kind;
use espalier::prune::plan::{Plan, Units, every_unit, kept};
use espalier::prune::savit::search::{self, Options, WINDOW};
use espalier::prune::savit::{Calibration, Hessian, Masks, Scores, align, always_kept};
use proptest::prelude::*;

const DEFINITE: Hessian = [[3e-4, 1e-5, 2e-5], [1e-5, 6e-5, 1.5e-5], [2e-5, 1.5e-5, 9e-5]];

fn macs(model: &Architecture, masks: &Masks) -> f64 {
    cost::macs(&Plan::keeping("test", model, kept(masks)).unwrap().apply_to(model).unwrap()) as f64
}

/// Every number of units that a vector may keep after alignment, by the words of the documentation.
fn allowed(model: &Architecture, options: &Options, (kind, block, units): (Kind, usize, usize)) -> Vec<usize> {
    let width = if kind == Kind::Heads { model.blocks[block].head_dim() } else { 1 };
    let least = always_kept(kind, units, options.protect).max(1);
    let multiple = |&kept: &usize| kept == units || kept >= least && kept * width % options.align == 0;
    if options.kinds[kind as usize] { (1..=units).filter(multiple).collect() } else { vec![units] }
}

/// `masks` with the first vectors of `kind` keeping their `counts` best units.
fn keeping(scores: &Scores, kind: Kind, counts: &[usize]) -> Masks {
    let mut masks = scores.map(|_, vector| vec![true; vector.len()]);
    for ((mask, vector), &count) in masks.of_mut(kind).iter_mut().zip(scores.of(kind)).zip(counts) {
        let mut order: Vec<usize> = (0..vector.len()).collect();
        order.sort_by(|&a, &b| vector[a].total_cmp(&vector[b]));
        order[..vector.len() - count].iter().for_each(|&unit| mask[unit] = false);
    }
    masks
}

/// The hidden widths of two blocks of 32 units, of which `before` are kept, aligned to 8 for a target of `target` units;
/// unit `i` of a block scores `i + 1` times its factor.
fn two_widths(before: [usize; 2], target: usize, factors: [f64; 2]) -> Vec<usize> {
    let mut model = Architecture::deit(32, 8, 16, 2, 2).with_classes(10);
    model.blocks.iter_mut().for_each(|block| block.hidden = 32);
    let units = every_unit(&model);
    let hidden = factors.map(|factor| (1..=32).map(|i| factor * i as f64).collect()).to_vec();
    let scores = Units { hidden, ..units.map(|_, vector| vec![1.0; vector.len()]) };
    let counts = |counts: [usize; 2]| keeping(&scores, Kind::Hidden, &counts);
    let full = target.min(32);
    let keep = (macs(&model, &counts([full, target - full])) + 0.5) / cost::macs(&model) as f64;
    let options = Options { kinds: [false, true, false], align: 8, protect: false, ..Options::keeping(keep) };
    let aligned = kept(&align(&model, &scores, &counts(before), &options).unwrap());
    assert_eq!((&aligned.heads, &aligned.embed), (&units.heads, &units.embed));
    aligned.hidden.iter().map(Vec::len).collect()
}

#[test]
fn widths_go_to_the_nearest_multiple_and_then_move_by_score() {
    assert_eq!(two_widths([20, 28], 40, [1.0, 1.0]), [16, 24], "of two the lower");
    assert_eq!(two_widths([21, 27], 48, [1.0, 1.0]), [24, 24]);
    assert_eq!(two_widths([21, 21], 42, [1.0, 1.1]), [16, 24], "down where least is lost");
    assert_eq!(two_widths([21, 21], 42, [1.1, 1.0]), [24, 16]);
    assert_eq!(two_widths([20, 20], 40, [1.0, 1.1]), [16, 24], "up where most is gained");
    assert_eq!(two_widths([20, 20], 40, [1.1, 1.0]), [24, 16]);
    assert_eq!(two_widths([0, 30], 30, [9.0, 1.0]), [0, 24], "what is empty stays empty");
    assert_eq!(two_widths([1, 31], 40, [9.0, 1.0]), [8, 32], "what is not, keeps one multiple");
    assert_eq!(two_widths([3, 3], 16, [1.0, 1.0]), [8, 8]);
}

/// A channel of this model saves eight times what a hidden unit does: it goes first although it scores a little more.
#[test]
fn scores_are_weighed_by_what_they_cost() {
    let mut model = Architecture::deit(32, 8, 32, 4, 4).with_classes(10);
    model.blocks.iter_mut().for_each(|block| block.hidden = 32);
    let score = |kind| if kind == Kind::Embed { 1.5 } else { 1.0 };
    let scores = every_unit(&model).map(|kind, vector| vec![score(kind); vector.len()]);
    let whole = keeping(&scores, Kind::Embed, &[32]);
    let options = Options { kinds: [false, true, true], align: 8, protect: false, ..Options::keeping(0.9) };
    let aligned = kept(&align(&model, &scores, &whole, &options).unwrap());
    assert_eq!(aligned.embed.len(), 24);
    assert!(aligned.hidden.iter().all(|units| units.len() == 32));
    assert_eq!(aligned.embed, (8..32).collect::<Vec<_>>(), "of equal scores the first go, as in the selection");
}

/// Of 400 units 20 are protected: 24, not 16, although both are as near.
#[test]
fn what_is_protected_stays() {
    let mut model = Architecture::deit(32, 8, 32, 1, 4).with_classes(10);
    model.blocks[0].hidden = 400;
    let scores = every_unit(&model).map(|_, vector| vec![1.0; vector.len()]);
    let masks = keeping(&scores, Kind::Hidden, &[20]);
    let options = Options {
        kinds: [false, true, false],
        align: 8,
        ..Options::keeping(macs(&model, &masks) * 1.05 / cost::macs(&model) as f64)
    };
    assert_eq!(kept(&align(&model, &scores, &masks, &options).unwrap()).hidden[0].len(), 24);
    let tight = Options { keep: macs(&model, &masks) / cost::macs(&model) as f64, ..options };
    assert!(align(&model, &scores, &masks, &tight).is_err());
    assert_eq!(
        kept(&align(&model, &scores, &masks, &Options { protect: false, ..tight }).unwrap()).hidden[0].len(),
        16
    );
}

#[test]
fn deit_small_at_half_gets_widths_of_8_and_64() {
    let model = zoo::find("deit_small_patch16_224").unwrap().architecture;
    let mut uniform = espalier::prune::uniforms(3);
    let scores = every_unit(&model).map(|_, vector| vector.iter().map(|_| uniform()).collect());
    let calibration = Calibration { model: model.clone(), weights: None, scores, hessian: DEFINITE };
    let (exact, found) = search::plan(&calibration, &Options::keeping(0.5)).unwrap();
    assert_eq!(exact.method, "savit");
    for multiple in [8, 64] {
        let (plan, aligned) =
            search::plan(&calibration, &Options { align: multiple, ..Options::keeping(0.5) }).unwrap();
        let small = plan.apply_to(&model).unwrap();
        assert_eq!(plan.method, format!("savit-align{multiple}"));
        let widths = small.blocks.iter().flat_map(|block| [block.hidden, block.inner()]).chain([small.embed_dim]);
        assert!(widths.clone().all(|width| width > 0 && width.is_multiple_of(multiple)), "{small:?}");
        let share = aligned.macs as f64 / aligned.dense_macs as f64;
        assert_eq!((aligned.macs, aligned.dense_macs), (cost::macs(&small), found.dense_macs));
        // one multiple of hidden units is 0.2 % of the model at most, so the target's own window is met at 64, too
        assert!(share <= 0.5 && share > 0.5 - WINDOW, "{multiple}: {share}");
        assert_ne!(plan.kept().unwrap(), exact.kept().unwrap());
    }
}

#[test]
fn what_multiples_cannot_reach_is_named() {
    let model = Architecture::deit(32, 8, 96, 2, 3).with_classes(10);
    let scores = every_unit(&model).map(|_, vector| vec![1.0; vector.len()]);
    let calibration = Calibration { model, weights: None, scores, hessian: DEFINITE };
    let plan = |keep, align| search::plan(&calibration, &Options { align, ..Options::keeping(keep) });
    assert!(plan(0.1, 1).is_ok());
    let message = plan(0.1, 64).unwrap_err().to_string();
    let least: f64 = message.split("at least ").nth(1).unwrap()[..6].parse().unwrap();
    assert!(message.contains("multiples of 64") && message.contains("found 0.1"), "{message}");
    assert!(plan(least - 1e-4, 64).is_err() && plan(least + 1e-4, 64).is_ok(), "{message}");
    assert!(plan(0.5, 0).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn aligned_plans_keep_their_promises(
        embed in 8..150usize, hidden in prop::collection::vec(8..200usize, 1..4), heads in 1..6usize,
        head_dim in prop::sample::select(vec![4, 8, 32, 60, 64]), multiple in prop::sample::select(vec![1, 3, 8, 64]),
        keep in 0.1..0.95f64, protect: bool, kinds in prop::array::uniform3(prop::bool::weighted(0.8)), seed: u64,
    ) {
        let mut model = Architecture::deit(32, 8, embed, hidden.len(), 1).with_classes(3);
        for (block, hidden) in model.blocks.iter_mut().zip(hidden) {
            (block.mixer, block.hidden) = (Mixer::Attention { heads, head_dim }, hidden);
        }
        let mut uniform = espalier::prune::uniforms(seed);
        // coarse scores, so that ties are common
        let scores = every_unit(&model).map(|_, v| v.iter().map(|_| (uniform() * 16.0).floor()).collect());
        let exact = Options { kinds, protect, ..Options::keeping(keep) };
        let Ok(found) = search::search(&model, &DEFINITE, &exact) else { return Ok(()) };
        let options = Options { align: multiple, ..exact };
        let before = search::select(&scores, found.pruned, protect).unwrap();
        let budget = keep * cost::macs(&model) as f64;
        // all that `kept` units of every vector allow, the fewest first
        let counts = before.map(|_, mask| vec![mask.iter().filter(|&&bit| bit).count()]);
        let ladder = counts.try_map(|kind, block, kept| Ok::<_, ()>(match kept[0] {
            0 => vec![0],
            _ => allowed(&model, &options, (kind, block, before.of(kind)[block].len())),
        })).unwrap();
        let resized = |counts: &Units<usize>| {
            let mut small = model.clone();
            small.embed_dim = counts.embed[0];
            for (i, block) in small.blocks.iter_mut().enumerate() {
                block.mixer = Mixer::Attention { heads: counts.heads[i][0], head_dim };
                block.hidden = counts.hidden[i][0];
            }
            cost::macs(&small) as f64
        };
        let Ok(masks) = align(&model, &scores, &before, &options) else {
            let fewest = resized(&ladder.map(|_, rungs| vec![rungs[0]]));
            prop_assert!(fewest > budget, "refused, but {fewest} of {budget} can be reached");
            return Ok(());
        };
        prop_assert!(macs(&model, &masks) <= budget);
        let after = masks.map(|_, mask| vec![mask.iter().filter(|&&bit| bit).count()]);
        for (kind, block, mask) in masks.vectors() {
            let (rungs, count, vector) = (&ladder.of(kind)[block], after.of(kind)[block][0], &scores.of(kind)[block]);
            let at = rungs.iter().position(|&rung| rung == count);
            prop_assert!(at.is_some(), "{kind:?}[{block}] keeps {count}, not one of {rungs:?}");
            if let Some(&next) = rungs.get(at.unwrap() + 1) {
                let mut more = after.clone();
                more.of_mut(kind)[block] = vec![next];
                prop_assert!(resized(&more) > budget, "{kind:?}[{block}] could keep {next} instead of {count}");
            }
            let of = |bit: bool| mask.iter().zip(vector).filter(move |(m, _)| **m == bit).map(|(_, &score)| score);
            let (worst, best) = (of(true).fold(f64::INFINITY, f64::min), of(false).fold(f64::NEG_INFINITY, f64::max));
            prop_assert!(worst >= best, "{kind:?}[{block}] keeps {worst} and cuts {best}");
        }
        prop_assert_eq!(&align(&model, &scores, &masks, &options).unwrap(), &masks);
        let calibration = Calibration { model: model.clone(), weights: None, scores, hessian: DEFINITE };
        let (plan, found) = search::plan(&calibration, &options).unwrap();
        let expected = if multiple == 1 { &before } else { &masks };
        prop_assert_eq!(plan.kept().unwrap(), kept(expected));
        prop_assert_eq!(found.macs as f64, macs(&model, expected));
    }
}
