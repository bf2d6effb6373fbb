//! `espalier prune METHOD`: the main job, the same steps as the example `prune_deit_small`.

use crate::show::print;
use clap::Subcommand;
use espalier::Result;
use espalier::prune::job::{Job, JobOptions};

/// Prune a model, fine-tune it, and measure it against the dense one and a random plan of equal cost.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    method: Method,
}

#[derive(Subcommand)]
enum Method {
    /// Heads, hidden units and embedding channels by Taylor scores and a collaborative search (SAViT, NeurIPS 2022)
    Savit(JobOptions),
}

pub fn run(args: Args) -> Result<()> {
    let Method::Savit(options) = args.method;
    let job = Job::open(options)?;
    let folder = job.folder().to_path_buf();
    print(format!("{}\nreport, checkpoints and plan: {}", job.run()?, folder.display()))
}
