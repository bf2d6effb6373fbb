//! The command line, driven as a person drives it: the built program, its output, its exit code.

use espalier::io;
use espalier::models::file::ARCHITECTURE;
use espalier::models::{Architecture, Model, zoo};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/base_models/pth");
const IMAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images");

fn espalier<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Output {
    program().args(args).output().unwrap()
}

/// The program with a cache folder of the tests' own.
fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_espalier"));
    program.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    program
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The one line of a refusal, which holds all of `words`.
fn refusal<S: AsRef<std::ffi::OsStr>>(args: &[S], words: &[&str]) -> String {
    refused(&espalier(args), words)
}

fn refused(output: &Output, words: &[&str]) -> String {
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.starts_with("error: ") && message.lines().count() == 1, "{message}");
    assert!(!message.contains("panicked") && !message.contains("RUST_BACKTRACE"), "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    message
}

/// A folder with a tiny model of 7 classes (`tiny.safetensors`), a PNG and a JPEG in `images`.
struct Scene {
    folder: tempfile::TempDir,
    model: Model,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arch = Architecture::deit(40, 8, 24, 2, 3).with_classes(7);
        let model = Model::init(arch, 5).unwrap();
        model.save(folder.path().join("tiny.safetensors"), "dense").unwrap();
        std::fs::create_dir(folder.path().join("images")).unwrap();
        let scene = Self { folder, model };
        scene.png("images/b.png", 40);
        std::fs::copy(format!("{IMAGES}/grey.jpg"), scene.path("images/a.jpg")).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().into()
    }

    fn png(&self, name: &str, side: u32) {
        let mut encoder = png::Encoder::new(File::create(self.path(name)).unwrap(), side, side);
        encoder.set_color(png::ColorType::Rgb);
        let pixels: Vec<u8> = (0..side * side * 3).map(|i| (i * 7 % 251) as u8).collect();
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    }

    /// `classify` with the tiny model.
    fn classify(&self, more: &[&str]) -> Vec<String> {
        let mut args = vec!["classify".to_string(), "--weights".into(), self.text("tiny.safetensors")];
        args.extend(more.iter().map(|arg| arg.to_string()));
        args
    }
}

#[test]
fn help_names_every_subcommand_and_option() {
    let help = stdout(&espalier(&["--help"]));
    assert!(help.contains("fetch") && stdout(&espalier(&["fetch", "--help"])).contains("XDG_CACHE_HOME"), "{help}");
    for name in ["doctor", "zoo", "inspect", "classify", "bench"] {
        assert!(help.contains(name), "{help}");
        assert!(stdout(&espalier(&[name, "--help"])).contains("--json"));
    }
    let help = stdout(&espalier(&["classify", "--help"]));
    for option in ["--model", "--weights", "--top", "--batch", "--skip-broken", "--img-size", "--device", "<PATHS>"] {
        assert!(help.contains(option), "{help}");
    }
}

#[test]
fn zoo_gives_the_published_integers() {
    let rows = json_lines(&espalier(&["zoo", "--json"]));
    assert_eq!(rows.len(), zoo::zoo().unwrap().len() + zoo::waiting().unwrap().len());
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    // (name, parameters, MACs, a counting and its integer)
    let exact = [
        ("deit_tiny_patch16_224", 5_717_416u64, Some(1_253_683_200u64), "fvcore", 1_258_411_200u64),
        ("deit_small_patch16_224", 22_050_664, Some(4_598_882_304), "fvcore", 4_608_338_304),
        ("deit_base_patch16_224", 86_567_656, Some(17_563_828_224), "fvcore", 17_582_740_224),
        ("savit_deit_tiny", 4_183_449, None, "savit-deployed", 943_878_480),
        ("savit_deit_small", 14_994_979, None, "savit-deployed", 3_195_165_747),
        ("savit_deit_base", 42_117_964, None, "savit-deployed", 8_752_489_653),
    ];
    for (name, params, macs, counting, count) in exact {
        let row = row(name);
        assert_eq!(row["params"], params, "{row}");
        assert!(macs.is_none_or(|macs| row["macs"] == macs), "{row}");
        assert_eq!(row["counts"][counting], count, "{row}");
        assert_eq!(row["published"][counting], count, "{row}");
        assert!(row["published"]["source"].is_string(), "{row}");
    }
    let distilled = [("tiny", 5_910_800u64, 1_266u64), ("small", 22_436_432, 4_634), ("base", 87_338_192, 17_676)];
    for (size, params, rounded) in distilled {
        let row = row(&format!("deit_{size}_distilled_patch16_224"));
        assert_eq!(row["params"], params, "{row}");
        let fvcore = row["counts"]["fvcore"].as_u64().unwrap();
        assert_eq!((fvcore + 500_000) / 1_000_000, rounded, "{row}");
    }
    assert_eq!(row("deit_base_patch16_224")["published"]["top1"], 81.8);
    let table = stdout(&espalier(&["zoo"]));
    assert!(table.contains("42,117,964") && table.contains("8,752,489,653"), "{table}");
    // PiT-B's 12.5 G come from a counting that nobody names; nothing else differs.
    let differing = rows.iter().filter(|row| row["differs"] != Value::Array(Vec::new()));
    let differing: Vec<(&Value, &Value)> = differing.map(|row| (&row["name"], &row["differs"][0])).collect();
    assert_eq!(differing, [(&Value::from("pit_b"), &Value::from("fvcore"))]);
    assert_eq!(table.matches(" ≠").count(), 1, "{table}");
    assert!(table.lines().any(|line| line.contains("12,500,000,000") && line.contains('≠')), "{table}");
    assert!(table.contains("≠: 1 figures differ"), "{table}");
    let swin = json_lines(&espalier(&["zoo", "swin_", "--json"]));
    assert!(swin.len() == 8 && swin.iter().all(|row| row["name"].as_str().unwrap().contains("swin_")));
    assert_eq!((row("lvvit_s")["crop_pct"].as_f64(), &row("sit_lvvit_s")["crop_pct"]), (Some(0.9), &Value::Null));
    refusal(&["zoo", "deit_huge"], &["filter", "deit_huge"]);
}

