//! What all parts of one server share. Owns no task and decides nothing about roles: the driver does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use counterpart_core::{DatabaseId, Lsn, record::Draft};
use counterpart_engine::{
    CaptureError, Connection, OpenError, PageCaches, RecentImages, Repairer, WalMemory,
};
use counterpart_journal::{AppendError, Journal, disk::Disk};
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, watch},
};

use crate::{
    admission::Admission,
    client_keys::ClientKeys,
    clock,
    confirm::Confirmations,
    control::{CatalogEntry, ControlKeeper},
    copy::{held::Still, meter::Meters},
    databases::{Databases, Hosted, file_path},
    driver::Inputs,
    gate::JournalGate,
    monitor::{Book, Figures},
    ops::backup::Holds,
    refusal::Refusal,
    repair::Repairs,
    runs::Runs,
    scrub::Scrub,
    settings::Settings,
    storage::Storage,
    stream::OpenTransactions,
    workers::Workers,
};

/// Cursors that may run at a time, out of the 512 threads that block.
const CURSORS: usize = 128;

/// See the module's head.
pub struct Shared {
    /// The settings it was started with.
    pub settings: Settings,
    /// The journal.
    pub journal: Journal,
    /// The disk under journal and control file.
    pub disk: Arc<dyn Disk>,
    /// The control file.
    pub control: ControlKeeper,
    /// The open databases.
    pub databases: Databases,
    /// Whether writes may begin.
    pub admission: Admission,
    /// What is final.
    pub confirmations: Confirmations,
    /// Streams with an open transaction.
    pub transactions: OpenTransactions,
    /// Commits on their way into the journal.
    pub runs: Runs,
    /// What they are compared with, and what a mirror builds on.
    pub(crate) recent: Arc<RecentImages>,
    pub(crate) large_caches: Arc<PageCaches>,
    wal_memory: Arc<WalMemory>,
    /// The driver's ear.
    pub inputs: Inputs,
    /// Asks partners for damaged pages.
    pub repairs: Arc<Repairs>,
    /// Reads everything back from the disk now and then.
    pub scrub: Arc<Scrub>,
    /// The runtime of all I/O.
    pub io: Handle,
    /// Threads that serve the lanes of databases.
    pub(crate) workers: Arc<Workers>,
    /// How far the local journal is hardened, as the driver knows it.
    pub hardened: watch::Sender<Lsn>,
    /// Where clients reach the principal, while this server is not it.
    pub principal: Mutex<Option<String>>,
    /// Which TLS keys mirrors show their clients.
    pub client_keys: ClientKeys,
    /// Held by whoever receives a seed or a copy, or adopts one.
    pub seeding: Mutex<()>,
    /// Held by whoever applies records, and for a moment by whoever wants to know what exactly is applied.
    pub applying: Mutex<()>,
    /// Keeps checkpoints of a mirror from its files.
    pub(crate) still: Still,
    /// How far copies are.
    pub(crate) copies: Meters,
    /// What the monitor tells.
    pub(crate) figures: Figures,
    /// What is wrong, and what was.
    pub(crate) alarms: Book,
    /// The disk as SQLite meets it.
    pub(crate) storage: Storage,
    /// Who else needs the journal, besides partners and redo.
    pub(crate) holds: Holds,
    /// Whether the server has taken up its first role, or can't.
    pub settled: watch::Sender<bool>,
    runs_begun: Mutex<BTreeMap<DatabaseId, Lsn>>,
    /// Cursors that run: each may hold a thread for as long as its client reads or its position is not final.
    pub cursors: Arc<Semaphore>,
    era: AtomicU64,
    applied: AtomicU64,
    acting: AtomicBool,
    appended_bytes: AtomicU64,
    captured_bytes: AtomicU64,
    streams: Mutex<Vec<Arc<Notify>>>,
}

/// What [`Shared`] is made of at start-up.
pub struct Parts {
    /// See [`Shared`].
    pub settings: Settings,
    /// See [`Shared`].
    pub journal: Journal,
    /// See [`Shared`].
    pub disk: Arc<dyn Disk>,
    /// See [`Shared`].
    pub control: ControlKeeper,
    /// See [`Shared`].
    pub databases: Databases,
    /// See [`Shared`].
    pub admission: Admission,
    /// See [`Shared`].
    pub inputs: Inputs,
    /// See [`Shared`].
    pub io: Handle,
}

