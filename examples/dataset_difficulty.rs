//! How hard the generated data set is for models that should not solve it: 1-nearest-neighbour, a linear model and a
//! one-hidden-layer network on the pixels, against the limits that the set is tuned to.
//!
//! `cargo run --release --example dataset_difficulty -- [train images] [test images]`

use espalier::cpu::{Mat, gemm};
use espalier::data::dataset::Dataset;
use espalier::data::generated::{GENERATOR_VERSION, GeneratedDataset, Split};
use espalier::nn::Params;
use espalier::noise::Philox;
use espalier::optim::AdamW;
use espalier::{DType, Result, Tape, Tensor, Var, ops};
use std::collections::HashMap;

const SIDE: usize = 64;
const PIXELS: usize = 3 * SIDE * SIDE;
const BATCH: usize = 100;
const EPOCHS: u64 = 8;

struct Set {
    pixels: Vec<f32>,
    labels: Vec<usize>,
}

fn load(split: Split, len: usize) -> Result<Set> {
    let data = GeneratedDataset::new(split, len, SIDE, 0)?;
    let samples = (0..len).map(|i| data.sample(i, 0)).collect::<Result<Vec<_>>>()?;
    let labels = samples.iter().map(|s| s.label).collect();
    Ok(Set { pixels: samples.into_iter().flat_map(|s| s.pixels).collect(), labels })
}

/// The label of the nearest training image: `|a - b|² = |a|² - 2 a·b + |b|²`, `|a|²` the same for all.
fn nearest(train: &Set, test: &Set) -> f64 {
    let norms: Vec<f32> = train.pixels.chunks(PIXELS).map(|p| p.iter().map(|v| v * v).sum()).collect();
    let mut hits = 0;
    for (pixels, labels) in test.pixels.chunks(BATCH * PIXELS).zip(test.labels.chunks(BATCH)) {
        let (rows, cols) = (labels.len(), norms.len());
        let mut dots = vec![0.0; rows * cols];
        let all = Mat::new(&train.pixels, cols, PIXELS);
        gemm(-2.0, Mat::new(pixels, rows, PIXELS), all.t(), 0.0, &mut dots, cols);
        for (row, label) in dots.chunks(cols).zip(labels) {
            let distance = |i: &usize| norms[*i] + row[*i];
            let best = (0..cols).min_by(|a, b| distance(a).total_cmp(&distance(b)));
            hits += usize::from(best.is_some_and(|best| train.labels[best] == *label));
        }
    }
    100.0 * hits as f64 / test.labels.len() as f64
}

/// Logits of a network with one hidden layer, or of a linear model without `w1`.
fn logits(vars: &HashMap<&str, Var>, x: &Var) -> Result<Var> {
    let hidden = match vars.get("w1") {
        Some(w1) => ops::bias_gelu(ops::linear(x, w1, None)?, vars.get("b1"), None)?,
        None => x.clone(),
    };
    ops::linear(&hidden, &vars["w2"], vars.get("b2"))
}

fn fit(train: &Set, test: &Set, hidden: Option<usize>) -> Result<f64> {
    let random = |name: &str, shape: [usize; 2]| -> Result<Tensor> {
        let (mut draws, scale) = (Philox { seed: 0, step: 0 }.stream(name, 0), (shape[1] as f32).powf(-0.5));
        Tensor::from_slice(shape, &(0..shape[0] * shape[1]).map(|_| draws.normal() * scale).collect::<Vec<f32>>())
    };
    let mut params = Params::default();
    if let Some(width) = hidden {
        params.insert("w1", random("w1", [width, PIXELS])?);
        params.insert("b1", Tensor::zeros([width], DType::F32));
    }
    params.insert("w2", random("w2", [10, hidden.unwrap_or(PIXELS)])?);
    params.insert("b2", Tensor::zeros([10], DType::F32));
    let mut optimizer = AdamW { weight_decay: 0.01, ..AdamW::new(&params)? };
    for epoch in 0..EPOCHS {
        let order = Philox { seed: 0, step: epoch }.permutation("order", train.labels.len());
        for batch in order.chunks(BATCH) {
            let pixels: Vec<f32> = batch.iter().flat_map(|i| train.pixels[i * PIXELS..][..PIXELS].to_vec()).collect();
            let labels: Vec<usize> = batch.iter().map(|i| train.labels[*i]).collect();
            let tape = Tape::new();
            let vars: HashMap<&str, Var> = params.iter().map(|(name, t)| (name, tape.leaf(t.clone()))).collect();
            let z = logits(&vars, &Var::constant(Tensor::from_slice([batch.len(), PIXELS], &pixels)?))?;
            let mut grads = tape.backward(&ops::cross_entropy(&z, &ops::one_hot(&labels, 10, 0.0, DType::F32)?)?)?;
            let grads = vars.iter().filter_map(|(name, v)| Some((name.to_string(), grads.take(v)?))).collect();
            drop((z, vars));
            optimizer.step(&mut params, &grads, 3e-4, 1.0)?;
        }
    }
    let vars: HashMap<&str, Var> = params.iter().map(|(name, t)| (name, Var::constant(t.clone()))).collect();
    let z = logits(&vars, &Var::constant(Tensor::from_slice([test.labels.len(), PIXELS], &test.pixels)?))?;
    let hits = ops::argmax(z.tensor())?.iter().zip(&test.labels).filter(|(a, b)| a == b).count();
    Ok(100.0 * hits as f64 / test.labels.len() as f64)
}

fn main() -> Result<()> {
    let size = |k: usize, default: usize| std::env::args().nth(k).and_then(|v| v.parse().ok()).unwrap_or(default);
    let (train, test) = (load(Split::Train, size(1, 14_000))?, load(Split::Test, size(2, 4_000))?);
    println!("generator v{GENERATOR_VERSION}, {SIDE} px, {} + {} images", train.labels.len(), test.labels.len());
    let results = [
        ("1-nearest-neighbour", nearest(&train, &test), 50.0),
        ("linear model", fit(&train, &test, None)?, 30.0),
        ("one hidden layer of 512", fit(&train, &test, Some(512))?, 92.0),
    ];
    for (name, accuracy, limit) in results {
        println!("{name}: {accuracy:.1} % (limit {limit} %)");
        assert!(accuracy < limit, "{name} solves the set");
    }
    Ok(())
}
