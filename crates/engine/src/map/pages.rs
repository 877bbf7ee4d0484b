//! Pages of the database file itself: verified, repaired, scrubbed, written for a seed.
//!
//! Nothing here may hold the map's lock while it waits for a partner.

use std::{
    io,
    os::unix::fs::FileExt,
    sync::{Arc, atomic::Ordering},
};

use bytes::{Bytes, BytesMut};
use counterpart_core::{
    DatabaseId, Lsn, PageNo,
    map::{Entry, page_hash},
};
use rustix::fs::{Advice, fadvise};

use super::{DatabaseMap, PoisonError};
use crate::{
    glance::in_a_hurry,
    vfs,
    writeback::{self, Before},
};

/// Bytes of a checkpoint that are on their way to the disk at a time. With all of it on the way at once, the journal's next
/// sync would wait behind it.
const UNDER_WAY: u64 = 1 << 20;

/// The same of one that runs beside writers, and has time.
const UNDER_WAY_BESIDE: u64 = 256 << 10;

/// How often a page that changes under the reader's eyes is looked at again.
const ATTEMPTS: usize = 3;

/// A page of a database file that does not hold what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedPage {
    /// The database.
    pub database: DatabaseId,
    /// The page.
    pub page: PageNo,
    /// The hash that it should have.
    pub expected: u64,
    /// The hash that it has; `None` if it cannot be read or lies beyond the file's end.
    pub found: Option<u64>,
}

/// What became of a damaged page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairOutcome {
    /// The file holds what it should again.
    Repaired,
    /// Nobody has the page, or nobody may be asked.
    NoSource,
    /// What was brought could not be used.
    Failed(String),
}

/// Where the good version of a damaged page comes from.
pub trait Repairer: Send + Sync + std::fmt::Debug {
    /// Brings the page with this hash from somewhere else. It may block, but not for long: a client's statement
    /// waits. What it brings is verified.
    fn fetch(&self, database: DatabaseId, page: PageNo, hash: u64) -> Option<Bytes>;

    /// Is told of every damaged page that was met, and what became of it.
    fn damaged(&self, page: DamagedPage, outcome: &RepairOutcome);
}

/// Why a page was not repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The bytes are not the page as it should be.
    #[error("page {page} should have the hash {expected:016x}; what was brought has not")]
    Wrong {
        /// The page.
        page: PageNo,
        /// The hash it should have.
        expected: u64,
    },
    /// The file could not be written.
    #[error("the page cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// What one step of a scrub found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubStep {
    /// Where the next step begins; `None` after the last page.
    pub next: Option<PageNo>,
    /// Bytes read.
    pub bytes: u64,
    /// Pages that do not hold what they should.
    pub bad: Vec<DamagedPage>,
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The page as it should be.
    Good,
    /// Nobody knows how it should be.
    Unknown,
    /// Not the page as it should be, and nobody has that.
    Damaged,
}

impl DatabaseMap {
    /// Sets or removes where damaged pages are repaired from.
    pub fn set_repairer(&self, repairer: Option<Arc<dyn Repairer>>) {
        *self.repairer.write().unwrap_or_else(PoisonError::into_inner) = repairer;
    }

    pub(super) fn offset(&self, page: PageNo) -> u64 {
        u64::from(page.0 - 1) * self.page_size.bytes() as u64
    }

