//! What a model was trained on goes where the model goes: from a run into files, through `classify`, and through pruning.

use espalier::data::{augment::Augment, folder::imagenet_classes};
use espalier::io::{self, safetensors};
use espalier::models::{Architecture, LoadOptions, Model, Trained, file, zoo};
use espalier::nn::Precision;
use espalier::prune::{apply, plan::Plan, plan::every_unit};
use espalier::{Device, Error};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const NAMES: [&str; 4] = ["ash tree", "beech", "cedar", "oak\nleaf"];
const RECIPE: &str =
    "epochs = 1\nbatch_size = 4\nema_decay = 0.9\n[augment]\nmean = [0.7, 0.4, 0.2]\nstd = [0.2, 0.5, 0.9]
crop_pct = 0.6\n";

fn trained(names: &[&str]) -> Trained {
    let class_names = names.iter().map(|name| name.to_string()).collect();
    Trained { class_names, mean: [0.7, 0.4, 0.2], std: [0.2, 0.5, 0.9], crop_pct: 0.6 }
}

/// A model of seven classes whose names are known.
fn seven() -> Model {
    let arch = Architecture::deit(40, 8, 24, 2, 3).with_classes(7);
    Model::init(arch, 0).unwrap().with_trained(Some(trained(&["a", "b", "c", "d", "e", "f", "g"]))).unwrap()
}

/// `espalier` in `folder`.
fn espalier(folder: &Path, args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_espalier"));
    program.current_dir(folder).env("XDG_CACHE_HOME", folder.join("cache")).args(args).output().unwrap()
}

/// Its standard output and error.
fn done(folder: &Path, args: &[&str]) -> (String, String) {
    let output = espalier(folder, args);
    let [text, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{args:?}: {errors}");
    (text, errors)
}

fn load(path: PathBuf) -> Model {
    Model::load(&path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// `images/CLASS/K.png`, four for each of [`NAMES`], larger than the model's, with a gradient that a crop shows.
fn images(folder: &Path) {
    for (class, name) in NAMES.iter().enumerate() {
        std::fs::create_dir_all(folder.join("images").join(name)).unwrap();
        for k in 0..4 {
            let path = folder.join("images").join(name).join(format!("{k}.png"));
            let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), 60, 50);
            encoder.set_color(png::ColorType::Rgb);
            let pixels: Vec<u8> =
                (0..60 * 50 * 3).map(|i| (i / 60 + i % 3 * (40 + 15 * class) + 9 * k) as u8).collect();
            encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        }
    }
}

/// A run on [`images`] by [`RECIPE`], from a model of other classes; `folder/run`.
fn train(folder: &Path) {
    images(folder);
    seven().save(folder.join("begin.safetensors"), "dense").unwrap();
    std::fs::write(folder.join("recipe.toml"), RECIPE).unwrap();
    done(
        folder,
        &["train", "recipe.toml", "--quiet", "--data", "images", "--weights", "begin.safetensors", "--out", "run"],
    );
}

/// `(name, probability)` of each class of the first image of the last class, by the model of `weights`.
fn classified(folder: &Path, weights: &str, options: &[&str]) -> Vec<(String, f64)> {
    let image = format!("images/{}/0.png", NAMES[3]);
    let (text, _) =
        done(folder, &[&["classify", "--json", "--top", "4", "--weights", weights, &image], options].concat());
    let row: Value = serde_json::from_str(&text).unwrap();
    let mut classes: Vec<&Value> = row["top4"].as_array().unwrap().iter().collect();
    classes.sort_by_key(|class| class["index"].as_u64());
    let pair = |class: &Value| (class["name"].as_str().unwrap().to_string(), class["probability"].as_f64().unwrap());
    classes.into_iter().map(pair).collect()
}

#[test]
fn a_run_s_files_bring_names_and_preprocessing_to_classify() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    train(folder);
    for name in ["model", "best", "average"] {
        let model = load(folder.join(format!("run/{name}.safetensors")));
        assert_eq!(model.trained(), Some(&trained(&NAMES)), "{name}");
    }
    // The same weights in a file that does not say.
    let mut checkpoint = io::read(folder.join("run/model.safetensors")).unwrap();
    checkpoint.metadata.retain(|(key, _)| key != file::TRAINED);
    safetensors::write(folder.join("plain.safetensors"), &checkpoint.tensors, &checkpoint.metadata).unwrap();
    let values = ["--mean", "0.7,0.4,0.2", "--std", "0.2,0.5,0.9", "--crop-pct", "0.6"];
    let usual = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--crop-pct", "0.875"];
    let split = |classes: Vec<(String, f64)>| classes.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    let own = |options: &[&str]| split(classified(folder, "run/model.safetensors", options));
    let plain = |options: &[&str]| split(classified(folder, "plain.safetensors", options));
    assert_eq!(own(&[]).0, NAMES);
    assert_eq!(plain(&[]).0, ["class 0", "class 1", "class 2", "class 3"]);
    assert_eq!(own(&[]).1, plain(&values).1);
    assert_eq!(own(&usual).1, plain(&[]).1);
    for one in [&values[..2], &values[2..4], &values[4..]] {
        assert_ne!(plain(one).1, plain(&values).1, "{one:?}");
        assert_eq!(own(one).1, own(&[]).1, "{one:?}");
    }
    let (text, _) = done(folder, &["classify", "--weights", "run/model.safetensors", "images/beech/1.png"]);
    assert!(text.lines().count() == 1 && text.contains("oak leaf ") && text.contains("ash tree "), "{text}");

    // Gone on with, a run has the same.
    std::fs::remove_file(folder.join("run/model.safetensors")).unwrap();
    std::fs::remove_file(folder.join("begin.safetensors")).unwrap();
    done(folder, &["train", "--quiet", "--resume", "run"]);
    assert_eq!(load(folder.join("run/model.safetensors")).trained(), Some(&trained(&NAMES)));
}

