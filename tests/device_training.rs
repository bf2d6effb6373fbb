//! Training on a GPU, run by the simulator: a replayed step has the bits of one that is launched kernel by kernel, and both
//! are the CPU's within rounding.
#![cfg(feature = "sim")]

mod common;

use common::gpu_under_test;
use espalier::data::generated::{GeneratedDataset, Split};
use espalier::data::loader::{Loader, LoaderOptions};
use espalier::gpu::{StepState, params::StepNumbers};
use espalier::models::{Architecture, Model};
use espalier::nn::{Params, Pass};
use espalier::ops::{self, AdamwTensor, Numbers};
use espalier::optim::AdamW;
use espalier::train::{DistillKind, Distillation, Outcome, Teacher, TrainConfig, Trainer};
use espalier::{DType, Device, Error, Result, Tensor, Var, report::Show};
use std::sync::Arc;

fn loader(images: usize, batch: usize) -> Loader {
    let data = GeneratedDataset::new(Split::Train, images, 16, 0).expect("data");
    Loader::new(Arc::new(data), LoaderOptions { drop_last: false, ..LoaderOptions::train(batch, 3) }).expect("loader")
}

/// Width and hidden units are no multiples of 8: rows are padded on the device.
fn model(seed: u64, device: Device) -> Model {
    let mut arch = Architecture::deit(16, 8, 12, 2, 3).with_classes(10);
    arch.blocks[1].hidden = 19;
    Model::init(arch, seed).expect("model").to_device(device).expect("device")
}

/// Everything that changes from step to step is on: schedule, drop path, clipping, average, teacher.
fn config(epochs: usize) -> TrainConfig {
    let mut config = TrainConfig::short("test", epochs, epochs * 5, 1e-2);
    (config.drop_path, config.smoothing, config.ema_decay, config.clip_norm) = (0.4, 0.1, Some(0.9), Some(0.5));
    config.distillation = Distillation { kind: DistillKind::Soft, single_head: true, ..Distillation::default() };
    config
}

fn train(device: Device, graphs: bool, epochs: usize, checkpoint: Option<&std::path::Path>) -> (Model, Outcome) {
    let (mut student, teacher) = (model(0, device), model(1, device));
    let mut trainer = Trainer::new(&mut student, config(epochs), None, Show::Quiet).expect("trainer");
    if let Some(path) = checkpoint {
        trainer = trainer.resuming(path.to_path_buf()).expect("checkpoint");
    }
    trainer.graphs = graphs;
    // Batches of 8, 8, 8, 8 and 4: a last batch of another size is launched, not replayed.
    let outcome = trainer.run(&loader(36, 8), None, Some(&mut Teacher::remembering(&teacher))).expect("run");
    (student, outcome)
}

fn bits(params: &Params) -> Vec<Vec<u8>> {
    params.iter().map(|(_, tensor)| tensor.bytes().expect("bytes").into_owned()).collect()
}

#[test]
fn a_replayed_step_has_the_bits_of_a_launched_one_and_the_cpus_values() {
    let (replayed, with_graphs) = train(gpu_under_test(), true, 2, None);
    let (launched, without) = train(gpu_under_test(), false, 2, None);
    assert!(bits(replayed.params()) == bits(launched.params()), "a replay changed the parameters");
    assert_eq!(with_graphs.loss.to_bits(), without.loss.to_bits());
    let averages = [with_graphs.ema, without.ema].map(|ema| bits(&ema.expect("average")));
    assert!(averages[0] == averages[1], "a replay changed the average");

    let (on_cpu, outcome) = train(Device::Cpu, true, 2, None);
    assert!((outcome.loss - without.loss).abs() < 1e-4, "{} and {}", outcome.loss, without.loss);
    let start = model(0, Device::Cpu);
    for ((name, ours), (_, cpu)) in launched.params().iter().zip(on_cpu.params().iter()) {
        let (gap, top) = common::distance(&ours.to_device(Device::Cpu).expect("host"), cpu);
        assert!(gap <= 1e-3 * top.max(1e-2), "{name}: {gap:.1e} apart at {top:.1e}");
        let (moved, _) = common::distance(cpu, start.params().get(name).expect("a parameter"));
        assert!(moved > 10.0 * gap, "{name}: moved by {moved:.1e}, {gap:.1e} apart");
    }
}

#[test]
fn every_kind_of_distillation_is_captured() {
    for kind in [DistillKind::Hard, DistillKind::Mse] {
        let run = |graphs: bool| {
            let (mut student, teacher) = (model(0, gpu_under_test()), model(1, gpu_under_test()));
            let config = TrainConfig { distillation: Distillation { kind, ..config(1).distillation }, ..config(1) };
            let mut trainer = Trainer::new(&mut student, config, None, Show::Quiet).expect("trainer");
            trainer.graphs = graphs;
            trainer.run(&loader(36, 8), None, Some(&mut Teacher::remembering(&teacher))).expect("run");
            bits(student.params())
        };
        assert!(run(true) == run(false), "{kind:?}");
    }
}

