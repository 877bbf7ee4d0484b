//! The journal on a real disk: appending, reading, cutting, emptying, retention, orderly and disorderly ends.

mod support;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use counterpart_core::{Lsn, SessionId, UnixMicros, record::Draft};
use counterpart_journal::{
    AppendError, ChangeError, Config, Journal, OpenError, Progress, ReadError, RealDisk,
    segment::{SEGMENT_HEADER_LEN, first_from_name, is_spare_name},
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

#[test]
fn records_come_from_memory_and_from_files_alike_and_in_bounded_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    append_up_to(&journal, 120);
    for max_bytes in [1, 700, 5_000, 1 << 20] {
        let mut after = Lsn(0);
        loop {
            let chunk = journal.read_after(after, max_bytes).unwrap();
            let records = counterpart_core::record::split_records(chunk.bytes.clone()).unwrap();
            if records.is_empty() {
                assert_eq!((chunk.first, chunk.last), (after.next(), after));
                break;
            }
            assert!(records.len() == 1 || chunk.bytes.len() <= max_bytes);
            let lsns: Vec<_> = records.iter().map(|r| r.lsn()).collect();
            assert_eq!((lsns[0], lsns[lsns.len() - 1]), (chunk.first, chunk.last));
            assert_eq!(chunk.first, after.next());
            after = chunk.last;
        }
        assert_eq!(after, Lsn(120));
    }
    assert!(journal.read_after(Lsn(500), 1000).unwrap().bytes.is_empty());
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    journal.append(pages(1, 65_536, 3)).unwrap();
    append_up_to(&journal, 3);
    journal.append(pages(4, 65_536, 4)).unwrap();
    journal.flush_and_stop().unwrap();
    let (journal, recovery) = open_real(dir.path(), tiny()).unwrap();
    assert_eq!(recovery.end, Lsn(4));
    assert_eq!(lsns_after(&journal, 0), [1, 2, 3, 4]);
}

#[test]
fn concurrent_appenders_get_contiguous_lsns_in_their_own_order() {
    const THREADS: u64 = 4;
    const EACH: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    let handles: Vec<_> = (0..THREADS)
        .map(|thread| {
            let journal = journal.clone();
            thread::spawn(move || {
                (0..EACH)
                    .map(|n| journal.append(small(thread * EACH + n)).unwrap())
                    .collect::<Vec<Lsn>>()
            })
        })
        .collect();
    let lsns: Vec<Vec<Lsn>> = handles.into_iter().map(|h| h.join().unwrap()).collect();
    journal.wait_hardened(Lsn(THREADS * EACH)).unwrap();
    let records: Vec<_> = journal.records_after(Lsn(0)).map(Result::unwrap).collect();
    assert_eq!(records.len() as u64, THREADS * EACH);
    for (thread, lsns) in lsns.iter().enumerate() {
        assert!(lsns.is_sorted());
        for (n, lsn) in lsns.iter().enumerate() {
            let seed = thread as u64 * EACH + n as u64;
            assert_eq!(records[lsn.0 as usize - 1].header().committed_at, UnixMicros(seed));
        }
    }
}

#[test]
fn a_mirror_appends_what_it_is_sent_and_nothing_that_does_not_follow() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    let records = |from: u64, to: u64, e| (from..=to).map(|lsn| sealed(lsn, e)).collect::<Vec<_>>();
    assert_eq!(journal.append_records(records(1, 40, epoch(1, 2))).unwrap(), Lsn(40));
    assert!(matches!(
        journal.append_records(records(42, 43, epoch(1, 2))),
        Err(AppendError::Gap { expected: Lsn(41), found: Lsn(42) })
    ));
    let mut holed = records(41, 44, epoch(1, 2));
    holed.remove(2);
    assert!(matches!(
        journal.append_records(holed),
        Err(AppendError::Gap { expected: Lsn(43), found: Lsn(44) })
    ));
    assert!(matches!(
        journal.append_records(records(41, 41, epoch(1, 1))),
        Err(AppendError::EpochBackwards { lsn: Lsn(41), .. })
    ));
    assert_eq!(journal.last(), Lsn(40), "a refused batch leaves nothing behind");
    assert_eq!(journal.append_records(Vec::new()).unwrap(), Lsn(40));
    assert_eq!(journal.append_records(records(41, 50, epoch(2, 1))).unwrap(), Lsn(50));
    journal.flush_and_stop().unwrap();
    let (_, recovery) = open_real(dir.path(), tiny()).unwrap();
    assert_eq!((recovery.end, recovery.end_epoch), (Lsn(50), Some(epoch(2, 1))));
}

