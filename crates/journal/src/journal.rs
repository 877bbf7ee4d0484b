//! The journal: one append-only sequence of records, hardened by one thread, read by many.
//!
//! A handle only queues, asks and waits; what touches files is the journal thread's, and its lock order stands in
//! the module of what both share.

use std::{
    path::Path,
    sync::{Arc, MutexGuard, atomic::Ordering, mpsc::sync_channel},
};

use counterpart_core::{
    Epoch, Lsn, SessionId,
    record::{Draft, Record, Stamp},
};

use crate::{
    disk::Disk,
    error::{AppendError, ChangeError, OpenError, PoisonError, ReserveError, WaitError},
    files::Files,
    lock,
    recent::{Change, Job, Recent, Retention},
    recover::Recovery,
    reset::Place,
    shared::{Appender, Refusal, Shared},
    space::Shortage,
    threads::Threads,
    writer::{Listener, Writer},
};

/// Sizes, all in bytes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Size of a segment. A record that is larger gets a segment of its own size.
    pub segment_bytes: u64,
    /// Records that are appended but not hardened: appending blocks above it.
    pub queue_bytes: usize,
    /// Hardened records that are kept in memory for senders, together with those that are not hardened.
    pub tail_bytes: usize,
    /// Size on the disk above which old segments are removed.
    pub retention_bytes: u64,
    /// Known to have been hardened: a journal that ends before has lost something, whatever its own files say.
    pub must_reach: Lsn,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            segment_bytes: 16 << 20,
            queue_bytes: 24 << 20,
            tail_bytes: 8 << 20,
            retention_bytes: 1 << 30,
            must_reach: Lsn::ZERO,
        }
    }
}

/// What the listener is told.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Everything up to here is hardened.
    Hardened(Lsn),
    /// A write or fsync failed; nothing is hardened any more.
    Poisoned(Arc<PoisonError>),
}

/// A handle of the journal; cheap to clone. When the last one is dropped, what waits is written and the threads end.
#[derive(Clone)]
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
    threads: Arc<Threads>,
}

