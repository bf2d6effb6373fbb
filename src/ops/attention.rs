//! Multi-head self-attention on packed queries, keys and values: `o = softmax(q kᵀ · head_dim^-0.5) v` per head.
//!
//! Reads `qkv [B, N, 3 · heads · head_dim]` as the linear layer wrote it (which, head, column) and writes
//! `o [B, N, heads · head_dim]`, heads side by side. One task per image and head holds its N×N map in a scratch row;
//! the map is never written out, and the backward pass computes it again:
//! `dv = pᵀ do`, `ds = p (do vᵀ - rowsum(do vᵀ p))`, `dq = c ds k`, `dk = c dsᵀ q` with `c = head_dim^-0.5`.

use super::case::{Case, Draw, Instance};
use super::softmax::{softmax_row, softmax_row_gradient};
use crate::cpu::{self, Mat, gemm};
use crate::tape::record_one;
use crate::tensor::{DType, Float, Tensor, float_dispatch};
use crate::{Error, Result, Var};
use rayon::prelude::*;

const OP: &str = "attention";

/// Sizes of one call.
#[derive(Clone, Copy)]
struct Size {
    batch: usize,
    tokens: usize,
    heads: usize,
    head_dim: usize,
}

impl Size {
    fn of(qkv: &Tensor, heads: usize, head_dim: usize) -> Result<Self> {
        let packed = 3 * heads * head_dim;
        if qkv.shape().len() != 3 || qkv.shape()[2] != packed || head_dim == 0 {
            return Err(Error::shape(OP, format!("qkv [batch, tokens, {packed}]"), qkv.shape()));
        }
        Ok(Self { batch: qkv.shape()[0], tokens: qkv.shape()[1], heads, head_dim })
    }

    fn inner(self) -> usize {
        self.heads * self.head_dim
    }

    /// Matrix `which` (0 = q, 1 = k, 2 = v) of task `(image, head)` inside packed storage.
    fn part<T>(self, qkv: &[T], task: usize, which: usize) -> Mat<'_, T> {
        let (image, head) = (task / self.heads, task % self.heads);
        let row = 3 * self.inner();
        let start = image * self.tokens * row + which * self.inner() + head * self.head_dim;
        Mat::strided(&qkv[start..], self.tokens, self.head_dim, row)
    }

    fn scale<T: Float>(self) -> T {
        T::of((self.head_dim as f64).powf(-0.5))
    }
}

/// `o [B, N, heads · head_dim]` from `qkv [B, N, 3 · heads · head_dim]`; keys whose mask (`[B, N]`, 0 or 1) is 0 are
/// not attended to.
pub fn attention(qkv: &Var, heads: usize, head_dim: usize, key_mask: Option<&Tensor>) -> Result<Var> {
    let size = Size::of(qkv.tensor(), heads, head_dim)?;
    check_mask(size, qkv.dtype(), key_mask)?;
    let o = float_dispatch!(OP, qkv.dtype(), T => forward::<T>(size, qkv.tensor(), key_mask))?;
    let (saved, mask) = (qkv.tensor().clone(), key_mask.cloned());
    Ok(record_one(OP, &[qkv.handle()], o, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        let dqkv = float_dispatch!(OP, dy.dtype(), T => backward::<T>(size, &saved, mask.as_ref(), &dy))?;
        back.add(0, dqkv)
    }))
}

/// The maps `[B, heads, N, N]` that [`attention`] never writes: for pictures, tests and methods that read them.
pub fn attention_map(qkv: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
    let size = Size::of(qkv, heads, head_dim)?;
    let n = size.tokens;
    let mut maps = Tensor::empty([size.batch, heads, n, n], qkv.dtype());
    float_dispatch!(OP, qkv.dtype(), T => {
        let qkv = qkv.slice::<T>()?;
        maps.slice_mut::<T>()?.par_chunks_mut((n * n).max(1)).enumerate().for_each(|(task, p)| {
            map::<T>(size, qkv, None, task, p);
        });
        Ok(())
    })?;
    Ok(maps)
}

fn check_mask(size: Size, dtype: DType, mask: Option<&Tensor>) -> Result<()> {
    match mask {
        Some(m) if m.numel() != size.batch * size.tokens || m.dtype() != dtype => {
            Err(Error::shape(OP, format!("key mask [{}, {}] {dtype:?}", size.batch, size.tokens), m.shape()))
        }
        _ => Ok(()),
    }
}

