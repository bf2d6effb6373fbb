//! What runs on all parameters at once: AdamW, the moving average, the gradient norm.
//!
//! AdamW (decoupled decay), step `t >= 1`: `p ← p (1 - lr wd)`, `m ← β1 m + (1 - β1) g`, `v ← β2 v + (1 - β2) g²`,
//! `p ← p - lr / (1 - β1ᵗ) · m / (√v / √(1 - β2ᵗ) + eps)`. EMA: `e ← d e + (1 - d) p`. Norm: `√ sum of g²`.

use super::prelude::*;
use crate::gpu::{StepState, params::StepNumbers};

const OP: &str = "adamw";
const CHUNK: usize = 16 * 1024;

/// One tensor's update, `param`, `m` and `v` in place: its weight decay, and the factor of its group on the learning rate;
/// and its moving average with the decay of that, in place too.
#[expect(missing_docs, reason = "the line above says it")]
pub struct AdamwTensor<'a> {
    pub param: &'a mut Tensor,
    pub m: &'a mut Tensor,
    pub v: &'a mut Tensor,
    pub grad: &'a Tensor,
    pub weight_decay: f64,
    pub lr_scale: f64,
    pub average: Option<(&'a mut Tensor, f64)>,
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
        let average = t.average.iter().map(|(average, _)| &**average);
        [t.grad, &*t.m, &*t.v].into_iter().chain(average).try_for_each(|other| t.param.check_same(OP, other))?;
    }
    let Some(gpu) = tensors.first().and_then(|t| t.param.gpu()) else {
        let Numbers::Host(step) = numbers else {
            return Err(Error::shape(OP, "the numbers of the step on the host", "a CPU tensor"));
        };
        let one = |mut t: AdamwTensor| {
            float_dispatch!(OP, t.param.dtype(), T => update::<T>(&mut t, betas, eps, &step))?;
            t.average.map_or(Ok(()), |(average, decay)| ema(average, t.param, decay, None))
        };
        return tensors.into_par_iter().try_for_each(one);
    };
    match numbers {
        Numbers::Device(state) => launch(gpu, tensors, betas, eps, state),
        Numbers::Host(step) => launch(gpu, tensors, betas, eps, &StepState::of(gpu, &step)?),
    }
}

