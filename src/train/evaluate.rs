//! Accuracy and predictions of a model over a data set.

use super::images;
use crate::data::loader::Loader;
use crate::models::Model;
use crate::report::Progress;
use crate::{Error, Result};
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
    /// Broken images that were skipped.
    pub broken: usize,
}

/// Runs `model` over every image of the loader's first epoch. Broken images are an error unless the loader skips them.
pub fn evaluate(model: &Model, loader: &Loader, progress: &Progress) -> Result<Accuracy> {
    let (mut hits, mut loss, mut seen) = ([0usize; 2], 0.0, 0);
    let broken = for_each_row(model, loader, progress, |row, label| {
        let rank =
            row.iter().enumerate().filter(|(i, v)| **v > row[label] || (**v == row[label] && *i < label)).count();
        hits[0] += usize::from(rank < 1);
        hits[1] += usize::from(rank < 5);
        let top = row.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
        let sum: f64 = row.iter().map(|v| f64::from(v - top).exp()).sum();
        loss += sum.ln() - f64::from(row[label] - top);
        seen += 1;
    })?;
    let percent = |hits: usize| 100.0 * hits as f64 / seen.max(1) as f64;
    Ok(Accuracy {
        top1: percent(hits[0]),
        top5: percent(hits[1]),
        loss: loss / seen.max(1) as f64,
        images: seen,
        broken,
    })
}

/// The most likely class of every image, in the order of the data set.
pub fn predict(model: &Model, loader: &Loader, progress: &Progress) -> Result<Vec<usize>> {
    let mut classes = Vec::new();
    for_each_row(model, loader, progress, |row, _| {
        classes.push((0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best }));
    })?;
    Ok(classes)
}

/// Calls `see(logits, label)` for every image; the number of broken ones.
fn for_each_row(
    model: &Model,
    loader: &Loader,
    progress: &Progress,
    mut see: impl FnMut(&[f32], usize),
) -> Result<usize> {
    let classes = model.arch().num_classes;
    let mut epoch = loader.epoch(0)?;
    for batch in epoch.by_ref() {
        let batch = batch?;
        let logits = model.predict(&images(&batch, model.arch().img_size)?)?;
        for (row, &label) in logits.slice::<f32>()?.chunks(classes).zip(&batch.labels) {
            if label >= classes {
                return Err(Error::invalid("label", format!("below the model's {classes} classes"), label));
            }
            see(row, label);
        }
        progress.inc(batch.labels.len() as u64);
    }
    Ok(epoch.broken().len())
}
