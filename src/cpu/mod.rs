//! What CPU kernels share: matrix products, vector loops, reductions that do not depend on the number of threads.

pub mod gemm;
pub mod math;
pub mod parallel;
pub mod reduce;

pub use gemm::{Mat, gemm, macs};
pub use parallel::{accumulate, rows, rows_mut, rows_mut2, simd, sum_columns};
