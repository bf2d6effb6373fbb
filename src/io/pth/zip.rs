//! Reading zip archives: stored and deflated entries, ZIP64. Sizes, checksums and offsets come from the central
//! directory alone, because PyTorch's local headers hold zeros.

use crate::error::FileProblem::{BadArchive, Checksum, Truncated, UnsupportedCompression};
use crate::io::guard::{Budget, Cursor, Fault, fault};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read;

/// The first bytes of a zip file.
pub const MAGIC: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const END_SIZE: usize = 22;

/// One file of the archive.
pub struct Entry<'a> {
    name: &'a str,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    offset: u64,
}

/// The central directory of an archive in memory.
pub struct Archive<'a> {
    data: &'a [u8],
    entries: HashMap<&'a str, Entry<'a>>,
}

impl<'a> Archive<'a> {
    /// Reads the central directory.
    pub fn open(data: &'a [u8]) -> Result<Self, Fault> {
        let (count, size, offset) = find_directory(data)?;
        let end = offset.checked_add(size).filter(|end| *end <= data.len() as u64);
        let Some(directory) = end.and_then(|end| data.get(offset as usize..end as usize)) else {
            return fault(Truncated, format!("a directory of {size} bytes at {offset} leaves the file"));
        };
        let mut cursor = Cursor::new(directory, 0);
        let mut entries = HashMap::new();
        for _ in 0..count {
            let entry = read_central(&mut cursor)?;
            if let Some(twice) = entries.insert(entry.name, entry) {
                return fault(BadArchive, format!("two entries {}", twice.name));
            }
        }
        Ok(Self { data, entries })
    }

    /// The names of all entries, in no order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().copied()
    }

    /// The entry with this full name.
    pub fn find(&self, name: &str) -> Option<&Entry<'a>> {
        self.entries.get(name)
    }

    /// The contents of an entry, checksum verified; only what has to be unpacked is copied.
    pub fn read(&self, entry: &Entry, budget: &mut Budget) -> Result<Cow<'a, [u8]>, Fault> {
        let Ok(offset) = usize::try_from(entry.offset) else {
            return fault(Truncated, format!("{} lies outside of the file", entry.name));
        };
        let mut cursor = Cursor::new(self.data, offset);
        if cursor.take(4)? != MAGIC {
            return fault(BadArchive, format!("{}: no local header at {offset}", entry.name));
        }
        cursor.take(22)?;
        let skip = u64::from(cursor.u16()?) + u64::from(cursor.u16()?);
        cursor.take(skip)?;
        let packed = cursor.take(entry.packed)?;
        if entry.flags & 1 != 0 {
            return fault(UnsupportedCompression, format!("{} is encrypted", entry.name));
        }
        let bytes = match entry.method {
            0 => Cow::Borrowed(packed),
            8 => Cow::Owned(inflate(entry, packed, budget)?),
            other => return fault(UnsupportedCompression, format!("{}: compression method {other}", entry.name)),
        };
        if bytes.len() as u64 != entry.size {
            return fault(BadArchive, format!("{}: {} bytes, expected {}", entry.name, bytes.len(), entry.size));
        }
        let crc = crc32fast::hash(&bytes);
        if crc != entry.crc {
            return fault(Checksum, format!("{}: CRC-32 {crc:08x}, expected {:08x}", entry.name, entry.crc));
        }
        Ok(bytes)
    }
}

fn inflate(entry: &Entry, packed: &[u8], budget: &mut Budget) -> Result<Vec<u8>, Fault> {
    budget.spend(entry.size)?;
    let mut bytes = Vec::new();
    let limit = entry.size.saturating_add(1);
    match flate2::read::DeflateDecoder::new(packed).take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => fault(BadArchive, format!("{}: {error}", entry.name)),
    }
}

/// The number of entries, size and offset of the central directory.
fn find_directory(data: &[u8]) -> Result<(u64, u64, u64), Fault> {
    let last = data.len().saturating_sub(END_SIZE);
    let first = last.saturating_sub(usize::from(u16::MAX));
    let is_end = |at: &usize| {
        let comment = data.get(at + 20..at + END_SIZE).map(|size| u16::from_le_bytes([size[0], size[1]]));
        data[*at..].starts_with(END) && comment.is_some_and(|size| at + END_SIZE + usize::from(size) <= data.len())
    };
    let Some(end) = (first..=last).rev().find(is_end) else {
        return fault(Truncated, "no end record of a zip archive");
    };
    let mut cursor = Cursor::new(data, end + 10);
    let (count, size, offset) = (cursor.u16()?, cursor.u32()?, cursor.u32()?);
    if count != u16::MAX && size != u32::MAX && offset != u32::MAX {
        return Ok((count.into(), size.into(), offset.into()));
    }
    let locator = end.checked_sub(20).filter(|at| data[*at..].starts_with(LOCATOR_64));
    let Some(locator) = locator else {
        return Ok((count.into(), size.into(), offset.into()));
    };
    let Ok(at) = usize::try_from(Cursor::new(data, locator + 8).u64()?) else {
        return fault(Truncated, "the ZIP64 end record lies outside of the file");
    };
    let mut cursor = Cursor::new(data, at);
    if cursor.take(4)? != END_64 {
        return fault(BadArchive, "no ZIP64 end record");
    }
    cursor.take(28)?;
    Ok((cursor.u64()?, cursor.u64()?, cursor.u64()?))
}

fn read_central<'a>(cursor: &mut Cursor<'a>) -> Result<Entry<'a>, Fault> {
    if cursor.take(4)? != CENTRAL {
        return fault(BadArchive, "damaged central directory");
    }
    cursor.take(4)?;
    let (flags, method) = (cursor.u16()?, cursor.u16()?);
    cursor.take(4)?;
    let crc = cursor.u32()?;
    let (packed, size) = (cursor.u32()?, cursor.u32()?);
    let (name, extra, comment) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
    cursor.take(8)?;
    let offset = cursor.u32()?;
    let Ok(name) = std::str::from_utf8(cursor.take(name.into())?) else {
        return fault(BadArchive, "the name of an entry is not UTF-8");
    };
    let mut wide = find_zip64(cursor.take(extra.into())?)?;
    cursor.take(comment.into())?;
    let mut widen = |value: u32| match (value, &mut wide) {
        (u32::MAX, Some(fields)) => fields.u64(),
        _ => Ok(value.into()),
    };
    let (size, packed, offset) = (widen(size)?, widen(packed)?, widen(offset)?);
    Ok(Entry { name, flags, method, crc, packed, size, offset })
}

/// The contents of extra field 0x0001.
fn find_zip64(extra: &[u8]) -> Result<Option<Cursor<'_>>, Fault> {
    let mut cursor = Cursor::new(extra, 0);
    while extra.len() - cursor.at >= 4 {
        let (kind, size) = (cursor.u16()?, cursor.u16()?);
        let field = cursor.take(size.into())?;
        if kind == 1 {
            return Ok(Some(Cursor::new(field, 0)));
        }
    }
    Ok(None)
}
