//! A contact sheet of the generated data set: one row a class, eight images and two masks.
//!
//! `cargo run --release --example dataset_sheet -- sheet.png [size]`

use espalier::data::generated::{CLASSES, GENERATOR_VERSION, GeneratedDataset, Split};
use std::error::Error;
use std::io::BufWriter;

const IMAGES: usize = 8;
const MASKS: usize = 2;
const GAP: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "sheet.png".into());
    if path.starts_with('-') {
        println!("usage: dataset_sheet [sheet.png] [size]");
        return Ok(());
    }
    let side: usize = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let data = GeneratedDataset::new(Split::Train, IMAGES * CLASSES.len(), side, 0)?;
    let step = side + GAP;
    let (width, height) = ((IMAGES + MASKS) * step, CLASSES.len() * step);
    let mut sheet = vec![255u8; width * height * 3];
    for row in 0..CLASSES.len() {
        for column in 0..IMAGES + MASKS {
            let (image, mask) = (column % IMAGES, column >= IMAGES);
            let index = image * CLASSES.len() + row;
            let pixels = match mask {
                true => data.mask(index).iter().flat_map(|&m| [m * 255; 3]).collect(),
                false => data.image(index).pixels().to_vec(),
            };
            for (y, line) in pixels.chunks_exact(side * 3).enumerate() {
                let start = ((row * step + y) * width + column * step) * 3;
                sheet[start..start + side * 3].copy_from_slice(line);
            }
        }
    }
    let mut encoder = png::Encoder::new(BufWriter::new(std::fs::File::create(&path)?), width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&sheet)?;
    println!("{path}: generator version {GENERATOR_VERSION}; rows {}", CLASSES.join(", "));
    Ok(())
}
