//! The latency table: between its points, on the disk, and as what a search goes by.

use espalier::models::timetable::{PASSES, Plane, Table, Times};
use espalier::models::{Architecture, Block, cost, zoo};
use espalier::nn::Precision;
use espalier::noise::{Noise, Philox};
use espalier::prune::plan::every_unit;
use espalier::prune::savit::Calibration;
use espalier::prune::savit::search::{self, Options, WINDOW};
use espalier::report::Show;
use espalier::{Device, Error};
use std::fs;

/// A time that rises with both, with steps as kernels have them.
fn stepped(width: f64, units: f64) -> f64 {
    0.3 + 2e-3 * width
        + 1e-3 * units
        + 4e-6 * width * units
        + 0.05 * (units / 96.0).ceil()
        + 0.02 * (width / 80.0).floor()
}

fn plane(widths: &[usize], units: &[usize], f: impl Fn(f64, f64) -> f64) -> Plane {
    let pairs = widths.iter().flat_map(|&width| units.iter().map(move |&unit| (width, unit)));
    let ms = pairs.map(|(width, unit)| f(width as f64, unit as f64)).collect();
    Plane::new(widths.to_vec(), units.to_vec(), ms).unwrap()
}

#[test]
fn a_plane_is_exact_at_its_points_and_rises_between_them() {
    let (widths, units) = ([16, 64, 128, 192, 384], [0, 16, 64, 128, 192, 256, 768]);
    let grid = plane(&widths, &units, stepped);
    for (&width, &unit) in widths.iter().flat_map(|width| units.iter().map(move |unit| (width, unit))) {
        assert_eq!(grid.at(width as f64, unit as f64), stepped(width as f64, unit as f64), "{width} {unit}");
    }
    for step in 0..2000 {
        let (fixed, moving) = (f64::from(step * 7 % 384), f64::from(step) * 0.4);
        assert!(grid.at(fixed, moving) <= grid.at(fixed, moving + 0.4), "{fixed} {moving}");
        assert!(grid.at(moving, fixed) <= grid.at(moving + 0.4, fixed), "{moving} {fixed}");
        let corners = [(64.0, 64.0), (128.0, 128.0)].map(|(width, unit)| grid.at(width, unit));
        let inside = grid.at(64.0 + f64::from(step % 64), 64.0 + f64::from(step % 61));
        assert!((corners[0]..=corners[1]).contains(&inside), "{inside}");
    }
    // bilinear functions come out exactly, the border goes on beyond the grid
    let bilinear = |width: f64, unit: f64| 1.0 + 2.0 * width + 3.0 * unit + 0.5 * width * unit;
    let grid = plane(&[16, 64, 96], &[0, 10, 50], bilinear);
    for (width, unit) in [(17.0, 3.0), (80.0, 49.0), (63.5, 10.25)] {
        assert!((grid.at(width, unit) / bilinear(width, unit) - 1.0).abs() < 1e-12);
    }
    assert_eq!((grid.at(3.0, 10.0), grid.at(200.0, 70.0)), (bilinear(16.0, 10.0), bilinear(96.0, 50.0)));
    // a sample that was disturbed makes nothing cheaper
    let bent = Plane::new(vec![1, 2], vec![0, 1], vec![1.0, 3.0, 2.0, 1.5]).unwrap();
    assert_eq!([bent.at(1.0, 1.0), bent.at(2.0, 0.0), bent.at(2.0, 1.0)], [3.0, 2.0, 3.0]);
    for (widths, units, values) in [(vec![], vec![0], 0), (vec![2, 1], vec![0], 2), (vec![1, 2], vec![0, 1], 3)] {
        assert!(Plane::new(widths, units, vec![1.0; values]).is_err());
    }
}

/// Synthetic times up to `model`'s widths.
fn times(model: &Architecture) -> Times {
    let heads = plane(&[16, 64, 128, 192, 256, 384], &[0, 1, 2, 3, 4, 6], |width, heads| stepped(width, 256.0 * heads));
    let hidden = plane(&[16, 64, 128, 192, 256, 384], &[0, 16, 64, 128, 192, 256, 384, 512, 768, 1024, 1536], stepped);
    let ends = plane(&[16, 64, 128, 192, 256, 384], &[0], |width, _| 0.5 + width * 1e-2);
    assert!(model.embed_dim <= 384);
    Times::new(heads, hidden, ends)
}

#[test]
fn a_model_takes_its_ends_and_its_blocks() {
    let mut model = Architecture::deit(224, 16, 192, 2, 3);
    let times = times(&model);
    let block = |heads: f64, hidden: f64| stepped(192.0, 256.0 * heads) + stepped(192.0, hidden) - stepped(192.0, 0.0);
    let expected = 0.5 + 1.92 + 2.0 * block(3.0, 768.0);
    assert!((times.model(&model) - expected).abs() < 1e-12);
    assert!((times.even(2, [6, 1536, 192]) - expected).abs() < 1e-12);
    model.blocks[0].hidden = 256;
    assert!((times.model(&model) - expected - stepped(192.0, 256.0) + stepped(192.0, 768.0)).abs() < 1e-12);
}

