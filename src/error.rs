//! Every error the crate can return: it names the file or op, the key, what was expected and what was found.

use std::{fmt::Debug, fmt::Display, path::Path, path::PathBuf};

/// The result of every function that can be given bad input.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a checkpoint file was refused; the error's detail says where and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the others say it by their names")]
pub enum FileProblem {
    /// Neither safetensors nor a `.pth` of a known format.
    UnknownFormat,
    Truncated,
    /// The zip archive is damaged or lacks an entry.
    BadArchive,
    Checksum,
    UnsupportedByteorder,
    UnsupportedCompression,
    /// A pickle names a class or function outside the allow-list.
    UnsafeGlobal,
    BadPickle,
    UnsupportedOpcode,
    DepthLimit,
    /// A tensor's offset, sizes or strides leave its storage.
    BadView,
    /// A storage is missing or has the wrong number of bytes.
    BadStorage,
    BadHeader,
    /// The safetensors data offsets overlap, leave holes or leave the file.
    BadOffsets,
    UnsupportedDtype,
}

impl FileProblem {
    /// The problem's name in reports and golden cases, in snake case.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What can go wrong, as a value: `expected` is what was needed, `found` what there was instead.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields' names and the variants' lines say it")]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to "read", "write", "create" … a file or folder; `source` are its own words.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// A checkpoint file is damaged, hostile or of another kind; `detail` says what was expected and found.
    #[error("{}: {}: {detail}", file.display(), problem.name())]
    File { file: PathBuf, problem: FileProblem, detail: String },
    /// A tensor of a checkpoint (`key`, or a list of them) does not fit the model; `file` is the source of the weights.
    #[error("{file}: key {key}: expected {expected}, found {found}")]
    Key { file: String, key: String, expected: String, found: String },
    /// A download failed; `detail` says what came of it.
    #[error("cannot download {url}: {detail}")]
    Network { url: String, detail: String },
    /// An image cannot be used.
    #[error("{}: {detail}", file.display())]
    Image { file: PathBuf, detail: String },
    /// An op was given tensors that do not fit together.
    #[error("{op}: expected {expected}, found {found}")]
    Shape { op: &'static str, expected: String, found: String },
    /// A setting is out of range or contradicts another.
    #[error("{what}: expected {expected}, found {found}")]
    Invalid { what: String, expected: String, found: String },
    /// A device, its driver or its libraries refused something.
    #[error("{what}: {detail}")]
    Device { what: String, detail: String },
    /// A NaN or an infinity appeared in a layer or quantity, at a training step or mini-batch counted from 0.
    #[error("step {step}: {layer} is not finite ({value})")]
    NonFinite { step: usize, layer: String, value: f64 },
}

impl Error {
    /// An [`Error::Io`] closure for `map_err`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// An [`Error::Key`].
    pub fn key(file: &str, key: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::Key { file: file.into(), key: key.into(), expected: expected.into(), found: found.into() }
    }

    /// An [`Error::Shape`].
    pub fn shape(op: &'static str, expected: impl Into<String>, found: impl Debug) -> Error {
        Error::Shape { op, expected: expected.into(), found: format!("{found:?}") }
    }

    /// An [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, expected: impl Into<String>, found: impl Display) -> Error {
        Error::Invalid { what: what.into(), expected: expected.into(), found: found.to_string() }
    }

    /// An [`Error::Device`].
    pub fn device(what: impl Display, detail: impl Display) -> Error {
        Error::Device { what: what.to_string(), detail: detail.to_string() }
    }

    /// An [`Error::Network`].
    pub fn network(url: impl Display, detail: impl Display) -> Error {
        Error::Network { url: url.to_string(), detail: detail.to_string() }
    }

    /// An error of [`Error::invalid`] unless `holds`; only then are the texts made, so pass `format_args!`.
    pub fn ensure(holds: bool, what: impl Display, expected: impl Display, found: impl Display) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::invalid(what.to_string(), expected.to_string(), found)) }
    }

    /// The same with [`Error::shape`].
    pub fn ensure_shape(holds: bool, op: &'static str, expected: impl Display, found: impl Debug) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::shape(op, expected.to_string(), found)) }
    }

    /// The same with [`Error::key`].
    pub fn ensure_key(holds: bool, file: &str, key: &str, expected: impl Display, found: impl Display) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::key(file, key, expected.to_string(), found.to_string())) }
    }
}
