//! Convolution of feature maps, as matrix products on rows that hold a window each.
//!
//! `y[b, (i, j), o] = bias[o] + sum over c, u, v of w[o, c, u, v] x[b, c, i s + u - p, j s + v - p]`, zeros outside of the map, `o`
//! reading the channels of its group only. `x` is tokens `[B, H · W, C]` or images `[B, C, H, W]`, `w [O, C / groups, k, k]`,
//! `y [B, H' · W', O]` with `H' = (H + 2 p - k) / s + 1`. Gradients: `dw = dyᵀ rows`, `dx` the rows `dy w` put back and added,
//! `db = sum over rows of dy`. Rows exist for some maps at a time, on the CPU forward for a few windows.

use super::prelude::*;
use super::{add_bias, depthwise::depthwise, linear};
use crate::cpu::{Windows, gemm_of};
use crate::gpu::{Epilogue, Matrix};

const OP: &str = "conv2d";

/// How the windows of a convolution lie on its maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the equation stands at the top of the file")]
pub struct Conv2d {
    /// Height and width of the maps.
    pub size: [usize; 2],
    pub stride: usize,
    pub padding: usize,
    pub groups: usize,
}

impl Conv2d {
    /// One group, no padding, windows side by side, for maps of `size`.
    pub fn patches(size: [usize; 2], kernel: usize) -> Self {
        Self { size, stride: kernel, padding: 0, groups: 1 }
    }

    /// Height and width of the result for a kernel of `kernel × kernel` that fits.
    pub fn out(&self, kernel: usize) -> [usize; 2] {
        self.size.map(|side| (side + 2 * self.padding).saturating_sub(kernel) / self.stride.max(1) + 1)
    }

    /// The windows of `w`'s kernel on the maps `x`; an error when they do not fit.
    fn windows(&self, x: &Var, w: &Var) -> Result<Windows> {
        let (xs, ws, [height, width]) = (*x.shape(), *w.shape(), self.size);
        let images = xs.len() == 4;
        let channels = xs.get(if images { 1 } else { 2 }).copied().unwrap_or(0);
        let fits = if images { xs[2..] == [height, width] } else { xs.len() == 3 && xs[1] == height * width };
        Error::ensure_shape(
            fits,
            OP,
            format_args!("maps [B, {height} · {width}, C] or [B, C, {height}, {width}]"),
            xs,
        )?;
        let fits = ws.len() == 4 && ws[2] == ws[3] && self.groups > 0 && channels > 0;
        let fits = fits && ws[0].is_multiple_of(self.groups) && ws[1] * self.groups == channels;
        Error::ensure_shape(fits, OP, format_args!("a weight [O, {channels} / {}, k, k]", self.groups), ws)?;
        let (kernel, stride, padding) = (ws[2], self.stride, self.padding);
        let fits = kernel > 0 && stride > 0 && self.size.iter().all(|side| side + 2 * padding >= kernel);
        Error::ensure_shape(
            fits,
            OP,
            format_args!("a kernel within {:?} and padding {padding}", self.size),
            (kernel, stride),
        )?;
        let (found, expected) = (x.dtype(), if images { w.dtype().wide() } else { w.dtype() });
        Error::ensure_shape(found == expected, OP, format_args!("maps of {expected:?}"), found)?;
        x.tensor().check_device(OP, w.tensor())?;
        let (groups, size, out) = (self.groups, self.size, self.out(kernel));
        Ok(Windows { images, channels, groups, size, out, kernel, stride, padding })
    }
}

/// The convolution of the maps `x` with `w` and the bias `b [O]`, both of the type of the result.
pub fn conv2d(x: &Var, w: &Var, b: Option<&Var>, conv: Conv2d) -> Result<Var> {
    let at = conv.windows(x, w)?;
    let (batch, outputs) = (x.shape()[0], w.shape()[0]);
    expect(OP, "bias", b, &[outputs], w.tensor())?;
    if at.kernel == 1 && (at.stride, at.padding, at.groups, at.images) == (1, 0, 1, false) {
        return linear(x, &w.reshape([outputs, at.channels])?, b);
    }
    if at.width() == 1 && !at.images {
        return depthwise(x, w, b, at);
    }
    let packed = pack(w.tensor(), at)?;
    let y = forward(x.tensor(), &packed, b.map(Var::tensor), at, [batch, at.count(), outputs])?;
    let xt = x.tensor().clone();
    Ok(record_one(OP, &[x.handle(), w.handle(), Handle::of(b)], y, move |back, dy| {
        back.add_wanted(0, || maps_gradient(&dy, &packed, at, xt.new_empty(xt.shape())?))?;
        back.slot(1, |dw, accumulate| unpack(&weight_gradient(&dy, &xt, at, dw.dtype())?, at, dw, accumulate))?;
        back.slot(2, |db, accumulate| sum_rows(&dy, db, accumulate))
    }))
}

