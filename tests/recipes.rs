//! Recipes: each published one against the table of its specification, extension and changes, what is refused.

use espalier::data::augment::Crop;
use espalier::models::Model;
use espalier::optim::{group_of, no_decay_rules};
use espalier::train::TrainConfig;
use espalier::train::recipe::{RECIPES, Recipe};
use espalier::{DType, Tensor};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// ImageNet's training images.
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

/// What the commands of all recipes say and leave to their programs: AdamW and augmentation of base models 5 and 7, and what only
/// this crate has.
const SHARED: &str = r#"
epochs = 300
weight_decay = 0.05
betas = [0.9, 0.999]
eps = 1e-8
smoothing = 0.1
precision = "f16"
eval_precision = "f16"
rates.lr = 5e-4
rates.lr_batch = 512
rates.cosine_epochs = 300
rates.lag = 1
augment.scale = [0.08, 1.0]
augment.ratio = [0.75, 1.3333333333333333]
augment.flip = 0.5
augment.interpolation = "bicubic"
augment.rand_augment = "rand-n2-m9-mstd0.5-inc1"
augment.erasing.probability = 0.25
augment.erasing.count = 1
augment.erasing.area = [0.02, 0.3333333333333333]
augment.erasing.ratio = [0.3, 3.3333333333333333]
augment.crop_pct = 0.875
augment.mean = [0.485, 0.456, 0.406]
augment.std = [0.229, 0.224, 0.225]
mixup.mixup = 0.8
mixup.cutmix = 1.0
mixup.probability = 1.0
mixup.switch = 0.5
mixup.mode = "batch"
distillation.kind = "none"
distillation.alpha = 0.5
distillation.tau = 1.0
distillation.reduction = "per_element"
distillation.single_head = false
recompute = false
seed = 0
eval_every = 1
checkpoint_every = 1
checkpoint_every_steps = 0
"#;

/// Base models 5.5, 7.1 to 7.3: 4 processes of 256, repeated augmentation, the rate of an epoch set behind it.
const DEIT: &str = r#"
batch_size = 256
accumulate = 4
repeated_augmentation = 3
no_decay = ["pos_embed", "cls_token"]
ema_decay = 0.99996
drop_path = 0.1
rates.scale_all = false
rates.min_lr = 1e-5
rates.warmup_lr = 1e-6
rates.warmup_epochs = 5
rates.warmup_prefix = false
rates.in_steps = false
augment.color_jitter = 0.3
"#;

/// Base models 5.7, 7.1 to 7.3: 8 processes of 128, plain shuffling, clipping, no average, all rates scaled, by the step.
const SWIN: &str = r#"
batch_size = 128
accumulate = 8
repeated_augmentation = 1
no_decay = ["*relative_position_bias_table"]
clip_norm = 5.0
rates.scale_all = true
rates.min_lr = 5e-6
rates.warmup_lr = 5e-7
rates.warmup_epochs = 20
rates.warmup_prefix = true
rates.in_steps = true
augment.color_jitter = 0.4
"#;

/// SAViT 2.2 and 7: 8 processes of 128, no warm-up, no average, no distillation.
const SAVIT: &str = r#"
batch_size = 128
accumulate = 8
repeated_augmentation = 3
no_decay = ["pos_embed", "cls_token"]
drop_path = 0.1
rates.scale_all = false
rates.min_lr = 1e-5
rates.warmup_lr = 1e-6
rates.warmup_epochs = 0
rates.warmup_prefix = false
rates.in_steps = false
augment.color_jitter = 0.4
"#;

/// 16 processes of 64: base models 7.3.
const SIXTEEN: &str = "batch_size = 64\naccumulate = 16\n";
const TAUGHT: &str = "teacher = \"regnety_160\"\ndistillation.kind = \"hard\"\n";
/// 16 processes of 32, the rate flat: base models 7.3.
const AT_384: &str =
    "batch_size = 32\naccumulate = 16\nepochs = 30\nweight_decay = 1e-8\nrates.lr = 5e-6\nrates.min_lr = 5e-6
