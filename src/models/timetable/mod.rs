//! How long a model takes, from a table: milliseconds that were measured once on the user's own device and are kept on the disk.
//! Every search for a latency and every prediction reads it.
//!
//! A model's time is that of its ends (stem, last norm, heads) and of its blocks. A prediction of one model measures each block
//! as it is ([`Table::predict`]): `ends(D) + Σ_l t(D, h_l, f_l)`. A search goes through thousands of models, so it reads grids
//! ([`Table::times`]), where a block's time is that of its attention with all around it, plus that of its MLP with all around
//! it, less that of a block without either: `ends(D) + Σ_l [t(D, h_l, 0) + t(D, 0, f_l) - t(D, 0, 0)]`. Tokens, batch, precision
//! and head width are measured as they are asked for; between measured widths the grids are bilinear in `(D, h)` and in
//! `(D, f)`, as matrix products are: what they cost is a sum of a constant, the two widths, and their product.

mod measure;

use super::{Architecture, Block, Family, Mixer, Reduce};
use crate::gpu::Gpu;
use crate::io::{cache_folder, from_json, write_atomic};
use crate::nn::Precision;
use crate::report::{Progress, Show, progress::Unit, tell};
use crate::{Device, Error, Result, cpu};
use measure::{Effort, Point, measure};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io::Write};

/// How often the points of a prediction are gone through.
pub const PASSES: usize = 8;
const PREDICTION: Effort = Effort { passes: PASSES, runs: 3, blocks: 12 };
const GRID: Effort = Effort { passes: 3, runs: 3, blocks: 1 };
/// The form of the file; another one is measured anew.
const VERSION: u32 = 1;

/// What the file holds: milliseconds by the name of the point.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    device: String,
    milliseconds: BTreeMap<String, f64>,
}

/// The table of a device.
#[derive(Debug)]
pub struct Table {
    device: Device,
    path: Option<PathBuf>,
    kept: Kept,
    /// Points to measure anew when they are asked for.
    stale: BTreeSet<String>,
    show: Show,
}

impl Table {
    /// The table of `device` in the cache folder, empty when there is none yet.
    pub fn open(device: Device, show: Show) -> Result<Self> {
        let name = name_of(device)?;
        let file = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let path = cache_folder().map(|folder| folder.join("latency").join(format!("{file}.json")));
        Ok(Self::read(device, name, path, show))
    }

    /// The table of `device` in the file `path`; empty when there is none yet, or, with a message, when it is damaged or that
    /// of another device.
    pub fn at(device: Device, path: &Path, show: Show) -> Result<Self> {
        Ok(Self::read(device, name_of(device)?, Some(path.to_path_buf()), show))
    }

    fn read(device: Device, name: String, path: Option<PathBuf>, show: Show) -> Self {
        let empty = Kept { version: VERSION, device: name.clone(), milliseconds: BTreeMap::new() };
        let text = path.as_ref().and_then(|path| fs::read_to_string(path).ok());
        let kept = match text.as_deref().map(from_json::<Kept>) {
            None => Ok(empty.clone()),
            Some(Err(error)) => Err(format!("it is damaged ({error})")),
            Some(Ok(kept)) if kept.device != name => Err(format!("it is that of {}, this is {name}", kept.device)),
            Some(Ok(kept)) if kept.version != VERSION => Err("it has another form".into()),
            Some(Ok(kept)) if !kept.milliseconds.values().all(|ms| *ms > 0.0 && *ms < 1e9) => {
                Err("it holds times that none can be".into())
            }
            Some(Ok(kept)) => Ok(kept),
        };
        let kept = kept.unwrap_or_else(|why| {
            let file = path.as_ref().map_or(String::new(), |path| path.display().to_string());
            tell(format_args!("latency table {file} is measured anew: {why}"));
            empty
        });
        Self { device, path, kept, stale: BTreeSet::new(), show }
    }

    /// The number of points that are measured.
    pub fn len(&self) -> usize {
        self.kept.milliseconds.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.kept.milliseconds.is_empty()
    }

    /// From now on each point that is asked for is measured anew, once; the others stay as they are.
    pub fn renew(&mut self) {
        self.stale = self.kept.milliseconds.keys().cloned().collect();
    }

    /// Whether a table can have the blocks of `arch`.
    pub fn covers(arch: &Architecture) -> bool {
        let known = matches!(arch.family, Family::Deit | Family::Lvvit) && arch.stages.is_empty();
        let plain = |block: &Block| {
            let attention = matches!(block.mixer, Mixer::Attention { .. });
            attention && block.head_dim() == head_dim(arch) && block.reduce == Reduce::None
        };
        known && arch.blocks.iter().all(plain)
    }

