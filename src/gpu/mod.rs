//! What CUDA launches share.

pub mod args;
pub mod cublaslt;
pub mod cuda;
pub mod driver;
pub mod libraries;
pub mod lt;
pub mod modules;
pub mod params;
