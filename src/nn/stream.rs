//! The residual stream, with at most one branch waiting to be added: the sum is then fused with the next LayerNorm.

use super::Pass;
use crate::{Result, Var, nn::Site, ops, tensor::DType, tensor::Tensor};

/// `x`, and a branch (with a factor per sample) that still has to be added to it.
pub struct Stream {
    x: Var,
    pending: Option<(Var, Option<Tensor>)>,
    gates: usize,
}

impl Stream {
    /// Starts at `x`, behind the first use of the residual gate.
    pub fn new(pass: &Pass, x: Var) -> Result<Self> {
        let mut stream = Self { x, pending: None, gates: 0 };
        stream.gate(pass)?;
        Ok(stream)
    }

    /// Goes on at `x`, the stream that enters block `block`.
    pub fn resume(x: Var, block: usize) -> Self {
        Self { x, pending: None, gates: 2 * block + 1 }
    }

    /// The stream with everything added, given away; [`Stream::resume`] goes on with what becomes of it.
    pub fn into_value(mut self) -> Result<Var> {
        self.settle()?;
        Ok(self.x)
    }

    /// Adds a branch: at once when a gate or a tap needs the sum, otherwise with the next [`Stream::norm`].
    pub fn push(&mut self, pass: &Pass, branch: Var, factors: Option<Tensor>) -> Result<()> {
        self.settle()?;
        self.pending = Some((branch, factors));
        self.gate(pass)
    }

    /// LayerNorm `name` of the stream.
    pub fn norm(&mut self, pass: &Pass, name: &str, eps: f64) -> Result<Var> {
        if pass.hooks.living_channels().is_some() {
            self.settle()?;
        }
        let Some((branch, factors)) = self.pending.take() else {
            return pass.layernorm(name, self.value()?, eps);
        };
        let (weight, bias) = pass.affine(name)?;
        let y;
        (self.x, y) = ops::add_layernorm(self.take(), &branch, factors.as_ref(), weight, bias, eps)?;
        Ok(y)
    }

    /// The stream with everything added.
    pub fn value(&mut self) -> Result<&Var> {
        self.settle()?;
        Ok(&self.x)
    }

    /// Replaces the stream by what a tap makes of it.
    pub fn tap(&mut self, pass: &Pass, site: Site) -> Result<()> {
        if pass.hooks.taps() {
            self.settle()?;
            self.x = pass.hooks.tap(site, self.take())?;
        }
        Ok(())
    }

    fn gate(&mut self, pass: &Pass) -> Result<()> {
        if let Some(g) = pass.hooks.residual_gate() {
            self.x = ops::gate(self.value()?, g, 1)?;
        }
        self.gates += 1;
        self.tap(pass, Site::Residual(self.gates - 1))
    }

    fn settle(&mut self) -> Result<()> {
        if let Some((branch, factors)) = self.pending.take() {
            self.x = ops::add_scaled(self.take(), &branch, factors.as_ref())?;
        }
        Ok(())
    }

    /// The stream as a sole owner, to be written in place; nothing is left behind.
    fn take(&mut self) -> Var {
        std::mem::replace(&mut self.x, Var::constant(Tensor::empty([0], DType::F32)))
    }
}
