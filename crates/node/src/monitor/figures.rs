//! The figures of one server, as they are noted where things happen.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use counterpart_core::ServerId;

use super::{
    histogram::{Histogram, Peak},
    peaks::Peaks,
};

/// See the module's head. Counters begin at 0 when the server starts.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Transactions that were committed here, as principal or standalone.
    pub(crate) transactions: AtomicU64,
    /// Bytes that went to partners, and that came from them.
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    /// Streams of clients that are open.
    streams: AtomicU64,
    /// Checkpoints that were begun, and how long they took together, in microseconds.
    checkpoints: AtomicU64,
    checkpoint_micros: AtomicU64,
    /// From hardened here to final: what confirming by the mirror added to a commit.
    pub(crate) overhead: Histogram,
    /// On a mirror: from hardened here to applied.
    pub(crate) applying: Histogram,
    /// On a mirror: events that are hardened and not applied.
    pub(crate) redo_queue: Peak,
    /// What is known of each mirror of a principal.
    mirrors: Mutex<BTreeMap<ServerId, Arc<OfMirror>>>,
    /// The peaks of the last minute.
    pub(crate) peaks: Mutex<Peaks>,
}

/// A mirror's figures, as its principal notes them.
#[derive(Debug, Default)]
pub(crate) struct OfMirror {
    /// From hardened here to hardened there, as it is known here.
    pub(crate) sending: Histogram,
    /// Events that are hardened here and not there.
    pub(crate) send_queue: Peak,
    /// The uptime in microseconds since which the oldest of them has waited; 0 if there is none.
    oldest_since: AtomicU64,
    /// How often the pair has left `SYNCHRONIZED`.
    left: AtomicU64,
}

impl OfMirror {
    /// The oldest event that is not there has waited since this uptime.
    pub(crate) fn note_oldest(&self, since: Option<Duration>) {
        let micros =
            since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX).max(1));
        self.oldest_since.store(micros, Relaxed);
    }

    /// The pair has left `SYNCHRONIZED`, for however short a time.
    pub(crate) fn note_left(&self) {
        self.left.fetch_add(1, Relaxed);
    }

    /// How often it has.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Relaxed)
    }

    /// For how long it has waited.
    pub(crate) fn oldest(&self, now: Duration) -> Duration {
        match self.oldest_since.load(Relaxed) {
            0 => Duration::ZERO,
            since => now.saturating_sub(Duration::from_micros(since)),
        }
    }
}

impl Figures {
    /// A client has opened a stream.
    pub(crate) fn stream_opened(&self) {
        self.streams.fetch_add(1, Relaxed);
    }

    /// A stream has ended.
    pub(crate) fn stream_closed(&self) {
        self.streams.fetch_sub(1, Relaxed);
    }

    /// Streams that are open.
    pub(crate) fn streams(&self) -> u64 {
        self.streams.load(Relaxed)
    }

    /// A checkpoint took this long.
    pub(crate) fn checkpoint(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.checkpoints.fetch_add(1, Relaxed);
        self.checkpoint_micros.fetch_add(micros, Relaxed);
    }

    /// The number of checkpoints, and how long they took together.
    pub(crate) fn checkpoints(&self) -> (u64, Duration) {
        let micros = self.checkpoint_micros.load(Relaxed);
        (self.checkpoints.load(Relaxed), Duration::from_micros(micros))
    }

    /// A mirror's figures, which begin when it is asked for them first.
    pub(crate) fn of(&self, mirror: ServerId) -> Arc<OfMirror> {
        Arc::clone(self.mirrors().entry(mirror).or_default())
    }

    /// All mirrors' figures.
    pub(crate) fn of_mirrors(&self) -> Vec<(ServerId, Arc<OfMirror>)> {
        self.mirrors().iter().map(|(server, of)| (*server, Arc::clone(of))).collect()
    }

    fn mirrors(&self) -> MutexGuard<'_, BTreeMap<ServerId, Arc<OfMirror>>> {
        self.mirrors.lock().expect("no holder of this lock panics")
    }
}
