//! Frames: how messages, records and seed pages travel between partners.
//!
//! ```text
//! opening, once from each side:
//!  byte  size
//!     0     6  "CTPLNK"
//!     6     2  wire version, 1
//!
//! then frames:
//!     0     4  length of the payload in bytes, at most 8 MiB
//!     4     1  type: 1 message, 2 records, 3 seed pages, 4 seed pages as one LZ4 block; of a copy: 5 offer, 6 answer,
//!              7 pages, 8 whole, 9 tail, 10 end, 11 head, 12 chosen
//!     5     3  0
//!     8     8  checksum: xxh3-64 of the payload, seeded with bytes [0, 8) as a number
//!    16     n  payload
//!
//! payload of a message:  postcard of `message::Envelope`
//! payload of records:    journal records, one after the other, exactly as in the journal
//! payload of seed pages:
//!     0     4  database
//!     4     4  number of the first page
//!     8     4  number of pages
//!    12     1  page size as its binary logarithm, 9..=16
//!    13     3  0
//!    16     8  LSN that the pages show at most (the snapshot they were read from)
//!    24     n  the pages' bytes; in type 4: the length of the pages' bytes (4), then one LZ4 block of them
//!
//! payloads of a copy:    see `copy`
//! ```
//!
//! All numbers are little-endian. The decoder takes bytes as they come and never trusts a length before it is
//! checked; a frame that does not verify ends the connection.

mod decode;
mod seed;

pub use decode::{FrameDecoder, FrameHead, Opening, OpeningError, ROOM_BEHIND};
pub use seed::{SEED_HEAD_LEN, SeedPages, SeedPagesError};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::message::Envelope;

/// The version of the frame format.
pub const WIRE_VERSION: u16 = 1;
/// Bytes of the opening.
pub const OPENING_LEN: usize = 8;
/// Bytes of a frame before its payload.
pub const FRAME_HEADER_LEN: usize = 16;
/// No payload is longer, in bytes: twice the longest journal record.
pub const MAX_PAYLOAD_LEN: usize = 8 << 20;

const MAGIC: [u8; 6] = *b"CTPLNK";

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameType {
    /// One [`Envelope`].
    Message = 1,
    /// Journal records.
    Records = 2,
    /// Pages of a seed.
    SeedPages = 3,
    /// Pages of a seed, compressed.
    SeedPagesLz4 = 4,
    /// A copy: a database as it is at one position.
    CopyOffer = 5,
    /// A copy: what the receiver wants of it.
    CopyAnswer = 6,
    /// A copy: scattered pages.
    CopyPages = 7,
    /// A copy: all chosen pages of a database were sent.
    CopyWhole = 8,
    /// A copy: journal records that make its databases show one position.
    CopyTail = 9,
    /// A copy: nothing follows.
    CopyEnd = 10,
    /// A copy in a file: what it is a copy of.
    CopyHead = 11,
    /// A copy: how many pages of a database follow.
    CopyChosen = 12,
}

impl FrameType {
    fn from_byte(byte: u8) -> Option<FrameType> {
        Some(match byte {
            1 => FrameType::Message,
            2 => FrameType::Records,
            3 => FrameType::SeedPages,
            4 => FrameType::SeedPagesLz4,
            5 => FrameType::CopyOffer,
            6 => FrameType::CopyAnswer,
            7 => FrameType::CopyPages,
            8 => FrameType::CopyWhole,
            9 => FrameType::CopyTail,
            10 => FrameType::CopyEnd,
            11 => FrameType::CopyHead,
            12 => FrameType::CopyChosen,
            _ => return None,
        })
    }
}

/// A frame that verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it carries.
    pub kind: FrameType,
    /// The payload.
    pub payload: Bytes,
}

/// Why bytes are not a frame. The connection cannot go on after any of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length that no frame has.
    #[error("the partner announces a frame of {0} bytes, more than the {MAX_PAYLOAD_LEN} allowed")]
    TooLong(usize),
    /// A type that this version does not know.
    #[error("the partner sends a frame of type {0}, which this version does not know")]
    Type(u8),
    /// The reserved bytes are not 0.
    #[error("a frame's reserved bytes are not 0")]
    Reserved,
    /// The bytes were damaged on the way.
    #[error("a frame's checksum is {stored:016x}, its bytes give {computed:016x}")]
    Checksum {
        /// The field's value.
        stored: u64,
        /// What the payload gives.
        computed: u64,
    },
}

/// The opening that each side sends first.
#[must_use]
pub fn opening() -> [u8; OPENING_LEN] {
    let mut bytes = [0; OPENING_LEN];
    bytes[..6].copy_from_slice(&MAGIC);
    bytes[6..].copy_from_slice(&WIRE_VERSION.to_le_bytes());
    bytes
}

/// The header that precedes a payload which is made of these parts, so that none of them need be copied.
///
/// # Panics
/// If the payload is longer than [`MAX_PAYLOAD_LEN`]: the sender must split it.
#[must_use]
pub fn header(kind: FrameType, parts: &[&[u8]]) -> [u8; FRAME_HEADER_LEN] {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    assert!(length <= MAX_PAYLOAD_LEN, "a frame of {length} bytes must be split by its sender");
    let mut bytes = [0; FRAME_HEADER_LEN];
    bytes[..4].copy_from_slice(&u32::try_from(length).expect("at most 8 MiB").to_le_bytes());
    bytes[4] = kind as u8;
    let seed = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    let checksum = match parts {
        [whole] => xxh3_64_with_seed(whole, seed),
        _ => {
            let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(seed);
            parts.iter().for_each(|part| hasher.update(part));
            hasher.digest()
        }
    };
    bytes[8..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// A whole frame with a message.
#[must_use]
pub fn message_frame(envelope: &Envelope) -> Vec<u8> {
    let payload = envelope.encode();
    let mut bytes = Vec::with_capacity(FRAME_HEADER_LEN + payload.len());
    bytes.extend_from_slice(&header(FrameType::Message, &[&payload]));
    bytes.extend_from_slice(&payload);
    bytes
}

#[cfg(test)]
mod tests;