impl Shared {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Shared> {
        let Parts { settings, journal, disk, control, databases, admission, inputs, io } = parts;
        let alarms = Book::open(&settings.data, settings.alarm_limits, &settings.alarm_channels);
        let recent = Arc::new(RecentImages::new(settings.delta_cache_bytes));
        let large_caches = Arc::new(PageCaches::new(settings.page_cache_bytes));
        Arc::new(Shared {
            recent,
            large_caches,
            wal_memory: Arc::new(WalMemory::new(settings.wal_memory_bytes)),
            settings,
            journal,
            disk,
            control,
            databases,
            admission,
            confirmations: Confirmations::default(),
            transactions: OpenTransactions::default(),
            runs: Runs::default(),
            repairs: Arc::new(Repairs::new(inputs.clone())),
            scrub: Arc::default(),
            inputs,
            io,
            workers: Arc::default(),
            hardened: watch::Sender::new(Lsn::ZERO),
            principal: Mutex::new(None),
            client_keys: ClientKeys::default(),
            seeding: Mutex::new(()),
            applying: Mutex::new(()),
            still: Still::default(),
            copies: Meters::default(),
            figures: Figures::default(),
            alarms,
            storage: Storage::default(),
            holds: Holds::default(),
            settled: watch::Sender::new(false),
            runs_begun: Mutex::new(BTreeMap::new()),
            cursors: Arc::new(Semaphore::new(CURSORS)),
            era: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            acting: AtomicBool::new(false),
            appended_bytes: AtomicU64::new(0),
            captured_bytes: AtomicU64::new(0),
            streams: Mutex::new(Vec::new()),
        })
    }

    /// Opens a database whose file exists. Nobody sees it before it is among [`databases`](Self::databases).
    ///
    /// # Errors
    /// What SQLite says, or the file system about the page map.
    pub fn open_database(&self, entry: &CatalogEntry) -> Result<Arc<Hosted>, OpenError> {
        let directory = &self.settings.data;
        // Held until SQLite has the file open and with it the map.
        let map = crate::maps::open(directory, entry.id, self.journal.last().next())
            .map_err(|error| OpenError::map(&file_path(directory, entry.id), &error))?;
        if let Some(map) = &map {
            map.set_repairer(Some(Arc::clone(&self.repairs) as Arc<dyn Repairer>));
        }
        let gate = JournalGate::new(self.journal.clone());
        let options = counterpart_engine::Options {
            foreign_keys: self.settings.foreign_keys,
            recent: Arc::clone(&self.recent),
            large_caches: Arc::clone(&self.large_caches),
            wal_memory: Arc::clone(&self.wal_memory),
            ..counterpart_engine::Options::default()
        };
        Hosted::open(directory, entry, &gate, options)
    }

