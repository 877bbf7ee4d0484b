//! Apply: journal records become pages of a copy that others are reading.
//!
//! Pages are written through `sqlite_dbpage`, inside SQLite transactions, so readers keep their snapshots and see
//! whole transactions only. The ways in which that goes wrong silently, each with a test:
//!
//! - an UPDATE of a page that does not exist yet does nothing: always `INSERT OR REPLACE`;
//! - truncation, a row `(N + 1, NULL)`, is forgotten when another page is written after it: it comes last;
//! - once page 1 was rewritten, a statement on the main database can no longer be compiled in that transaction:
//!   the copy is attached to an in-memory database, and page 1 is written after all other pages, because reading
//!   a page compares the schema's version and would load the schema while it is half-written;
//! - a schema that a client damaged on the principal must not keep its pages from being mirrored: errors in it
//!   are overlooked (`writable_schema`);
//! - a page appended in this transaction cannot be read back in it: what later records build on is kept in a map,
//!   and a transaction in chunks, whose pages do not fit a map, begins with nothing before it;
//! - page 1 says whether the file is in WAL mode: bytes 18 and 19 stay 2;
//! - committing in a database with auto_vacuum would move pages once more, by the mode that the copy had before:
//!   SQLite is told to move none;
//! - a connection attaches only copies of its own text encoding, and its own is fixed: a copy that turns out to be
//!   UTF-16 (an import) gets a new connection;
//! - the lock page is never written.

use std::{
    collections::HashMap,
    ffi::{c_char, c_void},
    path::{Path, PathBuf},
    sync::Arc,
};

use counterpart_core::{
    Lsn, PageNo, PageSize,
    map::page_hash,
    record::{Kind, PageError, PageView, Record},
};
use rusqlite::{OpenFlags, OptionalExtension, ffi};

use crate::{
    cache::{LargeCache, PageCaches},
    database::{OpenError, configure, overlook_schema_errors, set_lookaside},
    error::SqlError,
    map::{Changes, DatabaseMap},
    recent::{Lineage, RecentImages},
    vfs,
};

/// Images gathered before they are written, in bytes.
pub(crate) const MAP_LIMIT: usize = 8 << 20;

const WRITE_PAGE: &str =
    "INSERT OR REPLACE INTO sqlite_dbpage(pgno, data, schema) VALUES (?1, ?2, 'copy')";
const READ_PAGE: &str = "SELECT data FROM sqlite_dbpage WHERE schema = 'copy' AND pgno = ?1";
const SIZE: &str = "PRAGMA copy.page_count";
const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";

/// Why records could not be applied. What was visible before still is; nothing of the failed batch is.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// SQLite refused to write.
    #[error("the copy cannot be written: {0}")]
    Sqlite(#[from] SqlError),
    /// A page of a record does not decode against this copy.
    #[error("the record at {lsn} does not fit this copy: {cause}")]
    Page {
        /// The record.
        lsn: Lsn,
        /// What is wrong.
        cause: PageError,
    },
    /// A record contradicts the copy or itself.
    #[error("the record at {lsn} does not fit this copy: {what}")]
    Misfit {
        /// The record.
        lsn: Lsn,
        /// What is wrong.
        what: String,
    },
    /// The copy would not be what the principal has. The record itself is sound.
    #[error(
        "after the record at {lsn} the database's checksum should be {expected:016x}, and here it is {found:016x}"
    )]
    Differs {
        /// The record.
        lsn: Lsn,
        /// The checksum in the record.
        expected: u64,
        /// The copy's, with the record applied.
        found: u64,
    },
    /// A file beside SQLite cannot be read or written.
    #[error("the copy cannot be written: {0}")]
    Io(#[from] std::io::Error),
}

impl From<rusqlite::Error> for ApplyError {
    fn from(error: rusqlite::Error) -> ApplyError {
        ApplyError::Sqlite(error.into())
    }
}

/// What has become visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last record whose transaction is visible; `Lsn::ZERO` before the first.
    pub lsn: Lsn,
    /// Transactions made visible, since the applier was opened.
    pub transactions: u64,
    /// Pages written, since the applier was opened.
    pub pages: u64,
}

/// Newest images of pages, by number.
pub(crate) type Images = HashMap<u32, Box<[u8]>>;

/// Pages in the order in which they are written.
type Pages = Vec<(u32, Box<[u8]>)>;

