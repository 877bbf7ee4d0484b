//! How a mirror that joins is brought level: a pure choice from what both sides hold.

use super::OwnStarts;
use crate::{
    epoch::{Epoch, EpochHistory},
    ids::{Lsn, ServerId},
    message::{About, DataState, SeedProgress},
};

/// What the principal has to offer.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The principal.
    pub server: ServerId,
    /// The epochs of its journal.
    pub history: &'a EpochHistory,
    /// What it remembers of its own epochs.
    pub own_starts: &'a OwnStarts,
    /// Hardened up to here.
    pub hardened: Lsn,
    /// Its journal has the records after this position.
    pub journal_after: Lsn,
}

/// A gap of at most this many events is always closed by the journal; above it the driver is asked what is cheaper.
pub const FEW_EVENTS: u64 = 4_096;

/// The way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CatchUp {
    /// Cut the mirror's journal to this position, then send the records after it.
    Journal {
        /// The common position.
        after: Lsn,
    },
    /// The journal or the pages, whatever is less.
    Either {
        /// The common position; the journal would follow from here.
        after: Lsn,
        /// The pages that are newer than this would follow.
        base: Lsn,
    },
    /// Copy the pages that differ beside what the mirror has, and the journal since.
    Pages {
        /// The common position; what the mirror has above it is not in the copy.
        common: Lsn,
        /// The mirror's files hold everything up to here, and all of it is common. `None`: compare.
        since: Option<Lsn>,
    },
    /// Copy everything.
    Seed {
        /// The mirror's journal is kept up to here (only when resuming; else it is emptied anyway).
        truncate_to: Lsn,
        /// The interrupted seed to go on with.
        resume: Option<Box<SeedProgress>>,
    },
    /// The mirror holds events that this principal does not have and that must not be dropped silently.
    Diverged {
        /// Both have the same events up to here.
        common: Lsn,
    },
    /// The mirror has applied events that this principal wrote in its present term and does not have any more.
    RolledBack {
        /// Both have the same events up to here.
        common: Lsn,
    },
    /// The mirror's data and the principal's never had anything in common.
    NoCommonOrigin,
}

/// Chooses the way for a mirror that describes itself as `mirror`.
#[must_use]
pub fn choose(offer: Offer<'_>, mirror: &About) -> CatchUp {
    let common = common(offer, mirror, mirror.end);
    match &mirror.data {
        DataState::Empty if mirror.has_spool => CatchUp::Pages { common: mirror.end, since: None },
        DataState::Empty => fresh(mirror),
        DataState::Consistent => consistent(offer, mirror, common),
        DataState::Seeding(progress) => resume(offer, mirror, progress, common),
    }
}

fn consistent(offer: Offer<'_>, mirror: &About, common: Lsn) -> CatchUp {
    if !offer.history.shares_an_epoch(&mirror.history) {
        return CatchUp::NoCommonOrigin;
    }
    if is_rolled_back(offer, mirror, common) {
        return CatchUp::RolledBack { common };
    }
    // What a deposed principal served, or anyone applied, may have been seen by users.
    if (mirror.deposed && common < mirror.end) || common < mirror.applied {
        return match mirror.orphans_saved {
            true => CatchUp::Pages { common, since: None },
            false => CatchUp::Diverged { common },
        };
    }
    // Files that hold more than what is common hold what nobody knows to be older or newer: they are compared.
    let since = (mirror.base <= common).then_some(mirror.base);
    match since {
        _ if offer.journal_after > common => CatchUp::Pages { common, since },
        Some(base) if offer.hardened.since(common) > FEW_EVENTS => {
            CatchUp::Either { after: common, base }
        }
        _ => CatchUp::Journal { after: common },
    }
}

