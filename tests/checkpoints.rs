//! Models to files and back, and files that must be refused.

use espalier::error::FileProblem;
use espalier::io::{self, Blob, BlobType, pth, safetensors};
use espalier::models::{Architecture, LoadOptions, Model, file, interpolate};
use espalier::{Error, Result, Tensor};
use std::path::{Path, PathBuf};

type Named = Vec<(String, Blob)>;

/// A folder that is removed with the test, and paths in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap_or_else(|error| panic!("{error}")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn dense() -> Architecture {
    Architecture::deit(16, 4, 12, 3, 3).with_classes(5)
}

/// Other widths in every block, one without heads and one without hidden units.
fn compact() -> Architecture {
    let mut arch = Architecture::deit(16, 4, 24, 3, 6).with_classes(5);
    arch.embed_dim = 7;
    for (block, (heads, hidden)) in arch.blocks.iter_mut().zip([(2, 3), (0, 9), (1, 0)]) {
        block.mixer = espalier::models::Mixer::Attention { heads, head_dim: 4 };
        block.hidden = hidden;
    }
    arch
}

fn distilled() -> Architecture {
    Architecture { distilled: true, ..dense() }
}

fn images(side: usize) -> Tensor {
    let values: Vec<f32> = (0..2 * 3 * side * side).map(|i| (i as f32 * 0.37).sin()).collect();
    Tensor::from_slice([2, 3, side, side], &values).unwrap_or_else(|error| panic!("{error}"))
}

fn logits(model: &Model) -> Result<Vec<f32>> {
    Ok(model.predict(&images(model.arch().img_size))?.slice::<f32>()?.to_vec())
}

fn with_heads_of(head_dim: usize) -> LoadOptions {
    LoadOptions { head_dim: Some(head_dim), ..LoadOptions::default() }
}

/// A model's file, its tensors changed by `change`, its metadata kept.
fn changed(folder: &Folder, name: &str, arch: Architecture, change: impl FnOnce(&mut Named)) -> Result<PathBuf> {
    let path = folder.path(name);
    Model::init(arch, 1)?.save(&path, "dense")?;
    let mut checkpoint = io::read(&path)?;
    change(&mut checkpoint.tensors);
    safetensors::write(&path, &checkpoint.tensors, &checkpoint.metadata)?;
    Ok(path)
}

fn blob<'a>(tensors: &'a mut Named, name: &str) -> &'a mut Blob {
    tensors.iter_mut().find(|(key, _)| key == name).map(|(_, blob)| blob).unwrap_or_else(|| panic!("no {name}"))
}

/// The error of loading, which must name the file and every one of `parts`.
fn refused(path: &Path, options: &LoadOptions, parts: &[&str]) -> Error {
    let error = match Model::load(path, options) {
        Ok(_) => panic!("{} was loaded", path.display()),
        Err(error) => error,
    };
    let text = error.to_string();
    for part in parts.iter().chain([&&*path.display().to_string()]) {
        assert!(text.contains(part), "{text} does not say {part}");
    }
    error
}

#[test]
fn every_kind_of_model_comes_back_with_equal_bytes_and_equal_logits() -> Result<()> {
    let folder = Folder::new();
    for (name, arch, head_dim) in [("dense", dense(), 4), ("compact", compact(), 4), ("distilled", distilled(), 4)] {
        let model = Model::init(arch, 3)?;
        let (first, second, pth) = (folder.path("a"), folder.path("b"), folder.path("c.pth"));
        model.save(&first, name)?;
        let loaded = Model::load(&first, &LoadOptions::default())?;
        loaded.save(&second, name)?;
        assert_eq!((loaded.arch(), logits(&loaded)?), (model.arch(), logits(&model)?), "{name}");
        assert!(std::fs::read(&first).ok() == std::fs::read(&second).ok(), "{name}: the bytes differ");

        model.save_pth(&pth)?;
        let checkpoint = io::read(&pth)?;
        assert!(checkpoint.tensors.iter().all(|(key, _)| key.starts_with("model/")) && checkpoint.values.is_empty());
        let loaded = Model::load(&pth, &with_heads_of(head_dim))?;
        assert_eq!((loaded.arch(), logits(&loaded)?), (model.arch(), logits(&model)?), "{name} as .pth");
    }
    Ok(())
}

