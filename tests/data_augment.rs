//! Augmentation of single images: the operations against Pillow 9.5, the distributions of what is drawn, bad settings.

use espalier::data::augment::{Augment, Crop, Interpolation, Transform};
use espalier::data::erasing::Erasing;
use espalier::data::image::RgbImage;
use espalier::data::pixel_ops::PixelOp;
use espalier::data::randaugment::{OPERATIONS, RandAugment, color_jitter};
use espalier::data::resize::Filter;
use espalier::noise::Philox;
use espalier::train::recipe::Recipe;
use proptest::prelude::*;
use std::collections::HashMap;

/// The published policy.
const POLICY: RandAugment = RandAugment { ops: 2, magnitude: 9.0, std: 0.5, increasing: true };

/// What DeiT's recipe does to images of `size` pixels in training.
fn published(size: usize) -> Transform {
    Recipe::load("deit", &[]).unwrap().augment.train(size)
}

fn formula(width: usize, height: usize) -> RgbImage {
    let value = |i: usize| {
        let (y, x, c) = (i / 3 / width, i / 3 % width, i % 3);
        (30 + (7 * x + 13 * y + 50 * c + 3 * ((x * y) % 31)) % (151 + 20 * c)) as u8
    };
    RgbImage::new(width, height, (0..width * height * 3).map(value).collect()).unwrap()
}

/// Fifty operations, in the order in which the checksums below were taken.
fn operations() -> Vec<(PixelOp, Filter)> {
    use PixelOp::*;
    let mut plain = vec![AutoContrast, Equalize, Invert];
    plain.extend([0, 1, 3].map(Posterize));
    plain.extend([0, 77, 256].map(Solarize));
    plain.extend([0, 61, 110].map(SolarizeAdd));
    for enhance in [Color, Contrast, Brightness, Sharpness] {
        plain.extend([0.1, 0.73, 1.0, 1.87].map(enhance));
    }
    let mut all: Vec<_> = plain.into_iter().map(|operation| (operation, Filter::Bicubic)).collect();
    for filter in [Filter::Bilinear, Filter::Bicubic] {
        all.extend([17.3, -29.1, 0.0].map(|degrees| (Rotate(degrees), filter)));
        let moves = [0.137, -0.29].map(|by| [ShearX, ShearY, TranslateX, TranslateY].map(|made| (made(by), filter)));
        all.extend(moves.into_iter().flatten());
    }
    all
}

#[test]
fn operations_equal_pillow() {
    // CRC-32 of the fifty results of Pillow 9.5.0, one after the other.
    let expected: [((usize, usize), u32); 7] = [
        ((61, 47), 0xb40ce8cb),
        ((47, 120), 0x773f0e7a),
        ((1, 1), 0x95eb67c5),
        ((1, 40), 0xf80211af),
        ((40, 2), 0xfa1b65b8),
        ((2, 3), 0x585fc7ab),
        ((224, 224), 0xbaedccc3),
    ];
    assert_eq!(operations().len(), 50);
    for ((width, height), crc) in expected {
        let mut bytes = Vec::new();
        for (operation, filter) in operations() {
            let mut image = formula(width, height);
            operation.apply(&mut image, filter, [124, 116, 104]);
            bytes.extend_from_slice(image.pixels());
        }
        assert_eq!(crc32fast::hash(&bytes), crc, "{width} x {height}");
    }
}

/// Whether `count` of `n` trials fits the probability `p`, within five deviations.
fn fits(count: usize, n: usize, p: f64) -> bool {
    (count as f64 - n as f64 * p).abs() <= 5.0 * (n as f64 * p * (1.0 - p)).sqrt()
}

