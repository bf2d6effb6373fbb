//! What parsers of untrusted files share: the fault they return, a cursor that never leaves its bytes, a memory budget.

use crate::error::FileProblem;
use std::fmt::Display;

/// Why a file was refused, before the file's name is known.
#[derive(Debug)]
pub(super) struct Fault {
    pub problem: FileProblem,
    pub detail: String,
}

/// Shorthand for returning a [`Fault`].
pub(super) fn fault<T>(problem: FileProblem, detail: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { problem, detail: detail.into() })
}

/// A [`Fault`] unless `holds`; only then is the text made, so pass `format_args!`.
pub(super) fn ensure(holds: bool, problem: FileProblem, detail: impl Display) -> Result<(), Fault> {
    if holds { Ok(()) } else { fault(problem, detail.to_string()) }
}

/// Reads little-endian numbers and slices from `data`, starting at `at`.
pub(super) struct Cursor<'a> {
    pub data: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    /// The next `count` bytes; `Truncated` when fewer are left.
    pub fn take(&mut self, count: u64) -> Result<&'a [u8], Fault> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        let Some(bytes) = end.and_then(|end| self.data.get(self.at..end)) else {
            let detail = format!("{count} bytes expected at {}, the data ends at {}", self.at, self.data.len());
            return fault(FileProblem::Truncated, detail);
        };
        self.at += bytes.len();
        Ok(bytes)
    }

    /// The next unsigned number, of `width` ≤ 8 bytes.
    pub fn number(&mut self, width: u64) -> Result<u64, Fault> {
        Ok(self.take(width)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A number of `width` bytes, and as many bytes as it says.
    pub fn counted(&mut self, width: u64) -> Result<&'a [u8], Fault> {
        let count = self.number(width)?;
        self.take(count)
    }

    /// The bytes up to the next line feed, which is skipped.
    pub fn line(&mut self) -> Result<&'a [u8], Fault> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n');
        let Some(length) = length else { return fault(FileProblem::Truncated, "a line without an end") };
        self.take(length as u64 + 1).map(|line| &line[..length])
    }
}

/// How many bytes may still be taken for the contents of a file: values, names, deflate, expanded or aliased tensors.
pub(super) struct Budget(u64);

impl Budget {
    /// Three times the size of the file, which is held once itself, and 48 MiB.
    pub fn for_file(length: usize) -> Self {
        Self((length as u64).saturating_mul(3).saturating_add(48 << 20))
    }

    /// Takes `bytes` from the budget.
    pub fn spend(&mut self, bytes: u64) -> Result<(), Fault> {
        let enough = bytes <= self.0;
        self.0 = self.0.saturating_sub(bytes);
        ensure(enough, FileProblem::BadStorage, "the contents expand to far more than the file's size")
    }
}
