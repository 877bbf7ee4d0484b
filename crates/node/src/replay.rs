//! Replay: journal records become databases. A mirror does it all the time, a principal once, when it starts.
//!
//! Never beyond the position it was told: what is above the commit LSN can be taken back, and nothing here could
//! take it back.

mod checkpointing;
mod copying;
mod thread;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use counterpart_core::{
    DatabaseId, Epoch, Lsn,
    record::{Kind, Record},
    session::Event,
};
use counterpart_engine::{Applier, ApplyError, Database, OpenError};
use counterpart_journal::{ControlError, ReadError, crash_point, free_bytes};
use lru::LruCache;
pub use thread::Replayer;

use copying::Copying;

use crate::{
    checkpoint, clock,
    control::CatalogEntry,
    copy,
    databases::file_path,
    quarantine::{Evidence, Ill, keep_evidence},
    shared::Shared,
};

/// Journal bytes read at a time.
const STEP: usize = 4 << 20;

/// A disk with fewer free bytes than this is full for whoever makes or enlarges a file.
const NO_ROOM: u64 = 1 << 20;

/// Why replay can't go on. What was visible before still is.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal can't be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// A record does not fit its database.
    #[error("database {database}: {cause}")]
    Apply {
        /// The database.
        database: DatabaseId,
        /// What is wrong.
        cause: ApplyError,
    },
    /// A database can't be opened or made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A database's file can't be removed or checkpointed.
    #[error("database {database}: {what}")]
    File {
        /// The database.
        database: DatabaseId,
        /// What is wrong.
        what: String,
    },
    /// The control file can't be written.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl ReplayError {
    /// Whether it says that one database is not what it should be, so that all others can go on.
    fn is_damage(&self) -> bool {
        match self {
            ReplayError::Apply { cause, .. } => match cause {
                ApplyError::Differs { .. }
                | ApplyError::Page { .. }
                | ApplyError::Misfit { .. } => true,
                ApplyError::Sqlite(cause) => cause.is_damage(),
                ApplyError::Io(_) => false,
            },
            ReplayError::Open(error) => error.is_damage(),
            ReplayError::Journal(_) | ReplayError::File { .. } | ReplayError::Control(_) => false,
        }
    }

    /// Whether it passes by itself once the disk has room: what was visible before is as it was, and nothing was lost.
    fn is_full(&self, data: &Path) -> bool {
        let code = match self {
            ReplayError::Apply { cause: ApplyError::Sqlite(cause), .. }
            | ReplayError::Open(OpenError::Sqlite { cause, .. }) => &cause.code,
            _ => return false,
        };
        // SQLite has other words for it, too, when it makes a file or enlarges its index.
        code == "SQLITE_FULL"
            || ((code.starts_with("SQLITE_IOERR") || code.starts_with("SQLITE_CANTOPEN"))
                && free_bytes(data).is_ok_and(|free| free < NO_ROOM))
    }

    /// The checksum that a record says and the one that was found, 0 where there is none.
    fn checksums(&self) -> (u64, u64) {
        match self {
            ReplayError::Apply { cause: ApplyError::Differs { expected, found, .. }, .. } => {
                (*expected, *found)
            }
            _ => (0, 0),
        }
    }
}

/// Writes records to the databases of one server.
///
/// - `runs` are the databases with an unfinished run of chunks, and the LSN of its first chunk; all its records are of
///   `epoch`, because a run that its principal did not finish is never finished by another.
/// - The runs as of the applied position are also in [`Shared::runs_begun`]: a replay that goes on in the middle of a
///   run, after another one or after a redo, takes the chunks before that position again.
/// - `fresh` are the databases whose creation has begun and not ended; their files belong to nothing yet.
pub struct Replay {
    shared: Arc<Shared>,
    appliers: LruCache<DatabaseId, Applier>,
    runs: BTreeMap<DatabaseId, Lsn>,
    /// Whether `runs` and the appliers hold what was begun before the applied position.
    resumed: bool,
    fresh: BTreeSet<DatabaseId>,
    epoch: Option<Epoch>,
    /// The newest mark that was replayed, while no checkpoint has used it.
    mark: Option<Lsn>,
    /// Bytes of journal replayed since the last checkpoint, and of the pages in it.
    since_checkpoint: (u64, u64),
    /// The uptime at which one is due even if little was replayed.
    checkpoint_at: Duration,
    /// Most of what is in the WALs is being copied, for a checkpoint that was due.
    copying: Option<Copying>,
    /// The position up to which something may have been applied.
    applied_up_to: Arc<AtomicU64>,
}

