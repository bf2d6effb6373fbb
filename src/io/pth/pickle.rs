//! A pickle as a flat list of values (base_models 10.4). Values refer to each other by index, so that shared, mutated
//! and cyclic ones need no care, dropping them does not recurse, and a value costs a few dozen bytes at most for each
//! byte of the stream.

use super::tensors::{Storage, View, rebuild_tensor, storage};
use super::{STORAGES, bad};
use crate::{error::FileProblem::UnsafeGlobal, error::FileProblem::UnsupportedOpcode, io::BlobType, io::guard::*};
use std::{collections::HashMap, rc::Rc};

/// Index of a value.
pub type Id = u32;

/// What a value costs at most: itself and its place on the stack, both in lists that double.
const NODE: u64 = 2 * (size_of::<Node>() + size_of::<Id>()) as u64;
/// What is behind the box of a class, a storage or a tensor.
const BOXED: u64 = 128;
/// A slot of the memo while its table doubles.
const SLOT: u64 = 64;

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
    Dict(Vec<[Id; 2]>),
    /// A class or function.
    Global(Rc<Global<'a>>),
    /// An object that is not built: its class.
    Opaque(Rc<Global<'a>>),
    Storage(Rc<Storage<'a>>),
    Tensor(Box<View<'a>>),
}

/// A class or function that the pickle names.
#[derive(Debug)]
pub struct Global<'a> {
    pub module: &'a str,
    pub name: &'a str,
    pub kind: Kind,
}

/// What happens when a class or function of the allow-list is called.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
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

/// The allow-list.
fn kind_of(module: &str, name: &str) -> Option<Kind> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Kind::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Kind::Tensor,
        ("torch._utils", "_rebuild_parameter") | ("torch", "Size") => Kind::First,
        ("builtins" | "__builtin__", "set" | "frozenset") => Kind::First,
        ("torch", "device" | "float64" | "double" | "float32" | "float" | "float16" | "half" | "bfloat16") => {
            Kind::Inert
        }
        ("torch", "int64" | "int32" | "int16" | "int8" | "uint8" | "bool" | "complex64") => Kind::Inert,
        ("torch", name) => Kind::Storage(STORAGES.iter().find(|(class, _)| *class == name)?.1),
        ("argparse", "Namespace") | ("yacs.config", "CfgNode") => Kind::Inert,
        ("collections", "defaultdict") | ("_codecs", "encode") | ("numpy", "dtype" | "ndarray") => Kind::Inert,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct") => Kind::Inert,
        ("pathlib" | "pathlib._local", name) if name.ends_with("Path") => Kind::Inert,
        ("datetime" | "omegaconf", _) => Kind::Inert,
        (module, _) if module.starts_with("omegaconf.") => Kind::Inert,
        _ => return None,
    })
}

/// A parsed pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    /// The values by [`Id`].
    pub nodes: Vec<Node<'a>>,
    /// The value that was pickled.
    pub root: Id,
    /// Where the stream goes on after the STOP opcode.
    pub end: usize,
}

impl<'a> Pickle<'a> {
    /// The value with this index.
    pub fn node(&self, id: Id) -> &Node<'a> {
        self.nodes.get(id as usize).unwrap_or(&Node::None)
    }
}

/// Parses the pickle that starts at `data[start]`, up to its STOP opcode.
pub fn parse<'a>(data: &'a [u8], start: usize, budget: &mut Budget) -> Result<Pickle<'a>, Fault> {
    let pickle = Pickle { nodes: Vec::new(), root: 0, end: 0 };
    let input = Cursor { data, at: start };
    let (stack, marks, memo) = (Vec::new(), Vec::new(), HashMap::new());
    let mut machine = Machine { input, pickle, stack, marks, memo, budget };
    loop {
        match machine.input.number(1)? as u8 {
            b'.' => return Ok(Pickle { root: machine.top()?, end: machine.input.at, ..machine.pickle }), // STOP
            opcode => machine.step(opcode)?,
        }
    }
}

