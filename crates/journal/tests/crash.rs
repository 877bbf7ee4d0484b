//! Crashes, judged from outside: what was reported as hardened is there afterwards, and what is there is what was
//! appended, without a gap. The disk loses and tears whatever was not synced.

mod support;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use counterpart_core::{Lsn, SessionId};
use counterpart_journal::{
    ChangeError, ControlFile, Disk, Journal, OpenError, Progress, Recovery,
    disk::memory::MemoryDisk,
};
use proptest::prelude::*;
use support::*;

const DIR: &str = "/journal";

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    AppendLarge,
    Wait,
    /// Cut so that this many sixteenths of what is not certain stay.
    Cut(u64),
    Reset(u64),
    Retain,
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u64..20).prop_map(Step::Append),
        1 => Just(Step::AppendLarge),
        3 => Just(Step::Wait),
        1 => (0u64..=16).prop_map(Step::Cut),
        1 => (0u64..1000).prop_map(Step::Reset),
        1 => Just(Step::Retain),
        1 => Just(Step::Stop),
    ]
}

/// What a journal may and must hold.
#[derive(Clone, Default, Debug)]
struct Model {
    /// The seed of every record appended, by LSN.
    appended: BTreeMap<u64, u64>,
    /// The position that the journal began after.
    base: u64,
    /// Everything up to here must be there.
    certain: u64,
}

/// A journal and what is known about it.
struct World {
    disk: MemoryDisk,
    model: Model,
    /// What a reset that the crash interrupted would have left.
    other: Option<Model>,
    reported: Arc<AtomicU64>,
    seed: u64,
}

impl World {
    fn open(&mut self) -> Result<(Journal, Recovery), OpenError> {
        let reported = Arc::new(AtomicU64::new(0));
        self.reported = Arc::clone(&reported);
        let listener = Box::new(move |progress| {
            if let Progress::Hardened(lsn) = progress {
                reported.fetch_max(lsn.0, Ordering::SeqCst);
            }
        });
        let mut config = tiny();
        config.retention_bytes = 48 * KIB;
        Journal::open(Arc::new(self.disk.clone()), Path::new(DIR), config, SESSION, listener)
    }

    /// Performs steps until one fails, which means that the power has.
    fn live(&mut self, steps: &[Step]) {
        let Ok((mut journal, recovery)) = self.open() else { return };
        self.check(&journal, &recovery);
        for step in steps {
            if let Step::Stop = step {
                if journal.flush_and_stop().is_err() {
                    break;
                }
                self.model.certain =
                    self.model.appended.keys().last().map_or(self.model.base, |&l| l);
                match self.open() {
                    Ok((reopened, recovery)) => {
                        assert_eq!(recovery.cut, None, "an orderly stop leaves nothing torn");
                        self.check(&reopened, &recovery);
                        journal = reopened;
                    }
                    Err(_) => return,
                }
            } else if !self.perform(&journal, step) {
                break;
            }
        }
        self.note_reported();
    }

    fn note_reported(&mut self) {
        self.model.certain = self.model.certain.max(self.reported.swap(0, Ordering::SeqCst));
    }

    fn append(
        &mut self,
        journal: &Journal,
        draft: impl FnOnce(u64) -> counterpart_core::record::Draft,
    ) -> bool {
        self.seed += 1;
        let Ok(lsn) = journal.append(draft(self.seed)) else { return false };
        self.model.appended.insert(lsn.0, self.seed);
        true
    }

