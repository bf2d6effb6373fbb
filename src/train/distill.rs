//! Distillation from a teacher's logits: `L = (1 - α) base + α KD(z, teacher)` with `z` the distillation head's logits.
//! Soft: `KD` of [`ops::kd`](crate::ops::kd()) at temperature `τ`; hard: cross entropy against the teacher's most likely
//! class. From DeiT, section 5 and its code, which divides the soft term by samples and classes
//! ([`Reduction::PerElement`]).

use crate::data::{loader::Batch, sampler::View};
use crate::models::{Model, Predictor};
use crate::{Error, Result, Tensor, Var, ops, ops::Reduction};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

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
    /// The teacher's logits.
    Mse,
}

impl DistillKind {
    /// The loss `[]` of logits `z` against those of `teacher`, both `[B, K]`: [`ops::kd`](crate::ops::kd()) at `tau`,
    /// cross entropy with the teacher's most likely class, or mean squared error.
    pub fn loss(self, z: &Var, teacher: &Tensor, tau: f64, reduction: Reduction) -> Result<Var> {
        match self {
            DistillKind::Soft => ops::kd(z, teacher, tau, reduction),
            DistillKind::Mse => ops::mse(z, &Var::constant(teacher.clone())),
            DistillKind::Hard | DistillKind::None => ops::cross_entropy(z, &ops::hard_target(teacher)?),
        }
    }
}

/// How a teacher enters the loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
        Self { kind: DistillKind::None, alpha: 0.5, tau: 1.0, reduction: Reduction::PerElement, single_head: false }
    }
}

impl Distillation {
    /// Refuses values that have no meaning.
    pub fn validate(&self) -> Result<()> {
        Error::ensure((0.0..=1.0).contains(&self.alpha), "distillation.alpha", "0 to 1", self.alpha)?;
        Error::ensure(self.tau > 0.0 && self.tau.is_finite(), "distillation.tau", "above 0", self.tau)
    }

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
        let kd = self.kind.loss(head, teacher, self.tau, self.reduction)?;
        ops::add(ops::scale(&base, 1.0 - self.alpha)?, &ops::scale(&kd, self.alpha)?)
    }
}

/// Logits that are remembered at the most (256 MiB); beyond that it starts anew.
const REMEMBERED: usize = 64 << 20;

/// A frozen model that remembers its logits by (image, augmentation), for several students that see the same images.
pub struct Teacher<'a> {
    classes: usize,
    predictor: Predictor<'a>,
    known: HashMap<View, Vec<f32>>,
}

impl<'a> Teacher<'a> {
    /// Right when an image looks the same whenever it comes in the same augmentation.
    pub fn remembering(model: &'a Model) -> Self {
        Self { classes: model.arch().num_classes, predictor: Predictor::new(model), known: HashMap::new() }
    }

    /// Logits `[B, K]` of images that will not come again.
    pub fn ask(&mut self, images: &Tensor) -> Result<Tensor> {
        self.predictor.logits(images)
    }

    /// Logits `[B, K]` of the `images` of a batch as it was loaded.
    pub fn logits(&mut self, images: &Tensor, batch: &Batch) -> Result<Tensor> {
        let classes = self.classes;
        let views = || batch.indices.iter().zip(&batch.draws).map(|(&index, &draw)| View { index, draw });
        let known = views().map(|view| self.known.get(&view).map(Vec::as_slice));
        if let Some(rows) = known.collect::<Option<Vec<_>>>() {
            return Tensor::from_slice([batch.indices.len(), classes], &rows.concat());
        }
        let logits = self.ask(images)?;
        if self.known.len() * classes > REMEMBERED {
            self.known.clear();
        }
        let rows = logits.slice::<f32>()?.chunks(classes).map(<[f32]>::to_vec);
        self.known.extend(views().zip(rows));
        Ok(logits)
    }
}
