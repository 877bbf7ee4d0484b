//! What is known of a database's pages: in its file, and with the WAL's pages over it.
//!
//! Pure bookkeeping: nothing here reads or writes a page.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

use counterpart_core::{
    Lsn, PageNo, PageSize,
    map::{Entry, PageMap, file::block_of, known, page_hash},
};

/// A table by page number. Each commit fills one, so the standard library's careful hashing would be felt; what a
/// client chooses are rows, not pages.
type ByPage<V> = HashMap<u32, V, BuildHasherDefault<PageHasher>>;

/// Spreads a page number over 64 bits.
#[derive(Debug, Default)]
struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        // The golden ratio as a fraction of 2^64, an odd number; the table looks at the high bits and the low ones.
        let product = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}

/// What a checkpoint wrote is not what was captured or applied: a page was damaged on its way through the WAL. Its
/// entry says what it should hold, so that it is repaired, and never served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the checkpoint wrote other bytes than were committed: pages {pages:?}, checksum {found:016x} instead of {expected:016x}"
)]
pub struct FoldError {
    /// The pages, in order.
    pub pages: Vec<PageNo>,
    /// The checksum of the database by its transactions.
    pub expected: u64,
    /// The checksum of the file.
    pub found: u64,
}

/// The two maps of one database.
///
/// - `file` is what the file holds.
/// - `overlay` has the pages that were changed since and are in the WAL; none is beyond `live_size`.
/// - A page up to `live_size` that is not in `overlay` is as in `file`; with an empty `overlay`, both are the same.
/// - `live_xor` is the XOR of the hashes of the pages that the database has; it means something if `live_known`.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) file: PageMap,
    /// Blocks of the map's file that are out of date.
    dirty: BTreeSet<u32>,
    overlay: ByPage<Entry>,
    live_size: u32,
    live_xor: u64,
    live_known: bool,
    /// The newest position that anything changed at.
    newest: Lsn,
}

impl State {
    pub(crate) fn new(file: PageMap, at: Lsn, all_dirty: bool) -> State {
        let blocks = if all_dirty && file.size() > 0 { block_of(PageNo(file.size())) } else { 0 };
        let mut state = State {
            file,
            dirty: (1..=blocks).collect(),
            overlay: ByPage::default(),
            live_size: 0,
            live_xor: 0,
            live_known: false,
            newest: at,
        };
        state.settle();
        state
    }

    /// Nothing is over the file: the database is what the file holds.
    fn settle(&mut self) {
        self.live_size = self.file.size();
        self.live_xor = self.file.xor();
        self.live_known = self.file.is_complete();
    }

    /// The newest position that anything changed at; of a rebuilt page, that of the rebuilding.
    pub(crate) fn newest(&self) -> Lsn {
        self.newest
    }

    pub(crate) fn live_size(&self) -> u32 {
        self.live_size
    }

    /// The checksum of the database as it is; 0 while some page is unknown.
    pub(crate) fn live_checksum(&self) -> u64 {
        if self.live_known { known(self.live_xor) } else { 0 }
    }

    pub(crate) fn live_entry(&self, page: u32) -> Entry {
        if page > self.live_size {
            return Entry::UNKNOWN;
        }
        self.overlay.get(&page).copied().unwrap_or_else(|| self.file.get(PageNo(page)))
    }

    /// The hashes of these pages, if the file holds all of them as the database has them.
    pub(crate) fn settled(&self, from: u32, to: u32) -> Option<Vec<u64>> {
        let hash = |page: u32| {
            let there = self.file.get(PageNo(page));
            (there.is_known() && !self.overlay.contains_key(&page)).then_some(there.hash)
        };
        (from..=to).map(hash).collect()
    }

    /// The map of the database as it is.
    pub(crate) fn live(&self) -> PageMap {
        let mut live = self.file.clone();
        live.resize(self.live_size);
        for (page, entry) in &self.overlay {
            live.set(PageNo(*page), *entry);
        }
        live
    }

    /// Counts the database's checksum from nothing, after pages of the file became known beneath the overlay.
    pub(crate) fn recount(&mut self) {
        let live = self.live();
        (self.live_xor, self.live_known) = (live.xor(), live.is_complete());
    }

    /// The file holds this entry's page now.
    pub(crate) fn put(&mut self, page: PageNo, entry: Entry) {
        let before = self.file.set(page, entry);
        self.dirty.insert(block_of(page));
        self.newest = self.newest.max(entry.changed);
        if self.overlay.is_empty() {
            self.settle();
        } else if page.0 <= self.live_size && !self.overlay.contains_key(&page.0) {
            self.live_xor ^= before.hash ^ self.file.get(page).hash;
        }
    }

    /// SQLite has written a page with this hash to the file: a checkpoint, or SQLite's own preparation of the file.
    /// When it changed is at most when its newest version did.
    pub(crate) fn written(&mut self, page: PageNo, hash: u64) {
        let changed = self.overlay.get(&page.0).map_or(self.newest, |entry| entry.changed);
        self.put(page, Entry { hash, changed });
    }

