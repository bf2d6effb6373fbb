//! One forward pass: the parameters as variables, the mode, and the layers that read parameters by name.

use super::{Hooks, NoHooks, Packs, Params, Precision, Site};
use crate::cpu::gemm::packed::Packed;
use crate::ops::{self, Activation, Conv2d, Statistics};
use crate::{Result, Tape, Var, noise::Noise, noise::Philox, tensor::Tensor};
use std::{cell::RefCell, collections::HashMap, sync::Arc};

/// Epsilon of every BatchNorm.
pub const BATCHNORM_EPS: f64 = 1e-5;

/// Whose statistics BatchNorm normalises by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BatchNorm {
    /// The batch's; the pass keeps them for the running ones.
    Batch,
    /// The running ones.
    #[default]
    Running,
}

/// What differs between training and evaluation.
#[derive(Clone, Copy)]
pub struct Mode<'a> {
    /// Stochastic depth: the rate that [`drop_rate`](crate::models::block::drop_rate) spreads over the blocks; 0 switches it off.
    pub drop_path: f64,
    /// Where random draws come from.
    pub noise: &'a dyn Noise,
    /// In what it computes.
    pub precision: Precision,
    /// Whether [`Pass::recompute`] does.
    pub recompute: bool,
    /// How BatchNorm normalises.
    pub batch_norm: BatchNorm,
}

impl Mode<'static> {
    /// Evaluation: nothing is random, nothing is rounded.
    pub fn eval() -> Self {
        const UNUSED: Philox = Philox { seed: 0, step: 0 };
        let (precision, batch_norm) = (Precision::F32, BatchNorm::Running);
        Self { drop_path: 0.0, noise: &UNUSED, precision, recompute: false, batch_norm }
    }
}

/// A parameter: as it is kept, and as products take it. The same where nothing is rounded.
#[derive(Clone)]
struct Parameter {
    master: Var,
    operand: Var,
}

/// The parameters of a model as variables, with mode and hooks.
pub struct Pass<'a> {
    vars: HashMap<&'a str, Parameter>,
    batch_statistics: RefCell<Vec<(String, Statistics)>>,
    packs: Option<&'a Packs>,
    /// Training or evaluation.
    pub mode: Mode<'a>,
    /// What wraps the model.
    pub hooks: &'a dyn Hooks,
}

impl<'a> Pass<'a> {
    /// Evaluation without gradients or rounding.
    pub fn eval(params: &'a Params) -> Result<Self> {
        Self::new(params, None, Mode::eval(), &NoHooks)
    }

    /// A pass over `params`, tracked by `tape` when there is one; they are rounded once, as the mode's precision says.
    pub fn new(params: &'a Params, tape: Option<&Tape>, mode: Mode<'a>, hooks: &'a dyn Hooks) -> Result<Self> {
        let rounded = mode.precision.half().map(|half| params.to_dtype(half)).transpose()?;
        Self::with_operands(params, rounded.as_ref(), tape, mode, hooks)
    }

    /// The same where `operands` are the rounded parameters already; `None` when nothing is rounded.
    pub fn with_operands(
        params: &'a Params, operands: Option<&Params>, tape: Option<&Tape>, mode: Mode<'a>, hooks: &'a dyn Hooks,
    ) -> Result<Self> {
        let (_, device) = params.place();
        mode.precision.ensure_on(device)?;
        if let Some(tape) = tape {
            tape.round_to_tf32(mode.precision == Precision::Tf32);
        }
        let var = |tensor: &Tensor| match tape {
            Some(tape) => tape.leaf(tensor.clone()),
            None => Var::constant(tensor.clone()),
        };
        let parameter = |(name, tensor)| {
            let master = var(tensor);
            let operand = match operands {
                Some(operands) => master.rounded(operands.get(name)?.clone())?,
                None => master.clone(),
            };
            Ok((name, Parameter { master, operand }))
        };
        let (vars, batch_statistics) = (params.iter().map(parameter).collect::<Result<_>>()?, RefCell::default());
        Ok(Self { vars, batch_statistics, packs: None, mode, hooks })
    }

