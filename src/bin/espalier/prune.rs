//! `espalier prune METHOD`: the main job, the same steps as the example `prune_deit_small`.

use crate::show::print;
use espalier::{Result, prune::job::Job, prune::job::JobOptions};

/// Prune a model, fine-tune it, and measure it against the dense one and a random plan of equal cost.
#[derive(clap::Subcommand)]
pub enum Method {
    /// Heads, hidden units and embedding channels by Taylor scores and a collaborative search (SAViT, NeurIPS 2022)
    Savit(Box<JobOptions>),
}

pub fn run(method: Method) -> Result<()> {
    let Method::Savit(options) = method;
    let job = Job::open(*options)?;
    let folder = job.folder.path().to_path_buf();
    print(format!("{}\nreport, checkpoints and plan: {}", job.run()?, folder.display()))
}
