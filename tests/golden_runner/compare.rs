//! The one comparison routine of all kinds.

use super::case::Case;
use super::compare_json::{difference, numbers};
use super::produced::{Array, Produced};
use super::rules::{Metric, Most, Rule, Skip};
use std::collections::BTreeMap;

/// The element that came nearest to its limit, or went furthest beyond it.
#[derive(Debug, Clone, PartialEq)]
pub struct Worst {
    pub name: String,
    pub error: f64,
    pub limit: f64,
}

impl Worst {
    fn ratio(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error / self.limit }
    }
}

/// The outcome of a case; it passes if there are no failures.
#[derive(Debug, Default)]
pub struct Report {
    pub compared: usize,
    pub total: usize,
    pub worst: Option<Worst>,
    pub failures: Vec<String>,
}

impl Report {
    fn fail(&mut self, why: String) {
        self.failures.push(why);
    }

    fn note(&mut self, worst: Worst) {
        if self.worst.as_ref().is_none_or(|old| worst.ratio() > old.ratio()) {
            self.worst = Some(worst);
        }
    }
}

/// Elements of a pool: fraction asked, within the tighter bound, all.
#[derive(Default)]
struct Pool {
    fraction: f64,
    within: usize,
    all: usize,
}

type Pools = BTreeMap<String, Pool>;

/// Compares everything that the case expects with what was produced.
pub fn compare(case: &Case, produced: &Produced) -> Report {
    let mut report = Report::default();
    let mut pools = Pools::new();
    for name in &produced.twice {
        report.fail(format!("{name} was produced twice"));
    }
    compare_listed_tensors(case, produced, &mut report, &mut pools);
    compare_listed_json(case, produced, &mut report, &mut pools);
    let exact = Rule { pattern: String::new(), metric: Metric::Exact { unordered: false }, most: None };
    for (name, golden) in &produced.also_expected {
        report.total += 1;
        let expected = Array { shape: golden.shape.clone(), values: golden.values.clone() };
        compare_tensor(name, produced.tensors.get(name), &expected, &exact, &[], &mut report, &mut pools);
    }
    for (name, pool) in &pools {
        let fraction = pool.within as f64 / pool.all.max(1) as f64;
        if pool.all > 0 && fraction + 1e-12 < pool.fraction {
            report.fail(format!("pool {name}: {} of {} within, asked {}", pool.within, pool.all, pool.fraction));
        }
    }
    if produced.decided.is_some() {
        report.compared += 1;
        report.total += 1;
    }
    if report.total == 0 {
        report.fail("there is nothing to compare".into());
    }
    report
}

fn compare_listed_tensors(case: &Case, produced: &Produced, report: &mut Report, pools: &mut Pools) {
    for name in case.results.iter().filter(|name| !Skip::whole(&case.skips, name)) {
        let got = produced.tensors.get(name);
        if got.is_none() && produced.decided.is_some() {
            continue;
        }
        report.total += 1;
        let golden = &case.tensors[name];
        let expected = Array { shape: golden.shape.clone(), values: golden.values.clone() };
        let mask = Skip::mask(&case.skips, name, &golden.shape);
        match Rule::find(&case.rules, name) {
            None => report.fail(format!("{name}: no rule of tol matches")),
            Some(rule) => compare_tensor(name, got, &expected, rule, &mask, report, pools),
        }
    }
}

