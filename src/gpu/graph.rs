//! A sequence of launches recorded once and replayed as a whole: no work on the host between its kernels. What changes from
//! replay to replay must be in device memory that the caller overwrites: inputs by [`Tensor::copy_from`], the numbers of a
//! training step in [`StepState`](super::StepState).
//!
//! [`Tensor::copy_from`]: crate::Tensor::copy_from

use super::{Gpu, driver::Replay, memory::Home};
use crate::Result;
use std::sync::Arc;

/// Recorded work and the memory that it uses.
pub struct Graph {
    recorded: Box<dyn Replay>, // before its memory, so that it is dropped first
    _home: Arc<Home>,
}

impl Gpu {
    /// Records what `work` launches, without running it, and gives its result: tensors that every replay fills. `work` must
    /// not wait for the device (no read-back); an error then, or of `work` itself, leaves the device as it was.
    pub fn capture<R>(&'static self, work: impl FnOnce() -> Result<R>) -> Result<(Graph, R)> {
        self.driver.begin_capture()?;
        let home = self.open_home();
        let result = work();
        self.close_home();
        let recorded = self.driver.end_capture();
        let result = result?;
        Ok((Graph { recorded: recorded?, _home: home }, result))
    }
}

impl Graph {
    /// Runs the recorded work.
    pub fn replay(&self) -> Result<()> {
        self.recorded.launch()
    }
}