    /// The milliseconds that `arch` takes for a batch; what is missing for it is measured and kept.
    pub fn predict(&mut self, arch: &Architecture, batch: usize, precision: Precision) -> Result<f64> {
        Ok(self.predict_between(&[arch], batch, precision, &mut || Ok(()))?.iter().sum())
    }

    /// The same for some models at once. If something is missing, `between` is called [`PASSES`] times while it is measured, so
    /// that what it measures meets the machine in the same minutes.
    pub fn predict_between(
        &mut self, models: &[&Architecture], batch: usize, precision: Precision,
        between: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<f64>> {
        let points = |arch: &&Architecture| -> Result<Vec<Point>> {
            check(arch)?;
            let point = |block| Point::new(arch, arch.embed_dim, head_dim(arch), block, batch, precision);
            let blocks = arch.blocks.iter().map(|block| Some([block.heads(), block.hidden]));
            Ok([None].into_iter().chain(blocks).map(point).collect())
        };
        let points = models.iter().map(points).collect::<Result<Vec<_>>>()?;
        self.ensure(&points.concat(), PREDICTION, between)?;
        let milliseconds = |points: &Vec<Point>| points.iter().map(|point| self.kept.milliseconds[&point.name]).sum();
        Ok(points.iter().map(milliseconds).collect())
    }

    /// The times of `arch` and of all that may be cut from it; what is missing is measured and kept.
    pub fn times(&mut self, arch: &Architecture, batch: usize, precision: Precision) -> Result<Times> {
        check(arch)?;
        let head_dim = head_dim(arch);
        let largest = |units: &dyn Fn(&Block) -> usize| arch.blocks.iter().map(units).max().unwrap_or(0);
        let widths = nodes(&[16, 64, 128], arch.embed_dim);
        let heads = nodes(&[0, 1, 2], largest(&Block::heads));
        let hidden = nodes(&[0, 16, 64, 128], largest(&|block| block.hidden));
        let point =
            |width: usize, block: Option<[usize; 2]>| Point::new(arch, width, head_dim, block, batch, precision);
        let grid = |cell: &dyn Fn(usize, usize) -> Option<[usize; 2]>, units: &[usize]| -> Vec<Point> {
            let each = widths.iter().flat_map(|&width| units.iter().map(move |&unit| (width, unit)));
            each.map(|(width, unit)| point(width, cell(width, unit))).collect()
        };
        let attention = grid(&|_, heads| Some([heads, 0]), &heads);
        let mlp = grid(&|_, hidden| Some([0, hidden]), &hidden);
        let ends = grid(&|_, _| None, &[0]);
        self.ensure(&[&attention[..], &mlp, &ends].concat(), GRID, &mut || Ok(()))?;
        let plane = |units: &[usize], points: &[Point]| {
            Plane::new(
                widths.clone(),
                units.to_vec(),
                points.iter().map(|point| self.kept.milliseconds[&point.name]).collect(),
            )
        };
        Ok(Times { attention: plane(&heads, &attention)?, mlp: plane(&hidden, &mlp)?, ends: plane(&[0], &ends)? })
    }

    /// Measures those of `points` that are missing, and keeps the table.
    fn ensure(&mut self, points: &[Point], effort: Effort, between: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let mut missing: Vec<Point> = Vec::new();
        for point in points {
            let known = self.kept.milliseconds.contains_key(&point.name) && !self.stale.contains(&point.name);
            if !known && missing.iter().all(|other| other.name != point.name) {
                missing.push(point.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let progress = Progress::over((missing.len() * effort.passes) as u64, Unit::Points, "latency table", self.show);
        let measured = measure(&missing, effort, self.device, between, &mut || progress.inc(1))?;
        for (Point { name, .. }, milliseconds) in missing.into_iter().zip(measured) {
            self.stale.remove(&name);
            self.kept.milliseconds.insert(name, milliseconds);
        }
        // what cannot be kept is measured again the next time
        self.keep().unwrap_or_else(|error| tell(format_args!("warning: the latency table is not kept: {error}")));
        Ok(())
    }

    fn keep(&self) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.kept).map_err(|e| Error::invalid("latency table", "JSON", e))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.map_or(Ok(()), |folder| fs::create_dir_all(folder).map_err(Error::io("create", folder)))?;
        write_atomic(path, |file| file.write_all(text.as_bytes()))
    }
}

/// Refuses a model that the table cannot have.
fn check(arch: &Architecture) -> Result<()> {
    arch.validate()?;
    let found = format_args!("{} of other blocks", arch.family);
    let expected = "a DeiT or LV-ViT with heads of one width that keeps all tokens";
    Error::ensure(Table::covers(arch), "model for the latency table", expected, found)
}

fn head_dim(arch: &Architecture) -> usize {
    arch.blocks.first().map_or(0, Block::head_dim)
}

/// What tells a device from others of its kind: the card's name, or the processor's and the threads in use.
fn name_of(device: Device) -> Result<String> {
    let gpu: Option<&Gpu> = device.gpu()?;
    Ok(match gpu {
        Some(gpu) => format!("{device} {}", gpu.limits().name),
        None => format!("{} with {} threads", cpu::name(), rayon::current_num_threads()),
    })
}

/// The widths of a grid up to `largest`, in order: `first`, then powers of two and their halves more (128, 192, 256, 384, …) from
/// twice the last of it, and `largest` itself. Without `largest` only the 0 of `first`.
fn nodes(first: &[usize], largest: usize) -> Vec<usize> {
    let last = first.last().copied().unwrap_or(1);
    let doubled = (0..usize::BITS).map_while(|power| last.checked_shl(power)).flat_map(|node| [node, node + node / 2]);
    let ladder = first[..first.len() - 1].iter().copied().chain(doubled);
    ladder.take_while(|&node| node < largest).chain([largest]).collect()
}

/// Milliseconds over a grid of widths and units (heads, or hidden units).
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    widths: Vec<usize>,
    units: Vec<usize>,
    ms: Vec<f64>, // row by row, a row a width
}

impl Plane {
    /// A grid with rising axes. More work is never faster: what measuring made less than a smaller point is raised to it.
    pub fn new(widths: Vec<usize>, units: Vec<usize>, mut ms: Vec<f64>) -> Result<Self> {
        let rising = |axis: &[usize]| !axis.is_empty() && axis.is_sorted_by(|a, b| a < b);
        let fits = rising(&widths) && rising(&units) && ms.len() == widths.len() * units.len();
        let found = format_args!("{widths:?}, {units:?}, {} values", ms.len());
        Error::ensure(fits, "grid of times", "rising axes and a value for each pair", found)?;
        let row = units.len();
        for at in 0..ms.len() {
            let before = [(at % row > 0).then(|| ms[at - 1]), at.checked_sub(row).map(|above| ms[above])];
            ms[at] = before.into_iter().flatten().fold(ms[at], f64::max);
        }
        Ok(Self { widths, units, ms })
    }

