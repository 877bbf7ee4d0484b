//! When positions were reached, so that it is known how long each took to get further.
//!
//! Its memory is bounded and taken at once: who waits for a mirror that is away must not take more of it for each commit.

use std::{collections::VecDeque, time::Duration};

use counterpart_core::Lsn;

/// Positions that are remembered. A group commit makes one, so this is more than is ever under way between servers that keep up.
const REMEMBERED: usize = 1024;

/// The positions that were reached at one place and not yet at the next.
///
/// - positions and times ascend, and all positions are above `passed`;
/// - with too many, pairs become one with the later position and the *earlier* time: an age is never understated.
#[derive(Debug)]
pub(crate) struct Trail {
    passed: Lsn,
    reached: Lsn,
    entries: VecDeque<(Lsn, Duration)>,
}

impl Trail {
    /// One that begins at this position.
    pub(crate) fn new(at: Lsn) -> Trail {
        Trail { passed: at, reached: at, entries: VecDeque::with_capacity(REMEMBERED) }
    }

    /// Forgets everything and begins at this position: positions before and after it have nothing to do with each other.
    pub(crate) fn restart(&mut self, at: Lsn) {
        self.entries.clear();
        (self.passed, self.reached) = (at, at);
    }

    /// The first place has reached `lsn`; says how many of the new events were further already, and so took no time.
    pub(crate) fn reach(&mut self, lsn: Lsn, now: Duration) -> u64 {
        if lsn <= self.reached {
            return 0;
        }
        let before = std::mem::replace(&mut self.reached, lsn);
        if lsn > self.passed {
            if self.entries.len() == REMEMBERED {
                self.thin();
            }
            self.entries.push_back((lsn, now));
        }
        lsn.min(self.passed).since(before)
    }

    /// The next place has reached `lsn`; says of how many events it was news, and how long the oldest of each group took.
    pub(crate) fn pass(&mut self, lsn: Lsn, now: Duration, mut took: impl FnMut(u64, Duration)) {
        while let Some((end, at)) = self.entries.front().copied().filter(|_| self.passed < lsn) {
            let up_to = end.min(lsn);
            took(up_to.since(self.passed), now.saturating_sub(at));
            self.passed = up_to;
            if end <= lsn {
                self.entries.pop_front();
            }
        }
        self.passed = self.passed.max(lsn);
    }

    /// Since when the oldest that has not passed waits.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.entries.front().map(|(_, at)| *at)
    }

    fn thin(&mut self) {
        let half = self.entries.len() / 2;
        for index in 0..half {
            self.entries[index] = (self.entries[2 * index + 1].0, self.entries[2 * index].1);
        }
        self.entries.truncate(half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn passed(trail: &mut Trail, lsn: u64, now: u64) -> Vec<(u64, u64)> {
        let mut told = Vec::new();
        trail.pass(Lsn(lsn), at(now), |events, took| told.push((events, took.as_secs())));
        told
    }

    #[test]
    fn each_event_is_told_once_with_the_time_since_its_group_was_reached() {
        let mut trail = Trail::new(Lsn(10));
        trail.reach(Lsn(12), at(1));
        trail.reach(Lsn(15), at(3));
        assert_eq!(trail.oldest(), Some(at(1)));
        assert_eq!(passed(&mut trail, 11, 4), [(1, 3)]);
        assert_eq!(passed(&mut trail, 14, 5), [(1, 4), (2, 2)]);
        assert_eq!(passed(&mut trail, 14, 6), []);
        assert_eq!(passed(&mut trail, 20, 7), [(1, 4)]);
        assert_eq!(trail.oldest(), None);
    }

    #[test]
    fn who_was_there_first_waits_for_nobody_and_is_told_all_the_same() {
        let mut trail = Trail::new(Lsn(0));
        assert_eq!(passed(&mut trail, 5, 1), []);
        assert_eq!((trail.reach(Lsn(4), at(9)), trail.oldest()), (4, None));
        assert_eq!((trail.reach(Lsn(6), at(9)), trail.oldest()), (1, Some(at(9))));
        assert_eq!(passed(&mut trail, 6, 9), [(1, 0)]);
    }

    #[test]
    fn with_more_than_can_be_remembered_no_event_is_lost_and_no_age_understated() {
        let mut trail = Trail::new(Lsn(0));
        let many = 10 * REMEMBERED as u64;
        for lsn in 1..=many {
            trail.reach(Lsn(lsn), at(lsn));
            assert!(trail.entries.len() <= REMEMBERED && trail.entries.capacity() == REMEMBERED);
        }
        assert_eq!(trail.oldest(), Some(at(1)), "the oldest is known exactly");
        let (mut events, mut position) = (0, 0);
        trail.pass(Lsn(many), at(many), |of, took| {
            let oldest_of_group = position + 1;
            assert!(took >= at(many - oldest_of_group), "{took:?} at {position}");
            (events, position) = (events + of, position + of);
        });
        assert_eq!(events, many);
    }

    #[test]
    fn nothing_is_told_across_a_restart() {
        let mut trail = Trail::new(Lsn(0));
        trail.reach(Lsn(5), at(1));
        trail.restart(Lsn(3));
        assert_eq!((passed(&mut trail, 5, 9), trail.oldest()), (vec![], None));
    }
}