    /// The same pass, without gradients, by weights that are packed once for all passes of the model.
    pub fn with_packs(self, packs: &'a Packs) -> Self {
        Self { packs: Some(packs), ..self }
    }

    fn parameter(&self, name: &str) -> Result<&Parameter> {
        self.vars.get(name).ok_or_else(|| super::params::missing(name))
    }

    /// The parameter `name` as it is kept.
    pub fn var(&self, name: &str) -> Result<&Var> {
        self.parameter(name).map(|parameter| &parameter.master)
    }

    /// The parameter `name` as the operand of a product, of the type of the activations.
    pub fn operand(&self, name: &str) -> Result<&Var> {
        self.parameter(name).map(|parameter| &parameter.operand)
    }

    /// `x Wᵀ + b` with `name.weight`, and `name.bias` if the model has one.
    pub fn linear(&self, name: &str, x: &Var) -> Result<Var> {
        let bias = self.vars.get(format!("{name}.bias").as_str()).map(|bias| &bias.operand);
        match self.packed(name)? {
            Some(packed) => ops::linear_packed(x, &packed, bias),
            None => ops::linear(x, self.operand(&format!("{name}.weight"))?, bias),
        }
    }

    /// `GELU((x Wᵀ + b) · gate)` with `name.weight` and `name.bias`.
    pub fn linear_gelu(&self, name: &str, x: &Var, gate: Option<&Var>) -> Result<Var> {
        let bias = self.var(&format!("{name}.bias"))?;
        match self.packed(name)?.filter(|_| gate.is_none()) {
            Some(packed) => ops::linear_gelu_packed(x, &packed, Some(bias)),
            None => {
                let hidden = ops::linear(x, self.operand(&format!("{name}.weight"))?, None)?;
                ops::bias_gelu(hidden, Some(bias), gate)
            }
        }
    }

    fn packed(&self, name: &str) -> Result<Option<Arc<Packed>>> {
        let Some(packs) = self.packs else { return Ok(None) };
        let weight = format!("{name}.weight");
        Ok(packs.get(&weight, self.operand(&weight)?.tensor()))
    }

    /// The logits of the head `name`, in the wide type.
    pub fn head(&self, name: &str, x: &Var) -> Result<Var> {
        let logits = self.linear(name, x)?;
        ops::cast(&logits, logits.dtype().wide())
    }

    /// Whether [`Pass::recompute`] is of use: the mode asks for it, nothing is hooked in, the draws can be made again.
    pub fn recomputes(&self) -> bool {
        self.mode.recompute && self.hooks.none() && self.mode.noise.computed().is_some()
    }

    /// `part(pass, x)`, which reads parameters below `prefix` only. What it keeps for the gradient is `x`: the rest is computed
    /// again then (activation checkpointing; Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016). The draws
    /// come out equal, and so do the bits.
    pub fn recompute(&self, prefix: &str, x: Var, part: impl Fn(&Pass, Var) -> Result<Var> + 'static) -> Result<Var> {
        let Mode { drop_path, precision, batch_norm, .. } = self.mode;
        let Some(noise) = self.mode.noise.computed().filter(|_| self.recomputes()) else { return part(self, x) };
        let inside = |name: &&str| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
        let mut names: Vec<String> = self.vars.keys().copied().filter(inside).map(str::to_string).collect();
        names.sort();
        let mut inputs = vec![&x];
        for name in &names {
            let Parameter { master, operand } = self.parameter(name)?;
            inputs.extend([master, operand]);
        }
        crate::tape::checkpoint(&inputs, move |values| {
            let Some((x, params)) = values.split_first() else { return Err(super::params::missing("x")) };
            let pair = |pair: &[Var]| Parameter { master: pair[0].clone(), operand: pair[1].clone() };
            let vars = names.iter().map(String::as_str).zip(params.chunks_exact(2).map(pair)).collect();
            let mode = Mode { drop_path, noise: &noise, precision, recompute: false, batch_norm };
            part(&Pass { vars, batch_statistics: RefCell::default(), packs: None, mode, hooks: &NoHooks }, x.clone())
        })
    }