    /// Reads a page from the file; `false` if it lies beyond the end.
    fn read_raw(&self, page: PageNo, image: &mut [u8]) -> io::Result<bool> {
        match self.raw.read_exact_at(image, self.offset(page)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads a page from the file; beyond its end there are zeros, as for SQLite.
    pub(super) fn read_or_zeros(&self, page: PageNo, image: &mut [u8]) -> io::Result<()> {
        if !self.read_raw(page, image)? {
            image.fill(0);
        }
        Ok(())
    }

    fn hash_in_file(&self, page: PageNo, image: &mut [u8]) -> Option<u64> {
        matches!(self.read_raw(page, image), Ok(true)).then(|| page_hash(page, image))
    }

    /// Judges what was just read as `page`, and repairs it if it can be; then `image` holds the page. `whole` says
    /// whether the read gave a page at all.
    pub(crate) fn verify(&self, page: PageNo, image: &mut [u8], whole: bool) -> Verdict {
        let found = whole.then(|| page_hash(page, image));
        let wanted = self.lock().file.get(page).hash;
        if wanted == 0 {
            return Verdict::Unknown;
        }
        if found == Some(wanted) {
            return Verdict::Good;
        }
        if in_a_hurry() {
            // Whoever reads again, and may wait for a partner, finds the same.
            return Verdict::Damaged;
        }
        for _ in 0..ATTEMPTS {
            // The page may just be written: with the lock, page and hash belong together.
            let damaged = {
                let state = self.lock();
                let expected = state.file.get(page).hash;
                let found = self.hash_in_file(page, image);
                match found {
                    _ if expected == 0 => return Verdict::Unknown,
                    Some(hash) if hash == expected => return Verdict::Good,
                    _ => DamagedPage { database: self.id, page, expected, found },
                }
            };
            if self.heal(damaged) != RepairOutcome::Repaired {
                return Verdict::Damaged;
            }
        }
        Verdict::Damaged
    }

    /// Has a damaged page repaired by the repairer, and tells it what became of that.
    pub fn heal(&self, damaged: DamagedPage) -> RepairOutcome {
        let repairer =
            self.repairer.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(Arc::clone);
        let Some(repairer) = repairer else {
            tracing::error!(
                database = %damaged.database, page = %damaged.page,
                "a page of the database file is damaged, and there is nobody to repair it"
            );
            return RepairOutcome::NoSource;
        };
        let outcome = match repairer.fetch(damaged.database, damaged.page, damaged.expected) {
            None => RepairOutcome::NoSource,
            Some(image) => match self.repair(damaged.page, &image) {
                Ok(()) => RepairOutcome::Repaired,
                // The page was written meanwhile: what was brought is no longer wanted, and not needed either.
                Err(RepairError::Wrong { expected, .. }) if expected != damaged.expected => {
                    RepairOutcome::Repaired
                }
                Err(error) => RepairOutcome::Failed(error.to_string()),
            },
        };
        repairer.damaged(damaged, &outcome);
        outcome
    }

    /// Writes a page to the file if it is what the page should be.
    ///
    /// # Errors
    /// [`RepairError`]; the file is then as it was, unless writing failed.
    pub fn repair(&self, page: PageNo, image: &[u8]) -> Result<(), RepairError> {
        let state = self.lock();
        let expected = state.file.get(page).hash;
        let fits = image.len() == self.page_size.bytes() && expected != 0;
        if !fits || page_hash(page, image) != expected {
            return Err(RepairError::Wrong { page, expected });
        }
        self.write_page(page, image)?;
        drop(state);
        Ok(())
    }

    /// Writes a page, or some from it on, as it must be in a served file: page 1 says that the database is in WAL mode.
    pub(super) fn write_page(&self, page: PageNo, image: &[u8]) -> io::Result<()> {
        self.raw.write_all_at(image, self.offset(page))?;
        if page == PageNo(1) && image[18..20] != [2, 2] {
            self.raw.write_all_at(&[2, 2], 18)?;
        }
        Ok(())
    }

    /// Reads consecutive pages from the file into `bytes`, `most` at most, if the file holds them all as the database has them
    /// now; the size of the database. They are as they were at one moment. `None` where only SQLite can tell: some are in the
    /// WAL, or unknown, or not what they should be.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn read_settled(
        &self,
        from: PageNo,
        most: u32,
        bytes: &mut BytesMut,
    ) -> io::Result<Option<u32>> {
        let (hashes, size) = {
            let state = self.lock();
            let size = state.live_size();
            let end = size.min(from.0.saturating_add(most - 1));
            (state.settled(from.0, end), size)
        };
        let Some(hashes) = hashes else { return Ok(None) };
        let length = self.page_size.bytes();
        bytes.resize(hashes.len() * length, 0);
        match self.raw.read_exact_at(bytes, self.offset(from)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            outcome => outcome?,
        }
        // Whatever was written there meanwhile has another hash.
        let mut pages = (from.0..).map(PageNo).zip(bytes.chunks_exact(length)).zip(hashes);
        let whole = pages.all(|((page, image), hash)| page_hash(page, image) == hash);
        Ok(whole.then_some(size))
    }

    /// Writes consecutive pages into the file, which SQLite must not have open; `changed` is a position at or after
    /// their last change. The lock page among them is left out.
    ///
    /// # Errors
    /// What the file system says; the map says what the pages should be.
    ///
    /// # Panics
    /// If `bytes` is not a whole number of pages.
    pub fn write_raw(&self, first: PageNo, bytes: &[u8], changed: Lsn) -> io::Result<()> {
        self.write_runs(first, bytes, changed, |page, run| self.write_page(page, run))
    }

    /// Takes down what the pages will be, and has them written: by one call, or by two around the lock page.
    pub(super) fn write_runs(
        &self,
        first: PageNo,
        bytes: &[u8],
        changed: Lsn,
        mut write: impl FnMut(PageNo, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let length = self.page_size.bytes();
        assert_eq!(bytes.len() % length, 0, "whole pages are written");
        let lock_page = self.page_size.lock_page();
        let mut state = self.lock();
        // First, so that a write that fails leaves pages which do not verify.
        for (page, image) in (first.0..).map(PageNo).zip(bytes.chunks_exact(length)) {
            if page != lock_page {
                state.put(page, Entry { hash: page_hash(page, image), changed });
            }
        }
        // As few writes as can be: each one costs as much as the copying of its page.
        let pages = u32::try_from(bytes.len() / length).expect("pages have 32 bits");
        let (before, after) = match lock_page.0.checked_sub(first.0) {
            Some(at) if at < pages => {
                let at = at as usize * length;
                (&bytes[..at], &bytes[at + length..])
            }
            _ => (bytes, &bytes[..0]),
        };
        for (page, run) in [(first, before), (PageNo(lock_page.0 + 1), after)] {
            if !run.is_empty() {
                write(page, run)?;
            }
        }
        Ok(())
    }

    /// Gives the file its size in pages; SQLite must not have it open. New pages are zeros, and unknown.
    ///
    /// # Errors
    /// What the file system says.
    pub fn resize_raw(&self, pages: u32) -> io::Result<()> {
        let mut state = self.lock();
        self.raw.set_len(u64::from(pages) * self.page_size.bytes() as u64)?;
        state.resize_file(pages);
        Ok(())
    }

    /// The WAL was thrown away: the database is what the file holds.
    pub fn forget_wal(&self) {
        self.lock().drop_overlay();
    }

    /// The page from the file, if the file holds the version with this hash.
    ///
    /// # Errors
    /// What the file system says.
    pub fn page_with_hash(&self, page: PageNo, hash: u64) -> io::Result<Option<Bytes>> {
        if hash == 0 || self.lock().file.get(page).hash != hash {
            return Ok(None);
        }
        let mut image = vec![0; self.page_size.bytes()];
        let whole = self.read_raw(page, &mut image)?;
        Ok((whole && page_hash(page, &image) == hash).then(|| image.into()))
    }

    /// Reads the pages from `from` on back from the disk, about `max_bytes` but at least one page, and compares them
    /// with the map. Nothing is repaired: see [`heal`](Self::heal). Pages of the WAL are not looked at.
    ///
    /// # Errors
    /// What the file system says, except about a page that cannot be read: that is a bad page.
    pub fn scrub(&self, from: PageNo, max_bytes: usize) -> io::Result<ScrubStep> {
        let length = self.page_size.bytes();
        let count = u32::try_from((max_bytes / length).max(1)).unwrap_or(u32::MAX);
        let size = self.lock().file.size();
        let end = size.min(from.0.saturating_add(count - 1));
        let span = u64::from((end + 1).saturating_sub(from.0)) * length as u64;
        if let Some(span) = std::num::NonZeroU64::new(span) {
            // What the system remembers of the file says nothing about the disk. Pages not yet synced stay.
            fadvise(&self.raw, self.offset(from), Some(span), Advice::DontNeed)?;
        }
        let (mut image, mut bad, mut bytes) = (vec![0; length], Vec::new(), 0);
        for page in (from.0..=end).map(PageNo) {
            let expected = self.lock().file.get(page).hash;
            if expected == 0 {
                continue;
            }
            bytes += length as u64;
            if self.hash_in_file(page, &mut image) == Some(expected) {
                continue;
            }
            let state = self.lock();
            let expected = state.file.get(page).hash;
            let found = self.hash_in_file(page, &mut image);
            if expected != 0 && found != Some(expected) {
                bad.push(DamagedPage { database: self.id, page, expected, found });
            }
        }
        let next = (end < size).then(|| PageNo(end + 1));
        Ok(ScrubStep { next, bytes, bad })
    }

    /// Reads the whole file back as [`scrub`](Self::scrub) does; the pages that do not hold what they should. The map goes
    /// on saying what they should hold: clients may still be reading.
    ///
    /// # Errors
    /// As [`scrub`](Self::scrub).
    pub fn damaged_pages(&self) -> io::Result<Vec<DamagedPage>> {
        const STEP: usize = 4 << 20;
        let mut damaged = Vec::new();
        let mut next = Some(PageNo(1));
        while let Some(from) = next {
            let step = self.scrub(from, STEP)?;
            damaged.extend(step.bad);
            next = step.next;
        }
        Ok(damaged)
    }

    // What the VFS does with the lock held.

    /// Runs a write of SQLite's to `[offset, offset + length)` of the file and takes down what the file then holds.
    /// `image` is given when it is exactly one page.
    pub(crate) fn write_through<R>(
        &self,
        offset: u64,
        length: usize,
        image: Option<&[u8]>,
        write: impl FnOnce() -> R,
    ) -> R {
        let mut state = self.lock();
        let outcome = write();
        let page_size = self.page_size.bytes() as u64;
        let last = offset + (length as u64).max(1) - 1;
        let mut read = Vec::new();
        for index in offset / page_size..=last / page_size {
            let page = PageNo(u32::try_from(index + 1).unwrap_or(u32::MAX));
            let hash = match image {
                // A write that failed leaves anything: with the hash of what was to be written, it is not served.
                Some(image) => page_hash(page, image),
                None => {
                    read.resize(self.page_size.bytes(), 0);
                    // Where the file can't be read back, nothing is known.
                    self.hash_in_file(page, &mut read).unwrap_or(0)
                }
            };
            state.written(page, hash);
        }
        drop(state);
        self.send_to_disk(length as u64);
        outcome
    }

    /// Has the system begin to write what was written to the file, in steps: it is made durable soon after, and less is left
    /// to do then. Waits for the step before.
    fn send_to_disk(&self, more: u64) {
        let waiting = self.on_its_way.fetch_add(more, Ordering::Relaxed) + more;
        let most = if vfs::copies_beside_writers() { UNDER_WAY_BESIDE } else { UNDER_WAY };
        if waiting < most {
            return;
        }
        self.on_its_way.store(0, Ordering::Relaxed);
        if let Err(error) = writeback::begin(&self.raw, 0..0, Before::Await) {
            // What fails here fails the sync that counts, too, which is another descriptor's.
            tracing::debug!(database = %self.id, %error, "writing a checkpoint's pages early");
        }
        vfs::has_copied();
    }

    /// Runs a truncation of SQLite's and takes down the size that it leaves.
    pub(crate) fn truncate_through<R>(
        &self,
        length: u64,
        truncate: impl FnOnce() -> R,
        succeeded: impl FnOnce(&R) -> bool,
    ) -> R {
        let mut state = self.lock();
        let outcome = truncate();
        if succeeded(&outcome) {
            let pages = length.div_ceil(self.page_size.bytes() as u64);
            state.resize_file(u32::try_from(pages).unwrap_or(u32::MAX));
        }
        outcome
    }

    /// The length that the file should have in bytes, if that is more than it has: a file that was cut short is no
    /// shorter database.
    pub(crate) fn length_at_least(&self, length: u64) -> u64 {
        let pages = u64::from(self.lock().file.size());
        length.max(pages * self.page_size.bytes() as u64)
    }
}
