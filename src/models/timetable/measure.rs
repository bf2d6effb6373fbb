//! What the table is made of: some blocks of equal widths in a row, each with weights of its own as in a model, or a model's
//! ends without blocks, run as predictions are.

use crate::gpu::{Gpu, Graph, Tf32};
use crate::models::layout::Layout;
use crate::models::{Architecture, Block, Family, Mixer, Reduce, block, deit, lvvit};
use crate::nn::{Mode, NoHooks, Packs, Params, Pass, Precision, Stream, Tokens};
use crate::report::bench::percentile;
use crate::{DType, Device, Error, Result, Tensor, Var};
use std::time::Instant;

/// How careful: passes through the list, runs in each, and blocks whose mean is one sample. A machine that is disturbed now and
/// then shows short samples without and long ones with disturbances, so what predicts a model must be as long as one.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    pub passes: usize,
    pub runs: usize,
    pub blocks: usize,
}

/// Multiply-accumulates that a run should have, within 2 to 12 blocks.
const WORK: f64 = 3e9;

/// One entry of the table: a model of one block, or of none for the ends, and its name.
#[derive(Debug, Clone)]
pub struct Point {
    pub name: String,
    arch: Architecture,
    batch: usize,
    precision: Precision,
}

impl Point {
    /// A block of `like` with the given width, heads and hidden units, or the ends.
    pub fn new(
        like: &Architecture, width: usize, head_dim: usize, block: Option<[usize; 2]>, batch: usize,
        precision: Precision,
    ) -> Self {
        let (family, tokens) = (like.family, like.num_tokens());
        let ends = || {
            let Architecture { img_size, patch_size, stem, num_classes, distilled, folded, dense_head, .. } = like;
            let flags = format!("distilled {distilled}, folded {folded}, dense head {dense_head}");
            format!("ends: {img_size} px, patch {patch_size}, stem {stem:?}, {num_classes} classes, {flags}")
        };
        let what = block.map_or_else(ends, |[heads, hidden]| {
            format!("block: {tokens} tokens, {heads} heads of {head_dim}, {hidden} hidden")
        });
        let name = format!("{family} {what}, width {width}, batch {batch}, {precision}");
        let block = block.map(|[heads, hidden]| Block {
            mixer: Mixer::Attention { heads, head_dim },
            hidden,
            reduce: Reduce::None,
        });
        let arch = Architecture { embed_dim: width, blocks: block.into_iter().collect(), ..like.clone() };
        Self { name, arch, batch, precision }
    }
}

/// Milliseconds of each point (of one block, or of the ends): medians over all passes through the list, since what disturbs the
/// machine for a while meets only some samples of a point. `between` is called before each pass, `tick` after each point.
pub fn measure(
    points: &[Point], effort: Effort, device: Device, between: &mut dyn FnMut() -> Result<()>, tick: &mut dyn FnMut(),
) -> Result<Vec<f64>> {
    let mut samples = vec![Vec::new(); points.len()];
    for _ in 0..effort.passes {
        between()?;
        for (point, samples) in points.iter().zip(&mut samples) {
            let chain = Chain::new(point, device)?;
            let blocks = chain.arch.blocks.len().max(1);
            let together = if chain.arch.blocks.is_empty() { 1 } else { effort.blocks.div_ceil(blocks).max(1) };
            let mut run = Run::new(&chain, device.gpu()?)?;
            run.once()?;
            for _ in 0..effort.runs.div_ceil(together) {
                let start = Instant::now();
                (0..together).try_for_each(|_| run.once())?;
                samples.push(start.elapsed().as_secs_f64() * 1e3 / (together * blocks) as f64);
            }
            tick();
        }
    }
    Ok(samples.iter().map(|samples| percentile(samples, 0.5)).collect())
}

/// What a run goes through, with its weights.
struct Chain {
    arch: Architecture,
    params: Params,
    operands: Option<Params>,
    input: Tensor,
    packs: Packs,
    precision: Precision,
}

