//! Whole models of every family in `f64`, as they train: the gradient of the loss for every tensor and for the images against
//! central differences, along a random direction and at single elements.

mod common;

use common::cotangent;
use espalier::models::layout::Work;
use espalier::models::regnet::WidthRule;
use espalier::models::{Architecture, Model, Stem};
use espalier::nn::{BatchNorm, Mode, NoHooks, Params, Pass};
use espalier::noise::Philox;
use espalier::ops::case::Draw;
use espalier::{DType, Tape, Tensor, Var};

const NOISE: Philox = Philox { seed: 5, step: 1 };
const STEP: f64 = 1e-6;
/// Relative to the largest entry of the gradient, where that is above 1.
const BOUND: f64 = 1e-7;

/// Grids and widths as small as a family allows: two stages or more, shifted windows, both stems.
fn families() -> Vec<(&'static str, Architecture)> {
    let deit = Architecture::deit(8, 4, 6, 2, 2);
    let dense = Architecture::lvvit(32, Stem::TokenLabel { filters: 3 }, 6, 2, 2, 2.0);
    let rule = WidthRule { w0: 8.0, wa: 8.0, wm: 2.0, group_width: 4, depth: 3, se_ratio: 0.25, stem_width: 4 };
    let all = [
        ("deit", deit.clone()),
        ("deit, distilled", Architecture { distilled: true, ..deit }),
        ("swin", Architecture::swin(16, 2, 4, &[2, 1], &[1, 2], 4)),
        ("lvvit, 4c", Architecture::lvvit(32, Stem::Conv4, 8, 2, 2, 2.0)),
        ("lvvit, 4_2 and dense head", Architecture { dense_head: true, ..dense }),
        ("regnety", rule.architecture(32)),
        ("pit", Architecture::pit(14, [4, 2], 2, &[1, 2, 1], &[2, 4, 8])),
    ];
    all.map(|(name, arch)| (name, arch.with_classes(5))).into()
}

/// A model, what its parameters are, and images.
struct Subject {
    model: Model,
    params: Params,
    images: Tensor,
}

impl Subject {
    /// Parameters away from the zeros and ones that a fresh model begins with.
    fn new(arch: Architecture) -> Self {
        let mut draw = Draw::random(vec![1], 11);
        let images = draw.normal([3, 3, arch.img_size, arch.img_size]);
        let model = Model::init(arch, 2).unwrap();
        let params = model.params().iter().map(|(name, tensor)| {
            let (own, noise) = (tensor.to_f64s().unwrap(), draw.normal(*tensor.shape()).to_f64s().unwrap());
            let values: Vec<f64> = own.iter().zip(noise).map(|(own, noise)| own + 0.3 * noise).collect();
            (name.to_string(), Tensor::from_slice(*tensor.shape(), &values).unwrap())
        });
        Self { params: params.collect(), model, images }
    }

    /// The logits of all heads in training: drop path, statistics of the batch.
    fn logits(&self, tape: Option<&Tape>, recompute: bool) -> (Vec<Var>, Vec<Var>) {
        let mode = Mode { drop_path: 0.3, noise: &NOISE, recompute, batch_norm: BatchNorm::Batch, ..Mode::eval() };
        let pass = Pass::new(&self.params, tape, mode, &NoHooks).unwrap();
        let images = tape.map_or(Var::constant(self.images.clone()), |tape| tape.leaf(self.images.clone()));
        let logits = self.model.forward(&pass, &images).unwrap();
        let params = self.params.iter().map(|(name, _)| pass.var(name).unwrap().clone());
        (logits, params.chain([images.clone()]).collect())
    }

    /// `<r, logits>` for a fixed `r`.
    fn loss(&self) -> f64 {
        let inner = |(k, y): (usize, &Var)| dot(y.tensor(), &cotangent(y.tensor(), k));
        self.logits(None, false).0.iter().enumerate().map(inner).sum()
    }

