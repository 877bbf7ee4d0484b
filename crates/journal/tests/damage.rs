//! Damage and failures: what recovery must refuse, what it may cut, and what a journal does when its disk fails.

mod support;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use counterpart_core::Lsn;
use counterpart_journal::{
    AppendError, ChangeError, Config, Cut, Disk, Journal, OpenError, Progress, ReserveError,
    disk::memory::MemoryDisk,
    segment::{FRAME_LEN, SEGMENT_HEADER_LEN, segment_name},
};
use support::*;

/// The bytes that one `small` transaction takes together with its frame, when it is hardened alone.
fn stride() -> u64 {
    small(1).length() as u64 + FRAME_LEN as u64
}

/// A journal of `count` records, each hardened alone, as a killed server leaves it: without a frame at its end.
fn killed(dir: &Path, count: u64) -> PathBuf {
    let (journal, _) = open_real(dir, one_segment()).unwrap();
    for lsn in 1..=count {
        append_up_to(&journal, lsn);
    }
    let copy = fs::read(dir.join(segment_name(Lsn(1)))).unwrap();
    drop(journal);
    let path = dir.join(segment_name(Lsn(1)));
    fs::write(&path, copy).unwrap();
    path
}

fn one_segment() -> Config {
    Config { segment_bytes: 64 * KIB, ..tiny() }
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

fn flip(path: &Path, at: u64) {
    let mut byte = [0];
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Where the `n`th record begins, counted from 1.
fn record_at(n: u64) -> u64 {
    SEGMENT_HEADER_LEN + (n - 1) * stride() + FRAME_LEN as u64
}

#[test]
fn a_record_that_is_torn_at_the_end_is_cut_and_its_remains_never_come_back() {
    for torn_at in [0, 3, 4, 79, 80, 300, small(1).length() as u64 - 1] {
        let dir = tempfile::tempdir().unwrap();
        let path = killed(dir.path(), 10);
        let at = record_at(10);
        overwrite(&path, at + torn_at, &vec![0; 1000]);
        let (journal, recovery) = open_real(dir.path(), one_segment()).unwrap();
        assert_eq!(recovery.end, Lsn(9), "torn at {torn_at}");
        if torn_at > 0 {
            let cut = recovery.cut.unwrap();
            assert_eq!((&cut.file, cut.offset), (&path, at));
            assert!(cut.bytes > 0 && cut.bytes <= torn_at, "{cut:?}");
        }
        append_up_to(&journal, 11);
        journal.flush_and_stop().unwrap();
        let (journal, recovery) = open_real(dir.path(), one_segment()).unwrap();
        assert_eq!((recovery.end, recovery.cut), (Lsn(11), None));
        assert_eq!(lsns_after(&journal, 0).len(), 11);
    }
}

#[test]
fn the_middle_of_the_last_write_may_be_missing_while_its_end_is_there() {
    // One write of many records, of which a crash lost a sector in the middle: nothing of it was ever hardened.
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), one_segment()).unwrap();
    journal.append_records((1..=8).map(|lsn| sealed(lsn, epoch(1, 1))).collect()).unwrap();
    journal.wait_hardened(Lsn(8)).unwrap();
    let path = dir.path().join(segment_name(Lsn(1)));
    let copy = fs::read(&path).unwrap();
    drop(journal);
    fs::write(&path, copy).unwrap();
    overwrite(&path, 5 << 10, &[0; 512]);
    let (_, recovery) = open_real(dir.path(), one_segment()).unwrap();
    assert_eq!(recovery.end, Lsn(1));
    assert!(matches!(recovery.cut, Some(Cut { bytes, .. }) if bytes > 4000));
}

#[test]
fn a_bit_flipped_anywhere_below_the_last_write_is_refused_with_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let path = killed(dir.path(), 10);
    let good = fs::read(&path).unwrap();
    let last_write = record_at(10) - FRAME_LEN as u64;
    for at in (SEGMENT_HEADER_LEN..last_write).step_by(37) {
        fs::write(&path, &good).unwrap();
        flip(&path, at);
        let error = open_real(dir.path(), one_segment()).err().unwrap();
        let OpenError::Damaged { file, offset, .. } = &error else { panic!("{at}: {error}") };
        assert_eq!(file, &path);
        assert!(*offset <= at && *offset + 2 * stride() > at, "{at}: {error}");
        let text = error.to_string();
        assert!(text.contains("journal-") && text.contains("restore"), "{text}");
        let mut now = fs::read(&path).unwrap();
        now[usize::try_from(at).unwrap()] ^= 1;
        assert_eq!(now, good, "a refused journal is left as it is");
    }
}

#[test]
fn after_an_orderly_stop_even_the_last_record_is_known_to_have_been_hardened() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), one_segment()).unwrap();
    for lsn in 1..=5 {
        append_up_to(&journal, lsn);
    }
    journal.flush_and_stop().unwrap();
    let path = dir.path().join(segment_name(Lsn(1)));
    flip(&path, record_at(5) + 100);
    let error = open_real(dir.path(), one_segment()).err().unwrap();
    assert!(
        matches!(error, OpenError::Damaged { offset, .. } if offset == record_at(5)),
        "{error}"
    );
}

