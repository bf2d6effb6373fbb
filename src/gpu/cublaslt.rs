//! The real matrix library: cuBLASLt's calls on the device's stream.
#![allow(unsafe_code)]

use super::cuda::Stream;
use super::lt::{ComputeType, DataType, DescAttribute, Handle, LayoutAttribute, Lt, Matmul};
use crate::{Error, Result};
use cudarc::cublaslt::sys;
use std::{ffi::CStr, ffi::c_void, ptr, sync::Arc};
use sys::cublasLtMatmulPreferenceAttributes_t as Preference;

/// Operands start at multiples of this: enough for 16-byte accesses; cuBLASLt would take 256 for granted.
pub const ALIGNMENT: u64 = 16;

/// The library with its handle.
pub struct CudaLt {
    handle: sys::cublasLtHandle_t,
    stream: Arc<Stream>,
}

// SAFETY: the handle may be used by several threads at once.
unsafe impl Send for CudaLt {}
// SAFETY: as above.
unsafe impl Sync for CudaLt {}

/// An error of `call` unless it succeeded.
fn check(status: sys::cublasStatus_t, call: &str) -> Result<()> {
    if status == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS {
        return Ok(());
    }
    // SAFETY: the library's own constant text.
    let words = unsafe { CStr::from_ptr(sys::cublasLtGetStatusString(status)) };
    Err(Error::device(call, format_args!("{status:?}: {}", words.to_string_lossy())))
}

impl CudaLt {
    pub(super) fn new(stream: Arc<Stream>) -> Result<Self> {
        let mut handle = ptr::null_mut();
        stream.bind()?;
        // SAFETY: the pointer is to a local.
        check(unsafe { sys::cublasLtCreate(&mut handle) }, "cublasLtCreate")?;
        Ok(Self { handle, stream })
    }
}

impl Drop for CudaLt {
    fn drop(&mut self) {
        let _ = self.stream.bind();
        // SAFETY: the handle is not used again.
        unsafe { sys::cublasLtDestroy(self.handle) };
    }
}

/// A preference, destroyed at the end of the question it belongs to.
struct Wanted(sys::cublasLtMatmulPreference_t);

impl Wanted {
    fn new() -> Result<Self> {
        let mut raw = ptr::null_mut();
        // SAFETY: the pointer is to a local.
        check(unsafe { sys::cublasLtMatmulPreferenceCreate(&mut raw) }, "cublasLtMatmulPreferenceCreate")?;
        Ok(Self(raw))
    }

    fn set(&self, attribute: Preference, value: &[u8]) -> Result<()> {
        // SAFETY: the library copies the bytes.
        let status =
            unsafe { sys::cublasLtMatmulPreferenceSetAttribute(self.0, attribute, value.as_ptr().cast(), value.len()) };
        check(status, "cublasLtMatmulPreferenceSetAttribute")
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        // SAFETY: the preference is not used again.
        unsafe { sys::cublasLtMatmulPreferenceDestroy(self.0) };
    }
}

impl Lt for CudaLt {
    fn desc(&self, compute: ComputeType, scale: DataType) -> Result<Handle> {
        let mut desc = ptr::null_mut();
        // SAFETY: the pointer is to a local.
        check(unsafe { sys::cublasLtMatmulDescCreate(&mut desc, compute, scale) }, "cublasLtMatmulDescCreate")?;
        Ok(desc as Handle)
    }

    fn set_desc(&self, desc: Handle, attribute: DescAttribute, value: &[u8]) -> Result<()> {
        let (desc, from, size) = (desc as sys::cublasLtMatmulDesc_t, value.as_ptr().cast(), value.len());
        // SAFETY: the handle came from `desc`, which are never destroyed; the library copies the bytes.
        let status = unsafe { sys::cublasLtMatmulDescSetAttribute(desc, attribute, from, size) };
        check(status, "cublasLtMatmulDescSetAttribute")
            .map_err(|error| Error::device(error, format_args!("{attribute:?}")))
    }

    fn layout(&self, dtype: DataType, rows: u64, cols: u64, ld: i64) -> Result<Handle> {
        let mut layout = ptr::null_mut();
        // SAFETY: the pointer is to a local.
        let status = unsafe { sys::cublasLtMatrixLayoutCreate(&mut layout, dtype, rows, cols, ld) };
        check(status, "cublasLtMatrixLayoutCreate")?;
        Ok(layout as Handle)
    }

    fn set_layout(&self, layout: Handle, attribute: LayoutAttribute, value: &[u8]) -> Result<()> {
        let (layout, from, size) = (layout as sys::cublasLtMatrixLayout_t, value.as_ptr().cast(), value.len());
        // SAFETY: as in `set_desc`.
        let status = unsafe { sys::cublasLtMatrixLayoutSetAttribute(layout, attribute, from, size) };
        check(status, "cublasLtMatrixLayoutSetAttribute")
            .map_err(|error| Error::device(error, format_args!("{attribute:?}")))
    }

    fn heuristic(&self, desc: Handle, a: Handle, b: Handle, c: Handle, workspace: usize) -> Result<[u64; 8]> {
        use sys::cublasLtReductionScheme_t::{
            CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as COMPUTE_TYPE,
            CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE as OUTPUT_TYPE,
        };
        self.stream.bind()?;
        let wanted = Wanted::new()?;
        wanted.set(Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace.to_ne_bytes())?;
        // Partial sums meet in the workspace, in order; in place they would meet as they come, by atomics.
        let schemes = COMPUTE_TYPE as u32 | OUTPUT_TYPE as u32;
        wanted.set(Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes.to_ne_bytes())?;
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
        // SAFETY: the handles came from `desc` and `layout`; there is room for the one result that is asked for.
        let status = unsafe {
            let (desc, best) = (desc as sys::cublasLtMatmulDesc_t, best.as_mut_ptr());
            sys::cublasLtMatmulAlgoGetHeuristic(self.handle, desc, a, b, c, c, wanted.0, 1, best, &mut found)
        };
        check(status, "cublasLtMatmulAlgoGetHeuristic")?;
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
        // SAFETY: the handles came from `desc`, `layout` and `heuristic`; the scalars are read during the call; the
        // addresses are the caller's to answer for, by the contract of `Driver`.
        let status = unsafe {
            sys::cublasLtMatmul(self.handle, desc, alpha, a, la, b, lb, beta, c, lc, d, ld, &algo, space, bytes, stream)
        };
        check(status, "cublasLtMatmul")
    }
}

/// A scalar's bytes, aligned for whichever type it is (at most a complex double).
fn scalar(bytes: &[u8]) -> [u64; 2] {
    let mut aligned = [0u64; 2];
    let size = bytes.len().min(16);
    bytemuck::bytes_of_mut(&mut aligned)[..size].copy_from_slice(&bytes[..size]);
    aligned
}
