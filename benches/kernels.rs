//! Every op's cases on every device, in all that it computes in: `cargo bench --bench kernels [-- FILTER]`.
//!
//! Throughput counts the bytes and operations of the forward pass, each byte once, in both measurements. The closing
//! table sets the forward pass against what the device reaches in copying memory and in a matrix product. A GPU's times are
//! its own, from event to event, after other memory went through the second-level cache. TF32 has rows where it changes results.
//!
//! A row includes the op's kernels and, unless it works in place, finding memory for its outputs; never a copy of inputs. The
//! optimiser and the scores work in place, on tensors and numbers that are there before.

mod common;

use common::{Deadline, Meter, Row, SAMPLES, simulated};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use espalier::nn::Precision;
use espalier::ops::case::{Case, Draw, Gradient, Instance};
use espalier::report::{Timing, exit_code, table::count};
use espalier::{Device, Result, Tape, Tensor, Var};
use serde_json::json;
use std::{hint::black_box, process::ExitCode, time::Duration};

/// A case with its inputs on a device.
struct Subject<'a> {
    meter: &'a Meter,
    instance: &'a Instance,
    precision: Precision,
    inputs: Vec<Tensor>,
}

impl<'a> Subject<'a> {
    fn new(meter: &'a Meter, instance: &'a Instance, precision: Precision) -> Result<Self> {
        let inputs = instance.inputs_in(common::dtype(precision))?;
        let inputs = inputs.into_iter().map(|tensor| tensor.to_device(meter.device)).collect::<Result<_>>()?;
        Ok(Self { meter, instance, precision, inputs })
    }

    fn forward(&self) -> Result<Vec<Var>> {
        let inputs: Vec<Var> = self.inputs.iter().map(|tensor| Var::constant(tensor.clone())).collect();
        (self.instance.run)(&inputs)
    }

    /// Forward and backward with the cotangents `seeds`.
    fn backward(&self, seeds: &[Tensor]) -> Result<()> {
        let tape = Tape::new();
        tape.round_to_tf32(self.precision == Precision::Tf32);
        let outputs = (self.instance.run)(&self.instance.variables(&tape, &self.inputs)?)?;
        let seeds: Vec<(&Var, Tensor)> = outputs.iter().zip(seeds.iter().cloned()).collect();
        black_box(tape.backward_from(&seeds)?);
        Ok(())
    }

    /// Whether products in TF32 give something else.
    fn changes_with_tf32(&self) -> Result<bool> {
        let outputs = |precision| {
            let _products = common::products_in(precision);
            self.forward()?.iter().map(|y| y.tensor().stored_bytes()).collect::<Result<Vec<_>>>()
        };
        Ok(outputs(Precision::F32)? != outputs(Precision::Tf32)?)
    }

