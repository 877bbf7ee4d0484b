//! What SQLite tells a connection while a statement runs: a commit is coming, it is in the WAL, time passes.
//!
//! The callbacks must never block on anything but the commit gate, and never touch the statement that runs.

use std::{
    ffi::{c_char, c_int, c_void},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use counterpart_core::UnixMicros;
use rusqlite::ffi;

use crate::{clock, database::Shared, error::SqlError, readers::ReaderSlot};

/// Virtual-machine instructions between two looks at the clock: some tens of microseconds.
const INSTRUCTIONS_PER_CHECK: c_int = 4_096;

/// Asked before a commit becomes visible.
pub trait CommitGate: Send + Sync + std::fmt::Debug {
    /// A commit of at most about `estimate_bytes` of pages is coming; from here until the statement has returned
    /// it may become visible to readers at any moment.
    ///
    /// # Errors
    /// A sentence that refuses the commit; the transaction is rolled back and its statement fails with
    /// `SQLITE_FULL` and that sentence.
    fn before_commit(&self, estimate_bytes: u64) -> Result<(), String>;
}

/// The state that a connection shares with its callbacks.
#[derive(Debug)]
pub(crate) struct Hooks {
    /// Frames in the WAL after the last commit that wrote any; 0 once it was captured.
    pub(crate) frames: AtomicU32,
    /// When the running statement must end, in nanoseconds of [`clock`].
    deadline: AtomicU64,
    /// The running statement commits, or has: SQLite asks once more whether it is to be stopped when its last instruction is done,
    /// and would then report as stopped what is committed.
    commits: AtomicBool,
    timed_out: AtomicBool,
    /// Whether the running statement is one that may commit a change of the main database.
    may_commit: AtomicBool,
    refused_commit: Mutex<Option<SqlError>>,
    shared: Arc<Shared>,
}

impl Hooks {
    pub(crate) fn install(
        db: &mut rusqlite::Connection,
        shared: &Arc<Shared>,
    ) -> Result<Arc<Hooks>, SqlError> {
        let hooks = Arc::new(Hooks {
            frames: AtomicU32::new(0),
            deadline: AtomicU64::new(u64::MAX),
            commits: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            may_commit: AtomicBool::new(false),
            refused_commit: Mutex::new(None),
            shared: Arc::clone(shared),
        });
        // SAFETY: SQLite passes the pointer to `on_wal` only; `Connection` keeps the `Arc` until `db` is closed.
        let handle = unsafe {
            let handle = db.handle();
            ffi::sqlite3_wal_hook(handle, Some(on_wal), Arc::as_ptr(&hooks).cast_mut().cast());
            handle as usize
        };
        let cell = Arc::clone(&hooks);
        let mut spilled = 0;
        db.commit_hook(Some(move || {
            let refused = cell.refuses_commit(handle as *mut ffi::sqlite3, &mut spilled);
            cell.commits.store(!refused, Relaxed);
            refused
        }))?;
        let cell = Arc::clone(&hooks);
        db.progress_handler(INSTRUCTIONS_PER_CHECK, Some(move || cell.is_late()))?;
        Ok(hooks)
    }

    /// A statement begins. `may_commit`: it was taken for one that writes, or its transaction has written.
    pub(crate) fn begin(&self, now: UnixMicros, may_commit: bool, slot: &ReaderSlot) {
        self.may_commit.store(may_commit, Relaxed);
        self.commits.store(false, Relaxed);
        self.timed_out.store(false, Relaxed);
        slot.begin(now);
    }

    /// Statements that are compiled or run from now on must end at this time, in nanoseconds of [`clock`].
    pub(crate) fn set_deadline(&self, at: u64) {
        self.commits.store(false, Relaxed);
        self.deadline.store(at, Relaxed);
    }

    fn is_late(&self) -> bool {
        let deadline = self.deadline.load(Relaxed);
        let may_stop = deadline != u64::MAX && !self.commits.load(Relaxed);
        let late = may_stop && clock::nanos() > deadline;
        if late {
            self.timed_out.store(true, Relaxed);
        }
        late
    }

    /// Whether the statement was stopped by its deadline; asked once.
    pub(crate) fn take_timed_out(&self) -> bool {
        self.timed_out.swap(false, Relaxed)
    }

    /// Why the commit was refused; asked once.
    pub(crate) fn take_refused_commit(&self) -> Option<SqlError> {
        self.refused_commit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn refuse(&self, why: SqlError) -> bool {
        *self.refused_commit.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        true
    }

    /// The commit hook: `true` turns the commit into a rollback.
    fn refuses_commit(&self, db: *mut ffi::sqlite3, spilled: &mut u64) -> bool {
        // SAFETY: SQLite calls the hook on the thread that uses the connection, which is open.
        let writes =
            unsafe { ffi::sqlite3_txn_state(db, c"main".as_ptr()) } == ffi::SQLITE_TXN_WRITE;
        if !writes {
            return false; // Only temporary tables were written.
        }
        if self.shared.read_only.load(Relaxed) {
            let sentence = "This server's copy of the database is read-only.";
            return self.refuse(SqlError::read_only(sentence));
        }
        if !self.may_commit.load(Relaxed) {
            // Whoever runs it was told that it reads, and holds no permit; nobody would capture the commit.
            let sentence =
                "A statement that was taken for one that reads has written; it was undone.";
            return self.refuse(SqlError::refused(sentence));
        }
        let Some(gate) = &self.shared.options.gate else { return false };
        let all_spilled = status(db, ffi::SQLITE_DBSTATUS_CACHE_SPILL);
        let spills = all_spilled.saturating_sub(*spilled);
        *spilled = all_spilled;
        let estimate = status(db, ffi::SQLITE_DBSTATUS_CACHE_USED)
            + spills * self.shared.page_size.bytes() as u64;
        match gate.before_commit(estimate) {
            Ok(()) => false,
            Err(sentence) => self.refuse(SqlError::full(sentence)),
        }
    }

    /// VACUUM commits without asking the commit hook, so the gate is asked before it runs.
    pub(crate) fn ask_gate_for_vacuum(&self) -> Result<(), String> {
        let Some(gate) = &self.shared.options.gate else { return Ok(()) };
        gate.before_commit(self.shared.file_size())
    }
}

/// A counter of the connection's page cache.
fn status(db: *mut ffi::sqlite3, counter: c_int) -> u64 {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: the connection is open and used by this thread; the out pointers are ours.
    let result = unsafe { ffi::sqlite3_db_status(db, counter, &mut current, &mut highest, 0) };
    if result == ffi::SQLITE_OK { u64::try_from(current).unwrap_or(0) } else { 0 }
}

/// The WAL hook: a commit is in the WAL, which now has `frames` frames.
unsafe extern "C" fn on_wal(
    hooks: *mut c_void,
    _db: *mut ffi::sqlite3,
    schema: *const c_char,
    frames: c_int,
) -> c_int {
    // SAFETY: `hooks` is what `install` registered, and lives as long as the connection; `schema` is a C string.
    let (hooks, schema) = unsafe { (&*hooks.cast::<Hooks>(), std::ffi::CStr::from_ptr(schema)) };
    if schema == c"main" {
        hooks.frames.store(u32::try_from(frames).unwrap_or(0), Relaxed);
    }
    ffi::SQLITE_OK
}
