//! The whole files that damaged ones are made of, by reader, and how many are made.

use super::mutate::{self, Random};
use super::readers::{self, BAD_READERS, READERS, Reader};
use espalier::io::{self, BlobType, safetensors};
use espalier::models::regnet::WidthRule;
use espalier::models::{Architecture, Model, Stem, Trained};
use espalier::prune::plan::{Plan, every_unit};
use espalier::prune::savit::Calibration;
use espalier::report::Show;
use espalier::train::{Trainer, recipe::RECIPES};
use std::{fs, path::Path};

/// A reader, its whole files, and how many damaged ones it gets.
pub struct Kind {
    pub name: &'static str,
    pub read: Reader,
    pub count: u64,
    whole: Vec<Vec<u8>>,
}

impl Kind {
    pub fn named(name: &str) -> Option<Self> {
        if let Some((name, read)) = BAD_READERS.into_iter().find(|(known, _)| *known == name) {
            return Some(Self { name, read, count: 4, whole: Vec::new() });
        }
        let (name, read) = READERS.into_iter().find(|(known, _)| *known == name)?;
        let (count, whole) = match name {
            "checkpoint" => (300_000, checkpoints()),
            "loaded" => (30_000, checkpoints()),
            "training" => (2_000, vec![training()]),
            "image" => (60_000, images()),
            "recipe" => (10_000, recipes()),
            "architecture" => (5_000, texts(families().iter().chain([readers::trained().0.arch()]).map(json))),
            "plan" => (5_000, plans()),
            "calibration" => (3_000, vec![calibration()]),
            "journal" => (3_000, vec![JOURNAL.as_bytes().repeat(5)]),
            "cifar" => (3_000, cifar()),
            _ => (3_000, vec![latency().into_bytes()]),
        };
        Some(Self { name, read, count, whole })
    }

    /// The file that `seed` stands for; without whole files its own bytes.
    pub fn damaged(&self, seed: u64) -> Vec<u8> {
        if self.whole.is_empty() {
            return seed.to_le_bytes().into();
        }
        let mut random = Random(seed ^ u64::from(crc32fast::hash(self.name.as_bytes())) << 32);
        let mut bytes = self.whole[random.below(self.whole.len())].clone();
        mutate::mutate(&mut bytes, &mut random);
        bytes
    }
}

fn texts(texts: impl Iterator<Item = String>) -> Vec<Vec<u8>> {
    texts.map(String::into_bytes).collect()
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("JSON")
}

/// Files of a folder of the repository with one of the endings, but for the largest, in order.
fn files(folder: &str, endings: &[&str]) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> = fs::read_dir(folder).expect("files").map(|entry| entry.expect("a file").path()).collect();
    paths.retain(|path| endings.iter().any(|ending| path.extension().is_some_and(|found| found == *ending)));
    paths.sort();
    let files = paths.iter().map(|path| fs::read(path).expect("a file"));
    files.filter(|bytes| bytes.len() < 100_000).collect()
}

/// A small model of every family.
fn families() -> Vec<Architecture> {
    let rule = WidthRule { w0: 8.0, wa: 8.0, wm: 2.0, group_width: 4, depth: 3, se_ratio: 0.25, stem_width: 4 };
    let deit = Architecture::deit(8, 4, 8, 2, 2);
    let dense = Architecture::lvvit(32, Stem::TokenLabel { filters: 3 }, 6, 2, 2, 2.0);
    let all = [
        Architecture { distilled: true, ..deit.clone() },
        deit,
        Architecture::swin(16, 2, 4, &[2, 1], &[1, 2], 4),
        Architecture::lvvit(32, Stem::Conv4, 8, 2, 2, 2.0),
        Architecture { dense_head: true, ..dense },
        rule.architecture(32),
        Architecture::pit(14, [4, 2], 2, &[1, 2, 1], &[2, 4, 8]),
    ];
    all.map(|arch| arch.with_classes(5)).into()
}

/// Files of PyTorch and safetensors, good and bad, and a model of every family in both formats and in 16 bits.
fn checkpoints() -> Vec<Vec<u8>> {
    let mut all = files("tests/golden/base_models/pth", &["pth", "safetensors"]);
    let folder = tempfile::tempdir().expect("a folder");
    let (path, half) = (folder.path().join("model"), folder.path().join("half"));
    for arch in families() {
        let names: Vec<String> = (0..5).map(|class| format!("class {class}")).collect();
        let trained = Trained::new(&names, &Default::default());
        let model = Model::init(arch, 1).and_then(|model| model.with_trained(Some(trained))).expect("a model");
        model.save(&path, "dense").expect("saved");
        all.push(fs::read(&path).expect("a file"));
        let mut checkpoint = io::read(&path).expect("a checkpoint");
        for (_, blob) in checkpoint.tensors.iter_mut().filter(|(_, blob)| blob.dtype.is_float()) {
            *blob = blob.to_float(BlobType::BF16).expect("floats");
        }
        safetensors::write(&half, &checkpoint.tensors, &checkpoint.metadata).expect("written");
        all.push(fs::read(&half).expect("a file"));
        model.save_pth(&path).expect("saved");
        all.push(fs::read(&path).expect("a file"));
    }
    all
}

