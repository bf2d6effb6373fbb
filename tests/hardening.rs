//! What files can do to the library, and what a dying process or a full disk can do to files: tests that need processes of their
//! own. Arguments select tests by parts of their names; the last line is `N passed, N failed`.
//!
//! A fault is printed as `kind seed`; `ESPALIER_REPLAY="kind seed"` reads that input alone and leaves it in target/tmp.
//! `ESPALIER_FIRST_SEED` moves the seeds, for other inputs than the usual ones.

mod hardening_suite;

use hardening_suite::inputs::Kind;
use hardening_suite::{corpus, counting::Counting, saving, watch};
use std::panic::catch_unwind;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TESTS: [(&str, fn()); 7] = [
    ("bad_readers_are_caught", bad_readers_are_caught),
    ("damaged_files_are_taken_or_refused", damaged_files_are_taken_or_refused),
    ("every_file_of_the_corpus_is_refused_as_it_should_be", corpus::every_file_is_refused_as_it_should_be),
    ("the_program_refuses_in_one_line", corpus::the_program_refuses_in_one_line),
    ("a_killed_process_leaves_whole_files", saving::a_killed_process_leaves_whole_files),
    ("a_full_or_read_only_disk_changes_nothing", saving::a_full_or_read_only_disk_changes_nothing),
    ("a_file_that_may_not_grow_changes_nothing", saving::a_file_that_may_not_grow_changes_nothing),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let numbers = || words[2..].iter().map(|word| word.parse().expect("a number")).collect::<Vec<u64>>();
    match words[..] {
        // Test tools ask every target for its list.
        _ if words.contains(&"--list") => {}
        ["read", kind, ..] => watch::child(&kind_of(kind), numbers().try_into().expect("three numbers")),
        ["save", folder] => saving::save_for_ever(Path::new(folder)),
        ["disk", folder] => saving::fail_to_save(Path::new(folder)),
        _ => return tests(&words),
    }
    ExitCode::SUCCESS
}

fn kind_of(name: &str) -> Kind {
    Kind::named(name).unwrap_or_else(|| panic!("no kind {name}"))
}

fn tests(selected: &[&str]) -> ExitCode {
    if let Some((name, seed)) = std::env::var("ESPALIER_REPLAY").as_deref().ok().and_then(|what| what.split_once(' ')) {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replayed");
        watch::replay(&kind_of(name), seed.parse().expect("a seed"), &file);
        return ExitCode::SUCCESS;
    }
    let selected: Vec<&&str> = selected.iter().filter(|word| !word.starts_with('-')).collect();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS {
        if !selected.is_empty() && selected.iter().all(|part| !name.contains(**part)) {
            continue;
        }
        println!("{name} …");
        let (began, good) = (Instant::now(), catch_unwind(test).is_ok());
        println!("{name} … {} ({:.0} s)", if good { "ok" } else { "FAILED" }, began.elapsed().as_secs_f64());
        if good { passed += 1 } else { failed += 1 }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// This program once more, to do something else.
pub fn this_program(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(arguments).env_remove("ESPALIER_REPLAY");
    command
}

/// Inputs `first`, `first + step` … below `end` of a kind, read by another process.
fn reading(kind: &str, [first, step, end]: [u64; 3]) -> Command {
    let mut command = this_program(&["read", kind, &first.to_string(), &step.to_string(), &end.to_string()]);
    command.env("RAYON_NUM_THREADS", "1");
    command
}

/// Each of these readers does its worst with input 1 of 0 to 3.
fn bad_readers_are_caught() {
    let worst = [
        ("panics", "a panic"),
        ("hides_a_panic", "a panic that was caught"),
        ("hangs", "it hangs"),
        ("hoards", "bytes held for a file of 8, at most 67108896"),
        ("asks_for_all", "signal: 6"),
        ("overflows", "stack overflow"),
        ("aborts", "signal: 6"),
    ];
    for (name, expected) in worst {
        let tally = watch::watch(name, 0, 1, 100, |first| reading(name, [first, 1, 4]));
        let text = format!("{name} 1: ");
        let [fault] = &tally.faults[..] else { panic!("{name}: {tally:?}") };
        assert!(fault.starts_with(&text) && fault.contains(expected), "{fault:?}, expected {expected}");
        assert!(tally.taken >= 2, "{name}: it did not go on: {tally:?}");
    }
}

/// Two processes share the inputs of every kind.
fn damaged_files_are_taken_or_refused() {
    let begin: u64 = std::env::var("ESPALIER_FIRST_SEED").map_or(0, |seed| seed.parse().expect("a seed"));
    let (mut faults, mut inputs) = (Vec::new(), 0);
    for (name, _) in hardening_suite::readers::READERS {
        let (kind, began) = (kind_of(name), Instant::now());
        let end = begin + kind.count;
        let part = |first: u64| watch::watch(name, first, 2, watch::PATIENCE, |next| reading(name, [next, 2, end]));
        let (mut tally, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| part(begin + 1));
            (part(begin), other.join().expect("a part"))
        });
        tally.add(other);
        let (taken, refused, seconds) = (tally.taken, tally.refused, began.elapsed().as_secs_f64());
        let share = 100.0 * tally.share;
        println!(
            "  {name}: {taken} taken, {refused} refused, {seconds:.1} s; at most {share:.0} % of the memory allowed (seed {})",
            tally.seed
        );
        inputs += taken + refused;
        if tally.faults.is_empty() && taken + refused != kind.count {
            faults.push(format!("{name}: inputs are missing"));
        }
        if taken.min(refused) * 50 < kind.count {
            faults.push(format!("{name}: the damage is too small or too large"));
        }
        faults.extend(tally.faults);
    }
    println!("  {inputs} inputs");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