rates.cosine_epochs = 30\n";
const CIFAR: &str = "model = \"deit_tiny_patch16_224\"\nimg_size = 32\npatch_size = 4\nepochs = 10\nbatch_size = 32\naccumulate = 1
repeated_augmentation = 1\nclip_norm = 1.0\nema_decay = 0.99\nprecision = \"f32\"\neval_precision = \"f32\"\nrates.lr_batch = 32
rates.warmup_epochs = 1\nrates.cosine_epochs = 10\nrates.in_steps = true\nrates.warmup_prefix = true\nrates.lag = 0\n";

/// Every recipe with its tables, a later one's rows in place of an earlier one's.
fn published() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("deit", vec![DEIT]),
        ("deit_tiny", vec![DEIT, "model = \"deit_tiny_patch16_224\""]),
        ("deit_small", vec![DEIT, "model = \"deit_small_patch16_224\""]),
        ("deit_base", vec![DEIT, SIXTEEN, "model = \"deit_base_patch16_224\""]),
        ("deit_tiny_distilled", vec![DEIT, TAUGHT, "model = \"deit_tiny_distilled_patch16_224\""]),
        ("deit_small_distilled", vec![DEIT, TAUGHT, "model = \"deit_small_distilled_patch16_224\""]),
        ("deit_base_distilled", vec![DEIT, SIXTEEN, TAUGHT, "model = \"deit_base_distilled_patch16_224\""]),
        ("deit_base_384", vec![DEIT, AT_384, "model = \"deit_base_patch16_384\""]),
        ("swin", vec![SWIN, "drop_path = 0.0"]),
        ("swin_tiny", vec![SWIN, "drop_path = 0.2\nmodel = \"swin_tiny_patch4_window7_224\""]),
        ("swin_small", vec![SWIN, "drop_path = 0.3\nmodel = \"swin_small_patch4_window7_224\""]),
        ("swin_base", vec![SWIN, "drop_path = 0.5\nmodel = \"swin_base_patch4_window7_224\""]),
        ("savit_tiny", vec![SAVIT]),
        ("savit_small", vec![SAVIT]),
        ("savit_base", vec![SAVIT]),
        ("deit_tiny_cifar10", vec![DEIT, CIFAR]),
    ]
}

/// Keys and values, the keys of inner tables behind theirs.
fn flat(prefix: &str, table: Table, rows: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => flat(&format!("{prefix}{key}."), inner, rows),
            value => drop(rows.insert(format!("{prefix}{key}"), value)),
        }
    }
}

/// Equal; floats up to the rounding of `f32`.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => (a - b).abs() <= 1e-7 * b.abs(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (a, b) => a == b,
    }
}

#[test]
fn every_recipe_is_its_table_as_a_whole() {
    let tables = published();
    assert!(tables.iter().map(|(name, _)| name).eq(RECIPES.iter().map(|(name, _)| name)));
    for (name, tables) in tables {
        let mut expected = BTreeMap::new();
        [SHARED].iter().chain(&tables).for_each(|table| flat("", table.parse().expect(table), &mut expected));
        let (recipe, mut found) = (load(name), BTreeMap::new());
        flat("", recipe.to_toml().unwrap().parse().unwrap(), &mut found);
        assert!(found.remove("source").is_some_and(|source| source.as_str().is_some_and(|text| !text.is_empty())));
        assert!(found.keys().eq(expected.keys()), "{name}: {:?} of {:?}", found.keys(), expected.keys());
        for (key, value) in &expected {
            assert!(same(&found[key], value), "{name}: {key} is {}, not {value}", found[key]);
        }
    }
}

