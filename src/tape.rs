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

use crate::tensor::{DType, Shape, Tensor};
use crate::{Error, Result};
use std::cell::RefCell;
use std::rc::Rc;

/// The number of a tracked value on its tape.
type Id = usize;
type Backward = Box<dyn FnOnce(&mut Back) -> Result<()>>;

/// A tracked input: where its gradient goes and what it looks like.
#[derive(Clone, Copy)]
struct Input {
    id: Id,
    shape: Shape,
    dtype: DType,
}

struct Node {
    name: &'static str,
    inputs: Vec<Option<Input>>,
    outputs: Vec<Id>,
    backward: Backward,
}

#[derive(Default)]
struct Record {
    nodes: Vec<Node>,
    ids: usize,
}

/// The list of ops that were run. Clones are the same tape.
#[derive(Clone, Default)]
pub struct Tape(Rc<RefCell<Record>>);

/// A tensor, tracked by a tape or not.
#[derive(Clone)]
pub struct Var {
    tensor: Tensor,
    tracked: Option<(Tape, Id)>,
}

impl Var {
    /// A value that no gradient flows to.
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor, tracked: None }
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
        let input = |(_, id): &(Tape, Id)| Input { id: *id, shape: *self.shape(), dtype: self.dtype() };
        Handle(self.tracked.as_ref().map(|t| (t.0.clone(), input(t))))
    }

    /// Handle and value apart: an op that takes its input by value can then write in place.
    pub fn split(self) -> (Handle, Tensor) {
        (self.handle(), self.tensor)
    }

    /// The same elements under another shape.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let tensor = self.tensor.reshape(shape)?;
        let original = *self.shape();
        Ok(record_one("reshape", &[self.handle()], tensor, move |back| {
            let Some(dy) = back.dy(0) else { return Ok(()) };
            back.add(0, dy.reshape(original)?)
        }))
    }
}

impl std::fmt::Debug for Var {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", if self.is_tracked() { "tracked " } else { "" }, self.tensor)
    }
}

/// The place of a value on its tape, without the value.
#[derive(Clone)]
pub struct Handle(Option<(Tape, Input)>);

/// Records an op with several outputs; without a tracked input only wraps them. All inputs must share a tape.
pub fn record(
    name: &'static str,
    inputs: &[Handle],
    outputs: Vec<Tensor>,
    backward: impl FnOnce(&mut Back) -> Result<()> + 'static,
) -> Vec<Var> {
    let Some(tape) = inputs.iter().find_map(|h| h.0.as_ref()).map(|(tape, _)| tape.clone()) else {
        return outputs.into_iter().map(Var::constant).collect();
    };
    let mut list = tape.0.borrow_mut();
    let ids: Vec<Id> = (list.ids..list.ids + outputs.len()).collect();
    list.ids += outputs.len();
    list.nodes.push(Node {
        name,
        inputs: inputs.iter().map(|h| h.0.as_ref().map(|(_, input)| *input)).collect(),
        outputs: ids.clone(),
        backward: Box::new(backward),
    });
    drop(list);
    outputs.into_iter().zip(ids).map(|(tensor, id)| Var { tensor, tracked: Some((tape.clone(), id)) }).collect()
}

/// [`record`] for an op with one output.
pub fn record_one(
    name: &'static str,
    inputs: &[Handle],
    output: Tensor,
    backward: impl FnOnce(&mut Back) -> Result<()> + 'static,
) -> Var {
    match record(name, inputs, vec![output], backward).pop() {
        Some(var) => var,
        None => Var::constant(Tensor::empty([0], DType::F32)), // unreachable: one output in, one out
    }
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
        self.0[id] = Some(match self.0[id].take() {
            None => grad,
            Some(mut sum) => {
                crate::cpu::accumulate(&mut sum, &grad)?;
                sum
            }
        });
        Ok(())
    }
}

/// What a node's closure sees: its output gradients, and the places for its input gradients.
pub struct Back<'a> {
    grads: &'a mut Grads,
    inputs: Vec<Option<Input>>,
    outputs: Vec<Id>,
}