    /// Whether there is no partner that could have what is damaged here.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.control.read().session.partners.is_empty()
    }

    /// Counts the changes of role: a stream that worked in an earlier era has lost what it held.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.era.load(Ordering::SeqCst)
    }

    /// The databases with a run of chunks that is unfinished at the applied position, and each run's first chunk.
    #[must_use]
    pub fn runs_begun(&self) -> BTreeMap<DatabaseId, Lsn> {
        self.runs_begun.lock().expect("no holder of this lock panics").clone()
    }

    /// Notes the unfinished runs of the applied position.
    pub fn note_runs(&self, runs: &BTreeMap<DatabaseId, Lsn>) {
        let mut noted = self.runs_begun.lock().expect("no holder of this lock panics");
        if *noted != *runs {
            noted.clone_from(runs);
        }
    }

    /// Where clients reach the principal, while this server is not it and knows.
    #[must_use]
    pub fn principal_url(&self) -> Option<String> {
        self.principal.lock().expect("no holder of this lock panics").clone()
    }

    /// A new era begins.
    pub fn begin_era(&self) {
        self.era.fetch_add(1, Ordering::SeqCst);
    }

    /// Everything up to here is in the databases. On an acting server that is all there is.
    #[must_use]
    pub fn applied(&self) -> Lsn {
        if self.acting.load(Ordering::SeqCst) {
            return self.journal.last();
        }
        Lsn(self.applied.load(Ordering::SeqCst))
    }

    /// Whether this server executes writes itself, as principal or standalone.
    #[must_use]
    pub fn is_acting(&self) -> bool {
        self.acting.load(Ordering::SeqCst)
    }

    /// Says whether it does; returns what was the case before.
    pub fn set_acting(&self, acting: bool) -> bool {
        self.acting.swap(acting, Ordering::SeqCst)
    }

    /// The databases have come this far, forwards or (when their content was replaced) backwards.
    pub fn set_applied(&self, lsn: Lsn) {
        self.applied.store(lsn.0, Ordering::SeqCst);
    }

    /// Puts a draft into the journal and wakes whoever sends to mirrors.
    ///
    /// # Errors
    /// When the journal takes no more.
    pub fn append(&self, draft: Draft) -> Result<Lsn, AppendError> {
        self.appended_bytes.fetch_add(draft.length() as u64, Ordering::Relaxed);
        let lsn = self.journal.append(draft)?;
        self.wake_senders();
        Ok(lsn)
    }

    /// Bytes that this process has journaled as the acting principal.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the pages that were journaled so: what the WALs have grown by, or somewhat less.
    #[must_use]
    pub fn captured_bytes(&self) -> u64 {
        self.captured_bytes.load(Ordering::Relaxed)
    }

    /// Wakes the senders of records: there is more to send.
    pub fn wake_senders(&self) {
        for stream in self.streams.lock().expect("no holder of this lock panics").iter() {
            stream.notify_one();
        }
    }

    /// A sender that wants to be woken at every append, until it [leaves](Self::leave_senders).
    pub fn join_senders(&self, wake: &Arc<Notify>) {
        self.streams.lock().expect("no holder of this lock panics").push(Arc::clone(wake));
    }

    /// The sender needs no more waking.
    pub fn leave_senders(&self, wake: &Arc<Notify>) {
        self.streams
            .lock()
            .expect("no holder of this lock panics")
            .retain(|known| !Arc::ptr_eq(known, wake));
    }

    /// Journals what `connection` has just committed, if anything; the caller holds the write permit.
    ///
    /// # Errors
    /// When it could not be journaled. The transaction is then visible in SQLite but not durable, so this server
    /// confirms nothing any more, neither it nor a read that could have seen it.
    pub fn capture(
        &self,
        hosted: &Hosted,
        connection: &Connection,
    ) -> Result<Option<Lsn>, Refusal> {
        let mut last = None;
        // Before the append: a checkpoint whose mark follows must not take the database for a clean one.
        if connection.has_uncaptured() {
            hosted.note_dirty();
        }
        let mut commit = self.runs.begin();
        // Even before its first chunk: a mark that waits for it keeps everybody else's commits back meanwhile.
        if hosted.engine.is_large(connection) {
            commit.is_run();
        }
        let mark = commit.mark();
        let captured = hosted.engine.capture(connection, clock::unix_now(), mark, &mut |draft| {
            if draft.is_chunk() {
                commit.is_run();
            }
            let lsn = self.append(draft)?;
            last = Some(lsn);
            Ok::<Lsn, AppendError>(lsn)
        });
        drop(commit);
        match captured {
            Ok(captured) => {
                let pages = captured.map_or(0, |captured| captured.pages);
                let bytes = pages * hosted.engine.page_size().bytes() as u64;
                self.captured_bytes.fetch_add(bytes, Ordering::Relaxed);
                if let Some(lsn) = last {
                    hosted.note_change(lsn);
                    self.storage.works();
                    self.figures.transactions.fetch_add(1, Ordering::Relaxed);
                }
                hosted.visibility.end_capture(last);
                Ok(last)
            }
            Err(error) => {
                let refusal = match error {
                    CaptureError::Sink(error) => self.poison(&error.to_string()),
                    other => self.poison(&other.to_string()),
                };
                // Whoever has seen it must not be answered: no position can be final any more.
                hosted.visibility.end_capture(Some(Lsn(u64::MAX)));
                Err(refusal)
            }
        }
    }

    /// Nothing more can be journaled or confirmed. Reads of what is final go on; a restart recovers.
    pub fn poison(&self, why: &str) -> Refusal {
        let refusal = poisoned(why);
        self.inputs.journal_failed(why.to_owned());
        self.admission.set(crate::admission::Door::Closed(refusal.clone()));
        self.confirmations.end(&refusal);
        refusal
    }
}

/// The journal failed.
#[must_use]
pub fn poisoned(why: &str) -> Refusal {
    Refusal::new(
        "JOURNAL_FAILED",
        format!("this server can't write its journal any more: {why}"),
        "look after its disk, then restart it; it recovers everything that was confirmed",
    )
}
