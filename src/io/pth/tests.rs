//! Writer and reader together, and what hostile files may not do.

use crate::io::{self, Blob, BlobType, Value};
use crate::{Error, Result};
use std::path::Path;

fn tensors() -> Result<Vec<(String, Blob)>> {
    let f32s = Blob::from_f32([2, 3], &[1.0, -2.0, 0.5, f32::INFINITY, 0.0, 3.25])?;
    Ok(vec![
        ("blocks.0.w".into(), f32s.clone()),
        ("ü half".into(), f32s.to_float(BlobType::F16)?),
        ("bf16".into(), f32s.to_float(BlobType::BF16)?),
        ("f64".into(), f32s.to_float(BlobType::F64)?),
        ("index".into(), Blob::from_i64([2], &[-1, 1 << 40])?),
        ("mask".into(), Blob::new(BlobType::Bool, [3], vec![1, 0, 1])?),
        ("scalar".into(), Blob::from_i64([], &[7])?),
        ("empty".into(), Blob::from_f32([0, 4], &[])?),
    ])
}

#[test]
fn what_is_written_is_read_again() -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))?;
    let path = folder.path().join("x.pth");
    let tensors = tensors()?;
    io::pth::write(&path, &tensors, None)?;
    assert_eq!(io::read(&path)?.tensors, tensors);
    io::pth::write(&path, &tensors, Some("model"))?;
    let read = io::read(&path)?;
    assert!(read.tensors.iter().all(|(name, _)| name.starts_with("model/")));
    assert_eq!(io::keys::unwrap(read, None)?, tensors);
    io::pth::write(&path, &[], None)?;
    assert!(io::read(&path)?.tensors.is_empty());
    let twice = [tensors[0].clone(), tensors[0].clone()];
    assert!(matches!(io::pth::write(&path, &twice, None), Err(Error::Invalid { .. })));
    Ok(())
}

/// Parses `object`, a pickle without STOP, as the object of a legacy file; the storage of [`tensor`] follows.
fn legacy(object: &[u8]) -> Result<io::Checkpoint> {
    let mut file = super::legacy::MAGIC.to_vec();
    file.extend(b"\x80\x02M\xe9\x03.\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.\x80\x02");
    file.extend(object);
    if !object.windows(7).any(|window| window == b"storage") {
        file.extend(b".\x80\x02].");
        return io::parse(Path::new("made.pth"), &file);
    }
    file.extend(b".\x80\x02]X\x01\x00\x00\x000a.\x04\x00\x00\x00\x00\x00\x00\x00");
    file.extend([0.0f32, 1.0, 2.0, 3.0].iter().flat_map(|value| value.to_le_bytes()));
    io::parse(Path::new("made.pth"), &file)
}

/// The pickle of a tensor over a storage of 0, 1, 2, 3; `window` is the storage's sixth item.
fn tensor(window: &[u8], offset: u8, size: &[u8], stride: &[u8]) -> Vec<u8> {
    let mut out = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n".to_vec();
    out.extend(b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04");
    out.extend(window);
    out.extend(b"tQK");
    out.push(offset);
    for part in [size, stride] {
        out.push(b'(');
        out.extend(part);
        out.push(b't');
    }
    out.extend(b"\x89NtR");
    out
}

/// The name of the problem, `"expands"` for an exhausted memory budget.
fn problem(result: Result<io::Checkpoint>) -> String {
    match result {
        Err(Error::File { detail, .. }) if detail.contains("expand") => "expands".into(),
        Err(Error::File { problem, .. }) => problem.name().into(),
        other => format!("{other:?}"),
    }
}

#[test]
fn windows_of_old_files_shift_the_offset() -> Result<()> {
    let window = b"(X\x01\x00\x00\x00vK\x01K\x03t";
    let read = legacy(&tensor(window, 1, b"K\x02", b"K\x01"))?;
    assert_eq!(read.require("")?.to_f32()?, [2.0, 3.0]);
    assert_eq!(problem(legacy(&tensor(window, 2, b"K\x02", b"K\x01"))), "bad_view");
    assert_eq!(problem(legacy(&tensor(b"(X\x01\x00\x00\x00vK\x02K\x03t", 0, b"", b""))), "bad_view");
    assert_eq!(legacy(&tensor(b"N", 3, b"", b""))?.require("")?.to_f32()?, [3.0]);
    Ok(())
}

#[test]
fn memory_is_bounded() -> Result<()> {
    // 2^31 elements of stride 0.
    assert_eq!(problem(legacy(&tensor(b"N", 0, b"\x8a\x05\x00\x00\x00\x80\x00", b"K\x00"))), "expands");
    // A stride that overflows is harmless where the size is 1.
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    let strides = [huge, huge, &b"K\x02"[..]].concat();
    assert_eq!(legacy(&tensor(b"N", 0, b"K\x01K\x01K\x02", &strides))?.require("")?.to_f32()?, [0.0, 2.0]);
    // 60 lists, each twice in the next: 2^60 leaves.
    let lists = b"K\x00".iter().chain(b"2\x86".iter().cycle().take(2 * 60)).copied().collect::<Vec<_>>();
    assert_eq!(problem(legacy(&lists)), "expands");
    // A string of 64 KiB, 100,000 times.
    let mut strings = b"]X\x00\x00\x01\x00".to_vec();
    strings.resize(strings.len() + (1 << 16), b'x');
    strings.extend(b"q\x000(");
    strings.extend(b"h\x00".repeat(100_000));
    strings.push(b'e');
    assert_eq!(problem(legacy(&strings)), "expands");
    Ok(())
}

#[test]
fn cycles_and_depth_are_refused() {
    assert_eq!(problem(legacy(b"}q\x00X\x01\x00\x00\x00ah\x00s")), "bad_pickle");
    let deep = [&b"]".repeat(10_000)[..], &b"a".repeat(9_999)].concat();
    assert_eq!(problem(legacy(&deep)), "depth_limit");
    assert_eq!(problem(legacy(b"}X\x01\x00\x00\x00aNsX\x01\x00\x00\x00aNs")), "bad_pickle");
}

#[test]
fn values_of_every_kind() -> Result<()> {
    let read = legacy(b"}(K\x01\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x80X\x01\x00\x00\x00b(\x89NG\x3f\xf0\x00\x00\x00\x00\x00\x00tX\x01\x00\x00\x00cU\x02\xff\x00X\x01\x00\x00\x00dcdatetime\ndate\n)R}b\x88J\xff\xff\xff\xffu")?;
    assert_eq!(read.value("1").and_then(Value::as_f64), Some(-(2f64.powi(71))));
    assert_eq!(read.value("b"), Some(&Value::List(vec![Value::Bool(false), Value::None, Value::Float(1.0)])));
    assert_eq!(read.value("c"), Some(&Value::Bytes(vec![255, 0])));
    assert_eq!(read.value("d"), Some(&Value::Opaque("datetime.date".into())));
    assert_eq!(read.value("True"), Some(&Value::Int(-1)));
    Ok(())
}
