//! Picking tokens and columns: `y[i] = x[i, token]`, `y[.., j] = x[.., columns[j]]`, and the reverse of the latter.
//!
//! Gradients put each number back where it came from; a column picked twice receives the sum.

use super::prelude::*;

const OP: &str = "select";

/// Token `index` of every image: `x [B, N, D] -> [B, D]`.
pub fn select_token(x: &Var, index: usize) -> Result<Var> {
    let shape = *x.shape();
    Error::ensure_shape(
        shape.len() == 3 && index < shape[1],
        OP,
        format_args!("[batch, more than {index} tokens, width]"),
        shape,
    )?;
    let (tokens, width) = (shape[1], shape[2]);
    let y = float_dispatch!(OP, x.dtype(), T => {
        let xs = Mat::<T>::of(x.tensor())?;
        cpu::new_rows::<T>([shape[0], width], width, |i, y| y.copy_from_slice(xs.row(i * tokens + index)))
    })?;
    Ok(record_one("select_token", &[x.handle()], y, move |back, dy| {
        let mut dx = Tensor::zeros(shape, dy.dtype());
        float_dispatch!(OP, dy.dtype(), T => {
            let dy = Mat::<T>::of(&dy)?;
            cpu::each_row::<T>(&mut dx, tokens * width, |i, dx| {
                dx[index * width..][..width].copy_from_slice(dy.row(i));
            })
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
    float_dispatch!(OP, x.dtype(), T => {
        let xs = Mat::<T>::of(x)?;
        cpu::new_rows::<T>(x.shape().with_last(columns.len()), columns.len(), |r, y| {
            let x = xs.row(r);
            y.iter_mut().zip(columns).for_each(|(y, c)| *y = x[*c]);
        })
    })
}

fn scatter(x: &Tensor, columns: &[usize], width: usize) -> Result<Tensor> {
    float_dispatch!(OP, x.dtype(), T => {
        let xs = Mat::<T>::of(x)?;
        cpu::new_rows::<T>(x.shape().with_last(width), width, |r, y| {
            y.fill(0.0);
            xs.row(r).iter().zip(columns).for_each(|(x, c)| y[*c] += *x);
        })
    })
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("select/token", |d| {
            let [batch, tokens, width] = [d.size(64), d.positive(197), d.size(384)];
            let inputs = [d.normal([batch, tokens, width])];
            Instance::new(inputs, move |v| select_token(&v[0], tokens / 2)).cost(batch * width, 0)
        }),
        Case::new("select/columns", |d| {
            let (rows, cols, picked) = (d.size(64 * 197), d.positive(384), d.size(200));
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
