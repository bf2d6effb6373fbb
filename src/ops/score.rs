//! Accumulation of first-order Taylor scores: `S += (g · dL/dg)²` per unit (SAViT, method 2).
//!
//! The square is of the batch-summed derivative, not a sum of per-sample squares.

use super::prelude::*;

const OP: &str = "score";

/// `sum += (gate · grad)²`, all of one shape.
pub fn taylor_accumulate(sum: &mut Tensor, gate: &Tensor, grad: &Tensor) -> Result<()> {
    sum.check_same(OP, gate)?;
    sum.check_same(OP, grad)?;
    if let Some(gpu) = sum.gpu() {
        let (address, gate, grad, count) = (sum.address_mut()?, gate.address()?, grad.address()?, sum.stored_numel());
        let args = params::TaylorAccumulate { sum: address, gate, grad, count: count as i64 };
        return gpu.launch(sum.dtype(), Grid::vecs(count, sum.dtype()), &args);
    }
    let mut product = gate.clone();
    float_dispatch!(OP, sum.dtype(), T => {
        cpu::zip_mut::<T>(&mut product, grad, #[inline(always)] |w, g| *w *= g)?;
        cpu::zip_mut::<T>(sum, &product, #[inline(always)] |s, wg| *s += wg * wg)
    })
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    let taylor = Case::new("score/taylor", |d| {
        let shape = d.sizes([1 << 25]);
        let inputs = [d.uniform(shape, 0.0, 1.0), d.normal(shape), d.normal(shape)];
        let run = |v: &[Var]| {
            let mut sum = v[0].tensor().clone();
            taylor_accumulate(&mut sum, v[1].tensor(), v[2].tensor())?;
            Ok(Var::constant(sum))
        };
        let in_place = |mut v: Vec<Tensor>| {
            Ok(move || {
                let (sum, of) = v.split_at_mut(1);
                taylor_accumulate(&mut sum[0], &of[0], &of[1])
            })
        };
        Instance::new(inputs, run).in_place(in_place).cost_each(1, 4)
    });
    vec![taylor.without_gradient("statistics of a frozen model")]
}
