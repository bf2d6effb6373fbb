//! The real driver's calls, against a library that pretends to be NVIDIA's (`fake_cuda/fake.c`): what is called, in
//! which order, with what, and what errors say. Whether a card computes the same is for a machine that has one.
#![cfg(target_os = "linux")]

use espalier::gpu::driver::{Driver, Launch};
use espalier::gpu::lt::{ComputeType, DataType, DescAttribute, Matmul, Operand};
use espalier::gpu::{cuda, libraries, modules};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::{env, fs};
use tempfile::TempDir;

/// A folder with the pretended libraries; none, in one line, where there is no C compiler.
fn fakes() -> Option<TempDir> {
    pretended("-O0", ["libcuda.so", "libnvrtc.so", "libcublasLt.so"])
}

fn pretended(option: &str, names: [&str; 3]) -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join(names[0]);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake_cuda/fake.c");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let made =
        Command::new(&compiler).args(["-shared", "-fPIC", "-w", option, "-o"]).arg(&library).arg(source).output();
    let Ok(output) = made else {
        let why = format!("no C compiler ({compiler}) for the pretended driver");
        assert!(!env::var("ESPALIER_REQUIRE_CUDA_TOOLS").is_ok_and(|value| value == "1"), "{why}");
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in &names[1..] {
        fs::copy(&library, folder.path().join(name)).unwrap();
    }
    Some(folder)
}

