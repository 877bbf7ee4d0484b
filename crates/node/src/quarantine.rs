//! Databases that are out of use on this server because they are not what they should be, while all others go on.
//!
//! Two ways lead here: a start that finds a file which can't be opened, or which is not what the journal says; and a
//! mirror's replay that finds that a transaction would not give what the principal has. What was found is kept as
//! evidence before anything is mended.

mod mending;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use counterpart_core::{DatabaseId, DatabaseName, Lsn, record::Record};
use counterpart_engine::DatabaseMap;
use counterpart_journal::atomic_write;
use serde_json::json;

use crate::{clock, control::CatalogEntry, databases::Hosted, refusal::Refusal, shared::Shared};

pub use mending::keep_mending;

/// Files of evidence that are kept. The first ones tell most.
const EVIDENCE_MOST: usize = 512;

/// A database that is out of use.
#[derive(Clone, Debug)]
pub struct Ill {
    /// Which one.
    pub entry: CatalogEntry,
    /// What a client is told that wants it, if it can't be read at all.
    pub refusal: Option<Refusal>,
    /// Its page map, if its file could be opened: what it holds is compared by it.
    pub map: Option<Arc<DatabaseMap>>,
    /// The position of which `map` tells every page, if nothing else is wrong than that some are damaged. Records after
    /// that were passed over.
    pub shows: Option<Lsn>,
    /// Set once it was healed: its records up to here are in it already.
    pub healed_at: Option<Lsn>,
}

/// All that are out of use, and those that were healed a moment ago.
#[derive(Debug, Default)]
pub struct Quarantine(Mutex<BTreeMap<DatabaseId, Ill>>);

impl Quarantine {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<DatabaseId, Ill>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Takes a database out of use.
    pub fn put(&self, ill: Ill) {
        self.lock().insert(ill.entry.id, ill);
    }

    /// A database is well, or gone.
    pub fn release(&self, id: DatabaseId) -> Option<Ill> {
        self.lock().remove(&id)
    }

    /// Notes that a database is as of `at`.
    pub fn healed(&self, id: DatabaseId, at: Lsn) {
        if let Some(ill) = self.lock().get_mut(&id) {
            ill.healed_at = Some(at);
            ill.refusal = None;
        }
    }

    /// Nothing is replayed any more, so nothing need be passed over.
    pub fn forget_healed(&self) {
        self.lock().retain(|_, ill| ill.healed_at.is_none());
    }

    /// Nothing is out of use any more: everything was replaced.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The database, if it is out of use.
    #[must_use]
    pub fn get(&self, id: DatabaseId) -> Option<Ill> {
        self.lock().get(&id).filter(|ill| ill.healed_at.is_none()).cloned()
    }

    /// Whether the database of this name is out of use, or was a moment ago.
    #[must_use]
    pub fn has(&self, name: &DatabaseName) -> bool {
        self.lock().values().any(|ill| ill.entry.name == *name)
    }

    /// The database of this name, if it is out of use.
    #[must_use]
    pub fn named(&self, name: &DatabaseName) -> Option<Ill> {
        self.all().into_iter().find(|ill| ill.entry.name == *name)
    }

    /// Why a client can't read the database of this name, if it can't.
    #[must_use]
    pub fn refusal(&self, name: &DatabaseName) -> Option<Refusal> {
        self.lock().values().find(|ill| ill.entry.name == *name)?.refusal.clone()
    }

    /// Nothing, if no database is out of use.
    ///
    /// # Errors
    /// Which one is: whoever copies the rest would take it for everything.
    pub fn none(&self) -> Result<(), Refusal> {
        let all = self.all();
        let Some(ill) = all.first() else { return Ok(()) };
        let name = &ill.entry.name;
        Err(ill.refusal.clone().unwrap_or_else(|| {
            damaged(name, "it differs from the principal's, and is not healed yet")
        }))
    }

