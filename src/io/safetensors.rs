//! The safetensors format (base_models 10.6): a u64 header length, a JSON header, the data.

use super::{Blob, Checkpoint, guard::*, write_atomic};
use crate::error::FileProblem::{BadHeader, BadOffsets, Truncated, UnsupportedDtype};
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::{Value as Json, json, value::RawValue};
use std::{collections::HashSet, io::Write, path::Path};

const METADATA: &str = "__metadata__";
const MAX_HEADER: u64 = 100_000_000;

/// What the header says of a tensor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// The members of a JSON object in file order, `what` in errors; a key that comes twice is one.
fn object<'a, T: Deserialize<'a>>(what: &str, text: &'a str) -> Result<Vec<(String, T)>, Fault> {
    let mut json = serde_json::Deserializer::from_str(text);
    let members = tuple_vec_map::deserialize(&mut json).and_then(|members| json.end().map(|()| members));
    let members: Vec<(String, T)> = members.or_else(|error| fault(BadHeader, format!("{what}: {error}")))?;
    let twice = repeated(members.iter().map(|(key, _)| key));
    twice.map_or(Ok(()), |key| fault(BadHeader, format!("{what}: duplicate key {key}"))).map(|()| members)
}

/// The first name that was there before.
fn repeated<'a>(mut names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = HashSet::new();
    names.find(|name| !seen.insert(*name))
}

/// Parses a whole file.
pub(super) fn parse(data: &[u8]) -> Result<Checkpoint, Fault> {
    let mut cursor = Cursor { data, at: 0 };
    let length = cursor.number(8)?;
    let detail = format_args!("header of {length} bytes, at most {MAX_HEADER} are allowed");
    ensure(length <= MAX_HEADER, BadHeader, detail)?;
    let text = std::str::from_utf8(cursor.take(length)?).or_else(|error| fault(BadHeader, error.to_string()))?;
    let mut budget = Budget::for_file(data.len());
    budget.spend((data.len() - cursor.at) as u64)?;
    budget.spend(unfolded(text))?;
    let (mut metadata, mut entries) = (Vec::new(), Vec::new());
    for (name, json) in object::<&RawValue>("header", text)? {
        match serde_json::from_str::<Entry>(json.get()) {
            _ if name == METADATA => metadata = object(METADATA, json.get())?,
            Ok(entry) => entries.push((name, entry)),
            Err(error) => return fault(BadHeader, format!("{name}: {error}")),
        }
    }
    let data = data.get(cursor.at..).unwrap_or_default();
    check_cover(&entries, data.len() as u64)?;
    let tensors = entries.into_iter().map(|(name, entry)| blob(&name, entry, data).map(|blob| (name, blob)));
    let tensors = tensors.collect::<Result<_, Fault>>()?;
    Ok(Checkpoint { tensors, metadata, ..Checkpoint::default() })
}

/// The most bytes that a header can become: a member, which has a colon, is entries in lists and sets that double, and its name;
/// a number of an array is 8 bytes of two characters, in lists that double.
fn unfolded(header: &str) -> u64 {
    let colons = header.bytes().filter(|byte| *byte == b':').count() as u64;
    208 * colons + 8 * header.len() as u64
}

/// Checks that the tensors cover the data without overlap or hole.
fn check_cover(entries: &[(String, Entry)], length: u64) -> Result<(), Fault> {
    let mut spans: Vec<_> = entries.iter().map(|(name, entry)| (entry.data_offsets, name)).collect();
    spans.sort();
    let mut covered = 0;
    for ((begin, end), name) in spans {
        ensure(begin <= end, BadOffsets, format_args!("{name}: begin {begin} after end {end}"))?;
        ensure(end <= length, Truncated, format_args!("{name}: ends at {end}, the data at {length}"))?;
        let what = if begin < covered { "overlap" } else { "hole" };
        let detail = format_args!("{name}: {what}: begins at {begin}, expected {covered}");
        ensure(begin == covered, BadOffsets, detail)?;
        covered = end;
    }
    ensure(covered == length, BadOffsets, format_args!("{} bytes after the last tensor", length - covered))
}

fn blob(name: &str, entry: Entry, data: &[u8]) -> Result<Blob, Fault> {
    let Ok(dtype) = entry.dtype.parse() else {
        return fault(UnsupportedDtype, format!("{name}: element type {}", entry.dtype));
    };
    let (begin, end) = entry.data_offsets;
    let bytes = data.get(begin as usize..end as usize).unwrap_or_default();
    Blob::new(dtype, entry.shape, bytes.to_vec()).or_else(|error| fault(BadOffsets, format!("{name}: {error}")))
}

/// Writes `tensors` and `metadata` to `path`, atomically. The header keeps the given order; the data lie by falling
/// element size, so every tensor is aligned. Reading and writing again gives the same bytes. Errors: [`Error::Shape`]
/// for a blob whose bytes do not fit its shape, [`Error::Invalid`] for a name that is taken twice or reserved,
/// [`Error::Io`].
pub fn write(path: impl AsRef<Path>, tensors: &[(String, Blob)], metadata: &[(String, String)]) -> Result<()> {
    check_names(tensors)?;
    check_names(metadata)?;
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(tensors[*index].1.dtype.size()));
    let mut entries = vec![Json::Null; tensors.len()];
    let mut end = 0;
    for index in &order {
        let blob = &tensors[*index].1;
        blob.check()?;
        let begin = end;
        end += blob.bytes.len();
        entries[*index] = json!({"dtype": blob.dtype.name(), "shape": blob.shape, "data_offsets": [begin, end]});
    }
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert(METADATA.into(), metadata.iter().cloned().collect());
    }
    header.extend(tensors.iter().map(|(name, _)| name.clone()).zip(entries));
    let mut text = Json::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    write_atomic(path, |out| {
        out.write_all(&(text.len() as u64).to_le_bytes())?;
        out.write_all(&text)?;
        order.iter().try_for_each(|index| out.write_all(&tensors[*index].1.bytes))
    })
}

/// [`Error::Invalid`] when a name occurs twice or is reserved.
pub(super) fn check_names<T>(named: &[(String, T)]) -> Result<()> {
    let names = || named.iter().map(|(name, _)| name);
    let wrong = repeated(names()).or_else(|| names().find(|name| *name == METADATA));
    wrong.map_or(Ok(()), |name| Err(Error::invalid("tensor name", "unique and not reserved", name)))
}
