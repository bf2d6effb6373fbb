//! A plan takes effect: every weight sliced by the index sets of [`crate::prune::plan`], whatever the method.

use super::plan::{Plan, Units, head_columns, qkv_rows};
use crate::{Result, Tensor, models::Architecture, models::Model, models::layout::Slot, nn::Params};

/// The physically smaller model: `plan`'s kept heads, hidden units and embedding channels of `model`. Weights are
/// copied, never changed, so slicing is exact. The softmax scale stays that of the source's head width; a block that
/// keeps no head (no hidden unit) contributes the bias of its projection (second layer) alone. `model` may differ from
/// the plan's source in classes, image size and distillation. SAViT, deployable model.
pub fn apply(model: &Model, plan: &Plan) -> Result<Model> {
    let (source, kept) = (model.arch(), plan.kept()?);
    let small = plan.apply_to(source)?;
    let mut params = Params::default();
    for Slot { name, .. } in Model::layout(&small).slots {
        let mut tensor = model.params().get(&name)?.clone();
        let [rows, columns] = axes(&name, source, &kept);
        let last = tensor.shape().len().saturating_sub(1);
        for (axis, indices) in [(0, rows), (last, columns)] {
            if let Some(indices) = indices {
                tensor = select(&tensor, axis, &indices)?;
            }
        }
        params.insert(name, tensor);
    }
    let small = Model::new(small, params, "pruned model")?.with_precision(model.precision());
    small.with_trained(model.trained().cloned())
}

/// The kept indices of the leading and of the last axis of a parameter, `None` for all.
fn axes(name: &str, source: &Architecture, kept: &Units<usize>) -> [Option<Vec<usize>>; 2] {
    let inside = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'));
    let (block, layer) = inside.map_or((0, name), |(block, layer)| (block.parse().unwrap_or(0), layer));
    let (heads, hidden, of) = (&kept.heads[block], || Some(kept.hidden[block].clone()), &source.blocks[block]);
    let embed = Some(kept.embed.clone());
    let [rows, columns] = match layer.trim_end_matches(".weight").trim_end_matches(".bias") {
        "attn.qkv" => [Some(qkv_rows(heads, of.heads(), of.head_dim())), embed],
        "attn.proj" => [embed, Some(head_columns(heads, of.head_dim()))],
        "mlp.fc1" => [hidden(), embed],
        "mlp.fc2" => [embed, hidden()],
        "cls_token" | "dist_token" | "pos_embed" | "head" | "head_dist" => [None, embed],
        _ => [embed, None], // patch embedding and norms
    };
    [rows, if name.ends_with(".bias") { None } else { columns }]
}

/// The entries `indices` along an axis.
fn select(tensor: &Tensor, axis: usize, indices: &[usize]) -> Result<Tensor> {
    let (mut shape, values) = (tensor.shape().to_vec(), tensor.to_f64s()?);
    let inner: usize = shape[axis + 1..].iter().product();
    let pick = |outer: &[f64]| -> Vec<f64> {
        indices.iter().flat_map(|index| &outer[index * inner..][..inner]).copied().collect()
    };
    let picked: Vec<f64> = values.chunks((shape[axis] * inner).max(1)).flat_map(pick).collect();
    shape[axis] = indices.len();
    // through f64 and back every float is itself
    Tensor::from_slice(shape.as_slice(), &picked)?.to_dtype(tensor.dtype())?.to_device(tensor.device())
}
