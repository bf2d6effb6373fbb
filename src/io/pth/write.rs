//! Writing `.pth` files that `torch.load(…, weights_only=True)` reads: a zip archive of stored entries, a pickle of
//! protocol 2, ordered dictionaries. Checked by hand with PyTorch 2.15.0: all ten element types, a scalar, an empty
//! tensor and a wrapper load, also memory-mapped, with equal bytes.

use super::STORAGES;
use crate::io::safetensors::check_names;
use crate::io::{Blob, write_atomic};
use crate::{Error, Result};
use std::io::Write;
use std::path::Path;

/// PyTorch maps storages at multiples of this.
const ALIGNMENT: u64 = 64;
/// Without ZIP64, which is not written, everything lies below 4 GiB.
const LIMIT: u64 = u32::MAX as u64;
const UTF8_NAMES: u16 = 1 << 11;

/// Writes `tensors` to `path` as a PyTorch file, atomically: an ordered dictionary, inside `{wrapper: …}` if given.
///
/// Errors: [`Error::Shape`] for a blob whose bytes do not fit its shape, [`Error::Invalid`] for a name that is taken
/// twice and for more than 4 GiB (write safetensors instead), [`Error::Io`].
pub fn write(path: impl AsRef<Path>, tensors: &[(String, Blob)], wrapper: Option<&str>) -> Result<()> {
    check_names(tensors.iter().map(|(name, _)| name))?;
    tensors.iter().try_for_each(|(_, blob)| blob.check())?;
    let pickle = pickle(tensors, wrapper);
    let bytes: u64 = tensors.iter().map(|(_, blob)| blob.bytes.len() as u64).sum();
    // 512 is more than the headers and the padding of an entry.
    if bytes + pickle.len() as u64 + 512 * (tensors.len() as u64 + 8) > LIMIT || tensors.len() > 60_000 {
        return Err(Error::invalid("size of a .pth file", "at most 4 GiB and 60000 tensors", bytes));
    }
    write_atomic(path, |out| {
        let mut zip = Zip { out, at: 0, directory: Vec::new(), entries: 0 };
        zip.entry("archive/data.pkl", &pickle)?;
        zip.entry("archive/byteorder", b"little")?;
        for (index, (_, blob)) in tensors.iter().enumerate() {
            zip.entry(&format!("archive/data/{index}"), &blob.bytes)?;
        }
        zip.entry("archive/version", b"3\n")?;
        zip.finish()
    })
}

struct Zip<'w, W> {
    out: &'w mut W,
    at: u64,
    directory: Vec<u8>,
    entries: u16,
}

impl<W: Write> Zip<'_, W> {
    /// One stored entry whose data start at a multiple of [`ALIGNMENT`].
    fn entry(&mut self, name: &str, data: &[u8]) -> std::io::Result<()> {
        let size = (data.len() as u32).to_le_bytes();
        let mut common = Vec::new(); // from "version needed" to "size of the name", alike in both headers
        for field in [20, UTF8_NAMES, 0, 0, 0x21] {
            common.extend(u16::to_le_bytes(field)); // version, flags, stored, time, date: 1 January 1980
        }
        common.extend(crc32fast::hash(data).to_le_bytes());
        common.extend(size);
        common.extend(size);
        common.extend((name.len() as u16).to_le_bytes());
        let start = self.at + 30 + name.len() as u64 + 4;
        let padding = start.next_multiple_of(ALIGNMENT) - start;
        let mut local = b"PK\x03\x04".to_vec();
        local.extend(&common);
        local.extend((padding as u16 + 4).to_le_bytes());
        local.extend(name.as_bytes());
        local.extend(b"FB");
        local.extend((padding as u16).to_le_bytes());
        local.resize(local.len() + padding as usize, b'Z');

        self.directory.extend(b"PK\x01\x02\x14\x00");
        self.directory.extend(&common);
        self.directory.extend([0; 12]); // no extra field, comment, disk, attributes
        self.directory.extend((self.at as u32).to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.entries += 1;
        self.at += local.len() as u64 + data.len() as u64;
        self.out.write_all(&local)?;
        self.out.write_all(data)
    }

    fn finish(self) -> std::io::Result<()> {
        self.out.write_all(&self.directory)?;
        self.out.write_all(b"PK\x05\x06\x00\x00\x00\x00")?;
        self.out.write_all(&self.entries.to_le_bytes())?;
        self.out.write_all(&self.entries.to_le_bytes())?;
        self.out.write_all(&(self.directory.len() as u32).to_le_bytes())?;
        self.out.write_all(&(self.at as u32).to_le_bytes())?;
        self.out.write_all(&[0, 0])
    }
}

const ORDERED_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";

fn pickle(tensors: &[(String, Blob)], wrapper: Option<&str>) -> Vec<u8> {
    let mut out = b"\x80\x02".to_vec();
    if let Some(wrapper) = wrapper {
        out.push(b'}');
        text(&mut out, wrapper);
    }
    out.extend(ORDERED_DICT);
    out.push(b'(');
    for (index, (name, blob)) in tensors.iter().enumerate() {
        text(&mut out, name);
        tensor(&mut out, index, blob);
    }
    out.push(b'u');
    if wrapper.is_some() {
        out.push(b's');
    }
    out.push(b'.');
    out
}

/// `_rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict())`.
fn tensor(out: &mut Vec<u8>, index: usize, blob: &Blob) {
    let class = STORAGES.iter().find(|(_, dtype)| *dtype == blob.dtype).map(|(class, _)| *class).unwrap_or_default();
    out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(out, "storage");
    out.extend(format!("ctorch\n{class}\n").as_bytes());
    text(out, &index.to_string());
    text(out, "cpu");
    integer(out, blob.bytes.len() / blob.dtype.size());
    out.extend(b"tQ");
    integer(out, 0);
    let mut strides = vec![1; blob.shape.len()];
    for dim in (1..strides.len()).rev() {
        strides[dim - 1] = usize::saturating_mul(strides[dim], blob.shape[dim].max(1));
    }
    for numbers in [&blob.shape, &strides] {
        out.push(b'(');
        numbers.iter().for_each(|number| integer(out, *number));
        out.push(b't');
    }
    out.push(0x89);
    out.extend(ORDERED_DICT);
    out.extend(b"tR");
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn integer(out: &mut Vec<u8>, number: usize) {
    match i32::try_from(number) {
        Ok(number) => {
            out.push(b'J');
            out.extend(number.to_le_bytes());
        }
        Err(_) => {
            out.extend(b"\x8a\x09");
            out.extend((number as u64).to_le_bytes());
            out.push(0);
        }
    }
}
