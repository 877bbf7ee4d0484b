//! The queue in front of the disk: bounded, readable before it is hardened, followed by senders while it grows.

mod support;

use std::{
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::channel,
    },
    thread,
};

use counterpart_core::{Lsn, record::split_records};
use counterpart_journal::{Disk, DiskFile, Journal, Progress, disk::memory::MemoryDisk};
use support::*;

/// A disk whose syncs wait while its gate is closed.
struct GatedDisk {
    disk: MemoryDisk,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
    /// The journal's last LSN when the first sync after the gate opened was about to be reported.
    last: AtomicU64,
    journal: OnceLock<Journal>,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    someone_waits: bool,
}

struct GatedFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl Gate {
    fn close(&self) {
        self.state.lock().unwrap().closed = true;
    }

    /// Opens the gate once a sync has come to it.
    fn open(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.someone_waits {
            state = self.changed.wait(state).unwrap();
        }
        state.closed = false;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        if !state.closed {
            return;
        }
        state.someone_waits = true;
        self.changed.notify_all();
        while state.closed {
            state = self.changed.wait(state).unwrap();
        }
        if let Some(journal) = self.journal.get() {
            self.last.store(journal.last().0, Ordering::SeqCst);
        }
    }
}

impl GatedDisk {
    fn gated(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(GatedFile { file, gate: Arc::clone(&self.gate) })
    }
}

impl Disk for GatedDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.gated(self.disk.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.gated(self.disk.open(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        self.disk.exchange(one, other)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }
}

impl DiskFile for GatedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync_data()
    }
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }
    fn preallocate(&self, length: u64, between: &dyn Fn()) -> io::Result<()> {
        self.file.preallocate(length, between)
    }
}

fn gated() -> (Journal, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let disk = GatedDisk { disk: MemoryDisk::new(1 << 30), gate: Arc::clone(&gate) };
    let (journal, _) = open_on(Arc::new(disk), Path::new("/j"), tiny()).unwrap();
    (journal, gate)
}

#[test]
fn senders_get_a_record_before_it_is_hardened_here() {
    let (journal, gate) = gated();
    gate.close();
    journal.append(small(1)).unwrap();
    let chunk = journal.read_after(Lsn(0), 1 << 20).unwrap();
    assert_eq!((chunk.first, chunk.last), (Lsn(1), Lsn(1)));
    assert_eq!((journal.hardened(), journal.last()), (Lsn(0), Lsn(1)));
    gate.open();
    journal.wait_hardened(Lsn(1)).unwrap();
}

#[test]
fn appending_blocks_at_the_bound_of_the_queue_and_goes_on_after_the_sync() {
    let (journal, gate) = gated();
    let bound = tiny().queue_bytes as u64 / small(1).length() as u64;
    gate.close();
    assert!(gate.journal.set(journal.clone()).is_ok());
    let (sent, appended) = channel();
    let appender = {
        let journal = journal.clone();
        thread::spawn(move || {
            for seed in 1..=100 {
                sent.send(journal.append(small(seed)).unwrap()).unwrap();
            }
        })
    };
    for lsn in 1..=bound {
        assert_eq!(appended.recv().unwrap(), Lsn(lsn));
    }
    gate.open();
    assert_eq!(appended.iter().last(), Some(Lsn(100)));
    appender.join().unwrap();
    journal.wait_hardened(Lsn(100)).unwrap();
    let last = gate.last.load(Ordering::SeqCst);
    assert_eq!(last, bound, "more was taken in than the bound allows");
    // Stop here: the gate holds a handle, so nobody else would.
    journal.flush_and_stop().unwrap();
}

#[test]
fn senders_that_follow_while_others_append_get_every_record_once_and_in_order() {
    const COUNT: u64 = 2000;
    let dir = tempfile::tempdir().unwrap();
    let (told, progress) = channel();
    let told = Mutex::new(told);
    let listener = Box::new(move |p| told.lock().unwrap().send(p).unwrap());
    let (journal, _) = Journal::open(
        Arc::new(counterpart_journal::RealDisk),
        dir.path(),
        tiny(),
        SESSION,
        listener,
    )
    .unwrap();
    let appenders: Vec<_> = (0..2)
        .map(|_| {
            let journal = journal.clone();
            thread::spawn(move || {
                for seed in 0..COUNT / 2 {
                    journal.append(small(seed)).unwrap();
                }
            })
        })
        .collect();
    let (mut at, mut behind) = (Lsn(0), Lsn(0));
    while at < Lsn(COUNT) {
        let chunk = journal.read_after(at, 5000).unwrap();
        if chunk.bytes.is_empty() {
            assert!(matches!(progress.recv().unwrap(), Progress::Hardened(_)));
            continue;
        }
        for record in split_records(chunk.bytes).unwrap() {
            assert_eq!(record.lsn(), at.next());
            at = record.lsn();
        }
        // A second one lags so far behind that it reads from the files.
        let chunk = journal.read_after(behind, 1000).unwrap();
        behind = chunk.last;
    }
    for appender in appenders {
        appender.join().unwrap();
    }
    assert_eq!(lsns_after(&journal, behind.0), (behind.0 + 1..=COUNT).collect::<Vec<_>>());
    journal.flush_and_stop().unwrap();
    drop(progress);
}
