//! Weights of linear layers as products in main memory take them, packed when they are first asked for.

use crate::cpu::{Mat, gemm::packed::Packed};
use crate::{DType, Tensor};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The packed weights of a model that does not change, by name.
#[derive(Default)]
pub struct Packs(Mutex<HashMap<String, Option<Arc<Packed>>>>);

impl Packs {
    /// The weight `w [out, in]` called `name`; `None` where products do not take it packed.
    pub fn get(&self, name: &str, w: &Tensor) -> Option<Arc<Packed>> {
        let mut packs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = packs.get(name) {
            return known.clone();
        }
        let plain = w.gpu().is_none() && w.dtype() == DType::F32 && w.shape().len() == 2;
        let packed = plain.then(|| Mat::<f32>::of(w).ok().and_then(|w| Packed::new(w.t()))).flatten().map(Arc::new);
        packs.insert(name.to_string(), packed.clone());
        packed
    }
}
