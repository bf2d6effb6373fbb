//! Image files to 8-bit RGB, as Pillow's `Image.open(file).convert("RGB")` gives them.
//!
//! JPEG (baseline and progressive; grey, YCbCr, RGB, CMYK, YCCK) by zune-jpeg, PNG (all colour types and depths,
//! interlaced) by the png crate. The format is read from the content, not from the name. EXIF orientation, colour
//! profiles, gamma and alpha are ignored, as Pillow's convert does.
//! Against Pillow 13.0 PNGs are equal in every pixel, but for 16-bit grey, where the high byte is taken and Pillow cuts
//! off at 255. JPEGs differ in the last bits of the inverse DCT and in chroma upsampling: over 100 ImageNet photographs
//! by 0.060 levels in the mean, at most 8. A bad Huffman code inside a scan is an error here, libjpeg patches it over;
//! a PNG cut in its last checksum is one too, Pillow takes it.

use crate::{Error, Result};
use std::{io::Cursor, path::Path};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};

/// Images with more pixels are refused.
pub const MAX_PIXELS: u64 = 1 << 28;
/// Images with more pixels need a byte of the file for every [`PIXELS_A_BYTE`].
pub const FREE_PIXELS: u64 = 1 << 22;
/// What JPEG's usual tables make of a byte where all is of one colour. A small file cannot ask for the memory of a large image.
pub const PIXELS_A_BYTE: u64 = 64;
/// Files with more bytes are refused.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// An 8-bit RGB image of at least one pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<u8>,
}

impl RgbImage {
    /// An image of the given pixels; an error unless both sides are positive and the length is width · height · 3.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        let fits = width > 0 && height > 0 && width as u128 * height as u128 * 3 == pixels.len() as u128;
        let expected = format_args!("{width} x {height} x 3 bytes, sides at least 1");
        Error::ensure_shape(fits, "RgbImage::new", expected, pixels.len())?;
        Ok(Self { width, height, pixels })
    }

    /// Width and height.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The values, `[(y·width + x)·3 + channel]` (HWC).
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes of row `y`.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.pixels[y * self.width * 3..(y + 1) * self.width * 3]
    }

    /// Swaps left and right.
    pub fn mirror(&mut self) {
        self.pixels.chunks_exact_mut(self.width * 3).for_each(|row| row.as_chunks_mut::<3>().0.reverse());
    }
}

/// Reads and decodes an image file. Errors: [`Error::Io`] when it cannot be read, [`Error::Image`] when it is empty, of
/// another format, truncated, damaged or larger than [`MAX_PIXELS`] or than its bytes make likely ([`FREE_PIXELS`]).
pub fn decode(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    let found = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if !found.is_file() {
        return Err(broken(path, "expected a file, found something else"));
    }
    let bytes = found.len();
    if bytes > MAX_FILE_BYTES {
        return Err(broken(path, format!("{bytes} bytes, more than {MAX_FILE_BYTES}")));
    }
    decode_bytes(&std::fs::read(path).map_err(Error::io("read", path))?, path)
}

/// Decodes the bytes of an image file; `name` is only for the error.
pub fn decode_bytes(bytes: &[u8], name: impl AsRef<Path>) -> Result<RgbImage> {
    let name = name.as_ref();
    let decoder = match bytes {
        [] => return Err(broken(name, "the file is empty")),
        [0xff, 0xd8, ..] => decode_jpeg,
        [0x89, b'P', b'N', b'G', ..] => decode_png,
        _ => return Err(broken(name, format!("neither JPEG nor PNG: it is {}", guess_format(bytes)))),
    };
    // The decoders are other people's code: a panic in them is a broken image, too.
    let result = std::panic::catch_unwind(|| decoder(bytes)).unwrap_or_else(|_| Err("the decoder panicked".into()));
    result.map_err(|detail| broken(name, detail))
}

fn broken(file: &Path, detail: impl Into<String>) -> Error {
    // The decoders' messages may run over several lines; a report has one line an image.
    Error::Image { file: file.into(), detail: detail.into().split_whitespace().collect::<Vec<_>>().join(" ") }
}

fn guess_format(bytes: &[u8]) -> &'static str {
    match bytes {
        [b'G', b'I', b'F', b'8', ..] => "a GIF",
        [b'B', b'M', ..] => "a BMP",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "a WebP",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "a TIFF",
        [b'P', b'1'..=b'6', ..] => "a PNM",
        _ if bytes.iter().take(512).all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => "text",
        _ => "of no known image format",
    }
}

