//! Segments: the files that a journal consists of.
//!
//! ```text
//!  journal-00000000000000000001.seg      named by the LSN of its first record, 20 digits
//!
//!  byte  size
//!     0     8  magic "CPJOURN1"
//!     8     4  format version, 1
//!    12     4  0
//!    16     8  session
//!    24     8  epoch at creation: server
//!    32     4  epoch at creation: term
//!    36     4  epoch at creation: start
//!    40     8  LSN of the first record
//!    48     8  checksum: xxh3-64 of bytes [0, 48)
//!    56  4040  0
//!  4096        batches, one after the other, each what one fsync made durable:
//!     0    24    frame
//!                   0  4  "CPB1", which no record begins with: it would be the length of an impossible one
//!                   4  4  0
//!                   8  8  LSN of the first record after this frame
//!                  16  8  checksum: xxh3-64 of bytes [0, 16), seeded with session ^ offset of the frame
//!    24     n    records, as `counterpart_core::record` draws them
//!              zeros up to the pre-allocated end
//! ```
//!
//! All numbers are little-endian. A segment is pre-allocated and reads as zeros where nothing was written;
//! files are never recycled, so nothing that reads as a record there can be an old one.
//!
//! A frame is written only after everything before it was fsynced: it *proves* that all records below its LSN
//! were hardened. So when a record does not verify, a later frame tells damage (refused) from the torn tail of
//! the last, never confirmed write (cut). An orderly stop ends the journal with a frame.

use counterpart_core::{Epoch, Lsn, ServerId, SessionId, record};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes before the first frame: a whole page of the disk, so that no write of records touches the header.
pub const SEGMENT_HEADER_LEN: u64 = 4096;

/// Bytes of a frame.
pub const FRAME_LEN: usize = 24;

/// The segment format that this version writes, and the only one that exists so far.
pub const SEGMENT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"CPJOURN1";
const FRAME_MAGIC: &[u8; 4] = b"CPB1";
const CHECKED: usize = 48;
const HEADER_USED: usize = 56;
const PREFIX: &str = "journal-";
const MEND_SUFFIX: &str = ".mend";
const SPARE_PREFIX: &str = "journal-spare-";
const SUFFIX: &str = ".seg";

// A frame is told from a record by its first four bytes.
const _: () = assert!(u32::from_le_bytes(*FRAME_MAGIC) as usize > record::MAX_RECORD_LEN);

/// What a segment's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// The session that the journal belonged to when the segment was made.
    pub session: SessionId,
    /// The epoch at that moment.
    pub epoch: Epoch,
    /// The LSN of the first record.
    pub first: Lsn,
}

/// Why bytes are not a segment's header.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// Not a segment, or its header was never written or is damaged.
    #[error("the segment's header does not verify")]
    Invalid,
    /// A segment of a format that this version does not read.
    #[error("the segment has format {0}")]
    Version(u32),
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl SegmentHeader {
    /// The header's bytes, up to where the zeros begin.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_USED);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.session.0.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.server.0.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.term.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.start.to_le_bytes());
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        let checksum = xxh3_64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Parses what a segment begins with.
    ///
    /// # Errors
    /// [`HeaderError`]; a foreign version is reported only when the checksum matches.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderError> {
        if bytes.len() < HEADER_USED
            || bytes[..8] != *MAGIC
            || u64_at(bytes, CHECKED) != xxh3_64(&bytes[..CHECKED])
        {
            return Err(HeaderError::Invalid);
        }
        match u32_at(bytes, 8) {
            SEGMENT_VERSION => {}
            version => return Err(HeaderError::Version(version)),
        }
        let epoch = Epoch {
            server: ServerId(u64_at(bytes, 24)),
            term: u32_at(bytes, 32),
            start: u32_at(bytes, 36),
        };
        Ok(SegmentHeader {
            session: SessionId(u64_at(bytes, 16)),
            epoch,
            first: Lsn(u64_at(bytes, 40)),
        })
    }
}