    /// The milliseconds of `work`, also shown by criterion; `None` when its filter leaves the benchmark out.
    fn measure(
        &self, criterion: &mut Criterion, id: BenchmarkId, mut work: impl FnMut() -> Result<()>,
    ) -> Option<Timing> {
        let mut samples: Vec<f64> = Vec::new();
        let (bytes, elements) = (self.bytes() as u64, self.instance.operations as u64);
        let mut group = criterion.benchmark_group(format!("kernels/{}/{}", self.meter.device, self.precision));
        group.sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::ElementsAndBytes { elements, bytes });
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut time = || self.meter.seconds(&mut work).expect("a case that its own tests run");
                let total: f64 = (0..rounds).map(|_| time()).sum();
                samples.push(1e3 * total / rounds.max(1) as f64);
                Duration::from_secs_f64(total)
            });
        });
        group.finish();
        // The first calls warm up.
        let last = samples.split_off(samples.len().saturating_sub(SAMPLES));
        (!last.is_empty()).then(|| Timing::new("", last))
    }

    fn bytes(&self) -> usize {
        self.instance.bytes_in(common::dtype(self.precision))
    }

    /// The forward pass, or the work in place.
    fn time_forward(&self, criterion: &mut Criterion, case: &Case) -> Result<Option<Timing>> {
        let mut work: Box<dyn FnMut() -> Result<()>> = match &self.instance.in_place {
            Some(prepare) => prepare(self.inputs.clone())?,
            None => Box::new(|| self.forward().map(|outputs| drop(black_box(outputs)))),
        };
        work()?; // what is changed in place is shared with the inputs until now
        Ok(self.measure(criterion, BenchmarkId::new(case.name, "forward"), work))
    }

    /// Forward and backward, for a case with a gradient.
    fn time_backward(&self, criterion: &mut Criterion, case: &Case) -> Result<Option<Timing>> {
        if matches!(case.gradient, Gradient::None(_)) {
            return Ok(None);
        }
        let ones = |y: &Var| y.tensor().new_full(*y.shape(), 1.0);
        let seeds: Vec<Tensor> = self.forward()?.iter().map(ones).collect::<Result<_>>()?;
        self.backward(&seeds)?;
        let id = BenchmarkId::new(case.name, "forward+backward");
        Ok(self.measure(criterion, id, || self.backward(&seeds)))
    }

    /// A row of the table, unless the filter leaves the case out or TF32 changes nothing.
    fn row(&self, criterion: &mut Criterion, case: &Case) -> Result<Option<Row>> {
        if self.precision == Precision::Tf32 && !self.changes_with_tf32()? {
            return Ok(None);
        }
        let _products = common::products_in(self.precision);
        let forward = self.time_forward(criterion, case)?;
        let backward = self.time_backward(criterion, case)?;
        let Some(time) = forward.as_ref().or(backward.as_ref()) else { return Ok(None) };
        let seconds = forward.as_ref().map_or(f64::NAN, |_| time.median / 1e3);
        let [bytes, flops] = [self.bytes(), self.instance.operations].map(|n| n as f64 / seconds);
        let [of_copy, of_product] = [bytes / self.meter.copy, flops / self.meter.ceiling(self.precision)];
        let cell = |value: f64, digits: usize| if value.is_nan() { "–".into() } else { format!("{value:.digits$}") };
        let times = [&forward, &backward].map(|time| time.as_ref().map_or("–".into(), Timing::to_string));
        let [forward_cell, backward_cell] = times;
        let ratio = forward.as_ref().zip(backward.as_ref()).map_or(f64::NAN, |(f, b)| b.median / f.median);
        let includes = if self.instance.in_place.is_some() { "kernels, in place" } else { "kernels, new outputs" };
        let cells = vec![
            ("device", self.meter.device.to_string()),
            ("case", case.name.to_string()),
            ("in", self.precision.to_string()),
            ("includes", includes.to_string()),
            ("forward ms (p5–p95)", forward_cell),
            ("GB/s", cell(bytes / 1e9, 1)),
            ("% of copy", cell(100.0 * of_copy, 0)),
            ("FLOP/s", if flops.is_nan() { "–".into() } else { count(flops as u64) }),
            ("% of product", cell(100.0 * of_product, 0)),
            ("with backward ms", backward_cell),
            ("× forward", cell(ratio, 1)),
        ];
        let json = json!({
            "device": self.meter.device, "case": case.name, "dtype": self.precision, "includes": includes, "bytes": self.bytes(),
            "operations": self.instance.operations, "forward_ms": forward, "with_backward_ms": backward,
            "of_copy": of_copy, "of_product": of_product,
        });
        Ok(Some(Row { cells, json }))
    }
}

/// Criterion with few and short samples; arguments change that.
fn criterion() -> Criterion {
    let short = Duration::from_millis(200);
    let criterion = Criterion::default().sample_size(SAMPLES).warm_up_time(short / 4).measurement_time(short);
    criterion.nresamples(1001).without_plots().configure_from_args()
}

pub(crate) fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let (mut criterion, deadline, meters) = (criterion(), Deadline::from_env()?, common::meters()?);
    let (mut rows, mut left_out, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for meter in &meters {
        for case in espalier::ops::all().iter().flat_map(|op| (op.cases)()) {
            if deadline.passed() {
                left_out.push(format!("{} on {}: no time was left", case.name, meter.device));
                continue;
            }
            let mut sizes = match meter.device {
                device if simulated(device) => Draw::random(vec![3, 9, 5, 2], 1),
                Device::Cpu => Draw::bench(1, 8), // what it does in seconds
                _ => Draw::bench(1, 1),
            };
            let instance = (case.draw)(&mut sizes);
            for &(precision, _) in &meter.products {
                match Subject::new(meter, &instance, precision).and_then(|subject| subject.row(&mut criterion, &case)) {
                    Ok(row) => rows.extend(row),
                    Err(error) => faults.push(format!("{} in {precision} on {}: {error}", case.name, meter.device)),
                }
            }
        }
    }
    criterion.final_summary();
    common::report("kernels", &meters, &rows, &left_out, &faults)
}
