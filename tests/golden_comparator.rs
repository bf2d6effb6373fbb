//! The golden runner's own tests: a comparison that cannot fail proves nothing.

#[allow(dead_code)] // shared by two test targets, each of which uses a part
mod golden_runner;

use golden_runner::case::Case;
use golden_runner::compare::{Report, compare};
use golden_runner::kinds::KindFn;
use golden_runner::produced::Produced;
use golden_runner::rules::Skip;
use golden_runner::{glob, run, safetensors};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A safetensors file of float32 tensors.
fn safetensors_bytes(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), data.as_slice()].concat()
}

/// A case with the given result tensors; `extra` overrides fields.
fn case(results: &[(&str, &[usize], &[f32])], extra: Value) -> Case {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("c.safetensors"), safetensors_bytes(results)).unwrap();
    Case::load(case_json(extra), dir.path()).unwrap()
}

fn case_json(extra: Value) -> Value {
    let mut json = json!({
        "case": "c", "kind": "test/kind", "files": ["c.safetensors"], "inputs": ["in/*"], "results": ["out/*"],
        "tol": [{"match": "*", "metric": "exact"}], "skip": [], "json_results": {},
    });
    for (key, value) in extra.as_object().unwrap() {
        json[key] = value.clone();
    }
    json
}

fn tol(rule: Value) -> Value {
    json!({"tol": [rule]})
}

/// Compares one result tensor `out/x` of shape `[n]`.
fn check(expected: &[f32], got: &[f64], extra: Value) -> Report {
    let mut produced = Produced::new();
    produced.put("out/x", &[got.len()], got.to_vec());
    compare(&case(&[("out/x", &[expected.len()], expected)], extra), &produced)
}

fn passes(report: &Report) -> bool {
    report.failures.is_empty()
}

/// Compares one JSON result `v`.
fn check_json(expected: Value, got: Value, rule: Value) -> bool {
    let case = case(&[], json!({"v": expected, "json_results": {"v": "/v"}, "tol": [rule]}));
    let mut produced = Produced::new();
    produced.put_json("v", got);
    passes(&compare(&case, &produced))
}

