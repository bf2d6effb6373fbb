//! `espalier bench`: forward latency of models, measured in turn.

use crate::show::print;
use crate::source;
use espalier::models::{Model, cost, zoo};
use espalier::report::table::count;
use espalier::report::{Rival, Table, Timing, interleaved};
use espalier::{DType, Error, Result, Tensor};
use serde_json::json;
use std::path::PathBuf;

/// Measure forward latency; several models are measured in turn, round by round
#[derive(clap::Args)]
pub struct Args {
    /// Model of the zoo with random weights (may be repeated)
    #[arg(long, required_unless_present = "weights")]
    model: Vec<String>,
    /// Checkpoint whose architecture is in the file (may be repeated)
    #[arg(long)]
    weights: Vec<PathBuf>,
    /// Batch sizes
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32])]
    batch: Vec<usize>,
    /// Timed rounds, after two that are not timed
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    source::at_least_one("--rounds", args.rounds)?;
    args.batch.iter().try_for_each(|&batch| source::at_least_one("--batch", batch))?;
    let named = args.model.iter().map(|name| Ok((name.clone(), Model::init(zoo::find(name)?.architecture, 0)?)));
    let files = args.weights.iter().map(|file| Ok((file.display().to_string(), source::load(None, file, None)?)));
    let models = named.chain(files).collect::<Result<Vec<_>>>()?;
    let mut table = Table::new(&["model", "batch", "ms (p5–p95)", "img/s (p5–p95)", "MACs", "GFLOP/s"]);
    for &batch in &args.batch {
        let mut rivals: Vec<Rival> = Vec::with_capacity(models.len());
        for (name, model) in &models {
            let images = images(model, batch)?;
            rivals.push((name, Box::new(move || model.predict(&images).map(drop))));
        }
        for (timing, (name, model)) in interleaved(&mut rivals, args.rounds, 2)?.iter().zip(&models) {
            let (speed, macs) = (timing.per_second(batch), cost::macs(model.arch()));
            let gflops = 2.0 * macs as f64 * batch as f64 / timing.median / 1e6;
            if args.json {
                let spread = |t: &Timing| json!({ "median": t.median, "p5": t.p5, "p95": t.p95 });
                print(json!({
                    "name": name, "batch": batch, "params": cost::params(model.arch()), "macs": macs,
                    "ms": spread(timing), "images_per_second": spread(&speed), "gflops": gflops,
                }))?;
            }
            let (ms, speed) = (timing.to_string(), speed.to_string());
            table.row([name.clone(), batch.to_string(), ms, speed, count(macs), format!("{gflops:.0}")]);
        }
    }
    if args.json { Ok(()) } else { print(table.text()) }
}

/// Grey images; an error rather than an abort for what no machine holds.
fn images(model: &Model, batch: usize) -> Result<Tensor> {
    let side = model.arch().img_size;
    if batch > (1 << 32) / (3 * side * side) {
        return Err(Error::invalid("--batch", "a batch that fits memory", batch));
    }
    Ok(Tensor::full([batch, 3, side, side], DType::F32, 0.1))
}
