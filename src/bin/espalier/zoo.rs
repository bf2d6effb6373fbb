//! `espalier zoo`: the published models, counted here and beside their published figures.

use crate::show::{grouped, print};
use espalier::models::cost::{self, Counting};
use espalier::models::zoo::{self, Compared, Waiting, ZooEntry};
use espalier::{Error, Result, report::Table};
use serde_json::{Map, Value, json};

/// List the published models: parameters and multiply-accumulates counted here, beside the published figures
///
/// `macs` counts the matrix products only. A published count has the name of its convention: `fvcore` adds 5 per
/// LayerNorm element and 2 per BatchNorm element, `swin` is the method of Swin's repository, `savit-masked` and
/// `savit-deployed` are the two counters of SAViT's code. A figure that differs from ours by more than its rounding has the mark ≠.
/// Last come pruned models whose structure is not built yet, with their published figures alone and – for ours.
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
    let waiting: Vec<Waiting> = zoo::waiting()?.into_iter().filter(|entry| entry.name.contains(filter)).collect();
    Error::ensure(shown + waiting.len() > 0, "filter", "part of a model's name", filter)?;
    if args.json {
        return waiting.iter().try_for_each(|entry| print(waiting_object(entry)));
    }
    waiting.iter().for_each(|entry| waiting_rows(&mut table, entry));
    let mut text = table.text();
    if differing > 0 {
        text += &format!("\n≠: {differing} figures differ from ours by more than their rounding");
    }
    if !waiting.is_empty() {
        text += &format!("\n–: the pruned structure of {} models is not built yet", waiting.len());
    }
    print(text)
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
    let counted = compared.iter().map(|figure| (figure.figure, figure.published));
    let published = published(counted, [figures.top1, figures.top5], &figures.source);
    let differs: Vec<&str> = compared.iter().filter(|figure| figure.differs).map(|figure| figure.figure).collect();
    Ok(json!({
        "name": entry.name, "file": entry.file, "url": entry.url, "sha256": entry.sha256(), "dense": entry.dense,
        "crop_pct": entry.crop_pct, "img_size": architecture.img_size, "params": cost::params(architecture), "macs": cost::macs(architecture),
        "counts": counts(entry)?, "published": published, "differs": differs,
    }))
}

/// The figures that were published, and where.
fn published<'a>(
    counted: impl Iterator<Item = (&'a str, u64)>, [top1, top5]: [Option<f64>; 2], source: &str,
) -> Map<String, Value> {
    let counted = counted.map(|(name, value)| (name, Some(value.into())));
    let given = counted.chain([("top1", top1.map(Value::from)), ("top5", top5.map(Value::from))]);
    let mut published: Map<String, Value> = given.filter_map(|(name, value)| Some((name.into(), value?))).collect();
    if !published.is_empty() {
        published.insert("source".into(), source.into());
    }
    published
}

fn waiting_object(entry: &Waiting) -> Value {
    let figures = &entry.published;
    let params = figures.params.map(|params| ("params", params)).into_iter();
    let counted = params.chain(figures.count.iter().map(|count| (&*count.counting, count.value)));
    json!({
        "name": entry.name, "dense": entry.dense, "waits_for": entry.method, "params": null, "macs": null, "counts": {},
        "published": published(counted, [figures.top1, figures.top5], &figures.source), "differs": [],
    })
}

/// The rows of [`rows`], without ours.
fn waiting_rows(table: &mut Table, entry: &Waiting) {
    let figures = &entry.published;
    let params = figures.params.map_or("–".into(), |params| format!("– {}", grouped(params)));
    let counts = figures.count.iter().map(|count| [count.counting.clone(), grouped(count.value), "–".into()]);
    lines(table, [entry.name.clone(), params, "–".into()], counts.collect(), [figures.top1, figures.top5]);
}

/// A row of the model, and one more for each further published counting.
fn rows(table: &mut Table, entry: &ZooEntry, compared: &[Compared]) {
    let ZooEntry { architecture, published, .. } = entry;
    let mark = |figure: &Compared| format!("{}{}", grouped(figure.here), if figure.differs { " ≠" } else { "" });
    let (params, counts): (Vec<_>, Vec<_>) = compared.iter().partition(|figure| figure.figure == "params");
    let params = match params[..] {
        [params] if params.differs => format!("{} {}", mark(params), grouped(params.published)),
        _ => grouped(cost::params(architecture)),
    };
    let counts = counts.iter().map(|count| [count.figure.into(), grouped(count.published), mark(count)]);
    let first = [entry.name.clone(), params, grouped(cost::macs(architecture))];
    lines(table, first, counts.collect(), [published.top1, published.top5]);
}

/// Name, parameters and products stand in the first row of a model, and so do its accuracies.
fn lines(table: &mut Table, mut first: [String; 3], mut counts: Vec<[String; 3]>, accuracy: [Option<f64>; 2]) {
    let mut last = accuracy.map(|value| value.map_or("–".into(), |value| format!("{value:.1}")));
    if counts.is_empty() {
        counts.push(["–"; 3].map(String::from));
    }
    for count in counts {
        table.row(std::mem::take(&mut first).into_iter().chain(count).chain(std::mem::take(&mut last)));
    }
}