/// `p = softmax(c q kᵀ)` of one task.
fn map<T: Float>(size: Size, qkv: &[T], mask: Option<&[T]>, task: usize, p: &mut [T]) {
    let n = size.tokens;
    gemm(size.scale(), size.part(qkv, task, 0), size.part(qkv, task, 1).t(), T::zero(), p, n);
    let mask = mask.map(|m| &m[task / size.heads * n..][..n]);
    cpu::simd(
        #[inline(always)]
        || p.chunks_mut(n.max(1)).for_each(|row| softmax_row(row, mask)),
    );
}

fn forward<T: Float>(size: Size, qkv: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let Size { batch, tokens: n, heads, head_dim: d } = size;
    let mask = mask.map(|m| m.slice::<T>()).transpose()?;
    let mut by_head = Tensor::empty([batch, heads, n, d], qkv.dtype());
    let qkv = qkv.slice::<T>()?;
    by_head.slice_mut::<T>()?.par_chunks_mut((n * d).max(1)).enumerate().for_each_init(
        || vec![T::zero(); n * n],
        |p, (task, o)| {
            map(size, qkv, mask, task, p);
            gemm(T::one(), Mat::new(p, n, n), size.part(qkv, task, 2), T::zero(), o, d);
        },
    );
    let mut o = Tensor::empty([batch, n, heads * d], by_head.dtype());
    interleave(by_head.slice::<T>()?, o.slice_mut::<T>()?, heads, n, d);
    Ok(o)
}

fn backward<T: Float>(size: Size, qkv: &Tensor, mask: Option<&Tensor>, dy: &Tensor) -> Result<Tensor> {
    let Size { batch, tokens: n, heads, head_dim: d } = size;
    let mask = mask.map(|m| m.slice::<T>()).transpose()?;
    let mut by_head = Tensor::empty([batch, heads, 3, n * d], qkv.dtype());
    let mut dqkv = Tensor::empty(*qkv.shape(), qkv.dtype());
    let (qkv, dy) = (qkv.slice::<T>()?, dy.slice::<T>()?);
    by_head.slice_mut::<T>()?.par_chunks_mut((3 * n * d).max(1)).enumerate().for_each_init(
        || (vec![T::zero(); n * n], vec![T::zero(); n * n]),
        |(p, ds), (task, out)| {
            let (image, head) = (task / heads, task % heads);
            let dout = Mat::strided(&dy[image * n * size.inner() + head * d..], n, d, size.inner());
            let [q, k, v] = [0, 1, 2].map(|which| size.part(qkv, task, which));
            map(size, qkv, mask, task, p);
            gemm(T::one(), dout, v.t(), T::zero(), ds, n);
            cpu::simd(
                #[inline(always)]
                || ds.chunks_mut(n.max(1)).zip(p.chunks(n.max(1))).for_each(|(ds, p)| softmax_row_gradient(ds, p)),
            );
            let (dq, rest) = out.split_at_mut(n * d);
            let (dk, dv) = rest.split_at_mut(n * d);
            gemm(size.scale(), Mat::new(ds, n, n), k, T::zero(), dq, d);
            gemm(size.scale(), Mat::new(ds, n, n).t(), q, T::zero(), dk, d);
            gemm(T::one(), Mat::new(p, n, n).t(), dout, T::zero(), dv, d);
        },
    );
    // [heads, 3, n, d] and the packed row [3, heads, d] differ in the order of the outer two.
    let by_head = by_head.slice::<T>()?;
    let row = 3 * size.inner();
    cpu::rows_mut(dqkv.slice_mut::<T>()?, row, |first, rows| {
        for (r, row) in rows.chunks_mut(row.max(1)).enumerate() {
            let (image, token) = ((first + r) / n, (first + r) % n);
            for (part, out) in row.chunks_mut(d).enumerate() {
                let (which, head) = (part / heads, part % heads);
                let from = (((image * heads + head) * 3 + which) * n + token) * d;
                out.copy_from_slice(&by_head[from..from + d]);
            }
        }
    });
    Ok(dqkv)
}