/// The size of an image that `bytes` bytes may hold.
fn checked_size(width: u32, height: u32, bytes: usize) -> Result<(usize, usize), String> {
    let most = (bytes as u64).saturating_mul(PIXELS_A_BYTE).clamp(FREE_PIXELS, MAX_PIXELS);
    match u64::from(width) * u64::from(height) {
        pixels if (1..=most).contains(&pixels) => Ok((width as usize, height as usize)),
        _ => Err(format!("{width} x {height} pixels in {bytes} bytes, expected 1 to {most} pixels")),
    }
}

fn decode_jpeg(bytes: &[u8]) -> Result<RgbImage, String> {
    // Strict mode finds truncated scans, but also refuses padding between headers, which libjpeg skips.
    let strict = run_jpeg(bytes, true);
    if strict.as_ref().is_err_and(|error| error.contains("[strict-mode]")) { run_jpeg(bytes, false) } else { strict }
}

fn run_jpeg(bytes: &[u8], strict: bool) -> Result<RgbImage, String> {
    let base = DecoderOptions::new_safe().set_max_width(65_535).set_max_height(65_535).set_strict_mode(strict);
    let text = |error| format!("damaged JPEG: {error}");
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), base);
    decoder.decode_headers().map_err(text)?;
    let info = decoder.info().ok_or("damaged JPEG: no header")?;
    let (width, height) = checked_size(info.width.into(), info.height.into(), bytes.len())?;
    if !bytes.windows(2).rev().any(|pair| pair == [0xff, 0xd9]) {
        return Err("truncated JPEG: no end marker".into());
    }
    let input = decoder.input_colorspace().ok_or("damaged JPEG: no colour space")?;
    let output = if input == ColorSpace::YCCK { input } else { ColorSpace::RGB };
    decoder.set_options(base.jpeg_set_out_colorspace(output));
    let mut pixels = decoder.decode().map_err(text)?;
    if input == ColorSpace::YCCK {
        pixels = pixels.as_chunks::<4>().0.iter().flat_map(ycck_to_rgb).collect();
    }
    RgbImage::new(width, height, pixels).map_err(|_| format!("damaged JPEG: {} components", info.components))
}

/// libjpeg's and Pillow's RGB of Adobe's inverted inks: round(v·K/255) with v = 255 − RGB(Y, Cb, Cr).
fn ycck_to_rgb(pixel: &[u8; 4]) -> [u8; 3] {
    let [y, cb, cr, k] = pixel.map(i32::from);
    let fix = |x: f64| (x * 65536.0 + 0.5) as i32;
    let r = y + ((fix(1.402) * (cr - 128) + 32768) >> 16);
    let g = y + ((-fix(0.34414) * (cb - 128) - fix(0.71414) * (cr - 128) + 32768) >> 16);
    let b = y + ((fix(1.772) * (cb - 128) + 32768) >> 16);
    [r, g, b].map(|v| {
        let product = (255 - v).clamp(0, 255) * k + 128;
        (((product >> 8) + product) >> 8) as u8
    })
}

/// The first three of every four bytes, in place.
fn without_alpha(mut data: Vec<u8>) -> Vec<u8> {
    let pixels = data.len() / 4;
    for pixel in 1..pixels {
        data.copy_within(4 * pixel..4 * pixel + 3, 3 * pixel);
    }
    data.truncate(3 * pixels);
    data
}

fn decode_png(bytes: &[u8]) -> Result<RgbImage, String> {
    let text = |error| format!("damaged PNG: {error}");
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: 1 << 30 });
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    // Colour profiles and texts can be packed a thousand to one.
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_ignore_text_chunk(true);
    let header = decoder.read_header_info().map_err(text)?;
    let (width, height) = checked_size(header.width, header.height, bytes.len())?;
    let mut reader = decoder.read_info().map_err(text)?;
    let colours = reader.info().palette.as_ref().map_or(3, |palette| palette.len());
    if colours == 0 || colours % 3 != 0 {
        return Err(format!("damaged PNG: a palette of {colours} bytes, expected three a colour"));
    }
    let mut data = vec![0; reader.output_buffer_size().ok_or("damaged PNG: too large")?];
    let frame = reader.next_frame(&mut data).map_err(text)?;
    if (frame.width as usize, frame.height as usize) != (width, height) {
        return Err("damaged PNG: the first frame does not fill the image".into());
    }
    data.truncate(frame.buffer_size());
    let pixels = match frame.color_type {
        png::ColorType::Rgb => data,
        png::ColorType::Rgba => without_alpha(data),
        png::ColorType::Grayscale => data.iter().flat_map(|&v| [v; 3]).collect(),
        png::ColorType::GrayscaleAlpha => data.as_chunks::<2>().0.iter().flat_map(|&[v, _]| [v; 3]).collect(),
        png::ColorType::Indexed => return Err("damaged PNG: no palette".into()),
    };
    RgbImage::new(width, height, pixels).map_err(|error| error.to_string())
}
