//! `espalier zoo`: the published models, counted here and beside their published figures.

use crate::show::{grouped, print};
use espalier::models::cost::{self, Counting};
use espalier::models::zoo::{self, ZooEntry};
use espalier::{Result, report::Table};
use serde_json::{Map, Value, json};

/// List the published models: parameters and multiply-accumulates counted here, beside the published figures
///
/// `macs` counts the matrix products only. A published count has the name of its convention: `fvcore` adds 5 per
/// LayerNorm element, `savit-masked` and `savit-deployed` are the two counters of SAViT's code.
#[derive(clap::Args)]
pub struct Args {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let mut table = Table::new(&["model", "params", "MACs", "counting", "published", "counted here", "top-1", "top-5"]);
    for entry in &zoo::zoo()? {
        let counts = counts(entry)?;
        if args.json {
            print(object(entry, counts))?;
        } else {
            rows(&mut table, entry, &counts);
        }
    }
    if args.json { Ok(()) } else { print(table.text()) }
}

/// The countings that say something about the model, computed.
fn counts(entry: &ZooEntry) -> Result<Map<String, Value>> {
    let dense = entry.dense.as_deref().map_or_else(|| Ok(entry.clone()), zoo::find)?;
    let wanted = |counting: &Counting| entry.dense.is_some() || !counting.name().starts_with("savit");
    let count = |counting: Counting| counting.count(&entry.architecture, &dense.architecture);
    Ok(Counting::ALL.into_iter().filter(wanted).map(|c| (c.name().into(), count(c).into())).collect())
}

fn object(entry: &ZooEntry, counts: Map<String, Value>) -> Value {
    let ZooEntry { architecture, published: figures, .. } = entry;
    let counted = figures.count.iter().map(|count| (count.counting.name(), Some(count.value.into())));
    let [top1, top5] = [figures.top1, figures.top5].map(|percent| percent.map(Value::from));
    let rest = [("params", figures.params.map(Value::from)), ("top1", top1), ("top5", top5)];
    let given = counted.chain(rest).filter_map(|(name, value)| Some((name.to_string(), value?)));
    let mut published: Map<_, _> = given.collect();
    if !published.is_empty() {
        published.insert("source".into(), figures.source.clone().into());
    }
    json!({
        "name": entry.name, "file": entry.file, "dense": entry.dense, "img_size": architecture.img_size,
        "params": cost::params(architecture), "macs": cost::macs(architecture),
        "counts": counts, "published": published,
    })
}

/// A row of the model, and one more for each further published counting.
fn rows(table: &mut Table, entry: &ZooEntry, counts: &Map<String, Value>) {
    let ZooEntry { architecture, published, .. } = entry;
    let percent = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.1}"));
    let mut first = [entry.name.clone(), grouped(cost::params(architecture)), grouped(cost::macs(architecture))];
    let mut last = [published.top1, published.top5].map(percent);
    let figures = published.count.iter().map(|count| {
        let here = counts.get(count.counting.name()).and_then(Value::as_u64).map(grouped);
        [count.counting.name().into(), grouped(count.value), here.unwrap_or_default()]
    });
    let none = published.count.is_empty().then(|| ["–"; 3].map(String::from));
    for figure in figures.chain(none) {
        table.row(std::mem::take(&mut first).into_iter().chain(figure).chain(std::mem::take(&mut last)));
    }
}
