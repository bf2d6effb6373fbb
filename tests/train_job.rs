//! A run by a recipe: what cannot be is refused before a folder is made, what is told at the start, AdamW's numbers in use.

use espalier::models::{Architecture, Model};
use espalier::report::Show;
use espalier::train::job::{TrainJob, TrainOptions};
use espalier::train::{DistillKind, Distillation, recipe::Recipe};
use espalier::{Device, Result};
use std::path::Path;
use std::process::Command;

/// One step an epoch on 8 generated images.
fn recipe() -> Recipe {
    Recipe { epochs: 3, batch_size: 8, ..Recipe::default() }
}

/// Weights of a model with one head, of `folder`, as a beginning.
fn options(folder: &Path) -> TrainOptions {
    let begin = folder.join("begin.safetensors");
    let arch = Architecture::deit(32, 8, 24, 2, 3).with_classes(10);
    Model::init(arch, 0).and_then(|model| model.save(&begin, "dense")).expect("begin");
    TrainOptions {
        data: None,
        weights: Some(begin),
        teacher_weights: None,
        train_images: 8,
        test_images: 8,
        skip_broken: false,
        device: Device::Cpu,
        dtype: None,
    }
}

fn open(recipe: Recipe, options: TrainOptions, folder: &Path) -> Result<TrainJob> {
    TrainJob::open(recipe, options, &folder.join("run"), Show::Quiet)
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let temporary = tempfile::tempdir().expect("folder");
    let folder = temporary.path();
    let refused = |recipe: Recipe, change: fn(&mut TrainOptions), parts: &[&str]| {
        let mut options = options(folder);
        change(&mut options);
        let message = open(recipe, options, folder).err().expect(parts[0]).to_string();
        parts.iter().for_each(|part| assert!(message.contains(part), "{part:?} is not in {message}"));
        assert!(!folder.join("run").exists(), "{message}");
    };
    let kept = |_: &mut TrainOptions| ();
    let images = |options: &mut TrainOptions| options.train_images = 300;
    let teacher = |options: &mut TrainOptions| options.teacher_weights = options.weights.clone();
    let learns = |kind, tau| Distillation { kind, tau, ..Distillation::default() };

    let distilled = Recipe { distillation: learns(DistillKind::Hard, 1.0), ..recipe() };
    refused(distilled.clone(), teacher, &["distillation", "two heads", "one head"]);
    let single = Distillation { single_head: true, ..distilled.distillation };
    refused(Recipe { distillation: single, ..recipe() }, kept, &["teacher-weights", "none"]);
    refused(recipe(), teacher, &["teacher-weights", "without distillation", "begin.safetensors"]);
    refused(Recipe { distillation: learns(DistillKind::Soft, 0.0), ..recipe() }, teacher, &["distillation.tau"]);

    let repeated = |batch_size| Recipe { repeated_augmentation: 3, batch_size, ..recipe() };
    refused(repeated(8), kept, &["repeated augmentation", "at least 256 images", "8"]);
    refused(repeated(280), images, &["batch_size", "1 to 256", "280"]);
    refused(Recipe { repeated_augmentation: 65, ..recipe() }, images, &["repeated_augmentation", "1 to 64", "65"]);
    refused(Recipe { batch_size: 16, ..recipe() }, kept, &["batch_size", "1 to 8", "16"]);
    // 300 images are two batches of 128 in the sampler's 256, and of 130 one.
    refused(Recipe { accumulate: 2, ..repeated(130) }, images, &["accumulate", "at most 1", "2"]);
    refused(recipe(), |options| options.train_images = 0, &["train-images", "1 to 100000000", "0"]);
    refused(recipe(), |options| options.train_images = usize::MAX, &["train-images", "1 to 100000000"]);
    refused(recipe(), |options| options.test_images = 0, &["test-images", "1 to 100000000", "0"]);

    refused(Recipe { seed: 1 << 63, ..recipe() }, kept, &["seed", "9223372036854775808"]);
    refused(Recipe { patch_size: Some(4), ..recipe() }, kept, &["patch_size", "weights that say the model", "4"]);
    let unread = |options: &mut TrainOptions| options.weights = None;
    refused(recipe(), unread, &["a model, or weights"]);
    assert!(
        open(Recipe { accumulate: 2, ..repeated(128) }, TrainOptions { train_images: 300, ..options(folder) }, folder)
            .is_ok()
    );
}

/// The weights that a run of `recipe` ends with.
fn trained(recipe: Recipe) -> Vec<u8> {
    let temporary = tempfile::tempdir().expect("folder");
    let job = open(recipe, options(temporary.path()), temporary.path()).expect("job");
    let file = job.folder.file("model.safetensors").expect("file");
    job.run().expect("run");
    std::fs::read(file).expect("model")
}

#[test]
fn adamw_has_the_recipe_s_numbers() {
    let plain = trained(recipe());
    assert!(plain == trained(Recipe { betas: [0.9, 0.999], eps: 1e-8, ..recipe() }));
    for other in [
        Recipe { betas: [0.8, 0.999], ..recipe() },
        Recipe { betas: [0.9, 0.99], ..recipe() },
        Recipe { eps: 1e-3, ..recipe() },
    ] {
        let found = trained(other.clone());
        assert!(plain != found, "{:?}, {}", other.betas, other.eps);
    }
}

/// Generated images come as they are, whatever the recipe says: a line says so once.
#[test]
fn generated_images_are_said_to_be_as_they_are() {
    let temporary = tempfile::tempdir().expect("folder");
    let folder = temporary.path();
    let weights = options(folder).weights.expect("weights");
    std::fs::write(folder.join("recipe.toml"), "epochs = 1\nbatch_size = 4\n[augment]\nrand_augment = \"rand-m9\"")
        .unwrap();
    let mut train = Command::new(env!("CARGO_BIN_EXE_espalier"));
    train.current_dir(folder).args(["train", "recipe.toml", "--quiet", "--train-images", "8", "--test-images", "4"]);
    let output = train.arg("--weights").arg(weights).output().expect("espalier starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let told = text.lines().filter(|line| line.starts_with("warning: generated images are not augmented"));
    assert_eq!(told.count(), 1, "{text}");
}
