//! NVIDIA's libraries: found at run time, so that one binary runs with and without them. cudarc panics when one is
//! missing or too old; nothing here does.
#![allow(unsafe_code)]

use super::cuda::code;
use cudarc::{cublaslt::sys as lt, driver::sys as driver, nvrtc::sys as nvrtc};
use libloading::Library;
use std::path::{Path, PathBuf};
use std::{cell::Cell, env, fs, panic, sync::LazyLock, sync::Once};

/// What gives a machine with a driver the libraries, too.
pub const INSTALL: &str = "`pip install nvidia-cublas nvidia-cuda-nvrtc` and ESPALIER_CUDA_LIBS=<its nvidia/cu13/lib>";

/// A version as `(major, minor)`, or why the library cannot be used.
pub type Version = Result<(u32, u32), String>;

/// The CUDA version that the driver is made for.
pub fn driver() -> &'static Version {
    static FOUND: LazyLock<Version> = LazyLock::new(|| {
        // SAFETY: loading a library runs its constructors; NVIDIA's only set up its own state.
        let version = quietly("libcuda", || match unsafe { driver::is_culib_present() } {
            false => Err("no NVIDIA driver was found (libcuda): install one".into()),
            true => {
                let mut version = 0;
                // SAFETY: the pointer is to a local.
                code(unsafe { driver::cuDriverGetVersion(&mut version) }).map(|()| version.unsigned_abs())
            }
        })?;
        Ok((version / 1000, version % 1000 / 10))
    });
    &FOUND
}

/// NVRTC's.
pub fn nvrtc() -> &'static Version {
    static FOUND: LazyLock<Version> = LazyLock::new(|| {
        // SAFETY: as for the driver.
        load(&["libnvrtc-builtins", "libnvrtc"], "nvrtcVersion", || unsafe {
            nvrtc::is_culib_present().then(|| nvrtc::culib())
        })?;
        quietly("libnvrtc", || {
            let (mut major, mut minor) = (0, 0);
            // SAFETY: the pointers are to locals.
            match unsafe { nvrtc::nvrtcVersion(&mut major, &mut minor) } {
                nvrtc::nvrtcResult::NVRTC_SUCCESS => Ok((major.unsigned_abs(), minor.unsigned_abs())),
                error => Err(format!("nvrtcVersion: {error:?}")),
            }
        })
    });
    &FOUND
}

/// cuBLASLt's.
pub fn cublaslt() -> &'static Version {
    static FOUND: LazyLock<Version> = LazyLock::new(|| {
        // SAFETY: as for the driver.
        load(&["libcublasLt"], "cublasLtGetVersion", || unsafe { lt::is_culib_present().then(|| lt::culib()) })?;
        // SAFETY: it only gives a number: 120805, 130002.
        let version = quietly("libcublasLt", || Ok(unsafe { lt::cublasLtGetVersion() } as u32))?;
        Ok((version / 10_000, version % 10_000 / 100))
    });
    &FOUND
}

/// Sees to it that the loader finds the last of `names`, as `present` will say: by the folders of `ESPALIER_CUDA_LIBS`,
/// else by the loader's own ways, else in the usual folders. The loader knows what is loaded by its `name.so.12` only, and
/// cudarc asks for `name.so` first: where the system has that, it would win over the variable, and is refused.
fn load(names: &[&str], function: &str, present: impl Fn() -> Option<&'static Library>) -> Result<(), String> {
    let name = names[names.len() - 1];
    let list = env::var_os("ESPALIER_CUDA_LIBS").unwrap_or_default();
    let named: Vec<PathBuf> = env::split_paths(&list).filter(|folder| !folder.as_os_str().is_empty()).collect();
    let wanted = open(&named, names).and_then(|path| fs::canonicalize(path).ok());
    if let Some(library) = present() {
        return match (wanted, file_of(library, function)) {
            (Some(wanted), Some(file)) if wanted != file => Err(format!(
                "ESPALIER_CUDA_LIBS names {}, but the system gives {}: set LD_LIBRARY_PATH to the folder of {name}.so",
                wanted.display(),
                file.display(),
            )),
            _ => Ok(()),
        };
    }
    let homes = [env::var_os("CUDA_HOME").map(PathBuf::from), Some("/usr/local/cuda".into())];
    let usual = homes.into_iter().flatten().flat_map(|home| [home.join("lib64"), home.join("lib")]);
    open(&usual.collect::<Vec<_>>(), names);
    let place = if named.is_empty() { String::new() } else { format!(", nor in {}", list.display()) };
    if present().is_some() { Ok(()) } else { Err(format!("{name} was not found{place}: {INSTALL}")) }
}

/// Loads each of `names` from the first folder that has it, and tells from where the last. The loader then gives the same
/// to whoever asks for `name.so.12`.
fn open(folders: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    let load = |name: &&str| {
        let mut paths = folders.iter().flat_map(|folder| versions(folder, name));
        // SAFETY: as for the driver; the library stays loaded.
        paths.find(|path| unsafe { Library::new(path) }.map(std::mem::forget).is_ok())
    };
    names.iter().map(load).last().flatten()
}

/// The file that a function of a library lies in, where the system tells.
fn file_of(library: &Library, function: &str) -> Option<PathBuf> {
    // SAFETY: the function is not called: its address is all that is looked at.
    let address = unsafe { library.get::<*const ()>(function.as_bytes()) }.ok()?.addr();
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        let [from, to] = [from, to].map(|hex| usize::from_str_radix(hex, 16).unwrap_or(0));
        (from..to).contains(&address).then(|| line.find('/').map(|start| line[start..].into()))?
    })
}

/// `folder/name.so.12` and newer, the newest first.
fn versions(folder: &Path, name: &str) -> Vec<PathBuf> {
    let major = |file: &str| file.strip_prefix(name)?.strip_prefix(".so.")?.split('.').next()?.parse::<u32>().ok();
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let known =
        |file: fs::DirEntry| Some((major(file.file_name().to_str()?).filter(|major| *major >= 12)?, file.path()));
    let mut found: Vec<_> = files.filter_map(known).collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// Runs `work` on `library`; a panic in it, cudarc's answer to a missing symbol, becomes an error and prints nothing.
pub(super) fn quietly<T>(library: &str, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let other = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                other(info)
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = panic::catch_unwind(panic::AssertUnwindSafe(work));
    QUIET.set(before);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let line = text.unwrap_or("").lines().next().unwrap_or("");
        Err(format!("{library} is damaged or too old, install a newer one ({line})"))
    })
}
