//! Space on the disk, taken before it is needed: a full disk must be noticed before a commit is accepted.
//!
//! Some spare segments are kept pre-allocated by a thread of its own, more are made when someone reserves more.
//! Spares hold no records and are removed at the next start.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::{
    disk::{Disk, DiskFile, is_full, remove_if_there},
    lock,
    segment::{SEGMENT_HEADER_LEN, spare_name},
};

/// A segment cannot be filled to the last byte when the next record does not fit; no record of this server is
/// longer (a chunk and one page of 64 KiB).
const MAX_WASTE: u64 = (1 << 20) + (128 << 10);

/// Spares that are kept. With one, whoever reserves as much as a connection caches would often have to make another.
const AHEAD: usize = 2;

/// How long the thread that makes spares leaves the disk and the processor to others after each step.
const PAUSE: Duration = Duration::from_millis(2);

/// A pre-allocated file that is not yet a segment.
pub(crate) struct Spare {
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    pub capacity: u64,
}

/// Bytes of records that surely fit into a segment of `capacity` bytes.
fn usable(capacity: u64) -> u64 {
    (capacity - MAX_WASTE.min(capacity / 2)).saturating_sub(SEGMENT_HEADER_LEN)
}

#[derive(Default)]
struct Spares {
    ready: VecDeque<Spare>,
    made: u64,
    wanted: bool,
    stopping: bool,
}

pub(crate) struct Space {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    spares: Mutex<Spares>,
    /// Held while a file is allocated, so that `spares` never is.
    allocating: Mutex<()>,
    /// Those who wait for that lock, and cannot go on before.
    waiting: AtomicU32,
    wake: Condvar,
    /// Bytes that can be appended before another segment must be allocated.
    available: AtomicI64,
}

/// What [`Space::reserve`] met.
pub(crate) enum Shortage {
    Full { needed: u64, free: u64 },
    Io(io::Error),
}

impl Space {
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, segment_bytes: u64) -> Space {
        Space {
            disk,
            dir: dir.to_owned(),
            segment_bytes,
            spares: Mutex::default(),
            allocating: Mutex::new(()),
            waiting: AtomicU32::new(0),
            wake: Condvar::new(),
            available: AtomicI64::new(0),
        }
    }

    /// Sets what is available: what the current segment has left, beyond what waits to be written, and the spares.
    pub fn settle(&self, left: u64, waiting: u64) {
        let spares = lock(&self.spares);
        let spare: u64 = spares.ready.iter().map(|s| usable(s.capacity)).sum();
        self.available.store(signed(left + spare) - signed(waiting), Ordering::Release);
    }

    /// Notes that `bytes` were appended.
    pub fn used(&self, bytes: usize) {
        self.available.fetch_sub(signed(bytes as u64), Ordering::AcqRel);
    }

    /// Whether `bytes` fit, with a margin for what others append at the same time.
    fn has(&self, bytes: u64) -> bool {
        let margin = (self.segment_bytes / 4).min(16 << 20);
        self.available.load(Ordering::Acquire) >= signed(bytes.saturating_add(margin))
    }

    /// Allocates until `bytes` more can be appended. Only atomics when there is enough.
    pub fn reserve(&self, bytes: u64) -> Result<(), Shortage> {
        while !self.has(bytes) {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let guard = lock(&self.allocating);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            // Someone else may have allocated while this thread waited for the lock.
            if self.has(bytes) {
                break;
            }
            match self.allocate(self.segment_bytes, &|| {}) {
                Ok(spare) => self.keep(spare),
                Err(error) if is_full(&error) => {
                    let free = self.disk.free_bytes(&self.dir).map_err(Shortage::Io)?;
                    return Err(Shortage::Full { needed: self.segment_bytes.max(bytes), free });
                }
                Err(error) => return Err(Shortage::Io(error)),
            }
            drop(guard);
        }
        Ok(())
    }

    fn keep(&self, spare: Spare) {
        let mut spares = lock(&self.spares);
        self.available.fetch_add(signed(usable(spare.capacity)), Ordering::AcqRel);
        spares.ready.push_back(spare);
    }

    /// Makes a file of `capacity` zeros. The caller holds `allocating`, or nobody else is there.
    fn allocate(&self, capacity: u64, between: &dyn Fn()) -> io::Result<Spare> {
        let number = {
            let mut spares = lock(&self.spares);
            spares.made += 1;
            spares.made
        };
        let path = self.dir.join(spare_name(number));
        let file = self.disk.create(&path)?;
        if let Err(error) = file.preallocate(capacity, between) {
            // On a full disk a part of it may have been allocated, which others need now.
            remove_if_there(&*self.disk, &path)?;
            return Err(error);
        }
        Ok(Spare { path, file, capacity })
    }

    /// A spare of at least `capacity` bytes, and of the usual size if that is more.
    pub fn take(&self, capacity: u64) -> io::Result<Spare> {
        let mut spares = lock(&self.spares);
        let fits = spares.ready.iter().position(|s| s.capacity >= capacity);
        let ready = fits.and_then(|at| spares.ready.remove(at));
        self.want(&mut spares);
        drop(spares);
        match ready {
            Some(spare) => Ok(spare),
            None => self.allocate(capacity.max(self.segment_bytes), &|| {}),
        }
    }

    fn want(&self, spares: &mut Spares) {
        if spares.ready.len() < AHEAD {
            spares.wanted = true;
            self.wake.notify_one();
        }
    }

    /// Has a try at keeping spares, now that there is room for them.
    pub fn make_ready(&self) {
        self.want(&mut lock(&self.spares));
    }

    /// Ends [`keep_ahead`](Self::keep_ahead).
    pub fn stop(&self) {
        lock(&self.spares).stopping = true;
        self.wake.notify_one();
    }

    /// The body of the thread that keeps spares ahead; one try for each time that some are wanted.
    pub fn keep_ahead(&self) {
        loop {
            let mut spares = lock(&self.spares);
            while !spares.wanted && !spares.stopping {
                spares = self.wake.wait(spares).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
            if spares.stopping {
                return;
            }
            drop(spares);
            self.keep_if_wanted(&|| self.pause());
        }
    }

    /// Lets others go first, unless somebody waits for the spare that is being made.
    fn pause(&self) {
        let nobody_waits =
            |spares: &mut Spares| !spares.stopping && self.waiting.load(Ordering::Relaxed) == 0;
        drop(self.wake.wait_timeout_while(lock(&self.spares), PAUSE, nobody_waits));
    }

    /// One try at keeping spares, if some are wanted and not there.
    pub fn keep_if_wanted(&self, between: &dyn Fn()) {
        if !std::mem::take(&mut lock(&self.spares).wanted) {
            return;
        }
        loop {
            let _guard = lock(&self.allocating);
            let spares = lock(&self.spares);
            if spares.ready.len() >= AHEAD || spares.stopping {
                return;
            }
            drop(spares);
            match self.allocate(self.segment_bytes, between) {
                Ok(spare) => self.keep(spare),
                Err(error) => {
                    tracing::warn!(
                        dir = %self.dir.display(),
                        %error,
                        "cannot allocate the next journal segment; writes will be refused when there is no room left"
                    );
                    return;
                }
            }
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
