//! SAViT on the tensor core: masked and compact models, the scoring pass, and what it refuses.

use espalier::models::{Architecture, Mixer, Model};
use espalier::nn::{Mode, Pass};
use espalier::noise::Philox;
use espalier::prune::plan::{Kind, Plan, every_unit, kept};
use espalier::prune::savit::calibrate::{self, Iterative};
use espalier::prune::savit::gated::{self, Gated, Gates};
use espalier::prune::savit::losses::{Features, PrunedLoss, Teachers};
use espalier::prune::savit::passes::{Batch, Curvature, Method, score};
use espalier::prune::savit::scores::{Calibration, LayerPicks};
use espalier::prune::savit::{official, search};
use espalier::prune::{self, apply};
use espalier::train::{DistillKind, Distillation};
use espalier::{DType, Error, Result, Tape, Tensor, Var, ops};

/// Three blocks of odd widths, with weights large enough that every unit matters.
fn model() -> Model {
    let mut arch = Architecture::deit(12, 4, 35, 3, 5).with_classes(6);
    arch.blocks[0].hidden = 19;
    arch.blocks[1].hidden = 33;
    arch.blocks[1].mixer = Mixer::Attention { heads: 3, head_dim: 7 };
    shaken(Model::init(arch, 3).unwrap())
}

/// A dense DeiT, which the official search needs.
fn dense() -> Model {
    shaken(Model::init(Architecture::deit(12, 4, 20, 2, 4).with_classes(6), 5).unwrap())
}

fn shaken(mut model: Model) -> Model {
    for (name, tensor) in model.params_mut().iter_mut() {
        let mut draws = Philox { seed: 9, step: 0 }.stream(name, 0);
        tensor.slice_mut::<f32>().unwrap().iter_mut().for_each(|value| *value += 0.2 * draws.normal());
    }
    model
}

fn batch(model: &Model, samples: usize, seed: u64) -> Batch {
    let arch = model.arch();
    let mut draws = Philox { seed, step: 1 }.stream("batch", 0);
    let mut tensor = |shape: &[usize], f: fn(f32) -> f32| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| f(draws.normal())).collect();
        Tensor::from_slice(shape, &values).unwrap()
    };
    let images = tensor(&[samples, 3, arch.img_size, arch.img_size], |v| v);
    let targets = ops::softmax(&Var::constant(tensor(&[samples, arch.num_classes], |v| 2.0 * v))).unwrap();
    (images, targets.into_tensor())
}

fn data(model: &Model, count: u64) -> impl Iterator<Item = Result<Batch>> {
    (0..count).map(|seed| Ok(batch(model, 2, seed)))
}

/// Every `n`-th unit of the chosen kinds gone, and all heads and hidden units of the last block when `bare`.
fn gates(model: &Model, kinds: [bool; 3], bare: bool) -> Gates {
    let mut gates = gated::open(model.arch());
    for kind in Kind::ALL.into_iter().filter(|&kind| kinds[kind as usize]) {
        for (block, vector) in gates.of_mut(kind).iter_mut().enumerate() {
            vector.iter_mut().enumerate().filter(|(unit, _)| (unit + block) % 3 == 1).for_each(|(_, gate)| *gate = 0.0);
        }
    }
    if bare {
        [&mut gates.heads, &mut gates.hidden].into_iter().flat_map(|list| list.last_mut()).for_each(|v| v.fill(0.0));
    }
    gates
}

fn forward(model: &Model, gated: &Gated, images: &Tensor) -> Tensor {
    let pass = Pass::new(model.params(), None, Mode::eval(), gated).unwrap();
    model.forward(&pass, &Var::constant(images.clone())).unwrap().remove(0).into_tensor()
}

/// The largest difference over the largest value.
fn gap(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.shape(), b.shape());
    let (a, b) = (a.to_f64s().unwrap(), b.to_f64s().unwrap());
    let largest = b.iter().fold(0.0f64, |most, v| most.max(v.abs()));
    a.iter().zip(&b).fold(0.0f64, |most, (a, b)| most.max((a - b).abs())) / largest
}

