//! Attention inside the windows of a grid of tokens: per window and head
//! `o = softmax(q kᵀ · head_dim^-0.5 + bias + mask) v`.
//!
//! Windows of side `M` cut the grid after it was rolled by `shift` up and to the left. `bias_ij` is the head's entry of a table
//! for how far token `i` lies from token `j`; the mask is -100 between tokens that only the roll made neighbours, else 0. The
//! tokens stay where they are: roll, partition and both reversed are the index maps of [`Windows`] in the loads and stores.
//! Gradients: those of [`super::attention`](fn@super::attention); of the table: the sum of `ds` over windows and images, then over
//! the pairs `(i, j)` of an entry.

use super::attention::{BLOCK, Cut, TILE, gradient_grid, head_gradients, softmax_rows};
use super::prelude::*;
use crate::tensor::ALIGN;

const OP: &str = "window_attention";
/// What separates tokens that only the roll made neighbours.
const MASK: f64 = -100.0;
/// Windows of one partial sum of the table's gradient; on a GPU as in `cuda/window_attention.cu`.
const CHUNK: usize = 8;
const GPU_CHUNK: usize = 32;

/// How windows lie on a grid of `height · width` tokens: their side, and how far the grid is rolled before it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Windows {
    pub height: usize,
    pub width: usize,
    pub window: usize,
    pub shift: usize,
}

impl Windows {
    /// Tokens of a window.
    pub fn len(&self) -> usize {
        self.window * self.window
    }

    /// Whether windows hold no token.
    pub fn is_empty(&self) -> bool {
        self.window == 0
    }

    /// Windows of an image.
    pub fn count(&self) -> usize {
        (self.height / self.window) * (self.width / self.window)
    }

    /// Entries of a head's bias table.
    pub fn entries(&self) -> usize {
        (2 * self.window - 1).pow(2)
    }

    /// The window that token `token` of the grid is in, and its place there.
    fn place(self, token: usize) -> (usize, usize) {
        let (y, x) = (token / self.width + self.height - self.shift, token % self.width + self.width - self.shift);
        let (y, x, m) = (y % self.height, x % self.width, self.window);
        (y / m * (self.width / m) + x / m, y % m * m + x % m)
    }

    /// The token of every place of every window.
    fn tokens(self) -> Vec<usize> {
        let mut tokens = vec![0; self.height * self.width];
        for token in 0..tokens.len() {
            let (window, at) = self.place(token);
            tokens[window * self.len() + at] = token;
        }
        tokens
    }

    /// The table's entry for query `i` and key `j`.
    pub fn entry(&self, i: usize, j: usize) -> usize {
        let m = self.window;
        (i / m + m - 1 - j / m) * (2 * m - 1) + i % m + m - 1 - j % m
    }

    /// The parts of window `window` that the roll brought together, by the number of each place's part; `None`: it is whole.
    fn parts(self, window: usize) -> Option<Vec<u8>> {
        let (m, across) = (self.window, self.width / self.window);
        let last = [(window / across + 1) * m == self.height, (window % across + 1) * m == self.width];
        let behind = |at: usize, last: bool| u8::from(last && at >= m - self.shift);
        let part = |at: usize| behind(at / m, last[0]) + 2 * behind(at % m, last[1]);
        (self.shift > 0 && last.contains(&true)).then(|| (0..self.len()).map(part).collect())
    }

    /// What is added to the scores of window `window`, `[M², M²]`.
    pub fn mask(self, window: usize) -> Vec<f32> {
        let (n, parts) = (self.len(), self.parts(window));
        let mask = |at: usize| parts.as_ref().is_some_and(|parts| parts[at / n] != parts[at % n]);
        (0..n * n).map(|at| if mask(at) { MASK as f32 } else { 0.0 }).collect()
    }
}

/// Sizes of one call.
#[derive(Clone, Copy)]
struct Size {
    batch: usize,
    heads: usize,
    head_dim: usize,
    windows: Windows,
}

impl Size {
    fn of(qkv: &Var, table: &Var, windows: Windows, heads: usize, head_dim: usize) -> Result<Self> {
        let Windows { height, width, window, shift } = windows;
        let cut = window > 0 && shift < window && height.is_multiple_of(window) && width.is_multiple_of(window);
        Error::ensure(
            cut,
            OP,
            "windows that cut the grid evenly, rolled by less than their side",
            windows_of(windows),
        )?;
        let (packed, tokens) = (3 * heads * head_dim, height * width);
        let shape = qkv.shape();
        let fits = shape.len() == 3 && shape[1..] == [tokens, packed] && head_dim > 0;
        Error::ensure_shape(fits, OP, format_args!("qkv [batch, {tokens}, {packed}]"), shape)?;
        expect_wide(OP, "relative_position_bias_table", table, &[windows.entries(), heads], qkv.tensor())?;
        Ok(Self { batch: shape[0], heads, head_dim, windows })
    }