/// Maps of a batch, some at a time: as many as there is memory for their rows.
fn pieces(maps: &Tensor, at: Windows) -> impl Iterator<Item = [usize; 2]> + use<> {
    let elements = if maps.gpu().is_some() { 1 << 26 } else { 1 << 22 };
    let (batch, map) = (maps.dim(0), at.count() * at.inner() * at.groups);
    let each = (elements / map.max(1)).max(1);
    (0..batch).step_by(each).map(move |first| [first, batch.min(first + each)])
}

fn forward(x: &Tensor, packed: &Tensor, b: Option<&Tensor>, at: Windows, shape: [usize; 3]) -> Result<Tensor> {
    let mut y = Tensor::empty_on(x.device(), shape, packed.dtype())?;
    let Some(gpu) = x.gpu() else {
        float_dispatch!(OP, x.dtype(), T => {
            if let Some(b) = b {
                let b = b.slice::<T>()?;
                cpu::each_row::<T>(&mut y, b.len(), #[inline(always)] |_, y| y.copy_from_slice(b))?;
            }
            let (maps, weight) = (x.slice::<T>()?, groups_of::<T>(packed)?);
            let rows = shape[0] * shape[1];
            let right: Vec<Mat<T>> = weight.into_iter().map(Mat::t).collect();
            gemm_of(rows, &right, b.is_some(), y.slice_mut()?, |group, index, row| at.gather(maps, group, index, row));
            Ok(())
        })?;
        return Ok(y);
    };
    let epilogue = b.filter(|_| at.groups == 1).map_or(Ok(Epilogue::None), |b| b.address().map(Epilogue::Bias))?;
    for [first, last] in pieces(x, at) {
        let rows = unfold(&x.rows(first, last)?, at, packed.dtype())?;
        let part = Matrix::out(&mut y)?.rows_from(first * at.count(), (last - first) * at.count());
        let (rows, weight) = (Matrix::batch(&rows)?, Matrix::batch(packed)?.t());
        gpu.gemm(at.groups, 1.0, rows, weight, 0.0, part.side_by_side(at.groups), epilogue)?;
    }
    match b.filter(|_| at.groups > 1) {
        Some(b) => {
            let b = b.to_dtype(y.dtype().wide())?;
            Ok(add_bias(&Var::constant(y), &Var::constant(b))?.into_tensor())
        }
        None => Ok(y),
    }
}

/// The gradient of the maps, written to `dx`.
fn maps_gradient(dy: &Tensor, packed: &Tensor, at: Windows, mut dx: Tensor) -> Result<Tensor> {
    let outputs = dy.dim(2);
    for [first, last] in pieces(dy, at) {
        let count = (last - first) * at.count();
        let mut rows = dy.new_empty([at.groups, count, at.inner()])?;
        let dy = dy.rows(first, last)?;
        if let Some(gpu) = dy.gpu() {
            let (left, right) = (Matrix::of(&dy)?.side_by_side(at.groups), Matrix::batch(packed)?);
            gpu.gemm(at.groups, 1.0, left, right, 0.0, Matrix::batch_out(&mut rows)?, Epilogue::None)?;
        } else {
            float_dispatch!(OP, dy.dtype(), T => {
                let (dy, own) = (Mat::<T>::of(&dy)?, outputs / at.groups);
                let parts = rows.slice_mut::<T>()?.chunks_mut((count * at.inner()).max(1));
                for (group, (weight, rows)) in groups_of::<T>(packed)?.into_iter().zip(parts).enumerate() {
                    gemm(T::of(1.0), dy.part(0, count, group * own, own), weight, T::of(0.0), rows, at.inner());
                }
                Ok(())
            })?;
        }
        fold(&rows, at, first, &mut dx)?;
    }
    Ok(dx)
}

/// The gradient of the packed weight, of `dtype`.
fn weight_gradient(dy: &Tensor, x: &Tensor, at: Windows, dtype: DType) -> Result<Tensor> {
    let own = dy.dim(2) / at.groups;
    let mut dw = Tensor::empty_on(dy.device(), [at.groups, own, at.inner()], dtype)?;
    if dy.dim(0) == 0 {
        return dw.new_full(dw.shape(), 0.0);
    }
    for [first, last] in pieces(x, at) {
        let (beta, count) = (f64::from(u8::from(first > 0)), (last - first) * at.count());
        let (rows, dy) = (unfold(&x.rows(first, last)?, at, dy.dtype())?, dy.rows(first, last)?);
        if let Some(gpu) = dy.gpu() {
            let (left, right) = (Matrix::of(&dy)?.side_by_side(at.groups).t(), Matrix::batch(&rows)?);
            gpu.gemm(at.groups, 1.0, left, right, beta, Matrix::batch_out(&mut dw)?, Epilogue::None)?;
            continue;
        }
        float_dispatch!(OP, dy.dtype(), T => {
            let (dy, parts) = (Mat::<T>::of(&dy)?, dw.slice_mut::<T>()?.chunks_mut((own * at.inner()).max(1)));
            for (group, (rows, dw)) in groups_of::<T>(&rows)?.into_iter().zip(parts).enumerate() {
                gemm(T::of(1.0), dy.part(0, count, group * own, own).t(), rows, T::of(beta), dw, at.inner());
            }
            Ok(())
        })?;
    }
    Ok(dw)
}

/// `[groups, rows, inner]` in main memory as a matrix for each group.
fn groups_of<T: Float>(t: &Tensor) -> Result<Vec<Mat<'_, T>>> {
    let ([groups, rows, inner], data) = ([0, 1, 2].map(|axis| t.dim(axis)), t.slice::<T>()?);
    Ok((0..groups).map(|group| Mat::new(&data[group * rows * inner..][..rows * inner], rows, inner)).collect())
}

