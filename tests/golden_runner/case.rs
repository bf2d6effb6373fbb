//! One golden case: its JSON, its tensors and what it asks to compare.

use super::glob::matches_any;
use super::rules::{self, Rule, Skip};
use super::safetensors::{self, Dtype, Golden};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A case as loaded from its folder.
#[derive(Debug, Default)]
pub struct Case {
    pub json: Value,
    /// Inputs and results.
    pub tensors: BTreeMap<String, Golden>,
    /// The names among `tensors` that are results.
    pub results: Vec<String>,
    pub rules: Vec<Rule>,
    pub skips: Vec<Skip>,
    /// The folder of the JSON.
    pub dir: PathBuf,
}

impl Case {
    /// Loads what the JSON lists; for a reader case the first file is the test's subject and is not opened here.
    pub fn load(json: Value, dir: &Path) -> Result<Case, String> {
        let mut tensors = BTreeMap::new();
        let is_subject = |index: usize| index == 0 && json["kind"] == "base/checkpoint_reader";
        for (index, file) in rules::texts(&json, "files")?.iter().enumerate() {
            let path = dir.join(file);
            if !path.is_file() {
                return Err(format!("no file {}", path.display()));
            }
            if file.ends_with(".safetensors") && !is_subject(index) {
                for (name, tensor) in safetensors::read(&path)? {
                    if tensors.insert(name.clone(), tensor).is_some() {
                        return Err(format!("{name} is in two files"));
                    }
                }
            }
        }
        let mut case =
            Case { rules: rules::rules(&json)?, skips: rules::skips(&json)?, json, tensors, ..Case::default() };
        case.dir = dir.to_path_buf();
        case.results = case.split()?;
        for index in 0..rules::list(&case.json, "shared_files")?.len() {
            case.shared_file(index)?;
        }
        Ok(case)
    }

    /// The results; every tensor must be either an input or a result.
    fn split(&self) -> Result<Vec<String>, String> {
        let (inputs, results) = (rules::texts(&self.json, "inputs")?, rules::texts(&self.json, "results")?);
        let mut names = Vec::new();
        for name in self.tensors.keys() {
            match (matches_any(&inputs, name), matches_any(&results, name)) {
                (true, false) => {}
                (false, true) => names.push(name.clone()),
                (both, _) => {
                    return Err(format!("{name} is {} input and result", if both { "both" } else { "neither" }));
                }
            }
        }
        Ok(names)
    }

    /// The field `case`.
    pub fn name(&self) -> &str {
        self.json["case"].as_str().unwrap_or("")
    }

    /// The field `kind`.
    pub fn kind(&self) -> &str {
        self.json["kind"].as_str().unwrap_or("")
    }

    /// The path of `files[index]`.
    pub fn file(&self, index: usize) -> Result<PathBuf, String> {
        let files = rules::texts(&self.json, "files")?;
        files.get(index).map(|file| self.dir.join(file)).ok_or(format!("no files[{index}]"))
    }

    /// The path of `shared_files[index]`, found in the folders above the case or below `ESPALIER_SHARED`.
    pub fn shared_file(&self, index: usize) -> Result<PathBuf, String> {
        let files = rules::texts(&self.json, "shared_files")?;
        let file = files.get(index).ok_or(format!("no shared_files[{index}]"))?;
        let absolute = std::path::absolute(&self.dir).map_err(|error| error.to_string())?;
        let above = absolute.ancestors().map(Path::to_path_buf);
        let elsewhere = std::env::var_os("ESPALIER_SHARED").map(PathBuf::from);
        let found = above.chain(elsewhere).map(|folder| folder.join(file)).find(|path| path.is_file());
        found.ok_or(format!("shared file {file} is in no folder above {} nor in ESPALIER_SHARED", absolute.display()))
    }

    /// Whether the case has the tensor, be it input or result.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor by name.
    pub fn tensor(&self, name: &str) -> Result<&Golden, String> {
        self.tensors.get(name).ok_or_else(|| format!("the case has no tensor {name}"))
    }

    /// The tensors whose names start with `prefix`, by the rest of the name.
    pub fn under(&self, prefix: &str) -> impl Iterator<Item = (&str, &Golden)> {
        self.tensors.iter().filter_map(move |(name, golden)| Some((name.strip_prefix(prefix)?, golden)))
    }