#[test]
fn rand_augment_draws_evenly_and_by_its_magnitude() {
    const IMAGES: usize = 30_000;
    let noise = Philox { seed: 3, step: 7 };
    let (mut counts, mut degrees, mut signs) = (HashMap::<&str, usize>::new(), Vec::new(), Vec::new());
    let mut applied = [0; 3];
    for sample in 0..IMAGES as u64 {
        let drawn = POLICY.draw(&mut noise.stream("data/colour", sample));
        applied[drawn.len()] += 1;
        for operation in drawn {
            *counts.entry(operation.into()).or_default() += 1;
            match operation {
                PixelOp::Rotate(by) => degrees.push(by),
                PixelOp::ShearX(by) | PixelOp::ShearY(by) => signs.push(by < 0.0),
                PixelOp::TranslateX(by) | PixelOp::TranslateY(by) => signs.push(by < 0.0),
                PixelOp::Color(f) | PixelOp::Contrast(f) => signs.push(f < 1.0),
                PixelOp::Brightness(f) | PixelOp::Sharpness(f) => signs.push(f < 1.0),
                _ => {}
            }
        }
    }
    assert_eq!(counts.len(), OPERATIONS.len());
    for (name, count) in counts {
        assert!(fits(count, 2 * IMAGES, 0.5 / 15.0), "{name}: {count}");
    }
    assert!(fits(applied[0], IMAGES, 0.25) && fits(applied[1], IMAGES, 0.5) && fits(applied[2], IMAGES, 0.25));
    let n = degrees.len();
    signs.extend(degrees.iter().map(|by| *by < 0.0));
    assert!(fits(signs.iter().filter(|negative| **negative).count(), signs.len(), 0.5));
    let magnitudes: Vec<f64> = degrees.iter().map(|by| by.abs() / 3.0).collect();
    // N(9, ½) cut off at 10: the mean is 9 − ½(φ(2) − 2(1 − Φ(2))).
    let mean = magnitudes.iter().sum::<f64>() / n as f64;
    assert!((mean - 8.995_75).abs() < 5.0 * 0.5 / (n as f64).sqrt(), "{mean}");
    assert!(fits(magnitudes.iter().filter(|m| **m == 10.0).count(), n, 0.022_75));
    assert!(fits(magnitudes.iter().filter(|m| **m < 8.5).count(), n, 0.158_66));
}

#[test]
fn policies_are_read_and_written() {
    for text in ["rand-m9-mstd0.5-inc1", "rand-n2-m9-mstd0.5-inc1", "rand-inc1-mstd0.5-m9"] {
        assert_eq!(text.parse::<RandAugment>().unwrap(), POLICY, "{text}");
    }
    assert_eq!(POLICY.to_string(), "rand-n2-m9-mstd0.5-inc1");
    let bare = RandAugment { ops: 2, magnitude: 10.0, std: 0.0, increasing: false };
    assert_eq!("rand".parse::<RandAugment>().unwrap(), bare);
    let three = "rand-n3-m7.5".parse::<RandAugment>().unwrap();
    assert_eq!(three, RandAugment { ops: 3, magnitude: 7.5, ..bare });
    assert_eq!(three.to_string().parse::<RandAugment>().unwrap(), three);
    let bad = [
        "", "augmix-m3", "rand-", "rand-m", "rand-m11", "rand-m-3", "rand-mNaN", "rand-n0", "rand-n1.5", "rand-w0",
        "rand-inc2", "rand-inc", "rand-m9-m9", "rand-mstd-1", "rand-x3", "rand-mstdinf", "rand--m9", "rand-é1",
    ];
    for text in bad {
        let error = text.parse::<RandAugment>().expect_err(text).to_string();
        assert!(error.contains("augment"), "{text}: {error}");
    }
    // Without a deviation every magnitude is the mean; decreasing integers are small where increasing ones are large.
    let noise = Philox { seed: 0, step: 0 };
    let strong = RandAugment { ops: 32, magnitude: 10.0, std: 0.0, increasing: true };
    let drawn = |policy: RandAugment| (0..40).flat_map(move |k| policy.draw(&mut noise.stream("data/colour", k)));
    assert!(drawn(strong).all(|operation| !matches!(operation, PixelOp::Posterize(b) | PixelOp::Solarize(b) if b > 0)));
    let weak = RandAugment { magnitude: 0.0, ..strong };
    assert!(drawn(weak).any(|operation| operation == PixelOp::Posterize(4)));
    assert!(drawn(RandAugment { increasing: false, ..weak }).any(|operation| operation == PixelOp::Posterize(0)));
    assert!(drawn(RandAugment { increasing: false, ..weak }).any(|operation| operation == PixelOp::Color(0.1)));
}

