//! How a mirror that joins is brought level: a pure choice from what both sides hold.

use crate::{
    epoch::EpochHistory,
    ids::Lsn,
    message::{About, DataState, SeedProgress},
};

/// What the principal has to offer.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The epochs of its journal.
    pub history: &'a EpochHistory,
    /// Hardened up to here.
    pub hardened: Lsn,
    /// Its journal has the records after this position.
    pub journal_after: Lsn,
}

/// The way. Later versions append ways between the first two (pages, compare).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CatchUp {
    /// Cut the mirror's journal to this position, then send the records after it.
    Journal {
        /// The common position.
        after: Lsn,
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
}

/// Chooses the way for a mirror that describes itself as `mirror`.
#[must_use]
pub fn choose(offer: Offer<'_>, mirror: &About) -> CatchUp {
    let common = common(offer, mirror, mirror.end);
    match &mirror.data {
        // What a deposed principal served, or anyone applied, may have been seen by users.
        _ if mirror.deposed && common < mirror.end => CatchUp::Diverged { common },
        DataState::Empty => fresh(mirror),
        DataState::Consistent if common < mirror.applied => CatchUp::Diverged { common },
        DataState::Consistent if offer.journal_after <= common => {
            CatchUp::Journal { after: common }
        }
        DataState::Consistent => fresh(mirror),
        DataState::Seeding(progress) => resume(offer, mirror, progress, common),
    }
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

fn common(offer: Offer<'_>, mirror: &About, mirror_end: Lsn) -> Lsn {
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
    use crate::{
        epoch::Epoch,
        ids::{ServerId, SessionId},
        message::Role,
    };

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
        let offer = Offer { history: &history, hardened: Lsn(hardened), journal_after: Lsn(after) };
        choose(offer, mirror)
    }

    #[test]
    fn a_mirror_within_the_journal_gets_the_journal() {
        let mirror = mirror(&[(1, 0)], 40, 40, DataState::Consistent);
        assert_eq!(chosen(&[(1, 0)], 80, 40, &mirror), CatchUp::Journal { after: Lsn(40) });
    }

    #[test]
    fn a_mirror_behind_the_journal_is_seeded() {
        let mirror = mirror(&[(1, 0)], 40, 40, DataState::Consistent);
        let way = chosen(&[(1, 0)], 80, 41, &mirror);
        assert_eq!(way, CatchUp::Seed { truncate_to: Lsn(40), resume: None });
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
