//! The real matrix library: cuBLASLt's calls on the device's stream.
#![allow(unsafe_code)]

use super::lt::{ALIGNMENT, ComputeType, DataType, DescAttribute, Handle, LayoutAttribute, Lt, Matmul};
use super::{cuda::Stream, libraries};
use crate::{Error, Result};
use cudarc::cublaslt::sys;
use std::{ffi::CStr, ffi::c_void, ptr, sync::Arc};
use sys::cublasLtMatmulPreferenceAttributes_t as Preference;

/// The library with its handle.
pub struct CudaLt {
    handle: sys::cublasLtHandle_t,
    stream: Arc<Stream>,
}

// SAFETY: the handle may be used by several threads at once.
unsafe impl Send for CudaLt {}
// SAFETY: as above.
unsafe impl Sync for CudaLt {}

/// A call of the library; an error unless it succeeded.
macro_rules! lt {
    ($call:ident($($arg:expr),* $(,)?)) => {
        // SAFETY: pointers are to locals or slices that outlive the call (the library copies what it keeps, and scalars are
        // read during the call), handles came from this library and are never destroyed while in use, and addresses are
        // the caller's to answer for, by the contract of `Driver`.
        unsafe { libraries::call!(CUBLASLT, sys::$call($($arg),*)) }
            .map_err(|why| Error::device(stringify!($call), why))
            .and_then(|status| check(status, stringify!($call)))
    };
}

/// An error of `call` unless it succeeded.
fn check(status: sys::cublasStatus_t, call: &str) -> Result<()> {
    if status == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS {
        return Ok(());
    }
    // SAFETY: the library's own constant text.
    let words =
        unsafe { libraries::call!(CUBLASLT, sys::cublasLtGetStatusString(status)).map(|text| CStr::from_ptr(text)) };
    Err(Error::device(call, format_args!("{status:?}: {}", words.unwrap_or_default().to_string_lossy())))
}

impl CudaLt {
    pub(super) fn new(stream: Arc<Stream>) -> Result<Self> {
        let mut handle = ptr::null_mut();
        stream.bind()?;
        lt!(cublasLtCreate(&mut handle))?;
        Ok(Self { handle, stream })
    }
}

impl Drop for CudaLt {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // over a symbol that the library lacks: this might ask for another
        }
        let _ = self.stream.bind();
        let _ = lt!(cublasLtDestroy(self.handle));
    }
}

/// A preference, destroyed at the end of the question it belongs to.
struct Wanted(sys::cublasLtMatmulPreference_t);

impl Wanted {
    fn new() -> Result<Self> {
        let mut raw = ptr::null_mut();
        lt!(cublasLtMatmulPreferenceCreate(&mut raw))?;
        Ok(Self(raw))
    }

    fn set(&self, attribute: Preference, value: &[u8]) -> Result<()> {
        lt!(cublasLtMatmulPreferenceSetAttribute(self.0, attribute, value.as_ptr().cast(), value.len()))
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // over a symbol that the library lacks: this might ask for another
        }
        let _ = lt!(cublasLtMatmulPreferenceDestroy(self.0));
    }
}

impl Lt for CudaLt {
    fn desc(&self, compute: ComputeType, scale: DataType) -> Result<Handle> {
        let mut desc = ptr::null_mut();
        lt!(cublasLtMatmulDescCreate(&mut desc, compute, scale))?;
        Ok(desc as Handle)
    }

    fn set_desc(&self, desc: Handle, attribute: DescAttribute, value: &[u8]) -> Result<()> {
        let (desc, from, size) = (desc as sys::cublasLtMatmulDesc_t, value.as_ptr().cast(), value.len());
        lt!(cublasLtMatmulDescSetAttribute(desc, attribute, from, size))
            .map_err(|error| Error::device(error, format_args!("{attribute:?}")))
    }

