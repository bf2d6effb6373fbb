//! What launches on a device share.

pub mod args;
pub mod cublaslt;
pub mod cuda;
pub mod driver;
pub mod libraries;
pub mod lt;
#[cfg(feature = "sim")]
mod lt_sim;
pub mod modules;
pub mod params;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "sim")]
mod sim_memory;
#[cfg(feature = "sim")]
pub mod stream;
