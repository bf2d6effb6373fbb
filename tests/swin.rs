//! Swin in files: official names and timm's, buffers, other windows, image sizes and class counts; and what cannot be.

use espalier::io::{self, Blob, keys, pth, safetensors};
use espalier::models::{Architecture, Family, LoadOptions, Model, interpolate};
use espalier::ops::{Windows, window_attention};
use espalier::{DType, Result, Tensor, Var};
use std::collections::BTreeMap;
use std::path::Path;

/// Grids of 16 and 8 tokens, windows of 4.
fn arch() -> Architecture {
    Architecture::swin(32, 2, 12, &[2, 2], &[2, 3], 4).with_classes(5)
}

fn logits(model: &Model) -> Result<Vec<f64>> {
    let side = model.arch().img_size;
    let values: Vec<f32> = (0..2 * 3 * side * side).map(|i| (i as f32 * 0.37).sin()).collect();
    model.predict(&Tensor::from_slice([2, 3, side, side], &values)?)?.to_f64s()
}

/// The tensors of a `.pth` file by name, without the wrapper.
fn tensors(path: &Path) -> Result<BTreeMap<String, Blob>> {
    Ok(keys::unwrap(io::read(path)?, None)?.into_iter().collect())
}

#[test]
fn both_formats_come_back_with_equal_logits() -> Result<()> {
    let (folder, model) = (tempfile::tempdir().unwrap(), Model::init(arch(), 3)?);
    let [own, official] = ["a.safetensors", "a.pth"].map(|name| folder.path().join(name));
    model.save(&own, "dense")?;
    model.save_pth(&official)?;
    for path in [&own, &official] {
        // The windows of the last grid are smaller than it, so the shapes alone do not tell the image's size.
        let options = LoadOptions { img_size: Some(32), ..LoadOptions::default() };
        let again = Model::load(path, &options)?;
        assert_eq!((again.arch(), logits(&again)?), (model.arch(), logits(&model)?), "{}", path.display());
    }
    assert_eq!(Model::load(&own, &LoadOptions::default())?.arch(), model.arch());
    // Where the last grid is one window, they do.
    let published = Model::init(Architecture::swin(16, 2, 6, &[1, 2], &[1, 2], 4), 3)?;
    published.save_pth(&official)?;
    assert_eq!(Model::load(&official, &LoadOptions::default())?.arch(), published.arch());
    Ok(())
}

#[test]
fn official_files_hold_the_buffers() -> Result<()> {
    let (folder, model) = (tempfile::tempdir().unwrap(), Model::init(arch(), 3)?);
    let path = folder.path().join("official.pth");
    model.save_pth(&path)?;
    let all = tensors(&path)?;
    assert_eq!(all.len(), model.params().len() + 4 + 2);
    let index = &all["layers.1.blocks.0.attn.relative_position_index"];
    assert_eq!((&index.shape[..], index.dtype.name()), (&[16, 16][..], "I64"));
    // From the first token to itself, to its right neighbour, to the one below it: (M - 1)(2M - 1) + M - 1 less 0, 1, 2M - 1.
    assert_eq!([0, 1, 4].map(|j| index.to_f32().unwrap()[j]), [24.0, 23.0, 17.0]);
    let mask = &all["layers.0.blocks.1.attn_mask"];
    assert_eq!(&mask.shape[..], [16, 16, 16]);
    let values = mask.to_f32()?;
    assert!(values[..256].iter().all(|v| *v == 0.0), "the first window is whole");
    // The last window has four parts of four tokens: 256 - 4 · 16 pairs lie apart.
    assert_eq!(values[15 * 256..].iter().filter(|v| **v == -100.0).count(), 192);
    // The first window of the last row has two parts of eight tokens.
    assert_eq!(values[12 * 256..13 * 256].iter().filter(|v| **v == -100.0).count(), 128);
    assert!(!all.contains_key("layers.0.blocks.0.attn_mask"));
    Ok(())
}

#[test]
fn timms_names_are_read() -> Result<()> {
    let (folder, model) = (tempfile::tempdir().unwrap(), Model::init(arch(), 3)?);
    let path = folder.path().join("timm.safetensors");
    model.save(&path, "dense")?;
    let blobs: Vec<(String, Blob)> =
        io::read(&path)?.tensors.into_iter().map(|(name, blob)| (keys::swin_to_timm(&name), blob)).collect();
    let has = |name: &str| blobs.iter().any(|(found, _)| found == name);
    assert!(has("layers.1.downsample.reduction.weight") && has("head.fc.weight") && !has("head.weight"));
    assert!(blobs.iter().all(|(name, _)| keys::swin_to_timm(&keys::swin_from_timm(name)) == *name));
    safetensors::write(&path, &blobs, &[])?;
    let again = Model::load(&path, &LoadOptions { img_size: Some(32), ..LoadOptions::default() })?;
    assert_eq!(logits(&again)?, logits(&model)?);
    Ok(())
}

