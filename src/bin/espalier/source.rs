//! Where a model comes from: a name of the zoo, a file, or both.

use espalier::data::augment::Augment;
use espalier::models::file::LoadOptions;
use espalier::models::{Architecture, Family, Model, zoo, zoo::ZooEntry};
use espalier::{Error, Result};
use std::path::{Path, PathBuf};

/// The model in `weights`, or in what was downloaded for `name`; `name` and `img_size` say what the file does not.
pub fn load(name: Option<&str>, weights: Option<&Path>, img_size: Option<usize>) -> Result<Model> {
    let entry = name.map(zoo::find).transpose()?;
    img_size.map_or(Ok(()), |img_size| Augment::default().eval(img_size).validate())?;
    let weights = match (weights, &entry) {
        (Some(weights), _) => weights.to_path_buf(),
        (None, Some(entry)) => downloaded(entry)?,
        (None, None) => return Err(Error::invalid("weights", "a file or the name of a model", "neither")),
    };
    let options = LoadOptions { arch: entry.map(|entry| entry.architecture), img_size, ..LoadOptions::default() };
    Model::load(&weights, &options).map_err(|error| match error {
        // What does not fit says which tensor, not which file.
        Error::Shape { op, expected, found } => Error::key(&weights.display().to_string(), op, expected, found),
        other => other,
    })
}

/// Where `espalier fetch` puts the weights of a model.
pub fn cached(entry: &ZooEntry) -> Result<PathBuf> {
    let nowhere = || Error::invalid("cache folder", "XDG_CACHE_HOME or HOME", "neither is set");
    Ok(espalier::io::cache_folder().ok_or_else(nowhere)?.join("models").join(entry.file_name()))
}

/// The same, where it is there.
fn downloaded(entry: &ZooEntry) -> Result<PathBuf> {
    let (file, name) = (cached(entry)?, &entry.name);
    let expected = format_args!("{} (run `espalier fetch {name}`, or give --weights)", file.display());
    Error::ensure(file.is_file(), format_args!("weights of {name}"), expected, "no such file").map(|()| file)
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
