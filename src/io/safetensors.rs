//! The safetensors format (base_models 10.6): a u64 header length, a JSON header, the data.

use super::blob::product;
use super::guard::{Cursor, Fault, fault};
use super::{Blob, BlobType, Checkpoint, write_atomic};
use crate::error::FileProblem::{BadHeader, BadOffsets, Truncated, UnsupportedDtype};
use crate::{Error, Result};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

const METADATA: &str = "__metadata__";
const MAX_HEADER: u64 = 100_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// A JSON object of strings in file order; a duplicate key is an error.
struct Strings(Vec<(String, String)>);

/// The header in file order; a duplicate key is an error.
#[derive(Default)]
struct Header {
    metadata: Vec<(String, String)>,
    entries: Vec<(String, Entry)>,
}

struct StringsVisitor;
struct HeaderVisitor;

impl<'de> Visitor<'de> for StringsVisitor {
    type Value = Strings;

    fn expecting(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Strings, A::Error> {
        let (mut seen, mut list) = (HashSet::new(), Vec::new());
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("duplicate metadata key {key}")));
            }
            list.push((key, value));
        }
        Ok(Strings(list))
    }
}

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
        let (mut seen, mut header) = (HashSet::new(), Header::default());
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("duplicate key {key}")));
            }
            if key == METADATA {
                header.metadata = map.next_value::<Strings>()?.0;
            } else {
                header.entries.push((key, map.next_value()?));
            }
        }
        Ok(header)
    }
}

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(StringsVisitor)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// Parses a whole file.
pub(super) fn parse(data: &[u8]) -> Result<Checkpoint, Fault> {
    let mut cursor = Cursor::new(data, 0);
    let length = cursor.u64()?;
    if length > MAX_HEADER {
        return fault(BadHeader, format!("header of {length} bytes, at most {MAX_HEADER} are allowed"));
    }
    let header = match std::str::from_utf8(cursor.take(length)?) {
        Ok(text) => serde_json::from_str::<Header>(text).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let header = header.or_else(|detail| fault(BadHeader, detail))?;
    let data = data.get(cursor.at..).unwrap_or_default();
    check_cover(&header, data.len() as u64)?;
    let tensors = header.entries.into_iter().map(|(name, entry)| {
        let blob = slice(&name, &entry, data)?;
        Ok((name, blob))
    });
    let tensors = tensors.collect::<Result<_, Fault>>()?;
    Ok(Checkpoint { tensors, metadata: header.metadata, ..Checkpoint::default() })
}

/// Checks that the tensors cover the data without overlap or hole.
fn check_cover(header: &Header, length: u64) -> Result<(), Fault> {
    let mut spans: Vec<_> = header.entries.iter().map(|(name, entry)| (entry.data_offsets, name)).collect();
    spans.sort();
    let mut covered = 0;
    for ((begin, end), name) in spans {
        if begin > end {
            return fault(BadOffsets, format!("{name}: begin {begin} after end {end}"));
        }
        if end > length {
            return fault(Truncated, format!("{name}: ends at {end}, the data at {length}"));
        }
        if begin != covered {
            let what = if begin < covered { "overlap" } else { "hole" };
            return fault(BadOffsets, format!("{name}: {what}: begins at {begin}, expected {covered}"));
        }
        covered = end;
    }
    if covered != length {
        return fault(BadOffsets, format!("{} bytes after the last tensor", length - covered));
    }
    Ok(())
}

fn slice(name: &str, entry: &Entry, data: &[u8]) -> Result<Blob, Fault> {
    let Some(dtype) = BlobType::from_name(&entry.dtype) else {
        return fault(UnsupportedDtype, format!("{name}: element type {}", entry.dtype));
    };
    let shape: Option<Vec<usize>> = entry.shape.iter().map(|size| usize::try_from(*size).ok()).collect();
    let bytes = shape.as_deref().and_then(product).and_then(|count| count.checked_mul(dtype.size()));
    let (begin, end) = entry.data_offsets;
    let (Some(shape), Some(bytes)) = (shape, bytes) else {
        return fault(BadOffsets, format!("{name}: shape {:?} overflows", entry.shape));
    };
    match data.get(begin as usize..end as usize) {
        Some(span) if span.len() == bytes => Ok(Blob { dtype, shape, bytes: span.to_vec() }),
        _ => fault(BadOffsets, format!("{name}: shape {shape:?} needs {bytes} bytes, the span is {begin}..{end}")),
    }
}

/// Writes `tensors` and `metadata` to `path`, atomically.
///
/// The header keeps the given order; the data lie by falling element size, so every tensor is aligned. Reading and
/// writing again gives the same bytes. Errors: [`Error::Shape`] for a blob whose bytes do not fit its shape,
/// [`Error::Invalid`] for a name that is taken twice or reserved, [`Error::Io`].
pub fn write(path: impl AsRef<Path>, tensors: &[(String, Blob)], metadata: &[(String, String)]) -> Result<()> {
    check_names(tensors.iter().map(|(name, _)| name))?;
    check_names(metadata.iter().map(|(name, _)| name))?;
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(tensors[*index].1.dtype.size()));
    let mut spans = vec![(0, 0); tensors.len()];
    let mut end = 0;
    for index in &order {
        tensors[*index].1.check()?;
        let begin = end;
        end += tensors[*index].1.bytes.len() as u64;
        spans[*index] = (begin, end);
    }
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        let strings = metadata.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        header.insert(METADATA.into(), serde_json::Value::Object(strings));
    }
    for ((name, blob), (begin, end)) in tensors.iter().zip(&spans) {
        let entry = serde_json::json!({"dtype": blob.dtype.name(), "shape": blob.shape, "data_offsets": [begin, end]});
        header.insert(name.clone(), entry);
    }
    let mut text = serde_json::Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    write_atomic(path, |out| {
        out.write_all(&(text.len() as u64).to_le_bytes())?;
        out.write_all(&text)?;
        order.iter().try_for_each(|index| out.write_all(&tensors[*index].1.bytes))
    })
}

