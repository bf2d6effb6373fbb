//! What happens to files when the process that writes them is killed, the disk is full or nothing may be written. The processes
//! are real ones, and so are signals and disks.

use crate::this_program;
use espalier::models::{Architecture, Model};
use espalier::noise::Philox;
use espalier::{Error, Result, io};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const KILLS: usize = 200;
/// Different models that are saved over each other.
const STATES: u64 = 4;
const NAME: &str = "model.safetensors";
const PTH: &str = "model.pth";

fn state(seed: u64) -> Model {
    Model::init(Architecture::deit(32, 8, 96, 3, 3).with_classes(10), seed).expect("a model")
}

/// Saves one model after another in both formats until it is killed.
pub fn save_for_ever(folder: &Path) {
    let states: Vec<Model> = (0..STATES).map(state).collect();
    for model in states.iter().cycle() {
        model.save(folder.join(NAME), "dense").and_then(|()| model.save_pth(folder.join(PTH))).expect("saved");
    }
}

/// The names of what is in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Killed with SIGKILL at 200 random moments, a process that saves leaves whole files each time: one of the states, byte by byte.
/// Of the halves that it leaves each next save removes those before.
pub fn a_killed_process_leaves_whole_files() {
    // In memory if may be: a kill, other than a fall of the power, does not depend on what has reached the disk.
    let memory = Path::new("/dev/shm");
    let temporary = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
    let own = tempfile::tempdir().expect("a folder");
    let folder = temporary.path();
    let saved = |seed: u64| -> [Vec<u8>; 2] {
        state(seed).save(own.path().join(NAME), "dense").expect("saved");
        state(seed).save_pth(own.path().join(PTH)).expect("saved");
        [NAME, PTH].map(|name| fs::read(own.path().join(name)).expect("a file"))
    };
    let whole: Vec<[Vec<u8>; 2]> = (0..STATES).map(saved).collect();
    state(0).save(folder.join(NAME), "dense").and_then(|()| state(0).save_pth(folder.join(PTH))).expect("saved");
    let (mut moments, mut halves, mut most, mut seen) = (Philox { seed: 7, step: 0 }.stream("kill", 0), 0, 0, [0; 4]);
    for kill in 0..KILLS {
        let changed = || fs::metadata(folder.join(PTH)).and_then(|found| found.modified()).expect("its time");
        let before = changed();
        let mut child = this_program(&["save", &folder.display().to_string()]).spawn().expect("a process");
        // Half of the kills come while it saves over what it saved itself.
        while kill % 2 == 0 && changed() == before && child.try_wait().expect("its state").is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(moments.below(30_000) as u64));
        assert!(child.try_wait().expect("its state").is_none(), "it ended before it could be killed");
        child.kill().and_then(|()| child.wait()).expect("killed");
        for (at, name) in [NAME, PTH].into_iter().enumerate() {
            let found = fs::read(folder.join(name)).expect("a file");
            let which = whole.iter().position(|states| states[at] == found);
            seen[which.unwrap_or_else(|| panic!("kill {kill}: {name} is none of the states"))] += 1;
            io::read(folder.join(name)).unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        }
        let left = names(folder).len() - 2;
        (halves, most) = (halves + usize::from(left > 0), most.max(left));
    }
    println!("  {KILLS} kills: {halves} left a half file, {most} at once at most; states seen {seen:?}");
    assert!(halves > KILLS / 10, "the kills came when nothing was being saved");
    assert!(most <= 2, "half files pile up");
    assert!(seen.iter().filter(|count| **count > 0).count() >= 3, "always the same state: {seen:?}");
    state(0).save(folder.join(NAME), "dense").and_then(|()| state(0).save_pth(folder.join(PTH))).expect("saved");
    assert_eq!(names(folder), [PTH, NAME], "half files stay");
}

