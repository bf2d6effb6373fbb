//! Runs that are stopped and gone on with, steps of several batches, blocks that are computed again: the same bits, or the
//! same up to rounding where sums are cut differently.

use espalier::data::generated::{GeneratedDataset, Split};
use espalier::data::loader::{Loader, LoaderOptions};
use espalier::models::{Architecture, Model};
use espalier::noise::Philox;
use espalier::report::{RunFolder, Show, read_log};
use espalier::train::{TrainConfig, Trainer, recipe::Recipe};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

fn model() -> Model {
    Model::init(Architecture::deit(32, 8, 24, 3, 3).with_classes(10), 0).expect("model")
}

fn config() -> TrainConfig {
    let short = TrainConfig::short("test", 2, 1000, 1e-3);
    TrainConfig { drop_path: 0.3, smoothing: 0.1, ema_decay: Some(0.9), ..short }
}

/// Two epochs on 64 images in batches of `batch`; the parameters.
fn trained(config: TrainConfig, batch: usize) -> Vec<Vec<f32>> {
    let data = GeneratedDataset::new(Split::Train, 64, 32, 0).expect("data");
    let train = Loader::new(Arc::new(data), LoaderOptions::train(batch, 3)).expect("loader");
    let mut model = model();
    let trainer = Trainer::new(&mut model, config, None, Show::Quiet).expect("trainer");
    trainer.run(&train, None, None).expect("run");
    model.params().iter().map(|(_, tensor)| tensor.slice::<f32>().unwrap().to_vec()).collect()
}

#[test]
fn computing_blocks_again_changes_no_bit() {
    let plain = trained(config(), 16);
    assert!(plain == trained(TrainConfig { recompute: true, ..config() }, 16));
    assert!(plain != trained(TrainConfig { drop_path: 0.0, ..config() }, 16), "nothing was drawn");
}

/// The same images and draws in four batches a step. The key third of qkv's bias has no gradient but noise, which AdamW turns
/// into steps of full size, so it is left out.
#[test]
fn several_batches_make_the_step_of_one() {
    let whole = trained(config(), 32);
    let parts = trained(TrainConfig { accumulate: 4, ..config() }, 8);
    let names: Vec<String> = model().params().iter().map(|(name, _)| name.to_string()).collect();
    let (mut compared, begun) = (0, model());
    for ((name, whole), parts) in names.iter().zip(&whole).zip(&parts) {
        let begun = begun.params().get(name).unwrap().slice::<f32>().unwrap().to_vec();
        let moved = whole.iter().zip(&begun).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        let gap = |at: &usize| (whole[*at] - parts[*at]).abs();
        let keys = if name.ends_with("qkv.bias") { 24..48 } else { 0..0 };
        let places = (0..whole.len()).filter(|at| !keys.contains(at));
        let far = places.map(|at| gap(&at)).fold(0f32, f32::max);
        assert!(far <= 0.02 * moved, "{name}: {far} of {moved}");
        compared += usize::from(moved > 0.0);
    }
    assert_eq!(compared, names.len());
    let error = Trainer::new(&mut model(), TrainConfig { accumulate: 5, ..config() }, None, Show::Quiet)
        .and_then(|trainer| {
            let data = GeneratedDataset::new(Split::Train, 64, 32, 0)?;
            trainer.run(&Loader::new(Arc::new(data), LoaderOptions::train(16, 3))?, None, None)
        })
        .expect_err("more batches than an epoch has");
    assert!(error.to_string().contains("accumulate"), "{error}");
}

/// CIFAR-10's binary files, of a few noisy images.
fn cifar(folder: &Path) {
    let mut draws = Philox { seed: 1, step: 0 }.stream("cifar", 0);
    let mut write = |name: &str, count: usize| {
        let record = |_| {
            let label = draws.below(10) as u8;
            let pixels: Vec<u8> =
                (0..3072).map(|_| (25 * usize::from(label) + draws.below(30)).min(255) as u8).collect();
            [vec![label], pixels].concat()
        };
        std::fs::write(folder.join(name), (0..count).flat_map(record).collect::<Vec<u8>>()).expect("write");
    };
    (1..=5).for_each(|k| write(&format!("data_batch_{k}.bin"), 32));
    write("test_batch.bin", 40);
    let names = "airplane automobile bird cat deer dog frog horse ship truck".replace(' ', "\n");
    std::fs::write(folder.join("batches.meta.txt"), names).expect("write");
}

