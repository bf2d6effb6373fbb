//! Recipes: each published one against the table of its specification, extension and changes, what is refused.

use espalier::data::augment::{Crop, Interpolation};
use espalier::data::{mixup::Mixup, sampler::Order};
use espalier::nn::Precision;
use espalier::optim::{group_of, no_decay_rules};
use espalier::train::recipe::{RECIPES, Recipe};
use espalier::train::{DistillKind, TrainConfig};
use espalier::{DType, Tensor};

/// ImageNet's training images, and the steps of an epoch of 1,024 of them.
const IMAGES: usize = 1_281_167;

fn load(name: &str) -> Recipe {
    Recipe::load(name, &[]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn config(recipe: &Recipe) -> TrainConfig {
    recipe.config(IMAGES / recipe.batch_size).expect("config")
}

/// The rate in use in an epoch, or a step, of a run.
fn rate(config: &TrainConfig, at: usize) -> f64 {
    config.schedule.used_at(at)
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-12 * expected.abs(), "{found} is not {expected}");
}

/// What DeiT and Swin do to images: base models, section 5.
fn augments_as_published(recipe: &Recipe, jitter: f64) {
    let train = recipe.augment.train(224);
    assert_eq!(train.crop, Crop::RandomResized { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] });
    assert_eq!((train.flip, train.interpolation, train.color_jitter), (0.5, Interpolation::Bicubic, jitter));
    let policy = train.rand_augment.expect("a policy");
    assert_eq!((policy.ops, policy.magnitude, policy.std, policy.increasing), (2, 9.0, 0.5, true));
    let erasing = train.erasing.expect("erasing");
    assert_eq!((erasing.probability, erasing.count), (0.25, 1));
    assert_eq!(train.fill(), [124, 116, 104]);
    assert_eq!(recipe.augment.eval(224).crop, Crop::Centre { resize: Some(256) });
    assert_eq!(recipe.augment.eval(384).crop, Crop::Centre { resize: Some(438) });
    assert_eq!((recipe.mixup, recipe.smoothing), (Mixup::PUBLISHED, 0.1));
    assert_eq!((recipe.mixup.mixup, recipe.mixup.cutmix, recipe.mixup.switch), (0.8, 1.0, 0.5));
}

#[test]
fn deit_as_in_its_table() {
    for size in ["tiny", "small", "base"] {
        for distilled in [false, true] {
            let end = if distilled { "_distilled" } else { "" };
            let recipe = load(&format!("deit_{size}{end}"));
            assert_eq!(recipe.model.as_deref(), Some(&*format!("deit_{size}{end}_patch16_224")));
            augments_as_published(&recipe, 0.3);
            let config = config(&recipe);
            assert_eq!((config.epochs, recipe.batch_size * config.accumulate), (300, 1024));
            assert_eq!((config.weight_decay, config.clip_norm, config.drop_path), (0.05, None, 0.1));
            assert_eq!((config.ema_decay, recipe.order()), (Some(0.99996), Order::Repeated(3)));
            assert_eq!((config.precision, recipe.eval_precision), (Precision::F16, Precision::F16));
            // Epochs 0 and 1 at the warm-up's rate; then that of the epoch before; the warm-up is within the cosine.
            let at = |epoch: usize| rate(&config, epoch);
            assert!(!config.schedule_in_steps);
            [0, 1].into_iter().for_each(|epoch| close(at(epoch), 1e-6));
            close(at(3), 1e-6 + 2.0 * (1e-3 - 1e-6) / 5.0);
            close(at(6), 1e-5 + 0.5 * (1e-3 - 1e-5) * (1.0 + (std::f64::consts::PI * 5.0 / 300.0).cos()));
            let (kind, teacher) = match distilled {
                true => (DistillKind::Hard, Some("regnety_160")),
                false => (DistillKind::None, None),
            };
            assert_eq!((config.distillation.kind, recipe.teacher.as_deref()), (kind, teacher));
            assert_eq!((config.distillation.alpha, config.distillation.tau), (0.5, 1.0));
        }
    }
}

#[test]
fn deit_at_384_pixels_is_flat() {
    let recipe = load("deit_base_384");
    let (arch, config) = (recipe.architecture().unwrap().expect("a model"), config(&recipe));
    assert_eq!((arch.img_size, config.epochs, recipe.batch_size, config.weight_decay), (384, 30, 512, 1e-8));
    (6..30).for_each(|epoch| close(rate(&config, epoch), 5e-6));
}

