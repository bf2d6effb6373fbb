//! A sequence of launches recorded once and replayed as a whole: no work on the host between its kernels. What changes from
//! replay to replay must be in device memory that the caller overwrites: inputs by [`Tensor::copy_from`], the numbers of a
//! training step in [`StepState`](super::StepState).
//!
//! [`Tensor::copy_from`]: crate::Tensor::copy_from

use super::{Gpu, driver::Replay, memory::Home};
use crate::Result;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::{cell::Cell, thread_local};

thread_local! {
    /// Whether this thread is the one that captures.
    static CAPTURING: Cell<bool> = const { Cell::new(false) };
}

/// Whose turn it is on the stream: everybody's, or during a capture only the thread's that captures. Others wait, since what
/// they launched would be recorded instead of run.
#[derive(Default)]
pub(super) struct Turn(RwLock<()>);

impl Turn {
    /// Held for one call of the driver.
    pub fn take(&self) -> Option<RwLockReadGuard<'_, ()>> {
        (!CAPTURING.get()).then(|| self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn alone(&self) -> Alone<'_> {
        let guard = self.0.write().unwrap_or_else(PoisonError::into_inner);
        CAPTURING.set(true);
        Alone { _guard: guard }
    }
}

/// The turn of the thread that captures.
struct Alone<'a> {
    _guard: RwLockWriteGuard<'a, ()>,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        CAPTURING.set(false);
    }
}

/// Recorded work and the memory that it uses.
pub struct Graph {
    recorded: Box<dyn Replay>, // before its memory, so that it is dropped first
    _home: Arc<Home>,
    gpu: &'static Gpu,
}

impl Gpu {
    /// Records what `work` launches, without running it, and gives its result: tensors that every replay fills. `work` must
    /// not wait for the device (no read-back) nor capture; an error then, or of `work` itself, leaves the device as it was.
    pub fn capture<R>(&'static self, work: impl FnOnce() -> Result<R>) -> Result<(Graph, R)> {
        let alone = self.turn.alone();
        self.driver.begin_capture()?;
        let home = self.open_home();
        let result = work();
        self.close_home();
        let recorded = self.driver.end_capture();
        drop(alone);
        let result = result?;
        Ok((Graph { recorded: recorded?, _home: home, gpu: self }, result))
    }
}

impl Graph {
    /// Runs the recorded work.
    pub fn replay(&self) -> Result<()> {
        let _turn = self.gpu.turn.take();
        self.recorded.launch()
    }
}
