//! `espalier bench`: forward latency of models, measured in turn, beside what the latency table predicts.

use crate::{show::print, source};
use espalier::models::timetable::{PASSES, Table as LatencyTable};
use espalier::models::{Architecture, Model, cost, latency, zoo};
use espalier::report::{Show, Table, Timing, table::count};
use espalier::{Device, Error, Result, nn::Precision};
use serde_json::json;
use std::path::PathBuf;

/// Measure forward latency; several models are measured in turn, round by round
///
/// Beside it stands what the latency table of this device predicts: a file below XDG_CACHE_HOME or ~/.cache whose missing points
/// are measured between the rounds (a minute or two for a model whose blocks all differ). It has DeiT's and LV-ViT's blocks.
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
    /// Measure anew the points of the latency table that the models need; its others stay
    #[arg(long, conflicts_with = "no_prediction")]
    fresh_table: bool,
    /// Leave the latency table out
    #[arg(long)]
    no_prediction: bool,
    /// Device to run on
    #[arg(long, value_enum, default_value_t)]
    device: Device,
    /// What to compute in; other than f32 needs a GPU
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    source::at_least_one("--rounds", args.rounds)?;
    args.batch.iter().try_for_each(|&batch| source::at_least_one("--batch", batch))?;
    let named = args.model.iter().map(|name| Ok((name.clone(), Model::init(zoo::find(name)?.architecture, 0)?)));
    let files = args.weights.iter().map(|file| Ok((file.display().to_string(), source::load(None, Some(file), None)?)));
    args.dtype.ensure_on(args.device)?; // why it cannot, before anything else
    let mut models = named.chain(files).collect::<Result<Vec<_>>>()?;
    for (_, model) in &mut models {
        *model = model.to_device(args.device)?.with_precision(args.dtype);
    }
    let rivals: Vec<(&str, &Model)> = models.iter().map(|(name, model)| (name.as_str(), model)).collect();
    let header = ["model", "batch", "ms (p5–p95)", "ms predicted", "img/s (p5–p95)", "MACs", "GFLOP/s"];
    let (mut table, mut predictions) = (Table::new(&header), LatencyTable::open(args.device, Show::detect(args.json))?);
    if args.fresh_table {
        predictions.renew();
    }
    for &batch in &args.batch {
        rivals.iter().try_for_each(|(_, model)| fits_memory(model, batch))?;
        let (timings, predicted) = match args.no_prediction {
            true => (latency(&rivals, batch, args.rounds)?, vec![None; rivals.len()]),
            false => beside_predictions(&rivals, batch, args, &mut predictions)?,
        };
        for ((timing, &(name, model)), predicted) in timings.iter().zip(&rivals).zip(predicted) {
            let (speed, macs) = (timing.per_second(batch), cost::macs(model.arch()));
            let gflops = 2.0 * macs as f64 * batch as f64 / timing.median / 1e6;
            if args.json {
                let spread = |t: &Timing| json!({ "median": t.median, "p5": t.p5, "p95": t.p95 });
                print(json!({
                    "name": name, "device": args.device, "dtype": args.dtype, "batch": batch, "macs": macs,
                    "params": cost::params(model.arch()), "ms": spread(timing),
                    "predicted_ms": predicted,
                    "images_per_second": spread(&speed), "gflops": gflops,
                }))?;
            }
            let (ms, speed) = (timing.to_string(), speed.to_string());
            let predicted = predicted.map_or("–".into(), |ms| format!("{ms:.2}"));
            table.row([name.to_string(), batch.to_string(), ms, predicted, speed, count(macs), format!("{gflops:.0}")]);
        }
    }
    if args.json { Ok(()) } else { print(table.text()) }
}

/// The times of `rivals`, and what the table predicts. What is missing in it is measured between the rounds: a machine whose
/// speed moves shows both much the same.
fn beside_predictions(
    rivals: &[(&str, &Model)], batch: usize, args: &Args, table: &mut LatencyTable,
) -> Result<(Vec<Timing>, Vec<Option<f64>>)> {
    let (mut done, mut samples) = (0, vec![Vec::new(); rivals.len()]);
    let mut more = |rounds: usize| -> Result<()> {
        let rounds = rounds.min(args.rounds - done);
        done += rounds;
        let timings = if rounds == 0 { Vec::new() } else { latency(rivals, batch, rounds)? };
        samples.iter_mut().zip(timings).for_each(|(all, timing)| all.extend(timing.samples));
        Ok(())
    };
    let covered: Vec<&Architecture> =
        rivals.iter().map(|(_, model)| model.arch()).filter(|arch| LatencyTable::covers(arch)).collect();
    let each = args.rounds.div_ceil(PASSES);
    let mut predicted = table.predict_between(&covered, batch, args.dtype, &mut || more(each))?.into_iter();
    more(args.rounds)?;
    let predicted =
        rivals.iter().map(|(_, model)| LatencyTable::covers(model.arch()).then(|| predicted.next()).flatten());
    let timings = rivals.iter().zip(samples).map(|((name, _), samples)| Timing::new(*name, samples));
    Ok((timings.collect(), predicted.collect()))
}

/// An error rather than an abort for images that no machine holds.
fn fits_memory(model: &Model, batch: usize) -> Result<()> {
    let fits = batch <= (1 << 32) / (3 * model.arch().img_size.pow(2));
    Error::ensure(fits, "--batch", "a batch that fits memory", batch)
}
