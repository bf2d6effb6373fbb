//! Tables, pictures, run folders, progress and timings, as a user of the crate sees them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use espalier::report::bench::{Rival, Timing, interleaved, percentile};
use espalier::report::progress::{Progress, Show, Unit, state_line};
use espalier::report::run::{LOG, RunFolder, curves_svg, read_log};
use espalier::report::structure_svg;
use espalier::report::svg::{Lines, document};
use espalier::report::table::{Table, bytes, count, duration, shorten, spread};
use espalier::{Error, Result};
use serde_json::{Value, json};

/// Whether every element is closed in order, every attribute quoted and every `&` an entity.
fn well_formed(xml: &str) -> std::result::Result<(), String> {
    let (mut open, mut rest, mut roots) = (Vec::new(), xml, 0);
    while let Some(start) = rest.find('<') {
        text(&rest[..start])?;
        let end = rest[start..].find('>').ok_or("a tag does not end")? + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let last = open.pop();
            (last == Some(name)).then_some(()).ok_or(format!("</{name}> closes {last:?}"))?;
            continue;
        }
        let (body, closed) = tag.strip_suffix('/').map_or((tag, false), |body| (body, true));
        let name = body.split_ascii_whitespace().next().ok_or("an empty tag")?;
        let attributes: Vec<&str> = body[name.len()..].split('"').collect();
        (attributes.len() % 2 == 1 && attributes[attributes.len() - 1].trim().is_empty())
            .then_some(())
            .ok_or(format!("quotes in <{tag}>"))?;
        for pair in attributes.chunks_exact(2) {
            let key = pair[0].strip_suffix('=').ok_or(format!("no = in <{tag}>"))?;
            let named = key.starts_with(' ') && key.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            (named && key.trim() != "").then_some(()).ok_or(format!("attribute {key:?} in <{tag}>"))?;
            text(pair[1])?;
        }
        roots += usize::from(open.is_empty());
        if !closed {
            open.push(name);
        }
    }
    (open.is_empty() && roots == 1 && rest.trim().is_empty()).then_some(()).ok_or(format!("left open: {open:?}"))
}

fn text(text: &str) -> std::result::Result<(), String> {
    let entities = ["amp;", "lt;", "gt;", "quot;", "#39;"];
    let control = text.chars().any(|c| c.is_control() && c != '\n');
    let loose = text.split('&').skip(1).any(|tail| !entities.iter().any(|entity| tail.starts_with(entity)));
    if control || loose { Err(format!("text {text:?}")) } else { Ok(()) }
}

/// Checks a picture and leaves it where a person can look at it.
fn check(name: &str, svg: &str) {
    well_formed(svg).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}: a coordinate is not finite");
    fs::write(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name), svg).unwrap();
}

fn tags(svg: &str, tag: &str) -> usize {
    svg.matches(tag).count()
}

#[test]
fn the_check_of_pictures_finds_faults() {
    for bad in
        ["<a>", "<a></b>", "<a x=1/>", "<a>&</a>", "<a/><b/>", "<a x=\"1\"y=\"2\"/>", "<a", "<a/>x", "", "<a>\u{1}</a>"]
    {
        assert!(well_formed(bad).is_err(), "{bad}");
    }
    assert_eq!(well_formed("<a x=\"&lt;\" y-z=\"\"><b/>t &amp; u</a>\n"), Ok(()));
}

#[test]
fn a_table_is_aligned_and_escaped() {
    let mut table = Table::new(&["model", "MACs", "img/s"]);
    table.row(["dense", "4.61 G", "–"]).row(["a|b\n<c>", "640", "12.5"]).row(["short"]);
    let text =
        "model      MACs  img/s\n───────  ──────  ─────\ndense    4.61 G      –\na|b <c>     640   12.5\nshort\n";
    assert_eq!(table.text(), text);
    let lines: Vec<String> = table.markdown().lines().map(str::to_string).collect();
    assert_eq!(lines[0], "| model       | MACs   | img/s |".replace("MACs  ", "  MACs"));
    assert_eq!(lines[1], "| :---------- | -----: | ----: |");
    assert_eq!(lines[3], "| a\\|b &lt;c> |    640 |  12.5 |");
    assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()));
    assert_eq!((Table::new(&["a"]).text().as_str(), Table::new(&["a"]).markdown().lines().count()), ("a\n─\n", 2));
}

