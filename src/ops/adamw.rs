//! What runs on all parameters at once: AdamW, the moving average, the gradient norm.
//!
//! AdamW (decoupled decay), step `t >= 1`: `p ← p (1 - lr wd)`, `m ← β1 m + (1 - β1) g`, `v ← β2 v + (1 - β2) g²`,
//! `p ← p - lr / (1 - β1ᵗ) · m / (√v / √(1 - β2ᵗ) + eps)`. EMA: `e ← d e + (1 - d) p`. Norm: `√ sum of g²`.

use super::prelude::*;
use crate::gpu::{StepState, params::StepNumbers};

const OP: &str = "adamw";
const CHUNK: usize = 16 * 1024;
/// Elements of one partial sum of squares, as in `cuda/adamw.cu`.
const NORM_CHUNK: usize = 4096;

/// One tensor's update, `param`, `m` and `v` in place: its weight decay, and the factor of its group on the learning rate.
#[expect(missing_docs, reason = "the line above says it")]
pub struct AdamwTensor<'a> {
    pub param: &'a mut Tensor,
    pub m: &'a mut Tensor,
    pub v: &'a mut Tensor,
    pub grad: &'a Tensor,
    pub weight_decay: f64,
    pub lr_scale: f64,
}

/// What a step's numbers are read from.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    /// Here.
    Host(StepNumbers),
    /// In device memory, so that a captured step has new ones in every replay. When `grad_scale` is not finite, nothing
    /// happens.
    Device(&'a StepState),
}

/// Updates all tensors: `lr`, `1 - βᵗ` of both moments and the factor on every gradient (clipping) are the step's.
pub fn adamw(tensors: Vec<AdamwTensor>, betas: (f64, f64), eps: f64, numbers: Numbers) -> Result<()> {
    for t in &tensors {
        [t.grad, &*t.m, &*t.v].into_iter().try_for_each(|other| t.param.check_same(OP, other))?;
    }
    let Some(gpu) = tensors.first().and_then(|t| t.param.gpu()) else {
        let Numbers::Host(step) = numbers else {
            return Err(Error::shape(OP, "the numbers of the step on the host", "a CPU tensor"));
        };
        let one = |t: AdamwTensor| float_dispatch!(OP, t.param.dtype(), T => update::<T>(t, betas, eps, &step));
        return tensors.into_par_iter().try_for_each(one);
    };
    match numbers {
        Numbers::Device(state) => launch(gpu, tensors, betas, eps, state),
        Numbers::Host(step) => {
            let state = StepState::new(gpu)?;
            state.write(&step)?;
            launch(gpu, tensors, betas, eps, &state)
        }
    }
}

fn update<T: Float>(t: AdamwTensor, (b1, b2): (f64, f64), eps: f64, step: &StepNumbers) -> Result<()> {
    let lr = step.lr * t.lr_scale;
    let size = T::of(lr / step.bias1);
    let root = T::of(1.0 / step.bias2.sqrt());
    let keep = T::of(1.0 - lr * t.weight_decay);
    let (scale, eps) = (T::of(step.grad_scale), T::of(eps));
    let (b1, b2, c1, c2) = (T::of(b1), T::of(b2), T::of(1.0 - b1), T::of(1.0 - b2));
    let (p, m, v, g) = (t.param.slice_mut::<T>()?, t.m.slice_mut::<T>()?, t.v.slice_mut::<T>()?, t.grad.slice::<T>()?);
    let chunks =
        p.par_chunks_mut(CHUNK).zip(m.par_chunks_mut(CHUNK)).zip(v.par_chunks_mut(CHUNK)).zip(g.par_chunks(CHUNK));
    chunks.for_each(|(((p, m), v), g)| {
        cpu::simd(
            #[inline(always)]
            || {
                for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
                    let g = *g * scale;
                    *m = b1 * *m + c1 * g;
                    *v = b2 * *v + c2 * g * g;
                    *p = *p * keep - size * *m / (v.sqrt() * root + eps);
                }
            },
        );
    });
    Ok(())
}

/// As many tensors a launch as its argument holds; a block's threads take several elements each.
fn launch(gpu: &Gpu, tensors: Vec<AdamwTensor>, betas: (f64, f64), eps: f64, state: &StepState) -> Result<()> {
    const EACH: usize = 4;
    let (mut tensors, (beta1, beta2)) = (tensors.into_iter().peekable(), betas);
    while let Some(dtype) = tensors.peek().map(|t| t.param.dtype()) {
        let mut args = params::Adamw { state: state.address(), beta1, beta2, eps, ..bytemuck::Zeroable::zeroed() };
        let (mut used, mut longest) = (0, 0);
        for (at, t) in args.at.iter_mut().zip(&mut tensors) {
            let count = t.param.stored_numel();
            let (param, m, v) = (t.param.address_mut()?, t.m.address_mut()?, t.v.address_mut()?);
            let (grad, weight_decay, lr_scale) = (t.grad.address()?, t.weight_decay, t.lr_scale);
            *at = params::AdamwTensor { param, m, v, grad, weight_decay, lr_scale, count: count as i64 };
            (used, longest) = (used + 1, count.max(longest));
        }
        gpu.launch(dtype, Grid::blocks([longest.div_ceil(EACH * gpu::THREADS as usize), used, 1]), &args)?;
    }
    Ok(())
}

