//! What the benchmarks share: which devices they measure, how a device's time is taken, its ceilings in the same run, and
//! the files that results go to.
//!
//! `ESPALIER_BENCH_DEVICES=cpu,cuda` names the devices; without it they are the processor, and the GPU if there is one.
//! `ESPALIER_BENCH_OUT=PATH` writes `PATH.json` and `PATH.md`; `ESPALIER_BENCH_SECONDS` is when to begin nothing more.
#![allow(dead_code)] // shared by two benchmarks

use clap::ValueEnum;
use espalier::gpu::{Epilogue, Gpu, Matrix, Tf32, cuda, libraries};
use espalier::nn::Precision;
use espalier::report::{Table, bench::gemm_peak, table::count, tell};
use espalier::{DType, Device, Error, Result, Tensor, Var, ops};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime};
use std::{io::Write, path::Path};

/// Samples of a measurement, the fewest that criterion takes: for a median with its spread.
pub const SAMPLES: usize = 10;

/// Samples of this run: one with `--test`.
pub fn samples() -> usize {
    if std::env::args().any(|word| word == "--test") { 1 } else { SAMPLES }
}

/// A device, with the most bytes (read and written) and operations a second that it was seen to reach.
pub struct Meter {
    pub device: Device,
    pub gpu: Option<&'static Gpu>,
    pub copy: f64,
    /// Of a matrix product, for everything that the device computes in.
    pub products: Vec<(Precision, f64)>,
    side: usize,           // of the matrices in that product
    block: Option<Tensor>, // on a GPU, as large as what is written and read between samples
}

/// What values are stored as in a pass of this precision.
pub fn dtype(precision: Precision) -> DType {
    precision.half().unwrap_or(DType::F32)
}

/// Has products of `f32` matrices round to TF32 until it is dropped, or not.
pub fn products_in(precision: Precision) -> Tf32 {
    Tf32::set(precision == Precision::Tf32)
}

/// Every device to measure.
pub fn meters() -> Result<Vec<Meter>> {
    const NAME: &str = "ESPALIER_BENCH_DEVICES";
    let known = Device::value_variants().iter().map(Device::to_string).collect::<Vec<_>>().join(", ");
    let device = |name: &str| Device::from_str(name, false).map_err(|_| Error::invalid(NAME, &known, name));
    let devices = match (std::env::var(NAME), cuda()) {
        (Ok(list), _) => list.split(',').map(device).collect::<Result<_>>()?,
        (Err(_), Ok(_)) => vec![Device::Cpu, Device::Cuda],
        (Err(_), Err(why)) => {
            tell(format_args!("cpu only: {why}"));
            vec![Device::Cpu]
        }
    };
    devices.into_iter().map(Meter::new).collect()
}

/// Whether `device` runs small sizes only: the simulator, whose times mean nothing.
pub fn simulated(device: Device) -> bool {
    !matches!(device, Device::Cpu | Device::Cuda)
}

impl Meter {
    fn new(device: Device) -> Result<Self> {
        // Larger than any second-level cache; and on a GPU a product that fills every multiprocessor.
        let (bytes, side) = if simulated(device) { (1 << 16, 64) } else { (256 << 20, 8192) };
        let mut meter = Self { device, gpu: device.gpu()?, copy: 0.0, products: Vec::new(), side, block: None };
        let Some(_) = meter.gpu else {
            let (from, mut to) = (vec![1u8; bytes], vec![0u8; bytes]);
            let time = meter.best(|| {
                let pieces = to.par_chunks_mut(1 << 20).zip(from.par_chunks(1 << 20));
                pieces.for_each(|(to, from)| to.copy_from_slice(from));
                Ok(())
            })?;
            let products = vec![(Precision::F32, 1e9 * gemm_peak(0.5))];
            return Ok(Self { copy: 2.0 * bytes as f64 / time, products, side: 1024, ..meter });
        };
        let block = Tensor::zeros([bytes >> 12, 1 << 10], DType::F32).to_device(device)?;
        meter.block = Some(block.clone());
        // Asking for the address to write to a shared tensor copies it.
        meter.copy = 2.0 * bytes as f64 / meter.best(|| block.clone().address_mut().map(drop))?;
        // Values of all kinds: constants need less power, and a card would run faster on them.
        let values: Vec<f32> = (0..side * side).map(|i| (i as f32 * 0.7).sin()).collect();
        let values = Tensor::from_slice([side, side], &values)?.to_device(device)?;
        let product = |&precision: &Precision| Ok((precision, meter.product(&values, precision)?));
        let products = Precision::value_variants().iter().map(product).collect::<Result<_>>()?;
        Ok(Self { products, ..meter })
    }

    /// Operations a second in the product of a square matrix with itself.
    fn product(&self, values: &Tensor, precision: Precision) -> Result<f64> {
        let (Some(gpu), side) = (self.gpu, self.side as f64) else { return Ok(f64::NAN) };
        let _products = products_in(precision);
        let a = values.to_dtype(dtype(precision))?;
        let mut c = a.new_empty([self.side, self.side])?;
        let time = self.best(|| {
            let (x, y) = (Matrix::of(&a)?, Matrix::out(&mut c)?);
            gpu.gemm(1, 1.0, x, x, 0.0, y, Epilogue::None)
        })?;
        Ok(2.0 * side.powi(3) / time)
    }

    /// The most operations a second that a product was seen to reach.
    pub fn ceiling(&self, precision: Precision) -> f64 {
        self.products.iter().find(|(of, _)| *of == precision).map_or(f64::NAN, |(_, product)| *product)
    }

