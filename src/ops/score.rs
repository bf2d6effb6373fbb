//! Accumulation of first-order Taylor scores: `S += (g · dL/dg)²` per unit (SAViT, method 2).
//!
//! The square is of the batch-summed derivative, not a sum of per-sample squares.

use super::case::{Case, Draw, Instance};
use super::same;
use crate::cpu;
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Result, Var};

const OP: &str = "score";

/// `sum += (gate · grad)²`, all of one shape.
pub fn taylor_accumulate(sum: &mut Tensor, gate: &Tensor, grad: &Tensor) -> Result<()> {
    same(OP, sum, gate)?;
    same(OP, sum, grad)?;
    float_dispatch!(OP, sum.dtype(), T => accumulate::<T>(sum, gate, grad))
}

fn accumulate<T: Float>(sum: &mut Tensor, gate: &Tensor, grad: &Tensor) -> Result<()> {
    let (gate, grad) = (gate.slice::<T>()?, grad.slice::<T>()?);
    cpu::rows_mut(sum.slice_mut::<T>()?, 1, |first, sum| {
        for ((s, w), g) in sum.iter_mut().zip(&gate[first..]).zip(&grad[first..]) {
            *s += (*w * *g) * (*w * *g);
        }
    });
    Ok(())
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn taylor(d: &mut Draw) -> Result<Instance> {
        let shape = [d.size(37_776)];
        let run = |v: &[Var]| {
            let mut sum = v[0].tensor().clone();
            taylor_accumulate(&mut sum, v[1].tensor(), v[2].tensor())?;
            Ok(vec![Var::constant(sum)])
        };
        let inputs = vec![d.uniform(shape, 0.0, 1.0), d.normal(shape), d.normal(shape)];
        Ok(Instance::new(inputs, run).cost(shape[0], 4 * shape[0]))
    }
    vec![Case::new("score/taylor", taylor).without_gradient("statistics of a frozen model")]
}
