//! Argument structs of the kernels, made from `cuda/params.h` by bindgen: change that file, and make this one again as
//! it says there.
#![allow(missing_docs, unsafe_code, rustdoc::all)]

use super::args::kernel_args;

pub type Ptr = u64;
#[doc = " What changes from one training step to the next, in device memory: kernels are given its address, so that a captured\n step replays with new numbers. The learning rate; 1 - beta^t of both moments; what the loss is multiplied by before its\n gradients are taken; what gradients are multiplied by (clipping over that, written by the device); the norm of the\n gradients of the plain loss (so too); the number of the step, for random draws."]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct StepNumbers {
    pub lr: f64,
    pub bias1: f64,
    pub bias2: f64,
    pub loss_scale: f64,
    pub grad_scale: f64,
    pub grad_norm: f64,
    pub step: u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of StepNumbers"][::std::mem::size_of::<StepNumbers>() - 56usize];
    ["Alignment of StepNumbers"][::std::mem::align_of::<StepNumbers>() - 8usize];
    ["Offset of field: StepNumbers::lr"][::std::mem::offset_of!(StepNumbers, lr) - 0usize];
    ["Offset of field: StepNumbers::bias1"][::std::mem::offset_of!(StepNumbers, bias1) - 8usize];
    ["Offset of field: StepNumbers::bias2"][::std::mem::offset_of!(StepNumbers, bias2) - 16usize];
    ["Offset of field: StepNumbers::loss_scale"][::std::mem::offset_of!(StepNumbers, loss_scale) - 24usize];
    ["Offset of field: StepNumbers::grad_scale"][::std::mem::offset_of!(StepNumbers, grad_scale) - 32usize];
    ["Offset of field: StepNumbers::grad_norm"][::std::mem::offset_of!(StepNumbers, grad_norm) - 40usize];
    ["Offset of field: StepNumbers::step"][::std::mem::offset_of!(StepNumbers, step) - 48usize];
};
#[doc = " out[r][c] = value"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Fill {
    pub out: Ptr,
    pub value: f64,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Fill"][::std::mem::size_of::<Fill>() - 32usize];
    ["Alignment of Fill"][::std::mem::align_of::<Fill>() - 8usize];
    ["Offset of field: Fill::out"][::std::mem::offset_of!(Fill, out) - 0usize];
    ["Offset of field: Fill::value"][::std::mem::offset_of!(Fill, value) - 8usize];
    ["Offset of field: Fill::rows"][::std::mem::offset_of!(Fill, rows) - 16usize];
    ["Offset of field: Fill::cols"][::std::mem::offset_of!(Fill, cols) - 20usize];
    ["Offset of field: Fill::stride"][::std::mem::offset_of!(Fill, stride) - 24usize];
    ["Offset of field: Fill::unused"][::std::mem::offset_of!(Fill, unused) - 28usize];
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
#[doc = " the same elements in order, `count` of them, under another width"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Repitch {
    pub out: Ptr,
    pub x: Ptr,
    pub count: i64,
    pub x_cols: i32,
    pub x_stride: i32,
    pub cols: i32,
    pub stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Repitch"][::std::mem::size_of::<Repitch>() - 40usize];
    ["Alignment of Repitch"][::std::mem::align_of::<Repitch>() - 8usize];
    ["Offset of field: Repitch::out"][::std::mem::offset_of!(Repitch, out) - 0usize];
    ["Offset of field: Repitch::x"][::std::mem::offset_of!(Repitch, x) - 8usize];
    ["Offset of field: Repitch::count"][::std::mem::offset_of!(Repitch, count) - 16usize];
    ["Offset of field: Repitch::x_cols"][::std::mem::offset_of!(Repitch, x_cols) - 24usize];
    ["Offset of field: Repitch::x_stride"][::std::mem::offset_of!(Repitch, x_stride) - 28usize];
    ["Offset of field: Repitch::cols"][::std::mem::offset_of!(Repitch, cols) - 32usize];
    ["Offset of field: Repitch::stride"][::std::mem::offset_of!(Repitch, stride) - 36usize];
};
#[doc = " out = x in the wide type"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Widen {
    pub out: Ptr,
    pub x: Ptr,
    pub count: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Widen"][::std::mem::size_of::<Widen>() - 24usize];
    ["Alignment of Widen"][::std::mem::align_of::<Widen>() - 8usize];
    ["Offset of field: Widen::out"][::std::mem::offset_of!(Widen, out) - 0usize];
    ["Offset of field: Widen::x"][::std::mem::offset_of!(Widen, x) - 8usize];
    ["Offset of field: Widen::count"][::std::mem::offset_of!(Widen, count) - 16usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct NarrowTensor {
    pub out: Ptr,
    pub x: Ptr,
    pub count: i64,
    pub first: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of NarrowTensor"][::std::mem::size_of::<NarrowTensor>() - 32usize];
    ["Alignment of NarrowTensor"][::std::mem::align_of::<NarrowTensor>() - 8usize];
    ["Offset of field: NarrowTensor::out"][::std::mem::offset_of!(NarrowTensor, out) - 0usize];
    ["Offset of field: NarrowTensor::x"][::std::mem::offset_of!(NarrowTensor, x) - 8usize];
    ["Offset of field: NarrowTensor::count"][::std::mem::offset_of!(NarrowTensor, count) - 16usize];
    ["Offset of field: NarrowTensor::first"][::std::mem::offset_of!(NarrowTensor, first) - 24usize];
};
#[doc = " out = x, rounded, for each of several tensors; the pieces of a tensor begin with block `first`"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Narrow {
    pub at: [NarrowTensor; 384usize],
    pub tensors: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Narrow"][::std::mem::size_of::<Narrow>() - 12296usize];
    ["Alignment of Narrow"][::std::mem::align_of::<Narrow>() - 8usize];
    ["Offset of field: Narrow::at"][::std::mem::offset_of!(Narrow, at) - 0usize];
    ["Offset of field: Narrow::tensors"][::std::mem::offset_of!(Narrow, tensors) - 12288usize];
    ["Offset of field: Narrow::unused"][::std::mem::offset_of!(Narrow, unused) - 12292usize];
};
#[doc = " partials[k][c] = sum of x[r][c] over the k-th COLUMN_ROWS rows; rows of partials, here and below, are stored as tensors are"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct SumColumns {
    pub partials: Ptr,
    pub x: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SumColumns"][::std::mem::size_of::<SumColumns>() - 32usize];
    ["Alignment of SumColumns"][::std::mem::align_of::<SumColumns>() - 8usize];
    ["Offset of field: SumColumns::partials"][::std::mem::offset_of!(SumColumns, partials) - 0usize];
    ["Offset of field: SumColumns::x"][::std::mem::offset_of!(SumColumns, x) - 8usize];
    ["Offset of field: SumColumns::rows"][::std::mem::offset_of!(SumColumns, rows) - 16usize];
    ["Offset of field: SumColumns::cols"][::std::mem::offset_of!(SumColumns, cols) - 20usize];
    ["Offset of field: SumColumns::stride"][::std::mem::offset_of!(SumColumns, stride) - 24usize];
    ["Offset of field: SumColumns::unused"][::std::mem::offset_of!(SumColumns, unused) - 28usize];
};
#[doc = " out[c] (+)= sum over k < count of partials[first + step k][c]"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct AddPartials {
    pub out: Ptr,
    pub partials: Ptr,
    pub count: i32,
    pub cols: i32,
    pub first: i32,
    pub step: i32,
    pub accumulate: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AddPartials"][::std::mem::size_of::<AddPartials>() - 40usize];
    ["Alignment of AddPartials"][::std::mem::align_of::<AddPartials>() - 8usize];
    ["Offset of field: AddPartials::out"][::std::mem::offset_of!(AddPartials, out) - 0usize];
    ["Offset of field: AddPartials::partials"][::std::mem::offset_of!(AddPartials, partials) - 8usize];
    ["Offset of field: AddPartials::count"][::std::mem::offset_of!(AddPartials, count) - 16usize];
    ["Offset of field: AddPartials::cols"][::std::mem::offset_of!(AddPartials, cols) - 20usize];
    ["Offset of field: AddPartials::first"][::std::mem::offset_of!(AddPartials, first) - 24usize];
    ["Offset of field: AddPartials::step"][::std::mem::offset_of!(AddPartials, step) - 28usize];
    ["Offset of field: AddPartials::accumulate"][::std::mem::offset_of!(AddPartials, accumulate) - 32usize];
    ["Offset of field: AddPartials::unused"][::std::mem::offset_of!(AddPartials, unused) - 36usize];
};
#[doc = " out[0] = scale · sum of x"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Total {
    pub out: Ptr,
    pub x: Ptr,
    pub scale: f64,
    pub count: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Total"][::std::mem::size_of::<Total>() - 32usize];
    ["Alignment of Total"][::std::mem::align_of::<Total>() - 8usize];
    ["Offset of field: Total::out"][::std::mem::offset_of!(Total, out) - 0usize];
    ["Offset of field: Total::x"][::std::mem::offset_of!(Total, x) - 8usize];
    ["Offset of field: Total::scale"][::std::mem::offset_of!(Total, scale) - 16usize];
    ["Offset of field: Total::count"][::std::mem::offset_of!(Total, count) - 24usize];
    ["Offset of field: Total::unused"][::std::mem::offset_of!(Total, unused) - 28usize];
};
#[doc = " y[i] = x[i] + s[i / sample] · b[i]; s absent: 1; y may be x"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct AddScaled {
    pub y: Ptr,
    pub x: Ptr,
    pub b: Ptr,
    pub s: Ptr,
    pub count: i64,
    pub sample: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AddScaled"][::std::mem::size_of::<AddScaled>() - 48usize];
    ["Alignment of AddScaled"][::std::mem::align_of::<AddScaled>() - 8usize];
    ["Offset of field: AddScaled::y"][::std::mem::offset_of!(AddScaled, y) - 0usize];
    ["Offset of field: AddScaled::x"][::std::mem::offset_of!(AddScaled, x) - 8usize];
    ["Offset of field: AddScaled::b"][::std::mem::offset_of!(AddScaled, b) - 16usize];
    ["Offset of field: AddScaled::s"][::std::mem::offset_of!(AddScaled, s) - 24usize];
    ["Offset of field: AddScaled::count"][::std::mem::offset_of!(AddScaled, count) - 32usize];
    ["Offset of field: AddScaled::sample"][::std::mem::offset_of!(AddScaled, sample) - 40usize];
};
#[doc = " y[i] = s[i / sample] · c · x[i]; s absent: 1"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Scale {
    pub y: Ptr,
    pub x: Ptr,
    pub s: Ptr,
    pub c: f64,
    pub count: i64,
    pub sample: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Scale"][::std::mem::size_of::<Scale>() - 48usize];
    ["Alignment of Scale"][::std::mem::align_of::<Scale>() - 8usize];
    ["Offset of field: Scale::y"][::std::mem::offset_of!(Scale, y) - 0usize];
    ["Offset of field: Scale::x"][::std::mem::offset_of!(Scale, x) - 8usize];
    ["Offset of field: Scale::s"][::std::mem::offset_of!(Scale, s) - 16usize];
    ["Offset of field: Scale::c"][::std::mem::offset_of!(Scale, c) - 24usize];
    ["Offset of field: Scale::count"][::std::mem::offset_of!(Scale, count) - 32usize];
    ["Offset of field: Scale::sample"][::std::mem::offset_of!(Scale, sample) - 40usize];
};
#[doc = " m, v and grad absent: param stays as it is; average = decay · average + (1 - decay) · param, absent: none"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct AdamwTensor {
    pub param: Ptr,
    pub m: Ptr,
    pub v: Ptr,
    pub grad: Ptr,
    pub average: Ptr,
    pub weight_decay: f64,
    pub lr_scale: f64,
    pub decay: f64,
    pub count: i64,
    pub first: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AdamwTensor"][::std::mem::size_of::<AdamwTensor>() - 80usize];
    ["Alignment of AdamwTensor"][::std::mem::align_of::<AdamwTensor>() - 8usize];
    ["Offset of field: AdamwTensor::param"][::std::mem::offset_of!(AdamwTensor, param) - 0usize];
    ["Offset of field: AdamwTensor::m"][::std::mem::offset_of!(AdamwTensor, m) - 8usize];
    ["Offset of field: AdamwTensor::v"][::std::mem::offset_of!(AdamwTensor, v) - 16usize];
    ["Offset of field: AdamwTensor::grad"][::std::mem::offset_of!(AdamwTensor, grad) - 24usize];
    ["Offset of field: AdamwTensor::average"][::std::mem::offset_of!(AdamwTensor, average) - 32usize];
    ["Offset of field: AdamwTensor::weight_decay"][::std::mem::offset_of!(AdamwTensor, weight_decay) - 40usize];
    ["Offset of field: AdamwTensor::lr_scale"][::std::mem::offset_of!(AdamwTensor, lr_scale) - 48usize];
    ["Offset of field: AdamwTensor::decay"][::std::mem::offset_of!(AdamwTensor, decay) - 56usize];
    ["Offset of field: AdamwTensor::count"][::std::mem::offset_of!(AdamwTensor, count) - 64usize];
    ["Offset of field: AdamwTensor::first"][::std::mem::offset_of!(AdamwTensor, first) - 72usize];
};
#[doc = " the numbers of the step are those at `state`, absent: zeros; nothing happens when its grad_scale is not finite"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Adamw {
    pub at: [AdamwTensor; 384usize],
    pub state: Ptr,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub tensors: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Adamw"][::std::mem::size_of::<Adamw>() - 30760usize];
    ["Alignment of Adamw"][::std::mem::align_of::<Adamw>() - 8usize];
    ["Offset of field: Adamw::at"][::std::mem::offset_of!(Adamw, at) - 0usize];
    ["Offset of field: Adamw::state"][::std::mem::offset_of!(Adamw, state) - 30720usize];
    ["Offset of field: Adamw::beta1"][::std::mem::offset_of!(Adamw, beta1) - 30728usize];
    ["Offset of field: Adamw::beta2"][::std::mem::offset_of!(Adamw, beta2) - 30736usize];
    ["Offset of field: Adamw::eps"][::std::mem::offset_of!(Adamw, eps) - 30744usize];
    ["Offset of field: Adamw::tensors"][::std::mem::offset_of!(Adamw, tensors) - 30752usize];
    ["Offset of field: Adamw::unused"][::std::mem::offset_of!(Adamw, unused) - 30756usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct NormTensor {
    pub x: Ptr,
    pub count: i64,
    pub first: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of NormTensor"][::std::mem::size_of::<NormTensor>() - 24usize];
    ["Alignment of NormTensor"][::std::mem::align_of::<NormTensor>() - 8usize];
    ["Offset of field: NormTensor::x"][::std::mem::offset_of!(NormTensor, x) - 0usize];
    ["Offset of field: NormTensor::count"][::std::mem::offset_of!(NormTensor, count) - 8usize];
    ["Offset of field: NormTensor::first"][::std::mem::offset_of!(NormTensor, first) - 16usize];
};
#[doc = " partials[b] = sum of the squares of the piece of block b"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct SquareSums {
    pub at: [NormTensor; 384usize],
    pub partials: Ptr,
    pub tensors: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SquareSums"][::std::mem::size_of::<SquareSums>() - 9232usize];
    ["Alignment of SquareSums"][::std::mem::align_of::<SquareSums>() - 8usize];
    ["Offset of field: SquareSums::at"][::std::mem::offset_of!(SquareSums, at) - 0usize];
    ["Offset of field: SquareSums::partials"][::std::mem::offset_of!(SquareSums, partials) - 9216usize];
    ["Offset of field: SquareSums::tensors"][::std::mem::offset_of!(SquareSums, tensors) - 9224usize];
    ["Offset of field: SquareSums::unused"][::std::mem::offset_of!(SquareSums, unused) - 9228usize];
};
#[doc = " at `state`: grad_norm = sqrt(sum of partials) / loss_scale, grad_scale = min(1, max_norm / (grad_norm + 1e-6)) / loss_scale,\n with 1 for the minimum when max_norm is 0; not finite when the norm or the loss is not"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct ClipScale {
    pub state: Ptr,
    pub partials: Ptr,
    pub loss: Ptr,
    pub max_norm: f64,
    pub count: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ClipScale"][::std::mem::size_of::<ClipScale>() - 40usize];
    ["Alignment of ClipScale"][::std::mem::align_of::<ClipScale>() - 8usize];
    ["Offset of field: ClipScale::state"][::std::mem::offset_of!(ClipScale, state) - 0usize];
    ["Offset of field: ClipScale::partials"][::std::mem::offset_of!(ClipScale, partials) - 8usize];
    ["Offset of field: ClipScale::loss"][::std::mem::offset_of!(ClipScale, loss) - 16usize];
    ["Offset of field: ClipScale::max_norm"][::std::mem::offset_of!(ClipScale, max_norm) - 24usize];
    ["Offset of field: ClipScale::count"][::std::mem::offset_of!(ClipScale, count) - 32usize];
};
#[doc = " out[0] = loss_scale at `state`"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct LossSeed {
    pub out: Ptr,
    pub state: Ptr,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LossSeed"][::std::mem::size_of::<LossSeed>() - 16usize];
    ["Alignment of LossSeed"][::std::mem::align_of::<LossSeed>() - 8usize];
    ["Offset of field: LossSeed::out"][::std::mem::offset_of!(LossSeed, out) - 0usize];
    ["Offset of field: LossSeed::state"][::std::mem::offset_of!(LossSeed, state) - 8usize];
};
#[doc = " out[i] = floor(keep + u_i) / keep, u_i the first uniform of (seed, step, site, i); the step is that at `state`, if given"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct DropPath {
    pub out: Ptr,
    pub state: Ptr,
    pub seed: u64,
    pub step: u64,
    pub site: u64,
    pub first: u64,
    pub keep: f64,
    pub scale: f64,
    pub count: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of DropPath"][::std::mem::size_of::<DropPath>() - 72usize];
    ["Alignment of DropPath"][::std::mem::align_of::<DropPath>() - 8usize];
    ["Offset of field: DropPath::out"][::std::mem::offset_of!(DropPath, out) - 0usize];
    ["Offset of field: DropPath::state"][::std::mem::offset_of!(DropPath, state) - 8usize];
    ["Offset of field: DropPath::seed"][::std::mem::offset_of!(DropPath, seed) - 16usize];
    ["Offset of field: DropPath::step"][::std::mem::offset_of!(DropPath, step) - 24usize];
    ["Offset of field: DropPath::site"][::std::mem::offset_of!(DropPath, site) - 32usize];
    ["Offset of field: DropPath::first"][::std::mem::offset_of!(DropPath, first) - 40usize];
    ["Offset of field: DropPath::keep"][::std::mem::offset_of!(DropPath, keep) - 48usize];
    ["Offset of field: DropPath::scale"][::std::mem::offset_of!(DropPath, scale) - 56usize];
    ["Offset of field: DropPath::count"][::std::mem::offset_of!(DropPath, count) - 64usize];
    ["Offset of field: DropPath::unused"][::std::mem::offset_of!(DropPath, unused) - 68usize];
};
#[doc = " y = softmax(x) over the keys whose mask is not 0; mask_stride 0: one mask for all rows; its rows are of whole Vecs"]
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
#[doc = " dx = p (dy - <dy, p>)"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct SoftmaxBwd {
    pub dx: Ptr,
    pub dy: Ptr,
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
    ["Offset of field: SoftmaxBwd::dy"][::std::mem::offset_of!(SoftmaxBwd, dy) - 8usize];
    ["Offset of field: SoftmaxBwd::p"][::std::mem::offset_of!(SoftmaxBwd, p) - 16usize];
    ["Offset of field: SoftmaxBwd::rows"][::std::mem::offset_of!(SoftmaxBwd, rows) - 24usize];
    ["Offset of field: SoftmaxBwd::cols"][::std::mem::offset_of!(SoftmaxBwd, cols) - 28usize];
    ["Offset of field: SoftmaxBwd::stride"][::std::mem::offset_of!(SoftmaxBwd, stride) - 32usize];
    ["Offset of field: SoftmaxBwd::unused"][::std::mem::offset_of!(SoftmaxBwd, unused) - 36usize];
};
#[doc = " y = log softmax(x)"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct LogSoftmaxFwd {
    pub y: Ptr,
    pub x: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LogSoftmaxFwd"][::std::mem::size_of::<LogSoftmaxFwd>() - 32usize];
    ["Alignment of LogSoftmaxFwd"][::std::mem::align_of::<LogSoftmaxFwd>() - 8usize];
    ["Offset of field: LogSoftmaxFwd::y"][::std::mem::offset_of!(LogSoftmaxFwd, y) - 0usize];
    ["Offset of field: LogSoftmaxFwd::x"][::std::mem::offset_of!(LogSoftmaxFwd, x) - 8usize];
    ["Offset of field: LogSoftmaxFwd::rows"][::std::mem::offset_of!(LogSoftmaxFwd, rows) - 16usize];
    ["Offset of field: LogSoftmaxFwd::cols"][::std::mem::offset_of!(LogSoftmaxFwd, cols) - 20usize];
    ["Offset of field: LogSoftmaxFwd::stride"][::std::mem::offset_of!(LogSoftmaxFwd, stride) - 24usize];
    ["Offset of field: LogSoftmaxFwd::unused"][::std::mem::offset_of!(LogSoftmaxFwd, unused) - 28usize];
};
#[doc = " dx = dy - e^y sum dy"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct LogSoftmaxBwd {
    pub dx: Ptr,
    pub dy: Ptr,
    pub y: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LogSoftmaxBwd"][::std::mem::size_of::<LogSoftmaxBwd>() - 40usize];
    ["Alignment of LogSoftmaxBwd"][::std::mem::align_of::<LogSoftmaxBwd>() - 8usize];
    ["Offset of field: LogSoftmaxBwd::dx"][::std::mem::offset_of!(LogSoftmaxBwd, dx) - 0usize];
    ["Offset of field: LogSoftmaxBwd::dy"][::std::mem::offset_of!(LogSoftmaxBwd, dy) - 8usize];
    ["Offset of field: LogSoftmaxBwd::y"][::std::mem::offset_of!(LogSoftmaxBwd, y) - 16usize];
    ["Offset of field: LogSoftmaxBwd::rows"][::std::mem::offset_of!(LogSoftmaxBwd, rows) - 24usize];
    ["Offset of field: LogSoftmaxBwd::cols"][::std::mem::offset_of!(LogSoftmaxBwd, cols) - 28usize];
    ["Offset of field: LogSoftmaxBwd::stride"][::std::mem::offset_of!(LogSoftmaxBwd, stride) - 32usize];
    ["Offset of field: LogSoftmaxBwd::unused"][::std::mem::offset_of!(LogSoftmaxBwd, unused) - 36usize];
};
#[doc = " y = GELU((x + b) g), b and g by column; absent: 0 and 1. y may be x"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct GeluFwd {
    pub y: Ptr,
    pub x: Ptr,
    pub b: Ptr,
    pub g: Ptr,
    pub count: i64,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GeluFwd"][::std::mem::size_of::<GeluFwd>() - 48usize];
    ["Alignment of GeluFwd"][::std::mem::align_of::<GeluFwd>() - 8usize];
    ["Offset of field: GeluFwd::y"][::std::mem::offset_of!(GeluFwd, y) - 0usize];
    ["Offset of field: GeluFwd::x"][::std::mem::offset_of!(GeluFwd, x) - 8usize];
    ["Offset of field: GeluFwd::b"][::std::mem::offset_of!(GeluFwd, b) - 16usize];
    ["Offset of field: GeluFwd::g"][::std::mem::offset_of!(GeluFwd, g) - 24usize];
    ["Offset of field: GeluFwd::count"][::std::mem::offset_of!(GeluFwd, count) - 32usize];
    ["Offset of field: GeluFwd::stride"][::std::mem::offset_of!(GeluFwd, stride) - 40usize];
    ["Offset of field: GeluFwd::unused"][::std::mem::offset_of!(GeluFwd, unused) - 44usize];
};
#[doc = " dx = dt g with dt = dy GELU'((x + b) g)"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct GeluBwd {
    pub dx: Ptr,
    pub dy: Ptr,
    pub x: Ptr,
    pub b: Ptr,
    pub g: Ptr,
    pub count: i64,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GeluBwd"][::std::mem::size_of::<GeluBwd>() - 56usize];
    ["Alignment of GeluBwd"][::std::mem::align_of::<GeluBwd>() - 8usize];
    ["Offset of field: GeluBwd::dx"][::std::mem::offset_of!(GeluBwd, dx) - 0usize];
    ["Offset of field: GeluBwd::dy"][::std::mem::offset_of!(GeluBwd, dy) - 8usize];
    ["Offset of field: GeluBwd::x"][::std::mem::offset_of!(GeluBwd, x) - 16usize];
    ["Offset of field: GeluBwd::b"][::std::mem::offset_of!(GeluBwd, b) - 24usize];
    ["Offset of field: GeluBwd::g"][::std::mem::offset_of!(GeluBwd, g) - 32usize];
    ["Offset of field: GeluBwd::count"][::std::mem::offset_of!(GeluBwd, count) - 40usize];
    ["Offset of field: GeluBwd::stride"][::std::mem::offset_of!(GeluBwd, stride) - 48usize];
    ["Offset of field: GeluBwd::unused"][::std::mem::offset_of!(GeluBwd, unused) - 52usize];
};
#[doc = " partials of dg = sum over rows of dt (x + b)"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct GeluGate {
    pub partials: Ptr,
    pub dy: Ptr,
    pub x: Ptr,
    pub b: Ptr,
    pub g: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GeluGate"][::std::mem::size_of::<GeluGate>() - 56usize];
    ["Alignment of GeluGate"][::std::mem::align_of::<GeluGate>() - 8usize];
    ["Offset of field: GeluGate::partials"][::std::mem::offset_of!(GeluGate, partials) - 0usize];
    ["Offset of field: GeluGate::dy"][::std::mem::offset_of!(GeluGate, dy) - 8usize];
    ["Offset of field: GeluGate::x"][::std::mem::offset_of!(GeluGate, x) - 16usize];
    ["Offset of field: GeluGate::b"][::std::mem::offset_of!(GeluGate, b) - 24usize];
    ["Offset of field: GeluGate::g"][::std::mem::offset_of!(GeluGate, g) - 32usize];
    ["Offset of field: GeluGate::rows"][::std::mem::offset_of!(GeluGate, rows) - 40usize];
    ["Offset of field: GeluGate::cols"][::std::mem::offset_of!(GeluGate, cols) - 44usize];
    ["Offset of field: GeluGate::stride"][::std::mem::offset_of!(GeluGate, stride) - 48usize];
    ["Offset of field: GeluGate::unused"][::std::mem::offset_of!(GeluGate, unused) - 52usize];
};
#[doc = " y[r][c] = x[r][c] g[c / group]"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Gate {
    pub y: Ptr,
    pub x: Ptr,
    pub g: Ptr,
    pub count: i64,
    pub stride: i32,
    pub group: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Gate"][::std::mem::size_of::<Gate>() - 40usize];
    ["Alignment of Gate"][::std::mem::align_of::<Gate>() - 8usize];
    ["Offset of field: Gate::y"][::std::mem::offset_of!(Gate, y) - 0usize];
    ["Offset of field: Gate::x"][::std::mem::offset_of!(Gate, x) - 8usize];
    ["Offset of field: Gate::g"][::std::mem::offset_of!(Gate, g) - 16usize];
    ["Offset of field: Gate::count"][::std::mem::offset_of!(Gate, count) - 24usize];
    ["Offset of field: Gate::stride"][::std::mem::offset_of!(Gate, stride) - 32usize];
    ["Offset of field: Gate::group"][::std::mem::offset_of!(Gate, group) - 36usize];
};
#[doc = " y[r][c] = x[r][c] + b[c]"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct AddBias {
    pub y: Ptr,
    pub x: Ptr,
    pub b: Ptr,
    pub count: i64,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AddBias"][::std::mem::size_of::<AddBias>() - 40usize];
    ["Alignment of AddBias"][::std::mem::align_of::<AddBias>() - 8usize];
    ["Offset of field: AddBias::y"][::std::mem::offset_of!(AddBias, y) - 0usize];
    ["Offset of field: AddBias::x"][::std::mem::offset_of!(AddBias, x) - 8usize];
    ["Offset of field: AddBias::b"][::std::mem::offset_of!(AddBias, b) - 16usize];
    ["Offset of field: AddBias::count"][::std::mem::offset_of!(AddBias, count) - 24usize];
    ["Offset of field: AddBias::stride"][::std::mem::offset_of!(AddBias, stride) - 32usize];
    ["Offset of field: AddBias::unused"][::std::mem::offset_of!(AddBias, unused) - 36usize];
};
#[doc = " partials of sum over rows of dy[r][c] x[r][c]"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct GateColumns {
    pub partials: Ptr,
    pub dy: Ptr,
    pub x: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GateColumns"][::std::mem::size_of::<GateColumns>() - 40usize];
    ["Alignment of GateColumns"][::std::mem::align_of::<GateColumns>() - 8usize];
    ["Offset of field: GateColumns::partials"][::std::mem::offset_of!(GateColumns, partials) - 0usize];
    ["Offset of field: GateColumns::dy"][::std::mem::offset_of!(GateColumns, dy) - 8usize];
    ["Offset of field: GateColumns::x"][::std::mem::offset_of!(GateColumns, x) - 16usize];
    ["Offset of field: GateColumns::rows"][::std::mem::offset_of!(GateColumns, rows) - 24usize];
    ["Offset of field: GateColumns::cols"][::std::mem::offset_of!(GateColumns, cols) - 28usize];
    ["Offset of field: GateColumns::stride"][::std::mem::offset_of!(GateColumns, stride) - 32usize];
    ["Offset of field: GateColumns::unused"][::std::mem::offset_of!(GateColumns, unused) - 36usize];
};
#[doc = " dg[u] (+)= sum over the unit's columns of columns[c]"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct GateUnits {
    pub dg: Ptr,
    pub columns: Ptr,
    pub units: i32,
    pub group: i32,
    pub accumulate: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GateUnits"][::std::mem::size_of::<GateUnits>() - 32usize];
    ["Alignment of GateUnits"][::std::mem::align_of::<GateUnits>() - 8usize];
    ["Offset of field: GateUnits::dg"][::std::mem::offset_of!(GateUnits, dg) - 0usize];
    ["Offset of field: GateUnits::columns"][::std::mem::offset_of!(GateUnits, columns) - 8usize];
    ["Offset of field: GateUnits::units"][::std::mem::offset_of!(GateUnits, units) - 16usize];
    ["Offset of field: GateUnits::group"][::std::mem::offset_of!(GateUnits, group) - 20usize];
    ["Offset of field: GateUnits::accumulate"][::std::mem::offset_of!(GateUnits, accumulate) - 24usize];
    ["Offset of field: GateUnits::unused"][::std::mem::offset_of!(GateUnits, unused) - 28usize];
};
#[doc = " y[r][c] = x[r][c] g[r / tokens][c], zeros behind the rows"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct GateSamples {
    pub y: Ptr,
    pub x: Ptr,
    pub g: Ptr,
    pub count: i64,
    pub tokens: i32,
    pub stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GateSamples"][::std::mem::size_of::<GateSamples>() - 40usize];
    ["Alignment of GateSamples"][::std::mem::align_of::<GateSamples>() - 8usize];
    ["Offset of field: GateSamples::y"][::std::mem::offset_of!(GateSamples, y) - 0usize];
    ["Offset of field: GateSamples::x"][::std::mem::offset_of!(GateSamples, x) - 8usize];
    ["Offset of field: GateSamples::g"][::std::mem::offset_of!(GateSamples, g) - 16usize];
    ["Offset of field: GateSamples::count"][::std::mem::offset_of!(GateSamples, count) - 24usize];
    ["Offset of field: GateSamples::tokens"][::std::mem::offset_of!(GateSamples, tokens) - 32usize];
    ["Offset of field: GateSamples::stride"][::std::mem::offset_of!(GateSamples, stride) - 36usize];
};
#[doc = " dg[i][c] (+)= sum over the tokens r of sample i of dy[r][c] x[r][c]"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct GateSamplesBwd {
    pub dg: Ptr,
    pub dy: Ptr,
    pub x: Ptr,
    pub samples: i32,
    pub tokens: i32,
    pub cols: i32,
    pub stride: i32,
    pub accumulate: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GateSamplesBwd"][::std::mem::size_of::<GateSamplesBwd>() - 48usize];
    ["Alignment of GateSamplesBwd"][::std::mem::align_of::<GateSamplesBwd>() - 8usize];
    ["Offset of field: GateSamplesBwd::dg"][::std::mem::offset_of!(GateSamplesBwd, dg) - 0usize];
    ["Offset of field: GateSamplesBwd::dy"][::std::mem::offset_of!(GateSamplesBwd, dy) - 8usize];
    ["Offset of field: GateSamplesBwd::x"][::std::mem::offset_of!(GateSamplesBwd, x) - 16usize];
    ["Offset of field: GateSamplesBwd::samples"][::std::mem::offset_of!(GateSamplesBwd, samples) - 24usize];
    ["Offset of field: GateSamplesBwd::tokens"][::std::mem::offset_of!(GateSamplesBwd, tokens) - 28usize];
    ["Offset of field: GateSamplesBwd::cols"][::std::mem::offset_of!(GateSamplesBwd, cols) - 32usize];
    ["Offset of field: GateSamplesBwd::stride"][::std::mem::offset_of!(GateSamplesBwd, stride) - 36usize];
    ["Offset of field: GateSamplesBwd::accumulate"][::std::mem::offset_of!(GateSamplesBwd, accumulate) - 40usize];
    ["Offset of field: GateSamplesBwd::unused"][::std::mem::offset_of!(GateSamplesBwd, unused) - 44usize];
};
#[doc = " v = x + s[r / sample_rows] branch, written to sum; y = (v - mean) rstd gamma + beta; stats[r] = mean, rstd. Without a\n branch v = x and there is no sum; s absent: 1. sum may be x"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct LayernormFwd {
    pub y: Ptr,
    pub sum: Ptr,
    pub stats: Ptr,
    pub x: Ptr,
    pub branch: Ptr,
    pub s: Ptr,
    pub gamma: Ptr,
    pub beta: Ptr,
    pub eps: f64,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub sample_rows: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LayernormFwd"][::std::mem::size_of::<LayernormFwd>() - 88usize];
    ["Alignment of LayernormFwd"][::std::mem::align_of::<LayernormFwd>() - 8usize];
    ["Offset of field: LayernormFwd::y"][::std::mem::offset_of!(LayernormFwd, y) - 0usize];
    ["Offset of field: LayernormFwd::sum"][::std::mem::offset_of!(LayernormFwd, sum) - 8usize];
    ["Offset of field: LayernormFwd::stats"][::std::mem::offset_of!(LayernormFwd, stats) - 16usize];
    ["Offset of field: LayernormFwd::x"][::std::mem::offset_of!(LayernormFwd, x) - 24usize];
    ["Offset of field: LayernormFwd::branch"][::std::mem::offset_of!(LayernormFwd, branch) - 32usize];
    ["Offset of field: LayernormFwd::s"][::std::mem::offset_of!(LayernormFwd, s) - 40usize];
    ["Offset of field: LayernormFwd::gamma"][::std::mem::offset_of!(LayernormFwd, gamma) - 48usize];
    ["Offset of field: LayernormFwd::beta"][::std::mem::offset_of!(LayernormFwd, beta) - 56usize];
    ["Offset of field: LayernormFwd::eps"][::std::mem::offset_of!(LayernormFwd, eps) - 64usize];
    ["Offset of field: LayernormFwd::rows"][::std::mem::offset_of!(LayernormFwd, rows) - 72usize];
    ["Offset of field: LayernormFwd::cols"][::std::mem::offset_of!(LayernormFwd, cols) - 76usize];
    ["Offset of field: LayernormFwd::stride"][::std::mem::offset_of!(LayernormFwd, stride) - 80usize];
    ["Offset of field: LayernormFwd::sample_rows"][::std::mem::offset_of!(LayernormFwd, sample_rows) - 84usize];
};
#[doc = " dx = rstd (h - mean(h) - n mean(h n)) + dsum with h = dy gamma, n = (x - mean) rstd; dsum may be absent"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct LayernormBwd {
    pub dx: Ptr,
    pub dy: Ptr,
    pub dsum: Ptr,
    pub x: Ptr,
    pub stats: Ptr,
    pub gamma: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LayernormBwd"][::std::mem::size_of::<LayernormBwd>() - 64usize];
    ["Alignment of LayernormBwd"][::std::mem::align_of::<LayernormBwd>() - 8usize];
    ["Offset of field: LayernormBwd::dx"][::std::mem::offset_of!(LayernormBwd, dx) - 0usize];
    ["Offset of field: LayernormBwd::dy"][::std::mem::offset_of!(LayernormBwd, dy) - 8usize];
    ["Offset of field: LayernormBwd::dsum"][::std::mem::offset_of!(LayernormBwd, dsum) - 16usize];
    ["Offset of field: LayernormBwd::x"][::std::mem::offset_of!(LayernormBwd, x) - 24usize];
    ["Offset of field: LayernormBwd::stats"][::std::mem::offset_of!(LayernormBwd, stats) - 32usize];
    ["Offset of field: LayernormBwd::gamma"][::std::mem::offset_of!(LayernormBwd, gamma) - 40usize];
    ["Offset of field: LayernormBwd::rows"][::std::mem::offset_of!(LayernormBwd, rows) - 48usize];
    ["Offset of field: LayernormBwd::cols"][::std::mem::offset_of!(LayernormBwd, cols) - 52usize];
    ["Offset of field: LayernormBwd::stride"][::std::mem::offset_of!(LayernormBwd, stride) - 56usize];
    ["Offset of field: LayernormBwd::unused"][::std::mem::offset_of!(LayernormBwd, unused) - 60usize];
};
#[doc = " partials of dgamma = sum over rows of dy n and dbeta = sum over rows of dy"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct LayernormColumns {
    pub partials: Ptr,
    pub dy: Ptr,
    pub x: Ptr,
    pub stats: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LayernormColumns"][::std::mem::size_of::<LayernormColumns>() - 48usize];
    ["Alignment of LayernormColumns"][::std::mem::align_of::<LayernormColumns>() - 8usize];
    ["Offset of field: LayernormColumns::partials"][::std::mem::offset_of!(LayernormColumns, partials) - 0usize];
    ["Offset of field: LayernormColumns::dy"][::std::mem::offset_of!(LayernormColumns, dy) - 8usize];
    ["Offset of field: LayernormColumns::x"][::std::mem::offset_of!(LayernormColumns, x) - 16usize];
    ["Offset of field: LayernormColumns::stats"][::std::mem::offset_of!(LayernormColumns, stats) - 24usize];
    ["Offset of field: LayernormColumns::rows"][::std::mem::offset_of!(LayernormColumns, rows) - 32usize];
    ["Offset of field: LayernormColumns::cols"][::std::mem::offset_of!(LayernormColumns, cols) - 36usize];
    ["Offset of field: LayernormColumns::stride"][::std::mem::offset_of!(LayernormColumns, stride) - 40usize];
    ["Offset of field: LayernormColumns::unused"][::std::mem::offset_of!(LayernormColumns, unused) - 44usize];
};
#[doc = " log_p = log softmax(z); loss[r] = -sum_c t log_p"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct CrossEntropyFwd {
    pub log_p: Ptr,
    pub loss: Ptr,
    pub z: Ptr,
    pub t: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of CrossEntropyFwd"][::std::mem::size_of::<CrossEntropyFwd>() - 48usize];
    ["Alignment of CrossEntropyFwd"][::std::mem::align_of::<CrossEntropyFwd>() - 8usize];
    ["Offset of field: CrossEntropyFwd::log_p"][::std::mem::offset_of!(CrossEntropyFwd, log_p) - 0usize];
    ["Offset of field: CrossEntropyFwd::loss"][::std::mem::offset_of!(CrossEntropyFwd, loss) - 8usize];
    ["Offset of field: CrossEntropyFwd::z"][::std::mem::offset_of!(CrossEntropyFwd, z) - 16usize];
    ["Offset of field: CrossEntropyFwd::t"][::std::mem::offset_of!(CrossEntropyFwd, t) - 24usize];
    ["Offset of field: CrossEntropyFwd::rows"][::std::mem::offset_of!(CrossEntropyFwd, rows) - 32usize];
    ["Offset of field: CrossEntropyFwd::cols"][::std::mem::offset_of!(CrossEntropyFwd, cols) - 36usize];
    ["Offset of field: CrossEntropyFwd::stride"][::std::mem::offset_of!(CrossEntropyFwd, stride) - 40usize];
    ["Offset of field: CrossEntropyFwd::unused"][::std::mem::offset_of!(CrossEntropyFwd, unused) - 44usize];
};
#[doc = " dz = dloss · scale · (e^dz sum_c t - t), where dz holds log p"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct CrossEntropyBwd {
    pub dz: Ptr,
    pub t: Ptr,
    pub dloss: Ptr,
    pub scale: f64,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of CrossEntropyBwd"][::std::mem::size_of::<CrossEntropyBwd>() - 48usize];
    ["Alignment of CrossEntropyBwd"][::std::mem::align_of::<CrossEntropyBwd>() - 8usize];
    ["Offset of field: CrossEntropyBwd::dz"][::std::mem::offset_of!(CrossEntropyBwd, dz) - 0usize];
    ["Offset of field: CrossEntropyBwd::t"][::std::mem::offset_of!(CrossEntropyBwd, t) - 8usize];
    ["Offset of field: CrossEntropyBwd::dloss"][::std::mem::offset_of!(CrossEntropyBwd, dloss) - 16usize];
    ["Offset of field: CrossEntropyBwd::scale"][::std::mem::offset_of!(CrossEntropyBwd, scale) - 24usize];
    ["Offset of field: CrossEntropyBwd::rows"][::std::mem::offset_of!(CrossEntropyBwd, rows) - 32usize];
    ["Offset of field: CrossEntropyBwd::cols"][::std::mem::offset_of!(CrossEntropyBwd, cols) - 36usize];
    ["Offset of field: CrossEntropyBwd::stride"][::std::mem::offset_of!(CrossEntropyBwd, stride) - 40usize];
    ["Offset of field: CrossEntropyBwd::unused"][::std::mem::offset_of!(CrossEntropyBwd, unused) - 44usize];
};
#[doc = " y[r][c] = 1 at the first of the row's largest values, else 0; NaN throughout a row with NaN"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct HardTarget {
    pub y: Ptr,
    pub z: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of HardTarget"][::std::mem::size_of::<HardTarget>() - 32usize];
    ["Alignment of HardTarget"][::std::mem::align_of::<HardTarget>() - 8usize];
    ["Offset of field: HardTarget::y"][::std::mem::offset_of!(HardTarget, y) - 0usize];
    ["Offset of field: HardTarget::z"][::std::mem::offset_of!(HardTarget, z) - 8usize];
    ["Offset of field: HardTarget::rows"][::std::mem::offset_of!(HardTarget, rows) - 16usize];
    ["Offset of field: HardTarget::cols"][::std::mem::offset_of!(HardTarget, cols) - 20usize];
    ["Offset of field: HardTarget::stride"][::std::mem::offset_of!(HardTarget, stride) - 24usize];
    ["Offset of field: HardTarget::unused"][::std::mem::offset_of!(HardTarget, unused) - 28usize];
};
#[doc = " p = softmax(student / tau), q = softmax(teacher / tau): gap = p - q; sum[r] = sum_c q (log q - log p)"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct KdFwd {
    pub gap: Ptr,
    pub sum: Ptr,
    pub student: Ptr,
    pub teacher: Ptr,
    pub inverse_tau: f64,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of KdFwd"][::std::mem::size_of::<KdFwd>() - 56usize];
    ["Alignment of KdFwd"][::std::mem::align_of::<KdFwd>() - 8usize];
    ["Offset of field: KdFwd::gap"][::std::mem::offset_of!(KdFwd, gap) - 0usize];
    ["Offset of field: KdFwd::sum"][::std::mem::offset_of!(KdFwd, sum) - 8usize];
    ["Offset of field: KdFwd::student"][::std::mem::offset_of!(KdFwd, student) - 16usize];
    ["Offset of field: KdFwd::teacher"][::std::mem::offset_of!(KdFwd, teacher) - 24usize];
    ["Offset of field: KdFwd::inverse_tau"][::std::mem::offset_of!(KdFwd, inverse_tau) - 32usize];
    ["Offset of field: KdFwd::rows"][::std::mem::offset_of!(KdFwd, rows) - 40usize];
    ["Offset of field: KdFwd::cols"][::std::mem::offset_of!(KdFwd, cols) - 44usize];
    ["Offset of field: KdFwd::stride"][::std::mem::offset_of!(KdFwd, stride) - 48usize];
    ["Offset of field: KdFwd::unused"][::std::mem::offset_of!(KdFwd, unused) - 52usize];
};
#[doc = " gap = a - b; partials[k] = sum of gap^2 over the k-th CHUNK elements"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct MseFwd {
    pub gap: Ptr,
    pub partials: Ptr,
    pub a: Ptr,
    pub b: Ptr,
    pub count: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MseFwd"][::std::mem::size_of::<MseFwd>() - 40usize];
    ["Alignment of MseFwd"][::std::mem::align_of::<MseFwd>() - 8usize];
    ["Offset of field: MseFwd::gap"][::std::mem::offset_of!(MseFwd, gap) - 0usize];
    ["Offset of field: MseFwd::partials"][::std::mem::offset_of!(MseFwd, partials) - 8usize];
    ["Offset of field: MseFwd::a"][::std::mem::offset_of!(MseFwd, a) - 16usize];
    ["Offset of field: MseFwd::b"][::std::mem::offset_of!(MseFwd, b) - 24usize];
    ["Offset of field: MseFwd::count"][::std::mem::offset_of!(MseFwd, count) - 32usize];
};
#[doc = " gap = sigmoid(z) - t; partials[k] = sum of max(z, 0) - z t + log(1 + e^-|z|) over the k-th CHUNK elements"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct BceFwd {
    pub gap: Ptr,
    pub partials: Ptr,
    pub z: Ptr,
    pub t: Ptr,
    pub count: i64,
    pub cols: i32,
    pub stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of BceFwd"][::std::mem::size_of::<BceFwd>() - 48usize];
    ["Alignment of BceFwd"][::std::mem::align_of::<BceFwd>() - 8usize];
    ["Offset of field: BceFwd::gap"][::std::mem::offset_of!(BceFwd, gap) - 0usize];
    ["Offset of field: BceFwd::partials"][::std::mem::offset_of!(BceFwd, partials) - 8usize];
    ["Offset of field: BceFwd::z"][::std::mem::offset_of!(BceFwd, z) - 16usize];
    ["Offset of field: BceFwd::t"][::std::mem::offset_of!(BceFwd, t) - 24usize];
    ["Offset of field: BceFwd::count"][::std::mem::offset_of!(BceFwd, count) - 32usize];
    ["Offset of field: BceFwd::cols"][::std::mem::offset_of!(BceFwd, cols) - 40usize];
    ["Offset of field: BceFwd::stride"][::std::mem::offset_of!(BceFwd, stride) - 44usize];
};
#[doc = " partials[k] = sum of a b over the k-th CHUNK elements"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct DotPartials {
    pub partials: Ptr,
    pub a: Ptr,
    pub b: Ptr,
    pub count: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of DotPartials"][::std::mem::size_of::<DotPartials>() - 32usize];
    ["Alignment of DotPartials"][::std::mem::align_of::<DotPartials>() - 8usize];
    ["Offset of field: DotPartials::partials"][::std::mem::offset_of!(DotPartials, partials) - 0usize];
    ["Offset of field: DotPartials::a"][::std::mem::offset_of!(DotPartials, a) - 8usize];
    ["Offset of field: DotPartials::b"][::std::mem::offset_of!(DotPartials, b) - 16usize];
    ["Offset of field: DotPartials::count"][::std::mem::offset_of!(DotPartials, count) - 24usize];
};
#[doc = " length[r] = max(|x|, floor); y = x / length"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct L2NormalizeFwd {
    pub y: Ptr,
    pub length: Ptr,
    pub x: Ptr,
    pub floor: f64,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of L2NormalizeFwd"][::std::mem::size_of::<L2NormalizeFwd>() - 48usize];
    ["Alignment of L2NormalizeFwd"][::std::mem::align_of::<L2NormalizeFwd>() - 8usize];
    ["Offset of field: L2NormalizeFwd::y"][::std::mem::offset_of!(L2NormalizeFwd, y) - 0usize];
    ["Offset of field: L2NormalizeFwd::length"][::std::mem::offset_of!(L2NormalizeFwd, length) - 8usize];
    ["Offset of field: L2NormalizeFwd::x"][::std::mem::offset_of!(L2NormalizeFwd, x) - 16usize];
    ["Offset of field: L2NormalizeFwd::floor"][::std::mem::offset_of!(L2NormalizeFwd, floor) - 24usize];
    ["Offset of field: L2NormalizeFwd::rows"][::std::mem::offset_of!(L2NormalizeFwd, rows) - 32usize];
    ["Offset of field: L2NormalizeFwd::cols"][::std::mem::offset_of!(L2NormalizeFwd, cols) - 36usize];
    ["Offset of field: L2NormalizeFwd::stride"][::std::mem::offset_of!(L2NormalizeFwd, stride) - 40usize];
    ["Offset of field: L2NormalizeFwd::unused"][::std::mem::offset_of!(L2NormalizeFwd, unused) - 44usize];
};
#[doc = " dx = (dy - y <dy, y>) / length; without the second term where the length is the floor"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct L2NormalizeBwd {
    pub dx: Ptr,
    pub dy: Ptr,
    pub y: Ptr,
    pub length: Ptr,
    pub floor: f64,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of L2NormalizeBwd"][::std::mem::size_of::<L2NormalizeBwd>() - 56usize];
    ["Alignment of L2NormalizeBwd"][::std::mem::align_of::<L2NormalizeBwd>() - 8usize];
    ["Offset of field: L2NormalizeBwd::dx"][::std::mem::offset_of!(L2NormalizeBwd, dx) - 0usize];
    ["Offset of field: L2NormalizeBwd::dy"][::std::mem::offset_of!(L2NormalizeBwd, dy) - 8usize];
    ["Offset of field: L2NormalizeBwd::y"][::std::mem::offset_of!(L2NormalizeBwd, y) - 16usize];
    ["Offset of field: L2NormalizeBwd::length"][::std::mem::offset_of!(L2NormalizeBwd, length) - 24usize];
    ["Offset of field: L2NormalizeBwd::floor"][::std::mem::offset_of!(L2NormalizeBwd, floor) - 32usize];
    ["Offset of field: L2NormalizeBwd::rows"][::std::mem::offset_of!(L2NormalizeBwd, rows) - 40usize];
    ["Offset of field: L2NormalizeBwd::cols"][::std::mem::offset_of!(L2NormalizeBwd, cols) - 44usize];
    ["Offset of field: L2NormalizeBwd::stride"][::std::mem::offset_of!(L2NormalizeBwd, stride) - 48usize];
    ["Offset of field: L2NormalizeBwd::unused"][::std::mem::offset_of!(L2NormalizeBwd, unused) - 52usize];
};
#[doc = " sum += (gate · grad)^2"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct TaylorAccumulate {
    pub sum: Ptr,
    pub gate: Ptr,
    pub grad: Ptr,
    pub count: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of TaylorAccumulate"][::std::mem::size_of::<TaylorAccumulate>() - 32usize];
    ["Alignment of TaylorAccumulate"][::std::mem::align_of::<TaylorAccumulate>() - 8usize];
    ["Offset of field: TaylorAccumulate::sum"][::std::mem::offset_of!(TaylorAccumulate, sum) - 0usize];
    ["Offset of field: TaylorAccumulate::gate"][::std::mem::offset_of!(TaylorAccumulate, gate) - 8usize];
    ["Offset of field: TaylorAccumulate::grad"][::std::mem::offset_of!(TaylorAccumulate, grad) - 16usize];
    ["Offset of field: TaylorAccumulate::count"][::std::mem::offset_of!(TaylorAccumulate, count) - 24usize];
};
#[doc = " y[b][k] = x[b][first + k] for k < taken, rows of stride elements"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct SliceTokens {
    pub y: Ptr,
    pub x: Ptr,
    pub count: i64,
    pub tokens: i32,
    pub first: i32,
    pub taken: i32,
    pub stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SliceTokens"][::std::mem::size_of::<SliceTokens>() - 40usize];
    ["Alignment of SliceTokens"][::std::mem::align_of::<SliceTokens>() - 8usize];
    ["Offset of field: SliceTokens::y"][::std::mem::offset_of!(SliceTokens, y) - 0usize];
    ["Offset of field: SliceTokens::x"][::std::mem::offset_of!(SliceTokens, x) - 8usize];
    ["Offset of field: SliceTokens::count"][::std::mem::offset_of!(SliceTokens, count) - 16usize];
    ["Offset of field: SliceTokens::tokens"][::std::mem::offset_of!(SliceTokens, tokens) - 24usize];
    ["Offset of field: SliceTokens::first"][::std::mem::offset_of!(SliceTokens, first) - 28usize];
    ["Offset of field: SliceTokens::taken"][::std::mem::offset_of!(SliceTokens, taken) - 32usize];
    ["Offset of field: SliceTokens::stride"][::std::mem::offset_of!(SliceTokens, stride) - 36usize];
};
#[doc = " y[b][first + k] = x[b][k] for k < taken, 0 for other tokens"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct PlaceTokens {
    pub y: Ptr,
    pub x: Ptr,
    pub count: i64,
    pub tokens: i32,
    pub first: i32,
    pub taken: i32,
    pub stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PlaceTokens"][::std::mem::size_of::<PlaceTokens>() - 40usize];
    ["Alignment of PlaceTokens"][::std::mem::align_of::<PlaceTokens>() - 8usize];
    ["Offset of field: PlaceTokens::y"][::std::mem::offset_of!(PlaceTokens, y) - 0usize];
    ["Offset of field: PlaceTokens::x"][::std::mem::offset_of!(PlaceTokens, x) - 8usize];
    ["Offset of field: PlaceTokens::count"][::std::mem::offset_of!(PlaceTokens, count) - 16usize];
    ["Offset of field: PlaceTokens::tokens"][::std::mem::offset_of!(PlaceTokens, tokens) - 24usize];
    ["Offset of field: PlaceTokens::first"][::std::mem::offset_of!(PlaceTokens, first) - 28usize];
    ["Offset of field: PlaceTokens::taken"][::std::mem::offset_of!(PlaceTokens, taken) - 32usize];
    ["Offset of field: PlaceTokens::stride"][::std::mem::offset_of!(PlaceTokens, stride) - 36usize];
};
#[doc = " y[r][c] = sum over k from sources[c] to before sources[c + 1] of x[r][sources[k]]"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct CollectColumns {
    pub y: Ptr,
    pub x: Ptr,
    pub sources: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub x_stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of CollectColumns"][::std::mem::size_of::<CollectColumns>() - 40usize];
    ["Alignment of CollectColumns"][::std::mem::align_of::<CollectColumns>() - 8usize];
    ["Offset of field: CollectColumns::y"][::std::mem::offset_of!(CollectColumns, y) - 0usize];
    ["Offset of field: CollectColumns::x"][::std::mem::offset_of!(CollectColumns, x) - 8usize];
    ["Offset of field: CollectColumns::sources"][::std::mem::offset_of!(CollectColumns, sources) - 16usize];
    ["Offset of field: CollectColumns::rows"][::std::mem::offset_of!(CollectColumns, rows) - 24usize];
    ["Offset of field: CollectColumns::cols"][::std::mem::offset_of!(CollectColumns, cols) - 28usize];
    ["Offset of field: CollectColumns::stride"][::std::mem::offset_of!(CollectColumns, stride) - 32usize];
    ["Offset of field: CollectColumns::x_stride"][::std::mem::offset_of!(CollectColumns, x_stride) - 36usize];
};
#[doc = " y[b] = [first; second; x[b]] + pos, `tokens` rows of stride elements; of the first two the leading `extra` are there"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct EmbedTokens {
    pub y: Ptr,
    pub x: Ptr,
    pub pos: Ptr,
    pub first: Ptr,
    pub second: Ptr,
    pub count: i64,
    pub tokens: i32,
    pub extra: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of EmbedTokens"][::std::mem::size_of::<EmbedTokens>() - 64usize];
    ["Alignment of EmbedTokens"][::std::mem::align_of::<EmbedTokens>() - 8usize];
    ["Offset of field: EmbedTokens::y"][::std::mem::offset_of!(EmbedTokens, y) - 0usize];
    ["Offset of field: EmbedTokens::x"][::std::mem::offset_of!(EmbedTokens, x) - 8usize];
    ["Offset of field: EmbedTokens::pos"][::std::mem::offset_of!(EmbedTokens, pos) - 16usize];
    ["Offset of field: EmbedTokens::first"][::std::mem::offset_of!(EmbedTokens, first) - 24usize];
    ["Offset of field: EmbedTokens::second"][::std::mem::offset_of!(EmbedTokens, second) - 32usize];
    ["Offset of field: EmbedTokens::count"][::std::mem::offset_of!(EmbedTokens, count) - 40usize];
    ["Offset of field: EmbedTokens::tokens"][::std::mem::offset_of!(EmbedTokens, tokens) - 48usize];
    ["Offset of field: EmbedTokens::extra"][::std::mem::offset_of!(EmbedTokens, extra) - 52usize];
    ["Offset of field: EmbedTokens::stride"][::std::mem::offset_of!(EmbedTokens, stride) - 56usize];
    ["Offset of field: EmbedTokens::unused"][::std::mem::offset_of!(EmbedTokens, unused) - 60usize];
};
#[doc = " Windows of kernel x kernel pixels, `step` apart, over maps with `padding` zeros around them: out_height x out_width of each\n map. A row holds a window's elements of the channels of one group: by (row, column, channel) for tokens, whose pixels are\n rows, by (channel, row, column) for images [maps, channels, height, width], which are wide."]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Windows {
    pub images: i32,
    pub height: i32,
    pub width: i32,
    pub out_height: i32,
    pub out_width: i32,
    pub channels: i32,
    pub groups: i32,
    pub kernel: i32,
    pub step: i32,
    pub padding: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Windows"][::std::mem::size_of::<Windows>() - 40usize];
    ["Alignment of Windows"][::std::mem::align_of::<Windows>() - 4usize];
    ["Offset of field: Windows::images"][::std::mem::offset_of!(Windows, images) - 0usize];
    ["Offset of field: Windows::height"][::std::mem::offset_of!(Windows, height) - 4usize];
    ["Offset of field: Windows::width"][::std::mem::offset_of!(Windows, width) - 8usize];
    ["Offset of field: Windows::out_height"][::std::mem::offset_of!(Windows, out_height) - 12usize];
    ["Offset of field: Windows::out_width"][::std::mem::offset_of!(Windows, out_width) - 16usize];
    ["Offset of field: Windows::channels"][::std::mem::offset_of!(Windows, channels) - 20usize];
    ["Offset of field: Windows::groups"][::std::mem::offset_of!(Windows, groups) - 24usize];
    ["Offset of field: Windows::kernel"][::std::mem::offset_of!(Windows, kernel) - 28usize];
    ["Offset of field: Windows::step"][::std::mem::offset_of!(Windows, step) - 32usize];
    ["Offset of field: Windows::padding"][::std::mem::offset_of!(Windows, padding) - 36usize];
};
#[doc = " out[group][window] = the window's row, zeros behind it; `rows` windows of all maps"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Unfold {
    pub out: Ptr,
    pub x: Ptr,
    pub count: i64,
    pub of: Windows,
    pub rows: i32,
    pub stride: i32,
    pub x_stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Unfold"][::std::mem::size_of::<Unfold>() - 80usize];
    ["Alignment of Unfold"][::std::mem::align_of::<Unfold>() - 8usize];
    ["Offset of field: Unfold::out"][::std::mem::offset_of!(Unfold, out) - 0usize];
    ["Offset of field: Unfold::x"][::std::mem::offset_of!(Unfold, x) - 8usize];
    ["Offset of field: Unfold::count"][::std::mem::offset_of!(Unfold, count) - 16usize];
    ["Offset of field: Unfold::of"][::std::mem::offset_of!(Unfold, of) - 24usize];
    ["Offset of field: Unfold::rows"][::std::mem::offset_of!(Unfold, rows) - 64usize];
    ["Offset of field: Unfold::stride"][::std::mem::offset_of!(Unfold, stride) - 68usize];
    ["Offset of field: Unfold::x_stride"][::std::mem::offset_of!(Unfold, x_stride) - 72usize];
    ["Offset of field: Unfold::unused"][::std::mem::offset_of!(Unfold, unused) - 76usize];
};
#[doc = " the reverse: every pixel of out is the sum of what the rows x hold of it; count: elements in memory of out"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct Fold {
    pub out: Ptr,
    pub x: Ptr,
    pub count: i64,
    pub of: Windows,
    pub rows: i32,
    pub stride: i32,
    pub out_stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Fold"][::std::mem::size_of::<Fold>() - 80usize];
    ["Alignment of Fold"][::std::mem::align_of::<Fold>() - 8usize];
    ["Offset of field: Fold::out"][::std::mem::offset_of!(Fold, out) - 0usize];
    ["Offset of field: Fold::x"][::std::mem::offset_of!(Fold, x) - 8usize];
    ["Offset of field: Fold::count"][::std::mem::offset_of!(Fold, count) - 16usize];
    ["Offset of field: Fold::of"][::std::mem::offset_of!(Fold, of) - 24usize];
    ["Offset of field: Fold::rows"][::std::mem::offset_of!(Fold, rows) - 64usize];
    ["Offset of field: Fold::stride"][::std::mem::offset_of!(Fold, stride) - 68usize];
    ["Offset of field: Fold::out_stride"][::std::mem::offset_of!(Fold, out_stride) - 72usize];
    ["Offset of field: Fold::unused"][::std::mem::offset_of!(Fold, unused) - 76usize];
};
#[doc = " out[o] = w[o][channel][pixel] in the order of the rows, zeros behind them"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct PackWeight {
    pub out: Ptr,
    pub w: Ptr,
    pub count: i64,
    pub images: i32,
    pub channels: i32,
    pub area: i32,
    pub stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PackWeight"][::std::mem::size_of::<PackWeight>() - 40usize];
    ["Alignment of PackWeight"][::std::mem::align_of::<PackWeight>() - 8usize];
    ["Offset of field: PackWeight::out"][::std::mem::offset_of!(PackWeight, out) - 0usize];
    ["Offset of field: PackWeight::w"][::std::mem::offset_of!(PackWeight, w) - 8usize];
    ["Offset of field: PackWeight::count"][::std::mem::offset_of!(PackWeight, count) - 16usize];
    ["Offset of field: PackWeight::images"][::std::mem::offset_of!(PackWeight, images) - 24usize];
    ["Offset of field: PackWeight::channels"][::std::mem::offset_of!(PackWeight, channels) - 28usize];
    ["Offset of field: PackWeight::area"][::std::mem::offset_of!(PackWeight, area) - 32usize];
    ["Offset of field: PackWeight::stride"][::std::mem::offset_of!(PackWeight, stride) - 36usize];
};
#[doc = " the reverse: out[o][channel][pixel] (+)= x[o]"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct UnpackWeight {
    pub out: Ptr,
    pub x: Ptr,
    pub count: i64,
    pub images: i32,
    pub channels: i32,
    pub area: i32,
    pub stride: i32,
    pub accumulate: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of UnpackWeight"][::std::mem::size_of::<UnpackWeight>() - 48usize];
    ["Alignment of UnpackWeight"][::std::mem::align_of::<UnpackWeight>() - 8usize];
    ["Offset of field: UnpackWeight::out"][::std::mem::offset_of!(UnpackWeight, out) - 0usize];
    ["Offset of field: UnpackWeight::x"][::std::mem::offset_of!(UnpackWeight, x) - 8usize];
    ["Offset of field: UnpackWeight::count"][::std::mem::offset_of!(UnpackWeight, count) - 16usize];
    ["Offset of field: UnpackWeight::images"][::std::mem::offset_of!(UnpackWeight, images) - 24usize];
    ["Offset of field: UnpackWeight::channels"][::std::mem::offset_of!(UnpackWeight, channels) - 28usize];
    ["Offset of field: UnpackWeight::area"][::std::mem::offset_of!(UnpackWeight, area) - 32usize];
    ["Offset of field: UnpackWeight::stride"][::std::mem::offset_of!(UnpackWeight, stride) - 36usize];
    ["Offset of field: UnpackWeight::accumulate"][::std::mem::offset_of!(UnpackWeight, accumulate) - 40usize];
    ["Offset of field: UnpackWeight::unused"][::std::mem::offset_of!(UnpackWeight, unused) - 44usize];
};
#[doc = " y[window][o] = b[o] + sum over the window's pixels of w[o][pixel] x[pixel][o / (outputs / channels)]; b absent: 0"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct DepthwiseFwd {
    pub y: Ptr,
    pub x: Ptr,
    pub w: Ptr,
    pub b: Ptr,
    pub count: i64,
    pub of: Windows,
    pub outputs: i32,
    pub stride: i32,
    pub x_stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of DepthwiseFwd"][::std::mem::size_of::<DepthwiseFwd>() - 96usize];
    ["Alignment of DepthwiseFwd"][::std::mem::align_of::<DepthwiseFwd>() - 8usize];
    ["Offset of field: DepthwiseFwd::y"][::std::mem::offset_of!(DepthwiseFwd, y) - 0usize];
    ["Offset of field: DepthwiseFwd::x"][::std::mem::offset_of!(DepthwiseFwd, x) - 8usize];
    ["Offset of field: DepthwiseFwd::w"][::std::mem::offset_of!(DepthwiseFwd, w) - 16usize];
    ["Offset of field: DepthwiseFwd::b"][::std::mem::offset_of!(DepthwiseFwd, b) - 24usize];
    ["Offset of field: DepthwiseFwd::count"][::std::mem::offset_of!(DepthwiseFwd, count) - 32usize];
    ["Offset of field: DepthwiseFwd::of"][::std::mem::offset_of!(DepthwiseFwd, of) - 40usize];
    ["Offset of field: DepthwiseFwd::outputs"][::std::mem::offset_of!(DepthwiseFwd, outputs) - 80usize];
    ["Offset of field: DepthwiseFwd::stride"][::std::mem::offset_of!(DepthwiseFwd, stride) - 84usize];
    ["Offset of field: DepthwiseFwd::x_stride"][::std::mem::offset_of!(DepthwiseFwd, x_stride) - 88usize];
    ["Offset of field: DepthwiseFwd::unused"][::std::mem::offset_of!(DepthwiseFwd, unused) - 92usize];
};
#[doc = " dx[pixel][c] = sum over the windows that hold the pixel and the outputs o of c of w[o][pixel] dy[window][o]"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct DepthwiseBwd {
    pub dx: Ptr,
    pub dy: Ptr,
    pub w: Ptr,
    pub count: i64,
    pub of: Windows,
    pub outputs: i32,
    pub stride: i32,
    pub x_stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of DepthwiseBwd"][::std::mem::size_of::<DepthwiseBwd>() - 88usize];
    ["Alignment of DepthwiseBwd"][::std::mem::align_of::<DepthwiseBwd>() - 8usize];
    ["Offset of field: DepthwiseBwd::dx"][::std::mem::offset_of!(DepthwiseBwd, dx) - 0usize];
    ["Offset of field: DepthwiseBwd::dy"][::std::mem::offset_of!(DepthwiseBwd, dy) - 8usize];
    ["Offset of field: DepthwiseBwd::w"][::std::mem::offset_of!(DepthwiseBwd, w) - 16usize];
    ["Offset of field: DepthwiseBwd::count"][::std::mem::offset_of!(DepthwiseBwd, count) - 24usize];
    ["Offset of field: DepthwiseBwd::of"][::std::mem::offset_of!(DepthwiseBwd, of) - 32usize];
    ["Offset of field: DepthwiseBwd::outputs"][::std::mem::offset_of!(DepthwiseBwd, outputs) - 72usize];
    ["Offset of field: DepthwiseBwd::stride"][::std::mem::offset_of!(DepthwiseBwd, stride) - 76usize];
    ["Offset of field: DepthwiseBwd::x_stride"][::std::mem::offset_of!(DepthwiseBwd, x_stride) - 80usize];
    ["Offset of field: DepthwiseBwd::unused"][::std::mem::offset_of!(DepthwiseBwd, unused) - 84usize];
};
#[doc = " partials of dw[o][pixel] = sum over windows of dy[window][o] x[pixel][c]; rows: windows, cols: elements of the weight"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct DepthwiseColumns {
    pub partials: Ptr,
    pub dy: Ptr,
    pub x: Ptr,
    pub of: Windows,
    pub outputs: i32,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub x_stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of DepthwiseColumns"][::std::mem::size_of::<DepthwiseColumns>() - 88usize];
    ["Alignment of DepthwiseColumns"][::std::mem::align_of::<DepthwiseColumns>() - 8usize];
    ["Offset of field: DepthwiseColumns::partials"][::std::mem::offset_of!(DepthwiseColumns, partials) - 0usize];
    ["Offset of field: DepthwiseColumns::dy"][::std::mem::offset_of!(DepthwiseColumns, dy) - 8usize];
    ["Offset of field: DepthwiseColumns::x"][::std::mem::offset_of!(DepthwiseColumns, x) - 16usize];
    ["Offset of field: DepthwiseColumns::of"][::std::mem::offset_of!(DepthwiseColumns, of) - 24usize];
    ["Offset of field: DepthwiseColumns::outputs"][::std::mem::offset_of!(DepthwiseColumns, outputs) - 64usize];
    ["Offset of field: DepthwiseColumns::rows"][::std::mem::offset_of!(DepthwiseColumns, rows) - 68usize];
    ["Offset of field: DepthwiseColumns::cols"][::std::mem::offset_of!(DepthwiseColumns, cols) - 72usize];
    ["Offset of field: DepthwiseColumns::stride"][::std::mem::offset_of!(DepthwiseColumns, stride) - 76usize];
    ["Offset of field: DepthwiseColumns::x_stride"][::std::mem::offset_of!(DepthwiseColumns, x_stride) - 80usize];
    ["Offset of field: DepthwiseColumns::unused"][::std::mem::offset_of!(DepthwiseColumns, unused) - 84usize];
};
#[doc = " y = f(x + b), b by column, absent: 0; y may be x. The functions by number: 0 x, 1 GELU, 2 ReLU, 3 SiLU, 4 sigmoid"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct ActivationFwd {
    pub y: Ptr,
    pub x: Ptr,
    pub b: Ptr,
    pub count: i64,
    pub stride: i32,
    pub cols: i32,
    pub function: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ActivationFwd"][::std::mem::size_of::<ActivationFwd>() - 48usize];
    ["Alignment of ActivationFwd"][::std::mem::align_of::<ActivationFwd>() - 8usize];
    ["Offset of field: ActivationFwd::y"][::std::mem::offset_of!(ActivationFwd, y) - 0usize];
    ["Offset of field: ActivationFwd::x"][::std::mem::offset_of!(ActivationFwd, x) - 8usize];
    ["Offset of field: ActivationFwd::b"][::std::mem::offset_of!(ActivationFwd, b) - 16usize];
    ["Offset of field: ActivationFwd::count"][::std::mem::offset_of!(ActivationFwd, count) - 24usize];
    ["Offset of field: ActivationFwd::stride"][::std::mem::offset_of!(ActivationFwd, stride) - 32usize];
    ["Offset of field: ActivationFwd::cols"][::std::mem::offset_of!(ActivationFwd, cols) - 36usize];
    ["Offset of field: ActivationFwd::function"][::std::mem::offset_of!(ActivationFwd, function) - 40usize];
    ["Offset of field: ActivationFwd::unused"][::std::mem::offset_of!(ActivationFwd, unused) - 44usize];
};
#[doc = " dx = dy f'(x + b)"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct ActivationBwd {
    pub dx: Ptr,
    pub dy: Ptr,
    pub x: Ptr,
    pub b: Ptr,
    pub count: i64,
    pub stride: i32,
    pub function: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ActivationBwd"][::std::mem::size_of::<ActivationBwd>() - 48usize];
    ["Alignment of ActivationBwd"][::std::mem::align_of::<ActivationBwd>() - 8usize];
    ["Offset of field: ActivationBwd::dx"][::std::mem::offset_of!(ActivationBwd, dx) - 0usize];
    ["Offset of field: ActivationBwd::dy"][::std::mem::offset_of!(ActivationBwd, dy) - 8usize];
    ["Offset of field: ActivationBwd::x"][::std::mem::offset_of!(ActivationBwd, x) - 16usize];
    ["Offset of field: ActivationBwd::b"][::std::mem::offset_of!(ActivationBwd, b) - 24usize];
    ["Offset of field: ActivationBwd::count"][::std::mem::offset_of!(ActivationBwd, count) - 32usize];
    ["Offset of field: ActivationBwd::stride"][::std::mem::offset_of!(ActivationBwd, stride) - 40usize];
    ["Offset of field: ActivationBwd::function"][::std::mem::offset_of!(ActivationBwd, function) - 44usize];
};
#[doc = " partials of sum over rows of (x - mean)^2"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct BatchnormSquares {
    pub partials: Ptr,
    pub x: Ptr,
    pub mean: Ptr,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of BatchnormSquares"][::std::mem::size_of::<BatchnormSquares>() - 40usize];
    ["Alignment of BatchnormSquares"][::std::mem::align_of::<BatchnormSquares>() - 8usize];
    ["Offset of field: BatchnormSquares::partials"][::std::mem::offset_of!(BatchnormSquares, partials) - 0usize];
    ["Offset of field: BatchnormSquares::x"][::std::mem::offset_of!(BatchnormSquares, x) - 8usize];
    ["Offset of field: BatchnormSquares::mean"][::std::mem::offset_of!(BatchnormSquares, mean) - 16usize];
    ["Offset of field: BatchnormSquares::rows"][::std::mem::offset_of!(BatchnormSquares, rows) - 24usize];
    ["Offset of field: BatchnormSquares::cols"][::std::mem::offset_of!(BatchnormSquares, cols) - 28usize];
    ["Offset of field: BatchnormSquares::stride"][::std::mem::offset_of!(BatchnormSquares, stride) - 32usize];
    ["Offset of field: BatchnormSquares::unused"][::std::mem::offset_of!(BatchnormSquares, unused) - 36usize];
};
#[doc = " y = f(n gamma + beta) with n = (x - mean) / sqrt(var + eps), all by column, zeros behind the rows; y may be x"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct BatchnormFwd {
    pub y: Ptr,
    pub x: Ptr,
    pub mean: Ptr,
    pub var: Ptr,
    pub gamma: Ptr,
    pub beta: Ptr,
    pub eps: f64,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub function: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of BatchnormFwd"][::std::mem::size_of::<BatchnormFwd>() - 72usize];
    ["Alignment of BatchnormFwd"][::std::mem::align_of::<BatchnormFwd>() - 8usize];
    ["Offset of field: BatchnormFwd::y"][::std::mem::offset_of!(BatchnormFwd, y) - 0usize];
    ["Offset of field: BatchnormFwd::x"][::std::mem::offset_of!(BatchnormFwd, x) - 8usize];
    ["Offset of field: BatchnormFwd::mean"][::std::mem::offset_of!(BatchnormFwd, mean) - 16usize];
    ["Offset of field: BatchnormFwd::var"][::std::mem::offset_of!(BatchnormFwd, var) - 24usize];
    ["Offset of field: BatchnormFwd::gamma"][::std::mem::offset_of!(BatchnormFwd, gamma) - 32usize];
    ["Offset of field: BatchnormFwd::beta"][::std::mem::offset_of!(BatchnormFwd, beta) - 40usize];
    ["Offset of field: BatchnormFwd::eps"][::std::mem::offset_of!(BatchnormFwd, eps) - 48usize];
    ["Offset of field: BatchnormFwd::rows"][::std::mem::offset_of!(BatchnormFwd, rows) - 56usize];
    ["Offset of field: BatchnormFwd::cols"][::std::mem::offset_of!(BatchnormFwd, cols) - 60usize];
    ["Offset of field: BatchnormFwd::stride"][::std::mem::offset_of!(BatchnormFwd, stride) - 64usize];
    ["Offset of field: BatchnormFwd::function"][::std::mem::offset_of!(BatchnormFwd, function) - 68usize];
};
#[doc = " partials of dbeta = sum over rows of dz and dgamma = sum over rows of dz n, with dz = dy f'(n gamma + beta)"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct BatchnormColumns {
    pub partials: Ptr,
    pub dy: Ptr,
    pub x: Ptr,
    pub mean: Ptr,
    pub var: Ptr,
    pub gamma: Ptr,
    pub beta: Ptr,
    pub eps: f64,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub function: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of BatchnormColumns"][::std::mem::size_of::<BatchnormColumns>() - 80usize];
    ["Alignment of BatchnormColumns"][::std::mem::align_of::<BatchnormColumns>() - 8usize];
    ["Offset of field: BatchnormColumns::partials"][::std::mem::offset_of!(BatchnormColumns, partials) - 0usize];
    ["Offset of field: BatchnormColumns::dy"][::std::mem::offset_of!(BatchnormColumns, dy) - 8usize];
    ["Offset of field: BatchnormColumns::x"][::std::mem::offset_of!(BatchnormColumns, x) - 16usize];
    ["Offset of field: BatchnormColumns::mean"][::std::mem::offset_of!(BatchnormColumns, mean) - 24usize];
    ["Offset of field: BatchnormColumns::var"][::std::mem::offset_of!(BatchnormColumns, var) - 32usize];
    ["Offset of field: BatchnormColumns::gamma"][::std::mem::offset_of!(BatchnormColumns, gamma) - 40usize];
    ["Offset of field: BatchnormColumns::beta"][::std::mem::offset_of!(BatchnormColumns, beta) - 48usize];
    ["Offset of field: BatchnormColumns::eps"][::std::mem::offset_of!(BatchnormColumns, eps) - 56usize];
    ["Offset of field: BatchnormColumns::rows"][::std::mem::offset_of!(BatchnormColumns, rows) - 64usize];
    ["Offset of field: BatchnormColumns::cols"][::std::mem::offset_of!(BatchnormColumns, cols) - 68usize];
    ["Offset of field: BatchnormColumns::stride"][::std::mem::offset_of!(BatchnormColumns, stride) - 72usize];
    ["Offset of field: BatchnormColumns::function"][::std::mem::offset_of!(BatchnormColumns, function) - 76usize];
};
#[doc = " dx = gamma / sqrt(var + eps) (dz - dbeta / rows - n dgamma / rows); dbeta and dgamma absent: dz alone"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct BatchnormBwd {
    pub dx: Ptr,
    pub dy: Ptr,
    pub x: Ptr,
    pub mean: Ptr,
    pub var: Ptr,
    pub gamma: Ptr,
    pub beta: Ptr,
    pub dbeta: Ptr,
    pub dgamma: Ptr,
    pub eps: f64,
    pub per_row: f64,
    pub rows: i32,
    pub cols: i32,
    pub stride: i32,
    pub function: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of BatchnormBwd"][::std::mem::size_of::<BatchnormBwd>() - 104usize];
    ["Alignment of BatchnormBwd"][::std::mem::align_of::<BatchnormBwd>() - 8usize];
    ["Offset of field: BatchnormBwd::dx"][::std::mem::offset_of!(BatchnormBwd, dx) - 0usize];
    ["Offset of field: BatchnormBwd::dy"][::std::mem::offset_of!(BatchnormBwd, dy) - 8usize];
    ["Offset of field: BatchnormBwd::x"][::std::mem::offset_of!(BatchnormBwd, x) - 16usize];
    ["Offset of field: BatchnormBwd::mean"][::std::mem::offset_of!(BatchnormBwd, mean) - 24usize];
    ["Offset of field: BatchnormBwd::var"][::std::mem::offset_of!(BatchnormBwd, var) - 32usize];
    ["Offset of field: BatchnormBwd::gamma"][::std::mem::offset_of!(BatchnormBwd, gamma) - 40usize];
    ["Offset of field: BatchnormBwd::beta"][::std::mem::offset_of!(BatchnormBwd, beta) - 48usize];
    ["Offset of field: BatchnormBwd::dbeta"][::std::mem::offset_of!(BatchnormBwd, dbeta) - 56usize];
    ["Offset of field: BatchnormBwd::dgamma"][::std::mem::offset_of!(BatchnormBwd, dgamma) - 64usize];
    ["Offset of field: BatchnormBwd::eps"][::std::mem::offset_of!(BatchnormBwd, eps) - 72usize];
    ["Offset of field: BatchnormBwd::per_row"][::std::mem::offset_of!(BatchnormBwd, per_row) - 80usize];
    ["Offset of field: BatchnormBwd::rows"][::std::mem::offset_of!(BatchnormBwd, rows) - 88usize];
    ["Offset of field: BatchnormBwd::cols"][::std::mem::offset_of!(BatchnormBwd, cols) - 92usize];
    ["Offset of field: BatchnormBwd::stride"][::std::mem::offset_of!(BatchnormBwd, stride) - 96usize];
    ["Offset of field: BatchnormBwd::function"][::std::mem::offset_of!(BatchnormBwd, function) - 100usize];
};
#[doc = " running[c] += momentum (batch[c] - running[c]) for mean and variance; counter[0] += 1; nothing where the step that stands at\n `state`, if given, is refused: its grad_scale is not finite"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct BatchnormUpdate {
    pub mean: Ptr,
    pub var: Ptr,
    pub counter: Ptr,
    pub batch_mean: Ptr,
    pub batch_var: Ptr,
    pub state: Ptr,
    pub momentum: f64,
    pub count: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of BatchnormUpdate"][::std::mem::size_of::<BatchnormUpdate>() - 64usize];
    ["Alignment of BatchnormUpdate"][::std::mem::align_of::<BatchnormUpdate>() - 8usize];
    ["Offset of field: BatchnormUpdate::mean"][::std::mem::offset_of!(BatchnormUpdate, mean) - 0usize];
    ["Offset of field: BatchnormUpdate::var"][::std::mem::offset_of!(BatchnormUpdate, var) - 8usize];
    ["Offset of field: BatchnormUpdate::counter"][::std::mem::offset_of!(BatchnormUpdate, counter) - 16usize];
    ["Offset of field: BatchnormUpdate::batch_mean"][::std::mem::offset_of!(BatchnormUpdate, batch_mean) - 24usize];
    ["Offset of field: BatchnormUpdate::batch_var"][::std::mem::offset_of!(BatchnormUpdate, batch_var) - 32usize];
    ["Offset of field: BatchnormUpdate::state"][::std::mem::offset_of!(BatchnormUpdate, state) - 40usize];
    ["Offset of field: BatchnormUpdate::momentum"][::std::mem::offset_of!(BatchnormUpdate, momentum) - 48usize];
    ["Offset of field: BatchnormUpdate::count"][::std::mem::offset_of!(BatchnormUpdate, count) - 56usize];
    ["Offset of field: BatchnormUpdate::unused"][::std::mem::offset_of!(BatchnormUpdate, unused) - 60usize];
};
#[doc = " y[b][c] = max over the tokens of x[b][., c], NaN when there is one"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct MaxTokensFwd {
    pub y: Ptr,
    pub x: Ptr,
    pub count: i64,
    pub tokens: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MaxTokensFwd"][::std::mem::size_of::<MaxTokensFwd>() - 40usize];
    ["Alignment of MaxTokensFwd"][::std::mem::align_of::<MaxTokensFwd>() - 8usize];
    ["Offset of field: MaxTokensFwd::y"][::std::mem::offset_of!(MaxTokensFwd, y) - 0usize];
    ["Offset of field: MaxTokensFwd::x"][::std::mem::offset_of!(MaxTokensFwd, x) - 8usize];
    ["Offset of field: MaxTokensFwd::count"][::std::mem::offset_of!(MaxTokensFwd, count) - 16usize];
    ["Offset of field: MaxTokensFwd::tokens"][::std::mem::offset_of!(MaxTokensFwd, tokens) - 24usize];
    ["Offset of field: MaxTokensFwd::cols"][::std::mem::offset_of!(MaxTokensFwd, cols) - 28usize];
    ["Offset of field: MaxTokensFwd::stride"][::std::mem::offset_of!(MaxTokensFwd, stride) - 32usize];
    ["Offset of field: MaxTokensFwd::unused"][::std::mem::offset_of!(MaxTokensFwd, unused) - 36usize];
};
#[doc = " dx = dy at the first of the largest tokens, 0 at the others"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct MaxTokensBwd {
    pub dx: Ptr,
    pub dy: Ptr,
    pub x: Ptr,
    pub count: i64,
    pub tokens: i32,
    pub cols: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MaxTokensBwd"][::std::mem::size_of::<MaxTokensBwd>() - 48usize];
    ["Alignment of MaxTokensBwd"][::std::mem::align_of::<MaxTokensBwd>() - 8usize];
    ["Offset of field: MaxTokensBwd::dx"][::std::mem::offset_of!(MaxTokensBwd, dx) - 0usize];
    ["Offset of field: MaxTokensBwd::dy"][::std::mem::offset_of!(MaxTokensBwd, dy) - 8usize];
    ["Offset of field: MaxTokensBwd::x"][::std::mem::offset_of!(MaxTokensBwd, x) - 16usize];
    ["Offset of field: MaxTokensBwd::count"][::std::mem::offset_of!(MaxTokensBwd, count) - 24usize];
    ["Offset of field: MaxTokensBwd::tokens"][::std::mem::offset_of!(MaxTokensBwd, tokens) - 32usize];
    ["Offset of field: MaxTokensBwd::cols"][::std::mem::offset_of!(MaxTokensBwd, cols) - 36usize];
    ["Offset of field: MaxTokensBwd::stride"][::std::mem::offset_of!(MaxTokensBwd, stride) - 40usize];
    ["Offset of field: MaxTokensBwd::unused"][::std::mem::offset_of!(MaxTokensBwd, unused) - 44usize];
};
#[doc = " y[b][token] = x[b][token], of image B - 1 - b where the token, on a grid `across` wide, lies in rows top to before bottom and\n columns left to before right"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct MixTokens {
    pub y: Ptr,
    pub x: Ptr,
    pub count: i64,
    pub images: i32,
    pub tokens: i32,
    pub across: i32,
    pub top: i32,
    pub bottom: i32,
    pub left: i32,
    pub right: i32,
    pub stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MixTokens"][::std::mem::size_of::<MixTokens>() - 56usize];
    ["Alignment of MixTokens"][::std::mem::align_of::<MixTokens>() - 8usize];
    ["Offset of field: MixTokens::y"][::std::mem::offset_of!(MixTokens, y) - 0usize];
    ["Offset of field: MixTokens::x"][::std::mem::offset_of!(MixTokens, x) - 8usize];
    ["Offset of field: MixTokens::count"][::std::mem::offset_of!(MixTokens, count) - 16usize];
    ["Offset of field: MixTokens::images"][::std::mem::offset_of!(MixTokens, images) - 24usize];
    ["Offset of field: MixTokens::tokens"][::std::mem::offset_of!(MixTokens, tokens) - 28usize];
    ["Offset of field: MixTokens::across"][::std::mem::offset_of!(MixTokens, across) - 32usize];
    ["Offset of field: MixTokens::top"][::std::mem::offset_of!(MixTokens, top) - 36usize];
    ["Offset of field: MixTokens::bottom"][::std::mem::offset_of!(MixTokens, bottom) - 40usize];
    ["Offset of field: MixTokens::left"][::std::mem::offset_of!(MixTokens, left) - 44usize];
    ["Offset of field: MixTokens::right"][::std::mem::offset_of!(MixTokens, right) - 48usize];
    ["Offset of field: MixTokens::stride"][::std::mem::offset_of!(MixTokens, stride) - 52usize];
};
#[doc = " y = softmax(scale q kT) v of every head over the keys whose mask is not 0; stats = row maximum, 1 / sum. Each of\n y, map (the probabilities) and stats may be absent. `rows`: queries of a block, 32, 16 or 8; `scores`, then 8: memory\n for the scores of long rows, 8 rows for every block; absent: they fit in shared memory"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct AttentionFwd {
    pub y: Ptr,
    pub map: Ptr,
    pub stats: Ptr,
    pub scores: Ptr,
    pub qkv: Ptr,
    pub mask: Ptr,
    pub scale: f64,
    pub tokens: i32,
    pub heads: i32,
    pub head_dim: i32,
    pub stride: i32,
    pub y_stride: i32,
    pub mask_stride: i32,
    pub rows: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionFwd"][::std::mem::size_of::<AttentionFwd>() - 88usize];
    ["Alignment of AttentionFwd"][::std::mem::align_of::<AttentionFwd>() - 8usize];
    ["Offset of field: AttentionFwd::y"][::std::mem::offset_of!(AttentionFwd, y) - 0usize];
    ["Offset of field: AttentionFwd::map"][::std::mem::offset_of!(AttentionFwd, map) - 8usize];
    ["Offset of field: AttentionFwd::stats"][::std::mem::offset_of!(AttentionFwd, stats) - 16usize];
    ["Offset of field: AttentionFwd::scores"][::std::mem::offset_of!(AttentionFwd, scores) - 24usize];
    ["Offset of field: AttentionFwd::qkv"][::std::mem::offset_of!(AttentionFwd, qkv) - 32usize];
    ["Offset of field: AttentionFwd::mask"][::std::mem::offset_of!(AttentionFwd, mask) - 40usize];
    ["Offset of field: AttentionFwd::scale"][::std::mem::offset_of!(AttentionFwd, scale) - 48usize];
    ["Offset of field: AttentionFwd::tokens"][::std::mem::offset_of!(AttentionFwd, tokens) - 56usize];
    ["Offset of field: AttentionFwd::heads"][::std::mem::offset_of!(AttentionFwd, heads) - 60usize];
    ["Offset of field: AttentionFwd::head_dim"][::std::mem::offset_of!(AttentionFwd, head_dim) - 64usize];
    ["Offset of field: AttentionFwd::stride"][::std::mem::offset_of!(AttentionFwd, stride) - 68usize];
    ["Offset of field: AttentionFwd::y_stride"][::std::mem::offset_of!(AttentionFwd, y_stride) - 72usize];
    ["Offset of field: AttentionFwd::mask_stride"][::std::mem::offset_of!(AttentionFwd, mask_stride) - 76usize];
    ["Offset of field: AttentionFwd::rows"][::std::mem::offset_of!(AttentionFwd, rows) - 80usize];
    ["Offset of field: AttentionFwd::unused"][::std::mem::offset_of!(AttentionFwd, unused) - 84usize];
};
#[doc = " dq = scale ds k with ds = p (dy vT - delta); delta = <dy, y> of every query and head, written"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct AttentionBwdQ {
    pub dqkv: Ptr,
    pub delta: Ptr,
    pub dy: Ptr,
    pub y: Ptr,
    pub qkv: Ptr,
    pub mask: Ptr,
    pub stats: Ptr,
    pub scale: f64,
    pub tokens: i32,
    pub heads: i32,
    pub head_dim: i32,
    pub stride: i32,
    pub y_stride: i32,
    pub mask_stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionBwdQ"][::std::mem::size_of::<AttentionBwdQ>() - 88usize];
    ["Alignment of AttentionBwdQ"][::std::mem::align_of::<AttentionBwdQ>() - 8usize];
    ["Offset of field: AttentionBwdQ::dqkv"][::std::mem::offset_of!(AttentionBwdQ, dqkv) - 0usize];
    ["Offset of field: AttentionBwdQ::delta"][::std::mem::offset_of!(AttentionBwdQ, delta) - 8usize];
    ["Offset of field: AttentionBwdQ::dy"][::std::mem::offset_of!(AttentionBwdQ, dy) - 16usize];
    ["Offset of field: AttentionBwdQ::y"][::std::mem::offset_of!(AttentionBwdQ, y) - 24usize];
    ["Offset of field: AttentionBwdQ::qkv"][::std::mem::offset_of!(AttentionBwdQ, qkv) - 32usize];
    ["Offset of field: AttentionBwdQ::mask"][::std::mem::offset_of!(AttentionBwdQ, mask) - 40usize];
    ["Offset of field: AttentionBwdQ::stats"][::std::mem::offset_of!(AttentionBwdQ, stats) - 48usize];
    ["Offset of field: AttentionBwdQ::scale"][::std::mem::offset_of!(AttentionBwdQ, scale) - 56usize];
    ["Offset of field: AttentionBwdQ::tokens"][::std::mem::offset_of!(AttentionBwdQ, tokens) - 64usize];
    ["Offset of field: AttentionBwdQ::heads"][::std::mem::offset_of!(AttentionBwdQ, heads) - 68usize];
    ["Offset of field: AttentionBwdQ::head_dim"][::std::mem::offset_of!(AttentionBwdQ, head_dim) - 72usize];
    ["Offset of field: AttentionBwdQ::stride"][::std::mem::offset_of!(AttentionBwdQ, stride) - 76usize];
    ["Offset of field: AttentionBwdQ::y_stride"][::std::mem::offset_of!(AttentionBwdQ, y_stride) - 80usize];
    ["Offset of field: AttentionBwdQ::mask_stride"][::std::mem::offset_of!(AttentionBwdQ, mask_stride) - 84usize];
};
#[doc = " dk = scale dsT q, dv = pT dy"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct AttentionBwdKv {
    pub dqkv: Ptr,
    pub delta: Ptr,
    pub dy: Ptr,
    pub qkv: Ptr,
    pub mask: Ptr,
    pub stats: Ptr,
    pub scale: f64,
    pub tokens: i32,
    pub heads: i32,
    pub head_dim: i32,
    pub stride: i32,
    pub y_stride: i32,
    pub mask_stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionBwdKv"][::std::mem::size_of::<AttentionBwdKv>() - 80usize];
    ["Alignment of AttentionBwdKv"][::std::mem::align_of::<AttentionBwdKv>() - 8usize];
    ["Offset of field: AttentionBwdKv::dqkv"][::std::mem::offset_of!(AttentionBwdKv, dqkv) - 0usize];
    ["Offset of field: AttentionBwdKv::delta"][::std::mem::offset_of!(AttentionBwdKv, delta) - 8usize];
    ["Offset of field: AttentionBwdKv::dy"][::std::mem::offset_of!(AttentionBwdKv, dy) - 16usize];
    ["Offset of field: AttentionBwdKv::qkv"][::std::mem::offset_of!(AttentionBwdKv, qkv) - 24usize];
    ["Offset of field: AttentionBwdKv::mask"][::std::mem::offset_of!(AttentionBwdKv, mask) - 32usize];
    ["Offset of field: AttentionBwdKv::stats"][::std::mem::offset_of!(AttentionBwdKv, stats) - 40usize];
    ["Offset of field: AttentionBwdKv::scale"][::std::mem::offset_of!(AttentionBwdKv, scale) - 48usize];
    ["Offset of field: AttentionBwdKv::tokens"][::std::mem::offset_of!(AttentionBwdKv, tokens) - 56usize];
    ["Offset of field: AttentionBwdKv::heads"][::std::mem::offset_of!(AttentionBwdKv, heads) - 60usize];
    ["Offset of field: AttentionBwdKv::head_dim"][::std::mem::offset_of!(AttentionBwdKv, head_dim) - 64usize];
    ["Offset of field: AttentionBwdKv::stride"][::std::mem::offset_of!(AttentionBwdKv, stride) - 68usize];
    ["Offset of field: AttentionBwdKv::y_stride"][::std::mem::offset_of!(AttentionBwdKv, y_stride) - 72usize];
    ["Offset of field: AttentionBwdKv::mask_stride"][::std::mem::offset_of!(AttentionBwdKv, mask_stride) - 76usize];
};
#[doc = " y as above; lse[query] = log2 of the sum of 2^(scale log2(e) q kT), inf without a living key; absent: not wanted.\n `stage`: rows of a head that lie in shared memory at a time, a multiple of 32 unless all of them do"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct AttentionMmaFwd {
    pub y: Ptr,
    pub lse: Ptr,
    pub qkv: Ptr,
    pub mask: Ptr,
    pub scale: f64,
    pub tokens: i32,
    pub heads: i32,
    pub head_dim: i32,
    pub stride: i32,
    pub y_stride: i32,
    pub mask_stride: i32,
    pub stage: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionMmaFwd"][::std::mem::size_of::<AttentionMmaFwd>() - 72usize];
    ["Alignment of AttentionMmaFwd"][::std::mem::align_of::<AttentionMmaFwd>() - 8usize];
    ["Offset of field: AttentionMmaFwd::y"][::std::mem::offset_of!(AttentionMmaFwd, y) - 0usize];
    ["Offset of field: AttentionMmaFwd::lse"][::std::mem::offset_of!(AttentionMmaFwd, lse) - 8usize];
    ["Offset of field: AttentionMmaFwd::qkv"][::std::mem::offset_of!(AttentionMmaFwd, qkv) - 16usize];
    ["Offset of field: AttentionMmaFwd::mask"][::std::mem::offset_of!(AttentionMmaFwd, mask) - 24usize];
    ["Offset of field: AttentionMmaFwd::scale"][::std::mem::offset_of!(AttentionMmaFwd, scale) - 32usize];
    ["Offset of field: AttentionMmaFwd::tokens"][::std::mem::offset_of!(AttentionMmaFwd, tokens) - 40usize];
    ["Offset of field: AttentionMmaFwd::heads"][::std::mem::offset_of!(AttentionMmaFwd, heads) - 44usize];
    ["Offset of field: AttentionMmaFwd::head_dim"][::std::mem::offset_of!(AttentionMmaFwd, head_dim) - 48usize];
    ["Offset of field: AttentionMmaFwd::stride"][::std::mem::offset_of!(AttentionMmaFwd, stride) - 52usize];
    ["Offset of field: AttentionMmaFwd::y_stride"][::std::mem::offset_of!(AttentionMmaFwd, y_stride) - 56usize];
    ["Offset of field: AttentionMmaFwd::mask_stride"][::std::mem::offset_of!(AttentionMmaFwd, mask_stride) - 60usize];
    ["Offset of field: AttentionMmaFwd::stage"][::std::mem::offset_of!(AttentionMmaFwd, stage) - 64usize];
    ["Offset of field: AttentionMmaFwd::unused"][::std::mem::offset_of!(AttentionMmaFwd, unused) - 68usize];
};
#[doc = " dq, dk, dv of every head by two blocks of the grid's x"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct AttentionMmaBwd {
    pub dqkv: Ptr,
    pub dy: Ptr,
    pub y: Ptr,
    pub qkv: Ptr,
    pub mask: Ptr,
    pub lse: Ptr,
    pub scale: f64,
    pub tokens: i32,
    pub heads: i32,
    pub head_dim: i32,
    pub stride: i32,
    pub y_stride: i32,
    pub mask_stride: i32,
    pub stage: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionMmaBwd"][::std::mem::size_of::<AttentionMmaBwd>() - 88usize];
    ["Alignment of AttentionMmaBwd"][::std::mem::align_of::<AttentionMmaBwd>() - 8usize];
    ["Offset of field: AttentionMmaBwd::dqkv"][::std::mem::offset_of!(AttentionMmaBwd, dqkv) - 0usize];
    ["Offset of field: AttentionMmaBwd::dy"][::std::mem::offset_of!(AttentionMmaBwd, dy) - 8usize];
    ["Offset of field: AttentionMmaBwd::y"][::std::mem::offset_of!(AttentionMmaBwd, y) - 16usize];
    ["Offset of field: AttentionMmaBwd::qkv"][::std::mem::offset_of!(AttentionMmaBwd, qkv) - 24usize];
    ["Offset of field: AttentionMmaBwd::mask"][::std::mem::offset_of!(AttentionMmaBwd, mask) - 32usize];
    ["Offset of field: AttentionMmaBwd::lse"][::std::mem::offset_of!(AttentionMmaBwd, lse) - 40usize];
    ["Offset of field: AttentionMmaBwd::scale"][::std::mem::offset_of!(AttentionMmaBwd, scale) - 48usize];
    ["Offset of field: AttentionMmaBwd::tokens"][::std::mem::offset_of!(AttentionMmaBwd, tokens) - 56usize];
    ["Offset of field: AttentionMmaBwd::heads"][::std::mem::offset_of!(AttentionMmaBwd, heads) - 60usize];
    ["Offset of field: AttentionMmaBwd::head_dim"][::std::mem::offset_of!(AttentionMmaBwd, head_dim) - 64usize];
    ["Offset of field: AttentionMmaBwd::stride"][::std::mem::offset_of!(AttentionMmaBwd, stride) - 68usize];
    ["Offset of field: AttentionMmaBwd::y_stride"][::std::mem::offset_of!(AttentionMmaBwd, y_stride) - 72usize];
    ["Offset of field: AttentionMmaBwd::mask_stride"][::std::mem::offset_of!(AttentionMmaBwd, mask_stride) - 76usize];
    ["Offset of field: AttentionMmaBwd::stage"][::std::mem::offset_of!(AttentionMmaBwd, stage) - 80usize];
    ["Offset of field: AttentionMmaBwd::unused"][::std::mem::offset_of!(AttentionMmaBwd, unused) - 84usize];
};
#[doc = " y = softmax(scale q kT + bias + mask) v of every head of every window; the rest as in attention.cu, by window"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct WindowAttentionFwd {
    pub y: Ptr,
    pub stats: Ptr,
    pub scores: Ptr,
    pub qkv: Ptr,
    pub table: Ptr,
    pub scale: f64,
    pub tokens: i32,
    pub heads: i32,
    pub head_dim: i32,
    pub stride: i32,
    pub y_stride: i32,
    pub table_stride: i32,
    pub height: i32,
    pub width: i32,
    pub window: i32,
    pub shift: i32,
    pub rows: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of WindowAttentionFwd"][::std::mem::size_of::<WindowAttentionFwd>() - 96usize];
    ["Alignment of WindowAttentionFwd"][::std::mem::align_of::<WindowAttentionFwd>() - 8usize];
    ["Offset of field: WindowAttentionFwd::y"][::std::mem::offset_of!(WindowAttentionFwd, y) - 0usize];
    ["Offset of field: WindowAttentionFwd::stats"][::std::mem::offset_of!(WindowAttentionFwd, stats) - 8usize];
    ["Offset of field: WindowAttentionFwd::scores"][::std::mem::offset_of!(WindowAttentionFwd, scores) - 16usize];
    ["Offset of field: WindowAttentionFwd::qkv"][::std::mem::offset_of!(WindowAttentionFwd, qkv) - 24usize];
    ["Offset of field: WindowAttentionFwd::table"][::std::mem::offset_of!(WindowAttentionFwd, table) - 32usize];
    ["Offset of field: WindowAttentionFwd::scale"][::std::mem::offset_of!(WindowAttentionFwd, scale) - 40usize];
    ["Offset of field: WindowAttentionFwd::tokens"][::std::mem::offset_of!(WindowAttentionFwd, tokens) - 48usize];
    ["Offset of field: WindowAttentionFwd::heads"][::std::mem::offset_of!(WindowAttentionFwd, heads) - 52usize];
    ["Offset of field: WindowAttentionFwd::head_dim"][::std::mem::offset_of!(WindowAttentionFwd, head_dim) - 56usize];
    ["Offset of field: WindowAttentionFwd::stride"][::std::mem::offset_of!(WindowAttentionFwd, stride) - 60usize];
    ["Offset of field: WindowAttentionFwd::y_stride"][::std::mem::offset_of!(WindowAttentionFwd, y_stride) - 64usize];
    ["Offset of field: WindowAttentionFwd::table_stride"]
        [::std::mem::offset_of!(WindowAttentionFwd, table_stride) - 68usize];
    ["Offset of field: WindowAttentionFwd::height"][::std::mem::offset_of!(WindowAttentionFwd, height) - 72usize];
    ["Offset of field: WindowAttentionFwd::width"][::std::mem::offset_of!(WindowAttentionFwd, width) - 76usize];
    ["Offset of field: WindowAttentionFwd::window"][::std::mem::offset_of!(WindowAttentionFwd, window) - 80usize];
    ["Offset of field: WindowAttentionFwd::shift"][::std::mem::offset_of!(WindowAttentionFwd, shift) - 84usize];
    ["Offset of field: WindowAttentionFwd::rows"][::std::mem::offset_of!(WindowAttentionFwd, rows) - 88usize];
    ["Offset of field: WindowAttentionFwd::unused"][::std::mem::offset_of!(WindowAttentionFwd, unused) - 92usize];
};
#[doc = " delta = sum over the keys of p (dy vT) of every query and head, written"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct WindowAttentionBwdQ {
    pub dqkv: Ptr,
    pub delta: Ptr,
    pub dy: Ptr,
    pub qkv: Ptr,
    pub table: Ptr,
    pub stats: Ptr,
    pub scale: f64,
    pub tokens: i32,
    pub heads: i32,
    pub head_dim: i32,
    pub stride: i32,
    pub y_stride: i32,
    pub table_stride: i32,
    pub height: i32,
    pub width: i32,
    pub window: i32,
    pub shift: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of WindowAttentionBwdQ"][::std::mem::size_of::<WindowAttentionBwdQ>() - 96usize];
    ["Alignment of WindowAttentionBwdQ"][::std::mem::align_of::<WindowAttentionBwdQ>() - 8usize];
    ["Offset of field: WindowAttentionBwdQ::dqkv"][::std::mem::offset_of!(WindowAttentionBwdQ, dqkv) - 0usize];
    ["Offset of field: WindowAttentionBwdQ::delta"][::std::mem::offset_of!(WindowAttentionBwdQ, delta) - 8usize];
    ["Offset of field: WindowAttentionBwdQ::dy"][::std::mem::offset_of!(WindowAttentionBwdQ, dy) - 16usize];
    ["Offset of field: WindowAttentionBwdQ::qkv"][::std::mem::offset_of!(WindowAttentionBwdQ, qkv) - 24usize];
    ["Offset of field: WindowAttentionBwdQ::table"][::std::mem::offset_of!(WindowAttentionBwdQ, table) - 32usize];
    ["Offset of field: WindowAttentionBwdQ::stats"][::std::mem::offset_of!(WindowAttentionBwdQ, stats) - 40usize];
    ["Offset of field: WindowAttentionBwdQ::scale"][::std::mem::offset_of!(WindowAttentionBwdQ, scale) - 48usize];
    ["Offset of field: WindowAttentionBwdQ::tokens"][::std::mem::offset_of!(WindowAttentionBwdQ, tokens) - 56usize];
    ["Offset of field: WindowAttentionBwdQ::heads"][::std::mem::offset_of!(WindowAttentionBwdQ, heads) - 60usize];
    ["Offset of field: WindowAttentionBwdQ::head_dim"][::std::mem::offset_of!(WindowAttentionBwdQ, head_dim) - 64usize];
    ["Offset of field: WindowAttentionBwdQ::stride"][::std::mem::offset_of!(WindowAttentionBwdQ, stride) - 68usize];
    ["Offset of field: WindowAttentionBwdQ::y_stride"][::std::mem::offset_of!(WindowAttentionBwdQ, y_stride) - 72usize];
    ["Offset of field: WindowAttentionBwdQ::table_stride"]
        [::std::mem::offset_of!(WindowAttentionBwdQ, table_stride) - 76usize];
    ["Offset of field: WindowAttentionBwdQ::height"][::std::mem::offset_of!(WindowAttentionBwdQ, height) - 80usize];
    ["Offset of field: WindowAttentionBwdQ::width"][::std::mem::offset_of!(WindowAttentionBwdQ, width) - 84usize];
    ["Offset of field: WindowAttentionBwdQ::window"][::std::mem::offset_of!(WindowAttentionBwdQ, window) - 88usize];
    ["Offset of field: WindowAttentionBwdQ::shift"][::std::mem::offset_of!(WindowAttentionBwdQ, shift) - 92usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct WindowAttentionBwdKv {
    pub dqkv: Ptr,
    pub delta: Ptr,
    pub dy: Ptr,
    pub qkv: Ptr,
    pub table: Ptr,
    pub stats: Ptr,
    pub scale: f64,
    pub tokens: i32,
    pub heads: i32,
    pub head_dim: i32,
    pub stride: i32,
    pub y_stride: i32,
    pub table_stride: i32,
    pub height: i32,
    pub width: i32,
    pub window: i32,
    pub shift: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of WindowAttentionBwdKv"][::std::mem::size_of::<WindowAttentionBwdKv>() - 96usize];
    ["Alignment of WindowAttentionBwdKv"][::std::mem::align_of::<WindowAttentionBwdKv>() - 8usize];
    ["Offset of field: WindowAttentionBwdKv::dqkv"][::std::mem::offset_of!(WindowAttentionBwdKv, dqkv) - 0usize];
    ["Offset of field: WindowAttentionBwdKv::delta"][::std::mem::offset_of!(WindowAttentionBwdKv, delta) - 8usize];
    ["Offset of field: WindowAttentionBwdKv::dy"][::std::mem::offset_of!(WindowAttentionBwdKv, dy) - 16usize];
    ["Offset of field: WindowAttentionBwdKv::qkv"][::std::mem::offset_of!(WindowAttentionBwdKv, qkv) - 24usize];
    ["Offset of field: WindowAttentionBwdKv::table"][::std::mem::offset_of!(WindowAttentionBwdKv, table) - 32usize];
    ["Offset of field: WindowAttentionBwdKv::stats"][::std::mem::offset_of!(WindowAttentionBwdKv, stats) - 40usize];
    ["Offset of field: WindowAttentionBwdKv::scale"][::std::mem::offset_of!(WindowAttentionBwdKv, scale) - 48usize];
    ["Offset of field: WindowAttentionBwdKv::tokens"][::std::mem::offset_of!(WindowAttentionBwdKv, tokens) - 56usize];
    ["Offset of field: WindowAttentionBwdKv::heads"][::std::mem::offset_of!(WindowAttentionBwdKv, heads) - 60usize];
    ["Offset of field: WindowAttentionBwdKv::head_dim"]
        [::std::mem::offset_of!(WindowAttentionBwdKv, head_dim) - 64usize];
    ["Offset of field: WindowAttentionBwdKv::stride"][::std::mem::offset_of!(WindowAttentionBwdKv, stride) - 68usize];
    ["Offset of field: WindowAttentionBwdKv::y_stride"]
        [::std::mem::offset_of!(WindowAttentionBwdKv, y_stride) - 72usize];
    ["Offset of field: WindowAttentionBwdKv::table_stride"]
        [::std::mem::offset_of!(WindowAttentionBwdKv, table_stride) - 76usize];
    ["Offset of field: WindowAttentionBwdKv::height"][::std::mem::offset_of!(WindowAttentionBwdKv, height) - 80usize];
    ["Offset of field: WindowAttentionBwdKv::width"][::std::mem::offset_of!(WindowAttentionBwdKv, width) - 84usize];
    ["Offset of field: WindowAttentionBwdKv::window"][::std::mem::offset_of!(WindowAttentionBwdKv, window) - 88usize];
    ["Offset of field: WindowAttentionBwdKv::shift"][::std::mem::offset_of!(WindowAttentionBwdKv, shift) - 92usize];
};
#[doc = " partials[k][head, query, key] = sum of ds over the k-th CHUNK_WINDOWS windows of the batch, of which there are `windows`"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct WindowAttentionBwdBias {
    pub partials: Ptr,
    pub delta: Ptr,
    pub dy: Ptr,
    pub qkv: Ptr,
    pub table: Ptr,
    pub stats: Ptr,
    pub scale: f64,
    pub tokens: i32,
    pub heads: i32,
    pub head_dim: i32,
    pub stride: i32,
    pub y_stride: i32,
    pub table_stride: i32,
    pub height: i32,
    pub width: i32,
    pub window: i32,
    pub shift: i32,
    pub windows: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of WindowAttentionBwdBias"][::std::mem::size_of::<WindowAttentionBwdBias>() - 104usize];
    ["Alignment of WindowAttentionBwdBias"][::std::mem::align_of::<WindowAttentionBwdBias>() - 8usize];
    ["Offset of field: WindowAttentionBwdBias::partials"]
        [::std::mem::offset_of!(WindowAttentionBwdBias, partials) - 0usize];
    ["Offset of field: WindowAttentionBwdBias::delta"][::std::mem::offset_of!(WindowAttentionBwdBias, delta) - 8usize];
    ["Offset of field: WindowAttentionBwdBias::dy"][::std::mem::offset_of!(WindowAttentionBwdBias, dy) - 16usize];
    ["Offset of field: WindowAttentionBwdBias::qkv"][::std::mem::offset_of!(WindowAttentionBwdBias, qkv) - 24usize];
    ["Offset of field: WindowAttentionBwdBias::table"][::std::mem::offset_of!(WindowAttentionBwdBias, table) - 32usize];
    ["Offset of field: WindowAttentionBwdBias::stats"][::std::mem::offset_of!(WindowAttentionBwdBias, stats) - 40usize];
    ["Offset of field: WindowAttentionBwdBias::scale"][::std::mem::offset_of!(WindowAttentionBwdBias, scale) - 48usize];
    ["Offset of field: WindowAttentionBwdBias::tokens"]
        [::std::mem::offset_of!(WindowAttentionBwdBias, tokens) - 56usize];
    ["Offset of field: WindowAttentionBwdBias::heads"][::std::mem::offset_of!(WindowAttentionBwdBias, heads) - 60usize];
    ["Offset of field: WindowAttentionBwdBias::head_dim"]
        [::std::mem::offset_of!(WindowAttentionBwdBias, head_dim) - 64usize];
    ["Offset of field: WindowAttentionBwdBias::stride"]
        [::std::mem::offset_of!(WindowAttentionBwdBias, stride) - 68usize];
    ["Offset of field: WindowAttentionBwdBias::y_stride"]
        [::std::mem::offset_of!(WindowAttentionBwdBias, y_stride) - 72usize];
    ["Offset of field: WindowAttentionBwdBias::table_stride"]
        [::std::mem::offset_of!(WindowAttentionBwdBias, table_stride) - 76usize];
    ["Offset of field: WindowAttentionBwdBias::height"]
        [::std::mem::offset_of!(WindowAttentionBwdBias, height) - 80usize];
    ["Offset of field: WindowAttentionBwdBias::width"][::std::mem::offset_of!(WindowAttentionBwdBias, width) - 84usize];
    ["Offset of field: WindowAttentionBwdBias::window"]
        [::std::mem::offset_of!(WindowAttentionBwdBias, window) - 88usize];
    ["Offset of field: WindowAttentionBwdBias::shift"][::std::mem::offset_of!(WindowAttentionBwdBias, shift) - 92usize];
    ["Offset of field: WindowAttentionBwdBias::windows"]
        [::std::mem::offset_of!(WindowAttentionBwdBias, windows) - 96usize];
    ["Offset of field: WindowAttentionBwdBias::unused"]
        [::std::mem::offset_of!(WindowAttentionBwdBias, unused) - 100usize];
};
#[doc = " out[entry][head] (+)= sum of sums[head, query, key] over the pairs of that entry of the table"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct WindowAttentionTable {
    pub out: Ptr,
    pub sums: Ptr,
    pub heads: i32,
    pub stride: i32,
    pub window: i32,
    pub accumulate: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of WindowAttentionTable"][::std::mem::size_of::<WindowAttentionTable>() - 32usize];
    ["Alignment of WindowAttentionTable"][::std::mem::align_of::<WindowAttentionTable>() - 8usize];
    ["Offset of field: WindowAttentionTable::out"][::std::mem::offset_of!(WindowAttentionTable, out) - 0usize];
    ["Offset of field: WindowAttentionTable::sums"][::std::mem::offset_of!(WindowAttentionTable, sums) - 8usize];
    ["Offset of field: WindowAttentionTable::heads"][::std::mem::offset_of!(WindowAttentionTable, heads) - 16usize];
    ["Offset of field: WindowAttentionTable::stride"][::std::mem::offset_of!(WindowAttentionTable, stride) - 20usize];
    ["Offset of field: WindowAttentionTable::window"][::std::mem::offset_of!(WindowAttentionTable, window) - 24usize];
    ["Offset of field: WindowAttentionTable::accumulate"]
        [::std::mem::offset_of!(WindowAttentionTable, accumulate) - 28usize];
};
#[doc = " y[h][w] = x[2h][2w], x[2h + 1][2w], x[2h][2w + 1], x[2h + 1][2w + 1] side by side"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct PatchMergeFwd {
    pub y: Ptr,
    pub x: Ptr,
    pub count: i64,
    pub width: i32,
    pub cols: i32,
    pub stride: i32,
    pub x_stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PatchMergeFwd"][::std::mem::size_of::<PatchMergeFwd>() - 40usize];
    ["Alignment of PatchMergeFwd"][::std::mem::align_of::<PatchMergeFwd>() - 8usize];
    ["Offset of field: PatchMergeFwd::y"][::std::mem::offset_of!(PatchMergeFwd, y) - 0usize];
    ["Offset of field: PatchMergeFwd::x"][::std::mem::offset_of!(PatchMergeFwd, x) - 8usize];
    ["Offset of field: PatchMergeFwd::count"][::std::mem::offset_of!(PatchMergeFwd, count) - 16usize];
    ["Offset of field: PatchMergeFwd::width"][::std::mem::offset_of!(PatchMergeFwd, width) - 24usize];
    ["Offset of field: PatchMergeFwd::cols"][::std::mem::offset_of!(PatchMergeFwd, cols) - 28usize];
    ["Offset of field: PatchMergeFwd::stride"][::std::mem::offset_of!(PatchMergeFwd, stride) - 32usize];
    ["Offset of field: PatchMergeFwd::x_stride"][::std::mem::offset_of!(PatchMergeFwd, x_stride) - 36usize];
};
#[doc = " the reverse: every row of dx from its part of a row of dy"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct PatchMergeBwd {
    pub dx: Ptr,
    pub dy: Ptr,
    pub count: i64,
    pub width: i32,
    pub cols: i32,
    pub stride: i32,
    pub dy_stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PatchMergeBwd"][::std::mem::size_of::<PatchMergeBwd>() - 40usize];
    ["Alignment of PatchMergeBwd"][::std::mem::align_of::<PatchMergeBwd>() - 8usize];
    ["Offset of field: PatchMergeBwd::dx"][::std::mem::offset_of!(PatchMergeBwd, dx) - 0usize];
    ["Offset of field: PatchMergeBwd::dy"][::std::mem::offset_of!(PatchMergeBwd, dy) - 8usize];
    ["Offset of field: PatchMergeBwd::count"][::std::mem::offset_of!(PatchMergeBwd, count) - 16usize];
    ["Offset of field: PatchMergeBwd::width"][::std::mem::offset_of!(PatchMergeBwd, width) - 24usize];
    ["Offset of field: PatchMergeBwd::cols"][::std::mem::offset_of!(PatchMergeBwd, cols) - 28usize];
    ["Offset of field: PatchMergeBwd::stride"][::std::mem::offset_of!(PatchMergeBwd, stride) - 32usize];
    ["Offset of field: PatchMergeBwd::dy_stride"][::std::mem::offset_of!(PatchMergeBwd, dy_stride) - 36usize];
};
#[doc = " y[b][c] = mean over the tokens of x[b]"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct MeanTokensFwd {
    pub y: Ptr,
    pub x: Ptr,
    pub images: i32,
    pub tokens: i32,
    pub stride: i32,
    pub unused: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MeanTokensFwd"][::std::mem::size_of::<MeanTokensFwd>() - 32usize];
    ["Alignment of MeanTokensFwd"][::std::mem::align_of::<MeanTokensFwd>() - 8usize];
    ["Offset of field: MeanTokensFwd::y"][::std::mem::offset_of!(MeanTokensFwd, y) - 0usize];
    ["Offset of field: MeanTokensFwd::x"][::std::mem::offset_of!(MeanTokensFwd, x) - 8usize];
    ["Offset of field: MeanTokensFwd::images"][::std::mem::offset_of!(MeanTokensFwd, images) - 16usize];
    ["Offset of field: MeanTokensFwd::tokens"][::std::mem::offset_of!(MeanTokensFwd, tokens) - 20usize];
    ["Offset of field: MeanTokensFwd::stride"][::std::mem::offset_of!(MeanTokensFwd, stride) - 24usize];
    ["Offset of field: MeanTokensFwd::unused"][::std::mem::offset_of!(MeanTokensFwd, unused) - 28usize];
};
#[doc = " dx[b][n][c] = dy[b][c] / tokens"]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable, cust_core::DeviceCopy)]
pub struct MeanTokensBwd {
    pub dx: Ptr,
    pub dy: Ptr,
    pub count: i64,
    pub tokens: i32,
    pub stride: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MeanTokensBwd"][::std::mem::size_of::<MeanTokensBwd>() - 32usize];
    ["Alignment of MeanTokensBwd"][::std::mem::align_of::<MeanTokensBwd>() - 8usize];
    ["Offset of field: MeanTokensBwd::dx"][::std::mem::offset_of!(MeanTokensBwd, dx) - 0usize];
    ["Offset of field: MeanTokensBwd::dy"][::std::mem::offset_of!(MeanTokensBwd, dy) - 8usize];
    ["Offset of field: MeanTokensBwd::count"][::std::mem::offset_of!(MeanTokensBwd, count) - 16usize];
    ["Offset of field: MeanTokensBwd::tokens"][::std::mem::offset_of!(MeanTokensBwd, tokens) - 24usize];
    ["Offset of field: MeanTokensBwd::stride"][::std::mem::offset_of!(MeanTokensBwd, stride) - 28usize];
};
kernel_args!(Fill, "fill");
kernel_args!(Accumulate, "accumulate");
kernel_args!(Repitch, "repitch");
kernel_args!(Widen, "widen");
kernel_args!(NarrowTensor, "narrow_tensor");
kernel_args!(Narrow, "narrow");
kernel_args!(SumColumns, "sum_columns");
kernel_args!(AddPartials, "add_partials");
kernel_args!(Total, "total");
kernel_args!(AddScaled, "add_scaled");
kernel_args!(Scale, "scale");
kernel_args!(Adamw, "adamw");
kernel_args!(SquareSums, "square_sums");
kernel_args!(ClipScale, "clip_scale");
kernel_args!(LossSeed, "loss_seed");
kernel_args!(DropPath, "drop_path");
kernel_args!(SoftmaxFwd, "softmax_fwd");
kernel_args!(SoftmaxBwd, "softmax_bwd");
kernel_args!(LogSoftmaxFwd, "log_softmax_fwd");
kernel_args!(LogSoftmaxBwd, "log_softmax_bwd");
kernel_args!(GeluFwd, "gelu_fwd");
kernel_args!(GeluBwd, "gelu_bwd");
kernel_args!(GeluGate, "gelu_gate");
kernel_args!(Gate, "gate");
kernel_args!(AddBias, "add_bias");
kernel_args!(GateColumns, "gate_columns");
kernel_args!(GateUnits, "gate_units");
kernel_args!(GateSamples, "gate_samples");
kernel_args!(GateSamplesBwd, "gate_samples_bwd");
kernel_args!(LayernormFwd, "layernorm_fwd");
kernel_args!(LayernormBwd, "layernorm_bwd");
kernel_args!(LayernormColumns, "layernorm_columns");
kernel_args!(CrossEntropyFwd, "cross_entropy_fwd");
kernel_args!(CrossEntropyBwd, "cross_entropy_bwd");
kernel_args!(HardTarget, "hard_target");
kernel_args!(KdFwd, "kd_fwd");
kernel_args!(MseFwd, "mse_fwd");
kernel_args!(BceFwd, "bce_fwd");
kernel_args!(DotPartials, "dot_partials");
kernel_args!(L2NormalizeFwd, "l2_normalize_fwd");
kernel_args!(L2NormalizeBwd, "l2_normalize_bwd");
kernel_args!(TaylorAccumulate, "taylor_accumulate");
kernel_args!(SliceTokens, "slice_tokens");
kernel_args!(PlaceTokens, "place_tokens");
kernel_args!(CollectColumns, "collect_columns");
kernel_args!(EmbedTokens, "embed_tokens");
kernel_args!(Windows, "windows");
kernel_args!(Unfold, "unfold");
kernel_args!(Fold, "fold");
kernel_args!(PackWeight, "pack_weight");
kernel_args!(UnpackWeight, "unpack_weight");
kernel_args!(DepthwiseFwd, "depthwise_fwd");
kernel_args!(DepthwiseBwd, "depthwise_bwd");
kernel_args!(DepthwiseColumns, "depthwise_columns");
kernel_args!(ActivationFwd, "activation_fwd");
kernel_args!(ActivationBwd, "activation_bwd");
kernel_args!(BatchnormSquares, "batchnorm_squares");
kernel_args!(BatchnormFwd, "batchnorm_fwd");
kernel_args!(BatchnormColumns, "batchnorm_columns");
kernel_args!(BatchnormBwd, "batchnorm_bwd");
kernel_args!(BatchnormUpdate, "batchnorm_update");
kernel_args!(MaxTokensFwd, "max_tokens_fwd");
kernel_args!(MaxTokensBwd, "max_tokens_bwd");
kernel_args!(MixTokens, "mix_tokens");
kernel_args!(AttentionFwd, "attention_fwd");
kernel_args!(AttentionBwdQ, "attention_bwd_q");
kernel_args!(AttentionBwdKv, "attention_bwd_kv");
kernel_args!(AttentionMmaFwd, "attention_mma_fwd");
kernel_args!(AttentionMmaBwd, "attention_mma_bwd");
kernel_args!(WindowAttentionFwd, "window_attention_fwd");
kernel_args!(WindowAttentionBwdQ, "window_attention_bwd_q");
kernel_args!(WindowAttentionBwdKv, "window_attention_bwd_kv");
kernel_args!(WindowAttentionBwdBias, "window_attention_bwd_bias");
kernel_args!(WindowAttentionTable, "window_attention_table");
kernel_args!(PatchMergeFwd, "patch_merge_fwd");
kernel_args!(PatchMergeBwd, "patch_merge_bwd");
kernel_args!(MeanTokensFwd, "mean_tokens_fwd");
kernel_args!(MeanTokensBwd, "mean_tokens_bwd");
