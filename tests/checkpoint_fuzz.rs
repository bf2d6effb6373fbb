//! Thousands of damaged checkpoints: reading them gives a checkpoint or an error, never a panic, and never much more
//! data than the file has.

use espalier::io;
use std::path::Path;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    const VALUES: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'.', b'(', b'R', b'h', b'2', b't', b'e'];
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let span = at..(at + random.below(24)).min(bytes.len());
        match random.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 | 2 if !bytes.is_empty() => bytes[at] = VALUES[random.below(VALUES.len())],
            3 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            4 => drop(bytes.drain(span)),
            5 => bytes.extend_from_within(span),
            6 => {
                let copy = bytes[span].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            _ if random.below(4) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
}

/// The directory records of a zip archive without comment: (position of the record, start and end of the data).
fn entries(bytes: &[u8]) -> Option<Vec<(usize, usize, usize)>> {
    let number = |at: usize, size: usize| -> Option<usize> {
        Some(bytes.get(at..at + size)?.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    };
    let end = bytes.len().checked_sub(22)?;
    let mut at = number(end + 16, 4)?;
    let mut list = Vec::new();
    while bytes.get(at..at + 4) == Some(b"PK\x01\x02") {
        let local = number(at + 42, 4)?;
        let start = local + 30 + number(local + 26, 2)? + number(local + 28, 2)?;
        list.push((at, start, start + number(at + 20, 4)?));
        at += 46 + number(at + 28, 2)? + number(at + 30, 2)? + number(at + 32, 2)?;
    }
    Some(list)
}

/// Damages the contents of one entry without changing its size and repairs the checksum.
fn mutate_entry(bytes: &mut [u8], random: &mut Random) -> Option<()> {
    let list = entries(bytes)?;
    let index = if random.below(2) == 0 { 0 } else { random.below(list.len()) };
    let (record, start, end) = *list.get(index)?;
    let mut data = bytes.get(start..end)?.to_vec();
    mutate(&mut data, random);
    data.resize(end - start, b'.');
    bytes[start..end].copy_from_slice(&data);
    bytes[record + 16..record + 20].copy_from_slice(&crc32fast::hash(&data).to_le_bytes());
    Some(())
}

#[test]
fn damaged_files_give_values_or_errors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/base_models/pth");
    let mut paths: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension != "json"));
    paths.sort();
    assert!(paths.len() > 60);
    let mut random = Random(0x5eed);
    let (mut good, mut bad) = (0, 0);
    for path in &paths {
        let original = std::fs::read(path).unwrap_or_default();
        let rounds = if original.len() > 100_000 { 20 } else { 300 };
        for round in 0..rounds {
            let mut bytes = original.clone();
            if round % 2 == 0 || mutate_entry(&mut bytes, &mut random).is_none() {
                mutate(&mut bytes, &mut random);
            }
            match io::parse(path, &bytes) {
                Ok(checkpoint) => {
                    let size: usize = checkpoint.tensors.iter().map(|(name, blob)| name.len() + blob.bytes.len()).sum();
                    assert!(size <= 8 * bytes.len() + (16 << 20));
                    assert!(checkpoint.tensors.iter().all(|(_, blob)| blob.check().is_ok()));
                    good += 1;
                }
                Err(error) => {
                    assert!(matches!(error, espalier::Error::File { .. }), "{error}");
                    bad += 1;
                }
            }
        }
    }
    println!("{good} read, {bad} refused");
    assert!(good > 1000 && bad > 1000, "{good} read, {bad} refused: the damage is too small or too large");
}