#[test]
fn the_stamp_carries_the_epoch_and_a_commit_lsn_below_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    journal.set_epoch(epoch(3, 1));
    journal.set_commit_lsn(Lsn(7));
    journal.set_commit_lsn(Lsn(2));
    for seed in 1..=9 {
        journal.append(small(seed)).unwrap();
    }
    let stamps: Vec<_> = journal
        .records_after(Lsn(0))
        .map(|r| r.map(|r| (r.header().commit_lsn.0, r.header().epoch)).unwrap())
        .collect();
    assert!(stamps.iter().all(|&(_, e)| e == epoch(3, 1)));
    let commits: Vec<_> = stamps.iter().map(|&(c, _)| c).collect();
    assert_eq!(commits, [0, 1, 2, 3, 4, 5, 6, 7, 7]);
}

#[test]
fn the_listener_sees_hardening_grow_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let listener = Box::new(move |progress: Progress| match progress {
        Progress::Hardened(lsn) => sink.lock().unwrap().push(lsn.0),
        Progress::Poisoned(error) => panic!("{error}"),
    });
    let (journal, _) =
        Journal::open(Arc::new(RealDisk), dir.path(), tiny(), SESSION, listener).unwrap();
    append_up_to(&journal, 60);
    journal.flush_and_stop().unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert_eq!(seen.last(), Some(&60));
}

#[test]
fn a_cut_takes_everything_above_away_for_good() {
    for (end, cut) in [(100, 99), (100, 50), (100, 1), (100, 0), (10, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open_real(dir.path(), tiny()).unwrap();
        for lsn in 1..=end {
            journal.append_records(vec![sealed(lsn, epoch(1, 1))]).unwrap();
        }
        journal.cut_after(Lsn(cut)).unwrap();
        assert_eq!((journal.last(), journal.hardened()), (Lsn(cut), Lsn(cut)));
        assert_eq!(lsns_after(&journal, 0), (1..=cut).collect::<Vec<_>>());
        drop(journal);
        let (journal, recovery) = open_real(dir.path(), tiny()).unwrap();
        assert_eq!((recovery.end, recovery.cut), (Lsn(cut), None));
        let again: Vec<_> = (cut + 1..cut + 40).map(|lsn| sealed(lsn, epoch(2, 1))).collect();
        journal.append_records(again.clone()).unwrap();
        journal.flush_and_stop().unwrap();
        let (journal, _) = open_real(dir.path(), tiny()).unwrap();
        let back: Vec<_> = journal.records_after(Lsn(cut)).map(Result::unwrap).collect();
        assert_eq!(back, again, "cut {end} after {cut}");
    }
}

#[test]
fn a_cut_outside_the_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal =
        Journal::create(Arc::new(RealDisk), dir.path(), tiny(), SESSION, Lsn(10), Box::new(|_| {}))
            .unwrap();
    append_up_to(&journal, 12);
    for outside in [9, 13] {
        assert!(matches!(
            journal.cut_after(Lsn(outside)),
            Err(ChangeError::OutOfRange { first: Lsn(11), last: Lsn(12), .. })
        ));
    }
    journal.cut_after(Lsn(12)).unwrap();
    journal.cut_after(Lsn(10)).unwrap();
    assert_eq!((journal.first(), journal.last()), (Lsn(11), Lsn(10)));
    drop(journal);
    let (_, recovery) = open_real(dir.path(), tiny()).unwrap();
    assert_eq!((recovery.first, recovery.end), (Lsn(11), Lsn(10)), "the position outlives the cut");
}

#[test]
fn a_reset_journal_goes_on_elsewhere_in_another_session() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    journal.set_epoch(epoch(5, 1));
    append_up_to(&journal, 60);
    journal.reset(Lsn(5000), SessionId(77)).unwrap();
    assert_eq!((journal.first(), journal.last()), (Lsn(5001), Lsn(5000)));
    assert!(matches!(journal.read_after(Lsn(3), 1000), Err(ReadError::Gone { first: Lsn(5001) })));
    // The journal that it now continues may be of a lower epoch than its own was.
    journal.append_records(vec![sealed(5001, epoch(2, 1))]).unwrap();
    journal.flush_and_stop().unwrap();
    let error = open_real(dir.path(), tiny()).err().unwrap();
    assert!(
        matches!(error, OpenError::Session { found: SessionId(77), expected: SESSION, .. }),
        "{error}"
    );
    let opened =
        Journal::open(Arc::new(RealDisk), dir.path(), tiny(), SessionId(77), Box::new(|_| {}));
    assert_eq!(opened.unwrap().1.end, Lsn(5001));
}

