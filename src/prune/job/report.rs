//! The table, the pictures and the words at the end of a job.

use super::{Candidate, Job, blank};
use crate::models::{Architecture, Model, cost};
use crate::report::table::{bytes, count, spread};
use crate::report::{Rival, Table, Timing, interleaved, structure_svg};
use crate::train::{Accuracy, Evaluation};
use crate::{Error, Result};
use serde::Serialize;

/// Images per second of one model.
#[derive(Debug, Clone, Serialize)]
pub struct Speed {
    /// At batch 1.
    pub single: Timing,
    /// At batch 32.
    pub batch: Timing,
}

/// Everything the report says of one model.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// `dense`, `savit`, `random`.
    pub name: String,
    /// Before fine-tuning, for pruned ones.
    pub before: Option<Accuracy>,
    /// As delivered.
    pub accuracy: Accuracy,
    /// Percent of the test images on which it agrees with the dense model.
    pub agreement: f64,
    /// Parameters.
    pub params: u64,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Size of the checkpoint in bytes.
    pub file: u64,
    /// Images per second.
    pub speed: Speed,
    /// Time of the dense model over this one's at batch 32.
    pub speed_up: f64,
    /// Dense multiply-accumulates over this model's.
    pub macs_saved: f64,
}

const BATCH: usize = 32;

impl Job {
    /// Measures, writes `report.md`, `report.json` and the pictures, and returns the table's text.
    pub fn report(&self, dense: &Model, evaluation: &Evaluation, candidates: &[Candidate]) -> Result<String> {
        dense.save(self.folder.file("dense.safetensors")?, "dense")?;
        let mut models = vec![("dense", dense, None, evaluation)];
        models.extend(candidates.iter().map(|c| (c.name.as_str(), &c.model, Some(c.before.accuracy), &c.after)));
        let named: Vec<(&str, &Model)> = models.iter().map(|(name, model, ..)| (*name, *model)).collect();
        let speeds = self.measure(&named)?;
        let (dense_time, dense_macs) = (1.0 / speeds[0].batch.median, cost::macs(dense.arch()));
        let mut rows = Vec::new();
        for ((name, model, before, after), speed) in models.into_iter().zip(speeds) {
            let path = self.folder.file(&format!("{name}.safetensors"))?;
            let file = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
            let macs = cost::macs(model.arch());
            rows.push(Row {
                name: name.to_string(),
                before,
                accuracy: after.accuracy,
                agreement: after.agreement(evaluation),
                params: cost::params(model.arch()),
                macs,
                file,
                speed_up: dense_time * speed.batch.median,
                macs_saved: dense_macs as f64 / macs.max(1) as f64,
                speed,
            });
        }
        self.folder.write_json("report.json", &rows)?;
        if let Some(candidate) = candidates.first() {
            self.folder.write_text("structure.svg", &structure(dense.arch(), candidate.model.arch()))?;
        }
        self.folder.curves()?;
        let table = table(&rows);
        self.folder.write_text("report.md", &self.markdown(&table, candidates)?)?;
        Ok(table.text())
    }

    /// Images per second at batch 1 and 32, all models in turn within each round.
    pub fn measure(&self, models: &[(&str, &Model)]) -> Result<Vec<Speed>> {
        let time = |batch: usize| -> Result<Vec<Timing>> {
            let mut rivals: Vec<Rival> = Vec::new();
            for &(name, model) in models {
                let images = blank(model, batch);
                rivals.push((name, Box::new(move || model.predict(&images).map(drop))));
            }
            let timings = interleaved(&mut rivals, self.options.rounds, 2)?;
            Ok(timings.iter().map(|timing| timing.per_second(batch)).collect())
        };
        let (single, batch) = (time(1)?, time(BATCH)?);
        Ok(single.into_iter().zip(batch).map(|(single, batch)| Speed { single, batch }).collect())
    }

    fn markdown(&self, table: &Table, candidates: &[Candidate]) -> Result<String> {
        let mut text = format!(
            "# SAViT, target {:.1} % of the {}\n\nData: {}. Seed {}.\n\n{}\n",
            100.0 * self.options.target_flops,
            if self.options.compat.is_some() { "official surrogate count" } else { "multiply-accumulates" },
            self.data.name,
            self.options.seed,
            table.markdown()
        );
        text += "\n`random`: the same number of heads, hidden units and channels, drawn at random, fine-tuned the same \
                 way. Speed: images per second, median and the range from the 5th to the 95th percentile, all models in \
                 turn within each round.\n\n![structure](structure.svg)\n\n![curves](curves.svg)\n\n";
        for candidate in candidates {
            let kept = candidate.plan.kept()?.totals();
            let [heads, hidden, embed] = kept;
            text += &format!("- {}: {heads} heads, {hidden} hidden units, {embed} channels kept\n", candidate.name);
        }
        Ok(text)
    }
}

/// The closing table.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "model",
        "top-1 cut",
        "top-1",
        "top-5",
        "agrees",
        "params",
        "MACs",
        "file",
        "img/s b1",
        "img/s b32",
        "speed-up",
        "MACs saved",
    ]);
    for row in rows {
        let speed = |timing: &Timing| spread(timing.median, timing.p5, timing.p95);
        table.row([
            row.name.clone(),
            row.before.map_or("-".into(), |before| format!("{:.2}", before.top1)),
            format!("{:.2}", row.accuracy.top1),
            format!("{:.2}", row.accuracy.top5),
            format!("{:.1}", row.agreement),
            count(row.params),
            count(row.macs),
            bytes(row.file),
            speed(&row.speed.single),
            speed(&row.speed.batch),
            format!("{:.2}x", row.speed_up),
            format!("{:.2}x", row.macs_saved),
        ]);
    }
    table
}

/// Heads and widths kept per block.
fn structure(dense: &Architecture, small: &Architecture) -> String {
    let heads = |arch: &Architecture| arch.blocks.iter().map(|block| block.heads()).collect::<Vec<_>>();
    let hidden = |arch: &Architecture| arch.blocks.iter().map(|block| block.hidden).collect::<Vec<_>>();
    let (heads, hidden) = ([dense, small].map(heads), [dense, small].map(hidden));
    structure_svg([&heads[0], &heads[1]], [&hidden[0], &hidden[1]], [dense.embed_dim, small.embed_dim])
}
