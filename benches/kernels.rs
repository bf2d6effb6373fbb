//! Every op's cases in `f32`: `cargo bench --bench kernels [-- FILTER]`.
//!
//! Throughput counts the bytes and operations of the forward pass, each byte once, in both measurements. The closing
//! table sets the forward pass against what the machine reaches in copying memory and in a matrix product.

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use espalier::ops::case::{Case, Draw, Gradient, Instance};
use espalier::report::bench::{gemm_peak, percentile};
use espalier::report::{Table, interleaved};
use espalier::{DType, Result, Tape, Tensor, Var};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Samples of a measurement, the fewest that criterion takes.
const SAMPLES: usize = 10;

/// A case with its inputs in `f32`, each with whether its gradient is wanted.
struct Subject {
    instance: Instance,
    inputs: Vec<(Tensor, bool)>,
    differentiable: bool,
}

impl Subject {
    fn new(case: &Case) -> Result<Self> {
        let mut instance = (case.draw)(&mut Draw::bench(1));
        let convert = |(tensor, wanted): (Tensor, bool)| match tensor.dtype() {
            DType::F64 => (tensor.to_dtype(DType::F32).unwrap(), wanted),
            _ => (tensor, wanted),
        };
        let inputs = std::mem::take(&mut instance.inputs).into_iter().map(convert).collect();
        Ok(Self { instance, inputs, differentiable: !matches!(case.gradient, Gradient::None(_)) })
    }

    fn forward(&self) -> Result<Vec<Var>> {
        let inputs: Vec<Var> = self.inputs.iter().map(|(tensor, _)| Var::constant(tensor.clone())).collect();
        (self.instance.run)(&inputs)
    }

    /// Forward and backward with the cotangents `seeds`.
    fn backward(&self, seeds: &[Tensor]) -> Result<()> {
        let tape = Tape::new();
        let leaf = |(tensor, wanted): &(Tensor, bool)| {
            if *wanted { tape.leaf(tensor.clone()) } else { Var::constant(tensor.clone()) }
        };
        let inputs: Vec<Var> = self.inputs.iter().map(leaf).collect();
        let outputs = (self.instance.run)(&inputs)?;
        let seeds: Vec<(&Var, Tensor)> = outputs.iter().zip(seeds.iter().cloned()).collect();
        black_box(tape.backward_from(&seeds)?);
        Ok(())
    }
}

/// Median seconds of `work`, also shown by criterion; `None` when its filter leaves the benchmark out.
fn measure(
    criterion: &mut Criterion, subject: &Subject, id: BenchmarkId, work: impl Fn() -> Result<()>,
) -> Option<f64> {
    let mut samples: Vec<f64> = Vec::new();
    let (bytes, elements) = (subject.instance.bytes as u64, subject.instance.operations as u64);
    let mut group = criterion.benchmark_group("kernels");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::ElementsAndBytes { elements, bytes });
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|rounds| {
            let start = Instant::now();
            for _ in 0..rounds {
                work().expect("a case that its own tests run");
            }
            let elapsed = start.elapsed();
            samples.push(elapsed.as_secs_f64() / rounds.max(1) as f64);
            elapsed
        });
    });
    group.finish();
    // The first calls warm up.
    let last = &samples[samples.len().saturating_sub(SAMPLES)..];
    (!last.is_empty()).then(|| percentile(last, 0.5))
}

/// A row of the closing table, unless the filter leaves the case out.
fn row(criterion: &mut Criterion, case: &Case, copy: f64, gemm: f64) -> Result<Option<Vec<String>>> {
    let subject = Subject::new(case)?;
    let forward = measure(criterion, &subject, BenchmarkId::new(case.name, "forward"), || {
        subject.forward().map(|outputs| drop(black_box(outputs)))
    });
    let backward = if subject.differentiable {
        let seeds: Vec<Tensor> = subject.forward()?.iter().map(|y| Tensor::full(*y.shape(), y.dtype(), 1.0)).collect();
        let id = BenchmarkId::new(case.name, "forward+backward");
        measure(criterion, &subject, id, || subject.backward(&seeds))
    } else {
        None
    };
    if forward.is_none() && backward.is_none() {
        return Ok(None);
    }
    let cell = |value: Option<f64>, digits: usize| value.map_or("–".into(), |value| format!("{value:.digits$}"));
    let gb = forward.map(|time| subject.instance.bytes as f64 / time / 1e9);
    let gflop = forward.map(|time| subject.instance.operations as f64 / time / 1e9);
    Ok(Some(vec![
        case.name.to_string(),
        cell(forward.map(|time| time * 1e3), 3),
        cell(gb, 1),
        cell(gb.map(|gb| 100.0 * gb / copy), 0),
        cell(gflop, 1),
        cell(gflop.map(|gflop| 100.0 * gflop / gemm), 0),
        cell(backward.map(|time| time * 1e3), 3),
        cell(forward.zip(backward).map(|(forward, backward)| backward / forward), 1),
    ]))
}

/// The most GB/s, read and written, that copying memory with all threads reaches.
fn copy_peak() -> Result<f64> {
    // Larger than the caches.
    const BYTES: usize = 256 << 20;
    let (from, mut to) = (vec![1u8; BYTES], vec![0u8; BYTES]);
    let copy = || {
        to.par_chunks_mut(1 << 20).zip(from.par_chunks(1 << 20)).for_each(|(to, from)| to.copy_from_slice(from));
        Ok(())
    };
    let times = interleaved(&mut [("copy", Box::new(copy))], SAMPLES, 1)?;
    Ok(2.0 * BYTES as f64 / percentile(&times[0].samples, 0.0) / 1e6)
}

fn main() -> Result<()> {
    let short = Duration::from_millis(300);
    let criterion = Criterion::default().sample_size(SAMPLES).warm_up_time(short / 3).measurement_time(short);
    let mut criterion = criterion.without_plots().configure_from_args();
    let (copy, gemm) = (copy_peak()?, gemm_peak(0.5));
    let header =
        ["case", "forward ms", "GB/s", "% of copy", "GFLOP/s", "% of product", "with backward ms", "× forward"];
    let mut table = Table::new(&header);
    for case in espalier::ops::all().iter().flat_map(|op| (op.cases)()) {
        if let Some(cells) = row(&mut criterion, &case, copy, gemm)? {
            table.row(cells);
        }
    }
    criterion.final_summary();
    println!("\n{}", table.text());
    println!("100 %: {copy:.1} GB/s copied (read and written), {gemm:.0} GFLOP/s in a product of 1024 x 1024 x 1024");
    Ok(())
}
