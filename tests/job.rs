//! The main job through the command line: what it leaves behind, and what it says when it cannot go on.

use espalier::models::{Architecture, LoadOptions, Model, cost};
use espalier::prune::Plan;
use espalier::{DType, Tensor};
use std::path::Path;
use std::process::{Command, Output};

/// `espalier prune savit` on a tiny generated set, in `folder`.
fn prune(folder: &Path, arguments: &[&str]) -> Output {
    let small = ["--quick", "--quiet", "--train-images", "96", "--test-images", "40", "--score-batches", "2"];
    let out: &[&str] = if arguments.contains(&"--out") { &[] } else { &["--out", "run"] };
    Command::new(env!("CARGO_BIN_EXE_espalier"))
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .args(["prune", "savit"])
        .args(small)
        .args(["--rounds", "2"])
        .args(out)
        .args(arguments)
        .output()
        .expect("espalier starts")
}

/// Exit code 1 and one clear line that names all of `parts`.
fn refused(output: &Output, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    assert!(!text.contains("panicked"), "{text}");
    parts.iter().for_each(|part| assert!(errors[0].contains(part), "{part:?} is not in {}", errors[0]));
}

#[test]
fn a_job_leaves_a_compact_model_that_loads_in_both_forms() {
    let temporary = tempfile::tempdir().expect("folder");
    let output = prune(temporary.path(), &["--target-flops", "0.6"]);
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    for word in ["dense", "savit", "random", "MACs saved", "img/s b32"] {
        assert!(table.contains(word), "{table}");
    }
    let run = temporary.path().join("run");
    for name in ["options.json", "plan.json", "calibration.json", "report.json", "report.md", "log.jsonl"] {
        assert!(run.join(name).is_file(), "{name} is missing");
    }
    for picture in ["structure.svg", "curves.svg"] {
        assert!(std::fs::read_to_string(run.join(picture)).expect(picture).starts_with("<svg"));
    }
    let load = |name: &str| Model::load(run.join(name), &LoadOptions::default()).expect(name);
    let (dense, small) = (load("dense.safetensors"), load("savit.safetensors"));
    assert!(dense.trained().is_some_and(|trained| trained.class_names.len() == 10));
    assert_eq!(small.trained(), dense.trained());
    let share = cost::macs(small.arch()) as f64 / cost::macs(dense.arch()) as f64;
    assert!((0.595..=0.6).contains(&share), "{share}");
    assert_eq!(cost::macs(small.arch()), cost::macs(load("random.safetensors").arch()));
    let plan = Plan::from_json(&std::fs::read_to_string(run.join("plan.json")).expect("plan")).expect("plan");
    assert_eq!(plan.apply_to(dense.arch()).expect("plan fits"), *small.arch());

    // The official form carries no architecture: head width and shapes give it back.
    let options = LoadOptions { arch: Some(small.arch().clone()), ..LoadOptions::default() };
    let official = Model::load(run.join("savit.pth"), &options).expect("savit.pth");
    let images = Tensor::full([2, 3, 64, 64], DType::F32, 0.25);
    let logits = |model: &Model| model.predict(&images).expect("forward").bytes().expect("bytes").to_vec();
    assert!(logits(&small) == logits(&official), "the two files differ");

    // A second run keeps the first's folder, takes the dense model from the cache and the scores from the file; with
    // --align it has a row more, with a plan and files of its own.
    let again = ["--target-flops", "0.4", "--calibration", "run/calibration.json", "--align", "64"];
    let output = prune(temporary.path(), &again);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read_dir(temporary.path().join("runs/cache")).expect("cache").count() == 1);
    let rows: Vec<&str> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let order = ["dense", "savit", "savit-align64", "random"].map(|name| rows.iter().position(|row| *row == name));
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{table}");
    let second = temporary.path().join("run-2");
    let load = |name: &str| Model::load(second.join(name), &LoadOptions::default()).expect(name).arch().clone();
    let [exact, aligned, random] =
        ["savit", "savit-align64", "random"].map(|name| load(&format!("{name}.safetensors")));
    let widths = aligned.blocks.iter().flat_map(|block| [block.hidden, block.inner()]).chain([aligned.embed_dim]);
    assert!(widths.clone().all(|width| width > 0 && width.is_multiple_of(64)), "{aligned:?}");
    assert_eq!(cost::macs(&exact), cost::macs(&random));
    assert!(aligned != exact && cost::macs(&aligned) as f64 <= 0.4 * cost::macs(dense.arch()) as f64);
    let read = |name: &str| std::fs::read_to_string(second.join(name)).expect(name);
    let plan = Plan::from_json(&read("savit-align64.plan.json")).expect("plan");
    assert_eq!(plan.apply_to(dense.arch()).expect("plan fits"), aligned);
    assert_eq!(serde_json::from_str::<Architecture>(&read("savit-align64.architecture.json")).expect("JSON"), aligned);
    assert!(second.join("savit-align64.pth").is_file() && read("report.md").contains("multiples of 64"));
}

