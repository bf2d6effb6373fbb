//! What the benchmarks share: which devices they measure, how a device's time is taken, and its ceilings in the same run.
//!
//! `ESPALIER_BENCH_DEVICES=cpu,cuda` names the devices; without it they are the processor, and the GPU if there is one.

use clap::ValueEnum;
use criterion::Criterion;
use espalier::gpu::{Epilogue, Gpu, Matrix, cuda};
use espalier::report::{bench::gemm_peak, table::count, tell};
use espalier::{DType, Device, Error, Result, Tensor};
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// Samples of a measurement, the fewest that criterion takes.
pub const SAMPLES: usize = 10;

/// A device, with the most bytes (read and written) and operations a second that it was seen to reach.
pub struct Meter {
    pub device: Device,
    pub gpu: Option<&'static Gpu>,
    pub copy: f64,
    pub product: f64,
    side: usize,           // of the matrices in that product
    block: Option<Tensor>, // on a GPU, as large as what is overwritten between samples
}

/// Criterion with few and short samples; arguments change that.
pub fn criterion() -> Criterion {
    let short = Duration::from_millis(300);
    let criterion = Criterion::default().sample_size(SAMPLES).warm_up_time(short / 3).measurement_time(short);
    criterion.without_plots().configure_from_args()
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
        let mut meter = Self { device, gpu: device.gpu()?, copy: 0.0, product: 0.0, side, block: None };
        let Some(gpu) = meter.gpu else {
            let (from, mut to) = (vec![1u8; bytes], vec![0u8; bytes]);
            let time = meter.best(|| {
                let pieces = to.par_chunks_mut(1 << 20).zip(from.par_chunks(1 << 20));
                pieces.for_each(|(to, from)| to.copy_from_slice(from));
                Ok(())
            })?;
            return Ok(Self { copy: 2.0 * bytes as f64 / time, product: 1e9 * gemm_peak(0.5), side: 1024, ..meter });
        };
        let block = Tensor::zeros([bytes >> 12, 1 << 10], DType::F32).to_device(device)?;
        meter.block = Some(block.clone());
        // Asking for the address to write to a shared tensor copies it.
        meter.copy = 2.0 * bytes as f64 / meter.best(|| block.clone().address_mut().map(drop))?;
        // Values of all kinds: constants need less power, and a card would run faster on them.
        let values: Vec<f32> = (0..side * side).map(|i| (i as f32 * 0.7).sin()).collect();
        let a = Tensor::from_slice([side, side], &values)?.to_device(device)?;
        let mut c = a.new_empty([side, side])?;
        let time = meter.best(|| {
            let (x, y) = (Matrix::of(&a)?, Matrix::out(&mut c)?);
            gpu.gemm(1, 1.0, x, x, 0.0, y, Epilogue::None)
        })?;
        Ok(Self { product: 2.0 * (side as f64).powi(3) / time, ..meter })
    }

    /// Seconds of `work`; on a GPU those that the device needs when its second-level cache holds none of the data.
    pub fn seconds(&self, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
        let (Some(gpu), Some(block)) = (self.gpu, &self.block) else {
            let start = Instant::now();
            return work().map(|()| start.elapsed().as_secs_f64());
        };
        // Nobody waits for it: while it runs the work is being launched, so that no launch is waited for within the time.
        block.new_full(*block.shape(), 1.0)?;
        Ok(gpu.time(&mut work)? / 1e3)
    }

    /// The least seconds of several runs, after one that is not timed.
    fn best(&self, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
        work()?;
        (0..SAMPLES).try_fold(f64::INFINITY, |best, _| Ok(self.seconds(&mut work)?.min(best)))
    }

    /// What 100 % is in a table.
    pub fn ceilings(&self) -> String {
        let (bytes, product, side) = (self.copy / 1e9, count(self.product as u64), self.side);
        let name = self.gpu.map_or(self.device.to_string(), |gpu| gpu.limits().name.clone());
        format!("100 % on {name}: {bytes:.1} GB/s copied (read and written), {product}FLOP/s in a product of {side}³")
    }
}
