//! The layout of the sources: file sizes, where `unsafe` may stand, module docs, and lines against the budget.

use std::fs;
use std::path::{Path, PathBuf};

use espalier::report::Table;

const FILE_LINES: usize = 500;
const EXAMPLE_LINES: usize = 120;
/// Lines that `src` may have, comments and blank lines among them; each new system raises it by its plan. The first system
/// on the processor had 11,000; CUDA came with 1,600 for `src/gpu`, 800 for the simulator there, 1,600 for launches and
/// devices elsewhere; halves and their steps took 1,500, aligned widths 150, the data pipeline 950, the base models 2,800,
/// recipes and their runs 750, the zoo with downloads and latency 900, what a model was trained on 100, refusals that users needed 200,
/// products of our own on the processor 650, bounds on hostile files 150.
const SRC_LINES: usize = 23_700;
/// Made by bindgen from `cuda/params.h`: counts for nothing, and may be of any length.
const GENERATED: &str = "src/gpu/params.rs";

/// CUDA sources that are no op's, and ops without CUDA sources of their own, each with the reason.
const NO_OP: [(&str, &str); 1] = [("tensor", "what the tensor itself needs")];
const NO_CUDA: [(&str, &str); 3] = [
    ("cast", "the tensor itself converts its type"),
    ("linear", "matrix products are cuBLASLt's, the bias its epilogue"),
    ("bmm", "batched matrix products are cuBLASLt's"),
];
/// Structs of `cuda/params.h` that kernels read from memory, or that are part of other structs: no kernel's arguments.
const NO_ARGUMENTS: [&str; 5] = ["StepNumbers", "AdamwTensor", "NarrowTensor", "NormTensor", "Windows"];

/// What the design allows for each part of the tree, the parts by the start of their paths.
const BUDGET: [(&str, &[&str], usize); 17] = [
    ("cuda/common, params.h", &["cuda/common/", "cuda/params.h"], 900),
    ("simulator", &["cuda/sim/", "src/gpu/sim", "src/gpu/lt_sim", "src/gpu/stream"], 1000),
    ("cuda kernels", &["cuda/"], 3500),
    ("tensor, tape", &["src/tensor", "src/tape"], 1200),
    ("ops", &["src/ops"], 7500),
    ("cpu", &["src/cpu"], 1200),
    ("gpu", &["src/gpu"], 1600),
    ("nn, models", &["src/nn", "src/models"], 2600),
    ("prune", &["src/prune"], 3600),
    ("data", &["src/data"], 1500),
    ("optim, train", &["src/optim", "src/train"], 1600),
    ("io", &["src/io"], 1800),
    ("report", &["src/report"], 700),
    ("bin", &["src/bin"], 700),
    ("tests", &["tests/"], 2500),
    ("benches", &["benches/"], 400),
    ("examples", &["examples/"], 700),
];

struct Source {
    path: String,
    text: String,
}

impl Source {
    fn lines(&self) -> usize {
        self.text.lines().count()
    }

    fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }
}

/// Every source file, by its path from the root, in order.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> =
        ["src", "cuda", "tests", "benches", "examples"].iter().map(|name| root.join(name)).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or("");
            if path.is_dir() {
                folders.push(path);
            } else if ["rs", "cu", "cuh", "h", "cpp"].contains(&kind) {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.iter().any(|source| source.path == "src/lib.rs"));
    found
}

/// Rust without its comments and literals, line by line as it was.
fn code(text: &str) -> String {
    let (mut out, mut at, bytes) = (String::new(), 0, text.as_bytes());
    while at < bytes.len() {
        let rest = &text[at..];
        let hashes = rest.strip_prefix('r').map_or(0, |tail| tail.len() - tail.trim_start_matches('#').len());
        let word_before =
            at > 0 && (bytes[at - 1].is_ascii_alphanumeric() && bytes[at - 1] != b'b' || bytes[at - 1] == b'_');
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if !word_before && rest.starts_with('r') && rest[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            rest[2 + hashes..].find(&end).map_or(rest.len(), |close| 2 + hashes + close + end.len())
        } else if rest.starts_with('"') {
            quoted(rest, '"')
        } else if rest.starts_with("'\\") || rest.starts_with('\'') && rest.chars().nth(2) == Some('\'') {
            quoted(rest, '\'')
        } else {
            0
        };
        let shown = if skip == 0 { rest.chars().next().map_or(1, char::len_utf8) } else { 0 };
        out += &rest[..shown];
        out.extend(rest[..skip].matches('\n'));
        at += skip + shown;
    }
    out
}

/// The length of a block comment, which may hold others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let pair = &text.as_bytes()[at..text.len().min(at + 2)];
        match pair {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a literal with its quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

/// The lines of code that a rule forbids, as `path:line: text`.
fn offences(sources: &[Source], forbidden: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        for (number, line) in code(&source.text).lines().enumerate().filter(|(_, line)| forbidden(source, line)) {
            found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
        }
    }
    found
}