/// Writes records of one database to its copy.
///
/// - Outside a run of chunks, `map` holds all that was pushed and is not visible, and no SQLite transaction is open.
/// - Within a run of chunks, `map` and the open SQLite transaction together hold exactly that run.
#[derive(Debug)]
pub struct Applier {
    path: PathBuf,
    db: rusqlite::Connection,
    /// The text encoding of `db`, as page 1 numbers them.
    encoding: u32,
    /// The one in a page 1 that was written and is not committed.
    written_encoding: Option<u32>,
    page_size: PageSize,
    map: Images,
    map_limit: usize,
    /// The last pushed record that ends a transaction, and the size it leaves.
    pushed: Option<(Lsn, u32)>,
    pushed_transactions: u64,
    in_chunks: bool,
    open: Option<OpenTransaction>,
    applied: Applied,
    database_map: Option<Arc<DatabaseMap>>,
    /// What pages of the copy are, as far as nothing that was pushed and is not visible changes them.
    recent: Option<(Arc<RecentImages>, Lineage)>,
    /// What the transactions that were pushed and are not visible do to the map; `None` before the first.
    changes: Option<Changes>,
    /// The hashes of the pages of the record that is being pushed.
    hashes: Vec<(PageNo, u64)>,
    large_cache: Option<LargeCache>,
}

/// An open SQLite transaction.
#[derive(Debug)]
struct OpenTransaction {
    /// The copy's size when it began.
    size_before: u32,
    /// The highest page written in it.
    highest: u32,
    pages: u64,
}

impl Applier {
    /// Opens an existing copy for applying. There must be no other writer while records are applied. If its
    /// [`DatabaseMap`] is open, the copy is compared with each record's checksum, and the map is kept true.
    ///
    /// # Errors
    /// [`OpenError`] when it is missing, not a database, or not in WAL mode.
    pub fn open(path: &Path) -> Result<Applier, OpenError> {
        let database_map = DatabaseMap::of(path);
        let opened = open_copy(path).map_err(|cause| OpenError::sqlite(path, cause))?;
        let Attached { db, page_size, mode, encoding } = opened;
        if mode != "wal" {
            return Err(OpenError::NotWal { path: path.to_owned(), mode });
        }
        Ok(Applier {
            path: path.to_owned(),
            db,
            encoding,
            written_encoding: None,
            page_size: PageSize::from_bytes(page_size).expect("SQLite has no other page sizes"),
            map: Images::new(),
            map_limit: MAP_LIMIT,
            pushed: None,
            pushed_transactions: 0,
            in_chunks: false,
            open: None,
            applied: Applied::default(),
            database_map,
            recent: None,
            changes: None,
            hashes: Vec::new(),
            large_cache: None,
        })
    }

    /// Gathers images of `bytes` before writing them, instead of 8 MiB.
    #[must_use]
    pub fn with_map_limit(mut self, bytes: usize) -> Applier {
        self.map_limit = bytes;
        self
    }