/// Tries to save in three ways what does not fit, over files that are there, and says what came of it. A process of its own,
/// because the disk is its own, too.
pub fn fail_to_save(folder: &Path) {
    let large = Model::init(Architecture::deit(32, 8, 192, 6, 3).with_classes(10), 1).expect("a model");
    let before: Vec<(String, Vec<u8>)> =
        names(folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).expect("a file"))).collect();
    assert!(before.len() >= 3, "the old files are there: {before:?}");
    let big = "x".repeat(8 << 20);
    let text = |path: &Path| io::write_atomic(path, |file| std::io::Write::write_all(file, big.as_bytes()));
    type Save<'a> = &'a dyn Fn(&Path) -> Result<()>;
    let saves: [(&str, Save); 3] =
        [(NAME, &|path| large.save(path, "dense")), (PTH, &|path| large.save_pth(path)), ("plan.json", &text)];
    for (name, save) in saves {
        let path = folder.join(name);
        match save(&path) {
            Err(error @ Error::Io { .. }) if error.to_string().contains(name) => println!("refused: {error}"),
            Err(error) => panic!("{name}: another error: {error}"),
            Ok(()) => panic!("{name} was written"),
        }
        let after: Vec<(String, Vec<u8>)> = names(folder)
            .into_iter()
            .map(|name| (name.clone(), fs::read(folder.join(name)).expect("a file")))
            .collect();
        assert!(after == before, "{name}: the folder changed: {:?}", names(folder));
    }
}

/// The old files of [`fail_to_save`].
fn old_files(folder: &Path) {
    let small = Model::init(Architecture::deit(8, 4, 8, 1, 2).with_classes(3), 1).expect("a model");
    small.save(folder.join(NAME), "dense").and_then(|()| small.save_pth(folder.join(PTH))).expect("saved");
    fs::write(folder.join("plan.json"), "{}").expect("written");
}

/// Runs a line of shell that ends in [`fail_to_save`]; what it said, or its errors.
fn shell(program: &[&str], line: &str, folder: &Path) -> Result<String, String> {
    let own = std::env::current_exe().expect("this program");
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(["sh", "-c", line, "sh"]).arg(own).arg(folder);
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let [said, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() { Ok(said) } else { Err(format!("{}: {said}{errors}", output.status)) }
}

fn check(said: &str, words: &str) {
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("refused: ")).collect();
    assert!(lines.len() == 3 && lines.iter().all(|line| line.contains(words)), "{said}");
    println!("  {}", lines[0]);
}

/// On a disk of its own of one megabyte that is full, and on one that is read-only. Where no disk may be mounted that is said;
/// the limit of [`a_file_that_may_not_grow_changes_nothing`] makes a real error of writing anywhere.
pub fn a_full_or_read_only_disk_changes_nothing() {
    let temporary = tempfile::tempdir().expect("a folder");
    let (disk, old) = (temporary.path().join("disk"), temporary.path().join("old"));
    fs::create_dir(&disk).and_then(|()| fs::create_dir(&old)).expect("folders");
    old_files(&old);
    let ways: [&[&str]; 2] = [&["unshare", "-m"], &["unshare", "-Urm"]];
    let Some(way) = ways.into_iter().find(|way| shell(way, "mount -t tmpfs -o size=1m none \"$2\"", &disk).is_ok())
    else {
        println!("  NOT CHECKED: no disk may be mounted here (neither as this user nor in a namespace of its own)");
        return;
    };
    let mounted = "mount -t tmpfs -o size=1m none \"$2\" && cp \"$2\"/../old/* \"$2\"";
    let full = shell(way, &format!("{mounted} && exec \"$1\" disk \"$2\""), &disk);
    check(&full.unwrap_or_else(|what| panic!("full: {what}")), "No space left");
    let sealed = shell(way, &format!("{mounted} && mount -o remount,ro \"$2\" && exec \"$1\" disk \"$2\""), &disk);
    check(&sealed.unwrap_or_else(|what| panic!("read-only: {what}")), "Read-only file system");
}

/// In a process whose files may not be larger than 256 KiB.
pub fn a_file_that_may_not_grow_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    old_files(folder.path());
    // without the trap the signal ends the process before the call returns
    let line = "trap '' XFSZ; ulimit -f 512 && exec \"$1\" disk \"$2\"";
    let said = shell(&["env"], line, folder.path());
    check(&said.unwrap_or_else(|what| panic!("{what}")), "File too large");
}
