//! Multi-head self-attention on packed queries, keys and values: `o = softmax(q kᵀ · head_dim^-0.5) v` per head.
//!
//! Reads `qkv [B, N, 3 · heads · head_dim]` as the linear layer wrote it (which, head, column) and writes
//! `o [B, N, heads · head_dim]`, heads side by side. One task per image and head holds its N×N map in a scratch row;
//! the map is never written out, and the backward pass computes it again:
//! `dv = pᵀ do`, `ds = p (do vᵀ - rowsum(do vᵀ p))`, `dq = c ds k`, `dk = c dsᵀ q` with `c = head_dim^-0.5`.
//!
//! On a GPU 16-bit types and heads of up to 64 columns go through the tensor cores (`cuda/attention_mma.cu`). Otherwise a
//! block takes some queries of a head, whose scores lie in shared memory if they fit there (`cuda/attention.cu`). The
//! backward pass starts from what is saved of every row's sum of exponentials, and from `rowsum(do vᵀ p) = <do, o>`.

use super::prelude::*;
use super::softmax::{softmax_row, softmax_row_gradient};
use crate::tensor::ALIGN;

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
        let fits = qkv.shape().len() == 3 && qkv.shape()[2] == packed && head_dim > 0;
        Error::ensure_shape(fits, OP, format_args!("qkv [batch, tokens, {packed}]"), qkv.shape())?;
        Ok(Self { batch: qkv.shape()[0], tokens: qkv.shape()[1], heads, head_dim })
    }

    /// Matrix `which` of task `(image, head)` in storage where each token has `parts · heads · head_dim` elements: of
    /// packed `qkv`, 0 is q, 1 is k and 2 is v.
    fn part<T>(self, packed: &[T], parts: usize, task: usize, which: usize) -> Mat<'_, T> {
        let (image, head) = (task / self.heads, task % self.heads);
        let row = parts * self.heads * self.head_dim;
        let start = image * self.tokens * row + (which * self.heads + head) * self.head_dim;
        Mat::strided(&packed[start..], self.tokens, self.head_dim, row)
    }

    fn scale<T: Float>(self) -> T {
        T::of((self.head_dim as f64).powf(-0.5))
    }

    /// Whether `cuda/attention_mma.cu` has kernels for this.
    fn fits_tensor_cores(self, dtype: DType) -> bool {
        dtype != dtype.wide() && self.head_dim <= TILE
    }

    /// As kernels take them: tokens, heads, head width, the stored widths of y, mask and qkv.
    fn of_kernels(self, mask: Option<&Tensor>, qkv: &Tensor) -> Result<[i32; 6]> {
        let y_stride = (self.heads * self.head_dim).next_multiple_of(ALIGN);
        let mask_stride = mask.map_or(0, Tensor::stored_width);
        gpu::sizes([self.tokens * qkv.stored_width()])?; // they count an image's elements in 32 bits
        gpu::sizes([self.tokens, self.heads, self.head_dim, y_stride, mask_stride, qkv.stored_width()])
    }

    /// `[B, heads, parts, N, head_dim] -> [B, N, parts · heads · head_dim]`.
    fn pack<T: Float>(self, by_head: &Tensor, parts: usize) -> Result<Tensor> {
        let Self { batch, tokens: n, heads, head_dim: d } = self;
        let (rows, cols) = (Mat::<T>::of(by_head)?, parts * heads * d);
        cpu::new_rows::<T>(
            [batch, n, cols],
            cols,
            #[inline(always)]
            |r, out| {
                let (image, token) = (r / n, r % n);
                for (k, out) in out.chunks_mut(d).enumerate() {
                    let (part, head) = (k / heads, k % heads);
                    out.copy_from_slice(rows.row(((image * heads + head) * parts + part) * n + token));
                }
            },
        )
    }
}

