//! cuBLASLt on the simulator: the descriptors are kept as they were set, and a product reads its whole meaning from them,
//! column-major like the library's. So a wrong leading dimension, transpose or epilogue gives wrong numbers here, too.
#![allow(unsafe_code)]

use super::lt::{ALIGNMENT, ComputeType, DataType, DescAttribute, Handle, LayoutAttribute, Lt, Matmul, Operand};
use super::{lock, sim_memory::Memory, stream::Stream};
use crate::{Error, Result, cpu::Mat, cpu::gemm, tensor::Element, tensor::Float};
use half::{bf16, f16};
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
    dtype: DataType,
}

/// A product as its descriptors describe it.
struct Meaning {
    a: View,
    b: View,
    c: View,
    d: View,
    transposed: [bool; 2],
    tf32: bool,
    bias: Option<u64>,
    scalars: [f64; 2],
}

/// Bytes of an element.
fn size(dtype: DataType) -> Result<usize> {
    match dtype {
        DataType::CUDA_R_64F => Ok(8),
        DataType::CUDA_R_32F => Ok(4),
        DataType::CUDA_R_16BF | DataType::CUDA_R_16F => Ok(2),
        other => Err(refused(format_args!("elements of {other:?}, which the simulator does not know"))),
    }
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
        let view =
            View { rows, cols, ld, batch: batch as usize, offset: offset as usize, address: operand.address, dtype };
        let valid =
            batch > 0 && offset >= 0 && ld >= rows && rows > 0 && cols > 0 && operand.address.is_multiple_of(ALIGNMENT);
        Error::ensure(
            valid,
            "cublasLt layout",
            "ld >= rows > 0, cols > 0, 16-byte addresses",
            format_args!("{rows} x {cols}, ld {ld}"),
        )?;
        let elements = (view.batch - 1) * view.offset + (cols - 1) * ld + rows;
        self.memory.inside("cublasLtMatmul", operand.address, elements * size(dtype)?).map(|()| view)
    }

    fn meaning(&self, product: &Matmul) -> Result<Meaning> {
        let Object::Desc { compute, scale, set } = self.object(product.desc)? else {
            return Err(refused("a layout in place of a descriptor"));
        };
        let double = scale == DataType::CUDA_R_64F;
        let tf32 = compute == ComputeType::CUBLAS_COMPUTE_32F_FAST_TF32;
        let [a, b, c, d] = [product.a, product.b, product.c, product.d].map(|operand| self.view(operand));
        let (a, b, c, d) = (a?, b?, c?, d?);
        // What the library multiplies: one type for a and b, the same or f32 for c and d.
        let types = match compute {
            ComputeType::CUBLAS_COMPUTE_64F => double && a.dtype == scale && d.dtype == scale,
            ComputeType::CUBLAS_COMPUTE_32F => {
                !double && a.dtype != DataType::CUDA_R_64F && (d.dtype == a.dtype || d.dtype == scale)
            }
            _ => tf32 && !double && a.dtype == scale && d.dtype == scale,
        };
        let types = types && b.dtype == a.dtype && c.dtype == d.dtype;
        let batches = [b, c, d].iter().all(|view| view.batch == a.batch);
        let found = (compute, [a, b, c, d].map(|view| (view.dtype, view.batch)));
        Error::ensure(types && batches, "cublasLt operands", "types and batches that fit", format_args!("{found:?}"))?;
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
            self.memory.inside("cublasLtMatmul bias", address, d.rows * size(d.dtype)?)?;
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
        Ok(Meaning { a, b, c, d, transposed, tf32, bias, scalars: [scalar(product.alpha)?, scalar(product.beta)?] })
    }
}

impl Meaning {
    /// The product with sums in `T`.
    fn run<T: Float>(&self) {
        let (alpha, beta) = (T::of(self.scalars[0]), T::of(self.scalars[1]));
        let View { rows, cols, .. } = self.d;
        for i in 0..self.d.batch {
            let [left, right] = [self.b, self.a].map(|view| view.read::<T>(i, self.tf32));
            // Column-major read as row-major is the transpose: dᵀ = op(b)ᵀ op(a)ᵀ.
            let matrix = |values, view: View, transposed: bool| {
                let matrix = Mat::new(values, view.cols, view.rows);
                if transposed { matrix.t() } else { matrix }
            };
            let (left, right) = (matrix(&left, self.b, self.transposed[1]), matrix(&right, self.a, self.transposed[0]));
            let mut d = if beta == T::zero() { vec![T::zero(); rows * cols] } else { self.c.read(i, false) };
            gemm(alpha, left, right, beta, &mut d, rows);
            if let Some(address) = self.bias {
                let bias = View { cols: 1, ld: rows, batch: 1, offset: 0, address, ..self.d }.read::<T>(0, false);
                d.chunks_mut(rows).for_each(|column| column.iter_mut().zip(&bias).for_each(|(d, b)| *d += *b));
            }
            self.d.write(i, &d);
        }
    }
}

impl View {
    /// Matrix `i` of the batch, column after column; rounded to TF32 on request.
    fn read<T: Float>(&self, i: usize, tf32: bool) -> Vec<T> {
        match self.dtype {
            DataType::CUDA_R_64F => self.elements::<f64, T>(i),
            DataType::CUDA_R_32F if tf32 => {
                let round =
                    |x: f32| if x.is_finite() { f32::from_bits((x.to_bits() + 0x1000) & 0xffff_e000) } else { x };
                self.elements::<f32, f32>(i).into_iter().map(|x| T::of(round(x).into())).collect()
            }
            DataType::CUDA_R_32F => self.elements::<f32, T>(i),
            DataType::CUDA_R_16BF => self.elements::<bf16, T>(i),
            _ => self.elements::<f16, T>(i),
        }
    }

    /// Writes matrix `i` of the batch.
    fn write<T: Float>(&self, i: usize, values: &[T]) {
        match self.dtype {
            DataType::CUDA_R_64F => self.fill::<f64, T>(i, values),
            DataType::CUDA_R_32F => self.fill::<f32, T>(i, values),
            DataType::CUDA_R_16BF => self.fill::<bf16, T>(i, values),
            _ => self.fill::<f16, T>(i, values),
        }
    }

    /// Address and length of matrix `i` of the batch.
    fn part<E>(&self, i: usize) -> (usize, usize) {
        (self.address as usize + i * self.offset * size_of::<E>(), (self.cols - 1) * self.ld + self.rows)
    }

    fn elements<E: Element, T: Float>(&self, i: usize) -> Vec<T> {
        let (start, len) = self.part::<E>(i);
        // SAFETY: `SimLt::view` checked that the range lies in live memory of the simulator, and the stream runs one piece
        // of work at a time.
        let from = unsafe { std::slice::from_raw_parts(start as *const E, len) };
        from.chunks(self.ld).flat_map(|column| &column[..self.rows]).map(|value| T::of(value.f64())).collect()
    }

    fn fill<E: Element, T: Float>(&self, i: usize, values: &[T]) {
        let (start, len) = self.part::<E>(i);
        // SAFETY: as above; no other reference to the range exists.
        let to = unsafe { std::slice::from_raw_parts_mut(start as *mut E, len) };
        for (to, from) in to.chunks_mut(self.ld).zip(values.chunks(self.rows)) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = E::of(from.f64()));
        }
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
        let double = meaning.d.dtype == DataType::CUDA_R_64F;
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
