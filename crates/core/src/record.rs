//! The journal record: the one encoding of an event, on disk, on the wire and in the archive.
//!
//! ```text
//!  byte  size
//!     0     4  length of the whole record in bytes, this header included
//!     4     1  kind: 1 chunk, 2 transaction, 3 create database, 4 drop database, 5 mark
//!     5     1  flags, 0
//!     6     1  page size as its binary logarithm, 9..=16; 0 where there are no pages
//!     7     1  0
//!     8     8  checksum: xxh3-64 of bytes [16, length), seeded with bytes [0, 8) as a number
//!    16     8  LSN
//!    24     8  commit LSN that was known when the record was written
//!    32     8  epoch: server
//!    40     4  epoch: term
//!    44     4  epoch: start
//!    48     4  database, 0 for none
//!    52     4  size of the database in pages after the commit; 0 in a chunk
//!    56     4  number of pages in this record
//!    60     4  length of the note in bytes
//!    64     8  checksum of the database after the commit; 0: not computed
//!    72     8  time of the commit, microseconds since 1970
//!    80     n  note: the database's name (create), else empty
//!              pages, one after the other:
//!     0     4    page number
//!     4     1    encoding: 0 image-raw, 1 image-lz4, 2 delta (what changed since the page's previous version, as
//!                `delta.rs` draws it), 3 delta-lz4 (an LZ4 block whose dictionary is that version); page 1 is
//!                never a delta, because its counters differ from server to server
//!     5     3    length of the bytes that follow
//!     8     m    bytes
//! ```
//!
//! All numbers are little-endian. A record is encoded once: a [`Draft`] has everything but its place in the
//! sequence; [`Draft::seal`] adds that and the checksum, and from then on the bytes never change.
//!
//! A delta builds on the page as the transaction before left it, so a page comes once in a transaction. After a mark the
//! first change of each page is an image: redo, which begins at a mark, needs nothing of what a file then holds.
//!
//! A transaction larger than [`CHUNK_TARGET`] is a run of chunks of one database, ended by a transaction (or a
//! create) record. It exists only when that last record does. Chunks of different databases may alternate.

mod build;
mod delta;
mod encode;
mod page;
mod read;

pub use build::{Draft, Stamp, TransactionDraft};
pub use encode::PageEncoder;
pub use page::{PageEncoding, PageError, PageView};
pub use read::{Record, RecordError, split_records};

use crate::{
    epoch::Epoch,
    ids::{DatabaseId, Lsn, PageSize, UnixMicros},
};

/// Bytes of the header before note and pages.
pub const HEADER_LEN: usize = 80;

/// A draft that has grown to this many bytes is closed as a chunk; a record is at most one page longer.
pub const CHUNK_TARGET: usize = 1 << 20;

/// No record is longer than this, in bytes; a longer length field is damage, not data.
pub const MAX_RECORD_LEN: usize = 4 << 20;

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Pages of a transaction that a later record of the same database completes.
    Chunk = 1,
    /// A transaction, or the last part of one.
    Transaction = 2,
    /// A database came into being, with the pages of this record and of the chunks before it.
    CreateDatabase = 3,
    /// A database was dropped.
    DropDatabase = 4,
    /// A checkpoint mark: the first change of any page after it is an image, so redo may start here.
    Mark = 5,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Chunk,
            2 => Kind::Transaction,
            3 => Kind::CreateDatabase,
            4 => Kind::DropDatabase,
            5 => Kind::Mark,
            _ => return None,
        })
    }
}

/// A record's fixed fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Length of the whole record in bytes.
    pub length: usize,
    /// What the record says.
    pub kind: Kind,
    /// The page size of its pages, `None` where it has none.
    pub page_size: Option<PageSize>,
    /// Its place in the sequence.
    pub lsn: Lsn,
    /// The commit LSN that was known when it was written; always below its own LSN.
    pub commit_lsn: Lsn,
    /// The epoch it was written in.
    pub epoch: Epoch,
    /// The database it changes; `DatabaseId(0)` for a mark.
    pub database: DatabaseId,
    /// The database's size in pages after the commit; 0 in a chunk.
    pub size_in_pages: u32,
    /// How many pages it carries.
    pub page_count: u32,
    /// The database's checksum after the commit; 0 when it was not computed.
    pub database_checksum: u64,
    /// When the transaction was committed.
    pub committed_at: UnixMicros,
}

impl Header {
    /// The bytes of its pages, decoded.
    #[must_use]
    pub fn page_bytes(&self) -> u64 {
        u64::from(self.page_count) * self.page_size.map_or(0, PageSize::bytes) as u64
    }
}

#[cfg(test)]
mod tests;
