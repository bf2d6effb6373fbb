//! Passes and training steps in TF32, bf16 and f16 on a GPU, run by the simulator.
#![cfg(feature = "sim")]

mod common;

use common::{distance, gpu_under_test};
use espalier::data::generated::{GeneratedDataset, Split};
use espalier::data::loader::{Loader, LoaderOptions};
use espalier::gpu::{Epilogue, Matrix, Tf32};
use espalier::models::{Architecture, Model, Predictor};
use espalier::nn::{Mode, NoHooks, Params, Pass, Precision};
use espalier::report::{RunFolder, Show};
use espalier::tape::checkpoint;
use espalier::train::{LossScale, Outcome, TrainConfig, Trainer};
use espalier::{DType, Device, Result, Tape, Tensor, Var, ops};
use std::sync::Arc;

const ROUNDED: [(Precision, f64); 3] = [
    // Half of the distance from 1 to the next number.
    (Precision::Tf32, 4.9e-4),
    (Precision::Bf16, 3.9e-3),
    (Precision::F16, 4.9e-4),
];

fn model(device: Device) -> Model {
    let mut arch = Architecture::deit(16, 8, 24, 2, 3).with_classes(10);
    arch.blocks[1].hidden = 19;
    Model::init(arch, 0).expect("model").to_device(device).expect("device")
}

fn loader() -> Loader {
    let data = GeneratedDataset::new(Split::Train, 36, 16, 0).expect("data");
    let options = LoaderOptions { drop_last: false, ..LoaderOptions::train(8, 3) };
    Loader::new(Arc::new(data), options).expect("loader")
}

fn config(precision: Precision, epochs: usize) -> TrainConfig {
    let short = TrainConfig::short("test", epochs, epochs * 5, 1e-2);
    TrainConfig { precision, drop_path: 0.2, ema_decay: Some(0.9), smoothing: 0.1, ..short }
}

fn train(mut model: Model, config: TrainConfig, graphs: bool) -> Result<(Model, Outcome)> {
    let mut trainer = Trainer::new(&mut model, config, None, Show::Quiet)?;
    trainer.graphs = graphs;
    let outcome = trainer.run(&loader(), None, None)?;
    Ok((model, outcome))
}

fn bits(params: &Params) -> Vec<Vec<u8>> {
    params.iter().map(|(_, tensor)| tensor.bytes().expect("bytes").into_owned()).collect()
}

fn images(batch: usize, phase: f32) -> Tensor {
    // Irregular, so that sums over pixels do not cancel.
    let pixel = |i: usize| (i as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 * 2.0 - 1.0;
    let values: Vec<f32> = (0..batch * 3 * 16 * 16).map(|i| pixel(i) + phase).collect();
    Tensor::from_slice([batch, 3, 16, 16], &values).expect("images")
}

#[test]
fn logits_are_those_of_f32_within_the_formats_rounding() {
    let model = model(gpu_under_test());
    let exact = model.predict(&images(3, 0.0)).expect("logits");
    for (precision, unit) in ROUNDED {
        let rounded = model.clone().with_precision(precision).predict(&images(3, 0.0)).expect("logits");
        assert_eq!(rounded.dtype(), DType::F32, "logits are never rounded");
        let (gap, top) = distance(&rounded, &exact);
        // A library may multiply small matrices in f32 though TF32 is allowed.
        let differs = gap > 0.0 || (precision == Precision::Tf32 && gpu_under_test() != Device::CudaSim);
        assert!(differs && gap < 8.0 * unit * top, "{precision}: {gap:.1e} apart at {top:.1e}");
    }
}

#[test]
fn a_replayed_prediction_has_the_bits_of_a_launched_one() {
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16, Precision::F16] {
        let model = model(gpu_under_test()).with_precision(precision);
        let mut predictor = Predictor::new(&model);
        // Batches of 4 are captured at the second, replayed at the third; smaller and larger ones come in between.
        for (k, batch) in [4, 4, 4, 2, 4, 5, 5, 4, 5].into_iter().enumerate() {
            let images = images(batch, k as f32);
            let logits = predictor.logits(&images).expect("logits");
            assert!(
                logits.bytes().unwrap() == model.predict(&images).unwrap().bytes().unwrap(),
                "{precision}, call {k}"
            );
        }
    }
}

