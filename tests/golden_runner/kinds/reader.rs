//! `base/checkpoint_reader`: what reading a checkpoint file must give, or why it must be refused.

use super::super::case::Case;
use super::super::produced::Produced;
use super::super::safetensors;
use espalier::Error;
use espalier::io::{self, BlobType, Checkpoint, Value};
use serde_json::{Map, Value as Json, json};

/// Reads `files[0]`; a refusal for an acceptable reason decides the case.
pub fn checkpoint_reader(case: &Case) -> Result<Produced, String> {
    let accepts = |outcome: &str| {
        case.json["expect"] == outcome || case.maybe("/also_accept").is_some_and(|other| other == outcome)
    };
    match io::read(case.file(0)?) {
        Ok(checkpoint) if accepts("ok") => loaded(case, &checkpoint),
        Ok(_) => Err("read without an error".into()),
        Err(Error::File { problem, detail, .. }) if accepts("error") => {
            let classes = case.list_at("/error_class")?;
            if !classes.iter().any(|class| class == problem.name()) {
                return Err(format!("{} ({detail}), expected one of {classes:?}", problem.name()));
            }
            let mut produced = Produced::new();
            produced.decide(problem.name());
            Ok(produced)
        }
        Err(error) => Err(error.to_string()),
    }
}

fn loaded(case: &Case, checkpoint: &Checkpoint) -> Result<Produced, String> {
    let mut produced = Produced::new();
    let (mut kinds, mut flat) = (Map::new(), Map::new());
    for (name, blob) in &checkpoint.tensors {
        let values = blob.to_f64().map_err(|error| error.to_string())?;
        kinds.insert(name.clone(), json!({"dtype": torch_name(blob.dtype), "shape": blob.shape}));
        flat.insert(name.clone(), values.iter().copied().map(Json::from).collect());
        produced.put(name, &blob.shape, values);
    }
    // A file that also has to be refused may be loaded too; then only what the case gives is compared.
    if case.json["expect"] == "error" {
        produced.decide("loaded, which is acceptable");
    }
    if let Some(file) = case.maybe("/ok_tensors_byteswapped_from").and_then(Json::as_str) {
        let bytes = std::fs::read(case.dir.join(file)).map_err(|error| error.to_string())?;
        for (name, golden) in safetensors::parse(&bytes, true)? {
            produced.also_expect(name, golden);
        }
    }
    let values = checkpoint.values.iter().map(|(name, value)| (name.clone(), to_json(value)));
    produced.put_json("tensors", kinds);
    produced.put_json("tensor_values", flat);
    produced.put_json("values", values.collect::<Map<_, _>>());
    Ok(produced)
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Big(_) => json!(value.as_f64()),
        Value::Str(value) => json!(value),
        Value::Bytes(bytes) => json!(bytes),
        Value::List(list) => list.iter().map(to_json).collect(),
        Value::Opaque(class) => json!({"__opaque__": class}),
    }
}

fn torch_name(dtype: BlobType) -> &'static str {
    match dtype {
        BlobType::F64 => "float64",
        BlobType::F32 => "float32",
        BlobType::F16 => "float16",
        BlobType::BF16 => "bfloat16",
        BlobType::I64 => "int64",
        BlobType::I32 => "int32",
        BlobType::I16 => "int16",
        BlobType::I8 => "int8",
        BlobType::U8 => "uint8",
        BlobType::Bool => "bool",
    }
}
