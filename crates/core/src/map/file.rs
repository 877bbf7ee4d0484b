//! A page map as a file: blocks that are written in place, each with a checksum of its own.
//!
//! ```text
//! block 0, 4,096 bytes: the header
//!  byte  size
//!     0     8  checksum: xxh3-64 of bytes [8, 4096), seeded with the database (high half) and the block's number
//!     8     8  magic "CPmap\0\0\0"
//!    16     4  format version, 1
//!    20     4  database
//!    24     4  page size as its binary logarithm, 9..=16
//!    28     4  size of the database file in pages
//!    32     8  `at`: the database file holds everything up to this LSN
//!    40     8  checksum of the database, as records carry it
//!    48     -  zeros
//!
//! block n > 0, 4,096 bytes: the entries of pages 255 (n - 1) + 1 to 255 n
//!     0     8  checksum, as above
//!     8     8  zeros
//!    16    16  entry, 255 times
//!     0     8    hash of the page, 0: unknown
//!     8     8    LSN that last changed it, or a later one
//! ```
//!
//! All numbers are little-endian. Blocks are written one by one, so after a crash some are newer than others. That
//! is no harm: whatever changed since the last complete one is redone from the journal. A block that does not verify
//! says nothing; its pages are hashed anew.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Entry;
use crate::ids::{DatabaseId, Lsn, PageNo, PageSize};

/// Bytes of a block: what disks write whole, more or less.
pub const BLOCK: usize = 4_096;

/// Entries of a block.
pub const BLOCK_ENTRIES: usize = 255;

const MAGIC: [u8; 8] = *b"CPmap\0\0\0";
const VERSION: u32 = 1;
const ENTRIES_AT: usize = 16;

/// The first block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Whose map it is.
    pub database: DatabaseId,
    /// The size of the database's pages.
    pub page_size: PageSize,
    /// The database file's size in pages.
    pub size: u32,
    /// The database file holds everything up to this LSN.
    pub at: Lsn,
    /// The checksum of what the file holds.
    pub checksum: u64,
}

/// Why a header says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Its checksum does not fit, or it is cut short.
    #[error("its first block is damaged")]
    Damaged,
    /// It was written by a newer server.
    #[error("its format is version {0}, newer than this server knows")]
    Newer(u32),
    /// It belongs to another database.
    #[error("it is the map of database {0}")]
    Foreign(DatabaseId),
}

/// The block that has a page's entry; never 0.
#[must_use]
pub fn block_of(page: PageNo) -> u32 {
    (page.0.max(1) - 1) / BLOCK_ENTRIES as u32 + 1
}

/// The first page whose entry is in `block`.
///
/// # Panics
/// For block 0, which has none.
#[must_use]
pub fn first_page_of(block: u32) -> PageNo {
    assert!(block > 0, "block 0 is the header");
    PageNo((block - 1) * BLOCK_ENTRIES as u32 + 1)
}

fn seal(bytes: &mut [u8; BLOCK], database: DatabaseId, block: u32) {
    let checksum = checksum(bytes, database, block);
    bytes[..8].copy_from_slice(&checksum.to_le_bytes());
}

fn checksum(bytes: &[u8], database: DatabaseId, block: u32) -> u64 {
    let seed = u64::from(database.0) << 32 | u64::from(block);
    xxh3_64_with_seed(&bytes[8..], seed)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The bytes of the first block.
#[must_use]
pub fn encode_header(header: &Header) -> [u8; BLOCK] {
    let mut bytes = [0; BLOCK];
    bytes[8..16].copy_from_slice(&MAGIC);
    bytes[16..20].copy_from_slice(&VERSION.to_le_bytes());
    bytes[20..24].copy_from_slice(&header.database.0.to_le_bytes());
    bytes[24..28].copy_from_slice(&u32::from(header.page_size.log2()).to_le_bytes());
    bytes[28..32].copy_from_slice(&header.size.to_le_bytes());
    bytes[32..40].copy_from_slice(&header.at.0.to_le_bytes());
    bytes[40..48].copy_from_slice(&header.checksum.to_le_bytes());
    seal(&mut bytes, header.database, 0);
    bytes
}

/// Reads the first block of `database`'s map.
///
/// # Errors
/// [`HeaderError`] when it says nothing that can be used.
pub fn decode_header(database: DatabaseId, bytes: &[u8]) -> Result<Header, HeaderError> {
    if bytes.len() != BLOCK || bytes[8..16] != MAGIC {
        return Err(HeaderError::Damaged);
    }
    // The version and the owner come first, but only when the block is what somebody wrote.
    let owner = DatabaseId(u32_at(bytes, 20));
    if checksum(bytes, owner, 0) != u64_at(bytes, 0) {
        return Err(HeaderError::Damaged);
    }
    match u32_at(bytes, 16) {
        VERSION => {}
        newer => return Err(HeaderError::Newer(newer)),
    }
    if owner != database {
        return Err(HeaderError::Foreign(owner));
    }
    let log2 = u8::try_from(u32_at(bytes, 24)).unwrap_or(0);
    let page_size = PageSize::from_log2(log2).ok_or(HeaderError::Damaged)?;
    Ok(Header {
        database,
        page_size,
        size: u32_at(bytes, 28),
        at: Lsn(u64_at(bytes, 32)),
        checksum: u64_at(bytes, 40),
    })
}

/// The bytes of a block of entries; those beyond `entries` are unknown.
///
/// # Panics
/// If `block` is 0 or there are more entries than a block has.
#[must_use]
pub fn encode_block(database: DatabaseId, block: u32, entries: &[Entry]) -> [u8; BLOCK] {
    assert!(block > 0, "block 0 is the header");
    assert!(entries.len() <= BLOCK_ENTRIES, "{} entries for one block", entries.len());
    let mut bytes = [0; BLOCK];
    for (slot, entry) in bytes[ENTRIES_AT..].chunks_exact_mut(16).zip(entries) {
        slot[..8].copy_from_slice(&entry.hash.to_le_bytes());
        slot[8..].copy_from_slice(&entry.changed.0.to_le_bytes());
    }
    seal(&mut bytes, database, block);
    bytes
}

/// Reads a block of entries; `None` if it is not what was written as this block of this database's map.
#[must_use]
pub fn decode_block(
    database: DatabaseId,
    block: u32,
    bytes: &[u8],
) -> Option<[Entry; BLOCK_ENTRIES]> {
    if block == 0 || bytes.len() != BLOCK || checksum(bytes, database, block) != u64_at(bytes, 0) {
        return None;
    }
    let mut entries = [Entry::UNKNOWN; BLOCK_ENTRIES];
    for (entry, slot) in entries.iter_mut().zip(bytes[ENTRIES_AT..].chunks_exact(16)) {
        *entry = Entry { hash: u64_at(slot, 0), changed: Lsn(u64_at(slot, 8)) };
    }
    Some(entries)
}
