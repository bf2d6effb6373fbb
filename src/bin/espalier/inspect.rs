//! `espalier inspect`: what is in a checkpoint file.

use crate::{show::grouped, show::pairs, show::print, source};
use espalier::io::{self, Blob, Checkpoint, Value, keys};
use espalier::models::{LoadOptions, Model, cost, file::STAGE};
use espalier::report::table::{Table, bytes, shorten};
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

/// Characters of a value that are shown at the most.
const MOST: usize = 161;

pub fn run(args: &Args) -> Result<()> {
    let size = std::fs::metadata(&args.file).map_err(Error::io("read", &args.file))?.len();
    let (checkpoint, file) = (io::read(&args.file)?, args.file.display().to_string());
    let floats = |blob: &Blob| if blob.dtype.is_float() { blob.count().unwrap_or(0) as u64 } else { 0 };
    // The weights alone, without an optimiser's state.
    let parameters: u64 = keys::unwrap(checkpoint.clone(), None)?.iter().map(|(_, blob)| floats(blob)).sum();
    let model = Model::from_checkpoint(checkpoint.clone(), &LoadOptions::default());
    let (arch, next) = (model.as_ref().map(Model::arch), format!("espalier classify --weights {file} PATH…"));
    let Checkpoint { tensors, values, metadata, .. } = checkpoint;
    let values: Vec<_> = values.into_iter().map(|(name, value)| (name, json_of(&value))).collect();
    let stage = metadata.iter().find(|(key, _)| key == STAGE).map(|(_, stage)| stage);
    if args.json {
        let tensor =
            |(name, blob): &(String, Blob)| json!({"name": name, "dtype": blob.dtype.name(), "shape": blob.shape});
        return print(json!({
            "file": file, "bytes": size, "stage": stage, "parameters": parameters,
            "architecture": arch.ok(), "params": arch.ok().map(cost::params), "macs": arch.ok().map(cost::macs),
            "not_a_model": arch.err().map(Error::to_string), "next": arch.ok().map(|_| next),
            "metadata": metadata.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect::<Map<_, _>>(),
            "values": values.into_iter().collect::<Map<_, _>>(),
            "tensors": tensors.iter().map(tensor).collect::<Json>(),
        }));
    }
    let mut rows = vec![
        ("file", format!("{file} ({})", bytes(size))),
        ("tensors", format!("{}, {} parameters", tensors.len(), grouped(parameters))),
    ];
    rows.extend(stage.map(|stage| ("stage", stage.clone())));
    let other = metadata.iter().filter(|(key, _)| key != STAGE);
    rows.extend(other.map(|(key, value)| ("metadata", format!("{key} = {}", shorten(value, MOST)))));
    match arch {
        Ok(arch) => {
            let [params, macs] = [cost::params(arch), cost::macs(arch)].map(grouped);
            let cost = format!("{params} parameters, {macs} MACs an image");
            rows.extend([("model", source::describe(arch)), ("cost", cost), ("next", next)]);
        }
        Err(error) => {
            let none = format!("none recognised: {}", shorten(&error.to_string(), MOST));
            rows.extend([("model", none), ("next", "nothing: espalier has no use for the file".into())]);
        }
    }
    print(format!("{}\n{}", pairs(&rows), tables(tensors, values)))
}

/// A table of the tensors and one of the other values, if there are any.
fn tables(tensors: Vec<(String, Blob)>, values: Vec<(String, Json)>) -> String {
    let mut table = Table::new(&["key", "dtype", "shape", "elements"]);
    for (name, blob) in tensors {
        let elements = grouped(blob.count().unwrap_or(0) as u64);
        table.row([name, blob.dtype.name().into(), format!("{:?}", blob.shape), elements]);
    }
    if values.is_empty() {
        return table.text();
    }
    let mut content = Table::new(&["value", "content"]);
    for (name, value) in values {
        content.row([name, shorten(&value.to_string(), MOST)]);
    }
    format!("{}\n{}", table.text(), content.text())
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
