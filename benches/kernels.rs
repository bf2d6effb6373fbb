//! Every op's cases in `f32` on every device: `cargo bench --bench kernels [-- FILTER]`.
//!
//! Throughput counts the bytes and operations of the forward pass, each byte once, in both measurements. The closing
//! table sets the forward pass against what the device reaches in copying memory and in a matrix product. A GPU's times are
//! its own, from event to event, with the second-level cache overwritten before each.

mod common;

use common::{Meter, SAMPLES};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use espalier::ops::case::{Case, Draw, Gradient, Instance};
use espalier::report::{Table, bench::percentile, table::count};
use espalier::{DType, Device, Result, Tape, Tensor, Var};
use std::{hint::black_box, time::Duration};

/// A case with its inputs in `f32` on a device.
struct Subject {
    instance: Instance,
    inputs: Vec<Tensor>,
    differentiable: bool,
}

impl Subject {
    fn new(case: &Case, device: Device) -> Result<Self> {
        let small = || Draw::random(vec![3, 9, 5, 2], 1);
        let instance = (case.draw)(&mut if common::simulated(device) { small() } else { Draw::bench(1) });
        let inputs = instance.inputs_in(DType::F32)?;
        let inputs = inputs.into_iter().map(|tensor| tensor.to_device(device)).collect::<Result<_>>()?;
        Ok(Self { instance, inputs, differentiable: !matches!(case.gradient, Gradient::None(_)) })
    }

    fn forward(&self) -> Result<Vec<Var>> {
        let inputs: Vec<Var> = self.inputs.iter().map(|tensor| Var::constant(tensor.clone())).collect();
        (self.instance.run)(&inputs)
    }

    /// Forward and backward with the cotangents `seeds`.
    fn backward(&self, seeds: &[Tensor]) -> Result<()> {
        let tape = Tape::new();
        let outputs = (self.instance.run)(&self.instance.variables(&tape, &self.inputs)?)?;
        let seeds: Vec<(&Var, Tensor)> = outputs.iter().zip(seeds.iter().cloned()).collect();
        black_box(tape.backward_from(&seeds)?);
        Ok(())
    }
}

/// Median seconds of `work`, also shown by criterion; `None` when its filter leaves the benchmark out.
fn measure(
    criterion: &mut Criterion, meter: &Meter, subject: &Subject, id: BenchmarkId, work: impl Fn() -> Result<()>,
) -> Option<f64> {
    let mut samples: Vec<f64> = Vec::new();
    let (bytes, elements) = (subject.instance.bytes as u64, subject.instance.operations as u64);
    let mut group = criterion.benchmark_group(format!("kernels/{}", meter.device));
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::ElementsAndBytes { elements, bytes });
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|rounds| {
            let time = || meter.seconds(&work).expect("a case that its own tests run");
            let total: f64 = (0..rounds).map(|_| time()).sum();
            samples.push(total / rounds.max(1) as f64);
            Duration::from_secs_f64(total)
        });
    });
    group.finish();
    // The first calls warm up.
    let last = &samples[samples.len().saturating_sub(SAMPLES)..];
    (!last.is_empty()).then(|| percentile(last, 0.5))
}

/// A row of the closing table, unless the filter leaves the case out.
fn row(criterion: &mut Criterion, meter: &Meter, case: &Case) -> Result<Option<Vec<String>>> {
    let subject = Subject::new(case, meter.device)?;
    let forward = measure(criterion, meter, &subject, BenchmarkId::new(case.name, "forward"), || {
        subject.forward().map(|outputs| drop(black_box(outputs)))
    });
    let backward = if subject.differentiable {
        let ones = |y: &Var| y.tensor().new_full(*y.shape(), 1.0);
        let seeds: Vec<Tensor> = subject.forward()?.iter().map(ones).collect::<Result<_>>()?;
        let id = BenchmarkId::new(case.name, "forward+backward");
        measure(criterion, meter, &subject, id, || subject.backward(&seeds))
    } else {
        None
    };
    if forward.is_none() && backward.is_none() {
        return Ok(None);
    }
    let cell = |value: Option<f64>, digits: usize| value.map_or("–".into(), |value| format!("{value:.digits$}"));
    let [bytes, flops] = [subject.instance.bytes, subject.instance.operations].map(|n| forward.map(|t| n as f64 / t));
    Ok(Some(vec![
        meter.device.to_string(),
        case.name.to_string(),
        cell(forward.map(|time| time * 1e3), 3),
        cell(bytes.map(|bytes| bytes / 1e9), 1),
        cell(bytes.map(|bytes| 100.0 * bytes / meter.copy), 0),
        flops.map_or("–".into(), |flops| count(flops as u64)),
        cell(flops.map(|flops| 100.0 * flops / meter.product), 0),
        cell(backward.map(|time| time * 1e3), 3),
        cell(forward.zip(backward).map(|(forward, backward)| backward / forward), 1),
    ]))
}

fn main() -> Result<()> {
    let (mut criterion, meters) = (common::criterion(), common::meters()?);
    let header = [
        "device", "case", "forward ms", "GB/s", "% of copy", "FLOP/s", "% of product", "with backward ms", "× forward",
    ];
    let mut table = Table::new(&header);
    for meter in &meters {
        for case in espalier::ops::all().iter().flat_map(|op| (op.cases)()) {
            if let Some(cells) = row(&mut criterion, meter, &case)? {
                table.row(cells);
            }
        }
    }
    criterion.final_summary();
    println!("\n{}", table.text());
    meters.iter().for_each(|meter| println!("{}", meter.ceilings()));
    Ok(())
}
