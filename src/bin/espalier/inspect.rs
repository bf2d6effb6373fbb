//! `espalier inspect`: what is in a checkpoint file.

use crate::show::{grouped, pairs, print};
use crate::source;
use espalier::io::{self, Blob, Checkpoint, Value, keys};
use espalier::models::file::{LoadOptions, STAGE};
use espalier::models::{Model, cost};
use espalier::report::Table;
use espalier::report::table::{bytes, shorten};
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

/// What is in a file.
struct Contents {
    file: String,
    size: u64,
    checkpoint: Checkpoint,
    /// Floats of the weights, without an optimiser's.
    parameters: u64,
    stage: Option<String>,
    model: Result<Model>,
    /// The command that the file is ready for, if any.
    next: Option<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let size = std::fs::metadata(&args.file).map_err(Error::io("read", &args.file))?.len();
    let (checkpoint, file) = (io::read(&args.file)?, args.file.display().to_string());
    let floats = |blob: &Blob| if blob.dtype.is_float() { blob.count().unwrap_or(0) as u64 } else { 0 };
    let parameters = keys::unwrap(checkpoint.clone(), None)?.iter().map(|(_, blob)| floats(blob)).sum();
    let stage = checkpoint.metadata.iter().find(|(key, _)| key == STAGE).map(|(_, value)| value.clone());
    let model = Model::from_checkpoint(checkpoint.clone(), &LoadOptions::default());
    let next = model.is_ok().then(|| format!("espalier classify --weights {file} PATH…"));
    let contents = Contents { file, size, checkpoint, parameters, stage, model, next };
    print(if args.json { contents.json().to_string() } else { contents.text() })
}

impl Contents {
    fn text(&self) -> String {
        let Checkpoint { tensors, values, metadata, .. } = &self.checkpoint;
        let mut rows = vec![
            ("file", format!("{} ({})", self.file, bytes(self.size))),
            ("tensors", format!("{}, {} parameters", tensors.len(), grouped(self.parameters))),
        ];
        rows.extend(self.stage.clone().map(|stage| ("stage", stage)));
        let other = metadata.iter().filter(|(key, _)| key != STAGE);
        rows.extend(other.map(|(key, value)| ("metadata", format!("{key} = {}", shorten(value, MOST)))));
        match self.model.as_ref().map(Model::arch) {
            Ok(arch) => {
                let [params, macs] = [cost::params(arch), cost::macs(arch)].map(grouped);
                rows.push(("model", source::describe(arch)));
                rows.push(("cost", format!("{params} parameters, {macs} MACs an image")));
            }
            Err(error) => rows.push(("model", format!("none recognised: {}", shorten(&error.to_string(), MOST)))),
        }
        let next = self.next.as_deref().unwrap_or("nothing: espalier has no use for the file");
        rows.push(("next", next.into()));
        let mut table = Table::new(&["key", "dtype", "shape", "elements"]);
        for (name, blob) in tensors {
            let elements = grouped(blob.count().unwrap_or(0) as u64);
            table.row([name.clone(), blob.dtype.name().into(), format!("{:?}", blob.shape), elements]);
        }
        let mut text = format!("{}\n{}", pairs(&rows), table.text());
        if !values.is_empty() {
            let mut table = Table::new(&["value", "content"]);
            for (name, value) in values {
                table.row([name.clone(), shorten(&json_of(value).to_string(), MOST)]);
            }
            text += &format!("\n{}", table.text());
        }
        text
    }

    fn json(&self) -> Json {
        let Checkpoint { tensors, values, metadata, .. } = &self.checkpoint;
        let tensors =
            tensors.iter().map(|(name, blob)| json!({"name": name, "dtype": blob.dtype.name(), "shape": blob.shape}));
        let metadata = metadata.iter().map(|(key, value)| (key.clone(), value.clone().into()));
        let values = values.iter().map(|(name, value)| (name.clone(), json_of(value)));
        let arch = self.model.as_ref().ok().map(Model::arch);
        json!({
            "file": self.file,
            "bytes": self.size,
            "stage": self.stage,
            "parameters": self.parameters,
            "architecture": arch,
            "params": arch.map(cost::params),
            "macs": arch.map(cost::macs),
            "not_a_model": self.model.as_ref().err().map(Error::to_string),
            "next": self.next,
            "metadata": metadata.collect::<Map<_, _>>(),
            "values": values.collect::<Map<_, _>>(),
            "tensors": tensors.collect::<Json>(),
        })
    }
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
