//! The HTTP streams between their requests.
//!
//! ```text
//!            open                 reserve            park
//!  (no slot) ----> lease, no slot -------> Busy slot ----> Idle slot --idle limit--> (no slot)
//!                        | close or drop        ^  |              |
//!                        v                      |  +<---resume----+
//!                    (no slot)  <---- close or drop
//! ```
//!
//! Invariants:
//! - a stream is owned by exactly one place: a [`Lease`] or an idle slot; so two requests can never
//!   run on it at the same time;
//! - a slot's sequence grows with every `resume`, so a baton is good for one request;
//! - a verified baton without a slot means that its stream is gone, whatever the reason; nothing
//!   has to be remembered about streams that ended;
//! - a lease taken before [`Registry::drop_all`] never returns its stream to a slot.
//!
//! The lock is never held across an await. A stream that is only opened, used and closed by one
//! request never takes it, except to compare the generation.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::baton::{Baton, BatonKey};
use crate::resolve::SqlStore;
use crate::{Error, ErrorKind, Limits, Stream, clock, codes};

/// A stream and the SQL texts stored on it.
pub(crate) struct Held<T> {
    pub(crate) stream: T,
    pub(crate) sqls: SqlStore,
}

enum State<T> {
    Idle(Box<Held<T>>),
    /// A lease has the stream; it tells here when it is done.
    Busy(Arc<Notify>),
}

struct Slot<T> {
    /// The sequence of the only baton that may come next.
    sequence: u64,
    /// A baton is good only for the database that its stream was opened on.
    database: Arc<str>,
    state: State<T>,
}

/// A stream that was idle at `sequence` will be closed at `at`, if it still is.
struct Expiry {
    at: Instant,
    stream_id: u64,
    sequence: u64,
}

struct Inner<T> {
    slots: HashMap<u64, Slot<T>>,
    next_id: u64,
    /// Grows with each `drop_all`.
    generation: u64,
    /// In order of time, because the idle limit is the same for all.
    expiries: VecDeque<Expiry>,
    reaping: bool,
}

/// All HTTP streams of one server that wait for their next request or are in one.
pub(crate) struct Registry<T> {
    inner: Mutex<Inner<T>>,
    key: BatonKey,
    idle: Duration,
    max: usize,
}

enum Taken<T: Stream> {
    Lease(Lease<T>),
    Wait(OwnedNotified),
}

impl<T: Stream> Registry<T> {
    pub(crate) fn new(limits: &Limits) -> Self {
        let inner = Inner {
            slots: HashMap::new(),
            next_id: 1,
            generation: 0,
            expiries: VecDeque::new(),
            reaping: false,
        };
        Self {
            inner: Mutex::new(inner),
            key: BatonKey::random(),
            idle: limits.stream_idle,
            max: limits.http_streams,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().expect("no code that holds this lock panics")
    }

    /// Whether another stream may wait here; asked before one is opened.
    pub(crate) fn has_room(&self) -> Result<(), Error> {
        if self.lock().slots.len() < self.max {
            return Ok(());
        }
        let message = format!(
            "{} streams are open, which is the limit. Close streams that are not needed, or try \
             again later.",
            self.max
        );
        Err(Error::new(ErrorKind::Unavailable, codes::TOO_MANY_STREAMS, message))
    }

    /// The generation for [`lease`](Self::lease), to be read *before* the stream is opened: a
    /// stream opened while all streams are being dropped must not survive that.
    pub(crate) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// A lease of a stream just opened.
    pub(crate) fn lease(self: &Arc<Self>, stream: T, database: &str, generation: u64) -> Lease<T> {
        Lease {
            registry: Arc::clone(self),
            held: Some(Box::new(Held { stream, sqls: SqlStore::default() })),
            database: database.into(),
            generation,
            slot: None,
        }
    }

    /// A lease of the stream that a baton names. Waits for the request before on the same stream.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        baton: &str,
        database: &str,
    ) -> Result<Lease<T>, Error> {
        let baton = self.key.read(baton)?;
        let deadline = clock::now() + self.idle;
        loop {
            let done = match self.try_resume(baton, database)? {
                Taken::Lease(lease) => return Ok(lease),
                Taken::Wait(done) => done,
            };
            if timeout_at(deadline, done).await.is_err() {
                let message = "The previous request on this stream has not finished. Read its \
                               response to the end before sending the next request.";
                return Err(Error::request(codes::STREAM_BUSY, message));
            }
        }
    }

    fn try_resume(self: &Arc<Self>, baton: Baton, database: &str) -> Result<Taken<T>, Error> {
        let mut inner = self.lock();
        let generation = inner.generation;
        let Some(slot) = inner.slots.get_mut(&baton.stream_id) else {
            return Err(Error::stream_gone("it was closed or idle for too long"));
        };
        if *slot.database != *database {
            let message = "The baton belongs to a stream on another database. Send it with the \
                           address that it was received from.";
            return Err(Error::request(codes::INVALID_BATON, message));
        }
        if slot.sequence != baton.sequence {
            let message = "The baton was used before. Send the baton of the last response.";
            return Err(Error::request(codes::BATON_REUSED, message));
        }
        let done = Arc::new(Notify::new());
        match std::mem::replace(&mut slot.state, State::Busy(Arc::clone(&done))) {
            State::Idle(held) => {
                slot.sequence += 1;
                Ok(Taken::Lease(Lease {
                    registry: Arc::clone(self),
                    held: Some(held),
                    database: Arc::clone(&slot.database),
                    generation,
                    slot: Some(Taking { stream_id: baton.stream_id, done }),
                }))
            }
            State::Busy(done) => {
                // Made under the lock, so that no notification can slip in between.
                let wait = Arc::clone(&done).notified_owned();
                slot.state = State::Busy(done);
                Ok(Taken::Wait(wait))
            }
        }
    }

