//! Reading and writing files: atomic writes, element types, names, both formats, and what hostile files may not do.

use espalier::io::{self, Blob, BlobType, Checkpoint, Value, keys, safetensors, write_atomic};
use espalier::models::Architecture;
use espalier::nn::Params;
use espalier::prune::savit::gated;
use espalier::{DType, Error, Result, Tensor};
use rawzip::CompressionMethod;
use std::io::Write;
use std::path::Path;

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_failed_write_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))?;
    let path = folder.path().join("weights");
    write_atomic(&path, |out| out.write_all(b"old"))?;
    let error = write_atomic(&path, |out| {
        out.write_all(b"new")?;
        Err(std::io::ErrorKind::StorageFull.into())
    });
    assert!(matches!(error, Err(Error::Io { action: "write", path: named, .. }) if named == path));
    assert_eq!(std::fs::read(&path).ok().as_deref(), Some(&b"old"[..]));
    assert_eq!(names(folder.path()), ["weights"]);
    write_atomic(&path, |out| out.write_all(b"new"))?;
    assert_eq!(std::fs::read(&path).ok().as_deref(), Some(&b"new"[..]));
    Ok(())
}

#[test]
fn a_missing_folder_and_a_folder_as_target_are_errors() -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))?;
    assert!(write_atomic(folder.path().join("no/where"), |_| Ok(())).is_err());
    let target = folder.path().join("folder");
    std::fs::create_dir_all(target.join("full")).map_err(Error::io("create", &target))?;
    assert!(write_atomic(&target, |_| Ok(())).is_err());
    assert_eq!(names(folder.path()), ["folder"]);
    assert!(write_atomic("/", |_| Ok(())).is_err());
    Ok(())
}

#[test]
fn conversions() -> Result<()> {
    let blob = Blob::from_f32([2, 2], &[1.0, -2.5, 0.0, 3.0])?;
    for dtype in [BlobType::F64, BlobType::F32, BlobType::F16, BlobType::BF16] {
        assert!(dtype.is_float());
        let other = blob.to_float(dtype)?;
        assert_eq!(other.bytes.len(), 4 * dtype.size());
        assert_eq!(other.to_f32()?, [1.0, -2.5, 0.0, 3.0]);
    }
    assert!(blob.to_i64().is_err() && blob.to_float(BlobType::U8).is_err());
    assert_eq!(Blob::from_i64([3], &[-1, 0, i64::MAX])?.to_i64()?, [-1, 0, i64::MAX]);
    assert_eq!(Blob::new(BlobType::I8, [2], vec![255, 1])?.to_f64()?, [-1.0, 1.0]);
    assert_eq!(Blob::new(BlobType::Bool, [], vec![1])?.to_f32()?, [1.0]);
    Ok(())
}

#[test]
fn wrong_sizes_are_errors() {
    assert!(Blob::from_f32([3], &[1.0]).is_err());
    assert!(Blob { dtype: BlobType::U8, shape: vec![usize::MAX, 2], bytes: vec![] }.to_f32().is_err());
    assert_eq!("BF16".parse(), Ok(BlobType::BF16));
    assert!("Q4_0".parse::<BlobType>().is_err());
}

#[test]
fn reading_and_writing_is_idempotent() -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))?;
    let (first, second) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
    let mut tensors = vec![
        ("mask".to_string(), Blob::new(BlobType::Bool, [3], vec![1, 0, 1])?),
        ("w \"ü\"".to_string(), Blob::from_f32([2, 1], &[1.5, f32::NAN])?),
        ("scalar".to_string(), Blob::from_i64([], &[-7])?),
        ("empty".to_string(), Blob::from_f32([0, 4], &[])?),
    ];
    for dtype in [BlobType::F16, BlobType::BF16] {
        tensors.push((dtype.name().into(), tensors[1].1.to_float(dtype)?));
    }
    let metadata = vec![("format".to_string(), "pt".to_string())];
    safetensors::write(&first, &tensors, &metadata)?;
    let read = io::read(&first)?;
    assert_eq!((&read.tensors, &read.metadata), (&tensors, &metadata));
    assert_eq!(read.require("mask")?.shape, [3]);
    assert!(read.require("none").is_err());
    safetensors::write(&second, &read.tensors, &read.metadata)?;
    let bytes = [first, second].map(|path| std::fs::read(path).unwrap_or_default());
    assert_eq!(bytes[0], bytes[1]);
    assert_eq!(u64::from_le_bytes(bytes[0].as_chunks().0[0]) % 8, 0);
    safetensors::write(folder.path().join("none"), &[], &[])?;
    assert!(io::read(folder.path().join("none"))?.tensors.is_empty());
    Ok(())
}