/// Base models 7.1: not tensors of one axis, biases and the list; DeiT's token of distillation does (timm 0.3.2).
#[test]
fn what_decays_is_what_its_program_lets_decay() {
    // Matrices of every block, and: patches and head; with a distillation token that and its head; mergings of patches.
    let counts = [
        ("deit_tiny", 48 + 2),
        ("deit_small", 48 + 2),
        ("deit_base", 48 + 2),
        ("deit_tiny_distilled", 48 + 4),
        ("deit_small_distilled", 48 + 4),
        ("deit_base_distilled", 48 + 4),
        ("deit_base_384", 48 + 2),
        ("swin_tiny", 48 + 5),
        ("swin_small", 96 + 5),
        ("swin_base", 96 + 5),
        ("deit_tiny_cifar10", 48 + 2),
    ];
    for (name, count) in counts {
        let (recipe, mut decaying) = (load(name), Vec::new());
        let config = config(&recipe);
        let rules = no_decay_rules(&config.no_decay.expect("names"));
        for slot in Model::layout(&recipe.architecture().unwrap().expect("a model")).slots {
            let tensor = Tensor::zeros(vec![1; slot.shape.len()], DType::F32);
            let (decay, scale) = group_of(&rules, &slot.name, &tensor, config.weight_decay);
            assert!(scale == 1.0 && (decay == 0.0 || decay == config.weight_decay), "{name}: {}", slot.name);
            decaying.extend((decay > 0.0).then_some(slot.name));
        }
        assert!(decaying.iter().all(|key| key.ends_with(".weight") && !key.contains("norm") || key == "dist_token"));
        assert_eq!(
            (decaying.len(), decaying.contains(&"dist_token".into())),
            (count, name.contains("distilled")),
            "{name}"
        );
    }
}

/// Base models 7.2 and SAViT 7, at 1,024 images a step, 512 at 384 pixels.
#[test]
fn rates_follow_the_images_of_a_whole_step() {
    use std::f64::consts::PI;
    for (name, _) in RECIPES.iter().filter(|(name, _)| *name != "deit_tiny_cifar10") {
        let recipe = load(name);
        let (config, images) = (config(&recipe), if *name == "deit_base_384" { 512 } else { 1024 });
        assert_eq!((recipe.batch_size * config.parts(), recipe.batch_size.is_multiple_of(2)), (images, true), "{name}");
        let at = |at: usize| rate(&config, at);
        let cosine = |low: f64, done: f64| low + 0.5 * (1e-3 - low) * (1.0 + (PI * done).cos());
        assert_eq!(config.schedule_in_steps, name.starts_with("swin"));
        match *name {
            "deit_base_384" => (6..30).for_each(|epoch| close(at(epoch), 5e-6)),
            // All three rates doubled; 20 epochs of warm-up before the cosine; steps 0 and 1 share a rate.
            name if name.starts_with("swin") => {
                let steps = IMAGES / 1024;
                [0, 1].into_iter().for_each(|step| close(at(step), 1e-6));
                close(at(10 * steps + 1), 1e-6 + 0.5 * (1e-3 - 1e-6));
                close(at(20 * steps + 1), 1e-3);
                close(at(160 * steps + 1), cosine(1e-5, 0.5));
                close(at(300 * steps + 1), 1e-5);
            }
            // No warm-up: epochs 0 and 1 at the highest rate.
            name if name.starts_with("savit") => {
                [0, 1].into_iter().for_each(|epoch| close(at(epoch), 1e-3));
                close(at(150), cosine(1e-5, 149.0 / 300.0));
            }
            // Epochs 0 and 1 at the warm-up's rate; then that of the epoch before; the warm-up is within the cosine.
            _ => {
                [0, 1].into_iter().for_each(|epoch| close(at(epoch), 1e-6));
                close(at(3), 1e-6 + 2.0 * (1e-3 - 1e-6) / 5.0);
                close(at(6), cosine(1e-5, 5.0 / 300.0));
            }
        }
    }
}

