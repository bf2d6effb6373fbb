//! Reverse-mode differentiation: a flat list of what was run, walked backwards once.
//!
//! A [`Var`] is a tensor that may be tracked. An op computes its outputs and, if any input is tracked, records one node:
//! its name, the ids of inputs and outputs, and a closure that turns output gradients into input gradients. What the node
//! needs for that is what the closure captured. Without a tape nothing is recorded, so the same functions serve inference.
//!
//! ```
//! use espalier::{Tape, Tensor, ops};
//! let tape = Tape::new();
//! let x = tape.leaf(Tensor::from_slice([3], &[1f32, 2.0, 3.0])?);
//! let loss = ops::dot(&x, &x.detach())?;
//! let grads = tape.backward(&loss)?;
//! assert_eq!(grads.get(&x).unwrap().slice::<f32>()?, [1.0, 2.0, 3.0]);
//! # Ok::<(), espalier::Error>(())
//! ```

use crate::{Error, Result, gpu::Tf32, tensor::DType, tensor::Device, tensor::Shape, tensor::Tensor};
use std::{cell::RefCell, ops::Range, rc::Rc};

/// The number of a tracked value on its tape.
type Id = usize;
type Backward = Box<dyn FnOnce(&mut Back) -> Result<()>>;

/// A tracked input: where its gradient goes and what that looks like.
#[derive(Clone, Copy)]
struct Input {
    id: Id,
    shape: Shape,
    dtype: DType, // the value's, or that of the master whose rounded copy the value is
    device: Device,
}

struct Node {
    name: &'static str,
    inputs: Vec<Option<Input>>,
    outputs: Range<Id>,
    backward: Backward,
}

#[derive(Default)]
struct Record {
    nodes: Vec<Node>,
    ids: usize,
    tf32: bool,
}

/// The list of ops that were run. Clones are the same tape.
#[derive(Clone, Default)]
pub struct Tape(Rc<RefCell<Record>>);

/// A tensor, tracked by a tape or not.
#[derive(Clone)]
pub struct Var {
    tensor: Tensor,
    tracked: Option<(Tape, Id)>,
    master: Option<DType>, // of the gradient, when it is not the value's
}

impl Var {
    /// A value that no gradient flows to.
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor, tracked: None, master: None }
    }

    /// The value.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The value alone, giving up the tracking; a sole owner can be written in place.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        self.tensor.shape()
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.tensor.dtype()
    }

    /// Whether a gradient can flow to it.
    pub fn is_tracked(&self) -> bool {
        self.tracked.is_some()
    }

    /// The same value without tracking: gradients stop here.
    pub fn detach(&self) -> Self {
        Self::constant(self.tensor.clone())
    }

    /// Its place on the tape without its value, for [`record`].
    pub fn handle(&self) -> Handle {
        let (shape, device) = (*self.shape(), self.tensor.device());
        let dtype = self.master.unwrap_or(self.dtype());
        let place = |(tape, id): &(Tape, Id)| (tape.clone(), Input { id: *id, shape, dtype, device });
        Handle(self.tracked.as_ref().map(place))
    }

    /// Handle and value apart: an op that takes its input by value can then write in place.
    pub fn split(self) -> (Handle, Tensor) {
        (self.handle(), self.tensor)
    }

    /// The same elements under another shape.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let tensor = self.tensor.reshape(shape)?;
        let original = *self.shape();
        let y = record_one("reshape", &[self.handle()], tensor, move |back, dy| back.add(0, dy.reshape(original)?));
        Ok(Self { master: self.master, ..y })
    }

    /// The same place on the tape with `copy` as value: these elements, rounded to another type. Gradients that ops find
    /// for the copy have this value's type, and are added to this value's.
    pub fn rounded(&self, copy: Tensor) -> Result<Self> {
        let (shape, found) = (self.shape(), (*copy.shape(), copy.dtype()));
        let fits = *shape == found.0 && (found.1 == self.dtype() || found.1.wide() == self.dtype());
        Error::ensure_shape(fits, "rounded", format_args!("a copy of {shape:?} {:?}", self.dtype()), found)?;
        Ok(Self { tensor: copy, tracked: self.tracked.clone(), master: Some(self.dtype()) })
    }
}

