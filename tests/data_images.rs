//! Decoding, resizing and transforms against Pillow's and torchvision's results, and against every kind of bad file.

use espalier::Error;
use espalier::data::augment::{Augment, BoxDraws, Crop, Transform, padded_crop, random_box};
use espalier::data::image::{RgbImage, decode, decode_bytes};
use espalier::data::resize::*;
use espalier::noise::Philox;
use proptest::prelude::*;
use std::path::Path;

fn formula(width: usize, height: usize) -> RgbImage {
    let value = |i: usize| {
        let (y, x, c) = (i / 3 / width, i / 3 % width, i % 3);
        ((7 * x + 13 * y + 50 * c + 3 * ((x * y) % 31)) % 256) as u8
    };
    RgbImage::new(width, height, (0..width * height * 3).map(value).collect()).unwrap()
}

fn short_side_resized(image: &RgbImage, side: usize) -> espalier::Result<RgbImage> {
    let (width, height) = image.size();
    let (width, height) = short_side_size(width, height, side);
    resize(image, width, height, Filter::Bicubic)
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name)
}

#[test]
fn evaluation_preprocessing_equals_pillow() {
    // The CRC-32 is of the recorded 224 x 224 x 3 bytes of items 6 and 7 of the case resize_crop_normalize.
    for (width, height, size, offset, crc) in
        [(500, 375, (341, 256), (16, 58), 0xcb01_30ee), (233, 181, (329, 256), (16, 52), 0xf248_9702)]
    {
        let image = formula(width, height);
        assert_eq!(short_side_size(width, height, 256), size);
        let rect = centre_rect(size.0, size.1, 224).unwrap();
        assert_eq!((rect.top, rect.left), offset);
        let cropped = crop(&resize(&image, size.0, size.1, Filter::Bicubic).unwrap(), rect).unwrap();
        assert_eq!(crc32fast::hash(cropped.pixels()), crc);
        let noise = Philox { seed: 0, step: 0 };
        assert_eq!(Augment::default().eval(224).crop_and_flip(&image, &noise, 0).unwrap(), cropped);
        let values = normalize(&cropped, IMAGENET_MEAN, IMAGENET_STD);
        let expected = (f32::from(cropped.pixels()[3 * 225 + 2]) / 255.0 - 0.406) / 0.225;
        assert!((values[2 * 224 * 224 + 225] - expected).abs() < 1e-6);
    }
}

