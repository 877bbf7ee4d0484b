//! From what is on the disk to databases that show one position: at start-up, after a seed, and when a server that
//! acted must forget what was not final.
//!
//! The `-wal` files are thrown away and the journal is redone into the database files before SQLite opens them, up to
//! a position that is final. What lies above it is left to [`crate::replay`], which can be taken back.

pub(crate) mod given_up;
mod redo;
pub(crate) mod single;

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use counterpart_core::{Lsn, ServerId, SessionId, session::Event};
use counterpart_engine::{ApplyError, DatabaseMap, OpenError};
use counterpart_journal::{ControlError, ReadError, WaitError, sync_dir};

use crate::{
    control::CatalogEntry,
    copy,
    databases::database_file,
    quarantine::{self, Evidence, Ill, keep_evidence},
    quiet,
    refusal::Refusal,
    rest::rest,
    shared::Shared,
};

/// Why databases could not be brought to a position.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The file system.
    #[error("{what} {path}: {cause}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A database's file is gone or empty, and the journal does not reach back to its beginning.
    #[error(
        "the database file {path} of {name} is missing or empty; put it back, or restore this data directory from the \
         partner (`counterpart mirror start --replace`) or from a backup",
        path = path.display()
    )]
    Lost {
        /// The database.
        name: counterpart_core::DatabaseName,
        /// Where its file was.
        path: std::path::PathBuf,
    },
    /// The journal can't be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// The journal can't be hardened.
    #[error(transparent)]
    Flush(WaitError),
    /// A record does not fit its database.
    #[error("database {0}: {1}")]
    Apply(counterpart_core::DatabaseId, ApplyError),
    /// Somebody does not let go of a database.
    #[error(transparent)]
    StillOpen(#[from] quiet::StillOpen),
    /// SQLite can't open a database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A database's file is not what its journal says.
    #[error(
        "the database file {path} of {name} is damaged: its checksum is {found:016x} where the journal says \
         {expected:016x}; restore this data directory from the partner (`counterpart mirror start --replace`) or from a \
         backup",
        path = path.display()
    )]
    Differs {
        /// The database.
        name: counterpart_core::DatabaseName,
        /// Its file.
        path: std::path::PathBuf,
        /// The checksum that it should have.
        expected: u64,
        /// The one that it has.
        found: u64,
    },
    /// The control file can't be written.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl BootError {
    /// Whether what is on the disk is not what was written there.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            BootError::Lost { .. } | BootError::Apply(..) | BootError::Differs { .. } => true,
            BootError::Open(error) => error.is_damage(),
            BootError::Io { .. }
            | BootError::Journal(_)
            | BootError::Flush(_)
            | BootError::StillOpen(_)
            | BootError::Control(_) => false,
        }
    }
}

pub(crate) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BootError {
    let path = path.to_owned();
    move |cause| BootError::Io { what, path, cause }
}

/// The name under which a server's journal files know each other. It is the server's own: sessions come and go while
/// the files stay.
#[must_use]
pub fn journal_identity(server: ServerId) -> SessionId {
    SessionId(server.0)
}

/// Reads are not possible because the data is not whole yet.
#[must_use]
pub fn not_seeded() -> Refusal {
    Refusal::new(
        "SEEDING",
        "this mirror has not received all data yet",
        "try again when `counterpart status` says that it is up and running, or read from the principal",
    )
}

/// Closes all databases for good, so that their files can be changed or replaced. Clients are told why.
///
/// # Errors
/// [`BootError::StillOpen`].
pub fn close_databases(shared: &Shared, why: Refusal) -> Result<(), BootError> {
    let before = shared.databases.all();
    shared.databases.close_all(why);
    Ok(quiet::close_all(shared, &before)?)
}

