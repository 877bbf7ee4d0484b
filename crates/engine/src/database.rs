//! One SQLite file and the connections to it.
//!
//! Only this process has the file open, always in WAL mode. The file must never be opened with `std::fs` while a
//! [`Database`] lives: closing any descriptor of it would drop SQLite's POSIX locks.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use counterpart_core::{DatabaseId, PageSize};
use rusqlite::{OpenFlags, config::DbConfig, ffi};

use crate::{
    cache::PageCaches,
    capture::CaptureState,
    class::Class,
    connection::Connection,
    error::SqlError,
    hooks::CommitGate,
    map::DatabaseMap,
    readers::{Reader, Readers},
    recent::RecentImages,
    vfs,
    wal::WalMemory,
};

/// Bytes of the room for one small allocation; SQLite divides it further.
const SLOT: i32 = 1_200;

/// A statement that runs needs some; 16 KiB do as well as 48.
const CLIENT_SLOTS: i32 = 13;

/// How a database is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether foreign keys are enforced until a stream says otherwise. SQLite's default is no.
    pub foreign_keys: bool,
    /// Whether clients' connections refuse to write the main database from the start (a mirror's do).
    pub read_only: bool,
    /// Idle connections kept for the next stream.
    pub idle_connections: usize,
    /// Compiled statements kept per connection.
    pub cached_statements: usize,
    /// Page cache of each connection in KiB.
    pub cache_kib: u32,
    /// Larger ones, for the connection that writes; shared by all databases of a server.
    pub large_caches: Arc<PageCaches>,
    /// Memory for the WALs of databases with a map; shared by all databases of a server.
    pub wal_memory: Arc<WalMemory>,
    /// Asked before each commit of the main database.
    pub gate: Option<Arc<dyn CommitGate>>,
    /// The images that commits are compared with; shared by all databases of a server.
    pub recent: Arc<RecentImages>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            foreign_keys: false,
            read_only: false,
            idle_connections: 4,
            cached_statements: 128,
            cache_kib: 2_000,
            large_caches: Arc::new(PageCaches::new(64 << 20)),
            wal_memory: Arc::new(WalMemory::new(64 << 20)),
            gate: None,
            recent: Arc::new(RecentImages::new(64 << 20)),
        }
    }
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite cannot open or read it.
    #[error("the database {path} cannot be opened: {cause}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        cause: SqlError,
    },
    /// It is not in WAL mode and cannot be brought there.
    #[error("the database {path} is in journal mode {mode:?}, not WAL")]
    NotWal {
        /// The file.
        path: PathBuf,
        /// The mode it is in.
        mode: String,
    },
}

impl OpenError {
    /// Whether the file is no database, or no whole one, so that opening it again cannot help.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            OpenError::Sqlite { cause, .. } => cause.is_damage(),
            OpenError::NotWal { .. } => false,
        }
    }

    /// The file system said this about the database's page map.
    #[must_use]
    pub fn map(path: &Path, error: &std::io::Error) -> OpenError {
        let what = format!("its page map can't be read: {error}");
        OpenError::sqlite(path, SqlError::new("SQLITE_IOERR_READ", what))
    }

    pub(crate) fn sqlite(path: &Path, cause: impl Into<SqlError>) -> OpenError {
        OpenError::Sqlite { path: path.to_owned(), cause: cause.into() }
    }
}

/// What the connections of a database share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) page_size: PageSize,
    /// The page map, if somebody had it open when the database was opened.
    pub(crate) map: Option<Arc<DatabaseMap>>,
    pub(crate) options: Options,
    pub(crate) readers: Readers,
    pub(crate) read_only: AtomicBool,
    /// No connection is opened any more.
    pub(crate) is_shut: AtomicBool,
    /// The size after the last captured commit, or at opening. Capture builds no delta upon a page beyond it.
    pub(crate) size_in_pages: AtomicU32,
}

impl Shared {
    /// The size in bytes as last known.
    pub(crate) fn file_size(&self) -> u64 {
        u64::from(self.size_in_pages.load(Relaxed)) * self.page_size.bytes() as u64
    }

