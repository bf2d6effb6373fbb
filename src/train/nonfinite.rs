//! Finding the layer where a NaN or an infinity first appeared.

use crate::models::Model;
use crate::nn::{Hooks, Mode, Pass, Site};
use crate::tensor::Tensor;
use crate::{Result, Var};
use std::cell::RefCell;

/// Remembers the first value that is not finite.
#[derive(Default)]
struct Finder(RefCell<Option<Site>>);

impl Hooks for Finder {
    fn taps(&self) -> bool {
        true
    }

    fn tap(&self, site: Site, value: Var) -> Result<Var> {
        let mut found = self.0.borrow_mut();
        if found.is_none() && !value.tensor().is_finite() {
            *found = Some(site);
        }
        Ok(value)
    }
}

/// The name of the first parameter, input or layer of a forward pass over `images` that is not finite.
pub fn first_nonfinite(model: &Model, images: &Tensor, mode: Mode) -> Result<String> {
    if !images.is_finite() {
        return Ok("input images".into());
    }
    if let Some((name, _)) = model.params().iter().find(|(_, tensor)| !tensor.is_finite()) {
        return Ok(format!("parameter {name}"));
    }
    let finder = Finder::default();
    model.forward(&Pass::new(model.params(), None, mode, &finder), &Var::constant(images.clone()))?;
    let site = *finder.0.borrow();
    Ok(site.map_or_else(|| "logits or loss".into(), |site| format!("{site:?}")))
}
