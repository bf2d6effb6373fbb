//! Writing `.pth` files that `torch.load(…, weights_only=True)` reads: a zip archive of stored entries, a pickle of
//! protocol 2, ordered dictionaries. Checked by hand with PyTorch 1.13: all ten element types, a scalar, an empty tensor
//! and a wrapper load with equal values.

use super::{STORAGES, zip};
use crate::{Error, Result, io::Blob, io::safetensors::check_names, io::write_atomic};
use std::path::Path;

/// The largest file: PyTorch has not been tried on larger ones of ours.
const LIMIT: u64 = u32::MAX as u64;

/// Writes `tensors` to `path` as a PyTorch file, atomically: an ordered dictionary, inside `{wrapper: …}` if given.
/// Errors: [`Error::Shape`] for a blob whose bytes do not fit its shape, [`Error::Invalid`] for a name that is taken
/// twice and for more than 4 GiB (write safetensors instead), [`Error::Io`].
pub fn write(path: impl AsRef<Path>, tensors: &[(String, Blob)], wrapper: Option<&str>) -> Result<()> {
    check_names(tensors)?;
    tensors.iter().try_for_each(|(_, blob)| blob.check())?;
    let pickle = pickle(tensors, wrapper);
    let bytes: u64 = tensors.iter().map(|(_, blob)| blob.bytes.len() as u64).sum();
    // 512 is more than the headers and the padding of an entry.
    let fits = bytes + pickle.len() as u64 + 512 * (tensors.len() as u64 + 8) <= LIMIT && tensors.len() <= 60_000;
    Error::ensure(fits, "size of a .pth file", "at most 4 GiB and 60000 tensors", bytes)?;
    let mut entries: Vec<(String, &[u8])> = vec![("data.pkl".into(), &pickle), ("byteorder".into(), b"little")];
    entries.extend(tensors.iter().enumerate().map(|(index, (_, blob))| (format!("data/{index}"), &blob.bytes[..])));
    entries.push(("version".into(), b"3\n"));
    write_atomic(path, |out| zip::write(out, "archive", &entries))
}

const ORDERED_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";

fn pickle(tensors: &[(String, Blob)], wrapper: Option<&str>) -> Vec<u8> {
    let items = tensors.iter().enumerate().map(|(index, (name, blob))| [text(name), tensor(index, blob)].concat());
    let dict = [ORDERED_DICT, b"(", &items.collect::<Vec<_>>().concat(), b"u"].concat();
    match wrapper {
        Some(wrapper) => [b"\x80\x02}", &text(wrapper)[..], &dict, b"s."].concat(),
        None => [b"\x80\x02", &dict[..], b"."].concat(),
    }
}

/// `_rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict())`.
fn tensor(index: usize, blob: &Blob) -> Vec<u8> {
    let class = STORAGES.iter().find(|(_, dtype)| *dtype == blob.dtype).map(|(class, _)| *class).unwrap_or_default();
    let mut strides = vec![1; blob.shape.len()];
    for dim in (1..strides.len()).rev() {
        strides[dim - 1] = usize::saturating_mul(strides[dim], blob.shape[dim].max(1));
    }
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage")[..],
        format!("ctorch\n{class}\n").as_bytes(),
        &text(&index.to_string()),
        &text("cpu"),
        &integer(blob.bytes.len() / blob.dtype.size()),
        b"tQ",
        &integer(0),
        &tuple(&blob.shape),
        &tuple(&strides),
        b"\x89",
        ORDERED_DICT,
        b"tR",
    ]
    .concat()
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn tuple(numbers: &[usize]) -> Vec<u8> {
    [b"(", &numbers.iter().flat_map(|number| integer(*number)).collect::<Vec<_>>()[..], b"t"].concat()
}

fn integer(number: usize) -> Vec<u8> {
    match i32::try_from(number) {
        Ok(number) => [b"J", &number.to_le_bytes()[..]].concat(),
        Err(_) => [b"\x8a\x09", &(number as u64).to_le_bytes()[..], b"\0"].concat(),
    }
}
