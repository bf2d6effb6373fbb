//! Accuracy and predictions of a model over a data set.

use super::images;
use crate::data::loader::Loader;
use crate::models::Model;
use crate::report::Progress;
use crate::{Error, Result, ops};
use serde::{Deserialize, Serialize};

/// Accuracy over a data set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Percent of images whose label is the most likely class.
    pub top1: f64,
    /// Percent of images whose label is among the five most likely classes.
    pub top5: f64,
    /// Mean cross entropy.
    pub loss: f64,
    /// Images seen.
    pub images: usize,
}

/// What an evaluation finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Over all images.
    pub accuracy: Accuracy,
    /// The most likely class of each image, in the order of the data set.
    pub classes: Vec<usize>,
    /// What is wrong with each broken image that was skipped, by file.
    pub broken: Vec<String>,
}

impl Evaluation {
    /// Percent of images that both evaluations put into the same class.
    pub fn agreement(&self, other: &Evaluation) -> f64 {
        let same = self.classes.iter().zip(&other.classes).filter(|(a, b)| a == b).count();
        100.0 * same as f64 / self.classes.len().max(1) as f64
    }
}

/// Runs `model` over every image of the loader's first epoch. Broken images are an error unless the loader skips them.
pub fn evaluate(model: &Model, loader: &Loader, progress: &Progress) -> Result<Evaluation> {
    let (mut hits, mut loss, mut classes) = ([0usize; 2], 0.0, Vec::new());
    let broken = for_each_row(model, loader, progress, |row, label| {
        classes.push(ops::argmax_row(row));
        let rank =
            row.iter().enumerate().filter(|(i, v)| **v > row[label] || (**v == row[label] && *i < label)).count();
        hits[0] += usize::from(rank < 1);
        hits[1] += usize::from(rank < 5);
        let top = row.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
        let sum: f64 = row.iter().map(|v| f64::from(v - top).exp()).sum();
        loss += sum.ln() - f64::from(row[label] - top);
    })?;
    let seen = classes.len();
    let percent = |hits: usize| 100.0 * hits as f64 / seen.max(1) as f64;
    let loss = loss / seen.max(1) as f64;
    let accuracy = Accuracy { top1: percent(hits[0]), top5: percent(hits[1]), loss, images: seen };
    Ok(Evaluation { accuracy, classes, broken })
}

/// Calls `see(logits, label)` for every image; what is wrong with the broken ones.
fn for_each_row(
    model: &Model,
    loader: &Loader,
    progress: &Progress,
    mut see: impl FnMut(&[f32], usize),
) -> Result<Vec<String>> {
    let classes = model.arch().num_classes;
    let mut epoch = loader.epoch(0)?;
    for batch in epoch.by_ref() {
        let batch = batch?;
        let logits = model.predict(&images(&batch, model.arch().img_size)?)?;
        for (i, (row, &label)) in logits.slice::<f32>()?.chunks(classes).zip(&batch.labels).enumerate() {
            if label >= classes {
                return Err(Error::invalid("label", format!("below the model's {classes} classes"), label));
            }
            if let Some(value) = row.iter().find(|value| !value.is_finite()) {
                let layer = format!("logit of test image {}", batch.indices[i]);
                return Err(Error::NonFinite { step: 0, layer, value: f64::from(*value) });
            }
            see(row, label);
        }
        progress.inc(batch.labels.len() as u64);
    }
    Ok(epoch.broken().iter().map(|(_, error)| error.to_string()).collect())
}