    fn scale<T: Float>(self) -> T {
        T::of((self.head_dim as f64).powf(-0.5))
    }

    /// Elements of a head of a window, and of its map.
    fn elements(self) -> [usize; 2] {
        [self.windows.len() * self.head_dim, self.windows.len().pow(2)]
    }

    /// Windows of the batch, and heads in all of them.
    fn all(self) -> [usize; 2] {
        let windows = self.batch * self.windows.count();
        [windows, windows * self.heads]
    }

    /// `[B · windows · heads, parts, M², head_dim] -> [B, tokens, parts · heads · head_dim]`.
    fn pack<T: Float>(self, by_window: &Tensor, parts: usize) -> Result<Tensor> {
        let Self { batch, heads, head_dim: d, windows } = self;
        let (rows, cols, tokens) = (Mat::<T>::of(by_window)?, parts * heads * d, windows.height * windows.width);
        cpu::new_rows::<T>(
            [batch, tokens, cols],
            cols,
            #[inline(always)]
            |r, out| {
                let (window, at) = windows.place(r % tokens);
                let window = r / tokens * windows.count() + window;
                for (k, out) in out.chunks_mut(d).enumerate() {
                    let (part, head) = (k / heads, k % heads);
                    out.copy_from_slice(rows.row(((window * heads + head) * parts + part) * windows.len() + at));
                }
            },
        )
    }
}

fn windows_of(Windows { height, width, window, shift }: Windows) -> String {
    format!("windows of {window} rolled by {shift} on a grid of {height} by {width}")
}

/// `o [B, H · W, heads · head_dim]` from `qkv [B, H · W, 3 · heads · head_dim]` as the linear layer wrote it and the table
/// `[(2M - 1)², heads]` in the wide type.
pub fn window_attention(qkv: &Var, table: &Var, windows: Windows, heads: usize, head_dim: usize) -> Result<Var> {
    let size = Size::of(qkv, table, windows, heads, head_dim)?;
    let (saved, table_, dtype) = (qkv.tensor().clone(), table.tensor().clone(), qkv.dtype());
    let handles = [qkv.handle(), table.handle()];
    let Some(gpu) = saved.gpu() else {
        let o = float_dispatch!(OP, dtype, T => Windowed::<T>::new(size, &saved, &table_)?.forward())?;
        return Ok(record_one(OP, &handles, o, move |back, dy| {
            let (dqkv, dtable) =
                float_dispatch!(OP, dtype, T => Windowed::<T>::new(size, &saved, &table_)?.backward(&dy))?;
            back.add(0, dqkv)?;
            back.add(1, dtable)
        }));
    };
    let mut o = saved.new_empty([size.batch, windows.height * windows.width, heads * head_dim])?;
    // Of every query's softmax: maximum and scale.
    let tracked = qkv.is_tracked() || table.is_tracked();
    let mut stats = tracked.then(|| saved.new_wide([size.all()[1], windows.len(), 2, 1])).transpose()?;
    let into = [o.address_mut()?, stats.as_mut().map_or(Ok(0), Tensor::address_mut)?];
    forward_on(gpu, size, [&saved, &table_], into)?;
    Ok(record_one(OP, &handles, o, move |back, dy| {
        let Some(stats) = stats else { return Ok(()) };
        let (dqkv, delta) = backward_on(gpu, size, [&saved, &table_, &stats], &dy)?;
        back.add(0, dqkv)?;
        back.slot(1, |out, accumulate| {
            table_gradient_on(gpu, size, [&saved, &table_, &stats, &delta], &dy, out, accumulate)
        })
    }))
}

/// The operands of one call on the processor.
struct Windowed<'a, T> {
    size: Size,
    qkv: &'a [T],
    tokens: Vec<usize>,
    /// `[heads, M², M²]`
    bias: Vec<T>,
}

impl<'a, T: Float> Windowed<'a, T> {
    fn new(size: Size, qkv: &'a Tensor, table: &'a Tensor) -> Result<Self> {
        let (table, n, heads) = (table.slice::<T>()?, size.windows.len(), size.heads);
        let pairs = |head: usize| (0..n * n).map(move |at| table[size.windows.entry(at / n, at % n) * heads + head]);
        let bias = (0..heads).flat_map(pairs).collect();
        Ok(Self { size, qkv: qkv.slice()?, tokens: size.windows.tokens(), bias })
    }

