//! Redo into files that nobody has open.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use counterpart_core::{
    DatabaseId, Epoch, Lsn, PageSize,
    record::{Kind, Record},
};
use counterpart_engine::{ApplyError, Database, DatabaseMap, RedoFile};
use counterpart_journal::{crash_point, sync_dir, sync_file};

use super::{BootError, io_error};
use crate::{
    control::{CatalogEntry, Control},
    databases::file_path,
    maps,
    shared::Shared,
};

/// Files open at a time.
const OPEN_FILES: usize = 128;

/// Records between two lines of progress in the log.
const REPORT_EVERY: u64 = 100_000;

/// A redo under way.
///
/// - `runs` are the databases with an unfinished run of chunks, all of `epoch`;
/// - `catalog` is what the control file will say when all files are durable.
struct Redo<'a> {
    shared: &'a Arc<Shared>,
    files: HashMap<DatabaseId, RedoFile>,
    touched: BTreeSet<DatabaseId>,
    runs: BTreeMap<DatabaseId, Lsn>,
    catalog: Control,
    epoch: Option<Epoch>,
    mark: Option<Lsn>,
    /// The maps of all databases; each must live as long as anybody works on its file.
    maps: BTreeMap<DatabaseId, Arc<DatabaseMap>>,
    /// What the last redone record says that the database's checksum is.
    recorded: BTreeMap<DatabaseId, u64>,
    /// Those that are not what they should be; nothing is redone into them.
    ill: BTreeMap<DatabaseId, BootError>,
}

/// What a redo leaves.
#[derive(Default)]
pub(super) struct Redone {
    /// The map of each database.
    pub maps: BTreeMap<DatabaseId, Arc<DatabaseMap>>,
    /// The databases that are not what the journal says, and why.
    pub ill: BTreeMap<DatabaseId, BootError>,
}

/// Redoes the journal from where the control file says up to `up_to`; files, page maps and control file are durable
/// afterwards, and each database is what the journal says, or named as one that is not.
pub(super) fn redo(shared: &Arc<Shared>, up_to: Lsn) -> Result<Redone, BootError> {
    crate::checkpoint::note_final(shared, up_to)?;
    let catalog = shared.control.read().clone();
    let directory = &shared.settings.data;
    let ill = check_files(shared, &catalog)?;
    for entry in &catalog.databases {
        let path = file_path(directory, entry.id);
        Database::discard_wal(&path).map_err(io_error("can't remove the WAL of", &path))?;
        // Somebody may still hold the map, as a scrub does, and it would judge the file by what was in the WAL.
        if let Some(map) = DatabaseMap::of(&path) {
            map.forget_wal();
        }
    }
    let from = catalog.redo_after;
    let (files, touched, runs, maps, recorded) = Default::default();
    let (epoch, mark) = (None, None);
    let mut redo = Redo { shared, files, touched, runs, catalog, epoch, mark, maps, recorded, ill };
    redo.open_maps(up_to)?;
    let total = up_to.since(from);
    if total > 0 {
        tracing::info!(events = total, %from, to = %up_to, "redoing the journal");
    }
    for record in shared.journal.records_after(from) {
        let record = record?;
        if record.lsn() > up_to {
            break;
        }
        redo.push(&record)?;
        crash_point("redo.record");
        let done = record.lsn().since(from);
        if done.is_multiple_of(REPORT_EVERY) {
            tracing::info!(
                events = done,
                of = total,
                percent = done * 100 / total,
                "redoing the journal"
            );
        }
    }
    redo.finish(up_to)
}

/// Redo would make a missing file anew, with holes where the journal does not reach back. What was created after the
/// mark may be missing: the journal has all of it. So may what was dropped while a seed ran.
fn check_files(
    shared: &Shared,
    catalog: &Control,
) -> Result<BTreeMap<DatabaseId, BootError>, BootError> {
    if !catalog.is_whole() {
        return Ok(BTreeMap::new());
    }
    let path = |entry: &CatalogEntry| file_path(&shared.settings.data, entry.id);
    let missing =
        |entry: &&CatalogEntry| std::fs::metadata(path(entry)).map_or(0, |file| file.len()) == 0;
    let lost = |entry: &CatalogEntry| {
        (entry.id, BootError::Lost { name: entry.name.clone(), path: path(entry) })
    };
    let mut all: BTreeMap<_, _> = catalog.databases.iter().filter(missing).map(lost).collect();
    if !all.is_empty() && catalog.catalog_lsn > catalog.redo_after {
        for record in shared.journal.records_after(catalog.redo_after) {
            let record = record?;
            if matches!(record.header().kind, Kind::CreateDatabase | Kind::DropDatabase) {
                all.remove(&record.header().database);
            }
        }
    }
    Ok(all)
}

