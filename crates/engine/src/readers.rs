//! Who is reading, since when: a read transaction pins the WAL, so it must be possible to name it and to end it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use counterpart_core::UnixMicros;

/// Stops the statement that a connection is running, from any thread.
#[derive(Clone)]
pub struct Interrupter(Arc<rusqlite::InterruptHandle>);

impl std::fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupter")
    }
}

impl Interrupter {
    pub(crate) fn new(db: &rusqlite::Connection) -> Interrupter {
        Interrupter(Arc::new(db.get_interrupt_handle()))
    }

    /// Stops what runs now with `SQLITE_INTERRUPT`; does nothing if nothing runs.
    pub fn interrupt(&self) {
        self.0.interrupt();
    }
}

/// One connection's entry.
#[derive(Debug)]
pub(crate) struct ReaderSlot {
    id: u64,
    /// When its transaction began, in microseconds since 1970 plus one; 0 while there is none.
    since: AtomicU64,
    /// For how many milliseconds the transaction may be open at most, if it was cut off for that; 0 if it was not.
    cut_off: AtomicU64,
    pub(crate) interrupter: Interrupter,
}

impl ReaderSlot {
    /// A statement begins at `now`; the transaction, if one is open already, keeps its time.
    pub(crate) fn begin(&self, now: UnixMicros) {
        if self.since.compare_exchange(0, now.0.saturating_add(1), Relaxed, Relaxed).is_ok() {
            self.cut_off.store(0, Relaxed);
        }
    }

    /// For how long the transaction, or the one that has just ended, may be open at most, if it was cut off for that.
    pub(crate) fn cut_off(&self) -> Option<Duration> {
        let most = self.cut_off.load(Relaxed);
        (most > 0).then_some(Duration::from_millis(most))
    }

    /// No transaction is open any more.
    pub(crate) fn end(&self) {
        self.since.store(0, Relaxed);
    }
}

/// A connection with an open transaction.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Names the connection within its database.
    pub connection: u64,
    /// When its transaction began.
    pub since: UnixMicros,
    slot: Arc<ReaderSlot>,
}

impl Reader {
    /// Stops its running statement. A transaction that is idle is ended by whoever has the connection.
    pub fn interrupt(&self) {
        self.slot.interrupter.interrupt();
    }

    /// As [`interrupt`](Self::interrupt), because it is open for longer than `most`. Its connection [says
    /// so](crate::Connection::cut_off).
    pub fn cut_off(&self, most: Duration) {
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
        self.slot.cut_off.store(most, Relaxed);
        self.interrupt();
    }
}

/// All connections of a database.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    next: AtomicU64,
    slots: Mutex<HashMap<u64, Arc<ReaderSlot>>>,
}

impl Readers {
    pub(crate) fn register(&self, interrupter: Interrupter) -> Arc<ReaderSlot> {
        let id = self.next.fetch_add(1, Relaxed);
        let slot = Arc::new(ReaderSlot {
            id,
            since: AtomicU64::new(0),
            cut_off: AtomicU64::new(0),
            interrupter,
        });
        self.lock().insert(id, Arc::clone(&slot));
        slot
    }

    pub(crate) fn forget(&self, slot: &ReaderSlot) {
        self.lock().remove(&slot.id);
    }

    /// The open transactions, oldest first.
    pub(crate) fn open(&self) -> Vec<Reader> {
        let mut open: Vec<Reader> = self
            .lock()
            .values()
            .filter_map(|slot| {
                let since = UnixMicros(slot.since.load(Relaxed).checked_sub(1)?);
                Some(Reader { connection: slot.id, since, slot: Arc::clone(slot) })
            })
            .collect();
        open.sort_by_key(|reader| (reader.since, reader.connection));
        open
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<ReaderSlot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
