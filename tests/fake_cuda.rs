//! The real driver's calls, against a library that pretends to be NVIDIA's (`fake_cuda/fake.c`): what is called, in
//! which order, with what, and what errors say. Whether a card computes the same is for a machine that has one.
#![cfg(target_os = "linux")]

use espalier::gpu::cuda;
use espalier::gpu::driver::{Driver, Launch};
use espalier::gpu::lt::{ComputeType, DataType, DescAttribute, Matmul, Operand};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

/// Runs the test `inner` of this program with the fake libraries in front of all others; its log.
fn with_fakes(inner: &str, driver: &str, device: &str) -> Option<(Output, String)> {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libcuda.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake_cuda/fake.c");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let Ok(output) = Command::new(&compiler).args(["-shared", "-fPIC", "-w", "-o"]).arg(&library).arg(source).output()
    else {
        let _ = writeln!(std::io::stderr(), "skipped: no C compiler ({compiler}) for the pretended driver");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["libnvrtc.so", "libcublasLt.so"] {
        fs::copy(&library, folder.path().join(name)).unwrap();
    }
    let log = folder.path().join("log");
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", inner, "--nocapture"])
        .env("LD_LIBRARY_PATH", folder.path())
        .env("XDG_CACHE_HOME", folder.path())
        .env_remove("ESPALIER_CUDA_LIBS")
        .env("ESPALIER_CUDA_DEVICE", device)
        .envs([("FAKE_DRIVER", driver), ("FAKE_LOG", log.to_str().unwrap())])
        .output()
        .unwrap();
    Some((output, fs::read_to_string(log).unwrap_or_default()))
}

/// Whether this process is one that [`with_fakes`] started.
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
    if pretending() {
        return;
    }
    if let Some((output, log)) = with_fakes("inner_calls", "13000", "1") {
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        assert_eq!(log, "lt destroyed\nstream destroyed\nrelease\n");
    }
}

#[test]
fn inner_calls() {
    if !pretending() {
        return;
    }
    let cuda = cuda::open().map_err(|why| panic!("{why}")).unwrap();
    let limits = cuda.limits();
    assert_eq!((limits.name.as_str(), limits.capability, limits.shared), ("Fake 1", (9, 9), 200 << 10));
    assert_eq!((limits.multiprocessors, limits.memory), (4, 1 << 20));
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
    cuda.free(a, 5);
    cuda.free(b, 5);
    assert_eq!(calls(), ["alloc async", "alloc async", "free async", "free async"]);
    let error = cuda.alloc(3 << 20).unwrap_err().to_string();
    for word in ["3145728 bytes", "4096 of 1048576 bytes are free", "CUDA_ERROR_OUT_OF_MEMORY: out of memory"] {
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(calls(), ["alloc async", "trim", "alloc async"]);
    assert_eq!(cuda.time(&mut || Ok(())).unwrap(), 1.5);
    assert_eq!(calls(), ["event", "event"]);
}

fn launches(cuda: &dyn Driver) {
    let mut args = [0u8; 40];
    (args[0], args[39]) = (0xab, 0xcd);
    let launch = |kernel, grid, shared, args| {
        cuda.launch(&Launch { kernel, grid: [grid, 2, 3], block: [32, 4, 1], shared, args }).map_err(|e| e.to_string())
    };
    let logged = |shared| format!("launch softmax_fwd_f32 5 2 3, 32 4 1, {shared}, args ab..cd");
    launch("softmax_fwd_f32", 5, 0, &args).unwrap();
    assert_eq!(calls(), ["nvrtc --gpu-architecture=sm_99".into(), "module #line ".into(), logged(0)]);
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
    assert_eq!(calls(), [&expected[..], &["exec destroyed", "free plain"]].concat());
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
    // Workspace; partial sums by the workspace only (2 | 4, never in place); 16 bytes for each operand.
    let preferences = ["1: 1048576", "3: 6", "5: 16", "6: 16", "7: 16", "8: 16"];
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

#[test]
fn what_cannot_work_is_told() {
    if pretending() {
        return;
    }
    for (driver, device, words) in [
        ("13000", "2", "ESPALIER_CUDA_DEVICE: expected the number of one of 2 devices, from 0, found 2"),
        ("13000", "x", "found x"),
        ("12040", "0", "is of CUDA 13, the driver of 12.4: install a newer driver or CUDA 12 libraries"),
    ] {
        if let Some((output, _)) = with_fakes("inner_reason", driver, device) {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains(words), "{text}");
        }
    }
}

#[test]
fn inner_reason() {
    if pretending() {
        println!("{}", cuda::open().err().expect("it opens"));
    }
}