    /// A connection set up as every connection of a served database must be, but without a guard.
    pub(crate) fn open_connection(&self) -> Result<rusqlite::Connection, SqlError> {
        if self.is_shut.load(SeqCst) {
            return Err(shut());
        }
        let db = open_raw(&self.path)?;
        set_lookaside(&db, CLIENT_SLOTS)?;
        configure(&db, &format!("PRAGMA cache_size=-{}", self.options.cache_kib))?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, self.options.foreign_keys)?;
        Ok(db)
    }
}

/// Opens an existing file without creating it.
fn open_raw(path: &Path) -> Result<rusqlite::Connection, SqlError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    vfs::register();
    Ok(rusqlite::Connection::open_with_flags_and_vfs(path, flags, vfs::NAME)?)
}

/// The server's own connection.
fn open_keeper(path: &Path) -> Result<rusqlite::Connection, SqlError> {
    let db = open_raw(path)?;
    set_lookaside(&db, 0)?;
    configure(&db, "")?;
    overlook_schema_errors(&db)?;
    // Checkpoints must not wait for anybody: whoever asks for one holds the write permit.
    db.busy_timeout(std::time::Duration::ZERO)?;
    Ok(db)
}

/// Gives a connection room for so many small allocations of its own, instead of SQLite's 40: 48 KiB for each connection.
pub(crate) fn set_lookaside(db: &rusqlite::Connection, slots: i32) -> Result<(), SqlError> {
    let none = std::ptr::null_mut::<std::ffi::c_void>();
    // SAFETY: the connection is open and has not allocated anything there yet; SQLite allocates the room by itself.
    let result = unsafe {
        ffi::sqlite3_db_config(db.handle(), ffi::SQLITE_DBCONFIG_LOOKASIDE, none, SLOT, slots)
    };
    match result {
        ffi::SQLITE_OK => Ok(()),
        failed => Err(SqlError::sqlite(failed, "lookaside memory cannot be set".to_owned())),
    }
}

/// Gives back the pages that a connection has cached.
pub(crate) fn release_cache(db: &rusqlite::Connection) {
    // SAFETY: the connection is open and this thread has it. What is in use stays; there is no failure.
    let _always_ok = unsafe { ffi::sqlite3_db_release_memory(db.handle()) };
}

/// The settings that every connection to a served database has, and `more`. None of them ever checkpoints by itself.
pub(crate) fn configure(db: &rusqlite::Connection, more: &str) -> Result<(), SqlError> {
    // The last connection's close would copy the WAL into the file whether or not its events are final.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_prepared_statement_cache_capacity(16);
    let settings = format!("PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0; {more}");
    match db.execute_batch(&settings).map_err(SqlError::from) {
        // These pragmas load the schema, and a client may have damaged it; another must be able to mend it.
        Err(error) if error.code.starts_with("SQLITE_CORRUPT") => {
            overlook_schema_errors(db)?;
            db.execute_batch(&settings)?;
            Ok(db.execute_batch("PRAGMA writable_schema=RESET")?)
        }
        outcome => outcome,
    }
}

/// Lets a connection of the server work on a database whose schema a client has damaged: its pages must still be
/// captured, applied, read and checkpointed.
pub(crate) fn overlook_schema_errors(db: &rusqlite::Connection) -> Result<(), SqlError> {
    Ok(db.execute_batch("PRAGMA writable_schema=ON")?)
}

/// A served database.
#[derive(Debug)]
pub struct Database {
    id: DatabaseId,
    pub(crate) shared: Arc<Shared>,
    idle: Mutex<Vec<Connection>>,
    /// For what the server does itself: checkpoints and questions. Never used for clients. `None` while it
    /// [rests](Self::rest), and once it is shut.
    keeper: Mutex<Option<rusqlite::Connection>>,
    is_awake: AtomicBool,
    pub(crate) capture: Mutex<CaptureState>,
}