#[test]
fn long_texts_are_cut_between_characters() {
    assert_eq!(["größer", "größe", "gr", ""].map(|text| shorten(text, 5)), ["größ…", "größe", "gr", ""]);
}

#[test]
fn numbers_keep_three_digits() {
    let counts = [0, 640, 999, 1000, 5_717_416, 21_400_000, 999_499, 999_500, 1_254_000_000, u64::MAX];
    let texts = ["0", "640", "999", "1.00 k", "5.72 M", "21.4 M", "999 k", "1.00 M", "1.25 G", "18.4 E"];
    assert_eq!(counts.map(count), texts);
    assert_eq!([640, 9_996, 21_400_000].map(bytes), ["640 B", "10.0 kB", "21.4 MB"]);
    let times = [250e-9, 12e-6, 8.4e-3, 0.99999, 1.25, 59.99, 185.0, 3599.9, 3720.0].map(Duration::from_secs_f64);
    let texts =
        ["250 ns", "12.0 µs", "8.40 ms", "1.00 s", "1.25 s", "1 min 00 s", "3 min 05 s", "1 h 00 min", "1 h 02 min"];
    assert_eq!(times.map(duration), texts);
    assert_eq!(
        (spread(12.34, 11.8, 14.06), spread(231.4, 200.0, 1000.0)),
        ("12.3 11.8–14.1".into(), "231 200–1000".into())
    );
}

#[test]
fn curves_are_well_formed_and_deterministic() {
    let mut loss = Lines::new("Loss", "step");
    let mut lr = Lines::new("Learning rate", "step");
    for step in 0..200 {
        let x = step as f64;
        loss.push("dense", x, 2.3 * (-x / 60.0).exp() + 0.2 + 0.05 * (x * 1.7).sin());
        loss.push("fine-tuning", x, if step == 120 { f64::NAN } else { 0.9 * (-x / 40.0).exp() + 0.15 });
        lr.push("lr", x, if step < 20 { 1e-3 * x / 20.0 } else { 1e-5 + 1e-3 * (1.0 + (x / 63.6).cos()) / 2.0 });
    }
    let svg = document(&[loss.panel(), lr.panel()]);
    assert_eq!(svg, document(&[loss.panel(), lr.panel()]));
    check("curves_demo.svg", &svg);
    assert_eq!((tags(&svg, "H696\"/>") - tags(&svg, "class=\"grid\""), tags(&svg, "class=\"line\"")), (2, 3));
    assert_eq!(tags(&svg, "class=\"bad\""), 1, "one NaN of the loss");
}

#[test]
fn no_values_break_a_plot() {
    let odd =
        [0.0, -0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e308, 5e-324, 1e16, 1e16 + 2.0];
    for (at, &a) in odd.iter().enumerate() {
        for &b in &odd {
            let mut plot = Lines::new("odd", "x");
            plot.push("values", a, b);
            plot.push("values", b, a);
            plot.push("other", 1.0, b);
            check(&format!("odd_{at}.svg"), &document(&[plot.panel()]));
        }
    }
    let mut empty = Lines::new("a < b & \"c\" \u{7}", "");
    empty.series.push(("no points, and a name much longer than any legend has room for".into(), vec![]));
    check("empty.svg", &document(&[empty.panel()]));
    assert!(document(&[empty.panel()]).contains("no data"));
    check("nothing.svg", &document(&[]));
}

#[test]
fn long_curves_are_thinned_but_keep_their_extremes() {
    let value = |step: usize| if step == 54_321 { 9.0 } else { (step as f64 * 0.01).sin() };
    let mut plot = Lines::new("long", "step");
    plot.series.push(("loss".into(), (0..100_000).map(|step| (step as f64, value(step))).collect()));
    let svg = document(&[plot.panel()]);
    check("long.svg", &svg);
    assert!(svg.len() < 60_000, "{} bytes", svg.len());
    let top =
        svg.split(['M', 'L', '"']).filter_map(|point| point.split_once(' ')?.1.parse::<f64>().ok()).fold(1e9, f64::min);
    assert!(top < 100.0, "the peak is at {top}");
}

