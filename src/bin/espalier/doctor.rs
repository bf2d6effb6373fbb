//! `espalier doctor`: what this machine has and how fast it is.

use crate::show::{pairs, print};
use espalier::{Result, report::bench::gemm_peak, report::table::bytes};
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
    let (version, system) = (env!("CARGO_PKG_VERSION"), format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let features = features(&field("/proc/cpuinfo", "flags").unwrap_or_default());
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let threads = rayon::current_num_threads();
    let [total, available] = ["MemTotal", "MemAvailable"].map(|name| {
        let kib = field("/proc/meminfo", name)?.split_whitespace().next()?.parse::<u64>().ok()?;
        Some(kib * 1024)
    });
    let gflops = gemm_peak(1.0);
    if args.json {
        return print(json!({
            "version": version, "system": system,
            "cpu": { "model": model, "features": features, "cores": cores, "threads": threads },
            "memory": { "total": total, "available": available },
            "devices": [{ "name": "cpu", "in_use": true }, { "name": "cuda", "in_use": false, "why": NO_CUDA }],
            "gemm_gflops": gflops,
        }));
    }
    let [total, available] = [total, available].map(|size| size.map_or("unknown".into(), bytes));
    print(pairs(&[
        ("version", format!("espalier {version}")),
        ("system", system),
        ("processor", model),
        ("features", if features.is_empty() { "none that matter here".into() } else { features.join(" ") }),
        ("cores", format!("{cores}, {threads} threads in use (RAYON_NUM_THREADS changes that)")),
        ("memory", format!("{total}, {available} available")),
        ("cpu", "in use".into()),
        ("cuda", NO_CUDA.into()),
        ("matrix product", format!("{gflops:.0} GFLOP/s (f32, 1024 x 1024 x 1024, all threads)")),
    ]))
}

/// The value of the first line `name : value` of a file below `/proc`, where there is one.
fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().to_string())
}

/// Which vector and matrix extensions there are; AMX is known from the kernel's list only.
fn features(flags: &str) -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let detected = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let detected = [];
    let listed = ["avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"];
    let listed = listed.map(|name| (name, flags.split_whitespace().any(|flag| flag == name)));
    detected.into_iter().chain(listed).filter_map(|(name, there)| there.then_some(name)).collect()
}
