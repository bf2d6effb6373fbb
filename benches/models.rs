//! Forward passes and training steps of models in `f32` on every device: `cargo bench --bench models [-- FILTER]`.
//!
//! criterion measures each on its own; the closing table has rounds in which all models take turns. On a GPU the same work is
//! launched kernel by kernel, and replayed as a graph; every clock stops when the device is done. A training step is forward,
//! backward and AdamW; it counts as three forward passes.

mod common;

use common::{Meter, SAMPLES};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use espalier::gpu::{Gpu, StepState};
use espalier::models::{Architecture, Mixer, Model, cost};
use espalier::nn::{Mode, NoHooks, Params, Pass};
use espalier::report::{Rival, Table, interleaved, table::count};
use espalier::{DType, Device, Result, Tape, Tensor, Var, ops, ops::Numbers, optim::AdamW};

type Work = Box<dyn FnMut() -> Result<()>>;
type Make = fn(&Architecture, Device, usize) -> Result<Work>;

/// A model at some work, and operations of one image.
struct Subject {
    cells: [String; 3],
    flops: f64,
    work: Work,
}

/// Names and models.
fn models(device: Device) -> Vec<(&'static str, Architecture)> {
    if common::simulated(device) {
        return vec![("2 blocks of 48", Architecture::deit(32, 16, 48, 2, 3).with_classes(10))];
    }
    let [tiny, small] = [(192, 3), (384, 6)].map(|(width, heads)| Architecture::deit(224, 16, width, 12, heads));
    vec![("DeiT-Ti", tiny), ("DeiT-S", small.clone()), ("half of DeiT-S", half(small))]
}

/// `arch` as a search leaves it at about half of its widths: odd ones, different from block to block.
fn half(mut arch: Architecture) -> Architecture {
    arch.embed_dim = 193;
    for (i, block) in arch.blocks.iter_mut().enumerate() {
        block.mixer = Mixer::Attention { heads: [2, 3, 4][i % 3], head_dim: 64 };
        block.hidden = 637 + 24 * i;
    }
    arch
}

/// Grey images: speed does not depend on the values.
fn images(arch: &Architecture, device: Device, batch: usize) -> Result<Tensor> {
    Tensor::full([batch, 3, arch.img_size, arch.img_size], DType::F32, 0.1).to_device(device)
}

fn forward(arch: &Architecture, device: Device, batch: usize) -> Result<Work> {
    let model = Model::init(arch.clone(), 0)?.to_device(device)?;
    let images = images(arch, device, batch)?;
    Ok(Box::new(move || model.forward(&Pass::eval(model.params())?, &Var::constant(images.clone())).map(drop)))
}

fn training_step(arch: &Architecture, device: Device, batch: usize) -> Result<Work> {
    const LR: f64 = 1e-4;
    let mut model = Model::init(arch.clone(), 0)?.to_device(device)?;
    let images = images(arch, device, batch)?;
    let target = ops::one_hot(&vec![0; batch], arch.num_classes, 0.1, DType::F32)?.to_device(device)?;
    let mut optimizer = AdamW { steps: 1, ..AdamW::new(model.params())? };
    let state = device.gpu()?.map(StepState::new).transpose()?;
    state.iter().try_for_each(|state| state.write(&optimizer.numbers(LR)))?;
    Ok(Box::new(move || {
        let grads = gradients(&model, &images, &target)?;
        let numbers = state.as_ref().map_or_else(|| Numbers::Host(optimizer.numbers(LR)), Numbers::Device);
        optimizer.update(model.params_mut(), &grads, None, numbers)
    }))
}

fn gradients(model: &Model, images: &Tensor, target: &Tensor) -> Result<Params> {
    let tape = Tape::new();
    let pass = Pass::new(model.params(), Some(&tape), Mode::eval(), &NoHooks)?;
    let logits = model.forward(&pass, &Var::constant(images.clone()))?;
    let mut grads = tape.backward(&ops::cross_entropy(&logits[0], target)?)?;
    let named = |name: &str| Ok(grads.take(pass.var(name)?).map(|grad| (name.to_string(), grad)));
    model.params().iter().map(|(name, _)| name).map(named).filter_map(Result::transpose).collect()
}

