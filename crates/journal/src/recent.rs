//! The newest records, in memory: what waits to be written, and what senders will ask for next.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc::SyncSender},
};

use counterpart_core::{Lsn, SessionId, record::Record};

use crate::error::{ChangeError, PoisonError};

/// Something for the journal thread to do besides writing records.
pub(crate) struct Job {
    pub change: Change,
    pub done: SyncSender<Result<(), ChangeError>>,
}

/// What a [`Job`] changes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    CutAfter(Lsn),
    Reset {
        after: Lsn,
        session: SessionId,
    },
    Session(SessionId),
    /// Go on in a new segment.
    Roll,
}

/// What may be removed; see `Journal::retain_needed`.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Retention {
    pub needed: Lsn,
    pub wanted: Lsn,
    /// The journal thread has not looked at it yet.
    pub fresh: bool,
}

/// The newest records and everything that is exchanged with the journal thread.
///
/// - `records` are contiguous; the first has LSN `before` + 1, the last is the journal's last.
/// - A record leaves only when it is hardened, so that it is in a file whenever it is not here.
pub(crate) struct Recent {
    records: VecDeque<Record>,
    before: Lsn,
    bytes: usize,
    tail_bytes: usize,
    pub hardened: Lsn,
    /// Bytes of the records above `hardened`.
    pub waiting: usize,
    pub jobs: VecDeque<Job>,
    pub retention: Retention,
    pub stopping: bool,
    pub stopped: bool,
    pub poisoned: Option<Arc<PoisonError>>,
    /// The journal thread sleeps and must be woken; otherwise it will look by itself.
    pub asleep: bool,
    /// Threads that wait for room or for hardening; nobody is woken when there are none.
    pub waiters: usize,
}

impl Recent {
    pub fn new(last: Lsn, tail_bytes: usize) -> Recent {
        Recent {
            records: VecDeque::new(),
            before: last,
            bytes: 0,
            tail_bytes,
            hardened: last,
            waiting: 0,
            jobs: VecDeque::new(),
            retention: Retention::default(),
            stopping: false,
            stopped: false,
            poisoned: None,
            asleep: false,
            waiters: 0,
        }
    }

    pub fn last(&self) -> Lsn {
        Lsn(self.before.0 + self.records.len() as u64)
    }

    fn place(&self, lsn: Lsn) -> usize {
        usize::try_from(lsn.since(self.before)).expect("the records in memory can be counted")
    }

    pub fn push(&mut self, record: Record) {
        assert_eq!(record.lsn(), self.last().next(), "records are appended in order");
        self.bytes += record.bytes().len();
        self.waiting += record.bytes().len();
        self.records.push_back(record);
        self.evict();
    }

    /// The oldest records that are not hardened, up to `max_bytes` or one record.
    pub fn unwritten(&self, max_bytes: usize) -> Vec<Record> {
        self.take_from(self.place(self.hardened), max_bytes)
    }

    /// The records after `after`, up to `max_bytes` or one record; `None` if they are not all here.
    pub fn after(&self, after: Lsn, max_bytes: usize) -> Option<Vec<Record>> {
        if after < self.before {
            return None;
        }
        Some(self.take_from(self.place(after), max_bytes))
    }

    /// Bytes of the records after `after`; `None` if they are not all here.
    pub fn bytes_after(&self, after: Lsn) -> Option<u64> {
        if after < self.before {
            return None;
        }
        let place = self.place(after).min(self.records.len());
        Some(self.records.range(place..).map(|record| record.bytes().len() as u64).sum())
    }

    fn take_from(&self, place: usize, max_bytes: usize) -> Vec<Record> {
        let mut bytes = 0;
        let fits = |record: &&Record| {
            let first = bytes == 0;
            bytes += record.bytes().len();
            first || bytes <= max_bytes
        };
        self.records.range(place.min(self.records.len())..).take_while(fits).cloned().collect()
    }

    /// Notes that everything up to `lsn`, `bytes` more than before, is hardened.
    pub fn harden(&mut self, lsn: Lsn, bytes: usize) {
        self.hardened = lsn;
        self.waiting -= bytes;
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > self.tail_bytes && self.before < self.hardened {
            let gone = self.records.pop_front().expect("a hardened record above `before` is here");
            self.bytes -= gone.bytes().len();
            self.before = gone.lsn();
        }
    }

    /// Forgets the records above `lsn`; all were hardened.
    pub fn cut_after(&mut self, lsn: Lsn) {
        while self.last() > lsn {
            match self.records.pop_back() {
                Some(record) => self.bytes -= record.bytes().len(),
                None => self.before = lsn,
            }
        }
        self.hardened = lsn;
    }

    /// Forgets everything; the journal goes on after `lsn`.
    pub fn reset(&mut self, lsn: Lsn) {
        self.records.clear();
        (self.before, self.hardened, self.bytes, self.waiting) = (lsn, lsn, 0, 0);
        // What the old sequence needed says nothing about the new one, whose numbers may be lower.
        self.retention = Retention::default();
    }
}
