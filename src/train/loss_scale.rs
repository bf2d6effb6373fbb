//! Dynamic loss scaling: gradients of `f16` are too small for the type, so the loss is multiplied before they are taken and
//! the parameters' gradients divided after (Micikevicius et al., Mixed Precision Training, ICLR 2018, section 3.2).

use crate::nn::Precision;
use serde::{Deserialize, Serialize};

/// Steps without an overflow after which the scale grows.
const PATIENCE: usize = 2000;
const LARGEST: f64 = 16_777_216.0;

/// The scale, a power of two, and for how many steps it has held.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// What the loss is multiplied by.
    pub factor: f64,
    held: usize,
    dynamic: bool,
}

impl LossScale {
    /// 2^16 for `f16`, otherwise 1 for ever.
    pub fn new(precision: Precision) -> Self {
        let dynamic = precision == Precision::F16;
        Self { factor: if dynamic { 65_536.0 } else { 1.0 }, held: 0, dynamic }
    }

    /// Whether it ever changes.
    pub fn is_dynamic(self) -> bool {
        self.dynamic
    }

    /// After a step of finite gradients: twice the scale once it has held for long.
    pub fn held(&mut self) {
        self.held += 1;
        if self.dynamic && self.held >= PATIENCE {
            (self.factor, self.held) = ((2.0 * self.factor).min(LARGEST), 0);
        }
    }

    /// After gradients that are not finite: half the scale, and whether the step is worth another try with it.
    pub fn overflowed(&mut self) -> bool {
        if !self.dynamic || self.factor <= 1.0 {
            return false;
        }
        (self.factor, self.held) = (self.factor / 2.0, 0);
        true
    }
}
