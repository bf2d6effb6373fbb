//! `espalier doctor`: what this machine has and how fast it is.

use crate::show::{pairs, print};
use espalier::gpu::{self, driver::Limits, libraries, modules};
use espalier::{DType, Device, Error, Result, Tensor, Var, ops, report::bench::gemm_peak, report::table::bytes};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Show version, processor, memory and devices, and measure a matrix product for a second
#[derive(clap::Args)]
pub struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let (version, system) = (env!("CARGO_PKG_VERSION"), format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    let model = espalier::cpu::name();
    let features = features(&field("/proc/cpuinfo", "flags").unwrap_or_default());
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let threads = rayon::current_num_threads();
    let [total, available] = ["MemTotal", "MemAvailable"].map(|name| {
        let kib = field("/proc/meminfo", name)?.split_whitespace().next()?.parse::<u64>().ok()?;
        Some(kib * 1024)
    });
    let cuda = gpu::cuda().and_then(|gpu| trial().map(|()| gpu.limits().clone()));
    let cuda = cuda.map_err(|error| error.to_string().trim_start_matches("cuda: ").to_string());
    let [driver, nvrtc, cublaslt] = [libraries::driver(), libraries::nvrtc(), libraries::cublaslt()];
    let (embedded, cache) = (modules::embedded(), espalier::io::cache_folder());
    let gflops = gemm_peak(1.0);
    if args.json {
        let number =
            |library: &libraries::Version| library.as_ref().ok().map(|(major, minor)| format!("{major}.{minor}"));
        let card = cuda.as_ref().ok();
        let all = [("driver", driver), ("nvrtc", nvrtc), ("cublaslt", cublaslt)];
        let missing: Map<String, Value> = all
            .into_iter()
            .filter_map(|(name, version)| Some((name.into(), version.as_ref().err()?.as_str().into())))
            .collect();
        return print(json!({
            "version": version, "system": system,
            "cpu": { "model": model, "features": features, "cores": cores, "threads": threads },
            "memory": { "total": total, "available": available },
            "devices": [{ "name": "cpu", "in_use": true }, {
                "name": "cuda", "in_use": cuda.is_ok(), "why": cuda.as_ref().err(),
                "card": card.map(|card| &card.name), "capability": card.map(|card| card.capability),
                "memory": card.map(|card| card.memory), "driver": number(driver), "nvrtc": number(nvrtc),
                "cublaslt": number(cublaslt), "missing": missing, "embedded": embedded, "cache": cache,
            }],
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
        ("cuda", cuda.map_or_else(|why| format!("not in use: {why}"), |limits| card(&limits))),
        ("cuda libraries", [("driver", driver), ("NVRTC", nvrtc), ("cuBLASLt", cublaslt)].map(found).join("; ")),
        ("cuda kernels", kernels(embedded, nvrtc, cache)),
        ("matrix product", format!("{gflops:.0} GFLOP/s (f32, 1024 x 1024 x 1024, all threads)")),
    ]))
}

/// A kernel and a small matrix product, read back: only then is the card in use.
fn trial() -> Result<()> {
    let one = Tensor::full([3, 16], DType::F32, 1.0).to_device(Device::Cuda)?;
    let [x, w] = [one.new_full([3, 16], 2.0)?, one.new_full([8, 16], 0.25)?].map(Var::constant);
    let y = ops::linear(&x, &w, None)?.tensor().to_f64s()?;
    let right = y == [8.0; 24];
    Error::ensure(right, "a trial of the card (2 x 0.25, 16 times)", "8 everywhere", format_args!("{y:?}"))
}

fn card(limits: &Limits) -> String {
    let (major, minor) = limits.capability;
    let memory = bytes(limits.memory as u64);
    format!("{}, compute capability {major}.{minor}, {} multiprocessors, {memory}", limits.name, limits.multiprocessors)
}

fn found((name, version): (&str, &libraries::Version)) -> String {
    match version {
        Ok((major, minor)) => format!("{name} {major}.{minor}"),
        Err(why) => format!("no {name}: {why}"),
    }
}

/// Where machine code comes from.
fn kernels(embedded: &[&str], nvrtc: &libraries::Version, cache: Option<PathBuf>) -> String {
    let built = (!embedded.is_empty())
        .then(|| format!("built in by nvcc {} for sm_{}", modules::nvcc(), embedded.join(", sm_")));
    let made = nvrtc.is_ok().then(|| match cache {
        Some(folder) => format!("compiled at first use, kept in {}", folder.display()),
        None => "compiled in every run (neither XDG_CACHE_HOME nor HOME is set)".into(),
    });
    let sources: Vec<String> = built.into_iter().chain(made).collect();
    if sources.is_empty() { format!("none: {}", libraries::install()) } else { sources.join("; others ") }
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
