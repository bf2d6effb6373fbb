//! A plan takes effect: every weight sliced by the index sets of [`crate::prune::plan`], whatever the method.

use super::plan::{Plan, head_columns, qkv_rows};
use crate::models::{Architecture, Model};
use crate::{Result, Tensor};

/// The physically smaller model: `plan`'s kept heads, hidden units and embedding channels of `model`.
///
/// Weights are copied, never changed, so slicing is exact. The softmax scale stays that of the source's head width; a
/// block that keeps no head (no hidden unit) contributes the bias of its projection (second layer) alone. `model` may
/// differ from the plan's source in classes, image size and distillation. SAViT, deployable model.
pub fn apply(model: &Model, plan: &Plan) -> Result<Model> {
    let (source, kept) = (model.arch(), plan.kept()?);
    let small = plan.apply_to(source)?;
    let mut params = crate::nn::Params::default();
    for (name, _) in Model::shapes(&small) {
        let tensor = model.params().get(&name)?;
        let (rows, columns) = axes(&name, source, &kept);
        params.insert(name, pick(tensor, rows.as_deref(), columns.as_deref())?);
    }
    Model::new(small, params, "pruned model")
}

type Axis = Option<Vec<usize>>;

/// The kept indices of the leading and of the last axis of a parameter, `None` for all.
fn axes(name: &str, source: &Architecture, kept: &super::Units<usize>) -> (Axis, Axis) {
    let embed = || Some(kept.embed.clone());
    let Some((block, layer)) = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) else {
        return match name {
            "cls_token" | "dist_token" | "pos_embed" | "head.weight" | "head_dist.weight" => (None, embed()),
            "head.bias" | "head_dist.bias" => (None, None),
            _ => (embed(), None), // patch embedding and the last norm
        };
    };
    let block: usize = block.parse().unwrap_or(usize::MAX); // the name is one of ours
    let (Some(of), Some(heads), Some(hidden)) =
        (source.blocks.get(block), kept.heads.get(block), kept.hidden.get(block))
    else {
        return (None, None);
    };
    let weight = layer.ends_with("weight");
    let columns = |list: Axis| if weight { list } else { None };
    match layer.rsplit_once('.').map_or(layer, |parts| parts.0) {
        "attn.qkv" => (Some(qkv_rows(heads, of.heads(), of.head_dim())), columns(embed())),
        "attn.proj" => (embed(), columns(Some(head_columns(heads, of.head_dim())))),
        "mlp.fc1" => (Some(hidden.clone()), columns(embed())),
        "mlp.fc2" => (embed(), columns(Some(hidden.clone()))),
        _ => (embed(), None), // norms
    }
}

/// Rows of the leading axis and columns of the last.
fn pick(tensor: &Tensor, rows: Option<&[usize]>, columns: Option<&[usize]>) -> Result<Tensor> {
    let mut shape = tensor.shape().to_vec();
    let (all_rows, values) = (shape.first().copied().unwrap_or(1), tensor.to_f64s());
    let (row, last) = (values.len() / all_rows.max(1), shape.last().copied().unwrap_or(1));
    let mut picked = Vec::new();
    let mut take_row = |row: &[f64]| match columns {
        None => picked.extend_from_slice(row),
        Some(columns) => {
            row.chunks(last.max(1)).for_each(|line| picked.extend(columns.iter().map(|&column| line[column])));
        }
    };
    match rows {
        None => values.chunks(row.max(1)).for_each(&mut take_row),
        Some(rows) => rows.iter().for_each(|&index| take_row(&values[index * row..][..row])),
    }
    if let Some(rows) = rows {
        shape[0] = rows.len();
    }
    if let (Some(columns), Some(last)) = (columns, shape.last_mut()) {
        *last = columns.len();
    }
    // through f64 and back every float is itself
    Ok(Tensor::from_slice(shape.as_slice(), &picked)?.to_dtype(tensor.dtype()))
}
