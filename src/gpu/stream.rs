//! The simulated device's stream: an operation runs at once, or is recorded while the stream is captured.

use super::driver::Replay;
use crate::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something the device does; it may be done again by a replay.
pub type Operation = Box<dyn Fn() -> Result<()> + Send + Sync>;

#[derive(Default)]
enum State {
    #[default]
    Running,
    Capturing(Vec<Operation>),
    /// Something that cannot be recorded was asked for while capturing; what was recorded is lost.
    Invalidated,
}

/// The stream. One operation runs at a time, so an operation may not use the stream itself.
#[derive(Default)]
pub struct Stream(Mutex<State>);

impl Stream {
    /// Runs the operation, or records it; `what` names it in errors.
    pub fn submit(&self, what: &str, operation: impl Fn() -> Result<()> + Send + Sync + 'static) -> Result<()> {
        match &mut *self.state() {
            State::Running => operation(),
            State::Capturing(operations) => {
                operations.push(Box::new(operation));
                Ok(())
            }
            State::Invalidated => Err(invalidated(what)),
        }
    }

    /// Runs what needs the host, and so cannot be recorded: an error while capturing, which the capture does not survive.
    pub fn run(&self, what: &str, operation: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut state = self.state();
        if let State::Running = &*state {
            return operation();
        }
        *state = State::Invalidated;
        Err(Error::device(what, "operation not permitted when stream is capturing"))
    }

    /// From here on operations are recorded.
    pub fn begin_capture(&self) -> Result<()> {
        self.run("begin of a capture", || Ok(()))?;
        *self.state() = State::Capturing(Vec::new());
        Ok(())
    }

    /// What was recorded since [`Stream::begin_capture`].
    pub fn end_capture(self: &Arc<Stream>) -> Result<Box<dyn Replay>> {
        match std::mem::take(&mut *self.state()) {
            State::Capturing(operations) => {
                Ok(Box::new(Recording { stream: self.clone(), operations: operations.into() }))
            }
            State::Invalidated => Err(invalidated("end of a capture")),
            State::Running => Err(Error::device("end of a capture", "the stream is not capturing")),
        }
    }

    /// A panic in an operation leaves nothing half done here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn invalidated(what: &str) -> Error {
    Error::device(what, "operation failed due to a previous error during capture")
}

/// A captured stream's work.
struct Recording {
    stream: Arc<Stream>,
    operations: Arc<[Operation]>,
}

impl Replay for Recording {
    fn launch(&self) -> Result<()> {
        let operations = self.operations.clone();
        self.stream.submit("replay", move || operations.iter().try_for_each(|operation| operation()))
    }
}
