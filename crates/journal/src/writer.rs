//! The journal thread: takes all that waits, writes it, syncs once, tells.
//!
//! It never retries a failed write or fsync: it poisons the journal, wakes everybody who waits, and ends.

use std::sync::Arc;

use counterpart_core::{Lsn, record::Record};

use crate::{
    error::{ChangeError, PoisonError},
    files::Files,
    journal::Progress,
    lock,
    recent::{Change, Job, Recent},
    shared::Shared,
};

/// At most this many bytes are written per fsync: a torn write can leave no more behind, and a transaction that
/// arrives meanwhile waits for no more.
const BATCH_BYTES: usize = 8 << 20;

/// Told of every advance, on the journal thread.
pub(crate) type Listener = Box<dyn Fn(Progress) + Send + Sync>;

enum Turn {
    Write(Vec<Record>),
    Change(Job),
    Retain,
    Stop,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    files: Files,
    listener: Listener,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, files: Files, listener: Listener) -> Writer {
        let writer = Writer { shared, files, listener };
        writer.settle();
        writer
    }

    /// The thread's body.
    pub fn run(self) {
        let mut writer = Some(self);
        while let Some(awake) = writer {
            let turn = awake.next_turn();
            writer = awake.perform(turn);
        }
    }

    /// Does one thing if there is one to do, and never waits. Whether it did, and the writer unless it has ended.
    #[cfg(feature = "simulated")]
    pub fn pump(self) -> (bool, Option<Writer>) {
        let turn = Writer::ready(&mut lock(&self.shared.recent));
        match turn {
            Some(turn) => (true, self.perform(turn)),
            None => (false, Some(self)),
        }
    }

    /// `None` when that was the last thing this journal does.
    fn perform(mut self, turn: Turn) -> Option<Writer> {
        let stop = matches!(turn, Turn::Stop);
        let done = match turn {
            Turn::Write(records) => self.write(&records),
            Turn::Change(job) => self.change(job),
            Turn::Retain => self.files.retain(),
            Turn::Stop => self.files.close(self.shared.last().next()),
        };
        if let Err(error) = done {
            self.poison(error);
            return None;
        }
        if stop {
            self.shared.end(None);
            return None;
        }
        self.settle();
        Some(self)
    }

    /// What to do next. Records first: a change finds everything written.
    fn ready(recent: &mut Recent) -> Option<Turn> {
        if recent.waiting > 0 {
            return Some(Turn::Write(recent.unwritten(BATCH_BYTES)));
        }
        if let Some(job) = recent.jobs.pop_front() {
            return Some(Turn::Change(job));
        }
        if recent.stopping {
            return Some(Turn::Stop);
        }
        std::mem::take(&mut recent.retention.fresh).then_some(Turn::Retain)
    }

    /// Waits until there is something to do.
    fn next_turn(&self) -> Turn {
        let mut recent = lock(&self.shared.recent);
        loop {
            if let Some(turn) = Writer::ready(&mut recent) {
                return turn;
            }
            recent.asleep = true;
            recent =
                self.shared.work.wait(recent).unwrap_or_else(std::sync::PoisonError::into_inner);
            recent.asleep = false;
        }
    }

    fn write(&mut self, records: &[Record]) -> Result<(), PoisonError> {
        let mut rest = records;
        while let Some(first) = rest.first() {
            let fit = self.files.fit(rest);
            if fit == 0 {
                let header = first.header();
                self.files.switch(header.lsn, header.epoch, header.length as u64)?;
                continue;
            }
            let (now, later) = rest.split_at(fit);
            self.files.write(now)?;
            self.harden(now);
            rest = later;
        }
        Ok(())
    }

    fn harden(&self, records: &[Record]) {
        let lsn = records[records.len() - 1].lsn();
        let bytes = records.iter().map(|r| r.bytes().len()).sum();
        let mut recent = lock(&self.shared.recent);
        recent.harden(lsn, bytes);
        self.shared.publish_hardened(lsn);
        if recent.waiters > 0 {
            self.shared.progress.notify_all();
        }
        drop(recent);
        (self.listener)(Progress::Hardened(lsn));
    }

    /// Performs a change. The caller of the journal holds the appender's lock meanwhile, so nothing is appended.
    fn change(&mut self, job: Job) -> Result<(), PoisonError> {
        let next = self.shared.last().next();
        let epoch = *lock(&self.shared.epoch);
        if let Change::CutAfter(lsn) = job.change {
            let (first, last) = (lock(&self.shared.table).first(), self.shared.last());
            if lsn.next() < first {
                // Retention got there after the caller had looked.
                reply(&job, Err(ChangeError::OutOfRange { lsn, first, last }));
                return Ok(());
            }
        }
        let done = match job.change {
            Change::CutAfter(lsn) => self.files.cut_after(lsn).map(|()| lsn),
            Change::Reset { after, session } => {
                self.files.reset(after, session, epoch).map(|()| after)
            }
            Change::Session(session) => {
                self.files.set_session(session, next, epoch).map(|()| Lsn(next.0 - 1))
            }
            Change::Roll => self.files.switch(next, epoch, 0).map(|()| Lsn(next.0 - 1)),
        };
        match done {
            Ok(last) => {
                let mut recent = lock(&self.shared.recent);
                match job.change {
                    Change::CutAfter(lsn) => recent.cut_after(lsn),
                    Change::Reset { after, .. } => recent.reset(after),
                    Change::Session(_) | Change::Roll => {}
                }
                self.shared.publish_end(last);
                self.shared.publish_first(&lock(&self.shared.table));
                drop(recent);
                reply(&job, Ok(()));
                Ok(())
            }
            Err(error) => {
                // The journal is poisoned first, so that whoever asked cannot go on appending.
                lock(&self.shared.recent).jobs.push_front(job);
                Err(error)
            }
        }
    }

    fn settle(&self) {
        let recent = lock(&self.shared.recent);
        self.shared.space.settle(self.files.left(), recent.waiting as u64);
    }

    fn poison(self, error: PoisonError) {
        // The listener logs it, once, in its own words.
        let error = Arc::new(error);
        self.shared.end(Some(Arc::clone(&error)));
        (self.listener)(Progress::Poisoned(error));
    }
}

/// Answers whoever waits for a change.
pub(crate) fn reply(job: &Job, answer: Result<(), ChangeError>) {
    // A caller that is gone (its thread panicked) needs no answer.
    drop(job.done.send(answer));
}
