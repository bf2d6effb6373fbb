//! `kernels` and `models` in one executable, for the bundle: `ESPALIER_BENCH_PART` says which of them to run.

#[path = "kernels.rs"]
mod kernels;
#[path = "models.rs"]
mod models;

use espalier::{Error, report::exit_code};
use std::process::ExitCode;

fn main() -> ExitCode {
    const NAME: &str = "ESPALIER_BENCH_PART";
    match std::env::var(NAME).unwrap_or_default().as_str() {
        "kernels" => kernels::main(),
        "models" => models::main(),
        other => exit_code(Err(Error::invalid(NAME, "kernels or models", other))),
    }
}