/// Whether the mirror has applied, above what is common, events that this principal wrote in the very term that it
/// holds now. What is applied was hardened by the principal first, and it starts after all that it has hardened: so it
/// has them, unless its disk is an older one. The same goes for what the mirror has only received, if it knows an epoch
/// of this principal that this principal does not: none is told of before it is durable.
pub(super) fn is_rolled_back(offer: Offer<'_>, mirror: &About, common: Lsn) -> bool {
    let own = |epoch: Option<Epoch>| {
        epoch.is_some_and(|epoch| {
            let term = offer.history.current().map(|current| current.term);
            epoch.server == offer.server && Some(epoch.term) == term
        })
    };
    let forgotten =
        |&(epoch, _): &(Epoch, Lsn)| epoch.server == offer.server && offer.own_starts.lack(epoch);
    if mirror.end > common && mirror.history.entries().iter().any(forgotten) {
        return true;
    }
    mirror.applied > common
        && own(mirror.history.epoch_at(common.next()))
        && own(offer.history.epoch_at(common.next()))
}

fn fresh(mirror: &About) -> CatchUp {
    CatchUp::Seed { truncate_to: mirror.end, resume: None }
}

/// An interrupted seed goes on if every page it copied shows only events of this principal's history, and the
/// journal still has what follows the mirror's end.
fn resume(offer: Offer<'_>, mirror: &About, progress: &SeedProgress, journal: Lsn) -> CatchUp {
    let shown = progress.copied_at.max(progress.mark);
    let shared = common(offer, mirror, mirror.end.max(shown));
    let usable = progress.journal_reset
        && shared >= shown
        && journal >= progress.mark
        && offer.journal_after <= journal;
    match (usable, progress.consistent_at) {
        (false, _) => fresh(mirror),
        // The pages are all there: what is missing is journal.
        (true, Some(_)) => CatchUp::Journal { after: journal },
        (true, None) => {
            CatchUp::Seed { truncate_to: journal, resume: Some(Box::new(progress.clone())) }
        }
    }
}

