//! What the official fine-tuning script trains a pruned model on: a sum of terms (SAViT, losses, c). Its pruning script
//! uses DeiT's loss, [`crate::train::Distillation`] (losses, b).

use crate::{Error, Result, Tensor, Var, ops, ops::Reduction, train::DistillKind};
use serde::{Deserialize, Serialize};

/// How MLP features are compared with those of the unpruned model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Features {
    /// Mean squared error: equal widths.
    Mse,
    /// `49 · mean((S Sᵀ − T Tᵀ)²)` of rows of length 1: any widths.
    Rel,
}

/// The official fine-tuning loss, a plain sum of terms: `[gt]·base + α·CE(dist, best of cnn)` (any `kind` but none is
/// hard here) `+ α_full·full(cls, dist)` at temperature `τ_full` `+ α_im·(α_attn·relations + α_mlp·MLP features)`, with
/// `full` between both outputs and those of the unpruned model, without which there are no `features`. SAViT, losses, c.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the equation says it")]
pub struct PrunedLoss {
    pub gt: bool,
    pub kind: DistillKind,
    pub alpha: f64,
    pub full: DistillKind,
    pub alpha_full: f64,
    pub tau_full: f64,
    pub features: Option<Features>,
    pub alpha_im: f64,
    pub alpha_attn: f64,
    pub alpha_mlp: f64,
}

impl Default for PrunedLoss {
    /// The script's defaults: the base loss alone.
    fn default() -> Self {
        let (kind, full, features) = (DistillKind::None, DistillKind::None, None);
        let (alpha_full, tau_full, alpha_im, alpha_attn, alpha_mlp) = (1e5, 0.05, 1.0, 1.0, 0.1);
        Self { gt: true, kind, alpha: 1.0, full, alpha_full, tau_full, features, alpha_im, alpha_attn, alpha_mlp }
    }
}

/// What a model shows of its inside by layer: queries, keys and values `[B, N, C]`, and MLP outputs `[B, N, C']`.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Inside<'a> {
    pub qkv: &'a [[Var; 3]],
    pub mlp: &'a [Var],
}

/// Logits `[B, K]` of the convolutional teacher, both outputs `[B, K]` of the unpruned model, and the student's inside
/// and the unpruned model's; absent what the settings do not use.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Teachers<'a> {
    pub cnn: Option<&'a Tensor>,
    pub full: Option<[&'a Tensor; 2]>,
    pub inside: Option<[Inside<'a>; 2]>,
}

impl PrunedLoss {
    /// The loss `[]` of a student with base loss `base` and outputs `cls`, `dist`. A term without what it needs is an
    /// error, and so are settings that leave no term.
    pub fn of(&self, base: &Var, cls: &Var, dist: Option<&Var>, teachers: &Teachers) -> Result<Var> {
        let mut terms = Vec::from_iter(self.gt.then(|| (base.clone(), 1.0)));
        if self.kind != DistillKind::None {
            let dist = need(dist, "a second student output")?;
            let cnn = need(teachers.cnn, "a teacher's logits")?;
            terms.push((DistillKind::Hard.loss(dist, cnn, 1.0, Reduction::PerElement)?, self.alpha));
        }
        if self.full != DistillKind::None {
            let dist = need(dist, "a second student output")?;
            let full = need(teachers.full, "both outputs of the unpruned model")?;
            for (z, teacher) in [cls, dist].into_iter().zip(full) {
                terms.push((self.full.loss(z, teacher, self.tau_full, Reduction::PerElement)?, self.alpha_full));
            }
        }
        if let Some(features) = self.features {
            let with_outputs = self.full != DistillKind::None;
            Error::ensure(with_outputs, "intermediate features", "with a loss on the unpruned outputs", "none")?;
            let [student, teacher] = need(teachers.inside, "features of both models")?;
            terms.push((relations(student.qkv, teacher.qkv)?, self.alpha_im * self.alpha_attn));
            terms.push((mlp(student.mlp, teacher.mlp, features)?, self.alpha_im * self.alpha_mlp));
        }
        sum(terms)
    }
}

fn need<T>(value: Option<T>, what: &str) -> Result<T> {
    value.ok_or_else(|| Error::invalid("distillation", what, "none (a student of one output cannot be distilled)"))
}

/// `Σ w·term`.
fn sum(terms: Vec<(Var, f64)>) -> Result<Var> {
    let weighted = terms.into_iter().map(|(term, weight)| ops::scale(&term, weight));
    let total = weighted.reduce(|total, term| ops::add(total?, &term?));
    total.unwrap_or_else(|| Err(Error::invalid("fine-tuning loss", "at least one term", "none")))
}

/// The number of layers, which both models must have in common.
fn layers<T>(what: &'static str, student: &[T], teacher: &[T]) -> Result<f64> {
    if student.len() == teacher.len() && !student.is_empty() {
        return Ok(student.len() as f64);
    }
    Err(Error::shape(what, format!("{} layers, above 0", teacher.len()), student.len()))
}

/// Mean over layers and the nine ordered pairs of q, k, v of the cross entropy between the rows of
/// `softmax(M_i M_jᵀ / √C)` of both models.
fn relations(student: &[[Var; 3]], teacher: &[[Var; 3]]) -> Result<Var> {
    let weight = 1.0 / (9.0 * layers("relations", student, teacher)?);
    let mut terms = Vec::new();
    for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
        for (student, teacher) in student.iter().zip(teacher) {
            let target = ops::softmax(&relation(&teacher[i], &teacher[j])?)?;
            terms.push((ops::cross_entropy(&relation(&student[i], &student[j])?, target.tensor())?, weight));
        }
    }
    sum(terms)
}

/// `(a / √C) bᵀ` as rows `[B·N, N]`.
fn relation(a: &Var, b: &Var) -> Result<Var> {
    let products = ops::bmm(&ops::scale(a, 1.0 / (a.tensor().dim(-1) as f64).sqrt())?, b, true)?;
    let (rows, columns) = products.shape().rows_cols();
    products.reshape([rows, columns])
}

/// Mean over layers of the comparison of MLP features.
fn mlp(student: &[Var], teacher: &[Var], features: Features) -> Result<Var> {
    let count = layers("MLP features", student, teacher)?;
    let gram = |x: &Var| ops::l2_normalize(x).and_then(|rows| ops::bmm(&rows, &rows, true));
    let term = |(s, t): (&Var, &Var)| {
        Ok(match features {
            Features::Mse => (ops::mse(s, t)?, 1.0 / count),
            Features::Rel => (ops::mse(&gram(s)?, &gram(t)?)?, 49.0 / count),
        })
    };
    sum(student.iter().zip(teacher).map(term).collect::<Result<_>>()?)
}