#[test]
fn jitter_keeps_to_its_strength() {
    let noise = Philox { seed: 1, step: 0 };
    let grey = RgbImage::new(5, 4, vec![100; 60]).unwrap();
    let mut seen = Vec::new();
    for sample in 0..500 {
        let mut image = grey.clone();
        color_jitter(&mut image, 0.3, &mut noise.stream("data/colour", sample));
        // Contrast and saturation leave a constant grey; brightness scales it.
        let value = image.pixels()[0];
        assert!((70..=130).contains(&value) && image.pixels().iter().all(|v| *v == value), "{value}");
        seen.push(value);
    }
    assert!(seen.iter().min().unwrap() < &75 && seen.iter().max().unwrap() > &125);
    let picture = formula(31, 17);
    let mut same = picture.clone();
    color_jitter(&mut same, 0.0, &mut noise.stream("data/colour", 0));
    assert_eq!(same, picture);
    // It does nothing while there is a policy.
    let policy = Transform { color_jitter: 0.0, ..published(20) };
    let both = Transform { color_jitter: 0.4, ..policy.clone() };
    let jitter = Transform { rand_augment: None, ..both.clone() };
    let applied = |transform: &Transform, k| transform.apply(&picture, &noise, k).unwrap();
    assert!((0..20).all(|k| applied(&both, k) == applied(&policy, k)));
    assert!((0..20).all(|k| applied(&jitter, k) != applied(&policy, k)));
}

