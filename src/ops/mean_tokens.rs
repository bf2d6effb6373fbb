//! The mean over the tokens: `y[b] = sum over n of x[b, n] / N`, `dx[b, n] = dy[b] / N`.

use super::prelude::*;

const OP: &str = "mean_tokens";

/// `x [B, N, C] -> [B, C]`, N at least 1.
pub fn mean_tokens(x: &Var) -> Result<Var> {
    let shape = *x.shape();
    Error::ensure_shape(shape.len() == 3 && shape[1] > 0, OP, "[batch, one token or more, columns]", shape)?;
    let (tokens, y) = (shape[1], mean(x.tensor())?);
    Ok(record_one(OP, &[x.handle()], y, move |back, dy| back.add(0, spread(&dy, tokens)?)))
}

fn mean(x: &Tensor) -> Result<Tensor> {
    let [batch, tokens, cols] = [0, 1, 2].map(|axis| x.dim(axis));
    if let Some(gpu) = x.gpu() {
        let mut y = x.new_empty([batch, cols])?;
        let vecs = y.stored_width() * x.dtype().size() / gpu::VEC;
        let [images, tokens, stride] = gpu::sizes([batch, tokens, x.stored_width()])?;
        let args = params::MeanTokensFwd { y: y.address_mut()?, x: x.address()?, images, tokens, stride, unused: 0 };
        return gpu.launch(x.dtype(), Grid::elements(batch * vecs), &args).map(|()| y);
    }
    float_dispatch!(OP, x.dtype(), T => {
        let (xs, count) = (Mat::<T>::of(x)?, T::of(tokens as f64));
        cpu::new_rows::<T>([batch, cols], cols, #[inline(always)] |image, y| {
            y.fill(0.0);
            for n in 0..tokens {
                y.iter_mut().zip(xs.row(image * tokens + n)).for_each(|(y, x)| *y += *x);
            }
            y.iter_mut().for_each(|y| *y /= count);
        })
    })
}

/// `dy [B, C] -> [B, tokens, C]`, each row divided by `tokens`.
fn spread(dy: &Tensor, tokens: usize) -> Result<Tensor> {
    let ([batch, cols], count) = ([0, 1].map(|axis| dy.dim(axis)), tokens as f64);
    if let Some(gpu) = dy.gpu() {
        let mut dx = dy.new_empty([batch, tokens, cols])?;
        let (count, to, dy_) = (dx.stored_numel(), dx.address_mut()?, dy.address()?);
        let [tokens, stride] = gpu::sizes([tokens, dy.stored_width()])?;
        let args = params::MeanTokensBwd { dx: to, dy: dy_, count: count as i64, tokens, stride };
        return gpu.launch(dy.dtype(), Grid::vecs(count, dy.dtype()), &args).map(|()| dx);
    }
    float_dispatch!(OP, dy.dtype(), T => {
        let (dys, count) = (Mat::<T>::of(dy)?, T::of(count));
        cpu::new_rows::<T>([batch, tokens, cols], cols, #[inline(always)] |row, dx| {
            dx.iter_mut().zip(dys.row(row / tokens)).for_each(|(dx, dy)| *dx = *dy / count);
        })
    })
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new("mean_tokens/mean", |d| {
        let (batch, tokens, cols) = (d.size(1024), d.positive(49), d.size(768));
        Instance::new([d.normal([batch, tokens, cols])], |v| mean_tokens(&v[0]))
            .cost(batch * cols, batch * tokens * cols)
    })]
}
