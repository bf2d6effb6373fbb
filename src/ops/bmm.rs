//! Batched matrix product: `c[i] = a[i] b[i]` or `a[i] b[i]ᵀ`, `a [B, m, k]`, `b [B, k, n]` or `[B, n, k]`.
//!
//! Gradients: `da = dc bᵀ`, `db = aᵀ dc`; with `b` transposed `da = dc b`, `db = dcᵀ a`.

use super::case::{Case, Draw, Instance};
use crate::cpu::{Mat, gemm};
use crate::tape::record_one;
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Error, Result, Var};
use rayon::prelude::*;

const OP: &str = "bmm";

/// `a[i] b[i]`, or `a[i] b[i]ᵀ` when `transpose_b`.
pub fn bmm(a: &Var, b: &Var, transpose_b: bool) -> Result<Var> {
    let (sa, sb) = (*a.shape(), *b.shape());
    let fits = sa.len() == 3 && sb.len() == 3 && sa[0] == sb[0] && sa[2] == sb[if transpose_b { 2 } else { 1 }];
    if !fits || a.dtype() != b.dtype() {
        return Err(Error::shape(OP, "a [B, m, k] with b [B, k, n], or [B, n, k] transposed", (sa, sb)));
    }
    let n = sb[if transpose_b { 1 } else { 2 }];
    let c = float_dispatch!(OP, a.dtype(), T => product::<T>(a.tensor(), false, b.tensor(), transpose_b, [sa[0], sa[1], n]))?;
    let (at, bt) = (a.tensor().clone(), b.tensor().clone());
    Ok(record_one(OP, &[a.handle(), b.handle()], c, move |back| {
        let Some(dc) = back.dy(0) else { return Ok(()) };
        float_dispatch!(OP, dc.dtype(), T => {
            if back.wants(0) {
                back.add(0, product::<T>(&dc, false, &bt, !transpose_b, [sa[0], sa[1], sa[2]])?)?;
            }
            if back.wants(1) && transpose_b {
                back.add(1, product::<T>(&dc, true, &at, false, [sb[0], sb[1], sb[2]])?)?;
            } else if back.wants(1) {
                back.add(1, product::<T>(&at, true, &dc, false, [sb[0], sb[1], sb[2]])?)?;
            }
            Ok(())
        })
    }))
}

/// `out[i] = op(a[i]) op(b[i])`, each transposed or not.
fn product<T: Float>(a: &Tensor, ta: bool, b: &Tensor, tb: bool, out: [usize; 3]) -> Result<Tensor> {
    let mut c = Tensor::empty(out, a.dtype());
    let [_, m, n] = out;
    let (ar, ac, br, bc) = (a.dim(1), a.dim(2), b.dim(1), b.dim(2));
    let (a, b) = (a.slice::<T>()?, b.slice::<T>()?);
    c.slice_mut::<T>()?.par_chunks_mut((m * n).max(1)).enumerate().for_each(|(i, c)| {
        let a = Mat::new(&a[i * ar * ac..][..ar * ac], ar, ac);
        let b = Mat::new(&b[i * br * bc..][..br * bc], br, bc);
        gemm(T::one(), if ta { a.t() } else { a }, if tb { b.t() } else { b }, T::zero(), c, n);
    });
    Ok(c)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn plain(d: &mut Draw) -> Result<Instance> {
        let (batch, m, k, n) = (d.size(96), d.size(197), d.size(64), d.size(197));
        let inputs = vec![d.normal([batch, m, k]), d.normal([batch, k, n])];
        let run = |v: &[Var]| Ok(vec![bmm(&v[0], &v[1], false)?]);
        Ok(Instance::new(inputs, run).cost(batch * m * n, 2 * batch * m * n * k))
    }
    fn transposed(d: &mut Draw) -> Result<Instance> {
        let (batch, m, k) = (d.size(96), d.size(197), d.size(64));
        let run = |v: &[Var]| Ok(vec![bmm(&v[0], &v[0], true)?]);
        Ok(Instance::new(vec![d.normal([batch, m, k])], run).cost(batch * m * m, 2 * batch * m * m * k))
    }
    vec![Case::new("bmm/plain", plain), Case::new("bmm/gram", transposed)]
}
