//! What makes hostile files: the formats from their parts.

use espalier::io::{BlobType, safetensors as format};
use espalier::models::{LoadOptions, Model};
use std::io::Write;
use std::path::Path;

/// The block of [`ARCH`].
pub const BLOCK: &str = "{\"mixer\":{\"kind\":\"attention\",\"heads\":2,\"head_dim\":4},\"hidden\":2}";
/// A model of one block.
pub const ARCH: &str = "{\"family\":\"deit\",\"img_size\":8,\"patch_size\":4,\"num_classes\":5,\"embed_dim\":8,\"ln_eps\":1e-6,\
\"blocks\":[{\"mixer\":{\"kind\":\"attention\",\"heads\":2,\"head_dim\":4},\"hidden\":2}]}";

/// A zip archive of `(name, contents, deflated)`.
pub fn zip(entries: &[(&str, &[u8], bool)]) -> Vec<u8> {
    let (mut local, mut central) = (Vec::new(), Vec::new());
    for &(name, contents, pack) in entries {
        let packed = if pack { deflate(contents) } else { contents.to_vec() };
        let start = local.len() as u32;
        let method = if pack { 8u16 } else { 0 };
        let sizes =
            [crc32fast::hash(contents), packed.len() as u32, contents.len() as u32].map(u32::to_le_bytes).concat();
        let name_len = (name.len() as u16).to_le_bytes();
        // version, flags, method, time, date, checksum and sizes, length of the name, of what is extra
        let common = [&[20, 0, 0, 0][..], &method.to_le_bytes(), &[0; 4], &sizes, &name_len, &[0, 0]].concat();
        local.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), &packed].concat());
        let record = [&b"PK\x01\x02\x14\0"[..], &common, &[0; 10], &start.to_le_bytes(), name.as_bytes()].concat();
        central.extend(record);
    }
    let count = (entries.len().min(0xffff) as u16).to_le_bytes();
    let place = [central.len() as u32, local.len() as u32].map(u32::to_le_bytes).concat();
    [&local[..], &central, b"PK\x05\x06\0\0\0\0", &count, &count, &place, &[0, 0]].concat()
}

/// An archive whose directory has `count` records of one short entry.
pub fn many_entries(count: usize) -> Vec<u8> {
    let names: Vec<String> = (0..count).map(|at| format!("{at:x}")).collect();
    let entries: Vec<(&str, &[u8], bool)> = names.iter().map(|name| (name.as_str(), &b""[..], false)).collect();
    zip(&entries)
}

/// A file of PyTorch with this stream.
pub fn pickled(stream: &[u8]) -> Vec<u8> {
    zip(&[("archive/data.pkl", stream, false)])
}

/// The same, packed.
pub fn deflated(stream: &[u8]) -> Vec<u8> {
    zip(&[("archive/data.pkl", stream, true)])
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("packed")
}

pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("packed")
}

/// Safetensors of this header and data.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Safetensors of one tensor `w` with this entry of metadata.
pub fn with_metadata(key: &str, value: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let tensor = espalier::io::Blob::new(BlobType::F32, [1], vec![0; 4]).expect("a tensor");
    format::write(&path, &[("w".into(), tensor)], &[(key.into(), value.into())]).expect("written");
    std::fs::read(path).expect("a file")
}

/// A reader that asks for fresh heads.
pub fn new_head(folder: &Path, bytes: &[u8]) -> espalier::Result<()> {
    let path = folder.join("model");
    std::fs::write(&path, bytes).map_err(espalier::Error::io("write", &path))?;
    Model::load(path, &LoadOptions { new_head: true, ..LoadOptions::default() }).map(drop)
}

/// A reader that asks for as many tokens as there may be.
pub fn larger_images(folder: &Path, bytes: &[u8]) -> espalier::Result<()> {
    let path = folder.join("model");
    std::fs::write(&path, bytes).map_err(espalier::Error::io("write", &path))?;
    Model::load(path, &LoadOptions { img_size: Some(508), ..LoadOptions::default() }).map(drop)
}

/// A whole model of one position, but a wide one.
pub fn wide_positions() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model");
    let mut arch = espalier::models::Architecture::deit(4, 4, 12_000, 1, 1).with_classes(1);
    arch.blocks[0].mixer = espalier::models::Mixer::Attention { heads: 0, head_dim: 4 };
    arch.blocks[0].hidden = 0;
    Model::init(arch, 1).and_then(|model| model.save(&path, "dense")).expect("a model");
    std::fs::read(path).expect("a file")
}

fn chunk(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let body = [kind, data].concat();
    [&(data.len() as u32).to_be_bytes(), &body[..], &crc32fast::hash(&body).to_be_bytes()].concat()
}

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The head of a PNG of these sides with 8 bits a pixel, grey or of a palette.
fn png_head([width, height]: [u32; 2], color: u8) -> Vec<u8> {
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    [SIGNATURE, &chunk(b"IHDR", &[&sides[..], &[8, color, 0, 0, 0]].concat())].concat()
}

/// A grey PNG of these rows.
pub fn png(sides: [u32; 2], rows: &[u8]) -> Vec<u8> {
    [png_head(sides, 0), chunk(b"IDAT", &zlib(rows)), chunk(b"IEND", b"")].concat()
}

/// A PNG of 48 x 48 pixels with one more chunk: of a palette, if it is one.
pub fn png_with(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let color = if kind == b"PLTE" { 3 } else { 0 };
    let transparent = if color == 3 { chunk(b"tRNS", &[1]) } else { Vec::new() };
    let parts = [png_head([48, 48], color), chunk(kind, data), transparent, chunk(b"IDAT", &zlib(&[0; 48 * 49]))];
    [&parts.concat()[..], &chunk(b"IEND", b"")].concat()
}

/// A progressive grey JPEG of these sides: a table of one code, and as many scans without data.
pub fn jpeg([width, height]: [u16; 2], scans: usize) -> Vec<u8> {
    let segment =
        |marker: u8, data: &[u8]| [&[0xff, marker][..], &(data.len() as u16 + 2).to_be_bytes(), data].concat();
    let quantisation = segment(0xdb, &[&[0][..], &[1; 64]].concat());
    let frame = [&[8][..], &height.to_be_bytes(), &width.to_be_bytes(), &[1, 1, 0x11, 0]].concat();
    let table = |class: u8| segment(0xc4, &[&[class, 1][..], &[0; 15], &[0]].concat());
    // the first scan brings the mean, the others the first bit of the rest
    let scan = |at: usize| segment(0xda, &if at == 0 { [1, 1, 0, 0, 0, 0] } else { [1, 1, 0, 1, 63, 0] });
    let scans: Vec<u8> = (0..scans).flat_map(|at| [scan(at), vec![0; 8]].concat()).collect();
    let head = [vec![0xff, 0xd8], quantisation, segment(0xc2, &frame), table(0), table(0x10)].concat();
    [head, scans, vec![0xff, 0xd9]].concat()
}