struct Machine<'a, 'b> {
    input: Cursor<'a>,
    pickle: Pickle<'a>,
    stack: Vec<Id>,
    /// Heights of the stack where a MARK lies.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Everything that grows with the stream is paid for.
    budget: &'b mut Budget,
}

impl<'a> Machine<'a, '_> {
    /// Executes one opcode: a new value for the stack, or what [`Machine::arrange`] does.
    fn step(&mut self, opcode: u8) -> Result<(), Fault> {
        let node = match opcode {
            b'N' => Node::None,                                                           // NONE
            0x88 => Node::Bool(true),                                                     // NEWTRUE
            0x89 => Node::Bool(false),                                                    // NEWFALSE
            b'J' => Node::Int((self.input.number(4)? as i32).into()),                     // BININT
            b'K' => Node::Int(self.input.number(1)? as i64),                              // BININT1
            b'M' => Node::Int(self.input.number(2)? as i64),                              // BININT2
            b'G' => Node::Float(f64::from_bits(self.input.number(8)?.swap_bytes())),      // BINFLOAT
            0x8a => long(self.input.counted(1)?),                                         // LONG1
            0x8b => long(self.input.counted(4)?),                                         // LONG4
            0x8c => self.text(1)?,                                                        // SHORT_BINUNICODE
            b'X' => self.text(4)?,                                                        // BINUNICODE
            0x8d => self.text(8)?,                                                        // BINUNICODE8
            b'U' => python2_text(self.input.counted(1)?),                                 // SHORT_BINSTRING
            b'T' => python2_text(self.input.counted(4)?),                                 // BINSTRING
            b'C' => Node::Bytes(self.input.counted(1)?),                                  // SHORT_BINBYTES
            b'B' => Node::Bytes(self.input.counted(4)?),                                  // BINBYTES
            0x8e => Node::Bytes(self.input.counted(8)?),                                  // BINBYTES8
            b']' | 0x8f => Node::List(Vec::new()),                                        // EMPTY_LIST, EMPTY_SET
            b'}' => Node::Dict(Vec::new()),                                               // EMPTY_DICT
            b')' => Node::Tuple(Vec::new()),                                              // EMPTY_TUPLE
            0x85..=0x87 => Node::Tuple(self.pop_some(usize::from(opcode - 0x84))?),       // TUPLE1 to TUPLE3
            b't' => Node::Tuple(self.pop_mark()?),                                        // TUPLE
            0x91 => Node::List(self.pop_mark()?),                                         // FROZENSET
            b'c' => self.global()?,                                                       // GLOBAL
            0x93 => self.stack_global()?,                                                 // STACK_GLOBAL
            b'Q' => Node::Storage(Rc::new(storage(self.pop_some(1)?[0], &self.pickle)?)), // BINPERSID
            _ => return self.arrange(opcode),
        };
        if matches!(node, Node::Global(_) | Node::Storage(_)) {
            self.budget.spend(BOXED)?;
        }
        self.push(node)
    }

    /// Executes an opcode that moves, extends or calls what is there.
    fn arrange(&mut self, opcode: u8) -> Result<(), Fault> {
        match opcode {
            0x80 => {
                // PROTO
                let version = self.input.number(1)?;
                ensure(version <= 4, UnsupportedOpcode, format_args!("pickle protocol {version}"))?;
            }
            0x95 => drop(self.input.take(8)?), // FRAME
            b'(' => {
                // MARK
                self.budget.spend(2 * size_of::<usize>() as u64)?;
                self.marks.push(self.stack.len());
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()), // POP of a MARK
            b'0' => drop(self.pop_some(1)?),                                                // POP
            b'1' => drop(self.pop_mark()?),                                                 // POP_MARK
            b'2' => self.top().and_then(|top| self.push_again(top))?,                       // DUP
            b'a' => self.pop_some(1).and_then(|item| self.extend(&item, false))?,           // APPEND
            b'e' | 0x90 => self.pop_mark().and_then(|items| self.extend(&items, false))?,   // APPENDS, ADDITEMS
            b's' => self.pop_some(2).and_then(|items| self.extend(&items, true))?,          // SETITEM
            b'u' => self.pop_mark().and_then(|items| self.extend(&items, true))?,           // SETITEMS
            b'q' => self.input.number(1).and_then(|slot| self.put(slot))?,                  // BINPUT
            b'r' => self.input.number(4).and_then(|slot| self.put(slot))?,                  // LONG_BINPUT
            0x94 => self.put(self.memo.len() as u64)?,                                      // MEMOIZE
            b'h' => self.input.number(1).and_then(|slot| self.get(slot))?,                  // BINGET
            b'j' => self.input.number(4).and_then(|slot| self.get(slot))?,                  // LONG_BINGET
            b'R' | 0x81 => self.pop_some(2).and_then(|call| self.call(call[0], call[1]))?,  // REDUCE, NEWOBJ
            0x92 => self.pop_some(3).and_then(|call| self.call(call[0], call[1]))?,         // NEWOBJ_EX
            b'b' => self.build()?,                                                          // BUILD
            other => return fault(UnsupportedOpcode, format!("opcode 0x{other:02x} at {}", self.input.at - 1)),
        }
        Ok(())
    }

    fn bad<T>(&self, detail: &str) -> Result<T, Fault> {
        bad(format!("{detail} at {}", self.input.at))
    }

    fn push(&mut self, node: Node<'a>) -> Result<(), Fault> {
        self.budget.spend(NODE)?;
        let Ok(id) = Id::try_from(self.pickle.nodes.len()) else {
            return self.bad("more values than any checkpoint has");
        };
        self.stack.push(id);
        self.pickle.nodes.push(node);
        Ok(())
    }

    /// A value that is there already.
    fn push_again(&mut self, id: Id) -> Result<(), Fault> {
        self.budget.spend(2 * size_of::<Id>() as u64)?;
        self.stack.push(id);
        Ok(())
    }

    /// The last `count` values, none of them below a MARK.
    fn pop_some(&mut self, count: usize) -> Result<Vec<Id>, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let height = self.stack.len().checked_sub(count).filter(|height| *height >= floor);
        let Some(height) = height else { return self.bad("the stack is empty") };
        self.split_off(height)
    }

    /// The last value, which stays.
    fn top(&self) -> Result<Id, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().map_or_else(|| self.bad("the stack is empty"), Ok)
    }

    /// Everything above the last MARK, which goes too.
    fn pop_mark(&mut self) -> Result<Vec<Id>, Fault> {
        let Some(height) = self.marks.pop() else { return self.bad("no MARK") };
        self.split_off(height)
    }

    fn split_off(&mut self, height: usize) -> Result<Vec<Id>, Fault> {
        self.budget.spend(size_of_val(&self.stack[height..]) as u64)?;
        Ok(self.stack.split_off(height))
    }

    fn utf8(&self, bytes: &'a [u8]) -> Result<&'a str, Fault> {
        std::str::from_utf8(bytes).or_else(|_| self.bad("a string is not UTF-8"))
    }

    /// A string behind its length, a number of `width` bytes.
    fn text(&mut self, width: u64) -> Result<Node<'a>, Fault> {
        let bytes = self.input.counted(width)?;
        self.utf8(bytes).map(Node::Str)
    }

    /// Appends `items` to the list on top, or sets them as keys and values of the dictionary on top.
    fn extend(&mut self, items: &[Id], keyed: bool) -> Result<(), Fault> {
        let target = self.top()? as usize;
        // The list doubles, and begins with four places.
        self.budget.spend(4 * size_of::<[Id; 2]>() as u64 + 2 * size_of_val(items) as u64)?;
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self.pickle.nodes[target] {
            _ if keyed && !rest.is_empty() => return self.bad("a key without a value"),
            Node::List(list) if !keyed => list.extend(items),
            Node::Dict(list) if keyed => list.extend(pairs),
            Node::Opaque(_) => {}
            _ if keyed => return self.bad("setting items of what is no dictionary"),
            _ => return self.bad("appending to what is no list"),
        }
        Ok(())
    }

    fn put(&mut self, slot: u64) -> Result<(), Fault> {
        self.budget.spend(SLOT)?;
        self.memo.insert(slot, self.top()?);
        Ok(())
    }

    fn get(&mut self, slot: u64) -> Result<(), Fault> {
        let Some(id) = self.memo.get(&slot) else { return self.bad("a memo slot that was never stored") };
        self.push_again(*id)
    }

    fn global(&mut self) -> Result<Node<'a>, Fault> {
        let (module, name) = (self.input.line()?, self.input.line()?);
        allowed(self.utf8(module)?, self.utf8(name)?)
    }

    fn stack_global(&mut self) -> Result<Node<'a>, Fault> {
        let names = self.pop_some(2)?;
        match (self.pickle.node(names[0]), self.pickle.node(names[1])) {
            (Node::Str(module), Node::Str(name)) => allowed(module, name),
            _ => self.bad("the name of a class is not a string"),
        }
    }

    /// What REDUCE and NEWOBJ leave: never the result of running anything.
    fn call(&mut self, callee: Id, arguments: Id) -> Result<(), Fault> {
        let (Node::Global(class), Node::Tuple(list)) = (self.pickle.node(callee), self.pickle.node(arguments)) else {
            return self.bad("a call of what is no class, or without a tuple");
        };
        let node = match (class.kind, list.first()) {
            (Kind::Inert, _) => Node::Opaque(class.clone()),
            (Kind::Tensor, _) => Node::Tensor(Box::new(rebuild_tensor(&self.pickle, list, self.budget)?)),
            (Kind::OrderedDict, None) => Node::Dict(Vec::new()),
            (Kind::OrderedDict, Some(pairs)) => self.dict_from_pairs(*pairs)?,
            (Kind::First, None) => Node::List(Vec::new()),
            (Kind::First, Some(first)) => return self.push_again(*first),
            (Kind::Storage(_), _) => return self.bad("a class that is not called in checkpoints"),
        };
        self.push(node)
    }

    fn dict_from_pairs(&mut self, pairs: Id) -> Result<Node<'a>, Fault> {
        let items = |id: Id| match self.pickle.node(id) {
            Node::List(items) | Node::Tuple(items) => Some(&items[..]),
            _ => None,
        };
        self.budget.spend(16 * items(pairs).map_or(0, |pairs| pairs.len() as u64))?;
        let pairs = items(pairs).and_then(|pairs| pairs.iter().map(|pair| items(*pair)?.try_into().ok()).collect());
        pairs.map_or_else(|| self.bad("an OrderedDict of what are no pairs"), |pairs| Ok(Node::Dict(pairs)))
    }

    /// BUILD: attributes are dropped, they do not matter here.
    fn build(&mut self) -> Result<(), Fault> {
        self.pop_some(1)?;
        match self.pickle.node(self.top()?) {
            Node::Dict(_) | Node::List(_) | Node::Opaque(_) | Node::Tensor(_) => Ok(()),
            _ => self.bad("a state for what has none"),
        }
    }
}

/// A class or function, if it is on the allow-list.
fn allowed<'a>(module: &'a str, name: &'a str) -> Result<Node<'a>, Fault> {
    let Some(kind) = kind_of(module, name) else {
        let short = |text: &str| text.chars().take(100).collect::<String>();
        return fault(UnsafeGlobal, format!("{:?} of module {:?}", short(name), short(module)));
    };
    Ok(Node::Global(Rc::new(Global { module, name, kind })))
}

/// An integer in two's complement, little-endian.
fn long(bytes: &[u8]) -> Node<'_> {
    if bytes.len() > 8 {
        return Node::Big(bytes);
    }
    let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i64::from_le_bytes(wide))
}

/// A string of Python 2: text where it is UTF-8, else bytes.
fn python2_text(bytes: &[u8]) -> Node<'_> {
    std::str::from_utf8(bytes).map_or(Node::Bytes(bytes), Node::Str)
}
