//! The tensor: row-major memory with a shape, nothing else. `Tensor = (Arc<Storage>, offset, shape, dtype)`. Reshapes
//! and slices of the leading axis are free; everything else is a kernel. Clones share memory; writing to a shared tensor
//! copies it first, so a value never changes behind a clone.
//!
//! In main memory a tensor is contiguous. On a GPU its rows (of the last axis) lie `stored_width` elements apart: the
//! width rounded up to [`ALIGN`], so that every row begins at a multiple of 16 bytes, with zeros between. Scalars, and
//! images and convolution kernels (four axes and more), are contiguous there too.

mod convert;
mod device;
mod dtype;
mod shape;
mod storage;

pub use device::Device;
use dtype::dispatch;
pub(crate) use dtype::float_dispatch;
pub use dtype::{DType, Element, Float};
pub use shape::Shape;
pub(crate) use storage::Host;
use storage::Storage;

use crate::gpu::{self, Gpu, Grid, params};
use crate::{Error, Result};
use std::{borrow::Cow, ops::Range, sync::Arc};

/// Rows on a GPU are stored in multiples of this many elements.
pub const ALIGN: usize = 8;

/// A row-major array.
#[derive(Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    offset: usize, // in stored elements
    shape: Shape,
    dtype: DType,
}

impl Tensor {
    /// Main memory from the pool with unspecified contents (some earlier tensor's, never uninitialised).
    pub fn empty(shape: impl Into<Shape>, dtype: DType) -> Self {
        let shape = shape.into();
        let storage = Arc::new(Storage::Host(Host::take(shape.numel() * dtype.size())));
        Self { storage, offset: 0, shape, dtype }
    }

    /// Memory on `gpu` with unspecified contents, also behind the rows.
    fn on_gpu(gpu: &'static Gpu, shape: Shape, dtype: DType) -> Result<Self> {
        let buffer = gpu.alloc(shape.rows_cols().0 * stored_width(&shape) * dtype.size())?;
        Ok(Self { storage: Arc::new(Storage::Device(buffer)), offset: 0, shape, dtype })
    }

    /// Memory on `device` with unspecified contents, but zeros behind the rows.
    pub fn empty_on(device: Device, shape: impl Into<Shape>, dtype: DType) -> Result<Self> {
        let tensor = Self::uncleared_on(device, shape, dtype)?;
        let (size, (rows, cols), stored) = (dtype.size(), tensor.shape.rows_cols(), tensor.stored_width());
        if let Some(gpu) = tensor.gpu().filter(|_| stored != cols) {
            let behind = tensor.address()? + (cols * size) as u64;
            gpu.zero_columns(behind, stored * size, (stored - cols) * size, rows)?;
        }
        Ok(tensor)
    }

    /// Memory on `device` with unspecified contents, also behind the rows: for a kernel that writes the zeros there itself, and
    /// for what is read within the rows only.
    pub(crate) fn uncleared_on(device: Device, shape: impl Into<Shape>, dtype: DType) -> Result<Self> {
        let shape = shape.into();
        device.gpu()?.map_or_else(|| Ok(Self::empty(shape, dtype)), |gpu| Self::on_gpu(gpu, shape, dtype))
    }

    /// [`Tensor::uncleared_on`] with this shape, on the same device, with this dtype.
    pub(crate) fn new_uncleared(&self) -> Result<Self> {
        Self::uncleared_on(self.device(), self.shape, self.dtype)
    }

    /// A tensor of `shape` on the same device, with this dtype and unspecified contents.
    pub fn new_empty(&self, shape: impl Into<Shape>) -> Result<Self> {
        Self::empty_on(self.device(), shape, self.dtype)
    }

    /// A tensor of `shape` on the same device, of the wide type and unspecified contents.
    pub fn new_wide(&self, shape: impl Into<Shape>) -> Result<Self> {
        Self::empty_on(self.device(), shape, self.dtype.wide())
    }