#[test]
fn globs() {
    for (pattern, name, expected) in [
        ("out/*", "out/a/b.c", true),
        ("out/*/b", "out/a/x/b", true),
        ("*", "", true),
        ("out/?", "out/ab", false),
        ("out/?b", "out/ab", true),
        ("ut/*", "out/a", false),
        ("out/a", "out/a.b", false),
        ("*.b*.c", "a.bb.c.b.c", true),
        ("Out/*", "out/a", false),
        ("[o]ut", "out", false),
    ] {
        assert_eq!(glob::matches(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn exact() {
    assert!(passes(&check(&[1.0, 0.0, f32::NAN], &[1.0, -0.0, f64::NAN], json!({}))));
    assert!(!passes(&check(&[1.0], &[1.0 + 1e-15], json!({}))));
    assert!(!passes(&check(&[f32::NAN], &[1.0], json!({}))));
    assert!(!passes(&check(&[1.0], &[f64::NAN], json!({}))));
}

#[test]
fn relative_to_the_tensors_maximum() {
    let rule = || tol(json!({"match": "*", "metric": "rel_to_tensor_max", "value": 0.01}));
    assert!(passes(&check(&[100.0, 0.0], &[100.0, 0.9], rule())));
    let report = check(&[100.0, 0.0], &[100.0, 1.1], rule());
    assert!(!passes(&report));
    let worst = report.worst.unwrap();
    assert_eq!((worst.name.as_str(), worst.error, worst.limit), ("out/x", 1.1, 1.0));
    assert!(!passes(&check(&[100.0], &[f64::NAN], rule())));
    assert!(!passes(&check(&[f32::INFINITY, 1.0], &[f64::INFINITY, 2.0], rule())));
    assert!(!passes(&check(&[1.0, 1.0], &[f64::INFINITY, 1.0], rule())));
    // A reference of zeros asks for exact zeros unless there is an atol.
    assert!(passes(&check(&[0.0], &[0.0], rule())));
    assert!(!passes(&check(&[0.0], &[1e-30], rule())));
    let atol = tol(json!({"match": "*", "metric": "rel_to_tensor_max", "value": 0.01, "atol": 1e-6}));
    assert!(passes(&check(&[0.0], &[1e-7], atol)));
}

#[test]
fn absolute_and_mixed() {
    let abs = || tol(json!({"match": "*", "metric": "abs", "value": 0.5}));
    assert!(passes(&check(&[1e6], &[1e6 + 0.5], abs())));
    assert!(!passes(&check(&[1e6], &[1e6 + 0.6], abs())));
    let mixed = || tol(json!({"match": "*", "metric": "atol_rtol", "atol": 0.1, "rtol": 0.01}));
    assert!(passes(&check(&[0.0, 100.0], &[0.1, 101.0], mixed())));
    assert!(!passes(&check(&[0.0, 100.0], &[0.2, 100.0], mixed())));
    assert!(!passes(&check(&[0.0, 100.0], &[0.0, 101.2], mixed())));
    assert!(!passes(&check(&[f32::INFINITY], &[1.0], mixed())));
}

#[test]
fn shapes_counts_and_absence() {
    assert!(!passes(&check(&[1.0, 1.0], &[1.0], json!({}))));
    let case = case(&[("out/x", &[2, 1], &[1.0, 1.0])], json!({}));
    let mut produced = Produced::new();
    produced.put("out/x", &[1, 2], vec![1.0, 1.0]);
    let report = compare(&case, &produced);
    assert!(!passes(&report) && (report.compared, report.total) == (0, 1));
    let mut produced = Produced::new();
    produced.put("out/x", &[2, 1], vec![1.0]);
    assert!(!passes(&compare(&case, &produced)));
    let mut produced = Produced::new();
    produced.put("out/y", &[2, 1], vec![1.0, 1.0]);
    let report = compare(&case, &produced);
    assert!(!passes(&report) && (report.compared, report.total) == (0, 1));
}

#[test]
fn nothing_to_compare_fails_unless_decided() {
    let case = case(&[], json!({}));
    assert!(!passes(&compare(&case, &Produced::new())));
    let mut produced = Produced::new();
    produced.decide("refused");
    assert!(passes(&compare(&case, &produced)));
}

#[test]
fn additional_expectations_are_exact() {
    let case = case(&[], json!({}));
    let tensors = safetensors::parse(&safetensors_bytes(&[("a", &[1], &[1.0])]), false).unwrap();
    for (value, expected) in [(1.0, true), (1.1, false)] {
        let mut produced = Produced::new();
        produced.also_expect("a", tensors["a"].clone());
        produced.put("a", &[1], vec![value]);
        assert_eq!(passes(&compare(&case, &produced)), expected);
    }
}

#[test]
fn first_rule_decides_and_every_result_needs_one() {
    let loose_first = json!({"tol": [
        {"match": "out/x", "metric": "abs", "value": 1.0}, {"match": "*", "metric": "exact"}]});
    assert!(passes(&check(&[1.0], &[1.5], loose_first)));
    let exact_first = json!({"tol": [
        {"match": "*", "metric": "exact"}, {"match": "out/x", "metric": "abs", "value": 1.0}]});
    assert!(!passes(&check(&[1.0], &[1.5], exact_first)));
    assert!(!passes(&check(&[1.0], &[1.0], json!({"tol": []}))));
}

#[test]
fn most_pools() {
    let rule = |fraction: f64| {
        tol(json!({"match": "*", "metric": "abs", "value": 1.0,
            "most": {"fraction": fraction, "value": 0.1, "pool": "p"}}))
    };
    let (expected, got): (&[f32], &[f64]) = (&[0.0; 4], &[0.0, 0.0, 0.0, 0.5]);
    assert!(passes(&check(expected, got, rule(0.75))));
    assert!(!passes(&check(expected, got, rule(0.8))));
    // The pool spans tensors.
    let case = case(&[("out/a", &[2], &[0.0; 2]), ("out/b", &[2], &[0.0; 2])], rule(0.75));
    for (last, expected) in [(0.05, true), (0.5, false)] {
        let mut produced = Produced::new();
        produced.put("out/a", &[2], vec![0.5, last]);
        produced.put("out/b", &[2], vec![0.0; 2]);
        assert_eq!(passes(&compare(&case, &produced)), expected);
    }
}

#[test]
fn skips() {
    let skip = |entry: Value| json!({"skip": [entry]});
    assert!(!passes(&check(&[1.0], &[2.0], json!({}))));
    let whole = compare(&case(&[("out/x", &[1], &[1.0])], skip(json!({"match": "out/x"}))), &Produced::new());
    assert_eq!((whole.compared, whole.total), (0, 0));
    let elements = || skip(json!({"match": "out/?", "elements": [1]}));
    assert!(passes(&check(&[1.0, 1.0], &[1.0, f64::NAN], elements())));
    assert!(!passes(&check(&[1.0, 1.0], &[2.0, 1.0], elements())));
    // Rows are indices of dimension 0, half-open; entries add up.
    let both = json!({"skip": [{"match": "out/x", "rows": [1, 2]}, {"match": "out/x", "elements": [4]}]});
    let case = case(&[("out/x", &[3, 2], &[0.0; 6])], both);
    for wrong in 0..6 {
        let mut values = vec![0.0; 6];
        values[wrong] = 1.0;
        let mut produced = Produced::new();
        produced.put("out/x", &[3, 2], values);
        assert_eq!(passes(&compare(&case, &produced)), [2, 3, 4].contains(&wrong), "{wrong}");
    }
    // Skipped elements count for the maximum.
    let relative = json!({"skip": [{"match": "*", "elements": [0]}],
        "tol": [{"match": "*", "metric": "rel_to_tensor_max", "value": 0.01}]});
    assert!(passes(&check(&[100.0, 1.0], &[0.0, 1.5], relative)));
}

#[test]
fn json_exact() {
    let exact = || json!({"match": "json:*", "metric": "exact"});
    assert!(check_json(json!({"a": 3, "b": [1.5]}), json!({"b": [1.5], "a": 3.0}), exact()));
    assert!(!check_json(json!([1, 2]), json!([2, 1]), exact()));
    assert!(!check_json(json!([1, 2]), json!([1, 2, 3]), exact()));
    assert!(!check_json(json!({"a": 1}), json!({"a": 1, "b": 2}), exact()));
    assert!(!check_json(json!({"a": 1, "b": 2}), json!({"a": 1}), exact()));
    assert!(!check_json(json!(9007199254740993u64), json!(9007199254740992u64), exact()));
    assert!(!check_json(json!(null), json!(0), exact()));
    assert!(!passes(&compare(&case(&[], json!({"v": 1, "json_results": {"v": "/v"}})), &Produced::new())));
    let nowhere = case(&[], json!({"json_results": {"v": "/w"}}));
    let mut produced = Produced::new();
    produced.put_json("v", 1);
    assert!(!passes(&compare(&nowhere, &produced)));
}

#[test]
fn json_unordered() {
    let unordered = || json!({"match": "json:*", "metric": "exact", "unordered": true});
    assert!(check_json(json!(["a", "b"]), json!(["b", "a"]), unordered()));
    assert!(!check_json(json!(["a", "b"]), json!(["b"]), unordered()));
    assert!(!check_json(json!(["a", "b"]), json!(["b", "a", "c"]), unordered()));
    assert!(!check_json(json!(["a", "b"]), json!(["b", "a", "a"]), unordered()));
}

#[test]
fn json_numeric() {
    let rule = || json!({"match": "json:*", "metric": "atol_rtol", "atol": 0.0, "rtol": 0.1});
    assert!(check_json(json!({"a": 1, "b": [10, 20]}), json!({"b": [10, 21], "a": 1}), rule()));
    assert!(!check_json(json!({"a": 1, "b": [10, 20]}), json!({"b": [10, 24], "a": 1}), rule()));
    assert!(!check_json(json!([10, 20]), json!([10]), rule()));
    assert!(!check_json(json!([10, 20]), json!([10, "20"]), rule()));
}

#[test]
fn produced_twice_fails() {
    let mut produced = Produced::new();
    produced.put("out/x", &[1], vec![1.0]);
    produced.put("out/x", &[1], vec![1.0]);
    assert!(!passes(&compare(&case(&[("out/x", &[1], &[1.0])], json!({})), &produced)));
}

#[test]
fn reads_every_dtype() {
    let entries: [(&str, &[u8], f64); 13] = [
        ("F64", &(-0.1f64).to_le_bytes(), -0.1),
        ("F32", &0.1f32.to_le_bytes(), 0.1f32 as f64),
        ("F16", &0xC100u16.to_le_bytes(), -2.5),
        ("F16", &0x0001u16.to_le_bytes(), 5.960464477539063e-8),
        ("BF16", &0x3FC0u16.to_le_bytes(), 1.5),
        ("I64", &(-(1i64 << 52)).to_le_bytes(), -(2f64.powi(52))),
        ("I32", &i32::MIN.to_le_bytes(), -2147483648.0),
        ("I16", &(-2i16).to_le_bytes(), -2.0),
        ("I8", &[255], -1.0),
        ("U32", &u32::MAX.to_le_bytes(), 4294967295.0),
        ("U16", &u16::MAX.to_le_bytes(), 65535.0),
        ("U8", &[255], 255.0),
        ("BOOL", &[1], 1.0),
    ];
    let file = |dtype: &str, bytes: &[u8]| {
        let header = json!({"a": {"dtype": dtype, "shape": [], "data_offsets": [0, bytes.len()]}}).to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), bytes].concat()
    };
    for (dtype, bytes, value) in entries {
        assert_eq!(safetensors::parse(&file(dtype, bytes), false).unwrap()["a"].values, [value], "{dtype}");
        let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
        assert_eq!(safetensors::parse(&file(dtype, &reversed), true).unwrap()["a"].values, [value], "{dtype}");
    }
    assert!(safetensors::parse(&file("I64", &i64::MAX.to_le_bytes()), false).is_err());
    assert!(safetensors::parse(&file("F32", &[0; 8]), false).is_err());
    assert!(safetensors::parse(&file("X", &[0]), false).is_err());
    assert!(safetensors::parse(&[1, 2], false).is_err());
}

fn write_case(folder: &Path, name: &str, extra: Value) {
    fs::create_dir_all(folder).unwrap();
    let bytes = safetensors_bytes(&[("in/x", &[1], &[1.0]), ("out/x", &[1], &[2.0])]);
    fs::write(folder.join(format!("{name}.safetensors")), bytes).unwrap();
    let mut json = case_json(extra);
    json["case"] = name.into();
    json["files"] = json!([format!("{name}.safetensors")]);
    fs::write(folder.join(format!("{name}.json")), json.to_string()).unwrap();
}

fn run_all(folder: &Path, selection: &str) -> (usize, Vec<String>) {
    let kinds: &[(&str, KindFn)] = &[
        ("test/kind", |case| {
            let (shape, values) = case.f32("in/x")?;
            let mut produced = Produced::new();
            produced.put_f32("out/x", &shape, &values.iter().map(|x| x + 1.0).collect::<Vec<_>>());
            Ok(produced)
        }),
        ("test/nothing", |_| Ok(Produced::new())),
        ("test/error", |_| Err("cannot".into())),
        ("test/panic", |_| panic!("at the disco")),
    ];
    let mut lines = Vec::new();
    let failed = run::run(folder, selection, kinds, &mut |line| lines.push(line.to_owned()));
    (failed, lines)
}

#[test]
fn the_runner_finds_selects_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    assert_eq!(run_all(root, "").0, 1, "zero cases");
    write_case(&root.join("a/b"), "deep", json!({}));
    fs::write(root.join("other.json"), "{}").unwrap();
    let (failed, lines) = run_all(root, "");
    assert_eq!((failed, lines.last().unwrap().as_str()), (0, "1 passed, 0 failed"));
    assert_eq!(lines[0], "test/kind deep 1/1 out/x 0 0");
    for (kind, reason) in [
        ("test/nothing", "out/x: was not produced"),
        ("test/error", "cannot"),
        ("test/panic", "panic: at the disco"),
        ("test/other", "unknown kind test/other"),
    ] {
        write_case(&root.join("c"), &kind.replace('/', "_"), json!({"kind": kind}));
        let (failed, lines) = run_all(root, kind);
        assert_eq!((failed, lines.last().unwrap().as_str()), (1, "0 passed, 1 failed"));
        assert!(lines[0].ends_with("FAILED") && lines[1].trim() == reason, "{lines:?}");
    }
    assert_eq!(run_all(root, "").1.last().unwrap(), "1 passed, 4 failed");
    assert_eq!(run_all(root, "test/kind, ,").1.last().unwrap(), "1 passed, 0 failed");
    assert_eq!(run_all(root, "test/kind,test/absent").1.last().unwrap(), "1 passed, 1 failed");
    assert_eq!(run_all(root, "test/*").1.last().unwrap(), "1 passed, 4 failed");
    assert_eq!(run_all(&root.join("nowhere"), "").1.last().unwrap(), "0 passed, 2 failed");
}

#[test]
fn a_wrong_value_on_disk_fails() {
    let dir = tempfile::tempdir().unwrap();
    write_case(dir.path(), "wrong", json!({}));
    let bytes = safetensors_bytes(&[("in/x", &[1], &[1.0]), ("out/x", &[1], &[2.5])]);
    fs::write(dir.path().join("wrong.safetensors"), bytes).unwrap();
    assert_eq!(run_all(dir.path(), "").1.last().unwrap(), "0 passed, 1 failed");
}

#[test]
fn malformed_cases_fail() {
    for extra in [
        json!({"results": []}),
        json!({"inputs": ["*"]}),
        json!({"tol": [{"match": "*", "metric": "close"}]}),
        json!({"tol": [{"match": "*", "metric": "abs"}]}),
        json!({"skip": [{"match": "*", "rows": [1]}]}),
        json!({"shared_files": ["data/absent.bin"]}),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_case(dir.path(), "c", extra.clone());
        assert_eq!(run_all(dir.path(), "").0, 1, "{extra}");
    }
    let dir = tempfile::tempdir().unwrap();
    write_case(dir.path(), "c", json!({}));
    fs::remove_file(dir.path().join("c.safetensors")).unwrap();
    assert_eq!(run_all(dir.path(), "").0, 1);
    fs::write(dir.path().join("c.json"), "{").unwrap();
    assert_eq!(run_all(dir.path(), "").0, 2, "a broken file and zero cases");
}

#[test]
fn shared_files_are_found_above_the_case() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("parity/base");
    write_case(&folder, "c", json!({"shared_files": ["data/w.bin"]}));
    fs::create_dir_all(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/w.bin"), "w").unwrap();
    assert_eq!(run_all(dir.path(), "").0, 0);
}

/// The results as recorded, which every case must accept.
fn recorded(case: &Case) -> Produced {
    let mut produced = Produced::new();
    for name in &case.results {
        let golden = &case.tensors[name];
        produced.put(name, &golden.shape, golden.values.clone());
    }
    for (name, pointer) in case.json["json_results"].as_object().unwrap() {
        produced.put_json(name, case.at(pointer.as_str().unwrap()).unwrap().clone());
    }
    if produced.tensors.is_empty() && produced.json.is_empty() {
        produced.decide("nothing is recorded");
    }
    produced
}

#[test]
fn real_cases_accept_what_was_recorded_and_nothing_else() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folder = std::env::var_os("ESPALIER_GOLDEN").map_or(committed, Into::into);
    let (cases, broken) = run::find_cases(&folder);
    assert!(broken.is_empty() && !cases.is_empty(), "{broken:?}");
    for (path, json) in cases {
        let case = Case::load(json, path.parent().unwrap()).unwrap();
        let mut produced = recorded(&case);
        let report = compare(&case, &produced);
        assert!(passes(&report) && report.compared == report.total, "{}: {:?}", case.name(), report.failures);
        let names = case.results.iter().filter(|name| !Skip::whole(&case.skips, name));
        for name in names.filter(|name| !case.tensors[*name].values.is_empty()) {
            let mask = Skip::mask(&case.skips, name, &case.tensors[name].shape);
            let element = mask.iter().position(|&skipped| !skipped).unwrap();
            // Beyond every tolerance, which may be relative to the tensor's largest value.
            let finite = case.tensors[name].values.iter().filter(|value| value.is_finite());
            let shift = finite.fold(1.0, |sum, value| sum + value.abs());
            let value = &mut produced.tensors.get_mut(name).unwrap().values[element];
            let right = *value;
            *value = if right.is_finite() { right + shift } else { 0.0 };
            assert!(
                !passes(&compare(&case, &produced)),
                "{} {name}[{element}] accepts another than {right}",
                case.name()
            );
            produced.tensors.get_mut(name).unwrap().values[element] = right;
        }
    }
}