#[test]
fn the_cpu_refuses_what_it_does_not_compute_in() {
    for precision in [Precision::Tf32, Precision::Bf16, Precision::F16] {
        let model = model(Device::Cpu).with_precision(precision);
        let text = model.predict(&images(1, 0.0)).unwrap_err().to_string();
        assert_eq!(text, format!("dtype: expected f32 on the CPU, found {precision}"));
        let text = train(model, config(precision, 1), true).unwrap_err().to_string();
        assert_eq!(text, format!("dtype: expected f32 on the CPU, found {precision}"));
    }
}

#[test]
fn training_in_every_precision_follows_f32_and_replays_to_the_bit() {
    let (_, reference) = train(model(gpu_under_test()), config(Precision::F32, 2), true).expect("run");
    for (precision, unit) in ROUNDED {
        let (replayed, with_graphs) = train(model(gpu_under_test()), config(precision, 2), true).expect("run");
        let (launched, without) = train(model(gpu_under_test()), config(precision, 2), false).expect("run");
        assert!(bits(replayed.params()) == bits(launched.params()), "{precision}: a replay changed the parameters");
        assert_eq!(with_graphs.loss.to_bits(), without.loss.to_bits());
        let averages = [with_graphs.ema, without.ema].map(|ema| bits(&ema.expect("average")));
        assert!(averages[0] == averages[1], "{precision}: a replay changed the average");
        assert_eq!(replayed.params().place().0, DType::F32, "parameters are never rounded");

        let gap = (with_graphs.loss - reference.loss).abs();
        assert!(gap < 8.0 * unit * reference.loss, "{precision}: loss {gap:.1e} apart");
    }
}

/// Of one step, whose gradients the updates and their division by a root do not enlarge.
#[test]
fn gradients_in_every_precision_are_those_of_f32_within_the_formats_rounding() {
    let (model, target) = (model(gpu_under_test()), ops::one_hot(&[1, 7, 3], 10, 0.1, DType::F32).expect("target"));
    let [pixels, target] = [images(3, 0.0), target].map(|t| t.to_device(gpu_under_test()).expect("device"));
    let gradients = |precision: Precision| -> Result<Vec<(String, Tensor)>> {
        let tape = Tape::new();
        let pass = Pass::new(model.params(), Some(&tape), Mode { precision, ..Mode::eval() }, &NoHooks)?;
        let logits = model.forward(&pass, &Var::constant(pixels.clone()))?.remove(0);
        let loss = ops::cross_entropy(&logits, &target)?;
        // A power of two that f16 needs.
        let mut grads = tape.backward_from(&[(&loss, loss.tensor().new_full([], 1024.0)?)])?;
        let one = |(name, _): (&str, &Tensor)| Ok((name.to_string(), grads.take(pass.var(name)?).expect(name)));
        model.params().iter().map(one).collect()
    };
    let exact = gradients(Precision::F32).expect("gradients");
    for (precision, unit) in ROUNDED {
        for ((name, got), (_, want)) in gradients(precision).expect("gradients").iter().zip(&exact) {
            assert_eq!(got.dtype(), DType::F32);
            let (gap, top) = distance(got, want);
            assert!(gap <= 8.0 * unit * top, "{precision}, {name}: {:.1} units apart", gap / unit / top);
        }
    }
}

/// The head's weights are so large that gradients of activations overflow f16 at the first loss scale.
#[test]
fn an_overflow_of_f16_lowers_the_loss_scale_and_loses_no_step() {
    let folder = tempfile::tempdir().expect("folder");
    let run = |precision: Precision| -> Result<Vec<serde_json::Value>> {
        let mut model = model(Device::Cpu);
        for (name, tensor) in model.params_mut().iter_mut() {
            if name == "head.weight" {
                tensor.slice_mut::<f32>()?.iter_mut().for_each(|w| *w *= 400.0);
            }
        }
        let mut model = model.to_device(gpu_under_test())?;
        let log = RunFolder::create(folder.path().join(precision.to_string()))?;
        Trainer::new(&mut model, config(precision, 1), Some(&log), Show::Quiet)?.run(&loader(), None, None)?;
        let text = std::fs::read_to_string(log.file("log.jsonl")?).expect("log");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        Ok(lines.filter(|line: &serde_json::Value| line.get("grad_norm").is_some()).collect())
    };
    let (exact, half) = (run(Precision::F32).expect("run"), run(Precision::F16).expect("run"));
    assert_eq!(exact.len(), 5);
    assert_eq!(half.len(), 5);
    let first = |lines: &[serde_json::Value], key: &str| lines[0][key].as_f64().expect("a number");
    assert!(first(&half, "loss_scale") < 65_536.0, "nothing overflowed");
    assert!(exact[0].get("loss_scale").is_none());
    let [ours, theirs] = [&half, &exact].map(|lines| first(lines, "grad_norm"));
    assert!((ours - theirs).abs() < 0.02 * theirs, "norm {ours} of the plain loss, in f32 {theirs}");
}

