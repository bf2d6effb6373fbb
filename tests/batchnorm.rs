//! BatchNorm's running statistics: kept by training, averaged, stored, and the same on a GPU.

mod common;

use espalier::data::generated::{GeneratedDataset, Split};
use espalier::data::loader::{Loader, LoaderOptions};
use espalier::io;
use espalier::models::file::LoadOptions;
use espalier::models::{Architecture, Model, Stem};
use espalier::report::Show;
use espalier::train::{Outcome, TrainConfig, Trainer};
use espalier::{Device, Tensor};
use std::sync::Arc;

const STEPS: f64 = 9.0;

/// Three epochs of three batches: 8, 8 and 4 images.
fn train(device: Device, graphs: bool) -> (Model, Outcome) {
    train_on(20, 3, device, graphs)
}

/// So many epochs on `images` images in batches of 8.
fn train_on(images: usize, epochs: usize, device: Device, graphs: bool) -> (Model, Outcome) {
    let data = GeneratedDataset::new(Split::Train, images, 32, 0).expect("data");
    let options = LoaderOptions { drop_last: false, ..LoaderOptions::train(8, 3) };
    let loader = Loader::new(Arc::new(data), options).expect("loader");
    let arch = Architecture::lvvit(32, Stem::Conv4, 24, 2, 3, 2.0).with_classes(10);
    let mut model = Model::init(arch, 0).expect("model").to_device(device).expect("device");
    let mut config = TrainConfig::short("test", epochs, STEPS as usize, 1e-3);
    config.ema_decay = Some(0.5);
    let mut trainer = Trainer::new(&mut model, config, None, Show::Quiet).expect("trainer");
    trainer.graphs = graphs;
    let outcome = trainer.run(&loader, None, None).expect("run");
    (model, outcome)
}

fn values(model: &Model, name: &str) -> Vec<f64> {
    model.params().get(name).expect(name).to_f64s().expect(name)
}

#[test]
fn training_counts_batches_moves_statistics_and_averages_them() {
    let (model, outcome) = train(Device::Cpu, false);
    let average = outcome.ema.expect("average");
    let item = |tensor: &Tensor| tensor.item().unwrap();
    for i in 1..=4 {
        let norm = format!("patch_embed.bn{i}");
        let count = format!("{norm}.num_batches_tracked");
        assert_eq!(values(&model, &count), [STEPS]);
        assert_eq!(item(average.get(&count).unwrap()), STEPS, "counts are copied");
        let (mean, var) =
            (values(&model, &format!("{norm}.running_mean")), values(&model, &format!("{norm}.running_var")));
        assert!(mean.iter().all(|v| *v != 0.0) && var.iter().all(|v| *v > 0.0 && *v != 1.0), "{norm}");
    }
    // One step from 0 and 1 with decay 0.5: half way between those and the statistics.
    let (model, outcome) = train_on(8, 1, Device::Cpu, false);
    let average = outcome.ema.expect("average");
    for (end, begin) in [("running_mean", 0.0), ("running_var", 1.0)] {
        let name = format!("patch_embed.bn3.{end}");
        let averaged = average.get(&name).unwrap().to_f64s().unwrap();
        for (average, value) in averaged.into_iter().zip(values(&model, &name)) {
            assert!(value != begin && (average - 0.5 * (begin + value)).abs() <= 1e-6, "{name}: {average} {value}");
        }
    }
}

#[test]
fn counts_of_batches_are_integers_in_files_and_come_back() {
    let (model, _) = train(Device::Cpu, false);
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["model.safetensors", "model.pth"].map(|name| folder.path().join(name));
    model.save(&ours, "dense").unwrap();
    model.save_pth(&theirs).unwrap();
    for path in [&ours, &theirs] {
        let file = io::read(path).unwrap();
        let (_, blob) =
            file.tensors.iter().find(|(name, _)| name.ends_with("patch_embed.bn2.num_batches_tracked")).unwrap();
        assert_eq!((blob.dtype.name(), blob.to_i64().unwrap()), ("I64", vec![STEPS as i64]));
        assert!(blob.shape.is_empty());
        let options = LoadOptions { arch: Some(model.arch().clone()), ..LoadOptions::default() };
        let loaded = Model::load(path, &options).unwrap();
        for (name, tensor) in model.params().iter() {
            assert_eq!(values(&loaded, name), tensor.to_f64s().unwrap(), "{name}");
        }
    }
}

/// A replayed step updates the statistics as a launched one does, and as the processor.
#[cfg(feature = "sim")]
#[test]
fn captured_steps_update_the_statistics() {
    let [replayed, launched] = [true, false].map(|graphs| train(common::gpu_under_test(), graphs).0);
    let (on_cpu, _) = train(Device::Cpu, false);
    for (name, tensor) in on_cpu.params().iter() {
        let [replayed, launched] = [&replayed, &launched].map(|model| values(model, name));
        assert_eq!(replayed, launched, "{name}");
        if name.contains(".bn") {
            let wanted = tensor.to_f64s().unwrap();
            let top = wanted.iter().fold(1e-3f64, |top, v| top.max(v.abs()));
            let gap = wanted.iter().zip(&launched).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(gap <= 2e-3 * top, "{name}: {gap:e} of {top:e}");
        }
    }
}