#[test]
fn models_that_cannot_be_built_yet_are_listed_and_refused() {
    let scene = Scene::new();
    let row = json_lines(&espalier(&["zoo", "sit_xs", "--json"])).remove(0);
    assert!(row["params"].is_null() && row["macs"].is_null() && row["waits_for"] == "SiT", "{row}");
    assert_eq!((&row["published"]["params"], &row["dense"]), (&25_625_774.into(), &"sit_lvvit_s".into()));
    let table = stdout(&espalier(&["zoo", "sit_xs"]));
    let line = table.lines().find(|line| line.starts_with("sit_xs")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, ["sit_xs", "–", "25,625,774", "–", "fvcore", "1,500,000,000", "–", "81.2", "–"], "{table}");
    assert!(table.contains("the pruned structure of 1 models is not built yet"), "{table}");
    assert!(!stdout(&espalier(&["zoo", "deit_tiny_patch16_224"])).contains("not built yet"));

    let (weights, image) = (scene.text("tiny.safetensors"), scene.text("images/b.png"));
    let recipe = scene.text("recipe.toml");
    std::fs::write(&recipe, "model = \"sit_xs\"\n").unwrap();
    let out = scene.text("run");
    for command in [
        vec!["bench", "--model", "sit_xs"],
        vec!["classify", "--model", "sit_xs", "--weights", &weights, &image],
        vec!["fetch", "sit_xs"],
        vec!["train", &recipe, "--out", &out],
        vec!["prune", "savit", "--model", "sit_xs", "--out", &out],
    ] {
        refusal(&command, &["sit_xs", "its pruned structure is not built yet", "the method SiT"]);
    }
    assert!(!scene.path("run").exists());
}

/// The model of the file and the model by name take the zoo's share of the image, unless the option says another.
#[test]
fn classify_crops_as_the_zoo_says() {
    let scene = Scene::new();
    scene.png("images/b.png", 90);
    let model = Model::init(zoo::find("lvvit_t").unwrap().architecture, 3).unwrap();
    model.save(scene.path("own.safetensors"), "dense").unwrap();
    model.save_pth(scene.path("official.pth")).unwrap();
    let image = scene.text("images/b.png");
    let seen = |file: &str, more: &[&str]| {
        let weights = scene.text(file);
        let args = ["classify", "--weights", &weights, "--img-size", "64", "--json", "--top", "1000", &image];
        json_lines(&espalier(&[&args[..], more].concat())).remove(0)["top1000"].clone()
    };
    let own = seen("own.safetensors", &[]);
    assert_eq!(own, seen("own.safetensors", &["--crop-pct", "0.9"]));
    assert_ne!(own, seen("own.safetensors", &["--crop-pct", "0.875"]));
    assert_eq!(own, seen("official.pth", &[]));
    assert_eq!(own, seen("official.pth", &["--model", "lvvit_t"]));
    let tiny = |more: &[&str]| stdout(&espalier(&scene.classify(&[more, &[&image]].concat())));
    assert_eq!(tiny(&[]), tiny(&["--crop-pct", "0.875"]));
}

