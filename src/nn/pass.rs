//! One forward pass: the parameters as variables, the mode, and the layers that read parameters by name.

use super::{Hooks, NoHooks, Params};
use crate::{Result, Tape, Var, noise::Noise, noise::Philox, ops, tensor::Tensor};
use std::collections::HashMap;

/// What differs between training and evaluation.
#[derive(Clone, Copy)]
pub struct Mode<'a> {
    /// Stochastic depth: the rate of the last block; 0 switches it off.
    pub drop_path: f64,
    /// Where random draws come from.
    pub noise: &'a dyn Noise,
}

impl Mode<'static> {
    /// Evaluation: nothing is random.
    pub fn eval() -> Self {
        const UNUSED: Philox = Philox { seed: 0, step: 0 };
        Self { drop_path: 0.0, noise: &UNUSED }
    }
}

/// The parameters of a model as variables, with mode and hooks.
pub struct Pass<'a> {
    vars: HashMap<&'a str, Var>,
    /// Training or evaluation.
    pub mode: Mode<'a>,
    /// What wraps the model.
    pub hooks: &'a dyn Hooks,
}

impl<'a> Pass<'a> {
    /// Evaluation without gradients.
    pub fn eval(params: &'a Params) -> Self {
        Self::new(params, None, Mode::eval(), &NoHooks)
    }

    /// A pass over `params`, tracked by `tape` when there is one.
    pub fn new(params: &'a Params, tape: Option<&Tape>, mode: Mode<'a>, hooks: &'a dyn Hooks) -> Self {
        let var = |tensor: &Tensor| match tape {
            Some(tape) => tape.leaf(tensor.clone()),
            None => Var::constant(tensor.clone()),
        };
        Self { vars: params.iter().map(|(name, tensor)| (name, var(tensor))).collect(), mode, hooks }
    }

    /// The parameter `name`.
    pub fn var(&self, name: &str) -> Result<&Var> {
        self.vars.get(name).ok_or_else(|| super::params::missing(name))
    }

    /// `x Wᵀ + b` with `name.weight` and `name.bias`.
    pub fn linear(&self, name: &str, x: &Var) -> Result<Var> {
        let (weight, bias) = self.affine(name)?;
        ops::linear(x, weight, Some(bias))
    }

    /// `name.weight` and `name.bias`.
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
}
