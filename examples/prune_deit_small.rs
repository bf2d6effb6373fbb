//! The main job: make a DeiT-S half as expensive and show what it cost.
//!
//! `cargo run --release --example prune_deit_small` needs no data, no weights and no GPU: it trains a dense DeiT-S on
//! the generated data set (kept for the next run), prunes it by SAViT, fine-tunes the compact model with the dense one
//! as its teacher, does the same to a random plan of equal cost, and ends with a table. `--help` lists what can be
//! changed; `--quick` shows everything within a minute.

use clap::Parser;
use espalier::Result;
use espalier::prune::job::{Job, JobOptions};
use espalier::report::exit_code;
use espalier::train::Teacher;
use std::io::{Write, stdout};
use std::process::ExitCode;

/// Prune a DeiT-S by SAViT, fine-tune it, and measure it against the dense model and a random plan of equal cost
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    job: JobOptions,
}

fn run(options: JobOptions) -> Result<()> {
    let job = Job::open(options)?;

    // The model to prune: trained, cached or given, and how good it is.
    let dense = job.dense()?;
    let evaluation = job.evaluate("dense", &dense)?;

    // SAViT: the gates' gradients on a few batches score every head, hidden unit and channel; a 3×3 matrix of
    // second derivatives says how the kinds interact; the search then meets the target from below.
    let calibration = job.calibrate(&dense)?;
    let plans = job.plans(&dense, &calibration)?;

    // All plans (SAViT's, with --align its widths as multiples, a random one) are cut out of the weights and fine-tuned alike.
    let mut teacher = Teacher::remembering(&dense);
    let candidates =
        plans.into_iter().map(|plan| job.finetune(&dense, plan, &mut teacher)).collect::<Result<Vec<_>>>()?;

    let table = job.report(&dense, &evaluation, &candidates)?;
    // A closed pipe is no error: the report is in the folder, too.
    let _ = writeln!(stdout(), "{table}\nreport, checkpoints and plan: {}", job.folder.path().display());
    Ok(())
}

fn main() -> ExitCode {
    exit_code(run(Arguments::parse().job))
}
