//! One reader case: what reading a checkpoint file must give, as the `.expected.json` beside it says.

use espalier::Error;
use espalier::io::{self, Checkpoint, Value};
use serde_json::Value as Json;
use std::path::Path;

/// Runs the case and returns how many results were compared and how many there are; the error says what differs.
pub fn run(case_json: &Path) -> Result<(usize, usize), String> {
    let text = std::fs::read_to_string(case_json).map_err(|error| error.to_string())?;
    let case: Json = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let folder = case_json.parent().unwrap_or(Path::new("."));
    let file = case["files"][0].as_str().ok_or("no file")?;
    let accepts = |outcome: &str| case["expect"] == outcome || case["also_accept"] == outcome;
    match io::read(folder.join(file)) {
        Ok(checkpoint) if accepts("ok") => {
            let total = count(&case["tensors"]) + count(&case["values"]);
            Ok((compare(&case, folder, &checkpoint)?, total.max(1)))
        }
        Ok(_) => Err("read without an error".into()),
        Err(Error::File { problem, detail, .. }) if accepts("error") => {
            let classes = case["error_class"].as_array().ok_or("no error_class")?;
            match classes.iter().any(|class| class == problem.name()) {
                true => Ok((1, 1)),
                false => Err(format!("{} ({detail}), expected one of {classes:?}", problem.name())),
            }
        }
        Err(error) => Err(error.to_string()),
    }
}

fn count(object: &Json) -> usize {
    object.as_object().map_or(0, |object| object.len())
}

fn compare(case: &Json, folder: &Path, checkpoint: &Checkpoint) -> Result<usize, String> {
    let mut compared = 0;
    if let Some(tensors) = case["tensors"].as_object() {
        check_names("tensors", tensors.keys(), checkpoint.tensors.iter().map(|(name, _)| name))?;
        for (name, expected) in tensors {
            let blob = checkpoint.require(name).map_err(|error| error.to_string())?;
            let shape = Json::from(blob.shape.clone());
            if expected["shape"] != shape || expected["dtype"] != torch_name(blob.dtype) {
                return Err(format!("{name}: {:?} {shape}, expected {expected}", blob.dtype));
            }
        }
    }
    let reference = case["files"][1].as_str();
    if let Some(file) = reference.or(case["ok_tensors_byteswapped_from"].as_str()) {
        let expected = io::read(folder.join(file)).map_err(|error| error.to_string())?;
        check_names("tensors", expected.tensors.iter().map(|(n, _)| n), checkpoint.tensors.iter().map(|(n, _)| n))?;
        for (name, expected) in &expected.tensors {
            let mut expected = expected.clone();
            if reference.is_none() {
                expected.bytes.chunks_mut(expected.dtype.size()).for_each(<[u8]>::reverse);
            }
            if checkpoint.get(name) != Some(&expected) {
                return Err(format!("{name} differs"));
            }
            compared += 1;
        }
    }
    for (name, expected) in case["tensor_values"].as_object().into_iter().flatten() {
        let found = checkpoint.require(name).and_then(|blob| blob.to_f64()).map_err(|error| error.to_string())?;
        let expected = expected.as_array().into_iter().flatten().map(|value| value.as_f64());
        if !expected.eq(found.iter().map(|value| Some(*value))) {
            return Err(format!("{name}: {found:?}"));
        }
        compared += 1;
    }
    if let Some(values) = case["values"].as_object() {
        check_names("values", values.keys(), checkpoint.values.iter().map(|(name, _)| name))?;
        for (name, expected) in values {
            match checkpoint.value(name) {
                Some(found) if equal(found, expected) => compared += 1,
                found => return Err(format!("{name}: {found:?}, expected {expected}")),
            }
        }
    }
    Ok(compared.max(1))
}

fn check_names<'a>(
    what: &str,
    expected: impl Iterator<Item = &'a String>,
    found: impl Iterator<Item = &'a String>,
) -> Result<(), String> {
    let (mut expected, mut found): (Vec<_>, Vec<_>) = (expected.collect(), found.collect());
    expected.sort();
    found.sort();
    if expected == found { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}")) }
}

fn torch_name(dtype: io::BlobType) -> &'static str {
    match dtype {
        io::BlobType::F64 => "float64",
        io::BlobType::F32 => "float32",
        io::BlobType::F16 => "float16",
        io::BlobType::BF16 => "bfloat16",
        io::BlobType::I64 => "int64",
        io::BlobType::I32 => "int32",
        io::BlobType::I16 => "int16",
        io::BlobType::I8 => "int8",
        io::BlobType::U8 => "uint8",
        io::BlobType::Bool => "bool",
    }
}

fn equal(found: &Value, expected: &Json) -> bool {
    match (found, expected) {
        (Value::None, Json::Null) => true,
        (Value::Bool(found), Json::Bool(expected)) => found == expected,
        (Value::Str(found), Json::String(expected)) => found == expected,
        (Value::Int(found), Json::Number(number)) if number.is_i64() => Some(*found) == number.as_i64(),
        (Value::Int(_) | Value::Float(_) | Value::Big(_), Json::Number(number)) => found.as_f64() == number.as_f64(),
        (Value::List(found), Json::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(found, expected)| equal(found, expected))
        }
        (Value::Opaque(class), Json::Object(object)) => object.get("__opaque__").is_some_and(|name| name == class),
        _ => false,
    }
}
