//! A tensor as it lies in a file. 64-bit integers and booleans exist only here, at the border.

use crate::{Error, Result, tensor::Element};
use half::{bf16, f16};

/// The element type of a [`Blob`]; parses from its [`name`](Self::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum BlobType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl BlobType {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The name in safetensors files: `F64` … `BOOL`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it is one of the four float types.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }
}

/// A contiguous row-major tensor of little-endian elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Blob {
    /// Element type.
    pub dtype: BlobType,
    /// Sizes; empty for a scalar.
    pub shape: Vec<usize>,
    /// `product(shape) * dtype.size()` bytes.
    pub bytes: Vec<u8>,
}

/// The elements of `$blob` as `$out`.
macro_rules! decode {
    ($blob:expr, $out:ty) => {{
        let bytes = &$blob.bytes[..];
        match $blob.dtype {
            BlobType::F64 => bytes.as_chunks().0.iter().map(|x| f64::from_le_bytes(*x) as $out).collect(),
            BlobType::F32 => bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x) as $out).collect(),
            BlobType::F16 => bytes.as_chunks().0.iter().map(|x| f16::from_le_bytes(*x).to_f32() as $out).collect(),
            BlobType::BF16 => bytes.as_chunks().0.iter().map(|x| bf16::from_le_bytes(*x).to_f32() as $out).collect(),
            BlobType::I64 => bytes.as_chunks().0.iter().map(|x| i64::from_le_bytes(*x) as $out).collect(),
            BlobType::I32 => bytes.as_chunks().0.iter().map(|x| i32::from_le_bytes(*x) as $out).collect(),
            BlobType::I16 => bytes.as_chunks().0.iter().map(|x| i16::from_le_bytes(*x) as $out).collect(),
            BlobType::I8 => bytes.iter().map(|x| *x as i8 as $out).collect(),
            BlobType::U8 | BlobType::Bool => bytes.iter().map(|x| *x as $out).collect(),
        }
    }};
}

impl Blob {
    /// A blob of `bytes`; [`Error::Shape`] when their number is not `product(shape) * dtype.size()`.
    pub fn new(dtype: BlobType, shape: impl Into<Vec<usize>>, bytes: Vec<u8>) -> Result<Self> {
        let blob = Self { dtype, shape: shape.into(), bytes };
        blob.check().map(|()| blob)
    }

    /// An F32 blob of `values`, as many as the product of `shape`.
    pub fn from_f32(shape: impl Into<Vec<usize>>, values: &[f32]) -> Result<Self> {
        Self::new(BlobType::F32, shape, values.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// An I64 blob of `values`, as many as the product of `shape`.
    pub fn from_i64(shape: impl Into<Vec<usize>>, values: &[i64]) -> Result<Self> {
        Self::new(BlobType::I64, shape, values.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// Elements, or `None` when the product of the shape overflows.
    pub fn count(&self) -> Option<usize> {
        product(&self.shape)
    }

    /// [`Error::Shape`] when the number of bytes does not fit the shape.
    pub fn check(&self) -> Result<()> {
        let (bytes, found) = (self.count().and_then(|count| count.checked_mul(self.dtype.size())), self.bytes.len());
        let expected = format_args!("the bytes of {} {:?}", self.dtype.name(), self.shape);
        Error::ensure_shape(bytes == Some(found), "blob", expected, found)
    }

    /// The elements as f32, rounded where they do not fit; booleans are 0 and 1.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        self.check()?;
        Ok(decode!(self, f32))
    }

    /// The elements as f64; booleans are 0 and 1.
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        self.check()?;
        Ok(decode!(self, f64))
    }

    /// The elements of an integer or boolean blob; [`Error::Invalid`] for floats.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        self.check()?;
        Error::ensure(!self.dtype.is_float(), "element type", "integers or booleans", self.dtype.name())?;
        Ok(decode!(self, i64))
    }

    /// The same tensor in another float type, rounded to nearest even; [`Error::Invalid`] when `dtype` is no float.
    pub fn to_float(&self, dtype: BlobType) -> Result<Self> {
        let bytes = match dtype {
            BlobType::F64 => self.to_f64()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
            BlobType::F32 => self.to_f32()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
            BlobType::F16 => self.to_f64()?.iter().flat_map(|x| f16::of(*x).to_le_bytes()).collect(),
            BlobType::BF16 => self.to_f64()?.iter().flat_map(|x| bf16::of(*x).to_le_bytes()).collect(),
            other => return Err(Error::invalid("element type", "a float type", other.name())),
        };
        Self::new(dtype, self.shape.clone(), bytes)
    }
}

/// The product of `shape`, or `None` when it overflows.
pub(super) fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size))
}
