//! Compiles the kernels for the processor: every `cuda/*.cu` and `cuda/sim/*.cu` with the C++ compiler, on `cuda/sim`.

use std::env::var;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::SystemTime;
use std::{fs, thread};

/// An object is made again only when its source, a header or this program is newer.
pub fn build() {
    println!("cargo:rerun-if-env-changed=ESPALIER_SIM_SANITIZE");
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR").unwrap()).join("cuda");
    let sanitize = var("ESPALIER_SIM_SANITIZE").unwrap_or_default();
    let out = PathBuf::from(var("OUT_DIR").unwrap()).join(format!("sim-{}", sanitize.replace(',', "-")));
    fs::create_dir_all(&out).unwrap();

    let mut compiler = cc::Build::new();
    compiler.cpp(true).std("c++17").opt_level(2).debug(false).warnings(true).extra_warnings(true);
    for flag in ["-g1", "-fno-strict-aliasing", "-Wno-unknown-pragmas"] {
        compiler.flag(flag);
    }
    if !sanitize.is_empty() {
        compiler.flag(format!("-fsanitize={sanitize}")).flag("-fno-sanitize-recover=undefined");
    }

    let headers = [files(&root, "h"), files(&root.join("common"), "cuh"), files(&root.join("sim"), "h")].concat();
    let ours = modified(&std::env::current_exe().unwrap());
    let headers = headers.iter().map(|header| modified(header)).fold(ours, SystemTime::max);
    let mut units = vec![(root.join("sim/sim.cpp"), out.join("sim.o"))];
    for source in [files(&root, "cu"), files(&root.join("sim"), "cu")].concat() {
        let stem = source.file_stem().unwrap().to_str().unwrap();
        units.push((source.clone(), out.join(stem).with_extension("o")));
    }
    let stale: Vec<_> =
        units.iter().filter(|(source, object)| modified(object) <= headers.max(modified(source))).collect();
    let tool = compiler.get_compiler();
    let jobs = var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1);
    thread::scope(|scope| {
        for job in 0..jobs {
            let (stale, tool, root) = (&stale, &tool, &root);
            scope.spawn(move || {
                stale.iter().skip(job).step_by(jobs).for_each(|(from, to)| compile(tool.to_command(), root, from, to))
            });
        }
    });
    // The kernels register themselves, so nothing names their objects: the linker has to take all of them.
    compiler
        .objects(units.iter().map(|(_, object)| object))
        .link_lib_modifier("+whole-archive")
        .compile("espalier_sim");
    for library in [("address", "asan"), ("undefined", "ubsan")] {
        if sanitize.split(',').any(|name| name == library.0) {
            println!("cargo:rustc-link-lib=dylib={}", library.1);
        }
    }
}

/// Kernels are compiled inside a nameless namespace: what two files call by the same name stays apart, as on the GPU.
fn compile(mut compiler: Command, root: &Path, source: &Path, object: &Path) {
    let mut unit = source.to_path_buf();
    if source.extension().is_some_and(|kind| kind == "cu") {
        unit = object.with_extension("cpp");
        let text = format!("#include {:?}\nnamespace {{\n#include {source:?}\n}}\n", root.join("sim/sim.h"));
        fs::write(&unit, text).unwrap();
    }
    let output = compiler.arg("-c").arg(unit).arg("-o").arg(object).output().unwrap();
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        println!("cargo:warning={line}");
    }
    if !output.status.success() {
        exit(1);
    }
}

/// The files of a folder that end so, in order.
fn files(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == kind)).collect();
    files.sort();
    files
}

/// When the file was written; long ago if there is none.
fn modified(file: &Path) -> SystemTime {
    fs::metadata(file).and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
