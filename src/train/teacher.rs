//! A frozen model whose logits a student learns from.

use crate::Result;
use crate::models::Model;
use crate::tensor::Tensor;
use std::collections::HashMap;

/// Logits that are remembered at the most (256 MiB); beyond that it starts anew.
const REMEMBERED: usize = 64 << 20;

/// A teacher that remembers its logits by (epoch, image), for several students that see the same images.
pub struct Teacher<'a> {
    model: &'a Model,
    known: HashMap<(u64, usize), Vec<f32>>,
}

impl<'a> Teacher<'a> {
    /// Right when an image looks the same whenever it comes in the same epoch.
    pub fn remembering(model: &'a Model) -> Self {
        Self { model, known: HashMap::new() }
    }

    /// Logits `[B, K]` of the images `indices` as they look in `epoch`.
    pub fn logits(&mut self, images: &Tensor, epoch: u64, indices: &[usize]) -> Result<Tensor> {
        let classes = self.model.arch().num_classes;
        let known: Option<Vec<_>> = indices.iter().map(|&index| self.known.get(&(epoch, index))).collect();
        if let Some(rows) = known {
            let rows: Vec<f32> = rows.into_iter().flatten().copied().collect();
            return Tensor::from_slice([indices.len(), classes], &rows);
        }
        let logits = self.model.predict(images)?;
        if self.known.len() * classes > REMEMBERED {
            self.known.clear();
        }
        let rows = logits.slice::<f32>()?.chunks(classes).map(<[f32]>::to_vec);
        self.known.extend(indices.iter().map(|&index| (epoch, index)).zip(rows));
        Ok(logits)
    }
}
