//! TF32: products of `f32` matrices on operands rounded to 10 bits of mantissa, which tensor cores multiply.

use std::cell::Cell;

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
}

/// Whether products that this thread launches round their operands, until it is dropped: then as it was before. Off unless
/// asked for: f32 means f32.
#[derive(Debug)]
pub struct Tf32 {
    before: bool,
}

impl Tf32 {
    /// From here on.
    pub fn set(on: bool) -> Self {
        Self { before: ON.replace(on) }
    }

    /// Whether they do.
    pub fn is_on() -> bool {
        ON.get()
    }
}

impl Drop for Tf32 {
    fn drop(&mut self) {
        ON.set(self.before);
    }
}
