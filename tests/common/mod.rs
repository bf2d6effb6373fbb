//! What the tests of the ops share.
#![allow(dead_code)]

use espalier::data::dataset::{Dataset, Sample};
use espalier::data::generated::GeneratedDataset;
use espalier::ops::case::{Case, Draw, Gradient, Instance, Run};
use espalier::{DType, Device, Error, Result, Tape, Tensor, Var};
use proptest::prelude::*;
use proptest::test_runner::TestError;

/// How many shapes a property is checked on, per case, and how many elements their inputs may have in all.
#[derive(Clone, Copy)]
pub struct Extent {
    pub shapes: u32,
    pub elements: usize,
}

/// What the processor's own kernels are checked on.
pub const FULL: Extent = Extent { shapes: 64, elements: 1500 };

/// Sizes that reach every axis: empty, one, odd, and beyond one vector.
pub fn sizes() -> impl Strategy<Value = (Vec<usize>, u64)> {
    let size = prop_oneof![1 => Just(0usize), 3 => Just(1), 8 => 2usize..8, 2 => Just(17), 1 => Just(19)];
    (proptest::collection::vec(size, 6), any::<u64>())
}

/// At most so many shapes a case, where `ESPALIER_TEST_SHAPES` limits them: for tools that slow everything down.
fn most_shapes() -> u32 {
    let limit = std::env::var("ESPALIER_TEST_SHAPES").ok();
    limit.map_or(u32::MAX, |limit| limit.parse().expect("ESPALIER_TEST_SHAPES: a number"))
}

/// Runs `property` on draws of every case that `select` keeps, and gives their number; fails with every case for which it
/// does not hold, its sizes and its seed.
pub fn for_all_cases(
    extent: Extent, select: impl Fn(&Case) -> bool, property: impl Fn(&Case, Instance) -> Result<(), String>,
) -> usize {
    let (mut checked, mut failures, cases) = (0, Vec::new(), extent.shapes.min(most_shapes()));
    for case in espalier::ops::all().iter().flat_map(|op| (op.cases)()).filter(select) {
        let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = proptest::test_runner::TestRunner::new_with_rng(config, rng());
        let property = |(sizes, seed)| property(&case, instance(&case, extent.elements, sizes, seed));
        let outcome = runner.run(&sizes(), |draw| property(draw).map_err(TestCaseError::fail));
        failures.extend(outcome.err().map(|failure| match failure {
            TestError::Fail(why, draw) => format!("{}: {why}, for sizes and seed {draw:?}", case.name),
            TestError::Abort(why) => format!("{}: {why}", case.name),
        }));
        checked += 1;
    }
    assert!(failures.is_empty(), "{} of {checked} cases:\n{}", failures.len(), failures.join("\n"));
    checked
}

/// Instances with an odd width, such as pruning leaves, at each place of the case's sizes, and small sizes beside it.
pub fn odd_widths(case: &Case, elements: usize) -> Vec<Instance> {
    let sizes = |(width, place): (usize, usize)| {
        let mut sizes = vec![2, 3, 2, 3, 2, 3];
        sizes[place] = width;
        sizes
    };
    let widths = [1, 483, 1067].into_iter().flat_map(|width| (0..4).map(move |place| (width, place)));
    let instances = widths.map(|draw| (case.draw)(&mut Draw::random(sizes(draw), 7)));
    instances.filter(|instance| self::elements(instance) <= elements).collect()
}

/// Elements of all inputs.
fn elements(instance: &Instance) -> usize {
    instance.inputs.iter().map(|(t, _)| t.numel()).sum()
}

/// The same shapes in every run, so that a failure is seen again.
fn rng() -> proptest::test_runner::TestRng {
    proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha)
}

/// A draw that stays small enough for differences of every element.
fn instance(case: &Case, most: usize, mut sizes: Vec<usize>, seed: u64) -> Instance {
    loop {
        let instance = (case.draw)(&mut Draw::random(sizes.clone(), seed));
        if elements(&instance) <= most {
            return instance;
        }
        sizes.iter_mut().for_each(|s| *s = s.div_ceil(2));
    }
}

/// Tensors on `device`.
pub fn moved(tensors: &[Tensor], device: Device) -> Result<Vec<Tensor>> {
    tensors.iter().map(|t| t.to_device(device)).collect()
}

/// A fixed cotangent for an output, where that is: irregular, of order one.
pub fn cotangent(like: &Tensor, k: usize) -> Tensor {
    let values: Vec<f64> = (0..like.numel()).map(|i| ((i * 37 + k * 11) as f64 * 0.7 + 0.3).sin()).collect();
    let host = Tensor::from_slice(*like.shape(), &values).unwrap().to_dtype(like.dtype()).unwrap();
    host.to_device(like.device()).unwrap()
}

