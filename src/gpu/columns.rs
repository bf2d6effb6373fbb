//! Sums over rows and over all elements, in two launches: partial sums of a constant number of rows or elements, then the
//! sum of those in an order of their own.

use super::{Gpu, Grid, VEC, params, sizes};
use crate::{DType, Result, Tensor};

/// Rows of one partial sum, and Vecs of columns that a block takes, as in `cuda/common/columns.cuh`.
const COLUMN_ROWS: usize = 64;
const COLUMN_VECS: usize = 16;
/// Columns that a block of `add_partials` takes, as in `cuda/tensor.cu`.
const PARTIAL_COLUMNS: usize = 32;
/// Elements of one partial sum, as in `cuda/common/chunks.cuh`.
const CHUNK: usize = 4096;

impl Grid {
    /// A thread for a Vec of columns and some rows, as kernels that walk down the columns take them.
    pub fn columns([rows, cols]: [usize; 2], dtype: DType) -> Self {
        // The long side on the axis without limit.
        Self::blocks([rows.div_ceil(COLUMN_ROWS), cols.div_ceil(COLUMN_VECS * VEC / dtype.size()), 1])
    }
}

impl Gpu {
    /// `sums` partial sums for each column of each COLUMN_ROWS rows of elements of `dtype`, where `partial(address, grid)`
    /// launches the kernel that writes them: one row for each sum, chunk by chunk.
    pub fn column_partials(
        &self, dtype: DType, [rows, cols]: [usize; 2], sums: usize, partial: impl FnOnce(u64, Grid) -> Result<()>,
    ) -> Result<Tensor> {
        let chunks = rows.div_ceil(COLUMN_ROWS);
        // What lies behind the rows comes into no sum.
        let mut partials = Tensor::uncleared_on(self.device, [chunks * sums, cols], dtype.wide())?;
        partial(partials.address_mut()?, Grid::columns([rows, cols], dtype)).map(|()| partials)
    }

    /// `out[c] (+)=` the sum over the chunks of partial sum `which` of `sums`.
    pub fn add_partials(
        &self, partials: &Tensor, [which, sums]: [usize; 2], out: &mut Tensor, accumulate: bool,
    ) -> Result<()> {
        let (rows, cols) = partials.shape().rows_cols();
        let blocks = Grid::blocks([cols.div_ceil(PARTIAL_COLUMNS), 1, 1]);
        let [count, cols, first, step] = sizes([rows / sums, cols, which, sums])?;
        let (out_address, partials, accumulate) = (out.address_mut()?, partials.address()?, accumulate.into());
        let args = params::AddPartials { out: out_address, partials, count, cols, first, step, accumulate, unused: 0 };
        self.launch(out.dtype(), blocks, &args)
    }

    /// `out[c] (+)= sum over rows of x[., c]`, `x` seen as rows as long as `out`.
    pub fn sum_rows(&self, x: &Tensor, out: &mut Tensor, accumulate: bool) -> Result<()> {
        let (x_rows, x_cols) = x.shape().rows_cols();
        let shape = if x_cols == out.numel() {
            [x_rows, x_cols, x.stored_width()]
        } else {
            let cols = out.stored_numel(); // a table: its own padding is that of x
            [x.stored_numel().checked_div(cols).unwrap_or(0), cols, cols]
        };
        let partials = self.column_partials(x.dtype(), [shape[0], shape[1]], 1, |partials, grid| {
            let [rows, cols, stride] = sizes(shape)?;
            let args = params::SumColumns { partials, x: x.address()?, rows, cols, stride, unused: 0 };
            self.launch(x.dtype(), grid, &args)
        })?;
        self.add_partials(&partials, [0, 1], out, accumulate)
    }

    /// `scale` times the sum over `x`'s elements in memory of …, a scalar on the device, where `partial(address, count,
    /// grid)` launches the kernel that writes the partial sums of those `count` elements.
    pub fn sum_chunks(
        &self, x: &Tensor, scale: f64, partial: impl FnOnce(u64, i64, Grid) -> Result<()>,
    ) -> Result<Tensor> {
        let chunks = x.stored_numel().div_ceil(CHUNK);
        let mut partials = x.new_wide([chunks, 1, 1, 1])?;
        partial(partials.address_mut()?, x.stored_numel() as i64, Grid::blocks([chunks, 1, 1]))?;
        self.total(&partials, scale)
    }

    /// `scale` times the sum of all elements of `x`, of a wide type, whose rows have no zeros behind them: a scalar on the device.
    pub fn total(&self, x: &Tensor, scale: f64) -> Result<Tensor> {
        let mut out = x.new_empty([])?;
        let [count] = sizes([x.stored_numel()])?;
        let args = params::Total { out: out.address_mut()?, x: x.address()?, scale, count, unused: 0 };
        self.launch(x.dtype(), Grid::blocks([1, 1, 1]), &args).map(|()| out)
    }
}