const RECIPE: &str = "extends = \"deit_tiny_cifar10\"\nunset = [\"model\", \"img_size\", \"patch_size\"]\nepochs = 4
batch_size = 8\naccumulate = 2\ncheckpoint_every_steps = 1\nema_decay = 0.9\n[rates]\ncosine_epochs = 4\n";

/// `espalier train` in `folder`, where it leaves its output in files.
fn train(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_espalier"));
    let output = || Stdio::from(std::fs::File::create(folder.join("output.txt")).expect("output"));
    command.current_dir(folder).args(["train", "--quiet"]).args(arguments).stdout(output()).stderr(output());
    command
}

/// Killed with SIGKILL at five random moments, each behind a step that the run before it did not reach, it ends in the bits
/// of the run that nobody stopped: weights, average, and every line of the log.
#[test]
fn a_run_that_is_killed_ends_in_the_bits_of_one_that_is_not() {
    let temporary = tempfile::tempdir().expect("folder");
    let folder = temporary.path();
    cifar(folder);
    model().save(folder.join("begin.safetensors"), "dense").expect("save");
    std::fs::write(folder.join("recipe.toml"), RECIPE).expect("write");
    let start = ["recipe.toml", "--data", ".", "--weights", "begin.safetensors"];
    let whole = train(folder, &[&start[..], &["--out", "whole"]].concat()).status().expect("run");
    let output = std::fs::read_to_string(folder.join("output.txt")).unwrap();
    assert!(whole.success() && !output.contains("generated images"), "{output}");

    let lines =
        || std::fs::read(folder.join("run/log.jsonl")).map_or(0, |log| log.split(|&byte| byte == b'\n').count());
    let mut moments = Philox { seed: u64::from(std::process::id()), step: 0 }.stream("kill", 0);
    for kill in 0..5 {
        let arguments = if kill == 0 { [&start[..], &["--out", "run"]].concat() } else { vec!["--resume", "run"] };
        let mut child = train(folder, &arguments).spawn().expect("spawn");
        // 40 steps in all: each life has room for up to seven, and is over at any moment of the next.
        let enough = 7 * kill + 2 + moments.below(5);
        while lines() < enough && child.try_wait().expect("wait").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(moments.below(20_000) as u64));
        assert!(child.try_wait().expect("wait").is_none(), "it ended before it could be killed");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
    std::fs::remove_file(folder.join("begin.safetensors")).expect("the weights that it began with");
    let last = train(folder, &["--resume", "run"]).status().expect("run");
    assert!(last.success(), "{}", std::fs::read_to_string(folder.join("output.txt")).unwrap());
    for name in
        ["model.safetensors", "average.safetensors", "best.safetensors", "log.jsonl", "result.json", "recipe.toml"]
    {
        let [whole, run] = ["whole", "run"].map(|run| std::fs::read(folder.join(run).join(name)).expect(name));
        assert!(whole == run, "{name} differs");
    }
    // Once more on a finished run: nothing to do, the same results.
    assert!(train(folder, &["--resume", "run"]).status().expect("run").success());
    assert!(train(folder, &["--resume", "nowhere"]).status().expect("run").code() == Some(1));
}

/// With a checkpoint after every epoch.
fn kept() -> TrainConfig {
    TrainConfig { checkpoint_every: 1, ..config() }
}

fn loader(images: usize, seed: u64) -> Loader {
    let data = GeneratedDataset::new(Split::Train, images, 32, 0).expect("data");
    Loader::new(Arc::new(data), LoaderOptions::train(16, seed)).expect("loader")
}

