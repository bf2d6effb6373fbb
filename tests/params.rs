//! `src/gpu/params.rs` is what bindgen makes of `cuda/params.h`.

use bindgen::callbacks::{DeriveInfo, ParseCallbacks};
use std::io::Write;
use std::process::{Command, Stdio};

const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cuda/params.h");
const BINDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/gpu/params.rs");
const TOP: &str = "\
//! Argument structs of the kernels, made from `cuda/params.h` by bindgen: change that file, and make this one again as
//! it says there.
#![allow(missing_docs, unsafe_code, rustdoc::all)]

use super::args::kernel_args;
";
/// C's numbers by the names that Rust has for them: the same types wherever CUDA runs.
const WORDS: [(&str, &str); 5] = [
    (":: std :: os :: raw :: c_ulonglong", "u64"),
    (":: std :: os :: raw :: c_longlong", "i64"),
    (":: std :: os :: raw :: c_int", "i32"),
    ("bytemuck :: ", "bytemuck::"),
    ("cust_core :: ", "cust_core::"),
];

/// Structs that a kernel reads from memory, or as part of another.
const NO_KERNELS: [&str; 3] = ["StepNumbers", "AdamwTensor", "NormTensor"];

#[derive(Debug)]
struct Derives;

impl ParseCallbacks for Derives {
    /// `Pod` refuses padding, `DeviceCopy` what means nothing on a device.
    fn add_derives(&self, _: &DeriveInfo<'_>) -> Vec<String> {
        ["bytemuck::Pod", "bytemuck::Zeroable", "cust_core::DeviceCopy"].map(String::from).to_vec()
    }
}

#[test]
fn the_argument_structs_are_those_of_the_header() {
    let asked = |name: &str| std::env::var(name).is_ok_and(|value| value == "1");
    let write = asked("ESPALIER_WRITE_PARAMS");
    if std::panic::catch_unwind(bindgen::clang_version).is_err() {
        assert!(!write && !asked("ESPALIER_REQUIRE_CUDA_TOOLS"), "no libclang found: set LIBCLANG_PATH to its folder");
        // Past the harness, which would swallow it.
        let _ = writeln!(std::io::stderr(), "skipped: params.rs was not compared, for no libclang was found");
        return;
    }
    let bindings = bindgen::Builder::default()
        .header(HEADER)
        .clang_args(["-x", "c++", "-fparse-all-comments"])
        .disable_header_comment()
        .parse_callbacks(Box::new(Derives))
        .formatter(bindgen::Formatter::None)
        .generate()
        .expect("params.h is refused")
        .to_string();
    let bindings = WORDS.iter().fold(bindings, |text, (bindgen, ours)| text.replace(bindgen, ours));
    let made = rustfmt(&format!("{TOP}\n{bindings}\n{}", kernels(&bindings)));
    if write {
        std::fs::write(BINDINGS, &made).unwrap();
    }
    let kept = std::fs::read_to_string(BINDINGS).unwrap_or_default();
    let difference = kept.lines().zip(made.lines()).find(|(kept, made)| kept != made);
    assert!(
        kept == made,
        "src/gpu/params.rs is not what cuda/params.h gives (make it again: ESPALIER_WRITE_PARAMS=1); {} and {} lines, \
         first difference: {difference:?}",
        kept.lines().count(),
        made.lines().count()
    );
}

/// A line for every struct: `SoftmaxFwd` is what the kernel `softmax_fwd` takes.
fn kernels(bindings: &str) -> String {
    let mut lines = String::new();
    for tail in bindings.split("pub struct ").skip(1) {
        let name: String = tail.chars().take_while(|c| c.is_alphanumeric()).collect();
        let snake: String = name
            .chars()
            .enumerate()
            .flat_map(|(at, c)| (at > 0 && c.is_uppercase()).then_some('_').into_iter().chain(c.to_lowercase()))
            .collect();
        if NO_KERNELS.contains(&name.as_str()) {
            continue;
        }
        lines += &format!("kernel_args!({name}, \"{snake}\");\n");
    }
    lines
}

/// In the crate's style, as `cargo fmt` would leave it.
fn rustfmt(text: &str) -> String {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path", env!("CARGO_MANIFEST_DIR")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("rustfmt is not installed");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "rustfmt refuses what bindgen made");
    String::from_utf8(output.stdout).unwrap()
}
