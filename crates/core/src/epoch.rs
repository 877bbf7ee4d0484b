//! Epochs: who was principal, since which position. Two servers that compare their histories know
//! exactly up to which record they hold the same journal.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Lsn, ServerId};

/// One principal's time in office. Compared by term, then start, then server.
///
/// - `term` grows by one at every failover and promotion;
/// - `start` grows, by a stride drawn at random, at every start-up of an acting principal;
/// - `server` breaks the tie of two servers that were promoted apart from each other.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Epoch {
    /// Counts failovers and promotions.
    pub term: u32,
    /// Counts start-ups within the term.
    pub start: u32,
    /// The principal of this epoch.
    pub server: ServerId,
}

impl Epoch {
    /// No term is higher in an epoch that a partner may speak of, so that what follows it can always be counted.
    pub const TERM_MOST: u32 = u32::MAX / 2;

    /// The epoch of `server` after it starts up again as the acting principal. `stride` is drawn at random at each
    /// start, so that two copies of one data directory do not name different events alike.
    ///
    /// # Panics
    /// After two thousand million terms, which no server lives to see and no partner is believed.
    #[must_use]
    pub fn restarted(self, server: ServerId, stride: u16) -> Epoch {
        match self.start.checked_add(1 + u32::from(stride)) {
            Some(start) => Epoch { term: self.term, start, server },
            // Tens of thousands of starts within one term: the next one has room again.
            None => self.taken_over(server, stride),
        }
    }

    /// The epoch of `server` after it takes over from whoever held this one.
    ///
    /// # Panics
    /// As [`restarted`](Self::restarted).
    #[must_use]
    pub fn taken_over(self, server: ServerId, stride: u16) -> Epoch {
        let term = self.term.checked_add(1).expect("terms cannot run out in the life of a session");
        Epoch { term, start: 1 + u32::from(stride), server }
    }

    /// Whether `next` is an epoch that [`taken_over`](Self::taken_over) gives to `server`, whatever the stride.
    #[must_use]
    pub fn hands_over_to(self, next: Epoch, server: ServerId) -> bool {
        self.term.checked_add(1) == Some(next.term) && next.start > 0 && next.server == server
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.start)
    }
}

/// Every epoch of a journal with the position it began after, oldest first.
///
/// Invariants: epochs strictly grow, positions never shrink.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EpochHistory(Vec<(Epoch, Lsn)>);

impl EpochHistory {
    /// The newest epoch, if there was any.
    #[must_use]
    pub fn current(&self) -> Option<Epoch> {
        self.0.last().map(|&(epoch, _)| epoch)
    }

    /// All entries, oldest first: the epoch and the last position before it.
    #[must_use]
    pub fn entries(&self) -> &[(Epoch, Lsn)] {
        &self.0
    }

    /// Notes that `epoch` began after `last`, the journal's end at that moment.
    ///
    /// # Panics
    /// If the epoch is not higher than the current one, or `last` lies before an earlier beginning: both are
    /// errors of the caller, who must cut the history first.
    pub fn begin(&mut self, epoch: Epoch, last: Lsn) {
        if let Some(&(newest, began)) = self.0.last() {
            assert!(epoch > newest, "epoch {epoch} does not follow {newest}");
            assert!(
                last >= began,
                "epoch {epoch} begins after {last}, before {newest} which began after {began}"
            );
        }
        self.0.push((epoch, last));
    }

    /// Forgets every epoch that began after `end`: the journal was cut there, or never reached them.
    pub fn cut(&mut self, end: Lsn) {
        self.0.retain(|&(_, began)| began <= end);
    }

    /// The epoch that the record at `lsn` was written in, as far as this history tells.
    #[must_use]
    pub fn epoch_at(&self, lsn: Lsn) -> Option<Epoch> {
        self.0.iter().rev().find(|&&(_, began)| began < lsn).map(|&(epoch, _)| epoch)
    }

    /// Whether the two tell of one epoch alike, so that what they describe has a common origin.
    #[must_use]
    pub fn shares_an_epoch(&self, other: &EpochHistory) -> bool {
        self.0.iter().any(|entry| other.0.contains(entry))
    }

