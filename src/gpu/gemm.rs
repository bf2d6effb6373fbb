//! Matrix products through cuBLASLt, with a cache of plans: descriptors and the chosen algorithm are made once for each
//! combination of sizes, strides, transposes, element type and epilogue.
//!
//! The library is column-major. A row-major `c = a b` is its `cᵀ = bᵀ aᵀ` on the same memory: `b` goes first, and a
//! row-major matrix of `rows × cols` is a column-major one of `cols × rows` with the stride as leading dimension.

use super::lt::{ComputeType, DataType, DescAttribute, Handle, LayoutAttribute, Lt, Matmul, Operand};
use super::{Buffer, Gpu, Tf32, lock};
use crate::{DType, Error, Result, Tensor};
use std::{collections::HashMap, sync::OnceLock};

/// Device memory that algorithms may use.
const WORKSPACE: usize = 32 << 20;
const OP_T: i32 = 1;
const EPILOGUE_BIAS: i32 = 4;

/// Matrices in device memory, one or a batch: `rows × cols` row-major with `stride` elements from row to row and
/// `batch_stride` from matrix to matrix, used as they are or transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    address: u64,
    dtype: DType,
    shape: Layout,
    transposed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Layout {
    rows: usize,
    cols: usize,
    stride: usize,
    batch_stride: usize,
}

/// What happens to a product before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epilogue {
    /// Nothing.
    None,
    /// The vector at this address, one element a column, is added to every row.
    Bias(u64),
}

impl Matrix {
    /// A tensor as rows of its last axis.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        let (rows, cols) = tensor.shape().rows_cols();
        Self::new(tensor, tensor.address()?, rows, cols)
    }

    /// The result of a product.
    pub fn out(tensor: &mut Tensor) -> Result<Self> {
        let address = tensor.address_mut()?;
        Self::of(tensor).map(|matrix| Self { address, ..matrix })
    }

    /// A tensor `[batch, rows, cols]` as a matrix for each of the leading axis.
    pub fn batch(tensor: &Tensor) -> Result<Self> {
        Self::new(tensor, tensor.address()?, tensor.dim(1), tensor.dim(2))
    }

    /// The results of a batch of products.
    pub fn batch_out(tensor: &mut Tensor) -> Result<Self> {
        let address = tensor.address_mut()?;
        Self::batch(tensor).map(|matrix| Self { address, ..matrix })
    }

    fn new(tensor: &Tensor, address: u64, rows: usize, cols: usize) -> Result<Self> {
        let stride = tensor.stored_width();
        let shape = Layout { rows, cols, stride, batch_stride: rows * stride };
        Ok(Self { address, dtype: tensor.dtype(), shape, transposed: false })
    }

    /// Its columns as `groups` matrices side by side, one batch.
    pub fn side_by_side(self, groups: usize) -> Self {
        let cols = self.shape.cols / groups;
        Self { shape: Layout { cols, batch_stride: cols, ..self.shape }, ..self }
    }

    /// `count` rows from row `first` on.
    pub fn rows_from(self, first: usize, count: usize) -> Self {
        let address = self.address + (first * self.shape.stride * self.dtype.size()) as u64;
        Self { address, shape: Layout { rows: count, ..self.shape }, ..self }
    }

    /// The transpose, without a copy.
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    fn rows(&self) -> usize {
        if self.transposed { self.shape.cols } else { self.shape.rows }
    }

    fn cols(&self) -> usize {
        if self.transposed { self.shape.rows } else { self.shape.cols }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    dtype: DType,  // of a and b
    result: DType, // of c: the same, or the wide type
    tf32: bool,
    batch: usize,
    operands: [(Layout, bool); 3],
    bias: bool,
}

struct Plan {
    desc: Handle,
    layouts: [Handle; 3], // b, a, c
    algo: [u64; 8],
}

/// The plans so far, and the workspace that all products share: they run one after the other.
#[derive(Default)]
pub(super) struct Plans {
    plans: HashMap<Key, Plan>,
    workspace: OnceLock<Buffer>,
}