    /// The value at `width` and `units`, bilinear between the points of the grid, that of the border beyond it.
    pub fn at(&self, width: f64, units: f64) -> f64 {
        let ((w, x), (u, y)) = (place(&self.widths, width), place(&self.units, units));
        let value = |w: usize, u: usize| self.ms[w * self.units.len() + u];
        let along = |w: usize| if y == 0.0 { value(w, u) } else { value(w, u) * (1.0 - y) + value(w, u + 1) * y };
        if x == 0.0 { along(w) } else { along(w) * (1.0 - x) + along(w + 1) * x }
    }
}

/// The last node that is at most `value`, and how far it is from there to the next.
fn place(nodes: &[usize], value: f64) -> (usize, f64) {
    let at = nodes.partition_point(|&node| node as f64 <= value).saturating_sub(1);
    let Some(&next) = nodes.get(at + 1) else { return (at, 0.0) };
    (at, ((value - nodes[at] as f64) / (next - nodes[at]) as f64).max(0.0))
}

/// Times of models of one kind: all but widths and depth is fixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    attention: Plane,
    mlp: Plane,
    ends: Plane,
}

impl Times {
    /// From grids over the width and the heads, the width and the hidden units, and the width alone.
    pub fn new(attention: Plane, mlp: Plane, ends: Plane) -> Self {
        Self { attention, mlp, ends }
    }

    /// Milliseconds of a block; a share of a unit is that share of the way to the next.
    fn block(&self, width: f64, heads: f64, hidden: f64) -> f64 {
        let neither = self.attention.at(width, 0.0).max(self.mlp.at(width, 0.0));
        (self.attention.at(width, heads) + self.mlp.at(width, hidden) - neither).max(0.0)
    }

    /// Milliseconds of a model.
    pub fn model(&self, arch: &Architecture) -> f64 {
        let width = arch.embed_dim as f64;
        let block = |block: &Block| self.block(width, block.heads() as f64, block.hidden as f64);
        self.ends.at(width, 0.0) + arch.blocks.iter().map(block).sum::<f64>()
    }

    /// Milliseconds of a model that has `[heads, hidden, embed]` units in all, spread evenly over `blocks` blocks.
    pub fn even(&self, blocks: usize, [heads, hidden, embed]: [usize; 3]) -> f64 {
        let (width, each) = (embed as f64, blocks.max(1) as f64);
        let block = self.block(width, heads as f64 / each, hidden as f64 / each);
        self.ends.at(width, 0.0) + each * block
    }
}
