//! PiT: its published sizes, stem and pooling against plain loops, files, what is refused, and the same model on a GPU.

use espalier::models::block::drop_rate;
use espalier::models::cost::{Counting, macs, params};
use espalier::models::{Architecture, Block, LoadOptions, Mixer, Model, Stage, Stem, interpolate, zoo};
use espalier::nn::{Hooks, Mode, NoHooks, Pass, Site};
use espalier::noise::Noise;
use espalier::ops::case::Draw;
use espalier::{DType, Result, Tape, Tensor, Var};
use std::cell::RefCell;
use std::collections::HashMap;

/// Grids of 7, 4 and 2 tokens a side, patches of 4 pixels 2 apart.
fn arch() -> Architecture {
    Architecture::pit(16, [4, 2], 3, &[1, 2, 1], &[2, 4, 8]).with_classes(5)
}

fn logits(model: &Model) -> Result<Vec<f64>> {
    let side = model.arch().img_size;
    let images = Draw::random(vec![1], 3).normal([2, 3, side, side]).to_dtype(DType::F32)?;
    model.predict(&images)?.to_f64s()
}

/// Parameters in millions as timm's table has them (the paper's 4.9 of the smallest is 4.85 rounded once more), billions of
/// multiply-accumulates as the paper's, whose 12.5 of the largest comes from another counting.
#[test]
fn published_sizes_are_counted() {
    for (name, millions, billions, width) in [
        ("pit_ti", 4.85, 0.7, 256),
        ("pit_xs", 10.62, 1.4, 384),
        ("pit_s", 23.46, 2.9, 576),
        ("pit_b", 73.76, 12.4, 1024),
    ] {
        let arch = zoo::find(name).unwrap().architecture;
        assert!((params(&arch) as f64 / 1e6 - millions).abs() <= 0.005, "{name}: {}", params(&arch));
        for count in [macs(&arch), Counting::Fvcore.count(&arch, &arch)] {
            assert!((count as f64 / 1e9 - billions).abs() <= 0.05, "{name}: {count}");
        }
        assert_eq!((arch.stages.len(), arch.stages[2].embed_dim), (3, width));
    }
    let small = zoo::find("pit_s").unwrap().architecture;
    assert_eq!([0, 1, 2].map(|stage| small.stage_grid(stage)), [27, 14, 7]);
    let base = zoo::find("pit_b").unwrap().architecture;
    assert_eq!([0, 1, 2].map(|stage| base.stage_grid(stage)), [31, 16, 8]);
    assert_eq!((small.blocks[7].heads(), small.blocks[7].head_dim(), small.blocks[7].hidden), (6, 48, 1152));
}

/// Keys and shapes of the official code, outside of the blocks.
#[test]
fn tensors_have_their_official_names() {
    let layout = Model::layout(&arch());
    let outside = layout.slots.iter().filter(|slot| !slot.name.contains(".blocks."));
    let outside: Vec<(&str, &[usize])> = outside.map(|slot| (&*slot.name, &*slot.shape)).collect();
    let expected: [(&str, &[usize]); 16] = [
        ("pos_embed", &[1, 6, 7, 7]),
        ("cls_token", &[1, 1, 6]),
        ("patch_embed.conv.weight", &[6, 3, 4, 4]),
        ("patch_embed.conv.bias", &[6]),
        ("pools.0.conv.weight", &[12, 1, 3, 3]),
        ("pools.0.conv.bias", &[12]),
        ("pools.0.fc.weight", &[12, 6]),
        ("pools.0.fc.bias", &[12]),
        ("pools.1.conv.weight", &[24, 1, 3, 3]),
        ("pools.1.conv.bias", &[24]),
        ("pools.1.fc.weight", &[24, 12]),
        ("pools.1.fc.bias", &[24]),
        ("norm.weight", &[24]),
        ("norm.bias", &[24]),
        ("head.weight", &[5, 24]),
        ("head.bias", &[5]),
    ];
    assert_eq!(outside, expected);
    assert_eq!(layout.find("transformers.1.blocks.1.attn.qkv.bias").unwrap().shape, [36]);
    assert_eq!(layout.slots.len(), 16 + 4 * 12);
}

/// Keeps every value that is tapped.
#[derive(Default)]
struct Taps(RefCell<HashMap<Site, Tensor>>);

impl Hooks for Taps {
    fn taps(&self) -> bool {
        true
    }

    fn tap(&self, site: Site, value: Var) -> Result<Var> {
        self.0.borrow_mut().insert(site, value.tensor().clone());
        Ok(value)
    }
}