pub(super) fn common(offer: Offer<'_>, mirror: &About, mirror_end: Lsn) -> Lsn {
    // Within one start of the principal all that a mirror has came from this very journal, some of it perhaps
    // before the local fsync.
    let end = if mirror.history.current() == offer.history.current() {
        offer.hardened.max(mirror_end)
    } else {
        offer.hardened
    };
    offer.history.common(end, &mirror.history, mirror_end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::SessionId, message::Role, session::Durable};

    fn history(entries: &[(u32, u64)]) -> EpochHistory {
        let mut history = EpochHistory::default();
        for &(term, began) in entries {
            let server = ServerId(u64::from(term));
            history.begin(Epoch { term, start: 1, server }, Lsn(began));
        }
        history
    }

    fn mirror(entries: &[(u32, u64)], end: u64, applied: u64, data: DataState) -> About {
        About {
            server: ServerId(9),
            session: SessionId(1),
            role: Role::Mirror,
            epoch: Epoch::default(),
            history: history(entries),
            end: Lsn(end),
            hardened: Lsn(end),
            applied: Lsn(applied),
            base: Lsn(applied),
            data,
            deposed: false,
            orphans_saved: false,
            has_spool: false,
            partner_address: String::new(),
            client_url: String::new(),
            build: String::new(),
        }
    }

    fn chosen(ours: &[(u32, u64)], hardened: u64, after: u64, mirror: &About) -> CatchUp {
        let history = history(ours);
        let server = history.current().unwrap().server;
        let (hardened, journal_after) = (Lsn(hardened), Lsn(after));
        let own_starts = &OwnStarts::default();
        choose(Offer { server, history: &history, own_starts, hardened, journal_after }, mirror)
    }

    #[test]
    fn a_mirror_within_the_journal_gets_the_journal() {
        let mirror = mirror(&[(1, 0)], 40, 40, DataState::Consistent);
        assert_eq!(chosen(&[(1, 0)], 80, 40, &mirror), CatchUp::Journal { after: Lsn(40) });
    }

    #[test]
    fn a_mirror_behind_the_journal_gets_the_pages_that_are_newer_than_its_files() {
        let mut mirror = mirror(&[(1, 0)], 40, 40, DataState::Consistent);
        mirror.base = Lsn(25);
        let way = chosen(&[(1, 0)], 80, 41, &mirror);
        assert_eq!(way, CatchUp::Pages { common: Lsn(40), since: Some(Lsn(25)) });
    }

    #[test]
    fn a_mirror_far_behind_gets_what_is_cheaper() {
        let mirror = mirror(&[(1, 0)], 40, 40, DataState::Consistent);
        let both = CatchUp::Either { after: Lsn(40), base: Lsn(40) };
        assert_eq!(chosen(&[(1, 0)], 41 + FEW_EVENTS, 0, &mirror), both);
        let few = CatchUp::Journal { after: Lsn(40) };
        assert_eq!(chosen(&[(1, 0)], 40 + FEW_EVENTS, 0, &mirror), few);
    }

    #[test]
    fn an_empty_mirror_with_a_spool_is_compared_and_one_without_is_seeded() {
        let mut mirror = mirror(&[], 0, 0, DataState::Empty);
        assert!(matches!(chosen(&[(1, 0)], 80, 0, &mirror), CatchUp::Seed { .. }));
        mirror.has_spool = true;
        let compare = CatchUp::Pages { common: Lsn::ZERO, since: None };
        assert_eq!(chosen(&[(1, 0)], 80, 0, &mirror), compare);
    }

    #[test]
    fn data_of_another_origin_is_never_overwritten() {
        let mut stranger = mirror(&[(7, 0)], 40, 40, DataState::Consistent);
        for (deposed, saved) in [(false, false), (true, false), (true, true)] {
            (stranger.deposed, stranger.orphans_saved) = (deposed, saved);
            assert_eq!(chosen(&[(1, 0)], 80, 0, &stranger), CatchUp::NoCommonOrigin);
        }
    }

    /// Epochs of one server's starts within a term.
    fn starts(entries: &[(u32, u64)]) -> EpochHistory {
        let mut history = EpochHistory::default();
        for &(start, began) in entries {
            history.begin(Epoch { term: 1, start, server: ServerId(1) }, Lsn(began));
        }
        history
    }

    #[test]
    fn a_principal_that_lacks_what_it_once_confirmed_was_rolled_back() {
        let mut mirror = mirror(&[], 90, 90, DataState::Consistent);
        mirror.history = starts(&[(1, 0), (5, 60)]);
        let restored = starts(&[(1, 0), (9, 40)]);
        let server = ServerId(1);
        let (own_starts, hardened) = (&OwnStarts::default(), Lsn(45));
        let journal_after = Lsn::ZERO;
        let offer = Offer { server, history: &restored, own_starts, hardened, journal_after };
        assert_eq!(choose(offer, &mirror), CatchUp::RolledBack { common: Lsn(40) });
        mirror.applied = Lsn(40);
        assert_eq!(choose(offer, &mirror), CatchUp::Journal { after: Lsn(40) });
        // The operator had the principal serve on, in a term of its own: now the mirror has diverged.
        mirror.applied = Lsn(90);
        let mut forced = restored.clone();
        forced.begin(Epoch { term: 2, start: 1, server }, Lsn(45));
        let offer = Offer { history: &forced, ..offer };
        assert_eq!(choose(offer, &mirror), CatchUp::Diverged { common: Lsn(40) });
    }

    #[test]
    fn a_mirror_that_received_more_in_an_epoch_that_the_principal_forgot_is_not_cut() {
        let mut mirror = mirror(&[], 90, 40, DataState::Consistent);
        mirror.history = starts(&[(3, 0), (5, 60)]);
        let mut durable = Durable::new(ServerId(1));
        let chosen = |durable: &Durable, mirror: &About| {
            let Durable { server, history, own_starts, .. } = durable;
            let (hardened, journal_after) = (Lsn(60), Lsn::ZERO);
            choose(Offer { server: *server, history, own_starts, hardened, journal_after }, mirror)
        };
        let epoch = |start| Epoch { term: 1, start, server: ServerId(1) };
        durable.begin_epoch(epoch(3), Lsn::ZERO);
        let mut crashed = durable.clone();
        durable.begin_epoch(epoch(9), Lsn(60));
        assert_eq!(chosen(&durable, &mirror), CatchUp::RolledBack { common: Lsn(60) });
        // One that knows the epoch lost what it had not hardened: nobody was told of that.
        crashed.begin_epoch(epoch(5), Lsn(60));
        crashed.begin_epoch(epoch(9), Lsn(60));
        assert_eq!(chosen(&crashed, &mirror), CatchUp::Journal { after: Lsn(60) });
        // An older one that was promoted once more, in the term that it had taken before: whichever start is the higher.
        let mut again = Durable::new(ServerId(1));
        again.begin_epoch(epoch(1), Lsn::ZERO);
        again.begin_epoch(Epoch { term: 2, ..epoch(9) }, Lsn::ZERO);
        assert!(again.own_starts.lack(Epoch { term: 2, ..epoch(5) }));
        assert!(!durable.own_starts.lack(epoch(2)), "from before the first that is remembered");
        // Nothing is lost where the mirror has no more.
        mirror.end = Lsn(60);
        assert_eq!(chosen(&durable, &mirror), CatchUp::Journal { after: Lsn(60) });
    }

    #[test]
    fn a_mirror_ahead_of_the_local_fsync_keeps_what_it_has() {
        let mirror = mirror(&[(1, 0)], 90, 70, DataState::Consistent);
        assert_eq!(chosen(&[(1, 0)], 80, 0, &mirror), CatchUp::Journal { after: Lsn(90) });
    }

    #[test]
    fn an_unconfirmed_tail_is_cut_and_an_applied_one_is_not() {
        let tail = mirror(&[(1, 0)], 60, 50, DataState::Consistent);
        let ours = [(1, 0), (2, 50)];
        assert_eq!(chosen(&ours, 80, 0, &tail), CatchUp::Journal { after: Lsn(50) });
        let shown = mirror(&[(1, 0)], 60, 51, DataState::Consistent);
        assert_eq!(chosen(&ours, 80, 0, &shown), CatchUp::Diverged { common: Lsn(50) });
    }

    #[test]
    fn a_deposed_principal_keeps_even_what_it_never_confirmed() {
        let mut old = mirror(&[(1, 0)], 60, 50, DataState::Consistent);
        old.deposed = true;
        let ours = [(1, 0), (2, 50)];
        assert_eq!(chosen(&ours, 80, 0, &old), CatchUp::Diverged { common: Lsn(50) });
        old.orphans_saved = true;
        assert_eq!(chosen(&ours, 80, 0, &old), CatchUp::Pages { common: Lsn(50), since: None });
        old.end = Lsn(50);
        assert_eq!(chosen(&ours, 80, 0, &old), CatchUp::Journal { after: Lsn(50) });
    }

    fn seeding(mark: u64, copied_at: u64, whole: Option<u64>) -> DataState {
        let mut progress = SeedProgress::begun(Lsn(mark));
        progress.journal_reset = true;
        progress.copied_at = Lsn(copied_at);
        progress.consistent_at = whole.map(Lsn);
        DataState::Seeding(Box::new(progress))
    }

    #[test]
    fn a_seed_goes_on_while_the_journal_reaches_its_end() {
        let mirror = mirror(&[(1, 0)], 30, 20, seeding(20, 25, None));
        assert!(matches!(
            chosen(&[(1, 0)], 80, 30, &mirror),
            CatchUp::Seed { truncate_to: Lsn(30), resume: Some(_) }
        ));
        assert!(matches!(chosen(&[(1, 0)], 80, 31, &mirror), CatchUp::Seed { resume: None, .. }));
    }

    #[test]
    fn a_seed_that_copied_what_never_became_final_begins_anew() {
        let mirror = mirror(&[(1, 0)], 30, 20, seeding(20, 60, None));
        assert!(matches!(
            chosen(&[(1, 0), (2, 50)], 80, 0, &mirror),
            CatchUp::Seed { resume: None, .. }
        ));
    }

    #[test]
    fn a_seed_with_all_its_pages_needs_only_the_journal() {
        let mirror = mirror(&[(1, 0)], 30, 20, seeding(20, 40, Some(40)));
        assert_eq!(chosen(&[(1, 0)], 80, 0, &mirror), CatchUp::Journal { after: Lsn(30) });
    }
}