    /// The columns of a task's head in each of `parts` of a window's tokens, one part behind the other.
    fn gather(&self, packed: &[T], parts: usize, task: usize, to: &mut [T]) {
        let Size { heads, head_dim: d, windows, .. } = self.size;
        let (window, head, n) = (task / heads, task % heads, windows.len());
        let (image, window) = (window / windows.count(), window % windows.count());
        for (at, token) in self.tokens[window * n..][..n].iter().enumerate() {
            let row = (image * self.tokens.len() + token) * parts * heads * d;
            for part in 0..parts {
                to[(part * n + at) * d..][..d].copy_from_slice(&packed[row + (part * heads + head) * d..][..d]);
            }
        }
    }

    /// `p = softmax(c q kᵀ + bias + mask)` of one task, from its gathered `qkv`.
    fn map(&self, task: usize, [q, k]: [Mat<T>; 2], p: &mut [T]) {
        let (n, pairs) = (self.size.windows.len(), p.len());
        p.copy_from_slice(&self.bias[task % self.size.heads * pairs..][..pairs]);
        if let Some(parts) = self.size.windows.parts(task / self.size.heads % self.size.windows.count()) {
            let mask = T::of(MASK);
            for (row, own) in p.chunks_mut(n).zip(&parts) {
                row.iter_mut().zip(&parts).for_each(|(p, part)| *p += if part == own { T::zero() } else { mask });
            }
        }
        gemm(self.size.scale(), q, k.t(), T::one(), p, n);
        softmax_rows(p, n, None);
    }

    fn forward(&self) -> Result<Tensor> {
        let (size, n, d) = (self.size, self.size.windows.len(), self.size.head_dim);
        let ([elements, pairs], [_, tasks]) = (size.elements(), size.all());
        let mut by_window = Tensor::empty([tasks, n, d], T::DTYPE);
        by_window.slice_mut::<T>()?.par_chunks_mut(elements).enumerate().for_each_init(
            || (vec![T::zero(); 3 * elements], vec![T::zero(); pairs]),
            |(qkv, p), (task, o)| {
                self.gather(self.qkv, 3, task, qkv);
                let [q, k, v] = [0, 1, 2].map(|part| Mat::new(&qkv[part * elements..], n, d));
                self.map(task, [q, k], p);
                gemm(T::one(), Mat::new(p, n, n), v, T::zero(), o, d);
            },
        );
        size.pack::<T>(&by_window, 1)
    }

    /// The gradients of qkv and of the table.
    fn backward(&self, dy: &Tensor) -> Result<(Tensor, Tensor)> {
        let (size, n, d, dy) = (self.size, self.size.windows.len(), self.size.head_dim, dy.slice::<T>()?);
        let ([elements, pairs], [windows, tasks], heads) = (size.elements(), size.all(), size.heads);
        let mut by_window = Tensor::empty([tasks, 3, n, d], T::DTYPE);
        let mut partials = vec![T::zero(); windows.div_ceil(CHUNK) * heads * pairs];
        let chunks = by_window.slice_mut::<T>()?.par_chunks_mut((CHUNK * heads * 3 * elements).max(1));
        let chunks = chunks.zip(partials.par_chunks_mut((heads * pairs).max(1))).enumerate();
        chunks.for_each(|(chunk, (out, sums))| {
            let [mut qkv, mut dout] = [3, 1].map(|parts| vec![T::zero(); parts * elements]);
            let [mut p, mut ds] = [(); 2].map(|()| vec![T::zero(); pairs]);
            for (k, out) in out.chunks_mut(3 * elements).enumerate() {
                let task = chunk * CHUNK * heads + k;
                self.gather(self.qkv, 3, task, &mut qkv);
                self.gather(dy, 1, task, &mut dout);
                let [q, k, v] = [0, 1, 2].map(|part| Mat::new(&qkv[part * elements..], n, d));
                self.map(task, [q, k], &mut p);
                head_gradients([n, d], size.scale(), [q, k, v, Mat::new(&dout, n, d)], &p, &mut ds, out);
                sums[task % heads * pairs..][..pairs].iter_mut().zip(&ds).for_each(|(sum, ds)| *sum += *ds);
            }
        });
        Ok((size.pack::<T>(&by_window, 3)?, self.table_gradient(&partials)?))
    }

