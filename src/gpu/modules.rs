//! Where the kernels' machine code comes from: what nvcc made when the crate was built, else what NVRTC makes of the
//! embedded sources for the card at hand, kept on disk. Always machine code, never PTX: a driver refuses the PTX of a
//! newer toolkit, and the machine code of one with a newer major version.
#![allow(unsafe_code)]

use super::libraries;
use crate::{Error, Result, io::write_atomic};
use cudarc::nvrtc::sys;
use std::ffi::{CStr, CString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::{fs, io::Write};

/// `SOURCES`, `NVCC`, `ARCHS`, `FATBINS`.
mod built {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

/// Where an image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// nvcc, when the crate was built.
    Embedded,
    /// An earlier run, by way of the disk.
    Cache,
    /// NVRTC, just now.
    Compiled,
}

/// The kernel files, by their names without `.cu`.
pub fn stems() -> impl Iterator<Item = &'static str> {
    built::SOURCES.iter().filter_map(|(name, _)| name.strip_suffix(".cu"))
}

/// The kernels of a file, without their element types: `softmax_fwd`, …
pub fn kernels(stem: &str) -> impl Iterator<Item = &'static str> {
    let lines = source(&format!("{stem}.cu")).unwrap_or("").lines();
    lines.filter_map(|line| {
        let (word, rest) = line.split_once('(')?;
        let kernel = word.strip_prefix("KERNEL")?.chars().all(|c| c.is_ascii_uppercase() || "_0123456789".contains(c));
        kernel.then_some(rest.split([',', ')']).next()?.trim())
    })
}

/// The file that holds a kernel, by its full name: `softmax` for `softmax_fwd_f32`.
pub fn stem_of(kernel: &str) -> Option<&'static str> {
    let base = kernel.rsplit_once('_').map_or(kernel, |(base, _)| base);
    stems().find(|stem| kernels(stem).any(|name| name == base || name == kernel))
}

/// The architectures that the embedded code is for.
pub fn embedded() -> &'static [&'static str] {
    built::ARCHS
}

/// The major version of the nvcc that made it; 0 without.
pub fn nvcc() -> u32 {
    built::NVCC
}

/// Whether some of it runs on a card of this compute capability with a driver of this major version.
pub fn is_embedded(capability: (u32, u32), driver: u32) -> bool {
    nvcc() <= driver && embedded().iter().any(|arch| runs(arch, capability))
}

/// What NVRTC and nvcc call a card of this compute capability.
pub fn arch(capability: (u32, u32)) -> String {
    match capability {
        (9, 0) => "sm_90a".into(),
        (major, minor) => format!("sm_{major}{minor}"),
    }
}

/// The code of a kernel file for a card and its driver's major version, where they refused code of that origin.
pub fn image(
    stem: &str, capability: (u32, u32), driver: u32, cache: Option<&Path>, refused: Option<Origin>,
) -> Result<(Vec<u8>, Origin)> {
    let fatbin = built::FATBINS.iter().find(|(name, _)| *name == stem);
    if let Some((_, bytes)) = fatbin.filter(|_| refused.is_none() && is_embedded(capability, driver)) {
        return Ok((bytes.to_vec(), Origin::Embedded));
    }
    let (arch, mut key) = (arch(capability), DefaultHasher::new());
    (options(&arch), libraries::nvrtc()).hash(&mut key);
    whole(stem)?.hash(&mut key);
    let name = format!("{stem}-{arch}-{:016x}.cubin", key.finish());
    let file = cache.map(|folder| folder.join(name));
    let file = file.filter(|file| refused != Some(Origin::Cache) || fs::remove_file(file).is_ok());
    cached(file.as_deref(), || compile(stem, &arch))
}

/// Whether code for `arch` ("80", "90a") runs on a card: that of a lower minor version does, but for an `a`.
fn runs(arch: &str, (major, minor): (u32, u32)) -> bool {
    let number: u32 = arch.trim_end_matches('a').parse().unwrap_or(0);
    number / 10 == major && if arch.ends_with('a') { number % 10 == minor } else { number % 10 <= minor }
}

/// What `file` holds (four bytes of checksum come first), else what `make` gives, which is then kept there. A file that
/// is damaged or cannot be read or written is as good as none.
pub fn cached(file: Option<&Path>, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<(Vec<u8>, Origin)> {
    let Some(file) = file else { return Ok((make()?, Origin::Compiled)) };
    let kept = fs::read(file).unwrap_or_default();
    if let Some((sum, code)) = kept.split_first_chunk::<4>().filter(|(_, code)| !code.is_empty())
        && crc32fast::hash(code) == u32::from_le_bytes(*sum)
    {
        return Ok((code.to_vec(), Origin::Cache));
    }
    let code = make()?;
    let _ = file.parent().map(fs::create_dir_all);
    let _ = write_atomic(file, |out| {
        out.write_all(&crc32fast::hash(&code).to_le_bytes())?;
        out.write_all(&code)
    });
    Ok((code, Origin::Compiled))
}

fn source(name: &str) -> Option<&'static str> {
    Some(built::SOURCES.iter().find(|(path, _)| *path == name)?.1)
}