    /// `value` as the hooks want it.
    pub fn tap(&self, site: Site, value: Var) -> Result<Var> {
        if self.hooks.taps() { self.hooks.tap(site, value) } else { Ok(value) }
    }

    /// `name.weight` and `name.bias` as they are kept.
    pub fn affine(&self, name: &str) -> Result<(&Var, &Var)> {
        Ok((self.var(&format!("{name}.weight"))?, self.var(&format!("{name}.bias"))?))
    }

    /// LayerNorm `name`; over the living channels alone when the hooks name them, 0 elsewhere.
    pub fn layernorm(&self, name: &str, x: &Var, eps: f64) -> Result<Var> {
        let (weight, bias) = self.affine(name)?;
        let Some(living) = self.hooks.living_channels() else { return ops::layernorm(x, weight, bias, eps) };
        let [x_, weight, bias] = [x, weight, bias].map(|v| ops::gather_columns(v, living));
        let y = ops::layernorm(&x_?, &weight?, &bias?, eps)?;
        ops::scatter_columns(&y, living, x.shape().rows_cols().1)
    }

    /// Convolution `name.weight`, with `name.bias` if the model has one.
    pub fn conv(&self, name: &str, x: &Var, conv: Conv2d) -> Result<Var> {
        let bias = self.vars.get(format!("{name}.bias").as_str()).map(|bias| &bias.operand);
        self.convolve(name, x, bias, conv)
    }

    /// A 1 × 1 convolution is a linear layer, and its weight packed as one.
    fn convolve(&self, name: &str, x: &Var, bias: Option<&Var>, at: Conv2d) -> Result<Var> {
        let weight = self.operand(&format!("{name}.weight"))?;
        let pointwise = (at.stride, at.padding, at.groups) == (1, 0, 1) && weight.shape().ends_with(&[1, 1]);
        match if pointwise && x.shape().len() == 3 { self.packed(name)? } else { None } {
            Some(packed) => ops::linear_packed(x, &packed, bias),
            None => ops::conv2d(x, weight, bias, at),
        }
    }

    /// Convolution `conv`, then BatchNorm `norm` if it is not folded into the convolution, then `function`.
    pub fn conv_norm(&self, [conv, norm]: [&str; 2], x: &Var, at: Conv2d, function: Activation) -> Result<Var> {
        let y = self.convolve(conv, x, None, at)?;
        match self.vars.get(format!("{conv}.bias").as_str()) {
            Some(bias) => ops::activation(y, Some(&bias.master), function),
            None => self.batchnorm(norm, y, function),
        }
    }

    /// BatchNorm `name` as the mode says, and `function` of it. The batch's statistics are kept for [`Pass::batch_statistics`].
    pub fn batchnorm(&self, name: &str, x: Var, function: Activation) -> Result<Var> {
        let (weight, bias) = self.affine(name)?;
        if self.mode.batch_norm == BatchNorm::Running {
            let [mean, var] = ["running_mean", "running_var"].map(|part| self.var(&format!("{name}.{part}")));
            let running = Statistics { mean: mean?.tensor().clone(), var: var?.tensor().clone() };
            return ops::batchnorm_running(x, [weight, bias], running, BATCHNORM_EPS, function);
        }
        let (y, statistics) = ops::batchnorm(x, [weight, bias], BATCHNORM_EPS, function)?;
        self.batch_statistics.borrow_mut().push((name.into(), statistics));
        Ok(y)
    }

    /// Takes the statistics of the batches that went through each BatchNorm, by its name, in their order.
    pub fn batch_statistics(&self) -> Vec<(String, Statistics)> {
        self.batch_statistics.take()
    }
}