impl std::fmt::Debug for Var {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", if self.is_tracked() { "tracked " } else { "" }, self.tensor)
    }
}

impl From<Var> for Vec<Var> {
    fn from(var: Var) -> Self {
        vec![var]
    }
}

/// The place of a value on its tape, without the value.
#[derive(Clone)]
pub struct Handle(Option<(Tape, Input)>);

impl Handle {
    /// The handle of an optional input; an absent one wants no gradient.
    pub fn of(var: Option<&Var>) -> Self {
        var.map_or(Self(None), Var::handle)
    }
}

/// Records an op with several outputs; without a tracked input only wraps them. All inputs must share a tape.
pub fn record<const N: usize>(
    name: &'static str, inputs: &[Handle], outputs: [Tensor; N],
    backward: impl FnOnce(&mut Back) -> Result<()> + 'static,
) -> [Var; N] {
    let Some((tape, _)) = inputs.iter().find_map(|h| h.0.as_ref()) else { return outputs.map(Var::constant) };
    let inputs = inputs.iter().map(|h| h.0.as_ref().map(|(_, input)| *input)).collect();
    let mut ids = tape.new_ids(N);
    tape.0.borrow_mut().nodes.push(Node { name, inputs, outputs: ids.clone(), backward: Box::new(backward) });
    outputs.map(|tensor| Var { tensor, tracked: ids.next().map(|id| (tape.clone(), id)), master: None })
}

/// [`record`] for an op with one output, whose gradient `backward` is given.
pub fn record_one(
    name: &'static str, inputs: &[Handle], output: Tensor,
    backward: impl FnOnce(&mut Back, Tensor) -> Result<()> + 'static,
) -> Var {
    let [y] = record(name, inputs, [output], |back| match back.dy(0) {
        Some(dy) => backward(back, dy),
        None => Ok(()),
    });
    y
}

/// The gradients that exist at some moment of the backward walk.
#[derive(Default)]
pub struct Grads(Vec<Option<Tensor>>);

impl Grads {
    /// The gradient of a tracked value that is still held: leaves keep theirs, intermediate ones are freed.
    pub fn get(&self, var: &Var) -> Option<&Tensor> {
        self.0.get(var.tracked.as_ref()?.1)?.as_ref()
    }

    /// Takes a gradient out.
    pub fn take(&mut self, var: &Var) -> Option<Tensor> {
        self.0.get_mut(var.tracked.as_ref()?.1)?.take()
    }

    fn add(&mut self, id: Id, grad: Tensor) -> Result<()> {
        match &mut self.0[id] {
            Some(sum) => return sum.accumulate(&grad),
            empty => *empty = Some(grad),
        }
        Ok(())
    }
}

/// What a node's closure sees: its output gradients, and the places for its input gradients.
pub struct Back<'a> {
    grads: &'a mut Grads,
    inputs: Vec<Option<Input>>,
    outputs: Range<Id>,
}

