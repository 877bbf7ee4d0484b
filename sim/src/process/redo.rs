//! From what is on the disk to databases that show one position: files are redone from the newest mark that they fully
//! contain, synced, and only then written down as such.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
};

use counterpart_core::{
    DatabaseId, Epoch, Lsn, PageNo,
    record::{Kind, Record},
};
use counterpart_journal::{Disk, disk::remove_if_there};

use super::{
    Around, CatalogEntry, Control, Input, Process,
    database::{Model, Pages, directory, file_path},
};

/// A redo under way, as the node's.
struct Redo {
    files: BTreeMap<DatabaseId, (Pages, BTreeSet<PageNo>)>,
    runs: BTreeMap<DatabaseId, Vec<Record>>,
    checksums: BTreeMap<DatabaseId, (Lsn, u64)>,
    catalog: Control,
    epoch: Option<Epoch>,
    mark: Option<Lsn>,
    /// Databases without a file, into which nothing is redone. One that is dropped by what follows need not have one: an
    /// earlier redo got that far before it was interrupted.
    lost: BTreeSet<DatabaseId>,
}

impl Process {
    /// Brings all databases to `up_to`, which is final and in the journal, and opens them.
    ///
    /// # Errors
    /// Why that is not possible.
    pub fn reload(&mut self, around: &mut Around, up_to: Lsn) -> Result<(), String> {
        self.databases.clear();
        self.dropped.clear();
        self.available = false;
        around.trace.line(around.agenda.now(), || {
            let control = self.control.read();
            let ids: Vec<_> = control.databases.iter().map(|entry| entry.id.0).collect();
            let (from, catalog) = (control.redo_after, control.catalog_lsn);
            format!("{} redoes {from} to {up_to}, catalog at {catalog}: {ids:?}", self.name())
        });
        self.redo(up_to)?;
        let entries = self.control.read().databases.clone();
        for CatalogEntry { id, name } in entries {
            let model = Model::open(&self.disk, id, name, up_to).map_err(text)?;
            self.databases.insert(id, model);
        }
        around.trace.line(around.agenda.now(), || {
            let told = |m: &Model| format!("{} {:016x}", m.id, m.map.checksum());
            let all: Vec<String> = self.databases.values().map(told).collect();
            format!("{} has {}", self.name(), all.join(", "))
        });
        self.applied = up_to;
        self.advance(around, up_to);
        self.available = true;
        // A catalog that knows more than the databases show is ahead of them until they catch up.
        if self.control.read().catalog_lsn <= up_to {
            around.truth.shows(self.me, up_to, self.state(), false);
        }
        Ok(())
    }

    fn redo(&mut self, up_to: Lsn) -> Result<(), String> {
        self.note_final(up_to)?;
        let catalog = self.control.read().clone();
        let lost = self.lost_files(&catalog)?;
        let from = catalog.redo_after;
        let mut redo = Redo {
            files: BTreeMap::new(),
            runs: BTreeMap::new(),
            checksums: BTreeMap::new(),
            catalog,
            epoch: None,
            mark: None,
            lost,
        };
        for record in self.journal.records_after(from) {
            let record = record.map_err(|error| error.to_string())?;
            if record.lsn() > up_to {
                break;
            }
            self.redo_one(&mut redo, &record)?;
        }
        self.finish_redo(redo)
    }

    fn lost_files(&self, catalog: &Control) -> Result<BTreeSet<DatabaseId>, String> {
        let mut lost = BTreeSet::new();
        if !catalog.is_whole() || catalog.catalog_lsn > catalog.redo_after {
            return Ok(lost);
        }
        for entry in &catalog.databases {
            if Pages::read(&self.disk, entry.id).map_err(text)?.size() == 0 {
                lost.insert(entry.id);
            }
        }
        Ok(lost)
    }

    fn redo_one(&self, redo: &mut Redo, record: &Record) -> Result<(), String> {
        let (header, id) = (record.header(), record.header().database);
        if redo.epoch.replace(header.epoch).is_some_and(|before| before != header.epoch) {
            redo.runs.clear();
        }
        let dropped_later = record.lsn() <= redo.catalog.catalog_lsn && !redo.catalog.knows(id);
        match header.kind {
            Kind::Mark => {
                redo.runs.clear();
                redo.mark = Some(record.lsn());
            }
            Kind::DropDatabase => {
                redo.runs.remove(&id);
                redo.files.remove(&id);
                redo.lost.remove(&id);
                redo.catalog.note_dropped(id, record.lsn());
                remove_if_there(&self.disk, &file_path(id)).map_err(text)?;
            }
            _ if dropped_later || redo.lost.contains(&id) => {}
            Kind::Chunk => redo.runs.entry(id).or_default().push(record.clone()),
            Kind::Transaction | Kind::CreateDatabase => {
                if let Entry::Vacant(place) = redo.files.entry(id) {
                    let pages = Pages::read(&self.disk, id).map_err(text)?;
                    place.insert((pages, BTreeSet::new()));
                }
                let run = redo.runs.remove(&id).unwrap_or_default();
                let (pages, changed) = redo.files.get_mut(&id).expect("just put there");
                for record in run.iter().chain([record]) {
                    changed.extend(pages.decode(record).map_err(|error| error.to_string())?);
                }
                pages.resize(header.size_in_pages);
                redo.checksums.insert(id, (record.lsn(), header.database_checksum));
                if let Some(name) = record.created_name() {
                    redo.catalog.note_created(CatalogEntry { id, name }, record.lsn());
                }
            }
        }
        Ok(())
    }

