//! Convolution of tokens whose outputs read one channel each: `C` groups, `O / C` outputs for each channel.
//!
//! `y[b, (i, j), o] = bias[o] + sum over u, v of w[o, u, v] x[b, (i s + u - p, j s + v - p), o / (O / C)]`. Gradients:
//! `dx[.., c]` sums `w[o, u, v] dy[.., o]` over the windows that hold the pixel and the outputs of `c`,
//! `dw[o, u, v] = sum over windows of dy x`, `db = sum over rows of dy`. [`conv2d`](super::conv2d()) comes here.

use super::conv2d::on_device;
use super::prelude::*;
use super::{Conv2d, conv2d};
use crate::cpu::Windows;

const OP: &str = "depthwise";

/// What [`conv2d()`] does with a weight `[O, 1, k, k]` on tokens, whose shapes it has checked.
pub(super) fn depthwise(x: &Var, w: &Var, b: Option<&Var>, at: Windows) -> Result<Var> {
    let y = forward(x.tensor(), w.tensor(), b.map(Var::tensor), at)?;
    let (xt, wt) = (x.tensor().clone(), w.tensor().clone());
    Ok(record_one(OP, &[x.handle(), w.handle(), Handle::of(b)], y, move |back, dy| {
        back.add_wanted(0, || maps_gradient(&dy, &wt, &xt, at))?;
        back.slot(1, |dw, accumulate| weight_gradient(&dy, &xt, at, dw, accumulate))?;
        back.slot(2, |db, accumulate| sum_rows(&dy, db, accumulate))
    }))
}

/// `[O, 1, k, k]` as `[k · k, O]`: an element of the window at a time, outputs are neighbours.
fn by_element<T: Float>(w: &Tensor, at: Windows) -> Result<Vec<T>> {
    let (w, outputs) = (w.slice::<T>()?, w.dim(0));
    Ok((0..w.len()).map(|k| w[k % outputs * at.area() + k / outputs]).collect())
}

fn forward(x: &Tensor, w: &Tensor, b: Option<&Tensor>, at: Windows) -> Result<Tensor> {
    let (outputs, each) = (w.dim(0), w.dim(0) / at.channels);
    let shape = [x.dim(0), at.count(), outputs];
    if let Some(gpu) = x.gpu() {
        let mut y = Tensor::uncleared_on(x.device(), shape, x.dtype())?;
        let (of, count, y_address) = (on_device(at)?, y.stored_numel(), y.address_mut()?);
        let [outputs, stride, x_stride] = gpu::sizes([outputs, y.stored_width(), x.stored_width()])?;
        let (x, w, b, elements, unused) = (x.address()?, w.address()?, address_of(b)?, count as i64, 0);
        let args =
            params::DepthwiseFwd { y: y_address, x, w, b, count: elements, of, outputs, stride, x_stride, unused };
        return gpu.launch(y.dtype(), Grid::elements(count), &args).map(|()| y);
    }
    cpu::count_macs(shape.iter().product::<usize>() * at.area());
    float_dispatch!(OP, x.dtype(), T => {
        let (x, w) = (Mat::<T>::of(x)?, by_element::<T>(w, at)?);
        let bias = b.map_or_else(|| Ok(vec![T::of(0.0); outputs]), |b| b.slice::<T>().map(<[T]>::to_vec))?;
        cpu::new_rows::<T>(shape, outputs, #[inline(always)] |window, y| {
            y.copy_from_slice(&bias);
            for (tap, w) in w.chunks_exact(outputs).enumerate() {
                let Some(pixel) = at.pixel(window, tap) else { continue };
                for ((y, w), x) in y.chunks_exact_mut(each).zip(w.chunks_exact(each)).zip(x.row(pixel)) {
                    y.iter_mut().zip(w).for_each(|(y, w)| *y += *w * *x);
                }
            }
        })
    })
}

