//! Loading images for training on one core, in stages: `cargo bench --bench data -- FOLDER [PASSES]`.
//!
//! Every JPEG or PNG below the folder goes through the published recipe at 224 pixels: decoding, random resized crop with flip,
//! RandAugment, normalisation with random erasing. A line of JSON for each pass says how many images a second each stage and
//! the whole do; a first pass is not counted. `scripts/bench_loader.py` runs it beside Pillow.

use espalier::data::augment::Transform;
use espalier::data::{folder::loose_files, image::decode, resize::normalize};
use espalier::train::recipe::Recipe;
use espalier::{Error, Result, noise::Philox, report::exit_code};
use serde_json::json;
use std::{path::PathBuf, process::ExitCode, time::Instant};

const STAGES: [&str; 4] = ["decode", "crop_and_flip", "rand_augment", "normalize_and_erase"];

/// The seconds of each stage over all files in one epoch.
fn pass(files: &[PathBuf], transform: &Transform, epoch: u64) -> Result<[f64; 4]> {
    let (noise, size, mut seconds) = (Philox { seed: 0, step: epoch }, transform.img_size, [0.0; 4]);
    for (sample, file) in (0..).zip(files) {
        let mut start = Instant::now();
        let mut lap = |stage: usize| {
            let now = Instant::now();
            seconds[stage] += (now - std::mem::replace(&mut start, now)).as_secs_f64();
        };
        let image = decode(file)?;
        lap(0);
        let mut image = transform.crop_and_flip(&image, &noise, sample)?;
        lap(1);
        transform.colour(&mut image, &noise, sample);
        lap(2);
        let mut values = normalize(&image, transform.mean, transform.std);
        transform.erasing.map_or(Ok(()), |erasing| erasing.apply(&mut values, size, size, &noise, sample))?;
        std::hint::black_box(values);
        lap(3);
    }
    Ok(seconds)
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let Some(folder) = words.first() else {
        println!("no folder of images is named: nothing to measure");
        return Ok(());
    };
    let passes = words.get(1).map_or(Ok(5), |text| text.parse::<u64>());
    let passes = passes.map_err(|_| Error::invalid("passes", "a number", &words[1]))?;
    let (files, transform) = (loose_files(&[folder])?, Recipe::load("deit", &[])?.augment.train(224));
    for epoch in 0..=passes {
        let seconds = pass(&files, &transform, epoch)?;
        let speed = |seconds: f64| files.len() as f64 / seconds;
        let mut line = json!({"images_per_second": speed(seconds.iter().sum())});
        STAGES.iter().zip(seconds).for_each(|(stage, seconds)| line[stage] = speed(seconds).into());
        if epoch > 0 {
            println!("{line}");
        }
    }
    Ok(())
}