#[test]
fn the_order_of_warps_and_a_pause_change_no_bit() {
    let (whole, _) = train(gpu_under_test(), true, 2, None);
    common::reverse_order(true);
    let (reversed, _) = train(gpu_under_test(), true, 2, None);
    common::reverse_order(false);
    assert!(bits(whole.params()) == bits(reversed.params()), "the order of warps shows");
    common::check_guards().expect("no write beside a tensor");

    // Interrupted after the first epoch, and gone on with by another trainer.
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("run.checkpoint");
    let (mut first, teacher) = (model(0, gpu_under_test()), model(1, gpu_under_test()));
    let settings = TrainConfig { checkpoint_every: 1, ..config(2) };
    let data = GeneratedDataset::new(Split::Train, 36, 16, 0).expect("data");
    let data = common::Dying { data, epochs: 1 };
    let options = LoaderOptions { drop_last: false, ..LoaderOptions::train(8, 3) };
    let dying = Loader::new(Arc::new(data), options).expect("loader");
    let trainer = Trainer::new(&mut first, settings.clone(), None, Show::Quiet).expect("trainer");
    let trainer = trainer.resuming(path.clone()).expect("path");
    assert!(trainer.run(&dying, None, Some(&mut Teacher::remembering(&teacher))).is_err());
    let mut second = model(0, gpu_under_test());
    let trainer =
        Trainer::new(&mut second, settings, None, Show::Quiet).expect("trainer").resuming(path).expect("path");
    assert_eq!(trainer.epoch, 1);
    trainer.run(&loader(36, 8), None, Some(&mut Teacher::remembering(&teacher))).expect("run");
    assert!(bits(whole.params()) == bits(second.params()), "resuming changed the result");
}

#[test]
fn a_step_that_is_not_finite_changes_nothing_and_names_the_same_layer() {
    let broken = |device: Device| {
        let mut model = model(0, Device::Cpu);
        for (name, tensor) in model.params_mut().iter_mut().filter(|(name, _)| *name == "blocks.1.mlp.fc2.bias") {
            *tensor = Tensor::full(*tensor.shape(), tensor.dtype(), 1e38).reshape([12]).expect(name);
        }
        let mut model = model.to_device(device).expect("device");
        let before = bits(model.params());
        let config = TrainConfig { distillation: Distillation::default(), ..config(1) };
        let trainer = Trainer::new(&mut model, config, None, Show::Quiet).expect("trainer");
        let error = trainer.run(&loader(16, 8), None, None).expect_err("an infinite step").to_string();
        assert!(bits(model.params()) == before, "{device}: a broken step changed parameters");
        error
    };
    let [cpu, sim] = [Device::Cpu, gpu_under_test()].map(broken);
    assert!(cpu.contains("is not finite") && cpu.split('(').next() == sim.split('(').next(), "{cpu}\n{sim}");
}

#[test]
fn a_captured_forward_pass_replays_on_new_images() {
    let (model, gpu) = (model(0, gpu_under_test()), gpu_under_test().gpu().expect("simulator").expect("a GPU"));
    let images = |seed: usize| {
        let values: Vec<f32> = (0..2 * 3 * 16 * 16).map(|i| ((i * seed) as f32 * 0.37).sin()).collect();
        Tensor::from_slice([2, 3, 16, 16], &values).expect("images")
    };
    let mut input = images(1).to_device(gpu_under_test()).expect("device");
    let forward = |input: &Tensor| -> Result<Tensor> {
        Ok(model.forward(&Pass::eval(model.params())?, &Var::constant(input.clone()))?.remove(0).into_tensor())
    };
    let (graph, logits) = gpu.capture(|| forward(&input)).expect("capture");
    for seed in [2, 3] {
        input.copy_from(&images(seed)).expect("copy");
        graph.replay().expect("replay");
        let eager = forward(&images(seed).to_device(gpu_under_test()).expect("device")).expect("forward");
        assert!(logits.bytes().expect("bytes") == eager.bytes().expect("bytes"), "images {seed}");
    }
    // What waits for the device cannot be captured, and the device goes on afterwards.
    assert!(gpu.capture(|| forward(&input)?.item()).is_err());
    assert!(forward(&input).and_then(|logits| logits.to_f64s()).is_ok());
    // Nor can a capture inside another, and a panic inside one leaves the device as it was.
    assert!(gpu.capture(|| gpu.capture(|| forward(&input)).map(drop)).is_err());
    let panics = || gpu.capture(|| -> Result<()> { panic!("a fault of the work") }).map(drop);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    let (graph, logits) = gpu.capture(|| forward(&input)).expect("capture");
    graph.replay().expect("replay");
    assert!(logits.bytes().expect("bytes") == forward(&input).expect("forward").bytes().expect("bytes"));
}

