//! What a model was trained on. Its parameters do not say what its classes are called or how images have to come.

use crate::data::augment::Augment;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Bytes of the longest name of a class.
const LONGEST: usize = 1024;

/// The names of the classes in the order of the logits, and of evaluation's transform what differs from model to model: the
/// channels' means and deviations, and the share of the shorter side that the centre crop takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Trained {
    pub class_names: Vec<String>,
    pub mean: [f32; 3],
    pub std: [f32; 3],
    pub crop_pct: f64,
}

impl Trained {
    /// On classes of these names, images evaluated as `augment` says.
    pub fn new(class_names: &[String], augment: &Augment) -> Self {
        let &Augment { mean, std, crop_pct, .. } = augment;
        Self { class_names: class_names.to_vec(), mean, std, crop_pct }
    }

    /// The usual transforms with the values of this training.
    pub fn augment(&self) -> Augment {
        let &Self { mean, std, crop_pct, .. } = self;
        Augment { mean, std, crop_pct, ..Augment::default() }
    }

    /// Checks that it can be of a model of `classes` classes.
    pub fn validate(&self, classes: usize) -> Result<()> {
        let Self { class_names: names, mean, std, crop_pct } = self;
        Error::ensure(names.len() == classes, "class_names", format_args!("{classes} names"), names.len())?;
        for (k, length) in names.iter().map(String::len).enumerate() {
            let fits = (1..=LONGEST).contains(&length);
            let what = format_args!("class_names[{k}]");
            Error::ensure(fits, what, format_args!("1 to {LONGEST} bytes"), format_args!("{length} bytes"))?;
        }
        let usable = mean.iter().all(|m| m.is_finite()) && std.iter().all(|s| s.is_finite() && *s > 0.0);
        Error::ensure(usable, "mean, std", "finite, std positive", format_args!("{mean:?}, {std:?}"))?;
        Error::ensure((0.1..=1.0).contains(crop_pct), "crop_pct", "0.1 to 1", crop_pct)
    }
}
