//! `espalier fetch`: official weights from their servers.

use crate::{show::print, source};
use espalier::io::fetch::{Remote, fetch};
use espalier::{Error, Result, models::zoo, report::Show, report::tell};
use std::path::PathBuf;

/// Download the official weights of a model and verify them
///
/// `espalier classify --model NAME` finds what lies in the default folder. The file gets its name only when all of it has
/// arrived and its SHA-256 begins as the official file name says; one that is there and does is not downloaded again.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the model (see `espalier zoo`)
    name: String,
    /// Folder for the file [default: `espalier/models` in XDG_CACHE_HOME or ~/.cache]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Another address, such as a mirror's; https, or http at your own risk
    #[arg(long)]
    url: Option<String>,
    /// First digits of the file's SHA-256, in place of those that are known [default with --url: the same]
    #[arg(long)]
    sha256: Option<String>,
    /// No progress on the terminal
    #[arg(long)]
    quiet: bool,
}

pub fn run(args: Args) -> Result<()> {
    let entry = zoo::find(&args.name)?;
    let none = || {
        let expected = "a model with a known address (or one given by --url)";
        Error::invalid(format!("address of {}", args.name), expected, "none: its authors' files have no fixed one here")
    };
    let url = args.url.as_deref().or(entry.url.as_deref()).ok_or_else(none)?;
    let file = match &args.out {
        Some(folder) => folder.join(entry.file_name()),
        None => source::cached(&entry)?,
    };
    let known = args.sha256.as_deref().or(entry.sha256());
    let remote = Remote { plain: args.url.is_some(), ..Remote::new(url, known) };
    if !fetch(&remote, &file, Show::detect(args.quiet))? {
        tell("it is there already, with the right checksum");
    } else if known.is_none() {
        tell("warning: no checksum is known of it, so nothing but its length was verified");
    }
    print(file.display())
}
