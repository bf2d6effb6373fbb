//! The stream that PyTorch wrote before 1.6 (base_models 10.3): five pickles, then the storages.

use super::pickle::{self, Node};
use super::{bad, tensors};
use crate::error::FileProblem::{BadStorage, UnknownFormat, UnsupportedByteorder};
use crate::io::Checkpoint;
use crate::io::guard::{Budget, Cursor, Fault, fault};
use std::borrow::Cow;
use std::collections::HashMap;

/// The pickle of the magic number, with which such a file begins.
pub const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";
const PROTOCOL: i64 = 1001;

/// Parses a whole file.
pub fn parse(data: &[u8]) -> Result<Checkpoint, Fault> {
    let protocol = pickle::parse(data, MAGIC.len())?;
    if !matches!(protocol.node(protocol.root), Node::Int(PROTOCOL)) {
        return fault(UnknownFormat, format!("the version of the stream is not {PROTOCOL}"));
    }
    let system = pickle::parse(data, protocol.end)?;
    check_byteorder(&system)?;
    let object = pickle::parse(data, system.end)?;
    let keys = pickle::parse(data, object.end)?;
    let storages = read_storages(data, &object, &keys)?;
    let load = |key: &str, _: &mut Budget| Ok(storages.get(key).map(|bytes| Cow::Borrowed(*bytes)));
    tensors::collect(&object, &mut Budget::for_file(data.len()), &load)
}

fn check_byteorder(system: &pickle::Pickle) -> Result<(), Fault> {
    let Node::Dict(items) = system.node(system.root) else {
        return bad("the system information is not a dictionary");
    };
    let little = items.iter().find(|[key, _]| matches!(system.node(*key), Node::Str("little_endian")));
    match little.map(|[_, value]| system.node(*value)) {
        Some(Node::Bool(true)) => Ok(()),
        Some(Node::Bool(false)) => fault(UnsupportedByteorder, "written on a big-endian machine"),
        _ => bad("the system information lacks little_endian"),
    }
}

/// The bytes of every storage. They follow the pickles in the order of the key list, each behind its element count.
fn read_storages<'a>(
    data: &'a [u8],
    object: &pickle::Pickle<'a>,
    keys: &pickle::Pickle<'a>,
) -> Result<HashMap<&'a str, &'a [u8]>, Fault> {
    let mut known = HashMap::new();
    for storage in object.storages() {
        let (dtype, count) = *known.entry(storage.key).or_insert((storage.dtype, storage.total));
        if (dtype, count) != (storage.dtype, storage.total) {
            return fault(BadStorage, format!("storage {} has two types or sizes", storage.key));
        }
    }
    let Node::List(list) = keys.node(keys.root) else {
        return bad("the storage keys are not a list");
    };
    let mut cursor = Cursor::new(data, keys.end);
    let mut storages = HashMap::new();
    for key in list {
        let Node::Str(key) = keys.node(*key) else {
            return bad("a storage key is not a string");
        };
        let Some((dtype, count)) = known.get(key) else {
            return fault(BadStorage, format!("storage {key} is of unknown type"));
        };
        let found = cursor.number(8)?;
        if found != *count as u64 {
            return fault(BadStorage, format!("storage {key} has {found} elements, expected {count}"));
        }
        let bytes = cursor.take(found.saturating_mul(dtype.size() as u64))?;
        if storages.insert(*key, bytes).is_some() {
            return fault(BadStorage, format!("storage {key} comes twice"));
        }
    }
    Ok(storages)
}
