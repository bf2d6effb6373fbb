//! Picking tokens and columns: `y[i] = x[i, token]`, `y[.., j] = x[.., columns[j]]`, and the reverse of both.
//!
//! Gradients put each number back where it came from; a column picked twice receives the sum. On a GPU every call with
//! columns uploads their list, so it cannot be part of a captured graph: picking columns is for hooks of searches.

use super::prelude::*;
use crate::Shape;

const OP: &str = "select";

/// Token `index` of every image: `x [B, N, D] -> [B, D]`.
pub fn select_token(x: &Var, index: usize) -> Result<Var> {
    let (batch, width) = (x.tensor().dim(0), x.tensor().dim(2));
    take_tokens(x, index, 1, &[batch, width])
}

/// Tokens `first .. first + taken` of every image: `x [B, N, D] -> [B, taken, D]`.
pub fn slice_tokens(x: &Var, first: usize, taken: usize) -> Result<Var> {
    let (batch, width) = (x.tensor().dim(0), x.tensor().dim(2));
    take_tokens(x, first, taken, &[batch, taken, width])
}

fn take_tokens(x: &Var, first: usize, taken: usize, shape: &[usize]) -> Result<Var> {
    let from = *x.shape();
    let fits = from.len() == 3 && first.checked_add(taken).is_some_and(|end| end <= from[1]);
    Error::ensure_shape(
        fits,
        OP,
        format_args!("[batch, {} tokens or more, width]", first.saturating_add(taken)),
        from,
    )?;
    let y = tokens_of(x.tensor(), first, shape, taken)?;
    let put = move |dy: &Tensor| put_tokens(dy, from, first, taken);
    Ok(record_one("select_token", &[x.handle()], y, move |back, dy| back.add(0, put(&dy)?)))
}

/// The reverse of [`slice_tokens`]: `x [B, N, D]` between `before` and `after` tokens of zeros.
pub fn pad_tokens(x: &Var, before: usize, after: usize) -> Result<Var> {
    let from = *x.shape();
    Error::ensure_shape(from.len() == 3, "pad_tokens", "[batch, tokens, width]", from)?;
    let (taken, all) = (from[1], before.saturating_add(from[1]).saturating_add(after));
    Error::ensure_shape(all < 1 << 31, "pad_tokens", "fewer than 2^31 tokens", all)?;
    let y = put_tokens(x.tensor(), [from[0], all, from[2]].into(), before, taken)?;
    let take = move |dy: &Tensor| tokens_of(dy, before, &from, taken);
    Ok(record_one("pad_tokens", &[x.handle()], y, move |back, dy| back.add_wanted(0, || take(&dy))))
}

/// Tokens `first .. first + taken` of every image of `x [B, N, D]`, as `shape`.
pub(super) fn tokens_of(x: &Tensor, first: usize, shape: &[usize], taken: usize) -> Result<Tensor> {
    let [tokens, width] = [1, 2].map(|axis| x.dim(axis));
    if let Some(gpu) = x.gpu() {
        return tokens_on(gpu, x, first, shape, taken);
    }
    float_dispatch!(OP, x.dtype(), T => {
        let xs = x.slice::<T>()?;
        cpu::new_rows::<T>(shape, taken * width, #[inline(always)] |i, y| {
            y.copy_from_slice(&xs[(i * tokens + first) * width..][..taken * width]);
        })
    })
}

/// The reverse: `dy` in its place among zeros of `shape`.
fn put_tokens(dy: &Tensor, shape: Shape, first: usize, taken: usize) -> Result<Tensor> {
    let (tokens, width) = (shape[1], shape[2]);
    if let Some(gpu) = dy.gpu() {
        let mut dx = dy.new_empty(shape)?;
        let (y, x, count) = (dx.address_mut()?, dy.address()?, dx.stored_numel());
        let [tokens, first, taken, stride] = gpu::sizes([tokens, first, taken, dy.stored_width()])?;
        let args = params::PlaceTokens { y, x, count: count as i64, tokens, first, taken, stride };
        return gpu.launch(dy.dtype(), Grid::vecs(count, dy.dtype()), &args).map(|()| dx);
    }
    let mut dx = Tensor::zeros(shape, dy.dtype());
    float_dispatch!(OP, dy.dtype(), T => {
        let dy = dy.slice::<T>()?;
        cpu::each_row::<T>(&mut dx, tokens * width, #[inline(always)] |i, dx| {
            dx[first * width..][..taken * width].copy_from_slice(&dy[i * taken * width..][..taken * width]);
        })
    })?;
    Ok(dx)
}

/// Tokens `first .. first + taken` of every image of `x [B, N, D]` on a GPU, as `shape`.
fn tokens_on(gpu: &Gpu, x: &Tensor, first: usize, shape: &[usize], taken: usize) -> Result<Tensor> {
    let mut y = x.new_empty(shape)?;
    let (address, count) = (y.address_mut()?, y.stored_numel());
    let [tokens, first, taken, stride] = gpu::sizes([x.dim(1), first, taken, x.stored_width()])?;
    let args = params::SliceTokens { y: address, x: x.address()?, count: count as i64, tokens, first, taken, stride };
    gpu.launch(y.dtype(), Grid::vecs(count, y.dtype()), &args).map(|()| y)
}

