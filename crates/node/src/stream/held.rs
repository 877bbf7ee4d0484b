//! What a stream holds while it is used: a connection, perhaps the write permit.
//!
//! Invariants:
//! - the permit is held exactly while a statement that writes runs, and through an explicit transaction that writes;
//! - a connection that carries a stream's mark, or an open transaction, stays with the stream;
//! - every other connection goes back to the pool after each request.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use counterpart_engine::{Connection, SqlError, Statement, StatementResult, StreamScope};
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit};

use super::stop::Stop;
use crate::{clock, databases::Hosted, refusal::Refusal, shared::Shared};

/// A stream's resources, shared with the reaper that ends idle transactions.
pub struct Slot {
    /// The database it works on.
    pub hosted: Arc<Hosted>,
    held: Arc<Mutex<Held>>,
    /// Ends a request whose client has gone.
    pub stop: Stop,
    /// When the last request ended, in ms of uptime.
    touched: AtomicU64,
    /// When the open transaction began, in ms of uptime; 0 while none is open.
    began: AtomicU64,
}

/// See the module's head.
#[derive(Default)]
pub struct Held {
    /// The connection, if one is with the stream.
    pub connection: Option<Connection>,
    /// The write permit of the database.
    pub permit: Option<OwnedSemaphorePermit>,
    /// The stream's numbers while no connection is with it.
    pub scope: StreamScope,
    /// The server's era when the stream last worked; see [`crate::shared::Shared::era`].
    pub era: u64,
    /// Set when the stream can't be used any more.
    pub expired: Option<Refusal>,
}

/// A locked slot that can travel to a worker thread.
pub type HeldGuard = OwnedMutexGuard<Held>;

impl Slot {
    /// A slot that holds nothing yet.
    #[must_use]
    pub fn new(hosted: Arc<Hosted>, era: u64) -> Arc<Slot> {
        let held = Arc::new(Mutex::new(Held { era, ..Held::default() }));
        Arc::new(Slot {
            hosted,
            held,
            stop: Stop::default(),
            touched: AtomicU64::new(0),
            began: AtomicU64::new(0),
        })
    }

    /// Locks the slot for one request.
    pub async fn lock(&self) -> HeldGuard {
        Arc::clone(&self.held).lock_owned().await
    }

    /// Locks the slot unless a request is running.
    #[must_use]
    pub fn try_lock(&self) -> Option<HeldGuard> {
        Arc::clone(&self.held).try_lock_owned().ok()
    }

    /// Notes that a request has ended now.
    pub fn touch(&self) {
        self.touched.store(clock::uptime_ms(), Ordering::Relaxed);
    }

    /// Notes whether a transaction is open after a request.
    pub fn note_transaction(&self, open: bool) {
        if !open {
            self.began.store(0, Ordering::Relaxed);
        } else if self.began.load(Ordering::Relaxed) == 0 {
            self.began.store(clock::uptime_ms().max(1), Ordering::Relaxed);
        }
    }

    /// For how many ms the transaction has been open.
    #[must_use]
    pub fn open_ms(&self) -> u64 {
        match self.began.load(Ordering::Relaxed) {
            0 => 0,
            began => clock::uptime_ms().saturating_sub(began),
        }
    }

    /// For how many ms no request has run.
    #[must_use]
    pub fn idle_ms(&self) -> u64 {
        clock::uptime_ms().saturating_sub(self.touched.load(Ordering::Relaxed))
    }
}

impl Held {
    /// Whether an explicit transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::in_transaction)
    }

    /// Whether an explicit transaction is open that has begun to write.
    fn is_writing(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.in_transaction() && c.is_writing())
    }

    /// The stream's connection, taken from the pool if it has none.
    ///
    /// # Errors
    /// When SQLite can't open another connection.
    pub fn connection(&mut self, hosted: &Hosted) -> Result<&mut Connection, SqlError> {
        if self.connection.is_none() {
            let mut connection = hosted.engine.checkout_for(self.permit.is_some())?;
            connection.begin_scope(self.scope);
            self.connection = Some(connection);
        }
        Ok(self.connection.as_mut().expect("just put there"))
    }

    /// The result of a statement that only reads, if a glance is enough for it and the stream has nothing of its own.
    pub fn glance(
        &mut self,
        shared: &Shared,
        hosted: &Hosted,
        statement: &Statement,
    ) -> Option<StatementResult> {
        if self.connection.is_some() {
            return None;
        }
        let mut connection = hosted.engine.checkout_ready(&statement.sql)?;
        // It is awake: it has a connection.
        let _rested = hosted.note_use();
        connection.begin_scope(self.scope);
        connection.set_now(clock::unix_now());
        let limit = shared.settings.max_result_bytes as u64;
        let result = connection.glance(statement, limit);
        if connection.has_uncaptured() {
            // As for any statement that counted as a read. The connection is lost with what it committed.
            shared.poison(&format!("a statement that reads has written: {}", statement.sql));
            return None;
        }
        self.scope = connection.end_scope();
        hosted.engine.give_back(connection);
        result?.ok()
    }

    /// After a request: the write permit, if the stream need not keep it.
    pub fn spare_permit(&mut self) -> Option<OwnedSemaphorePermit> {
        // Also in a transaction whose first write failed, because its snapshot is outdated, say.
        if self.is_writing() { None } else { self.permit.take() }
    }

    /// After a request: gives back the connection, if the stream need not keep it.
    pub fn settle(&mut self, hosted: &Hosted) {
        if self.in_transaction() {
            return;
        }
        if let Some(mut connection) = self.connection.take() {
            if connection.is_marked() {
                self.connection = Some(connection);
            } else {
                self.scope = connection.end_scope();
                hosted.engine.give_back(connection);
            }
        }
    }

    /// Ends whatever is open; the stream answers `why` from now on.
    pub fn expire(&mut self, why: Refusal) {
        self.release();
        self.expired = Some(why);
    }

    /// Rolls back and drops connection and permit, in this order: nobody may write before the rollback is done.
    pub fn release(&mut self) {
        drop(self.connection.take());
        self.permit = None;
    }
}

/// All streams that keep a connection: for an open transaction, or for what is marked on it.
#[derive(Default)]
pub struct OpenTransactions(std::sync::Mutex<Vec<Weak<Slot>>>);

impl OpenTransactions {
    /// Notes that a stream keeps a connection. Noting it again does no harm.
    pub fn note(&self, slot: &Arc<Slot>) {
        let mut open = self.lock();
        if !open.iter().any(|known| Weak::as_ptr(known) == Arc::as_ptr(slot)) {
            open.push(Arc::downgrade(slot));
        }
    }

    /// The streams with a connection that no request is using, locked. Forgets those without one.
    #[must_use]
    pub fn resting(&self) -> Vec<(Arc<Slot>, HeldGuard)> {
        let mut resting = Vec::new();
        self.lock().retain(|known| {
            let Some(slot) = known.upgrade() else { return false };
            let Some(held) = slot.try_lock() else { return true };
            let keeps = held.connection.is_some();
            if keeps {
                resting.push((slot, held));
            }
            keeps
        });
        resting
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Slot>>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}
