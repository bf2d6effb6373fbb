//! A sequence of launches recorded once and replayed as a whole: no work on the host between its kernels. What changes from
//! replay to replay must be in device memory that the caller overwrites: inputs by [`Tensor::copy_from`], the numbers of a
//! training step in [`StepState`](super::StepState).
//!
//! [`Tensor::copy_from`]: crate::Tensor::copy_from

use super::{Gpu, driver::Replay, memory::Home};
use crate::{Error, Result};
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
}

/// A capture under way on this thread; dropped early, by a panic of the work, it ends and what was recorded is lost.
struct Capture {
    gpu: &'static Gpu,
    _alone: RwLockWriteGuard<'static, ()>, // before the memory, which waits for a turn to be freed
    home: Arc<Home>,
}

impl Capture {
    fn begin(gpu: &'static Gpu) -> Result<Self> {
        Error::ensure(!CAPTURING.get(), "capture", "one at a time", "a capture inside another")?;
        let alone = gpu.turn.0.write().unwrap_or_else(PoisonError::into_inner);
        gpu.driver.begin_capture()?;
        CAPTURING.set(true);
        Ok(Self { gpu, _alone: alone, home: gpu.open_home() })
    }

    fn end(self) -> Result<Graph> {
        let recorded = self.gpu.driver.end_capture();
        Ok(Graph { recorded: Some(recorded?), _home: Arc::clone(&self.home), gpu: self.gpu })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.gpu.close_home();
        if std::thread::panicking() {
            let _ = self.gpu.driver.end_capture();
        }
        CAPTURING.set(false);
    }
}

/// Recorded work and the memory that it uses.
pub struct Graph {
    recorded: Option<Box<dyn Replay>>, // `None` only while it is dropped, before its memory
    _home: Arc<Home>,
    gpu: &'static Gpu,
}

impl Gpu {
    /// Records what `work` launches, without running it, and gives its result: tensors that every replay fills. `work` must
    /// not wait for the device (no read-back) nor capture; an error then, or of `work` itself, leaves the device as it was.
    /// A replay writes in place: clones of what `work` changes, or gives, change with it.
    pub fn capture<R>(&'static self, work: impl FnOnce() -> Result<R>) -> Result<(Graph, R)> {
        let capture = Capture::begin(self)?;
        let result = work();
        let graph = capture.end();
        let result = result?;
        Ok((graph?, result))
    }
}

impl Graph {
    /// Runs the recorded work.
    pub fn replay(&self) -> Result<()> {
        let _turn = self.gpu.turn.take();
        self.recorded.as_ref().map_or(Ok(()), |recorded| recorded.launch())
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _turn = self.gpu.turn.take();
        self.recorded = None;
    }
}
