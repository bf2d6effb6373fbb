//! Weights of linear layers as products in main memory take them, packed when they are first asked for.

use crate::cpu::{Mat, gemm::packed::Packed};
use crate::{DType, Tensor};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The packed weights of a model that does not change, by name.
#[derive(Default)]
pub struct Packs(Mutex<HashMap<String, Option<Arc<Packed>>>>);

impl Packs {
    /// The weight `w [out, in]`, or `[out, in, 1, 1]`, called `name`; `None` where products do not take it packed.
    pub fn get(&self, name: &str, w: &Tensor) -> Option<Arc<Packed>> {
        let mut packs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = packs.get(name) {
            return known.clone();
        }
        let matrix = w.shape().len() == 2 || w.shape().len() == 4 && w.shape().ends_with(&[1, 1]);
        let plain = matrix && w.gpu().is_none() && w.dtype() == DType::F32;
        let packed = || {
            let (out, inner) = (w.dim(0), w.dim(1));
            Packed::new(Mat::new(w.slice::<f32>().ok()?, out, inner).t()).map(Arc::new)
        };
        let packed = plain.then(packed).flatten();
        packs.insert(name.to_string(), packed.clone());
        packed
    }
}
