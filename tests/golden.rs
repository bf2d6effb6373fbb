//! Golden cases: results of the official implementations that the library must reproduce.
//!
//! `ESPALIER_GOLDEN=<folder> cargo test --release --test golden` runs every case below the folder, by default the
//! committed ones; `ESPALIER_GOLDEN_KINDS=base/deit,savit/*` selects kinds. A line a case, `N passed, N failed` last.

#[allow(dead_code)] // shared by two test targets, each of which uses a part
mod golden_runner;

use golden_runner::{kinds, run};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Test tools ask every target for its list; there is nothing to select here, other arguments mean nothing.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let committed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folder = match std::env::var_os("ESPALIER_GOLDEN") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => committed,
    };
    let selection = std::env::var("ESPALIER_GOLDEN_KINDS").unwrap_or_default();
    let failed = run::run(&folder, &selection, kinds::kinds(), &mut |line| println!("{line}"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