/// The frame at `offset` of a segment of `session`, whose next record is `first`.
#[must_use]
pub fn encode_frame(session: SessionId, offset: u64, first: Lsn) -> [u8; FRAME_LEN] {
    let mut bytes = [0; FRAME_LEN];
    bytes[0..4].copy_from_slice(FRAME_MAGIC);
    bytes[8..16].copy_from_slice(&first.0.to_le_bytes());
    let checksum = xxh3_64_with_seed(&bytes[..16], session.0 ^ offset);
    bytes[16..24].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Whether a frame, not a record, begins with these bytes.
#[must_use]
pub fn looks_like_frame(bytes: &[u8]) -> bool {
    bytes.len() >= 4 && bytes[..4] == *FRAME_MAGIC
}

/// The LSN that the frame at `offset` names; `None` if it does not verify as a frame of that very place.
#[must_use]
pub fn decode_frame(session: SessionId, offset: u64, bytes: &[u8]) -> Option<Lsn> {
    let bytes = bytes.get(..FRAME_LEN)?;
    let first = Lsn(u64_at(bytes, 8));
    (bytes == encode_frame(session, offset, first)).then_some(first)
}

/// The name of the segment whose first record is `first`.
#[must_use]
pub fn segment_name(first: Lsn) -> String {
    format!("{PREFIX}{:020}{SUFFIX}", first.0)
}

/// The name of a pre-allocated segment that has no records yet.
#[must_use]
pub fn spare_name(number: u64) -> String {
    format!("{SPARE_PREFIX}{number}{SUFFIX}")
}

/// The first LSN of the segment with this name; `None` if it is no segment's name. No record has LSN 0.
#[must_use]
pub fn first_from_name(name: &str) -> Option<Lsn> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok().map(Lsn))
        .flatten()
        .filter(|&first| first > Lsn::ZERO)
}

/// Whether this is the name of a pre-allocated segment without records.
#[must_use]
pub fn is_spare_name(name: &str) -> bool {
    name.starts_with(SPARE_PREFIX) && name.ends_with(SUFFIX)
}

/// The name under which the segment that begins with `first` is written anew, before it takes its place.
#[must_use]
pub fn mend_name(first: Lsn) -> String {
    format!("{}{MEND_SUFFIX}", segment_name(first))
}

/// Whether this is the name of a segment that was not written to its end.
#[must_use]
pub fn is_mend_name(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(MEND_SUFFIX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(session: u64, server: u64, term: u32, start: u32, first: u64) -> SegmentHeader {
        let epoch = Epoch { term, start, server: ServerId(server) };
        SegmentHeader { session: SessionId(session), epoch, first: Lsn(first) }
    }

    #[test]
    fn a_header_of_a_newer_format_is_named_as_such() {
        let mut bytes = header(1, 2, 3, 4, 5).encode();
        bytes[8] = 9;
        let checksum = xxh3_64(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Version(9)));
    }

    #[test]
    fn names_of_segments_and_spares_are_not_mistaken_for_each_other() {
        assert_eq!(segment_name(Lsn(17)), "journal-00000000000000000017.seg");
        assert_eq!(first_from_name(&segment_name(Lsn(u64::MAX))), Some(Lsn(u64::MAX)));
        assert!(is_spare_name(&spare_name(3)) && first_from_name(&spare_name(3)).is_none());
        for other in [
            &segment_name(Lsn(0)),
            "journal-17.seg",
            "journal-99999999999999999999.seg",
            "control",
            "",
        ] {
            assert_eq!(first_from_name(other), None, "{other}");
            assert!(!is_spare_name(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_header_reads_back_and_any_flipped_bit_is_noticed(
            (session, server, term, start, first) in any::<(u64, u64, u32, u32, u64)>(),
            bit in 0..HEADER_USED * 8,
        ) {
            let header = header(session, server, term, start, first);
            let mut bytes = header.encode();
            prop_assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Invalid));
        }

        #[test]
        fn a_frame_is_valid_only_as_written_and_only_at_its_place(
            (session, offset, first) in any::<(u64, u64, u64)>(),
            bit in 0..FRAME_LEN * 8,
        ) {
            let mut bytes = encode_frame(SessionId(session), offset, Lsn(first));
            prop_assert_eq!(decode_frame(SessionId(session), offset, &bytes), Some(Lsn(first)));
            prop_assert_eq!(decode_frame(SessionId(session), offset ^ 512, &bytes), None);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode_frame(SessionId(session), offset, &bytes), None);
        }

        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Invalid));
            prop_assert_eq!(decode_frame(SessionId(1), 4096, &bytes), None);
        }
    }
}
