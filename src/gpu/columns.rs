//! Sums over rows and over all elements, in two launches: partial sums of a constant number of rows or elements, then the
//! sum of those in an order of their own.

use super::{Gpu, Grid, THREADS, params, sizes};
use crate::{Result, Tensor};

/// Rows of one partial sum, as in `cuda/common/columns.cuh`.
const COLUMN_ROWS: usize = 64;
/// Elements of one partial sum, as in `cuda/common/chunks.cuh`.
const CHUNK: usize = 4096;

impl Gpu {
    /// `out[c] (+)= sum over rows of …` for `c < cols`, where `partial(address, grid)` launches the kernel that writes the
    /// partial sums.
    pub fn sum_columns(
        &self, [rows, cols]: [usize; 2], out: &mut Tensor, accumulate: bool,
        partial: impl FnOnce(u64, Grid) -> Result<()>,
    ) -> Result<()> {
        let count = rows.div_ceil(COLUMN_ROWS);
        let mut partials = out.new_wide([count * cols, 1, 1, 1])?;
        let address = partials.address_mut()?;
        let across = cols.div_ceil(THREADS as usize);
        partial(address, Grid::blocks([count, across, 1]))?; // the long side on the axis without limit
        let [count, cols] = sizes([count, cols])?;
        let (out_address, accumulate) = (out.address_mut()?, accumulate.into());
        let args = params::AddPartials { out: out_address, partials: address, count, cols, accumulate, unused: 0 };
        self.launch(out.dtype(), Grid::blocks([across, 1, 1]), &args)
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
        self.sum_columns([shape[0], shape[1]], out, accumulate, |partials, grid| {
            let [rows, cols, stride] = sizes(shape)?;
            let args = params::SumColumns { partials, x: x.address()?, rows, cols, stride, unused: 0 };
            self.launch(x.dtype(), grid, &args)
        })
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