/// `work` that ends when the device has done it.
fn waited_for(gpu: Option<&'static Gpu>, mut work: Work) -> Work {
    Box::new(move || {
        work()?;
        gpu.map_or(Ok(()), Gpu::synchronize)
    })
}

/// `work` recorded once.
fn replayed(gpu: &'static Gpu, mut work: Work) -> Result<Work> {
    work()?; // loads kernels and plans products, which no graph can hold
    let (graph, ()) = gpu.capture(&mut work)?;
    Ok(Box::new(move || {
        let _tensors = &work; // that the graph reads and writes
        graph.replay()
    }))
}

fn subjects(meter: &Meter, name: &str, passes: f64, batch: usize, make: Make) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for (model, arch) in models(meter.device) {
        let (macs, work) = (cost::macs(&arch), || make(&arch, meter.device, batch));
        let mut add = |mode: &str, work| {
            let cells = [model.to_string(), count(macs), format!("{name}{mode}")];
            subjects.push(Subject { cells, flops: 2.0 * passes * macs as f64, work: waited_for(meter.gpu, work) });
        };
        match meter.gpu {
            None => add("", work()?),
            Some(gpu) => {
                add(", launched", work()?);
                add(", replayed", replayed(gpu, work()?)?);
            }
        }
    }
    Ok(subjects)
}

/// Runs criterion on the subjects, and those that its filter leaves in turn by turn for the table.
fn measure(
    criterion: &mut Criterion, table: &mut Table, meter: &Meter, batch: usize, subjects: Vec<Subject>,
) -> Result<()> {
    let (mut kept, mut group) = (Vec::new(), criterion.benchmark_group(format!("models/{}", meter.device)));
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(batch as u64));
    for mut subject in subjects {
        let (mut ran, [model, _, name]) = (false, &subject.cells);
        group.bench_function(BenchmarkId::new(format!("{model}/{name}"), batch), |bencher| {
            ran = true;
            bencher.iter(|| (subject.work)().expect("work that ran before"));
        });
        kept.extend(ran.then_some(subject));
    }
    group.finish();
    let mut rivals: Vec<Rival> = kept.iter_mut().map(|subject| ("", Box::new(&mut subject.work) as _)).collect();
    let timings = interleaved(&mut rivals, SAMPLES, 1)?;
    drop(rivals);
    for (Subject { cells, flops, .. }, timing) in kept.into_iter().zip(timings) {
        let (speed, [model, macs, name]) = (timing.per_second(batch), cells);
        let flops = flops * speed.median;
        let share = format!("{:.0}", 100.0 * flops / meter.product);
        let (device, batch, flops) = (meter.device.to_string(), batch.to_string(), count(flops as u64));
        table.row([device, model, macs, name, batch, timing.to_string(), speed.to_string(), flops, share]);
    }
    Ok(())
}

fn main() -> Result<()> {
    let (mut criterion, meters) = (common::criterion(), common::meters()?);
    let header =
        ["device", "model", "MACs", "work", "batch", "ms (p5–p95)", "img/s (p5–p95)", "FLOP/s", "% of product"];
    let mut table = Table::new(&header);
    for meter in &meters {
        let (batches, training_batch): (&[usize], _) = match meter.device {
            Device::Cpu => (&[1, 32], 16),
            device if common::simulated(device) => (&[1, 2], 2),
            _ => (&[1, 32, 256], 256),
        };
        for &batch in batches {
            let subjects = subjects(meter, "forward", 1.0, batch, forward)?;
            measure(&mut criterion, &mut table, meter, batch, subjects)?;
        }
        let subjects = subjects(meter, "training step", 3.0, training_batch, training_step)?;
        measure(&mut criterion, &mut table, meter, training_batch, subjects)?;
    }
    criterion.final_summary();
    println!("\n{}", table.text());
    meters.iter().for_each(|meter| println!("{}", meter.ceilings()));
    Ok(())
}
