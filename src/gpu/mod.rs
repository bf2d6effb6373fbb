//! What launches on a device share.

pub mod driver;
pub mod lt;
#[cfg(feature = "sim")]
mod lt_sim;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "sim")]
mod sim_memory;
#[cfg(feature = "sim")]
pub mod stream;
