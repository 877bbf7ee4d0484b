//! What holds for every sequence of things that are seen, and the story of a figure.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    send_queue: Some(100),
    redo_queue: None,
    oldest_unsent: None,
    commit_overhead: Some(10),
    disk_free: Some(1000),
};

fn seen(cause: Cause, how: How) -> Seen {
    Seen { cause, partner: None, how, text: format!("{cause} {how:?}") }
}

/// What is told of a figure's values, one after the other.
fn told(cause: Cause, values: &[u64]) -> Vec<Option<Step>> {
    let mut alarms = Alarms::default();
    let mut see = |value: &u64| {
        alarms
            .see(UnixMicros(1), &LIMITS, seen(cause, How::Figure(*value)))
            .map(|change| change.step)
    };
    values.iter().map(&mut see).collect()
}

#[test]
fn a_figure_is_told_at_its_limit_and_at_each_multiple_and_is_over_when_it_is_well_below() {
    use Step::{Again, Cleared, Raised};
    let values = [99, 100, 150, 199, 200, 120, 250, 300, 720, 650, 90, 80, 79, 99, 100];
    let expected = [
        None,
        Some(Raised),
        None,
        None,
        Some(Again),
        None,
        None,
        Some(Again),
        Some(Again),
        None,
        None,
        None,
        Some(Cleared),
        None,
        Some(Raised),
    ];
    assert_eq!(told(Cause::SendQueue, &values), expected);
}

#[test]
fn what_should_be_plenty_is_told_at_the_limit_and_at_each_fraction_of_it() {
    use Step::{Again, Cleared, Raised};
    let values = [1000, 999, 501, 500, 400, 333, 0, 1100, 1199, 1200];
    let expected = [
        None,
        Some(Raised),
        None,
        Some(Again),
        None,
        Some(Again),
        Some(Again),
        None,
        None,
        Some(Cleared),
    ];
    assert_eq!(told(Cause::DiskLow, &values), expected);
}

#[test]
fn a_figure_without_a_limit_is_no_alarm_and_one_that_loses_its_limit_is_over() {
    assert_eq!(told(Cause::RedoQueue, &[u64::MAX]), [None]);
    let mut alarms = Alarms::default();
    let high = || seen(Cause::SendQueue, How::Figure(500));
    assert!(alarms.see(UnixMicros(1), &LIMITS, high()).is_some());
    let none = Limits { send_queue: Some(0), ..LIMITS };
    assert_eq!(alarms.see(UnixMicros(2), &none, high()).unwrap().step, Step::Cleared);
}

#[test]
fn who_knows_of_an_alarm_does_not_know_of_a_worse_one() {
    let mut alarms = Alarms::default();
    alarms.see(UnixMicros(1), &LIMITS, seen(Cause::SendQueue, How::Figure(100)));
    let known = alarms.acknowledge(UnixMicros(2), 1, "ann").unwrap().alarm;
    assert_eq!(known.acknowledged.unwrap().by, "ann");
    let worse =
        alarms.see(UnixMicros(3), &LIMITS, seen(Cause::SendQueue, How::Figure(200))).unwrap();
    assert_eq!((worse.step, worse.alarm.id, worse.alarm.times), (Step::Again, 1, 2));
    assert_eq!((worse.alarm.acknowledged, worse.alarm.worst), (None, Some(200)));
    assert_eq!(alarms.acknowledge(UnixMicros(4), 7, "ann"), Err(AcknowledgeError::NotActive(7)));
}

#[test]
fn what_has_happened_is_over_when_somebody_knows_of_it_and_not_because_it_is_not_seen() {
    let mut alarms = Alarms::default();
    let happened = || seen(Cause::RoleChanged, How::Happened);
    assert_eq!(alarms.see(UnixMicros(1), &LIMITS, happened()).unwrap().step, Step::Raised);
    assert_eq!(alarms.see(UnixMicros(2), &LIMITS, happened()).unwrap().step, Step::Again);
    assert_eq!(alarms.watch(UnixMicros(3), &LIMITS, vec![]), []);
    let known = alarms.acknowledge(UnixMicros(4), 1, "ann").unwrap();
    assert_eq!(known.alarm.cleared, Some(UnixMicros(4)));
    assert_eq!((alarms.active().len(), alarms.history().count()), (0, 1));
}

#[test]
fn what_is_watched_and_not_seen_any_more_is_over() {
    let mut alarms = Alarms::default();
    alarms.watch(UnixMicros(1), &LIMITS, vec![seen(Cause::PartnerLost, How::Holds(true))]);
    let changes = alarms.watch(UnixMicros(2), &LIMITS, vec![]);
    assert_eq!(changes.iter().map(|change| change.step).collect::<Vec<_>>(), [Step::Cleared]);
}