/// [`Error::Invalid`] when a name occurs twice or is reserved.
pub(super) fn check_names<'a>(names: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        if name == METADATA || !seen.insert(name) {
            return Err(Error::invalid("tensor name", "unique and not reserved", name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_and_writing_is_idempotent() -> Result<()> {
        let folder = tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))?;
        let (first, second) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
        let mut tensors = vec![
            ("mask".to_string(), Blob::new(BlobType::Bool, [3], vec![1, 0, 1])?),
            ("w \"ü\"".to_string(), Blob::from_f32([2, 1], &[1.5, f32::NAN])?),
            ("scalar".to_string(), Blob::from_i64([], &[-7])?),
            ("empty".to_string(), Blob::from_f32([0, 4], &[])?),
        ];
        for dtype in [BlobType::F16, BlobType::BF16] {
            tensors.push((dtype.name().into(), tensors[1].1.to_float(dtype)?));
        }
        let metadata = vec![("format".to_string(), "pt".to_string())];
        write(&first, &tensors, &metadata)?;
        let read = crate::io::read(&first)?;
        assert_eq!((&read.tensors, &read.metadata), (&tensors, &metadata));
        assert_eq!(read.require("mask")?.shape, [3]);
        assert!(read.require("none").is_err());
        write(&second, &read.tensors, &read.metadata)?;
        let bytes = [first, second].map(|path| std::fs::read(path).unwrap_or_default());
        assert_eq!(bytes[0], bytes[1]);
        assert_eq!(u64::from_le_bytes(bytes[0].as_chunks().0[0]) % 8, 0);
        write(folder.path().join("none"), &[], &[])?;
        assert!(crate::io::read(folder.path().join("none"))?.tensors.is_empty());
        Ok(())
    }

    #[test]
    fn bad_tensors_are_not_written() -> Result<()> {
        let folder = tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))?;
        let path = folder.path().join("x");
        let blob = Blob::from_f32([1], &[1.0])?;
        assert!(write(&path, &[("a".into(), blob.clone()), ("a".into(), blob.clone())], &[]).is_err());
        assert!(write(&path, &[(METADATA.into(), blob.clone())], &[]).is_err());
        assert!(write(&path, &[("a".into(), Blob { shape: vec![2], ..blob })], &[]).is_err());
        assert!(!path.exists());
        Ok(())
    }
}