impl Replay {
    /// A replay that goes on after what the server has applied.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Replay {
        let applied_up_to = Arc::new(AtomicU64::new(shared.applied().0));
        Replay {
            shared,
            appliers: LruCache::unbounded(),
            runs: BTreeMap::new(),
            resumed: false,
            fresh: BTreeSet::new(),
            epoch: None,
            mark: None,
            since_checkpoint: (0, 0),
            checkpoint_at: clock::uptime() + checkpoint::AT_LEAST,
            copying: None,
            applied_up_to,
        }
    }

    /// Replays the next records up to `target`, a few MiB at most; the position reached.
    ///
    /// # Errors
    /// Why it can't go on. Trying again without a change gives the same error.
    pub fn advance(&mut self, target: Lsn) -> Result<Lsn, ReplayError> {
        let shared = Arc::clone(&self.shared);
        let _applying = shared.applying.lock().expect("no holder of this lock panics");
        self.applied_up_to.fetch_max(target.0, Relaxed);
        let outcome = self.advance_from(self.shared.applied(), target);
        match &outcome {
            Ok(reached) => {
                self.shared.note_runs(&self.runs);
                self.shared.set_applied(*reached);
            }
            Err(_) => {
                self.note_ahead();
                // The appliers have forgotten what they had gathered, the beginnings of runs included.
                self.appliers.clear();
                self.runs.clear();
                // Whatever was begun of these is made anew.
                self.fresh.clear();
                self.resumed = false;
            }
        }
        outcome
    }

    /// Part of a batch may be visible already, and a record that is applied twice looks like damage.
    fn note_ahead(&self) {
        for (&id, applier) in &self.appliers {
            self.note_ahead_of(id, applier);
        }
    }

    fn note_ahead_of(&self, id: DatabaseId, applier: &Applier) {
        if let Some(hosted) = self.shared.databases.numbered(id) {
            hosted.note_ahead(applier.applied().lsn);
        }
    }

    /// Takes the chunks of unfinished runs again that lie at or before `applied`.
    fn resume(&mut self, applied: Lsn) -> Result<(), ReplayError> {
        let begun = self.shared.runs_begun();
        if let Some(first) = begun.values().min() {
            let earlier = self.shared.journal.records_after(first.before());
            for record in earlier {
                let record = record?;
                if record.lsn() > applied {
                    break;
                }
                let header = record.header();
                let begins = begun.get(&header.database);
                if header.kind == Kind::Chunk
                    && begins.is_some_and(|first| *first <= record.lsn())
                    && !self.is_superfluous(&record)
                {
                    self.epoch = Some(header.epoch);
                    self.push(&record)?;
                }
            }
        }
        self.resumed = true;
        Ok(())
    }

    fn advance_from(&mut self, from: Lsn, target: Lsn) -> Result<Lsn, ReplayError> {
        if !self.resumed {
            self.resume(from)?;
        }
        let records = self.shared.journal.read_records(from, STEP)?;
        let mut touched = BTreeSet::new();
        let mut reached = from;
        for record in records.iter().take_while(|record| record.lsn() <= target) {
            self.replay(record, &mut touched)?;
            reached = record.lsn();
            let (journal, pages) = &mut self.since_checkpoint;
            *journal += record.bytes().len() as u64;
            *pages += record.header().page_bytes();
        }
        self.commit(&touched)?;
        crash_point("replay.committed");
        Ok(reached)
    }

    /// Forgets unfinished runs: their principal is gone.
    pub fn drop_runs(&mut self) {
        for database in std::mem::take(&mut self.runs).into_keys() {
            if let Some(applier) = self.appliers.get_mut(&database) {
                applier.abort();
            }
        }
        for database in std::mem::take(&mut self.fresh) {
            self.appliers.pop(&database);
            if let Err(error) = remove_files(&self.shared, database) {
                tracing::warn!(%database, %error, "the remains of an unfinished creation stay until the next start");
            }
        }
    }

    fn replay(
        &mut self,
        record: &Record,
        touched: &mut BTreeSet<DatabaseId>,
    ) -> Result<(), ReplayError> {
        let header = record.header();
        if self.epoch.replace(header.epoch).is_some_and(|before| before != header.epoch) {
            self.drop_runs();
        }
        match header.kind {
            Kind::Mark => {
                // No mark falls into a run, so what is unfinished here never ends.
                self.drop_runs();
                self.mark = Some(record.lsn());
            }
            Kind::Chunk | Kind::Transaction => {
                if !self.is_superfluous(record) {
                    if !self.appliers.contains(&header.database) {
                        self.close_appliers(touched)?;
                    }
                    self.push_or_isolate(record, touched)?;
                }
            }
            Kind::CreateDatabase => {
                self.commit(touched)?;
                touched.clear();
                if !self.is_superfluous(record) {
                    self.close_appliers(touched)?;
                    self.create(record)?;
                }
            }
            Kind::DropDatabase => {
                self.commit(touched)?;
                touched.clear();
                self.drop_database(record)?;
            }
        }
        Ok(())
    }

    /// Whether the record's database needs it no more: it shows it already, it is out of use, or it was dropped later, as
    /// the catalog knows already.
    fn is_superfluous(&self, record: &Record) -> bool {
        let databases = &self.shared.databases;
        let needless = match databases.numbered(record.header().database) {
            Some(hosted) => hosted.shows(record.lsn()),
            None => record.lsn() <= self.shared.control.read().catalog_lsn,
        };
        needless || databases.quarantine.passes_over(record)
    }

    fn push(&mut self, record: &Record) -> Result<(), ReplayError> {
        let database = record.header().database;
        if record.header().kind == Kind::Chunk {
            self.runs.entry(database).or_insert(record.lsn());
        } else {
            self.runs.remove(&database);
        }
        self.applier(record)?
            .push(record)
            .map_err(|cause| ReplayError::Apply { database, cause })?;
        if let Some(hosted) = self.shared.databases.numbered(database) {
            hosted.note_change(record.lsn());
        }
        Ok(())
    }

    /// Pushes a record; if it shows that its database is not what it should be, only that one stops.
    fn push_or_isolate(
        &mut self,
        record: &Record,
        touched: &mut BTreeSet<DatabaseId>,
    ) -> Result<(), ReplayError> {
        let database = record.header().database;
        match self.push(record) {
            Ok(()) => drop(touched.insert(database)),
            Err(error) if error.is_damage() => {
                touched.remove(&database);
                self.isolate(database, record.lsn(), &error, Some(record))?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes a database out of use. It stays readable where it is, if it can be read.
    fn isolate(
        &mut self,
        id: DatabaseId,
        lsn: Lsn,
        error: &ReplayError,
        record: Option<&Record>,
    ) -> Result<(), ReplayError> {
        self.end_copying();
        self.appliers.pop(&id);
        self.runs.remove(&id);
        let Some(hosted) = self.shared.databases.numbered(id) else {
            // Nothing is known of it yet but this record.
            return Err(ReplayError::File { database: id, what: error.to_string() });
        };
        let (expected, found) = error.checksums();
        let entry = CatalogEntry { id, name: hosted.name.clone() };
        let evidence =
            Evidence { entry: &entry, lsn, expected, found, what: error.to_string(), record };
        match keep_evidence(&self.shared, &evidence) {
            Ok(path) => {
                tracing::error!(database = %entry.name, %lsn, %error, evidence = %path.display(), "a database differs; it stands still until it is healed");
            }
            Err(failed) => {
                tracing::error!(database = %entry.name, %lsn, %error, %failed, "a database differs, and the evidence can't be kept");
            }
        }
        let map = hosted.engine.map().map(Arc::clone);
        let (entry_there, shows) = (entry.clone(), None);
        let ill = Ill { entry: entry_there, refusal: None, map, shows, healed_at: None };
        self.shared.databases.quarantine.put(ill);
        let name = entry.name;
        let differs = Event::DatabaseDiffers { database: id, name, lsn, expected, found };
        self.shared.inputs.event(differs);
        Ok(())
    }

    fn commit(&mut self, touched: &BTreeSet<DatabaseId>) -> Result<(), ReplayError> {
        for &database in touched {
            if let Some(applier) = self.appliers.get_mut(&database)
                && let Err(cause) = applier.commit()
            {
                let error = ReplayError::Apply { database, cause };
                if !error.is_damage() {
                    return Err(error);
                }
                self.isolate(database, self.shared.applied(), &error, None)?;
            }
        }
        Ok(())
    }

    /// Closes those appliers that were not used for the longest time, if there are too many. What they were given becomes
    /// visible; others may still fail, so each database remembers what it shows.
    fn close_appliers(&mut self, touched: &mut BTreeSet<DatabaseId>) -> Result<(), ReplayError> {
        let most = self.shared.settings.open_databases.max(1);
        if self.appliers.len() < most {
            return Ok(());
        }
        self.commit(touched)?;
        touched.clear();
        let (runs, fresh) = (&self.runs, &self.fresh);
        let goes = |id: &&DatabaseId| !runs.contains_key(id) && !fresh.contains(id);
        let oldest = self.appliers.iter().map(|(id, _)| id).rev().filter(goes);
        for id in oldest.take(1 + most / 16).copied().collect::<Vec<_>>() {
            if let Some(applier) = self.appliers.pop(&id) {
                self.note_ahead_of(id, &applier);
            }
        }
        Ok(())
    }

    fn applier(&mut self, record: &Record) -> Result<&mut Applier, ReplayError> {
        let header = record.header();
        let database = header.database;
        if !self.appliers.contains(&database) {
            let path = file_path(&self.shared.settings.data, database);
            if self.shared.databases.numbered(database).is_none() && self.fresh.insert(database) {
                // A creation begins: whatever has this name belongs to nothing.
                remove_files(&self.shared, database)?;
                let size = header.page_size.unwrap_or(counterpart_core::PageSize::DEFAULT);
                Database::create_file(&path, size)?;
            }
            // Before SQLite has the file open, and until the applier has the map.
            let _map = crate::maps::open(&self.shared.settings.data, database, record.lsn())
                .map_err(|error| OpenError::map(&path, &error))?;
            self.wake(database)?;
            let applier = Applier::open(&path)?.with_recent(&self.shared.recent);
            let applier = applier.with_large_cache(&self.shared.large_caches)?;
            self.appliers.put(database, applier);
        }
        Ok(self.appliers.get_mut(&database).expect("just put there"))
    }

    /// The server's own connection keeps what an applier's would otherwise leave behind when it is closed: the WAL's index.
    fn wake(&self, database: DatabaseId) -> Result<(), ReplayError> {
        let Some(hosted) = self.shared.databases.numbered(database) else { return Ok(()) };
        if hosted.note_use() {
            let failed = |cause| ApplyError::Sqlite(cause);
            let woken = hosted.engine.wake().map_err(failed);
            woken.map_err(|cause| ReplayError::Apply { database, cause })?;
            self.shared.databases.resting.look();
        }
        Ok(())
    }

    fn create(&mut self, record: &Record) -> Result<(), ReplayError> {
        let id = record.header().database;
        let name = record.created_name().expect("a creation has a name");
        self.push(record)?;
        self.commit(&BTreeSet::from([id]))?;
        self.fresh.remove(&id);
        if self.shared.databases.numbered(id).is_some() {
            return Ok(());
        }
        let entry = CatalogEntry { id, name };
        let hosted = self.shared.open_database(&entry)?;
        hosted.engine.set_read_only(true);
        hosted.note_change(record.lsn());
        self.shared.databases.insert(hosted);
        let commit = self.shared.confirmations.commit_lsn().min(record.lsn());
        crash_point("replay.created");
        self.shared.control.update(|control| {
            control.note_created(entry, record.lsn());
            // A restart that took the creation for something that can be cut would keep a ghost in the catalog.
            control.commit_lsn = control.commit_lsn.max(commit);
        })?;
        Ok(())
    }

    fn drop_database(&mut self, record: &Record) -> Result<(), ReplayError> {
        let id = record.header().database;
        self.end_copying();
        self.appliers.pop(&id);
        self.runs.remove(&id);
        if self.shared.databases.quarantine.release(id).is_some() {
            self.shared.inputs.event(Event::Healed { database: id });
        }
        forget_database(&self.shared, id, record.lsn())
    }
}

/// Takes a dropped database out of the catalog, durably, then deletes its files.
///
/// # Errors
/// What the control file or the file system says.
pub fn forget_database(shared: &Shared, id: DatabaseId, lsn: Lsn) -> Result<(), ReplayError> {
    shared.databases.remove(id);
    shared.databases.quarantine.release(id);
    let commit = shared.confirmations.commit_lsn().min(lsn);
    shared.control.update(|control| {
        control.note_dropped(id, lsn);
        // The file goes: a restart must not take the drop for something that can be cut.
        control.commit_lsn = control.commit_lsn.max(commit);
    })?;
    shared.databases.drop_is_noted(id);
    crash_point("drop.forgotten");
    if let Err(error) = copy::heal::remove_strays(shared) {
        tracing::warn!(database = %id, %error, "the copy of a dropped database takes space until the next start");
    }
    remove_files(shared, id)
}

/// Deletes the files of a database that is in no catalog.
///
/// # Errors
/// What the file system says.
pub fn remove_files(shared: &Shared, database: DatabaseId) -> Result<(), ReplayError> {
    let path = file_path(&shared.settings.data, database);
    let failed = |e: std::io::Error| ReplayError::File {
        database,
        what: format!("its files can't be deleted: {e}"),
    };
    Database::discard_wal(&path).map_err(failed)?;
    for file in [&path, &crate::maps::map_path(&shared.settings.data, database)] {
        counterpart_journal::disk::remove_if_there(shared.disk.as_ref(), file).map_err(failed)?;
    }
    Ok(())
}