/// Runs a program with the fake libraries in front of all others; its words.
fn with_fakes(folder: &TempDir, command: &mut Command, variables: &[(&str, &str)]) -> (bool, String) {
    let [driver, libraries, capability] =
        [("FAKE_DRIVER", "13000"), ("FAKE_LIBRARIES", "13"), ("FAKE_CAPABILITY", "99")];
    let output = command
        .env("LD_LIBRARY_PATH", folder.path())
        .env("XDG_CACHE_HOME", folder.path())
        .env("FAKE_LOG", folder.path().join("log"))
        .env_remove("ESPALIER_CUDA_LIBS")
        .env("ESPALIER_CUDA_DEVICE", "1")
        .envs([driver, libraries, capability])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let [out, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    (output.status.success(), out + &errors)
}

/// Runs a test of this program once more with the fake libraries, for [`pretending`] to tell it; its words.
fn again(folder: &TempDir, test: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    let (passed, text) = with_fakes(folder, command.args(["--exact", test, "--nocapture"]), variables);
    assert!(passed && text.contains("1 passed"), "{text}");
    text
}

/// Whether this process is one that [`again`] started.
fn pretending() -> bool {
    env::var_os("FAKE_LOG").is_some()
}

/// What was logged since the last call.
fn calls() -> Vec<String> {
    let path = env::var("FAKE_LOG").unwrap();
    let text = fs::read_to_string(Path::new(&path)).unwrap_or_default();
    fs::write(&path, "").unwrap();
    text.lines().map(String::from).collect()
}

#[test]
fn the_driver_is_called_as_it_wants_to_be() {
    if !pretending() {
        let Some(folder) = fakes() else { return };
        again(&folder, "the_driver_is_called_as_it_wants_to_be", &[]);
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        return assert_eq!(log, "lt destroyed\nstream destroyed\nrelease\n");
    }
    let cuda = cuda::open().map_err(|why| panic!("{why}")).unwrap();
    let limits = cuda.limits();
    assert_eq!((limits.name.as_str(), limits.capability, limits.shared), ("Fake 1", (9, 9), 200 << 10));
    assert_eq!((limits.multiprocessors, limits.memory), (4, 64 << 20));
    assert_eq!(calls(), ["pool 4 ffffffffffffffff"]);
    memory(&cuda);
    launches(&cuda);
    capture(&cuda);
    products(&cuda);
}

fn memory(cuda: &dyn Driver) {
    let (a, b) = (cuda.alloc(5).unwrap(), cuda.alloc(5).unwrap());
    cuda.upload(a, b"abcde").unwrap();
    cuda.copy(b, a, 5).unwrap();
    cuda.zero(b + 1, 2).unwrap();
    let mut back = [9; 5];
    cuda.download(b, &mut back).unwrap();
    assert_eq!(&back, b"a\0\0de");
    cuda.zero_columns(a + 1, 3, 1, 2).unwrap();
    cuda.download(a, &mut back).unwrap();
    assert_eq!(&back, b"a\0cd\0");
    let error = cuda.zero_columns(a, 1, 3, 1).unwrap_err().to_string();
    assert!(error.contains("cuMemsetD2D8Async of 1 times 3 in 1 bytes") && error.contains("INVALID"), "{error}");
    cuda.free(a, 5);
    cuda.free(b, 5);
    assert_eq!(
        calls(),
        ["alloc async", "alloc async", "synchronize", "synchronize", "synchronize", "free async", "free async"]
    );
    let error = cuda.alloc(65 << 20).unwrap_err().to_string();
    for word in ["68157440 bytes", "4096 of 67108864 bytes are free", "CUDA_ERROR_OUT_OF_MEMORY: out of memory"] {
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(calls(), ["alloc async", "synchronize", "trim", "alloc async"]);
    assert_eq!(cuda.time(&mut || Ok(())).unwrap(), 1.5);
    assert_eq!(calls(), ["event", "event", "synchronize"]);
}

fn launches(cuda: &dyn Driver) {
    let mut args = [0u8; 40];
    (args[0], args[39]) = (0xab, 0xcd);
    let launch = |kernel, grid, shared, args| {
        cuda.launch(&Launch { kernel, grid: [grid, 2, 3], block: [32, 4, 1], shared, args }).map_err(|e| e.to_string())
    };
    let logged = |shared| format!("launch softmax_fwd_f32 5 2 3, 32 4 1, {shared}, args ab..cd");
    launch("softmax_fwd_f32", 5, 0, &args).unwrap();
    assert_eq!(calls(), ["nvrtc --gpu-architecture=sm_99".into(), "module of NVRTC".into(), logged(0)]);
    let shared = 100 << 10;
    launch("softmax_fwd_f32", 5, shared, &args).unwrap();
    launch("softmax_fwd_f32", 5, shared, &args).unwrap();
    let attribute = format!("attribute 8 of softmax_fwd_f32: {shared}");
    assert_eq!(calls(), [attribute, logged(shared), logged(shared)]);
    let error = launch("softmax_fwd_f32", 5, 300 << 10, &args).unwrap_err();
    assert!(error.contains("softmax_fwd_f32: 307200 bytes") && error.contains("has 204800"), "{error}");
    let error = launch("softmax_fwd_f32", 0, 0, &args).unwrap_err();
    assert!(
        error.contains("cuLaunchKernel of softmax_fwd_f32 with grid 0 x 2 x 3") && error.contains("INVALID"),
        "{error}"
    );
    let error = launch("softmax_fwd_f32", 1, 0, &args[..32]).unwrap_err();
    assert!(error.contains("expected 40 bytes of arguments, found 32"), "{error}");
    let error = launch("no_kernel_f32", 1, 0, &args).unwrap_err();
    assert!(error.contains("no_kernel_f32"), "{error}");
    calls();
}

fn capture(cuda: &dyn Driver) {
    let before = cuda.alloc(8).unwrap();
    cuda.begin_capture().unwrap();
    let during = cuda.alloc(8).unwrap();
    cuda.free(before, 8);
    for refused in
        [cuda.upload(during, b"x"), cuda.download(during, &mut [0]), cuda.synchronize(), cuda.begin_capture()]
    {
        assert!(refused.unwrap_err().to_string().contains("while work is recorded"));
    }
    let replay = cuda.end_capture().unwrap();
    replay.launch().unwrap();
    replay.launch().unwrap();
    drop(replay);
    cuda.free(during, 8);
    let expected = ["alloc async", "alloc plain", "capture ends", "free async", "graph destroyed", "replay", "replay"];
    assert_eq!(calls(), [&expected[..], &["synchronize", "exec destroyed", "synchronize", "free plain"]].concat());
}

fn products(cuda: &dyn Driver) {
    let lt = cuda.lt();
    let desc = lt.desc(ComputeType::CUBLAS_COMPUTE_32F, DataType::CUDA_R_32F).unwrap();
    let transpose = DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA;
    lt.set_desc(desc, transpose, &1i32.to_ne_bytes()).unwrap();
    let error = lt.set_desc(desc, transpose, &[1]).unwrap_err().to_string();
    assert!(error.contains("INVALID_VALUE: words") && error.contains("TRANSA"), "{error}");
    let layout = |rows| lt.layout(DataType::CUDA_R_32F, rows, 2, 16).unwrap();
    let (a, b, c) = (layout(16), layout(17), layout(18));
    let algo = lt.heuristic(desc, a, b, c, 1 << 20).unwrap();
    assert_eq!(algo, [100, 101, 102, 103, 104, 105, 106, 107]);
    // Workspace; partial sums by the workspace only, in f32 (2, never in place); 16 bytes for each operand.
    let preferences = ["1: 1048576", "3: 2", "5: 16", "6: 16", "7: 16", "8: 16"];
    assert_eq!(calls(), preferences.map(|text| format!("preference {text}")));
    let error = lt.heuristic(desc, layout(99), b, c, 64).unwrap_err().to_string();
    assert!(error.contains("no algorithm in 64 bytes"), "{error}");
    calls();
    let operand = |address, layout| Operand { address, layout };
    let (alpha, beta) = (2f32.to_ne_bytes(), 0.5f32.to_ne_bytes());
    let mut product = Matmul {
        desc,
        alpha: &alpha,
        beta: &beta,
        a: operand(0x10, a),
        b: operand(0x20, b),
        c: operand(0x30, c),
        d: operand(0x40, c),
        algo,
        workspace: (0x100, 256),
    };
    lt.matmul(&product).unwrap();
    assert_eq!(calls(), ["matmul 2 0.5 10 20 30 40, algo 107, 256 bytes, stream 1"]);
    product.b.address = 0x24;
    assert!(lt.matmul(&product).unwrap_err().to_string().contains("0x24"));
    assert!(calls().is_empty());
}

/// Launches a kernel on a card of its own; the calls from its code's arrival on.
fn launched() -> Result<Vec<String>, String> {
    let cuda = cuda::open()?;
    calls();
    let launch = Launch { kernel: "softmax_fwd_f32", grid: [1; 3], block: [32, 1, 1], shared: 0, args: &[0; 40] };
    cuda.launch(&launch).map_err(|error| error.to_string())?;
    Ok(calls())
}

#[test]
fn code_of_a_newer_toolkit_is_not_used() {
    if !pretending() {
        let Some(folder) = fakes() else { return };
        for driver in ["12040", "13000"] {
            let variables = [("FAKE_DRIVER", driver), ("FAKE_LIBRARIES", &driver[..2]), ("FAKE_CAPABILITY", "80")];
            again(&folder, "code_of_a_newer_toolkit_is_not_used", &variables);
        }
        return;
    }
    let driver = libraries::driver().as_ref().unwrap().0;
    // nvcc 13 made what is built in, if it is of no use to a driver of CUDA 12.
    let built_in = modules::is_embedded((8, 0), driver);
    assert!(!built_in || driver >= modules::nvcc());
    let compiled = ["nvrtc --gpu-architecture=sm_80", "module of NVRTC"];
    let expected = if built_in { &["module of nvcc"][..] } else { &compiled };
    assert_eq!(launched().unwrap()[..expected.len()], *expected);
}

#[test]
fn refused_code_is_compiled_anew() {
    if !pretending() {
        let Some(folder) = fakes() else { return };
        again(&folder, "refused_code_is_compiled_anew", &[]);
        return;
    }
    let compiled = ["nvrtc --gpu-architecture=sm_99", "module of NVRTC"];
    assert_eq!(launched().unwrap()[..2], compiled);
    assert_eq!(launched().unwrap()[0], "module of NVRTC");
    let folder = espalier::io::cache_folder().unwrap();
    let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let stale = [&crc32fast::hash(b"stale!").to_le_bytes()[..], b"stale!"].concat();
    fs::write(&file, stale).unwrap();
    assert_eq!(launched().unwrap()[..3], [&["module refused"], &compiled[..]].concat());
    assert_eq!(launched().unwrap()[0], "module of NVRTC");
    fs::write(format!("{}.refuse", env::var("FAKE_LOG").unwrap()), "").unwrap();
    let error = launched().unwrap_err();
    let (first, second) = (error.find("Cache").unwrap(), error.find("Compiled").unwrap());
    assert!(first < second && error.matches("INVALID_IMAGE").count() == 2, "{error}");
    assert_eq!(calls()[..3], ["module refused", compiled[0], "module refused"]);
}

#[test]
fn what_cannot_work_is_told() {
    if pretending() {
        return println!("{}", cuda::open().err().expect("it opens"));
    }
    let Some(folder) = fakes() else { return };
    for (variable, value, words) in [
        ("ESPALIER_CUDA_DEVICE", "2", "ESPALIER_CUDA_DEVICE: expected the number of one of 2 devices, from 0, found 2"),
        ("ESPALIER_CUDA_DEVICE", "x", "found x"),
        ("FAKE_DRIVER", "12040", "is of CUDA 13, the driver of 12.4: install a newer driver or CUDA 12 libraries"),
        ("FAKE_CAPABILITY", "75", "compute capability 7.5: 8.0"),
    ] {
        let text = again(&folder, "what_cannot_work_is_told", &[(variable, value)]);
        assert!(text.contains(words), "{text}");
    }
}

/// What a system has under the names without a version does not hide what the variable names.
#[test]
fn the_named_libraries_win() {
    if !pretending() {
        let Some(folder) = fakes() else { return };
        let named = pretended("-DLIBRARIES=12", ["unused.so", "libnvrtc.so.12", "libcublasLt.so.12"]).unwrap();
        let variables = [("FAKE_DRIVER", "12040"), ("ESPALIER_CUDA_LIBS", named.path().to_str().unwrap())];
        again(&folder, "the_named_libraries_win", &variables);
        return;
    }
    assert_eq!((libraries::nvrtc(), libraries::cublaslt()), (&Ok((12, 0)), &Ok((12, 0))));
    assert_eq!(launched().unwrap()[..2], ["nvrtc --gpu-architecture=sm_99", "module of NVRTC"]);
}

/// A driver that lacks a call is an error that names it, for the program that asks for the card and for the doctor.
#[test]
fn a_driver_without_a_call_ends_no_process() {
    let Some(folder) = pretended("-DPARTIAL", ["libcuda.so", "libnvrtc.so", "libcublasLt.so"]) else { return };
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_espalier"));
        with_fakes(&folder, command.args(arguments), &[])
    };
    let (passed, text) = run(&["doctor"]);
    assert!(passed && text.contains("not in use") && text.contains("cuCtxSetCurrent"), "{text}");
    let (passed, text) = run(&["bench", "--device", "cuda", "--model", "deit_tiny_patch16_224"]);
    assert!(!passed && text.contains("error: ") && text.contains("cuCtxSetCurrent"), "{text}");
}

/// Here kernels launch, but do nothing.
#[test]
fn doctor_tries_the_card() {
    let Some(folder) = fakes() else { return };
    let mut command = Command::new(env!("CARGO_BIN_EXE_espalier"));
    let (passed, text) = with_fakes(&folder, command.arg("doctor"), &[]);
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("launch fill_f32") && log.contains("matmul 1 0"), "{log}");
    assert!(passed && text.contains("not in use: a trial of the card") && text.contains("8 everywhere"), "{text}");
}
