//! Where a model comes from: a name of the zoo, a file, or both.

use espalier::data::augment::Transform;
use espalier::models::file::LoadOptions;
use espalier::models::{Architecture, Model, zoo};
use espalier::{Error, Result};
use std::path::Path;

/// The model in `weights`; `name` and `img_size` say what the file does not.
pub fn load(name: Option<&str>, weights: &Path, img_size: Option<usize>) -> Result<Model> {
    let mut arch = name.map(zoo::find).transpose()?.map(|entry| entry.architecture);
    if let Some(size) = img_size {
        Transform::eval(size).validate()?;
        if arch.is_none() {
            arch = Some(Model::load(weights, &LoadOptions::default())?.arch().clone());
        }
        arch.iter_mut().for_each(|arch| arch.img_size = size);
        arch.as_ref().map_or(Ok(()), Architecture::validate)?;
    }
    Model::load(weights, &LoadOptions { arch, ..LoadOptions::default() }).map_err(|error| match error {
        // What does not fit says which tensor, not which file.
        Error::Shape { op, expected, found } => {
            Error::Key { file: weights.display().to_string(), key: op.into(), expected, found }
        }
        other => other,
    })
}

/// The model of that name in the zoo with random weights: for timing.
pub fn random(name: &str) -> Result<Model> {
    Model::init(zoo::find(name)?.architecture, 0)
}

/// `deit, 12 blocks of width 192, 224 px, patch 16, 1000 classes`.
pub fn describe(arch: &Architecture) -> String {
    let Architecture { img_size, patch_size, num_classes, embed_dim, blocks, .. } = arch;
    let kind = if arch.distilled { "distilled DeiT" } else { "DeiT" };
    let each = |values: Vec<usize>| match values.windows(2).all(|pair| pair[0] == pair[1]) {
        true => values.first().map_or(String::new(), usize::to_string),
        false => format!("{values:?}"),
    };
    let heads = each(blocks.iter().map(|block| block.heads()).collect());
    let hidden = each(blocks.iter().map(|block| block.hidden).collect());
    format!(
        "{kind}, {} blocks of width {embed_dim}, heads {heads}, hidden {hidden}, {img_size} px, patch {patch_size}, \
         {num_classes} classes",
        blocks.len()
    )
}

/// A batch size or a count that must be at least 1.
pub fn at_least_one(what: &str, value: usize) -> Result<usize> {
    if value == 0 { Err(Error::invalid(what, "at least 1", value)) } else { Ok(value) }
}
