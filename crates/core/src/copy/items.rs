//! What is said in a copy besides pages and records.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    epoch::{Epoch, EpochHistory},
    ids::{DatabaseId, DatabaseName, Lsn, PageSize, ServerId, SessionId, UnixMicros},
    message::SeedDatabase,
};

/// A database as it is at one position.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Its identity.
    pub database: DatabaseId,
    /// Its name.
    pub name: DatabaseName,
    /// Its page size.
    pub page_size: PageSize,
    /// Its size in pages at that position.
    pub size_in_pages: u32,
    /// The position that its pages show; at or above the mark.
    pub at: Lsn,
    /// The checksum of the database at that position; never 0.
    pub checksum: u64,
    /// The XOR of the hashes of each [`RANGE_PAGES`](super::RANGE_PAGES) pages, in order; empty if they are too many.
    pub ranges: Vec<u64>,
}

/// What the receiver wants of an offer. Hashes may come in several answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The database.
    pub database: DatabaseId,
    /// What is wanted.
    pub want: Want,
    /// Whether another answer about the same offer follows.
    pub more: bool,
}

/// The pages that a receiver wants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Want {
    /// None: the copy is equal already.
    Equal,
    /// Those that may have changed after this position.
    Since(Lsn),
    /// Those of these ranges whose hash is another, and those beyond the receiver's end.
    Hashes {
        /// The receiver's size in pages.
        size_in_pages: u32,
        /// What it has in the ranges that differ.
        ranges: Vec<RangeHashes>,
    },
    /// All.
    All,
}

/// The hashes that the receiver has for the pages of one range.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RangeHashes {
    /// The range's number, counted from 0.
    pub range: u32,
    /// The hashes of its pages in order, 0 for unknown; fewer than a whole range where the receiver's database ends.
    pub hashes: Vec<u64>,
}

/// How much of a database follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chosen {
    /// The database.
    pub database: DatabaseId,
    /// How many pages will be sent.
    pub pages: u32,
}

/// All chosen pages of a database were sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Whole {
    /// The database.
    pub database: DatabaseId,
    /// How many pages were sent.
    pub pages: u32,
}

/// The copy is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct End {
    /// The tail's last record; no page shows anything above it.
    pub end: Lsn,
    /// How many databases were offered.
    pub databases: u32,
    /// How many pages were sent.
    pub pages: u64,
    /// How many records the tail has.
    pub records: u64,
}

/// What a copy in a file is a copy of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The program's version, for people.
    pub build: String,
    /// The server that it was made from.
    pub server: ServerId,
    /// That server's session, 0 for none.
    pub session: SessionId,
    /// The highest epoch it had accepted.
    pub epoch: Epoch,
    /// The epochs of its journal.
    pub history: EpochHistory,
    /// When the copy began.
    pub made_at: UnixMicros,
    /// The tail's records follow this position, which is a mark (or the beginning).
    pub mark: Lsn,
    /// Creations and drops up to here are in `databases`.
    pub catalog_lsn: Lsn,
    /// The number that the next database gets.
    pub next_database: DatabaseId,
    /// The databases.
    pub databases: Vec<SeedDatabase>,
}

macro_rules! payload {
    ($($name:ident)*) => {
        $(impl $name {
            /// The payload of its frame.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                postcard::to_stdvec(self).expect("plain values always encode")
            }

            /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
            #[must_use]
            pub fn decode(bytes: &[u8]) -> Option<Self> {
                whole(bytes)
            }
        })*
    };
}

payload! { Offer Answer Chosen Whole End Head }

fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}