#[test]
fn the_metadata_says_what_is_in_the_file() -> Result<()> {
    let folder = Folder::new();
    let path = folder.path("model");
    Model::init(compact(), 3)?.save(&path, "finetune")?;
    let metadata = io::read(&path)?.metadata;
    let keys: Vec<&str> = metadata.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, [file::FORMAT_VERSION, file::STAGE, file::ARCHITECTURE]);
    assert_eq!(serde_json::from_str::<Architecture>(&metadata[2].1).ok(), Some(compact()));
    assert_eq!(metadata[1].1, "finetune");
    Ok(())
}

#[test]
fn other_float_types_and_wrapped_weights_are_read() -> Result<()> {
    let folder = Folder::new();
    for dtype in [BlobType::F16, BlobType::BF16, BlobType::F64] {
        let path = changed(&folder, "model", dense(), |tensors| {
            for (_, blob) in tensors.iter_mut() {
                *blob = blob.to_float(dtype).unwrap_or_else(|error| panic!("{error}"));
            }
        })?;
        let model = Model::load(&path, &LoadOptions::default())?;
        let (expected, found) = (logits(&Model::init(dense(), 1)?)?, logits(&model)?);
        let gap = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let bound = [(BlobType::F64, 0.0), (BlobType::F16, 1e-3), (BlobType::BF16, 1e-2)];
        assert!(bound.iter().any(|(kind, bound)| *kind == dtype && gap <= *bound), "{dtype:?}: {gap}");
    }
    let (plain, average) = (Model::init(dense(), 1)?, Model::init(dense(), 2)?);
    let mut tensors = Named::new();
    for (wrapper, model) in [("model", &plain), ("model_ema", &average)] {
        for (name, tensor) in model.params().iter() {
            let blob = Blob::from_f32(tensor.shape().to_vec(), tensor.slice::<f32>()?)?;
            tensors.push((format!("{wrapper}/module.{name}"), blob));
        }
    }
    let path = folder.path("training.safetensors");
    safetensors::write(&path, &tensors, &[])?;
    let ema = LoadOptions { wrapper: Some("model_ema".into()), ..with_heads_of(4) };
    assert_eq!(logits(&Model::load(&path, &with_heads_of(4))?)?, logits(&plain)?);
    assert_eq!(logits(&Model::load(&path, &ema)?)?, logits(&average)?);
    Ok(())
}

#[test]
fn another_image_size_resizes_the_position_embedding() -> Result<()> {
    let folder = Folder::new();
    for arch in [dense(), distilled()] {
        let (path, extra) = (folder.path("model"), arch.extra_tokens());
        let model = Model::init(arch.clone(), 5)?;
        model.save(&path, "dense")?;
        let larger = Architecture { img_size: 24, ..arch };
        let options = LoadOptions { arch: Some(larger.clone()), ..LoadOptions::default() };
        let resized = interpolate::pos_embed(model.params().get("pos_embed")?, extra, 6)?;
        let loaded = Model::load(&path, &options)?;
        assert_eq!(loaded.arch(), &larger);
        assert_eq!(loaded.params().get("pos_embed")?.to_f64s().unwrap(), resized.to_f64s().unwrap());
        assert!(logits(&loaded)?.iter().all(|value| value.is_finite()));
        let odd = Architecture { img_size: 18, ..larger };
        let odd = LoadOptions { arch: Some(odd), ..LoadOptions::default() };
        assert!(matches!(Model::load(&path, &odd), Err(Error::Invalid { .. })));
    }
    Ok(())
}

#[test]
fn another_class_count_needs_a_new_head() -> Result<()> {
    let folder = Folder::new();
    let path = folder.path("model");
    let model = Model::init(distilled(), 5)?;
    model.save(&path, "dense")?;
    let ten = LoadOptions { arch: Some(distilled().with_classes(10)), ..LoadOptions::default() };
    refused(&path, &ten, &["head.weight", "10 classes", "5 classes"]);
    let loaded = Model::load(&path, &LoadOptions { new_head: true, seed: 9, ..ten })?;
    let fresh = Model::init(distilled().with_classes(10), 9)?;
    for (name, tensor) in loaded.params().iter() {
        let source = if name.starts_with("head") { &fresh } else { &model };
        assert_eq!(tensor.to_f64s().unwrap(), source.params().get(name)?.to_f64s().unwrap(), "{name}");
    }
    // With the same classes the heads of the file stay.
    let same = Model::load(&path, &LoadOptions { new_head: true, seed: 9, ..LoadOptions::default() })?;
    assert_eq!(logits(&same)?, logits(&model)?);
    Ok(())
}

