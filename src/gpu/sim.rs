//! The simulated device: the kernels of `cuda/` by the C++ compiler (`cuda/sim`), run on the processor. It refuses what a card
//! would refuse, and much of what a card lets pass.
#![allow(unsafe_code)]

use super::driver::{Driver, Launch, Limits, Replay};
use super::lt::Lt;
use super::lt_sim::SimLt;
use super::sim_memory::Memory;
use super::stream::Stream;
use crate::{Error, Result};
use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// `SimLaunch` of `cuda/sim/runner.h`.
#[repr(C)]
struct SimLaunch {
    kernel: i32,
    grid: [u32; 3],
    block: [u32; 3],
    shared: usize,
    shared_limit: usize,
    args: *const u8,
    os_threads: u32,
    reverse: i32,
}

unsafe extern "C" {
    fn sim_find(name: *const c_char, args_len: *mut usize, max_threads: *mut u32) -> i32;
    fn sim_launch(launch: *const SimLaunch, error: *mut c_char, error_len: usize) -> i32;
}

/// The cards whose limits can be had. They differ in shared memory; the smallest is the one to test on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::VariantNames, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the line above says it")]
pub enum Card {
    #[strum(serialize = "sm_80")]
    Sm80,
    #[default]
    #[strum(serialize = "sm_86")]
    Sm86,
    #[strum(serialize = "sm_90")]
    Sm90,
}

impl Card {
    /// The card's limits. Few multiprocessors, so that loops over the grid go round; memory that a test can exhaust.
    pub fn limits(self) -> Limits {
        let (capability, shared) = match self {
            Card::Sm80 => ((8, 0), 163 << 10),
            Card::Sm86 => ((8, 6), 99 << 10),
            Card::Sm90 => ((9, 0), 227 << 10),
        };
        let name = format!("simulated {}", <&str>::from(self));
        Limits { name, capability, shared, multiprocessors: 4, memory: 4 << 30 }
    }
}

/// The order in which the warps of a block, and the blocks, run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the line above says it")]
pub enum Order {
    #[default]
    Forward,
    Reverse,
}

/// The simulated device.
pub struct Sim {
    limits: Limits,
    memory: Arc<Memory>,
    stream: Arc<Stream>,
    reverse: AtomicBool,
    lt: SimLt,
}

impl Sim {
    /// The card and the order that `ESPALIER_SIM_CARD` (`sm_80`, `sm_86`, `sm_90`) and `ESPALIER_SIM_ORDER` (`forward`,
    /// `reverse`) name.
    pub fn from_env() -> Result<Sim> {
        let sim = Sim::new(setting("ESPALIER_SIM_CARD")?);
        sim.set_order(setting("ESPALIER_SIM_ORDER")?);
        Ok(sim)
    }

    /// A card.
    pub fn new(card: Card) -> Sim {
        let (limits, stream) = (card.limits(), Arc::new(Stream::default()));
        let memory = Arc::new(Memory::new(limits.memory));
        Sim { lt: SimLt::new(stream.clone(), memory.clone()), limits, memory, stream, reverse: AtomicBool::new(false) }
    }

    /// The order of launches from here on.
    pub fn set_order(&self, order: Order) {
        self.reverse.store(order == Order::Reverse, Ordering::Relaxed);
    }

    /// An error if a byte outside an allocation was written, by 256 bytes at most.
    pub fn check_guards(&self) -> Result<()> {
        self.memory.check_guards()
    }
}

impl Driver for Sim {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn alloc(&self, bytes: usize) -> Result<u64> {
        self.memory.alloc(bytes)
    }

