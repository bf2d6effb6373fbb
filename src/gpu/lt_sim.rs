//! cuBLASLt on the simulator: the descriptors are kept as they were set, and a product reads its whole meaning from them,
//! column-major like the library's. So a wrong leading dimension, transpose or epilogue gives wrong numbers here, too.
#![allow(unsafe_code)]

use super::lt::{ALIGNMENT, ComputeType, DataType, DescAttribute, Handle, LayoutAttribute, Lt, Matmul, Operand};
use super::{lock, sim_memory::Memory, stream::Stream};
use crate::{Error, Result, cpu::Mat, cpu::gemm, tensor::Float};
use std::{collections::HashMap, sync::Arc, sync::Mutex};

/// The simulated library.
pub struct SimLt {
    stream: Arc<Stream>,
    memory: Arc<Memory>,
    objects: Mutex<Vec<Object>>,
}

#[derive(Clone)]
enum Object {
    Desc { compute: ComputeType, scale: DataType, set: HashMap<DescAttribute, Vec<u8>> },
    Layout { dtype: DataType, rows: usize, cols: usize, ld: usize, set: HashMap<LayoutAttribute, Vec<u8>> },
}

fn refused(found: impl std::fmt::Display) -> Error {
    Error::device("cublasLt", format!("CUBLAS_STATUS_INVALID_VALUE: {found}"))
}

/// An attribute's bytes as a number; `default` when it was never set.
fn number(set: Option<&Vec<u8>>, default: i64) -> Result<i64> {
    let Some(bytes) = set else { return Ok(default) };
    match bytes.len() {
        4 => Ok(i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).into()),
        8 => Ok(i64::from_ne_bytes(std::array::from_fn(|i| bytes[i]))),
        other => Err(refused(format_args!("an attribute of {other} bytes"))),
    }
}

/// One operand as its layout describes it.
#[derive(Clone, Copy, PartialEq)]
struct View {
    rows: usize,
    cols: usize,
    ld: usize,
    batch: usize,
    offset: usize,
    address: u64,
    double: bool,
}

/// A product as its descriptors describe it.
struct Meaning {
    a: View,
    b: View,
    c: View,
    d: View,
    transposed: [bool; 2],
    bias: Option<u64>,
    scalars: [f64; 2],
}

impl SimLt {
    pub fn new(stream: Arc<Stream>, memory: Arc<Memory>) -> Self {
        Self { stream, memory, objects: Mutex::default() }
    }

    fn add(&self, object: Object) -> Handle {
        let mut objects = lock(&self.objects);
        objects.push(object);
        objects.len() as Handle // 0 is no object
    }

    fn object(&self, handle: Handle) -> Result<Object> {
        let index = (handle as usize).wrapping_sub(1);
        lock(&self.objects).get(index).cloned().ok_or_else(|| refused("an unknown descriptor"))
    }

    fn view(&self, operand: Operand) -> Result<View> {
        let Object::Layout { dtype, rows, cols, ld, set } = self.object(operand.layout)? else {
            return Err(refused("a descriptor in place of a layout"));
        };
        let batch = number(set.get(&LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT), 1)?;
        let offset = number(set.get(&LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET), 0)?;
        let double = dtype == DataType::CUDA_R_64F;
        let view =
            View { rows, cols, ld, batch: batch as usize, offset: offset as usize, address: operand.address, double };
        let valid =
            batch > 0 && offset >= 0 && ld >= rows && rows > 0 && cols > 0 && operand.address.is_multiple_of(ALIGNMENT);
        Error::ensure(
            valid,
            "cublasLt layout",
            "ld >= rows > 0, cols > 0, 16-byte addresses",
            format_args!("{rows} x {cols}, ld {ld}"),
        )?;
        let elements = (view.batch - 1) * view.offset + (cols - 1) * ld + rows;
        self.memory.inside("cublasLtMatmul", operand.address, elements * if double { 8 } else { 4 }).map(|()| view)
    }

    fn meaning(&self, product: &Matmul) -> Result<Meaning> {
        let Object::Desc { compute, scale, set } = self.object(product.desc)? else {
            return Err(refused("a layout in place of a descriptor"));
        };
        let double = scale == DataType::CUDA_R_64F;
        let expected = if double { ComputeType::CUBLAS_COMPUTE_64F } else { ComputeType::CUBLAS_COMPUTE_32F };
        let [a, b, c, d] = [product.a, product.b, product.c, product.d].map(|operand| self.view(operand));
        let (a, b, c, d) = (a?, b?, c?, d?);
        let one_type =
            compute == expected && [a, b, c, d].iter().all(|view| view.double == double && view.batch == a.batch);
        Error::ensure(one_type, "cublasLt operands", "one element type and batch", format_args!("{compute:?}"))?;
        let flag = |attribute| number(set.get(&attribute), 0);
        let transposed = [
            flag(DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA)? == 1,
            flag(DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB)? == 1,
        ];
        let bias = match flag(DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE)? {
            0 | 1 => None,
            4 => Some(flag(DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER)? as u64),
            other => return Err(refused(format_args!("epilogue {other}, which the simulator does not know"))),
        };
        if let Some(address) = bias {
            self.memory.inside("cublasLtMatmul bias", address, d.rows * if double { 8 } else { 4 })?;
        }
        let side =
            |view: View, transposed: bool| if transposed { (view.cols, view.rows) } else { (view.rows, view.cols) };
        let ((m, k), (k2, n)) = (side(a, transposed[0]), side(b, transposed[1]));
        let fits = k == k2 && (m, n) == (d.rows, d.cols) && (c.rows, c.cols, c.ld) == (d.rows, d.cols, d.ld);
        Error::ensure(
            fits,
            "cublasLt operands",
            format_args!("{} x {} of {k}", d.rows, d.cols),
            format_args!("{m} x {n} of {k2}"),
        )?;
        let scalar = |bytes: &[u8]| match (double, bytes.len()) {
            (true, 8) => Ok(f64::from_ne_bytes(std::array::from_fn(|i| bytes[i]))),
            (false, 4) => Ok(f32::from_ne_bytes(std::array::from_fn(|i| bytes[i])).into()),
            _ => Err(refused("a scalar of another type")),
        };
        Ok(Meaning { a, b, c, d, transposed, bias, scalars: [scalar(product.alpha)?, scalar(product.beta)?] })
    }
}

