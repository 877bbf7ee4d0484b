//! The databases that this server hosts now, by name and by number.
//!
//! Which databases *exist* is in the control file; this is what is open.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use counterpart_core::{DatabaseId, DatabaseName, Lsn};
use counterpart_engine as engine;
use tokio::sync::{Semaphore, watch};

use crate::{
    clock, control::CatalogEntry, gate::JournalGate, quarantine::Quarantine, refusal::Refusal,
    rest::Resting, stream::Lane, visibility::Visibility,
};

/// One open database.
pub struct Hosted {
    /// Its number in the journal.
    pub id: DatabaseId,
    /// Its name.
    pub name: DatabaseName,
    /// SQLite's side of it.
    pub engine: engine::Database,
    /// Whoever writes holds this, one at a time, in the order of asking.
    pub permit: Arc<Semaphore>,
    /// Whoever copies the `-wal` into the file beside writers holds this.
    pub copying: Arc<Semaphore>,
    /// Writes that wait for their turn.
    pub lane: Lane,
    /// What readers can have seen.
    pub visibility: Arc<Visibility>,
    /// The newest LSN that is in the `-wal` but perhaps not in the database file; 0 when all is in the file.
    unchecked: AtomicU64,
    changed: AtomicU64,
    shows: AtomicU64,
    /// When somebody last asked for it, in ms of uptime.
    used: AtomicU64,
    dropped: AtomicBool,
    recalled: watch::Sender<bool>,
}

impl Hosted {
    /// Opens a database whose file exists.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open(
        directory: &Path,
        entry: &CatalogEntry,
        gate: &JournalGate,
        options: engine::Options,
    ) -> Result<Arc<Hosted>, engine::OpenError> {
        let visibility = Arc::new(Visibility::default());
        let options =
            engine::Options { gate: Some(Arc::new(gate.of_database(&visibility))), ..options };
        let engine = engine::Database::open(&file_path(directory, entry.id), entry.id, options)?;
        Ok(Arc::new(Hosted {
            id: entry.id,
            name: entry.name.clone(),
            engine,
            permit: Arc::new(Semaphore::new(1)),
            copying: Arc::new(Semaphore::new(1)),
            lane: Lane::default(),
            visibility,
            unchecked: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            shows: AtomicU64::new(0),
            used: AtomicU64::new(clock::uptime_ms()),
            dropped: AtomicBool::new(false),
            recalled: watch::Sender::new(false),
        }))
    }

    /// Notes that the `-wal` holds a change of `lsn`.
    pub fn note_change(&self, lsn: Lsn) {
        self.unchecked.fetch_max(lsn.0, Ordering::SeqCst);
        self.changed.fetch_max(lsn.0, Ordering::SeqCst);
    }

    /// Notes that the `-wal` holds a change whose LSN is not known yet.
    pub fn note_dirty(&self) {
        self.unchecked.fetch_max(1, Ordering::SeqCst);
    }

    /// The newest LSN that changed the database in the life of this process.
    #[must_use]
    pub fn last_change(&self) -> Lsn {
        Lsn(self.changed.load(Ordering::SeqCst))
    }

    /// Notes that it shows all of its records up to `lsn`, though this server's applied position is below that: others
    /// could not be brought as far.
    pub fn note_ahead(&self, lsn: Lsn) {
        self.shows.fetch_max(lsn.0, Ordering::SeqCst);
    }

    /// Whether it shows this record already, as [noted](Self::note_ahead).
    #[must_use]
    pub fn shows(&self, lsn: Lsn) -> bool {
        lsn.0 <= self.shows.load(Ordering::SeqCst)
    }

    /// Notes that somebody asks for it now; whether it [rests](crate::rest), and will wake.
    pub(crate) fn note_use(&self) -> bool {
        self.used.store(clock::uptime_ms(), Ordering::Relaxed);
        !self.engine.is_awake()
    }

    /// When somebody last asked for it, in ms of uptime.
    pub(crate) fn last_use(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether the `-wal` may hold what the file does not.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.unchecked.load(Ordering::SeqCst) != 0
    }

    /// Notes that the file holds everything, or will before redo begins any later. Only the holder of the permit (or the only writer) may say so.
    pub fn note_clean(&self) {
        self.unchecked.store(0, Ordering::SeqCst);
    }

    /// Ends the database for its streams: writers that wait are told why, everyone who comes finds it gone. Not while the
    /// list of databases is locked: those who are told look at it.
    pub fn retire(&self, why: &Refusal) {
        self.dropped.store(true, Ordering::SeqCst);
        self.permit.close();
        self.lane.end(why);
    }

    /// Whether it was dropped or replaced.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.dropped.load(Ordering::SeqCst)
    }

    /// Its files are to be changed or replaced: whoever reads from it lets go of it.
    pub fn recall(&self) {
        self.recalled.send_replace(true);
    }

    /// Waits until it is recalled. For whoever keeps a snapshot of it and waits for somebody else meanwhile, where nobody
    /// can interrupt it.
    pub async fn recalled(&self) {
        let recalled = self.recalled.subscribe().wait_for(|recalled| *recalled).await.map(drop);
        recalled.expect("the sender is this database's own");
    }
}

