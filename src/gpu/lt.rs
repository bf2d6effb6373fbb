//! cuBLASLt's calls, one for one and with its own constants: what the plan cache (`gemm.rs`) speaks to. Behind them is the
//! library, or on the simulator an interpreter of the same descriptors.

use crate::Result;
pub use cudarc::cublaslt::sys::{
    cublasComputeType_t as ComputeType, cublasLtMatmulDescAttributes_t as DescAttribute,
    cublasLtMatrixLayoutAttribute_t as LayoutAttribute, cudaDataType_t as DataType,
};

/// Addresses of operands are multiples of this: what the heuristic is told, and every call checks.
pub const ALIGNMENT: u64 = 16;

/// An opaque descriptor or layout of the library behind [`Lt`].
pub type Handle = u64;

/// A matrix operand: its address and its layout.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Operand {
    pub address: u64,
    pub layout: Handle,
}

/// One product `d = epilogue(alpha op(a) op(b) + beta c)`, with `c` and `d` of one layout. `alpha` and `beta` are scalars
/// of the descriptor's scale type, as bytes.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Matmul<'a> {
    pub desc: Handle,
    pub alpha: &'a [u8],
    pub beta: &'a [u8],
    pub a: Operand,
    pub b: Operand,
    pub c: Operand,
    pub d: Operand,
    /// What [`Lt::heuristic`] chose.
    pub algo: [u64; 8],
    /// Device memory that the algorithm may use.
    pub workspace: (u64, usize),
}

/// cuBLASLt. Descriptors and layouts live as long as the device: plans are never thrown away.
pub trait Lt: Send + Sync {
    /// `cublasLtMatmulDescCreate`.
    fn desc(&self, compute: ComputeType, scale: DataType) -> Result<Handle>;
    /// `cublasLtMatmulDescSetAttribute`.
    fn set_desc(&self, desc: Handle, attribute: DescAttribute, value: &[u8]) -> Result<()>;
    /// `cublasLtMatrixLayoutCreate`: column-major.
    fn layout(&self, dtype: DataType, rows: u64, cols: u64, ld: i64) -> Result<Handle>;
    /// `cublasLtMatrixLayoutSetAttribute`.
    fn set_layout(&self, layout: Handle, attribute: LayoutAttribute, value: &[u8]) -> Result<()>;
    /// `cublasLtMatmulAlgoGetHeuristic`: the best algorithm for operands a, b, c = d that needs at most `workspace` bytes
    /// and gives the same bits in every run.
    fn heuristic(&self, desc: Handle, a: Handle, b: Handle, c: Handle, workspace: usize) -> Result<[u64; 8]>;
    /// `cublasLtMatmul`, on the device's stream.
    fn matmul(&self, product: &Matmul) -> Result<()>;
}