    /// Caches more pages, if one of the larger caches is left.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn with_large_cache(mut self, caches: &Arc<PageCaches>) -> Result<Applier, OpenError> {
        let given = LargeCache::give(caches, &self.db, "copy");
        self.large_cache = given.map_err(|cause| OpenError::sqlite(&self.path, cause))?;
        Ok(self)
    }

    /// Takes what a delta builds on from `recent`, if it is there, instead of reading it from the copy.
    #[must_use]
    pub fn with_recent(mut self, recent: &Arc<RecentImages>) -> Applier {
        self.recent = Some((Arc::clone(recent), recent.lineage()));
        self
    }

    /// What has become visible so far.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// Adds a record: a chunk, a transaction or the creation of this database. Nothing becomes visible before
    /// [`commit`](Self::commit), except that gathered transactions are committed when they fill the map, when a
    /// transaction in chunks begins, and when it ends.
    ///
    /// # Errors
    /// [`ApplyError`]; all that was pushed and not committed is forgotten.
    ///
    /// # Panics
    /// If the record carries no pages by its kind.
    pub fn push(&mut self, record: &Record) -> Result<(), ApplyError> {
        let outcome = self.push_record(record);
        if outcome.is_err() {
            self.abort();
        }
        outcome
    }

    /// Makes all whole transactions that were pushed visible, at once.
    ///
    /// # Errors
    /// [`ApplyError`]; all that was pushed and not committed is forgotten.
    pub fn commit(&mut self) -> Result<Applied, ApplyError> {
        if !self.in_chunks
            && let Some((lsn, size)) = self.pushed
        {
            let outcome = self.commit_pushed(lsn, size);
            if outcome.is_err() {
                self.abort();
            }
            outcome?;
        }
        Ok(self.applied)
    }

    /// Pushes all records and commits.
    ///
    /// # Errors
    /// [`ApplyError`], as `push` and `commit`.
    pub fn apply(&mut self, records: &[Record]) -> Result<Applied, ApplyError> {
        records.iter().try_for_each(|record| self.push(record))?;
        self.commit()
    }

    /// Forgets what was pushed and is not visible.
    pub fn abort(&mut self) {
        self.map.clear();
        (self.pushed, self.pushed_transactions, self.in_chunks) = (None, 0, false);
        self.written_encoding = None;
        self.changes = None;
        self.hashes.clear();
        if let Some((recent, lineage)) = &mut self.recent {
            *lineage = recent.lineage();
        }
        if self.open.take().is_some()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            // SQLite has rolled back by itself; the transaction is gone either way.
            tracing::debug!(%error, "rolling back an apply");
        }
    }

    fn push_record(&mut self, record: &Record) -> Result<(), ApplyError> {
        let (header, lsn) = (record.header(), record.lsn());
        let ends = match header.kind {
            Kind::Chunk => false,
            Kind::Transaction | Kind::CreateDatabase => true,
            Kind::DropDatabase | Kind::Mark => {
                panic!("a {:?} is not applied to pages", header.kind)
            }
        };
        if header.page_size.is_some_and(|size| size != self.page_size) {
            let what = format!("it has pages of another size than {}", self.page_size.bytes());
            return Err(ApplyError::Misfit { lsn, what });
        }
        if !ends && !self.in_chunks {
            self.commit()?;
            self.in_chunks = true;
        }
        for page in record.pages() {
            self.take_page(lsn, &page)?;
        }
        // A page that came in a chunk was changed when its transaction ended, which is not known yet.
        self.note_hashes(if ends { lsn } else { Lsn::ZERO });
        if ends {
            self.compare(record)?;
            self.end_transaction(lsn, header.size_in_pages)
        } else if self.is_full() {
            self.write_map(false).map(drop)
        } else {
            Ok(())
        }
    }

    fn is_full(&self) -> bool {
        self.map.len() * self.page_size.bytes() >= self.map_limit
    }

    fn take_page(&mut self, lsn: Lsn, page: &PageView<'_>) -> Result<(), ApplyError> {
        if page.number == self.page_size.lock_page() {
            return Ok(());
        }
        // Out of there whatever the encoding: from here on it is something else.
        let recent = self
            .recent
            .as_ref()
            .and_then(|(recent, lineage)| recent.take_bytes(*lineage, page.number));
        let wants = page.encoding.is_delta() && !self.map.contains_key(&page.number.0);
        let from_copy = match recent.filter(|_| wants) {
            None if wants => self.read_page(page.number)?,
            previous => previous,
        };
        let size = self.page_size;
        decode_into(&mut self.map, size, page, from_copy.as_deref())
            .map_err(|cause| ApplyError::Page { lsn, cause })?;
        if self.database_map.is_some() {
            let image = &self.map[&page.number.0];
            self.hashes.push((page.number, page_hash(page.number, image)));
        }
        Ok(())
    }

    fn read_page(&self, number: PageNo) -> Result<Option<Box<[u8]>>, ApplyError> {
        let mut statement = self.db.prepare_cached(READ_PAGE)?;
        let read = statement.query_row([number.0], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        Ok(read.map(Vec::into_boxed_slice))
    }

    /// Adds the pages of a record to what its transaction changes.
    fn note_hashes(&mut self, lsn: Lsn) {
        let Some(map) = &self.database_map else { return };
        let state = map.lock();
        let changes = self.changes.get_or_insert_with(|| Changes::new(&state));
        changes.pages(&state, &self.hashes, lsn);
        self.hashes.clear();
    }

    /// Compares what the database becomes by this record with what its record says.
    fn compare(&mut self, record: &Record) -> Result<(), ApplyError> {
        let Some(map) = &self.database_map else { return Ok(()) };
        let (header, lsn) = (record.header(), record.lsn());
        if header.size_in_pages == 0 {
            return Ok(()); // The end of the transaction refuses it.
        }
        let state = map.lock();
        let changes = self.changes.as_mut().expect("its pages were noted");
        changes.end(&state, header.size_in_pages, lsn);
        let (expected, found) = (header.database_checksum, changes.checksum());
        if expected != 0 && found != 0 && expected != found {
            return Err(ApplyError::Differs { lsn, expected, found });
        }
        Ok(())
    }

    fn end_transaction(&mut self, lsn: Lsn, size: u32) -> Result<(), ApplyError> {
        if size == 0 {
            let what = "it leaves a database without pages".to_owned();
            return Err(ApplyError::Misfit { lsn, what });
        }
        // What an earlier transaction of this batch wrote beyond the new end is gone.
        if self.pushed.is_some_and(|(_, before)| before > size) {
            self.map.retain(|number, _| *number <= size);
        }
        self.pushed = Some((lsn, size));
        self.pushed_transactions += 1;
        if self.in_chunks {
            self.in_chunks = false;
            self.commit_pushed(lsn, size)
        } else if self.is_full() {
            self.commit_pushed(lsn, size)
        } else {
            Ok(())
        }
    }

    /// Begins the SQLite transaction if it is not open.
    fn begin(&mut self) -> Result<(), ApplyError> {
        if self.open.is_some() {
            return Ok(());
        }
        self.db.prepare_cached(BEGIN)?.execute([])?;
        // From here on `abort` rolls back.
        let open = self.open.insert(OpenTransaction { size_before: 0, highest: 0, pages: 0 });
        open.size_before = self.db.prepare_cached(SIZE)?.query_row([], |row| row.get(0))?;
        Ok(())
    }

    /// Writes the gathered images into the open SQLite transaction, and returns them; page 1 waits for the `last` call.
    fn write_map(&mut self, last: bool) -> Result<Pages, ApplyError> {
        self.begin()?;
        let page_one = if last { None } else { self.map.remove_entry(&1) };
        let mut pages: Vec<_> = self.map.drain().collect();
        pages.sort_unstable_by_key(|(number, _)| if *number == 1 { u32::MAX } else { *number });
        self.map.extend(page_one);
        let open = self.open.as_mut().expect("it was begun above");
        let mut encoding = None;
        let mut statement = self.db.prepare_cached(WRITE_PAGE)?;
        for (number, image) in &pages {
            if *number == 1 {
                encoding = Some(encoding_of(image));
            }
            statement.execute((number, &image[..]))?;
            open.highest = open.highest.max(*number);
        }
        open.pages += pages.len() as u64;
        drop(statement);
        self.written_encoding = encoding.or(self.written_encoding);
        Ok(pages)
    }

    fn commit_pushed(&mut self, lsn: Lsn, size: u32) -> Result<(), ApplyError> {
        let mut pages = self.write_map(true)?;
        let open = self.open.as_ref().expect("writing began it");
        if open.highest > size {
            let what = format!("it has page {} and leaves {size}", open.highest);
            return Err(ApplyError::Misfit { lsn, what });
        }
        let mut statement = self.db.prepare_cached(WRITE_PAGE)?;
        if open.size_before.max(open.highest) < size {
            // Its last page has no image, so it would end too early.
            statement.execute((size, vec![0u8; self.page_size.bytes()]))?;
        } else if open.size_before > size {
            statement.execute((size + 1, rusqlite::types::Null))?;
        }
        drop(statement);
        self.db.prepare_cached(COMMIT)?.execute([])?;
        if let (Some(map), Some(changes)) = (&self.database_map, self.changes.take()) {
            changes.publish(&mut map.lock(), lsn);
        }
        if let Some((recent, lineage)) = &self.recent {
            // Page 1 is never a delta, and SQLite counts in it by itself.
            pages.retain(|(number, _)| *number != 1);
            recent.give(*lineage, pages);
        }
        let written = self.open.take().map_or(0, |open| open.pages);
        self.applied.lsn = lsn;
        self.applied.transactions += std::mem::take(&mut self.pushed_transactions);
        self.applied.pages += written;
        self.pushed = None;
        self.follow_encoding()
    }

    /// A connection keeps the encoding that it began with: once the copy has another one, a new connection is due.
    fn follow_encoding(&mut self) -> Result<(), ApplyError> {
        // 0 is not chosen yet: any connection will do.
        let written = self.written_encoding.take().filter(|encoding| *encoding != 0);
        if written.is_some_and(|encoding| encoding != self.encoding) {
            let Attached { db, encoding, .. } = open_copy(&self.path)?;
            (self.db, self.encoding) = (db, encoding);
        }
        Ok(())
    }
}