    /// [`Tensor::new_empty`] with every element `value`.
    pub fn new_full(&self, shape: impl Into<Shape>, value: f64) -> Result<Self> {
        let shape = shape.into();
        let Some(gpu) = self.gpu() else { return Ok(Self::full(shape, self.dtype, value)) };
        let mut tensor = Self::on_gpu(gpu, shape, self.dtype)?;
        if value == 0.0 {
            gpu.zero(tensor.address_mut()?, tensor.stored_numel() * self.dtype.size())?;
            return Ok(tensor);
        }
        let (rows, cols) = shape.rows_cols();
        let stride = tensor.stored_width();
        let [rows_, cols, stride_] = gpu::sizes([rows, cols, stride])?;
        let args = params::Fill { out: tensor.address_mut()?, value, rows: rows_, cols, stride: stride_, unused: 0 };
        gpu.launch(self.dtype, Grid::vecs(rows * stride, self.dtype), &args).map(|()| tensor)
    }

    /// In main memory, all elements 0.
    pub fn zeros(shape: impl Into<Shape>, dtype: DType) -> Self {
        let mut tensor = Self::empty(shape, dtype);
        tensor.bytes_mut().fill(0);
        tensor
    }

    /// In main memory, all elements `value`.
    pub fn full(shape: impl Into<Shape>, dtype: DType, value: f64) -> Self {
        let shape = shape.into();
        Self::from_f64s(shape, dtype, std::iter::repeat_n(value, shape.numel()))
    }

    /// Copies `values` into main memory; their number must be that of the shape.
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

    /// An error of `op` unless `other` has the same shape and dtype, and lies on the same device.
    pub(crate) fn check_same(&self, op: &'static str, other: &Tensor) -> Result<()> {
        self.check_like(op, other)?;
        self.check_device(op, other)
    }

    /// An error of `op` unless `other` has the same shape and dtype.
    fn check_like(&self, op: &'static str, other: &Tensor) -> Result<()> {
        let same = self.shape == other.shape && self.dtype == other.dtype;
        Error::ensure_shape(same, op, format_args!("{:?} {:?}", self.shape, self.dtype), (other.shape, other.dtype))
    }

    /// An error of `op` unless `other` lies on the same device.
    pub(crate) fn check_device(&self, op: &'static str, other: &Tensor) -> Result<()> {
        let (ours, theirs) = (self.device(), other.device());
        Error::ensure_shape(ours == theirs, op, format_args!("tensors on one device, {ours}"), theirs)
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.numel()
    }

