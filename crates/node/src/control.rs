//! The control file's content: what a server knows about itself when it starts.
//!
//! Several parts of the server change their own fields; [`ControlKeeper`] is the one place that writes the file, so
//! that no part overwrites what another has just made durable.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use counterpart_core::{DatabaseId, DatabaseName, Lsn, session::Durable};
use counterpart_journal::control::{ControlError, ControlFile};
use serde::{Deserialize, Serialize};

/// A database that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// Its number in the journal.
    pub id: DatabaseId,
    /// Its name.
    pub name: DatabaseName,
}

/// Everything that the control file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// The session core's part.
    pub session: Durable,
    /// The databases as of `catalog_lsn`.
    pub databases: Vec<CatalogEntry>,
    /// Creations and drops up to here are in `databases`.
    pub catalog_lsn: Lsn,
    /// The number that the next database gets.
    pub next_database: DatabaseId,
    /// Redo starts after this position, which is a mark (or the beginning).
    pub redo_after: Lsn,
    /// The checksum of what each database's file holds as of `redo_after`, if it has not changed since: with it, a page
    /// map that had to be made anew is compared.
    #[serde(default)]
    pub checksums: BTreeMap<DatabaseId, u64>,
    /// A commit LSN that was reached; the true one is this or later.
    pub commit_lsn: Lsn,
}

impl Control {
    /// A server at its very first start.
    #[must_use]
    pub fn new(session: Durable) -> Control {
        Control {
            session,
            databases: Vec::new(),
            catalog_lsn: Lsn::ZERO,
            next_database: DatabaseId(1),
            redo_after: Lsn::ZERO,
            checksums: BTreeMap::new(),
            commit_lsn: Lsn::ZERO,
        }
    }

    /// Whether there is a database of this number.
    #[must_use]
    pub fn knows(&self, id: DatabaseId) -> bool {
        self.databases.iter().any(|entry| entry.id == id)
    }

    /// Notes that the record at `lsn` created a database, of which it may know already.
    pub fn note_created(&mut self, entry: CatalogEntry, lsn: Lsn) {
        self.note_catalog(entry.id, lsn);
        if !self.knows(entry.id) {
            self.databases.push(entry);
        }
    }

    /// Notes that the record at `lsn` dropped a database.
    pub fn note_dropped(&mut self, id: DatabaseId, lsn: Lsn) {
        self.note_catalog(id, lsn);
        self.databases.retain(|entry| entry.id != id);
    }

    fn note_catalog(&mut self, id: DatabaseId, lsn: Lsn) {
        self.catalog_lsn = self.catalog_lsn.max(lsn);
        self.next_database = self.next_database.max(DatabaseId(id.0 + 1));
    }

    /// Whether the databases are whole, or a seed must come (or go on) first.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.session.empty && self.session.seeding.is_none()
    }

    /// Whether the journal is the one that these databases go on with. Once a seed has begun to replace them it may have
    /// been emptied, to begin above where their redo would start; until then the operator may still call the join off.
    #[must_use]
    pub fn may_be_redone(&self) -> bool {
        self.is_whole() || (self.session.seeding.is_none() && self.session.before_join.is_some())
    }
}

/// The control file and its content, changed together.
pub struct ControlKeeper {
    file: ControlFile<Control>,
    content: Mutex<Control>,
}

impl ControlKeeper {
    /// Takes over a control file whose content is `content`.
    #[must_use]
    pub fn new(file: ControlFile<Control>, content: Control) -> ControlKeeper {
        ControlKeeper { file, content: Mutex::new(content) }
    }

    /// The content, as it is on disk.
    pub fn read(&self) -> MutexGuard<'_, Control> {
        self.content.lock().expect("no holder of this lock panics")
    }

    /// Changes the content and makes it durable before anyone else sees it.
    ///
    /// # Errors
    /// When the file could not be written; the content is then as it was.
    pub fn update(&self, change: impl FnOnce(&mut Control)) -> Result<(), ControlError> {
        let mut content = self.read();
        let mut changed = content.clone();
        change(&mut changed);
        if changed != *content {
            self.file.save(&changed)?;
            *content = changed;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use counterpart_core::{Epoch, EpochHistory, ServerId, message::SeedProgress};

    use super::*;

    /// A seed emptied the journal, the disk failed before that was written down, and the next start gave that seed up.
    /// The start after that redid from where the old databases stood, of which the journal knew nothing any more: the
    /// server never started again.
    #[test]
    fn a_journal_that_a_seed_may_have_emptied_is_not_redone() {
        let mut control = Control::new(Durable::new(ServerId(1)));
        assert!(control.may_be_redone(), "a new server is whole");
        control.session.empty = true;
        let before = (Epoch::default(), EpochHistory::default());
        control.session.before_join = Some(Box::new(before));
        assert!(control.may_be_redone(), "the join may still be called off");
        control.session.before_join = None;
        control.session.seeding = Some(Box::new(SeedProgress::begun(Lsn(242))));
        assert!(!control.may_be_redone());
        control.session.seeding = None;
        assert!(!control.may_be_redone());
    }
}
