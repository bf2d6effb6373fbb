//! Batched matrix product: `c[i] = a[i] b[i]` or `a[i] b[i]ᵀ`, `a [B, m, k]`, `b [B, k, n]` or `[B, n, k]`.
//!
//! Gradients: `da = dc bᵀ`, `db = aᵀ dc`; with `b` transposed `da = dc b`, `db = dcᵀ a`.

use super::prelude::*;
use crate::gpu::{Epilogue, Matrix};

const OP: &str = "bmm";

/// `a[i] b[i]`, or `a[i] b[i]ᵀ` when `transpose_b`.
pub fn bmm(a: &Var, b: &Var, transpose_b: bool) -> Result<Var> {
    let (sa, sb) = (*a.shape(), *b.shape());
    let fits = sa.len() == 3 && sb.len() == 3 && sa[0] == sb[0] && sa[2] == sb[if transpose_b { 2 } else { 1 }];
    let expected = "a [B, m, k] with b [B, k, n], or [B, n, k] transposed";
    Error::ensure_shape(fits && a.dtype() == b.dtype(), OP, expected, (sa, sb))?;
    a.tensor().check_device(OP, b.tensor())?;
    let c = product(a.tensor(), false, b.tensor(), transpose_b)?;
    let (at, bt) = (a.tensor().clone(), b.tensor().clone());
    Ok(record_one(OP, &[a.handle(), b.handle()], c, move |back, dc| {
        back.add_wanted(0, || product(&dc, false, &bt, !transpose_b))?;
        let (left, right) = if transpose_b { (&dc, &at) } else { (&at, &dc) };
        back.add_wanted(1, || product(left, true, right, false))
    }))
}

/// `op(a[i]) op(b[i])`, each transposed or not.
fn product(a: &Tensor, transpose_a: bool, b: &Tensor, transpose_b: bool) -> Result<Tensor> {
    let [(ar, ac), (br, bc)] = [a, b].map(|t| (t.dim(1), t.dim(2)));
    let (m, n) = (if transpose_a { ac } else { ar }, if transpose_b { br } else { bc });
    let mut c = a.new_empty([a.dim(0), m, n])?;
    if let Some(gpu) = a.gpu() {
        let [left, right] = [(a, transpose_a), (b, transpose_b)]
            .map(|(t, transpose)| Matrix::batch(t).map(|t| if transpose { t.t() } else { t }));
        let to = Matrix::batch_out(&mut c)?;
        gpu.gemm(a.dim(0), 1.0, left?, right?, 0.0, to, Epilogue::None)?;
        return Ok(c);
    }
    float_dispatch!(OP, a.dtype(), T => {
        let (a, b) = (a.slice::<T>()?, b.slice::<T>()?);
        c.slice_mut::<T>()?.par_chunks_mut((m * n).max(1)).enumerate().for_each(|(i, c)| {
            let (a, b) = (Mat::new(&a[i * ar * ac..], ar, ac), Mat::new(&b[i * br * bc..], br, bc));
            gemm(1.0, if transpose_a { a.t() } else { a }, if transpose_b { b.t() } else { b }, 0.0, c, n);
        });
        Ok(())
    })?;
    Ok(c)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("bmm/plain", |d| {
            let [batch, m, k, n] = d.sizes([6 * 256, 197, 64, 197]);
            let inputs = [d.normal([batch, m, k]), d.normal([batch, k, n])];
            Instance::new(inputs, |v| bmm(&v[0], &v[1], false)).cost(batch * m * n, 2 * batch * m * n * k)
        }),
        Case::new("bmm/gram", |d| {
            let [batch, m, k] = d.sizes([6 * 256, 197, 64]);
            let inputs = [d.normal([batch, m, k])];
            Instance::new(inputs, |v| bmm(&v[0], &v[0], true)).cost(batch * m * m, 2 * batch * m * m * k)
        }),
    ]
}