/// Brings all databases to `up_to`, which must be final and in the journal, and opens them.
///
/// # Errors
/// Why that is not possible. Trying again is harmless.
pub fn reload(shared: &Arc<Shared>, up_to: Lsn) -> Result<(), BootError> {
    // A database that is just being healed is put in its place first, or not at all.
    let applying = shared.applying.lock().expect("replay does not panic with the lock");
    close_databases(shared, not_seeded())?;
    // The maps live until SQLite has the files open, and with them the maps.
    let redo::Redone { maps, mut ill } = redo::redo(shared, up_to)?;
    let entries: Vec<CatalogEntry> = shared.control.read().databases.clone();
    for entry in &entries {
        let opened = match ill.remove(&entry.id) {
            Some(error) => Err(error),
            None => shared.open_database(entry).map_err(BootError::from),
        };
        match opened {
            Ok(hosted) => {
                hosted.engine.set_read_only(true);
                shared.databases.insert(Arc::clone(&hosted));
                if shared.databases.count() > shared.settings.open_databases {
                    rest(shared, &hosted, &applying);
                }
            }
            Err(error) => {
                isolate(shared, entry, error, maps.get(&entry.id).map(Arc::clone), up_to)?;
            }
        }
    }
    shared.set_applied(up_to);
    shared.confirmations.advance(up_to);
    shared.databases.set_unavailable(None);
    // Not before: redo needs what room there is on a full disk.
    shared.journal.make_ready();
    Ok(())
}

/// Takes a database out of use that is not what it should be; all others are served.
fn isolate(
    shared: &Arc<Shared>,
    entry: &CatalogEntry,
    error: BootError,
    map: Option<Arc<DatabaseMap>>,
    lsn: Lsn,
) -> Result<(), BootError> {
    if !error.is_damage() {
        return Err(error);
    }
    let what = error.to_string();
    let (expected, found) = match &error {
        BootError::Differs { expected, found, .. } => (*expected, *found),
        _ => (0, 0),
    };
    let evidence = Evidence { entry, lsn, expected, found, what: what.clone(), record: None };
    match keep_evidence(shared, &evidence) {
        Ok(path) => {
            tracing::error!(database = %entry.name, what, evidence = %path.display(), "a database is damaged; it is out of use until it is mended");
        }
        Err(failed) => {
            tracing::error!(database = %entry.name, what, %failed, "a database is damaged; it is out of use until it is mended, and the evidence can't be kept");
        }
    }
    let refusal = Some(if shared.is_alone() {
        quarantine::damaged_alone(&entry.name, &what)
    } else {
        quarantine::damaged(&entry.name, &what)
    });
    // Pages can be mended one by one only where the map is what the journal says.
    let map = map.filter(|_| matches!(error, BootError::Open(_)));
    let shows = map.as_ref().map(|_| lsn);
    let (entry, healed_at) = (entry.clone(), None);
    let (database, name) = (entry.id, entry.name.clone());
    shared.databases.quarantine.put(Ill { entry, refusal, map, shows, healed_at });
    shared.inputs.event(Event::DatabaseDiffers { database, name, lsn, expected, found });
    Ok(())
}

/// Deletes all databases; the journal stays as it is, and none of it is redone any more.
///
/// # Errors
/// What the file system or the control file says.
pub fn discard_data(shared: &Shared) -> Result<(), BootError> {
    close_databases(shared, not_seeded())?;
    let end = shared.journal.last();
    shared.note_runs(&BTreeMap::new());
    // Redo starts here from now on, so nothing up to here may be written anew under the same numbers.
    shared.journal.wait_hardened(end).map_err(BootError::Flush)?;
    shared.control.update(|control| {
        control.databases.clear();
        control.checksums.clear();
        control.catalog_lsn = end;
        control.redo_after = end;
        control.commit_lsn = control.commit_lsn.min(end);
    })?;
    remove_strays(shared)?;
    shared.set_applied(end);
    Ok(())
}

/// Deletes database files that belong to no database in the catalog: remains of creations, drops and redos that a
/// crash interrupted.
///
/// # Errors
/// What the file system says.
pub fn remove_strays(shared: &Shared) -> Result<(), BootError> {
    let directory = &shared.settings.data;
    let known: Vec<_> = {
        let control = shared.control.read();
        control.databases.iter().map(|entry| entry.id).collect()
    };
    let listing = std::fs::read_dir(directory).map_err(io_error("can't list", directory))?;
    for item in listing {
        let path = item.map_err(io_error("can't list", directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((id, rest)) = database_file(name) else { continue };
        if rest == ".db-redo" || !known.contains(&id) {
            tracing::info!(file = %path.display(), "removing a file that belongs to no database");
            std::fs::remove_file(&path).map_err(io_error("can't remove", &path))?;
        }
    }
    copy::heal::remove_strays(shared)
        .map_err(io_error("can't remove what is of no use in", &directory.join("heal")))?;
    sync_dir(directory).map_err(io_error("can't sync", directory))
}
