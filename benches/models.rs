//! Forward passes and training steps of models on every device: `cargo bench --bench models [-- [--test] FILTER…]`.
//!
//! The models are the zoo's dense and pruned ones at 224 pixels, and a DeiT-S at half of its multiply-accumulates, exactly and
//! aligned. Those of one kind of work, precision and batch take turns in every round; training steps at a large batch are
//! measured one after the other, for their memory. On a GPU a pass is replayed as a graph, and at batch 1 launched kernel by
//! kernel as well; every clock stops when the device is done. A training step is forward, backward and AdamW; it counts as
//! three forward passes. A filter is a list of words joined by `+`, all of which are in the measurement's name
//! (`/deit_small_patch16_224/training step/replayed/bf16/256/`); with `--test` everything runs once.

mod common;

use common::{Deadline, Meter, Row};
use espalier::gpu::{Gpu, StepState};
use espalier::models::{Architecture, Mixer, Model, cost, zoo};
use espalier::nn::{Mode, NoHooks, Params, Pass, Precision};
use espalier::report::{Rival, Timing, exit_code, interleaved, table::count, tell};
use espalier::{DType, Device, Result, Tape, Tensor, Var, ops, ops::Numbers, optim::AdamW};
use serde_json::json;
use std::process::ExitCode;

type Work = Box<dyn FnMut() -> Result<()>>;
type Make = fn(&Model, Precision, usize) -> Result<Work>;

/// A model on the device, with the name of the one that it was pruned from.
struct Entry {
    name: String,
    dense: Option<String>,
    model: Model,
}

