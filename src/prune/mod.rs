//! Pruning: every method makes a [`Plan`] (what goes), the plan makes a smaller [`crate::models::Architecture`].
//!
//! 1. [`plan`]: what a result looks like, whatever the method;
//! 2. [`apply()`]: the smaller model with its weights;
//! 3. [`savit`]: heads, hidden units and embedding channels by Taylor scores and a collaborative search;
//! 4. [`job`]: the main job, from a dense model to the table.

mod apply;
pub mod job;
pub mod plan;
pub mod savit;

pub use apply::apply;
pub use plan::{Kind, Plan, Step, Units};

/// An endless stream of uniforms in [0, 1) with 53 random bits for a seed, for searches and the random baseline.
pub fn uniforms(seed: u64) -> impl FnMut() -> f64 {
    let mut stream = crate::noise::Philox { seed, step: 0 }.stream("prune", 0);
    move || stream.next_f64()
}
