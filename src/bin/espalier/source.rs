//! Where a model comes from: a name of the zoo, a file, or both.

use espalier::data::augment::Transform;
use espalier::models::file::LoadOptions;
use espalier::models::{Architecture, Family, Model, zoo};
use espalier::{Error, Result};
use std::path::Path;

/// The model in `weights`; `name` and `img_size` say what the file does not.
pub fn load(name: Option<&str>, weights: &Path, img_size: Option<usize>) -> Result<Model> {
    let arch = name.map(zoo::find).transpose()?.map(|entry| entry.architecture);
    img_size.map_or(Ok(()), |img_size| Transform::eval(img_size).validate())?;
    Model::load(weights, &LoadOptions { arch, img_size, ..LoadOptions::default() }).map_err(|error| match error {
        // What does not fit says which tensor, not which file.
        Error::Shape { op, expected, found } => Error::key(&weights.display().to_string(), op, expected, found),
        other => other,
    })
}

/// `DeiT, 12 blocks of width 192, heads 3, hidden 768, 224 px, patch 16, 1000 classes`.
pub fn describe(arch: &Architecture) -> String {
    let Architecture { img_size, patch_size, num_classes, blocks, .. } = arch;
    let distilled = if arch.distilled { "distilled " } else { "" };
    let kind = match arch.family {
        Family::Deit => format!("{distilled}DeiT"),
        Family::Swin => "Swin".into(),
        Family::Lvvit => "LV-ViT".into(),
        Family::Regnet => "RegNetY".into(),
        Family::Pit => "PiT".into(),
    };
    let each = |mut values: Vec<usize>| {
        let all = format!("{values:?}");
        values.dedup();
        if values.len() > 1 { all } else { values.first().map_or(String::new(), usize::to_string) }
    };
    let width = each(arch.all_stages().iter().map(|stage| stage.embed_dim).collect());
    let heads = each(blocks.iter().map(|block| block.heads()).collect());
    let hidden = each(blocks.iter().map(|block| block.hidden).collect());
    format!(
        "{kind}, {} blocks of width {width}, heads {heads}, hidden {hidden}, {img_size} px, patch {patch_size}, \
         {num_classes} classes",
        blocks.len()
    )
}

/// Refuses a batch size or a count of 0.
pub fn at_least_one(what: &str, value: usize) -> Result<()> {
    Error::ensure(value > 0, what, "at least 1", value)
}