#[test]
fn old_records_behind_the_end_are_never_taken_for_new_ones() {
    // A valid record of a lower and one of the very next but one LSN stand where the journal ends.
    for stranger in [3, 7, 12] {
        let dir = tempfile::tempdir().unwrap();
        let path = killed(dir.path(), 10);
        let end = record_at(10) + small(1).length() as u64;
        overwrite(&path, end, sealed(stranger, epoch(1, 1)).bytes());
        let (journal, recovery) = open_real(dir.path(), one_segment()).unwrap();
        assert_eq!(recovery.end, Lsn(10), "{stranger}");
        assert!(recovery.cut.is_some());
        assert_eq!(lsns_after(&journal, 0), (1..=10).collect::<Vec<_>>());
    }
}

#[test]
fn a_missing_segment_is_named_with_the_records_that_were_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    append_up_to(&journal, 100);
    journal.flush_and_stop().unwrap();
    let mut names: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| counterpart_journal::segment::first_from_name(n).is_some())
        .collect();
    names.sort();
    fs::remove_file(dir.path().join(&names[1])).unwrap();
    let gone = counterpart_journal::segment::first_from_name(&names[1]).unwrap();
    let next = counterpart_journal::segment::first_from_name(&names[2]).unwrap();
    let error = open_real(dir.path(), tiny()).err().unwrap();
    let OpenError::Missing { file, from, to } = &error else { panic!("{error}") };
    assert_eq!((file, *from, to.next()), (&dir.path().join(&names[1]), gone, next));

    // A renamed segment is no substitute.
    fs::copy(dir.path().join(&names[2]), dir.path().join(&names[1])).unwrap();
    let error = open_real(dir.path(), tiny()).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { offset: 0, .. }), "{error}");
}

#[test]
fn damage_at_the_end_of_a_segment_that_another_follows_is_no_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), tiny()).unwrap();
    append_up_to(&journal, 60);
    journal.flush_and_stop().unwrap();
    let path = dir.path().join(segment_name(Lsn(1)));
    let bytes = fs::read(&path).unwrap();
    let last = bytes.iter().rposition(|&b| b != 0).unwrap();
    flip(&path, last as u64);
    let error = open_real(dir.path(), tiny()).err().unwrap();
    assert!(matches!(&error, OpenError::Damaged { file, .. } if *file == path), "{error}");
}

#[test]
fn a_segment_whose_creation_was_interrupted_is_removed_and_a_damaged_header_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = killed(dir.path(), 10);
    let unborn = dir.path().join(segment_name(Lsn(11)));
    fs::write(&unborn, vec![0; 64 << 10]).unwrap();
    let (journal, recovery) = open_real(dir.path(), one_segment()).unwrap();
    assert_eq!(recovery.end, Lsn(10));
    drop(journal);
    assert!(!unborn.exists());

    flip(&first, 9);
    let error = open_real(dir.path(), one_segment()).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { offset: 0, .. }), "{error}");
}

/// A journal on a disk in memory, and what its listener was told.
fn in_memory(capacity: u64) -> (MemoryDisk, Journal, Arc<Mutex<Vec<Progress>>>) {
    let disk = MemoryDisk::new(capacity);
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let (journal, _) = Journal::open(
        Arc::new(disk.clone()),
        Path::new("/j"),
        tiny(),
        SESSION,
        Box::new(move |progress| sink.lock().unwrap().push(progress)),
    )
    .unwrap();
    (disk, journal, told)
}

/// Appends until the journal refuses; the error. `failing` has the disk fail the next call: the one before may have met
/// whoever only keeps a spare segment ahead, and loses nothing by it.
fn append_until_refused(journal: &Journal, failing: impl Fn()) -> AppendError {
    loop {
        failing();
        if let Err(error) = journal.append(small(journal.last().0 + 1)) {
            return error;
        }
    }
}

