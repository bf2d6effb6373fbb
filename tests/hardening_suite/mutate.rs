//! Damage: of any bytes, and of formats behind their checksums and lengths, where plain damage never gets.

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// Numbers at which readers go wrong, as text and as words of two, four and eight bytes.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "1",
    "2",
    "255",
    "65536",
    "2147483647",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "340282366920938463463374607431768211456",
    "1e308",
    "-1e-320",
    "0.5",
];
const WORDS: [u64; 10] = [0, 1, 0x7fff, 0xffff, 0x10000, 0x7fff_ffff, 0xffff_ffff, 1 << 32, i64::MAX as u64, u64::MAX];
const BYTES: [u8; 16] = *b"\0\x01\x7f\x80\xff.(Rh2te\"[{,";

/// Some small damage anywhere.
pub fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(2) * random.below(4) {
        let at = random.below(bytes.len());
        let span = at..(at + random.below(24)).min(bytes.len());
        match random.below(11) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 | 2 if !bytes.is_empty() => bytes[at] = BYTES[random.below(BYTES.len())],
            3 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            4 => drop(bytes.drain(span)),
            5 => bytes.extend_from_within(span),
            6 => {
                let copy = bytes[span].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            7 => number(bytes, at, random),
            8 => word(bytes, at, random),
            9 => repeat(bytes, at, random),
            _ if random.below(4) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
}

/// Another number in place of the first text of digits from `at` on.
fn number(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) else { return };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(start..start + length, random.of(&NUMBERS).bytes());
}

/// An extreme word over what is at `at`, in one of the two orders of bytes.
fn word(bytes: &mut [u8], at: usize, random: &mut Random) {
    let (size, mut word) = (2 << random.below(3), WORDS[random.below(WORDS.len())].to_le_bytes());
    if random.below(2) == 0 {
        word[..size].reverse();
    }
    let Some(place) = bytes.get_mut(at..at + size) else { return };
    place.copy_from_slice(&word[..size]);
}

/// A few bytes many times: depth, length, counts.
fn repeat(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let part = bytes[at..(at + 1 + random.below(3)).min(bytes.len())].to_vec();
    bytes.splice(at..at, part.repeat(1 << random.below(12)));
}

/// Damage that fits the format: behind the checksums of a zip or a PNG, in the header of safetensors; else anywhere.
pub fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let inside = match bytes.get(..8) {
        _ if random.below(3) == 0 => None,
        Some([b'P', b'K', 3, 4, ..]) => entry(bytes, random),
        Some([0x89, b'P', b'N', b'G', ..]) => chunk(bytes, random),
        Some(_) if bytes.get(8) == Some(&b'{') => header(bytes, random),
        _ => None,
    };
    if inside.is_none() {
        damage(bytes, random);
    }
}

fn little(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    Some(bytes.get(at..at.checked_add(size)?)?.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
}

/// The directory records of a zip archive without comment: (position of the record, start and end of the data).
fn entries(bytes: &[u8]) -> Option<Vec<(usize, usize, usize)>> {
    let end = bytes.len().checked_sub(22)?;
    let mut at = little(bytes, end + 16, 4)?;
    let mut list = Vec::new();
    while bytes.get(at..at + 4) == Some(b"PK\x01\x02") {
        let local = little(bytes, at + 42, 4)?;
        let start = local + 30 + little(bytes, local + 26, 2)? + little(bytes, local + 28, 2)?;
        list.push((at, start, start + little(bytes, at + 20, 4)?));
        at += 46 + little(bytes, at + 28, 2)? + little(bytes, at + 30, 2)? + little(bytes, at + 32, 2)?;
    }
    Some(list)
}

/// Damages the contents of one entry without changing its size and repairs the checksum.
fn entry(bytes: &mut [u8], random: &mut Random) -> Option<()> {
    let list = entries(bytes)?;
    let index = if random.below(2) == 0 { 0 } else { random.below(list.len()) };
    let (record, start, end) = *list.get(index)?;
    let mut data = bytes.get(start..end)?.to_vec();
    damage(&mut data, random);
    data.resize(end - start, b'.');
    bytes[start..end].copy_from_slice(&data);
    bytes[record + 16..record + 20].copy_from_slice(&crc32fast::hash(&data).to_le_bytes());
    Some(())
}

/// Damages one chunk of a PNG and repairs its length and checksum.
fn chunk(bytes: &mut Vec<u8>, random: &mut Random) -> Option<()> {
    let length = |at: usize| bytes.get(at..at + 4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
    let (mut starts, mut at) = (Vec::new(), 8);
    while let Some(length) = length(at) {
        starts.push((at, (at + 12).checked_add(length as usize).filter(|end| *end <= bytes.len())?));
        at = starts.last()?.1;
    }
    let (start, end) = *starts.get(random.below(starts.len()))?;
    let mut data = bytes[start + 8..end - 4].to_vec();
    damage(&mut data, random);
    let body = [&bytes[start + 4..start + 8], &data].concat();
    let crc = crc32fast::hash(&body).to_be_bytes();
    bytes.splice(start..end, [&(data.len() as u32).to_be_bytes()[..], &body, &crc].concat());
    Some(())
}

/// Damages the header of safetensors and repairs its length.
fn header(bytes: &mut Vec<u8>, random: &mut Random) -> Option<()> {
    let end = little(bytes, 0, 8)?.checked_add(8).filter(|end| *end <= bytes.len())?;
    let mut text = bytes[8..end].to_vec();
    damage(&mut text, random);
    bytes.splice(..end, [&(text.len() as u64).to_le_bytes()[..], &text].concat());
    Some(())
}
