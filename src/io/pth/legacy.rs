//! The stream that PyTorch wrote before 1.6 (base_models 10.3): five pickles, then the storages.

use super::pickle::{self, Node, Pickle};
use super::{bad, tensors};
use crate::error::FileProblem::{BadStorage, UnknownFormat, UnsupportedByteorder};
use crate::io::{Checkpoint, guard::*};
use std::{borrow::Cow, collections::HashMap};

/// The pickle of the magic number, with which such a file begins.
pub const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";
const PROTOCOL: i64 = 1001;

/// Parses a whole file.
pub fn parse(data: &[u8]) -> Result<Checkpoint, Fault> {
    let budget = &mut Budget::for_file(data.len());
    let protocol = pickle::parse(data, MAGIC.len(), budget)?;
    let known = matches!(protocol.node(protocol.root), Node::Int(PROTOCOL));
    ensure(known, UnknownFormat, format_args!("the version of the stream is not {PROTOCOL}"))?;
    let system = pickle::parse(data, protocol.end, budget)?;
    check_byteorder(&system)?;
    let object = pickle::parse(data, system.end, budget)?;
    let keys = pickle::parse(data, object.end, budget)?;
    let storages = storages(data, &object, &keys)?;
    let load = |key: &str, _: &mut Budget| Ok(storages.get(key).map(|bytes| Cow::Borrowed(*bytes)));
    tensors::collect(&object, budget, &load)
}

fn check_byteorder(system: &Pickle) -> Result<(), Fault> {
    let Node::Dict(items) = system.node(system.root) else { return bad("the system information is not a dictionary") };
    let little = items.iter().find(|[key, _]| matches!(system.node(*key), Node::Str("little_endian")));
    match little.map(|[_, value]| system.node(*value)) {
        Some(Node::Bool(true)) => Ok(()),
        Some(Node::Bool(false)) => fault(UnsupportedByteorder, "written on a big-endian machine"),
        _ => bad("the system information lacks little_endian"),
    }
}

/// The bytes of every storage. They follow the pickles in the order of the key list, each behind its element count.
fn storages<'a>(data: &'a [u8], object: &Pickle<'a>, keys: &Pickle<'a>) -> Result<HashMap<&'a str, &'a [u8]>, Fault> {
    let mut known = HashMap::new();
    for node in &object.nodes {
        let Node::Storage(storage) = node else { continue };
        let (dtype, count) = *known.entry(storage.key).or_insert((storage.dtype, storage.total));
        let same = (dtype, count) == (storage.dtype, storage.total);
        ensure(same, BadStorage, format_args!("storage {} has two types or sizes", storage.key))?;
    }
    let Node::List(list) = keys.node(keys.root) else { return bad("the storage keys are not a list") };
    let (mut cursor, mut storages) = (Cursor { data, at: keys.end }, HashMap::new());
    for key in list {
        let Node::Str(key) = keys.node(*key) else { return bad("a storage key is not a string") };
        let Some((dtype, count)) = known.get(key) else {
            return fault(BadStorage, format!("storage {key} is of unknown type"));
        };
        let found = cursor.number(8)?;
        let detail = format_args!("storage {key} has {found} elements, expected {count}");
        ensure(found == *count as u64, BadStorage, detail)?;
        let bytes = cursor.take(found.saturating_mul(dtype.size() as u64))?;
        let first = storages.insert(*key, bytes).is_none();
        ensure(first, BadStorage, format_args!("storage {key} comes twice"))?;
    }
    Ok(storages)
}