/// Stopped before its first checkpoint, or between an epoch's record and its checkpoint, a run that begins anew has each record
/// once, and no half line.
#[test]
fn what_no_checkpoint_holds_is_struck_out_of_the_log() {
    let temporary = tempfile::tempdir().expect("folder");
    let run = |folder: &RunFolder, checkpoint: &Path| {
        let mut model = model();
        let trainer = Trainer::new(&mut model, kept(), Some(folder), Show::Quiet).expect("trainer");
        let trainer = trainer.resuming(checkpoint.to_path_buf()).expect("resuming");
        trainer.run(&loader(64, 3), None, None).map(drop)
    };
    let log = |folder: &RunFolder| read_log(folder.path().join("log.jsonl")).expect("log");
    let whole = RunFolder::create(temporary.path().join("whole")).expect("folder");
    run(&whole, &temporary.path().join("whole.safetensors")).expect("run");
    assert_eq!(log(&whole).len(), 10, "8 steps and 2 epochs");

    let stopped = RunFolder::create(temporary.path().join("stopped")).expect("folder");
    let nowhere = temporary.path().join("nowhere/checkpoint.safetensors");
    run(&stopped, &nowhere).expect_err("a checkpoint that cannot be written");
    let error = RunFolder::open(stopped.path()).expect_err("one process at a time").to_string();
    assert!(error.contains("log.jsonl") && error.contains("no other process"), "{error}");
    let records = log(&stopped);
    assert!(records.len() == 5 && records[4]["epoch"] == 1, "the epoch's record comes first: {records:?}");
    let file = stopped.path().join("log.jsonl");
    let other = "{\"stage\":\"other\",\"step\":3}\n";
    let torn = [other, &std::fs::read_to_string(&file).expect("log"), "{\"stage\":\"te"].concat();
    std::fs::write(&file, torn).expect("write");
    let (path, half) = (stopped.path().to_path_buf(), stopped.path().join(".checkpoint.safetensors.x.tmp"));
    std::fs::write(&half, "half").expect("write");
    drop(stopped);
    let stopped = RunFolder::open(path).expect("folder");
    assert!(!half.exists());
    run(&stopped, &temporary.path().join("c.safetensors")).expect("run");
    let found = log(&stopped);
    assert!(found[0]["stage"] == "other" && found[1..] == log(&whole)[..], "{found:?}");
}

#[test]
fn a_checkpoint_goes_on_with_its_own_images_only() {
    let temporary = tempfile::tempdir().expect("folder");
    let run = |images: usize, seed: u64| {
        let mut model = model();
        let trainer = Trainer::new(&mut model, kept(), None, Show::Quiet).expect("trainer");
        let trainer = trainer.resuming(temporary.path().join("checkpoint.safetensors")).expect("resuming");
        trainer.run(&loader(images, seed), None, None).map(drop)
    };
    run(64, 3).expect("run");
    run(64, 3).expect("nothing is left to do");
    for (images, seed) in [(65, 3), (64, 4)] {
        let error = run(images, seed).expect_err("other images, or another order").to_string();
        assert!(error.contains("checkpoint.safetensors") && error.contains("64 examples of 10 classes"), "{error}");
    }
}

/// A run on CIFAR's files sees augmented images, the same whoever loads them.
#[test]
fn a_loader_goes_on_where_an_epoch_stopped() {
    let temporary = tempfile::tempdir().expect("folder");
    cifar(temporary.path());
    let open = || {
        let transform = Recipe::load("deit", &[]).unwrap().augment.train(32);
        espalier::data::cifar::CifarDataset::open(temporary.path(), Split::Train, transform, 3).expect("cifar")
    };
    for workers in [0, 1, 3] {
        let options = LoaderOptions { workers, ..LoaderOptions::train(8, 3) };
        let loader = Loader::new(Arc::new(open()), options).expect("loader");
        let whole: Vec<_> = loader.epoch(2).unwrap().collect::<Result<_, _>>().unwrap();
        let mut first = loader.epoch(2).unwrap();
        for _ in 0..7 {
            first.next().unwrap().unwrap();
        }
        let rest: Vec<_> = loader.epoch_from(2, first.place()).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!((whole.len(), rest.len()), (20, 13));
        assert!(whole[7..] == rest[..], "{workers} workers");
        assert_eq!(loader.epoch_from(2, 160).unwrap().count(), 0);
        assert_eq!(loader.epoch_from(2, 1 << 40).unwrap().count(), 0);
    }
}
