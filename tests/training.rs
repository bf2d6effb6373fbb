//! The training loop: it learns, resumes to the same bits, repeats itself on any number of threads, and stops at a NaN.

mod common;

use common::Dying;
use espalier::data::generated::{GeneratedDataset, Split};
use espalier::data::loader::{Loader, LoaderOptions};
use espalier::data::mixup::{MixMode, Mixup};
use espalier::models::{Architecture, Model};
use espalier::optim::{GroupRule, default_rules, group_of};
use espalier::report::{Progress, RunFolder, Show, read_log};
use espalier::train::{DistillKind, Distillation, Teacher, TrainConfig, Trainer, evaluate};
use espalier::{DType, Error, Tensor};
use std::sync::Arc;

/// The published mixing.
const MIXUP: Mixup = Mixup { mixup: 0.8, cutmix: 1.0, probability: 1.0, switch: 0.5, mode: MixMode::Batch };

fn data(split: Split, len: usize) -> GeneratedDataset {
    GeneratedDataset::new(split, len, 32, 0).expect("data")
}

fn loader(split: Split, len: usize, batch: usize) -> Loader {
    let options = if split == Split::Train { LoaderOptions::train(batch, 3) } else { LoaderOptions::eval(batch) };
    Loader::new(Arc::new(data(split, len)), options).expect("loader")
}

fn model() -> Model {
    Model::init(Architecture::deit(32, 8, 24, 2, 3).with_classes(10), 0).expect("model")
}

fn config(epochs: usize) -> TrainConfig {
    let mut config = TrainConfig::short("test", epochs, epochs * 4, 1e-3);
    (config.drop_path, config.smoothing, config.ema_decay, config.checkpoint_every) = (0.2, 0.1, Some(0.9), 1);
    config
}

fn bytes(model: &Model) -> Vec<Vec<u8>> {
    model.params().iter().map(|(_, t)| t.bytes().unwrap().to_vec()).collect()
}

#[test]
fn a_resumed_run_ends_in_the_same_bits() {
    let folder = tempfile::tempdir().expect("folder");
    let train = loader(Split::Train, 64, 16);
    let config = |epochs| TrainConfig { mixup: MIXUP, ..config(epochs) };
    let mut whole = model();
    Trainer::new(&mut whole, config(3), None, Show::Quiet).unwrap().run(&train, None, None).unwrap();

    // The same run, stopped by an error in its third epoch, and gone on with.
    let path = folder.path().join("run.checkpoint");
    let mut stopped = model();
    let dying = Loader::new(Arc::new(Dying { data: data(Split::Train, 64), epochs: 2 }), LoaderOptions::train(16, 3))
        .expect("loader");
    let trainer = Trainer::new(&mut stopped, config(3), None, Show::Quiet).unwrap().resuming(path.clone()).unwrap();
    assert!(trainer.run(&dying, None, None).is_err());
    let mut resumed = model();
    let trainer = Trainer::new(&mut resumed, config(3), None, Show::Quiet).unwrap().resuming(path.clone()).unwrap();
    assert_eq!(trainer.epoch, 2);
    trainer.run(&train, None, None).unwrap();
    assert!(bytes(&whole) == bytes(&resumed), "resuming changed the result");

    // Other settings are refused, and the file is named.
    let mut other = model();
    let refused = Trainer::new(&mut other, config(5), None, Show::Quiet).unwrap().resuming(path.clone());
    assert!(refused.err().unwrap().to_string().contains("run.checkpoint"));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        pool.install(|| {
            let (mut student, teacher) = (model(), model());
            let mut config = config(1);
            config.distillation =
                Distillation { kind: DistillKind::Soft, single_head: true, ..Distillation::default() };
            let trainer = Trainer::new(&mut student, config, None, Show::Quiet).unwrap();
            trainer.run(&loader(Split::Train, 64, 16), None, Some(&mut Teacher::remembering(&teacher))).unwrap();
            bytes(&student)
        })
    };
    let one = on(1);
    assert!(one == on(2) && one == on(3));
}

#[test]
fn a_teacher_sees_the_mixed_images_of_its_run() {
    let train = loader(Split::Train, 64, 16);
    let dense = model();
    let run = |seed, mixup, teacher: &mut Teacher| {
        let mut student = model();
        let distillation = Distillation { kind: DistillKind::Mse, single_head: true, ..Distillation::default() };
        let config = TrainConfig { seed, mixup, distillation, ..config(2) };
        let trainer = Trainer::new(&mut student, config, None, Show::Quiet).unwrap();
        trainer.run(&train, None, Some(teacher)).unwrap();
        bytes(&student)
    };
    // The images of both runs are the same until they are mixed: logits of the first are wrong in the second.
    let mut shared = Teacher::remembering(&dense);
    run(1, MIXUP, &mut shared);
    assert!(run(2, MIXUP, &mut shared) == run(2, MIXUP, &mut Teacher::remembering(&dense)));
    // Without mixing they are right, also after a run with it.
    let plain = run(2, Mixup::default(), &mut shared);
    assert!(plain == run(2, Mixup::default(), &mut shared));
    assert!(plain == run(2, Mixup::default(), &mut Teacher::remembering(&dense)));
    assert!(plain != run(2, MIXUP, &mut shared));
}