impl Back<'_> {
    /// The gradient at output `k`; `None` when nothing depends on that output.
    pub fn dy(&mut self, k: usize) -> Option<Tensor> {
        self.grads.0[self.outputs[k]].take()
    }

    /// Whether input `k` wants a gradient.
    pub fn wants(&self, k: usize) -> bool {
        self.inputs[k].is_some()
    }

    /// Adds `grad` to the gradient of input `k`.
    pub fn add(&mut self, k: usize, grad: Tensor) -> Result<()> {
        let Some(input) = self.inputs[k] else { return Ok(()) };
        if *grad.shape() != input.shape || grad.dtype() != input.dtype {
            return Err(Error::shape("backward", format!("a gradient of {:?}", input.shape), grad));
        }
        self.grads.add(input.id, grad)
    }

    /// Lets `write(buffer, accumulate)` fill the gradient of input `k`, if it wants one: `buffer` must be overwritten
    /// when `accumulate` is false and added to when it is true. Saves a copy where a kernel can add by itself.
    pub fn slot(&mut self, k: usize, write: impl FnOnce(&mut Tensor, bool) -> Result<()>) -> Result<()> {
        let Some(Input { id, shape, dtype }) = self.inputs[k] else { return Ok(()) };
        let existing = self.grads.0[id].take();
        let accumulate = existing.is_some();
        let mut buffer = existing.unwrap_or_else(|| Tensor::empty(shape, dtype));
        write(&mut buffer, accumulate)?;
        self.grads.0[id] = Some(buffer);
        Ok(())
    }
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tracks a value: a parameter or an input whose gradient is wanted.
    pub fn leaf(&self, tensor: Tensor) -> Var {
        let mut list = self.0.borrow_mut();
        let id = list.ids;
        list.ids += 1;
        Var { tensor, tracked: Some((self.clone(), id)) }
    }

    /// The names of the recorded nodes in run order.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.borrow().nodes.iter().map(|node| node.name).collect()
    }

    /// The gradients of `loss` (one element) with respect to every leaf. The tape is empty afterwards.
    pub fn backward(&self, loss: &Var) -> Result<Grads> {
        if loss.tensor.numel() != 1 {
            return Err(Error::shape("backward", "a loss of one element", loss.shape()));
        }
        self.backward_from(&[(loss, Tensor::full(*loss.shape(), loss.dtype(), 1.0))])
    }

    /// The gradients of `sum of <seed, var>`: several outputs, each with its own cotangent.
    pub fn backward_from(&self, seeds: &[(&Var, Tensor)]) -> Result<Grads> {
        let (nodes, ids) = {
            let mut list = self.0.borrow_mut();
            (std::mem::take(&mut list.nodes), list.ids)
        };
        let mut grads = Grads(std::iter::repeat_with(|| None).take(ids).collect());
        for (var, seed) in seeds {
            let Some((tape, id)) = &var.tracked else { continue };
            if !Rc::ptr_eq(&tape.0, &self.0) {
                return Err(Error::invalid("backward", "a value of this tape", "one of another tape"));
            }
            if seed.shape() != var.shape() || seed.dtype() != var.dtype() {
                return Err(Error::shape("backward", format!("a seed like {:?}", var.tensor), seed));
            }
            grads.add(*id, seed.clone())?;
        }
        for node in nodes.into_iter().rev() {
            if node.outputs.iter().all(|id| grads.0[*id].is_none()) {
                continue;
            }
            let outputs = node.outputs.clone();
            let mut back = Back { grads: &mut grads, inputs: node.inputs, outputs: node.outputs };
            (node.backward)(&mut back)?;
            outputs.iter().for_each(|id| grads.0[*id] = None);
        }
        Ok(grads)
    }
}

/// Runs `f` without keeping its intermediate values and runs it again when the gradient is needed: activation
/// checkpointing. `f` must compute the same thing both times, and every tracked value it uses must be among `inputs`:
/// an error otherwise, since its gradient would be lost.
pub fn checkpoint(inputs: &[&Var], f: impl Fn(&[Var]) -> Result<Var> + 'static) -> Result<Var> {
    let values: Vec<Tensor> = inputs.iter().map(|v| v.tensor.clone()).collect();
    let plain: Vec<Var> = values.iter().cloned().map(Var::constant).collect();
    let handles: Vec<Handle> = inputs.iter().map(|v| v.handle()).collect();
    let output = f(&plain)?;
    if output.is_tracked() {
        return Err(Error::invalid("checkpoint", "every tracked value among its inputs", "a captured one"));
    }
    let output = output.into_tensor();
    Ok(record_one("checkpoint", &handles, output, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        let tape = Tape::new();
        let leaves: Vec<Var> = values.into_iter().map(|value| tape.leaf(value)).collect();
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