#[test]
fn a_structure_shows_every_block() {
    let hidden = [1067, 980, 1200, 1400, 1536, 700, 640, 900, 512, 400, 80, 0];
    let svg = structure_svg([&[6; 12], &[3, 4, 6, 5, 5, 4, 4, 3, 3, 2, 1, 0]], [&[1536; 12], &hidden], [384, 300]);
    check("structure_demo.svg", &svg);
    assert!(svg.contains("Heads: 40 of 72 kept (56 %)") && svg.contains("300 of 384 kept (78 %)"));
    assert_eq!(tags(&svg, "class=\"cell\""), 40 + 11 + 1);
    check(
        "structure_swin.svg",
        &structure_svg(
            [&[3, 3, 6, 6, 12, 12, 12, 12, 24, 24], &[2, 3, 5, 6, 9, 8, 12, 11, 20, 1]],
            [&[384; 24], &[200; 24]],
            [96, 96],
        ),
    );
    check("structure_odd.svg", &structure_svg([&[], &[2]], [&[0, 0], &[]], [0, 0]));
    check("structure_wide.svg", &structure_svg([&[16; 60], &[9; 60]], [&[4096; 60], &[1000; 60]], [1024, 2000]));
}

#[test]
fn a_run_folder_overwrites_nothing_and_survives_a_cut() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let wanted = dir.path().join("runs/first");
    let run = RunFolder::create(&wanted)?;
    assert_eq!(run.path(), wanted);
    assert_eq!(RunFolder::create(&wanted)?.path(), dir.path().join("runs/first-2"));
    assert_eq!(RunFolder::create(&wanted)?.path(), dir.path().join("runs/first-3"));
    run.write_json("config.json", &json!({"seed": 1}))?;
    run.write_text("config.json", "new")?;
    assert_eq!(fs::read_to_string(run.file("config.json")?).unwrap(), "new");
    run.log(&json!({"step": 0, "loss": 2.5}))?;
    run.log(&json!({"step": 1, "loss": f64::NAN}))?;
    fs::write(run.file(LOG)?, [fs::read(run.file(LOG)?).unwrap(), b"{\"step\": 2, \"lo\xc3".to_vec()].concat())
        .unwrap();
    let records = [json!({"step": 0, "loss": 2.5}), json!({"step": 1, "loss": null})];
    assert_eq!(read_log(run.file(LOG)?)?, records);
    run.curves()?;
    check("curves.svg", &fs::read_to_string(run.file("curves.svg")?).unwrap());
    let mut names: Vec<_> = fs::read_dir(run.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "curves.svg", "log.jsonl"], "no temporary file stays");
    Ok(())
}