    /// Whether this is a history at all: epochs grow, positions do not shrink. What a partner sends need not be.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.0.is_sorted_by(|(epoch, began), (next, later)| epoch < next && began <= later)
    }

    /// Where the entry at `index` ends: where the next one began, or `end` for the last.
    fn ends(&self, index: usize, end: Lsn) -> Lsn {
        self.0.get(index + 1).map_or(end, |&(_, began)| began)
    }

    /// The last position up to which two journals are the same, given each one's end.
    ///
    /// The journals agree as long as their records were written in the same epochs, because (epoch, LSN)
    /// names one event forever. Histories that share nothing agree on nothing but the empty journal.
    #[must_use]
    pub fn common(&self, end: Lsn, other: &EpochHistory, other_end: Lsn) -> Lsn {
        for (index, &(epoch, began)) in self.0.iter().enumerate().rev() {
            let Some(theirs) = other.0.iter().position(|&(e, b)| e == epoch && b == began) else {
                continue;
            };
            let shared = self.ends(index, end).min(other.ends(theirs, other_end)).max(began);
            // A history may be ahead of its journal: a mirror adopts the principal's before the records come.
            return shared.min(end).min(other_end);
        }
        Lsn::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(term: u32, start: u32) -> Epoch {
        Epoch { term, start, server: ServerId(u64::from(term)) }
    }

    fn history(entries: &[(u32, u32, u64)]) -> EpochHistory {
        let mut history = EpochHistory::default();
        for &(term, start, last) in entries {
            history.begin(epoch(term, start), Lsn(last));
        }
        history
    }

    #[test]
    fn a_term_outranks_any_start_of_the_term_before() {
        assert!(epoch(2, 1) > epoch(1, 99));
        assert!(epoch(1, 2) > epoch(1, 1));
        let (a, b) = (ServerId(1), ServerId(2));
        let old = Epoch { term: 1, start: 1, server: a };
        assert!(old.taken_over(b, 0) > old.taken_over(a, 0), "the server breaks the tie");
        assert!(old.taken_over(b, 0) > old.restarted(a, u16::MAX));
    }

    #[test]
    fn a_mirror_that_is_behind_shares_all_it_has() {
        let ours = history(&[(1, 1, 0), (1, 2, 50)]);
        let theirs = history(&[(1, 1, 0)]);
        assert_eq!(ours.common(Lsn(80), &theirs, Lsn(40)), Lsn(40));
        assert_eq!(theirs.common(Lsn(40), &ours, Lsn(80)), Lsn(40));
    }

    #[test]
    fn a_mirror_with_an_unconfirmed_tail_shares_up_to_the_next_epoch() {
        let ours = history(&[(1, 1, 0), (1, 2, 50)]);
        let theirs = history(&[(1, 1, 0)]);
        assert_eq!(ours.common(Lsn(50), &theirs, Lsn(55)), Lsn(50));
    }

    #[test]
    fn a_deposed_principal_shares_up_to_where_the_new_term_began() {
        let promoted = history(&[(1, 1, 0), (2, 1, 100)]);
        let deposed = history(&[(1, 1, 0), (1, 2, 120)]);
        assert_eq!(promoted.common(Lsn(300), &deposed, Lsn(150)), Lsn(100));
    }

    #[test]
    fn servers_promoted_apart_share_what_came_before() {
        let mut a = history(&[(1, 1, 0)]);
        let mut b = a.clone();
        a.begin(Epoch { term: 2, start: 1, server: ServerId(7) }, Lsn(10));
        b.begin(Epoch { term: 2, start: 1, server: ServerId(8) }, Lsn(10));
        assert_eq!(a.common(Lsn(20), &b, Lsn(30)), Lsn(10));
    }

    #[test]
    fn a_history_that_is_ahead_of_its_journal_does_not_raise_the_common_position() {
        let ours = history(&[(1, 1, 0), (1, 2, 50)]);
        let theirs = ours.clone();
        assert_eq!(ours.common(Lsn(80), &theirs, Lsn(40)), Lsn(40));
        assert_eq!(theirs.common(Lsn(40), &ours, Lsn(80)), Lsn(40));
        let mut cut = theirs.clone();
        cut.cut(Lsn(40));
        assert_eq!(cut, history(&[(1, 1, 0)]));
    }

    #[test]
    fn strangers_share_nothing() {
        let ours = history(&[(1, 1, 0)]);
        let mut theirs = EpochHistory::default();
        theirs.begin(Epoch { term: 1, start: 1, server: ServerId(99) }, Lsn::ZERO);
        assert_eq!(ours.common(Lsn(9), &theirs, Lsn(9)), Lsn::ZERO);
    }

    #[test]
    fn the_epoch_of_a_record_is_the_newest_that_began_before_it() {
        let ours = history(&[(1, 1, 0), (1, 2, 50)]);
        assert_eq!(ours.epoch_at(Lsn(50)), Some(epoch(1, 1)));
        assert_eq!(ours.epoch_at(Lsn(51)), Some(epoch(1, 2)));
        assert_eq!(ours.epoch_at(Lsn::ZERO), None);
    }
}