#[test]
fn the_scanner_sees_only_code() {
    let text =
        "a // unsafe\nb /* x /* unsafe */ y */ c \"un\\\"safe\" r#\"un\"safe\"# 'x' '\\'' '\"' &'a str br\"\\\" d\n";
    assert_eq!(code(text), "a \nb  c      &'a str b d\n");
    assert!(has_word("unsafe { x }", "unsafe") && !has_word("deny(unsafe_code)", "unsafe"));
}

#[test]
fn files_are_short() {
    let limit = |path: &str| match path {
        path if path.starts_with("examples/") => EXAMPLE_LINES,
        GENERATED => usize::MAX,
        path if path.starts_with("src/") => FILE_LINES,
        _ => usize::MAX,
    };
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| source.lines() > limit(&source.path))
        .map(|source| format!("{}: {} lines, at most {}", source.path, source.lines(), limit(&source.path)))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

/// Where `unsafe` may stand: beside the hardware, and in the tests' allocator.
const UNSAFE: [&str; 3] = ["src/gpu", "src/cpu", "tests/hardening_suite/counting.rs"];

#[test]
fn unsafe_stands_only_beside_the_hardware() {
    let found = offences(&sources(), |source, line| !source.is_in(&UNSAFE) && has_word(line, "unsafe"));
    assert!(found.is_empty(), "{found:#?}");
}

/// A block or an implementation says why it is sound, in a comment right above its statement or in it; the type of a function and a
/// function of a trait, which only pass the duty on, need not.
#[test]
fn every_unsafe_says_why_it_is_sound() {
    let (mut without, mut with) = (Vec::new(), 0);
    for source in sources().iter().filter(|source| source.path.ends_with(".rs") && source.path != GENERATED) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in code(&source.text).lines().enumerate().filter(|(_, line)| has_word(line, "unsafe")) {
            if ["unsafe fn", "unsafe extern"].iter().any(|duty| line.contains(duty)) {
                continue;
            }
            let above = lines[..=number].iter().rev().take(8).take_while(|line| !line.trim().is_empty());
            match above.into_iter().any(|line| line.contains("SAFETY:")) {
                true => with += 1,
                false => without.push(format!("{}:{}: {}", source.path, number + 1, line.trim())),
            }
        }
    }
    assert!(without.is_empty(), "no SAFETY line above: {without:#?}");
    assert!(with > 30, "{with}");
}