#[test]
fn erasing_is_as_often_as_large_and_as_noisy_as_told() {
    const IMAGES: usize = 8000;
    let noise = Philox { seed: 5, step: 1 };
    let (height, width) = (40, 30);
    let (mut erased, mut shares, mut values) = (0, Vec::new(), Vec::new());
    for sample in 0..IMAGES as u64 {
        let mut image = vec![9.0; 3 * height * width];
        Erasing::default().apply(&mut image, height, width, &noise, sample).unwrap();
        let rects = Erasing::default().boxes(height, width, &mut noise.stream("data/erase", sample));
        let inside = |at: usize| {
            let (y, x) = (at / width % height, at % width);
            rects.iter().any(|r| (r.top..r.top + r.height).contains(&y) && (r.left..r.left + r.width).contains(&x))
        };
        assert!((0..image.len()).all(|at| inside(at) == (image[at] != 9.0)));
        for rect in &rects {
            assert!(rect.height < height && rect.width < width);
            assert!(rect.top + rect.height <= height && rect.left + rect.width <= width);
            erased += 1;
            shares.push((rect.height * rect.width) as f64 / (height * width) as f64);
            values.extend(image.iter().filter(|v| **v != 9.0).map(|v| f64::from(*v)));
        }
    }
    assert!(fits(erased, IMAGES, 0.25), "{erased}");
    assert!(shares.iter().all(|share| (0.01..0.36).contains(share)));
    let n = values.len() as f64;
    let (mean, square) = (values.iter().sum::<f64>() / n, values.iter().map(|v| v * v).sum::<f64>() / n);
    assert!(mean.abs() < 5.0 / n.sqrt() && (square - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{mean} {square}");
    // Several rectangles share the area; a single pixel is never erased.
    let many = Erasing { probability: 1.0, count: 4, ..Erasing::default() };
    let counts: Vec<_> = (0..2000).map(|k| many.boxes(40, 30, &mut noise.stream("data/erase", k)).len()).collect();
    assert!((1..=4).all(|count| fits(counts.iter().filter(|c| **c == count).count(), 2000, 0.25)));
    let pixel = |k| many.boxes(1, 1, &mut noise.stream("data/erase", k));
    assert!((0..100).all(|k| pixel(k).iter().all(|rect| rect.height * rect.width == 0)));
}

#[test]
fn settings_are_data_and_bad_ones_are_refused() {
    let good = Transform { interpolation: Interpolation::Random, color_jitter: 0.4, ..published(224) };
    let text = serde_json::to_string(&good).unwrap();
    assert!(text.contains("\"rand-n2-m9-mstd0.5-inc1\"") && text.contains("\"random\""), "{text}");
    assert_eq!(serde_json::from_str::<Transform>(&text).unwrap(), good);
    assert_eq!(toml::from_str::<Transform>(&toml::to_string(&good).unwrap()).unwrap(), good);
    assert!(serde_json::from_str::<Transform>(&text.replace("color_jitter", "colour_jitter")).is_err());
    assert!(serde_json::from_str::<Transform>(&text.replace("rand-n2", "rand-k2")).is_err());
    let erasing = |change: fn(&mut Erasing)| {
        let mut erasing = Erasing::default();
        change(&mut erasing);
        Transform { erasing: Some(erasing), ..good.clone() }
    };
    let policy = |magnitude, std| RandAugment { magnitude, std, ..POLICY };
    let bad = [
        Transform { color_jitter: -0.1, ..good.clone() },
        Transform { color_jitter: f64::NAN, ..good.clone() },
        Transform { rand_augment: Some(policy(11.0, 0.5)), ..good.clone() },
        Transform { rand_augment: Some(policy(9.0, f64::INFINITY)), ..good.clone() },
        Transform { rand_augment: Some(RandAugment { ops: 0, ..POLICY }), ..good.clone() },
        erasing(|e| e.probability = 1.5),
        erasing(|e| e.count = 0),
        erasing(|e| e.area = [0.0, 0.5]),
        erasing(|e| e.area = [0.5, 1.5]),
        erasing(|e| e.ratio = [2.0, 1.0]),
    ];
    good.validate().unwrap();
    for bad in bad {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
}

#[test]
fn a_recipe_is_the_parts_in_order() {
    let (noise, image) = (Philox { seed: 2, step: 3 }, formula(90, 70));
    let whole = published(48);
    for sample in 0..12 {
        let mut part = whole.crop_and_flip(&image, &noise, sample).unwrap();
        assert_eq!(Augment::default().train(48).crop_and_flip(&image, &noise, sample).unwrap(), part);
        whole.colour(&mut part, &noise, sample);
        let mut values = espalier::data::resize::normalize(&part, whole.mean, whole.std);
        whole.erasing.unwrap().apply(&mut values, 48, 48, &noise, sample).unwrap();
        assert_eq!(whole.apply(&image, &noise, sample).unwrap(), values);
    }
    // Up to 32 pixels nothing is resized: zeros of the border are black after normalisation.
    let small = Transform { flip: 0.0, ..Augment::default().train(32) };
    assert_eq!(small.crop, Crop::Padded { padding: 4 });
    assert_eq!(small.apply(&formula(32, 32), &noise, 0).unwrap().len(), 3 * 32 * 32);
}

proptest! {
    #[test]
    fn no_shape_of_image_panics(
        width in 1usize..400, height in 1usize..12, turned: bool, side in 1usize..40, sample: u64, random: bool,
    ) {
        let (width, height) = if turned { (height, width) } else { (width, height) };
        let interpolation = if random { Interpolation::Random } else { Interpolation::Bilinear };
        let rand_augment = Some(RandAugment { ops: 15, std: 3.0, ..POLICY });
        let erasing = Some(Erasing { probability: 1.0, count: 5, ..Erasing::default() });
        // The crop of sizes above 32, so that every shape has one.
        let crop = Augment::default().train(224).crop;
        let transform = Transform { crop, interpolation, rand_augment, erasing, ..Augment::default().train(side) };
        let (noise, image) = (Philox { seed: 1, step: 2 }, formula(width, height));
        let values = transform.apply(&image, &noise, sample).unwrap();
        prop_assert_eq!(values.len(), 3 * side * side);
        prop_assert!(values.iter().all(|v| v.is_finite()));
        prop_assert_eq!(transform.apply(&image, &noise, sample).unwrap(), values);
        // The operations themselves, on the image as it is.
        for (operation, filter) in operations() {
            let mut changed = image.clone();
            operation.apply(&mut changed, filter, [1, 2, 3]);
            prop_assert_eq!(changed.size(), image.size());
        }
    }
}
