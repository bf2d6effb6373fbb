//! The largest of the tokens in each column: `y[b, c] = max over n of x[b, n, c]`; its gradient goes to the first of them.

use super::prelude::*;

const OP: &str = "max_tokens";

/// `x [B, N, C] -> [B, C]`, N at least 1; NaN where a token is.
pub fn max_tokens(x: &Var) -> Result<Var> {
    let shape = *x.shape();
    Error::ensure_shape(shape.len() == 3 && shape[1] > 0, OP, "[batch, one token or more, columns]", shape)?;
    let y = largest(x.tensor())?;
    let saved = x.tensor().clone();
    Ok(record_one(OP, &[x.handle()], y, move |back, dy| back.add(0, put_back(&dy, &saved)?)))
}

/// Whether `v` takes the place of `top`.
#[inline(always)]
fn above<T: Float>(v: T, top: T) -> bool {
    v > top || (v.is_nan() && !top.is_nan())
}

fn largest(x: &Tensor) -> Result<Tensor> {
    let [batch, tokens, cols] = [0, 1, 2].map(|axis| x.dim(axis));
    if let Some(gpu) = x.gpu() {
        let mut y = Tensor::uncleared_on(x.device(), [batch, cols], x.dtype())?;
        let (count, y_address) = (y.stored_numel(), y.address_mut()?);
        let [tokens, cols, stride] = gpu::sizes([tokens, cols, x.stored_width()])?;
        let args = params::MaxTokensFwd {
            y: y_address,
            x: x.address()?,
            count: count as i64,
            tokens,
            cols,
            stride,
            unused: 0,
        };
        return gpu.launch(x.dtype(), Grid::elements(count), &args).map(|()| y);
    }
    float_dispatch!(OP, x.dtype(), T => {
        let xs = Mat::<T>::of(x)?;
        cpu::new_rows::<T>([batch, cols], cols, #[inline(always)] |image, y| {
            y.copy_from_slice(xs.row(image * tokens));
            for n in 1..tokens {
                let row = xs.row(image * tokens + n);
                y.iter_mut().zip(row).for_each(|(y, x)| *y = if above(*x, *y) { *x } else { *y });
            }
        })
    })
}

/// `dy [B, C]` at the first of the largest tokens of `x`.
fn put_back(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    let (tokens, cols) = (x.dim(1), x.dim(2));
    if let Some(gpu) = x.gpu() {
        let mut dx = x.new_uncleared()?;
        let (count, dx_address) = (dy.stored_numel(), dx.address_mut()?);
        let [tokens, cols, stride] = gpu::sizes([tokens, cols, x.stored_width()])?;
        let (dy, x_) = (dy.address()?, x.address()?);
        let args =
            params::MaxTokensBwd { dx: dx_address, dy, x: x_, count: count as i64, tokens, cols, stride, unused: 0 };
        return gpu.launch(x.dtype(), Grid::elements(count), &args).map(|()| dx);
    }
    let mut dx = Tensor::zeros(x.shape(), x.dtype());
    float_dispatch!(OP, x.dtype(), T => {
        let (xs, dy) = (Mat::<T>::of(x)?, Mat::<T>::of(dy)?);
        cpu::each_row::<T>(&mut dx, tokens * cols, #[inline(always)] |image, dx| {
            for (c, dy) in dy.row(image).iter().enumerate() {
                let at = |n: usize| xs.row(image * tokens + n)[c];
                let top = (1..tokens).fold(0, |top, n| if above(at(n), at(top)) { n } else { top });
                dx[top * cols + c] = *dy;
            }
        })
    })?;
    Ok(dx)
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new("max_tokens/max", |d| {
        let (batch, tokens, cols) = (d.size(256), d.positive(196), d.size(1000));
        Instance::new([d.normal([batch, tokens, cols])], |v| max_tokens(&v[0]))
            .cost(batch * cols, batch * tokens * cols)
    })]
}
