//! `espalier doctor`: what this machine has and how fast it is.

use crate::show::{pairs, print, print_json};
use espalier::Result;
use espalier::report::bench::gemm_peak;
use espalier::report::table::bytes;
use serde_json::json;

/// Show version, processor, memory and devices, and measure a matrix product for a second
#[derive(clap::Args)]
pub struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Why a machine with a CUDA device computes on the processor.
const NO_CUDA: &str = "not in use: this build has no CUDA path yet";

pub fn run(args: &Args) -> Result<()> {
    let cpu_info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpu_info.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
        line.map(|value| value.trim().to_string())
    };
    let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let features = features(&field("flags").unwrap_or_default());
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let threads = rayon::current_num_threads();
    let [total, available] = ["MemTotal", "MemAvailable"].map(memory);
    let gflops = gemm_peak(1.0);
    if args.json {
        return print_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            "cpu": { "model": model, "features": features, "cores": cores, "threads": threads },
            "memory": { "total": total, "available": available },
            "devices": [{ "name": "cpu", "in_use": true }, { "name": "cuda", "in_use": false, "why": NO_CUDA }],
            "gemm_gflops": gflops,
        }));
    }
    let size = |value: Option<u64>| value.map_or("unknown".into(), bytes);
    print(&pairs(&[
        ("version", format!("espalier {}", env!("CARGO_PKG_VERSION"))),
        ("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        ("processor", model),
        ("features", if features.is_empty() { "none that matter here".into() } else { features.join(" ") }),
        ("cores", format!("{cores}, {threads} threads in use (RAYON_NUM_THREADS changes that)")),
        ("memory", format!("{}, {} available", size(total), size(available))),
        ("cpu", "in use".into()),
        ("cuda", NO_CUDA.into()),
        ("matrix product", format!("{gflops:.0} GFLOP/s (f32, 1024 x 1024 x 1024, all threads)")),
    ]))
}

/// Which vector and matrix extensions there are; AMX is known from the kernel's list only.
fn features(flags: &str) -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let mut found: Vec<&'static str> = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect();
    #[cfg(not(target_arch = "x86_64"))]
    let mut found: Vec<&'static str> = Vec::new();
    let listed = ["avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"];
    found.extend(listed.into_iter().filter(|name| flags.split_whitespace().any(|flag| flag == *name)));
    found
}

/// A line of `/proc/meminfo` in bytes, where there is one.
fn memory(name: &str) -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
