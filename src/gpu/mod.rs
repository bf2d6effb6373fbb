//! What CUDA launches share.

pub mod args;
pub mod driver;
pub mod lt;
pub mod params;
