//! From the values of a pickle to named contiguous tensors.

use super::pickle::{Id, Node, Pickle, bad};
use crate::error::FileProblem::{BadStorage, BadView, DepthLimit};
use crate::io::guard::{Budget, Fault, fault};
use crate::io::{Blob, BlobType, Checkpoint, Value};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Deeper than any checkpoint nests.
const MAX_DEPTH: usize = 500;
/// PyTorch's own limit.
const MAX_RANK: usize = 64;

/// A storage, or in old files a window of one, as the pickle mentions it; the bytes lie elsewhere.
#[derive(Debug)]
pub struct Storage<'a> {
    /// The element type.
    pub dtype: BlobType,
    /// The name under which its bytes are found.
    pub key: &'a str,
    /// Elements of the whole storage.
    pub total: u64,
    /// First element of the window.
    start: u64,
    /// Elements of the window.
    count: u64,
}

/// A tensor: sizes and strides over a storage, checked to stay inside.
#[derive(Debug)]
pub struct View {
    storage: Id,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

fn unsigned(pickle: &Pickle, id: Id) -> Option<u64> {
    match pickle.node(id) {
        Node::Int(value) => u64::try_from(*value).ok(),
        _ => None,
    }
}

/// The storage of a persistent id: `("storage", class, key, location, count)`, in old files with a sixth item `None`
/// or `(view key, offset, count)`.
pub fn storage<'a>(pickle: &Pickle<'a>, id: Id) -> Result<Storage<'a>, Fault> {
    let Node::Tuple(items) = pickle.node(id) else {
        return bad("a persistent id that is no tuple");
    };
    let [tag, class, key, _, total, window @ ..] = &items[..] else {
        return bad("a persistent id that is too short");
    };
    let dtype = match pickle.node(*class) {
        Node::Global(index) => pickle.global(*index).and_then(|global| global.storage()),
        _ => None,
    };
    let (Node::Str("storage"), Some(dtype), Node::Str(key)) = (pickle.node(*tag), dtype, pickle.node(*key)) else {
        return bad("a persistent id that is no storage");
    };
    let Some(total) = unsigned(pickle, *total) else {
        return fault(BadStorage, format!("storage {key}: a bad number of elements"));
    };
    let (start, count) = match window.first().map(|window| pickle.node(*window)) {
        None | Some(Node::None) => (0, total),
        Some(Node::Tuple(window)) if window.len() == 3 => {
            let part = unsigned(pickle, window[1]).zip(unsigned(pickle, window[2]));
            match part.filter(|(start, count)| start.checked_add(*count).is_some_and(|end| end <= total)) {
                Some(part) => part,
                None => return fault(BadView, format!("a window leaves storage {key}")),
            }
        }
        Some(_) => return bad("a persistent id with an unknown window"),
    };
    Ok(Storage { dtype, key, total, start, count })
}

/// The view of `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])`.
pub fn rebuild_tensor(pickle: &Pickle, arguments: &[Id]) -> Result<View, Fault> {
    let [id, offset, size, stride, _, _, ..] = arguments else {
        return bad("a tensor with too few arguments");
    };
    let (Node::Storage(storage), Node::Tuple(size), Node::Tuple(stride)) =
        (pickle.node(*id), pickle.node(*size), pickle.node(*stride))
    else {
        return bad("a tensor of wrong arguments");
    };
    let numbers = |ids: &[Id]| -> Option<Vec<usize>> {
        ids.iter().map(|id| unsigned(pickle, *id).and_then(|value| usize::try_from(value).ok())).collect()
    };
    let (Some(shape), Some(strides), Some(offset)) = (numbers(size), numbers(stride), unsigned(pickle, *offset)) else {
        return fault(BadView, format!("storage {}: a negative or huge offset, size or stride", storage.key));
    };
    if shape.len() != strides.len() || shape.len() > MAX_RANK {
        return fault(BadView, format!("storage {}: {} sizes, {} strides", storage.key, shape.len(), strides.len()));
    }
    let count = crate::io::blob::product(&shape);
    let last = shape.iter().zip(&strides).try_fold(offset, |last, (size, stride)| {
        (*stride as u64).checked_mul((*size as u64).saturating_sub(1)).and_then(|step| last.checked_add(step))
    });
    let inside = last.is_some_and(|last| last < storage.count) || count == Some(0);
    let first = usize::try_from(offset.saturating_add(storage.start)).ok();
    match (count, first) {
        (Some(_), Some(offset)) if inside => Ok(View { storage: *id, offset, shape, strides }),
        _ => {
            let detail = format!("shape {shape:?}, strides {strides:?} at {offset} leave {} elements", storage.count);
            fault(BadView, format!("storage {}: {detail}", storage.key))
        }
    }
}