/// The file of a database.
#[must_use]
pub fn file_path(directory: &Path, id: DatabaseId) -> PathBuf {
    directory.join(format!("{}.db", id.0))
}

/// The number in the name of a file that belongs to a database, and what follows it: `.db`, `.map`, and so on.
#[must_use]
pub fn database_file(name: &str) -> Option<(DatabaseId, &str)> {
    let (number, rest) = name.split_at(name.find('.')?);
    let ours = [".db", ".db-wal", ".db-shm", ".db-redo", ".db-journal", ".map"].contains(&rest);
    Some((DatabaseId(number.parse().ok().filter(|_| ours)?), rest))
}

/// The open databases.
pub struct Databases {
    open: RwLock<Open>,
    /// Those that are out of use.
    pub quarantine: Quarantine,
    /// What is known of those that rest.
    pub(crate) resting: Resting,
    /// Held by whoever creates or drops a database, so that the list changes in the order of the journal.
    pub changes: tokio::sync::Mutex<()>,
    /// Drops that are in the journal and not in the catalog yet. They stay here if whoever dropped stopped waiting, as
    /// when this server was deposed: nobody replays them, because the databases show them already.
    dropped: Mutex<BTreeMap<DatabaseId, Lsn>>,
}

#[derive(Default)]
struct Open {
    by_name: BTreeMap<DatabaseName, Arc<Hosted>>,
    by_id: HashMap<DatabaseId, Arc<Hosted>>,
    /// Why nothing can be read, if nothing can.
    unavailable: Option<Refusal>,
}

