//! What CPU kernels share: matrix products, vector loops, reductions that do not depend on the number of threads.

pub mod gemm;
pub mod math;
pub mod parallel;
pub mod reduce;
pub mod windows;

pub use gemm::{Mat, count_macs, gemm, gemm_of, macs_done};
pub use parallel::{accumulate, each_row, each_row_pair, new_rows, rows_mut, simd, sum_columns, sum_rows, zip_mut};
pub use windows::Windows;