#[test]
fn a_distilled_file_fills_a_plain_model_only_on_request() -> Result<()> {
    let folder = Folder::new();
    let path = folder.path("model.pth");
    let model = Model::init(distilled(), 5)?;
    model.save_pth(&path)?;
    let plain = LoadOptions { arch: Some(dense()), ..LoadOptions::default() };
    refused(&path, &plain, &["dist_token, head_dist.weight, head_dist.bias", "plain model", "distilled"]);
    let inferred = LoadOptions { drop_distillation: true, ..with_heads_of(4) };
    for options in [LoadOptions { drop_distillation: true, ..plain }, inferred] {
        let loaded = Model::load(&path, &options)?;
        assert_eq!(loaded.arch(), &dense());
        let (pos, all) =
            (loaded.params().get("pos_embed")?.to_f64s().unwrap(), model.params().get("pos_embed")?.to_f64s().unwrap());
        assert_eq!((&pos[..12], &pos[12..]), (&all[..12], &all[24..]));
        assert_eq!(
            loaded.params().get("head.weight")?.to_f64s().unwrap(),
            model.params().get("head.weight")?.to_f64s().unwrap()
        );
    }
    let missing = LoadOptions { arch: Some(distilled()), ..LoadOptions::default() };
    Model::init(dense(), 5)?.save(&path, "dense")?;
    refused(&path, &missing, &["dist_token, head_dist.weight, head_dist.bias", "missing"]);
    Ok(())
}

#[test]
fn keys_shapes_and_values_that_do_not_fit_are_named() -> Result<()> {
    let folder = Folder::new();
    let plain = LoadOptions::default();
    let path = changed(&folder, "a", dense(), |tensors| {
        tensors.retain(|(name, _)| name != "norm.bias" && name != "blocks.1.mlp.fc1.weight");
        tensors.push(("gates.embed".into(), Blob { dtype: BlobType::F32, shape: vec![1], bytes: vec![0; 4] }));
    })?;
    refused(&path, &plain, &["blocks.1.mlp.fc1.weight, norm.bias, gates.embed", "the first 2 missing"]);
    let path =
        changed(&folder, "b", dense(), |tensors| blob(tensors, "blocks.2.attn.proj.weight").shape = vec![6, 24])?;
    refused(&path, &plain, &["blocks.2.attn.proj.weight", "[12, 12]", "[6, 24]"]);
    for (value, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let path = changed(&folder, "c", dense(), |tensors| {
            blob(tensors, "norm.weight").bytes[8..12].copy_from_slice(&value.to_le_bytes());
        })?;
        refused(&path, &plain, &["norm.weight", "finite", word, "element 2"]);
    }
    let path = changed(&folder, "d", dense(), |tensors| blob(tensors, "head.bias").dtype = BlobType::I32)?;
    refused(&path, &plain, &["head.bias", "float", "I32"]);
    // Without metadata the shapes must make sense by themselves.
    let path = folder.path("e.pth");
    Model::init(dense(), 1)?.save_pth(&path)?;
    refused(&path, &plain, &["blocks.0.attn.qkv.weight", "3 x 64", "36 rows"]);
    refused(&path, &with_heads_of(0), &["blocks.0.attn.qkv.weight"]);
    refused(&path, &with_heads_of(usize::MAX), &["blocks.0.attn.qkv.weight"]);
    let far = vec![("blocks.4000000000.norm1.weight".to_string(), Blob::from_f32([1], &[0.0])?)];
    pth::write(&path, &far, None)?;
    refused(&path, &plain, &["blocks.4000000000.norm1.weight"]);
    pth::write(&path, &[], Some("model"))?;
    refused(&path, &plain, &["patch_embed.proj.weight", "no such key"]);
    Ok(())
}

