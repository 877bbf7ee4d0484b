//! A connection on which clients' statements run, one at a time.
//!
//! It compiles, classifies and runs; whether a statement *may* run now is its user's business, who holds the
//! write permit (or not) between [`Connection::classify`] and [`Connection::run`]. It must never let a
//! statement leave anything to the next stream: what cannot be taken back marks the connection.

use std::{
    num::NonZeroUsize,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use counterpart_core::UnixMicros;
use lru::LruCache;
use rusqlite::{ErrorCode, ffi};

use crate::{
    cache::{LargeCache, set_size},
    class::{BeginMode, Class},
    clock,
    compile::Prepared,
    database::Shared,
    error::SqlError,
    guard::Guard,
    hooks::Hooks,
    raw::Step,
    readers::{Interrupter, ReaderSlot},
    scope::{self, ScopeCell, StreamScope},
    value::{CollectingSink, RowSink, Statement, StatementResult, Stop, Summary, ValueRef},
};

/// Statements longer than this are compiled anew each time: they are loads, not queries.
const CACHED_SQL_LIMIT: usize = 16 << 10;

/// A connection for clients' statements.
///
/// - `cache` and `pending` are declared before `db`, so that statements are finalized before it closes.
/// - `hooks` is declared after it: SQLite holds a pointer into it until then.
#[derive(Debug)]
pub struct Connection {
    pub(crate) cache: LruCache<Box<str>, Prepared>,
    /// The statement compiled last, if it must not be kept or is not yet in the cache.
    pub(crate) pending: Option<(Box<str>, Prepared)>,
    pub(crate) db: rusqlite::Connection,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) guard: Guard,
    pub(crate) shared: Arc<Shared>,
    scope: Arc<ScopeCell>,
    slot: Arc<ReaderSlot>,
    pub(crate) marked: bool,
    /// Of all connections that are idle it wrote last.
    pub(crate) wrote: bool,
    /// As it wrote, and if there was one left.
    large_cache: Option<LargeCache>,
    read_only_transaction: bool,
    now: UnixMicros,
}

// SAFETY: raw statements belong to `db`, which may be used by one thread at a time; `Connection` is not `Sync`
// and moves as a whole.
unsafe impl Send for Connection {}

impl Connection {
    pub(crate) fn open(shared: &Arc<Shared>) -> Result<Connection, SqlError> {
        let mut db = shared.open_connection()?;
        // Clients have no business with raw pages, not even through a table that an imported file brings.
        // SAFETY: the handle is open; a null module removes the one of that name.
        let removed = unsafe {
            let name = c"sqlite_dbpage".as_ptr();
            ffi::sqlite3_create_module_v2(
                db.handle(),
                name,
                std::ptr::null(),
                std::ptr::null_mut(),
                None,
            )
        };
        if removed != ffi::SQLITE_OK {
            return Err(SqlError::sqlite(removed, "sqlite_dbpage cannot be removed".to_owned()));
        }
        let scope = Arc::new(ScopeCell::default());
        scope::install(&db, &scope)?;
        let hooks = Hooks::install(&mut db, shared)?;
        let guard = Guard::default();
        guard.install(&mut db)?;
        let slot = shared.readers.register(Interrupter::new(&db));
        let capacity =
            NonZeroUsize::new(shared.options.cached_statements.max(1)).expect("at least 1");
        Ok(Connection {
            cache: LruCache::new(capacity),
            pending: None,
            db,
            hooks,
            guard,
            shared: Arc::clone(shared),
            scope,
            slot,
            marked: false,
            wrote: false,
            large_cache: None,
            read_only_transaction: false,
            now: UnixMicros::default(),
        })
    }

    pub(crate) fn handle(&self) -> *mut ffi::sqlite3 {
        // SAFETY: the handle is used only while `self` lives and by the thread that has it.
        unsafe { self.db.handle() }
    }