/// `[B, heads, n, d] -> [B, n, heads, d]`.
fn interleave<T: Float>(by_head: &[T], out: &mut [T], heads: usize, n: usize, d: usize) {
    cpu::rows_mut(out, heads * d, |first, rows| {
        for (r, row) in rows.chunks_mut((heads * d).max(1)).enumerate() {
            let (image, token) = ((first + r) / n, (first + r) % n);
            for (head, out) in row.chunks_mut(d).enumerate() {
                let from = ((image * heads + head) * n + token) * d;
                out.copy_from_slice(&by_head[from..from + d]);
            }
        }
    });
}

/// The same by plain ops, one head at a time, for tests.
fn reference(qkv: &Var, heads: usize, head_dim: usize, mask: Option<&Tensor>) -> Result<Var> {
    let (batch, n) = (qkv.tensor().dim(0), qkv.tensor().dim(1));
    let columns = |which: usize, head: usize| -> Vec<usize> {
        let start = (which * heads + head) * head_dim;
        (start..start + head_dim).collect()
    };
    let mut total: Option<Var> = None;
    for head in 0..heads {
        let [q, k, v] = [0, 1, 2].map(|which| super::gather_columns(qkv, &columns(which, head)));
        let scores = super::scale(&super::bmm(&q?, &k?, true)?, (head_dim as f64).powf(-0.5))?;
        let rows = mask.map(|m| expand_mask(m, batch, n)).transpose()?;
        let p = super::softmax::masked_softmax(&scores, rows.as_ref())?;
        let o = super::scatter_columns(&super::bmm(&p, &v?, false)?, &columns(0, head), heads * head_dim)?;
        total = Some(match total {
            Some(sum) => super::add(sum, &o)?,
            None => o,
        });
    }
    total.ok_or_else(|| Error::shape(OP, "at least one head", heads))
}

/// `[B, N]` keys repeated for every query: `[B, N, N]`.
fn expand_mask(mask: &Tensor, batch: usize, n: usize) -> Result<Tensor> {
    let keys = mask.to_f64s();
    let rows: Vec<f64> = (0..batch * n).flat_map(|row| keys[row / n * n..][..n].to_vec()).collect();
    Ok(Tensor::from_slice([batch, n, n], &rows)?.to_dtype(mask.dtype()))
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn plain(d: &mut Draw) -> Result<Instance> {
        let (batch, n, heads, head_dim) = (d.size(16), d.positive(197), d.positive(6), d.positive(64));
        let run = move |v: &[Var]| Ok(vec![attention(&v[0], heads, head_dim, None)?]);
        let plain = move |v: &[Var]| Ok(vec![reference(&v[0], heads, head_dim, None)?]);
        let inner = heads * head_dim;
        let inputs = vec![d.normal([batch, n, 3 * inner])];
        Ok(Instance::new(inputs, run).reference(plain).cost(batch * n * inner, 4 * batch * n * n * inner))
    }
    fn masked(d: &mut Draw) -> Result<Instance> {
        let (batch, n, heads, head_dim) = (d.size(16), d.positive(197), d.positive(6), d.positive(64));
        let mut mask = d.indices(batch * n, 2).to_dtype(DType::F64).reshape([batch, n])?;
        if batch > 0 {
            mask.slice_mut::<f64>()?[..n].fill(0.0); // the first image has no key at all
        }
        let run = move |v: &[Var]| Ok(vec![attention(&v[0], heads, head_dim, Some(v[1].tensor()))?]);
        let plain = move |v: &[Var]| Ok(vec![reference(&v[0], heads, head_dim, Some(v[1].tensor()))?]);
        let inner = heads * head_dim;
        let inputs = vec![d.normal([batch, n, 3 * inner]), mask];
        let instance = Instance::new(inputs, run).reference(plain).constant(1);
        Ok(instance.cost(batch * n * inner, 4 * batch * n * n * inner))
    }
    fn no_heads(d: &mut Draw) -> Result<Instance> {
        let (batch, n) = (d.size(16), d.size(197));
        let inputs = vec![d.normal([batch, n, 0])];
        Ok(Instance::new(inputs, |v| Ok(vec![attention(&v[0], 0, 4, None)?])))
    }
    vec![
        Case::new("attention/plain", plain),
        Case::new("attention/key_mask", masked),
        Case::new("attention/no_heads", no_heads),
    ]
}
