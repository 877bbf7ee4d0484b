//! A journal without threads, for worlds in which one thread is everybody: it does exactly what the threads would,
//! when it is told to, and never waits for somebody who is not there.

mod support;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use counterpart_core::Lsn;
use counterpart_journal::{Journal, Progress, disk::memory::MemoryDisk};
use support::*;

fn open(disk: &MemoryDisk, reported: &Arc<AtomicU64>) -> Journal {
    let reported = Arc::clone(reported);
    let listener = Box::new(move |progress| {
        if let Progress::Hardened(lsn) = progress {
            reported.store(lsn.0, Ordering::SeqCst);
        }
    });
    let config = counterpart_journal::Config { queue_bytes: 4 << 10, ..tiny() };
    let dir = Path::new("/journal");
    Journal::open_pumped(Arc::new(disk.clone()), dir, config, SESSION, listener).unwrap().0
}

#[test]
fn nothing_is_hardened_before_it_is_pumped_and_all_of_it_afterwards() {
    let (disk, reported) = (MemoryDisk::new(1 << 24), Arc::new(AtomicU64::new(0)));
    let journal = open(&disk, &reported);
    for seed in 1..=3 {
        journal.append(small(seed)).unwrap();
    }
    assert_eq!((journal.last(), journal.hardened()), (Lsn(3), Lsn::ZERO));
    assert!(journal.pump());
    assert_eq!((journal.hardened(), reported.load(Ordering::SeqCst)), (Lsn(3), 3));
    assert!(!journal.pump(), "there is nothing left to do");
}

#[test]
fn whatever_would_wait_pumps_instead() {
    let (disk, reported) = (MemoryDisk::new(1 << 24), Arc::new(AtomicU64::new(0)));
    let journal = open(&disk, &reported);
    // More than the queue takes.
    for seed in 1..=200 {
        journal.append(small(seed)).unwrap();
    }
    journal.wait_hardened(Lsn(200)).unwrap();
    journal.cut_after(Lsn(50)).unwrap();
    assert_eq!(journal.last(), Lsn(50));
    journal.flush_and_stop().unwrap();
    assert_eq!(open(&disk, &reported).last(), Lsn(50));
}

#[test]
fn a_dropped_journal_is_a_killed_process() {
    let (disk, reported) = (MemoryDisk::new(1 << 24), Arc::new(AtomicU64::new(0)));
    let journal = open(&disk, &reported);
    journal.append(small(1)).unwrap();
    drop(journal);
    disk.kill();
    assert_eq!(open(&disk, &reported).last(), Lsn::ZERO);
}
