//! The command line: one module a subcommand, each thin over the library. Results go to standard output, everything
//! else to standard error. An error is one line and exit code 1; a wrong option is exit code 2.

mod bench;
mod classify;
mod doctor;
mod fetch;
mod inspect;
mod prune;
mod show;
mod source;
mod train;
mod zoo;

use clap::Parser;
use espalier::report::exit_code;
use std::process::ExitCode;

/// Vision-transformer pruning on a hand-written tensor core.
#[derive(Parser)]
#[command(name = "espalier", version, arg_required_else_help = true, max_term_width = 110)]
enum Command {
    Doctor(doctor::Args),
    Zoo(zoo::Args),
    Fetch(fetch::Args),
    Inspect(inspect::Args),
    Classify(classify::Args),
    #[command(subcommand)]
    Prune(prune::Method),
    Train(Box<train::Args>),
    Bench(bench::Args),
}

fn main() -> ExitCode {
    exit_code(match Command::parse() {
        Command::Doctor(args) => doctor::run(&args),
        Command::Zoo(args) => zoo::run(&args),
        Command::Fetch(args) => fetch::run(args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Classify(args) => classify::run(&args),
        Command::Prune(method) => prune::run(method),
        Command::Train(args) => train::run(*args),
        Command::Bench(args) => bench::run(&args),
    })
}