impl Journal {
    /// Opens the journal in `dir`, making an empty one if there is none: verifies every record, cuts a torn tail.
    ///
    /// `listener` is told of progress on the journal thread: it must be quick, and must neither append nor wait.
    ///
    /// # Errors
    /// Whatever was hardened and does not verify; see [`OpenError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: Config,
        session: SessionId,
        listener: Listener,
    ) -> Result<(Journal, Recovery), OpenError> {
        let (shared, writer, recovery) = prepare(disk, dir, config, session, listener)?;
        let threads = Threads::start(Arc::clone(&shared), writer)
            .map_err(OpenError::io("start a thread for the journal in", dir))?;
        Ok((Journal { shared, threads: Arc::new(threads) }, recovery))
    }

    /// Makes an empty journal in `dir` that goes on after `after`, whatever was there before.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: Config,
        session: SessionId,
        after: Lsn,
        listener: Listener,
    ) -> Result<Journal, OpenError> {
        Place { disk: &disk, dir, segment_bytes: config.segment_bytes }.reset(
            after,
            session,
            Epoch::default(),
        )?;
        Ok(Journal::open(disk, dir, config, session, listener)?.0)
    }

    /// Waits until something was hardened or changed; a journal without threads does it itself.
    fn wait<'a>(&'a self, recent: MutexGuard<'a, Recent>) -> MutexGuard<'a, Recent> {
        #[cfg(feature = "simulated")]
        if self.threads.are_pumped() {
            drop(recent);
            self.threads.pump();
            return lock(&self.shared.recent);
        }
        self.shared.wait(recent)
    }

    /// Appends a record of this server: gives it the next LSN and the epoch and commit LSN known now. Blocks while
    /// too much waits to be hardened. Returns at once otherwise; the record is hardened later.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`] or [`AppendError::Stopped`]; nothing was appended.
    pub fn append(&self, draft: Draft) -> Result<Lsn, AppendError> {
        let mut appender = lock(&self.shared.appender);
        let lsn = appender.last.next();
        let commit = self.shared.commit.load(Ordering::Acquire);
        let epoch = *lock(&self.shared.epoch);
        let epoch = appender.newest_epoch.map_or(epoch, |newest| newest.max(epoch));
        // Sealed under the appender's lock, which only other appenders wait for: the order of the LSNs is the
        // order of the queue, and a record must have its LSN before it can be sealed.
        let record = draft.seal(Stamp { lsn, commit_lsn: Lsn(commit.min(lsn.0 - 1)), epoch });
        self.push(&mut appender, vec![record])?;
        Ok(lsn)
    }

    /// Appends records as another server sealed them; all of them or, on an error, none. Returns the last LSN.
    ///
    /// # Errors
    /// [`AppendError::Gap`] or [`AppendError::EpochBackwards`] if they do not continue this journal.
    pub fn append_records(&self, records: Vec<Record>) -> Result<Lsn, AppendError> {
        let mut appender = lock(&self.shared.appender);
        let mut expected = appender.last;
        let mut newest = appender.newest_epoch;
        for record in &records {
            expected = expected.next();
            let (lsn, epoch) = (record.lsn(), record.header().epoch);
            if lsn != expected {
                return Err(AppendError::Gap { expected, found: lsn });
            }
            if let Some(newest) = newest.filter(|&newest| newest > epoch) {
                return Err(AppendError::EpochBackwards { lsn, found: epoch, newest });
            }
            newest = Some(epoch);
        }
        self.push(&mut appender, records)?;
        Ok(appender.last)
    }

    /// Whether so much room is left that an [`append`](Self::append) of a small record does not wait, nor do some others.
    #[must_use]
    pub fn has_room(&self) -> bool {
        lock(&self.shared.recent).waiting <= self.shared.config.queue_bytes / 2
    }

    /// Has segments allocated ahead from now on, if not before: whoever recovers may need the room on the disk first.
    pub fn make_ready(&self) {
        self.shared.space.make_ready();
    }

    /// Queues records that continue the journal, all at once when there is room.
    fn push(&self, appender: &mut Appender, records: Vec<Record>) -> Result<(), AppendError> {
        let Some(newest) = records.last() else { return Ok(()) };
        let (last, epoch) = (newest.lsn(), newest.header().epoch);
        let bytes: usize = records.iter().map(|r| r.bytes().len()).sum();
        let mut recent = lock(&self.shared.recent);
        loop {
            if let Some(refusal) = Refusal::of(&recent) {
                return Err(refusal.into());
            }
            // More than the bound at once is let in when nothing waits; it could never be let in otherwise.
            if recent.waiting == 0 || recent.waiting + bytes <= self.shared.config.queue_bytes {
                break;
            }
            recent = self.wait(recent);
        }
        for record in records {
            recent.push(record);
        }
        self.shared.space.used(bytes);
        self.shared.last.store(last.0, Ordering::Release);
        self.shared.wake_writer(recent);
        (appender.last, appender.newest_epoch) = (last, Some(epoch));
        Ok(())
    }

    /// The epoch of the records that are appended from now on.
    ///
    /// # Panics
    /// If it is lower than that of a record in the journal: only a server whose epoch is the highest may append.
    pub fn set_epoch(&self, epoch: Epoch) {
        let appender = lock(&self.shared.appender);
        if let Some(newest) = appender.newest_epoch {
            assert!(epoch >= newest, "epoch {epoch} is lower than {newest} of the last record");
        }
        *lock(&self.shared.epoch) = epoch;
    }

    /// The commit LSN that is known now; a lower one than before is ignored.
    pub fn set_commit_lsn(&self, lsn: Lsn) {
        self.shared.commit.fetch_max(lsn.0, Ordering::AcqRel);
    }

    /// The last record appended, hardened or not.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.shared.last()
    }

    /// Everything up to here is hardened.
    #[must_use]
    pub fn hardened(&self) -> Lsn {
        Lsn(self.shared.hardened.load(Ordering::Acquire))
    }

    /// The oldest record that is kept; one above [`last`](Self::last) if there is none.
    #[must_use]
    pub fn first(&self) -> Lsn {
        Lsn(self.shared.first.load(Ordering::Acquire))
    }

    /// Makes sure that `bytes` more can be appended without another allocation. Only atomics when that is so.
    ///
    /// # Errors
    /// [`ReserveError::DiskFull`], before anything is accepted that the disk could not take.
    pub fn reserve(&self, bytes: u64) -> Result<(), ReserveError> {
        self.shared.space.reserve(bytes).map_err(|shortage| match shortage {
            Shortage::Full { needed, free } => ReserveError::DiskFull { needed, free },
            Shortage::Io(source) => ReserveError::Io { dir: self.shared.dir.clone(), source },
        })?;
        match self.poisoned() {
            Some(error) => Err(ReserveError::Poisoned(error)),
            None => Ok(()),
        }
    }

    /// Takes everything above `lsn` away, durably; the next record is `lsn` + 1. Waits until it is done.
    ///
    /// [`last`](Self::last) and [`hardened`](Self::hardened) go back to `lsn`.
    ///
    /// # Errors
    /// [`ChangeError::OutOfRange`] if the journal does not reach from before `lsn` to it.
    pub fn cut_after(&self, lsn: Lsn) -> Result<(), ChangeError> {
        let mut appender = lock(&self.shared.appender);
        let (first, last) = (self.first(), appender.last);
        if lsn.next() < first || lsn > last {
            return Err(ChangeError::OutOfRange { lsn, first, last });
        }
        if lsn == last {
            return self.wait_hardened(lsn).map_err(|error| match error {
                WaitError::Poisoned(error) => ChangeError::Poisoned(error),
                WaitError::Stopped => ChangeError::Stopped,
            });
        }
        self.change(Change::CutAfter(lsn))?;
        // The epoch of what is left may be lower; the records that follow tell.
        (appender.last, appender.newest_epoch) = (lsn, None);
        Ok(())
    }

    /// Empties the journal, durably; it goes on after `after`, in `session`. Waits until it is done.
    ///
    /// # Errors
    /// When the journal is poisoned or stopped. A crash leaves the old journal or the new.
    pub fn reset(&self, after: Lsn, session: SessionId) -> Result<(), ChangeError> {
        let mut appender = lock(&self.shared.appender);
        self.change(Change::Reset { after, session })?;
        (appender.last, appender.newest_epoch) = (after, None);
        *lock(&self.shared.epoch) = Epoch::default();
        self.shared.commit.store(after.0, Ordering::Release);
        Ok(())
    }

    /// Goes on in a segment of another session, durably, keeping what is there. Waits until it is done.
    ///
    /// # Errors
    /// When the journal is poisoned or stopped.
    pub fn set_session(&self, session: SessionId) -> Result<(), ChangeError> {
        let _appender = lock(&self.shared.appender);
        self.change(Change::Session(session))
    }

    /// Has the journal thread change something. The appender's lock is held by the caller.
    pub(crate) fn change(&self, change: Change) -> Result<(), ChangeError> {
        let (done, answer) = sync_channel(1);
        {
            let mut recent = lock(&self.shared.recent);
            if let Some(refusal) = Refusal::of(&recent) {
                return Err(refusal.into());
            }
            recent.jobs.push_back(Job { change, done });
            self.shared.wake_writer(recent);
        }
        #[cfg(feature = "simulated")]
        self.threads.pump_all();
        answer.recv().expect("the journal thread answers every job before it ends")
    }

    /// Records below `from` are not needed any more: they are removed when the journal exceeds its size limit.
    pub fn retain(&self, from: Lsn) {
        self.retain_needed(from, from);
    }

    /// Records from `needed` on are never removed (redo starts there). Those from `wanted` on are what a connected
    /// mirror still lacks; they are kept as long as the size limit allows, and removing one is logged.
    pub fn retain_needed(&self, needed: Lsn, wanted: Lsn) {
        let mut recent = lock(&self.shared.recent);
        let Retention { needed: before, wanted: wanted_before, .. } = recent.retention;
        if (before, wanted_before) == (needed, wanted) {
            return;
        }
        recent.retention = Retention { needed, wanted, fresh: true };
        self.shared.wake_writer(recent);
    }

    /// Bytes that the journal takes on the disk, without the spare segment.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        lock(&self.shared.table).allocated()
    }

    /// Waits until everything up to `lsn` is hardened, appended or not.
    ///
    /// # Errors
    /// If the journal ends before.
    pub fn wait_hardened(&self, lsn: Lsn) -> Result<(), WaitError> {
        if self.hardened() >= lsn {
            return Ok(());
        }
        let mut recent = lock(&self.shared.recent);
        while recent.hardened < lsn {
            if recent.stopped {
                return Err(Refusal::of(&recent).expect("a stopped journal refuses").into());
            }
            recent = self.wait(recent);
        }
        Ok(())
    }

    /// The error that poisoned the journal, if one did.
    #[must_use]
    pub fn poisoned(&self) -> Option<Arc<PoisonError>> {
        lock(&self.shared.recent).poisoned.clone()
    }

    /// Hardens what was appended and ends the threads. Other handles can still read; appending is refused.
    ///
    /// # Errors
    /// The error that poisoned the journal, now or earlier.
    pub fn flush_and_stop(self) -> Result<(), Arc<PoisonError>> {
        self.threads.stop();
        self.poisoned().map_or(Ok(()), Err)
    }
}