/// The checkpoint of a run that is over.
fn training() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, (mut model, config)) = (folder.path().join("checkpoint"), readers::trained());
    let trainer = Trainer::new(&mut model, config, None, Show::Quiet).and_then(|new| new.resuming(path.clone()));
    trainer.expect("a trainer").run(&readers::images().expect("images"), None, None).expect("a run");
    fs::read(path).expect("a checkpoint")
}

fn images() -> Vec<Vec<u8>> {
    use png::{BitDepth::*, ColorType::*};
    let mut all = files("tests/images", &["jpg", "png"]);
    for (color, depth, bits) in
        [(Rgb, Sixteen, 48), (Rgba, Eight, 32), (GrayscaleAlpha, Sixteen, 32), (Grayscale, One, 1), (Indexed, Four, 4)]
    {
        let (mut bytes, side) = (Vec::new(), 40usize);
        let mut encoder = png::Encoder::new(&mut bytes, side as u32, side as u32);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == Indexed {
            encoder.set_palette((0..48).collect::<Vec<u8>>());
            encoder.set_trns((0..16).collect::<Vec<u8>>());
        }
        encoder.add_ztxt_chunk("key".into(), "text ".repeat(100)).expect("text");
        let data: Vec<u8> = (0..side * (side * bits).div_ceil(8)).map(|at| (at * at % 251) as u8).collect();
        encoder.write_header().and_then(|mut writer| writer.write_image_data(&data)).expect("an image");
        all.push(bytes);
    }
    all
}

fn recipes() -> Vec<Vec<u8>> {
    let own = "extends = \"deit_tiny_cifar10\"\nunset = [\"model\", \"img_size\"]\nepochs = 4\nbatch_size = 8
accumulate = 2\nclip_norm = 1.0\n[rates]\nlr = 1e-3\nlr_batch = 512\n[augment]\nrand_augment = \"rand-m9-mstd0.5-inc1\"
[augment.erasing]\ncount = 2\n[mixup]\nmixup = 0.8\n[distillation]\nkind = \"hard\"\ntau = 1.0\n";
    texts(RECIPES.iter().map(|(_, text)| text.to_string()).chain([own.to_string()]))
}

fn plans() -> Vec<Vec<u8>> {
    let source = Architecture::deit(16, 4, 12, 3, 3).with_classes(5);
    let mut kept = every_unit(&source);
    kept.heads[0].pop();
    kept.hidden[1].drain(3..9);
    kept.embed.remove(2);
    let plan = Plan::keeping("savit", &source, kept).expect("a plan");
    texts([plan.to_json().expect("JSON"), json(&plan)].into_iter())
}

fn calibration() -> Vec<u8> {
    let model = Architecture::deit(16, 4, 12, 2, 3).with_classes(5);
    let scores = every_unit(&model).map(|_, units| units.iter().map(|&unit| 1.0 + unit as f64 * 0.37).collect());
    let hessian = [[0.9, 0.2, 0.3], [0.2, 0.8, 0.1], [0.3, 0.1, 0.7]];
    Calibration { model, weights: Some(7), scores, hessian }.to_json().expect("JSON").into_bytes()
}

const JOURNAL: &str = "{\"stage\":\"train\",\"epoch\":1,\"step\":3,\"loss\":2.25,\"lr\":0.001}
{\"stage\":\"train\",\"epoch\":1,\"top1\":43.5,\"loss\":null,\"nested\":{\"loss\":[1,2,{}]}}\n";

fn cifar() -> Vec<Vec<u8>> {
    let records: Vec<u8> = (0..3 * 3073u32).map(|at| if at % 3073 == 0 { 7 } else { (at * 31 % 256) as u8 }).collect();
    vec![records, b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n".to_vec()]
}

/// The table of the processor for one thread, which the reading processes have.
fn latency() -> String {
    let points = "\"ends\":0.25,\"64 3 256\":1.5e-1,\"x\":3";
    format!("{{\"version\":1,\"device\":\"{} with 1 threads\",\"milliseconds\":{{{points}}}}}", espalier::cpu::name())
}