    fn counters(&self) -> scope::Counters {
        // SAFETY: the connection is open and this thread has it.
        unsafe { scope::counters(self.handle()) }
    }

    /// From here on the connection answers for the stream of `scope`.
    pub fn begin_scope(&mut self, scope: StreamScope) {
        self.scope.begin(scope, self.counters());
        // SAFETY: the connection is open and this thread has it.
        unsafe { ffi::sqlite3_set_last_insert_rowid(self.handle(), scope.last_insert_rowid) };
    }

    /// The stream's numbers, to be given to [`begin_scope`](Self::begin_scope) of its next connection.
    #[must_use]
    pub fn end_scope(&mut self) -> StreamScope {
        let now = self.counters();
        StreamScope {
            last_insert_rowid: self.last_insert_rowid(),
            changes: self.scope.changes(now),
            total_changes: self.scope.total_changes(now),
        }
    }

    /// The time that a read transaction beginning now is said to begin at, in [`Database::readers`].
    ///
    /// [`Database::readers`]: crate::Database::readers
    pub fn set_now(&mut self, now: UnixMicros) {
        self.now = now;
    }

    /// Statements that run longer than `limit` from now on fail with `SQL_TIMEOUT`. `None` is no limit.
    pub fn set_deadline(&mut self, limit: Option<Duration>) {
        let at = limit.map_or(u64::MAX, |limit| {
            clock::nanos().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
        });
        self.hooks.set_deadline(at);
    }