    /// Shape and values of a floating-point tensor that float32 holds exactly.
    pub fn f32(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), String> {
        let golden = self.tensor(name)?;
        match golden.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => {
                Ok((golden.shape.clone(), golden.values.iter().map(|&value| value as f32).collect()))
            }
            other => Err(format!("{name} is {}, not float32", other.name())),
        }
    }

    /// Shape and values of any tensor.
    pub fn f64(&self, name: &str) -> Result<(Vec<usize>, Vec<f64>), String> {
        self.tensor(name).map(|golden| (golden.shape.clone(), golden.values.clone()))
    }

    /// Shape and values of an integer tensor, or of one that holds whole numbers.
    pub fn i64s(&self, name: &str) -> Result<(Vec<usize>, Vec<i64>), String> {
        let golden = self.tensor(name)?;
        if let Some(value) = golden.values.iter().find(|value| value.fract() != 0.0 || value.abs() >= 2f64.powi(53)) {
            return Err(format!("{name} holds {value}, not an integer"));
        }
        Ok((golden.shape.clone(), golden.values.iter().map(|&value| value as i64).collect()))
    }

    /// Shape and values of a tensor of indices.
    pub fn usizes(&self, name: &str) -> Result<(Vec<usize>, Vec<usize>), String> {
        let (shape, values) = self.i64s(name)?;
        let values: Result<Vec<usize>, _> = values.into_iter().map(usize::try_from).collect();
        Ok((shape, values.map_err(|_| format!("{name} holds a negative number"))?))
    }

    /// Shape and values of a uint8 tensor.
    pub fn u8s(&self, name: &str) -> Result<(Vec<usize>, Vec<u8>), String> {
        let (shape, values) = self.i64s(name)?;
        let values: Result<Vec<u8>, _> = values.into_iter().map(u8::try_from).collect();
        Ok((shape, values.map_err(|_| format!("{name} does not fit uint8"))?))
    }

    /// The value at a JSON pointer, an error where there is none.
    pub fn at(&self, pointer: &str) -> Result<&Value, String> {
        self.json.pointer(pointer).ok_or_else(|| format!("the case has no {pointer}"))
    }

    /// The value at a JSON pointer unless it is absent or null.
    pub fn maybe(&self, pointer: &str) -> Option<&Value> {
        self.json.pointer(pointer).filter(|value| !value.is_null())
    }

    /// A whole number at a JSON pointer; 8.0 counts.
    pub fn usize_at(&self, pointer: &str) -> Result<usize, String> {
        natural(self.at(pointer)?).ok_or_else(|| format!("{pointer} is not a natural number"))
    }

    /// A number at a JSON pointer.
    pub fn f64_at(&self, pointer: &str) -> Result<f64, String> {
        self.at(pointer)?.as_f64().ok_or_else(|| format!("{pointer} is not a number"))
    }

    /// A truth value at a JSON pointer.
    pub fn bool_at(&self, pointer: &str) -> Result<bool, String> {
        self.at(pointer)?.as_bool().ok_or_else(|| format!("{pointer} is not a truth value"))
    }

    /// A string at a JSON pointer.
    pub fn str_at(&self, pointer: &str) -> Result<&str, String> {
        self.at(pointer)?.as_str().ok_or_else(|| format!("{pointer} is not a string"))
    }

    /// A list at a JSON pointer.
    pub fn list_at(&self, pointer: &str) -> Result<&[Value], String> {
        self.at(pointer)?.as_array().map(Vec::as_slice).ok_or_else(|| format!("{pointer} is not a list"))
    }

    /// An object at a JSON pointer, its keys in the file's order.
    pub fn object_at(&self, pointer: &str) -> Result<&Map<String, Value>, String> {
        self.at(pointer)?.as_object().ok_or_else(|| format!("{pointer} is not an object"))
    }

    /// A list of numbers at a JSON pointer.
    pub fn f64s_at(&self, pointer: &str) -> Result<Vec<f64>, String> {
        let numbers = self.list_at(pointer)?.iter().map(Value::as_f64).collect::<Option<_>>();
        numbers.ok_or_else(|| format!("{pointer} is not a list of numbers"))
    }

    /// A list of whole numbers at a JSON pointer.
    pub fn usizes_at(&self, pointer: &str) -> Result<Vec<usize>, String> {
        let numbers = self.list_at(pointer)?.iter().map(natural).collect::<Option<_>>();
        numbers.ok_or_else(|| format!("{pointer} is not a list of natural numbers"))
    }

    /// A whole number of `config`.
    pub fn config_usize(&self, key: &str) -> Result<usize, String> {
        self.usize_at(&format!("/config/{key}"))
    }

    /// A number of `config`.
    pub fn config_f64(&self, key: &str) -> Result<f64, String> {
        self.f64_at(&format!("/config/{key}"))
    }

    /// The field `settings`.
    pub fn settings(&self) -> Result<&Value, String> {
        self.at("/settings")
    }
}

fn natural(value: &Value) -> Option<usize> {
    let whole = |value: f64| (value >= 0.0 && value.fract() == 0.0 && value < 2f64.powi(53)).then_some(value as u64);
    value.as_u64().or_else(|| whole(value.as_f64()?)).and_then(|value| usize::try_from(value).ok())
}