impl Database {
    /// Opens an existing database file; a file that is not in WAL mode yet is brought there. If its
    /// [`DatabaseMap`] is open, it is used and kept true.
    ///
    /// # Errors
    /// [`OpenError`] when it is missing, is not a database, or cannot be in WAL mode.
    pub fn open(path: &Path, id: DatabaseId, options: Options) -> Result<Database, OpenError> {
        let map = DatabaseMap::of(path);
        if let Some(map) = &map {
            map.wal().use_memory(&options.wal_memory);
        }
        let keeper = open_keeper(path).map_err(|cause| OpenError::sqlite(path, cause))?;
        let (page_size, size_in_pages) = prepare_file(path, &keeper)?;
        let capture = CaptureState::new(&options.recent, 0, [0; 8]);
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            page_size,
            map,
            read_only: AtomicBool::new(options.read_only),
            is_shut: AtomicBool::new(false),
            options,
            readers: Readers::default(),
            size_in_pages: AtomicU32::new(size_in_pages),
        });
        let database = Database {
            id,
            shared,
            idle: Mutex::default(),
            keeper: Mutex::new(Some(keeper)),
            is_awake: AtomicBool::new(true),
            capture: Mutex::new(capture),
        };
        database.rebase_capture().map_err(|cause| OpenError::sqlite(path, cause))?;
        database.keeper().iter().for_each(|keeper| release_cache(keeper));
        Ok(database)
    }

    /// Makes a new, empty database file in WAL mode, whose page 1 exists in it.
    ///
    /// # Errors
    /// [`OpenError`] when the file exists already or cannot be made.
    pub fn create_file(path: &Path, page_size: PageSize) -> Result<(), OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if path.exists() {
            let cause = SqlError::new("SQLITE_CANTOPEN", "the file exists already");
            return Err(OpenError::sqlite(path, cause));
        }
        let make = || -> Result<(), SqlError> {
            let db = rusqlite::Connection::open_with_flags(path, flags)?;
            db.pragma_update(None, "page_size", u32::from(page_size))?;
            // Changing a header field and back makes SQLite write page 1; WAL mode alone would do so too, but
            // only as a side effect.
            db.execute_batch("PRAGMA user_version=1; PRAGMA user_version=0")?;
            db.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
            db.close().map_err(|(_, error)| error)?;
            Ok(())
        };
        make().map_err(|cause| OpenError::sqlite(path, cause))
    }

    /// The database's identity.
    #[must_use]
    pub fn id(&self) -> DatabaseId {
        self.id
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Its page map, if it has one.
    #[must_use]
    pub fn map(&self) -> Option<&Arc<DatabaseMap>> {
        self.shared.map.as_ref()
    }

    /// The size of its pages; it never changes.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.shared.page_size
    }

    /// Its size in pages after the last captured commit, or when it was opened or rebased. While a commit is being
    /// captured, it is not the database's.
    #[must_use]
    pub fn size_in_pages(&self) -> u32 {
        self.shared.size_in_pages.load(Relaxed)
    }

    /// Whether clients' connections refuse to write the main database.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.shared.read_only.load(Relaxed)
    }

    /// Changes that, at once and for all connections: a commit that is under way is refused, too.
    pub fn set_read_only(&self, read_only: bool) {
        self.shared.read_only.store(read_only, Relaxed);
    }

    /// An idle connection, or a new one.
    ///
    /// # Errors
    /// What SQLite says when a new one cannot be opened.
    pub fn checkout(&self) -> Result<Connection, SqlError> {
        self.checkout_for(false)
    }

    /// An idle connection, or a new one: for writing, the one that wrote last if it is idle. The others must read anew
    /// what they had cached, because somebody else has changed it.
    ///
    /// # Errors
    /// As [`checkout`](Self::checkout).
    pub fn checkout_for(&self, writing: bool) -> Result<Connection, SqlError> {
        if self.shared.is_shut.load(SeqCst) {
            return Err(shut());
        }
        let mut idle = self.lock_idle();
        let fitting = idle.iter().rposition(|connection| connection.wrote == writing);
        let taken = fitting.map(|place| idle.remove(place)).or_else(|| idle.pop());
        drop(idle);
        match taken {
            Some(taken) => Ok(taken),
            None => {
                self.wake()?;
                Connection::open(&self.shared)
            }
        }
    }

    /// An idle connection on which [a glance](Connection::glance) at `sql` is likely to succeed.
    pub fn checkout_ready(&self, sql: &str) -> Option<Connection> {
        if self.shared.is_shut.load(SeqCst) {
            return None;
        }
        let mut idle = self.lock_idle();
        // What wrote last is left for the next one who writes.
        let place =
            |wrote| idle.iter().rposition(|c| c.wrote == wrote && c.is_ready(sql, Class::Read));
        let place = place(false).or_else(|| place(true))?;
        Some(idle.remove(place))
    }

    /// Whether a glance at `sql`, which writes, is likely to succeed on the connection [for writing](Self::checkout_for).
    pub fn is_ready_to_write(&self, sql: &str) -> bool {
        self.lock_idle()
            .iter()
            .any(|connection| connection.wrote && connection.is_ready(sql, Class::Write))
    }

    /// Takes a connection back. An open transaction is rolled back; a marked connection is closed.
    pub fn give_back(&self, mut connection: Connection) {
        assert!(
            Arc::ptr_eq(&connection.shared, &self.shared),
            "a connection goes back to the database it came from"
        );
        if !connection.reset() || self.shared.is_shut.load(SeqCst) {
            return;
        }
        let mut idle = self.lock_idle();
        if connection.wrote {
            idle.retain_mut(Connection::did_not_write_last);
            if !connection.cache_more() {
                return;
            }
        }
        if idle.len() < self.shared.options.idle_connections {
            idle.push(connection);
        }
    }

    /// Closes all idle connections, to free their memory.
    pub fn close_idle(&self) {
        self.lock_idle().clear();
    }

    /// Opens no connection any more and closes those that nobody uses. SQLite has let go of the files when the map
    /// [has no open file](crate::DatabaseMap::open_files): then they may be changed, or opened as another database.
    pub fn shut(&self) {
        self.shared.is_shut.store(true, SeqCst);
        self.close_idle();
        drop(self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.is_awake.store(false, Relaxed);
    }

    /// Makes durable what SQLite has written to the database file. Not with another descriptor of it: closing that
    /// would drop SQLite's locks.
    ///
    /// # Errors
    /// What SQLite says. After that nothing is known about the file: never try again, recover.
    pub fn sync(&self) -> Result<(), SqlError> {
        let keeper = self.keeper()?;
        crate::checkpoint::sync_file(&keeper)
    }

    /// Bytes of the `-wal` file that are in use. 0 without a page map.
    #[must_use]
    pub fn wal_bytes(&self) -> u64 {
        let frames = self.map().map_or(0, |map| map.shm().wal_frames());
        u64::from(frames) * self.page_size().bytes() as u64
    }

    /// The connections with an open transaction, oldest first.
    #[must_use]
    pub fn readers(&self) -> Vec<Reader> {
        self.shared.readers.open()
    }

    /// Deletes a database's `-wal` and `-shm`, for a recovery from the journal.
    ///
    /// # Errors
    /// What the file system says; files that are not there are no error.
    pub fn discard_wal(path: &Path) -> std::io::Result<()> {
        for suffix in ["-wal", "-shm"] {
            match std::fs::remove_file(beside(path, suffix)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it does not rest.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.is_awake.load(Relaxed)
    }

    /// Ends its [rest](Self::rest), if it rests. Whoever needs it does so anyway; an [`Applier`](crate::Applier), which does
    /// not, should find it awake.
    ///
    /// # Errors
    /// What SQLite says, or that the database is shut.
    pub fn wake(&self) -> Result<(), SqlError> {
        // A checkpoint may have the keeper, for as long as it takes.
        if self.is_awake() { Ok(()) } else { self.keeper().map(drop) }
    }

    /// Lets SQLite close its files until somebody needs them: then little more than the page map stays in memory. The WAL is
    /// cut to nothing first, so that nothing has to be recovered from it. `false` if somebody uses the files, if the WAL holds
    /// what the file does not, or if there is no map, which alone could tell.
    ///
    /// The caller holds the write permit, nobody applies, and what the file holds is durable.
    ///
    /// # Errors
    /// What SQLite says; it is as awake as before.
    pub fn rest(&self) -> Result<bool, SqlError> {
        self.close_idle();
        let mut capture = self.lock_capture();
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(db), Some(map)) = (&*keeper, self.map()) else { return Ok(keeper.is_none()) };
        if map.open_files() > 1 {
            return Ok(false);
        }
        let (frames, copied) = wal_checkpoint(db, ffi::SQLITE_CHECKPOINT_NOOP)?;
        if frames != copied {
            return Ok(false);
        }
        match wal_checkpoint(db, ffi::SQLITE_CHECKPOINT_TRUNCATE) {
            Err(error) if error.code.starts_with("SQLITE_BUSY") => return Ok(false),
            outcome => outcome?,
        };
        let pages: u32 = db.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        self.shared.size_in_pages.store(pages, Relaxed);
        // The WAL that comes next has other salts, and follows nothing that is known of this one.
        *capture = CaptureState::new(&self.shared.options.recent, 0, [0; 8]);
        drop(keeper.take());
        self.is_awake.store(false, Relaxed);
        Ok(true)
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's own connection; a database that rests wakes.
    ///
    /// # Errors
    /// When the database is shut, or what SQLite says when it wakes.
    pub(crate) fn keeper(&self) -> Result<Keeper<'_>, SqlError> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.is_shut.load(SeqCst) {
            return Err(shut());
        }
        if keeper.is_none() {
            let db = open_keeper(self.path())?;
            // This opens the WAL, too: a checkpoint of a connection without one would do nothing, and call that success.
            db.query_row("PRAGMA page_count", [], |_| Ok(()))?;
            *keeper = Some(db);
            self.is_awake.store(true, Relaxed);
        }
        Ok(Keeper(keeper))
    }
}