#[test]
fn masked_and_compact_models_agree() {
    let model = model();
    for samples in [1, 3] {
        let images = batch(&model, samples, 1).0;
        let plain = model.predict(&images).unwrap();
        for (kinds, bare) in [([true, true, false], false), ([true, true, false], true), ([true, true, true], true)] {
            let gates = gates(&model, kinds, bare);
            let gated = |gates| Gated::new(model.arch(), gates, model.params().place(), None).unwrap();
            let plan = Plan::keeping("savit", model.arch(), kept(&gated::to_masks(&gates).unwrap())).unwrap();
            let small = apply(&model, &plan).unwrap();
            let compact = small.predict(&images).unwrap();
            let living = forward(&model, &gated(&gates).over_living_channels().unwrap(), &images);
            assert!(gap(&living, &compact) <= 1e-5, "{kinds:?} {bare}: {}", gap(&living, &compact));
            let official = gap(&forward(&model, &gated(&gates), &images), &compact);
            assert!(if kinds[2] { official > 1e-2 } else { official <= 1e-5 }, "{kinds:?} {bare}: {official}");
            assert!(gap(&plain, &compact) > 1e-2);
            assert_eq!(small.params().numel() as u64, espalier::models::cost::params(small.arch()));
        }
    }
}

#[test]
fn plans_apply_to_distilled_models_and_one_unit_is_enough() {
    let mut arch = Architecture { distilled: true, ..Architecture::deit(8, 4, 10, 1, 2).with_classes(3) };
    arch.blocks[0].hidden = 5;
    let model = shaken(Model::init(arch.clone(), 1).unwrap());
    let keep = prune::Units { heads: vec![vec![1]], hidden: vec![vec![4]], embed: vec![7] };
    let small = apply(&model, &Plan::keeping("test", &arch, keep).unwrap()).unwrap();
    assert_eq!(*small.params().get("blocks.0.attn.qkv.weight").unwrap().shape(), [15, 1][..].into());
    let all = Plan::keeping("test", &arch, every_unit(&arch)).unwrap();
    let images = batch(&model, 1, 0).0;
    assert_eq!(gap(&apply(&model, &all).unwrap().predict(&images).unwrap(), &model.predict(&images).unwrap()), 0.0);
    assert!(small.predict(&images).unwrap().is_finite().unwrap());
    let source = small.arch().clone();
    assert!(apply(&model, &Plan::keeping("test", &source, every_unit(&source)).unwrap()).is_err());
}

#[test]
fn gates_travel_by_name_and_must_be_binary() {
    let model = model();
    let mut gates = gates(&model, [true; 3], false);
    let mut all = model.params().clone();
    gated::to_params(&gates).unwrap().iter().for_each(|(name, tensor)| all.insert(name, tensor.clone()));
    assert_eq!(all.len(), model.params().len() + 3 + 3 + 4);
    let (plain, read) = gated::split_params(model.arch(), &all, "file").unwrap();
    assert_eq!((plain.len(), &read), (model.params().len(), &gates));
    assert_eq!(gated::split_params(model.arch(), &plain, "file").unwrap().1, gated::open(model.arch()));
    let mut other = all.clone();
    other.insert("blocks.1.res_gate.weight", Tensor::zeros([35], DType::F32));
    let message = gated::split_params(model.arch(), &other, "file").err().unwrap().to_string();
    assert!(message.contains("blocks.1.res_gate.weight"), "{message}");
    other.insert("blocks.1.res_gate.weight", Tensor::zeros([34], DType::F32));
    assert!(gated::split_params(model.arch(), &other, "file").is_err());
    for value in [0.5, f64::NAN, 1.0 + 1e-12] {
        gates.hidden[1][3] = value;
        let message = gated::to_masks(&gates).unwrap_err().to_string();
        assert!(message.contains("hidden[1][3]"), "{message}");
    }
    gates.heads.pop();
    assert!(Gated::new(model.arch(), &gates, model.params().place(), None).is_err());
}

fn options() -> calibrate::Options {
    calibrate::Options { fraction: 0.5, ..calibrate::Options::published(6, 1) }
}

