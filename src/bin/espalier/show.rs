//! How the subcommands print.

use espalier::{Error, Result, report::table::one_line};
use std::{fmt::Display, io::Write};

/// Writes a text to standard output, with one newline at its end; a closed pipe is an error, not a panic.
pub fn print(text: impl Display) -> Result<()> {
    let text = text.to_string();
    writeln!(std::io::stdout(), "{}", text.trim_end_matches('\n')).map_err(Error::io("write", "standard output"))
}

/// All digits, in groups of three: `5,717,416`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect::<Vec<_>>().join(",")
}

/// `name   value` lines with the values under each other.
pub fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:width$}  {}\n", one_line(value))).collect()
}