    /// The gradient of every parameter, and of the images last; zeros where there is none.
    fn gradients(&self, recompute: bool) -> Vec<Tensor> {
        let tape = Tape::new();
        let (logits, leaves) = self.logits(Some(&tape), recompute);
        let seeds: Vec<_> = logits.iter().enumerate().map(|(k, y)| (y, cotangent(y.tensor(), k))).collect();
        let mut grads = tape.backward_from(&seeds).unwrap();
        leaves.iter().map(|leaf| grads.take(leaf).unwrap_or(Tensor::zeros(*leaf.shape(), DType::F64))).collect()
    }

    /// Tensor `k` of [`Subject::gradients`].
    fn tensor(&mut self, k: usize) -> &mut Tensor {
        if k == self.params.len() { &mut self.images } else { self.params.iter_mut().nth(k).unwrap().1 }
    }

    /// The central difference of the loss for tensor `k` along `direction`.
    fn difference(&mut self, k: usize, direction: &[f64]) -> f64 {
        let own = self.tensor(k).to_f64s().unwrap();
        let mut at = |step: f64| {
            let moved: Vec<f64> = own.iter().zip(direction).map(|(own, d)| own + step * d).collect();
            *self.tensor(k) = Tensor::from_slice(*self.tensor(k).shape(), &moved).unwrap();
            self.loss()
        };
        let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        at(0.0);
        difference
    }
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    a.to_f64s().unwrap().iter().zip(b.to_f64s().unwrap()).map(|(a, b)| a * b).sum()
}

/// A random direction of length 1 over all elements, then single elements: the one of the largest gradient, the first, the last.
fn directions(gradient: &[f64], seed: u64) -> Vec<Vec<f64>> {
    let all = Draw::random(vec![1], seed).normal([gradient.len()]).to_f64s().unwrap();
    let length = all.iter().map(|v| v * v).sum::<f64>().sqrt();
    let largest = (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs())).unwrap();
    let single = |at: usize| (0..gradient.len()).map(|i| f64::from(u8::from(i == at))).collect();
    let mut directions = vec![all.iter().map(|v| v / length).collect()];
    directions.extend([largest, 0, gradient.len() - 1].map(single));
    directions
}

#[test]
fn gradients_of_whole_models_equal_central_differences() {
    for (family, arch) in families() {
        let mut subject = Subject::new(arch);
        let layout = Model::layout(subject.model.arch());
        let trained = |name: &str| layout.find(name).is_none_or(|slot| slot.work != Work::Buffer);
        let names: Vec<String> = subject.params.iter().map(|(name, _)| name.to_string()).collect();
        let (mut checked, mut idle, mut largest) = (0, Vec::new(), 0.0f64);
        for (k, gradient) in subject.gradients(false).iter().enumerate() {
            let name = names.get(k).map_or("images", String::as_str);
            if !trained(name) {
                continue;
            }
            let gradient = gradient.to_f64s().unwrap();
            let scale = gradient.iter().fold(1.0f64, |top, v| top.max(v.abs()));
            for direction in directions(&gradient, k as u64) {
                let along: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
                let difference = subject.difference(k, &direction);
                let error = (along - difference).abs() / scale;
                assert!(error <= BOUND, "{family}: {name}: {along:e}, differences give {difference:e}");
                largest = largest.max(error);
            }
            checked += 1;
            if gradient.iter().all(|g| g.abs() < 1e-9) {
                idle.push(name.to_string());
            }
        }
        println!("{family}: {checked} tensors, error {largest:.1e}");
        // The dense head of a model that does not read it.
        let unread = |name: &String| name.starts_with("aux_head.") && !subject.model.arch().dense_head;
        assert!(checked > 20 && idle.iter().all(unread), "{family}: no gradient for {idle:?}");
    }
}

#[test]
fn recomputed_blocks_give_the_same_bits() {
    for (family, arch) in families() {
        let subject = Subject::new(arch);
        let [plain, recomputed] = [false, true].map(|recompute| subject.gradients(recompute));
        for (k, (plain, recomputed)) in plain.iter().zip(&recomputed).enumerate() {
            assert!(plain.bytes().unwrap() == recomputed.bytes().unwrap(), "{family}: tensor {k}");
        }
    }
}