impl Back<'_> {
    /// The gradient at output `k`; `None` when nothing depends on that output.
    pub fn dy(&mut self, k: usize) -> Option<Tensor> {
        self.grads.0[self.outputs.start + k].take()
    }

    /// Adds `grad` to the gradient of input `k`.
    pub fn add(&mut self, k: usize, grad: Tensor) -> Result<()> {
        let Some(input) = self.inputs[k] else { return Ok(()) };
        let fits = *grad.shape() == input.shape && grad.dtype() == input.dtype;
        let expected = format_args!("a gradient of {:?} {:?}", input.shape, input.dtype);
        Error::ensure_shape(fits, "backward", expected, (grad.shape(), grad.dtype()))?;
        self.grads.add(input.id, grad)
    }

    /// [`Back::add`] of a gradient that is computed only if input `k` wants one.
    pub fn add_wanted(&mut self, k: usize, grad: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        if self.inputs[k].is_some() { self.add(k, grad()?) } else { Ok(()) }
    }

    /// Lets `write(buffer, accumulate)` fill the gradient of input `k`, if it wants one: `buffer` must be overwritten
    /// when `accumulate` is false and added to when it is true. Saves a copy where a kernel can add by itself.
    pub fn slot(&mut self, k: usize, write: impl FnOnce(&mut Tensor, bool) -> Result<()>) -> Result<()> {
        let Some(Input { id, shape, dtype, device }) = self.inputs[k] else { return Ok(()) };
        let place = &mut self.grads.0[id];
        let accumulate = place.is_some();
        let buffer = match place {
            Some(grad) => grad,
            None => place.insert(Tensor::empty_on(device, shape, dtype)?),
        };
        write(buffer, accumulate)
    }
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tracks a value: a parameter or an input whose gradient is wanted.
    pub fn leaf(&self, tensor: Tensor) -> Var {
        Var { tensor, tracked: Some((self.clone(), self.new_ids(1).start)), master: None }
    }

    fn new_ids(&self, count: usize) -> Range<Id> {
        let mut list = self.0.borrow_mut();
        list.ids += count;
        list.ids - count..list.ids
    }

    /// Whether the products of the backward pass round their operands to TF32.
    pub fn round_to_tf32(&self, yes: bool) {
        self.0.borrow_mut().tf32 = yes;
    }

    /// The names of the recorded nodes in run order.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.borrow().nodes.iter().map(|node| node.name).collect()
    }

    /// The gradients of `loss` (one element) with respect to every leaf. The tape is empty afterwards.
    pub fn backward(&self, loss: &Var) -> Result<Grads> {
        Error::ensure_shape(loss.tensor.numel() == 1, "backward", "a loss of one element", loss.shape())?;
        self.backward_from(&[(loss, loss.tensor.new_full(*loss.shape(), 1.0)?)])
    }

    /// The gradients of `sum of <seed, var>`: several outputs, each with its own cotangent.
    pub fn backward_from(&self, seeds: &[(&Var, Tensor)]) -> Result<Grads> {
        let _products = Tf32::set(self.0.borrow().tf32);
        let nodes = std::mem::take(&mut self.0.borrow_mut().nodes);
        let mut grads = Grads(vec![None; self.0.borrow().ids]);
        for (var, seed) in seeds {
            let Some((tape, id)) = &var.tracked else { continue };
            Error::ensure(Rc::ptr_eq(&tape.0, &self.0), "backward", "a value of this tape", "one of another tape")?;
            var.tensor.check_same("backward", seed)?;
            grads.add(*id, seed.clone())?;
        }
        for node in nodes.into_iter().rev() {
            let Node { inputs, outputs, backward, .. } = node;
            if grads.0[outputs.clone()].iter().any(Option::is_some) {
                backward(&mut Back { grads: &mut grads, inputs, outputs: outputs.clone() })?;
                grads.0[outputs].fill(None);
            }
        }
        Ok(grads)
    }
}

/// Runs `f` without keeping its intermediate values and runs it again when the gradient is needed: activation
/// checkpointing. `f` must compute the same thing both times, and every tracked value it uses must be among `inputs`:
/// an error otherwise, since its gradient would be lost.
pub fn checkpoint(inputs: &[&Var], f: impl Fn(&[Var]) -> Result<Var> + 'static) -> Result<Var> {
    let values: Vec<(Tensor, Option<DType>)> = inputs.iter().map(|v| (v.tensor.clone(), v.master)).collect();
    let handles: Vec<Handle> = inputs.iter().map(|v| v.handle()).collect();
    let output = f(&inputs.iter().map(|v| v.detach()).collect::<Vec<_>>())?;
    Error::ensure(!output.is_tracked(), "checkpoint", "every tracked value among its inputs", "a captured one")?;
    Ok(record_one("checkpoint", &handles, output.into_tensor(), move |back, dy| {
        let tape = Tape::new();
        tape.round_to_tf32(Tf32::is_on());
        let leaf = |(value, master)| Var { master, ..tape.leaf(value) };
        let leaves: Vec<Var> = values.into_iter().map(leaf).collect();
        let output = f(&leaves)?;
        let mut grads = tape.backward_from(&[(&output, dy)])?;
        for (k, leaf) in leaves.iter().enumerate() {
            if let Some(grad) = grads.take(leaf) {
                back.add(k, grad)?;
            }
        }
        Ok(())
    }))
}