fn update<T: Float>(t: &mut AdamwTensor, (b1, b2): (f64, f64), eps: f64, step: &StepNumbers) -> Result<()> {
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

/// As many tensors a launch as its argument holds.
fn launch(gpu: &Gpu, tensors: Vec<AdamwTensor>, betas: (f64, f64), eps: f64, state: &StepState) -> Result<()> {
    let entry = |t: AdamwTensor| {
        let (average, decay) = match t.average {
            Some((average, decay)) => (average.address_mut()?, decay),
            None => (0, 0.0),
        };
        let count = t.param.stored_numel() as i64;
        let (param, m, v, grad) = (t.param.address_mut()?, t.m.address_mut()?, t.v.address_mut()?, t.grad.address()?);
        let (weight_decay, lr_scale) = (t.weight_decay, t.lr_scale);
        Ok(params::AdamwTensor { param, m, v, grad, average, weight_decay, lr_scale, decay, count, first: 0 })
    };
    let dtype = tensors.first().map_or(DType::F32, |t| t.param.dtype());
    let entries = tensors.into_iter().map(entry).collect::<Result<Vec<_>>>()?;
    launch_entries(gpu, dtype, &entries, betas, eps, state.address())
}

fn launch_entries(
    gpu: &Gpu, dtype: DType, entries: &[params::AdamwTensor], (beta1, beta2): (f64, f64), eps: f64, state: u64,
) -> Result<()> {
    let mut args = params::Adamw { state, beta1, beta2, eps, ..bytemuck::Zeroable::zeroed() };
    for group in entries.chunks(args.at.len()) {
        let (firsts, blocks) = gpu::pieces(group.iter().map(|t| t.count as usize));
        for ((at, t), first) in args.at.iter_mut().zip(group).zip(firsts) {
            *at = params::AdamwTensor { first, ..*t };
        }
        args.tensors = group.len() as i32;
        gpu.launch(dtype, Grid::blocks([blocks, 1, 1]), &args)?;
    }
    Ok(())
}

/// `e ← d e + (1 - d) p`, for what no step of [`adamw`] averages; on a GPU not when the step at `state` is refused.
pub fn ema(average: &mut Tensor, param: &Tensor, decay: f64, state: Option<&StepState>) -> Result<()> {
    average.check_same("ema", param)?;
    if let Some(gpu) = average.gpu() {
        let (count, param) = (average.stored_numel() as i64, param.address()?);
        let average_ = average.address_mut()?;
        let entry = params::AdamwTensor { param, average: average_, decay, count, ..bytemuck::Zeroable::zeroed() };
        return launch_entries(gpu, average.dtype(), &[entry], (0.0, 0.0), 0.0, state.map_or(0, StepState::address));
    }
    float_dispatch!("ema", param.dtype(), T => {
        let (d, c) = (T::of(decay), T::of(1.0 - decay));
        cpu::zip_mut::<T>(average, param, #[inline(always)] |e, p| *e = d * *e + c * p)
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
    let (_, blocks) = gpu::pieces(grads.iter().map(|grad| grad.stored_numel()));
    let wide = first.dtype().wide();
    let mut partials = Tensor::empty_on(first.device(), [blocks, 1, 1, 1], wide)?;
    let address = partials.address_mut()?;
    let mut args = params::SquareSums { partials: address, ..bytemuck::Zeroable::zeroed() };
    for group in grads.chunks(args.at.len()) {
        let (firsts, blocks) = gpu::pieces(group.iter().map(|grad| grad.stored_numel()));
        for ((at, grad), first) in args.at.iter_mut().zip(group).zip(firsts) {
            *at = params::NormTensor { x: grad.address()?, count: grad.stored_numel() as i64, first };
        }
        args.tensors = group.len() as i32;
        gpu.launch(first.dtype(), Grid::blocks([blocks, 1, 1]), &args)?;
        args.partials += (blocks * wide.size()) as u64;
    }
    let (state, loss, max_norm) = (state.address(), address_of(loss)?, max_norm.unwrap_or(0.0));
    let args = params::ClipScale { state, partials: address, loss, max_norm, count: blocks as i64 };
    gpu.launch(first.dtype(), Grid::blocks([1, 1, 1]), &args)
}

/// What the gradient of a loss starts from, a scalar like `loss`: 1, or with a `state` its loss scale.
pub fn loss_seed(loss: &Tensor, state: Option<&StepState>) -> Result<Tensor> {
    let (Some(gpu), Some(state)) = (loss.gpu(), state) else { return loss.new_full(*loss.shape(), 1.0) };
    let mut seed = loss.new_empty(*loss.shape())?;
    let args = params::LossSeed { out: seed.address_mut()?, state: state.address() };
    gpu.launch(loss.dtype(), Grid::blocks([1, 1, 1]), &args).map(|()| seed)
}

/// The numbers of the cases' step, and the same where kernels read them; `None` on the CPU.
const THIRD: StepNumbers = StepNumbers {
    lr: 1e-3,
    bias1: 0.271,
    bias2: 0.002_997_001,
    loss_scale: 1.0,
    grad_scale: 0.5,
    grad_norm: 0.0,
    step: 3,
};

fn third_by(tensor: &Tensor) -> Result<Option<StepState>> {
    tensor.gpu().map(|gpu| StepState::of(gpu, &THIRD)).transpose()
}

/// One step of the tensors of a case: parameter, both moments, gradient and average.
fn step_once(tensors: &mut [Tensor], numbers: Numbers) -> Result<()> {
    let found = tensors.len();
    let [param, m, v, grad, average] = tensors else { return Err(Error::shape(OP, "5 tensors", found)) };
    let average = Some((average, 0.9));
    let tensor = AdamwTensor { param, m, v, grad, weight_decay: 0.05, lr_scale: 0.7, average };
    adamw(vec![tensor], (0.9, 0.999), 1e-8, numbers)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    let step = Case::new("adamw/step", |d| {
        let shape = d.sizes([22_050_664]);
        let inputs = [d.normal(shape), d.normal(shape), d.uniform(shape, 0.1, 1.0), d.normal(shape), d.normal(shape)];
        let run = |v: &[Var]| {
            let mut all: Vec<Tensor> = v.iter().map(|v| v.tensor().clone()).collect();
            step_once(&mut all, Numbers::Host(THIRD))?;
            all.remove(3); // the gradient
            Ok(all.into_iter().map(Var::constant).collect::<Vec<_>>())
        };
        let in_place = |mut all: Vec<Tensor>| {
            let state = third_by(&all[0])?;
            Ok(move || step_once(&mut all, state.as_ref().map_or(Numbers::Host(THIRD), Numbers::Device)))
        };
        Instance::new(inputs, run).in_place(in_place).cost_each(4, 17)
    });
    let average = Case::new("adamw/ema_norm", |d| {
        let shape = d.sizes([22_050_664]);
        let run = |v: &[Var]| {
            let mut average = v[0].tensor().clone();
            ema(&mut average, v[1].tensor(), 0.99, None)?;
            let norm = global_norm([v[0].tensor(), v[1].tensor()])?;
            let norm = Tensor::full([], average.dtype().wide(), norm).to_device(average.device())?;
            Ok([average, norm].map(Var::constant))
        };
        let in_place = |mut v: Vec<Tensor>| {
            let state = third_by(&v[0])?;
            Ok(move || {
                let (average, param) = v.split_at_mut(1);
                ema(&mut average[0], &param[0], 0.99, None)?;
                let both = [&average[0], &param[0]];
                let norm = || global_norm(both).map(drop);
                state.as_ref().map_or_else(norm, |state| norm_and_scale(&both, None, None, state))
            })
        };
        Instance::new([d.normal(shape), d.normal(shape)], run).in_place(in_place).cost_each(1, 7)
    });
    [step, average].map(|case| case.without_gradient("the optimiser is not differentiated")).into()
}
