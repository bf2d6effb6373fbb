//! NVIDIA's libraries: found at run time, so that one binary runs with and without them. cudarc panics when one is
//! missing or too old; nothing here does. Its signatures serve for NVRTC and cuBLASLt, its loader for the driver alone.
#![allow(unsafe_code)]

use super::cuda::code;
use cudarc::{cublaslt::sys as lt, driver::sys as driver, nvrtc::sys as nvrtc};
use libloading::Library;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{cell::Cell, env, fs, panic, sync::LazyLock, sync::Once};

/// What gives a machine with this driver the libraries, too.
pub fn install() -> &'static str {
    match driver() {
        Ok((12, _)) => {
            "`pip install nvidia-cublas-cu12 nvidia-cuda-nvrtc-cu12` and \
             ESPALIER_CUDA_LIBS=<its nvidia/cublas/lib>:<its nvidia/cuda_nvrtc/lib>"
        }
        _ => "`pip install nvidia-cublas nvidia-cuda-nvrtc` and ESPALIER_CUDA_LIBS=<its nvidia/cu13/lib>",
    }
}

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
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the pointers are to locals.
        match unsafe { call!(NVRTC, nvrtc::nvrtcVersion(&mut major, &mut minor)) }? {
            nvrtc::nvrtcResult::NVRTC_SUCCESS => Ok((major.unsigned_abs(), minor.unsigned_abs())),
            error => Err(format!("nvrtcVersion: {error:?}")),
        }
    });
    &FOUND
}

/// cuBLASLt's.
pub fn cublaslt() -> &'static Version {
    static FOUND: LazyLock<Version> = LazyLock::new(|| {
        // SAFETY: it only gives a number: 120805, 130002.
        let version = unsafe { call!(CUBLASLT, lt::cublasLtGetVersion()) }? as u32;
        Ok((version / 10_000, version % 10_000 / 100))
    });
    &FOUND
}

/// A library, or why there is none.
type Opened = LazyLock<Result<Library, String>>;

/// NVRTC, opened here and not by cudarc: that asks for `libnvrtc.so` first, and would not see the one that
/// `ESPALIER_CUDA_LIBS` names where the system has another.
pub(super) static NVRTC: Opened = Opened::new(|| load("libnvrtc", &["libnvrtc-builtins"]));

/// cuBLASLt, in the same way.
pub(super) static CUBLASLT: Opened = Opened::new(|| load("libcublasLt", &[]));

/// Calls a function of an opened library, by the signature that cudarc has for it; an error where it is missing.
macro_rules! call {
    ($library:ident, $module:ident::$function:ident($($arg:expr),* $(,)?)) => {{
        use $crate::gpu::libraries::{Signature, address};
        static ADDRESS: std::sync::LazyLock<Result<usize, String>> =
            std::sync::LazyLock::new(|| address(&$crate::gpu::libraries::$library, stringify!($function)));
        let like: unsafe fn($($crate::gpu::libraries::any!($arg)),*) -> _ = $module::$function;
        match &*ADDRESS {
            Ok(address) => Ok(like.at(*address)($($arg),*)),
            Err(why) => Err(why.clone()),
        }
    }};
}
pub(super) use call;

/// A type that is inferred.
macro_rules! any {
    ($arg:expr) => {
        _
    };
}
pub(super) use any;

/// A function of Rust's that stands for one of C's.
pub(super) trait Signature {
    type Foreign;

    /// The function of C's at an address.
    ///
    /// # Safety
    /// It must lie there and have this signature.
    unsafe fn at(self, address: usize) -> Self::Foreign;
}

macro_rules! signatures {
    ($($arg:ident)*) => {
        impl<R, $($arg),*> Signature for unsafe fn($($arg),*) -> R {
            type Foreign = unsafe extern "C" fn($($arg),*) -> R;

            unsafe fn at(self, address: usize) -> Self::Foreign {
                // SAFETY: the caller's promise.
                unsafe { std::mem::transmute::<*const (), Self::Foreign>(address as *const ()) }
            }
        }
        signatures!(@ $($arg)*);
    };
    (@ $first:ident $($rest:ident)*) => { signatures!($($rest)*); };
    (@) => {};
}
signatures!(A B C D E F G H I J K L M N O P);

/// Where a library has a function.
pub(super) fn address(library: &Result<Library, String>, function: &str) -> Result<usize, String> {
    // SAFETY: the function is not called here.
    let found = unsafe { library.as_ref()?.get::<*const ()>(function.as_bytes()) };
    found
        .map(|found| found.addr())
        .map_err(|why| format!("a library is damaged or too old, install a newer one ({why})"))
}

/// Opens a library, those that it will look for before it: from the folders of `ESPALIER_CUDA_LIBS`, else by the loader's
/// own ways, else from the usual folders.
fn load(name: &str, before: &[&str]) -> Result<Library, String> {
    let list = env::var_os("ESPALIER_CUDA_LIBS").unwrap_or_default();
    let named: Vec<PathBuf> = env::split_paths(&list).filter(|folder| !folder.as_os_str().is_empty()).collect();
    let homes = [env::var_os("CUDA_HOME").map(PathBuf::from), Some("/usr/local/cuda".into())];
    let usual: Vec<_> = homes.into_iter().flatten().flat_map(|home| [home.join("lib64"), home.join("lib")]).collect();
    let from = |folders: &[PathBuf]| {
        before.iter().for_each(|name| std::mem::forget(open(folders.iter().flat_map(|folder| versions(folder, name)))));
        open(folders.iter().flat_map(|folder| versions(folder, name)))
    };
    let own = || open(cudarc::get_lib_name_candidates(name.trim_start_matches("lib")));
    let place = if named.is_empty() { String::new() } else { format!(", nor in {}", list.display()) };
    let found = from(&named).or_else(own).or_else(|| from(&usual));
    found.ok_or_else(|| format!("{name} was not found{place}: {}", install()))
}

/// The first that can be opened.
fn open(names: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Option<Library> {
    // SAFETY: as for the driver.
    names.into_iter().find_map(|name| unsafe { Library::new(name.as_ref()) }.ok())
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