#[test]
fn the_history_is_bounded_and_keeps_the_newest() {
    let mut alarms = Alarms::default();
    for n in 0..KEPT as u64 + 10 {
        for holds in [true, false] {
            alarms.see(UnixMicros(n), &LIMITS, seen(Cause::Exposed, How::Holds(holds)));
        }
    }
    let ids: Vec<u64> = alarms.history().map(|alarm| alarm.id).collect();
    assert_eq!((ids.len(), ids[0], ids[KEPT - 1]), (KEPT, 11, KEPT as u64 + 10));
}

fn anything() -> impl Strategy<Value = (bool, Vec<(usize, u8, u64, u64)>)> {
    // Whether it is a whole watch; cause, partner, kind, and a value around the limits.
    let one =
        (0..Cause::ALL.len(), 0u8..3, 0u64..4, prop_oneof![0u64..12, 60u64..450, 300u64..1300]);
    (any::<bool>(), proptest::collection::vec(one, 0..6))
}

proptest! {
    #[test]
    fn alarms_keep_their_rules_whatever_is_seen(
        steps in proptest::collection::vec((anything(), proptest::option::of(0u64..30)), 0..40),
    ) {
        let mut alarms = Alarms::default();
        let mut open: BTreeMap<Subject, u64> = BTreeMap::new();
        let mut multiples: BTreeMap<u64, u64> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for (now, ((whole, all), acknowledge)) in steps.into_iter().enumerate() {
            let at = UnixMicros(now as u64);
            let all: Vec<Seen> = all.into_iter().map(|(cause, partner, kind, value)| {
                let cause = Cause::ALL[cause];
                let figure = LIMITS.of(cause).is_some();
                let how = match kind {
                    _ if figure => How::Figure(value),
                    0 if !cause.is_watched() => How::Happened,
                    kind => How::Holds(kind != 1),
                };
                Seen { partner: Some(ServerId(partner.into())), ..seen(cause, how) }
            }).collect();
            // Whatever reaches its limit is active afterwards, however short the peak was.
            let peaks: Vec<(Subject, u64)> = all.iter().filter_map(|seen| match seen.how {
                How::Figure(value) => {
                    let multiple = seen.cause.multiple(value, LIMITS.of(seen.cause)?);
                    (multiple > 0).then_some(((seen.cause, seen.partner), multiple))
                }
                _ => None,
            }).collect();
            let mut changes = if whole {
                alarms.watch(at, &LIMITS, all)
            } else {
                all.into_iter().filter_map(|seen| alarms.see(at, &LIMITS, seen)).collect()
            };
            if let Some(id) = acknowledge {
                changes.extend(alarms.acknowledge(at, id, "x").ok());
            }
            for change in &changes {
                let (alarm, subject) = (&change.alarm, (change.alarm.cause, change.alarm.partner));
                match change.step {
                    Step::Raised => {
                        prop_assert!(ids.insert(alarm.id), "an id is given once");
                        prop_assert_eq!(open.insert(subject, alarm.id), None, "one for each subject");
                        multiples.insert(alarm.id, alarm.multiple);
                    }
                    Step::Again => {
                        prop_assert_eq!(open.get(&subject), Some(&alarm.id));
                        let before = multiples.insert(alarm.id, alarm.multiple).unwrap();
                        prop_assert!(alarm.limit.is_none() || alarm.multiple > before);
                    }
                    Step::Acknowledged => {
                        prop_assert_eq!(open.get(&subject), Some(&alarm.id));
                        if alarm.cleared.is_some() {
                            open.remove(&subject);
                        }
                    }
                    Step::Cleared => {
                        prop_assert_eq!(open.remove(&subject), Some(alarm.id), "it was raised");
                        prop_assert_eq!(alarm.cleared, Some(at));
                    }
                }
            }
            for (subject, multiple) in peaks {
                let told = changes.iter().any(|change| {
                    (change.alarm.cause, change.alarm.partner) == subject
                        && change.alarm.multiple >= multiple
                });
                let known = alarms.active().iter().any(|alarm| {
                    (alarm.cause, alarm.partner) == subject && alarm.multiple >= multiple
                });
                prop_assert!(told || known, "a peak counts: {:?} × {}", subject, multiple);
            }
            let active: BTreeMap<Subject, u64> =
                alarms.active().iter().map(|alarm| ((alarm.cause, alarm.partner), alarm.id)).collect();
            prop_assert_eq!(active.len(), alarms.active().len());
            prop_assert_eq!(&active, &open);
            prop_assert!(alarms.history().all(|alarm| alarm.cleared.is_some()));
        }
    }
}
