//! RegNetY: a convolution, stages of bottleneck blocks whose widths a rule gives, the mean over all pixels and one head. Feature
//! maps are tokens. A block: `x ← ReLU(conv3(SE(conv2(conv1(x)))) + shortcut(x))`, each convolution with BatchNorm, the first two with
//! ReLU; `SE(x) = x σ(fc2(ReLU(fc1(mean x))))`. The shortcut of a stage's first block is a convolution of stride 2, else `x`. Keys and
//! shapes are those of the official checkpoints.

use super::layout::{Init, Layout, Work};
use super::{Architecture, Block, Family, Mixer, Reduce, Stage, Stem};
use crate::nn::{Pass, Site};
use crate::ops::{self, Activation, Conv2d};
use crate::{Error, Result, Var};
use serde::Deserialize;

/// The numbers that give a RegNetY its widths.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields' names are the rule's")]
pub struct WidthRule {
    pub w0: f64,
    pub wa: f64,
    pub wm: f64,
    pub group_width: usize,
    pub depth: usize,
    /// Hidden units of squeeze-excite for each channel that enters the block.
    pub se_ratio: f64,
    pub stem_width: usize,
}

impl WidthRule {
    /// `w0 wm^round(log(1 + wa j / w0) / log wm)` for block `j`, rounded to multiples of 8, then of the group width.
    pub fn width(&self, block: usize) -> usize {
        let exponent = ((1.0 + self.wa * block as f64 / self.w0).ln() / self.wm.ln()).round_ties_even();
        let width = (self.w0 * self.wm.powf(exponent) / 8.0).round_ties_even() * 8.0;
        let group = (self.group_width as f64).min(width).max(1.0);
        ((width / group).round_ties_even() * group) as usize
    }

    /// The model for images of `img_size`, 1000 classes; blocks of equal width are a stage.
    pub fn architecture(&self, img_size: usize) -> Architecture {
        let (mut blocks, mut stages, mut input) = (Vec::new(), Vec::<Stage>::new(), self.stem_width);
        for width in (0..self.depth).map(|block| self.width(block)) {
            let squeeze = (self.se_ratio * input as f64).round_ties_even() as usize;
            let mixer = Mixer::Bottleneck { group_width: self.group_width.min(width), squeeze };
            blocks.push(Block { mixer, hidden: 0, reduce: Reduce::None });
            match stages.last_mut().filter(|stage| stage.embed_dim == width) {
                Some(stage) => stage.depth += 1,
                None => stages.push(Stage { depth: 1, embed_dim: width }),
            }
            input = width;
        }
        let (stem, embed_dim) =
            (Stem::Conv { width: self.stem_width }, stages.first().map_or(0, |stage| stage.embed_dim));
        Architecture { stem, embed_dim, stages, blocks, ..Architecture::empty(Family::Regnet, img_size, 4) }
    }
}

/// A block where it stands: its key, the channels and the side of the maps that enter it, its own channels and stride.
struct Place {
    key: String,
    input: usize,
    side: usize,
    width: usize,
    stride: usize,
}

/// The blocks in order, and the side of the last maps.
fn places(arch: &Architecture) -> (Vec<Place>, usize) {
    let (mut input, mut side, mut places) = (stem_width(arch), arch.img_size.div_ceil(2), Vec::new());
    for (s, stage) in arch.stages.iter().enumerate() {
        for b in 0..stage.depth {
            let (key, width, stride) = (format!("s{}.b{}", s + 1, b + 1), stage.embed_dim, if b == 0 { 2 } else { 1 });
            places.push(Place { key, input, side, width, stride });
            (input, side) = (width, side.div_ceil(stride));
        }
    }
    (places, side)
}

fn stem_width(arch: &Architecture) -> usize {
    match arch.stem {
        Stem::Conv { width } => width,
        _ => 0,
    }
}

/// Group width and hidden units of squeeze-excite.
fn bottleneck(block: &Block) -> Result<[usize; 2]> {
    match block.mixer {
        Mixer::Bottleneck { group_width, squeeze } => Ok([group_width, squeeze]),
        ref other => Err(Error::invalid("a block of RegNetY", "a bottleneck", format!("{other:?}"))),
    }
}