/// Scores that differ much from block to block, so that what is kept is spread unevenly.
fn calibration(model: &Architecture) -> Calibration {
    let noise = Philox { seed: 5, step: 0 };
    let mut vector = 0;
    let scores = every_unit(model).map(|_, units| {
        vector += 1;
        let mut draws = vec![0f32; units.len()];
        noise.uniform("scores", vector, &mut draws).unwrap();
        draws.into_iter().map(|draw| f64::from(draw) / f64::from(vector as u32)).collect()
    });
    let hessian = [[3.0, 0.2, 0.1], [0.0, 2.0, 0.3], [0.0, 0.0, 4.0]];
    Calibration { model: model.clone(), weights: None, scores, hessian }
}

#[test]
fn a_search_for_a_latency_ends_at_or_below_it() {
    let model = Architecture::deit(224, 16, 384, 12, 6);
    let (times, calibration) = (times(&model), calibration(&model));
    let mut uneven = 0;
    for (keep, align) in [(0.5, 1), (0.7, 1), (0.85, 1), (0.6, 8), (0.7, 64)] {
        let options = Options { latency: Some(times.clone()), align, ..Options::keeping(keep) };
        let (plan, found) = search::plan(&calibration, &options).unwrap();
        let small = plan.apply_to(&model).unwrap();
        let share = times.model(&small) / times.model(&model);
        assert!((share - found.share).abs() < 1e-12 && found.macs == cost::macs(&small), "{share} {found:?}");
        let window = if align == 1 { WINDOW } else { 0.05 };
        assert!(share <= keep && share > keep - window, "{share} of {keep}, multiples of {align}");
        let hidden: Vec<usize> = small.blocks.iter().map(|block| block.hidden).collect();
        uneven += usize::from(hidden.iter().max() > hidden.iter().min());
        assert!(align == 1 || hidden.iter().all(|hidden| hidden.is_multiple_of(align)), "{hidden:?}");
    }
    assert!(uneven > 0);
    // the target is a fraction of the milliseconds: the multiply-accumulates are others
    let by_macs = search::plan(&calibration, &Options::keeping(0.5)).unwrap().1;
    assert!((by_macs.share - by_macs.macs as f64 / by_macs.dense_macs as f64).abs() < 1e-12);
    let message = |keep: f64| {
        let options = Options { latency: Some(times.clone()), ..Options::keeping(keep) };
        search::plan(&calibration, &options).unwrap_err().to_string()
    };
    assert!(message(0.01).contains("fraction of milliseconds to keep") && message(0.01).contains("at least 0."));
    for keep in [0.0, 1.0, -1.0, 2.0, f64::NAN] {
        assert!(message(keep).contains("between 0 and 1"), "{keep}");
    }
}

#[test]
fn the_table_is_measured_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("below/table.json");
    let open = || Table::at(Device::Cpu, &path, Show::Quiet).unwrap();
    let tiny = Architecture::deit(32, 16, 64, 2, 1).with_classes(5);
    let mut table = open();
    assert!(table.is_empty() && !path.exists());
    let first = table.predict(&tiny, 2, Precision::F32).unwrap();
    // two equal blocks share a point; the ends are one more
    assert!(first > 0.0 && table.len() == 2, "{first} {}", table.len());
    let mut again = open();
    assert_eq!((again.len(), again.predict(&tiny, 2, Precision::F32).unwrap()), (2, first));
    assert_eq!(again.len(), 2);
    again.times(&tiny, 2, Precision::F32).unwrap();
    // widths 16 and 64; attention (0, 1 heads) and MLP (0, 16, 64, 128, 192, 256 units) share one, ends; and the whole block
    assert_eq!((again.len(), open().len()), (2 * (2 + 5 + 1) + 1, again.len()));
    let larger = again.predict(&tiny, 3, Precision::F32).unwrap();
    assert!(larger > 0.0);
    // damaged, of another form, of another device, or with impossible times: measured anew
    let text = fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let device = json["device"].as_str().unwrap().to_string();
    *json["milliseconds"].as_object_mut().unwrap().values_mut().next().unwrap() = (-1.0).into();
    let cut = text[..text.len() / 2].to_string();
    let impossible = json.to_string();
    for bad in [cut, text.replace(&device, "abacus"), text.replace("\"version\": 1", "\"version\": 9"), impossible] {
        assert_ne!(bad, text);
        fs::write(&path, bad).unwrap();
        let mut table = open();
        assert!(table.is_empty());
        assert!(table.predict(&tiny, 2, Precision::F32).unwrap() > 0.0);
        assert_eq!(open().len(), 2);
    }
}