    fn layout(&self, dtype: DataType, rows: u64, cols: u64, ld: i64) -> Result<Handle> {
        let mut layout = ptr::null_mut();
        lt!(cublasLtMatrixLayoutCreate(&mut layout, dtype, rows, cols, ld))?;
        Ok(layout as Handle)
    }

    fn set_layout(&self, layout: Handle, attribute: LayoutAttribute, value: &[u8]) -> Result<()> {
        let (layout, from, size) = (layout as sys::cublasLtMatrixLayout_t, value.as_ptr().cast(), value.len());
        lt!(cublasLtMatrixLayoutSetAttribute(layout, attribute, from, size))
            .map_err(|error| Error::device(error, format_args!("{attribute:?}")))
    }

    fn heuristic(&self, desc: Handle, a: Handle, b: Handle, c: Handle, workspace: usize) -> Result<[u64; 8]> {
        use sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as COMPUTE_TYPE;
        self.stream.bind()?;
        let wanted = Wanted::new()?;
        wanted.set(Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace.to_ne_bytes())?;
        // Partial sums meet in the workspace, in order and in f32; in place they would meet as they come, by atomics.
        let scheme = (COMPUTE_TYPE as u32).to_ne_bytes();
        wanted.set(Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme)?;
        for operand in [
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ] {
            wanted.set(operand, &(ALIGNMENT as u32).to_ne_bytes())?;
        }
        let (a, b, c) =
            (a as sys::cublasLtMatrixLayout_t, b as sys::cublasLtMatrixLayout_t, c as sys::cublasLtMatrixLayout_t);
        let (mut found, mut best) = (0, std::mem::MaybeUninit::<sys::cublasLtMatmulHeuristicResult_t>::zeroed());
        let (desc, one) = (desc as sys::cublasLtMatmulDesc_t, best.as_mut_ptr());
        lt!(cublasLtMatmulAlgoGetHeuristic(self.handle, desc, a, b, c, c, wanted.0, 1, one, &mut found))?;
        if found == 0 {
            return Err(Error::device(
                "cublasLtMatmulAlgoGetHeuristic",
                format_args!("no algorithm in {workspace} bytes"),
            ));
        }
        // SAFETY: one result was written, and all zeros are a valid one as well.
        let best = unsafe { best.assume_init() };
        check(best.state, "cublasLtMatmulAlgoGetHeuristic")?;
        Ok(best.algo.data)
    }

    fn matmul(&self, product: &Matmul) -> Result<()> {
        let operands = [product.a, product.b, product.c, product.d];
        for address in operands.map(|operand| operand.address) {
            let expected = format_args!("an operand at a multiple of {ALIGNMENT} bytes");
            Error::ensure(address.is_multiple_of(ALIGNMENT), "cublasLtMatmul", expected, format_args!("{address:#x}"))?;
        }
        self.stream.bind()?;
        let [(a, la), (b, lb), (c, lc), (d, ld)] =
            operands.map(|operand| (operand.address as *mut c_void, operand.layout as sys::cublasLtMatrixLayout_t));
        let (alpha, beta) = (scalar(product.alpha), scalar(product.beta));
        let (alpha, beta): (*const c_void, *const c_void) = (alpha.as_ptr().cast(), beta.as_ptr().cast());
        let (desc, algo) =
            (product.desc as sys::cublasLtMatmulDesc_t, sys::cublasLtMatmulAlgo_t { data: product.algo });
        let (space, bytes, stream) = (product.workspace.0 as *mut c_void, product.workspace.1, self.stream.raw.cast());
        lt!(cublasLtMatmul(self.handle, desc, alpha, a, la, b, lb, beta, c, lc, d, ld, &algo, space, bytes, stream))
    }
}

/// A scalar's bytes, aligned for whichever type it is (at most a complex double).
fn scalar(bytes: &[u8]) -> [u64; 2] {
    let mut aligned = [0u64; 2];
    let size = bytes.len().min(16);
    bytemuck::bytes_of_mut(&mut aligned)[..size].copy_from_slice(&bytes[..size]);
    aligned
}