    /// The file has this many pages now.
    pub(crate) fn resize_file(&mut self, pages: u32) {
        let before = self.file.size();
        self.file.resize(pages);
        if before != pages && pages.min(before) > 0 {
            self.dirty.extend(block_of(PageNo(pages.min(before)))..=block_of(PageNo(pages)));
        }
        if self.overlay.is_empty() {
            self.settle();
        }
    }

    pub(crate) fn is_unsaved(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn take_dirty(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.dirty)
    }

    pub(crate) fn dirty_again(&mut self, blocks: impl Iterator<Item = u32>) {
        self.dirty.extend(blocks);
    }

    /// What was over the file is gone.
    pub(crate) fn drop_overlay(&mut self) {
        self.overlay.clear();
        self.settle();
    }

    /// Everything in the WAL is in the file: a complete checkpoint has just ended.
    pub(crate) fn fold(&mut self) -> Result<(), FoldError> {
        let (expected, was_known) = (self.live_xor, self.live_known);
        let mut pages = Vec::new();
        for (page, entry) in std::mem::take(&mut self.overlay) {
            let page = PageNo(page);
            let written = self.file.set(page, entry);
            self.dirty.insert(block_of(page));
            // A page without a frame was never written; it is a hole, and was hashed as such.
            if written.is_known() && written.hash != entry.hash {
                pages.push(page);
            }
        }
        let size = self.live_size;
        self.settle();
        let found = self.live_xor;
        if pages.is_empty() && size == self.live_size && (!was_known || expected == found) {
            return Ok(());
        }
        pages.sort_unstable();
        Err(FoldError { pages, expected: known(expected), found: known(found) })
    }
}

/// Transactions that are not visible yet, over what the database is.
///
/// - Between transactions `entries` has no page beyond `size`, and every page by which the database grew.
#[derive(Debug)]
pub(crate) struct Changes {
    page_size: PageSize,
    entries: ByPage<Entry>,
    size: u32,
    /// The highest page of the transaction that is being added.
    highest: u32,
    xor: u64,
    known: bool,
}

impl Changes {
    /// No change yet.
    pub(crate) fn new(state: &State) -> Changes {
        Changes {
            page_size: state.file.page_size(),
            entries: ByPage::default(),
            size: state.live_size,
            highest: 0,
            xor: state.live_xor,
            known: state.live_known,
        }
    }

    /// The checksum after the last transaction, as its record carries it; 0 while some page is unknown.
    pub(crate) fn checksum(&self) -> u64 {
        if self.known { known(self.xor) } else { 0 }
    }

    /// Adds pages of a transaction, with their hashes. `Lsn::ZERO` stands for a position that [`publish`](Self::publish)
    /// will say.
    pub(crate) fn pages(&mut self, state: &State, hashes: &[(PageNo, u64)], lsn: Lsn) {
        self.entries.reserve(hashes.len());
        for &(page, hash) in hashes {
            if page != self.page_size.lock_page() {
                self.xor ^= self.hash_before(state, page.0) ^ hash;
                self.entries.insert(page.0, Entry { hash, changed: lsn });
                self.highest = self.highest.max(page.0);
            }
        }
    }

    /// Ends a transaction, that of the record at `lsn`: it left the database `size` pages long.
    pub(crate) fn end(&mut self, state: &State, size: u32, lsn: Lsn) {
        for page in self.size + 1..=size {
            // No record brought it, so it is a hole in the file.
            if !self.entries.contains_key(&page) && page != self.page_size.lock_page().0 {
                let hash = page_hash(PageNo(page), &vec![0; self.page_size.bytes()]);
                self.xor ^= hash;
                self.entries.insert(page, Entry { hash, changed: lsn });
            }
        }
        for page in size + 1..=self.size.max(self.highest) {
            self.xor ^= self.hash_before(state, page);
            self.entries.remove(&page);
        }
        (self.size, self.highest) = (size, 0);
    }

    /// A page's hash before this transaction, or, within it, as set so far.
    fn hash_before(&self, state: &State, page: u32) -> u64 {
        match self.entries.get(&page) {
            Some(entry) => entry.hash,
            None if page <= self.size => state.live_entry(page).hash,
            None => 0,
        }
    }

    /// They are visible now, the last of them since `lsn`.
    pub(crate) fn publish(mut self, state: &mut State, lsn: Lsn) {
        if self.size < state.live_size {
            state.overlay.retain(|page, _| *page <= self.size);
        }
        for entry in self.entries.values_mut().filter(|entry| entry.changed == Lsn::ZERO) {
            entry.changed = lsn;
        }
        // A large load is moved there rather than copied.
        if state.overlay.len() < self.entries.len() {
            std::mem::swap(&mut state.overlay, &mut self.entries);
            for (page, entry) in self.entries {
                state.overlay.entry(page).or_insert(entry);
            }
        } else {
            state.overlay.extend(self.entries);
        }
        (state.live_size, state.live_xor) = (self.size, self.xor);
        state.newest = state.newest.max(lsn);
    }
}