#[test]
fn extreme_shapes_resize() {
    assert!([(0, 1), (1, 0), (1, 1)].iter().all(|&(width, height)| RgbImage::new(width, height, vec![]).is_err()));
    let one = RgbImage::new(1, 1, vec![9, 99, 199]).unwrap();
    let large = short_side_resized(&one, 256).unwrap();
    assert!(large.size() == (256, 256) && large.pixels().chunks(3).all(|p| p == [9, 99, 199]));
    assert_eq!(short_side_size(10_000, 1, 3), (30_000, 3));
    let noise = Philox { seed: 0, step: 0 };
    for (width, height) in [(60_000, 1), (1, 60_000), (3, 200), (1, 1)] {
        let image = formula(width, height);
        // The resized image of the first two would have 4·10⁹ pixels; only the centre is made.
        assert_eq!(Augment::default().eval(224).apply(&image, &noise, 0).unwrap().len(), 3 * 224 * 224);
        assert_eq!(Augment::default().train(64).apply(&image, &noise, 0).unwrap().len(), 3 * 64 * 64);
    }
    assert!(short_side_resized(&formula(60_000, 1), 256).is_err());
    assert!(resize(&one, 0, 5, Filter::Bilinear).is_err());
    assert!(centre_rect(one.size().0, one.size().1, 2).is_err());
    assert!(crop(&one, Rect { top: 0, left: usize::MAX, height: 1, width: 1 }).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_region_is_a_part_of_the_whole(
        size in (1usize..40, 1usize..40), out in (1usize..50, 1usize..50), at in (0.0..1.0f64, 0.0..1.0f64), cubic: bool
    ) {
        let image = formula(size.0, size.1);
        let filter = if cubic { Filter::Bicubic } else { Filter::Bilinear };
        let whole = resize(&image, out.0, out.1, filter).unwrap();
        let (left, top) = ((at.0 * out.0 as f64) as usize, (at.1 * out.1 as f64) as usize);
        let rect = Rect { top, left, height: out.1 - top, width: (out.0 - left).div_ceil(2) };
        let region = resize_region(&image, out.0, out.1, filter, rect).unwrap();
        prop_assert_eq!(region, crop(&whole, rect).unwrap());
    }

    #[test]
    fn resizing_keeps_constants_and_identities(size in (1usize..40, 1usize..40), out in (1usize..50, 1usize..50), v: u8) {
        let image = formula(size.0, size.1);
        prop_assert_eq!(&resize(&image, size.0, size.1, Filter::Bicubic).unwrap(), &image);
        let flat = RgbImage::new(size.0, size.1, vec![v; size.0 * size.1 * 3]).unwrap();
        for filter in [Filter::Bicubic, Filter::Bilinear] {
            prop_assert!(resize(&flat, out.0, out.1, filter).unwrap().pixels().iter().all(|&p| p == v));
        }
    }

    #[test]
    fn padded_crops_show_the_image_and_zeros(size in (1usize..12, 1usize..12), padding in 0usize..9, sample: u64) {
        let image = formula(size.0, size.1);
        let side = (size.0.min(size.1) + 2 * padding).div_ceil(2);
        let mut stream = Philox { seed: 3, step: 1 }.stream("data/crop", sample);
        let mut same = stream.clone();
        let out = padded_crop(&image, padding, side, &mut stream).unwrap();
        let top = same.below(size.1 + 2 * padding - side + 1);
        let left = same.below(size.0 + 2 * padding - side + 1);
        for (i, pixel) in out.pixels().chunks(3).enumerate() {
            let (y, x) = ((i / side + top).wrapping_sub(padding), (i % side + left).wrapping_sub(padding));
            let expected = if x < size.0 && y < size.1 { &image.row(y)[x * 3..x * 3 + 3] } else { &[0; 3] };
            prop_assert_eq!(pixel, expected);
        }
    }
}

/// Recorded draws of the case random_resized_crop: area fraction and log ratio in turn; then top and left.
struct Draws(Vec<f64>, Vec<usize>);

impl BoxDraws for Draws {
    fn uniform(&mut self, _low: f64, _high: f64) -> f64 {
        self.0.remove(0)
    }
    fn below(&mut self, _n: usize) -> usize {
        self.1.remove(0)
    }
}

#[test]
fn random_boxes_equal_torchvision() {
    let ratio = [0.75, 4.0 / 3.0];
    let never = || vec![0.9; 10].into_iter().flat_map(|area| [area, 0.0]).collect::<Vec<f64>>();
    let cases = [
        (80, 60, vec![0.37785307815510444, 0.0690606621242566], vec![0, 16], [0, 16, 41, 44]),
        (45, 45, vec![0.14755252241814504, 0.054292470668921844], vec![5, 11], [5, 11, 17, 18]),
        (48, 64, vec![0.5450845134145009, -0.03646682790244926], vec![1, 8], [1, 8, 42, 40]),
        (100, 20, never(), vec![], [0, 36, 20, 27]),
        (20, 100, never(), vec![], [36, 0, 27, 20]),
    ];
    for (width, height, uniforms, places, expected) in cases {
        let mut draws = Draws(uniforms, places);
        let rect = random_box(width, height, [0.08, 1.0], ratio, &mut draws);
        assert_eq!([rect.top, rect.left, rect.height, rect.width], expected);
        assert!(draws.0.is_empty() && draws.1.is_empty());
    }
}

#[test]
fn transforms_are_functions_of_seed_epoch_and_sample() {
    let image = formula(70, 50);
    let train = Augment::default().train(40);
    let at = |seed, step, sample| train.apply(&image, &Philox { seed, step }, sample).unwrap();
    assert_eq!(at(1, 2, 3), at(1, 2, 3));
    assert!(at(1, 2, 3) != at(2, 2, 3) && at(1, 2, 3) != at(1, 3, 3) && at(1, 2, 3) != at(1, 2, 4));
    assert_eq!(Augment::default().train(32).crop, Crop::Padded { padding: 4 });
    assert_eq!(Augment::default().eval(32).crop, Crop::Centre { resize: None });
    assert_eq!(Augment::default().eval(384).crop, Crop::Centre { resize: Some(438) });
    for bad in [
        Transform { img_size: 0, ..Augment::default().eval(224) },
        Transform { flip: f32::NAN, ..Augment::default().eval(224) },
        Transform { std: [0.0; 3], ..Augment::default().eval(224) },
        Transform { crop: Crop::Centre { resize: Some(100) }, ..Augment::default().eval(224) },
        Transform {
            crop: Crop::RandomResized { scale: [0.5, 0.1], ratio: [1.0, 1.0] },
            ..Augment::default().eval(224)
        },
    ] {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
}

#[test]
fn jpegs_are_within_a_few_levels_of_pillow() {
    // The PNGs are Pillow's own decoding of the JPEGs.
    for (name, limit) in [("baseline_420", 6), ("progressive_444", 3), ("grey", 1), ("cmyk", 3), ("ycck", 3)] {
        let jpeg = decode(fixture(&format!("{name}.jpg"))).unwrap();
        let expected = decode(fixture(&format!("{name}.png"))).unwrap();
        assert_eq!(jpeg.size(), (19, 23));
        let difference = jpeg.pixels().iter().zip(expected.pixels()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(difference <= Some(limit), "{name}: {difference:?}");
    }
}

fn png_bytes(color: png::ColorType, depth: png::BitDepth, data: &[u8], size: (u32, u32)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size.0, size.1);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette(vec![1, 2, 3, 40, 50, 60, 7, 8, 9]);
        encoder.set_trns(vec![0, 128, 255]);
    }
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    bytes
}

#[test]
fn every_kind_of_png_becomes_rgb() {
    use png::{BitDepth::*, ColorType::*};
    let rgb = |bytes: Vec<u8>| decode_bytes(&bytes, "test.png").unwrap().pixels().to_vec();
    assert_eq!(rgb(png_bytes(Rgb, Eight, &[1, 2, 3, 4, 5, 6], (2, 1))), [1, 2, 3, 4, 5, 6]);
    assert_eq!(rgb(png_bytes(Rgba, Eight, &[1, 2, 3, 0, 4, 5, 6, 9], (1, 2))), [1, 2, 3, 4, 5, 6]);
    assert_eq!(rgb(png_bytes(Rgb, Sixteen, &[1, 200, 2, 0, 3, 255], (1, 1))), [1, 2, 3]);
    assert_eq!(rgb(png_bytes(Grayscale, Sixteen, &[7, 200], (1, 1))), [7, 7, 7]);
    assert_eq!(rgb(png_bytes(GrayscaleAlpha, Eight, &[7, 0], (1, 1))), [7, 7, 7]);
    assert_eq!(rgb(png_bytes(Grayscale, Two, &[0b0110_0000], (2, 1))), [85, 85, 85, 170, 170, 170]);
    assert_eq!(rgb(png_bytes(Grayscale, One, &[0b0100_0000], (2, 1))), [0, 0, 0, 255, 255, 255]);
    assert_eq!(rgb(png_bytes(Indexed, Two, &[0b0110_0000], (2, 1))), [40, 50, 60, 7, 8, 9]);
}

#[test]
fn broken_files_are_errors_that_name_the_file() {
    let name = |bytes: &[u8]| match decode_bytes(bytes, "some/name.jpg") {
        Err(Error::Image { file, detail }) => {
            assert_eq!(file, Path::new("some/name.jpg"));
            detail
        }
        other => panic!("{other:?}"),
    };
    assert!(name(&[]).contains("empty"));
    assert!(name(b"this is not an image\n").contains("text"));
    assert!(name(b"GIF89a").contains("GIF"));
    // A header that promises more pixels than are allowed.
    let mut huge = png_bytes(png::ColorType::Grayscale, png::BitDepth::Eight, &[0], (1, 1));
    huge[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let crc = crc32fast::hash(&huge[12..29]).to_be_bytes();
    huge[29..33].copy_from_slice(&crc);
    assert!(name(&huge).contains("65536 x 65536"));
    assert!(matches!(decode("no/such/file.png"), Err(Error::Io { .. })));
    for file in ["baseline_420.jpg", "progressive_444.jpg", "grey.jpg", "cmyk.jpg", "baseline_420.png"] {
        let bytes = std::fs::read(fixture(file)).unwrap();
        let data_end = if file.ends_with("png") { bytes.len() - 16 } else { bytes.len() };
        for end in 0..data_end {
            name(&bytes[..end]);
        }
        // A flipped byte may go unnoticed in a JPEG, but it must come back.
        for position in 0..bytes.len() {
            for flip in [0xff, 0x01, 0x80] {
                let mut damaged = bytes.clone();
                damaged[position] ^= flip;
                let _ = decode_bytes(&damaged, "damaged");
            }
        }
    }
}
