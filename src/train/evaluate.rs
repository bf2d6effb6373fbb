//! Accuracy and predictions of a model over a data set.

use super::images;
use crate::models::{Model, Predictor};
use crate::{Error, Result, data::loader::Loader, ops, report::Progress};
use serde::{Deserialize, Serialize};

/// Percent of images whose label is the most likely class, or among the five most likely; mean cross entropy; images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Accuracy {
    pub top1: f64,
    pub top5: f64,
    pub loss: f64,
    pub images: usize,
}

/// What an evaluation finds: the accuracy, the most likely class of each image in the order of the data set, and what
/// is wrong with each broken image that was skipped, by file.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Evaluation {
    pub accuracy: Accuracy,
    pub classes: Vec<usize>,
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
    let (classes, side) = (model.arch().num_classes, model.arch().img_size);
    let (mut predicted, mut loss, mut hits) = (Vec::new(), 0.0, [0; 2]);
    let (mut epoch, mut predictor) = (loader.epoch(0)?, Predictor::new(model));
    while let Some(batch) = epoch.next().transpose()? {
        let logits = predictor.logits(&images(&batch, side)?)?;
        for ((row, &label), index) in logits.slice::<f32>()?.chunks(classes).zip(&batch.labels).zip(&batch.indices) {
            Error::ensure(label < classes, "label", format_args!("below the model's {classes} classes"), label)?;
            if let Some(&value) = row.iter().find(|value| !value.is_finite()) {
                let layer = format!("logit of test image {index}");
                return Err(Error::NonFinite { step: 0, layer, value: value.into() });
            }
            let ahead = |&(i, &v): &(usize, &f32)| v > row[label] || (v == row[label] && i < label);
            let rank = row.iter().enumerate().filter(ahead).count();
            hits = [hits[0] + usize::from(rank < 1), hits[1] + usize::from(rank < 5)];
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|v| f64::from(v - top).exp()).sum();
            loss += sum.ln() - f64::from(row[label] - top);
            predicted.push(ops::argmax_row(row));
        }
        progress.inc(batch.labels.len() as u64);
    }
    let images = predicted.len();
    let seen = images.max(1) as f64;
    let [top1, top5] = hits.map(|hits| 100.0 * hits as f64 / seen);
    let broken = epoch.broken().iter().map(|(_, error)| error.to_string()).collect();
    Ok(Evaluation { accuracy: Accuracy { top1, top5, loss: loss / seen, images }, classes: predicted, broken })
}