#[test]
fn a_new_session_keeps_the_records_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    journal.set_session(SessionId(1)).unwrap();
    append_up_to(&journal, 30);
    journal.set_session(SessionId(2)).unwrap();
    append_up_to(&journal, 33);
    journal.set_session(SessionId(2)).unwrap();
    journal.set_session(SessionId(3)).unwrap();
    journal.set_session(SessionId(4)).unwrap();
    drop(journal);
    assert!(matches!(
        open_real(dir.path(), tiny()),
        Err(OpenError::Session { found: SessionId(4), .. })
    ));
    let (journal, recovery) =
        Journal::open(Arc::new(RealDisk), dir.path(), tiny(), SessionId(4), Box::new(|_| {}))
            .unwrap();
    assert_eq!((recovery.first, recovery.end), (Lsn(1), Lsn(33)));
    assert_eq!(lsns_after(&journal, 0).len(), 33);
}

#[test]
fn retention_removes_the_oldest_that_nobody_needs_and_only_above_the_size() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { retention_bytes: 64 * KIB, ..tiny() };
    let (journal, _) = open_real(dir.path(), config.clone()).unwrap();
    append_up_to(&journal, 300);
    assert_eq!(journal.first(), Lsn(1), "without leave nothing is removed");
    let full = journal.size_bytes();
    assert!(full > 128 * KIB, "{full}");

    journal.retain_needed(Lsn(50), Lsn(10));
    // The change of a session waits its turn behind what the journal thread has to do.
    journal.set_session(SESSION).unwrap();
    append_up_to(&journal, 340);
    let first = journal.first();
    assert!(first > Lsn(1) && first <= Lsn(50), "{first}");
    assert!(
        matches!(journal.read_after(Lsn(0), 100), Err(ReadError::Gone { first: f }) if f == first)
    );

    journal.retain(Lsn(340));
    append_up_to(&journal, 400);
    assert!(journal.size_bytes() <= 80 * KIB, "{}", journal.size_bytes());
    let first = journal.first();
    assert_eq!(lsns_after(&journal, first.0 - 1), (first.0..=400).collect::<Vec<_>>());
    assert_eq!(journal.size_bytes(), segments(dir.path()).len() as u64 * 16 * KIB);
    drop(journal);
    assert_eq!(open_real(dir.path(), config).unwrap().1.first, first);
}

#[test]
fn a_stopped_journal_refuses_appends_and_still_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    let reader = journal.clone();
    append_up_to(&journal, 40);
    journal.flush_and_stop().unwrap();
    assert!(matches!(reader.append(small(1)), Err(AppendError::Stopped)));
    assert!(matches!(reader.cut_after(Lsn(1)), Err(ChangeError::Stopped)));
    assert!(reader.wait_hardened(Lsn(41)).is_err());
    assert_eq!(lsns_after(&reader, 0).len(), 40);
}

#[test]
fn a_bit_flipped_under_a_running_server_is_reported_and_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    append_up_to(&journal, 100);
    flip(&segments(dir.path())[0], SEGMENT_HEADER_LEN + 300);
    let error = journal.read_after(Lsn(0), 1 << 20).unwrap_err();
    assert!(matches!(&error, ReadError::Damaged { file, .. } if *file == segments(dir.path())[0]));
    let found: Vec<_> = journal.records_after(Lsn(0)).collect();
    assert!(found.len() == 1 && found[0].is_err(), "the iterator ends after the error");
}

fn flip(path: &Path, at: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn two_spares_are_kept_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let spares = || {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|name| is_spare_name(name.to_str().unwrap())).count()
    };
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    assert_eq!(spares(), 0, "whoever recovers may need the room");
    journal.make_ready();
    for records in [1, 100] {
        append_up_to(&journal, records);
        // For half a minute at most.
        for _ in 0..3000 {
            if spares() == 2 {
                break;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        assert_eq!(spares(), 2);
    }
    journal.flush_and_stop().unwrap();
}
