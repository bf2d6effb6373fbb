//! Argument structs of the kernels, made from `cuda/params.h` by bindgen: change that file, and make this one again as
//! it says there.
#![allow(missing_docs, unsafe_code, rustdoc::all)]

use super::args::kernel_args;

pub type Ptr = u64;
#[doc = " out[i] = value"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Fill {
    pub out: Ptr,
    pub value: f64,
    pub count: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Fill"][::std::mem::size_of::<Fill>() - 24usize];
    ["Alignment of Fill"][::std::mem::align_of::<Fill>() - 8usize];
    ["Offset of field: Fill::out"][::std::mem::offset_of!(Fill, out) - 0usize];
    ["Offset of field: Fill::value"][::std::mem::offset_of!(Fill, value) - 8usize];
    ["Offset of field: Fill::count"][::std::mem::offset_of!(Fill, count) - 16usize];
};
#[doc = " out[i] += x[i]"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Accumulate {
    pub out: Ptr,
    pub x: Ptr,
    pub count: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Accumulate"][::std::mem::size_of::<Accumulate>() - 24usize];
    ["Alignment of Accumulate"][::std::mem::align_of::<Accumulate>() - 8usize];
    ["Offset of field: Accumulate::out"][::std::mem::offset_of!(Accumulate, out) - 0usize];
    ["Offset of field: Accumulate::x"][::std::mem::offset_of!(Accumulate, x) - 8usize];
    ["Offset of field: Accumulate::count"][::std::mem::offset_of!(Accumulate, count) - 16usize];
};
#[doc = " y = softmax(x) over the keys whose mask is not 0; mask_stride 0: one mask for all rows"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct SoftmaxFwd {
    pub y: Ptr,
    pub x: Ptr,
    pub mask: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub mask_stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SoftmaxFwd"][::std::mem::size_of::<SoftmaxFwd>() - 40usize];
    ["Alignment of SoftmaxFwd"][::std::mem::align_of::<SoftmaxFwd>() - 8usize];
    ["Offset of field: SoftmaxFwd::y"][::std::mem::offset_of!(SoftmaxFwd, y) - 0usize];
    ["Offset of field: SoftmaxFwd::x"][::std::mem::offset_of!(SoftmaxFwd, x) - 8usize];
    ["Offset of field: SoftmaxFwd::mask"][::std::mem::offset_of!(SoftmaxFwd, mask) - 16usize];
    ["Offset of field: SoftmaxFwd::rows"][::std::mem::offset_of!(SoftmaxFwd, rows) - 24usize];
    ["Offset of field: SoftmaxFwd::cols"][::std::mem::offset_of!(SoftmaxFwd, cols) - 28usize];
    ["Offset of field: SoftmaxFwd::stride"][::std::mem::offset_of!(SoftmaxFwd, stride) - 32usize];
    ["Offset of field: SoftmaxFwd::mask_stride"][::std::mem::offset_of!(SoftmaxFwd, mask_stride) - 36usize];
};
#[doc = " dx = p (dp - <dp, p>)"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct SoftmaxBwd {
    pub dx: Ptr,
    pub dp: Ptr,
    pub p: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SoftmaxBwd"][::std::mem::size_of::<SoftmaxBwd>() - 40usize];
    ["Alignment of SoftmaxBwd"][::std::mem::align_of::<SoftmaxBwd>() - 8usize];
    ["Offset of field: SoftmaxBwd::dx"][::std::mem::offset_of!(SoftmaxBwd, dx) - 0usize];
    ["Offset of field: SoftmaxBwd::dp"][::std::mem::offset_of!(SoftmaxBwd, dp) - 8usize];
    ["Offset of field: SoftmaxBwd::p"][::std::mem::offset_of!(SoftmaxBwd, p) - 16usize];
    ["Offset of field: SoftmaxBwd::rows"][::std::mem::offset_of!(SoftmaxBwd, rows) - 24usize];
    ["Offset of field: SoftmaxBwd::cols"][::std::mem::offset_of!(SoftmaxBwd, cols) - 28usize];
    ["Offset of field: SoftmaxBwd::stride"][::std::mem::offset_of!(SoftmaxBwd, stride) - 32usize];
    ["Offset of field: SoftmaxBwd::unused"][::std::mem::offset_of!(SoftmaxBwd, unused) - 36usize];
};
kernel_args!(Fill, "fill");
kernel_args!(Accumulate, "accumulate");
kernel_args!(SoftmaxFwd, "softmax_fwd");
kernel_args!(SoftmaxBwd, "softmax_bwd");
