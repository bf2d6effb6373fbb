//! The gated model: a plain model with a factor on every prunable unit, through [`Hooks`]. Head gates multiply a head's
//! output before the projection, hidden gates a hidden unit before the activation, and the one embedding gate the
//! residual stream after the position embedding and after every sum: `2L + 1` uses of one vector, whose gradient is
//! therefore their sum. SAViT, gated forward.

use super::*;
use crate::{io::keys::savit_gate, nn::Hooks, nn::Params, nn::Site};
use std::{cell::RefCell, collections::HashMap};

/// One factor per unit; all 1 in a plain model.
pub type Gates = Units<f64>;

/// Gates of 1 for every unit of `model`.
pub fn open(model: &Architecture) -> Gates {
    every_unit(model).map(|_, units| vec![1.0; units.len()])
}

/// Gates of 1 for kept units and 0 for the others.
pub fn from_masks(masks: &Masks) -> Gates {
    masks.map(|_, mask| mask.iter().map(|&kept| f64::from(kept)).collect())
}

/// The masks that `gates` are: every value must be exactly 0 or 1, an error names the first that is not.
pub fn to_masks(gates: &Gates) -> Result<Masks> {
    if let Some((unit, gate)) = gates.find(|&gate| gate != 0.0 && gate != 1.0) {
        return Err(Error::invalid(format!("gate {unit}"), "exactly 0 or 1 to build a compact model", gate));
    }
    Ok(gates.map(|_, values| values.iter().map(|&gate| gate == 1.0).collect()))
}

/// The gates as float32 tensors under their official keys, the embedding gate `L + 1` times.
pub fn to_params(gates: &Gates) -> Result<Params> {
    let named = gates.vectors().flat_map(|(kind, block, values)| {
        savit_gate(kind.name(), block, gates.heads.len()).into_iter().map(move |key| (key, values))
    });
    named.map(|(key, gate)| Ok((key, Tensor::from_slice([gate.len()], gate)?.to_dtype(DType::F32)?))).collect()
}

/// Takes the gates out of `params`: the plain rest, and the gates (1 where a dense checkpoint has none). Copies of the
/// embedding gate must be equal and lengths fit `model`; errors name `source`.
pub fn split_params(model: &Architecture, params: &Params, source: &str) -> Result<(Params, Gates)> {
    let gates = open(model).try_map(|kind, block, ones| {
        let values = |key: String| params.find(&key).map(|tensor| tensor.to_f64s().map(|values| (key, values)));
        let keys = savit_gate(kind.name(), block, model.blocks.len());
        let copies = keys.into_iter().filter_map(values).collect::<Result<Vec<_>>>()?;
        let Some((first, values)) = copies.first() else { return Ok(ones.to_vec()) };
        if let Some((key, found)) = copies.iter().find(|(_, copy)| copy.len() != ones.len()) {
            return Err(Error::key(source, key, format!("{} gates", ones.len()), found.len().to_string()));
        }
        match copies.iter().find(|(_, copy)| copy != values) {
            Some((key, _)) => Err(Error::key(source, key, format!("the values of {first}"), "others")),
            None => Ok(values.clone()),
        }
    })?;
    let names = to_params(&gates)?;
    let rest = params.iter().filter(|(name, _)| names.find(name).is_none());
    Ok((rest.map(|(name, tensor)| (name.to_string(), tensor.clone())).collect(), gates))
}

/// What passed each gate, and a leaf whose gradient is the one there.
type Seen = RefCell<HashMap<Site, (Tensor, Var)>>;

/// Gates as variables of a forward pass.
pub struct Gated {
    vars: Units<Var>,
    living: Option<Vec<usize>>,
    /// Where what passes the gates is remembered, for [`output`](Self::output).
    pub(super) record: Option<(Tape, Seen)>,
}

impl Gated {
    /// `gates` for `model`, at the [`place`](Params::place) of its parameters, as leaves of `tape` when their gradients are
    /// wanted.
    pub fn new(
        model: &Architecture, gates: &Gates, (dtype, device): (DType, Device), tape: Option<&Tape>,
    ) -> Result<Self> {
        gates.check_like("savit gates", &every_unit(model))?;
        let vars = gates.try_map(|_, _, values| {
            let tensor = Tensor::from_slice([values.len()], values)?.to_dtype(dtype)?.to_device(device)?;
            Ok::<_, Error>(vec![tape.map_or_else(|| Var::constant(tensor.clone()), |tape| tape.leaf(tensor.clone()))])
        })?;
        Ok(Self { vars, living: None, record: None })
    }

    /// The masked twin of the compact model: LayerNorm statistics run over the channels whose gate is not 0. The
    /// official masked model takes them over all channels and differs once an embedding channel is gone.
    pub fn over_living_channels(mut self) -> Result<Self> {
        let values = self.vars.embed[0].tensor().to_f64s()?;
        self.living = Some((0..values.len()).filter(|&channel| values[channel] != 0.0).collect());
        Ok(self)
    }

    /// The value that passed at `last` and the gradient at `first`, two uses of a gate.
    pub fn output(&self, last: Site, first: Site, grads: &Grads) -> Result<(Tensor, Tensor)> {
        let output = self.record.as_ref().and_then(|(_, seen)| {
            let seen = seen.borrow();
            Some((seen.get(&last)?.0.clone(), grads.get(&seen.get(&first)?.1)?.clone()))
        });
        output.ok_or_else(|| Error::invalid(format!("gate at {last:?}"), "an output and its gradient", "none"))
    }

    /// `dL/dg` of every gate; 0 where nothing depends on it.
    pub fn gradients(&self, grads: &Grads) -> Result<Scores> {
        self.vars.try_map(|_, _, var| match grads.get(&var[0]) {
            Some(grad) => grad.to_f64s(),
            None => Ok(vec![0.0; var[0].tensor().numel()]),
        })
    }
}

impl Hooks for Gated {
    fn head_gate(&self, block: usize) -> Option<&Var> {
        self.vars.heads.get(block)?.first()
    }
    fn hidden_gate(&self, block: usize) -> Option<&Var> {
        self.vars.hidden.get(block)?.first()
    }
    fn residual_gate(&self) -> Option<&Var> {
        self.vars.embed.first()
    }
    fn living_channels(&self) -> Option<&[usize]> {
        self.living.as_deref()
    }
    fn taps(&self) -> bool {
        self.record.is_some()
    }
    fn tap(&self, site: Site, value: Var) -> Result<Var> {
        match &self.record {
            Some((tape, seen)) if matches!(site, Site::GatedHeads(_) | Site::GatedHidden(_) | Site::Residual(_)) => {
                // the gradient of a leaf of zeros that is added to a value is the gradient at the value
                let zeros = tape.leaf(value.tensor().new_full(*value.shape(), 0.0)?);
                seen.borrow_mut().insert(site, (value.tensor().clone(), zeros.clone()));
                ops::add(value, &zeros)
            }
            _ => Ok(value),
        }
    }
}
