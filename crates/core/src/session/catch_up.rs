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