    /// A handle with which any thread can stop the statement that runs.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        self.slot.interrupter.clone()
    }

    /// For how long the open transaction, or else the one that has just ended, may be open at most, if it was
    /// [cut off](crate::Reader::cut_off) for that.
    #[must_use]
    pub fn cut_off(&self) -> Option<Duration> {
        self.slot.cut_off()
    }

    /// Whether a statement left something on the connection that SQLite scopes to it. Such a connection belongs
    /// to its stream until that closes.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.marked
    }

    /// Whether a transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        !self.db.is_autocommit()
    }

    /// Whether the open transaction has begun to write the main database.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.transaction_state() == ffi::SQLITE_TXN_WRITE
    }

    fn transaction_state(&self) -> i32 {
        // SAFETY: the connection is open and this thread has it.
        unsafe { ffi::sqlite3_txn_state(self.handle(), c"main".as_ptr()) }
    }

    /// The stream's last rowid.
    #[must_use]
    pub fn last_insert_rowid(&self) -> i64 {
        self.db.last_insert_rowid()
    }

    /// Rolls an open transaction back; nothing happens if there is none.
    ///
    /// # Errors
    /// What SQLite says; the connection is then not to be used again.
    pub fn rollback(&mut self) -> Result<(), SqlError> {
        if self.in_transaction() {
            self.guard.reset();
            self.db.execute_batch("ROLLBACK")?;
        }
        self.after_run();
        Ok(())
    }

    /// What `sql`, exactly one statement, would do. It is compiled for the [`run`](Self::run) that follows.
    ///
    /// # Errors
    /// What is wrong with the statement: it does not compile, is refused, or is not exactly one.
    pub fn classify(&mut self, sql: &str) -> Result<Class, SqlError> {
        let (key, prepared) = self.take(sql)?;
        let class = prepared.class;
        self.put(key, prepared);
        Ok(class)
    }

    /// Runs one statement and gives its rows to `sink`.
    ///
    /// # Errors
    /// What SQLite, the guard or a limit says, or what the sink failed with. An error within a writing
    /// statement takes back that statement; a timeout, an interrupt or a failing sink takes back its whole
    /// transaction (then [`in_transaction`](Self::in_transaction) says no).
    pub fn run(
        &mut self,
        statement: &Statement,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, SqlError> {
        let (key, mut prepared) = self.take(&statement.sql)?;
        let outcome = self.run_prepared(&mut prepared, statement, sink);
        prepared.stmt.reset();
        match &outcome {
            Ok(summary) => prepared.pace.note(summary.duration),
            Err(_) if prepared.stmt.is_readonly() => {}
            Err(_) => self.settle_wal_hook(),
        }
        self.after_run();
        if prepared.keep {
            self.put(key, prepared);
        }
        outcome
    }

    /// Runs one statement and collects its rows, `limit` bytes of values at most.
    ///
    /// # Errors
    /// As [`run`](Self::run); `RESPONSE_TOO_LARGE` above the limit.
    pub fn execute(
        &mut self,
        statement: &Statement,
        limit: u64,
    ) -> Result<StatementResult, SqlError> {
        let mut sink = CollectingSink::new(limit);
        let summary = self.run(statement, &mut sink)?;
        Ok(StatementResult { columns: sink.columns, rows: sink.rows, summary })
    }

    fn take(&mut self, sql: &str) -> Result<(Box<str>, Prepared), SqlError> {
        if let Some((key, prepared)) = self.pending.take()
            && *key == *sql
        {
            return Ok((key, prepared));
        }
        match self.cache.pop_entry(sql) {
            Some(entry) => Ok(entry),
            None => Ok((sql.into(), self.compile_one(sql)?)),
        }
    }

    fn put(&mut self, key: Box<str>, prepared: Prepared) {
        if prepared.keep && key.len() <= CACHED_SQL_LIMIT {
            self.cache.put(key, prepared);
        } else {
            self.pending = Some((key, prepared));
        }
    }

    /// Refuses what must not write here. The node refuses earlier and in its own words; this is the belt.
    fn check_writable(&self, class: Class) -> Result<(), SqlError> {
        if !class.needs_permit() {
            return Ok(());
        }
        if self.shared.read_only.load(Relaxed) {
            return Err(SqlError::read_only("This server's copy of the database is read-only."));
        }
        if self.read_only_transaction && self.in_transaction() {
            return Err(SqlError::read_only(
                "This transaction was begun as READONLY; end it before writing.",
            ));
        }
        Ok(())
    }

    fn run_prepared(
        &mut self,
        prepared: &mut Prepared,
        statement: &Statement,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, SqlError> {
        self.check_writable(prepared.class)?;
        prepared.bind(&statement.args)?;
        let may_commit = prepared.class.needs_permit() || self.is_writing();
        self.wrote |= may_commit;
        self.hooks.begin(self.now, may_commit, &self.slot);
        self.guard.reset();
        // Within a transaction it fails, and commits nothing.
        if prepared.vacuum && !self.in_transaction() {
            self.hooks.ask_gate_for_vacuum().map_err(SqlError::full)?;
        }
        self.guard.set_vacuuming(prepared.vacuum);
        let (before, started) = (self.counters(), clock::nanos());
        prepared.stmt.take_status(ffi::SQLITE_STMTSTATUS_RUN);
        let rows = self.step_through(prepared, statement.want_rows, sink);
        self.guard.set_vacuuming(false);
        // Also one that failed has set `changes()`, unless it did not even begin.
        if prepared.counts && prepared.stmt.take_status(ffi::SQLITE_STMTSTATUS_RUN) > 0 {
            self.scope.count();
        }
        let rows = rows.map_err(|error| self.explain(error))?;
        let after = self.counters();
        if prepared.class == Class::Begin(BeginMode::ReadOnly) {
            self.read_only_transaction = true;
        }
        Ok(Summary {
            affected_rows: if prepared.counts { after.changes() } else { 0 },
            last_insert_rowid: self.last_insert_rowid(),
            rows_read: prepared.stmt.take_status(ffi::SQLITE_STMTSTATUS_FULLSCAN_STEP).max(rows),
            rows_written: after.written_since(before),
            duration: Duration::from_nanos(clock::nanos() - started),
        })
    }

    /// Steps to the end; returns the number of rows.
    fn step_through(
        &self,
        prepared: &mut Prepared,
        want_rows: bool,
        sink: &mut dyn RowSink,
    ) -> Result<u64, SqlError> {
        // The first step may compile the statement anew after a schema change, so columns are asked after it.
        let mut step = prepared.stmt.step()?;
        let mut wanted = match sink.columns(prepared.columns()) {
            Ok(()) => want_rows,
            Err(stop) => self.stop(prepared, step, stop)?,
        };
        let mut rows = 0;
        let readonly = prepared.stmt.is_readonly();
        while step == Step::Row {
            rows += 1;
            if wanted {
                let mut values: Vec<ValueRef<'_>> = Vec::new();
                prepared.stmt.row(&mut values);
                if let Err(stop) = sink.row(&values) {
                    drop(values);
                    wanted = self.stop(prepared, step, stop)?;
                }
            }
            if !wanted && readonly {
                // Nothing more can come of it.
                return Ok(rows);
            }
            step = prepared.stmt.step()?;
        }
        Ok(rows)
    }

    /// Acts on a sink's stop: `false` when the statement goes on without rows.
    fn stop(&self, prepared: &mut Prepared, step: Step, stop: Stop) -> Result<bool, SqlError> {
        match stop {
            Stop::Enough => Ok(false),
            Stop::Fail(error) => {
                if step == Step::Row && !prepared.stmt.is_readonly() {
                    // Resetting a writing statement half-way would commit it. An interrupt rolls it back.
                    // SAFETY: the connection is open and this thread has it.
                    unsafe { ffi::sqlite3_interrupt(self.handle()) };
                    while let Ok(Step::Row) = prepared.stmt.step() {}
                }
                Err(error)
            }
        }
    }

    /// SQLite's error in the words of whoever caused it.
    pub(crate) fn explain(&self, error: SqlError) -> SqlError {
        if let Some(refusal) = self.hooks.take_refused_commit() {
            return refusal;
        }
        if self.hooks.take_timed_out() {
            return SqlError::timeout();
        }
        self.guard.explain(error)
    }

    /// Lets SQLite call the WAL hook for a commit of a statement that failed. `INSERT OR FAIL` commits what it did
    /// before it failed, and SQLite calls the hook only at the end of the next statement that succeeds: until
    /// then the commit would be visible and not captured.
    fn settle_wal_hook(&mut self) {
        while !self.in_transaction() {
            match self.db.execute_batch("BEGIN; COMMIT") {
                // Somebody stopped the statement that has failed already, and hit this one.
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) =>
                {
                    while self.in_transaction() && self.db.execute_batch("ROLLBACK").is_err() {}
                }
                Err(error) => {
                    tracing::debug!(%error, "asking for the WAL hook after a failed statement");
                    return;
                }
                Ok(()) => return,
            }
        }
    }

    fn after_run(&mut self) {
        self.read_only_transaction &= self.in_transaction();
        self.hooks.take_timed_out();
        if self.transaction_state() == ffi::SQLITE_TXN_NONE {
            self.slot.end();
        }
    }

    /// Makes the connection as good as new for the next stream; `false` if it cannot be.
    /// Lets the connection that wrote last cache more; whether it is as good as before.
    pub(crate) fn cache_more(&mut self) -> bool {
        if self.large_cache.is_some() {
            return true;
        }
        let given = LargeCache::give(&self.shared.options.large_caches, &self.db, "main");
        given.map(|large| self.large_cache = large).is_ok()
    }

    /// Another one wrote; whether this one is as good as before.
    pub(crate) fn did_not_write_last(&mut self) -> bool {
        self.wrote = false;
        let kib = self.shared.options.cache_kib;
        self.large_cache.take().is_none_or(|_| set_size(&self.db, "main", kib).is_ok())
    }

    pub(crate) fn reset(&mut self) -> bool {
        self.pending = None;
        self.set_deadline(None);
        !self.marked && self.rollback().is_ok()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.readers.forget(&self.slot);
    }
}
