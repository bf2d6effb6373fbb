//! Checkpoint files: safetensors and PyTorch's `.pth` in and out, atomic writing, downloads, and where the weights are. Nothing in
//! a file is trusted: nothing is executed, every length is checked against the bytes that are there before memory is
//! taken, and what a file expands to is bounded by a small multiple of its size.

pub mod atomic;
pub mod blob;
pub mod fetch;
mod guard;
pub mod keys;
pub mod pth;
pub mod safetensors;

pub use atomic::write_atomic;
pub use blob::{Blob, BlobType};

use crate::{Error, Result, error::FileProblem, report::table::shorten};
use guard::{Fault, fault};
use serde::{Serialize, de::DeserializeOwned};
use std::path::{Path, PathBuf};

/// Where what can be had again is kept, compiled kernels, downloads, measurements: `espalier` in `XDG_CACHE_HOME` or `~/.cache`.
pub fn cache_folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("espalier"))
}

/// The longest JSON that is read or written as a whole: in memory it can be thirty times as much.
const MOST_JSON: usize = 2 << 20;

/// A value from JSON, or why not.
pub fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    check_json(text)?;
    serde_json::from_str(text).map_err(|error| shorten(&error.to_string(), 400))
}

/// JSON that [`from_json`] reads: on one line, or `pretty`.
pub fn to_json(value: &impl Serialize, pretty: bool) -> Result<String, String> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.map_err(|error| error.to_string())?;
    check_json(&text).map(|()| text)
}

fn check_json(text: &str) -> Result<(), String> {
    let (fits, found) = (text.len() <= MOST_JSON, text.len());
    if fits { Ok(()) } else { Err(format!("{found} bytes, more than {MOST_JSON}")) }
}

/// What a `.pth` file holds beside tensors.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the plain ones are Python's own")]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits: two's complement, little-endian.
    Big(Vec<u8>),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    /// A list, tuple or set without tensors and dictionaries in it.
    List(Vec<Value>),
    /// An object that is not built: its class, such as `argparse.Namespace`.
    Opaque(String),
}

impl Value {
    /// The number, if it is one; long integers are rounded.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            Value::Big(bytes) => {
                let (sign, rest) = bytes.split_last()?;
                Some(rest.iter().rev().fold((*sign as i8).into(), |value, byte| value * 256.0 + f64::from(*byte)))
            }
            _ => None,
        }
    }
}

/// The contents of a checkpoint file. A name is the path in the nested dictionaries and lists, joined with `/`:
/// `model/blocks.0.norm1.weight`.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// The file it came from.
    pub file: PathBuf,
    /// Names and tensors in the order of the file.
    pub tensors: Vec<(String, Blob)>,
    /// The other leaves (`.pth` only).
    pub values: Vec<(String, Value)>,
    /// The `__metadata__` entries (safetensors only).
    pub metadata: Vec<(String, String)>,
    /// `(name, first name)` of tensors that view the same storage (`.pth` only).
    pub tied: Vec<(String, String)>,
}

impl Checkpoint {
    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&Blob> {
        find(&self.tensors, name)
    }

    /// The tensor called `name`, or an [`Error::Key`].
    pub fn require(&self, name: &str) -> Result<&Blob> {
        self.get(name).ok_or_else(|| Error::key(&self.file.display().to_string(), name, "a tensor", "no such key"))
    }

    /// The other leaf called `name`.
    pub fn value(&self, name: &str) -> Option<&Value> {
        find(&self.values, name)
    }
}

fn find<'a, T>(list: &'a [(String, T)], name: &str) -> Option<&'a T> {
    list.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Reads a checkpoint of any known format, told apart by its first bytes (base_models 10.1). Errors: [`Error::Io`] when
/// the file cannot be read, [`Error::File`] when it is damaged, hostile or of another kind.
pub fn read(path: impl AsRef<Path>) -> Result<Checkpoint> {
    let path = path.as_ref();
    let data = std::fs::read(path).map_err(Error::io("read", path))?;
    parse(path, &data)
}

/// [`read`] of a file that is in memory already; `file` is what errors name.
pub fn parse(file: &Path, data: &[u8]) -> Result<Checkpoint> {
    let parsed = if data.starts_with(pth::zip::MAGIC) {
        pth::parse(data)
    } else if data.starts_with(pth::legacy::MAGIC) {
        pth::legacy::parse(data)
    } else if data.get(8) == Some(&b'{') {
        safetensors::parse(data)
    } else if pth::legacy::MAGIC.starts_with(data) || pth::zip::MAGIC.starts_with(data) {
        fault(FileProblem::Truncated, format!("{} bytes are no checkpoint", data.len()))
    } else {
        fault(FileProblem::UnknownFormat, "neither safetensors nor a .pth of PyTorch 0.1.10 or newer")
    };
    let file = file.to_path_buf();
    match parsed {
        Ok(checkpoint) => Ok(Checkpoint { file, ..checkpoint }),
        Err(Fault { problem, detail }) => Err(Error::File { file, problem, detail }),
    }
}