    /// The entries of the table from partial sums `[chunks, heads, M², M²]`.
    fn table_gradient(&self, partials: &[T]) -> Result<Tensor> {
        let Size { heads, windows, .. } = self.size;
        let (n, mut dtable) = (windows.len(), Tensor::zeros([windows.entries(), heads], T::DTYPE));
        let out = dtable.slice_mut::<T>()?;
        let mut sums = vec![T::zero(); heads * n * n];
        for partial in partials.chunks((heads * n * n).max(1)) {
            sums.iter_mut().zip(partial).for_each(|(sum, partial)| *sum += *partial);
        }
        for (at, sum) in sums.iter().enumerate() {
            let (head, pair) = (at / (n * n), at % (n * n));
            out[windows.entry(pair / n, pair % n) * heads + head] += *sum;
        }
        Ok(dtable)
    }
}

/// The arguments of a kernel: its own fields, and the sizes that all kernels are given.
macro_rules! args {
    ($name:ident, $size:expr, $qkv:expr, $table:expr, { $($field:ident: $value:expr),* $(,)? }) => {{
        let Size { heads, head_dim, windows: Windows { height, width, window, shift }, .. } = $size;
        gpu::sizes([height * width * $qkv.stored_width()])?; // kernels count an image's elements in 32 bits
        let [stride, table_stride] = [$qkv.stored_width(), $table.stored_width()];
        let [tokens, heads, head_dim, stride, y_stride, table_stride] = gpu::sizes([
            window * window, heads, head_dim, stride, (heads * head_dim).next_multiple_of(ALIGN), table_stride,
        ])?;
        let [height, width, window, shift] = gpu::sizes([height, width, window, shift])?;
        let (qkv, table, scale) = ($qkv.address()?, $table.address()?, $size.scale());
        params::$name {
            $($field: $value,)* qkv, table, scale, tokens, heads, head_dim, stride, y_stride, table_stride, height, width,
            window, shift,
        }
    }};
}

/// The forward pass on a GPU, to the addresses of the result and, unless it is 0, of the statistics.
fn forward_on(gpu: &Gpu, size: Size, [qkv, table]: [&Tensor; 2], [y, stats]: [u64; 2]) -> Result<()> {
    let cut = Cut::new(gpu, qkv, size.all()[1], size.windows.len())?;
    let (scores, rows) = (address_of(cut.scores.as_ref())?, cut.rows as i32);
    let args =
        args!(WindowAttentionFwd, size, qkv, table, { y: y, stats: stats, scores: scores, rows: rows, unused: 0 });
    gpu.launch(qkv.dtype(), cut.grid, &args)
}

/// `dqkv` on a GPU, and `sum of p (dy vᵀ)` of every query.
fn backward_on(gpu: &Gpu, size: Size, [qkv, table, stats]: [&Tensor; 3], dy: &Tensor) -> Result<(Tensor, Tensor)> {
    let ([_, tasks], dtype) = (size.all(), qkv.dtype());
    let grid = |tiles: usize| gradient_grid(dtype.wide(), tasks, size.windows.len(), tiles);
    let mut dqkv = qkv.new_empty(qkv.shape())?;
    let mut delta = qkv.new_wide([tasks, size.windows.len(), 1, 1])?;
    let (to, delta_, dy, stats) = (dqkv.address_mut()?, delta.address_mut()?, dy.address()?, stats.address()?);
    let of_queries = args!(WindowAttentionBwdQ, size, qkv, table, { dqkv: to, delta: delta_, dy: dy, stats: stats });
    gpu.launch(dtype, grid(2), &of_queries)?;
    let of_keys = args!(WindowAttentionBwdKv, size, qkv, table, { dqkv: to, delta: delta_, dy: dy, stats: stats });
    gpu.launch(dtype, grid(3), &of_keys)?;
    Ok((dqkv, delta))
}