    fn free(&self, address: u64, bytes: usize) {
        self.memory.free(address, bytes);
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<()> {
        self.memory.check_faults()?;
        self.stream.run("upload", || self.memory.write("upload", to, from))
    }

    fn download(&self, from: u64, to: &mut [u8]) -> Result<()> {
        self.memory.check_faults()?;
        self.stream.run("download", || self.memory.read("download", from, to))
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        let memory = self.memory.clone();
        self.memory.inside("copy", to, bytes)?;
        self.memory.inside("copy", from, bytes)?;
        self.stream.submit("copy", move || memory.copy("copy", to, from, bytes))
    }

    fn zero(&self, to: u64, bytes: usize) -> Result<()> {
        let memory = self.memory.clone();
        self.memory.inside("zero fill", to, bytes)?;
        self.stream.submit("zero fill", move || memory.zero("zero fill", to, bytes))
    }

    fn zero_columns(&self, to: u64, pitch: usize, width: usize, height: usize) -> Result<()> {
        let (memory, what) = (self.memory.clone(), "zero fill of columns");
        let bytes = height.checked_sub(1).and_then(|rows| rows.checked_mul(pitch)?.checked_add(width));
        let expected = format!("rows, and a pitch of {width} bytes or more");
        let Some(bytes) = bytes.filter(|_| width <= pitch) else {
            return Err(Error::invalid(what, expected, format_args!("{height} rows, {pitch} bytes")));
        };
        self.memory.inside(what, to, bytes)?;
        let starts = move || (0..height).map(move |row| to + (row * pitch) as u64);
        self.stream.submit(what, move || starts().try_for_each(|to| memory.zero(what, to, width)))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        self.memory.check_faults()?;
        let call = Call::new(launch, self.limits.shared, self.reverse.load(Ordering::Relaxed))?;
        self.stream.submit(launch.kernel, move || call.run())
    }

    fn synchronize(&self) -> Result<()> {
        self.memory.check_faults()?;
        self.stream.run("synchronize", || Ok(()))
    }

    fn begin_capture(&self) -> Result<()> {
        self.stream.begin_capture()
    }

    fn end_capture(&self) -> Result<Box<dyn Replay>> {
        self.stream.end_capture()
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        let start = Instant::now();
        work()?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    fn lt(&self) -> &dyn Lt {
        &self.lt
    }
}

/// A launch that can run again.
struct Call {
    name: String,
    kernel: i32,
    grid: [u32; 3],
    block: [u32; 3],
    shared: usize,
    shared_limit: usize,
    args: Vec<u8>,
    reverse: bool,
}

impl Call {
    /// Refuses what a card refuses.
    fn new(launch: &Launch, shared_limit: usize, reverse: bool) -> Result<Call> {
        let &Launch { kernel: name, grid, block, shared, args } = launch;
        let text = CString::new(name).map_err(|_| Error::invalid("kernel", "a name", name))?;
        let (mut args_len, mut max_threads) = (0, 0);
        // SAFETY: a string that ends in 0; the list of kernels is complete before `main` and never changes.
        let kernel = unsafe { sim_find(text.as_ptr(), &mut args_len, &mut max_threads) };
        let found = if kernel == -1 { "none" } else { "several" };
        Error::ensure(kernel >= 0, format_args!("kernel {name}"), "one of this name", found)?;
        let ensure = |holds, what, expected: std::fmt::Arguments, found: &dyn std::fmt::Debug| {
            Error::ensure(holds, format_args!("{name}: {what}"), expected, format_args!("{found:?}"))
        };
        ensure(args.len() == args_len, "arguments", format_args!("{args_len} bytes"), &args.len())?;
        let most = [i32::MAX as u32, 65_535, 65_535];
        let fits = grid.iter().zip(most).all(|(&blocks, most)| (1..=most).contains(&blocks));
        ensure(fits, "grid", format_args!("1 to {most:?} blocks"), &grid)?;
        let threads = block.iter().try_fold(1u32, |all, &threads| all.checked_mul(threads));
        let most = max_threads.min(1024);
        let fits = threads.is_some_and(|threads| (1..=most).contains(&threads)) && block[2] <= 64;
        ensure(fits, "block", format_args!("1 to {most} threads, at most 64 in z"), &block)?;
        ensure(shared <= shared_limit, "shared memory", format_args!("at most {shared_limit} bytes"), &shared)?;
        Ok(Call { name: name.into(), kernel, grid, block, shared, shared_limit, args: args.into(), reverse })
    }

    fn run(&self) -> Result<()> {
        let [blocks, threads] =
            [self.grid, self.block].map(|shape| shape.iter().map(|&n| n as usize).product::<usize>());
        let worth = match blocks * threads {
            0..2048 => 1,
            2048..0x10_0000 => 2,
            _ => usize::MAX,
        };
        let launch = SimLaunch {
            kernel: self.kernel,
            grid: self.grid,
            block: self.block,
            shared: self.shared,
            shared_limit: self.shared_limit,
            args: self.args.as_ptr(),
            os_threads: rayon::current_num_threads().min(worth) as u32,
            reverse: self.reverse.into(),
        };
        let mut error = [0u8; 1024];
        // SAFETY: `new` saw to the kernel's number and the length of its arguments, and the text ends in 0. What the kernel
        // does with addresses among its arguments is the business of the one who launches it, as on a card.
        if unsafe { sim_launch(&launch, error.as_mut_ptr().cast(), error.len()) } == 0 {
            return Ok(());
        }
        let text = CStr::from_bytes_until_nul(&error).unwrap_or_default().to_string_lossy();
        Err(Error::device(format!("launch of {}", self.name), text))
    }
}

/// An environment variable, or the default.
fn setting<T: Default + std::str::FromStr + strum::VariantNames>(name: &str) -> Result<T> {
    let Some(text) = std::env::var(name).ok().filter(|text| !text.is_empty()) else { return Ok(T::default()) };
    text.parse().map_err(|_| Error::invalid(name, T::VARIANTS.join(", "), text))
}
