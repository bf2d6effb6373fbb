//! Argument structs: what may be given to which kernel.

/// The arguments of one kernel, as `cuda/params.h` has them: plain numbers without padding, so their bytes are what the
/// kernel reads.
pub trait Args: cust_core::DeviceCopy + bytemuck::Pod {
    /// The kernel's name, without its element type: `softmax_fwd`.
    const KERNEL: &'static str;
}

/// Says which kernel a struct of `params.rs` belongs to.
macro_rules! kernel_args {
    ($args:ident, $kernel:literal) => {
        impl $crate::gpu::args::Args for $args {
            const KERNEL: &'static str = $kernel;
        }
    };
}
pub(crate) use kernel_args;
