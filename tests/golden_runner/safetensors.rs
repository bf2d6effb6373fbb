//! A second, independent safetensors reader: a fault in the crate's own must not hide itself.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Element types by their safetensors names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

/// (dtype, safetensors name, the name in the cases' JSON, bytes per element)
const DTYPES: [(Dtype, &str, &str, usize); 13] = [
    (Dtype::F64, "F64", "float64", 8),
    (Dtype::F32, "F32", "float32", 4),
    (Dtype::F16, "F16", "float16", 2),
    (Dtype::Bf16, "BF16", "bfloat16", 2),
    (Dtype::I64, "I64", "int64", 8),
    (Dtype::I32, "I32", "int32", 4),
    (Dtype::I16, "I16", "int16", 2),
    (Dtype::I8, "I8", "int8", 1),
    (Dtype::U64, "U64", "uint64", 8),
    (Dtype::U32, "U32", "uint32", 4),
    (Dtype::U16, "U16", "uint16", 2),
    (Dtype::U8, "U8", "uint8", 1),
    (Dtype::Bool, "BOOL", "bool", 1),
];

impl Dtype {
    /// The name in the cases' JSON: `float32`, `int64`, ….
    pub fn name(self) -> &'static str {
        DTYPES.iter().find(|row| row.0 == self).map_or("", |row| row.2)
    }
}

/// A recorded tensor; every element type fits f64 without loss, integers beyond 2^53 are refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// All tensors of a safetensors file.
pub fn read(path: &Path) -> Result<BTreeMap<String, Golden>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&bytes, false).map_err(|error| format!("{}: {error}", path.display()))
}

/// The tensors of a file's bytes; with `swapped` the bytes of every element are reversed first.
pub fn parse(bytes: &[u8], swapped: bool) -> Result<BTreeMap<String, Golden>, String> {
    let length = bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b)).ok_or("no header")?;
    let rest = &bytes[8..];
    let length = usize::try_from(length).ok().filter(|&n| n <= rest.len()).ok_or("header is too long")?;
    let header: Value = serde_json::from_slice(&rest[..length]).map_err(|error| format!("header: {error}"))?;
    let data = &rest[length..];
    let entries = header.as_object().ok_or("header is no object")?;
    let entries = entries.iter().filter(|(name, _)| *name != "__metadata__");
    entries
        .map(|(name, entry)| Ok((name.clone(), tensor(entry, data, swapped).ok_or(format!("bad {name}"))?)))
        .collect()
}

fn tensor(entry: &Value, data: &[u8], swapped: bool) -> Option<Golden> {
    let naturals = |key: &str| -> Option<Vec<usize>> {
        entry[key].as_array()?.iter().map(|v| v.as_u64().and_then(|v| usize::try_from(v).ok())).collect()
    };
    let (dtype, .., size) = *DTYPES.iter().find(|row| Some(row.1) == entry["dtype"].as_str())?;
    let shape = naturals("shape")?;
    let [begin, end] = naturals("data_offsets")?.try_into().ok()?;
    let bytes = data.get(begin..end)?;
    let count = shape.iter().try_fold(size, |product, &n| product.checked_mul(n))?;
    let values: Option<Vec<f64>> = bytes.chunks_exact(size).map(|b| element(dtype, b, swapped)).collect();
    (count == bytes.len()).then_some(Golden { dtype, shape, values: values? })
}

fn element(dtype: Dtype, bytes: &[u8], swapped: bool) -> Option<f64> {
    let mut b = bytes.to_vec();
    if swapped {
        b.reverse();
    }
    let integer = |value: i128| (value.unsigned_abs() < 1 << 53).then_some(value as f64);
    match dtype {
        Dtype::F64 => Some(f64::from_le_bytes(b.try_into().ok()?)),
        Dtype::F32 => Some(f32::from_le_bytes(b.try_into().ok()?).into()),
        Dtype::F16 => Some(half(u16::from_le_bytes(b.try_into().ok()?))),
        Dtype::Bf16 => Some(f32::from_bits(u32::from(u16::from_le_bytes(b.try_into().ok()?)) << 16).into()),
        Dtype::I64 => integer(i64::from_le_bytes(b.try_into().ok()?).into()),
        Dtype::I32 => integer(i32::from_le_bytes(b.try_into().ok()?).into()),
        Dtype::I16 => integer(i16::from_le_bytes(b.try_into().ok()?).into()),
        Dtype::I8 => integer(i8::from_le_bytes(b.try_into().ok()?).into()),
        Dtype::U64 => integer(u64::from_le_bytes(b.try_into().ok()?).into()),
        Dtype::U32 => integer(u32::from_le_bytes(b.try_into().ok()?).into()),
        Dtype::U16 => integer(u16::from_le_bytes(b.try_into().ok()?).into()),
        Dtype::U8 | Dtype::Bool => integer(b[0].into()),
    }
}

/// IEEE half precision from its bits.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + mantissa) * 2f64.powi(exponent - 25),
    }
}