#[test]
fn a_loss_that_is_not_finite_stops_the_update_though_the_gradients_are() {
    let gpu = gpu_under_test().gpu().expect("simulator").expect("a GPU");
    let full = |value: f64| Tensor::full([5], DType::F32, value).to_device(gpu_under_test()).expect("device");
    let update = |loss: f32| {
        let [mut param, mut m, mut v, grad] = [1.0, 0.0, 0.0, 0.5].map(full);
        let state = StepState::new(gpu)?;
        let (loss_scale, grad_scale) = (4.0, 1.0);
        let numbers =
            StepNumbers { lr: 0.1, bias1: 0.1, bias2: 0.001, loss_scale, grad_scale, grad_norm: 0.0, step: 0 };
        state.write(&numbers)?;
        let loss = Tensor::from_slice([], &[loss])?.to_device(gpu_under_test())?;
        ops::clip_scale(&[&grad], &loss, Some(1.0), &state)?;
        let mut average = full(-1.0);
        let tensor = AdamwTensor {
            param: &mut param,
            m: &mut m,
            v: &mut v,
            grad: &grad,
            weight_decay: 0.0,
            lr_scale: 1.0,
            average: Some((&mut average, 0.5)),
        };
        ops::adamw(vec![tensor], (0.9, 0.999), 1e-8, Numbers::Device(&state))?;
        let norm = state.read()?.grad_norm;
        assert!((norm - 0.5 * 5f64.sqrt() / loss_scale).abs() < 1e-6, "norm {norm} of the plain loss");
        Ok::<_, Error>([param, m, v, average].map(|t| t.to_f64s().expect("values")))
    };
    let before = [1.0, 0.0, 0.0, -1.0].map(|value| vec![value; 5]);
    for loss in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(update(loss).expect("update"), before, "loss {loss}");
    }
    assert!(update(2.0).expect("update").iter().zip(&before).all(|(after, before)| after != before));
}

/// What it works in is not given to those who come after it.
#[test]
fn a_graph_keeps_its_memory_when_only_the_graph_is_left() {
    let gpu = gpu_under_test().gpu().expect("simulator").expect("a GPU");
    let x = Var::constant(Tensor::full([40, 40], DType::F32, 0.5).to_device(gpu_under_test()).expect("device"));
    // All alive at once, so that the graph needs this many blocks.
    let chain = || -> Result<Tensor> {
        let mut values = vec![x.clone()];
        for k in 0..8 {
            values.push(ops::gelu(&values[k])?);
        }
        Ok(values.swap_remove(8).into_tensor())
    };
    let expected = chain().and_then(|y| y.to_f64s()).expect("values");
    let mut out = x.tensor().new_full([40, 40], 0.0).expect("device");
    let (graph, ()) = gpu.capture(|| ops::ema(&mut out, &chain()?, 0.0, None)).expect("capture");
    // Smaller, so that they would fit where the graph's blocks lie.
    let others: Vec<Tensor> = (0..50).map(|k| x.tensor().new_full([24, 24], f64::from(k)).expect("device")).collect();
    for _ in 0..2 {
        graph.replay().expect("replay");
        assert!(out.to_f64s().expect("values") == expected, "other values");
        out.copy_from(&Tensor::zeros([40, 40], DType::F32)).expect("copy");
    }
    for (k, other) in others.iter().enumerate() {
        assert!(other.to_f64s().expect("values").iter().all(|v| *v == k as f64), "tensor {k} was overwritten");
    }
    common::check_guards().expect("no write beside a tensor or after its end");
}

/// A parameter without a gradient has a running average of its own launch, which a refused step leaves alone, too.
#[test]
fn a_refused_step_moves_no_average() {
    let gpu = gpu_under_test().gpu().expect("simulator").expect("a GPU");
    let all = |value: f64| -> Params {
        let tensor = |name: &str| (name.to_string(), Tensor::full([3, 9], DType::F32, value));
        let on_device = |(name, tensor): (String, Tensor)| (name, tensor.to_device(gpu_under_test()).expect("device"));
        ["with", "bn.running_mean"].map(tensor).map(on_device).into_iter().collect()
    };
    let (mut params, mut average) = (all(1.0), all(0.0));
    let gradient = all(0.5).iter().take(1).map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    let mut optimizer = AdamW { steps: 1, ..AdamW::new(&params).expect("moments") };
    for (grad_scale, expected) in [(f64::NAN, 0.0), (1.0, 0.25)] {
        let numbers = StepNumbers { grad_scale, ..optimizer.numbers(0.0) };
        let state = StepState::of(gpu, &numbers).expect("state");
        let average_ = Some((&mut average, 0.75));
        optimizer.update(&mut params, &gradient, average_, Numbers::Device(&state)).expect("update");
        for (name, tensor) in average.iter() {
            assert!(tensor.to_f64s().expect("values").iter().all(|value| *value == expected), "{name} at {grad_scale}");
        }
    }
}
