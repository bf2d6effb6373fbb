//! Everything that reads what somebody else wrote, as functions of bytes. None may panic; what they return is whether the bytes
//! were taken, and why not.

use espalier::data::augment::Augment;
use espalier::data::cifar::CifarDataset;
use espalier::data::dataset::Dataset;
use espalier::data::erasing::Erasing;
use espalier::data::generated::{GeneratedDataset, Split};
use espalier::data::image;
use espalier::data::loader::{Loader, LoaderOptions};
use espalier::io::{self, Checkpoint};
use espalier::models::timetable::Table;
use espalier::models::{Architecture, LoadOptions, Model, cost, file};
use espalier::noise::Philox;
use espalier::prune::plan::Plan;
use espalier::prune::savit::{scores::Calibration, search};
use espalier::report::{Show, read_log, run::curves_svg};
use espalier::train::{TrainConfig, Trainer, recipe::Recipe};
use espalier::{Device, Error, Result};
use std::{fs, hint::black_box, path::Path, sync::Arc, sync::LazyLock};

pub type Reader = fn(&Path, &[u8]) -> Result<()>;

/// Every reader by its name; the folder it is given is its own.
pub const READERS: [(&str, Reader); 11] = [
    ("checkpoint", checkpoint),
    ("loaded", loaded),
    ("training", training),
    ("image", picture),
    ("recipe", recipe),
    ("architecture", architecture),
    ("plan", plan),
    ("calibration", calibration),
    ("journal", journal),
    ("cifar", cifar),
    ("latency", latency),
];

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<std::path::PathBuf> {
    let path = folder.join(name);
    fs::write(&path, bytes).map_err(Error::io("write", &path)).map(|()| path)
}

/// What a loader may be asked for beside the file; which of it, the bytes say.
fn options(bytes: &[u8]) -> LoadOptions {
    let draw = crc32fast::hash(bytes);
    let bit = |at: u32| draw >> at & 1 == 1;
    LoadOptions {
        img_size: (draw & 3 == 0).then_some(24),
        head_dim: bit(2).then_some(4),
        new_head: bit(3),
        drop_distillation: bit(4),
        ..LoadOptions::default()
    }
}

/// A checkpoint in memory, and the model that it may hold.
pub fn checkpoint(_: &Path, bytes: &[u8]) -> Result<()> {
    let checkpoint = io::parse(Path::new("checkpoint"), bytes)?;
    checkpoint.tensors.iter().try_for_each(|(_, blob)| blob.check())?;
    Model::from_checkpoint(checkpoint, &options(bytes)).map(drop)
}

/// The same from a file, as every command loads a model.
pub fn loaded(folder: &Path, bytes: &[u8]) -> Result<()> {
    Model::load(write(folder, "model", bytes)?, &options(bytes)).map(drop)
}

/// The model of the checkpoints of training, and their settings.
pub fn trained() -> (Model, TrainConfig) {
    let arch = Architecture::deit(16, 8, 6, 1, 2).with_classes(10);
    let config = TrainConfig { ema_decay: Some(0.9), checkpoint_every: 1, ..TrainConfig::short("test", 1, 8, 1e-3) };
    (Model::init(arch, 0).expect("a model"), config)
}

/// A checkpoint of training, gone on with.
pub fn training(folder: &Path, bytes: &[u8]) -> Result<()> {
    let (mut model, config) = trained();
    let trainer = Trainer::new(&mut model, config, None, Show::Quiet)?;
    trainer.resuming(write(folder, "training", bytes)?)?.run(&images()?, None, None).map(drop)
}

/// What [`training`] trains on.
pub fn images() -> Result<Loader> {
    let data = GeneratedDataset::new(Split::Train, 16, 16, 0)?;
    Loader::new(Arc::new(data), LoaderOptions { workers: 0, ..LoaderOptions::train(8, 0) })
}

/// An image, and what training and evaluation make of it.
pub fn picture(_: &Path, bytes: &[u8]) -> Result<()> {
    let image = image::decode_bytes(bytes, "image")?;
    let rand_augment = Some("rand-m9-mstd0.5-inc1".parse()?);
    let augment = Augment { rand_augment, erasing: Some(Erasing::default()), ..Augment::default() };
    let noise = Philox { seed: 1, step: 2 };
    for transform in [augment.train(32), augment.train(48), augment.eval(48)] {
        transform.apply(&image, &noise, 3)?;
    }
    Ok(())
}