/// Patches have no labels yet, so nothing trains a model that learns from theirs.
#[test]
fn a_dense_head_is_not_trained_by_classes() {
    let scene = Scene::new();
    let (recipe, out, dense) = (scene.text("recipe.toml"), scene.text("run"), scene.text("dense.safetensors"));
    std::fs::write(&recipe, "model = \"lvvit_s\"\n").unwrap();
    let words = ["model to train", "without a dense head", "sit_lvvit", "token labels are not read yet"];
    refusal(&["train", &recipe, "--out", &out], &words);
    let arch = zoo::find("lvvit_t").unwrap().architecture.with_img_size(32).with_classes(10);
    Model::init(arch, 0).unwrap().save(&dense, "dense").unwrap();
    std::fs::write(&recipe, "epochs = 1\n").unwrap();
    refusal(&["train", &recipe, "--weights", &dense, "--out", &out], &words);
    let small = ["--train-images", "20", "--test-images", "20", "--quiet"];
    let prune = ["prune", "savit", "--weights", &dense, "--out", &out];
    refusal(&[&prune[..], &small].concat(), &["a model of family deit", "lvvit"]);
    assert!(!scene.path("run").exists());
}

#[test]
fn doctor_describes_the_machine() {
    let rows = json_lines(&espalier(&["doctor", "--json"]));
    assert_eq!(rows[0]["version"], env!("CARGO_PKG_VERSION"));
    assert!(rows[0]["gemm_gflops"].as_f64().unwrap() > 0.0);
    let cuda = &rows[0]["devices"][1];
    assert_eq!(cuda["name"], "cuda");
    // Either a card, or why there is none.
    assert!(cuda["why"].is_null() == cuda["in_use"].as_bool().unwrap() && cuda["card"].is_string() == cuda["in_use"]);
    assert!(cuda["embedded"].is_array() && (cuda["nvrtc"].is_null() || cuda["nvrtc"].is_string()), "{cuda}");
    for name in ["driver", "nvrtc", "cublaslt"] {
        let why = cuda["missing"][name].as_str();
        assert!(cuda[name].is_null() == why.is_some_and(|why| !why.is_empty()), "{name}: {cuda}");
    }
    let text = stdout(&espalier(&["doctor"]));
    assert!(text.contains("cuda kernels") && (cuda["in_use"] == true || text.contains("not in use")), "{text}");
}

/// A driver that is there but is none: the reason is told, nothing panics.
#[cfg(target_os = "linux")]
fn with_a_broken_driver<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("libcuda.so"), b"").unwrap();
    // A real library without any of the driver's functions, where the machine has one.
    let other = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6"];
    if let Some(other) = other.into_iter().find(|path| std::path::Path::new(path).exists()) {
        std::fs::copy(other, folder.path().join("libcuda.so")).unwrap();
    }
    let output = program().args(args).env("LD_LIBRARY_PATH", folder.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("panicked"), "{errors}");
    output
}

