//! What the handles and the threads of a journal share.
//!
//! Lock order: appender, then recent, then table or space. No file is touched while one of the last three is
//! held, and the listener is called without any.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use counterpart_core::{Epoch, Lsn};

use crate::{
    disk::Disk,
    error::{AppendError, ChangeError, PoisonError, WaitError},
    journal::Config,
    lock,
    recent::Recent,
    recover::Recovery,
    space::Space,
    table::Table,
    writer::reply,
};

/// What is appended next follows this.
pub(crate) struct Appender {
    pub last: Lsn,
    pub newest_epoch: Option<Epoch>,
}

/// What the handles and the threads share.
pub(crate) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub config: Config,
    pub appender: Mutex<Appender>,
    pub epoch: Mutex<Epoch>,
    pub recent: Mutex<Recent>,
    /// Wakes the journal thread.
    pub work: Condvar,
    /// Wakes those who wait for room, for hardening or for the end.
    pub progress: Condvar,
    pub table: Mutex<Table>,
    pub space: Space,
    pub commit: AtomicU64,
    pub first: AtomicU64,
    pub last: AtomicU64,
    pub hardened: AtomicU64,
}

impl Shared {
    pub fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: Config,
        table: Table,
        recovery: &Recovery,
    ) -> Shared {
        let end = recovery.end;
        Shared {
            space: Space::new(Arc::clone(&disk), dir, config.segment_bytes),
            disk,
            dir: dir.to_owned(),
            appender: Mutex::new(Appender { last: end, newest_epoch: recovery.end_epoch }),
            epoch: Mutex::new(recovery.end_epoch.unwrap_or_default()),
            recent: Mutex::new(Recent::new(end, config.tail_bytes)),
            config,
            work: Condvar::new(),
            progress: Condvar::new(),
            commit: AtomicU64::new(0),
            first: AtomicU64::new(table.first().0),
            last: AtomicU64::new(end.0),
            hardened: AtomicU64::new(end.0),
            table: Mutex::new(table),
        }
    }

    pub fn last(&self) -> Lsn {
        Lsn(self.last.load(Ordering::Acquire))
    }

    pub fn publish_hardened(&self, lsn: Lsn) {
        self.hardened.store(lsn.0, Ordering::Release);
    }

    /// After a change, everything up to `last` is hardened and there is nothing else.
    pub fn publish_end(&self, last: Lsn) {
        self.last.store(last.0, Ordering::Release);
        self.publish_hardened(last);
    }

    pub fn publish_first(&self, table: &Table) {
        self.first.store(table.first().0, Ordering::Release);
    }

    /// The journal thread ends, for good or because of `poison`: everybody who waits is told.
    pub fn end(&self, poison: Option<Arc<PoisonError>>) {
        let mut recent = lock(&self.recent);
        (recent.poisoned, recent.stopped) = (poison, true);
        let jobs = std::mem::take(&mut recent.jobs);
        let refusal = Refusal::of(&recent).expect("the journal has just ended");
        self.progress.notify_all();
        drop(recent);
        for job in jobs {
            reply(&job, Err(refusal.clone().into()));
        }
        self.space.stop();
    }

    /// Waits until something was hardened or changed.
    pub fn wait<'a>(&self, mut recent: MutexGuard<'a, Recent>) -> MutexGuard<'a, Recent> {
        recent.waiters += 1;
        let mut recent =
            self.progress.wait(recent).unwrap_or_else(std::sync::PoisonError::into_inner);
        recent.waiters -= 1;
        recent
    }

    /// Wakes the journal thread if it sleeps; otherwise it looks again by itself, and waking it costs a system call.
    pub fn wake_writer(&self, mut recent: MutexGuard<'_, Recent>) {
        let asleep = std::mem::take(&mut recent.asleep);
        // Whoever wakes needs the lock at once.
        drop(recent);
        if asleep {
            self.work.notify_one();
        }
    }
}

/// Why nothing can be changed any more.
#[derive(Clone)]
pub(crate) enum Refusal {
    Poisoned(Arc<PoisonError>),
    Stopped,
}

impl Refusal {
    pub fn of(recent: &Recent) -> Option<Refusal> {
        match &recent.poisoned {
            Some(error) => Some(Refusal::Poisoned(Arc::clone(error))),
            None => (recent.stopping || recent.stopped).then_some(Refusal::Stopped),
        }
    }
}

macro_rules! refused_with {
    ($($error:ident),*) => {$(
        impl From<Refusal> for $error {
            fn from(refusal: Refusal) -> $error {
                match refusal {
                    Refusal::Poisoned(error) => $error::Poisoned(error),
                    Refusal::Stopped => $error::Stopped,
                }
            }
        }
    )*};
}

refused_with!(AppendError, ChangeError, WaitError);