/// What the files hold, and who goes on with it.
fn prepare(
    disk: Arc<dyn Disk>,
    dir: &Path,
    config: Config,
    session: SessionId,
    listener: Listener,
) -> Result<(Arc<Shared>, Writer, Recovery), OpenError> {
    let place = Place { disk: &disk, dir, segment_bytes: config.segment_bytes };
    let (table, recovery) = place.recover(session, config.must_reach)?;
    let shared = Arc::new(Shared::new(disk, dir, config, table, &recovery));
    let files = Files::open(Arc::clone(&shared)).map_err(|error| OpenError::Io {
        doing: error.doing,
        file: error.file,
        source: error.source,
    })?;
    let writer = Writer::new(Arc::clone(&shared), files, listener);
    Ok((shared, writer, recovery))
}

#[cfg(feature = "simulated")]
impl Journal {
    /// [`open`](Self::open) without threads, for a world in which one thread is everybody: nothing is written before
    /// [`pump`](Self::pump), and whatever would wait pumps. Dropping it is what killing a process is.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_pumped(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: Config,
        session: SessionId,
        listener: Listener,
    ) -> Result<(Journal, Recovery), OpenError> {
        let (shared, writer, recovery) = prepare(disk, dir, config, session, listener)?;
        let threads = Arc::new(Threads::none(Arc::clone(&shared), writer));
        Ok((Journal { shared, threads }, recovery))
    }

    /// Does the next thing that the journal's threads would do; whether there was one.
    ///
    /// # Panics
    /// If the journal has threads, which do it themselves.
    #[must_use]
    pub fn pump(&self) -> bool {
        assert!(self.threads.are_pumped(), "this journal has threads of its own");
        self.threads.pump()
    }
}
