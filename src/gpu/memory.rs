//! Device memory. Outside a capture every buffer comes from the driver's own pool. What is allocated while a graph is
//! captured belongs to the graph: its addresses are baked into the recorded launches, so it is recycled inside the capture
//! only and freed when the graph and every tensor in it are gone.

use super::{Gpu, lock};
use crate::Result;
use std::{collections::HashMap, sync::Arc, sync::Mutex};

/// A block of device memory that gives itself back when dropped.
#[derive(Debug)]
pub struct Buffer {
    gpu: &'static Gpu,
    address: u64,
    bytes: usize,
    home: Option<Arc<Home>>,
}

/// The pool of the capture that is under way, if one is.
#[derive(Default)]
pub(super) struct Pools(Mutex<Option<Arc<Home>>>);

/// The memory of one graph: all its blocks, and the free ones by size while it is captured.
#[derive(Debug)]
pub(super) struct Home {
    gpu: &'static Gpu,
    blocks: Mutex<Vec<(u64, usize)>>,
    free: Mutex<HashMap<usize, Vec<u64>>>,
}

impl Buffer {
    /// The device address; 0 for an empty buffer.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn gpu(&self) -> &'static Gpu {
        self.gpu
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match &self.home {
            _ if self.bytes == 0 => {}
            Some(home) => lock(&home.free).entry(self.bytes).or_default().push(self.address),
            None => {
                let _turn = self.gpu.turn.take();
                self.gpu.driver.free(self.address, self.bytes);
            }
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _turn = self.gpu.turn.take();
        lock(&self.blocks).drain(..).for_each(|(address, bytes)| self.gpu.driver.free(address, bytes));
    }
}

impl Gpu {
    /// Memory with unspecified contents.
    pub(crate) fn alloc(&'static self, bytes: usize) -> Result<Buffer> {
        let _turn = self.turn.take();
        let home = lock(&self.memory.0).clone();
        let address = match &home {
            _ if bytes == 0 => 0,
            Some(home) => home.take(bytes)?,
            None => self.driver.alloc(bytes)?,
        };
        Ok(Buffer { gpu: self, address, bytes, home })
    }

    /// Memory that outlives the capture that may be under way.
    pub(super) fn outside_capture(&'static self, bytes: usize) -> Result<Buffer> {
        Ok(Buffer { gpu: self, address: self.driver.alloc(bytes)?, bytes, home: None })
    }

    /// From here on memory comes from a pool of its own.
    pub(super) fn open_home(&'static self) -> Arc<Home> {
        let home = Arc::new(Home { gpu: self, blocks: Mutex::default(), free: Mutex::default() });
        *lock(&self.memory.0) = Some(Arc::clone(&home));
        home
    }

    /// Ends [`Gpu::open_home`].
    pub(super) fn close_home(&self) {
        *lock(&self.memory.0) = None;
    }
}

impl Home {
    fn take(&self, bytes: usize) -> Result<u64> {
        if let Some(address) = lock(&self.free).get_mut(&bytes).and_then(Vec::pop) {
            return Ok(address);
        }
        let address = self.gpu.driver.alloc(bytes)?;
        lock(&self.blocks).push((address, bytes));
        Ok(address)
    }
}
