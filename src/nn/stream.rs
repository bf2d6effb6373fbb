//! The residual stream, with at most one branch waiting to be added: the sum is then fused with the next LayerNorm.

use super::Pass;
use crate::nn::Site;
use crate::tensor::Tensor;
use crate::{Error, Result, Var, ops};

/// `x`, and a branch (with a factor per sample) that still has to be added to it.
pub struct Stream {
    x: Option<Var>,
    pending: Option<(Var, Option<Tensor>)>,
    gates: usize,
}

impl Stream {
    /// Starts at `x`, behind the first use of the residual gate.
    pub fn new(pass: &Pass, x: Var) -> Result<Self> {
        let mut stream = Self { x: Some(x), pending: None, gates: 0 };
        stream.gate(pass)?;
        Ok(stream)
    }

    /// Goes on at `x`, the stream that enters block `block`.
    pub fn resume(x: Var, block: usize) -> Self {
        Self { x: Some(x), pending: None, gates: 2 * block + 1 }
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
        let (sum, y) = ops::add_layernorm(self.take()?, &branch, factors.as_ref(), weight, bias, eps)?;
        self.x = Some(sum);
        Ok(y)
    }

    /// The stream with everything added.
    pub fn value(&mut self) -> Result<&Var> {
        self.settle()?;
        self.x.as_ref().ok_or_else(lost)
    }

    /// Replaces the stream by what a tap makes of it.
    pub fn tap(&mut self, pass: &Pass, site: Site) -> Result<()> {
        if pass.hooks.taps() {
            self.settle()?;
            self.x = Some(pass.hooks.tap(site, self.take()?)?);
        }
        Ok(())
    }

    fn gate(&mut self, pass: &Pass) -> Result<()> {
        if let Some(g) = pass.hooks.residual_gate() {
            let gated = ops::gate(self.value()?, g, 1)?;
            self.x = Some(gated);
        }
        self.gates += 1;
        self.tap(pass, Site::Residual(self.gates - 1))
    }

    fn settle(&mut self) -> Result<()> {
        if let Some((branch, factors)) = self.pending.take() {
            let x = self.take()?;
            self.x = Some(ops::add_scaled(x, &branch, factors.as_ref())?);
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Var> {
        self.x.take().ok_or_else(lost)
    }
}

/// Only after an error inside an earlier call, which was already reported.
fn lost() -> Error {
    Error::invalid("residual stream", "a value", "none")
}