impl Redo<'_> {
    fn path(&self, database: DatabaseId) -> PathBuf {
        file_path(&self.shared.settings.data, database)
    }

    /// Opens the map of every database that stands, before anything is redone.
    fn open_maps(&mut self, up_to: Lsn) -> Result<(), BootError> {
        let directory = &self.shared.settings.data;
        for entry in &self.catalog.databases {
            let path = file_path(directory, entry.id);
            if path.exists() {
                let map = maps::open(directory, entry.id, up_to)
                    .map_err(io_error("can't read the page map of", &path))?;
                self.maps.extend(map.map(|map| (entry.id, map)));
            }
        }
        Ok(())
    }

    fn push(&mut self, record: &Record) -> Result<(), BootError> {
        let (header, database) = (record.header(), record.header().database);
        if self.epoch.replace(header.epoch).is_some_and(|before| before != header.epoch) {
            self.drop_runs()?;
        }
        let dropped_later =
            record.lsn() <= self.catalog.catalog_lsn && !self.catalog.knows(database);
        match header.kind {
            Kind::Mark => {
                // No mark falls into a run, so what is unfinished here never ends.
                self.drop_runs()?;
                self.mark = Some(record.lsn());
            }
            Kind::DropDatabase => self.drop_database(record)?,
            _ if dropped_later || self.ill.contains_key(&database) => {}
            Kind::Chunk | Kind::Transaction => self.push_pages(record)?,
            Kind::CreateDatabase => {
                self.push_pages(record)?;
                let name = record.created_name().expect("a creation has a name");
                self.catalog.note_created(CatalogEntry { id: database, name }, record.lsn());
            }
        }
        Ok(())
    }

    fn push_pages(&mut self, record: &Record) -> Result<(), BootError> {
        let database = record.header().database;
        if record.header().kind == Kind::Chunk {
            self.runs.entry(database).or_insert(record.lsn());
        } else {
            self.runs.remove(&database);
        }
        let file = self.file(database, record.header().page_size.unwrap_or(PageSize::DEFAULT))?;
        match file.push(record) {
            Ok(()) => Ok(()),
            Err(ApplyError::Io(cause)) => Err(io_error("can't write", &self.path(database))(cause)),
            Err(error) => {
                self.fall_ill(database, error);
                Ok(())
            }
        }
    }

    /// Only this database stops; what was gathered for it is forgotten.
    fn fall_ill(&mut self, database: DatabaseId, error: ApplyError) {
        self.files.remove(&database);
        self.runs.remove(&database);
        self.ill.insert(database, BootError::Apply(database, error));
    }

    fn file(
        &mut self,
        database: DatabaseId,
        page_size: PageSize,
    ) -> Result<&mut RedoFile, BootError> {
        if !self.files.contains_key(&database) {
            if self.files.len() >= OPEN_FILES {
                let idle: Vec<_> =
                    self.files.keys().filter(|id| !self.runs.contains_key(id)).copied().collect();
                idle.into_iter().try_for_each(|id| self.close(id))?;
            }
            let path = self.path(database);
            let map = maps::open_with(&self.shared.settings.data, database, page_size, Lsn::ZERO)
                .map_err(io_error("can't open the page map of", &path))?;
            self.maps.insert(database, map);
            let file = RedoFile::open(&path, page_size).map_err(io_error("can't open", &path))?;
            self.touched.insert(database);
            self.files.insert(database, file);
        }
        Ok(self.files.get_mut(&database).expect("just put there"))
    }

    /// Finishes a file as far as it has come; an unfinished run in it is forgotten.
    fn close(&mut self, database: DatabaseId) -> Result<(), BootError> {
        if let Some(file) = self.files.remove(&database) {
            let redone = match file.finish() {
                Ok(redone) => redone,
                Err(ApplyError::Io(cause)) => {
                    return Err(io_error("can't write", &self.path(database))(cause));
                }
                Err(error) => {
                    self.fall_ill(database, error);
                    return Ok(());
                }
            };
            self.recorded.extend(redone.recorded.map(|(_, checksum)| (database, checksum)));
        }
        Ok(())
    }

    fn drop_runs(&mut self) -> Result<(), BootError> {
        std::mem::take(&mut self.runs).into_keys().try_for_each(|id| self.close(id))
    }

    fn drop_database(&mut self, record: &Record) -> Result<(), BootError> {
        let database = record.header().database;
        self.runs.remove(&database);
        self.touched.remove(&database);
        self.close(database)?;
        self.maps.remove(&database);
        self.recorded.remove(&database);
        self.ill.remove(&database);
        self.catalog.note_dropped(database, record.lsn());
        let path = self.path(database);
        Database::discard_wal(&path).map_err(io_error("can't remove the WAL of", &path))?;
        for file in [&path, &maps::map_path(&self.shared.settings.data, database)] {
            counterpart_journal::disk::remove_if_there(self.shared.disk.as_ref(), file)
                .map_err(io_error("can't remove", file))?;
        }
        Ok(())
    }

    /// Compares a database with what the journal says of it, or, where nothing was redone, the control file.
    fn verify(&self, entry: &CatalogEntry) -> Option<BootError> {
        let map = self.maps.get(&entry.id).filter(|_| !self.ill.contains_key(&entry.id))?;
        let known =
            self.catalog.checksums.get(&entry.id).filter(|_| !self.touched.contains(&entry.id));
        let expected = self.recorded.get(&entry.id).or(known).copied();
        let (found, _) = map.checksum_at();
        match expected {
            Some(expected) if found != 0 && expected != found => {
                let (name, path) = (entry.name.clone(), self.path(entry.id));
                Some(BootError::Differs { name, path, expected, found })
            }
            _ => None,
        }
    }

    fn finish(mut self, up_to: Lsn) -> Result<Redone, BootError> {
        // The files hold nothing of these; whoever goes on takes their chunks again.
        self.shared.note_runs(&self.runs);
        let open: Vec<_> = self.files.keys().copied().collect();
        open.into_iter().try_for_each(|id| self.close(id))?;
        for &database in &self.touched {
            let path = self.path(database);
            // A creation that was never completed has left a file that belongs to nothing.
            if self.catalog.knows(database) {
                sync_file(&path).map_err(io_error("can't sync", &path))?;
            }
        }
        crash_point("redo.files_durable");
        for entry in &self.catalog.databases {
            // A file that was too short has holes now. Unknown pages would hide that it differs, and be served.
            if let Some(map) = self.maps.get(&entry.id).filter(|map| map.checksum_at().0 == 0) {
                let path = self.path(entry.id);
                let rebuilt = map.rebuild(up_to, &mut |_, _| ());
                rebuilt.map_err(io_error("can't build the page map of", &path))?;
            }
            if let Some(error) = self.verify(entry) {
                self.ill.insert(entry.id, error);
            }
            // One that is as it was stays untouched: the server may yet refuse to start.
            if let Some(map) = self.maps.get(&entry.id).filter(|map| map.is_unsaved()) {
                let path = self.path(entry.id);
                maps::save(map, up_to).map_err(io_error("can't save the page map of", &path))?;
            }
        }
        crash_point("redo.maps_saved");
        let directory = &self.shared.settings.data;
        sync_dir(directory).map_err(io_error("can't sync", directory))?;
        let Redo { shared, catalog, mark, maps, ill, .. } = self;
        // While one is not what it should be, the next start must find that out again.
        let mark = mark.filter(|_| ill.is_empty());
        let checksums = maps.iter().map(|(id, map)| (*id, map.file_checksum()));
        let checksums = checksums.filter(|(id, sum)| *sum != 0 && catalog.knows(*id)).collect();
        shared.control.update(|control| {
            // They are as of where redo starts; what comes after is in the records.
            if mark.is_some() {
                control.checksums = checksums;
            }
            control.databases = catalog.databases;
            control.catalog_lsn = catalog.catalog_lsn;
            control.next_database = catalog.next_database;
            control.redo_after = control.redo_after.max(mark.unwrap_or_default());
        })?;
        crash_point("redo.entered");
        super::remove_strays(shared)?;
        Ok(Redone { maps, ill })
    }
}
