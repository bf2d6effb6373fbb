//! What models are built of: named parameters, one forward pass over them, and the hooks that wrap a plain model.

mod hooks;
mod packs;
mod params;
mod pass;
mod precision;
mod stream;

pub use hooks::{Hooks, NoHooks, Site};
pub use packs::Packs;
pub use params::Params;
pub use pass::{BATCHNORM_EPS, BatchNorm, Mode, Pass};
pub use precision::Precision;
pub use stream::Stream;

/// Which tokens of each image a block works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tokens {
    /// Every token of every image.
    All,
}
