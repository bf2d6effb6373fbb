//! Embeds the kernels: their sources always, their machine code where there is an nvcc.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs};

/// Compressed, machine code is a seventh of its size; drivers have read that for long.
const FATBIN: [&str; 3] = ["-std=c++17", "-fatbin", "-Xfatbin=-compress-all"];

fn folder(variable: &str) -> PathBuf {
    env::var_os(variable).expect("cargo sets it").into()
}

/// Whether a variable is set to 1; a change of it runs this file again.
fn asked(variable: &str) -> bool {
    println!("cargo::rerun-if-env-changed={variable}");
    env::var(variable).is_ok_and(|value| value == "1")
}

/// Writes the tables that `src/gpu/modules.rs` includes: every source by its name, and the fatbin of every kernel file
/// with the architectures in it and nvcc's major version (none without nvcc).
pub fn embed() {
    let (cuda, out) = (&folder("CARGO_MANIFEST_DIR").join("cuda"), &folder("OUT_DIR"));
    let (kernels, mut headers) = (files(cuda, "cu"), files(&cuda.join("common"), "cuh"));
    headers.push(cuda.join("params.h"));
    let required = asked("ESPALIER_REQUIRE_CUDA_TOOLS");
    let (major, archs, fatbins) = fatbins(out, &kernels, &headers).unwrap_or_else(|why| {
        assert!(!required, "{why}");
        println!("cargo::warning={}: kernels will be compiled when they are first used", why.replace('\n', " | "));
        Default::default()
    });
    let mut text = String::from("pub static SOURCES: &[(&str, &str)] = &[\n");
    for path in kernels.iter().chain(&headers) {
        text += &format!("    ({:?}, include_str!({path:?})),\n", path.strip_prefix(cuda).expect("it lies there"));
    }
    text += &format!("];\npub static NVCC: u32 = {major};\npub static ARCHS: &[&str] = &{archs:?};\n");
    text += "pub static FATBINS: &[(&str, &[u8])] = &[\n";
    for path in &fatbins {
        text += &format!("    ({:?}, include_bytes!({path:?})),\n", path.file_stem().expect("it has one"));
    }
    fs::write(out.join("kernels.rs"), text + "];\n").expect("OUT_DIR can be written");
}

/// The files of a folder with this ending, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == ending)).collect();
    found.sort();
    found
}

/// nvcc's major version, and a fatbin for every kernel file with the architectures in them; nothing without nvcc.
fn fatbins(out: &Path, kernels: &[PathBuf], headers: &[PathBuf]) -> Result<(u32, Vec<String>, Vec<PathBuf>), String> {
    let Some(nvcc) = nvcc()? else { return Ok(Default::default()) };
    let (version, archs) = (run(Command::new(&nvcc).arg("--version"))?, architectures(&nvcc)?);
    let major = version.split_once("release ").and_then(|(_, rest)| rest.split('.').next()?.parse().ok());
    let major = major.ok_or_else(|| format!("{} tells no version: {version}", nvcc.display()))?;
    // A header's change concerns every kernel; otherwise only what changed is compiled.
    let mut common = DefaultHasher::new();
    (version, &archs, FATBIN).hash(&mut common);
    headers.iter().for_each(|path| fs::read(path).unwrap_or_default().hash(&mut common));
    let next = AtomicUsize::new(0);
    let worker = || -> Result<(), String> {
        while let Some(source) = kernels.get(next.fetch_add(1, Ordering::Relaxed)) {
            compile(&nvcc, source, &archs, &fatbin(out, source), common.clone())?;
        }
        Ok(())
    };
    // Two at a time: each takes a core and hundreds of megabytes.
    std::thread::scope(|scope| {
        let other = scope.spawn(worker);
        worker().and(other.join().expect("it does not panic"))
    })?;
    Ok((major, archs, kernels.iter().map(|source| fatbin(out, source)).collect()))
}

fn fatbin(out: &Path, source: &Path) -> PathBuf {
    out.join(source.file_name().expect("it has one")).with_extension("fatbin")
}

/// Runs nvcc unless the fatbin is that of the same source, headers and compiler already.
fn compile(nvcc: &Path, source: &Path, archs: &[String], to: &Path, mut key: DefaultHasher) -> Result<(), String> {
    fs::read(source).unwrap_or_default().hash(&mut key);
    let (key, keyed) = (key.finish().to_string(), to.with_extension("key"));
    if to.exists() && fs::read_to_string(&keyed).is_ok_and(|made| made == key) {
        return Ok(());
    }
    let mut command = Command::new(nvcc);
    command.args(FATBIN).arg("-o").arg(to).arg(source);
    for arch in archs {
        command.arg(format!("-gencode=arch=compute_{arch},code=sm_{arch}"));
    }
    run(&mut command)?;
    fs::write(&keyed, key).map_err(|error| format!("{}: {error}", keyed.display()))
}

/// A100, RTX 30 and 40, H100 and H200, and the newest that the compiler knows: of these what it knows.
fn architectures(nvcc: &Path) -> Result<Vec<String>, String> {
    let list = run(Command::new(nvcc).arg("--list-gpu-arch"))?;
    let known: Vec<u32> = list.lines().filter_map(|line| line.strip_prefix("compute_")?.parse().ok()).collect();
    let newest = known.iter().max().ok_or_else(|| format!("{} knows no architecture: {list}", nvcc.display()))?;
    let mut archs: Vec<u32> = [80, 86, 90, *newest].into_iter().filter(|arch| known.contains(arch)).collect();
    archs.dedup();
    Ok(archs.iter().map(|arch| if *arch == 90 { "90a".into() } else { arch.to_string() }).collect())
}

/// `ESPALIER_NVCC`, the one of `CUDA_HOME`, of `PATH`, or of `scripts/cuda_toolkit.sh`; none with `ESPALIER_NO_NVCC=1`.
fn nvcc() -> Result<Option<PathBuf>, String> {
    let off = asked("ESPALIER_NO_NVCC");
    let [named, home] = ["ESPALIER_NVCC", "CUDA_HOME"].map(|name| {
        println!("cargo::rerun-if-env-changed={name}");
        env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    });
    let toolkit = folder("CARGO_MANIFEST_DIR").join("target/cuda/nvidia/cu13/bin/nvcc");
    if toolkit.exists() {
        println!("cargo::rerun-if-changed={}", toolkit.display()); // of a missing file it would mean always
    }
    if off {
        return Ok(None);
    }
    if let Some(named) = named {
        return if named.is_file() { Ok(Some(named)) } else { Err(format!("ESPALIER_NVCC: no {}", named.display())) };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("nvcc"));
    let places = home.map(|home| home.join("bin/nvcc")).into_iter().chain(on_path).chain([toolkit]);
    Ok(places.into_iter().find(|place| place.is_file()))
}

/// What a command prints, or what it says when it fails.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{command:?}: {}\n{text}{said}", output.status))
}
