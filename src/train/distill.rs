//! Distillation from a teacher's logits, as DeiT trains (base_models 6).

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
    /// Its softened probabilities: [`ops::kd`](fn@ops::kd).
    Soft,
    /// Its first choice: cross entropy against `argmax teacher`.
    Hard,
}

/// `L = (1 - α) base + α KD`, `KD` on the distillation head; `L = base` for [`DistillKind::None`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Distillation {
    /// What the student learns from the teacher.
    pub kind: DistillKind,
    /// α, the teacher's share of the loss, 0 to 1.
    pub alpha: f64,
    /// τ, the temperature of [`DistillKind::Soft`], above 0.
    pub tau: f64,
    /// What the soft loss is divided by; DeiT's code divides by samples times classes.
    pub reduction: Reduction,
    /// Lets a student with one head learn from the teacher on that head: an extension, not in the papers.
    pub single_head: bool,
}

impl Default for Distillation {
    /// The defaults of DeiT's code: none, α 0.5, τ 1, per element.
    fn default() -> Self {
        Self { kind: DistillKind::None, alpha: 0.5, tau: 1.0, reduction: Reduction::PerElement, single_head: false }
    }
}

impl Distillation {
    /// Refuses α outside 0 to 1 and τ that is not above 0 ([`Error::Invalid`]).
    pub fn validate(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.alpha) {
            return Err(Error::invalid("distillation alpha", "0 to 1", self.alpha));
        }
        if !(self.tau > 0.0 && self.tau.is_finite()) {
            return Err(Error::invalid("distillation temperature", "above 0", self.tau));
        }
        Ok(())
    }

    /// The loss `[]` of a student with `logits` (`[B, K]` for each head; class, distillation) whose own loss is `base`,
    /// against `teacher [B, K]`. No gradient flows to the teacher.
    ///
    /// Errors: [`Error::Invalid`] without a teacher, for a student of one head unless [`Self::single_head`], and for
    /// settings out of range; [`Error::Shape`] when the teacher's shape is not the student's.
    pub fn loss(&self, logits: &[Var], base: Var, teacher: Option<&Tensor>) -> Result<Var> {
        if self.kind == DistillKind::None {
            return Ok(base);
        }
        self.validate()?;
        let student = match logits {
            [only] if self.single_head => only,
            [_, distilled] => distilled,
            other => {
                let expected = "a student with a class and a distillation head";
                return Err(Error::invalid("distillation", expected, format!("{} head(s)", other.len())));
            }
        };
        let Some(teacher) = teacher else {
            return Err(Error::invalid("distillation", "a teacher's logits", "none"));
        };
        if teacher.shape() != student.shape() {
            return Err(Error::shape("distillation", format!("teacher logits {:?}", student.shape()), teacher.shape()));
        }
        let from_teacher = match self.kind {
            DistillKind::Hard => {
                let classes = student.shape().rows_cols().1;
                ops::cross_entropy(student, &ops::one_hot(&ops::argmax(teacher), classes, 0.0, student.dtype())?)?
            }
            _ => ops::kd(student, &teacher.to_dtype(student.dtype()), self.tau, self.reduction)?,
        };
        ops::add(ops::scale(&base, 1.0 - self.alpha)?, &ops::scale(&from_teacher, self.alpha)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tape;

    fn logits(values: &[f32]) -> Tensor {
        Tensor::from_slice([2, 3], values).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn one_head_needs_the_extension_and_every_kind_needs_a_teacher() -> Result<()> {
        let (student, teacher) = (logits(&[0.0, 1.0, 2.0, 3.0, 0.5, -1.0]), logits(&[5.0, 0.0, 0.0, 0.0, 5.0, 0.0]));
        let base = Var::constant(Tensor::full([], student.dtype(), 2.0));
        for kind in [DistillKind::Soft, DistillKind::Hard] {
            let tape = Tape::new();
            let head = tape.leaf(student.clone());
            let mut distillation = Distillation { kind, ..Distillation::default() };
            assert!(distillation.loss(std::slice::from_ref(&head), base.clone(), Some(&teacher)).is_err());
            assert!(distillation.loss(&[head.clone(), head.clone()], base.clone(), None).is_err());
            assert!(
                distillation
                    .loss(&[head.clone(), head.clone()], base.clone(), Some(&logits(&[0.0; 6]).reshape([3, 2])?))
                    .is_err()
            );
            distillation.single_head = true;
            let loss = distillation.loss(std::slice::from_ref(&head), base.clone(), Some(&teacher))?;
            assert!(loss.tensor().item()? > 1.0 && tape.backward(&loss)?.get(&head).is_some());
            for bad in [Distillation { alpha: 1.5, ..distillation }, Distillation { tau: 0.0, ..distillation }] {
                assert!(bad.loss(std::slice::from_ref(&head), base.clone(), Some(&teacher)).is_err());
            }
        }
        let none = Distillation::default().loss(&[Var::constant(student)], base, None)?;
        assert_eq!(none.tensor().item()?, 2.0);
        Ok(())
    }
}
