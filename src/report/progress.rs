//! Progress on standard error: a bar on a terminal, plain lines elsewhere, nothing when quiet.

use super::table::{bytes, duration, one_line};
use crate::{Error, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::{fmt::Display, sync::Mutex, sync::PoisonError, time::Duration, time::Instant};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A bar that redraws itself.
    Bar,
    /// A line every five seconds, for log files.
    Lines,
    /// Nothing.
    Quiet,
}

impl Show {
    /// Quiet if asked for, else a bar if standard error is a terminal, else lines.
    pub fn detect(quiet: bool) -> Show {
        let shown = if std::io::stderr().is_terminal() { Show::Bar } else { Show::Lines };
        if quiet { Show::Quiet } else { shown }
    }
}

/// What progress counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Unit {
    Images,
    Bytes,
    Points,
}

impl Unit {
    fn amount(self, n: u64) -> String {
        if self == Unit::Bytes { bytes(n) } else { n.to_string() }
    }

    fn speed(self, a_second: f64) -> String {
        match self {
            Unit::Images => format!("{a_second:.0} img/s"),
            Unit::Bytes => format!("{}/s", bytes(a_second as u64)),
            Unit::Points => format!("{a_second:.0}/s"),
        }
    }
}

/// Writes a line to standard error; a closed pipe or a full disk there never ends a run.
pub fn tell(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// How a program ends: an error is one line on standard error and code 1, a closed pipe of its results no error.
pub fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe has what it wanted.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("error: {}", one_line(&error.to_string())));
            ExitCode::FAILURE
        }
    }
}

/// How far a loop has come, how fast it is and when it ends; the last state stays readable.
#[derive(Debug)]
pub struct Progress {
    what: String,
    unit: Unit,
    bar: ProgressBar,
    show: Show,
    printed: Mutex<(Instant, Option<u64>)>, // when, and how much was done
}

impl Progress {
    /// Progress over `total` images.
    pub fn with(total: u64, what: &str, show: Show) -> Progress {
        Self::over(total, Unit::Images, what, show)
    }

    /// Progress over `total` of a unit; 0 when nobody knows.
    pub fn over(total: u64, unit: Unit, what: &str, show: Show) -> Progress {
        let target = if show == Show::Bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style =
            ProgressStyle::with_template("[{bar:24}] {prefix}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style.progress_chars("━╸─"));
        Progress { what: what.into(), unit, bar, show, printed: Mutex::new((Instant::now(), None)) }
    }

    /// `n` more are done.
    pub fn inc(&self, n: u64) {
        self.bar.inc(n);
        self.bar.set_prefix(self.line());
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.show == Show::Lines && printed.0.elapsed() >= Duration::from_secs(5) {
            *printed = (Instant::now(), Some(self.bar.position()));
            tell(self.line());
        }
    }

    /// What stands behind the speed: loss, learning rate.
    pub fn message(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    /// The present state as one plain line.
    pub fn line(&self) -> String {
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        state_line(&self.what, self.unit, done, total, self.bar.elapsed(), &self.bar.message())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner).1;
        if self.show == Show::Lines && printed != Some(self.bar.position()) {
            tell(self.line());
        }
        self.bar.abandon();
    }
}

/// `train: 300/1200 (25 %), 100 img/s, 9.00 s left, loss 2.30`; the time taken once all is done, or when nobody knows how
/// much is to be done.
pub fn state_line(what: &str, unit: Unit, done: u64, total: u64, elapsed: Duration, message: &str) -> String {
    let speed = done as f64 / elapsed.as_secs_f64().max(1e-9);
    let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
    let mut parts = vec![match total {
        0 if done > 0 => format!("{what}: {}", unit.amount(done)),
        _ => format!("{what}: {}/{} ({percent} %)", unit.amount(done), unit.amount(total)),
    }];
    if done > 0 {
        parts.push(unit.speed(speed));
    }
    if done >= total {
        parts.push(format!("took {}", duration(elapsed)));
    } else if let Ok(left) = Duration::try_from_secs_f64((total - done) as f64 / speed) {
        parts.push(format!("{} left", duration(left)));
    }
    parts.extend((!message.is_empty()).then(|| message.to_string()));
    parts.join(", ")
}