/// Names every leaf of the pickle and copies the tensors out of their storages, which `load` finds.
pub fn collect<'a>(
    pickle: &Pickle<'a>,
    budget: &mut Budget,
    load: impl Fn(&Storage<'a>, &mut Budget) -> Result<Cow<'a, [u8]>, Fault>,
) -> Result<Checkpoint, Fault> {
    let mut collector = Collector {
        pickle,
        budget,
        load,
        loaded: HashMap::new(),
        path: Vec::new(),
        names: HashSet::new(),
        out: Checkpoint::default(),
    };
    collector.walk(pickle.root_id(), String::new())?;
    Ok(collector.out)
}

struct Collector<'p, 'a, F> {
    pickle: &'p Pickle<'a>,
    budget: &'p mut Budget,
    load: F,
    /// Key to bytes and the first tensor that used them.
    loaded: HashMap<&'p str, (Cow<'a, [u8]>, String)>,
    /// The containers that are being walked.
    path: Vec<Id>,
    names: HashSet<String>,
    out: Checkpoint,
}

impl<'p, 'a, F: Fn(&Storage<'a>, &mut Budget) -> Result<Cow<'a, [u8]>, Fault>> Collector<'p, 'a, F> {
    fn walk(&mut self, id: Id, name: String) -> Result<(), Fault> {
        self.budget.spend(64 + name.len() as u64)?;
        let pickle = self.pickle;
        match pickle.node(id) {
            Node::Tensor(view) => return self.tensor(view, name),
            Node::Dict(items) => {
                self.enter(id)?;
                for (key, value) in items {
                    self.walk(*value, join(&name, &self.key(*key)?))?;
                }
                self.path.pop();
                return Ok(());
            }
            Node::List(items) | Node::Tuple(items) if !self.is_plain(id)? => {
                self.enter(id)?;
                for (index, value) in items.iter().enumerate() {
                    self.walk(*value, join(&name, &index.to_string()))?;
                }
                self.path.pop();
                return Ok(());
            }
            _ => {}
        }
        let value = self.value(id)?;
        self.claim(&name)?;
        self.out.values.push((name, value));
        Ok(())
    }

    /// Notes that the inside of a container is walked; a container inside of itself is refused.
    fn enter(&mut self, id: Id) -> Result<(), Fault> {
        if self.path.contains(&id) {
            return bad("a container that contains itself");
        }
        if self.path.len() >= MAX_DEPTH {
            return fault(DepthLimit, format!("nested deeper than {MAX_DEPTH}"));
        }
        self.path.push(id);
        Ok(())
    }

    fn claim(&mut self, name: &str) -> Result<(), Fault> {
        match self.names.insert(name.into()) {
            true => Ok(()),
            false => bad(format!("{name} comes twice")),
        }
    }

    fn key(&self, id: Id) -> Result<String, Fault> {
        Ok(match self.pickle.node(id) {
            Node::Str(text) => (*text).into(),
            Node::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Node::Int(value) => value.to_string(),
            Node::Float(value) => value.to_string(),
            Node::Bool(value) => if *value { "True" } else { "False" }.into(),
            Node::None => "None".into(),
            _ => return bad("a dictionary key that is neither string nor number"),
        })
    }

    /// Whether a value holds neither tensor nor dictionary.
    fn is_plain(&mut self, id: Id) -> Result<bool, Fault> {
        self.budget.spend(1)?;
        let pickle = self.pickle;
        match pickle.node(id) {
            Node::Tensor(_) | Node::Dict(_) => Ok(false),
            Node::List(items) | Node::Tuple(items) => {
                self.enter(id)?;
                for item in items {
                    if !self.is_plain(*item)? {
                        self.path.pop();
                        return Ok(false);
                    }
                }
                self.path.pop();
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    /// A plain value.
    fn value(&mut self, id: Id) -> Result<Value, Fault> {
        let pickle = self.pickle;
        let class = |index: u32| pickle.global(index).map(|global| global.path()).unwrap_or_default();
        let value = match pickle.node(id) {
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::Int(*value),
            Node::Float(value) => Value::Float(*value),
            Node::Big(bytes) => Value::Big(bytes.to_vec()),
            Node::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Node::Str(text) => Value::Str((*text).into()),
            Node::Global(index) | Node::Opaque(index) => Value::Opaque(class(*index)),
            Node::Storage(_) => Value::Opaque("torch.Storage".into()),
            Node::List(items) | Node::Tuple(items) => {
                Value::List(items.iter().map(|item| self.value(*item)).collect::<Result<_, Fault>>()?)
            }
            Node::None | Node::Dict(_) | Node::Tensor(_) => Value::None,
        };
        let size = match &value {
            Value::Big(bytes) | Value::Bytes(bytes) => bytes.len(),
            Value::Str(text) | Value::Opaque(text) => text.len(),
            _ => 0,
        };
        self.budget.spend(16 + size as u64)?;
        Ok(value)
    }

    fn tensor(&mut self, view: &'p View, name: String) -> Result<(), Fault> {
        let pickle = self.pickle;
        let Node::Storage(storage) = pickle.node(view.storage) else {
            return bad(format!("{name}: a tensor without a storage"));
        };
        self.claim(&name)?;
        if !self.loaded.contains_key(storage.key) {
            let bytes = (self.load)(storage, self.budget)?;
            self.loaded.insert(storage.key, (bytes, name.clone()));
        } else if let Some((_, first)) = self.loaded.get(storage.key) {
            self.budget.spend(64 + (name.len() + first.len()) as u64)?;
            self.out.tied.push((name.clone(), first.clone()));
        }
        let source = self.loaded.get(storage.key).map(|(bytes, _)| &bytes[..]).unwrap_or_default();
        let (dtype, size) = (storage.dtype, storage.dtype.size());
        if Some(source.len() as u64) != storage.total.checked_mul(size as u64) {
            let detail = format!("{} bytes, expected {} x {}", source.len(), storage.total, dtype.name());
            return fault(BadStorage, format!("storage {} of {name}: {detail}", storage.key));
        }
        let count: usize = view.shape.iter().product();
        self.budget.spend(count as u64 * size as u64)?;
        let Some(bytes) = gather(view, source, size, count) else {
            return fault(BadView, format!("{name} leaves its storage"));
        };
        if dtype == BlobType::Bool && bytes.iter().any(|byte| *byte > 1) {
            return fault(BadStorage, format!("{name}: a boolean that is neither 0 nor 1"));
        }
        self.out.tensors.push((name, Blob { dtype, shape: view.shape.clone(), bytes }));
        Ok(())
    }
}

fn join(name: &str, key: &str) -> String {
    if name.is_empty() { key.into() } else { format!("{name}/{key}") }
}

/// The `count` elements of `view` in row-major order; `None` when one lies outside of `source`.
fn gather(view: &View, source: &[u8], size: usize, count: usize) -> Option<Vec<u8>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let mut expected = 1;
    let contiguous = view.shape.iter().zip(&view.strides).rev().all(|(extent, stride)| {
        let fits = *extent == 1 || *stride == expected;
        expected *= extent;
        fits
    });
    if contiguous {
        let begin = view.offset.checked_mul(size)?;
        return source.get(begin..begin.checked_add(count.checked_mul(size)?)?).map(<[u8]>::to_vec);
    }
    let mut out = Vec::with_capacity(count.checked_mul(size)?);
    let mut index = vec![0; view.shape.len()];
    let mut at = view.offset;
    for _ in 0..count {
        let begin = at.checked_mul(size)?;
        out.extend_from_slice(source.get(begin..begin.checked_add(size)?)?);
        for dim in (0..index.len()).rev() {
            index[dim] += 1;
            // A size of 1 leaves any stride, even one that overflows; what is added is taken away again.
            at = at.wrapping_add(view.strides[dim]);
            if index[dim] < view.shape[dim] {
                break;
            }
            at = at.wrapping_sub(view.strides[dim].wrapping_mul(index[dim]));
            index[dim] = 0;
        }
    }
    Some(out)
}