/// What SAViT's search leaves of a DeiT-S at 50 %: exactly, and with `--align 8` and `64` (name, width, heads, hidden units).
/// The scores are those of the main job's model on the generated data, the multiply-accumulates those of 224 pixels.
type Widths = (&'static str, usize, [usize; 12], [usize; 12]);
#[rustfmt::skip]
const HALVES: [Widths; 3] = [
    ("half_deit_small", 381, [6, 6, 6, 6, 6, 6, 6, 6, 6, 5, 6, 6],
        [1401, 696, 377, 283, 196, 86, 76, 76, 76, 76, 76, 76]),
    ("half_deit_small_align8", 384, [6, 6, 6, 6, 6, 6, 6, 6, 6, 4, 6, 6],
        [1408, 696, 384, 288, 208, 88, 80, 80, 80, 80, 80, 80]),
    ("half_deit_small_align64", 384, [6, 6, 6, 6, 6, 6, 6, 6, 5, 4, 6, 5],
        [1408, 704, 384, 256, 192, 128, 128, 128, 128, 128, 128, 128]),
];

/// The models to measure that are `asked` for by name, dense ones first.
fn entries(device: Device, asked: impl Fn(&str) -> bool) -> Result<Vec<Entry>> {
    let mut archs: Vec<(String, Option<String>, Architecture)> = Vec::new();
    if common::simulated(device) {
        let tiny = Architecture::deit(32, 16, 48, 2, 3).with_classes(10);
        archs.push(("tiny".into(), None, tiny.clone()));
        archs.push(("tiny_half".into(), Some("tiny".into()), Architecture { embed_dim: 33, ..tiny }));
    } else {
        let zoo = zoo::zoo()?.into_iter();
        let plain = zoo.filter(|entry| entry.architecture.img_size == 224 && !entry.architecture.distilled);
        archs.extend(plain.map(|entry| (entry.name, entry.dense, entry.architecture)));
        let dense = "deit_small_patch16_224";
        for (name, embed_dim, heads, hidden) in HALVES {
            let mut arch = Architecture { embed_dim, ..zoo::find(dense)?.architecture };
            for (block, (heads, hidden)) in arch.blocks.iter_mut().zip(heads.into_iter().zip(hidden)) {
                (block.mixer, block.hidden) = (Mixer::Attention { heads, head_dim: 64 }, hidden);
            }
            archs.push((name.into(), Some(dense.into()), arch));
        }
    }
    archs.retain(|(name, ..)| asked(name));
    let entry = |(name, dense, arch)| Ok(Entry { name, dense, model: Model::init(arch, 0)?.to_device(device)? });
    archs.into_iter().map(entry).collect()
}

/// Grey images: speed does not depend on the values.
fn images(model: &Model, batch: usize) -> Result<Tensor> {
    let side = model.arch().img_size;
    Tensor::full([batch, 3, side, side], DType::F32, 0.1).to_device(model.device())
}

fn forward(model: &Model, precision: Precision, batch: usize) -> Result<Work> {
    let (model, images) = (model.clone(), images(model, batch)?);
    let operands = precision.half().map(|half| model.params().to_dtype(half)).transpose()?;
    Ok(Box::new(move || {
        let mode = Mode { precision, ..Mode::eval() };
        let pass = Pass::with_operands(model.params(), operands.as_ref(), None, mode, &NoHooks)?;
        model.forward(&pass, &Var::constant(images.clone())).map(drop)
    }))
}

fn training_step(model: &Model, precision: Precision, batch: usize) -> Result<Work> {
    const LR: f64 = 1e-4;
    let (device, images) = (model.device(), images(model, batch)?);
    let mut model = model.to_device(Device::Cpu)?.to_device(device)?; // tensors that are nobody else's
    let target = ops::one_hot(&vec![0; batch], model.arch().num_classes, 0.1, DType::F32)?.to_device(device)?;
    let mut optimizer = AdamW { steps: 1, ..AdamW::new(model.params())? };
    let state = device.gpu()?.map(StepState::new).transpose()?;
    state.iter().try_for_each(|state| state.write(&optimizer.numbers(LR)))?;
    Ok(Box::new(move || {
        let grads = gradients(&model, precision, &images, &target)?;
        let numbers = state.as_ref().map_or_else(|| Numbers::Host(optimizer.numbers(LR)), Numbers::Device);
        optimizer.update(model.params_mut(), &grads, None, numbers)
    }))
}

fn gradients(model: &Model, precision: Precision, images: &Tensor, target: &Tensor) -> Result<Params> {
    let tape = Tape::new();
    let mode = Mode { precision, ..Mode::eval() };
    let pass = Pass::new(model.params(), Some(&tape), mode, &NoHooks)?;
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

/// One kind of work: its name, forward passes that it counts as, whether a graph replays it, precision and batch.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    make: Make,
    passes: f64,
    replayed: bool,
    precision: Precision,
    batch: usize,
}

impl Kind {
    fn how(&self) -> &'static str {
        if self.replayed { "replayed" } else { "launched" }
    }

    /// The name of the measurement of `model`.
    fn id(&self, model: &str) -> String {
        format!("/{model}/{}/{}/{}/{}/", self.name, self.how(), self.precision, self.batch)
    }
}

/// What is measured on a device, the most important first.
fn kinds(meter: &Meter) -> Vec<Kind> {
    let (batches, training): (&[usize], _) = match meter.device {
        Device::Cpu => (&[1, 32], 16),
        device if common::simulated(device) => (&[1, 2], 2),
        _ => (&[256, 1, 32], 256),
    };
    let (mut kinds, on_gpu) = (Vec::new(), meter.gpu.is_some());
    // Halves before what is seldom used on a card.
    for &(precision, _) in meter.products.iter().rev() {
        for &batch in batches {
            let kind = Kind { name: "forward", make: forward, passes: 1.0, replayed: on_gpu, precision, batch };
            kinds.push(kind);
            if on_gpu && batch == 1 {
                kinds.push(Kind { replayed: false, ..kind });
            }
        }
        let name = "training step";
        kinds.push(Kind { name, make: training_step, passes: 3.0, replayed: on_gpu, precision, batch: training });
    }
    kinds.sort_by_key(|kind| kind.precision != Precision::Bf16); // stable
    kinds
}

