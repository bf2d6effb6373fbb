//! Zip archives as PyTorch writes and reads them. Sizes, checksums and offsets come from the central directory alone,
//! because PyTorch's local headers hold zeros.

use crate::error::FileProblem::{BadArchive, Checksum, Truncated, UnsupportedCompression};
use crate::io::guard::*;
use rawzip::{CompressionMethod, Crc32Option, DataDescriptorOutput, ErrorKind, Header, extra_fields::ExtraFieldId};
use rawzip::{ZipArchiveWriter, ZipFileHeaderRecord, ZipSliceArchive, ZipVerification};
use std::{borrow::Cow, collections::HashMap, io::Read, io::Write};

/// The first bytes of a zip file.
pub const MAGIC: &[u8] = b"PK\x03\x04";
/// PyTorch maps storages at multiples of this.
const ALIGNMENT: u64 = 64;

/// The entries of an archive in memory.
pub struct Archive<'a> {
    zip: &'a ZipSliceArchive<&'a [u8]>,
    /// By full name.
    pub entries: HashMap<&'a str, ZipFileHeaderRecord<'a>>,
}

/// Finds the central directory, which must be where the archive says.
pub fn open(data: &[u8]) -> Result<ZipSliceArchive<&[u8]>, Fault> {
    let zip = rawzip::ZipArchive::from_slice(data).or_else(|error| refuse("the archive", &error))?;
    let mut end = Cursor { data, at: zip.eocd_offset() as usize + 16 };
    let (found, declared) = (zip.directory_offset(), end.number(4)?);
    let fits = found == declared || declared == u64::from(u32::MAX);
    ensure(fits, BadArchive, format_args!("central directory at {found}, expected at {declared}")).map(|()| zip)
}

fn refuse<T>(name: &str, error: &rawzip::Error) -> Result<T, Fault> {
    let problem = match error.kind() {
        ErrorKind::Eof | ErrorKind::MissingEndOfCentralDirectory | ErrorKind::InvalidEndOfCentralDirectory => Truncated,
        ErrorKind::InvalidChecksum { .. } => Checksum,
        _ => BadArchive,
    };
    fault(problem, format!("{name}: {error}"))
}

impl<'a> Archive<'a> {
    /// Reads the central directory.
    pub fn new(zip: &'a ZipSliceArchive<&'a [u8]>, budget: &mut Budget) -> Result<Self, Fault> {
        let mut entries = HashMap::new();
        for entry in zip.entries() {
            let entry = entry.or_else(|error| refuse("the central directory", &error))?;
            // A place in a table that doubles, and is copied then.
            budget.spend(4 * size_of::<(&str, ZipFileHeaderRecord)>() as u64)?;
            let Ok(name) = std::str::from_utf8(entry.file_path().as_bytes()) else {
                return fault(BadArchive, "the name of an entry is not UTF-8");
            };
            ensure(entries.insert(name, entry).is_none(), BadArchive, format_args!("two entries {name}"))?;
        }
        let (found, expected) = (entries.len() as u64, zip.entries_hint());
        ensure(found == expected, BadArchive, format_args!("{found} entries, expected {expected}"))?;
        Ok(Self { zip, entries })
    }

    /// The contents of the entry with this full name, `None` when there is none; checksum verified, and only what has
    /// to be unpacked is copied.
    pub fn read(&self, name: &str, budget: &mut Budget) -> Result<Option<Cow<'a, [u8]>>, Fault> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        ensure(!entry.flags().is_encrypted(), UnsupportedCompression, format_args!("{name} is encrypted"))?;
        let packed = self.zip.get_entry(entry.wayfinder()).or_else(|error| refuse(name, &error))?;
        let bytes = match entry.compression_method() {
            CompressionMethod::STORE => Cow::Borrowed(packed.data()),
            CompressionMethod::DEFLATE => {
                let size = entry.uncompressed_size_hint();
                budget.spend(size)?;
                let mut bytes = Vec::with_capacity(size as usize); // no more than the budget
                let mut decoder = flate2::read::DeflateDecoder::new(packed.data()).take(size.saturating_add(1));
                decoder.read_to_end(&mut bytes).or_else(|error| fault(BadArchive, format!("{name}: {error}")))?;
                Cow::Owned(bytes)
            }
            other => return fault(UnsupportedCompression, format!("{name}: compression method {other}")),
        };
        let found = ZipVerification { crc: crc32fast::hash(&bytes), uncompressed_size: bytes.len() as u64 };
        packed.claim_verifier().valid(found).or_else(|error| refuse(name, &error))?;
        Ok(Some(bytes))
    }
}

/// Writes an archive of stored entries in `folder`.
pub fn write(out: &mut impl Write, folder: &str, entries: &[(String, &[u8])]) -> std::io::Result<()> {
    let mut zip = ZipArchiveWriter::new(out);
    let stored = entries.iter().try_for_each(|(name, data)| store(&mut zip, &format!("{folder}/{name}"), data));
    stored.and_then(|()| zip.finish().map(drop)).map_err(|error| match error.into_kind() {
        ErrorKind::IO(error) => error,
        other => std::io::Error::other(other.to_string()),
    })
}

/// Adds an entry whose data start at a multiple of [`ALIGNMENT`]: like PyTorch, by padding in an extra field "FB".
fn store(zip: &mut ZipArchiveWriter<impl Write>, name: &str, data: &[u8]) -> Result<(), rawzip::Error> {
    const LOCAL_HEADER: u64 = 30;
    const FIELD_HEADER: u64 = 4;
    let start = zip.stream_offset() + LOCAL_HEADER + name.len() as u64 + FIELD_HEADER;
    let padding = vec![b'Z'; (start.next_multiple_of(ALIGNMENT) - start) as usize];
    let field = ExtraFieldId::new(u16::from_le_bytes(*b"FB"));
    let crc = crc32fast::hash(data);
    let file = zip.new_file(name).crc32(Crc32Option::Custom(crc));
    let (mut entry, _) = file.extra_field(field, &padding, Header::LOCAL)?.start()?;
    entry.write_all(data)?;
    entry.finish(DataDescriptorOutput::new(crc, data.len() as u64)).map(drop)
}