#[test]
fn another_window_resizes_the_tables() -> Result<()> {
    let (folder, model) = (tempfile::tempdir().unwrap(), Model::init(arch(), 3)?);
    let path = folder.path().join("a.pth");
    model.save_pth(&path)?;
    let wanted = Architecture::swin(64, 2, 12, &[2, 2], &[2, 3], 8).with_classes(5);
    let wider = Model::load(&path, &LoadOptions { arch: Some(wanted.clone()), ..LoadOptions::default() })?;
    assert_eq!(wider.arch(), &wanted);
    let table = "layers.0.blocks.1.attn.relative_position_bias_table";
    let expected = interpolate::bias_table(model.params().get(table)?, 15)?;
    assert_eq!(wider.params().get(table)?.to_f64s()?, expected.to_f64s()?);
    assert_eq!(logits(&wider)?.len(), 10);
    Ok(())
}

#[test]
fn a_new_head_begins_with_zeros() -> Result<()> {
    let (folder, model) = (tempfile::tempdir().unwrap(), Model::init(arch(), 3)?);
    let path = folder.path().join("a.safetensors");
    model.save(&path, "dense")?;
    let wanted = LoadOptions { arch: Some(arch().with_classes(7)), ..LoadOptions::default() };
    assert!(Model::load(&path, &wanted).unwrap_err().to_string().contains("head.weight"));
    let new = Model::load(&path, &LoadOptions { new_head: true, ..wanted })?;
    assert_eq!(logits(&new)?, [0.0; 14]);
    assert_eq!(new.params().get("norm.weight")?.to_f64s()?, model.params().get("norm.weight")?.to_f64s()?);
    Ok(())
}

#[test]
fn tables_and_qkv_that_do_not_fit_are_named() -> Result<()> {
    let (folder, model) = (tempfile::tempdir().unwrap(), Model::init(arch(), 3)?);
    let path = folder.path().join("a.pth");
    let key = "layers.1.blocks.0.attn.relative_position_bias_table";
    for (shape, part) in [([48, 3], "48"), ([36, 3], "odd"), ([49, 5], "multiple of 3 x 5")] {
        let tensors = |(name, tensor): (&str, &Tensor)| {
            let tensor = if name == key { Tensor::zeros(shape, DType::F32) } else { tensor.clone() };
            Ok((name.to_string(), espalier::models::file::to_blob(&tensor)?))
        };
        pth::write(&path, &model.params().iter().map(tensors).collect::<Result<Vec<_>>>()?, Some("model"))?;
        let message = Model::load(&path, &LoadOptions::default()).unwrap_err().to_string();
        assert!(message.contains("layers.1.blocks.0") && message.contains(part), "{message}");
    }
    Ok(())
}

#[test]
fn mixers_belong_to_their_family() {
    let mut deit = Architecture::deit(32, 2, 12, 1, 2);
    deit.blocks[0].mixer = arch().blocks[0].mixer.clone();
    assert!(deit.validate().unwrap_err().to_string().contains("blocks[0]"));
    let swin = Architecture { family: Family::Swin, ..Architecture::deit(32, 2, 12, 1, 2) };
    assert!(swin.validate().is_err());
    assert!(Architecture { distilled: true, ..arch() }.validate().unwrap_err().to_string().contains("distilled"));
}

#[test]
fn windows_that_do_not_cut_the_grid_are_refused() {
    let qkv = |tokens: usize| Var::constant(Tensor::zeros([1, tokens, 12], DType::F32));
    let table = |entries: usize| Var::constant(Tensor::zeros([entries, 2], DType::F32));
    let windows = |window, shift| Windows { height: 4, width: 8, window, shift };
    assert!(window_attention(&qkv(32), &table(49), windows(4, 2), 2, 2).is_ok());
    for (tokens, entries, windows) in [
        (32, 25, windows(3, 0)),
        (32, 49, windows(4, 4)),
        (32, 0, windows(0, 0)),
        (31, 49, windows(4, 0)),
        (32, 25, windows(4, 0)),
    ] {
        assert!(window_attention(&qkv(tokens), &table(entries), windows, 2, 2).is_err(), "{windows:?}");
    }
}
