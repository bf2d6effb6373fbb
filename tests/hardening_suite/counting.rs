//! An allocator that counts: what all threads of the process hold, and the most of it since the last question.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// More is refused, which ends the process, so that a fault does not take the machine down.
const MOST: usize = 3 << 30;

pub struct Counting;

/// Counts `bytes` more; false when they are too many.
fn grow(bytes: usize) -> bool {
    let live = LIVE.fetch_add(bytes, Relaxed).saturating_add(bytes);
    PEAK.fetch_max(live, Relaxed);
    live <= MOST || shrink(bytes)
}

fn shrink(bytes: usize) -> bool {
    LIVE.fetch_sub(bytes, Relaxed);
    false
}

// SAFETY: every call is passed on to the system's allocator as it came, or answered with null, which callers have to expect.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is the one that `System` asks for.
        if grow(layout.size()) { unsafe { System.alloc(layout) } } else { null_mut() }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        if grow(layout.size()) { unsafe { System.alloc_zeroed(layout) } } else { null_mut() }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: the caller gives back what `System` gave, with its layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        shrink(layout.size());
        // SAFETY: the caller's block is `System`'s, and its promise about `size` the one that `System` asks for.
        if grow(size) { unsafe { System.realloc(block, layout, size) } } else { null_mut() }
    }
}

/// The most bytes that were held at once while `work` ran, beyond those that were held before.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = work();
    (result, PEAK.load(Relaxed).saturating_sub(before))
}
