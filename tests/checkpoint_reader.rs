//! The checkpoint readers against files of PyTorch and safetensors and against damaged and hostile ones.

#[path = "common/reader_case.rs"]
mod reader_case;

use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/base_models/pth");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut cases: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(".expected.json")).collect();
    cases.sort();
    cases
}

#[test]
fn every_reader_case_passes() {
    let cases = cases();
    assert_eq!(cases.len(), 61);
    let (mut failures, mut results) = (Vec::new(), 0);
    for case in cases {
        match reader_case::run(&case) {
            Ok((compared, total)) if compared == total => results += total,
            Ok((compared, total)) => failures.push(format!("{}: {compared} of {total}", case.display())),
            Err(detail) => failures.push(format!("{}: {detail}", case.display())),
        }
    }
    println!("{results} results");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