/// `e ← d e + (1 - d) p`; nothing happens when a `state` is given whose `grad_scale` is not finite.
pub fn ema(average: &mut Tensor, param: &Tensor, decay: f64, state: Option<&StepState>) -> Result<()> {
    average.check_same("ema", param)?;
    if let Some(gpu) = average.gpu() {
        let count = average.stored_numel();
        let (average_, param) = (average.address_mut()?, param.address()?);
        let state = state.map_or(0, StepState::address);
        let args = params::Ema { average: average_, param, state, decay, count: count as i64 };
        return gpu.launch(average.dtype(), Grid::elements(count), &args);
    }
    float_dispatch!("ema", param.dtype(), T => {
        let (d, c) = (T::of(decay), T::of(1.0 - decay));
        cpu::zip_mut::<T>(average, param, |e, p| *e = d * *e + c * p)
    })
}

/// `√ sum of g²` over all tensors, in `f64`; not finite when any gradient is not. Waits for a device.
pub fn global_norm<'a>(grads: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let grads: Vec<&Tensor> = grads.into_iter().collect();
    if let Some(gpu) = grads.first().and_then(|grad| grad.gpu()) {
        let state = StepState::new(gpu)?;
        norm_and_scale(&grads, None, None, &state)?;
        return state.read().map(|numbers| numbers.grad_norm);
    }
    let squares = grads.iter().try_fold(0.0, |sum, grad| Ok::<_, Error>(sum + super::dot::inner(grad, grad)?))?;
    Ok(squares.sqrt())
}

/// On a GPU: the norm of `grads`, and the factor that clips it to `max_norm`, into `state`. The factor is not finite when
/// norm or `loss` is not.
pub fn clip_scale(grads: &[&Tensor], loss: &Tensor, max_norm: Option<f64>, state: &StepState) -> Result<()> {
    norm_and_scale(grads, Some(loss), max_norm, state)
}

fn norm_and_scale(grads: &[&Tensor], loss: Option<&Tensor>, max_norm: Option<f64>, state: &StepState) -> Result<()> {
    let Some((first, gpu)) = grads.first().and_then(|first| Some((first, first.gpu()?))) else {
        return Err(Error::shape("clip_scale", "gradients on a GPU", grads.len()));
    };
    let chunks: usize = grads.iter().map(|grad| grad.stored_numel().div_ceil(NORM_CHUNK)).sum();
    let mut partials = first.new_empty([chunks, 1, 1, 1])?;
    let (address, mut next) = (partials.address_mut()?, 0);
    let empty: params::SquareSums = bytemuck::Zeroable::zeroed();
    for group in grads.chunks(empty.at.len()) {
        let (mut args, mut longest) = (params::SquareSums { partials: address, ..empty }, 0);
        for (at, grad) in args.at.iter_mut().zip(group) {
            let count = grad.stored_numel();
            *at = params::NormTensor { x: grad.address()?, count: count as i64, first: next };
            (next, longest) = (next + count.div_ceil(NORM_CHUNK) as i64, longest.max(count));
        }
        gpu.launch(first.dtype(), Grid::blocks([longest.div_ceil(NORM_CHUNK), group.len(), 1]), &args)?;
    }
    let (state, loss, max_norm) = (state.address(), address_of(loss)?, max_norm.unwrap_or(0.0));
    let args = params::ClipScale { state, partials: address, loss, max_norm, count: chunks as i64 };
    gpu.launch(first.dtype(), Grid::blocks([1, 1, 1]), &args)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    let step = Case::new("adamw/step", |d| {
        let shape = d.sizes([22_050_664]);
        let inputs = [d.normal(shape), d.normal(shape), d.uniform(shape, 0.1, 1.0), d.normal(shape)];
        let run = |v: &[Var]| {
            let [mut param, mut m, mut second] = [0, 1, 2].map(|k| v[k].tensor().clone());
            let (lr, bias1, bias2) = (1e-3, 1.0 - 0.9f64.powi(3), 1.0 - 0.999f64.powi(3));
            let step = StepNumbers { lr, bias1, bias2, grad_scale: 0.5, grad_norm: 0.0, step: 3 };
            let (grad, weight_decay, lr_scale) = (v[3].tensor(), 0.05, 0.7);
            let tensor = AdamwTensor { param: &mut param, m: &mut m, v: &mut second, grad, weight_decay, lr_scale };
            adamw(vec![tensor], (0.9, 0.999), 1e-8, Numbers::Host(step))?;
            Ok([param, m, second].map(Var::constant))
        };
        Instance::new(inputs, run).cost_each(3, 14)
    });
    let average = Case::new("adamw/ema_norm", |d| {
        let shape = d.sizes([22_050_664]);
        let run = |v: &[Var]| {
            let mut average = v[0].tensor().clone();
            ema(&mut average, v[1].tensor(), 0.99, None)?;
            let norm = global_norm([v[0].tensor(), v[1].tensor()])?;
            let norm = average.new_full([], norm)?;
            Ok([average, norm].map(Var::constant))
        };
        Instance::new([d.normal(shape), d.normal(shape)], run).cost_each(1, 7)
    });
    [step, average].map(|case| case.without_gradient("the optimiser is not differentiated")).into()
}
