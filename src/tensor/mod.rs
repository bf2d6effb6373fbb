//! The tensor: contiguous, row-major memory with a shape, nothing else. `Tensor = (Arc<Storage>, offset, shape,
//! dtype)`. Reshapes and slices of the leading axis are free; everything else is a kernel. Clones share memory; writing
//! to a shared tensor copies it first, so a value never changes behind a clone.

mod dtype;
mod shape;
mod storage;

use dtype::dispatch;
pub(crate) use dtype::float_dispatch;
pub use dtype::{DType, Element, Float};
pub use shape::Shape;
use storage::Storage;

use crate::{Error, Result};
use std::{ops::Range, sync::Arc};

/// Where a tensor lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// Main memory; kernels run on the cores of the machine.
    #[default]
    Cpu,
}

/// A contiguous row-major array.
#[derive(Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    offset: usize,
    shape: Shape,
    dtype: DType,
}

impl Tensor {
    /// Memory from the pool with unspecified contents (some earlier tensor's, never uninitialised).
    pub fn empty(shape: impl Into<Shape>, dtype: DType) -> Self {
        let shape = shape.into();
        let storage = Arc::new(Storage::take(shape.numel() * dtype.size()));
        Self { storage, offset: 0, shape, dtype }
    }

    /// All elements 0.
    pub fn zeros(shape: impl Into<Shape>, dtype: DType) -> Self {
        let mut tensor = Self::empty(shape, dtype);
        tensor.bytes_mut().fill(0);
        tensor
    }

    /// All elements `value`.
    pub fn full(shape: impl Into<Shape>, dtype: DType, value: f64) -> Self {
        let shape = shape.into();
        Self::from_f64s(shape, dtype, std::iter::repeat_n(value, shape.numel()))
    }

    /// Copies `values`; their number must be that of the shape.
    pub fn from_slice<T: Element>(shape: impl Into<Shape>, values: &[T]) -> Result<Self> {
        let shape = shape.into();
        let (numel, found) = (shape.numel(), values.len());
        Error::ensure_shape(numel == found, "Tensor::from_slice", format_args!("{numel} values for {shape:?}"), found)?;
        let mut tensor = Self::empty(shape, T::DTYPE);
        tensor.slice_mut::<T>()?.copy_from_slice(values);
        Ok(tensor)
    }

    fn from_f64s(shape: Shape, dtype: DType, values: impl Iterator<Item = f64>) -> Self {
        let mut tensor = Self::empty(shape, dtype);
        dispatch!(dtype, T => {
            let to = bytemuck::cast_slice_mut::<u8, T>(tensor.bytes_mut());
            to.iter_mut().zip(values).for_each(|(to, from)| *to = T::of(from));
        });
        tensor
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Length of axis `axis`; negative counts from the end. 1 for an axis that is not there.
    pub fn dim(&self, axis: isize) -> usize {
        let index = if axis < 0 { self.shape.len() as isize + axis } else { axis };
        usize::try_from(index).ok().and_then(|i| self.shape.get(i).copied()).unwrap_or(1)
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// An error of `op` unless `other` has the same shape and dtype.
    pub(crate) fn check_same(&self, op: &'static str, other: &Tensor) -> Result<()> {
        let same = self.shape == other.shape && self.dtype == other.dtype;
        Error::ensure_shape(same, op, format_args!("{:?} {:?}", self.shape, self.dtype), (other.shape, other.dtype))
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.numel()
    }

    /// Whether writing would copy: another tensor shares the memory.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.storage) > 1
    }

    /// The elements; an error when `T` is not the dtype.
    pub fn slice<T: Element>(&self) -> Result<&[T]> {
        self.check::<T>()?;
        Ok(bytemuck::cast_slice(self.bytes()))
    }

    /// The elements for writing; a shared tensor is copied first.
    pub fn slice_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        self.check::<T>()?;
        Ok(bytemuck::cast_slice_mut(self.bytes_mut()))
    }

    fn check<T: Element>(&self) -> Result<()> {
        let expected = format_args!("dtype {:?}", T::DTYPE);
        Error::ensure_shape(T::DTYPE == self.dtype, "Tensor::slice", expected, self.dtype)
    }

    /// The elements as little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.storage.bytes()[self.byte_range()]
    }

    fn byte_range(&self) -> Range<usize> {
        let start = self.offset * self.dtype.size();
        start..start + self.numel() * self.dtype.size()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        if Arc::get_mut(&mut self.storage).is_none() {
            let shared = self.bytes();
            let mut own = Storage::take(shared.len());
            own.bytes_mut()[..shared.len()].copy_from_slice(shared);
            (self.storage, self.offset) = (Arc::new(own), 0);
        }
        let range = self.byte_range();
        match Arc::get_mut(&mut self.storage) {
            Some(storage) => &mut storage.bytes_mut()[range],
            None => &mut [], // unreachable: the lines above made it the sole owner
        }
    }

    /// The same elements under another shape of the same size.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        let numel = self.numel();
        Error::ensure_shape(shape.numel() == numel, "reshape", format_args!("{numel} elements"), shape)?;
        Ok(Self { shape, ..self.clone() })
    }

    /// Rows `start..end` of the leading axis, sharing the memory.
    pub fn rows(&self, start: usize, end: usize) -> Result<Self> {
        let fits = !self.shape.is_empty() && start <= end && end <= self.shape[0];
        Error::ensure_shape(fits, "rows", format_args!("{start}..{end} within the leading axis"), self.shape)?;
        let row = self.shape[1..].iter().product::<usize>();
        let mut rows = self.clone();
        (rows.offset, rows.shape[0]) = (self.offset + start * row, end - start);
        Ok(rows)
    }

    /// All elements as `f64`.
    pub fn to_f64s(&self) -> Vec<f64> {
        dispatch!(self.dtype, T => bytemuck::cast_slice::<u8, T>(self.bytes()).iter().map(|v| v.f64()).collect())
    }

    /// The single element of a one-element tensor.
    pub fn item(&self) -> Result<f64> {
        Error::ensure_shape(self.numel() == 1, "item", "one element", self.shape)?;
        Ok(self.to_f64s()[0])
    }

    /// Converted to `dtype`; the same tensor when it has that dtype already.
    pub fn to_dtype(&self, dtype: DType) -> Self {
        if dtype == self.dtype {
            return self.clone();
        }
        Self::from_f64s(self.shape, dtype, self.to_f64s().into_iter())
    }

    /// Whether every element is finite.
    pub fn is_finite(&self) -> bool {
        dispatch!(self.dtype, T => bytemuck::cast_slice::<u8, T>(self.bytes()).iter().all(|v| v.f64().is_finite()))
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head: Vec<f64> = self.to_f64s().into_iter().take(8).collect();
        write!(f, "Tensor({:?} {:?} {head:.5?}…)", self.dtype, self.shape)
    }
}
