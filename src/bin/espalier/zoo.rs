//! `espalier zoo`: the published models, counted here and beside their published figures.

use crate::show::{grouped, print};
use espalier::models::cost::{self, Counting};
use espalier::models::zoo::{self, Compared, ZooEntry};
use espalier::{Error, Result, report::Table};
use serde_json::{Map, Value, json};

/// List the published models: parameters and multiply-accumulates counted here, beside the published figures
///
/// `macs` counts the matrix products only. A published count has the name of its convention: `fvcore` adds 5 per
/// LayerNorm element and 2 per BatchNorm element, `swin` is the method of Swin's repository, `savit-masked` and
/// `savit-deployed` are the two counters of SAViT's code. A figure that differs from ours by more than its rounding has the mark ≠.
#[derive(clap::Args)]
pub struct Args {
    /// Only models whose name contains this
    filter: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let mut table = Table::new(&["model", "params", "MACs", "counting", "published", "counted here", "top-1", "top-5"]);
    let (filter, mut shown, mut differing) = (args.filter.as_deref().unwrap_or(""), 0, 0);
    for entry in zoo::zoo()?.iter().filter(|entry| entry.name.contains(filter)) {
        let compared = entry.compared()?;
        differing += compared.iter().filter(|figure| figure.differs).count();
        shown += 1;
        if args.json {
            print(object(entry, &compared)?)?;
        } else {
            rows(&mut table, entry, &compared);
        }
    }
    Error::ensure(shown > 0, "filter", "part of a model's name", filter)?;
    match (args.json, differing) {
        (true, _) => Ok(()),
        (false, 0) => print(table.text()),
        (false, n) => print(format!("{}\n≠: {n} figures differ from ours by more than their rounding", table.text())),
    }
}

/// The countings that say something about the model, computed.
fn counts(entry: &ZooEntry) -> Result<Map<String, Value>> {
    let dense = entry.unpruned()?;
    let wanted = |counting: &Counting| entry.dense.is_some() || !counting.name().starts_with("savit");
    let count = |counting: Counting| counting.count(&entry.architecture, &dense);
    Ok(Counting::ALL.into_iter().filter(wanted).map(|c| (c.name().into(), count(c).into())).collect())
}

fn object(entry: &ZooEntry, compared: &[Compared]) -> Result<Value> {
    let ZooEntry { architecture, published: figures, .. } = entry;
    let counted = compared.iter().map(|figure| (figure.figure, Some(figure.published.into())));
    let [top1, top5] = [figures.top1, figures.top5].map(|percent| percent.map(Value::from));
    let given = counted.chain([("top1", top1), ("top5", top5)]).filter_map(|(name, value)| Some((name.into(), value?)));
    let mut published: Map<String, Value> = given.collect();
    if !published.is_empty() {
        published.insert("source".into(), figures.source.clone().into());
    }
    let differs: Vec<&str> = compared.iter().filter(|figure| figure.differs).map(|figure| figure.figure).collect();
    Ok(json!({
        "name": entry.name, "file": entry.file, "url": entry.url, "sha256": entry.sha256(), "dense": entry.dense,
        "img_size": architecture.img_size, "params": cost::params(architecture), "macs": cost::macs(architecture),
        "counts": counts(entry)?, "published": published, "differs": differs,
    }))
}

/// A row of the model, and one more for each further published counting.
fn rows(table: &mut Table, entry: &ZooEntry, compared: &[Compared]) {
    let ZooEntry { architecture, published, .. } = entry;
    let percent = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.1}"));
    let mark = |figure: &Compared| format!("{}{}", grouped(figure.here), if figure.differs { " ≠" } else { "" });
    let (params, counts): (Vec<_>, Vec<_>) = compared.iter().partition(|figure| figure.figure == "params");
    let params = match params[..] {
        [params] if params.differs => format!("{} {}", mark(params), grouped(params.published)),
        _ => grouped(cost::params(architecture)),
    };
    let mut first = [entry.name.clone(), params, grouped(cost::macs(architecture))];
    let mut last = [published.top1, published.top5].map(percent);
    let none = counts.is_empty().then(|| ["–"; 3].map(String::from));
    let figures = counts.iter().map(|count| [count.figure.into(), grouped(count.published), mark(count)]);
    for figure in figures.chain(none) {
        table.row(std::mem::take(&mut first).into_iter().chain(figure).chain(std::mem::take(&mut last)));
    }
}
