//! A tensor's memory: on a GPU, or main memory aligned to 64 bytes and recycled through a pool. A training step asks for
//! the same sizes again and again; taking them from the pool saves the page faults of fresh memory, which cost more than
//! the kernels that fill it.

use crate::gpu::Buffer;
use bytemuck::{Pod, Zeroable};
use std::{collections::HashMap, sync::LazyLock, sync::Mutex, sync::PoisonError};

/// One cache line: its alignment is that of every storage.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Free memory is kept up to this many bytes.
const POOL_LIMIT: usize = 4 << 30;

#[derive(Default)]
struct Pool {
    free: HashMap<usize, Vec<Vec<Line>>>,
    bytes: usize,
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

/// Memory of one tensor or several.
pub enum Storage {
    Host(Host),
    Device(Buffer),
}

/// A block of main memory that goes back to the pool when dropped.
pub struct Host(Vec<Line>);

impl Host {
    /// At least `bytes` bytes with unspecified (but initialised) contents.
    pub fn take(bytes: usize) -> Self {
        let lines = size_class(bytes.div_ceil(64));
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = pool.free.get_mut(&lines).and_then(Vec::pop) {
            pool.bytes -= lines * 64;
            return Self(found);
        }
        drop(pool);
        Self(vec![Line([0; 64]); lines])
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }

    /// The bytes for writing.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.0);
        let bytes = lines.len() * 64;
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > 0 && pool.bytes + bytes <= POOL_LIMIT {
            pool.bytes += bytes;
            pool.free.entry(lines.len()).or_default().push(lines);
        }
    }
}

/// Lines rounded up to one of eight sizes per power of two, so that near-equal requests share a class.
fn size_class(lines: usize) -> usize {
    let step = (lines.next_power_of_two() / 16).max(1);
    lines.div_ceil(step) * step
}