#[test]
fn the_loss_scale_doubles_halves_and_stops() {
    let mut scale = LossScale::new(Precision::F16);
    (0..2000).for_each(|_| scale.held());
    assert_eq!(scale.factor, 131_072.0);
    (0..2000 * 20).for_each(|_| scale.held());
    assert_eq!(scale.factor, 16_777_216.0);
    let tries = (0..100).filter(|_| scale.overflowed()).count();
    assert_eq!((tries, scale.factor), (24, 1.0));
    let mut fixed = LossScale::new(Precision::Bf16);
    (0..5000).for_each(|_| fixed.held());
    assert_eq!((fixed.overflowed(), fixed.factor), (false, 1.0));
}

#[test]
fn a_pause_changes_no_bit_of_a_run_in_f16() {
    let (whole, _) = train(model(gpu_under_test()), config(Precision::F16, 2), true).expect("run");
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("run.checkpoint");
    let settings = TrainConfig { checkpoint_every: 1, ..config(Precision::F16, 2) };
    let data = GeneratedDataset::new(Split::Train, 36, 16, 0).expect("data");
    let options = LoaderOptions { drop_last: false, ..LoaderOptions::train(8, 3) };
    let dying = Loader::new(Arc::new(common::Dying { data, epochs: 1 }), options).expect("loader");
    let start = |model| Trainer::new(model, settings.clone(), None, Show::Quiet).and_then(|t| t.resuming(path.clone()));
    let (mut first, mut second) = (model(gpu_under_test()), model(gpu_under_test()));
    assert!(start(&mut first).expect("trainer").run(&dying, None, None).is_err());
    start(&mut second).expect("trainer").run(&loader(), None, None).expect("run");
    assert!(bits(whole.params()) == bits(second.params()), "the pause shows");
}

/// However the library rounds (it says 10 bits of mantissa, not to which side), and whichever kernels it has.
#[test]
fn tf32_rounds_the_operands_of_a_product_and_nothing_else() {
    let side = if gpu_under_test() == Device::CudaSim { 32 } else { 256 };
    let gpu = gpu_under_test().gpu().expect("simulator").expect("a GPU");
    let values: Vec<f32> = (0..side * side).map(|i| (i as f32 * 0.7).sin()).collect();
    let x = Tensor::from_slice([side, side], &values).expect("values").to_device(gpu_under_test()).expect("device");
    let product = |tf32: bool| -> Result<Vec<f64>> {
        let _products = Tf32::set(tf32);
        let mut y = x.new_empty([side, side])?;
        gpu.gemm(1, 1.0, Matrix::of(&x)?, Matrix::of(&x)?.t(), 0.0, Matrix::out(&mut y)?, Epilogue::None)?;
        y.to_f64s()
    };
    let plain = product(false).expect("product");
    let rounded = product(true).expect("product");
    assert_eq!(product(false).expect("product"), plain, "the mode stayed on");
    assert_ne!(rounded, plain);
    for (i, (a, b)) in rounded.iter().zip(&plain).enumerate() {
        let row = |r: usize| values[r * side..][..side].iter().map(|v| f64::from(v.abs()));
        let size: f64 = row(i / side).zip(row(i % side)).map(|(a, b)| a * b).sum();
        assert!((a - b).abs() <= size / 512.0, "{a} and {b}, of products of {size} in all");
    }
}