/// The text encoding in an image of page 1: 1 is UTF-8, 2 and 3 are UTF-16, 0 is not chosen yet.
fn encoding_of(page_one: &[u8]) -> u32 {
    u32::from_be_bytes(page_one[56..60].try_into().expect("four bytes"))
}

/// An attached copy.
struct Attached {
    db: rusqlite::Connection,
    page_size: u32,
    mode: String,
    /// As page 1 numbers them.
    encoding: u32,
}

/// Attaches a copy. SQLite attaches only what has the text encoding of the main database, so that is made to fit.
fn open_copy(path: &Path) -> Result<Attached, SqlError> {
    let mut outcome = open_copy_as(path, 1, "UTF-8");
    for (number, name) in [(2, "UTF-16le"), (3, "UTF-16be")] {
        if outcome.as_ref().is_err_and(SqlError::is_other_encoding) {
            outcome = open_copy_as(path, number, name);
        }
    }
    outcome
}

fn open_copy_as(path: &Path, encoding: u32, encoding_name: &str) -> Result<Attached, SqlError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    vfs::register();
    // What is attached is opened with the VFS of the connection.
    let db = rusqlite::Connection::open_in_memory_with_flags_and_vfs(flags, vfs::NAME)?;
    set_lookaside(&db, 0)?;
    let name = path
        .to_str()
        .ok_or_else(|| SqlError::new("SQLITE_CANTOPEN", "the path of a database must be UTF-8"))?;
    // Before anything else: whatever loads the schema fixes the encoding.
    db.execute_batch(&format!("PRAGMA encoding='{encoding_name}'"))?;
    overlook_schema_errors(&db)?;
    db.execute("ATTACH ?1 AS copy", [name])?;
    configure(&db, "PRAGMA copy.synchronous=OFF")?;
    let mode = db.query_row("PRAGMA copy.journal_mode", [], |row| row.get(0))?;
    let page_size = db.query_row("PRAGMA copy.page_size", [], |row| row.get(0))?;
    for statement in [WRITE_PAGE, READ_PAGE, SIZE, BEGIN, COMMIT] {
        db.prepare_cached(statement)?;
    }
    forbid_auto_vacuum(&db)?;
    Ok(Attached { db, page_size, mode, encoding })
}

