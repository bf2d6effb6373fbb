//! Conversion of the element type: `y = x`, rounded to nearest; `dx = dy`. The kernels are the tensor's own.

use super::prelude::*;

const OP: &str = "cast";

/// `x` in `dtype`; its gradient arrives in that and leaves in the type of `x`.
pub fn cast(x: &Var, dtype: DType) -> Result<Var> {
    if dtype == x.dtype() {
        return Ok(x.clone());
    }
    let own = x.dtype();
    Ok(record_one(OP, &[x.handle()], x.tensor().to_dtype(dtype)?, move |back, dy| back.add(0, dy.to_dtype(own)?)))
}

/// Test and benchmark cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("cast/widen", |d| {
            let shape = d.sizes([512, 197, 384]);
            Instance::new([d.normal(shape)], |v| cast(&v[0], v[0].dtype().wide())).cost_each(1, 0)
        }),
        Case::new("cast/narrow", |d| {
            let shape = d.sizes([512, 197, 384]);
            let run = |v: &[Var]| cast(&v[1], v[0].dtype());
            Instance::new([d.normal([1]), d.normal(shape)], run).constant(0).wide([1]).cost(shape.iter().product(), 0)
        }),
        Case::new("cast/parameters", |d| {
            let [rows, cols] = d.sizes([24 * 384, 1536]);
            let inputs = [d.normal([1]), d.normal([rows, cols]), d.normal([cols]), d.normal([cols, rows])];
            let run = |v: &[Var]| {
                let tensors: Vec<&Tensor> = v[1..].iter().map(Var::tensor).collect();
                Ok(Tensor::all_to_dtype(&tensors, v[0].dtype())?.into_iter().map(Var::constant).collect::<Vec<_>>())
            };
            Instance::new(inputs, run).wide([1, 2, 3]).cost(2 * rows * cols + cols, 0)
        })
        .without_gradient("values of parameters; `Var::rounded` leads their gradients to the master"),
    ]
}