/// Base models 4 and 5.
#[test]
fn a_transform_has_the_recipe_s_sizes() {
    let augment = load("deit").augment;
    assert_eq!(augment.train(224).crop, Crop::RandomResized { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] });
    assert_eq!(augment.train(32).crop, Crop::Padded { padding: 4 });
    assert_eq!(augment.train(224).fill(), [124, 116, 104]);
    for (side, resize) in [(32, None), (224, Some(256)), (384, Some(438))] {
        assert_eq!(augment.eval(side).crop, Crop::Centre { resize });
    }
    assert_eq!(load("deit_base_384").architecture().unwrap().expect("a model").img_size, 384);
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
    refused("[rates]\nwarmup_epochs = 9000000000000000000", &["rates.warmup_epochs", "0 to 16777216"]);
    refused("[rates]\ncosine_epochs = 9000000000000000000\nin_steps = true", &["rates.cosine_epochs", "0 to 16777216"]);
    refused("[rates]\nlag = 16777217", &["rates.lag", "16777217"]);
    refused("repeated_augmentation = 65", &["repeated_augmentation", "1 to 64", "65"]);
    refused("repeated_augmentation = 0", &["repeated_augmentation", "1 to 64"]);
    refused("betas = [0.9, 1.0]", &["betas", "below 1", "1.0"]);
    refused("eps = 0.0", &["eps", "above 0"]);
    refused("seed = 9223372036854775808", &["bad.toml"]);
    refused("[distillation]\nkind = \"soft\"\ntau = 0.0", &["distillation.tau", "above 0"]);
    refused("[distillation]\nalpha = nan", &["distillation.alpha", "0 to 1"]);
    refused("epochs = ", &["bad.toml"]);
    refused("extends = \"bad.toml\"", &["extensions"]);
    refused("extends = 3", &["extends"]);
    refused("batch_size = 7\n[mixup]\nmixup = 0.8", &["batch_size", "even", "7"]);
    refused("smoothing = 1.5", &["smoothing"]);
    refused("[rates]\nlr = -1.0", &["lr"]);
    refused("[augment]\nrand_augment = \"rand-q3\"", &["rand-q3"]);
    for (keys, part) in
        [("[\"ema_deacy\"]", "ema_deacy"), ("\"ema_decay\"", "a list"), ("[3]", "a list"), ("[\"lr=3\"]", "lr=3")]
    {
        refused(&format!("extends = \"deit\"\nunset = {keys}"), &["bad.toml", part]);
    }
    refused("unset = [\"ema_decay\"]", &["bad.toml", "unset"]);
    let seed = Recipe { seed: u64::MAX, ..Recipe::default() }.validate().expect_err("no TOML").to_string();
    assert!(seed.contains("seed") && seed.contains(&u64::MAX.to_string()), "{seed}");
    let unknown = Recipe::load("deit_huge", &[]).expect_err("unknown").to_string();
    assert!(unknown.contains("deit_small") && unknown.contains("swin_tiny"), "{unknown}");
    let changes = ["lr", "rates.speed=3", "epochs.more=3", "clip_nrom=", "rates.=1", "=1", "augment.erasing.size="];
    for change in changes {
        let message = Recipe::load("deit", &[change.to_string()]).expect_err(change).to_string();
        assert!(message.contains("recipe") && message.contains(change.trim_end_matches(['=', '1', '3'])), "{message}");
    }
}

/// Every key that a recipe need not have can be given and left out.
#[test]
fn optional_keys_are_known() {
    for (key, value) in [
        ("model", "deit_tiny_patch16_224"),
        ("img_size", "224"),
        ("patch_size", "16"),
        ("clip_norm", "1.0"),
        ("ema_decay", "0.5"),
        ("teacher", "regnety_160"),
        ("rates.lr_batch", "512"),
        ("augment.rand_augment", "rand-m5"),
        ("augment.erasing", "{}"),
        ("augment.erasing.count", "2"),
    ] {
        let keys = |change: String| {
            let mut rows = BTreeMap::new();
            flat("", Recipe::load("deit", &[change]).expect(key).to_toml().unwrap().parse().unwrap(), &mut rows);
            rows.into_keys().filter(|found| found.starts_with(key)).count()
        };
        assert!(keys(format!("{key}={value}")) > 0, "{key}");
        // A count has a default.
        assert_eq!(keys(format!("{key}=")), usize::from(key == "augment.erasing.count"), "{key}");
    }
}
