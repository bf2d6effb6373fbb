//! Every error the crate can return: it names the file or op, the key, what was expected and what was found.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// The result of every function that can be given bad input.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a checkpoint file was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileProblem {
    /// Neither safetensors nor a `.pth` of a known format.
    UnknownFormat,
    /// The file ends before its contents do.
    Truncated,
    /// The zip archive is damaged or lacks an entry.
    BadArchive,
    /// A CRC-32 does not match.
    Checksum,
    /// Written on a big-endian machine.
    UnsupportedByteorder,
    /// A zip compression method other than stored or deflate.
    UnsupportedCompression,
    /// A pickle names a class or function outside the allow-list.
    UnsafeGlobal,
    /// The pickle stream is malformed.
    BadPickle,
    /// The pickle uses an opcode that checkpoints never need.
    UnsupportedOpcode,
    /// Nested deeper than any checkpoint.
    DepthLimit,
    /// A tensor's offset, sizes or strides leave its storage.
    BadView,
    /// A storage is missing or has the wrong number of bytes.
    BadStorage,
    /// The safetensors header is malformed.
    BadHeader,
    /// The safetensors data offsets overlap, leave holes or leave the file.
    BadOffsets,
    /// An element type that is not supported.
    UnsupportedDtype,
}

impl FileProblem {
    /// The problem's name in reports and golden cases, in snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownFormat => "unknown_format",
            Self::Truncated => "truncated",
            Self::BadArchive => "bad_archive",
            Self::Checksum => "checksum",
            Self::UnsupportedByteorder => "unsupported_byteorder",
            Self::UnsupportedCompression => "unsupported_compression",
            Self::UnsafeGlobal => "unsafe_global",
            Self::BadPickle => "bad_pickle",
            Self::UnsupportedOpcode => "unsupported_opcode",
            Self::DepthLimit => "depth_limit",
            Self::BadView => "bad_view",
            Self::BadStorage => "bad_storage",
            Self::BadHeader => "bad_header",
            Self::BadOffsets => "bad_offsets",
            Self::UnsupportedDtype => "unsupported_dtype",
        }
    }
}

/// What can go wrong, as a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb: "read", "write", "create" ….
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A checkpoint file is damaged, hostile or of another kind.
    #[error("{}: {}: {detail}", file.display(), problem.name())]
    File {
        /// The file.
        file: PathBuf,
        /// The class of the problem.
        problem: FileProblem,
        /// What was expected and found.
        detail: String,
    },
    /// A tensor of a checkpoint does not fit the model.
    #[error("{file}: key {key}: expected {expected}, found {found}")]
    Key {
        /// The file or other source of the weights.
        file: String,
        /// The tensor's name, or a list of names.
        key: String,
        /// What the model needs.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// An image cannot be used.
    #[error("{}: {detail}", file.display())]
    Image {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// An op was given tensors that do not fit together.
    #[error("{op}: expected {expected}, found {found}")]
    Shape {
        /// The op.
        op: &'static str,
        /// What it needs.
        expected: String,
        /// What it got.
        found: String,
    },
    /// A setting is out of range or contradicts another.
    #[error("{what}: expected {expected}, found {found}")]
    Invalid {
        /// The setting.
        what: String,
        /// Its valid range.
        expected: String,
        /// Its value.
        found: String,
    },
    /// A NaN or an infinity appeared.
    #[error("step {step}: {layer} is not finite ({value})")]
    NonFinite {
        /// The training step or mini-batch, counted from 0.
        step: usize,
        /// The layer or quantity.
        layer: String,
        /// The value found.
        value: f64,
    },
}

impl Error {
    /// An [`Error::Io`] closure for `map_err`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// An [`Error::Shape`].
    pub fn shape(op: &'static str, expected: impl Into<String>, found: impl std::fmt::Debug) -> Error {
        Error::Shape { op, expected: expected.into(), found: format!("{found:?}") }
    }

    /// An [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, expected: impl Into<String>, found: impl std::fmt::Display) -> Error {
        Error::Invalid { what: what.into(), expected: expected.into(), found: found.to_string() }
    }

    /// An error of [`Error::invalid`] unless `holds`; only then are the texts made, so pass `format_args!`.
    pub fn ensure(holds: bool, what: impl Display, expected: impl Display, found: impl Display) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::invalid(what.to_string(), expected.to_string(), found)) }
    }
}