/// A window's geometry as kernels take it.
pub(super) fn on_device(at: Windows) -> Result<params::Windows> {
    let [height, width, out_height, out_width] = gpu::sizes([at.size[0], at.size[1], at.out[0], at.out[1]])?;
    let [channels, groups, kernel, step, padding] =
        gpu::sizes([at.channels, at.groups, at.kernel, at.stride, at.padding])?;
    let images = at.images.into();
    Ok(params::Windows { images, height, width, out_height, out_width, channels, groups, kernel, step, padding })
}

/// The rows `[groups, windows, inner]` of the maps `x`, as `dtype`.
pub(super) fn unfold(x: &Tensor, at: Windows, dtype: DType) -> Result<Tensor> {
    let count = x.dim(0) * at.count();
    let mut rows = Tensor::uncleared_on(x.device(), [at.groups, count, at.inner()], dtype)?;
    if let Some(gpu) = x.gpu() {
        let (of, elements) = (on_device(at)?, rows.stored_numel());
        let [count, stride, x_stride] = gpu::sizes([count, rows.stored_width(), x.stored_width()])?;
        let (out, x, unused) = (rows.address_mut()?, x.address()?, 0);
        let args = params::Unfold { out, x, count: elements as i64, of, rows: count, stride, x_stride, unused };
        return gpu.launch(dtype, Grid::vecs(elements, dtype), &args).map(|()| rows);
    }
    float_dispatch!(OP, dtype, T => {
        let maps = x.slice::<T>()?;
        cpu::each_row::<T>(&mut rows, at.inner(), #[inline(always)] |r, row| at.gather(maps, r / count, r % count, row))
    })?;
    Ok(rows)
}

/// Adds up the rows of maps from map `first` on, into their place in `dx`.
pub(super) fn fold(rows: &Tensor, at: Windows, first: usize, dx: &mut Tensor) -> Result<()> {
    let (maps, batch) = (rows.dim(1) / at.count(), dx.dim(0));
    if let Some(gpu) = rows.gpu() {
        let map = dx.stored_numel() / batch.max(1);
        let (of, count, size) = (on_device(at)?, map * maps, dx.dtype().size());
        let [windows, stride, out_stride] = gpu::sizes([rows.dim(1), rows.stored_width(), dx.stored_width()])?;
        let (out, x, unused) = (dx.address_mut()? + (first * map * size) as u64, rows.address()?, 0);
        let args = params::Fold { out, x, count: count as i64, of, rows: windows, stride, out_stride, unused };
        return gpu.launch(rows.dtype(), Grid::elements(count), &args);
    }
    float_dispatch!(OP, rows.dtype(), T => {
        let line = if at.images { at.size[0] * at.size[1] } else { at.channels };
        let part = &mut dx.slice_mut::<T>()?[first * at.map_len()..][..maps * at.map_len()];
        let rows = rows.slice::<T>()?;
        cpu::rows_mut(part, line, #[inline(always)] |start, lines| {
            lines.chunks_mut(line).enumerate().for_each(|(k, line)| at.fold(rows, start + k, line));
        });
        Ok(())
    })
}