#[test]
fn a_prediction_is_its_blocks_and_ends_and_lets_others_run_between() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.json");
    let open = || Table::at(Device::Cpu, &path, Show::Quiet).unwrap();
    let one = Architecture::deit(32, 16, 64, 1, 1).with_classes(5);
    let mut three = one.clone();
    three.blocks = vec![one.blocks[0].clone(), Block { hidden: 40, ..one.blocks[0].clone() }, one.blocks[0].clone()];
    let mut calls = 0;
    let mut predict = |table: &mut Table| {
        table.predict_between(&[&one, &three], 2, Precision::F32, &mut || {
            calls += 1;
            Ok(())
        })
    };
    predict(&mut open()).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let points = json["milliseconds"].as_object_mut().unwrap();
    assert_eq!(points.len(), 3);
    for (name, ms) in points {
        *ms = if name.contains("ends") {
            0.5
        } else if name.contains("40 hidden") {
            16.0
        } else {
            2.0
        }
        .into();
    }
    fs::write(&path, json.to_string()).unwrap();
    assert_eq!(predict(&mut open()).unwrap(), [0.5 + 2.0, 0.5 + 2.0 + 16.0 + 2.0]);
    assert_eq!(calls, PASSES, "only while something was measured");
    let stop = || Err(Error::invalid("round", "one that runs", "stopped"));
    let error = open().predict_between(&[&one], 3, Precision::F32, &mut { stop }).unwrap_err();
    assert!(error.to_string().contains("stopped"), "{error}");
}

#[test]
fn measuring_anew_leaves_the_other_points() {
    const OLD: f64 = 12_345.0;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.json");
    let tiny = Architecture::deit(32, 16, 64, 2, 1).with_classes(5);
    let open = || Table::at(Device::Cpu, &path, Show::Quiet).unwrap();
    let json = || -> serde_json::Value { serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap() };
    for batch in [2, 3] {
        open().predict(&tiny, batch, Precision::F32).unwrap();
    }
    let mut old = json();
    old["milliseconds"].as_object_mut().unwrap().values_mut().for_each(|ms| *ms = OLD.into());
    fs::write(&path, old.to_string()).unwrap();
    let mut table = open();
    assert!(table.predict(&tiny, 2, Precision::F32).unwrap() > OLD);
    table.renew();
    let fresh = table.predict(&tiny, 2, Precision::F32).unwrap();
    assert!(fresh > 0.0 && fresh < OLD, "{fresh}");
    let kept = json();
    let points = kept["milliseconds"].as_object().unwrap();
    assert_eq!((points.len(), table.len()), (4, 4));
    for (name, ms) in points {
        assert_eq!(*ms == OLD, name.contains("batch 3"), "{name}: {ms}");
    }
    // once: what was measured anew is known then
    assert_eq!(table.predict(&tiny, 2, Precision::F32).unwrap(), fresh);
    assert_eq!(json(), kept);
}

#[test]
fn other_blocks_have_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = Table::at(Device::Cpu, &folder.path().join("table.json"), Show::Quiet).unwrap();
    let mut mixed = Architecture::deit(32, 16, 64, 2, 1);
    mixed.blocks[0].mixer = espalier::models::Mixer::Attention { heads: 2, head_dim: 32 };
    let [swin, regnet] =
        ["swin_tiny_patch4_window7_224", "regnety_160"].map(|name| zoo::find(name).unwrap().architecture);
    for arch in [swin, regnet, mixed] {
        let error = table.predict(&arch, 1, Precision::F32).unwrap_err();
        assert!(matches!(&error, Error::Invalid { what, .. } if what.contains("latency table")), "{error}");
    }
    assert!(table.predict(&Architecture::deit(32, 16, 64, 0, 1), 1, Precision::F32).is_err());
    assert!(table.is_empty());
}

/// LV-ViT's stem, and blocks without heads or hidden units.
#[test]
fn ends_and_empty_blocks_have_times() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = Table::at(Device::Cpu, &folder.path().join("table.json"), Show::Quiet).unwrap();
    let mut model = Architecture::lvvit(32, espalier::models::Stem::Conv4, 48, 3, 2, 2.0).with_classes(5);
    let whole = table.predict(&model, 1, Precision::F32).unwrap();
    let empty = |block: &mut Block| {
        *block =
            Block { mixer: espalier::models::Mixer::Attention { heads: 0, head_dim: 24 }, hidden: 0, ..block.clone() }
    };
    model.blocks.iter_mut().for_each(empty);
    let less = table.predict(&model, 1, Precision::F32).unwrap();
    assert!(less > 0.0 && less <= whole, "{less} {whole}");
}

#[test]
#[cfg(feature = "sim")]
fn the_simulated_gpu_has_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.json");
    let mut table = Table::at(Device::CudaSim, &path, Show::Quiet).unwrap();
    let tiny = Architecture::deit(32, 16, 16, 1, 1).with_classes(3);
    for precision in [Precision::F32, Precision::Bf16] {
        assert!(table.predict(&tiny, 1, precision).unwrap() > 0.0);
    }
    assert!(Table::at(Device::Cpu, &path, Show::Quiet).unwrap().is_empty());
}
