//! Conversion to another element type.

use super::{DType, Tensor};
use crate::Result;
use crate::gpu::{self, Gpu, Grid, params};

impl Tensor {
    /// Converted to `dtype`, rounded to nearest; the same tensor when it has that dtype already. On a GPU between a 16-bit
    /// float and `f32` by a kernel; otherwise through main memory.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let Some(gpu) = self.gpu().filter(|_| dtype != self.dtype) else { return self.to_dtype_on_host(dtype) };
        if self.dtype.wide() == dtype {
            return widen(gpu, self);
        }
        if dtype.wide() == self.dtype {
            return Ok(narrow(gpu, &[self], dtype)?.remove(0));
        }
        self.to_dtype_on_host(dtype)
    }

    /// Every one of `tensors` in `dtype`; in one launch when they lie on a GPU in its wide type.
    pub fn all_to_dtype(tensors: &[&Tensor], dtype: DType) -> Result<Vec<Tensor>> {
        let gpu = tensors.first().and_then(|first| first.gpu());
        let one_launch = |x: &&Tensor| x.dtype != dtype && x.dtype == dtype.wide();
        match gpu.filter(|_| tensors.iter().all(one_launch)) {
            Some(gpu) => {
                tensors.iter().try_for_each(|x| tensors[0].check_device("all_to_dtype", x))?;
                narrow(gpu, tensors, dtype)
            }
            None => tensors.iter().map(|x| x.to_dtype(dtype)).collect(),
        }
    }
}

/// To the wide type.
fn widen(gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
    let mut out = Tensor::uncleared_on(x.device(), x.shape, x.dtype.wide())?;
    let count = x.stored_numel();
    let args = params::Widen { out: out.address_mut()?, x: x.address()?, count: count as i64 };
    gpu.launch(x.dtype, Grid::vecs(count, x.dtype), &args).map(|()| out)
}

/// From the wide type, as many tensors a launch as its argument holds.
fn narrow(gpu: &Gpu, tensors: &[&Tensor], dtype: DType) -> Result<Vec<Tensor>> {
    let mut all = Vec::with_capacity(tensors.len());
    let mut args: params::Narrow = bytemuck::Zeroable::zeroed();
    for group in tensors.chunks(args.at.len()) {
        let (firsts, blocks) = gpu::pieces(group.iter().map(|x| x.stored_numel()));
        for ((at, x), first) in args.at.iter_mut().zip(group).zip(firsts) {
            let mut out = Tensor::uncleared_on(x.device(), x.shape, dtype)?;
            let (address, count) = (out.address_mut()?, x.stored_numel() as i64);
            *at = params::NarrowTensor { out: address, x: x.address()?, count, first };
            all.push(out);
        }
        args.tensors = group.len() as i32;
        gpu.launch(dtype, Grid::blocks([blocks, 1, 1]), &args)?;
    }
    Ok(all)
}