impl Gpu {
    /// `c = alpha a b + beta c` for each of `batch` matrices, then the epilogue. `a` and `b` have one type, `c` has that or its
    /// wide one; sums are wide. A bias has the type of `c`. Equal inputs give equal bits.
    #[expect(clippy::too_many_arguments, reason = "the equation's own")]
    pub fn gemm(
        &'static self, batch: usize, alpha: f64, a: Matrix, b: Matrix, beta: f64, c: Matrix, epilogue: Epilogue,
    ) -> Result<()> {
        let (dtype, result) = (a.dtype, c.dtype);
        let fits = (a.rows(), b.cols(), a.cols()) == (c.shape.rows, c.shape.cols, b.rows()) && !c.transposed;
        Error::ensure_shape(fits, "gemm", format_args!("a, b that give {:?}", c.shape), (a.shape, b.shape))?;
        let fits = b.dtype == dtype && (result == dtype || result == dtype.wide());
        Error::ensure_shape(fits, "gemm", format_args!("a, b, c of {dtype:?}, or c wider"), (dtype, b.dtype, result))?;
        if batch * c.shape.rows * c.shape.cols == 0 {
            return Ok(());
        }
        if a.cols() == 0 {
            let none = epilogue == Epilogue::None;
            Error::ensure_shape(none, "gemm", "no bias behind an inner length of 0", epilogue)?;
            let bytes = batch * c.shape.batch_stride * result.size();
            return if beta == 0.0 { self.zero(c.address, bytes) } else { Ok(()) };
        }
        let _turn = self.turn.take(); // before the lock: who captures may need that, too
        let mut plans = lock(&self.plans);
        if plans.workspace.get().is_none() {
            let _ = plans.workspace.set(self.outside_capture(WORKSPACE)?);
        }
        let workspace = plans.workspace.get().map_or((0, 0), |buffer| (buffer.address(), WORKSPACE));
        let operands = [a, b, c].map(|matrix| (matrix.shape, matrix.transposed));
        let tf32 = dtype == DType::F32 && Tf32::is_on();
        let key = Key { dtype, result, tf32, batch, operands, bias: epilogue != Epilogue::None };
        let lt = self.driver.lt();
        let plan = match plans.plans.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => new.insert(Plan::new(lt, &key, epilogue)?),
        };
        if let Epilogue::Bias(address) = epilogue {
            let attribute = DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
            lt.set_desc(plan.desc, attribute, &address.to_ne_bytes())?;
        }
        let scalar = |value: f64| match dtype {
            DType::F64 => value.to_ne_bytes().to_vec(),
            _ => (value as f32).to_ne_bytes().to_vec(),
        };
        let [first, second, result] = plan.layouts;
        let c = Operand { address: c.address, layout: result };
        lt.matmul(&Matmul {
            desc: plan.desc,
            alpha: &scalar(alpha),
            beta: &scalar(beta),
            a: Operand { address: b.address, layout: first },
            b: Operand { address: a.address, layout: second },
            c,
            d: c,
            algo: plan.algo,
            workspace,
        })
    }
}

impl Plan {
    fn new(lt: &dyn Lt, key: &Key, epilogue: Epilogue) -> Result<Self> {
        let (compute, scale) = match key.dtype {
            DType::F64 => (ComputeType::CUBLAS_COMPUTE_64F, DataType::CUDA_R_64F),
            _ if key.tf32 => (ComputeType::CUBLAS_COMPUTE_32F_FAST_TF32, DataType::CUDA_R_32F),
            _ => (ComputeType::CUBLAS_COMPUTE_32F, DataType::CUDA_R_32F),
        };
        let [a, b, c] = key.operands;
        let (data, result) = (data_type(key.dtype)?, data_type(key.result)?);
        let desc = lt.desc(compute, scale)?;
        for (attribute, (_, transposed)) in
            [(DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA, b), (DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB, a)]
        {
            lt.set_desc(desc, attribute, &(if transposed { OP_T } else { 0 }).to_ne_bytes())?;
        }
        if let Epilogue::Bias(address) = epilogue {
            lt.set_desc(desc, DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &EPILOGUE_BIAS.to_ne_bytes())?;
            // Before the heuristic, which some versions refuse to answer for a bias at no address.
            lt.set_desc(desc, DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &address.to_ne_bytes())?;
        }
        let mut layouts = [0; 3];
        for (handle, ((shape, _), data)) in layouts.iter_mut().zip([(b, data), (a, data), (c, result)]) {
            *handle = lt.layout(data, shape.cols as u64, shape.rows as u64, shape.stride as i64)?;
            if key.batch > 1 {
                let count =
                    i32::try_from(key.batch).map_err(|_| Error::shape("gemm", "a batch below 2^31", key.batch))?;
                let attribute = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
                lt.set_layout(*handle, attribute, &count.to_ne_bytes())?;
                let attribute = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
                lt.set_layout(*handle, attribute, &(shape.batch_stride as i64).to_ne_bytes())?;
            }
        }
        let algo = lt.heuristic(desc, layouts[0], layouts[1], layouts[2], WORKSPACE)?;
        Ok(Self { desc, layouts, algo })
    }
}

fn data_type(dtype: DType) -> Result<DataType> {
    match dtype {
        DType::F32 => Ok(DataType::CUDA_R_32F),
        DType::F64 => Ok(DataType::CUDA_R_64F),
        DType::BF16 => Ok(DataType::CUDA_R_16BF),
        DType::F16 => Ok(DataType::CUDA_R_16F),
        other => Err(Error::shape("gemm", "a float type", other)),
    }
}
