//! From the values of a pickle to named contiguous tensors.

use super::bad;
use super::pickle::{Id, Kind, Node, Pickle};
use crate::error::FileProblem::{BadPickle, BadStorage, BadView, DepthLimit};
use crate::io::{Blob, BlobType, Checkpoint, Value, blob::product, guard::*};
use std::{borrow::Cow, collections::HashMap, collections::HashSet, collections::hash_map::Entry, ops::Range, rc::Rc};

/// Deeper than any checkpoint nests.
const MAX_DEPTH: usize = 500;
/// PyTorch's own limit.
const MAX_RANK: usize = 64;

/// A storage, or in old files a window of one, as the pickle mentions it; the bytes lie elsewhere.
#[derive(Debug)]
pub struct Storage<'a> {
    pub dtype: BlobType,
    /// The name under which its bytes are found.
    pub key: &'a str,
    /// Elements of the whole storage.
    pub total: usize,
    /// Elements of the window.
    window: Range<usize>,
}

/// A tensor: sizes and strides over a storage, checked to stay inside.
#[derive(Debug)]
pub struct View<'a> {
    storage: Rc<Storage<'a>>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

fn unsigned(pickle: &Pickle, id: Id) -> Option<usize> {
    let Node::Int(value) = pickle.node(id) else { return None };
    usize::try_from(*value).ok()
}

/// The storage of a persistent id: `("storage", class, key, location, count)`, in old files with a sixth item `None`
/// or `(view key, offset, count)`.
pub fn storage<'a>(id: Id, pickle: &Pickle<'a>) -> Result<Storage<'a>, Fault> {
    let Node::Tuple(items) = pickle.node(id) else { return bad("a persistent id that is no tuple") };
    let [tag, class, key, _, total, window @ ..] = &items[..] else { return bad("a persistent id that is too short") };
    let (Node::Str("storage"), Node::Global(class), Node::Str(key)) =
        (pickle.node(*tag), pickle.node(*class), pickle.node(*key))
    else {
        return bad("a persistent id that is no storage");
    };
    let Kind::Storage(dtype) = class.kind else {
        return bad(format!("storage {key}: {}.{} is no element type", class.module, class.name));
    };
    let Some(total) = unsigned(pickle, *total) else {
        return fault(BadStorage, format!("storage {key}: a bad number of elements"));
    };
    let window = match window.first().map(|window| pickle.node(*window)) {
        None | Some(Node::None) => 0..total,
        Some(Node::Tuple(window)) if window.len() == 3 => {
            let part = unsigned(pickle, window[1]).zip(unsigned(pickle, window[2]));
            let window = part.and_then(|(start, count)| Some(start..start.checked_add(count)?));
            let window = window.filter(|window| window.end <= total);
            window.map_or_else(|| fault(BadView, format!("a window leaves storage {key}")), Ok)?
        }
        Some(_) => return bad("a persistent id with an unknown window"),
    };
    Ok(Storage { dtype, key, total, window })
}