/// A pass in TF32 leaves what comes after it alone, and the gradients of a pass are computed as it was, whatever came between.
#[test]
fn tf32_ends_with_its_pass() {
    let model = model(gpu_under_test());
    let pixels = images(3, 0.0).to_device(gpu_under_test()).expect("device");
    let gradients = |precision: Precision, between: bool| -> Result<Vec<Vec<u8>>> {
        let tape = Tape::new();
        let mode = Mode { precision, ..Mode::eval() };
        let pass = Pass::new(model.params(), Some(&tape), mode, &NoHooks)?;
        let logits = model.forward(&pass, &Var::constant(pixels.clone()))?.remove(0);
        if between {
            let other = if precision == Precision::F32 { Precision::Tf32 } else { Precision::F32 };
            model.clone().with_precision(other).predict(&pixels)?;
        }
        let seed = logits.tensor().new_full(*logits.shape(), 0.3)?;
        let mut grads = tape.backward_from(&[(&logits, seed)])?;
        let one = |(name, _): (&str, &Tensor)| Ok(grads.take(pass.var(name)?).expect(name).bytes()?.into_owned());
        model.params().iter().map(one).collect()
    };
    let [exact, rounded] = [Precision::F32, Precision::Tf32].map(|precision| {
        let alone = gradients(precision, false).expect("gradients");
        assert!(alone == gradients(precision, true).expect("gradients"), "{precision}: another pass showed");
        assert!(!Tf32::is_on());
        alone
    });
    assert!(exact != rounded);
}

fn on_gpu(shape: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i| (i as f32 * 0.3).cos()).collect();
    Tensor::from_slice(shape, &values).unwrap().to_device(gpu_under_test()).unwrap()
}

#[test]
fn a_masters_gradient_is_not_rounded() {
    let tape = Tape::new();
    let master = tape.leaf(on_gpu(&[5, 3]));
    let weight = master.rounded(master.tensor().to_dtype(DType::BF16).expect("bf16")).expect("a copy");
    let x = tape.leaf(on_gpu(&[7, 3]).to_dtype(DType::BF16).expect("bf16"));
    // Used twice, so that the second gradient is added to the first.
    let y =
        ops::add(ops::linear(&x, &weight, None).expect("y"), &ops::linear(&x, &weight, None).expect("y")).expect("sum");
    let seed = on_gpu(&[7, 5]).to_dtype(DType::BF16).expect("bf16");
    let grads = tape.backward_from(&[(&y, seed.clone())]).expect("gradients");
    let dw = grads.get(&master).expect("of the master");
    assert_eq!((dw.dtype(), grads.get(&x).expect("of x").dtype()), (DType::F32, DType::BF16));
    let (dy, x) = (seed.to_f64s().unwrap(), x.tensor().to_f64s().unwrap());
    for (i, found) in dw.to_f64s().unwrap().into_iter().enumerate() {
        let expected: f64 = (0..7).map(|r| 2.0 * dy[r * 5 + i / 3] * x[r * 3 + i % 3]).sum();
        assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
    }
    assert!(master.rounded(on_gpu(&[3, 5])).is_err() && weight.rounded(on_gpu(&[5, 3])).is_err());
}

/// Nor under activation checkpointing, which has a tape of its own for the pass that it repeats.
#[test]
fn a_masters_gradient_is_not_rounded_by_a_checkpoint() {
    let layer = |v: &[Var]| ops::gelu(&ops::linear(&v[0], &v[1], None)?);
    let gradients = |half: DType, kept: bool| -> Result<[Tensor; 2]> {
        let tape = Tape::new();
        let master = tape.leaf(on_gpu(&[5, 3]));
        let weight = master.rounded(master.tensor().to_dtype(half)?)?;
        let x = tape.leaf(on_gpu(&[7, 3]).to_dtype(half)?);
        let y = if kept { layer(&[x.clone(), weight.clone()])? } else { checkpoint(&[&x, &weight], layer)? };
        let mut grads = tape.backward_from(&[(&y, on_gpu(&[7, 5]).to_dtype(half)?)])?;
        Ok([&master, &x].map(|leaf| grads.take(leaf).expect("a gradient")))
    };
    for half in [DType::BF16, DType::F16] {
        let plain = gradients(half, true).expect("plain");
        let repeated = gradients(half, false).expect("checkpoint");
        assert_eq!(repeated.each_ref().map(Tensor::dtype), [DType::F32, half]);
        for (got, want) in repeated.iter().zip(&plain) {
            assert!(got.bytes().unwrap() == want.bytes().unwrap(), "{half:?}: another gradient under a checkpoint");
        }
        let rounded = repeated[0].to_dtype(half).and_then(|dw| dw.to_dtype(DType::F32)).expect("rounded");
        assert!(rounded.bytes().unwrap() != repeated[0].bytes().unwrap(), "{half:?}: the gradient was rounded");
    }
}
