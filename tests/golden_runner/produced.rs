//! What the library computed for a case.

use super::case::Case;
use super::safetensors::Golden;
use serde_json::Value;
use std::collections::BTreeMap;

/// A tensor as the comparison sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// The results of a kind's function, to be compared with the case's; results that the case does not have are ignored.
#[derive(Debug, Default)]
pub struct Produced {
    pub tensors: BTreeMap<String, Array>,
    pub json: BTreeMap<String, Value>,
    /// Expected tensors that the case names in another way than `results`; compared exactly.
    pub also_expected: BTreeMap<String, Golden>,
    /// Why the outcome is right although there is nothing to compare, for example a file rightly refused.
    pub decided: Option<String>,
    /// Names that were put twice: a mistake of the kind's function.
    pub twice: Vec<String>,
}

impl Produced {
    /// Results of no case yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a result tensor under its official name, for example `out/logits`.
    pub fn put(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f64>) {
        let (name, array) = (name.into(), Array { shape: shape.to_vec(), values });
        if self.tensors.insert(name.clone(), array).is_some() {
            self.twice.push(name);
        }
    }

    /// The same from float32.
    pub fn put_f32(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        self.put(name, shape, values.iter().map(|&value| value.into()).collect());
    }

    /// The same from integers; one beyond 2^53 becomes a NaN, which is never equal to a recorded integer.
    pub fn put_integers(&mut self, name: impl Into<String>, shape: &[usize], values: &[i64]) {
        let exact = |&value: &i64| if value.unsigned_abs() < 1 << 53 { value as f64 } else { f64::NAN };
        self.put(name, shape, values.iter().map(exact).collect());
    }

    /// One number; the cases store it as `[]` or `[1]`, so it takes the recorded shape.
    pub fn put_scalar(&mut self, case: &Case, name: &str, value: f64) {
        let one: &[usize] = if case.tensors.get(name).is_some_and(|golden| golden.shape == [1]) { &[1] } else { &[] };
        self.put(name, one, vec![value]);
    }

    /// Adds a result that the case states in its JSON, under its name in `json_results`.
    pub fn put_json(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let name = name.into();
        if self.json.insert(name.clone(), value.into()).is_some() {
            self.twice.push(format!("json:{name}"));
        }
    }

    /// Declares the outcome right, so that the listed results need not be there.
    pub fn decide(&mut self, why: impl Into<String>) {
        self.decided = Some(why.into());
    }

    /// Adds an expected tensor, compared exactly.
    pub fn also_expect(&mut self, name: impl Into<String>, golden: Golden) {
        self.also_expected.insert(name.into(), golden);
    }
}
