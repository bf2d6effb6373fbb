//! Distillation from a teacher's logits.
//!
//! `L = (1 - α) base + α KD(z, teacher)` with `z` the distillation head's logits. Soft: `KD` of
//! [`ops::kd`](crate::ops::kd()) at temperature `τ`; hard: cross entropy against the teacher's most likely class. Source:
//! DeiT, section 5 and its code, which divides the soft term by samples and classes ([`Reduction::PerElement`]).

use crate::ops::{self, Reduction};
use crate::tensor::Tensor;
use crate::{Error, Result, Var};
use serde::{Deserialize, Serialize};

/// What the student learns from the teacher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistillKind {
    /// Nothing.
    #[default]
    None,
    /// The teacher's distribution.
    Soft,
    /// The teacher's most likely class.
    Hard,
}

/// How a teacher enters the loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distillation {
    /// What is learned.
    pub kind: DistillKind,
    /// Weight `α` of the teacher's term.
    pub alpha: f64,
    /// Temperature `τ` of the soft form.
    pub tau: f64,
    /// Divisor of the soft form.
    pub reduction: Reduction,
    /// An extension: a student with one head learns from labels and teacher on that head.
    pub single_head: bool,
}

impl Default for Distillation {
    /// DeiT's defaults, with no teacher.
    fn default() -> Self {
        let (kind, reduction) = (DistillKind::None, Reduction::PerElement);
        Self { kind, alpha: 0.5, tau: 1.0, reduction, single_head: false }
    }
}

impl Distillation {
    /// The whole loss from the student's heads, the base loss on the first of them, and the teacher's logits `[B, K]`.
    pub fn loss(&self, logits: &[Var], base: Var, teacher: Option<&Tensor>) -> Result<Var> {
        if self.kind == DistillKind::None {
            return Ok(base);
        }
        let Some(teacher) = teacher else { return Err(Error::invalid("distillation", "a teacher", "none")) };
        let head = match logits {
            [_, dist] => dist,
            [only] if self.single_head => only,
            _ => return Err(Error::invalid("distillation", "a student with two heads", logits.len())),
        };
        let kd = match self.kind {
            DistillKind::Soft => ops::kd(head, teacher, self.tau, self.reduction)?,
            _ => hard_labels(head, teacher)?,
        };
        ops::add(ops::scale(&base, 1.0 - self.alpha)?, &ops::scale(&kd, self.alpha)?)
    }
}

/// Cross entropy `[]` of logits `z [B, K]` with the most likely class of `teacher [B, K]`.
pub fn hard_labels(z: &Var, teacher: &Tensor) -> Result<Var> {
    ops::cross_entropy(z, &ops::one_hot(&ops::argmax(teacher), teacher.dim(-1), 0.0, z.dtype())?)
}