/// Keeps SQLite from vacuuming at commit: the records bring the pages as they are after the principal's.
fn forbid_auto_vacuum(db: &rusqlite::Connection) -> Result<(), SqlError> {
    unsafe extern "C" fn none(_: *mut c_void, _: *const c_char, _: u32, _: u32, _: u32) -> u32 {
        0
    }
    // SAFETY: the connection is open; the callback uses none of its arguments.
    let result = unsafe {
        ffi::sqlite3_autovacuum_pages(db.handle(), Some(none), std::ptr::null_mut(), None)
    };
    if result == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(SqlError::sqlite(result, "auto_vacuum cannot be kept from the copy".to_owned()))
}

/// Decodes a page into the map; `from_copy` is its previous version where the map has none.
pub(crate) fn decode_into(
    map: &mut Images,
    size: PageSize,
    page: &PageView<'_>,
    from_copy: Option<&[u8]>,
) -> Result<(), PageError> {
    let mut image = match (page.encoding.is_delta(), map.remove(&page.number.0)) {
        (true, previous) => {
            let mut image = vec![0; size.bytes()].into_boxed_slice();
            page.decode(size, previous.as_deref().or(from_copy), &mut image)?;
            image
        }
        // An image needs nothing of the previous version but its room.
        (_, previous) => {
            let mut image = previous.unwrap_or_else(|| vec![0; size.bytes()].into_boxed_slice());
            page.decode(size, None, &mut image)?;
            image
        }
    };
    if page.number == PageNo(1) {
        image[18..20].copy_from_slice(&[2, 2]);
    }
    map.insert(page.number.0, image);
    Ok(())
}
