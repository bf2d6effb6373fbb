//! The checkpoint readers against files of PyTorch and safetensors and against damaged and hostile ones.

use super::super::case::Case;
use super::super::produced::Produced;
use super::super::safetensors;
use super::parts::Outcome;
use espalier::Error;
use espalier::io::{self, BlobType, Checkpoint};
use serde_json::{Map, Value, json};

/// Reads `files[0]`: everything in it, or that it was rightly refused.
pub fn checkpoint_reader(case: &Case) -> Outcome<Produced> {
    let accepts = |outcome: &str| case.json["expect"] == outcome || case.json["also_accept"] == outcome;
    let mut produced = Produced::new();
    match io::read(case.file(0)?) {
        Ok(checkpoint) if accepts("ok") => contents(case, &checkpoint, &mut produced)?,
        Ok(_) => return Err("read without an error".into()),
        Err(Error::File { problem, detail, .. }) if accepts("error") => {
            let classes = case.list_at("/error_class")?;
            if !classes.iter().any(|class| class == problem.name()) {
                return Err(format!("{} ({detail}), expected one of {classes:?}", problem.name()).into());
            }
            produced.decide(problem.name());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(produced)
}

/// Tensors and other values of a file that was read.
fn contents(case: &Case, checkpoint: &Checkpoint, produced: &mut Produced) -> Outcome<()> {
    let (mut types, mut values) = (Map::new(), Map::new());
    for (name, blob) in &checkpoint.tensors {
        types.insert(name.clone(), json!({"dtype": torch_name(blob.dtype), "shape": blob.shape}));
        produced.put(name.clone(), &blob.shape, blob.to_f64()?);
        values.insert(name.clone(), json!(blob.to_f64()?));
    }
    if case.maybe("/tensors").is_some() {
        produced.put_json("tensors", types);
    }
    if case.maybe("/tensor_values").is_some() {
        produced.put_json("tensor_values", values);
    }
    let others = checkpoint.values.iter().map(|(name, value)| Ok((name.clone(), plain(value)?)));
    produced.put_json("values", others.collect::<Outcome<Map<_, _>>>()?);
    match case.maybe("/ok_tensors_byteswapped_from").and_then(Value::as_str) {
        Some(file) => {
            for (name, golden) in safetensors::parse(&std::fs::read(case.dir.join(file))?, true)? {
                produced.also_expect(name, golden);
            }
        }
        // An error was expected and nothing is said about what loading gives.
        None if case.json["expect"] == "error" && case.maybe("/tensor_values").is_none() => produced.decide("loaded"),
        None => {}
    }
    Ok(())
}

/// A value as the cases write it.
fn plain(value: &io::Value) -> Outcome<Value> {
    Ok(match value {
        io::Value::None => Value::Null,
        io::Value::Bool(value) => json!(value),
        io::Value::Int(value) => json!(value),
        io::Value::Float(value) => json!(value),
        io::Value::Big(_) => json!(value.as_f64()),
        io::Value::Str(value) => json!(value),
        io::Value::List(values) => Value::Array(values.iter().map(plain).collect::<Outcome<_>>()?),
        io::Value::Opaque(class) => json!({"__opaque__": class}),
        other => return Err(format!("{other:?} has no form in the cases").into()),
    })
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