    /// Whether writing would copy: another tensor shares the memory.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.storage) > 1
    }

    /// Where it lives.
    pub fn device(&self) -> Device {
        self.gpu().map_or(Device::Cpu, Gpu::device)
    }

    /// What runs its kernels; `None` for the CPU.
    pub fn gpu(&self) -> Option<&'static Gpu> {
        match &*self.storage {
            Storage::Host(_) => None,
            Storage::Device(buffer) => Some(buffer.gpu()),
        }
    }

    /// Elements from row to row of the last axis, zeros behind the width among them.
    pub fn stored_width(&self) -> usize {
        match &*self.storage {
            Storage::Host(_) => self.shape.rows_cols().1,
            Storage::Device(_) => stored_width(&self.shape),
        }
    }

    /// Elements in memory, zeros behind the rows among them.
    pub fn stored_numel(&self) -> usize {
        self.shape.rows_cols().0 * self.stored_width()
    }

    /// The address on its GPU; 0 when it is empty.
    pub fn address(&self) -> Result<u64> {
        match &*self.storage {
            Storage::Device(buffer) => Ok(buffer.address() + (self.offset * self.dtype.size()) as u64),
            Storage::Host(_) => Err(Error::shape("Tensor::address", "a tensor on a GPU", "one in main memory")),
        }
    }

    /// The address for writing; a shared tensor is copied first.
    pub fn address_mut(&mut self) -> Result<u64> {
        if let (Some(gpu), true) = (self.gpu(), self.is_shared()) {
            let own = gpu.alloc(self.stored_numel() * self.dtype.size())?;
            gpu.copy(own.address(), self.address()?, own.bytes())?;
            (self.storage, self.offset) = (Arc::new(Storage::Device(own)), 0);
        }
        self.address()
    }

    /// The same elements on `device`; shares the memory when they are there already.
    pub fn to_device(&self, device: Device) -> Result<Self> {
        if device == self.device() {
            return Ok(self.clone());
        }
        let (Some(gpu), size) = (device.gpu()?, self.dtype.size()) else { return self.to_host() };
        let (host, (rows, cols)) = (self.to_host()?, self.shape.rows_cols());
        let (bytes, tensor) = (host.host_bytes()?, Self::on_gpu(gpu, self.shape, self.dtype)?);
        let stored = tensor.stored_width();
        if stored == cols {
            gpu.upload(tensor.address()?, bytes)?;
            return Ok(tensor);
        }
        let mut padded = vec![0; rows * stored * size];
        for (to, from) in padded.chunks_mut(stored * size).zip(bytes.chunks((cols * size).max(1))) {
            to[..cols * size].copy_from_slice(from);
        }
        gpu.upload(tensor.address()?, &padded).map(|()| tensor)
    }

    /// Overwrites the elements, on its device, with those of a tensor of the same shape and dtype in main memory. On a GPU it
    /// must be the only tensor of its memory, which then stays where it is: a graph reads its inputs there.
    pub fn copy_from(&mut self, host: &Tensor) -> Result<()> {
        self.check_like("copy_from", host)?;
        let Some(gpu) = self.gpu() else {
            self.bytes_mut().copy_from_slice(host.host_bytes()?);
            return Ok(());
        };
        Error::ensure_shape(!self.is_shared(), "copy_from", "the only tensor of its memory", "a shared one")?;
        let staged = host.to_device(gpu.device())?;
        gpu.copy(self.address_mut()?, staged.address()?, self.stored_numel() * self.dtype.size())
    }

    fn to_host(&self) -> Result<Self> {
        let Some(gpu) = self.gpu() else { return Ok(self.clone()) };
        let (size, (rows, cols), stored) = (self.dtype.size(), self.shape.rows_cols(), self.stored_width());
        let mut host = Self::empty(self.shape, self.dtype);
        if stored == cols {
            gpu.download(self.address()?, host.bytes_mut())?;
            return Ok(host);
        }
        let mut padded = vec![0; rows * stored * size];
        gpu.download(self.address()?, &mut padded)?;
        let to = host.bytes_mut();
        for (to, from) in to.chunks_mut((cols * size).max(1)).zip(padded.chunks(stored * size)) {
            to.copy_from_slice(&from[..cols * size]);
        }
        Ok(host)
    }

    /// The elements; an error when `T` is not the dtype, or they are on a GPU.
    pub fn slice<T: Element>(&self) -> Result<&[T]> {
        self.check::<T>()?;
        Ok(bytemuck::cast_slice(self.host_bytes()?))
    }

    /// The elements for writing; a shared tensor is copied first.
    pub fn slice_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        self.check::<T>()?;
        self.host_bytes()?;
        Ok(bytemuck::cast_slice_mut(self.bytes_mut()))
    }

    fn check<T: Element>(&self) -> Result<()> {
        let expected = format_args!("dtype {:?}", T::DTYPE);
        Error::ensure_shape(T::DTYPE == self.dtype, "Tensor::slice", expected, self.dtype)
    }

    /// The elements as little-endian bytes, read from its device.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        if self.gpu().is_none() {
            return self.host_bytes().map(Cow::Borrowed);
        }
        Ok(Cow::Owned(self.to_host()?.host_bytes()?.to_vec()))
    }

    /// The memory as it is, read from its device: the zeros behind the rows are there, too. For tests that look at them.
    pub fn stored_bytes(&self) -> Result<Vec<u8>> {
        let Some(gpu) = self.gpu() else { return self.host_bytes().map(<[u8]>::to_vec) };
        let mut bytes = vec![0; self.stored_numel() * self.dtype.size()];
        gpu.download(self.address()?, &mut bytes).map(|()| bytes)
    }

    fn host_bytes(&self) -> Result<&[u8]> {
        match &*self.storage {
            Storage::Host(host) => Ok(&host.bytes()[self.byte_range()]),
            Storage::Device(_) => Err(Error::shape("Tensor::slice", "a tensor in main memory", self.device())),
        }
    }

    fn byte_range(&self) -> Range<usize> {
        let start = self.offset * self.dtype.size();
        start..start + self.numel() * self.dtype.size()
    }

    /// The bytes of a tensor in main memory; none for one on a GPU.
    fn bytes_mut(&mut self) -> &mut [u8] {
        if let (true, Ok(shared)) = (self.is_shared(), self.host_bytes()) {
            let mut own = Host::take(shared.len());
            own.bytes_mut()[..shared.len()].copy_from_slice(shared);
            (self.storage, self.offset) = (Arc::new(Storage::Host(own)), 0);
        }
        let range = self.byte_range();
        match Arc::get_mut(&mut self.storage) {
            Some(Storage::Host(host)) => &mut host.bytes_mut()[range],
            _ => &mut [],
        }
    }

    /// The same elements under another shape of the same size. On a GPU a copy when the rows are stored otherwise.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        let numel = self.numel();
        Error::ensure_shape(shape.numel() == numel, "reshape", format_args!("{numel} elements"), shape)?;
        let (cols, new) = (self.shape.rows_cols().1, shape.rows_cols().1);
        let Some(gpu) = self.gpu() else { return Ok(Self { shape, ..self.clone() }) };
        let (stored, new_stored) = (self.stored_width(), stored_width(&shape));
        // Rows of whole Vecs have to begin with one, also in a slice of a tensor whose rows have none.
        let placed = self.offset.is_multiple_of(ALIGN) || cols == new;
        if placed && ((cols, stored) == (new, new_stored) || (cols, new) == (stored, new_stored)) {
            return Ok(Self { shape, ..self.clone() });
        }
        let mut out = self.new_empty(shape)?;
        let [x_cols, x_stride, cols, stride] = gpu::sizes([cols, stored, new, new_stored])?;
        let (out_address, x, count) = (out.address_mut()?, self.address()?, numel as i64);
        let args = params::Repitch { out: out_address, x, count, x_cols, x_stride, cols, stride };
        gpu.launch(self.dtype, Grid::elements(numel), &args).map(|()| out)
    }

    /// Rows `start..end` of the leading axis, sharing the memory. On a GPU there must be another axis.
    pub fn rows(&self, start: usize, end: usize) -> Result<Self> {
        let fits = !self.shape.is_empty() && start <= end && end <= self.shape[0];
        let fits = fits && (self.gpu().is_none() || self.shape.len() > 1);
        Error::ensure_shape(fits, "rows", format_args!("{start}..{end} within the leading axis"), self.shape)?;
        let row = self.stored_numel().checked_div(self.shape[0]).unwrap_or(0);
        let mut rows = self.clone();
        (rows.offset, rows.shape[0]) = (self.offset + start * row, end - start);
        Ok(rows)
    }

    /// `self += other`, element by element: how gradients of several uses are joined.
    pub fn accumulate(&mut self, other: &Tensor) -> Result<()> {
        self.check_same("accumulate", other)?;
        let Some(gpu) = self.gpu() else { return crate::cpu::accumulate(self, other) };
        let count = self.stored_numel();
        let args = params::Accumulate { out: self.address_mut()?, x: other.address()?, count: count as i64 };
        gpu.launch(self.dtype, Grid::vecs(count, self.dtype), &args)
    }

    /// All elements as `f64`, read from its device.
    pub fn to_f64s(&self) -> Result<Vec<f64>> {
        let host = self.to_host()?;
        Ok(dispatch!(self.dtype, T => host.slice::<T>()?.iter().map(|v| v.f64()).collect()))
    }

    /// The single element of a one-element tensor.
    pub fn item(&self) -> Result<f64> {
        Error::ensure_shape(self.numel() == 1, "item", "one element", self.shape)?;
        Ok(self.to_f64s()?[0])
    }

    fn to_dtype_on_host(&self, dtype: DType) -> Result<Self> {
        if dtype == self.dtype {
            return Ok(self.clone());
        }
        Self::from_f64s(self.shape, dtype, self.to_f64s()?.into_iter()).to_device(self.device())
    }

    /// Whether every element is finite.
    pub fn is_finite(&self) -> Result<bool> {
        let host = self.to_host()?;
        Ok(dispatch!(self.dtype, T => host.slice::<T>()?.iter().all(|v| v.f64().is_finite())))
    }
}

/// Elements from row to row on a GPU.
fn stored_width(shape: &Shape) -> usize {
    let cols = shape.rows_cols().1;
    if (1..=3).contains(&shape.len()) { cols.next_multiple_of(ALIGN) } else { cols }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head: Vec<f64> = self.to_f64s().unwrap_or_default().into_iter().take(8).collect();
        write!(f, "Tensor({:?} {:?} {head:.5?}…)", self.dtype, self.shape)
    }
}
