//! What happens the moment before SQLite commits: room in the journal is made sure of, and readers are warned.

use std::sync::Arc;

use counterpart_engine::CommitGate;
use counterpart_journal::Journal;

use crate::visibility::Visibility;

/// Bytes that a record takes beyond its pages, generously.
const RECORD_OVERHEAD: u64 = 4096;

/// Makes the gates of databases.
#[derive(Clone)]
pub struct JournalGate(Journal);

impl JournalGate {
    /// Gates before this journal.
    #[must_use]
    pub fn new(journal: Journal) -> JournalGate {
        JournalGate(journal)
    }

    /// The gate of the database with this visibility.
    #[must_use]
    pub fn of_database(&self, visibility: &Arc<Visibility>) -> DatabaseGate {
        DatabaseGate { journal: self.0.clone(), visibility: Arc::clone(visibility) }
    }
}

/// One database's gate.
pub struct DatabaseGate {
    journal: Journal,
    visibility: Arc<Visibility>,
}

impl std::fmt::Debug for DatabaseGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseGate")
    }
}

impl CommitGate for DatabaseGate {
    fn before_commit(&self, estimate_bytes: u64) -> Result<(), String> {
        if let Some(poison) = self.journal.poisoned() {
            return Err(poison.to_string());
        }
        self.journal.reserve(estimate_bytes + RECORD_OVERHEAD).map_err(|e| e.to_string())?;
        self.visibility.begin_capture();
        Ok(())
    }
}
