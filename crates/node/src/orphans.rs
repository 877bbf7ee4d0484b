//! Orphans: the events that only a deposed principal has. They are saved as files before this server takes anything
//! from the new principal, and only the operator's word deletes them.
//!
//! ```text
//! orphans/<epoch>-<first>-<last>/
//!     about.json          what this is; written last, so that a set without it was never finished
//!     records             the journal's records, one after the other, exactly as in the journal
//!     <N>.db              each database that they touched, as it was with them: a plain SQLite file
//!     <N>.rows.jsonl      the rows that differ from the new principal's, once this server has its state
//! ```

mod compare;
mod save;
mod sql;
mod store;

use counterpart_core::{DatabaseId, DatabaseName, Epoch, Lsn, UnixMicros};
use serde::{Deserialize, Serialize};

pub(crate) use compare::compare_all;
pub(crate) use save::save;
pub(crate) use store::{discard_partial, drop_set, export, list, rows, show};

/// A set of orphans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanSet {
    /// Its name, by which commands mean it.
    pub id: String,
    /// When they were saved.
    pub saved_at: UnixMicros,
    /// The epoch in which this server wrote the last of them.
    pub epoch: Epoch,
    /// The events after this position exist only here.
    pub common: Lsn,
    /// The last of them.
    pub end: Lsn,
    /// The first record that the journal still had; above `common` + 1 if it was not kept as far back. The databases
    /// hold what the older ones did.
    pub records_from: Lsn,
    /// When the last of them was committed, if that is known.
    pub last_at: Option<UnixMicros>,
    /// The databases that they touched.
    pub databases: Vec<OrphanDatabase>,
}

/// A database that orphans touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanDatabase {
    /// Its number on this server at that time.
    pub id: DatabaseId,
    /// Its name.
    pub name: DatabaseName,
    /// Orphaned events of it in the journal.
    pub events: u64,
    /// Whether there is a copy; there is none of a database that the orphans dropped.
    pub copied: bool,
    /// What differs, once it was compared.
    pub differences: Option<Differences>,
    /// Why it could not be compared, if that was tried. It is tried again at the next start.
    #[serde(default)]
    pub why_not: Option<String>,
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differences {
    /// Whether this server has a database of this name now. Without one, nothing could be compared.
    pub present: bool,
    /// The position at which this server's database was read.
    pub compared_at: Lsn,
    /// Tables, indexes, views and triggers that are defined differently.
    pub schema: u64,
    /// Rows that only the orphans have.
    pub inserted: u64,
    /// Rows that both have, with other values.
    pub updated: u64,
    /// Rows that the orphans lack.
    pub deleted: u64,
}

/// What can be exported of a database of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The SQLite file.
    Sqlite,
    /// Statements that make the new principal's rows what the orphans' are.
    Sql,
    /// The rows that differ, one JSON object per line.
    Rows,
}
