//! What CPU kernels share: matrix products, vector loops, reductions that do not depend on the number of threads.

pub mod gemm;
pub mod math;
pub mod parallel;
pub mod reduce;
pub mod windows;

pub use gemm::{Mat, count_macs, gemm, gemm_of, gemm_then, macs_done};
pub use parallel::{accumulate, each_row, each_row_pair, new_rows, rows_mut, simd, sum_columns, sum_rows, zip_mut};
pub use windows::Windows;

/// The processor's name as Linux gives it, else its kind.
pub fn name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("model name")?.trim_start().strip_prefix(':'));
    value.map_or_else(|| std::env::consts::ARCH.into(), |name| name.trim().into())
}