/// The transforms of generated images are no recipe's.
#[test]
fn a_run_on_generated_images_says_how_those_come() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    std::fs::write(folder.join("recipe.toml"), RECIPE).unwrap();
    seven().save(folder.join("begin.safetensors"), "dense").unwrap();
    let few = ["--train-images", "8", "--test-images", "4", "--weights", "begin.safetensors", "--out", "run"];
    done(folder, &[&["train", "recipe.toml", "--quiet"], &few[..]].concat());
    let model = load(folder.join("run/model.safetensors"));
    let found = model.trained().unwrap();
    assert_eq!((found.augment(), found.class_names.len()), (Augment::default(), 10));
    assert!(found.class_names.contains(&"stripes_45".to_string()), "{found:?}");
}

#[test]
fn pruned_models_keep_what_the_dense_one_was_trained_on() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    train(folder);
    let tiny = ["--target-flops", "0.6", "--finetune-epochs", "0", "--score-batches", "2", "--rounds", "1", "--quiet"];
    let given = ["prune", "savit", "--weights", "run/model.safetensors", "--data", "images"];
    let (_, errors) = done(folder, &[&given[..], &tiny, &["--out", "cut"]].concat());
    assert!(!errors.contains("warning: class"), "{errors}");
    for name in ["dense", "savit", "random"] {
        let model = load(folder.join(format!("cut/{name}.safetensors")));
        assert_eq!(model.trained(), Some(&trained(&NAMES)), "{name}");
    }
    // It saw the images as the run did.
    let records = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap() };
    let [pruned, run] = [records("cut/report.json"), records("run/result.json")];
    assert_eq!((&pruned[0]["name"], &run[0]["weights"]), (&json!("dense"), &json!("last")));
    assert_eq!(pruned[0]["accuracy"], run[0]["accuracy"]);

    std::fs::rename(folder.join("images/beech"), folder.join("images/birch")).unwrap();
    let (_, errors) = done(folder, &[&given[..], &tiny, &["--out", "other"]].concat());
    assert!(errors.contains("warning: class 1 is \"birch\" in the data, \"beech\" in the model"), "{errors}");
}

