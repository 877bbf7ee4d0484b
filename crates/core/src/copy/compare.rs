//! Which pages differ: the XOR of the hashes of whole ranges first, the hashes of single pages where that differs.
//!
//! Works on plain slices: `hashes[i]` is the hash of page `i + 1`, 0 if unknown (and for the lock page on both sides).

use super::{Offer, RANGE_PAGES, RangeHashes};
use crate::ids::{PageNo, PageSize};

/// Which pages of a database are to be sent: one bit each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageSet {
    bits: Vec<u64>,
    size_in_pages: u32,
    lock_page: PageNo,
}

/// What a receiver finds when it compares an offer with what it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Compared {
    /// Nothing differs.
    Equal,
    /// These ranges may differ, in ascending order. Those beyond the receiver's end are not among them.
    Ranges(Vec<u32>),
}

impl PageSet {
    /// No page of a database of this size.
    #[must_use]
    pub fn none(size_in_pages: u32, page_size: PageSize) -> PageSet {
        let words = (size_in_pages as usize).div_ceil(64);
        PageSet { bits: vec![0; words], size_in_pages, lock_page: page_size.lock_page() }
    }

    /// All pages but the lock page.
    #[must_use]
    pub fn all(size_in_pages: u32, page_size: PageSize) -> PageSet {
        let mut set = PageSet::none(size_in_pages, page_size);
        set.add_from(PageNo(1));
        set
    }

    /// Adds a page; the lock page and what lies beyond the end are not added.
    pub fn add(&mut self, page: PageNo) {
        if page.0 == 0 || page.0 > self.size_in_pages || page == self.lock_page {
            return;
        }
        let index = page.0 as usize - 1;
        self.bits[index / 64] |= 1 << (index % 64);
    }

    /// Adds all pages from this one on.
    pub fn add_from(&mut self, first: PageNo) {
        (first.0..=self.size_in_pages).for_each(|page| self.add(PageNo(page)));
    }

    /// How many pages are in it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.bits.iter().map(|word| word.count_ones()).sum()
    }

    /// Its pages, ascending.
    pub fn iter(&self) -> impl Iterator<Item = PageNo> + '_ {
        self.bits.iter().zip(0u32..).filter(|(word, _)| **word != 0).flat_map(|(word, index)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| {
                // At most the size in pages, which is a 32-bit number.
                PageNo(index * 64 + bit + 1)
            })
        })
    }
}

/// The XOR of the hashes of each range; a range with an unknown page gives `None`, for nothing is known of it.
fn checksums(hashes: &[u64], page_size: PageSize) -> impl Iterator<Item = Option<u64>> + '_ {
    let lock = page_size.lock_page().0 as usize - 1;
    hashes.chunks(RANGE_PAGES as usize).enumerate().map(move |(range, pages)| {
        let first = range * RANGE_PAGES as usize;
        let known = |(index, hash): (usize, &u64)| *hash != 0 || first + index == lock;
        pages.iter().enumerate().all(known).then(|| pages.iter().fold(0, |all, hash| all ^ hash))
    })
}

/// The ranges in which what the receiver has differs, or may differ, from the offer.
///
/// `hashes` are those of the receiver's pages.
#[must_use]
pub fn differing_ranges(offer: &Offer, hashes: &[u64]) -> Compared {
    let size = offer.size_in_pages as usize;
    // A longer database is cut, so what is behind the end does not count.
    let mine = &hashes[..hashes.len().min(size)];
    let whole = if mine.len() == size { usize::MAX } else { mine.len() / RANGE_PAGES as usize };
    let differs = |(range, checksum): (usize, Option<u64>)| {
        // A range in which the receiver's database ends lacks pages, whatever its XOR is.
        let same = range < whole && checksum.is_some_and(|c| offer.ranges.get(range) == Some(&c));
        (!same).then(|| u32::try_from(range).expect("pages are counted in 32 bits"))
    };
    let ranges: Vec<u32> =
        checksums(mine, offer.page_size).enumerate().filter_map(differs).collect();
    if ranges.is_empty() && mine.len() == size { Compared::Equal } else { Compared::Ranges(ranges) }
}

/// The hashes of these ranges of the receiver's pages, for an answer.
#[must_use]
pub fn range_hashes(hashes: &[u64], size_in_pages: u32, ranges: &[u32]) -> Vec<RangeHashes> {
    let mine = &hashes[..hashes.len().min(size_in_pages as usize)];
    let of = |&range: &u32| {
        let first = (range as usize * RANGE_PAGES as usize).min(mine.len());
        let end = (first + RANGE_PAGES as usize).min(mine.len());
        RangeHashes { range, hashes: mine[first..end].to_vec() }
    };
    ranges.iter().map(of).collect()
}

/// Adds to `chosen` the pages of the sender that differ from what the receiver says it has in these ranges.
///
/// `hashes` are those of the sender's pages. Ranges that do not exist are ignored, missing hashes differ.
pub fn differing_pages(hashes: &[u64], theirs: &[RangeHashes], chosen: &mut PageSet) {
    for range in theirs {
        let first = range.range as usize * RANGE_PAGES as usize;
        let own = hashes.iter().enumerate().skip(first).take(RANGE_PAGES as usize);
        for (index, hash) in own {
            let known = range.hashes.get(index - first).copied().unwrap_or(0);
            if known == 0 || known != *hash {
                chosen.add(PageNo(u32::try_from(index + 1).expect("pages are counted in 32 bits")));
            }
        }
    }
}
