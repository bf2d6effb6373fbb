//! The tensor: contiguous, row-major memory with a shape, nothing else.
//!
//! `Tensor = (Arc<Storage>, offset, shape, dtype)`. Reshapes and slices of the leading axis are free; everything else is
//! a kernel. Clones share memory; writing to a shared tensor copies it first, so a value never changes behind a clone.

mod dtype;
mod shape;
mod storage;

pub(crate) use dtype::float_dispatch;
pub use dtype::{DType, Element, Float};
pub use shape::Shape;
pub use storage::{Storage, pool_bytes};

use crate::{Error, Result};
use std::sync::Arc;

/// Where a tensor lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// Main memory; kernels run on the cores of the machine.
    #[default]
    Cpu,
}

impl std::str::FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "cpu" => Ok(Self::Cpu),
            other => Err(Error::invalid("device", "cpu (the only device of this build)", other)),
        }
    }
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
        if shape.numel() != values.len() {
            return Err(Error::shape(
                "Tensor::from_slice",
                format!("{} values for {shape:?}", shape.numel()),
                values.len(),
            ));
        }
        let mut tensor = Self::empty(shape, T::DTYPE);
        tensor.slice_mut::<T>()?.copy_from_slice(values);
        Ok(tensor)
    }

    fn from_f64s(shape: Shape, dtype: DType, values: impl Iterator<Item = f64>) -> Self {
        let mut tensor = Self::empty(shape, dtype);
        let bytes = tensor.bytes_mut();
        match dtype {
            DType::F32 => fill(bytes, values.map(|v| v as f32)),
            DType::F64 => fill(bytes, values),
            DType::F16 => fill(bytes, values.map(half::f16::from_f64)),
            DType::BF16 => fill(bytes, values.map(half::bf16::from_f64)),
            DType::I32 => fill(bytes, values.map(|v| v as i32)),
            DType::U8 => fill(bytes, values.map(|v| v as u8)),
        }
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

    /// Where it lives.
    pub fn device(&self) -> Device {
        Device::Cpu
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
        if T::DTYPE == self.dtype {
            return Ok(());
        }
        Err(Error::shape("Tensor::slice", format!("dtype {:?}", T::DTYPE), self.dtype))
    }

    /// The elements as little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        let start = self.offset * self.dtype.size();
        &self.storage.bytes()[start..start + self.numel() * self.dtype.size()]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, len) = (self.offset * self.dtype.size(), self.numel() * self.dtype.size());
        if Arc::get_mut(&mut self.storage).is_none() {
            let mut own = Storage::take(len);
            own.bytes_mut()[..len].copy_from_slice(&self.storage.bytes()[start..start + len]);
            (self.storage, self.offset) = (Arc::new(own), 0);
        }
        let start = self.offset * self.dtype.size();
        match Arc::get_mut(&mut self.storage) {
            Some(storage) => &mut storage.bytes_mut()[start..start + len],
            None => &mut [], // unreachable: the line above made it the sole owner
        }
    }

    /// The same elements under another shape of the same size.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape.numel() != self.numel() {
            return Err(Error::shape("reshape", format!("{} elements", self.numel()), shape));
        }
        Ok(Self { shape, ..self.clone() })
    }

    /// Rows `start..end` of the leading axis, sharing the memory.
    pub fn rows(&self, start: usize, end: usize) -> Result<Self> {
        if self.shape.is_empty() || start > end || end > self.shape[0] {
            return Err(Error::shape("rows", format!("{start}..{end} within the leading axis"), self.shape));
        }
        let row = self.shape[1..].iter().product::<usize>();
        let mut shape = self.shape;
        shape[0] = end - start;
        Ok(Self { storage: self.storage.clone(), offset: self.offset + start * row, shape, dtype: self.dtype })
    }

    /// All elements as `f64`.
    pub fn to_f64s(&self) -> Vec<f64> {
        let bytes = self.bytes();
        match self.dtype {
            DType::F32 => widen::<f32>(bytes, f64::from),
            DType::F64 => widen::<f64>(bytes, |v| v),
            DType::F16 => widen::<half::f16>(bytes, f64::from),
            DType::BF16 => widen::<half::bf16>(bytes, f64::from),
            DType::I32 => widen::<i32>(bytes, f64::from),
            DType::U8 => widen::<u8>(bytes, f64::from),
        }
    }

    /// The single element of a one-element tensor.
    pub fn item(&self) -> Result<f64> {
        if self.numel() != 1 {
            return Err(Error::shape("item", "one element", self.shape));
        }
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
        match self.dtype {
            DType::F32 => bytemuck::cast_slice::<u8, f32>(self.bytes()).iter().all(|v| v.is_finite()),
            _ => self.to_f64s().iter().all(|v| v.is_finite()),
        }
    }
}

fn fill<T: bytemuck::Pod>(bytes: &mut [u8], values: impl Iterator<Item = T>) {
    bytemuck::cast_slice_mut::<u8, T>(bytes).iter_mut().zip(values).for_each(|(to, from)| *to = from);
}

fn widen<T: bytemuck::Pod>(bytes: &[u8], f: impl Fn(T) -> f64) -> Vec<f64> {
    bytemuck::cast_slice::<u8, T>(bytes).iter().map(|v| f(*v)).collect()
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head: Vec<f64> = self.to_f64s().into_iter().take(8).collect();
        write!(f, "Tensor({:?} {:?} {head:.5?}…)", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_never_see_a_later_write() {
        let a = Tensor::from_slice([2, 2], &[1f32, 2.0, 3.0, 4.0]).unwrap();
        let mut b = a.clone();
        b.slice_mut::<f32>().unwrap()[0] = 9.0;
        assert_eq!(a.slice::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(b.slice::<f32>().unwrap(), [9.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn rows_share_memory_and_reshape_checks_the_size() {
        let a = Tensor::from_slice([3, 2], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let rows = a.rows(1, 3).unwrap();
        assert!(rows.is_shared());
        assert_eq!(rows.slice::<f32>().unwrap(), [2.0, 3.0, 4.0, 5.0]);
        assert!(a.reshape([4, 2]).is_err() && a.rows(2, 4).is_err() && a.slice::<i32>().is_err());
    }

    #[test]
    fn storage_is_aligned_to_64_bytes() {
        for n in [1, 7, 100, 4097] {
            let tensor = Tensor::zeros([n], DType::F32);
            assert_eq!(tensor.bytes().as_ptr() as usize % 64, 0);
        }
    }
}