#[test]
fn a_latency_target_is_met_by_the_table() {
    let temporary = tempfile::tempdir().expect("folder");
    let arguments = ["--target-latency", "0.7", "--latency-batch", "2", "--finetune-epochs", "0"];
    let output = prune(temporary.path(), &arguments);
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && table.contains("ms predicted"), "{table}{errors}");
    let read = |name: &str| std::fs::read_to_string(temporary.path().join("run").join(name)).expect(name);
    let records: Vec<serde_json::Value> = serde_json::from_str(&read("report.json")).expect("report");
    let [dense, savit] = ["dense", "savit"].map(|name| {
        let record = records.iter().find(|record| record["name"] == name).expect(name);
        assert!(record["ms"]["median"].as_f64() > Some(0.0), "{record}");
        record["predicted_ms"].as_f64().expect("a prediction")
    });
    assert!(dense > 0.0 && savit <= 0.7 * dense && savit > 0.6 * dense, "{savit} of {dense}");
    assert!(read("report.md").contains("target 70.0 % of the milliseconds at batch 2"));
    assert_eq!(std::fs::read_dir(temporary.path().join("cache/espalier/latency")).expect("the table").count(), 1);
    let least = ["fraction of milliseconds to keep", "at least 0.", "0.001"];
    refused(&prune(temporary.path(), &["--target-latency", "0.001", "--latency-batch", "2"]), &least);
    refused(&prune(temporary.path(), &["--target-latency", "1.5"]), &["target-latency", "between 0 and 1", "1.5"]);
    for other in [["--target-flops", "0.5"], ["--compat", "official"]] {
        let output = prune(temporary.path(), &[&["--target-latency", "0.7"][..], &other].concat());
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let temporary = tempfile::tempdir().expect("folder");
    let root = temporary.path();
    let none = ["--finetune-epochs", "0"];
    refused(&prune(root, &[&none[..], &["--target-flops", "0.001"]].concat()), &["to keep", "at least 0.", "0.001"]);
    refused(&prune(root, &["--target-flops", "1.5"]), &["between 0 and 1", "1.5"]);
    refused(&prune(root, &["--epochs", "9000000000000000000"]), &["epochs", "1 to 1000000"]);
    refused(&prune(root, &["--drop-path", "2"]), &["drop-path", "0 to below 1", "2"]);
    refused(&prune(root, &["--compat", "official", "--kinds", "heads,heads,heads"]), &["kinds", "all three"]);
    refused(&prune(root, &["--compat", "official", "--align", "8"]), &["align", "own search", "8"]);
    refused(&prune(root, &["--target-flops", "0.05", "--align", "64"]), &["to keep", "multiples of 64", "0.05"]);
    refused(&prune(root, &["--model", "deit_huge"]), &["deit_huge", "deit_small_patch16_224"]);
    // What the command line itself refuses ends with code 2 and names what is possible.
    for (option, value, possible) in [("--device", "tpu", "cpu, cuda"), ("--align", "16", "8, 64")] {
        let output = prune(root, &[option, value]);
        let text = String::from_utf8_lossy(&output.stderr);
        let parts = [option, &format!("'{value}'"), &format!("possible values: {possible}")];
        assert!(output.status.code() == Some(2) && parts.iter().all(|part| text.contains(part)), "{text}");
    }
    if espalier::gpu::cuda().is_err() {
        refused(&prune(root, &["--device", "cuda"]), &["cuda", "found"]);
    }
    refused(&prune(root, &["--data", "nowhere"]), &["nowhere"]);
    refused(&prune(root, &["--weights", "missing.pth"]), &["missing.pth"]);
    std::fs::create_dir_all(root.join("images/empty_class")).expect("folder");
    refused(&prune(root, &["--data", "images"]), &["empty_class"]);
    std::fs::write(root.join("file"), "in the way").expect("file");
    refused(&prune(root, &["--out", "file/run"]), &["cannot create", "file"]);
    std::fs::write(root.join("bad.json"), "{").expect("file");
    refused(&prune(root, &["--calibration", "bad.json"]), &["bad.json"]);
    assert_eq!(std::fs::read_to_string(root.join("file")).expect("file"), "in the way");
}

#[test]
fn a_broken_image_stops_an_evaluation_unless_it_is_skipped() {
    let temporary = tempfile::tempdir().expect("folder");
    for class in 0..10 {
        let folder = temporary.path().join(format!("images/class{class}"));
        std::fs::create_dir_all(&folder).expect("folder");
        for k in 0..4u8 {
            let path = folder.join(format!("{k}.png"));
            let file = std::fs::File::create(path).expect("file");
            let mut encoder = png::Encoder::new(file, 32, 32);
            encoder.set_color(png::ColorType::Rgb);
            let pixels: Vec<u8> = (0..32 * 32 * 3).map(|i| (i as u8).wrapping_mul(k + 3 + class)).collect();
            encoder.write_header().and_then(|mut w| w.write_image_data(&pixels)).expect("png");
        }
    }
    std::fs::write(temporary.path().join("images/class3/2.png"), "not an image").expect("file");
    let arguments = ["--data", "images", "--img-size", "32", "--patch-size", "8", "--batch-size", "8"];
    refused(&prune(temporary.path(), &arguments), &["class3/2.png"]);
    let output = prune(temporary.path(), &[&arguments[..], &["--skip-broken"]].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("class3/2.png"), "a skipped image is not named: {text}");
}
