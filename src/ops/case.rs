//! How an op declares its tests and benchmarks: once.
//!
//! A [`Case`] draws inputs of random shape and values in `f64` and knows how to run the op on them, for the gradient
//! check (`tests/gradients.rs`), the kernel comparisons (`tests/kernels.rs`) and the benchmark (`benches/kernels.rs`).

use crate::{Result, Tape, Var, noise::Philox, noise::Stream, tensor::DType, tensor::Shape, tensor::Tensor};

/// An op, by the stem of its file, and its cases.
#[expect(missing_docs, reason = "the line above says it")]
pub struct Op {
    pub name: &'static str,
    pub cases: fn() -> Vec<Case>,
}

/// How well a case's gradient must agree with central differences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gradient {
    /// `max|a - n| / max(1, max|n|) <= 1e-7` per tensor.
    Exact,
    /// The same with this bound, and why.
    Looser(f64, &'static str),
    /// The op is not differentiable, and why.
    None(&'static str),
}

/// One way to use an op: its name `op/variant`, how its inputs are drawn and how its gradient is checked.
#[expect(missing_docs, reason = "the line above says it")]
pub struct Case {
    pub name: &'static str,
    pub draw: fn(&mut Draw) -> Instance,
    pub gradient: Gradient,
}

impl Case {
    /// A differentiable case.
    pub fn new(name: &'static str, draw: fn(&mut Draw) -> Instance) -> Self {
        Self { name, draw, gradient: Gradient::Exact }
    }

    /// The same for an op without a gradient.
    pub fn without_gradient(self, why: &'static str) -> Self {
        Self { gradient: Gradient::None(why), ..self }
    }
}

/// A function of the inputs.
pub type Run = Box<dyn Fn(&[Var]) -> Result<Vec<Var>>>;

/// Work on tensors of its own, made once and done any number of times.
pub type Prepare = Box<dyn Fn(Vec<Tensor>) -> Result<Box<dyn FnMut() -> Result<()>>>>;

fn boxed<O: Into<Vec<Var>>>(run: impl Fn(&[Var]) -> Result<O> + 'static) -> Run {
    Box::new(move |inputs| Ok(run(inputs)?.into()))
}

/// Inputs of one shape, and what to do with them.
pub struct Instance {
    /// The inputs in `f64`, each with whether its gradient is checked.
    pub inputs: Vec<(Tensor, bool)>,
    wide: Vec<usize>,
    weights: Vec<usize>,
    /// The op under test.
    pub run: Run,
    /// The same in plain ops, for fused ones.
    pub reference: Option<Run>,
    /// What a benchmark measures instead of `run`, where that begins with a copy of what the op changes in place.
    pub in_place: Option<Prepare>,
    /// Bytes read and written in `f32`, each once.
    pub bytes: usize,
    /// Floating-point operations.
    pub operations: usize,
}

impl Instance {
    /// An instance whose inputs are all differentiable; `run` gives one output or several.
    pub fn new<O: Into<Vec<Var>>>(inputs: impl Into<Vec<Tensor>>, run: impl Fn(&[Var]) -> Result<O> + 'static) -> Self {
        let inputs: Vec<(Tensor, bool)> = inputs.into().into_iter().map(|t| (t, true)).collect();
        let bytes = inputs.iter().map(|(t, _)| t.numel() * 4).sum();
        let (wide, weights) = (Vec::new(), Vec::new());
        Self { inputs, wide, weights, run: boxed(run), reference: None, in_place: None, bytes, operations: 0 }
    }

    /// Marks inputs that stay in the wide type where the others have 16 bits.
    pub fn wide<const N: usize>(mut self, inputs: [usize; N]) -> Self {
        self.wide.extend(inputs);
        self
    }

    /// Marks inputs that are rounded copies of parameters: their gradients have the wide type.
    pub fn weights<const N: usize>(mut self, inputs: [usize; N]) -> Self {
        self.weights.extend(inputs);
        self
    }

    /// The inputs as the op gets them when its values are of `dtype`; integers as they are.
    pub fn inputs_in(&self, dtype: DType) -> Result<Vec<Tensor>> {
        let convert = |(k, (tensor, _)): (usize, &(Tensor, bool))| match tensor.dtype() {
            DType::F64 => tensor.to_dtype(if self.wide.contains(&k) { dtype.wide() } else { dtype }),
            _ => Ok(tensor.clone()),
        };
        self.inputs.iter().enumerate().map(convert).collect()
    }

    /// `inputs` as variables, tracked by `tape` where a gradient is wanted.
    pub fn variables(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Var>> {
        let variable = |(k, (tensor, (_, wanted))): (usize, (&Tensor, &(Tensor, bool)))| {
            if !*wanted {
                return Ok(Var::constant(tensor.clone()));
            }
            if !self.weights.contains(&k) {
                return Ok(tape.leaf(tensor.clone()));
            }
            // Nobody reads the master's values.
            let master = Tensor::empty_on(tensor.device(), *tensor.shape(), tensor.dtype().wide())?;
            tape.leaf(master).rounded(tensor.clone())
        };
        inputs.iter().zip(&self.inputs).enumerate().map(variable).collect()
    }

    /// With a reference of plain ops.
    pub fn reference<O: Into<Vec<Var>>>(mut self, run: impl Fn(&[Var]) -> Result<O> + 'static) -> Self {
        self.reference = Some(boxed(run));
        self
    }

    /// With a benchmark in place, on copies of the inputs.
    pub fn in_place<W: FnMut() -> Result<()> + 'static>(
        mut self, prepare: impl Fn(Vec<Tensor>) -> Result<W> + 'static,
    ) -> Self {
        self.in_place = Some(Box::new(move |inputs| Ok(Box::new(prepare(inputs)?))));
        self
    }

    /// Marks input `k` as one whose gradient is not asked for.
    pub fn constant(mut self, k: usize) -> Self {
        self.inputs[k].1 = false;
        self
    }

    /// [`Instance::bytes`] where values are of `dtype`: what is kept in the wide type counts with its own size.
    pub fn bytes_in(&self, dtype: DType) -> usize {
        let read = |(k, (tensor, _)): (usize, &(Tensor, bool))| match tensor.dtype() {
            DType::F64 if self.wide.contains(&k) => tensor.numel() * dtype.wide().size(),
            DType::F64 => tensor.numel() * dtype.size(),
            other => tensor.numel() * other.size(),
        };
        let inputs: usize = self.inputs.iter().map(|(tensor, _)| tensor.numel()).sum();
        let written = (self.bytes / 4).saturating_sub(inputs);
        written * dtype.size() + self.inputs.iter().enumerate().map(read).sum::<usize>()
    }

    /// With the cost of one run: `written` elements besides the inputs read, and `operations`.
    pub fn cost(mut self, written: usize, operations: usize) -> Self {
        self.bytes += written * 4;
        self.operations = operations;
        self
    }

    /// [`Instance::cost`] for each element of the first input.
    pub fn cost_each(self, written: usize, operations: usize) -> Self {
        let n = self.inputs[0].0.numel();
        self.cost(n * written, n * operations)
    }
}

/// Where a case takes its sizes and values from.
pub struct Draw {
    sizes: Option<Vec<usize>>,
    part: usize, // of the benchmark's first size
    next: usize,
    values: Stream,
}

impl Draw {
    /// For tests: sizes in the order given (then again from the first), values from `seed`.
    pub fn random(sizes: Vec<usize>, seed: u64) -> Self {
        Self { sizes: Some(sizes), ..Self::bench(seed, 1) }
    }

    /// For benchmarks: the sizes that the case names, made for a GPU, the first of them divided by `part`.
    pub fn bench(seed: u64, part: usize) -> Self {
        Self { sizes: None, part, next: 0, values: Philox { seed, step: 0 }.stream("case", 0) }
    }

    /// The next size: drawn (0 included), or `bench`.
    pub fn size(&mut self, bench: usize) -> usize {
        let place = self.next;
        self.next += 1;
        match &self.sizes {
            Some(sizes) => sizes.get(place % sizes.len().max(1)).copied().unwrap_or(1),
            None if place == 0 => bench.div_ceil(self.part),
            None => bench,
        }
    }

    /// The next sizes.
    pub fn sizes<const N: usize>(&mut self, bench: [usize; N]) -> [usize; N] {
        bench.map(|bench| self.size(bench))
    }

    /// The next size, at least 1.
    pub fn positive(&mut self, bench: usize) -> usize {
        self.size(bench).max(1)
    }

    /// Normal values.
    pub fn normal(&mut self, shape: impl Into<Shape>) -> Tensor {
        self.filled(shape, |values| f64::from(values.normal()))
    }

    /// Values in `[low, high)`.
    pub fn uniform(&mut self, shape: impl Into<Shape>, low: f64, high: f64) -> Tensor {
        self.filled(shape, move |values| low + (high - low) * f64::from(values.next_f32()))
    }

    /// Normal values away from 0 by at least `gap`: for ops with a kink there.
    pub fn away_from_zero(&mut self, shape: impl Into<Shape>, gap: f64) -> Tensor {
        self.filled(shape, move |values| {
            let v = f64::from(values.normal());
            v + gap.copysign(v)
        })
    }

    /// `count` indices below `n`, repeats included.
    pub fn indices(&mut self, count: usize, n: usize) -> Vec<usize> {
        (0..count).map(|_| self.values.below(n.max(1))).collect()
    }

    /// A mask of 0 and 1 whose first row is 0 throughout.
    pub fn mask(&mut self, [rows, cols]: [usize; 2]) -> Tensor {
        let mut next = 0..;
        self.filled([rows, cols], |values| {
            let living = values.below(2) as f64;
            if next.next() < Some(cols) { 0.0 } else { living }
        })
    }

    fn filled(&mut self, shape: impl Into<Shape>, mut value: impl FnMut(&mut Stream) -> f64) -> Tensor {
        const DRAWN: usize = 1 << 20; // the values of larger tensors, which only benchmarks have, repeat
        let mut tensor = Tensor::zeros(shape, DType::F64);
        if let Ok(values) = tensor.slice_mut::<f64>() {
            let (drawn, rest) = values.split_at_mut(values.len().min(DRAWN));
            drawn.iter_mut().for_each(|v| *v = value(&mut self.values));
            rest.chunks_mut(DRAWN).for_each(|again| again.copy_from_slice(&drawn[..again.len()]));
        }
        tensor
    }
}
