//! The line between what is the same on every device and what is not: the driver's calls. The real one (`cuda.rs`) hands
//! them to libcuda and libcublasLt, the simulated one (`sim.rs`) runs the same kernel sources on the processor.

use super::lt::Lt;
use crate::Result;

/// What a device has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The card's own name.
    pub name: String,
    /// Compute capability, `(9, 0)` for an H200.
    pub capability: (u32, u32),
    /// Shared memory that a block can ask for, in bytes.
    pub shared: usize,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Device memory, in bytes.
    pub memory: usize,
}

/// One launch: the kernel by its full name (`softmax_fwd_f32`), the shape, and its argument struct as bytes.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Launch<'a> {
    pub kernel: &'a str,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: usize,
    pub args: &'a [u8],
}

/// A device: one stream, on which everything runs in the order of the calls. Addresses are device addresses.
pub trait Driver: Send + Sync {
    /// What the device has.
    fn limits(&self) -> &Limits;
    /// Memory of `bytes > 0` bytes with unspecified contents, aligned to 256 bytes.
    fn alloc(&self, bytes: usize) -> Result<u64>;
    /// Gives memory of [`Driver::alloc`] back once everything before this call has run.
    fn free(&self, address: u64, bytes: usize);
    /// Host to device. `from` may be reused at once.
    fn upload(&self, to: u64, from: &[u8]) -> Result<()>;
    /// Device to host; waits for everything before it.
    fn download(&self, from: u64, to: &mut [u8]) -> Result<()>;
    /// Device to device.
    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()>;
    /// Sets every byte to 0.
    fn zero(&self, to: u64, bytes: usize) -> Result<()>;
    /// Sets the first `width` bytes at `to` and at every `pitch` bytes behind it to 0, `height > 0` times in all.
    fn zero_columns(&self, to: u64, pitch: usize, width: usize, height: usize) -> Result<()>;
    /// Runs a kernel; an error names it.
    fn launch(&self, launch: &Launch) -> Result<()>;
    /// Waits for everything so far.
    fn synchronize(&self) -> Result<()>;
    /// From here on the stream's work is recorded instead of run. Memory of [`Driver::alloc`] is then usable by
    /// every later replay and has to stay alive as long.
    fn begin_capture(&self) -> Result<()>;
    /// Ends [`Driver::begin_capture`].
    fn end_capture(&self) -> Result<Box<dyn Replay>>;
    /// Milliseconds that the device spends on what `work` puts on the stream.
    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64>;
    /// The matrix library.
    fn lt(&self) -> &dyn Lt;
}

/// Recorded work.
pub trait Replay: Send + Sync {
    /// Puts all of it on the stream again.
    fn launch(&self) -> Result<()>;
}
