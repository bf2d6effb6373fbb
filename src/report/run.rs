//! The folder of one run: configuration, log as JSON lines, curves, results. Nothing in it is ever half written.

use super::svg::{Lines, document};
use crate::{Error, Result, io::write_atomic};
use serde::Serialize;
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use std::{fs, fs::File, fs::TryLockError, io::ErrorKind, io::Write, path::Component, path::Path, path::PathBuf};

/// The folder's log, one JSON object a line.
pub const LOG: &str = "log.jsonl";

/// An open run folder.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    log: Mutex<File>,
}

impl RunFolder {
    /// A new folder at `path`, or beside it as `path-2`, `path-3` … where something is already there.
    pub fn create(path: impl AsRef<Path>) -> Result<RunFolder> {
        let wanted = path.as_ref();
        let (Some(parent), Some(name)) = (wanted.parent(), wanted.file_name()) else {
            return Err(Error::invalid("run folder", "a path that ends in a name", wanted.display()));
        };
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        let mut path = wanted.to_path_buf();
        for number in 2.. {
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let mut sibling = name.to_os_string();
                    sibling.push(format!("-{number}"));
                    path.set_file_name(sibling);
                }
                Err(error) => return Err(Error::io("create", path)(error)),
                Ok(()) => break,
            }
        }
        Self::open(path)
    }

    /// The folder at `path`, to go on in it: alone, and without the halves of files that a killed process leaves.
    pub fn open(path: impl Into<PathBuf>) -> Result<RunFolder> {
        let path = path.into();
        let log = Mutex::new(open_log(&path)?);
        for entry in fs::read_dir(&path).map_err(Error::io("read", &path))?.flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(".tmp")) {
                fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
        Ok(RunFolder { path, log })
    }

    /// Strikes out the records of the log that are not to be kept.
    pub fn keep(&self, keep: impl Fn(&Value) -> bool) -> Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = read_log(self.path.join(LOG))?.into_iter().filter(keep).map(|record| format!("{record}\n"));
        self.write_text(LOG, &kept.collect::<String>())?;
        *log = open_log(&self.path)?;
        Ok(())
    }

    /// Where the folder is: not always where it was asked for.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file of the folder; `name` may not leave it.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        Error::ensure(inside && !name.is_empty(), "file of a run folder", "a name inside it", name)?;
        Ok(self.path.join(name))
    }

    /// Writes a value as indented JSON.
    pub fn write_json(&self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(|error| not_json(name, error))?;
        self.write_text(name, &(text + "\n"))
    }

    /// Writes a text file.
    pub fn write_text(&self, name: &str, text: &str) -> Result<()> {
        write_atomic(self.file(name)?, |file| file.write_all(text.as_bytes()))
    }

    /// Appends one line to the log; NaN and infinity become `null`.
    pub fn log(&self, record: &(impl Serialize + ?Sized)) -> Result<()> {
        let line = serde_json::to_string(record).map_err(|error| not_json(LOG, error))? + "\n";
        // One write a line, so that a killed process can only cut the last one.
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.write_all(line.as_bytes()).map_err(Error::io("write", self.path.join(LOG)))
    }

    /// Draws the log so far as `curves.svg`.
    pub fn curves(&self) -> Result<()> {
        self.write_text("curves.svg", &curves_svg(&read_log(self.path.join(LOG))?))
    }
}

fn open_log(folder: &Path) -> Result<File> {
    let path = folder.join(LOG);
    let log = File::options().create(true).append(true).open(&path).map_err(Error::io("create", &path))?;
    // held as long as the file is open; where there are no locks nobody is kept out
    let taken = matches!(log.try_lock(), Err(TryLockError::WouldBlock));
    Error::ensure(!taken, path.display(), "a run folder that no other process works in", "one in use").map(|()| log)
}

fn not_json(name: &str, error: serde_json::Error) -> Error {
    Error::invalid(name, "a value that JSON can hold", error)
}

/// The records of a log; a last line without its newline that does not parse is left out.
pub fn read_log(path: impl AsRef<Path>) -> Result<Vec<Value>> {
    let path = path.as_ref();
    let text = fs::read(path).map_err(Error::io("read", path))?;
    let lines = text.split_inclusive(|&byte| byte == b'\n').enumerate();
    let record = |(at, line): (usize, &[u8])| match serde_json::from_slice(line) {
        Ok(record) => Some(Ok(record)),
        Err(_) if line.trim_ascii().is_empty() || !line.ends_with(b"\n") => None,
        Err(error) => Some(Err(Error::invalid(format!("{} line {}", path.display(), at + 1), "a JSON value", error))),
    };
    lines.filter_map(record).collect()
}

/// Panels of loss, accuracy and learning rate: every number of the records whose key says which it is. The axis is
/// `step` where every record of a panel has it, else `epoch`, else the record's index; a text field `stage` splits a
/// key into one curve a stage.
pub fn curves_svg(records: &[Value]) -> String {
    let accuracy = "top1 top5 top-1 top-5 acc";
    let quantities = [("loss", "loss"), ("accuracy", accuracy), ("learning rate", "lr learning_rate")];
    let mut plots = quantities.map(|(title, words)| curves(records, title, words)).to_vec();
    plots.retain(|plot| !plot.series.is_empty());
    if plots.is_empty() {
        plots.push(Lines::new("curves", "step"));
    }
    document(&plots.iter().map(Lines::panel).collect::<Vec<_>>())
}

fn curves(records: &[Value], title: &str, words: &str) -> Lines {
    let wanted = |key: &str| words.split(' ').any(|word| key == word || (word != "lr" && key.contains(word)));
    let drawn = |(key, value): &(&String, &Value)| wanted(key) && (value.is_number() || value.is_null());
    let mut points = Vec::new();
    for (at, record) in records.iter().enumerate() {
        let stage = record["stage"].as_str().map_or(String::new(), |stage| format!(" ({stage})"));
        for (key, value) in record.as_object().into_iter().flatten().filter(drawn) {
            points.push((at, format!("{key}{stage}"), value.as_f64().unwrap_or(f64::NAN)));
        }
    }
    let everywhere = |axis: &&str| points.iter().all(|point| records[point.0][*axis].is_number());
    let axis = ["step", "epoch"].into_iter().find(everywhere);
    let mut plot = Lines::new(title, axis.unwrap_or("record"));
    for (at, name, y) in &points {
        let x = axis.and_then(|axis| records[*at][axis].as_f64()).unwrap_or(*at as f64);
        plot.push(name, x, *y);
    }
    plot
}