/// A kernel file with its headers in place: what NVRTC gets and the cache's key is made of.
fn whole(stem: &str) -> Result<String> {
    let (name, mut text) = (format!("{stem}.cu"), String::new());
    Error::ensure(source(&name).is_some(), "kernel file", "one of the embedded", &name)?;
    inline(&name, &mut Vec::new(), &mut text);
    Ok(text)
}

/// Appends a source, each header once where it is first included. The simulator's stay out: they are not embedded.
fn inline(name: &str, seen: &mut Vec<&'static str>, text: &mut String) {
    *text += &format!("#line 1 \"cuda/{name}\"\n");
    for (number, line) in source(name).unwrap_or("").lines().enumerate() {
        match included(name, line) {
            Some(header) => {
                if !seen.contains(&header) {
                    seen.push(header);
                    inline(header, seen, text);
                }
                *text += &format!("#line {} \"cuda/{name}\"\n", number + 2);
            }
            None if line == "#pragma once" => *text += "\n",
            None => *text += &format!("{line}\n"),
        }
    }
}

/// The embedded header that a line of `name` includes.
fn included(name: &str, line: &str) -> Option<&'static str> {
    let path = line.strip_prefix("#include \"")?.split('"').next()?;
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = match path.strip_prefix("../") {
        Some(path) => path.into(),
        None if folder.is_empty() => path.to_string(),
        None => format!("{folder}/{path}"),
    };
    built::SOURCES.iter().map(|(name, _)| *name).find(|name| *name == path)
}

/// `-default-device`: lambdas with `auto` have no place for the annotation that NVRTC asks for.
fn options(arch: &str) -> [String; 3] {
    ["-std=c++17".into(), "-default-device".into(), format!("--gpu-architecture={arch}")]
}

/// Compiles a kernel file for an architecture (`sm_80`) with NVRTC, which needs no card.
pub fn compile(stem: &str, arch: &str) -> Result<Vec<u8>> {
    let what = || format!("cuda/{stem}.cu for {arch}");
    libraries::nvrtc().as_ref().map_err(|why| Error::device(what(), why))?;
    let text = |text: String| CString::new(text).map_err(|error| Error::device(what(), error));
    let (source, name) = (text(whole(stem)?)?, text(format!("cuda/{stem}.cu"))?);
    let options = options(arch).map(text);
    let options = options.into_iter().collect::<Result<Vec<_>>>()?;
    let made = Program::new(&source, &name).and_then(|program| program.compile(&options));
    made.map_err(|why| Error::device(what(), why))
}

/// A call of NVRTC; an error unless it succeeded.
macro_rules! nvrtc {
    ($call:ident($($arg:expr),*)) => {
        // SAFETY: pointers are to what outlives the call and as large as NVRTC says; it copies what it keeps.
        match unsafe { libraries::call!(NVRTC, sys::$call($($arg),*)) } {
            Ok(sys::nvrtcResult::NVRTC_SUCCESS) => Ok(()),
            Ok(error) => Err(format!("{}: {error:?}", stringify!($call))),
            Err(why) => Err(why),
        }
    };
}

/// A program of NVRTC's.
struct Program(sys::nvrtcProgram);

impl Program {
    fn new(source: &CStr, name: &CStr) -> Result<Self, String> {
        let (mut program, none) = (std::ptr::null_mut(), std::ptr::null());
        nvrtc!(nvrtcCreateProgram(&mut program, source.as_ptr(), name.as_ptr(), 0, none, none))?;
        Ok(Self(program))
    }

    fn compile(&self, options: &[CString]) -> Result<Vec<u8>, String> {
        let options: Vec<_> = options.iter().map(|option| option.as_ptr()).collect();
        nvrtc!(nvrtcCompileProgram(self.0, options.len() as i32, options.as_ptr())).map_err(|error| {
            let log = self.log().unwrap_or_default();
            format!("{error}\n{}", String::from_utf8_lossy(log.strip_suffix(b"\0").unwrap_or(&log)).trim_end())
        })?;
        let mut size = 0;
        nvrtc!(nvrtcGetCUBINSize(self.0, &mut size))?;
        let mut code = vec![0u8; size];
        nvrtc!(nvrtcGetCUBIN(self.0, code.as_mut_ptr().cast()))?;
        Ok(code)
    }

    fn log(&self) -> Result<Vec<u8>, String> {
        let mut size = 0;
        nvrtc!(nvrtcGetProgramLogSize(self.0, &mut size))?;
        let mut log = vec![0u8; size];
        nvrtc!(nvrtcGetProgramLog(self.0, log.as_mut_ptr().cast()))?;
        Ok(log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = nvrtc!(nvrtcDestroyProgram(&mut self.0));
    }
}
