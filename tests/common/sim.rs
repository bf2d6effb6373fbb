//! What the tests of the simulated device share.
#![allow(dead_code)]

use std::sync::Arc;

use bytemuck::{Pod, Zeroable, bytes_of, cast_slice, cast_slice_mut};
use espalier::gpu::driver::{Driver, Launch};
use espalier::gpu::sim::{Card, Order, Sim};
use espalier::noise::Philox;

pub const ORDERS: [Order; 2] = [Order::Forward, Order::Reverse];

/// `Test` of `cuda/sim/test_kernels.cu`.
#[repr(C)]
#[derive(Clone, Copy, Default, Zeroable, Pod)]
pub struct Test {
    pub out: u64,
    pub x: u64,
    pub a: u64,
    pub b: u64,
    pub c: u64,
    pub count: i32,
    pub mode: i32,
}

/// Device memory that is freed at the end.
pub struct Buffer {
    sim: Arc<Sim>,
    pub address: u64,
    bytes: usize,
}

impl Buffer {
    pub fn new(sim: &Arc<Sim>, bytes: usize) -> Buffer {
        Buffer { sim: sim.clone(), address: sim.alloc(bytes).unwrap(), bytes }
    }

    pub fn of<T: Pod>(sim: &Arc<Sim>, values: &[T]) -> Buffer {
        let buffer = Buffer::new(sim, size_of_val(values));
        sim.upload(buffer.address, cast_slice(values)).unwrap();
        buffer
    }

    pub fn read<T: Pod>(&self) -> Vec<T> {
        let mut values = vec![T::zeroed(); self.bytes / size_of::<T>()];
        self.sim.download(self.address, cast_slice_mut(&mut values)).unwrap();
        values
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.sim.free(self.address, self.bytes);
    }
}

pub fn sim() -> Arc<Sim> {
    Arc::new(Sim::new(Card::default()))
}

pub fn launch<A: Pod>(sim: &Sim, kernel: &str, grid: u32, block: u32, shared: usize, args: &A) -> espalier::Result<()> {
    sim.launch(&Launch { kernel, grid: [grid, 1, 1], block: [block, 1, 1], shared, args: bytes_of(args) })
}

/// The error text of a launch that has to fail.
pub fn refused<A: Pod>(sim: &Sim, kernel: &str, block: u32, shared: usize, args: &A) -> String {
    launch(sim, kernel, 1, block, shared, args).expect_err(kernel).to_string()
}

/// Values in (0, 1) without pattern.
pub fn values(n: usize) -> Vec<f64> {
    let mut stream = Philox { seed: 1, step: 0 }.stream("test", 0);
    (0..n).map(|_| stream.next_f64()).collect()
}
