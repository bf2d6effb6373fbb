//! Readers run in processes of their own, which say what they are about to read. One that ends, or says nothing more, has been
//! ended or stopped by that input; so nothing that a reader can do goes unseen: panic, abort, stack overflow, hang.

use super::counting;
use super::inputs::Kind;
use espalier::Result;
use std::io::{BufRead, BufReader, Read, Write};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a reading process is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// So many looks, 20 seconds, an input is given; looks do not pass while this process is stopped, seconds do.
pub const PATIENCE: u64 = 1000;

/// The most that a reader may hold for a file of `length` bytes.
pub fn bound(length: usize) -> usize {
    4 * length + (64 << 20)
}

/// What readers did with their inputs.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub taken: u64,
    pub refused: u64,
    /// The largest share of its bound that an input needed, and its seed.
    pub share: f64,
    pub seed: u64,
    /// `kind seed: what happened`.
    pub faults: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.taken += other.taken;
        self.refused += other.refused;
        if other.share > self.share {
            (self.share, self.seed) = (other.share, other.seed);
        }
        self.faults.extend(other.faults);
    }
}

/// Reads one input: whether it was taken, and the share of its bound that was needed. An error says what went wrong, that of a
/// reader is none.
pub fn judge(read: impl FnOnce(&[u8]) -> Result<()>, bytes: &[u8]) -> Result<(bool, f64), String> {
    let (result, peak) = counting::peak(|| catch_unwind(AssertUnwindSafe(|| read(bytes))));
    let result = result.map_err(|_| "a panic".to_string())?;
    // The bytes themselves count as well.
    let (held, bound) = (peak + bytes.len(), bound(bytes.len()));
    match held <= bound {
        true => Ok((result.is_ok(), held as f64 / bound as f64)),
        false => Err(format!("{held} bytes held for a file of {}, at most {bound}", bytes.len())),
    }
}

/// The reading process: inputs `first`, `first + step` … below `end`. Each is announced by a line, a fault has another, the last
/// line is the tally.
pub fn child(kind: &Kind, [first, step, end]: [u64; 3]) {
    let folder = tempfile::tempdir().expect("a folder");
    let say = |line: String| std::io::stdout().write_all(line.as_bytes()).expect("someone who listens");
    // A panic that a reader catches itself is one all the same.
    let panics = Arc::new(Mutex::new(0));
    let (count, usual) = (Arc::clone(&panics), panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        *count.lock().expect("a number") += 1;
        usual(info);
    }));
    let mut tally = Tally::default();
    for seed in (first..end).step_by(step as usize) {
        say(format!("at {seed}\n"));
        let bytes = kind.damaged(seed);
        let before = *panics.lock().expect("a number");
        let judged = judge(|bytes| (kind.read)(folder.path(), bytes), &bytes);
        let quiet = *panics.lock().expect("a number") == before;
        match judged.and_then(|found| if quiet { Ok(found) } else { Err("a panic that was caught".into()) }) {
            Err(what) => say(format!("fault {seed} {what}\n")),
            Ok((taken, share)) => {
                let [taken, refused] = [u64::from(taken), u64::from(!taken)];
                tally.add(Tally { taken, refused, share, seed, faults: Vec::new() });
            }
        }
    }
    say(format!("done {} {} {} {}\n", tally.taken, tally.refused, tally.share, tally.seed));
}

/// Runs a process that reads, and goes on behind an input that ended it, for `most` such at most. `command` makes it from the first seed on.
pub fn watch(name: &str, first: u64, step: u64, patience: u64, command: impl Fn(u64) -> Command) -> Tally {
    const MOST: usize = 10;
    let (mut tally, mut next) = (Tally::default(), first);
    while tally.faults.len() < MOST {
        let mut child = command(next).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
        let mut errors = child.stderr.take().expect("its errors");
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            errors.read_to_end(&mut text).map(|_| text).unwrap_or_default()
        });
        let heard = Arc::new(Mutex::new((Tally::default(), None, 0)));
        let ears = listen(child.stdout.take().expect("its words"), name, Arc::clone(&heard));
        let (mut hangs, mut lines, mut looks) = (false, 0, 0);
        let status = loop {
            if let Some(status) = child.try_wait().expect("its state") {
                break status;
            }
            let heard = heard.lock().expect("words").2;
            (looks, lines) = if heard == lines { (looks + 1, lines) } else { (0, heard) };
            hangs = looks > patience;
            if hangs {
                child.kill().expect("killed");
            }
            std::thread::sleep(LOOK);
        };
        ears.join().expect("a listener");
        let errors = String::from_utf8_lossy(&errors.join().expect("a listener")).into_owned();
        let (part, at, _) = heard.lock().expect("words").clone();
        tally.add(part);
        let Some(at) = at else { break }; // it said that it was done
        let last: Vec<&str> = errors.lines().rev().take(3).collect();
        let what = if hangs { "it hangs".into() } else { format!("it ended with {status}: {}", last.join(" / ")) };
        tally.faults.push(format!("{name} {at}: {what}"));
        next = at + step;
    }
    tally
}

/// What was said: the sums, the input that it is at, and how many lines that were.
type Heard = (Tally, Option<u64>, u64);

/// Follows what a reading process says: the input that it is at, until it is done.
fn listen(words: ChildStdout, name: &str, heard: Arc<Mutex<Heard>>) -> std::thread::JoinHandle<()> {
    let name = name.to_string();
    std::thread::spawn(move || {
        for line in BufReader::new(words).lines().map_while(std::result::Result::ok) {
            let mut heard = heard.lock().expect("words");
            heard.2 += 1;
            let mut parts = line.splitn(3, ' ');
            match (parts.next(), parts.next().and_then(|seed| seed.parse().ok()), parts.next()) {
                (Some("at"), Some(seed), None) => heard.1 = Some(seed),
                (Some("fault"), Some(seed), Some(what)) => heard.0.faults.push(format!("{name} {seed}: {what}")),
                (Some("done"), Some(taken), Some(rest)) => {
                    let mut numbers = rest.split(' ').map(|number| number.parse::<f64>().unwrap_or(f64::NAN));
                    let mut number = || numbers.next().unwrap_or(f64::NAN);
                    (heard.0.taken, heard.0.refused) = (taken, number() as u64);
                    (heard.0.share, heard.0.seed, heard.1) = (number(), number() as u64, None);
                }
                _ => heard.0.faults.push(format!("{name}: it said {line:?}")),
            }
        }
    })
}

/// One input again, in this process: `kind seed`. Its bytes are left at `file`.
pub fn replay(kind: &Kind, seed: u64, file: &Path) {
    let (bytes, folder) = (kind.damaged(seed), tempfile::tempdir().expect("a folder"));
    std::fs::write(file, &bytes).expect("written");
    println!("{} {seed}: {} bytes, {}", kind.name, bytes.len(), file.display());
    let mut said = String::new();
    let read = |bytes: &[u8]| {
        let result = (kind.read)(folder.path(), bytes);
        said = format!("{:?}", result.as_ref().map_err(ToString::to_string));
        result
    };
    let judged = judge(read, &bytes);
    println!("{said}\n{judged:?}");
}