#[test]
fn a_bad_run_folder_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "kept").unwrap();
    let error = RunFolder::create(file.join("run")).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("file"), "{error}");
    assert!(matches!(RunFolder::create(dir.path().join("..")), Err(Error::Invalid { .. })));
    let run = RunFolder::create(dir.path().join("run")).unwrap();
    for name in ["../file", "/tmp/x", "", "."] {
        assert!(run.write_text(name, "").is_err(), "{name}");
    }
    fs::create_dir(run.path().join("taken")).unwrap();
    assert!(run.write_text("taken", "text").is_err());
    fs::write(run.path().join(LOG), "{\"step\": 1}\n{broken\n{\"step\": 2}\n").unwrap();
    let error = read_log(run.path().join(LOG)).unwrap_err().to_string();
    assert!(error.contains("log.jsonl line 2"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}

#[test]
fn curves_split_by_stage_and_quantity() {
    let mut log: Vec<Value> = Vec::new();
    for (stage, steps) in [("dense", 30), ("fine-tuning", 20)] {
        for step in 0..steps {
            let lr = 1e-3 * (1.0 - step as f64 / steps as f64);
            log.push(json!({"stage": stage, "step": step, "loss": 2.0 / (step + 1) as f64, "lr": lr, "other": 1}));
        }
        log.push(json!({"stage": stage, "epoch": 1, "top1": 50.0, "top5": 90.0}));
        log.push(json!({"stage": stage, "epoch": 2, "top1": 80.0, "top5": 97.0}));
    }
    let svg = curves_svg(&log);
    check("curves_log.svg", &svg);
    for name in ["loss (dense)", "lr (fine-tuning)", "top1 (dense)", ">epoch<", ">step<"] {
        assert!(svg.contains(name), "{name}");
    }
    assert!(!svg.contains("other"));
    check("curves_none.svg", &curves_svg(&[json!(3), json!({"loss": "text"})]));
}

#[test]
fn rivals_take_turns() {
    let order = std::cell::RefCell::new(String::new());
    let rival = |name: &'static str| -> Rival<'_> {
        let order = &order;
        let run = move || {
            order.borrow_mut().push_str(name);
            Ok(())
        };
        (name, Box::new(run))
    };
    let mut rivals = [rival("a"), rival("b"), rival("c")];
    let timings = interleaved(&mut rivals, 3, 1).unwrap();
    assert_eq!(order.borrow().as_str(), "abcbcacababc");
    assert!(
        timings
            .iter()
            .all(|timing| timing.samples.len() == 3 && timing.p5 <= timing.median && timing.median <= timing.p95)
    );
    assert!(interleaved(&mut rivals, 0, 1).is_err() && interleaved(&mut rivals, usize::MAX, 2).is_err());
    assert!(interleaved(&mut [], 3, 1).unwrap().is_empty());
    let mut failing: [Rival<'_>; 1] = [("bad", Box::new(|| Err(Error::invalid("it", "good", "bad"))))];
    assert!(interleaved(&mut failing, 1, 0).is_err());
}

#[test]
fn percentiles_interpolate() {
    let samples: Vec<f64> = (0..=20).rev().map(f64::from).collect();
    assert_eq!([0.0, 0.05, 0.5, 0.95, 1.0, 7.0].map(|q| percentile(&samples, q)), [0.0, 1.0, 10.0, 19.0, 20.0, 20.0]);
    assert_eq!((percentile(&[1.0, 2.0], 0.25), percentile(&[3.0], 0.9)), (1.25, 3.0));
    assert!(percentile(&[], 0.5).is_nan());
    let timing = Timing::new("it", vec![10.0, 20.0, 40.0]);
    assert_eq!(
        (timing.median, timing.per_second(32).median, timing.to_string().as_str()),
        (20.0, 1600.0, "20.0 11.0–38.0")
    );
}

#[test]
fn progress_says_speed_and_time_left() {
    let line = state_line("train", Unit::Images, 300, 1200, Duration::from_secs(3), "loss 2.30");
    assert_eq!(line, "train: 300/1200 (25 %), 100 img/s, 9.00 s left, loss 2.30");
    assert_eq!(state_line("train", Unit::Images, 0, 0, Duration::from_secs(2), ""), "train: 0/0 (100 %), took 2.00 s");
    assert_eq!(state_line("train", Unit::Images, 0, 9, Duration::ZERO, ""), "train: 0/9 (0 %)");
    let line = state_line("fetch", Unit::Bytes, 6_000_000, 24_000_000, Duration::from_secs(3), "");
    assert_eq!(line, "fetch: 6.00 MB/24.0 MB (25 %), 2.00 MB/s, 9.00 s left");
    let line = state_line("fetch", Unit::Bytes, 6_000_000, 0, Duration::from_secs(3), "");
    assert_eq!(line, "fetch: 6.00 MB, 2.00 MB/s, took 3.00 s");
    let progress = Progress::with(10, "quiet", Show::Quiet);
    progress.inc(4);
    progress.message("loss 1");
    assert!(
        progress.line().starts_with("quiet: 4/10 (40 %)") && progress.line().ends_with("loss 1"),
        "{}",
        progress.line()
    );
    assert_eq!(Show::detect(true), Show::Quiet);
}