/// `o [B, N, heads · head_dim]` from `qkv [B, N, 3 · heads · head_dim]`; keys whose mask (`[B, N]`, 0 or 1, in the wide
/// type) is 0 are not attended to.
pub fn attention(qkv: &Var, heads: usize, head_dim: usize, key_mask: Option<&Tensor>) -> Result<Var> {
    let size = Size::of(qkv.tensor(), heads, head_dim)?;
    let (batch, n, dtype) = (size.batch, size.tokens, qkv.dtype());
    key_mask.map_or(Ok(()), |mask| qkv.tensor().check_device(OP, mask))?;
    if let Some(mask) = key_mask.filter(|m| m.numel() != batch * n || m.dtype() != dtype.wide()) {
        return Err(Error::shape(OP, format!("key mask [{batch}, {n}] {:?}", dtype.wide()), mask.shape()));
    }
    // On a GPU rows of the mask have to lie as rows of [batch, tokens] do.
    let mask = key_mask.map(|mask| mask.reshape([batch, n])).transpose()?;
    let saved = qkv.tensor().clone();
    let Some(gpu) = qkv.tensor().gpu() else {
        let o = float_dispatch!(OP, dtype, T => forward::<T>(size, &saved, mask.as_ref()))?;
        return Ok(record_one(OP, &[qkv.handle()], o, move |back, dy| {
            back.add(0, float_dispatch!(OP, dtype, T => backward::<T>(size, &saved, mask.as_ref(), &dy))?)
        }));
    };
    let mut o = saved.new_empty([batch, n, heads * head_dim])?;
    // Of every query's softmax: maximum and scale; on tensor cores the logarithm of the sum.
    let on_tensor_cores = size.fits_tensor_cores(dtype);
    let numbers = if on_tensor_cores { 1 } else { 2 };
    let mut stats = qkv.is_tracked().then(|| saved.new_wide([batch, heads, n, numbers])).transpose()?;
    let into = Outputs { y: o.address_mut()?, stats: stats.as_mut().map_or(Ok(0), Tensor::address_mut)?, map: 0 };
    let forward_on = if on_tensor_cores { forward_mma } else { forward_on };
    forward_on(gpu, size, &saved, mask.as_ref(), into)?;
    let of_backward = stats.map(|stats| (o.clone(), stats));
    Ok(record_one(OP, &[qkv.handle()], o, move |back, dy| {
        let Some((y, stats)) = of_backward else { return Ok(()) };
        let backward_on = if on_tensor_cores { backward_mma } else { backward_on };
        back.add(0, backward_on(gpu, size, [&saved, &y, &stats], mask.as_ref(), &dy)?)
    }))
}

