//! The gated model: a plain model with a factor on every prunable unit, through [`Hooks`].
//!
//! Head gates multiply a head's output before the projection, hidden gates a hidden unit before the activation, and the
//! one embedding gate the residual stream after the position embedding and after every sum: `2L + 1` uses of one vector,
//! whose gradient is therefore their sum. SAViT, gated forward.

use super::{Masks, Scores};
use crate::models::Architecture;
use crate::nn::{Hooks, Params};
use crate::prune::plan::{Kind, Units, every_unit};
use crate::tape::Grads;
use crate::{DType, Error, Result, Tape, Tensor, Var};

/// One factor per unit; all 1 in a plain model.
pub type Gates = Units<f64>;

/// Gates of 1 for every unit of `model`.
pub fn open(model: &Architecture) -> Gates {
    every_unit(model).map(|_, units| vec![1.0; units.len()])
}

/// Gates of 1 for kept units and 0 for the others.
pub fn from_masks(masks: &Masks) -> Gates {
    masks.map(|_, mask| mask.iter().map(|&kept| f64::from(u8::from(kept))).collect())
}

/// The masks that `gates` are: every value must be exactly 0 or 1, an error names the first that is not.
pub fn to_masks(gates: &Gates) -> Result<Masks> {
    for kind in Kind::ALL {
        for (vector, values) in gates.of(kind).iter().enumerate() {
            if let Some(unit) = values.iter().position(|&value| value != 0.0 && value != 1.0) {
                let what = format!("gate {}[{vector}][{unit}]", kind.name());
                return Err(Error::invalid(what, "exactly 0 or 1 to build a compact model", values[unit]));
            }
        }
    }
    Ok(gates.map(|_, values| values.iter().map(|&value| value == 1.0).collect()))
}

/// Official key of a gate vector; the embedding gate is known by the last of its `L + 1` names.
pub fn key(kind: Kind, block: usize) -> String {
    match kind {
        Kind::Heads => format!("blocks.{block}.attn.attn_gate.weight"),
        Kind::Hidden => format!("blocks.{block}.mlp.hidden_gate1.weight"),
        Kind::Embed => "res_gate.weight".into(),
    }
}

/// Names of the copies of the embedding gate inside the blocks.
fn copy(block: usize) -> String {
    format!("blocks.{block}.res_gate.weight")
}

/// The gates as float32 tensors under their official keys, the embedding gate `L + 1` times.
pub fn to_params(gates: &Gates) -> Result<Params> {
    let mut params = Params::default();
    let tensor = |values: &[f64]| Ok::<_, Error>(Tensor::from_slice([values.len()], values)?.to_dtype(DType::F32));
    for kind in Kind::ALL {
        for (block, values) in gates.of(kind).iter().enumerate() {
            params.insert(key(kind, block), tensor(values)?);
        }
    }
    for block in 0..gates.heads.len() {
        params.insert(copy(block), tensor(&gates.embed)?);
    }
    Ok(params)
}

/// Takes the gates out of `params`: the plain rest, and the gates (1 where a dense checkpoint has none). Copies of the
/// embedding gate must be equal and lengths fit `model`; errors name `source`.
pub fn split_params(model: &Architecture, params: &Params, source: &str) -> Result<(Params, Gates)> {
    let mut gates = open(model);
    let wrong = |key: String, expected: String, found: String| Error::Key { file: source.into(), key, expected, found };
    let mut names = Vec::new();
    for kind in Kind::ALL {
        for (block, values) in gates.of_mut(kind).iter_mut().enumerate() {
            let own = (key(kind, block), block);
            let copies =
                (0..if kind == Kind::Embed { model.blocks.len() } else { 0 }).map(|block| (copy(block), block));
            let mut first: Option<String> = None;
            for (name, _) in std::iter::once(own).chain(copies) {
                let Some(found) = params.find(&name).map(Tensor::to_f64s) else { continue };
                if found.len() != values.len() {
                    return Err(wrong(name, format!("{} gates", values.len()), format!("{}", found.len())));
                }
                if let Some(first) = first.as_ref().filter(|_| found != *values) {
                    return Err(wrong(name, format!("the values of {first}"), "others".into()));
                }
                *values = found;
                first.get_or_insert(name.clone());
                names.push(name);
            }
        }
    }
    let rest = params.iter().filter(|(name, _)| !names.iter().any(|gate| gate == name));
    Ok((rest.map(|(name, tensor)| (name.to_string(), tensor.clone())).collect(), gates))
}

/// Gates as variables of a forward pass.
pub struct Gated {
    vars: Units<Var>,
    living: Option<Vec<usize>>,
}

impl Gated {
    /// `gates` for `model` in `dtype` (that of the parameters), as leaves of `tape` when their gradients are wanted.
    pub fn new(model: &Architecture, gates: &Gates, dtype: DType, tape: Option<&Tape>) -> Result<Self> {
        gates.check_lengths("savit gates", model)?;
        let var = |values: &Vec<f64>| {
            let tensor = Tensor::from_slice([values.len()], values)?.to_dtype(dtype);
            Ok(tape.map_or_else(|| Var::constant(tensor.clone()), |tape| tape.leaf(tensor.clone())))
        };
        let each = |vectors: &[Vec<f64>]| vectors.iter().map(|v| Ok(vec![var(v)?])).collect::<Result<Vec<_>>>();
        let vars = Units { heads: each(&gates.heads)?, hidden: each(&gates.hidden)?, embed: vec![var(&gates.embed)?] };
        Ok(Self { vars, living: None })
    }

    /// The masked twin of the compact model: LayerNorm statistics run over the channels whose gate is not 0. The
    /// official masked model takes them over all channels and differs once an embedding channel is gone.
    pub fn over_living_channels(mut self) -> Self {
        let values = self.vars.embed[0].tensor().to_f64s();
        self.living = Some((0..values.len()).filter(|&channel| values[channel] != 0.0).collect());
        self
    }

    /// The variable of a gate vector: block `block` of a kind; 0 for the embedding.
    pub fn var(&self, kind: Kind, block: usize) -> Option<&Var> {
        self.vars.of(kind).get(block)?.first()
    }

    /// `dL/dg` of every gate; 0 where nothing depends on it.
    pub fn gradients(&self, grads: &Grads) -> Scores {
        self.vars.map(|_, var| match grads.get(&var[0]) {
            Some(grad) => grad.to_f64s(),
            None => vec![0.0; var[0].tensor().numel()],
        })
    }
}

impl Hooks for Gated {
    fn head_gate(&self, block: usize) -> Option<&Var> {
        self.var(Kind::Heads, block)
    }

    fn hidden_gate(&self, block: usize) -> Option<&Var> {
        self.var(Kind::Hidden, block)
    }

    fn residual_gate(&self) -> Option<&Var> {
        self.var(Kind::Embed, 0)
    }

    fn living_channels(&self) -> Option<&[usize]> {
        self.living.as_deref()
    }
}