    /// Seconds of `work`; on a GPU those that the device needs when its second-level cache holds none of the data.
    pub fn seconds(&self, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
        let (Some(gpu), Some(block)) = (self.gpu, &self.block) else {
            let start = Instant::now();
            return work().map(|()| start.elapsed().as_secs_f64());
        };
        // Nobody waits for it: while it runs the work is being launched, so that no launch is waited for within the time.
        block.new_full(*block.shape(), 1.0)?;
        // The cache is full of what was written, which would have to leave it within the time: reading makes it leave now.
        let block = Var::constant(block.clone());
        ops::dot(&block, &block)?;
        Ok(gpu.time(&mut work)? / 1e3)
    }

    /// The least seconds of several runs, after one that is not timed.
    fn best(&self, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
        work()?;
        (0..SAMPLES).try_fold(f64::INFINITY, |best, _| Ok(self.seconds(&mut work)?.min(best)))
    }

    fn name(&self) -> String {
        self.gpu.map_or(self.device.to_string(), |gpu| gpu.limits().name.clone())
    }

    /// What 100 % is in a table.
    fn ceilings(&self) -> String {
        let product = |(of, product): &(Precision, f64)| format!("{}FLOP/s in {of}", count(*product as u64));
        let (bytes, products) = (self.copy / 1e9, self.products.iter().map(product).collect::<Vec<_>>().join(", "));
        let (name, side) = (self.name(), self.side);
        format!("100 % on {name}: {bytes:.1} GB/s copied (read and written); in a product of {side}³ {products}")
    }
}

/// When no further measurement is to begin.
pub struct Deadline {
    begin: Instant,
    limit: Option<Duration>,
}

impl Deadline {
    /// From now on.
    pub fn from_env() -> Result<Self> {
        const NAME: &str = "ESPALIER_BENCH_SECONDS";
        let seconds = |text: String| text.parse().map_err(|_| Error::invalid(NAME, "a number of seconds", &text));
        let limit = std::env::var(NAME).ok().map(seconds).transpose()?.map(Duration::from_secs);
        Ok(Self { begin: Instant::now(), limit })
    }

    /// Whether it has come.
    pub fn passed(&self) -> bool {
        self.limit.is_some_and(|limit| self.begin.elapsed() > limit)
    }
}

/// One measurement: the cells of its row by column, and all of it for programs.
pub struct Row {
    pub cells: Vec<(&'static str, String)>,
    pub json: Value,
}

/// Prints the table of `rows`, what 100 % is in it, what was left out and what failed; writes both forms where they were
/// asked for. Faults are an error in the end.
pub fn report(part: &str, meters: &[Meter], rows: &[Row], left_out: &[String], faults: &[String]) -> Result<()> {
    let header: Vec<&str> =
        rows.first().map(|row| row.cells.iter().map(|(name, _)| *name).collect()).unwrap_or_default();
    let mut table = Table::new(&header);
    for row in rows {
        table.row(row.cells.iter().map(|(_, cell)| cell.as_str()));
    }
    let ceilings: Vec<String> = meters.iter().map(Meter::ceilings).collect();
    let said = |word: &str, what: &[String]| what.iter().map(|what| format!("{word}: {what}")).collect::<Vec<_>>();
    let notes = [ceilings, said("left out", left_out), said("failed", faults)].concat();
    println!("\n{}\n{}", table.text(), notes.join("\n"));
    if let Some(path) = std::env::var_os("ESPALIER_BENCH_OUT").filter(|path| !path.is_empty()) {
        write(part, Path::new(&path), meters, rows, &table, &notes)?;
    }
    Error::ensure(faults.is_empty(), part, "no failed measurement", faults.len())
}

/// `path.json` and `path.md`.
fn write(part: &str, path: &Path, meters: &[Meter], rows: &[Row], table: &Table, notes: &[String]) -> Result<()> {
    let version = |found: &libraries::Version| found.as_ref().map_or("none".into(), |(a, b)| format!("{a}.{b}"));
    let [driver, cublaslt] = [libraries::driver(), libraries::cublaslt()].map(version);
    let (date, samples, commit) = (date(), samples(), option_env!("ESPALIER_COMMIT").unwrap_or("unknown"));
    let devices: Vec<Value> = meters
        .iter()
        .map(|meter| {
            let products = meter.products.iter().map(|(of, product)| (of.to_string(), json!(product)));
            json!({ "device": meter.device, "name": meter.name(), "copy": meter.copy,
            "product": products.collect::<serde_json::Map<_, _>>() })
        })
        .collect();
    let json = json!({
        "part": part, "date": date, "commit": commit, "driver": driver, "cublaslt": cublaslt, "samples": samples,
        "devices": devices, "rows": rows.iter().map(|row| &row.json).collect::<Vec<_>>(), "notes": notes,
    });
    let (notes, table) = (notes.join("\n- "), table.markdown());
    let text = format!(
        "# {part}\n\n{date}, commit {commit}, driver for CUDA {driver}, cuBLASLt {cublaslt}. Medians of {samples} samples with \
         the range from the 5th to the 95th percentile.\n\n- {notes}\n\n{table}"
    );
    for (ending, text) in [("json", format!("{json:#}\n")), ("md", text)] {
        let path = format!("{}.{ending}", path.display());
        espalier::io::write_atomic(path, |file| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// Today, in universal time: the civil date of the days since 1970 (years begin in March, eras have 400 of them).
fn date() -> String {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{day:02}", 400 * era + year + u64::from(month <= 2))
}
