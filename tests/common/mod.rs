//! What the tests of the ops share.
#![allow(dead_code)]

use espalier::ops::case::{Case, Draw, Gradient, Instance};
use espalier::{DType, Result, Tape, Tensor, Var};
use proptest::prelude::*;

/// Shapes that each property is checked on, per case.
pub const SHAPES: u32 = 64;

/// Sizes that reach every axis: empty, one, odd, and beyond one vector.
pub fn sizes() -> impl Strategy<Value = (Vec<usize>, u64)> {
    let size = prop_oneof![1 => Just(0usize), 3 => Just(1), 8 => 2usize..8, 2 => Just(17), 1 => Just(19)];
    (proptest::collection::vec(size, 6), any::<u64>())
}

/// Runs `property` on [`SHAPES`] draws of every case that `select` keeps; a failure names case, sizes and seed.
pub fn for_all_cases(
    select: impl Fn(&Case) -> bool, property: impl Fn(&Case, Instance) -> Result<(), String>,
) -> usize {
    let mut checked = 0;
    for case in espalier::ops::all().iter().flat_map(|op| (op.cases)()).filter(select) {
        let config = ProptestConfig { cases: SHAPES, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = proptest::test_runner::TestRunner::new_with_rng(config, rng());
        let outcome = runner
            .run(&sizes(), |(sizes, seed)| property(&case, instance(&case, sizes, seed)).map_err(TestCaseError::fail));
        if let Err(failure) = outcome {
            panic!("{}: {failure}", case.name);
        }
        checked += 1;
    }
    checked
}

/// The same shapes in every run, so that a failure is seen again.
fn rng() -> proptest::test_runner::TestRng {
    proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha)
}

/// A draw that stays small enough for differences of every element.
fn instance(case: &Case, mut sizes: Vec<usize>, seed: u64) -> Instance {
    loop {
        let instance = (case.draw)(&mut Draw::random(sizes.clone(), seed));
        let elements: usize = instance.inputs.iter().map(|(t, _)| t.numel()).sum();
        if elements <= 1500 {
            return instance;
        }
        sizes.iter_mut().for_each(|s| *s = s.div_ceil(2));
    }
}

/// The floats of `inputs` in `dtype`, integers as they are.
pub fn cast(inputs: &[(Tensor, bool)], dtype: DType) -> Vec<Tensor> {
    let convert = |t: &Tensor| if t.dtype() == DType::F64 { t.to_dtype(dtype).unwrap() } else { t.clone() };
    inputs.iter().map(|(t, _)| convert(t)).collect()
}

/// A fixed cotangent for an output: irregular, of order one.
pub fn cotangent(like: &Tensor, k: usize) -> Tensor {
    let values: Vec<f64> = (0..like.numel()).map(|i| ((i * 37 + k * 11) as f64 * 0.7 + 0.3).sin()).collect();
    Tensor::from_slice(*like.shape(), &values).unwrap().to_dtype(like.dtype()).unwrap()
}

/// Outputs and gradients (`None` for inputs without one) of one run through the tape.
pub fn run(instance: &Instance, reference: bool, dtype: DType) -> Result<(Vec<Tensor>, Vec<Option<Tensor>>)> {
    let tape = Tape::new();
    let tensors = cast(&instance.inputs, dtype);
    let vars: Vec<Var> = tensors
        .into_iter()
        .zip(&instance.inputs)
        .map(|(t, (_, wanted))| if *wanted { tape.leaf(t) } else { Var::constant(t) })
        .collect();
    let f = if reference { instance.reference.as_ref().unwrap_or(&instance.run) } else { &instance.run };
    let outputs = f(&vars)?;
    let seeds: Vec<(&Var, Tensor)> = outputs.iter().enumerate().map(|(k, y)| (y, cotangent(y.tensor(), k))).collect();
    let mut grads = tape.backward_from(&seeds)?;
    let grads = vars.iter().map(|v| grads.take(v)).collect();
    Ok((outputs.iter().map(|y| y.tensor().clone()).collect(), grads))
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
