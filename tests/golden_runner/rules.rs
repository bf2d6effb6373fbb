//! How a case wants its results compared: `tol` and `skip`.

use super::glob;
use serde_json::Value;

/// How two tensors are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// Equal values; `unordered` lists of a JSON value are compared as sets of strings.
    Exact { unordered: bool },
    /// max|a-b| <= value * max|b| + atol.
    RelToTensorMax { value: f64, atol: f64 },
    /// max|a-b| <= value.
    Abs { value: f64 },
    /// |a-b| <= atol + rtol*|b| for every element.
    AtolRtol { atol: f64, rtol: f64 },
}

/// Over all tensors of the pool, at least `fraction` of the elements must also be within `value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Most {
    pub fraction: f64,
    pub value: f64,
    pub pool: String,
}

/// One entry of `tol`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub pattern: String,
    pub metric: Metric,
    pub most: Option<Most>,
}

impl Rule {
    /// The first rule whose glob matches decides.
    pub fn find<'a>(rules: &'a [Rule], name: &str) -> Option<&'a Rule> {
        rules.iter().find(|rule| glob::matches(&rule.pattern, name))
    }

    fn parse(json: &Value) -> Result<Rule, String> {
        let pattern = text(json, "match")?;
        let metric = match json["metric"].as_str() {
            Some("exact") => Metric::Exact { unordered: json["unordered"] == true },
            Some("rel_to_tensor_max") => {
                Metric::RelToTensorMax { value: number(json, "value", None)?, atol: number(json, "atol", Some(0.0))? }
            }
            Some("abs") => Metric::Abs { value: number(json, "value", None)? },
            Some("atol_rtol") => {
                Metric::AtolRtol { atol: number(json, "atol", Some(0.0))?, rtol: number(json, "rtol", Some(0.0))? }
            }
            _ => return Err(format!("tol: unknown metric {}", json["metric"])),
        };
        let most = match json.get("most") {
            None | Some(Value::Null) => None,
            Some(most) => Some(Most {
                fraction: number(most, "fraction", None)?,
                value: number(most, "value", None)?,
                pool: text(most, "pool").unwrap_or_else(|_| pattern.clone()),
            }),
        };
        Ok(Rule { pattern, metric, most })
    }
}

/// One entry of `skip`; with neither rows nor elements the whole tensor is left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Skip {
    pub pattern: String,
    pub rows: Option<(usize, usize)>,
    pub elements: Option<Vec<usize>>,
}

impl Skip {
    fn parse(json: &Value) -> Result<Skip, String> {
        let naturals = |key: &str| -> Result<Option<Vec<usize>>, String> {
            let Some(list) = json.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
            let list = list.as_array().and_then(|list| list.iter().map(natural).collect());
            list.map(Some).ok_or(format!("skip: bad {key} {}", json[key]))
        };
        let rows = match naturals("rows")?.as_deref() {
            None => None,
            Some(&[start, end]) => Some((start, end)),
            Some(other) => return Err(format!("skip: rows {other:?} are not [start, end]")),
        };
        Ok(Skip { pattern: text(json, "match")?, rows, elements: naturals("elements")? })
    }

    /// Whether nothing of `name` is to be compared.
    pub fn whole(skips: &[Skip], name: &str) -> bool {
        skips.iter().any(|s| s.rows.is_none() && s.elements.is_none() && glob::matches(&s.pattern, name))
    }

    /// For each element of a tensor whether it is left out.
    pub fn mask(skips: &[Skip], name: &str, shape: &[usize]) -> Vec<bool> {
        let count = shape.iter().product();
        let row = shape.iter().skip(1).product::<usize>();
        let mut mask = vec![false; count];
        for skip in skips.iter().filter(|skip| glob::matches(&skip.pattern, name)) {
            if let Some((start, end)) = skip.rows {
                let (start, end) = ((start * row).min(count), (end * row).min(count));
                mask[start.min(end)..end].fill(true);
            }
            for &element in skip.elements.iter().flatten().filter(|&&element| element < count) {
                mask[element] = true;
            }
        }
        mask
    }
}

/// The case's `tol`.
pub fn rules(case: &Value) -> Result<Vec<Rule>, String> {
    list(case, "tol")?.iter().map(Rule::parse).collect()
}

/// The case's `skip`.
pub fn skips(case: &Value) -> Result<Vec<Skip>, String> {
    list(case, "skip")?.iter().map(Skip::parse).collect()
}

/// A list field; absent means empty.
pub fn list<'a>(case: &'a Value, key: &str) -> Result<&'a [Value], String> {
    match case.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(value) => value.as_array().map(Vec::as_slice).ok_or(format!("{key} is not a list")),
    }
}

/// A list of strings; absent means empty.
pub fn texts(case: &Value, key: &str) -> Result<Vec<String>, String> {
    let texts = list(case, key)?.iter().map(|text| text.as_str().map(str::to_owned));
    texts.collect::<Option<_>>().ok_or(format!("{key} is not a list of strings"))
}

fn text(json: &Value, key: &str) -> Result<String, String> {
    json[key].as_str().map(str::to_owned).ok_or(format!("no {key} in {json}"))
}

fn natural(json: &Value) -> Option<usize> {
    json.as_u64().and_then(|value| usize::try_from(value).ok())
}

fn number(json: &Value, key: &str, default: Option<f64>) -> Result<f64, String> {
    match json.get(key) {
        None | Some(Value::Null) => default.ok_or(format!("tol: no {key} in {json}")),
        Some(value) => value.as_f64().ok_or(format!("tol: bad {key} in {json}")),
    }
}
