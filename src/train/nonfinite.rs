//! Finding the layer where a NaN or an infinity first appeared.

use crate::{Result, Tensor, Var, models::Model, nn::Hooks, nn::Mode, nn::Params, nn::Pass, nn::Site};
use std::cell::Cell;

/// Where a value is not finite when no layer's is.
pub(super) const NOTHING: &str = "logits or loss";

/// Remembers the first value that is not finite.
#[derive(Default)]
struct Finder(Cell<Option<Site>>);

impl Hooks for Finder {
    fn taps(&self) -> bool {
        true
    }
    fn tap(&self, site: Site, value: Var) -> Result<Var> {
        if self.0.get().is_none() && !value.tensor().is_finite()? {
            self.0.set(Some(site));
        }
        Ok(value)
    }
}

/// `what` and the name of the first of `tensors` that is not finite.
pub(super) fn named(what: &str, tensors: &Params) -> Result<Option<String>> {
    for (name, tensor) in tensors.iter() {
        if !tensor.is_finite()? {
            return Ok(Some(format!("{what} {name}")));
        }
    }
    Ok(None)
}

/// The name of the first parameter, input or layer of a forward pass over `images` that is not finite.
pub fn first_nonfinite(model: &Model, images: &Tensor, mode: Mode) -> Result<String> {
    if !images.is_finite()? {
        return Ok("input images".into());
    }
    if let Some(parameter) = named("parameter", model.params())? {
        return Ok(parameter);
    }
    let finder = Finder::default();
    model.forward(&Pass::new(model.params(), None, mode, &finder)?, &Var::constant(images.clone()))?;
    Ok(finder.0.get().map_or_else(|| NOTHING.into(), |site| format!("{site:?}")))
}
