//! The tensors of a model, declared once: name, shape, first values, and the work that an image makes with each. Files,
//! fresh models and counts all read this list.

use crate::noise::{Philox, Stream};
use crate::{Result, Tensor, nn::Params};

/// The end of the name of a BatchNorm's count of batches: an integer in files.
pub const COUNTER: &str = ".num_batches_tracked";

/// The values that a tensor of a fresh model begins with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// Normal with this deviation.
    Normal(f32),
    /// Uniform within this bound.
    Uniform(f32),
}

impl Init {
    /// Uniform within `1 / √fan_in`: a convolution whose outputs read `fan_in` values.
    pub fn fan_in(fan_in: usize) -> Self {
        Self::Uniform(1.0 / (fan_in as f32).sqrt())
    }
}

/// What an image does with a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "a variant's lines name its fields")]
pub enum Work {
    /// No product: biases, tokens, positions.
    None,
    /// Every one of its elements is multiplied for each of these rows.
    Rows(usize),
    /// The scale of a norm over `rows` rows of its length; fvcore counts `each` operations an element.
    Norm { rows: usize, each: usize },
    /// A statistic that training keeps and no optimiser changes; not counted as a parameter.
    Buffer,
}

/// A tensor: its key in official checkpoints, and what is known of it before it has values.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Slot {
    pub name: String,
    pub shape: Vec<usize>,
    pub init: Init,
    pub work: Work,
}

impl Slot {
    /// The first values, a function of `seed` and the name alone.
    pub fn fresh(&self, seed: u64) -> Result<Tensor> {
        let mut draws = Philox { seed, step: 0 }.stream(&self.name, 0);
        let value: &dyn Fn(&mut Stream) -> f32 = match self.init {
            Init::Zeros => &|_| 0.0,
            Init::Ones => &|_| 1.0,
            Init::Normal(deviation) => &move |draws| draws.normal() * deviation,
            Init::Uniform(bound) => &move |draws| draws.range(-bound, bound),
        };
        let values: Vec<f32> = (0..self.shape.iter().product()).map(|_| value(&mut draws)).collect();
        Tensor::from_slice(self.shape.as_slice(), &values)
    }
}

/// The tensors in the order of the official checkpoints, and the products that have no weight, such as `q kᵀ`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    /// The tensors.
    pub slots: Vec<Slot>,
    /// Names and factors of the products of activations: multiply-accumulates are the product of the factors.
    pub products: Vec<(String, Vec<usize>)>,
}

impl Layout {
    /// A tensor of any kind.
    pub fn tensor(&mut self, name: impl Into<String>, shape: &[usize], init: Init, work: Work) {
        self.slots.push(Slot { name: name.into(), shape: shape.to_vec(), init, work });
    }

    /// `name.weight [outputs, inputs]` that `rows` rows go through, and with `bias` `name.bias`: normal(0, 0.02) and 0.
    pub fn linear(&mut self, name: &str, [outputs, inputs]: [usize; 2], bias: bool, rows: usize) {
        self.tensor(format!("{name}.weight"), &[outputs, inputs], Init::Normal(0.02), Work::Rows(rows));
        if bias {
            self.tensor(format!("{name}.bias"), &[outputs], Init::Zeros, Work::None);
        }
    }

    /// `name.weight [outputs, inputs of a group, k, k]` at `positions` places, and with `bias` `name.bias`: both uniform
    /// within `1 / √fan_in`, as PyTorch's convolutions are.
    pub fn conv(&mut self, name: &str, shape: [usize; 4], bias: bool, positions: usize) {
        let init = Init::fan_in(shape[1..].iter().fold(1, |all: usize, side| all.saturating_mul(*side)));
        self.tensor(format!("{name}.weight"), &shape, init, Work::Rows(positions));
        if bias {
            self.tensor(format!("{name}.bias"), &shape[..1], init, Work::None);
        }
    }

    /// LayerNorm `name` over `rows` rows of `width`.
    pub fn layernorm(&mut self, name: &str, width: usize, rows: usize) {
        self.tensor(format!("{name}.weight"), &[width], Init::Ones, Work::Norm { rows, each: 5 });
        self.tensor(format!("{name}.bias"), &[width], Init::Zeros, Work::None);
    }

    /// BatchNorm `name` over `rows` rows of `width`, its running statistics and their count.
    pub fn batchnorm(&mut self, name: &str, width: usize, rows: usize) {
        self.tensor(format!("{name}.weight"), &[width], Init::Ones, Work::Norm { rows, each: 2 });
        self.tensor(format!("{name}.bias"), &[width], Init::Zeros, Work::None);
        self.tensor(format!("{name}.running_mean"), &[width], Init::Zeros, Work::Buffer);
        self.tensor(format!("{name}.running_var"), &[width], Init::Ones, Work::Buffer);
        self.tensor(format!("{name}{COUNTER}"), &[], Init::Zeros, Work::Buffer);
    }

    /// The weight of convolution `conv`, which has no bias, and BatchNorm `norm`; `folded` the convolution alone, with a bias.
    pub fn conv_norm(&mut self, [conv, norm]: [&str; 2], shape: [usize; 4], positions: usize, folded: bool) {
        self.conv(conv, shape, folded, positions);
        if !folded {
            self.batchnorm(norm, shape[0], positions);
        }
    }

    /// A product of activations.
    pub fn product<const N: usize>(&mut self, name: impl Into<String>, factors: [usize; N]) {
        self.products.push((name.into(), factors.to_vec()));
    }

    /// The tensor called `name`.
    pub fn find(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.name == name)
    }

    /// Fresh tensors.
    pub fn init(&self, seed: u64) -> Result<Params> {
        self.slots.iter().map(|slot| Ok((slot.name.clone(), slot.fresh(seed)?))).collect()
    }
}