#[test]
fn swin_as_in_its_table() {
    for (size, drop_path) in [("tiny", 0.2), ("small", 0.3), ("base", 0.5)] {
        let recipe = load(&format!("swin_{size}"));
        assert_eq!(recipe.model.as_deref(), Some(&*format!("swin_{size}_patch4_window7_224")));
        augments_as_published(&recipe, 0.4);
        let config = config(&recipe);
        assert_eq!((config.epochs, recipe.batch_size, recipe.order()), (300, 1024, Order::Shuffled));
        assert_eq!((config.weight_decay, config.clip_norm, config.ema_decay), (0.05, Some(5.0), None));
        assert_eq!(config.drop_path, drop_path);
        // All three rates doubled at 1,024 images; 20 epochs of warm-up before the cosine; steps 0 and 1 share a rate.
        let steps = IMAGES / 1024;
        assert!(config.schedule_in_steps);
        [0, 1].into_iter().for_each(|step| close(rate(&config, step), 1e-6));
        close(rate(&config, 10 * steps + 1), 1e-6 + 0.5 * (1e-3 - 1e-6));
        close(rate(&config, 20 * steps + 1), 1e-3);
        close(rate(&config, 160 * steps + 1), 1e-5 + 0.5 * (1e-3 - 1e-5));
        close(rate(&config, 300 * steps + 1), 1e-5);
        let rules = no_decay_rules(&config.no_decay.expect("names"));
        let decay = |name: &str, shape: &[usize]| group_of(&rules, name, &Tensor::zeros(shape, DType::F32), 0.05).0;
        assert_eq!(decay("layers.0.blocks.1.attn.relative_position_bias_table", &[169, 3]), 0.0);
        assert_eq!((decay("head.weight", &[10, 768]), decay("norm.weight", &[768])), (0.05, 0.0));
    }
}

#[test]
fn savit_fine_tunes_as_in_its_table() {
    for size in ["tiny", "small", "base"] {
        let recipe = load(&format!("savit_{size}"));
        augments_as_published(&recipe, 0.3);
        let config = config(&recipe);
        assert_eq!((recipe.model, config.epochs, recipe.batch_size), (None, 300, 1024));
        assert_eq!((config.ema_decay, config.drop_path, config.clip_norm), (None, 0.1, None));
        assert_eq!(config.distillation.kind, DistillKind::None);
        // No warm-up; epochs 0 and 1 at the highest rate.
        [0, 1].into_iter().for_each(|epoch| close(rate(&config, epoch), 1e-3));
        let expected = 1e-5 + 0.5 * (1e-3 - 1e-5) * (1.0 + (std::f64::consts::PI * 149.0 / 300.0).cos());
        close(rate(&config, 150), expected);
    }
}

/// Written whole and read again, every recipe is itself; a teacher's classes and a position table's decay follow from names.
#[test]
fn every_recipe_survives_being_written() {
    let folder = tempfile::tempdir().expect("folder");
    for (name, _) in RECIPES {
        let (recipe, path) = (load(name), folder.path().join("recipe.toml"));
        std::fs::write(&path, recipe.to_toml().expect(name)).expect("write");
        assert_eq!(load(path.to_str().unwrap()), recipe, "{name}");
    }
}

#[test]
fn a_file_extends_another_and_changes_come_last() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("write");
    write("mine.toml", "extends = \"deit_small\"\nunset = [\"ema_decay\"]\nepochs = 7\n[augment.erasing]\ncount = 2\n");
    write("ours.toml", "extends = \"mine.toml\"\nbatch_size = 32\n");
    let changes = ["rates.lr=1e-2", "mixup.mode = pair", "clip_norm=1.5", "rates.lr_batch="].map(String::from);
    let recipe = Recipe::load(&path("ours.toml"), &changes).expect("recipe");
    let erasing = recipe.augment.erasing.expect("erasing");
    assert_eq!(
        (recipe.epochs, recipe.batch_size, recipe.ema_decay, erasing.count, erasing.probability),
        (7, 32, None, 2, 0.25)
    );
    assert_eq!((recipe.clip_norm, recipe.rates.lr, recipe.rates.lr_batch), (Some(1.5), 1e-2, None));
    assert_eq!(recipe.model.as_deref(), Some("deit_small_patch16_224"));
}

#[test]
fn what_no_recipe_has_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let refused = |text: &str, parts: &[&str]| {
        std::fs::write(path("bad.toml"), text).expect("write");
        let message = Recipe::load(&path("bad.toml"), &[]).expect_err(text).to_string();
        parts.iter().for_each(|part| assert!(message.contains(part), "{part:?} is not in {message}"));
    };
    refused("epoch = 3", &["bad.toml", "epoch", "unknown field"]);
    refused("[augment]\nrotate = 3", &["rotate"]);
    refused("epochs = \"many\"", &["epochs"]);
    refused("epochs = 0", &["epochs", "1 to"]);
    refused("epochs = ", &["bad.toml"]);
    refused("extends = \"bad.toml\"", &["extensions"]);
    refused("extends = 3", &["extends"]);
    refused("batch_size = 7\n[mixup]\nmixup = 0.8", &["batch_size", "even", "7"]);
    refused("smoothing = 1.5", &["smoothing"]);
    refused("[rates]\nlr = -1.0", &["lr"]);
    refused("[augment]\nrand_augment = \"rand-q3\"", &["rand-q3"]);
    let unknown = Recipe::load("deit_huge", &[]).expect_err("unknown").to_string();
    assert!(unknown.contains("deit_small") && unknown.contains("swin_tiny"), "{unknown}");
    for change in ["lr", "rates.speed=3", "epochs.more=3"] {
        assert!(Recipe::load("deit", &[change.to_string()]).is_err(), "{change}");
    }
}