#[test]
fn bad_tensors_are_not_written() -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))?;
    let path = folder.path().join("x");
    let blob = Blob::from_f32([1], &[1.0])?;
    assert!(safetensors::write(&path, &[("a".into(), blob.clone()), ("a".into(), blob.clone())], &[]).is_err());
    assert!(safetensors::write(&path, &[("__metadata__".into(), blob.clone())], &[]).is_err());
    assert!(safetensors::write(&path, &[("a".into(), Blob { shape: vec![2], ..blob })], &[]).is_err());
    assert!(!path.exists());
    Ok(())
}

fn rows_of_two(rows: usize, first: f32) -> Blob {
    let values: Vec<f32> = (0..2 * rows).map(|i| first + i as f32).collect();
    Blob::from_f32([rows, 2], &values).unwrap_or_else(|error| panic!("{error}"))
}

fn named(list: &[(&str, &Blob)]) -> Vec<(String, Blob)> {
    list.iter().map(|(name, blob)| (name.to_string(), (*blob).clone())).collect()
}

#[test]
fn savit_gates_round_trip_with_all_copies() -> Result<()> {
    let arch = Architecture::deit(16, 4, 12, 2, 3).with_classes(5);
    let mut gates = gated::open(&arch);
    (gates.heads[1][0], gates.hidden[0][3], gates.embed[7]) = (0.0, 0.5, 0.25);
    let file = gated::to_params(&gates)?;
    let mut names: Vec<&str> = file.iter().map(|(name, _)| name).collect();
    names.sort();
    let expected = [
        "blocks.0.attn.attn_gate.weight",
        "blocks.0.mlp.hidden_gate1.weight",
        "blocks.0.res_gate.weight",
        "blocks.1.attn.attn_gate.weight",
        "blocks.1.mlp.hidden_gate1.weight",
        "blocks.1.res_gate.weight",
        "res_gate.weight",
    ];
    assert_eq!(names, expected);
    let read = |file: &Params| Ok::<_, Error>(gated::split_params(&arch, file, "f")?.1);
    assert_eq!(read(&file)?, gates);
    for one_copy in ["blocks.0.res_gate.weight", "res_gate.weight"] {
        let kept = file.iter().filter(|(name, _)| !name.contains("res_gate") || *name == one_copy);
        assert_eq!(read(&kept.map(|(name, tensor)| (name.to_string(), tensor.clone())).collect())?, gates);
    }
    let mut unequal = file.clone();
    unequal.insert("res_gate.weight", Tensor::zeros([12], DType::F32));
    assert!(matches!(read(&unequal), Err(Error::Key { .. })));
    Ok(())
}

#[test]
fn dense_weights_are_unwrapped() -> Result<()> {
    let (a, b) = (rows_of_two(1, 0.0), rows_of_two(1, 1.0));
    let tensors = named(&[("optimizer/0", &b), ("model_ema/w", &b), ("model/module.w", &a)]);
    let checkpoint = Checkpoint { tensors, ..Checkpoint::default() };
    assert_eq!(keys::unwrap(checkpoint.clone(), None)?, named(&[("w", &a)]));
    assert_eq!(keys::unwrap(checkpoint.clone(), Some("model_ema"))?, named(&[("w", &b)]));
    assert!(keys::unwrap(checkpoint, Some("state_dict")).is_err());
    let bare = Checkpoint { tensors: named(&[("module.w", &a), ("b", &b)]), ..Checkpoint::default() };
    let tensors = keys::unwrap(bare, None)?;
    assert_eq!(tensors, named(&[("w", &a), ("b", &b)]));
    Ok(())
}

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

/// The pickle of the magic number.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";

