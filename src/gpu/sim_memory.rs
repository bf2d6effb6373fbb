//! The simulated device's memory: host memory of exactly the size asked for, between guard zones. All bytes are `0xff` (NaN
//! in every float type) until something is written, and again for a while after it was freed, so that a write to what is
//! gone is seen.
#![allow(unsafe_code)]

use crate::{Error, Result};
use std::alloc::{Layout, alloc, dealloc};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

const GUARD: usize = 256;
const POISON: u8 = 0xff;
/// Freed bytes that are kept to see whether something still writes there.
const QUARANTINE: usize = 1 << 20;

unsafe extern "C" {
    /// Tells AddressSanitizer, where the kernels are built with it, which bytes nothing may touch.
    fn sim_poison(address: u64, bytes: usize, poisoned: i32);
}

/// Device addresses are host addresses.
pub struct Memory {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Bytes by address.
    live: BTreeMap<u64, usize>,
    used: usize,
    /// Address and bytes of what was freed last, oldest first.
    freed: VecDeque<(u64, usize)>,
    kept: usize,
    /// The first thing that was found wrong where nobody could be told; every later call is.
    fault: Option<String>,
}

impl Memory {
    /// A device with `limit` bytes.
    pub fn new(limit: usize) -> Memory {
        Memory { limit, state: Mutex::default() }
    }

    /// See [`super::driver::Driver::alloc`].
    pub fn alloc(&self, bytes: usize) -> Result<u64> {
        let what = || format!("allocation of {bytes} bytes");
        let mut state = self.state();
        if bytes == 0 || bytes > self.limit - state.used {
            let detail = format!("expected 1 to {} bytes, as many as are free", self.limit - state.used);
            return Err(Error::device(what(), detail));
        }
        // SAFETY: the layout's size is not 0.
        let base = unsafe { alloc(layout(bytes)) };
        if base.is_null() {
            return Err(Error::device(what(), "the host is out of memory"));
        }
        // SAFETY: the allocation has this many bytes.
        unsafe { base.write_bytes(POISON, layout(bytes).size()) };
        let address = base as u64 + GUARD as u64;
        poison_guards(address, bytes);
        state.used += bytes;
        state.live.insert(address, bytes);
        Ok(address)
    }

    /// See [`super::driver::Driver::free`]. What is wrong shows in the next call that can say so.
    pub fn free(&self, address: u64, bytes: usize) {
        let mut state = self.state();
        if state.live.get(&address) != Some(&bytes) {
            let fault = format!("{bytes} bytes at {address:#x} were freed, but not allocated so");
            state.fault.get_or_insert(fault);
            return;
        }
        if let Err(fault) = guards_hold(address, bytes) {
            state.fault.get_or_insert(fault);
        }
        state.live.remove(&address);
        state.used -= bytes;
        // SAFETY: the allocation has this many bytes, and is nobody's any more.
        unsafe {
            (address as *mut u8).write_bytes(POISON, bytes);
            sim_poison(address, bytes, true.into());
        }
        state.freed.push_back((address, bytes));
        state.kept += bytes;
        while state.kept > QUARANTINE {
            let Some((address, bytes)) = state.freed.pop_front() else { break };
            state.kept -= bytes;
            if let Err(fault) = untouched(address, bytes) {
                state.fault.get_or_insert(fault);
            }
            release(address, bytes);
        }
    }

    /// An error if a guard zone or freed memory was written to, now or at an earlier [`Memory::free`].
    pub fn check_guards(&self) -> Result<()> {
        self.check_faults()?;
        let state = self.state();
        state.freed.iter().try_for_each(|&(address, bytes)| untouched(address, bytes)).map_err(fault)?;
        state.live.iter().try_for_each(|(&address, &bytes)| guards_hold(address, bytes)).map_err(fault)
    }

    /// An error if an earlier [`Memory::free`] found something wrong.
    pub fn check_faults(&self) -> Result<()> {
        self.state().fault.clone().map_or(Ok(()), |text| Err(fault(text)))
    }