    /// Whether nothing is out of use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().values().all(|ill| ill.healed_at.is_some())
    }

    /// All that are out of use.
    #[must_use]
    pub fn all(&self) -> Vec<Ill> {
        self.lock().values().filter(|ill| ill.healed_at.is_none()).cloned().collect()
    }

    /// Whether replay is to pass over a record: its database is out of use, or was healed from a copy that has it.
    #[must_use]
    pub fn passes_over(&self, record: &Record) -> bool {
        let mut all = self.lock();
        let Some(ill) = all.get(&record.header().database) else { return false };
        match ill.healed_at {
            Some(at) if record.lsn() > at => {
                // From here on it is like any other.
                all.remove(&record.header().database);
                false
            }
            _ => true,
        }
    }
}

/// Takes an open database that differs out of use altogether: nobody reads it, and nobody mends its file page by page.
pub(crate) fn shut_out(shared: &Shared, ill: &Ill, what: &str) -> Option<Arc<Hosted>> {
    let hosted = shared.databases.remove(ill.entry.id);
    let refusal = Some(damaged(&ill.entry.name, what));
    shared.databases.quarantine.put(Ill { refusal, shows: None, ..ill.clone() });
    hosted
}

/// A client asks for a database that is damaged here.
#[must_use]
pub fn damaged(name: &DatabaseName, what: &str) -> Refusal {
    Refusal::new(
        "DATA_DAMAGED",
        format!("the database {name} is damaged on this server: {what}"),
        "nothing wrong is served; it is repaired from the partner when that is connected, see `counterpart status`",
    )
}

/// The same where there is no partner.
#[must_use]
pub fn damaged_alone(name: &DatabaseName, what: &str) -> Refusal {
    Refusal::new(
        "DATA_DAMAGED",
        format!("the database {name} is damaged on this server: {what}"),
        format!(
            "nothing wrong is served, and the others go on. Restore this server from a backup, or give this database up with \
             `counterpart db drop {name}`; its part of the journal is kept until then"
        ),
    )
}

/// What did not fit.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// The database.
    pub entry: &'a CatalogEntry,
    /// The position.
    pub lsn: Lsn,
    /// The checksum that the journal says; 0 if it says none.
    pub expected: u64,
    /// The checksum that was found; 0 if there is none.
    pub found: u64,
    /// What is wrong, in words.
    pub what: String,
    /// The record at that position.
    pub record: Option<&'a Record>,
}

/// Keeps what was found; where.
///
/// # Errors
/// What the file system says.
pub(crate) fn keep_evidence(shared: &Shared, evidence: &Evidence<'_>) -> io::Result<PathBuf> {
    let directory = shared.settings.data.join("damage");
    std::fs::create_dir_all(&directory)?;
    // A database that differs again and again must not fill the disk with what tells nothing new.
    if std::fs::read_dir(&directory)?.count() >= EVIDENCE_MOST {
        return Err(io::Error::other(format!(
            "there are {EVIDENCE_MOST} files in {} already; keep what you need of them and delete them",
            directory.display()
        )));
    }
    let Evidence { entry, lsn, expected, found, what, record } = evidence;
    let stem = format!("{}-{}-{}", clock::unix_now().0, entry.id, lsn);
    let map = DatabaseMap::of(&crate::databases::file_path(&shared.settings.data, entry.id));
    let ranges = map.map(|map| hexadecimal(&map.live_snapshot().range_checksums()));
    if let Some(record) = record {
        atomic_write(&directory.join(format!("{stem}.record")), record.bytes())?;
    }
    let text = json!({
        "database": entry.name,
        "id": entry.id,
        "lsn": lsn,
        "what": what,
        "expected": format!("{expected:016x}"),
        "found": format!("{found:016x}"),
        "range_checksums_here": ranges,
    });
    let path: PathBuf = directory.join(format!("{stem}.json"));
    write_text(&path, &text)?;
    Ok(path)
}

fn hexadecimal(checksums: &[u64]) -> Vec<String> {
    checksums.iter().map(|checksum| format!("{checksum:016x}")).collect()
}

fn write_text(path: &Path, text: &serde_json::Value) -> io::Result<()> {
    atomic_write(path, format!("{text:#}\n").as_bytes())
}
