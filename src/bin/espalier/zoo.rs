//! `espalier zoo`: the published models, counted here and beside their published figures.

use crate::show::{grouped, print, print_json};
use espalier::models::cost::{self, Counting};
use espalier::models::zoo::{self, ZooEntry};
use espalier::report::Table;
use espalier::{Error, Result};
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
    let entries = zoo::zoo()?;
    if !args.json {
        return print(&table(&entries)?.text());
    }
    entries.iter().try_for_each(|entry| print_json(&object(entry, &counts(entry, &entries)?)))
}

/// The countings that say something about the model, computed.
fn counts(entry: &ZooEntry, entries: &[ZooEntry]) -> Result<Vec<(&'static str, u64)>> {
    let model = &entry.architecture;
    let dense = match &entry.dense {
        None => model,
        Some(name) => {
            let found = entries.iter().find(|other| other.name == *name);
            &found.ok_or_else(|| Error::invalid("dense", "a model of the zoo", name))?.architecture
        }
    };
    let wanted = |counting: &Counting| entry.dense.is_some() || !counting.name().starts_with("savit");
    Ok(Counting::ALL.iter().filter(|c| wanted(c)).map(|c| (c.name(), c.count(model, dense))).collect())
}

fn object(entry: &ZooEntry, counts: &[(&str, u64)]) -> Value {
    let figures = &entry.published;
    let mut published: Map<String, Value> =
        figures.count.iter().map(|count| (count.counting.name().into(), count.value.into())).collect();
    published.extend(figures.params.map(|params| ("params".into(), params.into())));
    published.extend(figures.top1.map(|top1| ("top1".into(), top1.into())));
    published.extend(figures.top5.map(|top5| ("top5".into(), top5.into())));
    if !published.is_empty() {
        published.insert("source".into(), figures.source.clone().into());
    }
    json!({
        "name": entry.name,
        "file": entry.file,
        "dense": entry.dense,
        "img_size": entry.architecture.img_size,
        "params": cost::params(&entry.architecture),
        "macs": cost::macs(&entry.architecture),
        "counts": counts.iter().map(|(name, value)| (name.to_string(), Value::from(*value))).collect::<Map<_, _>>(),
        "published": published,
    })
}

/// A row a model, and one more for each further published counting.
fn table(entries: &[ZooEntry]) -> Result<Table> {
    let header = ["model", "params", "MACs", "counting", "published", "counted here", "top-1", "top-5"];
    let mut table = Table::new(&header);
    let percent = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.1}"));
    for entry in entries {
        let counts = counts(entry, entries)?;
        let published = entry.published.count.iter().map(|count| {
            let name = count.counting.name();
            let here = counts.iter().find(|(other, _)| *other == name).map(|(_, value)| grouped(*value));
            [name.into(), grouped(count.value), here.unwrap_or_default()]
        });
        let mut published: Vec<[String; 3]> = published.collect();
        if published.is_empty() {
            published.push(["–".into(), "–".into(), "–".into()]);
        }
        for (at, count) in published.into_iter().enumerate() {
            let model = &entry.architecture;
            let first = [entry.name.clone(), grouped(cost::params(model)), grouped(cost::macs(model))];
            let last = [percent(entry.published.top1), percent(entry.published.top5)];
            let (first, last) = if at == 0 { (first, last) } else { Default::default() };
            table.row(first.into_iter().chain(count).chain(last));
        }
    }
    Ok(table)
}