/// Columns `columns` of the last axis, in that order.
pub fn gather_columns(x: &Var, columns: &[usize]) -> Result<Var> {
    let cols = x.shape().rows_cols().1;
    check(columns, cols)?;
    let y = gather(x.tensor(), columns)?;
    let picked = columns.to_vec();
    Ok(record_one("gather_columns", &[x.handle()], y, move |back, dy| back.add(0, scatter(&dy, &picked, cols)?)))
}

/// Puts column `j` of `x` at `columns[j]` of a last axis `width` long, zeros elsewhere, repeats added.
pub fn scatter_columns(x: &Var, columns: &[usize], width: usize) -> Result<Var> {
    check(columns, width)?;
    Error::ensure_shape(
        x.shape().rows_cols().1 == columns.len(),
        OP,
        format_args!("{} columns", columns.len()),
        x.shape(),
    )?;
    let y = scatter(x.tensor(), columns, width)?;
    let picked = columns.to_vec();
    Ok(record_one("scatter_columns", &[x.handle()], y, move |back, dy| back.add(0, gather(&dy, &picked)?)))
}

fn check(columns: &[usize], width: usize) -> Result<()> {
    match columns.iter().find(|c| **c >= width) {
        Some(bad) => Err(Error::shape(OP, format!("columns below {width}"), bad)),
        None => Ok(()),
    }
}

fn gather(x: &Tensor, columns: &[usize]) -> Result<Tensor> {
    if let Some(gpu) = x.gpu() {
        let starts = (0..=columns.len()).map(|c| columns.len() + 1 + c);
        return collect(gpu, x, &starts.chain(columns.iter().copied()).collect::<Vec<_>>(), columns.len());
    }
    float_dispatch!(OP, x.dtype(), T => {
        let xs = Mat::<T>::of(x)?;
        cpu::new_rows::<T>(x.shape().with_last(columns.len()), columns.len(), #[inline(always)] |r, y| {
            let x = xs.row(r);
            y.iter_mut().zip(columns).for_each(|(y, c)| *y = x[*c]);
        })
    })
}

fn scatter(x: &Tensor, columns: &[usize], width: usize) -> Result<Tensor> {
    if let Some(gpu) = x.gpu() {
        let mut places: Vec<usize> = (0..columns.len()).collect();
        places.sort_by_key(|&place| columns[place]); // stable: repeats are added in their order
        let starts = (0..=width).map(|c| width + 1 + places.partition_point(|&place| columns[place] < c));
        return collect(gpu, x, &starts.chain(places.iter().copied()).collect::<Vec<_>>(), width);
    }
    float_dispatch!(OP, x.dtype(), T => {
        let xs = Mat::<T>::of(x)?;
        cpu::new_rows::<T>(x.shape().with_last(width), width, #[inline(always)] |r, y| {
            y.fill(0.0);
            xs.row(r).iter().zip(columns).for_each(|(x, c)| y[*c] += *x);
        })
    })
}

/// On a GPU: column `c < width` as the sum of the columns `sources[sources[c] .. sources[c + 1]]` of `x`.
fn collect(gpu: &Gpu, x: &Tensor, sources: &[usize], width: usize) -> Result<Tensor> {
    let list = sources.iter().map(|&i| i32::try_from(i).map_err(|_| Error::shape(OP, "columns below 2^31", i)));
    let list = list.collect::<Result<Vec<i32>>>()?;
    let sources = Tensor::from_slice([list.len()], &list)?.to_device(gpu.device())?;
    let mut y = x.new_empty(x.shape().with_last(width))?;
    let (count, rows) = (y.stored_numel(), y.shape().rows_cols().0);
    let [rows, cols, stride, x_stride] = gpu::sizes([rows, width, y.stored_width(), x.stored_width()])?;
    let (address, x, sources) = (y.address_mut()?, x.address()?, sources.address()?);
    let args = params::CollectColumns { y: address, x, sources, rows, cols, stride, x_stride };
    gpu.launch(y.dtype(), Grid::elements(count), &args).map(|()| y)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("select/token", |d| {
            let [batch, tokens, width] = [d.size(512), d.positive(197), d.size(384)];
            let inputs = [d.normal([batch, tokens, width])];
            Instance::new(inputs, move |v| select_token(&v[0], tokens / 2)).cost(batch * width, 0)
        }),
        Case::new("select/tokens", |d| {
            let [batch, tokens, width] = d.sizes([512, 196, 384]);
            let inputs = [d.normal([batch, tokens + 1, width])];
            Instance::new(inputs, move |v| slice_tokens(&v[0], 1, tokens)).cost(batch * tokens * width, 0)
        }),
        Case::new("select/pad", |d| {
            let [batch, tokens, width] = d.sizes([512, 196, 384]);
            let (before, after) = (tokens % 3, tokens % 2);
            let written = batch * (before + tokens + after) * width;
            Instance::new([d.normal([batch, tokens, width])], move |v| pad_tokens(&v[0], before, after))
                .cost(written, 0)
        }),
        Case::new("select/columns", |d| {
            let (rows, cols, picked) = (d.size(512 * 197), d.positive(384), d.size(200));
            let picked = d.indices(picked, cols);
            let written = 2 * rows * picked.len();
            let run = move |v: &[Var]| {
                let y = gather_columns(&v[0], &picked)?;
                Ok([scatter_columns(&y, &picked, cols + 1)?, y])
            };
            Instance::new([d.normal([rows, cols])], run).cost(written, 0)
        }),
    ]
}