#[test]
#[cfg(target_os = "linux")]
fn doctor_survives_a_broken_driver() {
    let row = json_lines(&with_a_broken_driver(&["doctor", "--json"])).remove(0);
    let why = row["devices"][1]["why"].as_str().unwrap();
    assert!(row["devices"][1]["in_use"] == false && why.contains("libcuda") && why.contains("install"), "{why}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_missing_gpu_is_refused_in_one_line() {
    let scene = Scene::new();
    let (weights, image) = (scene.text("tiny.safetensors"), scene.text("images/b.png"));
    let commands = [vec!["bench", "--weights", &weights], vec!["classify", "--weights", &weights, &image]];
    for command in commands {
        let output = with_a_broken_driver(&[&command[..], &["--device", "cuda"]].concat());
        refused(&output, &["cuda: ", "libcuda", "install"]);
        assert!(output.stdout.is_empty());
        // The processor needs no driver; another name is a wrong option.
        assert!(with_a_broken_driver(&[&command[..], &["--device", "cpu"]].concat()).status.success());
        assert_eq!(espalier(&[&command[..], &["--device", "abacus"]].concat()).status.code(), Some(2));
    }
}

#[test]
#[cfg(feature = "sim")]
fn the_simulated_gpu_sees_what_the_processor_sees() {
    let scene = Scene::new();
    let on = |device| json_lines(&espalier(&scene.classify(&["--json", "--device", device, &scene.text("images")])));
    let (cpu, sim) = (on("cpu"), on("cuda-sim"));
    assert_eq!((cpu.len(), sim.len()), (2, 2));
    for (cpu, sim) in cpu.iter().zip(&sim) {
        let classes = |row: &Value| row["top5"].as_array().unwrap().clone();
        for (cpu, sim) in classes(cpu).iter().zip(&classes(sim)) {
            let [p, q] = [cpu, sim].map(|class| class["probability"].as_f64().unwrap());
            assert!(cpu["index"] == sim["index"] && (p - q).abs() < 1e-5, "{cpu} {sim}");
        }
    }
    let weights = scene.text("tiny.safetensors");
    let args = ["bench", "--weights", &weights, "--device", "cuda-sim", "--batch", "2", "--rounds", "1", "--json"];
    let row = json_lines(&espalier(&args)).remove(0);
    assert!(row["device"] == "cuda-sim" && row["ms"]["median"].as_f64() > Some(0.0), "{row}");
}

#[test]
fn inspect_lists_what_is_in_a_file() {
    let scene = Scene::new();
    let text = stdout(&espalier(&["inspect", &format!("{FIXTURES}/training_checkpoint_zip.pth")]));
    assert!(text.contains("argparse.Namespace") && text.contains("next"), "{text}");
    let rows = json_lines(&espalier(&["inspect", "--json", &format!("{FIXTURES}/dtypes_zip.pth")]));
    let tensors = rows[0]["tensors"].as_array().unwrap();
    assert!(tensors.iter().any(|tensor| tensor["dtype"] == "BF16") && rows[0]["architecture"].is_null());
    let own = json_lines(&espalier(&["inspect", "--json", &scene.text("tiny.safetensors")])).remove(0);
    assert_eq!(own["stage"], "dense");
    assert_eq!(own["architecture"]["embed_dim"], 24);
    assert_eq!(own["params"], own["parameters"]);
    assert_eq!(own["macs"], espalier::models::cost::macs(scene.model.arch()));
    assert_eq!(own["tensors"].as_array().unwrap().len(), scene.model.params().iter().count());
}

#[test]
fn inspect_recognises_a_foreign_deit() {
    let scene = Scene::new();
    let arch = Architecture { distilled: true, ..Architecture::deit(32, 16, 64, 1, 1).with_classes(3) };
    let model = Model::init(arch, 1).unwrap();
    model.save_pth(scene.path("foreign.pth")).unwrap();
    let text = stdout(&espalier(&["inspect", &scene.text("foreign.pth")]));
    assert!(text.contains("distilled DeiT, 1 blocks of width 64") && text.contains("espalier classify"), "{text}");
}

#[test]
fn classify_walks_files_in_order_and_gives_probabilities() {
    let scene = Scene::new();
    let args = scene.classify(&["--json", "--batch", "1", &scene.text("images"), &scene.text("images/b.png")]);
    let rows = json_lines(&espalier(&args));
    let files: Vec<&str> = rows.iter().map(|row| row["file"].as_str().unwrap()).collect();
    let names: Vec<_> = files.iter().map(|file| Path::new(file).file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["a.jpg", "b.png", "b.png"]);
    assert_eq!(rows[1]["top5"], rows[2]["top5"]);
    for row in &rows {
        let top = row["top5"].as_array().unwrap();
        let probability: Vec<f64> = top.iter().map(|class| class["probability"].as_f64().unwrap()).collect();
        assert!(probability.len() == 5 && probability.is_sorted_by(|a, b| a >= b), "{row}");
        assert!(probability.iter().sum::<f64>() < 1.0, "{row}");
        assert_eq!(top[0]["name"], format!("class {}", top[0]["index"]));
    }
    let all = json_lines(&espalier(&scene.classify(&["--json", "--top", "9", &scene.text("images/b.png")])));
    let sum: f64 = all[0]["top9"].as_array().unwrap().iter().map(|c| c["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    let resized = scene.classify(&["--img-size", "48", &scene.text("images/b.png")]);
    assert!(stdout(&espalier(&resized)).contains("b.png: class "));
}

#[test]
fn bench_measures_models_in_turn() {
    let scene = Scene::new();
    let weights = scene.text("tiny.safetensors");
    let args = ["bench", "--weights", &weights, "--weights", &weights, "--batch", "1,2", "--rounds", "3"];
    let rows = json_lines(&espalier(&[&args[..], &["--json"]].concat()));
    assert_eq!(rows.iter().map(|row| row["batch"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 1, 2, 2]);
    assert!(rows.iter().all(|row| row["ms"]["p5"].as_f64() <= row["ms"]["p95"].as_f64()));
    assert!(rows.iter().all(|row| row["predicted_ms"].as_f64() > Some(0.0)), "{rows:?}");
    let without = json_lines(&espalier(&[&args[..], &["--json", "--no-prediction"]].concat()));
    assert!(without.iter().all(|row| row["predicted_ms"].is_null()));
    assert!(stdout(&espalier(&args)).contains("GFLOP/s"));
    // a damaged table is told and measured anew
    let bench = || program().args(args).env("XDG_CACHE_HOME", scene.path("cache")).output().unwrap();
    stdout(&bench());
    let file = std::fs::read_dir(scene.path("cache/espalier/latency")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&file, "{}").unwrap();
    let output = bench();
    let messages = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.success() && messages.contains("measured anew: it is damaged"), "{messages}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("milliseconds"));
    refusal(&["bench", "--model", "deit_huge"], &["model", "deit_huge", "deit_tiny_patch16_224"]);
    refusal(&["bench", "--weights", &weights, "--rounds", "0"], &["--rounds", "at least 1"]);
}

#[test]
fn bad_checkpoints_are_refused_in_one_line() {
    let scene = Scene::new();
    let whole = std::fs::read(scene.path("tiny.safetensors")).unwrap();
    std::fs::write(scene.path("cut.safetensors"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(scene.path("empty.pth"), b"").unwrap();
    for file in ["cut.safetensors", "empty.pth", "none.pth"] {
        let path = scene.text(file);
        refusal(&["inspect", &path], &[file]);
        refusal(&["classify", "--weights", &path, &scene.text("images")], &[file]);
        refusal(&["bench", "--weights", &path], &[file]);
    }
    refusal(&["inspect", &format!("{FIXTURES}/evil_os_system_zip.pth")], &["unsafe_global", "system"]);
    let mut lie = scene.model.arch().clone();
    (lie.img_size, lie.patch_size) = (120, 1);
    let metadata = [(ARCHITECTURE.to_string(), serde_json::to_string(&lie).unwrap())];
    let tensors = io::read(scene.path("tiny.safetensors")).unwrap().tensors;
    io::safetensors::write(scene.path("lie.safetensors"), &tensors, &metadata).unwrap();
    refusal(&["bench", "--weights", &scene.text("lie.safetensors")], &["lie.safetensors", "pos_embed", "[1, 26, 24]"]);
    let named = |model: &str| {
        ["classify", "--model", model, "--weights", &scene.text("tiny.safetensors"), IMAGES].map(String::from)
    };
    refusal(&named("deit_tiny_patch16_224"), &["tiny.safetensors", "key ", "expected", "[1, 1, 192]", "[1, 1, 24]"]);
    refusal(&named("deit_huge"), &["model", "one of", "deit_huge"]);
}

#[test]
fn bad_images_are_fatal_unless_skipped() {
    let scene = Scene::new();
    std::fs::write(scene.path("images/aa.png"), b"not an image").unwrap();
    let images = scene.text("images");
    refusal(&scene.classify(&["--json", &images]), &["aa.png"]);
    let output = espalier(&scene.classify(&["--json", "--skip-broken", &images]));
    assert_eq!(json_lines(&output).len(), 2);
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(messages.contains("aa.png") && messages.contains("1 of 3 images"), "{messages}");
    let output = espalier(&scene.classify(&["--skip-broken", &scene.text("images/aa.png")]));
    assert!(!output.status.success() && output.stdout.is_empty());
    std::fs::create_dir(scene.path("nothing")).unwrap();
    refusal(&scene.classify(&[&scene.text("nothing")]), &["nothing", "at least one image"]);
    refusal(&scene.classify(&[&scene.text("absent.png")]), &["absent.png"]);
    refusal(&scene.classify(&["--batch", "0", &images]), &["--batch", "at least 1"]);
    refusal(&scene.classify(&["--img-size", "99999", &images]), &["img_size", "99999"]);
    refusal(&scene.classify(&["--img-size", "33", &images]), &["img_size", "33"]);
}

#[test]
fn the_names_of_imagenet_appear_for_a_thousand_classes() {
    let scene = Scene::new();
    let model = Model::init(Architecture::deit(32, 16, 64, 1, 1), 1).unwrap();
    model.save_pth(scene.path("thousand.pth")).unwrap();
    let args = ["classify", "--weights", &scene.text("thousand.pth"), "--json", &scene.text("images/b.png")];
    let row = json_lines(&espalier(&args)).remove(0);
    let best = &row["top5"][0];
    let (_, _, name) = espalier::data::folder::imagenet_classes()[best["index"].as_u64().unwrap() as usize];
    assert_eq!(best["name"], name);
}
