//! The table, the pictures and the words at the end of a job.

use super::{Candidate, Job, JobOptions};
use crate::models::{Architecture, Block, Model, cost, latency};
use crate::report::table::{Table, bytes, count};
use crate::{Error, Result, report::structure_svg, train::Evaluation};
use serde_json::json;

impl Job {
    /// Measures, writes `report.md`, `report.json` and the pictures, and returns the table's text.
    pub fn report(&self, dense: &Model, evaluation: &Evaluation, candidates: &[Candidate]) -> Result<String> {
        dense.save(self.folder.file("dense.safetensors")?, "dense")?;
        let mut models = vec![("dense", dense, None, evaluation)];
        models.extend(candidates.iter().map(|c| (c.plan.method.as_str(), &c.model, Some(c.before.accuracy), &c.after)));
        let named: Vec<(&str, &Model)> = models.iter().map(|(name, model, ..)| (*name, *model)).collect();
        let speed = |batch| latency(&named, batch, self.options.rounds);
        let speeds = speed(1)?.into_iter().zip(speed(32)?).map(|(one, many)| (one.per_second(1), many.per_second(32)));
        let speeds: Vec<_> = speeds.collect();
        let (dense_speed, dense_macs) = (speeds[0].1.median, cost::macs(dense.arch()));
        let batch = self.options.latency_batch;
        let measured = match self.latency {
            Some(_) => latency(&named, batch, self.options.rounds)?.into_iter().map(Some).collect(),
            None => vec![None; models.len()],
        };
        let (mut records, mut rows) = (Vec::new(), Vec::new());
        for (((name, model, before, after), (single, many)), measured) in models.into_iter().zip(speeds).zip(measured) {
            let path = self.folder.file(&format!("{name}.safetensors"))?;
            let file = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
            let (params, macs) = (cost::params(model.arch()), cost::macs(model.arch()));
            let (accuracy, agreement) = (after.accuracy, after.agreement(evaluation));
            let (speed_up, macs_saved) = (1.0 / dense_speed * many.median, dense_macs as f64 / macs.max(1) as f64);
            let predicted = self.latency.as_ref().map(|times| times.model(model.arch()));
            records.push(json!({
                "name": name, "before": before, "accuracy": accuracy, "agreement": agreement, "params": params,
                "macs": macs, "file": file, "speed": {"single": single, "batch": many}, "speed_up": speed_up,
                "macs_saved": macs_saved, "predicted_ms": predicted, "ms": measured,
            }));
            let mut row = vec![
                ("model", name.to_string()),
                ("top-1 cut", before.map_or("-".into(), |before| format!("{:.2}", before.top1))),
                ("top-1", format!("{:.2}", accuracy.top1)),
                ("top-5", format!("{:.2}", accuracy.top5)),
                ("agrees", format!("{agreement:.1}")),
                ("params", count(params)),
                ("MACs", count(macs)),
                ("file", bytes(file)),
                ("img/s b1", single.to_string()),
                ("img/s b32", many.to_string()),
                ("speed-up", format!("{speed_up:.2}x")),
                ("MACs saved", format!("{macs_saved:.2}x")),
            ];
            if let (Some(ms), Some(measured)) = (predicted, measured) {
                row.push(("ms predicted", format!("{ms:.2}")));
                row.push(("ms", measured.to_string()));
            }
            rows.push(row);
        }
        self.folder.write_json("report.json", &records)?;
        if let Some(candidate) = candidates.first() {
            self.folder.write_text("structure.svg", &structure(dense.arch(), candidate.model.arch()))?;
        }
        self.folder.curves()?;
        let mut table = Table::new(&rows[0].iter().map(|(header, _)| *header).collect::<Vec<_>>());
        for row in rows {
            table.row(row.into_iter().map(|(_, cell)| cell));
        }
        self.folder.write_text("report.md", &self.markdown(&table, candidates)?)?;
        Ok(table.text())
    }

    fn markdown(&self, table: &Table, candidates: &[Candidate]) -> Result<String> {
        let (target, data, seed) = (100.0 * self.options.target(), &self.data.name, self.options.seed);
        let counted = match (&self.latency, &self.options.compat) {
            (Some(_), _) => format!("milliseconds at batch {}", self.options.latency_batch),
            (None, Some(_)) => "official surrogate count".into(),
            (None, None) => "multiply-accumulates".into(),
        };
        let JobOptions { device, dtype, .. } = &self.options;
        let model = self.options.weights.as_ref().map_or(self.options.model.clone(), |path| path.display().to_string());
        let of = format!(
            "Model: {model}, {} pixels. Data: {data}. Seed {seed}. Device: {device}, {dtype}.",
            self.arch.img_size
        );
        let mut text = format!("# SAViT, target {target:.1} % of the {counted}\n\n{of}\n\n");
        text += &table.markdown();
        text += "\n\n`random`: the same number of heads, hidden units and channels, drawn at random, fine-tuned the same \
                 way. Speed: images per second, median and the range from the 5th to the 95th percentile, all models in \
                 turn within each round.\n\n";
        if let Some(align) = self.options.align {
            text += &format!(
                "`savit-align{align}`: the cut of `savit` moved to widths that are multiples of {align}, at \
                 no more than the target.\n\n"
            );
        }
        text += "![structure](structure.svg)\n\n![curves](curves.svg)\n\n";
        for candidate in candidates {
            let [heads, hidden, embed] = candidate.plan.kept()?.totals();
            let method = &candidate.plan.method;
            text += &format!("- {method}: {heads} heads, {hidden} hidden units, {embed} channels kept\n");
        }
        Ok(text)
    }
}

/// Heads and widths kept per block.
fn structure(dense: &Architecture, small: &Architecture) -> String {
    let each = |arch: &Architecture, f: fn(&Block) -> usize| arch.blocks.iter().map(f).collect::<Vec<_>>();
    let [heads, kept_heads] = [dense, small].map(|arch| each(arch, Block::heads));
    let [hidden, kept_hidden] = [dense, small].map(|arch| each(arch, |block| block.hidden));
    structure_svg([&heads, &kept_heads], [&hidden, &kept_hidden], [dense.embed_dim, small.embed_dim])
}