/// A recipe, and what a run asks it.
pub fn recipe(folder: &Path, bytes: &[u8]) -> Result<()> {
    let file = write(folder, "recipe.toml", bytes)?;
    let recipe = Recipe::load(&file.display().to_string(), &["epochs=2".into()])?;
    recipe.config(10)?.validate()?;
    recipe.architecture().and_then(|_| recipe.to_toml()).map(drop)
}

/// The tensors that [`architecture`] reads beside.
static TENSORS: LazyLock<Checkpoint> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    trained().0.save(&path, "dense").and_then(|()| io::read(&path)).expect("a model")
});

/// An architecture as our files carry it, what it costs, and its model of the tensors of another.
pub fn architecture(_: &Path, bytes: &[u8]) -> Result<()> {
    let metadata = vec![(file::ARCHITECTURE.to_string(), String::from_utf8_lossy(bytes).into_owned())];
    let model = Model::from_checkpoint(Checkpoint { metadata, ..TENSORS.clone() }, &options(bytes));
    let arch = serde_json::from_slice::<Architecture>(bytes);
    let arch = arch.map_err(|error| Error::invalid("architecture", "JSON", error))?;
    arch.validate()?;
    cost::layers(&arch);
    cost::macs(&arch);
    // Other tensors are no fault of it.
    model.map(drop).or_else(|error| if matches!(error, Error::Key { .. }) { Ok(()) } else { Err(error) })
}

/// A plan, and the model that it leaves.
pub fn plan(_: &Path, bytes: &[u8]) -> Result<()> {
    let plan = Plan::from_json(&String::from_utf8_lossy(bytes))?;
    plan.apply_to(&plan.source)?;
    plan.to_json().map(drop)
}

/// A calibration, and the search that reads it.
pub fn calibration(_: &Path, bytes: &[u8]) -> Result<()> {
    let calibration = Calibration::from_json(&String::from_utf8_lossy(bytes))?;
    search::plan(&calibration, &search::Options::keeping(0.5))?;
    calibration.to_json().map(drop)
}

/// The journal of a run, and its curves.
pub fn journal(folder: &Path, bytes: &[u8]) -> Result<()> {
    read_log(write(folder, "log.jsonl", bytes)?).map(|records| drop(curves_svg(&records)))
}

/// CIFAR's images, or the names of its classes.
pub fn cifar(folder: &Path, bytes: &[u8]) -> Result<()> {
    let text = bytes.len() < 200;
    let names = "airplane automobile bird cat deer dog frog horse ship truck".replace(' ', "\n");
    write(folder, "batches.meta.txt", if text { bytes } else { names.as_bytes() })?;
    write(folder, "test_batch.bin", if text { &[1; 3073] } else { bytes })?;
    let images = CifarDataset::open(folder, Split::Test, Augment::default().eval(32), 0)?;
    images.describe();
    images.sample(images.len() - 1, 0).map(drop)
}

/// The latency table of a device; a damaged one counts as none.
pub fn latency(folder: &Path, bytes: &[u8]) -> Result<()> {
    let table = Table::at(Device::Cpu, &write(folder, "latency.json", bytes)?, Show::Quiet)?;
    Error::ensure(!table.is_empty(), "latency table", "points", "none")
}

/// Readers that do their worst with input 1, to see whether it is noticed.
pub const BAD_READERS: [(&str, Reader); 7] = [
    ("panics", |_, bytes| act(bytes, |bad| assert!(!bad))),
    ("hides_a_panic", |_, bytes| act(bytes, |bad| drop(std::panic::catch_unwind(|| assert!(!bad))))),
    ("hangs", |_, bytes| act(bytes, |bad| while black_box(bad) {})),
    ("hoards", |_, bytes| act(bytes, |bad| drop(black_box(vec![1u8; usize::from(bad) << 27])))),
    ("asks_for_all", |_, bytes| act(bytes, |bad| drop(black_box(Vec::<u8>::with_capacity(usize::from(bad) << 40))))),
    ("overflows", |_, bytes| act(bytes, |bad| assert!(deeper(u64::from(bad)) == 0))),
    ("aborts", |_, bytes| {
        act(bytes, |bad| {
            if bad {
                std::process::abort()
            }
        })
    }),
];

fn act(bytes: &[u8], act: impl FnOnce(bool)) -> Result<()> {
    act(bytes[0] == 1);
    Ok(())
}

/// Of 1 an endless recursion.
fn deeper(depth: u64) -> u64 {
    if depth == 0 { 0 } else { black_box(deeper(black_box(depth + 1)) + depth) }
}
