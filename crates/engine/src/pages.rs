//! Reading raw pages: for a seed, for an export, for a comparison.
//!
//! Each reader has a connection of its own, because clients' connections cannot see raw pages.

use std::sync::Arc;

use bytes::Bytes;
use counterpart_core::{PageNo, PageSize, map::page_hash};
use rusqlite::OptionalExtension;

use crate::{
    database::{Database, Shared, overlook_schema_errors},
    error::SqlError,
    readers::{Interrupter, ReaderSlot},
};

/// A run of pages as they were at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    /// The first page of the run.
    pub first: PageNo,
    /// The pages, one after the other; empty when the database ends before `first`.
    pub bytes: Bytes,
    /// The database's size at that moment.
    pub size_in_pages: u32,
}

impl Pages {
    /// The pages with their numbers. The lock page, which SQLite never stores, is left out.
    pub fn iter(&self, page_size: PageSize) -> impl Iterator<Item = (PageNo, &[u8])> {
        (self.first.0..)
            .map(PageNo)
            .zip(self.bytes.chunks_exact(page_size.bytes()))
            .filter(move |(number, _)| *number != page_size.lock_page())
    }
}

/// Reads raw pages, each run in a short read transaction of its own.
#[derive(Debug)]
pub struct PageReader {
    db: rusqlite::Connection,
    shared: Arc<Shared>,
    slot: Arc<ReaderSlot>,
    /// What was given last. Once nobody else has it, its memory is used again: new memory costs more than reading into it.
    last: Bytes,
}

impl Drop for PageReader {
    fn drop(&mut self) {
        self.shared.readers.forget(&self.slot);
    }
}

impl Database {
    /// A reader of raw pages.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn page_reader(&self) -> Result<PageReader, SqlError> {
        let db = self.shared.open_connection()?;
        overlook_schema_errors(&db)?;
        // Pages are read once, in order: a cache would only cost.
        db.pragma_update(None, "cache_size", 16)?;
        let slot = self.shared.readers.register(Interrupter::new(&db));
        Ok(PageReader { db, shared: Arc::clone(&self.shared), slot, last: Bytes::new() })
    }

    /// The page in the version with this hash, from the file or from the WAL; `None` if this database has another
    /// version, a damaged one, or no map. For a partner that repairs its own.
    ///
    /// # Errors
    /// What SQLite or the file system says.
    pub fn find_page(&self, page: PageNo, hash: u64) -> Result<Option<Bytes>, SqlError> {
        let Some(map) = self.map() else { return Ok(None) };
        let (in_file, live) = map.hashes_of(page);
        if hash == 0 || in_file == hash || live != hash {
            // What the file should have is not asked of SQLite: were it damaged, the partner would be asked in turn.
            return map.page_with_hash(page, hash).map_err(|error| {
                SqlError::new("SQLITE_IOERR_READ", format!("page {page} cannot be read: {error}"))
            });
        }
        let found = self.page_reader()?.read(page, 1)?.bytes;
        let whole = found.len() == self.page_size().bytes();
        Ok((whole && page_hash(page, &found) == hash).then_some(found))
    }

    /// A snapshot of the database, for a consistent export while writes go on. It pins the WAL until dropped and
    /// shows up in [`readers`](Self::readers) as begun at `now`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn snapshot(&self, now: counterpart_core::UnixMicros) -> Result<SnapshotReader, SqlError> {
        let reader = self.page_reader()?;
        reader.slot.begin(now);
        reader.db.execute_batch("BEGIN")?;
        let size_in_pages = size_in_pages(&reader.db)?;
        Ok(SnapshotReader { reader, size_in_pages, next: PageNo(1) })
    }
}

