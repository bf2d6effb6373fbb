#![no_main]

#[allow(dead_code)] // shared with tests/hardening.rs
#[path = "../../tests/hardening_suite/readers.rs"]
mod readers;

use std::sync::LazyLock;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = readers::architecture(FOLDER.path(), bytes);
});