#[test]
fn nothing_is_left_undone_or_ignored() {
    let found = offences(&sources(), |_, line| {
        ["todo!", "unimplemented!", "#[ignore"].iter().any(|mark| line.replace(' ', "").contains(mark))
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_public_module_says_what_it_is() {
    let all = sources();
    let mut missing = Vec::new();
    for source in all.iter().filter(|source| source.path.starts_with("src/") && source.path.ends_with(".rs")) {
        let (folder, file) = source.path.rsplit_once('/').unwrap();
        let stem = file.trim_end_matches(".rs");
        let home = if ["mod", "lib", "main"].contains(&stem) { folder.into() } else { format!("{folder}/{stem}") };
        let code = code(&source.text);
        let names = code.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
        for path in names.map(|name| [format!("{home}/{name}.rs"), format!("{home}/{name}/mod.rs")]) {
            let module = all.iter().find(|source| path.contains(&source.path));
            if !module.is_some_and(|module| module.text.starts_with("//!")) {
                missing.push(path[0].clone());
            }
        }
    }
    assert!(missing.is_empty(), "no module doc at the top: {missing:#?}");
}

#[test]
fn the_sources_keep_to_their_size() {
    let mut all = sources();
    all.retain(|source| source.path != GENERATED);
    let mut table = Table::new(&["part", "files", "lines", "budget", "share"]);
    let mut rest: Vec<&Source> = all.iter().collect();
    for (part, folders, budget) in BUDGET {
        let (these, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|source| source.is_in(folders));
        let lines: usize = these.iter().map(|source| source.lines()).sum();
        let share = format!("{} %", lines * 100 / budget);
        table.row([part.to_string(), these.len().to_string(), lines.to_string(), budget.to_string(), share]);
        rest = others;
    }
    let src = || all.iter().filter(|source| source.path.starts_with("src/"));
    let total: usize = src().map(Source::lines).sum();
    let share = format!("{} %", total * 100 / SRC_LINES);
    table.row(["all of src".into(), src().count().to_string(), total.to_string(), SRC_LINES.to_string(), share]);
    println!("{}", table.text());
    assert!(total <= SRC_LINES, "src has {total} lines, at most {SRC_LINES}");
}

/// An op is found by its file: every file of `src/ops` is in the list, and has cases named after it.
#[test]
fn every_op_file_is_listed_and_has_cases() {
    let listed: Vec<&str> = espalier::ops::all().iter().map(|op| op.name).collect();
    for source in sources() {
        let Some(stem) = source.path.strip_prefix("src/ops/").and_then(|name| name.strip_suffix(".rs")) else {
            continue;
        };
        if !["mod", "case"].contains(&stem) {
            assert!(listed.contains(&stem), "{} is not in the list of src/ops/mod.rs", source.path);
            assert!(source.text.contains("pub fn cases()"), "{} has no cases", source.path);
        }
    }
    assert!(listed.len() >= 16);
}

/// The part of `text` between the first `from` after it and the next `to`.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    text.split_once(from)?.1.split_once(to).map(|(part, _)| part)
}

/// `softmax_fwd` -> `SoftmaxFwd`.
fn camel_case(name: &str) -> String {
    let capitalised = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').filter(|word| !word.is_empty()).map(capitalised).collect()
}

/// An op and its kernels are found by the op's name: `cuda/NAME.cu` beside `src/ops/NAME.rs`, and `cuda/NAME_mma.cu` for its
/// form on tensor cores.
#[test]
fn cuda_files_and_ops_belong_together() {
    let all = sources();
    let stems = |folder: &str, kind: &str| -> Vec<String> {
        let names = all.iter().filter_map(|source| source.path.strip_prefix(folder)?.strip_suffix(kind));
        names.filter(|name| !name.contains('/')).map(String::from).collect()
    };
    let (cuda, ops) = (stems("cuda/", ".cu"), stems("src/ops/", ".rs"));
    let (on_tensor_cores, cuda): (Vec<_>, Vec<_>) = cuda.into_iter().partition(|name| name.ends_with("_mma"));
    for name in &on_tensor_cores {
        assert!(cuda.iter().any(|plain| format!("{plain}_mma") == *name), "cuda/{name}.cu has no plain form");
    }
    let excused =
        |list: &[(&str, &str)], name: &str| list.iter().any(|(excused, why)| *excused == name && !why.is_empty());
    for name in &cuda {
        assert!(excused(&NO_OP, name) != ops.contains(name), "cuda/{name}.cu has no op, or is excused for nothing");
    }
    for name in ops.iter().filter(|name| !["mod", "case"].contains(&name.as_str())) {
        assert!(excused(&NO_CUDA, name) != cuda.contains(name), "{name} has no CUDA source, or is excused for nothing");
    }
    assert!(cuda.len() >= 10);
}

/// A kernel's arguments are the struct of its name, under the heading of its file in `cuda/params.h`; no other struct is
/// there.
#[test]
fn every_kernel_has_its_argument_struct() {
    let all = sources();
    let text = |path: &str| all.iter().find(|source| source.path == path).map_or("", |source| &source.text);
    let mut declared = Vec::new();
    for part in text("cuda/params.h").split("\n// ---- ") {
        let file = part.split(['\n', ':']).next().unwrap();
        let names = part.split("typedef struct {").skip(1).map(|text| between(text, "}", ";").unwrap().trim());
        let names = names.filter(|name| !NO_ARGUMENTS.contains(name));
        declared.extend(names.map(|name| (format!("cuda/{file}"), name.to_string())));
    }
    let mut kernels = Vec::new();
    for source in all.iter().filter(|source| source.path.ends_with(".cu") && !source.path.starts_with("cuda/sim/")) {
        for line in source.text.lines().filter(|line| line.starts_with("KERNEL")) {
            let (name, arguments) = between(line, "(", ")").unwrap().split_once(", ").unwrap();
            assert_eq!(camel_case(name), arguments, "{}: {name} takes other arguments than its own", source.path);
            kernels.push((source.path.clone(), arguments.to_string()));
        }
    }
    kernels.sort();
    declared.sort();
    assert_eq!(kernels, declared, "kernels (left) and argument structs (right) by file");
    assert!(kernels.len() >= 20);
}

/// What runs on any device runs on a card, too, from the bundle of `scripts/gpu_check.sh`.
#[test]
fn every_test_of_a_device_is_in_the_bundle() {
    let all = sources();
    let bundled = &all.iter().find(|source| source.path == "tests/on_card.rs").expect("it is there").text;
    for name in all.iter().filter_map(|source| source.path.strip_prefix("tests/")) {
        if name.starts_with("device_") || name == "kernels.rs" {
            assert!(bundled.contains(&format!("#[path = \"{name}\"]")), "tests/on_card.rs does not have {name}");
        }
    }
}

#[test]
fn names_are_camel_cased() {
    assert_eq!(
        [camel_case("l2_normalize_fwd"), camel_case("fold"), camel_case("a__b")],
        ["L2NormalizeFwd", "Fold", "AB"]
    );
}

/// The list of planted faults follows the code: what each replaces stands there once, in whole lines.
#[test]
fn every_planted_fault_can_be_planted() {
    let list = fs::read_to_string("scripts/mutants.txt").expect("the list");
    let (mut name, mut file, mut from, mut planted) = ("", "", String::new(), 0);
    for line in list.lines().chain(["== end"]) {
        if let Some(text) = line.strip_prefix('-').filter(|_| !name.is_empty()) {
            from += &format!("{text}\n");
            continue;
        }
        if !from.is_empty() {
            let text = format!("\n{}", fs::read_to_string(file).expect(file));
            assert_eq!(text.matches(&format!("\n{from}")).count(), 1, "{name} in {file}:\n{from}");
            (from, planted) = (String::new(), planted + 1);
        }
        if let Some(next) = line.strip_prefix("== ") {
            name = next;
        } else if let Some(next) = line.strip_prefix("@@ ") {
            file = next;
        }
    }
    assert!(planted >= 40, "{planted}");
}