/// The server's own connection, locked.
pub(crate) struct Keeper<'a>(MutexGuard<'a, Option<rusqlite::Connection>>);

impl std::ops::Deref for Keeper<'_> {
    type Target = rusqlite::Connection;

    fn deref(&self) -> &rusqlite::Connection {
        self.0.as_ref().expect("it was there when it was locked, and is taken only with the lock")
    }
}

fn shut() -> SqlError {
    SqlError::new("SQLITE_MISUSE", "the database is shut on this server")
}

/// The file that SQLite keeps beside the database under this suffix.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes sure of WAL mode; returns page size and size in pages.
fn prepare_file(path: &Path, keeper: &rusqlite::Connection) -> Result<(PageSize, u32), OpenError> {
    let sqlite = |cause: rusqlite::Error| OpenError::sqlite(path, cause);
    let mode: String =
        keeper.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)).map_err(sqlite)?;
    if mode != "wal" {
        return Err(OpenError::NotWal { path: path.to_owned(), mode });
    }
    let page_size: u32 =
        keeper.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(sqlite)?;
    let pages: u32 = keeper.query_row("PRAGMA page_count", [], |row| row.get(0)).map_err(sqlite)?;
    // A question about the schema opens the WAL, so that its file is there for the capture.
    keeper.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(sqlite)?;
    let page_size = PageSize::from_bytes(page_size).expect("SQLite has no other page sizes");
    Ok((page_size, pages))
}

/// A checkpoint-style call on the main database: `(frames in the WAL, frames copied)`.
pub(crate) fn wal_checkpoint(db: &rusqlite::Connection, mode: i32) -> Result<(u32, u32), SqlError> {
    let (mut frames, mut copied) = (-1, -1);
    // SAFETY: the connection is open and this thread has it; the out pointers are ours.
    let result = unsafe {
        let name = c"main".as_ptr();
        ffi::sqlite3_wal_checkpoint_v2(db.handle(), name, mode, &mut frames, &mut copied)
    };
    if result != ffi::SQLITE_OK {
        // SAFETY: as above.
        return Err(unsafe { crate::raw::last_error(db.handle(), result) });
    }
    // -1 stands for "no WAL", which has no frames.
    Ok((u32::try_from(frames).unwrap_or(0), u32::try_from(copied).unwrap_or(0)))
}
