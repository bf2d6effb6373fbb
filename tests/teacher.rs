//! RegNetY as a teacher: read from an official file, its BatchNorm folded, asked for the labels that a distilled DeiT learns.

use espalier::io::safetensors;
use espalier::models::{Architecture, LoadOptions, Model, regnet::WidthRule, zoo};
use espalier::noise::Philox;
use espalier::report::Show;
use espalier::train::job::{TrainJob, TrainOptions};
use espalier::train::recipe::Recipe;
use espalier::{DType, Device, Result, Tensor};
use std::path::{Path, PathBuf};

const CLASSES: usize = 10;
/// The class that the teacher sees in every image.
const FAVOURITE: usize = 3;

fn small_regnet(classes: usize) -> Architecture {
    let rule = WidthRule { w0: 16.0, wa: 8.0, wm: 2.0, group_width: 8, depth: 3, se_ratio: 0.25, stem_width: 8 };
    rule.architecture(32).with_classes(classes)
}

/// A RegNetY whose BatchNorms have seen images: statistics and scales are no longer 0 and 1.
fn teacher(classes: usize) -> Model {
    let mut model = Model::init(small_regnet(classes), 1).expect("teacher");
    let mut draws = Philox { seed: 2, step: 0 }.stream("statistics", 0);
    for (name, tensor) in model.params_mut().iter_mut() {
        let range = match name {
            _ if name.ends_with(".running_mean") || name.ends_with(".bn.bias") => -0.5..0.5,
            _ if name.ends_with(".running_var") || name.ends_with(".bn.weight") => 0.5..1.5,
            _ => continue,
        };
        tensor.slice_mut::<f32>().unwrap().iter_mut().for_each(|v| *v = draws.range(range.start, range.end));
    }
    let bias = model.params_mut().iter_mut().find(|(name, _)| *name == "head.fc.bias").expect("bias").1;
    bias.slice_mut::<f32>().unwrap()[FAVOURITE] = 20.0;
    model
}

fn student() -> Model {
    let arch = Architecture::deit(32, 8, 24, 2, 3).with_classes(CLASSES);
    Model::init(Architecture { distilled: true, ..arch }, 0).expect("student")
}

/// A distilled run of two steps on the generated images in `folder`, with the teacher of `weights`.
fn job(folder: &Path, weights: PathBuf) -> Result<TrainJob> {
    let recipe = "extends = \"deit_tiny_distilled\"\nunset = [\"model\", \"teacher\", \"rates.lr_batch\"]\nepochs = 2\nbatch_size = 8
accumulate = 1
repeated_augmentation = 1\nseed = 1\n[rates]\nlr = 1e-3\nwarmup_epochs = 0\ncosine_epochs = 2\n";
    let path = folder.join("recipe.toml");
    std::fs::write(&path, recipe).expect("write");
    let begin = folder.join("begin.safetensors");
    student().save(&begin, "dense")?;
    let options = TrainOptions {
        data: None,
        weights: Some(begin),
        teacher_weights: Some(weights),
        train_images: 8,
        test_images: 8,
        skip_broken: false,
        device: Device::Cpu,
        dtype: None,
    };
    TrainJob::open(Recipe::load(path.to_str().unwrap(), &[])?, options, &folder.join("run"), Show::Quiet)
}

#[test]
fn a_student_learns_the_labels_of_an_official_regnety() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("regnety.pth");
    teacher(CLASSES).save_pth(&weights).unwrap();
    let before = std::fs::read(&weights).unwrap();
    let job = job(folder.path(), weights.clone()).expect("job");
    let run = job.folder.path().to_path_buf();
    job.run().expect("run");
    assert!(std::fs::read(&weights).unwrap() == before, "the teacher's file was written");

    let trained = Model::load(run.join("model.safetensors"), &LoadOptions::default()).unwrap();
    let bias = |head: &str| trained.params().get(&format!("{head}.bias")).unwrap().to_f64s().unwrap();
    // From zeros, the only class that its gradient raises is the teacher's, whatever the images' labels are.
    for (class, bias) in bias("head_dist").into_iter().enumerate() {
        assert!(if class == FAVOURITE { bias > 0.0 } else { bias < 0.0 }, "head_dist.bias[{class}] = {bias}");
    }
    assert!(bias("head") != bias("head_dist"), "both heads learnt from the teacher");
    let log = std::fs::read_to_string(run.join("log.jsonl")).unwrap();
    assert!(log.lines().count() >= 2, "{log}");
}

#[test]
fn a_teacher_of_other_classes_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("regnety.pth");
    teacher(7).save_pth(&weights).unwrap();
    let message = job(folder.path(), weights).err().expect("7 classes").to_string();
    assert!(message.contains("classes of the teacher") && message.contains('7'), "{message}");
    assert!(!folder.path().join("run").exists());
}

#[test]
fn folding_changes_no_prediction_and_an_official_file_says_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (model, path) = (teacher(CLASSES), folder.path().join("regnety.pth"));
    let values: Vec<f32> = (0..2 * 3 * 32 * 32).map(|i| (i as f32 * 0.37).sin()).collect();
    let images = Tensor::from_slice([2, 3, 32, 32], &values).unwrap();
    let wanted = model.predict(&images).unwrap().to_f64s().unwrap();
    for model in [model.clone(), model.fold_batchnorm().unwrap()] {
        model.save_pth(&path).unwrap();
        let loaded = Model::load(&path, &LoadOptions { img_size: Some(32), ..LoadOptions::default() }).unwrap();
        assert_eq!(loaded.arch(), model.arch());
        for (got, want) in loaded.predict(&images).unwrap().to_f64s().unwrap().into_iter().zip(&wanted) {
            assert!((got - want).abs() <= 2e-5 * want.abs().max(1.0), "{got} {want}");
        }
    }
    // Without a size the images are ImageNet's.
    assert_eq!(Model::load(&path, &LoadOptions::default()).unwrap().arch().img_size, 224);
}

#[test]
fn published_convolutional_models_are_known_by_their_keys_and_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    // Zeros under the model's keys, in a file without an architecture.
    let load = |arch: &Architecture, img_size| {
        let tensors = Model::layout(arch).slots.into_iter().map(|slot| {
            let zeros = Tensor::zeros(slot.shape.as_slice(), DType::F32);
            (slot.name, espalier::models::file::to_blob(&zeros).unwrap())
        });
        safetensors::write(&path, &tensors.collect::<Vec<_>>(), &[]).unwrap();
        Model::load(&path, &LoadOptions { img_size, ..LoadOptions::default() }).map(|model| model.arch().clone())
    };
    for name in ["lvvit_t", "sit_lvvit_t", "regnety_160"] {
        let arch = zoo::find(name).unwrap().architecture;
        assert_eq!(load(&arch, None).expect(name), arch, "{name}");
    }
    let arch = zoo::find("lvvit_t").unwrap().architecture.with_classes(10);
    assert_eq!(load(&arch, Some(240)).unwrap(), arch.clone().with_img_size(240));
    // Nobody knows by what the branches of another one are divided.
    let unknown = Architecture { blocks: arch.blocks[..5].to_vec(), ..arch.clone() };
    let message = load(&unknown, None).expect_err("5 blocks").to_string();
    assert!(message.contains("a published LV-ViT") && message.contains("5 blocks"), "{message}");
}
