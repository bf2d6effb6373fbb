//! Multiplicative gates and column-wise bias: `y[.., c] = x[.., c] · g[c / group]`, `y[.., c] = x[.., c] + b[c]`.
//!
//! `group` is the head width for a head gate on `[.., heads · head_dim]` and 1 for a channel gate. Gradients:
//! `dx = dy · g`, `dg[u] = sum over rows and the unit's columns of dy · x`, reduced in a fixed order (SAViT, eq. of the
//! first-order Taylor score, needs exactly this number).

use super::case::{Case, Draw, Instance};
use super::expect;
use crate::cpu;
use crate::tape::record_one;
use crate::tensor::{Float, Tensor, float_dispatch};
use crate::{Error, Result, Var};

const OP: &str = "gate";

/// `y[.., c] = x[.., c] · g[c / group]` for `g [cols / group]`.
pub fn gate(x: &Var, g: &Var, group: usize) -> Result<Var> {
    let cols = x.shape().rows_cols().1;
    if group == 0 || !cols.is_multiple_of(group) {
        return Err(Error::shape(OP, format!("units of {group} columns"), x.shape()));
    }
    expect(OP, "gate", g, &[cols / group], x)?;
    let y = float_dispatch!(OP, x.dtype(), T => times::<T>(x.tensor(), g.tensor(), group))?;
    let (xt, gt) = (x.tensor().clone(), g.tensor().clone());
    Ok(record_one(OP, &[x.handle(), g.handle()], y, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        float_dispatch!(OP, dy.dtype(), T => {
            back.slot(1, |dg, acc| unit_gradient::<T>(&dy, &xt, group, dg, acc))?;
            if back.wants(0) { back.add(0, times::<T>(&dy, &gt, group)?)? }
            Ok(())
        })
    }))
}

/// `y[.., c] = x[.., c] + b[c]`, the plain reference of the fused bias.
pub fn add_bias(x: &Var, b: &Var) -> Result<Var> {
    let cols = x.shape().rows_cols().1;
    expect("add_bias", "bias", b, &[cols], x)?;
    let y = float_dispatch!("add_bias", x.dtype(), T => {
        let (xs, bs) = (x.tensor().slice::<T>()?, b.tensor().slice::<T>()?);
        let mut y = Tensor::empty(*x.shape(), x.dtype());
        let sums = xs.chunks(cols.max(1)).flat_map(|row| row.iter().zip(bs).map(|(x, b)| *x + *b));
        y.slice_mut::<T>()?.iter_mut().zip(sums).for_each(|(y, v)| *y = v);
        Ok(y)
    })?;
    Ok(record_one("add_bias", &[x.handle(), b.handle()], y, move |back| {
        let Some(dy) = back.dy(0) else { return Ok(()) };
        float_dispatch!("add_bias", dy.dtype(), T => {
            back.slot(1, |db, acc| super::linear::sum_rows::<T>(dy.slice::<T>()?, db, acc))
        })?;
        back.add(0, dy)
    }))
}

fn times<T: Float>(x: &Tensor, g: &Tensor, group: usize) -> Result<Tensor> {
    let (cols, x_, g) = (x.shape().rows_cols().1, x.slice::<T>()?, g.slice::<T>()?);
    let mut y = Tensor::empty(*x.shape(), x.dtype());
    cpu::rows_mut(y.slice_mut::<T>()?, cols, |first, y| {
        for (r, row) in y.chunks_mut(cols.max(1)).enumerate() {
            let x = &x_[(first + r) * cols..];
            for ((out, x), g) in row.chunks_mut(group).zip(x.chunks(group)).zip(g) {
                out.iter_mut().zip(x).for_each(|(o, x)| *o = *x * *g);
            }
        }
    });
    Ok(y)
}

fn unit_gradient<T: Float>(dy: &Tensor, x: &Tensor, group: usize, dg: &mut Tensor, acc: bool) -> Result<()> {
    let ((rows, cols), dy, x) = (x.shape().rows_cols(), dy.slice::<T>()?, x.slice::<T>()?);
    cpu::sum_columns(rows, dg.slice_mut::<T>()?, acc, |first, end, partial| {
        for r in first..end {
            let (dy, x) = (&dy[r * cols..][..cols], &x[r * cols..][..cols]);
            for ((p, dy), x) in partial.iter_mut().zip(dy.chunks(group)).zip(x.chunks(group)) {
                *p += cpu::reduce::sum(group, |i| dy[i] * x[i]);
            }
        }
    });
    Ok(())
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    fn heads(d: &mut Draw) -> Result<Instance> {
        let (rows, units, group) = (d.size(64 * 197), d.size(6), d.positive(64));
        let inputs = vec![d.normal([rows, units * group]), d.uniform([units], -0.2, 1.3)];
        let n = rows * units * group;
        Ok(Instance::new(inputs, move |v| Ok(vec![gate(&v[0], &v[1], group)?])).cost(n, n))
    }
    fn shared(d: &mut Draw) -> Result<Instance> {
        let (rows, cols) = (d.size(64 * 197), d.size(384));
        let inputs = vec![d.normal([rows, cols]), d.uniform([cols], -0.2, 1.3)];
        let run = |v: &[Var]| Ok(vec![gate(&gate(&v[0], &v[1], 1)?, &v[1], 1)?]);
        Ok(Instance::new(inputs, run).cost(2 * rows * cols, 2 * rows * cols))
    }
    fn bias(d: &mut Draw) -> Result<Instance> {
        let (rows, cols) = (d.size(64 * 197), d.size(384));
        let inputs = vec![d.normal([rows, cols]), d.normal([cols])];
        Ok(Instance::new(inputs, |v| Ok(vec![add_bias(&v[0], &v[1])?])).cost(rows * cols, rows * cols))
    }
    vec![Case::new("gate/heads", heads), Case::new("gate/shared_twice", shared), Case::new("gate/add_bias", bias)]
}