    fn perform(&mut self, journal: &Journal, step: &Step) -> bool {
        match step {
            Step::Append(count) => (0..*count).all(|_| self.append(journal, small)),
            Step::AppendLarge => self.append(journal, |seed| pages(seed, 4096, 3)),
            Step::Wait => {
                let waited = journal.wait_hardened(journal.last()).is_ok();
                if waited {
                    self.model.certain = self.model.certain.max(journal.last().0);
                }
                waited
            }
            Step::Cut(sixteenths) => {
                let (last, first) = (journal.last().0, journal.first().0);
                let kept = (first - 1) + (last + 1 - first) * sixteenths / 16;
                // From here on, nothing above is certain any more, whether the cut succeeds or not.
                self.note_reported();
                self.model.certain = self.model.certain.min(kept);
                let done = match journal.cut_after(Lsn(kept)) {
                    // Retention was faster.
                    Err(ChangeError::OutOfRange { .. }) => return true,
                    other => other.is_ok(),
                };
                self.reported.store(0, Ordering::SeqCst);
                if done {
                    self.model.appended.retain(|&lsn, _| lsn <= kept);
                    self.model.certain = kept;
                }
                done
            }
            Step::Reset(after) => {
                self.note_reported();
                let empty = Model { base: *after, certain: *after, ..Model::default() };
                let done = journal.reset(Lsn(*after), SESSION).is_ok();
                self.reported.store(0, Ordering::SeqCst);
                if done {
                    self.model = empty
                } else {
                    self.other = Some(empty)
                }
                done
            }
            Step::Retain => {
                journal.retain(journal.hardened());
                true
            }
            Step::Stop => unreachable!("handled by the caller"),
        }
    }