/// The maps `[B, heads, N, N]` that [`attention`] never writes: for pictures, tests and methods that read them.
pub fn attention_map(qkv: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
    let size = Size::of(qkv, heads, head_dim)?;
    let n = size.tokens;
    if let Some(gpu) = qkv.gpu() {
        let mut map = qkv.new_empty([size.batch, heads, n, n])?;
        let into = Outputs { map: map.address_mut()?, ..Outputs::default() };
        return forward_on(gpu, size, qkv, None, into).map(|()| map);
    }
    float_dispatch!(OP, qkv.dtype(), T => {
        let qkv = qkv.slice::<T>()?;
        cpu::new_rows::<T>([size.batch, heads, n, n], n * n, #[inline(always)] |task, p| map(size, qkv, None, task, p))
    })
}

/// `p = softmax(c q kᵀ)` of one task.
fn map<T: Float>(size: Size, qkv: &[T], mask: Option<&[T]>, task: usize, p: &mut [T]) {
    let n = size.tokens;
    gemm(size.scale(), size.part(qkv, 3, task, 0), size.part(qkv, 3, task, 1).t(), T::zero(), p, n);
    softmax_rows(p, n, mask.map(|m| &m[task / size.heads * n..][..n]));
}

/// The softmax of every row of `n` scores.
pub(super) fn softmax_rows<T: Float>(p: &mut [T], n: usize, mask: Option<&[T]>) {
    cpu::simd(
        #[inline(always)]
        || {
            for row in p.chunks_mut(n.max(1)) {
                softmax_row(row, mask);
            }
        },
    );
}

fn forward<T: Float>(size: Size, qkv: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let Size { batch, tokens: n, heads, head_dim: d } = size;
    let mut by_head = Tensor::empty([batch, heads, n, d], qkv.dtype());
    let (qkv, mask) = (qkv.slice::<T>()?, mask.map(Tensor::slice::<T>).transpose()?);
    by_head.slice_mut::<T>()?.par_chunks_mut((n * d).max(1)).enumerate().for_each_init(
        || vec![T::zero(); n * n],
        |p, (task, o)| {
            map(size, qkv, mask, task, p);
            gemm(T::one(), Mat::new(p, n, n), size.part(qkv, 3, task, 2), T::zero(), o, d);
        },
    );
    size.pack::<T>(&by_head, 1)
}

fn backward<T: Float>(size: Size, qkv: &Tensor, mask: Option<&Tensor>, dy: &Tensor) -> Result<Tensor> {
    let Size { batch, tokens: n, heads, head_dim: d } = size;
    let mut by_head = Tensor::empty([batch, heads, 3, n, d], qkv.dtype());
    let (qkv, mask, dy) = (qkv.slice::<T>()?, mask.map(Tensor::slice::<T>).transpose()?, dy.slice::<T>()?);
    by_head.slice_mut::<T>()?.par_chunks_mut((3 * n * d).max(1)).enumerate().for_each_init(
        || (vec![T::zero(); n * n], vec![T::zero(); n * n]),
        |(p, ds), (task, out)| {
            let dout = size.part(dy, 1, task, 0);
            let [q, k, v] = [0, 1, 2].map(|which| size.part(qkv, 3, task, which));
            map(size, qkv, mask, task, p);
            head_gradients([n, d], size.scale(), [q, k, v, dout], p, ds, out);
        },
    );
    size.pack::<T>(&by_head, 3)
}

/// `ds` and, one behind the other in `out`, `dq`, `dk` and `dv` of one head of `n` tokens and `d` columns, from its map `p`.
pub(super) fn head_gradients<T: Float>(
    [n, d]: [usize; 2], scale: T, [q, k, v, dout]: [Mat<T>; 4], p: &[T], ds: &mut [T], out: &mut [T],
) {
    gemm(T::one(), dout, v.t(), T::zero(), ds, n);
    cpu::simd(
        #[inline(always)]
        || {
            for (ds, p) in ds.chunks_mut(n.max(1)).zip(p.chunks(n.max(1))) {
                softmax_row_gradient(ds, p);
            }
        },
    );
    let (dq, rest) = out.split_at_mut(n * d);
    let (dk, dv) = rest.split_at_mut(n * d);
    gemm(scale, Mat::new(ds, n, n), k, T::zero(), dq, d);
    gemm(scale, Mat::new(ds, n, n).t(), q, T::zero(), dk, d);
    gemm(T::one(), Mat::new(p, n, n).t(), dout, T::zero(), dv, d);
}

/// Addresses that the forward kernel writes to, 0 for what is not wanted.
#[derive(Default)]
struct Outputs {
    y: u64,
    stats: u64,
    map: u64,
}

/// Threads of a block, and the tile of `cuda/common/attend.cuh`: columns, and elements from row to row.
pub(super) const BLOCK: u32 = 128;
pub(super) const TILE: usize = 64;
const PITCH: usize = TILE + 4;
/// Warps that a multiprocessor has registers for, as `cuda/attention_mma.cu` uses them, and warps that keep its tensor cores
/// busy, one for each quarter: a block of fewer takes longer to fill its shared memory and has nothing for it.
const MMA_WARPS: usize = 12;
const QUARTERS: usize = 4;

/// How `cuda/common/attend.cuh` takes the forward pass of `tasks` heads of `tokens` tokens: as many queries a block (`rows`) as its
/// shared memory has room for the scores of; for longer rows there is a tensor.
pub(super) struct Cut {
    pub rows: usize,
    pub grid: Grid,
    pub scores: Option<Tensor>,
}

impl Cut {
    pub(super) fn new(gpu: &Gpu, qkv: &Tensor, tasks: usize, tokens: usize) -> Result<Self> {
        let (wide, pitch) = (qkv.dtype().wide(), tokens.next_multiple_of(4));
        let shared = |rows: usize, pitch: usize| ((rows + TILE) * PITCH + rows * (1 + pitch)) * wide.size();
        let choices: &[usize] = if wide == DType::F32 { &[32, 16, 8] } else { &[8] };
        let fitting = choices.iter().find(|rows| shared(**rows, pitch) <= gpu.limits().shared);
        let rows = fitting.copied().unwrap_or(8);
        let scores = match fitting {
            Some(_) => None,
            None => Some(qkv.new_wide([tasks, tokens.next_multiple_of(rows), pitch, 1])?),
        };
        let shared = shared(rows, if scores.is_some() { 0 } else { pitch });
        Ok(Self { rows, grid: grid(tasks, tokens, rows, shared), scores })
    }
}

/// A block for each of `tasks` and each `rows` tokens.
fn grid(tasks: usize, tokens: usize, rows: usize, shared: usize) -> Grid {
    Grid::blocks([tasks, tokens.div_ceil(rows), 1]).threads(BLOCK).shared(shared)
}

/// The same for gradients, with shared memory for `tiles` of rows and what is found from them.
pub(super) fn gradient_grid(wide: DType, tasks: usize, tokens: usize, tiles: usize) -> Grid {
    let rows = if wide == DType::F32 { 32 } else { 8 };
    grid(tasks, tokens, rows, (2 * TILE + (1 + tiles) * rows) * PITCH * wide.size())
}

/// The forward pass on a GPU.
fn forward_on(gpu: &Gpu, size: Size, qkv: &Tensor, mask: Option<&Tensor>, into: Outputs) -> Result<()> {
    let cut = Cut::new(gpu, qkv, size.batch * size.heads, size.tokens)?;
    let [tokens, heads, head_dim, y_stride, mask_stride, stride] = size.of_kernels(mask, qkv)?;
    let args = params::AttentionFwd {
        y: into.y,
        map: into.map,
        stats: into.stats,
        scores: address_of(cut.scores.as_ref())?,
        qkv: qkv.address()?,
        mask: address_of(mask)?,
        scale: size.scale(),
        tokens,
        heads,
        head_dim,
        stride,
        y_stride,
        mask_stride,
        rows: cut.rows as i32,
        unused: 0,
    };
    gpu.launch(qkv.dtype(), cut.grid, &args)
}

/// `dqkv` on a GPU: the gradients of the queries, then those of keys and values.
fn backward_on(
    gpu: &Gpu, size: Size, [qkv, y, stats]: [&Tensor; 3], mask: Option<&Tensor>, dy: &Tensor,
) -> Result<Tensor> {
    let (dtype, wide) = (qkv.dtype(), qkv.dtype().wide());
    let grid = |tiles: usize| gradient_grid(wide, size.batch * size.heads, size.tokens, tiles);
    let mut dqkv = qkv.new_empty(qkv.shape())?;
    let mut delta = qkv.new_wide([size.batch, size.heads, size.tokens, 1])?;
    let [tokens, heads, head_dim, y_stride, mask_stride, stride] = size.of_kernels(mask, qkv)?;
    let of_queries = params::AttentionBwdQ {
        dqkv: dqkv.address_mut()?,
        delta: delta.address_mut()?,
        dy: dy.address()?,
        y: y.address()?,
        qkv: qkv.address()?,
        mask: address_of(mask)?,
        stats: stats.address()?,
        scale: size.scale(),
        tokens,
        heads,
        head_dim,
        stride,
        y_stride,
        mask_stride,
    };
    gpu.launch(dtype, grid(2), &of_queries)?;
    let params::AttentionBwdQ { dqkv: to, delta, dy, qkv, mask, stats, scale, .. } = of_queries;
    let of_keys = params::AttentionBwdKv {
        dqkv: to,
        delta,
        dy,
        qkv,
        mask,
        stats,
        scale,
        tokens,
        heads,
        head_dim,
        stride,
        y_stride,
        mask_stride,
    };
    gpu.launch(dtype, grid(3), &of_keys).map(|()| dqkv)
}

/// How `cuda/attention_mma.cu` is cut: `tile` rows a warp, and in shared memory `stage` rows of two matrices at a time, with
/// `beside` bytes for each.
fn cut_mma(gpu: &Gpu, size: Size, blocks: usize, tile: usize, beside: usize) -> (Grid, usize) {
    let Size { tokens, head_dim, .. } = size;
    let (limits, columns) = (gpu.limits(), if head_dim <= 32 { 32 } else { 64 });
    let bytes = |stage: usize| stage * (2 * columns * 2 + beside);
    // All rows if they fit; else the fewest stages of equal length.
    let stage = |stages: usize| tokens.div_ceil(stages).next_multiple_of(if stages == 1 { 16 } else { 32 });
    let stages = (1..).find(|stages| bytes(stage(*stages)) <= limits.shared).unwrap_or(tokens);
    let shared = bytes(stage(stages));
    // A multiprocessor holds MMA_WARPS; its blocks share them, in rounds of equal length.
    let tiles = tokens.div_ceil(tile).max(1);
    let resident = (limits.shared / (shared + 1024)).clamp(1, MMA_WARPS);
    let rounds = tiles.div_ceil((MMA_WARPS / resident).max(QUARTERS));
    // With few blocks the rounds are blocks of their own, and as short as makes sense; with several stages they always are.
    let wanted = (2 * limits.multiprocessors as usize).div_ceil(blocks.max(1));
    let rounds = rounds.max(wanted.min(tiles.div_ceil(QUARTERS)));
    let warps = tiles.div_ceil(rounds);
    let split = if stages > 1 { rounds } else { rounds.min(wanted) };
    (Grid::blocks([blocks, split, 1]).threads(32 * warps as u32).shared(shared), stage(stages))
}

/// The forward pass on tensor cores.
fn forward_mma(gpu: &Gpu, size: Size, qkv: &Tensor, mask: Option<&Tensor>, into: Outputs) -> Result<()> {
    let (grid, stage) = cut_mma(gpu, size, size.batch * size.heads, 32, 1);
    let [tokens, heads, head_dim, y_stride, mask_stride, stride] = size.of_kernels(mask, qkv)?;
    let args = params::AttentionMmaFwd {
        y: into.y,
        lse: into.stats,
        qkv: qkv.address()?,
        mask: address_of(mask)?,
        scale: size.scale(),
        tokens,
        heads,
        head_dim,
        stride,
        y_stride,
        mask_stride,
        stage: stage as i32,
        unused: 0,
    };
    gpu.launch(qkv.dtype(), grid, &args)
}

/// `dqkv` on tensor cores: two blocks for a head.
fn backward_mma(
    gpu: &Gpu, size: Size, [qkv, y, lse]: [&Tensor; 3], mask: Option<&Tensor>, dy: &Tensor,
) -> Result<Tensor> {
    let (grid, stage) = cut_mma(gpu, size, 2 * size.batch * size.heads, 16, 8);
    let [tokens, heads, head_dim, y_stride, mask_stride, stride] = size.of_kernels(mask, qkv)?;
    let mut dqkv = qkv.new_empty(qkv.shape())?;
    let args = params::AttentionMmaBwd {
        dqkv: dqkv.address_mut()?,
        dy: dy.address()?,
        y: y.address()?,
        qkv: qkv.address()?,
        mask: address_of(mask)?,
        lse: lse.address()?,
        scale: size.scale(),
        tokens,
        heads,
        head_dim,
        stride,
        y_stride,
        mask_stride,
        stage: stage as i32,
        unused: 0,
    };
    gpu.launch(qkv.dtype(), grid, &args).map(|()| dqkv)
}

/// The same by plain ops, one head at a time, for tests.
fn reference(qkv: &Var, heads: usize, head_dim: usize, mask: Option<&Tensor>) -> Result<Var> {
    let (batch, n) = (qkv.shape()[0], qkv.shape()[1]);
    let columns = |which: usize, head: usize| -> Vec<usize> {
        let start = (which * heads + head) * head_dim;
        (start..start + head_dim).collect()
    };
    // A row of keys for every query: [B, N, 1] · [B, 1, N].
    let ones = Var::constant(qkv.tensor().new_full([batch, n, 1], 1.0)?);
    let every_query = |keys: &Tensor| super::bmm(&ones, &Var::constant(keys.reshape([batch, 1, n])?), false);
    let mask = mask.map(every_query).transpose()?;
    let none = Var::constant(qkv.tensor().new_full([batch, n, heads * head_dim], 0.0)?);
    (0..heads).try_fold(none, |sum, head| {
        let [q, k, v] = [0, 1, 2].map(|which| super::gather_columns(qkv, &columns(which, head)));
        let scores = super::scale(&super::bmm(&q?, &k?, true)?, (head_dim as f64).powf(-0.5))?;
        let p = super::masked_softmax(&scores, mask.as_ref().map(Var::tensor))?;
        super::add(sum, &super::scatter_columns(&super::bmm(&p, &v?, false)?, &columns(0, head), heads * head_dim)?)
    })
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn instance(d: &mut Draw, masked: bool) -> Instance {
        let (batch, n, heads, head_dim) = (d.size(256), d.positive(197), d.positive(6), d.positive(64));
        let inner = heads * head_dim;
        let mask = masked.then(|| d.mask([batch, n])); // the first image has no key at all
        let inputs: Vec<Tensor> = [d.normal([batch, n, 3 * inner])].into_iter().chain(mask).collect();
        let mask = |v: &[Var]| v.get(1).map(|mask| mask.tensor().clone());
        let run = move |v: &[Var]| attention(&v[0], heads, head_dim, mask(v).as_ref());
        let plain = move |v: &[Var]| reference(&v[0], heads, head_dim, mask(v).as_ref());
        Instance::new(inputs, run).wide([1]).reference(plain).cost(batch * n * inner, 4 * batch * n * n * inner)
    }
    vec![
        Case::new("attention/plain", |d| instance(d, false)),
        Case::new("attention/key_mask", |d| instance(d, true).constant(1)),
        Case::new("attention/no_heads", |d| {
            let [batch, n] = d.sizes([256, 197]);
            Instance::new([d.normal([batch, n, 0])], |v| attention(&v[0], 0, 4, None))
        }),
    ]
}