/// A convolution of one image `x(channel, row, column)` by plain loops.
struct Plain<'a> {
    x: &'a dyn Fn(usize, usize, usize) -> f64,
    side: usize,
    weight: &'a Tensor,
    bias: &'a Tensor,
    stride: usize,
    padding: usize,
}

impl Plain<'_> {
    /// Output `o`, which reads the channels from `first` on.
    fn at(&self, o: usize, row: usize, column: usize, first: usize) -> f64 {
        let (w, [channels, k]) = (self.weight.to_f64s().unwrap(), [self.weight.dim(1), self.weight.dim(2)]);
        let mut sum = self.bias.to_f64s().unwrap()[o];
        for c in 0..channels {
            for u in 0..k {
                for v in 0..k {
                    let (y, x) = (row * self.stride + u, column * self.stride + v);
                    let inside = |at: usize| at >= self.padding && at < self.side + self.padding;
                    if inside(y) && inside(x) {
                        let value = (self.x)(first + c, y - self.padding, x - self.padding);
                        sum += w[((o * channels + c) * k + u) * k + v] * value;
                    }
                }
            }
        }
        sum
    }
}

#[test]
fn stem_and_pooling_equal_plain_loops() -> Result<()> {
    let model = Model::init(arch(), 4)?;
    let mut draw = Draw::random(vec![1], 8);
    let params = model.params().iter().map(|(name, tensor)| (name.to_string(), draw.normal(*tensor.shape()))).collect();
    let images = draw.normal([2, 3, 16, 16]);
    let taps = Taps::default();
    model.forward(&Pass::new(&params, None, Mode::eval(), &taps)?, &Var::constant(images.clone()))?;
    let taps = taps.0.into_inner();
    let values = |site: Site| taps[&site].to_f64s().unwrap();
    let param = |name: &str| params.get(name).unwrap();
    let close = |ours: f64, plain: f64, what: &str| {
        assert!((ours - plain).abs() <= 1e-12 * plain.abs().max(1.0), "{what}: {ours} and {plain}");
    };

    // The stream behind stem and positions: the class token as it is, patches of all channels.
    let (stream, pixels, pos) = (values(Site::Residual(0)), images.to_f64s()?, param("pos_embed").to_f64s()?);
    let (tokens, class) = (1 + 49, param("cls_token").to_f64s()?);
    for image in 0..2 {
        let x = |c: usize, row: usize, column: usize| pixels[((image * 3 + c) * 16 + row) * 16 + column];
        let (weight, bias) = (param("patch_embed.conv.weight"), param("patch_embed.conv.bias"));
        let conv = Plain { x: &x, side: 16, weight, bias, stride: 2, padding: 0 };
        for o in 0..6 {
            close(stream[image * tokens * 6 + o], class[o], "class token");
            for at in 0..49 {
                let plain = conv.at(o, at / 7, at % 7, 0) + pos[o * 49 + at];
                close(stream[(image * tokens + 1 + at) * 6 + o], plain, "patches");
            }
        }
    }

    // Two outputs for each channel; 7 by 7 tokens become 4 by 4, these 2 by 2.
    for (s, last, [side, after], width) in [(0, 0, [7, 4], 6), (1, 2, [4, 2], 12)] {
        let (before, pooled) = (values(Site::Block(last)), values(Site::Merge(s)));
        let [weight, bias] = ["weight", "bias"].map(|part| param(&format!("pools.{s}.conv.{part}")));
        let [fc, fc_bias] = ["weight", "bias"].map(|part| param(&format!("pools.{s}.fc.{part}")).to_f64s().unwrap());
        let (tokens, out) = (1 + side * side, 1 + after * after);
        assert_eq!(taps[&Site::Merge(s)].shape().to_vec(), [2, out, 2 * width]);
        for image in 0..2 {
            let token = |index: usize, c: usize| before[(image * tokens + index) * width + c];
            let x = |c: usize, row: usize, column: usize| token(1 + row * side + column, c);
            let conv = Plain { x: &x, side, weight, bias, stride: 2, padding: 1 };
            for o in 0..2 * width {
                let class = fc_bias[o] + (0..width).map(|c| fc[o * width + c] * token(0, c)).sum::<f64>();
                close(pooled[image * out * 2 * width + o], class, "pooled class token");
                for at in 0..after * after {
                    let plain = conv.at(o, at / after, at % after, o / 2);
                    close(pooled[(image * out + 1 + at) * 2 * width + o], plain, "pooled patches");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn both_formats_come_back_with_equal_logits() -> Result<()> {
    let (folder, model) = (tempfile::tempdir().unwrap(), Model::init(arch(), 3)?);
    let [own, official] = ["a.safetensors", "a.pth"].map(|name| folder.path().join(name));
    model.save(&own, "dense")?;
    model.save_pth(&official)?;
    let heads_of_3 = LoadOptions { head_dim: Some(3), ..LoadOptions::default() };
    for (path, options) in [(&own, LoadOptions::default()), (&official, heads_of_3)] {
        let again = Model::load(path, &options)?;
        assert_eq!((again.arch(), logits(&again)?), (model.arch(), logits(&model)?), "{}", path.display());
    }
    // Queries of 18 rows are no heads of 64.
    let message = Model::load(&official, &LoadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("transformers.0.blocks.0.attn.qkv.weight"), "{message}");
    Ok(())
}

/// 96 wide, as the first stage of PiT-XS: two heads of 48, though heads of 32 would fit as well.
#[test]
fn heads_of_a_published_width_are_known() -> Result<()> {
    let (folder, arch) = (tempfile::tempdir().unwrap(), Architecture::pit(32, [16, 8], 48, &[1, 1], &[2, 4]));
    let (path, model) = (folder.path().join("a.pth"), Model::init(arch.with_classes(3), 3)?);
    model.save_pth(&path)?;
    assert_eq!(Model::load(&path, &LoadOptions::default())?.arch(), model.arch());
    Ok(())
}

#[test]
fn positions_follow_the_image() -> Result<()> {
    let (folder, mut model) = (tempfile::tempdir().unwrap(), Model::init(arch(), 3)?);
    let ramp: Vec<f32> = (0..6 * 49).map(|i| (i / 49) as f32).collect();
    let own = model.params().get("pos_embed")?.clone();
    let path = folder.path().join("a.safetensors");
    model.save(&path, "dense")?;
    let larger = LoadOptions { img_size: Some(24), ..LoadOptions::default() };
    let loaded = Model::load(&path, &larger)?;
    assert_eq!((loaded.arch().grid(), logits(&loaded)?.len()), (11, 10));
    let expected = interpolate::pos_map(&own, 11)?.to_f64s()?;
    assert_eq!(loaded.params().get("pos_embed")?.to_f64s()?, expected);

    // A map that is constant in each channel stays so: channels are not mixed.
    model.params_mut().insert("pos_embed", Tensor::from_slice([1, 6, 7, 7], &ramp)?);
    model.save(&path, "dense")?;
    let table = Model::load(&path, &larger)?.params().get("pos_embed")?.to_f64s()?;
    assert!(table.iter().enumerate().all(|(i, v)| (v - (i / 121) as f64).abs() < 1e-6));
    for shape in [&[1, 6, 7, 6][..], &[2, 6, 7, 7], &[1, 49, 6]] {
        assert!(interpolate::pos_map(&Tensor::zeros(shape, DType::F32), 3).is_err(), "{shape:?}");
    }
    Ok(())
}

/// The same number for every draw.
struct Always(f32);

impl Noise for Always {
    fn uniform(&self, _: &str, _: u64, out: &mut [f32]) -> Result<()> {
        out.fill(self.0);
        Ok(())
    }
}

/// The authors divide by the number of blocks, not by one less: the last of 4 blocks has 3/4 of the rate, not all of it.
#[test]
fn the_last_block_is_dropped_at_less_than_the_rate() -> Result<()> {
    let swin = Architecture::swin(16, 2, 4, &[2, 2], &[1, 2], 4).with_classes(5);
    let rates = |arch: &Architecture| [0, 1, 2, 3].map(|i| drop_rate(arch, i, 0.8));
    assert_eq!(rates(&arch()).map(|rate| (rate * 1e9).round()), [0.0, 0.2e9, 0.4e9, 0.6e9]);
    assert_eq!(rates(&swin).map(|rate| (rate * 3e9).round()), [0.0, 0.8e9, 1.6e9, 2.4e9]);
    assert_eq!(drop_rate(&Architecture::deit(16, 4, 6, 1, 2), 0, 0.8), 0.0);

    // A draw keeps what is dropped at its rate or below.
    let moved = |arch: Architecture, bias: &str, draw: f32| -> Result<bool> {
        let (model, noise, tape) = (Model::init(arch, 3)?, Always(draw), Tape::new());
        let mode = Mode { drop_path: 0.8, noise: &noise, ..Mode::eval() };
        let pass = Pass::new(model.params(), Some(&tape), mode, &NoHooks)?;
        let side = model.arch().img_size;
        let images = Draw::random(vec![1], 3).normal([2, 3, side, side]).to_dtype(DType::F32)?;
        let logits = model.forward(&pass, &Var::constant(images))?;
        let seed: Vec<f32> = (0..10).map(|i| i as f32 - 3.0).collect();
        let mut grads = tape.backward_from(&[(&logits[0], Tensor::from_slice([2, 5], &seed)?)])?;
        let grad = grads.take(pass.var(bias)?).map_or(Ok(Vec::new()), |grad| grad.to_f64s())?;
        Ok(grad.iter().any(|v| *v != 0.0))
    };
    let last = "transformers.2.blocks.0.mlp.fc2.bias";
    assert!(moved(arch(), last, 0.7)?, "dropped at 0.7");
    assert!(!moved(arch(), last, 0.55)?, "kept at 0.55");
    let last = "layers.1.blocks.1.mlp.fc2.bias";
    assert!(moved(swin.clone(), last, 0.85)? && !moved(swin, last, 0.7)?);
    Ok(())
}

#[test]
fn what_is_no_pit_is_refused() {
    assert!(arch().validate().is_ok());
    let windows = Mixer::Window { heads: 2, head_dim: 3, window: 7, shift: 0 };
    let stages = |widths: [usize; 3], depths: [usize; 3]| -> Vec<Stage> {
        widths.into_iter().zip(depths).map(|(embed_dim, depth)| Stage { depth, embed_dim }).collect()
    };
    let mut mixed = arch();
    mixed.blocks[0] = Block { mixer: windows, ..mixed.blocks[0].clone() };
    for (bad, part) in [
        (Architecture { stem: Stem::Patch, ..arch() }, "stem"),
        (Architecture { stem: Stem::Overlap { stride: 0 }, ..arch() }, "stem"),
        (Architecture { stem: Stem::Overlap { stride: 5 }, ..arch() }, "stem"),
        (Architecture { stem: Stem::Overlap { stride: 4 }, ..Architecture::deit(16, 4, 6, 1, 2) }, "stem"),
        (Architecture { img_size: 3, ..arch() }, "img_size"),
        (Architecture { distilled: true, ..arch() }, "stem"),
        (Architecture { stages: stages([6, 9, 24], [1, 2, 1]), ..arch() }, "multiples"),
        (Architecture { stages: stages([6, 12, 24], [1, 3, 0]), ..arch() }, "stages"),
        (mixed, "blocks[0]"),
    ] {
        let message = bad.validate().unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
        assert!(Model::init(bad, 0).is_err());
    }
}

/// Logits and every gradient, widths that are no multiples of 8, on the simulator or a card.
#[cfg(feature = "sim")]
#[test]
fn a_gpu_gives_the_same_values() -> Result<()> {
    use espalier::{Device, nn::Params};
    let model = Model::init(arch(), 3)?;
    let images = Draw::random(vec![1], 3).normal([2, 3, 16, 16]).to_dtype(DType::F32)?;
    let run = |device: Device| -> Result<(Tensor, Params)> {
        let (model, tape) = (model.to_device(device)?, Tape::new());
        let pass = Pass::new(model.params(), Some(&tape), Mode::eval(), &NoHooks)?;
        let logits = model.forward(&pass, &Var::constant(images.to_device(device)?))?;
        let seed = common::cotangent(logits[0].tensor(), 1);
        let mut grads = tape.backward_from(&[(&logits[0], seed)])?;
        let gradient = |(name, _): (&str, &Tensor)| {
            Ok((name.to_string(), grads.take(pass.var(name)?).expect(name).to_device(Device::Cpu)?))
        };
        let gradients = model.params().iter().map(gradient).collect::<Result<_>>()?;
        Ok((logits[0].tensor().to_device(Device::Cpu)?, gradients))
    };
    let ((gpu, on_gpu), (cpu, on_cpu)) = (run(common::gpu_under_test())?, run(Device::Cpu)?);
    let (gap, top) = common::distance(&gpu, &cpu);
    assert!(top > 0.1 && gap <= 1e-5 * top, "logits: {gap:.1e} of {top:.1e}");
    for ((name, gpu), (_, cpu)) in on_gpu.iter().zip(on_cpu.iter()) {
        let (gap, top) = common::distance(gpu, cpu);
        assert!(top > 0.0 && gap <= 1e-4 * top.max(1e-3), "{name}: {gap:.1e} of {top:.1e}");
    }
    common::check_guards()
}

#[cfg(feature = "sim")]
mod common;
