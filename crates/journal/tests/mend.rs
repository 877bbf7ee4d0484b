//! Segments read back from the disk while the journal is in use, and damaged ones replaced by the same records.

mod support;

use std::{fs::OpenOptions, os::unix::fs::FileExt, path::Path};

use counterpart_core::{Lsn, record::Record};
use counterpart_journal::{Journal, MendError, ReadError, segment::segment_name};
use support::*;

/// Flips a bit of the file in place, as a disk would.
fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

fn records(from: u64, to: u64) -> Vec<Record> {
    (from..=to).map(|lsn| sealed(lsn, epoch(1, 1))).collect()
}

/// A journal of several segments, with the records that `sealed` gives.
fn several(dir: &Path) -> Journal {
    let (journal, _) = open_real(dir, tiny()).unwrap();
    journal.append_records(records(1, 100)).unwrap();
    journal.wait_hardened(Lsn(100)).unwrap();
    assert!(journal.segments().len() > 3);
    journal
}

#[test]
fn a_damaged_segment_is_found_at_any_byte_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let journal = several(dir.path());
    let span = journal.segments()[1];
    let path = dir.path().join(segment_name(span.first));
    for at in (0..span.bytes).step_by(97) {
        assert_eq!(journal.verify_segment(span.first).unwrap(), journal.segments()[1].bytes);
        flip(&path, at);
        let found = journal.verify_segment(span.first);
        // A header has room that nobody reads.
        if !matches!(found, Err(ReadError::Damaged { .. })) {
            assert!(at < 4096, "byte {at} was not missed");
            flip(&path, at);
            continue;
        }
        journal.mend_segment(span.first, &records(span.first.0, span.last.0)).unwrap();
    }
    assert_eq!(lsns_after(&journal, 0), (1..=100).collect::<Vec<_>>());
    journal.flush_and_stop().unwrap();
    let (journal, recovery) = open_real(dir.path(), tiny()).unwrap();
    assert_eq!((recovery.first, recovery.end, recovery.cut), (Lsn(1), Lsn(100), None));
    assert_eq!(lsns_after(&journal, 0), (1..=100).collect::<Vec<_>>());
}

#[test]
fn the_newest_segment_is_closed_before_it_is_mended_while_writing_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let journal = several(dir.path());
    let newest = *journal.segments().last().unwrap();
    let path = dir.path().join(segment_name(newest.first));
    flip(&path, newest.bytes - 200);
    assert!(matches!(journal.verify_segment(newest.first), Err(ReadError::Damaged { .. })));
    assert!(matches!(
        journal.mend_segment(newest.first, &records(newest.first.0, newest.last.0)),
        Err(MendError::Gone)
    ));
    let closed = journal.close_segment(newest.first).unwrap();
    journal.append_records(records(101, 110)).unwrap();
    journal.mend_segment(closed.first, &records(closed.first.0, closed.last.0)).unwrap();
    journal.wait_hardened(Lsn(110)).unwrap();
    for span in journal.segments() {
        assert_eq!(journal.verify_segment(span.first).unwrap(), span.bytes);
    }
    drop(journal);
    let (journal, recovery) = open_real(dir.path(), tiny()).unwrap();
    assert_eq!(recovery.end, Lsn(110));
    assert_eq!(lsns_after(&journal, 0), (1..=110).collect::<Vec<_>>());
}

#[test]
fn other_records_do_not_take_a_segments_place() {
    let dir = tempfile::tempdir().unwrap();
    let journal = several(dir.path());
    let span = journal.segments()[1];
    for wrong in [
        Vec::new(),
        records(span.first.0, span.last.0 - 1),
        records(span.first.0 + 1, span.last.0),
        records(1, 2),
    ] {
        let refused = journal.mend_segment(span.first, &wrong);
        assert!(matches!(refused, Err(MendError::OtherRecords { .. })), "{refused:?}");
    }
    assert!(matches!(journal.mend_segment(Lsn(7_777), &records(1, 1)), Err(MendError::Gone)));
    assert_eq!(
        journal.verify_segment(Lsn(7_777)).unwrap(),
        0,
        "what is not kept cannot be damaged"
    );
}

#[test]
fn what_is_left_of_a_mending_that_a_crash_ended_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    drop(several(dir.path()));
    let part = dir.path().join(format!("{}.mend", segment_name(Lsn(1))));
    std::fs::write(&part, "half").unwrap();
    let (journal, recovery) = open_real(dir.path(), tiny()).unwrap();
    assert!(!part.exists());
    assert_eq!(recovery.end, Lsn(100));
    drop(journal);
}
