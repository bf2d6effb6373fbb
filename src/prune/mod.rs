//! Pruning: every method makes a [`Plan`] (what goes), the plan makes a smaller [`crate::models::Architecture`].
//!
//! 1. [`plan`]: what a result looks like, whatever the method;
//! 2. [`apply()`]: the smaller model with its weights;
//! 3. [`savit`]: heads, hidden units and embedding channels by Taylor scores and a collaborative search.

mod apply;
pub mod plan;
pub mod savit;

pub use apply::apply;
pub use plan::{Kind, Plan, Step, Units};

/// An endless stream of uniforms in [0, 1) with 53 random bits (SplitMix64), equal on every machine for a seed.
pub fn uniforms(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 * f64::EPSILON / 2.0
    }
}