/// The gradient of the table on a GPU.
fn table_gradient_on(
    gpu: &Gpu, size: Size, [qkv, table, stats, delta]: [&Tensor; 4], dy: &Tensor, out: &mut Tensor, accumulate: bool,
) -> Result<()> {
    let ([windows, _], [_, pairs], dtype) = (size.all(), size.elements(), qkv.dtype());
    let chunks = windows.div_ceil(GPU_CHUNK);
    // Every pair of every head is written; what lies behind the rows comes into no sum.
    let mut partials = Tensor::uncleared_on(qkv.device(), [chunks, size.heads * pairs], dtype.wide())?;
    let [windows] = gpu::sizes([windows])?;
    let (to, dy, stats, delta) = (partials.address_mut()?, dy.address()?, stats.address()?, delta.address()?);
    let args = args!(WindowAttentionBwdBias, size, qkv, table, {
        partials: to, dy: dy, stats: stats, delta: delta, windows: windows, unused: 0,
    });
    let grid = gradient_grid(dtype.wide(), chunks * size.heads, size.windows.len(), 1);
    gpu.launch(dtype, grid.deep(size.windows.len().div_ceil(TILE)), &args)?;
    let mut sums = qkv.new_wide([size.heads * pairs])?;
    gpu.add_partials(&partials, [0, 1], &mut sums, false)?;
    let [heads, stride, window] = gpu::sizes([size.heads, out.stored_width(), size.windows.window])?;
    let (count, to, sums) = (out.numel(), out.address_mut()?, sums.address()?);
    let args = params::WindowAttentionTable { out: to, sums, heads, stride, window, accumulate: accumulate.into() };
    gpu.launch(out.dtype(), Grid::blocks([count.div_ceil(BLOCK as usize), 1, 1]).threads(BLOCK), &args)
}

/// The same by plain ops, one window and head at a time, for tests.
fn reference(qkv: &Var, table: &Var, windows: Windows, heads: usize, head_dim: usize) -> Result<Var> {
    let (batch, grid, n) = (qkv.shape()[0], windows.height * windows.width, windows.len());
    // The columns of a head in the flattened tokens of a window, where each token has so many parts.
    let columns = |window: usize, parts: usize, part: usize, head: usize| -> Vec<usize> {
        let tokens = &windows.tokens()[window * n..][..n];
        let start = move |token: &usize| ((token * parts + part) * heads + head) * head_dim;
        tokens.iter().flat_map(|token| start(token)..start(token) + head_dim).collect()
    };
    let flat = qkv.reshape([batch, grid * 3 * heads * head_dim])?;
    let entries = table.reshape([1, windows.entries() * heads])?;
    let none = Var::constant(qkv.tensor().new_full([batch, grid * heads * head_dim], 0.0)?);
    let tasks = (0..windows.count()).flat_map(|window| (0..heads).map(move |head| (window, head)));
    let sum = tasks.into_iter().try_fold(none, |sum, (window, head)| {
        let part =
            |part: usize| super::gather_columns(&flat, &columns(window, 3, part, head))?.reshape([batch, n, head_dim]);
        let places: Vec<usize> = (0..n * n).map(|at| windows.entry(at / n, at % n) * heads + head).collect();
        let bias = super::gather_columns(&entries, &places)?.reshape([n * n])?;
        let scores = super::scale(&super::bmm(&part(0)?, &part(1)?, true)?, (head_dim as f64).powf(-0.5))?;
        let scores = super::add_bias(&scores.reshape([batch, n * n])?, &bias)?;
        let mask = Tensor::from_slice([n * n], &windows.mask(window))?.to_dtype(table.dtype())?;
        let mask = Var::constant(mask.to_device(qkv.tensor().device())?);
        let p = super::softmax(&super::add_bias(&scores, &mask)?.reshape([batch, n, n])?)?;
        let o = super::bmm(&p, &part(2)?, false)?.reshape([batch, n * head_dim])?;
        super::add(sum, &super::scatter_columns(&o, &columns(window, 1, 0, head), grid * heads * head_dim)?)
    })?;
    sum.reshape([batch, grid, heads * head_dim])
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn instance(d: &mut Draw, shifted: bool) -> Instance {
        let (batch, down, across, heads) = (d.size(64), d.positive(8), d.positive(8), d.positive(3));
        let (head_dim, window) = (d.positive(32), d.positive(7));
        let shift = if shifted { window / 2 } else { 0 };
        let windows = Windows { height: down * window, width: across * window, window, shift };
        let (tokens, inner) = (windows.height * windows.width, heads * head_dim);
        let inputs = [d.normal([batch, tokens, 3 * inner]), d.normal([windows.entries(), heads])];
        let run = move |v: &[Var]| window_attention(&v[0], &v[1], windows, heads, head_dim);
        let plain = move |v: &[Var]| reference(&v[0], &v[1], windows, heads, head_dim);
        let operations = 4 * batch * tokens * windows.len() * inner;
        Instance::new(inputs, run).wide([1]).reference(plain).cost(batch * tokens * inner, operations)
    }
    vec![
        Case::new("window_attention/plain", |d| instance(d, false)),
        Case::new("window_attention/shifted", |d| instance(d, true)),
    ]
}