impl Databases {
    /// No databases, and none available for the reason given.
    #[must_use]
    pub fn unavailable(why: Refusal) -> Databases {
        let open = Open { unavailable: Some(why), ..Open::default() };
        Databases {
            open: RwLock::new(open),
            quarantine: Quarantine::default(),
            resting: Resting::default(),
            changes: tokio::sync::Mutex::new(()),
            dropped: Mutex::default(),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Open> {
        self.open.read().expect("no holder of this lock panics")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Open> {
        self.open.write().expect("no holder of this lock panics")
    }

    /// The database called `name`, for a client.
    ///
    /// # Errors
    /// `DATABASE_NOT_FOUND`, or why no database is available.
    pub fn named(&self, name: &DatabaseName) -> Result<Arc<Hosted>, Refusal> {
        let open = self.read();
        if let Some(why) = &open.unavailable {
            return Err(why.clone());
        }
        let hosted = open.by_name.get(name).cloned();
        drop(open);
        hosted.ok_or_else(|| self.quarantine.refusal(name).unwrap_or_else(|| not_found(name)))
    }

    /// The database with this number, whether clients may read or not.
    #[must_use]
    pub fn numbered(&self, id: DatabaseId) -> Option<Arc<Hosted>> {
        self.read().by_id.get(&id).cloned()
    }

    /// The database of this name, whether clients may read or not.
    #[must_use]
    pub fn present(&self, name: &DatabaseName) -> Option<Arc<Hosted>> {
        self.read().by_name.get(name).cloned()
    }

    /// Whether there is a database of this name, open or out of use.
    #[must_use]
    pub fn exists(&self, name: &DatabaseName) -> bool {
        self.present(name).is_some() || self.quarantine.has(name)
    }

    /// All open databases, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Hosted>> {
        self.read().by_name.values().cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.read().by_name.len()
    }

    /// How many there are without the server's own.
    #[must_use]
    pub fn of_users(&self) -> usize {
        self.read().by_name.keys().filter(|name| !name.is_system()).count()
    }

    /// Adds an open database.
    pub fn insert(&self, hosted: Arc<Hosted>) {
        let mut open = self.write();
        open.by_id.insert(hosted.id, Arc::clone(&hosted));
        open.by_name.insert(hosted.name.clone(), hosted);
        drop(open);
        self.resting.look();
    }

    /// Takes a database out and ends it for its streams.
    pub fn remove(&self, id: DatabaseId) -> Option<Arc<Hosted>> {
        let mut open = self.write();
        let hosted = open.by_id.remove(&id)?;
        if open.by_name.get(&hosted.name).is_some_and(|named| named.id == id) {
            open.by_name.remove(&hosted.name);
        }
        drop(open);
        hosted.retire(&gone());
        Some(hosted)
    }

    fn drops(&self) -> std::sync::MutexGuard<'_, BTreeMap<DatabaseId, Lsn>> {
        self.dropped.lock().expect("no holder of this lock panics")
    }

    /// A drop is in the journal, at `lsn`.
    pub fn note_drop(&self, id: DatabaseId, lsn: Lsn) {
        self.drops().insert(id, lsn);
    }

    /// The catalog has the drop of a database.
    pub fn drop_is_noted(&self, id: DatabaseId) {
        self.drops().remove(&id);
    }

    /// The drops up to `lsn` that the catalog does not have.
    #[must_use]
    pub fn drops_up_to(&self, lsn: Lsn) -> Vec<(DatabaseId, Lsn)> {
        let drops = self.drops();
        drops.iter().filter(|(_, at)| **at <= lsn).map(|(&id, &at)| (id, at)).collect()
    }

    /// Takes all databases out; clients are told why.
    pub fn close_all(&self, why: Refusal) {
        let none = Open { unavailable: Some(why.clone()), ..Open::default() };
        let before = std::mem::replace(&mut *self.write(), none);
        before.by_id.values().for_each(|hosted| hosted.retire(&why));
        self.drops().clear();
        self.quarantine.clear();
    }

    /// Clients may read again (`None`), or not.
    pub fn set_unavailable(&self, why: Option<Refusal>) {
        self.write().unavailable = why;
    }

    /// Nothing, if clients may read.
    ///
    /// # Errors
    /// Why they may not.
    pub fn available(&self) -> Result<(), Refusal> {
        self.read().unavailable.clone().map_or(Ok(()), Err)
    }

    /// Whether clients may read.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.read().unavailable.is_none()
    }
}

/// What the streams of a database are told that is retired.
#[must_use]
pub fn gone() -> Refusal {
    Refusal::stream_expired("the database of this stream was dropped or replaced")
}

/// There is no such database.
#[must_use]
pub fn not_found(name: &DatabaseName) -> Refusal {
    Refusal::new(
        "DATABASE_NOT_FOUND",
        format!("there is no database called {name}"),
        "list the databases with `counterpart db list`, or create it on the principal with `counterpart db create`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A principal was deposed while a drop waited to become final. As a mirror it replayed nothing of it, for its
    /// databases showed it already; a checkpoint passed it, and after the next start the dropped database was back.
    #[test]
    fn a_drop_that_nobody_waits_for_any_more_is_kept_until_a_checkpoint_passes_it() {
        let databases = Databases::unavailable(Refusal::new("TEST", "nothing is here", "none"));
        databases.note_drop(DatabaseId(6), Lsn(190));
        databases.note_drop(DatabaseId(7), Lsn(200));
        assert_eq!(databases.drops_up_to(Lsn(189)), []);
        assert_eq!(databases.drops_up_to(Lsn(195)), [(DatabaseId(6), Lsn(190))]);
        databases.drop_is_noted(DatabaseId(6));
        assert_eq!(databases.drops_up_to(Lsn(300)), [(DatabaseId(7), Lsn(200))]);
        // What is loaded anew is redone from the journal, drops and all.
        databases.close_all(Refusal::new("TEST", "all is replaced", "none"));
        assert_eq!(databases.drops_up_to(Lsn(300)), []);
    }
}
