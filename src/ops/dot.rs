//! Whole-tensor sums: `dot = sum a · b` and the rows' L2 normalisation `y = x / max(|x|, 1e-12)`.
//!
//! Gradients: `da = b`, `db = a` (times the incoming scalar); `dx = (dy - y <dy, y>) / |x|`, and `dy / 1e-12` for a row
//! that is shorter than the floor. The sum runs in chunks of constant size, added in order in `f64`.

use super::add::times_scalar;
use super::prelude::*;

const CHUNK: usize = 16 * 1024;
const FLOOR: f64 = 1e-12;

/// `sum a · b` over all elements: `[]`.
pub fn dot(a: &Var, b: &Var) -> Result<Var> {
    a.tensor().check_same("dot", b.tensor())?;
    let out = product(a.tensor(), b.tensor())?;
    let (at, bt) = (a.tensor().clone(), b.tensor().clone());
    Ok(record_one("dot", &[a.handle(), b.handle()], out, move |back, dy| {
        back.add_wanted(0, || times_scalar(&bt, &dy, 1.0, 1.0))?;
        back.add_wanted(1, || times_scalar(&at, &dy, 1.0, 1.0))
    }))
}

/// [`dot`] without recording.
fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let Some(gpu) = a.gpu() else { return Ok(Tensor::full([], a.dtype(), inner(a, b)?)) };
    gpu.sum_chunks(a, 1.0, |partials, count, grid| {
        gpu.launch(a.dtype(), grid, &params::DotPartials { partials, a: a.address()?, b: b.address()?, count })
    })
}

/// Every row of the last axis divided by its length.
pub fn l2_normalize(x: &Var) -> Result<Var> {
    let (y, lengths) = normalize(x.tensor())?;
    let saved = y.clone();
    Ok(record_one("l2_normalize", &[x.handle()], y, move |back, dy| {
        back.add(0, normalize_gradient(dy, &saved, &lengths)?)
    }))
}

/// The normalised rows, and the lengths that they were divided by.
fn normalize(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let (rows, cols) = x.shape().rows_cols();
    let (mut y, mut lengths) = (x.new_uncleared()?, x.new_wide([rows, 1, 1, 1])?);
    if let Some(gpu) = x.gpu() {
        let [rows_, cols, stride] = gpu::sizes([rows, cols, x.stored_width()])?;
        let (y_address, length, x) = (y.address_mut()?, lengths.address_mut()?, x.address()?);
        let (floor, unused) = (FLOOR, 0);
        let args = params::L2NormalizeFwd { y: y_address, length, x, floor, rows: rows_, cols, stride, unused };
        return gpu.launch(y.dtype(), Grid::warps(rows), &args).map(|()| (y, lengths));
    }
    float_dispatch!("l2_normalize", x.dtype(), T => {
        let xs = Mat::<T>::of(x)?;
        cpu::each_row_pair::<T>(&mut lengths, &mut y, #[inline(always)] |r, length, y| {
            let x = xs.row(r);
            length[0] = reduce::sum(cols, |i| x[i] * x[i]).sqrt().max(T::of(FLOOR));
            y.iter_mut().zip(x).for_each(|(y, x)| *y = *x / length[0]);
        })
    })?;
    Ok((y, lengths))
}

/// `dy -> (dy - y <dy, y>) / length` of every row.
fn normalize_gradient(mut dy: Tensor, y: &Tensor, lengths: &Tensor) -> Result<Tensor> {
    let (rows, cols) = y.shape().rows_cols();
    let Some(gpu) = dy.gpu() else {
        float_dispatch!("l2_normalize", dy.dtype(), T => {
            let (y, lengths) = (Mat::<T>::of(y)?, lengths.slice::<T>()?);
            cpu::each_row::<T>(&mut dy, cols, #[inline(always)] |r, dy| {
                let (y, length) = (y.row(r), lengths[r]);
                let along = if length > T::of(FLOOR) { reduce::sum(cols, |i| dy[i] * y[i]) } else { 0.0 };
                dy.iter_mut().zip(y).for_each(|(d, y)| *d = (*d - *y * along) / length);
            })
        })?;
        return Ok(dy);
    };
    let mut dx = dy.new_uncleared()?;
    let [rows_, cols, stride] = gpu::sizes([rows, cols, dy.stored_width()])?;
    let (dx_address, dy, y, length) = (dx.address_mut()?, dy.address()?, y.address()?, lengths.address()?);
    let (floor, unused) = (FLOOR, 0);
    let args = params::L2NormalizeBwd { dx: dx_address, dy, y, length, floor, rows: rows_, cols, stride, unused };
    gpu.launch(dx.dtype(), Grid::warps(rows), &args).map(|()| dx)
}

/// `sum a · b` in `f64`, chunk by chunk in order.
pub(super) fn inner(a: &Tensor, b: &Tensor) -> Result<f64> {
    float_dispatch!("dot", a.dtype(), T => {
        let chunks = a.slice::<T>()?.par_chunks(CHUNK).zip(b.slice::<T>()?.par_chunks(CHUNK));
        let sum = |(a, b): (&[T], &[T])| a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum();
        Ok(chunks.map(sum).collect::<Vec<f64>>().into_iter().sum())
    })
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("dot/product", |d| {
            let shape = d.sizes([512 * 197, 384]);
            Instance::new([d.normal(shape), d.normal(shape)], |v| dot(&v[0], &v[1])).cost_each(0, 2)
        }),
        Case::new("dot/l2_normalize", |d| {
            let shape = [d.size(512 * 197), d.positive(384)];
            Instance::new([d.away_from_zero(shape, 0.3)], |v| l2_normalize(&v[0])).cost_each(1, 3)
        }),
    ]
}