#[test]
fn odd_batches_cannot_be_mixed() {
    let mixed = TrainConfig { mixup: MIXUP, ..config(1) };
    let mut model = model();
    let trainer = Trainer::new(&mut model, mixed.clone(), None, Show::Quiet).unwrap();
    let error = trainer.run(&loader(Split::Train, 64, 15), None, None).unwrap_err().to_string();
    assert!(error.contains("even") && error.contains("15"), "{error}");
    let bad = TrainConfig { mixup: Mixup { cutmix: -1.0, ..MIXUP }, ..mixed };
    assert!(Trainer::new(&mut model, bad, None, Show::Quiet).is_err());
}

#[test]
fn a_run_logs_evaluates_and_learns() {
    let temporary = tempfile::tempdir().expect("folder");
    let folder = RunFolder::create(temporary.path().join("run")).expect("run folder");
    let (train, test) = (loader(Split::Train, 64, 16), loader(Split::Test, 50, 16));
    let mut model = Model::init(Architecture::deit(32, 8, 64, 2, 2).with_classes(10), 0).expect("model");
    let mut config = TrainConfig::short("memorise", 60, 240, 2e-3);
    config.eval_every = 20;
    let outcome = Trainer::new(&mut model, config, Some(&folder), Show::Quiet)
        .and_then(|trainer| trainer.run(&train, Some(&test), None))
        .expect("run");
    assert!(outcome.loss < 1.0, "64 images are not learned by heart: {}", outcome.loss);
    let log = read_log(folder.path().join("log.jsonl")).expect("log");
    assert_eq!(log.iter().filter(|record| record.get("top1").is_some()).count(), 3);
    assert_eq!(log.iter().filter(|record| record.get("grad_norm").is_some()).count(), 240);
    let found = evaluate(&model, &test, &Progress::with(50, "test", Show::Quiet)).expect("evaluate");
    let accuracy = found.accuracy;
    assert_eq!(Some(accuracy), outcome.accuracy);
    assert_eq!((found.classes.len(), found.agreement(&found)), (50, 100.0));
    assert_eq!(accuracy.images, 50);
}

#[test]
fn a_nan_stops_with_step_and_layer() {
    let mut model = model();
    model.params_mut().insert("blocks.1.mlp.fc1.bias", Tensor::full([96], DType::F32, f64::NAN));
    let error = Trainer::new(&mut model, config(1), None, Show::Quiet)
        .and_then(|trainer| trainer.run(&loader(Split::Train, 64, 16), None, None))
        .expect_err("NaN");
    assert!(
        matches!(&error, Error::NonFinite { step: 0, layer, .. } if layer.contains("blocks.1.mlp.fc1.bias")),
        "{error}"
    );

    // Weights that are finite but overflow: the first layer whose output is not.
    let mut model = self::model();
    model.params_mut().insert("blocks.0.mlp.fc2.bias", Tensor::full([24], DType::F32, 3e38));
    model.params_mut().insert("blocks.1.mlp.fc2.bias", Tensor::full([24], DType::F32, 3e38));
    let error = Trainer::new(&mut model, config(1), None, Show::Quiet)
        .and_then(|trainer| trainer.run(&loader(Split::Train, 64, 16), None, None))
        .expect_err("overflow");
    assert!(matches!(&error, Error::NonFinite { layer, .. } if layer.contains("(")), "{error}");
}

#[test]
fn the_first_matching_group_rule_decides() {
    let decay =
        |name: &str, shape: &[usize]| group_of(&default_rules(), name, &Tensor::zeros(shape, DType::F32), 0.05).0;
    assert_eq!(decay("head.weight", &[3, 2]), 0.05);
    for (name, shape) in [("head.bias", &[3][..]), ("norm.weight", &[3]), ("pos_embed", &[1, 2, 3])] {
        assert_eq!(decay(name, shape), 0.0, "{name}");
    }
    let mut rules = default_rules();
    rules.insert(0, GroupRule { pattern: "head*".into(), max_rank: None, weight_decay: None, lr_scale: 0.0 });
    assert_eq!(group_of(&rules, "head.bias", &Tensor::zeros([3], DType::F32), 0.1), (0.1, 0.0));
}