    fn finish_redo(&mut self, redo: Redo) -> Result<(), String> {
        if let Some(id) = redo.lost.first() {
            return Err(format!("the file of database {id} is missing or empty"));
        }
        self.runs_begun = redo.runs.iter().map(|(&id, run)| (id, run[0].lsn())).collect();
        for (&id, (pages, changed)) in &redo.files {
            pages.write(&self.disk, id, changed).map_err(text)?;
            let (lsn, expected) = redo.checksums[&id];
            let found = pages.map(lsn).checksum();
            if expected != 0 && expected != found {
                return Err(format!(
                    "database {id} differs after redo to {lsn}: {expected:016x}, {found:016x}"
                ));
            }
        }
        self.disk.sync_dir(directory()).map_err(text)?;
        let Redo { catalog, mark, .. } = redo;
        self.update(|control| {
            control.databases = catalog.databases;
            control.catalog_lsn = catalog.catalog_lsn;
            control.next_database = catalog.next_database;
            control.redo_after = control.redo_after.max(mark.unwrap_or_default());
        })?;
        self.remove_strays()
    }

    /// Changes the control file.
    ///
    /// # Errors
    /// What the disk says.
    pub fn update(&self, change: impl FnOnce(&mut Control)) -> Result<(), String> {
        self.control.update(change).map_err(|error| error.to_string())
    }

    /// Writes down that everything up to `lsn` is final, before a file may show it.
    pub(super) fn note_final(&self, lsn: Lsn) -> Result<(), String> {
        self.update(|control| control.commit_lsn = control.commit_lsn.max(lsn))
    }

    /// Redo starts after `mark` from now on.
    pub(super) fn advance_redo(&mut self, around: &mut Around, mark: Lsn) -> Result<(), String> {
        let commit = self.confirmations.commit_lsn();
        let dropped = self.dropped.clone();
        self.update(|control| {
            for (&id, &lsn) in dropped.iter().filter(|(_, lsn)| **lsn <= mark) {
                control.note_dropped(id, lsn);
            }
            control.redo_after = control.redo_after.max(mark);
            control.commit_lsn = control.commit_lsn.max(commit);
        })?;
        self.dropped.retain(|_, lsn| *lsn > mark);
        self.input(around, Input::RedoAdvanced);
        Ok(())
    }

    /// Deletes all databases; the journal stays, and none of it is redone any more.
    pub(super) fn discard_data(&mut self, around: &mut Around) -> Result<(), String> {
        self.databases.clear();
        self.dropped.clear();
        self.available = false;
        self.runs_begun = BTreeMap::new();
        let end = self.journal.last();
        let hardened = self.journal.wait_hardened(end);
        self.hear_of_progress(around);
        hardened.map_err(|error| error.to_string())?;
        self.update(|control| {
            control.databases.clear();
            control.catalog_lsn = end;
            control.redo_after = end;
            control.commit_lsn = control.commit_lsn.min(end);
        })?;
        self.remove_strays()?;
        self.applied = end;
        Ok(())
    }

    /// Deletes files of databases that are in no catalog.
    pub fn remove_strays(&self) -> Result<(), String> {
        for name in self.disk.list(directory()).map_err(text)? {
            let id = name.strip_suffix(".db").and_then(|number| number.parse().ok());
            if let Some(id) = id.map(DatabaseId)
                && !self.control.read().knows(id)
            {
                remove_if_there(&self.disk, &file_path(id)).map_err(text)?;
            }
        }
        self.disk.sync_dir(directory()).map_err(text)
    }

    /// Takes a dropped database out of the catalog, then deletes its file.
    pub(super) fn forget_database(
        &mut self,
        _around: &mut Around,
        id: DatabaseId,
        lsn: Lsn,
    ) -> Result<(), String> {
        self.databases.remove(&id);
        self.dropped.remove(&id);
        let commit = self.confirmations.commit_lsn().min(lsn);
        self.update(|control| {
            control.note_dropped(id, lsn);
            // What the catalog says must not be taken for something that can be taken back.
            control.commit_lsn = control.commit_lsn.max(commit);
        })?;
        remove_if_there(&self.disk, &file_path(id)).map_err(text)
    }
}

/// An error of the disk as text.
pub fn text(error: io::Error) -> String {
    error.to_string()
}
