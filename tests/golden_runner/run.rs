//! Finds the cases below a folder, runs the selected ones and reports.

use super::case::Case;
use super::compare::{Report, compare};
use super::glob;
use super::kinds::KindFn;
use super::produced::Produced;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Reasons printed below a failed case's line.
const REASONS: usize = 8;

/// Where a line of the report goes.
pub type Print<'a> = &'a mut dyn FnMut(&str);

/// Runs every case below `folder` whose kind `selection` (globs, comma-separated, empty for all) names.
/// Returns the number of failures, which counts a listed kind without a case and a run without cases too.
pub fn run(folder: &Path, selection: &str, kinds: &[(&str, KindFn)], print: Print) -> usize {
    let selection: Vec<String> =
        selection.split(',').map(|kind| kind.trim().to_owned()).filter(|kind| !kind.is_empty()).collect();
    let (mut passed, mut failed) = (0, 0);
    let (mut cases, broken) = find_cases(folder);
    cases
        .retain(|(_, json)| selection.is_empty() || glob::matches_any(&selection, json["kind"].as_str().unwrap_or("")));
    for why in broken {
        failed += 1;
        print(&why);
    }
    for kind in &selection {
        if !cases.iter().any(|(_, json)| glob::matches(kind, json["kind"].as_str().unwrap_or(""))) {
            failed += 1;
            print(&format!("{kind}: no case of this kind below {}", folder.display()));
        }
    }
    if cases.is_empty() {
        failed += 1;
        print(&format!("no cases below {}", folder.display()));
    }
    for (path, json) in cases {
        let names = (text(&json, "kind"), text(&json, "case"));
        let report = run_case(json, path.parent().unwrap_or(folder), kinds);
        print_case(&names.0, &names.1, &report, print);
        if report.failures.is_empty() { passed += 1 } else { failed += 1 }
    }
    print(&format!("{passed} passed, {failed} failed"));
    failed
}

fn run_case(json: Value, dir: &Path, kinds: &[(&str, KindFn)]) -> Report {
    let failure = |why: String| Report { failures: vec![why], ..Report::default() };
    let case = match Case::load(json, dir) {
        Ok(case) => case,
        Err(why) => return failure(why),
    };
    // Without results the comparison only counts what was expected.
    let failed = |why: String| Report { total: compare(&case, &Produced::new()).total, ..failure(why) };
    let Some((_, function)) = kinds.iter().find(|(kind, _)| *kind == case.kind()) else {
        return failed(format!("unknown kind {}", case.kind()));
    };
    // A panic of one case must not hide the others' results.
    match catch_unwind(AssertUnwindSafe(|| function(&case))) {
        Ok(Ok(produced)) => compare(&case, &produced),
        Ok(Err(why)) => failed(why),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("");
            failed(format!("panic: {text}"))
        }
    }
}

/// `kind case compared/total worst-tensor error limit`, then what failed.
fn print_case(kind: &str, case: &str, report: &Report, print: Print) {
    let verdict = if report.failures.is_empty() { "" } else { " FAILED" };
    let worst = report
        .worst
        .as_ref()
        .map_or("- - -".to_owned(), |worst| format!("{} {} {}", worst.name, short(worst.error), short(worst.limit)));
    print(&format!("{kind} {case} {}/{} {worst}{verdict}", report.compared, report.total));
    for why in report.failures.iter().take(REASONS) {
        print(&format!("    {why}"));
    }
    if report.failures.len() > REASONS {
        print(&format!("    and {} more", report.failures.len() - REASONS));
    }
}

fn short(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.2e}") }
}

fn text(json: &Value, key: &str) -> String {
    json[key].as_str().unwrap_or("").to_owned()
}

/// All JSON files with the fields `case` and `kind` in the order of their paths, and what could not be read.
pub fn find_cases(folder: &Path) -> (Vec<(PathBuf, Value)>, Vec<String>) {
    let (mut paths, mut cases, mut broken) = (Vec::new(), Vec::new(), Vec::new());
    if let Err(error) = walk(folder, 0, &mut paths) {
        broken.push(format!("cannot read {}: {error}", folder.display()));
    }
    paths.sort();
    for path in paths {
        let json = std::fs::read(&path).map_err(|error| error.to_string());
        match json.and_then(|json| serde_json::from_slice::<Value>(&json).map_err(|error| error.to_string())) {
            Ok(json) if json["case"].is_string() && json["kind"].is_string() => cases.push((path, json)),
            Ok(_) => {}
            Err(error) => broken.push(format!("{}: {error}", path.display())),
        }
    }
    (cases, broken)
}

fn walk(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    // Folders may be links; one that leads back upwards ends here.
    if depth > 16 {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, depth + 1, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    Ok(())
}
