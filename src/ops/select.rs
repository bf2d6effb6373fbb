//! Picking tokens and columns: `y[i] = x[i, token]`, `y[.., j] = x[.., columns[j]]`, and the reverse of the latter.
//!
//! Gradients put each number back where it came from; a column picked twice receives the sum.

use super::case::{Case, Draw, Instance};
use crate::tape::record_one;
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Error, Result, Var};

const OP: &str = "select";

/// Token `index` of every image: `x [B, N, D] -> [B, D]`.
pub fn select_token(x: &Var, index: usize) -> Result<Var> {
    let shape = *x.shape();
    if shape.len() != 3 || index >= shape[1] {
        return Err(Error::shape(OP, format!("[batch, more than {index} tokens, width]"), shape));
    }
    let (tokens, width) = (shape[1], shape[2]);
    let y = float_dispatch!(OP, x.dtype(), T => {
        let mut y = Tensor::empty([shape[0], width], x.dtype());
        let xs = x.tensor().slice::<T>()?;
        for (i, row) in y.slice_mut::<T>()?.chunks_mut(width.max(1)).enumerate() {
            row.copy_from_slice(&xs[(i * tokens + index) * width..][..width]);
        }
        Ok(y)
    })?;
    Ok(record_one("select_token", &[x.handle()], y, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        let mut dx = Tensor::zeros(shape, dy.dtype());
        float_dispatch!(OP, dy.dtype(), T => {
            let dxs = dx.slice_mut::<T>()?;
            for (i, row) in dy.slice::<T>()?.chunks(width.max(1)).enumerate() {
                dxs[(i * tokens + index) * width..][..width].copy_from_slice(row);
            }
            Ok(())
        })?;
        back.add(0, dx)
    }))
}

/// Columns `columns` of the last axis, in that order.
pub fn gather_columns(x: &Var, columns: &[usize]) -> Result<Var> {
    let cols = x.shape().rows_cols().1;
    check(columns, cols)?;
    let y = gather(x.tensor(), columns)?;
    let picked = columns.to_vec();
    Ok(record_one("gather_columns", &[x.handle()], y, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        back.add(0, scatter(&dy, &picked, cols)?)
    }))
}

/// Puts column `j` of `x` at `columns[j]` of a last axis `width` long, zeros elsewhere, repeats added.
pub fn scatter_columns(x: &Var, columns: &[usize], width: usize) -> Result<Var> {
    check(columns, width)?;
    if x.shape().rows_cols().1 != columns.len() {
        return Err(Error::shape(OP, format!("{} columns", columns.len()), x.shape()));
    }
    let y = scatter(x.tensor(), columns, width)?;
    let picked = columns.to_vec();
    Ok(record_one("scatter_columns", &[x.handle()], y, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        back.add(0, gather(&dy, &picked)?)
    }))
}

fn check(columns: &[usize], width: usize) -> Result<()> {
    match columns.iter().find(|c| **c >= width) {
        Some(bad) => Err(Error::shape(OP, format!("columns below {width}"), bad)),
        None => Ok(()),
    }
}

fn gather(x: &Tensor, columns: &[usize]) -> Result<Tensor> {
    let cols = x.shape().rows_cols().1;
    let mut y = Tensor::empty(x.shape().with_last(columns.len()), x.dtype());
    float_dispatch!(OP, x.dtype(), T => {
        let rows = x.slice::<T>()?.chunks(cols.max(1));
        for (out, row) in y.slice_mut::<T>()?.chunks_mut(columns.len().max(1)).zip(rows) {
            out.iter_mut().zip(columns).for_each(|(o, c)| *o = row[*c]);
        }
        Ok(())
    })?;
    Ok(y)
}

fn scatter(x: &Tensor, columns: &[usize], width: usize) -> Result<Tensor> {
    let mut y = Tensor::zeros(x.shape().with_last(width), x.dtype());
    float_dispatch!(OP, x.dtype(), T => add_at::<T>(&mut y, x, columns, width))?;
    Ok(y)
}

fn add_at<T: Float>(y: &mut Tensor, x: &Tensor, columns: &[usize], width: usize) -> Result<()> {
    let rows = x.slice::<T>()?.chunks(columns.len().max(1));
    for (out, row) in y.slice_mut::<T>()?.chunks_mut(width.max(1)).zip(rows) {
        row.iter().zip(columns).for_each(|(v, c)| out[*c] += *v);
    }
    Ok(())
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn token(d: &mut Draw) -> Result<Instance> {
        let (batch, tokens, width) = (d.size(64), d.positive(197), d.size(384));
        let index = tokens / 2;
        let run = move |v: &[Var]| Ok(vec![select_token(&v[0], index)?]);
        Ok(Instance::new(vec![d.normal([batch, tokens, width])], run).cost(batch * width, 0))
    }
    fn columns(d: &mut Draw) -> Result<Instance> {
        let (rows, cols, picked) = (d.size(64 * 197), d.positive(384), d.size(200));
        let picked: Vec<usize> = d.indices(picked, cols).to_f64s().iter().map(|v| *v as usize).collect();
        let n = rows * picked.len();
        let run = move |v: &[Var]| {
            let y = gather_columns(&v[0], &picked)?;
            Ok(vec![scatter_columns(&y, &picked, cols + 1)?, y])
        };
        Ok(Instance::new(vec![d.normal([rows, cols])], run).cost(2 * n, 0))
    }
    vec![Case::new("select/token", token), Case::new("select/columns", columns)]
}