#[test]
fn metadata_that_lies_is_refused_before_memory_is_taken() -> Result<()> {
    let folder = Folder::new();
    let path = folder.path("model");
    let with_hidden = |mut arch: Architecture, hidden| {
        arch.blocks.iter_mut().for_each(|block| block.hidden = hidden);
        arch
    };
    let huge = with_hidden(Architecture::deit(120, 1, 1 << 20, 12, 64).with_classes(5), 1 << 20);
    let huge = Architecture { blocks: huge.blocks[..3].to_vec(), ..huge };
    let deep = Architecture::deit(16, 4, 12, 10_000, 3).with_classes(5);
    let nonsense = Architecture { patch_size: 0, ..dense() };
    let json = |arch: &Architecture| serde_json::to_string(arch).unwrap_or_else(|error| panic!("{error}"));
    let cases = [
        (file::ARCHITECTURE, json(&huge), "[1, 1, 1048576]"),
        (
            file::ARCHITECTURE,
            json(&Architecture { img_size: 1 << 20, patch_size: 1, ..dense() }),
            "at most 16384 tokens",
        ),
        (file::ARCHITECTURE, json(&deep), "10000 blocks"),
        (file::ARCHITECTURE, json(&nonsense), "patch_size"),
        (file::ARCHITECTURE, json(&with_hidden(dense(), 47)), "blocks.0.mlp.fc1.weight"),
        (file::ARCHITECTURE, json(&Architecture { img_size: 24, ..dense() }), "pos_embed"),
        (file::ARCHITECTURE, "{\"family\":\"deit\"}".into(), "an architecture"),
        (file::ARCHITECTURE, "[".repeat(10_000), "an architecture"),
        (file::FORMAT_VERSION, "2".into(), file::FORMAT_VERSION),
    ];
    for (key, value, expected) in cases {
        Model::init(dense(), 1)?.save(&path, "dense")?;
        let mut checkpoint = io::read(&path)?;
        for (name, text) in &mut checkpoint.metadata {
            if name == key {
                *text = value.clone();
            }
        }
        safetensors::write(&path, &checkpoint.tensors, &checkpoint.metadata)?;
        refused(&path, &LoadOptions::default(), &[expected]);
    }
    Ok(())
}

#[test]
fn cut_files_are_errors_at_every_length() -> Result<()> {
    let folder = Folder::new();
    for (name, is_pth) in [("model", false), ("model.pth", true)] {
        let path = folder.path(name);
        let model = Model::init(dense(), 1)?;
        if is_pth {
            model.save_pth(&path)?
        } else {
            model.save(&path, "dense")?
        }
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        for length in [0, 1, 7, 8, 9, 100, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).map_err(Error::io("write", &path))?;
            let error = refused(&path, &with_heads_of(4), &[]);
            assert!(matches!(error, Error::File { .. }), "{length}: {error}");
        }
        std::fs::write(&path, b"not a model at all").map_err(Error::io("write", &path))?;
        let error = refused(&path, &LoadOptions::default(), &[]);
        assert!(matches!(error, Error::File { problem: FileProblem::UnknownFormat, .. }), "{error}");
    }
    assert!(matches!(refused(&folder.path("absent"), &LoadOptions::default(), &[]), Error::Io { .. }));
    Ok(())
}

#[test]
fn a_write_that_fails_leaves_the_old_file() -> Result<()> {
    let folder = Folder::new();
    let (old, new) = (Model::init(dense(), 1)?, Model::init(compact(), 2)?);
    let path = folder.path("model");
    old.save(&path, "dense")?;
    let before = std::fs::read(&path).map_err(Error::io("read", &path))?;
    assert!(matches!(new.save(folder.path("no/such/folder"), "dense"), Err(Error::Io { action: "write", .. })));
    assert!(matches!(new.save_pth(folder.path("model/inside")), Err(Error::Io { action: "write", .. })));
    // A folder in the place of the file cannot be replaced; its contents stay.
    let taken = folder.path("taken");
    std::fs::create_dir_all(taken.join("full")).map_err(Error::io("create", &taken))?;
    assert!(new.save(&taken, "dense").is_err() && new.save_pth(&taken).is_err() && taken.join("full").is_dir());
    assert_eq!(std::fs::read(&path).ok(), Some(before));
    assert_eq!(std::fs::read_dir(folder.0.path()).into_iter().flatten().count(), 2, "temporary files are left");
    read_only_folder(&new)
}

/// Not for the superuser, who may write anywhere.
#[cfg(unix)]
fn read_only_folder(model: &Model) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.path("model");
    model.save(&path, "dense")?;
    let before = std::fs::read(&path).ok();
    let set = |mode| std::fs::set_permissions(folder.0.path(), std::fs::Permissions::from_mode(mode));
    set(0o555).map_err(Error::io("write", &path))?;
    let superuser = std::fs::write(folder.path("probe"), b"").is_ok();
    let result = model.save(&path, "finetune");
    set(0o755).map_err(Error::io("write", &path))?;
    assert!(superuser || (result.is_err() && std::fs::read(&path).ok() == before));
    Ok(())
}

#[cfg(not(unix))]
fn read_only_folder(_: &Model) -> Result<()> {
    Ok(())
}
