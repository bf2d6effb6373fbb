//! Where the kernels' machine code comes from: the table of kernels, NVRTC (which needs no card), and the disk.

use espalier::Error;
use espalier::gpu::modules::{self, Origin};
use espalier::gpu::{args::Args, libraries, params};
use std::io::Write;
use std::{cell::Cell, fs};

#[test]
fn every_kernel_is_found_by_its_name() {
    assert!(modules::stems().any(|stem| stem == "softmax"));
    for stem in modules::stems() {
        assert!(modules::kernels(stem).count() > 0, "cuda/{stem}.cu has no kernel");
        for kernel in modules::kernels(stem) {
            assert_eq!(modules::stem_of(&format!("{kernel}_f32")), Some(stem));
        }
    }
    assert_eq!(modules::stem_of(&format!("{}_bf16", params::SoftmaxFwd::KERNEL)), Some("softmax"));
    assert_eq!(modules::stem_of("no_such_kernel_f32"), None);
    assert_eq!((modules::arch((9, 0)), modules::arch((8, 6))), ("sm_90a".into(), "sm_86".into()));
}

/// Whether NVRTC is there; where it is not, one line past the harness says what was left out.
fn nvrtc() -> bool {
    let Err(why) = libraries::nvrtc() else { return true };
    assert!(!std::env::var("ESPALIER_REQUIRE_CUDA_TOOLS").is_ok_and(|value| value == "1"), "{why}");
    let _ = writeln!(std::io::stderr(), "skipped: kernels were not compiled: {why}");
    false
}

#[test]
fn every_kernel_file_compiles() {
    if !nvrtc() {
        return;
    }
    for (stem, arch) in modules::stems().flat_map(|stem| [(stem, "sm_80"), (stem, "sm_90a")]) {
        let code = modules::compile(stem, arch).unwrap_or_else(|error| panic!("{error}"));
        assert!(code.starts_with(b"\x7fELF"), "{stem} for {arch} is no machine code");
        for kernel in modules::kernels(stem) {
            let name = kernel.as_bytes();
            assert!(code.windows(name.len()).any(|bytes| bytes == name), "no {kernel} in {stem} for {arch}");
        }
    }
    let refused = modules::compile("softmax", "sm_10").unwrap_err().to_string();
    assert!(refused.contains("cuda/softmax.cu for sm_10") && refused.contains("gpu-architecture"), "{refused}");
    assert!(modules::compile("none", "sm_80").unwrap_err().to_string().contains("none.cu"));
}

#[test]
fn an_image_is_compiled_once() {
    let folder = tempfile::tempdir().unwrap();
    // For a driver older than every nvcc: nothing embedded is for it.
    let image = |refused| modules::image("softmax", (8, 0), 0, Some(folder.path()), refused).unwrap();
    if nvrtc() {
        let (first, origin) = image(None);
        assert_eq!(origin, Origin::Compiled);
        assert!(first.starts_with(b"\x7fELF"));
        assert_eq!(image(None), (first.clone(), Origin::Cache));
        assert_eq!(image(Some(Origin::Embedded)), (first.clone(), Origin::Cache));
        assert_eq!(image(Some(Origin::Cache)), (first, Origin::Compiled));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    if let Some(arch) = modules::embedded().first() {
        let number: u32 = arch.trim_end_matches('a').parse().unwrap();
        let (capability, nvcc) = ((number / 10, number % 10), modules::nvcc());
        assert!(nvcc >= 12 && !modules::is_embedded(capability, nvcc - 1));
        let (code, origin) = modules::image("softmax", capability, nvcc, None, None).unwrap();
        assert!(origin == Origin::Embedded && code.len() > 1000);
    }
}

#[test]
fn the_cache_hits_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let (file, made) = (folder.path().join("new/kernel.cubin"), Cell::new(0));
    let get = || {
        let make = || {
            made.set(made.get() + 1);
            Ok(b"machine code".to_vec())
        };
        let (code, origin) = modules::cached(Some(&file), make).unwrap();
        assert_eq!(code, b"machine code");
        origin
    };
    assert_eq!((get(), get(), made.get()), (Origin::Compiled, Origin::Cache, 1));
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for bad in [&damaged[..], &whole[..whole.len() - 1], &whole[..4], &whole[..3], b"", &[0; 4]] {
        fs::write(&file, bad).unwrap();
        assert_eq!((get(), get()), (Origin::Compiled, Origin::Cache), "after {bad:?}");
    }
    assert_eq!(made.get(), 7);
    // What cannot be read or written is as good as none: here a folder stands in its place.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!((get(), get()), (Origin::Compiled, Origin::Compiled));
    // A failure is not kept.
    let refuse = || Err(Error::device("cuda/kernel.cu", "refused"));
    assert!(modules::cached(Some(&folder.path().join("failed")), refuse).is_err());
    assert!(!folder.path().join("failed").exists());
}
