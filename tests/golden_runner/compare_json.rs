//! Comparison of results that are JSON values.

use serde_json::Value;
use std::collections::BTreeSet;

/// Where `got` differs from `expected`, or nothing.
pub fn difference(got: &Value, expected: &Value, unordered: bool, at: &str) -> Option<String> {
    match (got, expected) {
        (Value::Number(a), Value::Number(b)) => {
            // Integers beyond 2^53 must not meet in f64.
            let equal = match (a.as_i128(), b.as_i128()) {
                (Some(a), Some(b)) => a == b,
                _ => a.as_f64() == b.as_f64(),
            };
            (!equal).then(|| format!("{at}: got {a}, expected {b}"))
        }
        (Value::Array(a), Value::Array(b)) if unordered => set_difference(a, b, at),
        (Value::Array(a), Value::Array(b)) if a.len() != b.len() => {
            Some(format!("{at}: got {} items, expected {}", a.len(), b.len()))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(a, b, unordered, &format!("{at}/{i}")))
        }
        (Value::Object(a), Value::Object(b)) => {
            if let Some(key) = a.keys().find(|&key| !b.contains_key(key)) {
                return Some(format!("{at}: {key} is not expected"));
            }
            b.iter().find_map(|(key, b)| match a.get(key) {
                None => Some(format!("{at}: {key} is missing")),
                Some(a) => difference(a, b, unordered, &format!("{at}/{key}")),
            })
        }
        _ => (got != expected).then(|| format!("{at}: got {got}, expected {expected}")),
    }
}

/// Lists as sets of strings; a list with the same members but more of them repeats one.
fn set_difference(got: &[Value], expected: &[Value], at: &str) -> Option<String> {
    let set = |list: &[Value]| list.iter().map(text).collect::<BTreeSet<_>>();
    let (a, b) = (set(got), set(expected));
    if let Some(extra) = a.difference(&b).next() {
        return Some(format!("{at}: {extra} is not expected"));
    }
    if let Some(missing) = b.difference(&a).next() {
        return Some(format!("{at}: {missing} is missing"));
    }
    (got.len() > expected.len()).then(|| format!("{at}: got {} items, expected {}", got.len(), expected.len()))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or(number.to_string(), |number| number.to_string()),
        other => other.to_string(),
    }
}

/// The numbers of `value` in order; objects that have the keys of `like` in the order that `like` has them.
pub fn numbers(value: &Value, like: Option<&Value>) -> Vec<f64> {
    match value {
        Value::Number(number) => number.as_f64().into_iter().collect(),
        Value::Array(list) => {
            let like = |index: usize| like.and_then(|like| like.get(index));
            list.iter().enumerate().flat_map(|(index, item)| numbers(item, like(index))).collect()
        }
        Value::Object(map) => {
            let order = like
                .and_then(Value::as_object)
                .filter(|o| o.len() == map.len() && o.keys().all(|k| map.contains_key(k)));
            let keys = order.unwrap_or(map).keys();
            keys.flat_map(|key| numbers(&map[key], order.and_then(|order| order.get(key)))).collect()
        }
        _ => Vec::new(),
    }
}
