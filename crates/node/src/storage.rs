//! What SQLite meets on this server's disk: a file system that has become read-only, a full one, an I/O error.
//!
//! SQLite comes first to the disk with what a transaction changes, before the journal does. Its client is told by the
//! failed statement; the operator is told here, at once, not when the next checkpoint fails. Nothing is decided by it:
//! the transaction is rolled back, and the next one tries again.

use std::{
    fs::File,
    path::Path,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use counterpart_core::{DatabaseName, UnixMicros};
use counterpart_engine::SqlError;
use serde::Serialize;

use crate::clock;

/// A disk with more free bytes than this is not why SQLite says that something is full: a client has set
/// `max_page_count`.
const ROOMY: u64 = 256 << 20;

/// What was met last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Met {
    /// When it was met first.
    at: UnixMicros,
    /// By a statement on which database.
    database: DatabaseName,
    /// SQLite's code.
    code: String,
    /// SQLite's words.
    what: String,
}

/// The disk as SQLite meets it. Raised by an error, cleared by the next commit.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    raised: AtomicBool,
    met: Mutex<Option<Met>>,
}

impl Storage {
    fn lock(&self) -> MutexGuard<'_, Option<Met>> {
        self.met.lock().expect("no holder of this lock panics")
    }

    /// What was met and has not passed.
    pub(crate) fn met(&self) -> Option<Met> {
        self.lock().clone()
    }

    /// A statement failed. `writes`: it held the write permit.
    pub(crate) fn failed(&self, data: &Path, name: &DatabaseName, error: &SqlError, writes: bool) {
        if !is_the_disk(data, error, writes) {
            return;
        }
        let mut met = self.lock();
        // Every statement fails alike; one line is enough.
        if met.as_ref().is_some_and(|before| before.code == error.code) {
            return;
        }
        let (code, what) = (&error.code, &error.message);
        tracing::error!(alarm = "Storage", database = %name, code, what, "SQLite can't use this server's disk");
        *met = Some(Met {
            at: clock::unix_now(),
            database: name.clone(),
            code: code.clone(),
            what: what.clone(),
        });
        self.raised.store(true, Ordering::Relaxed);
    }

    /// A transaction has reached the disk.
    pub(crate) fn works(&self) {
        if self.raised.load(Ordering::Relaxed) && self.raised.swap(false, Ordering::Relaxed) {
            self.lock().take();
            tracing::info!(alarm = "Storage", "SQLite can use this server's disk again");
        }
    }
}

/// Whether it is the disk that failed, and not what the client asked for.
fn is_the_disk(data: &Path, error: &SqlError, writes: bool) -> bool {
    let family = |name: &str| {
        error.code.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    if family("SQLITE_IOERR") || family("SQLITE_CANTOPEN") {
        return true;
    }
    // `PRAGMA query_only` and a READONLY transaction say the same.
    if family("SQLITE_READONLY") {
        return writes && is_read_only(data);
    }
    family("SQLITE_FULL")
        && writes
        && counterpart_journal::free_bytes(data).is_ok_and(|free| free < ROOMY)
}

/// Asks the file system, and changes nothing. Never with a database's file: closing it would drop SQLite's locks.
fn is_read_only(data: &Path) -> bool {
    let opened = File::options().write(true).open(data.join("control"));
    opened.is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_brings_about_itself_is_no_alarm_and_an_error_of_the_disk_is_one_until_it_works()
     {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("control"), "").unwrap();
        let storage = Storage::default();
        let fails = |code: &str| {
            let error = SqlError::new(code, "words");
            storage.failed(dir.path(), &DatabaseName::main(), &error, true);
            storage.met().map(|met| met.code)
        };
        for code in ["SQLITE_READONLY", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_FULLER", "DATA_DAMAGED"]
        {
            assert_eq!(fails(code), None, "{code}");
        }
        assert_eq!(fails("SQLITE_IOERR_WRITE").as_deref(), Some("SQLITE_IOERR_WRITE"));
        storage.works();
        assert_eq!(storage.met(), None);
    }
}
