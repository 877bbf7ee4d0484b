//! What survives a crash: the control file's content. A type of its own, so that nobody takes what is merely
//! believed for what is written down.

use serde::{Deserialize, Serialize};

use crate::{
    epoch::{Epoch, EpochHistory},
    ids::{Lsn, ServerId, SessionId, UnixMicros},
    message::{PartnerAddress, Role, Safety, SeedProgress},
};

/// Another member of the session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Who and where.
    pub address: PartnerAddress,
    /// Principal: the operator suspended this mirror.
    pub suspended: bool,
    /// Principal: commits wait for this mirror under safety full.
    pub synchronized: bool,
}

/// A handover that was sent, or is about to be, and whose outcome is not known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingHandover {
    /// Who is to take over.
    pub target: ServerId,
    /// The last LSN of this principal.
    pub last: Lsn,
    /// The epoch that the target takes.
    pub epoch: Epoch,
}

/// A principal that learned of a higher epoch; it must compare before its journal is touched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Deposed {
    /// The epoch it served in.
    pub own: Epoch,
    /// The higher epoch it learned of.
    pub by: Epoch,
    /// When it learned.
    pub at: UnixMicros,
    /// Set once the comparison found events that only this server has, and they are not saved by themselves; it parks
    /// then.
    pub parked: Option<Parked>,
    /// The events that are saved as orphans; what is in line with the principal below them may be overwritten.
    #[serde(default)]
    pub saved: Option<Parked>,
}

/// What differs between a deposed principal and the new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Parked {
    /// Both have the same events up to here.
    pub common: Lsn,
    /// The events above `common` up to here exist only on this server.
    pub end: Lsn,
}

/// A mirror has applied events of this principal that this principal does not have: its disk is an older image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RolledBack {
    /// The mirror.
    pub mirror: ServerId,
    /// The mirror's epoch.
    pub epoch: Epoch,
    /// Both have the same events up to here.
    pub common: Lsn,
    /// The mirror has events up to here.
    pub end: Lsn,
    /// When it was found out.
    pub at: UnixMicros,
}

/// A session that has ended; a member that was away learns it from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// The session.
    pub session: SessionId,
    /// With this partner only, or with everyone.
    pub partner: Option<ServerId>,
}

/// The starts of the epochs that this server began in one term, the newest last; bounded. Each was durable before
/// anybody heard of it: what a mirror has of another one was written to a newer disk than this.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OwnStarts {
    term: u32,
    starts: Vec<u32>,
}

impl OwnStarts {
    const MOST: usize = 64;

    fn note(&mut self, epoch: Epoch) {
        if self.term != epoch.term {
            // A term that begins here had no start before: 0 is none. One that an earlier version began may have had.
            let begins = self.term != 0;
            *self = OwnStarts { term: epoch.term, starts: Vec::from_iter(begins.then_some(0)) };
        }
        self.starts.push(epoch.start);
        let surplus = self.starts.len().saturating_sub(OwnStarts::MOST);
        self.starts.drain(..surplus);
    }

    /// Whether an epoch that this server is said to have begun is none of these. One from before the first that is
    /// remembered may have been.
    #[must_use]
    pub fn lack(&self, epoch: Epoch) -> bool {
        let reach_back = self.starts.first().is_some_and(|&first| first < epoch.start);
        epoch.term == self.term && reach_back && !self.starts.contains(&epoch.start)
    }
}

/// The control file's content, as far as the session goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Durable {
    /// This server.
    pub server: ServerId,
    /// Its role.
    pub role: Role,
    /// Its session; 0 in role standalone.
    pub session: SessionId,
    /// The highest epoch accepted; at least the history's newest.
    pub epoch: Epoch,
    /// The epochs of the journal's records.
    pub history: EpochHistory,
    /// The epochs of its present term that it began itself.
    #[serde(default)]
    pub own_starts: OwnStarts,
    /// The session's safety.
    pub safety: Safety,
    /// Refuse writes rather than confirm them without a synchronized mirror.
    pub require_mirror: bool,
    /// The other members of the session. On a mirror the principal comes first.
    pub partners: Vec<Member>,
    /// Principal: since when commits have been confirmed without a synchronized mirror.
    pub exposed_since: Option<UnixMicros>,
    /// Principal: written before the handover is sent, cleared when its outcome is known.
    pub pending_handover: Option<PendingHandover>,
    /// A former principal that has not yet been found to be in line with the new one.
    pub deposed: Option<Deposed>,
    /// Principal: its disk was replaced by an older one; it writes nothing until the operator decides.
    #[serde(default)]
    pub rolled_back: Option<RolledBack>,
    /// Sessions that ended, the newest last; bounded.
    pub ended: Vec<Ended>,
    /// Mirror: the data is not usable until this is cleared.
    pub seeding: Option<Box<SeedProgress>>,
    /// Mirror: nothing has been received yet.
    pub empty: bool,
    /// Mirror: commits waited for this mirror when the principal was last heard.
    pub was_synchronized: bool,
    /// Mirror: the principal's last sign of life, as of the last change of anything here.
    pub last_contact: Option<UnixMicros>,
    /// Mirror: no record in the journal is of a higher epoch than this or the history's newest. Matters from the
    /// joining of a session, which forgets the own epochs, until the journal is emptied for a seed.
    #[serde(default)]
    pub left_behind: Epoch,
    /// Mirror: epoch and history from before it joined, for undoing; until the first seed begins, or until the data,
    /// if that was kept, is in line with the principal.
    pub before_join: Option<Box<(Epoch, EpochHistory)>>,
}

impl Durable {
    /// How many ended sessions are remembered.
    pub const ENDED_MOST: usize = 64;

    /// Begins an epoch of this server's own, after a journal that ends at `last`.
    pub(super) fn begin_epoch(&mut self, epoch: Epoch, last: Lsn) {
        self.history.cut(last);
        self.history.begin(epoch, last);
        self.own_starts.note(epoch);
        self.epoch = epoch;
    }

    /// A server at its very first start.
    #[must_use]
    pub fn new(server: ServerId) -> Durable {
        assert!(server != ServerId(0), "a server's identity is never 0");
        Durable {
            server,
            role: Role::Standalone,
            session: SessionId(0),
            epoch: Epoch { term: 1, start: 0, server },
            history: EpochHistory::default(),
            own_starts: OwnStarts::default(),
            safety: Safety::Full,
            require_mirror: false,
            partners: Vec::new(),
            exposed_since: None,
            pending_handover: None,
            deposed: None,
            rolled_back: None,
            ended: Vec::new(),
            seeding: None,
            empty: false,
            was_synchronized: false,
            last_contact: None,
            left_behind: Epoch::default(),
            before_join: None,
        }
    }
}