impl Meaning {
    fn run<T: Float>(&self) {
        let (alpha, beta) = (T::of(self.scalars[0]), T::of(self.scalars[1]));
        for i in 0..self.d.batch {
            // Column-major read as row-major is the transpose: dᵀ = op(b)ᵀ op(a)ᵀ.
            let [a, b] = [(self.a, self.transposed[0]), (self.b, self.transposed[1])].map(|(view, transposed)| {
                let matrix = Mat::strided(view.slice::<T>(i), view.cols, view.rows, view.ld);
                if transposed { matrix.t() } else { matrix }
            });
            let d = self.d.slice_mut::<T>(i);
            if self.c.address != self.d.address && beta != T::zero() {
                d.copy_from_slice(self.c.slice::<T>(i));
            }
            gemm(alpha, b, a, beta, d, self.d.ld);
            let Some(bias) = self.bias else { continue };
            let bias =
                View { rows: self.d.rows, cols: 1, ld: self.d.rows, batch: 1, offset: 0, address: bias, ..self.d };
            let bias = bias.slice::<T>(0);
            d.chunks_mut(self.d.ld).for_each(|row| row.iter_mut().zip(bias).for_each(|(d, b)| *d += *b));
        }
    }
}

impl View {
    /// Address and length of matrix `i` of the batch.
    fn part<T>(&self, i: usize) -> (usize, usize) {
        (self.address as usize + i * self.offset * size_of::<T>(), (self.cols - 1) * self.ld + self.rows)
    }

    fn slice<'a, T: Float>(&self, i: usize) -> &'a [T] {
        let (start, len) = self.part::<T>(i);
        // SAFETY: `SimLt::view` checked that the range lies in live memory of the simulator, and the stream runs one piece
        // of work at a time.
        unsafe { std::slice::from_raw_parts(start as *const T, len) }
    }

    fn slice_mut<'a, T: Float>(&self, i: usize) -> &'a mut [T] {
        let (start, len) = self.part::<T>(i);
        // SAFETY: as above; `Meaning::run` holds no other reference to the result, which no operand overlaps.
        unsafe { std::slice::from_raw_parts_mut(start as *mut T, len) }
    }
}

impl Lt for SimLt {
    fn desc(&self, compute: ComputeType, scale: DataType) -> Result<Handle> {
        Ok(self.add(Object::Desc { compute, scale, set: HashMap::new() }))
    }

    fn set_desc(&self, desc: Handle, attribute: DescAttribute, value: &[u8]) -> Result<()> {
        match lock(&self.objects).get_mut((desc as usize).wrapping_sub(1)) {
            Some(Object::Desc { set, .. }) => set.insert(attribute, value.to_vec()),
            _ => return Err(refused("an unknown descriptor")),
        };
        Ok(())
    }

    fn layout(&self, dtype: DataType, rows: u64, cols: u64, ld: i64) -> Result<Handle> {
        let (rows, cols) = (rows as usize, cols as usize);
        let ld = usize::try_from(ld).map_err(|_| refused(format_args!("leading dimension {ld}")))?;
        Ok(self.add(Object::Layout { dtype, rows, cols, ld, set: HashMap::new() }))
    }

    fn set_layout(&self, layout: Handle, attribute: LayoutAttribute, value: &[u8]) -> Result<()> {
        match lock(&self.objects).get_mut((layout as usize).wrapping_sub(1)) {
            Some(Object::Layout { set, .. }) => set.insert(attribute, value.to_vec()),
            _ => return Err(refused("an unknown layout")),
        };
        Ok(())
    }

    fn heuristic(&self, desc: Handle, a: Handle, b: Handle, c: Handle, workspace: usize) -> Result<[u64; 8]> {
        [desc, a, b, c].into_iter().try_for_each(|handle| self.object(handle).map(drop))?;
        Ok([desc, a, b, c, workspace as u64, 0, 0, 0])
    }

    fn matmul(&self, product: &Matmul) -> Result<()> {
        let chosen = [product.desc, product.a.layout, product.b.layout, product.d.layout];
        Error::ensure(product.algo[..4] == chosen, "cublasLt algorithm", "the one chosen for the operands", "another")?;
        let meaning = self.meaning(product)?;
        let double = meaning.d.double;
        self.stream.submit("cublasLtMatmul", move || {
            if double {
                meaning.run::<f64>()
            } else {
                meaning.run::<f32>()
            }
            Ok(())
        })
    }
}