impl PageReader {
    /// Reads the pages from `from` on, `max_bytes` at most but at least one, as they are at one moment.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn read(&mut self, from: PageNo, max_bytes: usize) -> Result<Pages, SqlError> {
        if let Some(pages) = self.read_settled(from, max_bytes) {
            return Ok(pages);
        }
        self.db.execute_batch("BEGIN")?;
        let pages = self.read_in_transaction(from, max_bytes);
        // A read that failed may have ended the transaction; what it says is what happened.
        let ended = self.db.execute_batch("COMMIT");
        let pages = pages?;
        ended?;
        Ok(pages)
    }

    /// The same without SQLite, if none of the pages is in the WAL: in one piece, where SQLite would copy each page thrice.
    fn read_settled(&mut self, from: PageNo, max_bytes: usize) -> Option<Pages> {
        let (map, page_size) = (self.shared.map.as_ref()?, self.shared.page_size.bytes());
        let most = u32::try_from((max_bytes / page_size).max(1)).unwrap_or(u32::MAX);
        let mut bytes = std::mem::take(&mut self.last).try_into_mut().unwrap_or_default();
        let read = map.read_settled(from, most, &mut bytes);
        self.last = bytes.freeze();
        // What can't be read so is left to SQLite, which says why.
        let size_in_pages = read.ok().flatten()?;
        Some(Pages { first: from, bytes: self.last.clone(), size_in_pages })
    }

    fn read_in_transaction(&self, from: PageNo, max_bytes: usize) -> Result<Pages, SqlError> {
        let size_in_pages = size_in_pages(&self.db)?;
        let page_size = self.shared.page_size.bytes();
        let wanted = u32::try_from((max_bytes / page_size).max(1)).unwrap_or(u32::MAX);
        let count = (u64::from(size_in_pages) + 1).saturating_sub(u64::from(from.0));
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(wanted);
        let mut bytes = Vec::with_capacity(count as usize * page_size);
        let mut statement = self.db.prepare_cached(PAGE)?;
        for number in from.0..from.0 + count {
            statement.query_row([number], |row| {
                bytes.extend_from_slice(row.get_ref(0)?.as_blob()?);
                Ok(())
            })?;
        }
        Ok(Pages { first: from, bytes: bytes.into(), size_in_pages })
    }
}

/// Reads all pages as they were when it was opened, as a plain SQLite file.
#[derive(Debug)]
pub struct SnapshotReader {
    reader: PageReader,
    size_in_pages: u32,
    next: PageNo,
}

impl SnapshotReader {
    /// The size of the whole in pages.
    #[must_use]
    pub fn size_in_pages(&self) -> u32 {
        self.size_in_pages
    }

    /// The size of a page.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.reader.shared.page_size
    }

    /// These pages, one after the other, as they are in the database: nothing is made of it being a file.
    ///
    /// # Errors
    /// What SQLite says, and `SQLITE_CORRUPT` for a page that is not there.
    pub fn read(&mut self, numbers: &[PageNo]) -> Result<Bytes, SqlError> {
        let mut bytes = Vec::with_capacity(numbers.len() * self.page_size().bytes());
        for &number in numbers {
            bytes.extend_from_slice(&read_page(&self.reader.db, number)?);
        }
        Ok(bytes.into())
    }

    /// The next bytes of the file, about `max_bytes`; `None` after the last.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn next_bytes(&mut self, max_bytes: usize) -> Result<Option<Bytes>, SqlError> {
        if self.next.0 > self.size_in_pages {
            return Ok(None);
        }
        let pages = self.reader.read_in_transaction(self.next, max_bytes)?;
        let first = self.next == PageNo(1);
        let count = pages.bytes.len() / self.page_size().bytes();
        self.next = PageNo(self.next.0 + u32::try_from(count).expect("as many as were asked for"));
        if !first {
            return Ok(Some(pages.bytes));
        }
        // Bytes 18 and 19 are the file format's write and read version: 1 is a plain file, 2 is WAL.
        let mut bytes = pages.bytes.to_vec();
        bytes[18..20].copy_from_slice(&[1, 1]);
        Ok(Some(bytes.into()))
    }
}

const PAGE: &str = "SELECT data FROM sqlite_dbpage WHERE pgno=?1";

fn size_in_pages(db: &rusqlite::Connection) -> Result<u32, SqlError> {
    // Within a transaction, this is what begins the snapshot.
    Ok(db.prepare_cached("PRAGMA page_count")?.query_row([], |row| row.get(0))?)
}

/// One page as it is now.
pub(crate) fn read_page(db: &rusqlite::Connection, number: PageNo) -> Result<Vec<u8>, SqlError> {
    let page = db.prepare_cached(PAGE)?.query_row([number.0], |row| row.get(0)).optional()?;
    page.ok_or_else(|| SqlError::new("SQLITE_CORRUPT", format!("page {number} is not there")))
}
