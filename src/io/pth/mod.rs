//! PyTorch's `.pth` files (base_models 10.1 to 10.5): a pickle in a zip archive, or the older stream of pickles. The
//! pickle is parsed into a list of values and nothing in it is ever called: a class or function outside a short
//! allow-list is an error for the whole file, wherever it stands.

pub(super) mod legacy;
mod pickle;
mod tensors;
mod write;
pub(super) mod zip;

pub use write::write;

use super::{BlobType, Checkpoint, guard::*};
use crate::error::FileProblem::{BadArchive, BadPickle, UnsupportedByteorder};

/// PyTorch's name of the storage class of each element type.
const STORAGES: [(&str, BlobType); 10] = [
    ("DoubleStorage", BlobType::F64),
    ("FloatStorage", BlobType::F32),
    ("HalfStorage", BlobType::F16),
    ("BFloat16Storage", BlobType::BF16),
    ("LongStorage", BlobType::I64),
    ("IntStorage", BlobType::I32),
    ("ShortStorage", BlobType::I16),
    ("CharStorage", BlobType::I8),
    ("ByteStorage", BlobType::U8),
    ("BoolStorage", BlobType::Bool),
];

/// A [`Fault`] of a malformed pickle.
fn bad<T>(detail: impl Into<String>) -> Result<T, Fault> {
    fault(BadPickle, detail)
}

/// Parses a file in the zip format.
pub(super) fn parse(data: &[u8]) -> Result<Checkpoint, Fault> {
    let zip = zip::open(data)?;
    let mut budget = Budget::for_file(data.len());
    let archive = zip::Archive::new(&zip, &mut budget)?;
    let root = find_root(&archive)?;
    if let Some(order) = archive.read(&format!("{root}byteorder"), &mut budget)? {
        let detail = format_args!("byte order {:?}", order.escape_ascii().to_string());
        ensure(order.trim_ascii() == b"little", UnsupportedByteorder, detail)?;
    }
    let stream = archive.read(&format!("{root}data.pkl"), &mut budget)?.unwrap_or_default();
    let pickle = pickle::parse(&stream, 0, &mut budget)?;
    let rest = stream.len() - pickle.end;
    ensure(rest == 0, BadPickle, format_args!("{rest} bytes after the end of data.pkl"))?;
    tensors::collect(&pickle, &mut budget, &|key, budget| archive.read(&format!("{root}data/{key}"), budget))
}

/// The folder in the archive that has a `data.pkl`, with its slash.
fn find_root<'a>(archive: &zip::Archive<'a>) -> Result<&'a str, Fault> {
    let roots = archive.entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let Some(root) = roots.filter(|root| root.ends_with('/') && root.matches('/').count() == 1).min() else {
        return fault(BadArchive, "no data.pkl: not a file of torch.save");
    };
    let script = archive.entries.contains_key(&*format!("{root}constants.pkl"));
    ensure(!script, BadArchive, "a TorchScript archive: save the state_dict instead").map(|()| root)
}
