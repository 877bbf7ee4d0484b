//! Copies: how the pages of databases travel, from one server to another or into a file, so that only what differs
//! travels and what arrived is proven to be what was meant.
//!
//! A copy is a sequence of frames (see [`crate::frame`]), the same bytes on the wire, in a backup file and in the
//! spool of a mirror:
//!
//! ```text
//! for each database   offer     what it is at one position, with its checksum and those of each 1,024 pages
//!                       <- answers of the receiver: equal; newer than a position; hashes of these ranges; all
//!                     chosen    how many pages follow
//!                     pages     scattered, in ascending order, as often as needed
//!                     whole     how many pages were sent
//! then the tail       records   of the journal, from the mark on; everything that the pages show is at or before its end
//! then                end       what was sent in all
//! ```
//!
//! A file of a copy:
//!
//! ```text
//!  byte  size
//!     0     6  "CTPCPY"
//!     6     2  version of the file, 1
//!     8     …  frames: a head, then a copy as above without the answers
//! ```
//!
//! and the payloads:
//!
//! ```text
//! offer, answer, chosen, whole, end, head:  postcard of the type of that name
//! tail:                                     journal records, one after the other, exactly as in the journal
//! pages:
//!     0     4  database
//!     4     4  number of pages, n
//!     8     1  page size as its binary logarithm, 9..=16
//!     9     1  0: raw, 1: LZ4
//!    10     6  0
//!    16   4·n  page numbers, ascending
//!          m   the pages' bytes; with LZ4: their length (4), then one LZ4 block of them
//! ```
//!
//! All numbers are little-endian. Nothing here trusts a length or a number before it is checked; what does not verify
//! is refused by name and never panics.

mod compare;
mod decode;
mod items;
mod order;
mod pages;

pub use compare::{Compared, PageSet, differing_pages, differing_ranges, range_hashes};
pub use decode::{CopyDecoder, CopyError, Item, opening};
pub use items::{Answer, Chosen, End, Head, Offer, RangeHashes, Want, Whole};
pub use order::{Order, OrderError};
pub use pages::{PagesError, SentPages};

use crate::ids::PageSize;

/// The version of a copy's file.
pub const COPY_VERSION: u16 = 1;

pub use crate::map::RANGE_PAGES;

/// Ranges whose hashes one answer carries at most, so that it fits a frame several times over.
pub const RANGES_PER_ANSWER: usize = 64;

/// Above this many ranges (a thousand million pages) an offer carries none, and everything is sent that cannot be
/// chosen by position: a frame has no room for more.
pub const RANGES_MOST: usize = 1 << 20;

/// Bytes of pages in one frame, about.
const PAGES_PER_FRAME: usize = 1 << 20;

/// How many pages of this size a frame of pages carries.
#[must_use]
pub fn pages_per_frame(page_size: PageSize) -> usize {
    (PAGES_PER_FRAME / page_size.bytes()).max(1)
}

#[cfg(test)]
mod tests;
