//! A pickle as a flat list of values (base_models 10.4).
//!
//! Values refer to each other by index, so that shared, mutated and cyclic ones need no care, dropping them does not
//! recurse, and a value costs a few dozen bytes at most for each byte of the stream.

use super::STORAGES;
use super::tensors::{Storage, View, rebuild_tensor, storage};
use crate::error::FileProblem::{self, BadPickle, UnsafeGlobal, UnsupportedOpcode};
use crate::io::BlobType;
use crate::io::guard::{Cursor, Fault, fault};
use std::collections::HashMap;

/// Index of a value.
pub type Id = u32;

/// More values than any checkpoint has.
const MAX_NODES: usize = 4 << 20;

/// A value of the pickle; sets are lists.
#[derive(Debug)]
pub enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    Big(&'a [u8]),
    Float(f64),
    Str(&'a str),
    Bytes(&'a [u8]),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function: index in [`Pickle::globals`].
    Global(u32),
    /// An object that is not built: index of its class.
    Opaque(u32),
    Storage(Box<Storage<'a>>),
    Tensor(Box<View>),
}

/// What happens when a class or function of the allow-list is called.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// An ordered dictionary, from nothing or from a list of pairs.
    OrderedDict,
    /// A tensor.
    Tensor,
    /// Its first argument: a parameter is its tensor, a `torch.Size` its tuple, a set its list.
    First,
    /// Names an element type; not called.
    Storage(BlobType),
    /// An opaque value.
    Inert,
}

/// A class or function that the pickle names.
#[derive(Debug)]
pub struct Global<'a> {
    module: &'a str,
    name: &'a str,
    kind: Kind,
}

impl Global<'_> {
    /// `module.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.module, self.name)
    }

    /// The element type, when it is a storage class.
    pub fn storage(&self) -> Option<BlobType> {
        match self.kind {
            Kind::Storage(dtype) => Some(dtype),
            _ => None,
        }
    }
}

/// The allow-list.
fn kind_of(module: &str, name: &str) -> Option<Kind> {
    const DTYPES: [&str; 14] = [
        "float32",
        "float64",
        "float16",
        "bfloat16",
        "float",
        "double",
        "half",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
        "complex64",
    ];
    let kind = match (module, name) {
        ("collections", "OrderedDict") => Kind::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Kind::Tensor,
        ("torch._utils", "_rebuild_parameter") | ("torch", "Size") => Kind::First,
        ("builtins" | "__builtin__", "set" | "frozenset") => Kind::First,
        ("torch", "device") => Kind::Inert,
        ("torch", name) if DTYPES.contains(&name) => Kind::Inert,
        ("torch", name) => Kind::Storage(STORAGES.iter().find(|(class, _)| *class == name)?.1),
        ("argparse", "Namespace") | ("yacs.config", "CfgNode") => Kind::Inert,
        ("collections", "defaultdict") | ("_codecs", "encode") => Kind::Inert,
        ("numpy", "dtype" | "ndarray") => Kind::Inert,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct") => Kind::Inert,
        ("pathlib" | "pathlib._local", name) if name.ends_with("Path") => Kind::Inert,
        ("datetime" | "omegaconf", _) => Kind::Inert,
        (module, _) if module.starts_with("omegaconf.") => Kind::Inert,
        _ => return None,
    };
    Some(kind)
}

/// A parsed pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    globals: Vec<Global<'a>>,
    root: Id,
    /// Where the stream goes on after the STOP opcode.
    pub end: usize,
}

impl<'a> Pickle<'a> {
    /// The value that was pickled.
    pub fn root(&self) -> &Node<'a> {
        self.node(self.root)
    }

    /// Its index.
    pub fn root_id(&self) -> Id {
        self.root
    }

    /// The value with this index.
    pub fn node(&self, id: Id) -> &Node<'a> {
        self.nodes.get(id as usize).unwrap_or(&Node::None)
    }

    /// The class or function with this index.
    pub fn global(&self, index: u32) -> Option<&Global<'a>> {
        self.globals.get(index as usize)
    }

    /// Every storage that is mentioned.
    pub fn storages(&self) -> impl Iterator<Item = &Storage<'a>> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }
}

