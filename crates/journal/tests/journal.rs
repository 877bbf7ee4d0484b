//! The journal on a real disk: appending, reading, cutting, emptying, retention, orderly and disorderly ends.

mod support;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use counterpart_core::{Lsn, SessionId, UnixMicros, record::Draft};
use counterpart_journal::{
    AppendError, ChangeError, Config, Journal, OpenError, Progress, ReadError, RealDisk,
    segment::{SEGMENT_HEADER_LEN, first_from_name},
};
use support::*;

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| first_from_name(path.file_name().unwrap().to_str().unwrap()).is_some())
        .collect();
    paths.sort();
    paths
}

#[test]
fn what_was_appended_is_there_after_a_stop_and_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovery) = open_real(dir.path(), tiny()).unwrap();
    assert_eq!((recovery.first, recovery.end, recovery.end_epoch), (Lsn(1), Lsn(0), None));
    journal.set_epoch(epoch(1, 1));
    append_up_to(&journal, 100);
    assert_eq!(journal.append(Draft::mark(UnixMicros(5))).unwrap(), Lsn(101));
    journal.flush_and_stop().unwrap();

    let (journal, recovery) = open_real(dir.path(), tiny()).unwrap();
    assert_eq!((recovery.first, recovery.end), (Lsn(1), Lsn(101)));
    assert_eq!((recovery.end_epoch, recovery.cut), (Some(epoch(1, 1)), None));
    let records: Vec<_> = journal.records_after(Lsn(0)).map(Result::unwrap).collect();
    assert_eq!(records.len(), 101);
    for (record, lsn) in records.iter().zip(1..101) {
        assert_eq!(record.bytes(), sealed_as_appended(lsn).bytes());
    }
    assert!(segments(dir.path()).len() > 3, "the test should cross segments");
    append_up_to(&journal, 110);
    assert_eq!(lsns_after(&journal, 99), (100..=110).collect::<Vec<_>>());
}

/// What `append_up_to` makes of `small(lsn)` without a commit LSN.
fn sealed_as_appended(lsn: u64) -> counterpart_core::record::Record {
    let stamp =
        counterpart_core::record::Stamp { lsn: Lsn(lsn), commit_lsn: Lsn(0), epoch: epoch(1, 1) };
    small(lsn).seal(stamp)
}

#[test]
fn a_dropped_handle_leaves_everything_that_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    for seed in 1..=30 {
        journal.append(small(seed)).unwrap();
    }
    drop(journal);
    assert_eq!(open_real(dir.path(), tiny()).unwrap().1.end, Lsn(30));
}