fn maps_gradient(dy: &Tensor, w: &Tensor, x: &Tensor, at: Windows) -> Result<Tensor> {
    let (outputs, each) = (w.dim(0), w.dim(0) / at.channels);
    if let Some(gpu) = dy.gpu() {
        let mut dx = x.new_uncleared()?;
        let (of, count, dx_address) = (on_device(at)?, dx.stored_numel(), dx.address_mut()?);
        let [outputs, stride, x_stride] = gpu::sizes([outputs, dy.stored_width(), dx.stored_width()])?;
        let (dy, w, elements, unused) = (dy.address()?, w.address()?, count as i64, 0);
        let args =
            params::DepthwiseBwd { dx: dx_address, dy, w, count: elements, of, outputs, stride, x_stride, unused };
        return gpu.launch(dx.dtype(), Grid::elements(count), &args).map(|()| dx);
    }
    float_dispatch!(OP, dy.dtype(), T => {
        let (dy, w) = (Mat::<T>::of(dy)?, by_element::<T>(w, at)?);
        cpu::new_rows::<T>(x.shape(), at.channels, #[inline(always)] |pixel, dx| {
            dx.fill(T::of(0.0));
            for (tap, w) in w.chunks_exact(outputs).enumerate() {
                let Some(window) = at.window(pixel, tap) else { continue };
                let terms = dy.row(window).chunks_exact(each).zip(w.chunks_exact(each));
                for (dx, (dy, w)) in dx.iter_mut().zip(terms) {
                    dy.iter().zip(w).for_each(|(dy, w)| *dx += *dy * *w);
                }
            }
        })
    })
}

fn weight_gradient(dy: &Tensor, x: &Tensor, at: Windows, dw: &mut Tensor, accumulate: bool) -> Result<()> {
    let ((rows, outputs), cols) = (dy.shape().rows_cols(), dw.numel());
    if let Some(gpu) = dy.gpu() {
        let partials = gpu.column_partials(dy.dtype(), [rows, cols], 1, |partials, grid| {
            let [outputs, rows, cols] = gpu::sizes([outputs, rows, cols])?;
            let [stride, x_stride] = gpu::sizes([dy.stored_width(), x.stored_width()])?;
            let (of, dy_, x, unused) = (on_device(at)?, dy.address()?, x.address()?, 0);
            let args =
                params::DepthwiseColumns { partials, dy: dy_, x, of, outputs, rows, cols, stride, x_stride, unused };
            gpu.launch(dy.dtype(), grid, &args)
        })?;
        return gpu.add_partials(&partials, [0, 1], dw, accumulate);
    }
    let each = outputs / at.channels;
    float_dispatch!(OP, dy.dtype(), T => {
        let (dy, x) = (Mat::<T>::of(dy)?, Mat::<T>::of(x)?);
        cpu::sum_columns::<T>(rows, dw, accumulate, #[inline(always)] |window, partial| {
            for tap in 0..at.area() {
                let Some(pixel) = at.pixel(window, tap) else { continue };
                let (dy, x) = (dy.row(window), x.row(pixel));
                for (o, w) in partial.chunks_exact_mut(at.area()).enumerate() {
                    w[tap] += dy[o] * x[o / each];
                }
            }
        })
    })
}

/// A case of `each` outputs a channel and windows `stride` apart.
fn case(d: &mut Draw, each: usize, stride: usize) -> Instance {
    let (batch, height, width, channels) =
        (d.size(256), d.positive(14).min(14), d.positive(14).min(14), d.positive(144));
    let conv = Conv2d { size: [height, width], stride, padding: 1, groups: channels };
    let [down, across] = conv.out(3);
    let inputs = [
        d.normal([batch, height * width, channels]),
        d.uniform([each * channels, 1, 3, 3], -0.6, 0.6),
        d.normal([each * channels]),
    ];
    let written = batch * down * across * each * channels;
    let run = move |v: &[Var]| conv2d(&v[0], &v[1], Some(&v[2]), conv);
    Instance::new(inputs, run).weights([1, 2]).cost(written, 18 * written)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new("depthwise/one", |d| case(d, 1, 1)), Case::new("depthwise/two", |d| case(d, 2, 2))]
}