/// The tensors, in the order of the official checkpoints.
pub fn layout(arch: &Architecture) -> Layout {
    let (mut layout, stem) = (Layout::default(), arch.img_size.div_ceil(2));
    conv(&mut layout, arch, ["stem.conv", "stem.bn"], [stem_width(arch), 3, 3, 3], 1, stem * stem);
    let (places, _) = places(arch);
    for (Place { key, input, side, width, stride }, block) in places.iter().zip(&arch.blocks) {
        let [group, squeeze] = bottleneck(block).unwrap_or([1, 1]);
        let (before, after) = (side * side, side.div_ceil(*stride) * side.div_ceil(*stride));
        let mut layer = |name: &str, shape, groups, positions| {
            let names = [format!("{key}.{name}.conv"), format!("{key}.{name}.bn")];
            conv(&mut layout, arch, names.each_ref().map(String::as_str), shape, groups, positions);
        };
        layer("conv1", [*width, *input, 1, 1], 1, before);
        layer("conv2", [*width, group, 3, 3], width / group.max(1), after);
        gate(&mut layout, &format!("{key}.se"), [*width, squeeze]);
        let mut layer = |name: &str, shape, groups, positions| {
            let names = [format!("{key}.{name}.conv"), format!("{key}.{name}.bn")];
            conv(&mut layout, arch, names.each_ref().map(String::as_str), shape, groups, positions);
        };
        layer("conv3", [*width, *width, 1, 1], 1, after);
        if *stride > 1 {
            layer("downsample", [*width, *input, 1, 1], 1, after);
        }
    }
    let width = arch.stages.last().map_or(0, |stage| stage.embed_dim);
    layout.tensor("head.fc.weight", &[arch.num_classes, width], Init::Normal(0.01), Work::Rows(1));
    layout.tensor("head.fc.bias", &[arch.num_classes], Init::Zeros, Work::None);
    layout
}

/// A convolution with BatchNorm: He-normal by the outputs of a group, the last BatchNorm of a block begins at 0.
fn conv(
    layout: &mut Layout, arch: &Architecture, [conv, norm]: [&str; 2], shape: [usize; 4], groups: usize,
    positions: usize,
) {
    let first = layout.slots.len();
    layout.conv_norm([conv, norm], shape, positions, arch.folded);
    let fan_out = (shape[0] * shape[2] * shape[3] / groups.max(1)).max(1);
    layout.slots[first].init = Init::Normal((2.0 / fan_out as f32).sqrt());
    if norm.ends_with("conv3.bn") && !arch.folded {
        layout.slots[first + 1].init = Init::Zeros;
    }
}

/// Squeeze-excite `name` of `width` channels.
fn gate(layout: &mut Layout, name: &str, [width, squeeze]: [usize; 2]) {
    layout.conv(&format!("{name}.fc1"), [squeeze, width, 1, 1], true, 1);
    layout.conv(&format!("{name}.fc2"), [width, squeeze, 1, 1], true, 1);
}

/// The logits `[B, classes]`, never rounded, for images `[B, 3, H, W]`.
pub fn forward(arch: &Architecture, pass: &Pass, images: &Var) -> Result<Vec<Var>> {
    let stem = Conv2d { size: [arch.img_size; 2], stride: 2, padding: 1, groups: 1 };
    let x = pass.conv_norm(["stem.conv", "stem.bn"], images, stem, Activation::Relu)?;
    let mut x = pass.tap(Site::PatchEmbed, x)?;
    for (i, (place, block)) in places(arch).0.iter().zip(&arch.blocks).enumerate() {
        x = pass.tap(Site::Block(i), bottleneck_forward(pass, i, place, bottleneck(block)?, x)?)?;
    }
    Ok(vec![pass.head("head.fc", &ops::mean_tokens(&x)?)?])
}

fn bottleneck_forward(pass: &Pass, i: usize, place: &Place, [group, _]: [usize; 2], x: Var) -> Result<Var> {
    let Place { key, side, width, stride, .. } = place;
    let layer = |name: &str, x: &Var, at: Conv2d, function| {
        let names = [format!("{key}.{name}.conv"), format!("{key}.{name}.bn")];
        pass.conv_norm(names.each_ref().map(String::as_str), x, at, function)
    };
    let pixels = |side: usize| Conv2d::patches([side; 2], 1);
    let windows = Conv2d { size: [*side; 2], stride: *stride, padding: 1, groups: width / group.max(1) };
    let y = layer("conv2", &layer("conv1", &x, pixels(*side), Activation::Relu)?, windows, Activation::Relu)?;
    let y = squeeze_excite(pass, &format!("{key}.se"), &pass.tap(Site::Grouped(i), y)?)?;
    let y = layer("conv3", &pass.tap(Site::Excited(i), y)?, pixels(side.div_ceil(*stride)), Activation::Identity)?;
    let shortcut = match stride {
        1 => x,
        _ => layer("downsample", &x, Conv2d { stride: *stride, ..pixels(*side) }, Activation::Identity)?,
    };
    ops::activation(ops::add(y, &shortcut)?, None, Activation::Relu)
}

/// `x σ(fc2(ReLU(fc1(mean x))))`, a factor for each channel of an image.
fn squeeze_excite(pass: &Pass, name: &str, x: &Var) -> Result<Var> {
    let (batch, width, pixel) = (x.shape()[0], x.shape()[2], Conv2d::patches([1, 1], 1));
    let mean = ops::mean_tokens(x)?.reshape([batch, 1, width])?;
    let hidden = ops::activation(pass.conv(&format!("{name}.fc1"), &mean, pixel)?, None, Activation::Relu)?;
    let gate = pass.conv(&format!("{name}.fc2"), &hidden, pixel)?.reshape([batch, width])?;
    let gate = ops::activation(ops::cast(&gate, gate.dtype().wide())?, None, Activation::Sigmoid)?;
    ops::gate_samples(x, &gate)
}
