//! What runs on all parameters at once: AdamW, the moving average, the gradient norm.
//!
//! AdamW (decoupled decay), step `t >= 1`: `p ← p (1 - lr wd)`, `m ← β1 m + (1 - β1) g`, `v ← β2 v + (1 - β2) g²`,
//! `p ← p - lr / (1 - β1ᵗ) · m / (√v / √(1 - β2ᵗ) + eps)`. EMA: `e ← d e + (1 - d) p`. Norm: `√ sum of g²`.

use super::prelude::*;

const OP: &str = "adamw";
const CHUNK: usize = 16 * 1024;

/// The numbers of one update, `step` counted from 1; every gradient is multiplied by `grad_scale` (clipping) first.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the equation says it")]
pub struct AdamwStep {
    pub lr: f64,
    pub betas: (f64, f64),
    pub eps: f64,
    pub weight_decay: f64,
    pub step: usize,
    pub grad_scale: f64,
}

/// One tensor's update, `param`, `m` and `v` in place, with the numbers of its group.
#[expect(missing_docs, reason = "the equation says it")]
pub struct AdamwTensor<'a> {
    pub param: &'a mut Tensor,
    pub m: &'a mut Tensor,
    pub v: &'a mut Tensor,
    pub grad: &'a Tensor,
    pub step: AdamwStep,
}

/// Updates all tensors; work is cut into chunks over all of them.
pub fn adamw(tensors: Vec<AdamwTensor>) -> Result<()> {
    for t in &tensors {
        [t.grad, &*t.m, &*t.v].into_iter().try_for_each(|other| t.param.check_same(OP, other))?;
    }
    tensors.into_par_iter().try_for_each(|t| float_dispatch!(OP, t.param.dtype(), T => update::<T>(t)))
}

fn update<T: Float>(t: AdamwTensor) -> Result<()> {
    let AdamwStep { lr, betas: (b1, b2), eps, weight_decay, step, grad_scale } = t.step;
    let power = i32::try_from(step).unwrap_or(i32::MAX);
    let size = T::of(lr / (1.0 - b1.powi(power)));
    let root = T::of(1.0 / (1.0 - b2.powi(power)).sqrt());
    let keep = T::of(1.0 - lr * weight_decay);
    let (scale, eps) = (T::of(grad_scale), T::of(eps));
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

/// `e ← d e + (1 - d) p`.
pub fn ema(average: &mut Tensor, param: &Tensor, decay: f64) -> Result<()> {
    average.check_same("ema", param)?;
    float_dispatch!("ema", param.dtype(), T => {
        let (d, c) = (T::of(decay), T::of(1.0 - decay));
        cpu::zip_mut::<T>(average, param, |e, p| *e = d * *e + c * p)
    })
}

/// `√ sum of g²` over all tensors, in `f64`; not finite when any gradient is not.
pub fn global_norm<'a>(grads: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let squares = grads.into_iter().try_fold(0.0, |sum, grad| Ok::<_, Error>(sum + super::dot::inner(grad, grad)?))?;
    Ok(squares.sqrt())
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    let step = Case::new("adamw/step", |d| {
        let shape = d.sizes([22_050_664]);
        let inputs = [d.normal(shape), d.normal(shape), d.uniform(shape, 0.1, 1.0), d.normal(shape)];
        let run = |v: &[Var]| {
            let [mut param, mut m, mut second] = [0, 1, 2].map(|k| v[k].tensor().clone());
            let step =
                AdamwStep { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.05, step: 3, grad_scale: 1.0 };
            let tensor = AdamwTensor { param: &mut param, m: &mut m, v: &mut second, grad: v[3].tensor(), step };
            adamw(vec![tensor])?;
            Ok([param, m, second].map(Var::constant))
        };
        Instance::new(inputs, run).cost_each(3, 14)
    });
    let average = Case::new("adamw/ema_norm", |d| {
        let shape = d.sizes([22_050_664]);
        let run = |v: &[Var]| {
            let mut average = v[0].tensor().clone();
            ema(&mut average, v[1].tensor(), 0.99)?;
            let norm = global_norm([v[0].tensor(), v[1].tensor()])?;
            Ok([average, Tensor::full([], v[0].dtype(), norm)].map(Var::constant))
        };
        Instance::new([d.normal(shape), d.normal(shape)], run).cost_each(1, 7)
    });
    [step, average].map(|case| case.without_gradient("the optimiser is not differentiated")).into()
}
