//! The peaks of the last minute, second by second, so that whoever asks at least once a minute misses none,
//! however many others ask.

use std::collections::{BTreeMap, VecDeque};

use counterpart_core::ServerId;

/// Seconds that are remembered.
const REMEMBERED: usize = 60;

/// The peaks of one second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Second {
    /// What confirming by the mirror added to a commit, in microseconds.
    pub(crate) overhead: u64,
    /// From hardened to applied on this mirror, in microseconds.
    pub(crate) applying: u64,
    /// Events hardened and not applied on this mirror.
    pub(crate) redo_queue: u64,
    /// Of each mirror: events not sent, and the time to send in microseconds.
    pub(crate) mirrors: BTreeMap<ServerId, (u64, u64)>,
}

impl Second {
    fn raise(&mut self, other: &Second) {
        self.overhead = self.overhead.max(other.overhead);
        self.applying = self.applying.max(other.applying);
        self.redo_queue = self.redo_queue.max(other.redo_queue);
        for (server, (queue, sending)) in &other.mirrors {
            let mine = self.mirrors.entry(*server).or_default();
            *mine = (mine.0.max(*queue), mine.1.max(*sending));
        }
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Peaks(VecDeque<Second>);

impl Peaks {
    /// One second is over.
    pub(crate) fn push(&mut self, second: Second) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(second);
    }

    /// The highest of the last minute, and of the second that is not over.
    pub(crate) fn highest(&self, mut current: Second) -> Second {
        for second in &self.0 {
            current.raise(second);
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_seen_for_a_minute_and_then_no_more() {
        let mut peaks = Peaks::default();
        let high = Second {
            overhead: 9,
            mirrors: BTreeMap::from([(ServerId(1), (5, 7))]),
            ..Second::default()
        };
        peaks.push(high.clone());
        for _ in 0..REMEMBERED - 1 {
            peaks.push(Second { redo_queue: 3, ..Second::default() });
        }
        assert_eq!(peaks.highest(Second::default()), Second { redo_queue: 3, ..high });
        peaks.push(Second::default());
        assert_eq!(peaks.highest(Second::default()).overhead, 0);
    }
}
