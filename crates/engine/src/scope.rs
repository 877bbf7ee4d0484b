//! What SQLite scopes to a connection but belongs to a stream, while streams share connections.
//!
//! `last_insert_rowid()` can be set on a connection; `changes()` and `total_changes()` cannot, so both are
//! replaced by functions that answer for the stream. It must never let one stream see another's numbers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
};

use rusqlite::{ffi, functions::FunctionFlags};

/// A stream's numbers while no connection serves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamScope {
    /// What `last_insert_rowid()` answers.
    pub last_insert_rowid: i64,
    /// What `changes()` answers.
    pub changes: i64,
    /// What `total_changes()` answers.
    pub total_changes: i64,
}

/// The connection's side: what is needed to answer for the stream that it serves.
#[derive(Debug, Default)]
pub(crate) struct ScopeCell {
    /// The stream's total minus the connection's, when the scope began.
    total_offset: AtomicI64,
    /// The stream's changes when the scope began.
    changes: AtomicI64,
    /// The connection's own counters when the scope began.
    own_changes: AtomicI64,
    own_total: AtomicI64,
    /// A statement that counts changes has ended since the scope began.
    counted: AtomicBool,
}

/// A connection's counters as SQLite keeps them.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    changes: i64,
    total: i64,
}

/// Reads a connection's counters.
///
/// # Safety
/// `db` is an open connection and no other thread uses it.
pub(crate) unsafe fn counters(db: *mut ffi::sqlite3) -> Counters {
    // SAFETY: as promised by the caller.
    unsafe {
        Counters { changes: ffi::sqlite3_changes64(db), total: ffi::sqlite3_total_changes64(db) }
    }
}

impl Counters {
    /// Rows changed since `earlier`.
    pub(crate) fn written_since(self, earlier: Counters) -> u64 {
        u64::try_from(self.total - earlier.total).unwrap_or(0)
    }

    /// Rows changed by the last statement that counts.
    pub(crate) fn changes(self) -> u64 {
        u64::try_from(self.changes).unwrap_or(0)
    }
}

impl ScopeCell {
    /// From here on the connection, whose counters are `now`, answers for `scope`.
    pub(crate) fn begin(&self, scope: StreamScope, now: Counters) {
        self.total_offset.store(scope.total_changes.wrapping_sub(now.total), Relaxed);
        self.changes.store(scope.changes, Relaxed);
        self.own_changes.store(now.changes, Relaxed);
        self.own_total.store(now.total, Relaxed);
        self.counted.store(false, Relaxed);
    }

    /// A statement that counts its changes has ended.
    pub(crate) fn count(&self) {
        self.counted.store(true, Relaxed);
    }

    /// `changes()` for the stream.
    ///
    /// Within a trigger the counters move before the statement ends, hence the comparison. It misses one case:
    /// the stream's first write fires a trigger whose first statement changes as many rows as the connection's
    /// last statement before did, zero included, and the trigger asks right after it.
    pub(crate) fn changes(&self, now: Counters) -> i64 {
        let moved = self.counted.load(Relaxed)
            || now.changes != self.own_changes.load(Relaxed)
            || now.total != self.own_total.load(Relaxed);
        if moved { now.changes } else { self.changes.load(Relaxed) }
    }

    /// `total_changes()` for the stream.
    pub(crate) fn total_changes(&self, now: Counters) -> i64 {
        now.total.wrapping_add(self.total_offset.load(Relaxed))
    }
}

/// Replaces SQLite's two functions on a connection.
pub(crate) fn install(db: &rusqlite::Connection, cell: &Arc<ScopeCell>) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
    // SAFETY: the handle is used only inside the functions, which SQLite calls while the connection lives.
    let handle = unsafe { db.handle() } as usize;
    let now = move || {
        // SAFETY: SQLite runs the function on the thread that uses the connection, which is open.
        unsafe { counters(handle as *mut ffi::sqlite3) }
    };
    let scope = Arc::clone(cell);
    db.create_scalar_function("changes", 0, flags, move |_| Ok(scope.changes(now())))?;
    let scope = Arc::clone(cell);
    db.create_scalar_function("total_changes", 0, flags, move |_| Ok(scope.total_changes(now())))
}