    /// Forgets all streams and closes the idle ones; a request that is under way finishes, but its
    /// stream ends with it. Ready when the idle ones have rolled back.
    pub(crate) async fn drop_all(&self) {
        let slots = {
            let mut inner = self.lock();
            inner.generation += 1;
            inner.expiries.clear();
            std::mem::take(&mut inner.slots)
        };
        for slot in slots.into_values() {
            match slot.state {
                State::Idle(held) => held.stream.close().await,
                State::Busy(done) => done.notify_waiters(),
            }
        }
    }

    /// Closes streams whose idle limit is over; ends when none is waiting.
    async fn reap(self: Arc<Self>) {
        loop {
            let at = {
                let mut inner = self.lock();
                let Some(next) = inner.expiries.front() else {
                    inner.reaping = false;
                    return;
                };
                next.at
            };
            sleep_until(at).await;
            for held in self.take_expired() {
                // On their own, so that one that is slow to roll back holds up no other.
                tokio::spawn(held.stream.close());
            }
        }
    }

    fn take_expired(&self) -> Vec<Box<Held<T>>> {
        let now = clock::now();
        let mut inner = self.lock();
        let mut expired = Vec::new();
        while inner.expiries.front().is_some_and(|next| next.at <= now) {
            let expiry = inner.expiries.pop_front().expect("just seen");
            let is_same = inner.slots.get(&expiry.stream_id).is_some_and(|slot| {
                slot.sequence == expiry.sequence && matches!(slot.state, State::Idle(_))
            });
            if !is_same {
                continue;
            }
            let slot = inner.slots.remove(&expiry.stream_id);
            if let Some(Slot { state: State::Idle(held), .. }) = slot {
                expired.push(held);
            }
        }
        expired
    }
}

/// The slot that a lease's stream came from or will go to.
struct Taking {
    stream_id: u64,
    done: Arc<Notify>,
}

/// The right to use a stream for one request. Dropping it drops the stream and its slot.
pub(crate) struct Lease<T: Stream> {
    registry: Arc<Registry<T>>,
    held: Option<Box<Held<T>>>,
    database: Arc<str>,
    generation: u64,
    slot: Option<Taking>,
}

impl<T: Stream> Lease<T> {
    /// The stream, unless it was closed.
    pub(crate) fn held(&mut self) -> Option<&mut Held<T>> {
        self.held.as_deref_mut()
    }

    /// Closes the stream; later requests find none.
    pub(crate) async fn close(&mut self) {
        if let Some(held) = self.held.take() {
            held.stream.close().await;
        }
    }

    /// The baton for the next request, and a slot for it; none if the stream ends here. The
    /// stream stays with the lease until [`park`](Self::park).
    pub(crate) fn reserve(&mut self) -> Option<String> {
        self.held.as_ref()?;
        let mut guard = self.registry.lock();
        let inner = &mut *guard;
        if inner.generation != self.generation {
            return None;
        }
        let (stream_id, sequence) = if let Some(taking) = &self.slot {
            let slot = inner.slots.get(&taking.stream_id).expect("a lease's slot stays");
            (taking.stream_id, slot.sequence)
        } else {
            let stream_id = inner.next_id;
            inner.next_id += 1;
            let done = Arc::new(Notify::new());
            let state = State::Busy(Arc::clone(&done));
            let slot = Slot { sequence: 1, database: Arc::clone(&self.database), state };
            inner.slots.insert(stream_id, slot);
            self.slot = Some(Taking { stream_id, done });
            (stream_id, 1)
        };
        Some(self.registry.key.write(Baton { stream_id, sequence }))
    }

    /// Puts the stream into its slot for the next request, or closes it if it has none.
    pub(crate) async fn park(mut self) {
        if self.put_back() {
            return;
        }
        self.close().await;
    }

    fn put_back(&mut self) -> bool {
        if self.held.is_none() || self.slot.is_none() {
            return false;
        }
        let mut guard = self.registry.lock();
        let inner = &mut *guard;
        if inner.generation != self.generation {
            return false;
        }
        let (Some(held), Some(taking)) = (self.held.take(), self.slot.take()) else {
            return false;
        };
        let slot = inner.slots.get_mut(&taking.stream_id).expect("a lease's slot stays");
        slot.state = State::Idle(held);
        let at = clock::now() + self.registry.idle;
        let expiry = Expiry { at, stream_id: taking.stream_id, sequence: slot.sequence };
        inner.expiries.push_back(expiry);
        if !std::mem::replace(&mut inner.reaping, true) {
            tokio::spawn(Arc::clone(&self.registry).reap());
        }
        drop(guard);
        taking.done.notify_waiters();
        true
    }
}

impl<T: Stream> Drop for Lease<T> {
    fn drop(&mut self) {
        if let Some(taking) = self.slot.take() {
            let mut inner = self.registry.lock();
            if inner.generation == self.generation {
                inner.slots.remove(&taking.stream_id);
            }
            drop(inner);
            taking.done.notify_waiters();
        }
    }
}