#[test]
fn the_first_failed_sync_or_write_poisons_for_good_and_reads_go_on() {
    for sync in [true, false] {
        let (disk, journal, told) = in_memory(1 << 30);
        append_up_to(&journal, 20);
        let failing = || if sync { disk.fail_sync(1) } else { disk.fail_write(1) };
        let error = append_until_refused(&journal, failing);
        let AppendError::Poisoned(poison) = &error else { panic!("{error}") };
        assert!(error.to_string().contains("restart"), "{error}");
        assert!(poison.to_string().contains("simulated"), "{poison}");

        let hardened = journal.hardened();
        let syncs = disk.syncs();
        assert!(journal.wait_hardened(hardened.next()).is_err());
        assert!(matches!(journal.append(small(1)), Err(AppendError::Poisoned(_))));
        assert!(matches!(journal.cut_after(hardened), Err(ChangeError::Poisoned(_))));
        assert!(matches!(journal.reserve(1), Err(ReserveError::Poisoned(_))));
        assert!(journal.poisoned().is_some());
        assert_eq!((journal.hardened(), disk.syncs()), (hardened, syncs), "a sync was retried");
        let last = journal.last();
        assert_eq!(lsns_after(&journal, 0), (1..=last.0).collect::<Vec<_>>());

        let reader = journal.clone();
        assert!(journal.flush_and_stop().is_err());
        assert_eq!(disk.syncs(), syncs, "stopping a poisoned journal writes nothing");
        drop(reader);
        let told = told.lock().unwrap();
        assert!(matches!(told.last(), Some(Progress::Poisoned(_))));
        assert_eq!(told.iter().filter(|p| matches!(p, Progress::Poisoned(_))).count(), 1);
        drop(told);

        disk.restart(3);
        let (_, recovery) = open_on(Arc::new(disk.clone()), Path::new("/j"), tiny()).unwrap();
        assert!(recovery.end >= hardened && recovery.end <= last, "{recovery:?}");
    }
}

#[test]
fn an_appender_that_waits_for_room_is_told_when_the_journal_is_poisoned() {
    let (disk, journal, _) = in_memory(1 << 30);
    append_up_to(&journal, 5);
    let handles: Vec<_> = (0..4)
        .map(|_| {
            let (disk, journal) = (disk.clone(), journal.clone());
            thread::spawn(move || append_until_refused(&journal, || disk.fail_sync(1)))
        })
        .collect();
    for handle in handles {
        assert!(matches!(handle.join().unwrap(), AppendError::Poisoned(_)));
    }
}

#[test]
fn a_full_disk_is_seen_when_space_is_reserved_and_not_by_a_commit() {
    let (disk, journal, _) = in_memory(100 * KIB);
    let mut refused = None;
    for lsn in 1..1000 {
        match journal.reserve(small(lsn).length() as u64) {
            Ok(()) => journal.append(small(lsn)).unwrap(),
            Err(error) => {
                refused = Some(error);
                break;
            }
        };
        journal.wait_hardened(Lsn(lsn)).unwrap();
    }
    let error = refused.expect("the disk must have filled");
    let ReserveError::DiskFull { needed, free } = error else { panic!("{error}") };
    assert!(needed > free, "needed {needed}, free {free}");
    assert!(journal.poisoned().is_none(), "a full disk is no failed one");
    let last = journal.last().0;
    assert!(last > 70, "only {last} records fitted into 100 KiB");

    // Room is made: the same reservation succeeds at once, without a restart.
    disk.set_capacity(200 * KIB);
    journal.reserve(600).unwrap();
    append_up_to(&journal, last + 20);
    assert!(
        matches!(journal.reserve(1 << 20), Err(ReserveError::DiskFull { .. })),
        "more than there is room for"
    );
    journal.append(small(1)).unwrap();
}

#[test]
fn a_large_reservation_takes_as_many_segments_as_it_needs() {
    let (disk, journal, _) = in_memory(1 << 30);
    journal.reserve(100 * KIB).unwrap();
    disk.set_capacity(0);
    // Everything that was reserved fits, though nothing more can be allocated.
    append_up_to(&journal, 100 * KIB / small(1).length() as u64);
    assert!(journal.poisoned().is_none());
    let free = disk.free_bytes(Path::new("/j")).unwrap();
    assert_eq!(free, 0);
}

#[test]
fn a_panic_of_the_listener_poisons_the_journal_instead_of_hanging_everybody() {
    let (journal, _) = Journal::open(
        Arc::new(MemoryDisk::new(1 << 30)),
        Path::new("/j"),
        tiny(),
        SESSION,
        Box::new(|_| panic!("the listener's own error")),
    )
    .unwrap();
    assert!(matches!(append_until_refused(&journal, || ()), AppendError::Poisoned(_)));
    let stopping =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| journal.flush_and_stop()));
    assert!(stopping.is_err(), "whoever stops the journal learns of the panic");
}

/// The files alone cannot tell a torn tail from records that were cut off; whoever knows how far it was hardened can.
#[test]
fn a_journal_that_ends_before_what_was_hardened_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), one_segment()).unwrap();
    append_up_to(&journal, 5);
    journal.flush_and_stop().unwrap();
    let reaching = |lsn| Config { must_reach: Lsn(lsn), ..one_segment() };
    assert!(matches!(
        open_real(dir.path(), reaching(6)),
        Err(OpenError::Short { end: Lsn(5), must_reach: Lsn(6), .. })
    ));
    let (journal, recovery) = open_real(dir.path(), reaching(5)).unwrap();
    assert_eq!(recovery.end, Lsn(5));
    journal.flush_and_stop().unwrap();
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(open_real(empty.path(), reaching(1)), Err(OpenError::Short { .. })));
}