    /// Compares what recovery found with what may and must be there, which from now on is the same.
    fn check(&mut self, journal: &Journal, recovery: &Recovery) {
        let end = recovery.end.0;
        if let Some(other) = self.other.take()
            && end == other.base
            && recovery.first.0 == end + 1
        {
            self.model = other;
        }
        assert!(end >= self.model.certain, "hardened up to {}, found {end}", self.model.certain);
        let last = self.model.appended.keys().last().map_or(self.model.base, |&l| l);
        assert!(end <= last, "appended up to {last}, found {end}");
        assert!(recovery.first.0 > self.model.base && recovery.first.0 <= end + 1);
        let mut next = recovery.first.0;
        for record in journal.records_after(Lsn(next - 1)) {
            let record = match record {
                Ok(record) => record,
                Err(_) if self.disk.power_is_off() => {
                    next = end + 1;
                    break;
                }
                Err(error) => panic!("{error}"),
            };
            assert_eq!(record.lsn().0, next);
            assert_eq!(record.header().committed_at.0, self.model.appended[&next], "record {next}");
            next += 1;
        }
        assert_eq!(next, end + 1);
        self.model.appended.retain(|&lsn, _| lsn <= end);
        self.model.certain = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_was_reported_hardened_survives_and_whatever_survives_was_appended(
        lives in prop::collection::vec(
            (prop::collection::vec(step(), 0..25), 1u64..150, any::<u64>()), 1..6),
    ) {
        let mut world = World {
            disk: MemoryDisk::new(1 << 30),
            model: Model::default(),
            other: None,
            reported: Arc::default(),
            seed: 0,
        };
        for (steps, fuse, seed) in lives {
            world.disk.power_fails_after(fuse);
            world.live(&steps);
            // A killed process loses nothing at once, but leaves the next one things that are not durable.
            if seed % 3 == 0 { world.disk.kill() } else { world.disk.restart(seed) }
        }
        // Nothing fails any more: the journal must open, and what it says it has must stay.
        let (journal, recovery) = world.open().unwrap();
        world.check(&journal, &recovery);
        world.disk.restart(7);
        drop(journal);
        let (journal, recovery) = world.open().unwrap();
        world.check(&journal, &recovery);
        append_up_to(&journal, recovery.end.0 + 50);
    }

    #[test]
    fn a_control_file_says_the_old_or_the_new_and_after_a_save_the_new(
        fuses in prop::collection::vec((1u64..12, any::<u64>()), 1..20),
    ) {
        let disk = MemoryDisk::new(1 << 20);
        let dir = Path::new("/data");
        disk.create_dir(dir).unwrap();
        let control = ControlFile::<Vec<u64>>::new(Arc::new(disk.clone()), &dir.join("control"));
        let mut saved: Option<u64> = None;
        for (round, (fuse, seed)) in (0u64..).zip(fuses) {
            disk.power_fails_after(fuse);
            let mut tried = saved;
            for version in round * 100..round * 100 + 3 {
                tried = Some(version);
                // Long enough for many sectors, so that a torn one would show.
                if control.save(&vec![version; 500]).is_err() {
                    break;
                }
                saved = tried;
            }
            if seed % 3 == 0 {
                disk.kill();
                prop_assert!(control.load().unwrap().is_some() || saved.is_none());
                let seen = control.load().unwrap();
                disk.restart(seed);
                prop_assert_eq!(&control.load().unwrap(), &seen, "what was acted on was taken back");
            } else {
                disk.restart(seed);
            }
            let found = control.load().unwrap();
            prop_assert!(found.is_some() || saved.is_none());
            if let Some(found) = &found {
                prop_assert!(Some(found[0]) == saved || Some(found[0]) == tried);
                prop_assert_eq!(found, &vec![found[0]; 500]);
            }
            saved = found.map(|found| found[0]);
        }
    }
}

#[test]
fn a_control_file_is_written_on_a_full_disk_and_after_a_failed_sync_neither_copy_is_written_into() {
    let dir = Path::new("/data");
    for failing in 1..=4 {
        for seed in 0..20 {
            let disk = MemoryDisk::new(1 << 20);
            disk.create_dir(dir).unwrap();
            let control = ControlFile::<u64>::new(Arc::new(disk.clone()), &dir.join("control"));
            control.save(&1).unwrap();
            disk.set_capacity(0);
            control.save(&2).unwrap();
            disk.fail_sync(failing);
            // One of these meets the failing sync; the one after it finds no space, or the power.
            let mut possible = vec![2];
            for version in 3..6 {
                possible.push(version);
                if control.save(&version).is_ok() {
                    possible = vec![version];
                } else {
                    disk.power_fails_after(1 + seed % 3);
                }
            }
            disk.restart(seed);
            let found = control.load().unwrap().unwrap();
            assert!(possible.contains(&found), "{found} of {possible:?}");
        }
    }
}

#[test]
fn power_that_fails_at_any_single_moment_of_a_reset_leaves_the_old_journal_or_the_new() {
    let session = SessionId(9);
    let (mut old, mut new) = (0, 0);
    for (fuse, seed) in (1..40).flat_map(|fuse| (0..5).map(move |seed| (fuse, seed))) {
        let disk = MemoryDisk::new(1 << 30);
        let (journal, _) = open_on(Arc::new(disk.clone()), Path::new(DIR), tiny()).unwrap();
        append_up_to(&journal, 60);
        disk.power_fails_after(fuse);
        let done = journal.reset(Lsn(30), session).is_ok();
        drop(journal);
        disk.restart(seed);
        let open = |session| {
            Journal::open(Arc::new(disk.clone()), Path::new(DIR), tiny(), session, Box::new(|_| {}))
        };
        match open(SESSION) {
            Ok((_, recovery)) => {
                assert!(!done, "a finished reset was undone");
                assert_eq!((recovery.first, recovery.end), (Lsn(1), Lsn(60)));
                old += 1;
            }
            Err(OpenError::Session { found, .. }) if found == session => {
                let (_, recovery) = open(session).unwrap();
                assert_eq!((recovery.first, recovery.end), (Lsn(31), Lsn(30)));
                new += 1;
            }
            Err(error) => panic!("fuse {fuse}, seed {seed}: {error}"),
        }
    }
    assert!(old > 5 && new > 5, "{old} old, {new} new");
}

/// The story: recovery after a killed process read records that only the kernel's memory held, wrote the frame that
/// proves them hardened, and synced both at once. A power failure in that sync kept the frame and lost a record, and
/// the next start refused a journal that had lost nothing confirmed.
#[test]
fn a_power_failure_right_after_the_recovery_from_a_kill_damages_nothing() {
    for (fuse, seed) in (1..12).flat_map(|fuse| (0..40).map(move |seed| (fuse, seed))) {
        let disk = MemoryDisk::new(1 << 30);
        let open = || open_on(Arc::new(disk.clone()), Path::new(DIR), tiny());
        let (journal, _) = open().unwrap();
        append_up_to(&journal, 5);
        // The write reaches the kernel, its sync does not happen.
        disk.power_fails_after(2);
        journal.append_records((6..=12).map(|lsn| sealed(lsn, epoch(1, 1))).collect()).unwrap();
        assert!(journal.wait_hardened(Lsn(12)).is_err());
        drop(journal);
        disk.kill();
        disk.power_fails_after(fuse);
        let seen = open().map(|(_, recovery)| recovery.end);
        disk.restart(seed);
        let (_, recovery) = open().unwrap();
        assert!(recovery.end >= Lsn(5));
        if let Ok(seen) = seen {
            assert_eq!(recovery.end, seen, "what recovery reported was not hardened");
        }
    }
}
