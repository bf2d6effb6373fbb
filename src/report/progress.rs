//! Progress on standard error: a bar on a terminal, plain lines elsewhere, nothing when quiet.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::table::duration;

/// How long plain lines wait for each other.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A bar that redraws itself.
    Bar,
    /// A line every few seconds, for log files.
    Lines,
    /// Nothing.
    Quiet,
}

impl Show {
    /// Quiet if asked for, else a bar if standard error is a terminal, else lines.
    pub fn detect(quiet: bool) -> Show {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Show::Quiet,
            (false, true) => Show::Bar,
            (false, false) => Show::Lines,
        }
    }
}

/// How far a loop over images has come, how fast it is and when it ends; it ends the display when dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    what: String,
    show: Show,
    printed: Mutex<Instant>,
}

impl Progress {
    /// Progress over `total` images, shown as standard error allows.
    pub fn new(total: u64, what: &str) -> Progress {
        Progress::with(total, what, Show::detect(false))
    }

    /// Progress shown in a chosen way.
    pub fn with(total: u64, what: &str, show: Show) -> Progress {
        let bar = if show == Show::Bar { ProgressBar::new(total) } else { ProgressBar::hidden() };
        bar.set_length(total);
        let template = "{prefix} [{bar:24}] {pos}/{len} {speed} {left} {msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let speed = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{:.0} img/s", state.per_sec());
        };
        let left = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = match state.pos() < state.len().unwrap_or(0) {
                true => write!(out, "{} left", duration(Duration::from_secs(state.eta().as_secs()))),
                false => write!(out, "took {}", duration(state.elapsed())),
            };
        };
        bar.set_style(style.with_key("speed", speed).with_key("left", left).progress_chars("━╸─"));
        bar.set_prefix(what.to_string());
        Progress { bar, what: what.to_string(), show, printed: Mutex::new(Instant::now()) }
    }

    /// `n` more images are done.
    pub fn inc(&self, n: u64) {
        self.bar.inc(n);
        if self.show != Show::Lines {
            return;
        }
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        if printed.elapsed() >= LINE_EVERY {
            *printed = Instant::now();
            eprintln!("{}", self.line());
        }
    }

    /// What stands behind the speed: loss, learning rate.
    pub fn message(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    /// A line of text that does not tear the bar; quiet mode drops it.
    pub fn println(&self, text: &str) {
        match self.show {
            Show::Bar => self.bar.println(text),
            Show::Lines => eprintln!("{text}"),
            Show::Quiet => {}
        }
    }

    /// Ends the display; the last state stays readable.
    pub fn finish(&self) {
        if self.bar.is_finished() {
            return;
        }
        if self.show == Show::Lines {
            eprintln!("{}", self.line());
        }
        self.bar.abandon();
    }

    /// The present state as one plain line.
    pub fn line(&self) -> String {
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        state_line(&self.what, done, total, self.bar.elapsed(), &self.bar.message())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// `train: 300/1200 (25 %), 100 img/s, 9.00 s left, loss 2.30`; the time taken once all is done.
pub fn state_line(what: &str, done: u64, total: u64, elapsed: Duration, message: &str) -> String {
    let speed = done as f64 / elapsed.as_secs_f64().max(1e-9);
    let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
    let mut line = format!("{what}: {done}/{total} ({percent} %)");
    if done > 0 {
        line += &format!(", {speed:.0} img/s");
    }
    if done >= total {
        line += &format!(", took {}", duration(elapsed));
    } else if let Ok(left) = Duration::try_from_secs_f64((total - done) as f64 / speed) {
        line += &format!(", {} left", duration(left));
    }
    if message.is_empty() { line } else { format!("{line}, {message}") }
}