/// `[O, C / groups, k, k] -> [groups, O / groups, inner]`, an output's elements in the order of the rows.
fn pack(w: &Tensor, at: Windows) -> Result<Tensor> {
    let shape = [at.groups, w.dim(0) / at.groups, at.inner()];
    let Some(gpu) = w.gpu() else {
        let mut packed = Tensor::empty(shape, w.dtype());
        float_dispatch!(OP, w.dtype(), T => {
            let w = Mat::<T>::new(w.slice()?, w.dim(0), at.inner());
            cpu::each_row::<T>(&mut packed, at.inner(), #[inline(always)] |o, to| {
                to.iter_mut().enumerate().for_each(|(k, to)| *to = w.row(o)[place(at, k)]);
            })
        })?;
        return Ok(packed);
    };
    let mut packed = Tensor::uncleared_on(w.device(), shape, w.dtype())?;
    let (out, from, count) = (packed.address_mut()?, w.address()?, packed.stored_numel());
    let [channels, area, stride] = gpu::sizes([at.width(), at.area(), packed.stored_width()])?;
    let args =
        params::PackWeight { out, w: from, count: count as i64, images: at.images.into(), channels, area, stride };
    gpu.launch(w.dtype(), Grid::vecs(count, w.dtype()), &args).map(|()| packed)
}

/// Where element `k` of a row stands in an output's `[C / groups, k, k]`.
fn place(at: Windows, k: usize) -> usize {
    if at.images { k } else { k % at.width() * at.area() + k / at.width() }
}

/// The reverse of [`pack`], for gradients.
fn unpack(packed: &Tensor, at: Windows, dw: &mut Tensor, accumulate: bool) -> Result<()> {
    let Some(gpu) = packed.gpu() else {
        return float_dispatch!(OP, packed.dtype(), T => {
            let packed = Mat::<T>::new(packed.slice()?, dw.dim(0), at.inner());
            cpu::each_row::<T>(dw, at.inner(), #[inline(always)] |o, to| {
                for (k, value) in packed.row(o).iter().enumerate() {
                    let to = &mut to[place(at, k)];
                    *to = if accumulate { *to + *value } else { *value };
                }
            })
        });
    };
    let (out, x, count, dtype) = (dw.address_mut()?, packed.address()?, dw.numel(), dw.dtype());
    let [channels, area, stride] = gpu::sizes([at.width(), at.area(), packed.stored_width()])?;
    let (images, accumulate, unused, elements) = (at.images.into(), accumulate.into(), 0, count as i64);
    let args = params::UnpackWeight { out, x, count: elements, images, channels, area, stride, accumulate, unused };
    gpu.launch(dtype, Grid::elements(count), &args)
}

/// A case of maps and a weight `[groups · out, wide, kernel, kernel]`, with a bias.
fn case(d: &mut Draw, images: bool, groups: usize, bench: [usize; 4], conv: [usize; 3]) -> Instance {
    let [kernel, stride, padding] = conv;
    let [batch, side, wide, out] = bench;
    let (batch, height, width) = (d.size(batch), kernel + d.size(side).min(side), kernel + d.size(side).min(side));
    let (channels, outputs) = (groups * d.positive(wide), groups * d.positive(out));
    let conv = Conv2d { size: [height, width], stride, padding, groups };
    let [down, across] = conv.out(kernel);
    let x =
        if images { d.normal([batch, channels, height, width]) } else { d.normal([batch, height * width, channels]) };
    // Weights as a model's: results are about as large as the maps.
    let bound = (3.0 / (channels / groups * kernel * kernel) as f64).sqrt();
    let weight = d.uniform([outputs, channels / groups, kernel, kernel], -bound, bound);
    let inputs = [x, weight, d.normal([outputs])];
    let written = batch * down * across * outputs;
    let run = move |v: &[Var]| conv2d(&v[0], &v[1], Some(&v[2]), conv);
    let instance = Instance::new(inputs, run).weights([1, 2]);
    let instance = if images { instance.wide([0]) } else { instance };
    instance.cost(written, 2 * written * channels / groups * kernel * kernel)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("conv2d/images", |d| case(d, true, 1, [256, 11, 3, 64], [3, 2, 1])),
        Case::new("conv2d/patches", |d| case(d, true, 1, [256, 11, 3, 384], [2, 2, 0])),
        Case::new("conv2d/tokens", |d| case(d, false, 1, [256, 11, 64, 64], [3, 1, 1])),
        Case::new("conv2d/strided", |d| case(d, false, 1, [256, 11, 224, 448], [1, 2, 0])),
        Case::new("conv2d/groups", |d| case(d, false, 2, [256, 11, 112, 112], [3, 2, 1])),
    ]
}