impl Chain {
    fn new(point: &Point, device: Device) -> Result<Self> {
        let Point { arch, batch, precision, .. } = point;
        let (mut arch, tokens, side) = (arch.clone(), arch.num_tokens(), arch.img_size);
        let (layout, shape) = match arch.blocks.pop() {
            None => (ends(&arch)?, vec![*batch, 3, side, side]),
            Some(block) => {
                arch.blocks = vec![block.clone(); blocks(&arch, &block, *batch)];
                let mut layout = Layout::default();
                for i in 0..arch.blocks.len() {
                    block::declare(&mut layout, &arch, &deit::key(i), &block, arch.embed_dim, tokens);
                }
                (layout, vec![*batch, tokens, arch.embed_dim])
            }
        };
        let fill = |shape: &[usize]| Tensor::full(shape, DType::F32, 0.01).to_device(device);
        let slots = layout.slots.into_iter().map(|slot| Ok((slot.name, fill(&slot.shape)?)));
        let params: Params = slots.collect::<Result<_>>()?;
        let operands = precision.half().map(|half| params.to_dtype(half)).transpose()?;
        let half = precision.half().filter(|_| !arch.blocks.is_empty()); // images are never rounded
        let input = fill(&shape)?;
        let input = half.map_or(Ok(input.clone()), |half| input.to_dtype(half))?;
        Ok(Self { arch, params, operands, input, packs: Packs::default(), precision: *precision })
    }

    /// Puts the work on the device.
    fn launch(&self) -> Result<Vec<Var>> {
        let _products = Tf32::set(self.precision == Precision::Tf32);
        let mode = Mode { precision: self.precision, ..Mode::eval() };
        let pass =
            Pass::with_operands(&self.params, self.operands.as_ref(), None, mode, &NoHooks)?.with_packs(&self.packs);
        let input = Var::constant(self.input.clone());
        if self.arch.blocks.is_empty() {
            return match self.arch.family {
                Family::Deit => deit::forward(&self.arch, &pass, &input),
                Family::Lvvit => lvvit::forward(&self.arch, &pass, &input),
                other => Err(no_ends(other)),
            };
        }
        let mut stream = Stream::resume(input, 0);
        for i in 0..self.arch.blocks.len() {
            stream = block::forward(&self.arch, &pass, i, &deit::key(i), stream, &Tokens::All)?;
        }
        Ok(vec![stream.into_value()?])
    }
}

/// How many blocks a run has.
fn blocks(arch: &Architecture, block: &Block, batch: usize) -> usize {
    let [width, tokens, inner, hidden] =
        [arch.embed_dim, arch.num_tokens(), block.inner(), block.hidden].map(|n| n as f64);
    let work = batch as f64 * tokens * (4.0 * width * inner + 2.0 * width * hidden + 2.0 * tokens * inner);
    (WORK / work.max(1.0)).clamp(2.0, 12.0) as usize
}

/// The tensors of a model without blocks.
fn ends(arch: &Architecture) -> Result<Layout> {
    match arch.family {
        Family::Deit => Ok(deit::layout(arch)),
        Family::Lvvit => Ok(lvvit::layout(arch)),
        other => Err(no_ends(other)),
    }
}

fn no_ends(family: Family) -> Error {
    Error::invalid("model for the latency table", "a DeiT or LV-ViT", family)
}

/// A chain that is ready to run: recorded on a GPU, as predictions are.
enum Run<'a> {
    Cpu(&'a Chain),
    Gpu(&'static Gpu, Graph, #[expect(dead_code, reason = "every replay writes it")] Vec<Var>),
}

impl<'a> Run<'a> {
    /// Runs once on the way, so that everything is loaded.
    fn new(chain: &'a Chain, gpu: Option<&'static Gpu>) -> Result<Self> {
        chain.launch()?;
        let Some(gpu) = gpu else { return Ok(Self::Cpu(chain)) };
        let (graph, outputs) = gpu.capture(|| chain.launch())?;
        Ok(Self::Gpu(gpu, graph, outputs))
    }

    /// One pass, waited for.
    fn once(&mut self) -> Result<()> {
        match self {
            Self::Cpu(chain) => chain.launch().map(drop),
            Self::Gpu(gpu, graph, _) => graph.replay().and_then(|()| gpu.synchronize()),
        }
    }
}
