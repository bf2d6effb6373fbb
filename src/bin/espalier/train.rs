//! `espalier train`: train or fine-tune a model by a recipe.

use crate::show::print;
use espalier::report::{Show, tell};
use espalier::train::job::{TrainJob, TrainOptions};
use espalier::train::recipe::{RECIPES, Recipe};
use espalier::{Error, Result};
use std::path::PathBuf;

/// Train or fine-tune a model by a recipe; a stopped run goes on with --resume
///
/// The recipe in force, every default of it, is printed at the start and kept in the run folder.
#[derive(clap::Args)]
pub struct Args {
    /// A recipe that espalier brings along (--list names them), or a TOML file
    #[arg(required_unless_present_any = ["resume", "list"])]
    recipe: Option<String>,
    /// Another value for a key of the recipe: `--set epochs=10 --set rates.lr=1e-3`; `--set clip_norm=` leaves it out
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    #[command(flatten)]
    options: TrainOptions,
    /// Run folder; an existing one gets a numbered sibling
    #[arg(long, default_value = "runs/train")]
    out: PathBuf,
    /// Go on with the stopped run of this folder, with its recipe and options; ends in the bits of a run that was never stopped.
    /// Only --data (for images that were moved) and --skip-broken may be given anew
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["recipe", "changes", "out", "weights", "teacher_weights",
        "train_images", "test_images", "device", "dtype"])]
    resume: Option<PathBuf>,
    /// Name the recipes and say where they were published
    #[arg(long)]
    list: bool,
    /// No progress on the terminal
    #[arg(long)]
    quiet: bool,
}

pub fn run(args: Args) -> Result<()> {
    if args.list {
        let line = |(name, _): &(&str, &str)| Ok(format!("{name:<22}{}\n", Recipe::load(name, &[])?.source));
        return print(RECIPES.iter().map(line).collect::<Result<String>>()?);
    }
    let show = Show::detect(args.quiet);
    let job = match (&args.resume, &args.recipe) {
        (Some(folder), _) => TrainJob::resume(folder, args.options, show)?,
        (None, Some(name)) => TrainJob::open(Recipe::load(name, &args.changes)?, args.options, &args.out, show)?,
        (None, None) => return Err(Error::invalid("recipe", "a name or a file", "none")),
    };
    if show != Show::Quiet {
        tell(job.recipe().to_toml()?);
    }
    let folder = job.folder.path().to_path_buf();
    print(format!("{}\ncheckpoints, recipe, log and curves: {}", job.run()?, folder.display()))
}
