//! Swin forward and backward.

use super::super::case::Case;
use super::super::produced::Produced;
use super::base::training;
use super::parts::{self, Outcome, Taps, put, tensor};
use espalier::models::cost::Counting;
use espalier::models::{Architecture, Mixer, Model, swin as model_of};
use espalier::nn::{Mode, Params, Site};
use espalier::noise::Recorded;

/// One training pass with every recorded intermediate value, the loss and all gradients; then evaluation, and the count of
/// Swin's repository. The buffers of the case have to be those that the crate writes.
pub fn swin(case: &Case) -> Outcome<Produced> {
    let arch = architecture(case)?;
    let model = Model::new(arch, params(case)?, case.name())?;
    check_buffers(case, model.arch())?;
    let images = tensor(case, "in/x")?;
    let noise = match case.has("in/drop_path_keep") {
        true => parts::drop_path_keep(case, "in/drop_path_keep", model.arch().blocks.len())?,
        false => Recorded::default(),
    };
    let mode = Mode { drop_path: parts::drop_path_rate(case), noise: &noise, ..Mode::eval() };
    let mut produced = Produced::new();
    training(case, &model, mode, &images, &mut produced)?;
    let places: Vec<_> = model.arch().places().collect();
    for (site, value) in &Taps::of(&model, mode, &images)? {
        match *site {
            Site::PatchEmbed => put(&mut produced, "out/patch_embed", value),
            Site::Block(i) => put(&mut produced, format!("out/layer{}_block{}", places[i].0, places[i].1), value),
            Site::Merge(s) => put(&mut produced, format!("out/layer{s}_downsample"), value),
            Site::Norm => put(&mut produced, "out/norm", value),
            Site::Attention(i) => {
                let name = format!("out/layer{}_block{}_attn_windows", places[i].0, places[i].1);
                let side = value.dim(1).isqrt();
                let (shape, values) = windows(&value.to_f64s()?, side, value.dim(2), &model.arch().blocks[i].mixer)?;
                produced.put(name, &shape, values);
            }
            _ => {}
        }
    }
    put(&mut produced, "out/logits_eval", &model.predict(&images)?);
    produced.put_json("official_flops_method", Counting::Swin.count(model.arch(), model.arch()));
    Ok(produced)
}

fn architecture(case: &Case) -> Outcome<Architecture> {
    let [img_size, patch, dim, window] =
        ["img_size", "patch_size", "embed_dim", "window_size"].map(|key| case.config_usize(key));
    let [depths, heads] = ["depths", "num_heads"].map(|key| case.usizes_at(&format!("/config/{key}")));
    let arch = Architecture::swin(img_size?, patch?, dim?, &depths?, &heads?, window?);
    Ok(Architecture { ln_eps: case.config_f64("ln_eps")?, ..arch.with_classes(case.config_usize("num_classes")?) })
}

fn is_buffer(name: &str) -> bool {
    name.ends_with("relative_position_index") || name.ends_with("attn_mask")
}

fn params(case: &Case) -> Outcome<Params> {
    let names = case.under("param/").map(|(name, _)| name).filter(|name| !is_buffer(name));
    names.map(|name| Ok((name.to_owned(), tensor(case, &format!("param/{name}"))?))).collect()
}

/// An error unless the buffers that official files hold are recomputed exactly, and no others.
fn check_buffers(case: &Case, arch: &Architecture) -> Outcome<()> {
    let tensors =
        Model::layout(arch).slots.into_iter().map(|slot| Ok((slot.name, espalier::io::Blob::from_f32([0], &[])?)));
    let all = model_of::with_buffers(arch, tensors.collect::<espalier::Result<_>>()?)?;
    let ours: Vec<_> = all.iter().filter(|(name, _)| is_buffer(name)).collect();
    let theirs = case.under("param/").filter(|(name, _)| is_buffer(name)).count();
    if ours.len() != theirs {
        return Err(format!("{} buffers, the case has {theirs}", ours.len()).into());
    }
    for (name, blob) in ours {
        let key = format!("param/{name}");
        let (shape, values) = match name.ends_with("attn_mask") {
            true => case.f32(&key)?,
            false => case.i64s(&key).map(|(shape, values)| (shape, values.iter().map(|v| *v as f32).collect()))?,
        };
        if (shape, values) != (blob.shape.clone(), blob.to_f32()?) {
            return Err(format!("{name} differs").into());
        }
    }
    Ok(())
}

/// `[B, side², C] -> [B · windows, M², C]` of the grid rolled up and to the left.
fn windows(values: &[f64], side: usize, width: usize, mixer: &Mixer) -> Outcome<([usize; 3], Vec<f64>)> {
    let &Mixer::Window { window: m, shift, .. } = mixer else { return Err("no windows".into()) };
    let (image, across) = (side * side * width, side / m);
    let mut out = Vec::with_capacity(values.len());
    for image in values.chunks(image) {
        for (top, left) in (0..across * across).map(|w| (w / across * m, w % across * m)) {
            for (y, x) in (0..m * m).map(|at| (top + at / m + shift, left + at % m + shift)) {
                out.extend(&image[(y % side * side + x % side) * width..][..width]);
            }
        }
    }
    Ok(([values.len() / width / (m * m), m * m, width], out))
}
