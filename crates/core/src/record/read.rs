//! Parsing: bytes from a disk or a partner become records only when everything in them verifies.

use bytes::Bytes;

use super::{
    HEADER_LEN, Header, Kind, MAX_RECORD_LEN,
    build::checksum,
    page::{PAGE_HEADER_LEN, PageEncoding, PageView},
};
use crate::{
    epoch::Epoch,
    ids::{DatabaseId, DatabaseName, Lsn, PageNo, PageSize, ServerId, UnixMicros},
};

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("the record needs {needed} bytes and {available} are there")]
    Truncated {
        /// Length of the whole record as far as known.
        needed: usize,
        /// Bytes at hand.
        available: usize,
    },
    /// The length field is outside what a record can have.
    #[error("a record cannot be {0} bytes long")]
    Length(usize),
    /// The checksum does not match the bytes.
    #[error("the record's checksum is {stored:016x}, its bytes give {computed:016x}")]
    Checksum {
        /// The field's value.
        stored: u64,
        /// The value computed from the bytes.
        computed: u64,
    },
    /// The checksum matches but a field has a value that this version does not know.
    #[error("the record's {0} is not one that this version knows")]
    Field(&'static str),
}

/// A verified record: its bytes, and the promise that they parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    bytes: Bytes,
    header: Header,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Record {
    /// A record that this process has just sealed.
    pub(super) fn sealed(bytes: Bytes) -> Record {
        let header = parse_header(&bytes).expect("a record that was just built parses");
        Record { bytes, header }
    }

    /// Takes one record off the front of `bytes`, verifying all of it. `bytes` is left as it was on an error.
    ///
    /// # Errors
    /// [`RecordError::Truncated`] when more bytes are needed, otherwise what does not verify.
    pub fn take(bytes: &mut Bytes) -> Result<Record, RecordError> {
        let length = Record::peek_length(bytes)?;
        if bytes.len() < length {
            return Err(RecordError::Truncated { needed: length, available: bytes.len() });
        }
        let whole = bytes.slice(..length);
        let (stored, computed) = (u64_at(&whole, 8), checksum(&whole));
        if stored != computed {
            return Err(RecordError::Checksum { stored, computed });
        }
        let header = parse_header(&whole)?;
        check_body(&whole, &header)?;
        bytes.split_to(length).clear();
        Ok(Record { bytes: whole, header })
    }

    /// The length of the record that `bytes` begin with, from its first four bytes, unverified.
    ///
    /// # Errors
    /// [`RecordError::Truncated`] with fewer than four bytes, [`RecordError::Length`] for an impossible length.
    pub fn peek_length(bytes: &[u8]) -> Result<usize, RecordError> {
        if bytes.len() < 4 {
            return Err(RecordError::Truncated { needed: HEADER_LEN, available: bytes.len() });
        }
        let length = u32_at(bytes, 0) as usize;
        if (HEADER_LEN..=MAX_RECORD_LEN).contains(&length) {
            Ok(length)
        } else {
            Err(RecordError::Length(length))
        }
    }

    /// The record's bytes, the same on disk and on the wire.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The record's fixed fields.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The record's LSN.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.header.lsn
    }

    fn note_len(&self) -> usize {
        u32_at(&self.bytes, 60) as usize
    }

    /// The name of the database that this record creates; `None` for other kinds.
    #[must_use]
    pub fn created_name(&self) -> Option<DatabaseName> {
        (self.header.kind == Kind::CreateDatabase).then(|| {
            let note = &self.bytes[HEADER_LEN..HEADER_LEN + self.note_len()];
            name_from(note).expect("the name was checked when the record was parsed")
        })
    }

    /// The record's pages, in order.
    pub fn pages(&self) -> impl Iterator<Item = PageView<'_>> {
        let mut rest = &self.bytes[HEADER_LEN + self.note_len()..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            Some(take_page(&mut rest).expect("the pages were checked when the record was parsed"))
        })
    }
}

/// Takes all whole records off `bytes`, which must hold nothing else.
///
/// # Errors
/// The first record that does not verify, or a record that is cut off.
pub fn split_records(mut bytes: Bytes) -> Result<Vec<Record>, RecordError> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        records.push(Record::take(&mut bytes)?);
    }
    Ok(records)
}

/// A name that somebody gave, or the server's own.
fn name_from(note: &[u8]) -> Option<DatabaseName> {
    std::str::from_utf8(note).ok()?.to_owned().try_into().ok()
}

fn parse_header(bytes: &[u8]) -> Result<Header, RecordError> {
    let kind = Kind::from_byte(bytes[4]).ok_or(RecordError::Field("kind"))?;
    if bytes[5] != 0 || bytes[7] != 0 {
        return Err(RecordError::Field("flags"));
    }
    let page_size = match bytes[6] {
        0 => None,
        log2 => Some(PageSize::from_log2(log2).ok_or(RecordError::Field("page size"))?),
    };
    Ok(Header {
        length: bytes.len(),
        kind,
        page_size,
        lsn: Lsn(u64_at(bytes, 16)),
        commit_lsn: Lsn(u64_at(bytes, 24)),
        epoch: Epoch {
            server: ServerId(u64_at(bytes, 32)),
            term: u32_at(bytes, 40),
            start: u32_at(bytes, 44),
        },
        database: DatabaseId(u32_at(bytes, 48)),
        size_in_pages: u32_at(bytes, 52),
        page_count: u32_at(bytes, 56),
        database_checksum: u64_at(bytes, 64),
        committed_at: UnixMicros(u64_at(bytes, 72)),
    })
}

/// Checks that note and pages fill the record exactly, so that the accessors cannot fail later.
fn check_body(bytes: &[u8], header: &Header) -> Result<(), RecordError> {
    let body = &bytes[HEADER_LEN..];
    let note_len = u32_at(bytes, 60) as usize;
    let note = body.get(..note_len).ok_or(RecordError::Field("note length"))?;
    let creates = header.kind == Kind::CreateDatabase;
    if creates != name_from(note).is_some() || (!creates && note_len != 0) {
        return Err(RecordError::Field("note"));
    }
    let mut rest = &body[note_len..];
    let mut pages = 0;
    while !rest.is_empty() {
        let page = take_page(&mut rest)?;
        if page.number.0 == 0 || header.page_size.is_none() {
            return Err(RecordError::Field("page number"));
        }
        pages += 1;
    }
    if pages == header.page_count { Ok(()) } else { Err(RecordError::Field("page count")) }
}

fn take_page<'a>(rest: &mut &'a [u8]) -> Result<PageView<'a>, RecordError> {
    let whole: &'a [u8] = rest;
    if whole.len() < PAGE_HEADER_LEN {
        return Err(RecordError::Field("page header"));
    }
    let encoding = PageEncoding::from_byte(whole[4]).ok_or(RecordError::Field("page encoding"))?;
    let length = u32::from_le_bytes([whole[5], whole[6], whole[7], 0]) as usize;
    let end = PAGE_HEADER_LEN + length;
    let bytes = whole.get(PAGE_HEADER_LEN..end).ok_or(RecordError::Field("page length"))?;
    *rest = &whole[end..];
    Ok(PageView { number: PageNo(u32_at(whole, 0)), encoding, bytes })
}
