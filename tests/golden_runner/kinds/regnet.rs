//! RegNetY in evaluation, from the numbers of its width rule.

use super::super::case::Case;
use super::super::produced::Produced;
use super::parts::{self, Outcome, Taps, put, tensor};
use espalier::models::{Mixer, Model, regnet::WidthRule};
use espalier::nn::{Mode, Site};
use espalier::{Tensor, ops};
use serde_json::json;

/// Logits and maps of every stage, from the model as it is and with BatchNorm folded; stages and widths of the rule.
pub fn regnety(case: &Case) -> Outcome<Produced> {
    let (size, number) = (|key: &str| case.config_usize(key), |key: &str| case.config_f64(key));
    let rule = WidthRule {
        w0: number("w0")?,
        wa: number("wa")?,
        wm: number("wm")?,
        group_width: size("group_w")?,
        depth: size("depth")?,
        se_ratio: number("se_ratio")?,
        stem_width: size("stem_width")?,
    };
    let arch = rule.architecture(size("img_size")?).with_classes(size("num_classes")?);
    let mut params = parts::params(case, "param/")?;
    for slot in Model::layout(&arch).slots {
        // Some cases leave the counts of batches out, which evaluation does not read.
        if slot.name.ends_with(".num_batches_tracked") && params.find(&slot.name).is_none() {
            params.insert(slot.name, Tensor::from_slice([], &[0f32])?.to_device(parts::device()?)?);
        }
    }
    let model = Model::new(arch, params, case.name())?;
    let images = if case.has("in/x") { tensor(case, "in/x")? } else { tensor(case, "in/images")? };
    let logits = model.predict(&images)?;
    let folded = model.fold_batchnorm()?.predict(&images)?.to_f64s()?;
    let gap = folded.iter().zip(logits.to_f64s()?).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let top = folded.iter().fold(1.0, |top: f64, v| top.max(v.abs()));
    if gap > 1e-5 * top {
        return Err(format!("folding BatchNorm moves the logits by {gap:e}").into());
    }
    let mut produced = Produced::new();
    put(&mut produced, "out/logits", &logits);
    if case.has("out/hard_label") {
        let labels: Vec<i64> = ops::argmax(&logits)?.into_iter().map(|label| label as i64).collect();
        produced.put_integers("out/hard_label", &[labels.len()], &labels);
    }
    let taps = Taps::of(&model, Mode::eval(), &images)?;
    for (name, site) in sites(&model) {
        if case.has(&name) {
            put_map(&mut produced, &name, taps.get(&site).ok_or("a value that was not tapped")?)?;
        }
    }
    if case.maybe("/block_widths").is_some() {
        produced.put_json("block_widths", json!((0..rule.depth).map(|block| rule.width(block)).collect::<Vec<_>>()));
    }
    if case.maybe("/stages").is_some() {
        produced.put_json("stages", stages(&model));
    }
    Ok(produced)
}

/// The values that cases record: the stem, the last block of each stage, two places in the first block.
fn sites(model: &Model) -> Vec<(String, Site)> {
    let mut sites = vec![
        ("out/stem".to_owned(), Site::PatchEmbed),
        ("out/s1.b1.conv2".to_owned(), Site::Grouped(0)),
        ("out/s1.b1.se".to_owned(), Site::Excited(0)),
    ];
    let mut blocks = 0;
    for (s, stage) in model.arch().stages.iter().enumerate() {
        blocks += stage.depth;
        sites.push((format!("out/s{}", s + 1), Site::Block(blocks - 1)));
    }
    sites
}

fn stages(model: &Model) -> serde_json::Value {
    let (arch, mut first) = (model.arch(), 0);
    let stage = arch.stages.iter().map(|stage| {
        let group_width = match arch.blocks[first].mixer {
            Mixer::Bottleneck { group_width, .. } => group_width,
            _ => 0,
        };
        first += stage.depth;
        json!({"out_chs": stage.embed_dim, "stride": 2, "dilation": 1, "depth": stage.depth, "bottle_ratio": 1.0,
               "group_width": group_width})
    });
    stage.collect()
}

/// Tokens `[B, side², C]` as the cases keep maps, `[B, C, side, side]`.
pub fn put_map(produced: &mut Produced, name: &str, tokens: &Tensor) -> Outcome<()> {
    let ([batch, count, width], values) = ([0, 1, 2].map(|axis| tokens.dim(axis)), tokens.to_f64s()?);
    let side = (count as f64).sqrt() as usize;
    let at = |i: usize| (i / (width * count) * count + i % count) * width + i / count % width;
    produced.put(name, &[batch, width, side, side], (0..values.len()).map(|i| values[at(i)]).collect());
    Ok(())
}
