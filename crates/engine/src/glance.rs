//! Statements that are over before a thread could be woken for them.
//!
//! A glance runs on the thread that has all the sockets, which must not be kept. So only a statement that is compiled
//! already, that only reads or commits by itself, and that was quick when it ran elsewhere is run so, within a time, a size of
//! its values and without the help of others. If it fails and nothing has happened, for whatever reason, it is run like any other.
//! Glances at a statement must save more time than they cost.

use std::{cell::Cell, time::Duration};

use rusqlite::ffi;

use crate::{
    class::Class,
    clock,
    connection::Connection,
    error::SqlError,
    value::{CollectingSink, Statement, StatementResult},
};

/// A statement that took no longer elsewhere is worth a glance.
const QUICK: Duration = Duration::from_micros(100);

/// How long a glance may take before it is broken off.
const LONGEST: Duration = Duration::from_micros(400);

/// What each quick one saves: a thread need not be woken, nor wake.
const SAVED: Duration = Duration::from_micros(20);

/// What slow ones may have cost beyond what others have saved. One may be slow because the machine is busy, or because the
/// disk had to be read.
const MOST_LOST: Duration = Duration::from_millis(20);

/// Bytes of values in a result.
const MOST_BYTES: u64 = 64 << 10;

/// Bytes of a single value, also of one that is only looked at: no instruction of SQLite's is broken off, and these
/// decide how long one takes.
const LONGEST_VALUE: i32 = 256 << 10;

/// Characters of a pattern, for the same reason.
const LONGEST_PATTERN: i32 = 64;

thread_local! {
    static IN_A_HURRY: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is within a glance, and must not wait for anybody.
pub(crate) fn in_a_hurry() -> bool {
    IN_A_HURRY.get()
}

/// How a compiled statement has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// The last time.
    quick: bool,
    lost: Duration,
}

impl Pace {
    /// It ran, at a glance or elsewhere, and took so long.
    pub(crate) fn note(&mut self, took: Duration) {
        self.quick = took <= QUICK;
        if self.quick {
            self.lost = self.lost.saturating_sub(SAVED);
        }
    }

    /// A glance was slow, or in vain.
    fn lose(&mut self, took: Duration) {
        self.quick = false;
        self.lost += took;
    }

    fn is_quick(self) -> bool {
        self.quick && self.lost < MOST_LOST
    }
}

/// Until it is dropped, the connection's limits are those of a glance.
struct Hurry {
    db: *mut ffi::sqlite3,
    before: [i32; 2],
}

const LIMITS: [(i32, i32); 2] = [
    (ffi::SQLITE_LIMIT_LENGTH, LONGEST_VALUE),
    (ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LONGEST_PATTERN),
];

impl Hurry {
    fn begin(db: *mut ffi::sqlite3) -> Hurry {
        IN_A_HURRY.set(true);
        // SAFETY: the connection is open, and this thread has it.
        let before = LIMITS.map(|(limit, value)| unsafe { ffi::sqlite3_limit(db, limit, value) });
        Hurry { db, before }
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        IN_A_HURRY.set(false);
        for ((limit, _), value) in LIMITS.into_iter().zip(self.before) {
            // SAFETY: a hurry lives within a function that has the connection.
            unsafe { ffi::sqlite3_limit(self.db, limit, value) };
        }
    }
}

impl Connection {
    /// Whether `sql` is of this class, and a glance at it is likely to succeed.
    pub(crate) fn is_ready(&self, sql: &str, class: Class) -> bool {
        let known = self.cache.peek(sql);
        known.is_some_and(|known| known.class == class && known.pace.is_quick())
    }

    /// The outcome of a statement, if it takes no time and has no more than `limit` bytes of values; see the module's head. An
    /// error is one of a statement that has committed all the same, as `INSERT OR FAIL` does: it must not be run again.
    /// For connections from [`Database::checkout_ready`](crate::Database::checkout_ready), and for statements of which
    /// [`Database::is_ready_to_write`](crate::Database::is_ready_to_write) says so. What a write in vain leaves are the numbers of
    /// its stream, which [its scope](Self::begin_scope) is to be given again.
    pub fn glance(
        &mut self,
        statement: &Statement,
        limit: u64,
    ) -> Option<Result<StatementResult, SqlError>> {
        let begun = clock::nanos();
        let hurry = Hurry::begin(self.handle());
        self.set_deadline(Some(LONGEST));
        let mut sink = CollectingSink::new(limit.min(MOST_BYTES));
        let outcome = self.run(statement, &mut sink);
        drop(hurry);
        self.set_deadline(None);
        let took = Duration::from_nanos(clock::nanos() - begun);
        if (outcome.is_err() || took > LONGEST)
            && let Some(known) = self.cache.peek_mut(&*statement.sql)
        {
            known.pace.lose(took);
        }
        let CollectingSink { columns, rows, .. } = sink;
        match outcome {
            Ok(summary) => Some(Ok(StatementResult { columns, rows, summary })),
            Err(error) => self.has_uncaptured().then_some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glances_that_cost_more_than_they_save_end_until_it_was_quick_elsewhere_for_long_enough() {
        let mut pace = Pace::default();
        assert!(!pace.is_quick(), "nothing is known of it");
        pace.note(QUICK);
        assert!(pace.is_quick());
        pace.lose(LONGEST);
        assert!(!pace.is_quick(), "it is to be run elsewhere once");
        for _ in 0..50 {
            pace.note(QUICK);
            pace.lose(LONGEST);
        }
        let mut runs = 0;
        while !pace.is_quick() {
            pace.note(QUICK);
            runs += 1;
        }
        assert_eq!(runs, 1, "slow ones have cost 50 times 400 - 20 µs, and one too few");
        pace.lose(Duration::from_secs(1));
        let runs = (0..).take_while(|_| {
            pace.note(QUICK);
            !pace.is_quick()
        });
        assert!(runs.count() > 40_000);
    }
}
