//! Tables for the terminal and Markdown, and how numbers are written in them.

use std::time::Duration;

/// A table of text cells; a column whose cells all begin like numbers is aligned to the right.
#[derive(Debug, Clone)]
pub struct Table {
    /// The names of the columns, then the rows; a short one ends in empty cells.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(header: &[&str]) -> Table {
        Table { rows: vec![header.iter().map(|name| name.to_string()).collect()] }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Table {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    /// Aligned columns under a ruled header, for a terminal; every line ends in a newline.
    pub fn text(&self) -> String {
        self.render(false, ["", "  ", ""])
    }

    /// A Markdown table, aligned in its source as well; every line ends in a newline.
    pub fn markdown(&self) -> String {
        self.render(true, ["| ", " | ", " |"])
    }

    fn render(&self, markdown: bool, [open, between, close]: [&str; 3]) -> String {
        let escapes = [('\\', "\\\\"), ('|', "\\|"), ('<', "&lt;"), ('`', "\\`")];
        let escapes = if markdown { &escapes[..] } else { &[] };
        let clean = |cell: &String| escapes.iter().fold(one_line(cell), |cell, (from, to)| cell.replace(*from, to));
        let mut lines = vec![open.to_string(); self.rows.len() + 1];
        for column in 0..self.rows.iter().map(Vec::len).max().unwrap_or(0) {
            let mut cells: Vec<_> = self.rows.iter().map(|row| row.get(column).map_or("".into(), clean)).collect();
            let filled = |cell: &&String| !["", "-", "–", "—", "n/a"].contains(&cell.as_str());
            let mut filled = cells[1..].iter().filter(filled).peekable();
            let right = filled.peek().is_some() && filled.all(|cell| is_number(cell));
            let widest = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
            let width = if markdown { widest.max(3) } else { widest };
            let rule = match (markdown, right) {
                (true, true) => format!("{:->width$}", ":"),
                (true, false) => format!("{:-<width$}", ":"),
                (false, _) => "─".repeat(width),
            };
            cells.insert(1, rule);
            for (line, cell) in lines.iter_mut().zip(cells) {
                *line += if column == 0 { "" } else { between };
                *line += &if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            }
        }
        lines.iter().map(|line| format!("{line}{close}").trim_end().to_string() + "\n").collect()
    }
}

/// Control characters would break the line or drive the terminal, and no XML may hold the last two of the plane.
pub fn one_line(cell: &str) -> String {
    let forbidden = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    cell.chars().map(|c| if forbidden(c) { ' ' } else { c }).collect()
}

/// At most `most` characters of a text, the last of them `…` when there are more.
pub fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most.saturating_sub(1)) {
        Some((end, last)) if end + last.len_utf8() < text.len() => format!("{}…", &text[..end]),
        _ => text.into(),
    }
}

fn is_number(cell: &str) -> bool {
    let body = cell.trim_start_matches(['+', '-', '−', '±', '×', '≤', '≥', '<', '>', ' ']);
    body.starts_with(|c: char| c.is_ascii_digit()) || matches!(body, "NaN" | "inf")
}

/// The decimals that three significant digits of a number from 0 to 1,000 need.
fn decimals(value: f64) -> usize {
    usize::from(value.abs() < 99.95) + usize::from(value.abs() < 9.995)
}

/// Three significant digits and a decimal prefix: `1.25 G`, `5.72 M`, `640`.
pub fn count(n: u64) -> String {
    scaled(n, &["", "k", "M", "G", "T", "P", "E"]).trim_end().to_string()
}

/// A size in decimal units: `21.4 MB`, `640 B`.
pub fn bytes(n: u64) -> String {
    scaled(n, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// Three significant digits in the first of `units`, each 1,000 of the one before, that needs no more.
fn scaled(n: u64, units: &[&str]) -> String {
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    let digits = if unit == 0 { 0 } else { decimals(value) };
    format!("{value:.digits$} {}", units[unit])
}

/// A time as a person says it: `8.40 ms`, `1.25 s`, `3 min 05 s`, `1 h 02 min`.
pub fn duration(time: Duration) -> String {
    let (seconds, minutes) = (time.as_secs_f64().round() as u64, (time.as_secs_f64() / 60.0).round() as u64);
    match time.as_secs_f64() {
        s if s < 59.95 => scaled(time.as_nanos() as u64, &["ns", "µs", "ms", "s"]),
        s if s < 3599.5 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

/// `median p5–p95`, all with the decimals that give the median three significant digits.
pub fn spread(median: f64, p5: f64, p95: f64) -> String {
    let digits = decimals(median);
    format!("{median:.digits$} {p5:.digits$}–{p95:.digits$}")
}