/// The view of `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])`.
pub fn rebuild_tensor<'a>(pickle: &Pickle<'a>, arguments: &[Id], budget: &mut Budget) -> Result<View<'a>, Fault> {
    let [storage, offset, size, stride, _, _, ..] = arguments else { return bad("a tensor with too few arguments") };
    let (Node::Storage(storage), Node::Tuple(size), Node::Tuple(stride)) =
        (pickle.node(*storage), pickle.node(*size), pickle.node(*stride))
    else {
        return bad("a tensor of wrong arguments");
    };
    // The view in its box; its lists double, and come once more with the tensor.
    budget.spend(256 + 24 * (size.len() + stride.len()) as u64)?;
    let numbers = |ids: &[Id]| ids.iter().map(|id| unsigned(pickle, *id)).collect::<Option<Vec<_>>>();
    let (Some(shape), Some(strides), Some(offset)) = (numbers(size), numbers(stride), unsigned(pickle, *offset)) else {
        return fault(BadView, format!("storage {}: a negative or huge offset, size or stride", storage.key));
    };
    let (key, sizes, steps) = (storage.key, shape.len(), strides.len());
    let fits = sizes == steps && sizes <= MAX_RANK;
    ensure(fits, BadView, format_args!("storage {key}: {sizes} sizes, {steps} strides"))?;
    let (count, start, elements) = (product(&shape), storage.window.start, storage.window.len());
    let step =
        |last: usize, (size, stride): (&usize, &usize)| last.checked_add(stride.checked_mul(size.saturating_sub(1))?);
    let last = shape.iter().zip(&strides).try_fold(offset, step);
    let inside = count.is_some() && last.is_some_and(|last| last < elements);
    let detail = format_args!("shape {shape:?}, strides {strides:?} at {offset} leave {elements} elements");
    ensure(count == Some(0) || inside, BadView, format_args!("storage {key}: {detail}"))?;
    Ok(View { storage: storage.clone(), offset: start.saturating_add(offset), shape, strides })
}

/// Finds the bytes of the storage with a key, if there is one.
type Load<'p, 'a> = &'p dyn Fn(&str, &mut Budget) -> Result<Option<Cow<'a, [u8]>>, Fault>;

/// Names every leaf of the pickle and copies the tensors out of their storages, which `load` finds.
pub fn collect<'a>(pickle: &Pickle<'a>, budget: &mut Budget, load: Load<'_, 'a>) -> Result<Checkpoint, Fault> {
    let (loaded, names, out) = (HashMap::new(), HashSet::new(), Checkpoint::default());
    let mut collector = Collector { pickle, budget, load, loaded, path: Vec::new(), names, out };
    collector.walk(pickle.root, String::new())?;
    Ok(collector.out)
}

struct Collector<'p, 'a> {
    pickle: &'p Pickle<'a>,
    budget: &'p mut Budget,
    load: Load<'p, 'a>,
    /// Key to bytes and the first tensor that used them.
    loaded: HashMap<&'p str, (Cow<'a, [u8]>, String)>,
    /// The containers that are being walked.
    path: Vec<Id>,
    names: HashSet<String>,
    out: Checkpoint,
}

impl<'p, 'a> Collector<'p, 'a> {
    fn walk(&mut self, id: Id, name: String) -> Result<(), Fault> {
        // The entry of the name and that of the tensor or value, in lists that double, and the names themselves.
        self.budget.spend(384 + 3 * name.len() as u64)?;
        let (node, value) = (self.pickle.node(id), self.value(id)?);
        if value.is_some() || matches!(node, Node::Tensor(_)) {
            ensure(self.names.insert(name.clone()), BadPickle, format_args!("{name} comes twice"))?;
        }
        if let Some(value) = value {
            self.out.values.push((name, value));
            return Ok(());
        }
        let join = |key: &str| if name.is_empty() { key.into() } else { format!("{name}/{key}") };
        match node {
            Node::Tensor(view) => self.tensor(view, name),
            Node::Dict(items) => self.inside(id, |this| {
                let mut items = items.iter();
                items.try_for_each(|[key, value]| this.walk(*value, join(&this.key(*key)?)))
            }),
            Node::List(items) | Node::Tuple(items) => self.inside(id, |this| {
                let mut items = items.iter().enumerate();
                items.try_for_each(|(index, value)| this.walk(*value, join(&index.to_string())))
            }),
            _ => Ok(()), // a leaf, which has a value
        }
    }

