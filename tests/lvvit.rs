//! LV-ViT with a dense head: fine-tuned on other classes, refused where only images have labels, the box of mix-token.

use espalier::models::lvvit::mix_box;
use espalier::models::{Architecture, LoadOptions, Model, Stem};
use espalier::noise::{Noise, Philox};
use espalier::ops::TokenBox;
use espalier::report::Show;
use espalier::train::{TrainConfig, Trainer};
use espalier::{Result, Tensor};

const FILTERS: usize = 4;

fn small(dense_head: bool, classes: usize) -> Architecture {
    let stem = if dense_head { Stem::TokenLabel { filters: FILTERS } } else { Stem::Conv4 };
    let plain = Architecture::lvvit(32, stem, 16, 2, 2, 2.0).with_classes(classes);
    Architecture { dense_head, ..plain }
}

/// A file of 1000 classes begins a model of 7: both heads anew, all else as it was.
#[test]
fn both_heads_begin_anew_for_other_classes() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    for dense_head in [false, true] {
        let (model, path) = (Model::init(small(dense_head, 1000), 1)?, folder.path().join("lvvit.pth"));
        model.save_pth(&path)?;
        let options =
            LoadOptions { arch: Some(small(dense_head, 7)), new_head: true, seed: 5, ..LoadOptions::default() };
        let tuned = Model::load(&path, &options)?;
        let fresh = Model::init(small(dense_head, 7), 5)?;
        for (name, tensor) in tuned.params().iter() {
            let head = ["head.", "aux_head."].iter().any(|head| name.starts_with(head));
            let from = if head { &fresh } else { &model };
            assert_eq!(tensor.to_f64s()?, from.params().get(name)?.to_f64s()?, "{name}");
        }
        assert_eq!(tuned.params().get("aux_head.weight")?.shape()[..], [7, 16]);
        assert_eq!(tuned.predict(&Tensor::zeros([1, 3, 32, 32], espalier::DType::F32))?.shape()[..], [1, 7]);

        // The heads of a file for as many classes stay; without leave they are not replaced.
        let same = LoadOptions { arch: Some(small(dense_head, 1000)), ..options.clone() };
        let kept = Model::load(&path, &same)?;
        assert!(
            kept.params().iter().zip(model.params().iter()).all(|(a, b)| a.1.bytes().unwrap() == b.1.bytes().unwrap())
        );
        let message = Model::load(&path, &LoadOptions { new_head: false, ..options }).unwrap_err().to_string();
        assert!(message.contains("head.weight") && message.contains("a new head can be asked for"), "{message}");
    }
    Ok(())
}

#[test]
fn class_labels_train_no_dense_head() {
    let config = || TrainConfig::short("test", 1, 1, 1e-3);
    let refused = |dense_head: bool| {
        let mut model = Model::init(small(dense_head, 7), 1).unwrap();
        Trainer::new(&mut model, config(), None, Show::Quiet).err().map(|error| error.to_string())
    };
    assert_eq!(refused(false), None);
    let message = refused(true).expect("a dense head");
    for part in ["model to train", "without a dense head", "sit_lvvit", "token labels are not read yet"] {
        assert!(message.contains(part), "{message}");
    }
}

/// Three given draws.
struct Draws([f32; 3]);

impl Noise for Draws {
    fn uniform(&self, site: &str, sample: u64, out: &mut [f32]) -> Result<()> {
        assert_eq!((site, sample), ("mix_token", 0));
        out.copy_from_slice(&self.0);
        Ok(())
    }
}

/// SiT and LV-ViT, section 8.1: `ch = int(gh √(1 - λ))`, rows `clip(r - ch // 2)` to before `clip(r + ch // 2)`, columns alike.
#[test]
fn the_box_of_mix_token_is_the_published_one() -> Result<()> {
    let range = |size: i64, lambda: f32, centre: i64| {
        let cut = (size as f64 * (1.0 - f64::from(lambda)).sqrt()) as i64;
        [centre - cut / 2, centre + cut / 2].map(|at| at.clamp(0, size) as usize)
    };
    let grids = [[14i64, 14], [5, 7], [1, 3]];
    for [height, width] in grids {
        for lambda in [0.0, 0.1, 0.25, 0.5, 0.9, 0.999] {
            for (row, col) in (0..height).flat_map(|row| (0..width).map(move |col| (row, col))) {
                // The middle of the share of [0, 1) that is this token's.
                let share = |at: i64, size: i64| (at as f32 + 0.5) / size as f32;
                let draws = Draws([lambda, share(row, height), share(col, width)]);
                let ([top, bottom], [left, right]) = (range(height, lambda, row), range(width, lambda, col));
                let found = mix_box(&draws, [height as usize, width as usize])?;
                assert_eq!(found, TokenBox { top, bottom, left, right }, "{lambda} {row} {col}");
            }
        }
    }
    // By hand: 14 rows at λ = 0.5 are cut to int(9.899) = 9, which loses one; at a corner a quarter is left.
    let at = |draws| mix_box(&Draws(draws), [14, 14]);
    assert_eq!(at([0.5, 0.5, 0.5])?, TokenBox { top: 3, bottom: 11, left: 3, right: 11 });
    assert_eq!(at([0.5, 0.0, 0.999])?, TokenBox { top: 0, bottom: 4, left: 9, right: 14 });
    assert_eq!(at([0.999, 0.5, 0.5])?.area(), 0);
    // The share of a box that no border cuts is 1 - λ on average, half; borders take some of it.
    let areas = (0..2000).map(|step| Ok(mix_box(&Philox { seed: 3, step }, [14, 14])?.area()));
    let mean = areas.sum::<Result<usize>>()? as f64 / 2000.0 / 196.0;
    assert!((0.2..0.4).contains(&mean), "{mean}");
    Ok(())
}