    /// Reads the memory; `ranges` have to lie inside one allocation each.
    pub fn read(&self, what: &str, from: u64, to: &mut [u8]) -> Result<()> {
        let state = self.state();
        state.inside(what, from, to.len())?;
        // SAFETY: the bytes lie in a living allocation, which nobody frees while the lock is held.
        unsafe { (from as *const u8).copy_to(to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// Writes `from` to `to`.
    pub fn write(&self, what: &str, to: u64, from: &[u8]) -> Result<()> {
        let state = self.state();
        state.inside(what, to, from.len())?;
        // SAFETY: as in `read`.
        unsafe { (to as *mut u8).copy_from(from.as_ptr(), from.len()) };
        Ok(())
    }

    /// Copies inside the memory.
    pub fn copy(&self, what: &str, to: u64, from: u64, bytes: usize) -> Result<()> {
        let state = self.state();
        state.inside(what, to, bytes)?;
        state.inside(what, from, bytes)?;
        // SAFETY: as in `read`, for both ranges; they may overlap.
        unsafe { (to as *mut u8).copy_from(from as *const u8, bytes) };
        Ok(())
    }

    /// Sets bytes to 0.
    pub fn zero(&self, what: &str, to: u64, bytes: usize) -> Result<()> {
        let state = self.state();
        state.inside(what, to, bytes)?;
        // SAFETY: as in `read`.
        unsafe { (to as *mut u8).write_bytes(0, bytes) };
        Ok(())
    }

    /// An error unless the bytes lie inside one living allocation.
    pub fn inside(&self, what: &str, address: u64, bytes: usize) -> Result<()> {
        self.state().inside(what, address, bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn inside(&self, what: &str, address: u64, bytes: usize) -> Result<()> {
        let found = self.live.range(..=address).next_back();
        let fits = found.is_some_and(|(&start, &size)| {
            let offset = address - start;
            offset <= size as u64 && bytes as u64 <= size as u64 - offset
        });
        let expected = "a range inside one living allocation";
        Error::ensure(fits, what, expected, format_args!("{bytes} bytes at {address:#x}"))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let state = std::mem::take(&mut *self.state());
        state.live.into_iter().chain(state.freed).for_each(|(address, bytes)| release(address, bytes));
    }
}

/// Guard, memory, guard.
fn layout(bytes: usize) -> Layout {
    let size = bytes.saturating_add(2 * GUARD).min(isize::MAX as usize - GUARD);
    Layout::from_size_align(size, GUARD).expect("the size was cut to what a layout can have")
}

fn guards(address: u64, bytes: usize) -> [(&'static str, Range<u64>); 2] {
    let (guard, end) = (GUARD as u64, address + bytes as u64);
    [("before", address - guard..address), ("behind", end..end + guard)]
}

fn guards_hold(address: u64, bytes: usize) -> Result<(), String> {
    for (side, zone) in guards(address, bytes) {
        for at in zone {
            // SAFETY: the zones belong to the allocation, which is living.
            if unsafe { (at as *const u8).read() } != POISON {
                let distance = if side == "before" { address - at } else { at - address - bytes as u64 };
                return Err(format!("an allocation of {bytes} bytes was written to {distance} bytes {side} it"));
            }
        }
    }
    Ok(())
}

/// An error if a freed block, which is still ours, was written to.
fn untouched(address: u64, bytes: usize) -> Result<(), String> {
    // SAFETY: the block was written whole when it was freed, and is given back only by `release`.
    let block = unsafe { std::slice::from_raw_parts(address as *const u8, bytes) };
    // Pieces first: a loop without an exit vectorises.
    let whole = |piece: &[u8]| piece.iter().fold(POISON, |all, byte| all & byte) == POISON;
    let at = block.chunks(4096).position(|piece| !whole(piece)).map(|piece| {
        let start = 4096 * piece;
        start + block[start..].iter().position(|byte| *byte != POISON).unwrap_or(0)
    });
    at.map_or(Ok(()), |at| Err(format!("freed memory of {bytes} bytes was written to at byte {at}")))
}

/// Gives a block back to the host, once.
fn release(address: u64, bytes: usize) {
    let (base, layout) = (address - GUARD as u64, layout(bytes));
    // SAFETY: it was allocated by this layout; nobody knows the address any more.
    unsafe {
        sim_poison(base, layout.size(), false.into());
        dealloc(base as *mut u8, layout);
    }
}

/// For AddressSanitizer: the guard zones of an allocation.
fn poison_guards(address: u64, bytes: usize) {
    for (_, zone) in guards(address, bytes) {
        // SAFETY: the zones belong to an allocation of ours; the call changes no memory.
        unsafe { sim_poison(zone.start, (zone.end - zone.start) as usize, true.into()) };
    }
}

fn fault(text: String) -> Error {
    Error::device("simulated device memory", text)
}