    /// Walks the inside of a container; one inside of itself is refused.
    fn inside<T>(&mut self, id: Id, walk: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        ensure(!self.path.contains(&id), BadPickle, "a container that contains itself")?;
        ensure(self.path.len() < MAX_DEPTH, DepthLimit, format_args!("nested deeper than {MAX_DEPTH}"))?;
        self.path.push(id);
        let result = walk(self);
        self.path.pop();
        result
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

    /// A leaf that is no tensor, lists of such leaves included; `None` for what has a tensor or a dictionary in it.
    fn value(&mut self, id: Id) -> Result<Option<Value>, Fault> {
        let node = self.pickle.node(id);
        let size = match node {
            Node::Big(bytes) | Node::Bytes(bytes) => bytes.len(),
            Node::Str(text) => text.len(),
            Node::Global(class) | Node::Opaque(class) => class.module.len() + class.name.len(),
            _ => 0,
        };
        self.budget.spend(2 * (size_of::<Value>() + size) as u64)?;
        Ok(Some(match node {
            Node::None => Value::None,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::Int(*value),
            Node::Float(value) => Value::Float(*value),
            Node::Big(bytes) => Value::Big(bytes.to_vec()),
            Node::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Node::Str(text) => Value::Str((*text).into()),
            Node::Global(class) | Node::Opaque(class) => Value::Opaque(format!("{}.{}", class.module, class.name)),
            Node::Storage(_) => Value::Opaque("torch.Storage".into()),
            Node::List(items) | Node::Tuple(items) => {
                let values = |this: &mut Self| items.iter().map(|item| this.value(*item)).collect();
                return self.inside(id, values).map(|values: Option<_>| values.map(Value::List));
            }
            Node::Dict(_) | Node::Tensor(_) => return Ok(None),
        }))
    }

    fn tensor(&mut self, view: &'p View<'a>, name: String) -> Result<(), Fault> {
        let storage = &view.storage;
        let (bytes, _) = match self.loaded.entry(storage.key) {
            Entry::Occupied(entry) => {
                let loaded = entry.into_mut();
                self.budget.spend(96 + (name.len() + loaded.1.len()) as u64)?;
                self.out.tied.push((name.clone(), loaded.1.clone()));
                loaded
            }
            Entry::Vacant(entry) => {
                self.budget.spend(256 + name.len() as u64)?;
                match (self.load)(storage.key, self.budget)? {
                    Some(bytes) => entry.insert((bytes, name.clone())),
                    None => return fault(BadStorage, format!("no storage {}", storage.key)),
                }
            }
        };
        let (dtype, size) = (storage.dtype, storage.dtype.size());
        let fits = Some(bytes.len()) == storage.total.checked_mul(size);
        let detail = format_args!("{} bytes, expected {} x {}", bytes.len(), storage.total, dtype.name());
        ensure(fits, BadStorage, format_args!("storage {} of {name}: {detail}", storage.key))?;
        let count: usize = view.shape.iter().product();
        let length = count.saturating_mul(size);
        self.budget.spend(length as u64)?;
        let mut out = Vec::with_capacity(length);
        let fits = count == 0 || gather(&view.shape, &view.strides, view.offset, bytes, size, &mut out).is_some();
        ensure(fits, BadView, format_args!("{name} leaves its storage"))?;
        let sound = dtype != BlobType::Bool || out.iter().all(|byte| *byte <= 1);
        ensure(sound, BadStorage, format_args!("{name}: a boolean that is neither 0 nor 1"))?;
        self.out.tensors.push((name, Blob { dtype, shape: view.shape.clone(), bytes: out }));
        Ok(())
    }
}

/// Appends the elements, of `size` bytes, of a view that starts at element `at` of `source`, in row-major order; `None`
/// when one lies outside. What is contiguous is copied as a whole.
fn gather(shape: &[usize], strides: &[usize], at: usize, source: &[u8], size: usize, out: &mut Vec<u8>) -> Option<()> {
    let mut count = 1;
    let contiguous = shape.iter().zip(strides).rev().all(|(extent, stride)| {
        let fits = *extent == 1 || *stride == count;
        count *= extent;
        fits
    });
    if contiguous {
        let begin = at.checked_mul(size)?;
        out.extend_from_slice(source.get(begin..begin.checked_add(count * size)?)?);
        return Some(());
    }
    (0..shape[0]).try_for_each(|index| gather(&shape[1..], &strides[1..], at + index * strides[0], source, size, out))
}