/// Parses `object`, a pickle without STOP, as the object of a legacy file; the storage of [`tensor`] follows.
fn legacy(object: &[u8]) -> Result<io::Checkpoint> {
    let mut file = MAGIC.to_vec();
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
    // 2^62 elements, whose bytes are 2^64.
    assert_eq!(problem(legacy(&tensor(b"N", 0, b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40", b"K\x00"))), "expands");
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
    // A list of 65,536 pairs, made into 1,000 ordered dictionaries, each dropped at once.
    let mut pairs = b"]q\x00(K\x00K\x00\x86q\x01".to_vec();
    pairs.extend(b"h\x01".repeat(65_535));
    pairs.extend(b"e0ccollections\nOrderedDict\nq\x020");
    pairs.extend(b"h\x02h\x00\x85R0".repeat(1_000));
    pairs.push(b'N');
    assert_eq!(problem(legacy(&pairs)), "expands");
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

/// A zip archive of (name, contents, method): what is deflated is declared with `size`.
fn archive(entries: &[(&str, &[u8], CompressionMethod)], size: Option<u64>) -> Vec<u8> {
    let mut zip = rawzip::ZipArchiveWriter::new(Vec::new());
    for (name, data, method) in entries {
        let packed = match *method {
            CompressionMethod::DEFLATE => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            _ => data.to_vec(),
        };
        let crc = crc32fast::hash(data);
        let file = zip.new_file(*name).compression_method(*method).crc32(rawzip::Crc32Option::Custom(crc));
        let (mut entry, _) = file.start().unwrap();
        entry.write_all(&packed).unwrap();
        entry.finish(rawzip::DataDescriptorOutput::new(crc, size.unwrap_or(data.len() as u64))).unwrap();
    }
    zip.finish().unwrap()
}

#[test]
fn archives_are_checked_before_they_are_unpacked() {
    let store = CompressionMethod::STORE;
    let parse = |bytes: &[u8]| problem(io::parse(Path::new("made.pth"), bytes));
    let none = ("a/data.pkl", &b"\x80\x02N."[..], store);
    assert_eq!(
        io::parse(Path::new("made.pth"), &archive(&[none], None)).unwrap().values,
        [(String::new(), Value::None)]
    );
    assert_eq!(parse(&archive(&[none, none], None)), "bad_archive");
    assert_eq!(parse(&archive(&[("data.pkl", none.1, store)], None)), "bad_archive");
    assert_eq!(parse(&archive(&[none, ("a/constants.pkl", none.1, store)], None)), "bad_archive");
    assert_eq!(parse(&archive(&[none, ("a/byteorder", b"big", store)], None)), "unsupported_byteorder");
    assert_eq!(parse(&archive(&[("a/data.pkl", none.1, CompressionMethod::LZMA)], None)), "unsupported_compression");
    // 64 MiB of zeros, declared as they are, as more than the file may expand to, and as less than there is.
    let bomb = ("a/data.pkl", &vec![0; 64 << 20][..], CompressionMethod::DEFLATE);
    assert_eq!(parse(&archive(&[bomb], None)), "expands");
    assert_eq!(parse(&archive(&[bomb], Some(u64::MAX))), "expands");
    assert_eq!(parse(&archive(&[bomb], Some(4))), "bad_archive");
    // A directory that claims another number of entries, an encrypted entry, and every cut.
    let good = archive(&[none], None);
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    assert_eq!(parse(&changed(good.len() - 12, 2)), "bad_archive");
    let central = good.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    assert_eq!(parse(&changed(central + 8, good[central + 8] | 1)), "unsupported_compression");
    assert_eq!(parse(&changed(central + 16, !good[central + 16])), "checksum");
    assert_eq!(parse(&changed(central + 45, 0x7f)), "truncated");
    let shifted = [&good[..central], b"more", &good[central..]].concat();
    assert_eq!(parse(&shifted), "bad_archive");
    for length in 0..good.len() {
        assert_eq!(parse(&good[..length]), "truncated", "{length}");
    }
}

#[test]
fn storages_of_a_written_archive_are_aligned() -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))?;
    let path = folder.path().join("x.pth");
    io::pth::write(&path, &tensors()?[..3], Some("model"))?;
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let zip = rawzip::ZipArchive::from_slice(&bytes[..]).unwrap();
    let mut names = Vec::new();
    for entry in zip.entries() {
        let entry = entry.unwrap();
        let (begin, _) = zip.get_entry(entry.wayfinder()).unwrap().compressed_data_range();
        assert_eq!((begin % 64, entry.compression_method()), (0, CompressionMethod::STORE));
        names.push(String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned());
    }
    let expected = ["data.pkl", "byteorder", "data/0", "data/1", "data/2", "version"];
    assert_eq!(names, expected.map(|name| format!("archive/{name}")));
    Ok(())
}
