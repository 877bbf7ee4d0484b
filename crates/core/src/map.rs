//! The page map: for each page of a database, what it holds (by hash) and when it last changed.
//!
//! It proves two copies equal without reading either, says which pages differ when they are not, and tells a
//! damaged page from a good one. It must never claim to know a page that nobody has hashed: 0 stands for that.
//! How it lies on a disk is in [`mod@file`].

pub mod file;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::{Lsn, PageNo, PageSize};

/// Pages whose hashes are combined into one range checksum, for a comparison from coarse to fine.
pub const RANGE_PAGES: u32 = 1_024;

/// The bytes of page 1 that are hashed apart: SQLite's file header.
const HEADER: usize = 100;

/// The hash of a page: xxh3-64, seeded with its number. Never 0.
///
/// Page 1 is hashed as if bytes 24–27 and 92–99 (change counter, version-valid-for, SQLite's version) were zeros:
/// each server's SQLite counts on its own there. Bytes 18 and 19 count as 2: they differ in an export. The
/// seed of the rest of page 1 is the hash of its first 100 bytes.
///
/// # Panics
/// If `image` is shorter than the smallest page, 512 bytes.
#[must_use]
pub fn page_hash(number: PageNo, image: &[u8]) -> u64 {
    assert!(image.len() >= 512, "SQLite has no page of {} bytes", image.len());
    let (mut seed, mut rest) = (u64::from(number.0), image);
    if number == PageNo(1) {
        let mut header = [0; HEADER];
        header.copy_from_slice(&image[..HEADER]);
        header[18..20].fill(2);
        header[24..28].fill(0);
        header[92..100].fill(0);
        (seed, rest) = (xxh3_64_with_seed(&header, seed), &image[HEADER..]);
    }
    known(xxh3_64_with_seed(rest, seed))
}

/// A checksum as it is written down: 0 stands for "unknown" there, so a true 0 becomes 1.
#[must_use]
pub fn known(checksum: u64) -> u64 {
    checksum.max(1)
}

/// What is known of one page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// Its [`page_hash`]; 0: unknown.
    pub hash: u64,
    /// An upper bound of the LSN that last changed it.
    pub changed: Lsn,
}

impl Entry {
    /// A page of which nothing is known.
    pub const UNKNOWN: Entry = Entry { hash: 0, changed: Lsn::ZERO };

    /// Whether the page was hashed.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.hash != 0
    }
}

/// The entries of all pages of a database.
///
/// - `xor` is the XOR of all hashes and `known` the number of pages that have one, both kept incrementally;
/// - the lock page, which SQLite never stores, always has the unknown entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageMap {
    page_size: PageSize,
    entries: Vec<Entry>,
    xor: u64,
    known: usize,
}

impl PageMap {
    /// A map of a database without pages.
    #[must_use]
    pub fn new(page_size: PageSize) -> PageMap {
        PageMap { page_size, entries: Vec::new(), xor: 0, known: 0 }
    }

    /// The size of the database's pages.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The database's size in pages.
    #[must_use]
    pub fn size(&self) -> u32 {
        u32::try_from(self.entries.len()).expect("a page number has 32 bits")
    }

    /// A page's entry; the unknown one beyond the end.
    ///
    /// # Panics
    /// For page 0, which does not exist.
    #[must_use]
    pub fn get(&self, page: PageNo) -> Entry {
        assert!(page.0 > 0, "pages are counted from 1");
        self.entries.get(page.0 as usize - 1).copied().unwrap_or(Entry::UNKNOWN)
    }

    /// Sets a page's entry and returns the one before. A page beyond the end makes the database that long.
    ///
    /// # Panics
    /// For page 0, which does not exist.
    pub fn set(&mut self, page: PageNo, entry: Entry) -> Entry {
        assert!(page.0 > 0, "pages are counted from 1");
        if page.0 > self.size() {
            self.resize(page.0);
        }
        let slot = &mut self.entries[page.0 as usize - 1];
        if page == self.page_size.lock_page() {
            return *slot;
        }
        self.xor ^= slot.hash ^ entry.hash;
        self.known = self.known + usize::from(entry.is_known()) - usize::from(slot.is_known());
        std::mem::replace(slot, entry)
    }

    /// Makes the database `pages` long; new pages are unknown.
    pub fn resize(&mut self, pages: u32) {
        for cut in self.entries.iter().skip(pages as usize) {
            self.xor ^= cut.hash;
            self.known -= usize::from(cut.is_known());
        }
        self.entries.resize(pages as usize, Entry::UNKNOWN);
    }

    /// Whether every page is known, so that the checksum speaks for the whole database.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let lock_page = usize::from(self.size() >= self.page_size.lock_page().0);
        self.known + lock_page == self.entries.len()
    }

    /// The XOR of all hashes.
    #[must_use]
    pub fn xor(&self) -> u64 {
        self.xor
    }

    /// The database's checksum as records carry it: the XOR of all hashes, never 0.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        known(self.xor)
    }

    /// All pages with their entries, the lock page left out.
    pub fn iter(&self) -> impl Iterator<Item = (PageNo, Entry)> + '_ {
        let lock_page = self.page_size.lock_page();
        (1..)
            .map(PageNo)
            .zip(self.entries.iter().copied())
            .filter(move |(page, _)| *page != lock_page)
    }

    /// The entries, page 1 first, the lock page's (unknown) included.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The pages that may have changed after `lsn`, in order.
    pub fn newer_than(&self, lsn: Lsn) -> impl Iterator<Item = PageNo> + '_ {
        self.iter().filter(move |(_, entry)| entry.changed > lsn).map(|(page, _)| page)
    }

    /// The pages of which nothing is known, in order.
    pub fn unknown(&self) -> impl Iterator<Item = PageNo> + '_ {
        self.iter().filter(|(_, entry)| !entry.is_known()).map(|(page, _)| page)
    }

    /// The XOR of the hashes of pages 1 to 1,024, of the next 1,024 and so on; the last range may be shorter.
    #[must_use]
    pub fn range_checksums(&self) -> Vec<u64> {
        let xor = |range: &[Entry]| range.iter().fold(0, |xor, entry| xor ^ entry.hash);
        self.entries.chunks(RANGE_PAGES as usize).map(xor).collect()
    }
}

#[cfg(test)]
mod tests;
