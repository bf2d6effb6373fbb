//! `espalier inspect`: what is in a checkpoint file.

use crate::show::{grouped, pairs, print, print_json};
use crate::source;
use espalier::io::{self, Blob, Checkpoint, Value, keys};
use espalier::models::file::{LoadOptions, STAGE};
use espalier::models::{Model, cost};
use espalier::report::Table;
use espalier::report::table::bytes;
use espalier::{Error, Result};
use serde_json::{Map, Value as Json, json};
use std::path::PathBuf;

/// Show the tensors, other values and metadata of a checkpoint, and the model in it; nothing in the file is executed
#[derive(clap::Args)]
pub struct Args {
    /// Checkpoint: .pth or .safetensors
    file: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let size = std::fs::metadata(&args.file).map_err(Error::io("read", &args.file))?.len();
    let checkpoint = io::read(&args.file)?;
    let model = Model::load(&args.file, &LoadOptions::default());
    let parameters = parameters(&checkpoint)?;
    if args.json {
        return print_json(&object(&checkpoint, size, parameters, &model, args));
    }
    print(&summary(&checkpoint, size, parameters, &model, args))?;
    print(&format!("\n{}", tensors(&checkpoint).text()))?;
    if checkpoint.values.is_empty() { Ok(()) } else { print(&format!("\n{}", values(&checkpoint).text())) }
}

/// Floats of the weights, without an optimiser's.
fn parameters(checkpoint: &Checkpoint) -> Result<u64> {
    let names = checkpoint
        .tensors
        .iter()
        .map(|(name, blob)| (name.clone(), Blob { dtype: blob.dtype, shape: blob.shape.clone(), bytes: Vec::new() }));
    let weights = keys::unwrap(Checkpoint { tensors: names.collect(), ..Checkpoint::default() }, None)?;
    let floats = weights.iter().filter(|(_, blob)| blob.dtype.is_float());
    Ok(floats.map(|(_, blob)| blob.count().unwrap_or(0) as u64).sum())
}

fn stage(checkpoint: &Checkpoint) -> Option<&str> {
    checkpoint.metadata.iter().find(|(key, _)| key == STAGE).map(|(_, value)| value.as_str())
}

/// The command that the file is ready for, if any.
fn next(model: &Result<Model>, args: &Args) -> Option<String> {
    model.as_ref().ok().map(|_| format!("espalier classify --weights {} PATH…", args.file.display()))
}

fn summary(checkpoint: &Checkpoint, size: u64, parameters: u64, model: &Result<Model>, args: &Args) -> String {
    let mut rows = vec![
        ("file", format!("{} ({})", args.file.display(), bytes(size))),
        ("tensors", format!("{}, {} parameters", checkpoint.tensors.len(), grouped(parameters))),
    ];
    rows.extend(stage(checkpoint).map(|stage| ("stage", stage.to_string())));
    let other = checkpoint.metadata.iter().filter(|(key, _)| key != STAGE);
    rows.extend(other.map(|(key, value)| ("metadata", format!("{key} = {}", short(value)))));
    match model {
        Ok(model) => {
            let arch = model.arch();
            let (params, macs) = (grouped(cost::params(arch)), grouped(cost::macs(arch)));
            rows.push(("model", source::describe(arch)));
            rows.push(("cost", format!("{params} parameters, {macs} MACs an image")));
        }
        Err(error) => rows.push(("model", format!("none recognised: {}", short(&error.to_string())))),
    }
    rows.push(("next", next(model, args).unwrap_or_else(|| "nothing: espalier has no use for the file".into())));
    pairs(&rows)
}

fn tensors(checkpoint: &Checkpoint) -> Table {
    let mut table = Table::new(&["key", "dtype", "shape", "elements"]);
    for (name, blob) in &checkpoint.tensors {
        let elements = grouped(blob.count().unwrap_or(0) as u64);
        table.row([name.clone(), blob.dtype.name().into(), format!("{:?}", blob.shape), elements]);
    }
    table
}

fn values(checkpoint: &Checkpoint) -> Table {
    let mut table = Table::new(&["value", "content"]);
    for (name, value) in &checkpoint.values {
        table.row([name.clone(), short(&json_of(value).to_string())]);
    }
    table
}

/// The beginning of a long text.
fn short(text: &str) -> String {
    const MOST: usize = 160;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

fn object(checkpoint: &Checkpoint, size: u64, parameters: u64, model: &Result<Model>, args: &Args) -> Json {
    let tensor =
        |(name, blob): &(String, Blob)| json!({ "name": name, "dtype": blob.dtype.name(), "shape": blob.shape });
    let values = checkpoint.values.iter().map(|(name, value)| (name.clone(), json_of(value)));
    let metadata = checkpoint.metadata.iter().map(|(key, value)| (key.clone(), value.clone().into()));
    let arch = model.as_ref().ok().map(Model::arch);
    json!({
        "file": args.file.display().to_string(),
        "bytes": size,
        "stage": stage(checkpoint),
        "parameters": parameters,
        "architecture": arch,
        "params": arch.map(cost::params),
        "macs": arch.map(cost::macs),
        "not_a_model": model.as_ref().err().map(Error::to_string),
        "next": next(model, args),
        "metadata": metadata.collect::<Map<_, _>>(),
        "values": values.collect::<Map<_, _>>(),
        "tensors": checkpoint.tensors.iter().map(tensor).collect::<Vec<_>>(),
    })
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Big(_) => value.as_f64().into(),
        Value::Float(value) => (*value).into(),
        Value::Str(text) => text.clone().into(),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()).into(),
        Value::List(values) => values.iter().map(json_of).collect::<Vec<_>>().into(),
        Value::Opaque(class) => format!("an object of {class}, not built").into(),
    }
}