/// What one run gives: outputs, and gradients (`None` for inputs without one).
pub type Results = (Vec<Tensor>, Vec<Option<Tensor>>);

/// One run of `f` through the tape, from the cotangents that `seed` gives to outputs.
pub fn through_tape(
    instance: &Instance, f: &Run, inputs: &[Tensor], seed: impl Fn(&Tensor, usize) -> Tensor,
) -> Result<Results> {
    let tape = Tape::new();
    let vars = instance.variables(&tape, inputs)?;
    let outputs = f(&vars)?;
    let seeds: Vec<(&Var, Tensor)> = outputs.iter().enumerate().map(|(k, y)| (y, seed(y.tensor(), k))).collect();
    let mut grads = tape.backward_from(&seeds)?;
    let grads = vars.iter().map(|v| grads.take(v)).collect();
    Ok((outputs.iter().map(|y| y.tensor().clone()).collect(), grads))
}

/// One run of the op, or of its plain reference, on the processor.
pub fn run(instance: &Instance, reference: bool, dtype: DType) -> Result<Results> {
    run_on(instance, reference, dtype, Device::Cpu)
}

/// The same on `device`. The inputs are as they were afterwards.
pub fn run_on(instance: &Instance, reference: bool, dtype: DType, device: Device) -> Result<Results> {
    let host = instance.inputs_in(dtype)?;
    let inputs = moved(&host, device)?;
    let f = if reference { instance.reference.as_ref().unwrap_or(&instance.run) } else { &instance.run };
    let results = through_tape(instance, f, &inputs, cotangent)?;
    for (k, (before, after)) in host.iter().zip(&inputs).enumerate() {
        assert!(before.bytes()? == after.bytes()?, "input {k} was overwritten");
    }
    Ok(results)
}

/// `max|a - b|` and `max|b|`; infinite when shapes or finiteness differ.
pub fn distance(a: &Tensor, b: &Tensor) -> (f64, f64) {
    if a.shape() != b.shape() {
        return (f64::INFINITY, 0.0);
    }
    let (a, b) = (a.to_f64s().unwrap(), b.to_f64s().unwrap());
    let gap = |(a, b): (&f64, &f64)| if (a - b).is_nan() { f64::INFINITY } else { (a - b).abs() };
    (a.iter().zip(&b).map(gap).fold(0.0, f64::max), b.iter().fold(0.0, |m, v| m.max(v.abs())))
}

/// Whether a case's gradient is checked, and to what bound.
pub fn gradient_bound(case: &Case) -> Option<f64> {
    match case.gradient {
        Gradient::Exact => Some(1e-7),
        Gradient::Looser(bound, _) => Some(bound),
        Gradient::None(_) => None,
    }
}

/// The GPU that tests run on: the simulator, or what `ESPALIER_TEST_DEVICE` names (`cuda`: the machine's card).
#[cfg(feature = "sim")]
pub fn gpu_under_test() -> Device {
    let named = std::env::var("ESPALIER_TEST_DEVICE").ok();
    let device = |name: String| clap::ValueEnum::from_str(&name, true).expect("a device's name");
    let device: Device = named.map_or(Device::CudaSim, device);
    assert!(device != Device::Cpu, "the CPU is what a GPU is compared with");
    device
}

/// Turns the simulator's order of warps and blocks round, or back; a card has its own.
#[cfg(feature = "sim")]
pub fn reverse_order(reverse: bool) {
    use espalier::gpu::{sim::Order, simulator};
    let order = if reverse { Order::Reverse } else { Order::Forward };
    simulator().expect("simulator").set_order(order);
}

/// Fails when something beside a tensor was written; only the simulator can tell.
#[cfg(feature = "sim")]
pub fn check_guards() -> Result<()> {
    espalier::gpu::simulator()?.check_guards()
}

/// A data set that is gone after so many epochs.
pub struct Dying {
    pub data: GeneratedDataset,
    pub epochs: u64,
}

impl Dataset for Dying {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn class_names(&self) -> &[String] {
        self.data.class_names()
    }

    fn img_size(&self) -> usize {
        self.data.img_size()
    }

    fn sample(&self, index: usize, epoch: u64) -> Result<Sample> {
        if epoch < self.epochs { self.data.sample(index, epoch) } else { Err(Error::invalid("data", "a disk", "none")) }
    }
}