/// Milliseconds of every entry at some work, in turns.
fn measure(meter: &Meter, kind: Kind, entries: &[&Entry], rounds: usize) -> Result<Vec<Timing>> {
    let work = |entry: &&Entry| {
        let work = (kind.make)(&entry.model, kind.precision, kind.batch)?;
        let work = match meter.gpu.filter(|_| kind.replayed) {
            Some(gpu) => replayed(gpu, work)?,
            None => work,
        };
        Ok(waited_for(meter.gpu, work))
    };
    let mut works = entries.iter().map(work).collect::<Result<Vec<Work>>>()?;
    let mut rivals: Vec<Rival> = works.iter_mut().map(|work| ("", Box::new(work) as _)).collect();
    interleaved(&mut rivals, rounds, 1)
}

/// A row of the table; `dense` is the time of the model that this one was pruned from.
fn row(meter: &Meter, kind: Kind, entry: &Entry, timing: &Timing, dense: Option<(&Entry, &Timing)>) -> Row {
    let (speed, macs) = (timing.per_second(kind.batch), cost::macs(entry.model.arch()));
    let flops = 2.0 * kind.passes * macs as f64 * speed.median;
    let of_product = flops / meter.ceiling(kind.precision);
    // of the ratio of multiply-accumulates, the share that is reached as speed
    let speed_up = dense.map(|(dense, time)| (time.median / timing.median, cost::macs(dense.model.arch()) as f64));
    let kept = speed_up.map(|(faster, dense_macs)| (faster, faster * macs as f64 / dense_macs));
    let cells = vec![
        ("device", meter.device.to_string()),
        ("model", entry.name.clone()),
        ("MACs", count(macs)),
        ("work", format!("{}, {}", kind.name, kind.how())),
        ("in", kind.precision.to_string()),
        ("batch", kind.batch.to_string()),
        ("ms (p5–p95)", timing.to_string()),
        ("img/s (p5–p95)", speed.to_string()),
        ("FLOP/s", count(flops as u64)),
        ("% of product", format!("{:.0}", 100.0 * of_product)),
        ("speed-up", kept.map_or("–".into(), |(faster, _)| format!("{faster:.2}"))),
        ("saving kept", kept.map_or("–".into(), |(_, kept)| format!("{:.0} %", 100.0 * kept))),
    ];
    let json = json!({
        "device": meter.device, "model": entry.name, "macs": macs, "work": kind.name, "how": kind.how(),
        "dtype": kind.precision, "batch": kind.batch, "ms": timing, "images_per_second": speed.median,
        "of_product": of_product, "speed_up": kept.map(|kept| kept.0), "saving_kept": kept.map(|kept| kept.1),
    });
    Row { cells, json }
}

pub(crate) fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let filters: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let asked = |id: &str| filters.is_empty() || filters.iter().any(|filter| filter.split('+').all(|w| id.contains(w)));
    let (deadline, meters) = (Deadline::from_env()?, common::meters()?);
    let (mut rows, mut left_out, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for meter in &meters {
        let kinds = kinds(meter);
        let entries = entries(meter.device, |name| kinds.iter().any(|kind| asked(&kind.id(name))))?;
        for kind in kinds {
            let chosen: Vec<&Entry> = entries.iter().filter(|entry| asked(&kind.id(&entry.name))).collect();
            if chosen.is_empty() {
                continue;
            }
            if deadline.passed() {
                left_out.push(format!("{}: no time was left", kind.id("…")));
                continue;
            }
            tell(format_args!("{} on {}, {} models", kind.id("…"), meter.device, chosen.len()));
            let alone = kind.batch > 32 && kind.name != "forward";
            let groups = chosen.chunks(if alone { 1 } else { chosen.len() });
            let mut times: Vec<(&Entry, Timing)> = Vec::new();
            for group in groups {
                match measure(meter, kind, group, common::samples()) {
                    Ok(timings) => times.extend(group.iter().copied().zip(timings)),
                    Err(error) => faults.push(format!("{} on {}: {error}", kind.id("…"), meter.device)),
                }
            }
            for (entry, timing) in &times {
                let dense = times.iter().find(|(other, _)| Some(&other.name) == entry.dense.as_ref());
                rows.push(row(meter, kind, entry, timing, dense.map(|(dense, time)| (*dense, time))));
            }
        }
    }
    common::report("models", &meters, &rows, &left_out, &faults)
}