/// Parses the pickle that starts at `data[start]`, up to its STOP opcode.
pub fn parse(data: &[u8], start: usize) -> Result<Pickle<'_>, Fault> {
    let pickle = Pickle { nodes: Vec::new(), globals: Vec::new(), root: 0, end: 0 };
    let input = Cursor::new(data, start);
    let mut machine = Machine { input, pickle, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    loop {
        match machine.input.u8()? {
            b'.' => break,
            opcode => machine.step(opcode)?,
        }
    }
    machine.pickle.root = machine.pop()?;
    machine.pickle.end = machine.input.at;
    Ok(machine.pickle)
}

struct Machine<'a> {
    input: Cursor<'a>,
    pickle: Pickle<'a>,
    stack: Vec<Id>,
    /// Heights of the stack where a MARK lies.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Executes one opcode.
    fn step(&mut self, opcode: u8) -> Result<(), Fault> {
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.input.take(8).map(drop), // FRAME
            b'N' => self.push(Node::None),        // NONE
            0x88 => self.push(Node::Bool(true)),  // NEWTRUE
            0x89 => self.push(Node::Bool(false)), // NEWFALSE
            b'J' => self.input.array().and_then(|x| self.push(Node::Int(i32::from_le_bytes(x).into()))), // BININT
            b'K' => self.input.u8().and_then(|x| self.push(Node::Int(x.into()))), // BININT1
            b'M' => self.input.u16().and_then(|x| self.push(Node::Int(x.into()))), // BININT2
            b'G' => self.input.array().and_then(|x| self.push(Node::Float(f64::from_be_bytes(x)))), // BINFLOAT
            0x8a => self.input.u8().and_then(|size| self.long(size.into())), // LONG1
            0x8b => self.input.u32().and_then(|size| self.long(size.into())), // LONG4
            0x8c => self.input.u8().and_then(|size| self.text(size.into())), // SHORT_BINUNICODE
            b'X' => self.input.u32().and_then(|size| self.text(size.into())), // BINUNICODE
            0x8d => self.input.u64().and_then(|size| self.text(size)), // BINUNICODE8
            b'U' => self.input.u8().and_then(|size| self.python2_text(size.into())), // SHORT_BINSTRING
            b'T' => self.input.u32().and_then(|size| self.python2_text(size.into())), // BINSTRING
            b'C' => self.input.u8().and_then(|size| self.bytes(size.into())), // SHORT_BINBYTES
            b'B' => self.input.u32().and_then(|size| self.bytes(size.into())), // BINBYTES
            0x8e => self.input.u64().and_then(|size| self.bytes(size)), // BINBYTES8
            b']' | 0x8f => self.push(Node::List(Vec::new())), // EMPTY_LIST, EMPTY_SET
            b'}' => self.push(Node::Dict(Vec::new())), // EMPTY_DICT
            b')' => self.push(Node::Tuple(Vec::new())), // EMPTY_TUPLE
            0x85..=0x87 => self.tuple(usize::from(opcode - 0x84)), // TUPLE1 to TUPLE3
            b't' => self.pop_mark().and_then(|items| self.push(Node::Tuple(items))), // TUPLE
            0x91 => self.pop_mark().and_then(|items| self.push(Node::List(items))), // FROZENSET
            b'(' => self.mark(),                  // MARK
            b'0' => self.discard(),               // POP
            b'1' => self.pop_mark().map(drop),    // POP_MARK
            b'2' => self.top().map(|id| self.stack.push(id)), // DUP
            b'a' => self.pop().and_then(|item| self.append(&[item])), // APPEND
            b'e' | 0x90 => self.pop_mark().and_then(|items| self.append(&items)), // APPENDS, ADDITEMS
            b's' => self.pop_some(2).and_then(|items| self.set_items(&items)), // SETITEM
            b'u' => self.pop_mark().and_then(|items| self.set_items(&items)), // SETITEMS
            b'q' => self.input.u8().and_then(|slot| self.put(slot.into())), // BINPUT
            b'r' => self.input.u32().and_then(|slot| self.put(slot)), // LONG_BINPUT
            0x94 => self.put(self.memo.len() as u32), // MEMOIZE
            b'h' => self.input.u8().and_then(|slot| self.get(slot.into())), // BINGET
            b'j' => self.input.u32().and_then(|slot| self.get(slot)), // LONG_BINGET
            b'c' => self.global(),                // GLOBAL
            0x93 => self.stack_global(),          // STACK_GLOBAL
            b'R' | 0x81 => self.pop_some(2).and_then(|call| self.call(call[0], call[1])), // REDUCE, NEWOBJ
            0x92 => self.pop_some(3).and_then(|call| self.call(call[0], call[1])), // NEWOBJ_EX
            b'b' => self.build(),                 // BUILD
            b'Q' => self.persistent(),            // BINPERSID
            other => fault(UnsupportedOpcode, format!("opcode 0x{other:02x} at {}", self.input.at - 1)),
        }
    }

    fn bad<T>(&self, detail: &str) -> Result<T, Fault> {
        fault(BadPickle, format!("{detail} at {}", self.input.at))
    }

    fn protocol(&mut self) -> Result<(), Fault> {
        match self.input.u8()? {
            0..=4 => Ok(()),
            other => fault(UnsupportedOpcode, format!("pickle protocol {other}")),
        }
    }

    fn push(&mut self, node: Node<'a>) -> Result<(), Fault> {
        let nodes = &mut self.pickle.nodes;
        if nodes.len() >= MAX_NODES {
            return self.bad("more values than any checkpoint has");
        }
        self.stack.push(nodes.len() as Id);
        nodes.push(node);
        Ok(())
    }

    /// The height below which nothing may be popped.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop_some(&mut self, count: usize) -> Result<Vec<Id>, Fault> {
        match self.stack.len().checked_sub(count).filter(|height| *height >= self.floor()) {
            Some(height) => Ok(self.stack.split_off(height)),
            None => self.bad("the stack is empty"),
        }
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        self.pop_some(1).map(|items| items[0])
    }

    fn top(&self) -> Result<Id, Fault> {
        match self.stack.last() {
            Some(id) if self.stack.len() > self.floor() => Ok(*id),
            _ => self.bad("the stack is empty"),
        }
    }

    fn mark(&mut self) -> Result<(), Fault> {
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Everything above the last MARK, which goes too.
    fn pop_mark(&mut self) -> Result<Vec<Id>, Fault> {
        match self.marks.pop() {
            Some(height) => Ok(self.stack.split_off(height)),
            None => self.bad("no MARK"),
        }
    }

    /// POP: a value, or the MARK that lies on top.
    fn discard(&mut self) -> Result<(), Fault> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn long(&mut self, size: u64) -> Result<(), Fault> {
        let bytes = self.input.take(size)?;
        if bytes.len() > 8 {
            return self.push(Node::Big(bytes));
        }
        let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [sign; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, size: u64) -> Result<(), Fault> {
        match std::str::from_utf8(self.input.take(size)?) {
            Ok(text) => self.push(Node::Str(text)),
            Err(_) => self.bad("a string is not UTF-8"),
        }
    }

    /// A string of Python 2: text where it is UTF-8, else bytes.
    fn python2_text(&mut self, size: u64) -> Result<(), Fault> {
        let bytes = self.input.take(size)?;
        self.push(std::str::from_utf8(bytes).map_or(Node::Bytes(bytes), Node::Str))
    }

    fn bytes(&mut self, size: u64) -> Result<(), Fault> {
        let bytes = self.input.take(size)?;
        self.push(Node::Bytes(bytes))
    }

    fn tuple(&mut self, count: usize) -> Result<(), Fault> {
        let items = self.pop_some(count)?;
        self.push(Node::Tuple(items))
    }

    fn append(&mut self, items: &[Id]) -> Result<(), Fault> {
        let target = self.top()?;
        match self.pickle.nodes.get_mut(target as usize) {
            Some(Node::List(list)) => list.extend(items),
            Some(Node::Opaque(_)) => {}
            _ => return self.bad("appending to what is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), Fault> {
        let target = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return self.bad("a key without a value");
        }
        match self.pickle.nodes.get_mut(target as usize) {
            Some(Node::Dict(list)) => list.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            Some(Node::Opaque(_)) => {}
            _ => return self.bad("setting items of what is no dictionary"),
        }
        Ok(())
    }

    fn put(&mut self, slot: u32) -> Result<(), Fault> {
        let id = self.top()?;
        self.memo.insert(slot, id);
        Ok(())
    }

    fn get(&mut self, slot: u32) -> Result<(), Fault> {
        match self.memo.get(&slot) {
            Some(id) => self.stack.push(*id),
            None => return self.bad("a memo slot that was never stored"),
        }
        Ok(())
    }

    fn global(&mut self) -> Result<(), Fault> {
        let (module, name) = (self.input.line()?, self.input.line()?);
        match (std::str::from_utf8(module), std::str::from_utf8(name)) {
            (Ok(module), Ok(name)) => self.push_global(module, name),
            _ => self.bad("the name of a class is not UTF-8"),
        }
    }

    fn stack_global(&mut self) -> Result<(), Fault> {
        let names = self.pop_some(2)?;
        match (self.pickle.node(names[0]), self.pickle.node(names[1])) {
            (Node::Str(module), Node::Str(name)) => self.push_global(module, name),
            _ => self.bad("the name of a class is not a string"),
        }
    }

    fn push_global(&mut self, module: &'a str, name: &'a str) -> Result<(), Fault> {
        let Some(kind) = kind_of(module, name) else {
            let short = |text: &str| text.chars().take(100).collect::<String>();
            return fault(UnsafeGlobal, format!("{:?} of module {:?}", short(name), short(module)));
        };
        self.pickle.globals.push(Global { module, name, kind });
        self.push(Node::Global(self.pickle.globals.len() as u32 - 1))
    }

    /// What REDUCE and NEWOBJ leave: never the result of running anything.
    fn call(&mut self, callee: Id, arguments: Id) -> Result<(), Fault> {
        let (Node::Global(class), Node::Tuple(list)) = (self.pickle.node(callee), self.pickle.node(arguments)) else {
            return self.bad("a call of what is no class, or without a tuple");
        };
        let kind = self.pickle.global(*class).map(|global| global.kind);
        match (kind, list.first().copied()) {
            (Some(Kind::Inert), _) => self.push(Node::Opaque(*class)),
            (Some(Kind::Tensor), _) => {
                let view = rebuild_tensor(&self.pickle, list)?;
                self.push(Node::Tensor(Box::new(view)))
            }
            (Some(Kind::OrderedDict), None) => self.push(Node::Dict(Vec::new())),
            (Some(Kind::OrderedDict), Some(pairs)) => {
                let dict = self.dict_from_pairs(pairs)?;
                self.push(dict)
            }
            (Some(Kind::First), Some(first)) => {
                self.stack.push(first);
                Ok(())
            }
            (Some(Kind::First), None) => self.push(Node::List(Vec::new())),
            _ => self.bad("a class that is not called in checkpoints"),
        }
    }

    fn dict_from_pairs(&self, pairs: Id) -> Result<Node<'a>, Fault> {
        let pair = |id: &Id| match self.pickle.node(*id) {
            Node::List(pair) | Node::Tuple(pair) if pair.len() == 2 => Some((pair[0], pair[1])),
            _ => None,
        };
        let items = match self.pickle.node(pairs) {
            Node::List(items) | Node::Tuple(items) => items.iter().map(pair).collect(),
            _ => None,
        };
        items.map_or_else(|| self.bad("an OrderedDict of what are no pairs"), |items| Ok(Node::Dict(items)))
    }

    /// BUILD: attributes are dropped, they do not matter here.
    fn build(&mut self) -> Result<(), Fault> {
        self.pop()?;
        match self.pickle.node(self.top()?) {
            Node::Dict(_) | Node::List(_) | Node::Opaque(_) | Node::Tensor(_) => Ok(()),
            _ => self.bad("a state for what has none"),
        }
    }

    fn persistent(&mut self) -> Result<(), Fault> {
        let id = self.pop()?;
        let storage = storage(&self.pickle, id)?;
        self.push(Node::Storage(Box::new(storage)))
    }
}

/// A [`Fault`] of a malformed pickle.
pub fn bad<T>(detail: impl Into<String>) -> Result<T, Fault> {
    fault(FileProblem::BadPickle, detail)
}
