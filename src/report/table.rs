//! Tables for the terminal, Markdown and JSON, and how numbers are written in them.

use std::time::Duration;

use serde_json::{Map, Value};

/// A table of text cells; a column whose cells all begin like numbers is aligned to the right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The names of the columns.
    pub header: Vec<String>,
    /// The rows; a short one ends in empty cells.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(header: &[&str]) -> Table {
        Table { header: header.iter().map(|name| name.to_string()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Table {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    /// Aligned columns under a ruled header, for a terminal; every line ends in a newline.
    pub fn text(&self) -> String {
        let columns = self.columns(&one_line);
        let rule: Vec<String> = columns.iter().map(|column| "─".repeat(column.width)).collect();
        let mut lines: Vec<String> = (0..=self.rows.len()).map(|row| join(&columns, row, "  ")).collect();
        lines.insert(1, rule.join("  "));
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// A Markdown table, aligned in its source as well; every line ends in a newline.
    pub fn markdown(&self) -> String {
        let escape = |cell: &str| {
            one_line(cell).replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace('`', "\\`")
        };
        let mut columns = self.columns(&escape);
        columns.iter_mut().for_each(|column| column.width = column.width.max(3));
        let rule = columns.iter().map(|column| {
            let dashes = "-".repeat(column.width - 1);
            if column.right { format!("{dashes}:") } else { format!(":{dashes}") }
        });
        let mut lines: Vec<String> = (0..=self.rows.len()).map(|row| join(&columns, row, " | ")).collect();
        lines.insert(1, rule.collect::<Vec<_>>().join(" | "));
        lines.iter().map(|line| format!("| {line} |\n")).collect()
    }

    /// A list of objects, one a row; cells that are JSON numbers become numbers, a repeated header gets a number.
    pub fn json(&self) -> Value {
        let width = self.columns(&one_line).len();
        let mut keys: Vec<String> = Vec::with_capacity(width);
        for column in 0..width {
            let name = self.header.get(column).map_or("", String::as_str);
            let candidates =
                std::iter::once(name.to_string()).chain((2..).map(|n| format!("{name} {n}").trim().into()));
            keys.extend(candidates.into_iter().find(|key| !keys.contains(key)));
        }
        let cell = |text: &str| match serde_json::from_str::<Value>(text) {
            Ok(Value::Number(number)) => Value::Number(number),
            _ => Value::String(text.to_string()),
        };
        let object = |row: &Vec<String>| -> Value {
            let cells = row.iter().map(|text| cell(text)).chain(std::iter::repeat(Value::Null));
            Value::Object(keys.iter().cloned().zip(cells).collect::<Map<_, _>>())
        };
        Value::Array(self.rows.iter().map(object).collect())
    }

    /// The cells by column, header first, through `clean`.
    fn columns(&self, clean: &dyn Fn(&str) -> String) -> Vec<Column> {
        let width = self.rows.iter().map(Vec::len).chain([self.header.len()]).max().unwrap_or(0);
        let column = |at: usize| {
            let rows = std::iter::once(&self.header).chain(&self.rows);
            let cells: Vec<String> = rows.map(|row| row.get(at).map_or(String::new(), |cell| clean(cell))).collect();
            let filled = cells[1..].iter().filter(|cell| !cell.is_empty() && !is_blank(cell));
            let (numbers, total) = filled.fold((0, 0), |(n, all), cell| (n + usize::from(is_number(cell)), all + 1));
            let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
            Column { right: total > 0 && numbers == total, width, cells }
        };
        (0..width).map(column).collect()
    }
}

struct Column {
    cells: Vec<String>,
    width: usize,
    right: bool,
}

fn join(columns: &[Column], row: usize, between: &str) -> String {
    let pad = |column: &Column| match column.right {
        true => format!("{:>1$}", column.cells[row], column.width),
        false => format!("{:<1$}", column.cells[row], column.width),
    };
    columns.iter().map(pad).collect::<Vec<_>>().join(between)
}

/// Control characters would break the line or drive the terminal.
fn one_line(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn is_blank(cell: &str) -> bool {
    matches!(cell, "-" | "–" | "—" | "n/a")
}

fn is_number(cell: &str) -> bool {
    let body = cell.trim_start_matches(['+', '-', '−', '±', '×', '≤', '≥', '<', '>', ' ']);
    body.starts_with(|c: char| c.is_ascii_digit()) || matches!(body, "NaN" | "inf")
}

/// Three significant digits of a number from 0 to 1,000.
fn three(value: f64) -> String {
    format!("{value:.0$}", decimals(value))
}

/// The decimals that three significant digits need.
fn decimals(value: f64) -> usize {
    match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    }
}

/// Three significant digits and a decimal prefix: `1.25 G`, `5.72 M`, `640`.
pub fn count(n: u64) -> String {
    scaled(n, "")
}

/// A size in decimal units: `21.4 MB`, `640 B`.
pub fn bytes(n: u64) -> String {
    scaled(n, "B")
}

fn scaled(n: u64, unit: &str) -> String {
    let (mut value, mut prefix) = (n as f64, 0);
    while value >= 999.5 && prefix < 6 {
        (value, prefix) = (value / 1000.0, prefix + 1);
    }
    let digits = if prefix == 0 { n.to_string() } else { three(value) };
    format!("{digits} {}{unit}", ["", "k", "M", "G", "T", "P", "E"][prefix]).trim_end().to_string()
}

/// A time as a person says it: `8.40 ms`, `1.25 s`, `3 min 05 s`, `1 h 02 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let whole = seconds.round() as u64;
    match seconds {
        s if s < 0.9995e-6 => format!("{} ns", time.as_nanos()),
        s if s < 0.9995e-3 => format!("{} µs", three(s * 1e6)),
        s if s < 0.9995 => format!("{} ms", three(s * 1e3)),
        s if s < 59.95 => format!("{} s", three(s)),
        s if s < 3599.5 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", (whole + 30) / 3600, (whole + 30) % 3600 / 60),
    }
}

/// `median p5–p95`, all with the decimals that give the median three significant digits.
pub fn spread(median: f64, p5: f64, p95: f64) -> String {
    let digits = decimals(median);
    format!("{median:.digits$} {p5:.digits$}–{p95:.digits$}")
}