fn compare_listed_json(case: &Case, produced: &Produced, report: &mut Report, pools: &mut Pools) {
    let listed = case.json.get("json_results").and_then(|listed| listed.as_object());
    for (name, pointer) in listed.into_iter().flatten() {
        let label = format!("json:{name}");
        let got = produced.json.get(name);
        if Skip::whole(&case.skips, &label) || (got.is_none() && produced.decided.is_some()) {
            continue;
        }
        report.total += 1;
        let Some(expected) = pointer.as_str().and_then(|pointer| case.json.pointer(pointer)) else {
            report.fail(format!("{label}: the pointer {pointer} leads nowhere"));
            continue;
        };
        let (Some(got), Some(rule)) = (got, Rule::find(&case.rules, &label)) else {
            report.fail(format!(
                "{label}: {}",
                if got.is_some() { "no rule of tol matches" } else { "was not produced" }
            ));
            continue;
        };
        if let Metric::Exact { unordered } = rule.metric {
            report.compared += 1;
            if let Some(why) = difference(got, expected, unordered, "") {
                report.fail(format!("{label}{why}"));
                report.note(Worst { name: label, error: f64::INFINITY, limit: 0.0 });
            }
        } else {
            let line = |values: Vec<f64>| Array { shape: vec![values.len()], values };
            let (got, expected) = (line(numbers(got, Some(expected))), line(numbers(expected, None)));
            compare_tensor(&label, Some(&got), &expected, rule, &[], report, pools);
        }
    }
}

fn compare_tensor(
    name: &str, got: Option<&Array>, expected: &Array, rule: &Rule, mask: &[bool], report: &mut Report,
    pools: &mut Pools,
) {
    let Some(got) = got else { return report.fail(format!("{name}: was not produced")) };
    if got.shape != expected.shape {
        return report.fail(format!("{name}: got shape {:?}, expected {:?}", got.shape, expected.shape));
    }
    if got.values.len() != expected.values.len() {
        let (a, b) = (got.values.len(), expected.values.len());
        return report.fail(format!("{name}: got {a} values for shape {:?}, expected {b}", got.shape));
    }
    report.compared += 1;
    // Skipped elements count for the maximum too; infinite ones would allow everything.
    let scale = expected.values.iter().map(|b| b.abs()).filter(|b| b.is_finite()).fold(0.0, f64::max);
    let mut worst = Worst { name: name.to_owned(), error: 0.0, limit: limit(rule.metric, scale, f64::INFINITY) };
    let (mut at, mut bad) = (0, 0);
    for (index, (&a, &b)) in got.values.iter().zip(&expected.values).enumerate() {
        if mask.get(index) == Some(&true) {
            continue;
        }
        let error = error(rule.metric, a, b);
        let here = Worst { name: name.to_owned(), error, limit: limit(rule.metric, scale, b) };
        bad += usize::from(!(error.is_finite() && error <= here.limit));
        if here.ratio() > worst.ratio() || (index == 0 && here.ratio() == 0.0) {
            (worst, at) = (here, index);
        }
        if let Some(most) = &rule.most {
            count(most, error, pools);
        }
    }
    if bad > 0 {
        report.fail(format!(
            "{name}: {bad} of {} elements beyond the limit; worst is element {at}: got {:e}, expected {:e}, error {:.3e}, limit {:.3e}",
            got.values.len(), got.values[at], expected.values[at], worst.error, worst.limit
        ));
    }
    report.note(worst);
}

fn count(most: &Most, error: f64, pools: &mut Pools) {
    let pool = pools.entry(most.pool.clone()).or_default();
    pool.fraction = pool.fraction.max(most.fraction);
    pool.all += 1;
    pool.within += usize::from(error <= most.value);
}

/// |a-b|, where a NaN is infinitely wrong unless both are NaN and equality is asked.
fn error(metric: Metric, a: f64, b: f64) -> f64 {
    let both_nan = a.is_nan() && b.is_nan() && matches!(metric, Metric::Exact { .. });
    if a == b || both_nan {
        return 0.0;
    }
    let error = (a - b).abs();
    if error.is_nan() { f64::INFINITY } else { error }
}

/// The largest error allowed where `b` is expected in a tensor whose largest magnitude is `scale`.
fn limit(metric: Metric, scale: f64, b: f64) -> f64 {
    match metric {
        Metric::Exact { .. } => 0.0,
        Metric::RelToTensorMax { value, atol } => value * scale + atol,
        Metric::Abs { value } => value,
        Metric::AtolRtol { atol, rtol } => atol + if b.is_finite() { rtol * b.abs() } else { 0.0 },
    }
}
