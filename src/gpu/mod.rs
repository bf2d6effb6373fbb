//! What GPU launches share: the driver, memory, matrix products, graphs, and the simulator that stands in for a card.
//!
//! An op fills the argument struct of its kernel (one for each in `cuda/params.h`) and calls [`Gpu::launch`] with the
//! element type and a [`Grid`]. Below [`driver::Driver`] the real card and the simulator part; all above is the same code.

pub mod args;
mod columns;
pub mod cublaslt;
pub mod cuda;
pub mod driver;
pub mod gemm;
mod graph;
pub mod libraries;
pub mod lt;
#[cfg(feature = "sim")]
mod lt_sim;
mod memory;
pub mod modules;
pub mod params;
mod pieces;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "sim")]
mod sim_memory;
mod state;
#[cfg(feature = "sim")]
mod stream;
mod tf32;

pub use args::Args;
pub use gemm::{Epilogue, Matrix};
pub use graph::Graph;
pub use memory::Buffer;
pub use pieces::pieces;
pub use state::StepState;
pub use tf32::Tf32;

use crate::{DType, Error, Result, tensor::Device};
use driver::{Driver, Launch, Limits};
#[cfg(feature = "sim")]
use std::sync::OnceLock;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Threads of a block unless a kernel says otherwise.
pub const THREADS: u32 = 256;
/// Bytes that a thread reads or writes at once.
pub const VEC: usize = 16;
/// Vecs that a thread of an element-by-element kernel takes, as in `cuda/common/elements.cuh`.
const MAP_VECS: usize = 2;

/// A device with its memory and its plans.
pub struct Gpu {
    device: Device,
    driver: &'static dyn Driver,
    memory: memory::Pools,
    plans: Mutex<gemm::Plans>,
    turn: graph::Turn,
}

/// How a kernel is cut into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    blocks: [usize; 3],
    threads: u32,
    shared: usize,
}

impl Grid {
    /// A thread for each of `count` elements.
    pub fn elements(count: usize) -> Self {
        Self::blocks([count.div_ceil(THREADS as usize), 1, 1])
    }

    /// A thread for every two Vecs of `count` elements of `dtype`.
    pub fn vecs(count: usize, dtype: DType) -> Self {
        Self::elements(count.div_ceil(MAP_VECS * VEC / dtype.size()))
    }

    /// A warp for each of `count` rows.
    pub fn warps(count: usize) -> Self {
        Self::elements(count * 32)
    }

    /// Blocks of [`THREADS`] threads.
    pub fn blocks(blocks: [usize; 3]) -> Self {
        Self { blocks, threads: THREADS, shared: 0 }
    }

    /// The same with `blocks` on the third axis.
    pub fn deep(mut self, blocks: usize) -> Self {
        self.blocks[2] = blocks;
        self
    }

    /// The same with `threads` threads a block.
    pub fn threads(self, threads: u32) -> Self {
        Self { threads, ..self }
    }

    /// The same with `bytes` of dynamic shared memory a block.
    pub fn shared(self, bytes: usize) -> Self {
        Self { shared: bytes, ..self }
    }
}

/// Sizes as kernels take them; an error for what 32 bits do not hold.
pub fn sizes<const N: usize>(sizes: [usize; N]) -> Result<[i32; N]> {
    let fits = sizes.iter().all(|&size| i32::try_from(size).is_ok());
    Error::ensure(fits, "sizes of a GPU kernel", "each below 2^31", format_args!("{sizes:?}"))?;
    Ok(sizes.map(|size| size as i32))
}

impl Gpu {
    fn new(device: Device, driver: &'static dyn Driver) -> Self {
        Self { device, driver, memory: memory::Pools::default(), plans: Mutex::default(), turn: graph::Turn::default() }
    }

    /// Which device this is.
    pub fn device(&self) -> Device {
        self.device
    }

    /// What the device has.
    pub fn limits(&self) -> &Limits {
        self.driver.limits()
    }

    /// Puts the kernel of `args` for elements of `dtype` on the stream. A grid without blocks does nothing.
    pub fn launch<P: Args>(&self, dtype: DType, grid: Grid, args: &P) -> Result<()> {
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        let kernel = format!("{}_{}", P::KERNEL, suffix(dtype)?);
        let blocks = sizes(grid.blocks)?.map(|size| size as u32);
        let _turn = self.turn.take();
        let (block, args) = ([grid.threads, 1, 1], bytemuck::bytes_of(args));
        self.driver.launch(&Launch { kernel: &kernel, grid: blocks, block, shared: grid.shared, args })
    }

    /// Waits until the device has done everything.
    pub fn synchronize(&self) -> Result<()> {
        let _turn = self.turn.take();
        self.driver.synchronize()
    }

    /// Milliseconds that the device spends on what `work` launches.
    pub fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        self.driver.time(work)
    }

    pub(crate) fn upload(&self, to: u64, from: &[u8]) -> Result<()> {
        let _turn = self.turn.take();
        if from.is_empty() { Ok(()) } else { self.driver.upload(to, from) }
    }

    pub(crate) fn download(&self, from: u64, to: &mut [u8]) -> Result<()> {
        let _turn = self.turn.take();
        if to.is_empty() { Ok(()) } else { self.driver.download(from, to) }
    }

    pub(crate) fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        let _turn = self.turn.take();
        if bytes == 0 { Ok(()) } else { self.driver.copy(to, from, bytes) }
    }

    pub(crate) fn zero(&self, to: u64, bytes: usize) -> Result<()> {
        let _turn = self.turn.take();
        if bytes == 0 { Ok(()) } else { self.driver.zero(to, bytes) }
    }

    pub(crate) fn zero_columns(&self, to: u64, pitch: usize, width: usize, height: usize) -> Result<()> {
        let _turn = self.turn.take();
        if width * height == 0 { Ok(()) } else { self.driver.zero_columns(to, pitch, width, height) }
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.device, self.limits().name)
    }
}

/// The ending of a kernel's name.
fn suffix(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::F64 => Ok("f64"),
        DType::BF16 => Ok("bf16"),
        DType::F16 => Ok("f16"),
        other => Err(Error::shape("launch", "a float type", other)),
    }
}

/// What a lock guards stays usable after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The machine's GPU, or why it is not in use.
pub fn cuda() -> Result<&'static Gpu> {
    static CUDA: LazyLock<Result<Gpu, String>> =
        LazyLock::new(|| cuda::open().map(|driver| Gpu::new(Device::Cuda, Box::leak(Box::new(driver)))));
    CUDA.as_ref().map_err(|why| Error::device("cuda", why))
}

/// The simulated card.
#[cfg(feature = "sim")]
pub fn sim() -> Result<&'static Gpu> {
    static SIM: OnceLock<Gpu> = OnceLock::new();
    simulator().map(|sim| SIM.get_or_init(|| Gpu::new(Device::CudaSim, sim)))
}

/// The simulator behind [`sim()`], for tests: its order and its guard zones.
#[cfg(feature = "sim")]
pub fn simulator() -> Result<&'static sim::Sim> {
    static SIM: LazyLock<Result<sim::Sim, String>> =
        LazyLock::new(|| sim::Sim::from_env().map_err(|error| error.to_string()));
    SIM.as_ref().map_err(|why| Error::device("cuda-sim", why))
}