#[test]
fn what_makes_a_model_of_a_model_keeps_it() {
    let temporary = tempfile::tempdir().unwrap();
    let (first, second) = (temporary.path().join("first"), temporary.path().join("second"));
    let model = seven();
    let moved = model.to_device(Device::Cpu).unwrap().with_precision(Precision::F32);
    let plan = Plan::keeping("test", model.arch(), every_unit(model.arch())).unwrap();
    assert_eq!((moved.trained(), apply(&model, &plan).unwrap().trained()), (model.trained(), model.trained()));
    let arch = zoo::find("lvvit_t").unwrap().architecture.with_img_size(32).with_classes(4);
    let normed = Model::init(arch, 0).unwrap().with_trained(Some(trained(&NAMES))).unwrap();
    let folded = normed.fold_batchnorm().unwrap();
    assert!(folded.arch().folded && folded.trained() == Some(&trained(&NAMES)));

    model.save(&first, "dense").unwrap();
    let loaded = load(first.clone());
    assert_eq!(loaded.trained(), model.trained());
    loaded.save(&second, "dense").unwrap();
    assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap());
    // A head for other classes knows no names; one for as many stays.
    let given = |classes| LoadOptions {
        arch: Some(model.arch().clone().with_classes(classes)),
        new_head: true,
        ..LoadOptions::default()
    };
    assert_eq!(Model::load(&first, &given(5)).unwrap().trained(), None);
    assert_eq!(Model::load(&first, &given(7)).unwrap().trained(), model.trained());
    // Without it, nothing is written.
    model.clone().with_trained(None).unwrap().save(&second, "dense").unwrap();
    assert!(io::read(&second).unwrap().metadata.iter().all(|(key, _)| key != file::TRAINED));
    assert!(model.clone().with_trained(Some(trained(&NAMES))).is_err());
    for wrong in [f32::NAN, f32::INFINITY] {
        let own = model.trained().unwrap().clone();
        let message =
            model.clone().with_trained(Some(Trained { mean: [0.5, wrong, 0.5], ..own })).unwrap_err().to_string();
        assert!(message.contains("mean, std") && message.contains("finite"), "{message}");
    }
}

#[test]
fn damaged_metadata_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("model.safetensors");
    let arch = Architecture::deit(16, 4, 12, 1, 3).with_classes(4);
    Model::init(arch, 0).unwrap().with_trained(Some(trained(&NAMES))).unwrap().save(&path, "dense").unwrap();
    let whole = io::read(&path).unwrap();
    let good = json!(trained(&NAMES));
    let with = |key: &str, value: Value| {
        let mut object = good.clone();
        object[key] = value;
        object.to_string()
    };
    let cases = [
        (with("class_names", json!(["a", "b", "c"])), "4 names"),
        (with("class_names", json!(["a", "b", "c", "d", "e"])), "4 names"),
        (with("class_names", json!(["a", "b", "", "d"])), "class_names[2]"),
        (with("class_names", json!(["a", "b", "c", "d".repeat(1025)])), "class_names[3]"),
        (with("class_names", json!([1, 2, 3, 4])), "string"),
        (with("mean", json!([0.5, 1e39, 0.5])), "out of range"),
        (with("mean", json!([0.5, 0.5])), "length 2"),
        (with("mean", json!([0.5, null, 0.5])), "null"),
        (with("std", json!([0.5, 0.0, 0.5])), "std"),
        (with("std", json!([0.5, -1.0, 0.5])), "std"),
        (with("crop_pct", json!(0.0)), "crop_pct"),
        (with("crop_pct", json!(1.5)), "crop_pct"),
        (with("more", json!(1)), "more"),
        ("{}".into(), "class_names"),
        ("[".repeat(100_000), "invalid type"),
        (String::new(), "EOF"),
    ];
    for (text, expected) in cases {
        let mut metadata = whole.metadata.clone();
        metadata.iter_mut().filter(|(key, _)| key == file::TRAINED).for_each(|(_, value)| *value = text.clone());
        assert_ne!(metadata, whole.metadata);
        safetensors::write(&path, &whole.tensors, &metadata).unwrap();
        let error = Model::load(&path, &LoadOptions::default()).expect_err(expected);
        let message = error.to_string();
        assert!(matches!(error, Error::Key { .. }), "{message}");
        for part in [expected, file::TRAINED, &path.display().to_string()] {
            assert!(message.contains(part), "no {part} in {message}");
        }
    }
}

/// A model of 1000 classes has ImageNet's names unless its file gives others.
#[test]
fn a_thousand_names_of_the_file_come_before_imagenet_s() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    images(folder);
    let model = Model::init(Architecture::deit(40, 8, 24, 1, 3), 0).unwrap();
    model.save(folder.join("plain.safetensors"), "dense").unwrap();
    let class_names = (0..1000).map(|k| format!("own {k}")).collect();
    let own = model.with_trained(Some(Trained { class_names, ..trained(&[]) })).unwrap();
    own.save(folder.join("own.safetensors"), "dense").unwrap();
    let names = imagenet_classes();
    let plain = classified(folder, "plain.safetensors", &[]);
    assert!(plain.iter().all(|(name, _)| names.iter().any(|(_, _, known)| known == name)), "{plain:?}");
    let own = classified(folder, "own.safetensors", &[]);
    assert!(own.iter().all(|(name, _)| name.starts_with("own ")), "{own:?}");
}