#[test]
fn a_calibration_is_kept_for_another_target() {
    let model = dense();
    let mut seen = Vec::new();
    let score = |progress: calibrate::Progress| {
        calibrate::calibrate(&model, &mut data(&model, 4), &options(), progress).unwrap()
    };
    let calibration = score(&mut |done, all| seen.push((done, all)));
    let (plan, found) = search::plan(&calibration, &search::Options::keeping(0.7)).unwrap();
    assert_eq!(seen, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    assert!((found.macs as f64 / found.dense_macs as f64 - 0.7).abs() < 0.02, "{found:?}");
    assert!(apply(&model, &plan).is_ok());
    let read = Calibration::from_json(&calibration.to_json().unwrap()).unwrap();
    let removing = |evolve| official::Options { evolve, ..official::Options::removing(0.3) };
    let plans = |calibration: &Calibration| {
        let exact = search::plan(calibration, &search::Options::keeping(0.5)).unwrap().0;
        [exact].into_iter().chain([None, Some(4)].map(|seed| official::plan(calibration, &removing(seed)).unwrap().0))
    };
    for ((again, kept), fresh) in plans(&read).zip(plans(&calibration)).zip(plans(&score(&mut |_, _| ()))) {
        assert_eq!(again, kept);
        assert_eq!(fresh, again);
    }
}

#[test]
fn bad_scoring_passes_are_refused() {
    let model = dense();
    let pass = |model: &Model, options: calibrate::Options, count| {
        calibrate::calibrate(model, &mut data(model, count), &options, &mut |_, _| ())
    };
    assert!(pass(&model, options(), 4).is_ok() && pass(&model, options(), 3).is_err());
    for (fraction, per_epoch) in [(0.1, 19), (0.5, 3), (0.0, 100), (1.1, 100), (0.5, 0)] {
        assert!(pass(&model, calibrate::Options { fraction, per_epoch, ..options() }, 9).is_err());
    }
    for picks in [vec![LayerPicks([0; 7]); 3], vec![LayerPicks([2, 0, 0, 0, 0, 0, 0]); 4]] {
        assert!(pass(&model, calibrate::Options { picks: Some(picks), ..options() }, 4).is_err());
    }
    let mut broken = model.clone();
    let (_, weight) = broken.params_mut().iter_mut().find(|(name, _)| *name == "blocks.1.mlp.fc1.weight").unwrap();
    weight.slice_mut::<f32>().unwrap()[7] = f32::NAN;
    match pass(&broken, options(), 4) {
        Err(Error::NonFinite { layer, .. }) => assert_eq!(layer, "blocks.1.mlp.fc1.weight"),
        other => panic!("{other:?}"),
    }
    let mut poisoned = data(&model, 4).enumerate().map(|(step, batch)| {
        batch.map(|(mut images, targets)| {
            images.slice_mut::<f32>().unwrap()[0] = if step == 2 { f32::INFINITY } else { 0.0 };
            (images, targets)
        })
    });
    match calibrate::calibrate(&model, &mut poisoned, &options(), &mut |_, _| ()) {
        Err(Error::NonFinite { step, .. }) => assert_eq!(step, 2),
        other => panic!("{other:?}"),
    }
}

/// In double precision the differences know neither step nor order: `q_ij = q_ji`, and f32 keeps three digits.
#[test]
fn curvature_is_symmetric_and_the_same_in_both_precisions() {
    let model = model();
    let (gates, batch) = (gated::open(model.arch()), batch(&model, 1, 2));
    let exact = Curvature::new(&model, DType::F64).unwrap().all_block_sums(&gates, &batch).unwrap();
    let coarse = Curvature::new(&model, DType::F32).unwrap().all_block_sums(&gates, &batch).unwrap();
    let largest = exact.iter().flatten().fold(0.0f64, |most, v| most.max(v.abs()));
    assert_eq!(exact.len(), 7);
    for (i, j) in (0..7).flat_map(|i| (0..7).map(move |j| (i, j))) {
        assert!((exact[i][j] - exact[j][i]).abs() <= 1e-6 * largest, "{i} {j}: {exact:?}");
        assert!((exact[i][j] - coarse[i][j]).abs() <= 5e-3 * largest, "{i} {j}: {exact:?} {coarse:?}");
    }
}

/// `Σ over units of g·dL/dg` is a directional derivative, so a difference of losses must find it too.
#[test]
fn gate_gradients_equal_differences_of_losses() {
    let mut model = model();
    let (gates, batch) = (gates(&model, [true, true, false], false), batch(&model, 1, 3));
    model.params_mut().iter_mut().for_each(|(_, tensor)| *tensor = tensor.to_dtype(DType::F64).unwrap());
    let batch = (batch.0.to_dtype(DType::F64).unwrap(), batch.1.to_dtype(DType::F64).unwrap());
    let scored = score(&model, &gates, &batch, Method::Taylor, 0).unwrap();
    for kind in Kind::ALL {
        for block in 0..gates.of(kind).len() {
            let loss = |factor: f64| {
                let mut moved = gates.clone();
                moved.of_mut(kind)[block].iter_mut().for_each(|gate| *gate *= factor);
                score(&model, &moved, &batch, Method::Taylor, 0).unwrap().loss
            };
            let (w, g) = (&gates.of(kind)[block], &scored.gradients.of(kind)[block]);
            let slope: f64 = w.iter().zip(g).map(|(w, g)| w * g).sum();
            let found = (loss(1.0 + 1e-5) - loss(1.0 - 1e-5)) / 2e-5;
            assert!((slope - found).abs() <= 1e-7 * (1.0 + found.abs()), "{kind:?} {block}: {slope} {found}");
        }
    }
    for method in [Method::MeanAbsolute, Method::PerSample, Method::PerToken] {
        let other = score(&model, &gates, &batch, method, 0).unwrap();
        assert!((other.loss - scored.loss).abs() < 1e-12);
        other.scores.check_like("scores", &every_unit(model.arch())).unwrap();
    }
    // one sample and gates of 1: method 3 is method 2
    let open = gated::open(model.arch());
    let [taylor, sample] =
        [Method::Taylor, Method::PerSample].map(|method| score(&model, &open, &batch, method, 0).unwrap().scores);
    for (a, b) in taylor.hidden.concat().iter().zip(sample.hidden.concat()) {
        assert!((a - b).abs() <= 1e-9 * b.abs() + 1e-18);
    }
}

#[test]
fn iterative_pruning_takes_its_share_every_round() {
    let model = dense();
    let options = Iterative { frequency: 1, iterations: 2, units: [1, 7, 2] };
    let rounds = calibrate::iterate(&model, &mut data(&model, 3), &options, &mut |_, _| ()).unwrap();
    let gone = |round: &calibrate::Round, kind| round.masks.of(kind).concat().iter().filter(|kept| !**kept).count();
    for (index, round) in rounds.iter().enumerate() {
        assert_eq!(Kind::ALL.map(|kind| gone(round, kind)), [1, 7, 2].map(|units| units * (index + 1)));
    }
    for bad in [Iterative { frequency: 0, ..options.clone() }, Iterative { units: [5, 1, 1], ..options }] {
        assert!(calibrate::iterate(&model, &mut data(&model, 3), &bad, &mut |_, _| ()).is_err());
    }
}

#[test]
fn losses_say_what_they_miss() {
    let z = Tape::new().leaf(Tensor::from_slice([1, 3], &[1f32, 2.0, 0.5]).unwrap());
    let base = ops::cross_entropy(&z, &ops::one_hot(&[1], 3, 0.0, DType::F32).unwrap()).unwrap();
    let teacher = Tensor::from_slice([1, 3], &[0f32, 1.0, 3.0]).unwrap();
    for kind in [DistillKind::Soft, DistillKind::Hard] {
        let taught = Distillation { kind, ..Distillation::default() };
        let message = taught.loss(std::slice::from_ref(&z), base.clone(), Some(&teacher)).err().unwrap().to_string();
        assert!(message.contains("two heads"), "{message}");
        assert!(taught.loss(&[z.clone(), z.clone()], base.clone(), None).is_err());
    }
    let same = Distillation::default().loss(std::slice::from_ref(&z), base.clone(), None).unwrap();
    assert_eq!(same.tensor().item().unwrap(), base.tensor().item().unwrap());
    let none = PrunedLoss::default();
    for bad in [
        PrunedLoss { gt: false, ..none },
        PrunedLoss { kind: DistillKind::Hard, ..none },
        PrunedLoss { full: DistillKind::Mse, ..none },
        PrunedLoss { features: Some(Features::Rel), ..none },
    ] {
        assert!(bad.of(&base, &z, None, &Teachers::default()).is_err(), "{bad:?}");
    }
}
