//! The core's view of itself, for the status.

use super::{Admission, Core, Millis, PairState, Peer, mirror::Stage};
use crate::{
    ids::{Lsn, ServerId},
    message::{Plan, Role},
    status::{FollowingStatus, MirrorStatus, Permission, SeedStatus, Status, Way, Writes},
};

/// A failover with nothing left to redo: drain, one fsync, two messages, two role changes. Milliseconds.
const FAILOVER_BASE_MS: u64 = 20;

/// Events that a mirror redoes in a second at least.
const REDO_PER_SECOND: u64 = 10_000;

/// A mirror that misses more heartbeats than this is called silent.
const HEARTBEATS_MISSED: u64 = 3;

/// How far this server is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reached {
    /// The role in which it is that far.
    pub role: Role,
    /// Hardened here.
    pub hardened: Lsn,
    /// Known to be final.
    pub commit: Lsn,
    /// Applied here, on a mirror.
    pub applied: Lsn,
}

impl Core {
    /// How far this server is; cheap enough to be asked after each step.
    #[must_use]
    pub fn reached(&self) -> Reached {
        let (hardened, commit, applied) = (self.hardened, self.commit, self.applied);
        Reached { role: self.d.role, hardened, commit, applied }
    }

    /// The state of each pair of a principal, and how far its mirror has hardened; nothing of one that has not said so since this
    /// principal took office, or on its newest link. As cheap as [`reached`](Self::reached).
    pub fn pairs(&self) -> impl Iterator<Item = (ServerId, PairState, Option<Lsn>)> {
        let known = |lsn: Lsn| (lsn != Lsn::ZERO).then_some(lsn);
        self.peers.iter().map(move |peer| (peer.server, peer.state, known(peer.hardened)))
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> Status {
        let d = &self.d;
        let mirror = d.role == Role::Mirror;
        Status {
            server: d.server,
            role: d.role,
            words: self.words(),
            session: (d.session.0 != 0).then_some(d.session),
            epoch: d.epoch,
            safety: d.safety,
            require_mirror: d.require_mirror,
            partner_address: self.config.partner_address.clone(),
            client_url: self.config.client_url.clone(),
            principal: self.known_principal(),
            commit: self.commit,
            writes: match &self.admission {
                Some(Admission::Open) => Writes::Open,
                Some(Admission::Refuse { refusal, .. }) => Writes::Refused(refusal.clone()),
                Some(Admission::Hold) | None => Writes::Held,
            },
            exposed_since: d.exposed_since,
            mirrors: self.peers.iter().map(|peer| self.mirror_status(peer)).collect(),
            following: mirror.then(|| self.following_status()),
            parked: self.parked(),
            saving_orphans: self.saving,
            rejoining: d.deposed.as_ref().and_then(|deposed| deposed.saved),
            rolled_back: d.rolled_back,
            differs: self.differing(),
            replay_stopped: self.replay_stopped.clone(),
            in_doubt: self.is_in_doubt(),
            last_error: self.last_error.clone().or_else(|| self.journal_error()),
            failover_now: self.failover_now(),
            promotion: mirror.then(|| self.assess()),
            commands: self.permissions(),
        }
    }

    fn is_in_doubt(&self) -> bool {
        self.d.pending_handover.is_some() && self.failover.is_none()
    }

    fn journal_error(&self) -> Option<crate::message::Refusal> {
        self.journal_failed.as_ref().map(|_| self.journal_refusal())
    }

    fn words(&self) -> String {
        match self.d.role {
            Role::Standalone => "Standalone".to_owned(),
            Role::Principal if self.is_in_doubt() => "Principal, handover in doubt".to_owned(),
            Role::Principal if self.d.rolled_back.is_some() => {
                "Principal, rolled back (an older image of itself), stopped".to_owned()
            }
            Role::Principal => {
                let states: Vec<&str> =
                    self.peers.iter().map(|peer| state_words(peer.state)).collect();
                let exposed = if self.d.exposed_since.is_some() { ", exposed" } else { "" };
                format!("Principal, {}{exposed}", states.join(" / "))
            }
            Role::Mirror if self.parked().is_some() => {
                "Mirror, suspended (deposed principal, parked)".to_owned()
            }
            Role::Mirror if self.saving.is_some() => {
                "Mirror, suspended (deposed principal, saving orphans)".to_owned()
            }
            Role::Mirror if self.d.deposed.as_ref().is_some_and(|d| d.saved.is_some()) => {
                format!("Mirror, {} (rejoining)", state_words(self.told_state()))
            }
            Role::Mirror => format!("Mirror, {}", state_words(self.told_state())),
        }
    }

    /// How this mirror catches up.
    fn own_way(&self) -> Option<Way> {
        if self.is_switching() {
            return Some(Way::Switching);
        }
        if self.d.seeding.is_some() {
            return Some(Way::Seed);
        }
        let told = self.upstream.told == Some(PairState::Synchronizing);
        match (self.upstream.stage, self.upstream.welcome.as_ref().map(|welcome| &welcome.plan)) {
            (Stage::AwaitingPages | Stage::Spooling(_), Some(Plan::Pages { since })) => {
                Some(pages_way(*since))
            }
            (Stage::AwaitingSeed | Stage::Resetting(_), _) => Some(Way::Seed),
            (Stage::Truncating | Stage::Following, _) => told.then_some(Way::Journal),
            _ => None,
        }
    }

    fn told_state(&self) -> PairState {
        match self.upstream.stage {
            _ if self.parked().is_some() => PairState::Suspended,
            Stage::Down | Stage::Greeting => PairState::Disconnected,
            _ => self.upstream.told.unwrap_or(PairState::Synchronizing),
        }
    }

    fn mirror_status(&self, peer: &Peer) -> MirrorStatus {
        let member = self.member(peer.server).expect("every pair has a member");
        // Not even a mirror of an empty server has hardened nothing: its session's first record is a mark.
        let known = peer.hardened != Lsn::ZERO;
        MirrorStatus {
            address: member.address.clone(),
            state: peer.state,
            words: format!("Mirror, {}", state_words(peer.state)),
            connected: peer.link.is_some(),
            commits_wait: member.synchronized,
            hardened: known.then_some(peer.hardened),
            applied: known.then_some(peer.applied),
            send_queue: known.then(|| self.hardened.since(peer.hardened)),
            redo_queue: known.then(|| peer.hardened.since(peer.applied)),
            last_heard: peer.heard,
            way: match (&peer.seed, &peer.pages) {
                (Some(_), _) => Some(Way::Seed),
                (None, Some(pages)) => Some(pages_way(pages.since)),
                (None, None) => (peer.state == PairState::Synchronizing).then_some(Way::Journal),
            },
            differs: peer.differs.clone(),
            replay_stopped: peer.stopped.clone(),
            seed: peer
                .seed
                .as_ref()
                .map(|seed| SeedStatus::new(&seed.databases, seed.progress.as_deref())),
            last_error: peer.last_error.clone(),
            commands: vec![
                Permission::new("failover", self.may_fail_over(peer.server)),
                Permission::new("suspend", self.may_suspend(peer.server)),
                Permission::new("resume", self.may_resume(peer.server)),
            ],
        }
    }

    fn following_status(&self) -> FollowingStatus {
        let connected = !matches!(self.upstream.stage, Stage::Down | Stage::Greeting);
        FollowingStatus {
            connected,
            state: self.told_state(),
            words: format!("Principal, {}", state_words(self.told_state())),
            behind: connected.then(|| self.upstream.hardened.since(self.end)),
            redo_queue: self.hardened.since(self.applied),
            last_heard: self.upstream.heard.or(self.d.last_contact),
            way: self.own_way(),
            seed: self.d.seeding.as_deref().cloned(),
        }
    }

    /// The first mirror that could take over now, and how long it would take; or why none can.
    fn failover_now(&self) -> String {
        if self.d.role == Role::Mirror {
            return "Fail over from the principal; promote here only if it is gone.".to_owned();
        }
        let mut why = "Mirroring has not been started.".to_owned();
        for peer in &self.peers {
            match self.may_fail_over(peer.server) {
                Ok(()) => match self.silence(peer) {
                    Some(silence) => why = self.silence_words(silence),
                    None => return self.failover_words(peer),
                },
                Err(refusal) => why = refusal.what,
            }
        }
        format!("Cannot fail over now: {why}")
    }

    /// How long a mirror has been silent, if that is longer than it should be.
    fn silence(&self, peer: &Peer) -> Option<Millis> {
        let link = self.links.iter().find(|link| Some(link.id) == peer.link)?;
        let silence = self.now.ticks.since(link.heard);
        (silence.0 > HEARTBEATS_MISSED * self.config.heartbeat().0).then_some(silence)
    }

    fn silence_words(&self, silence: Millis) -> String {
        let (silent, patience) = (silence.0 / 1000, self.config.partner_timeout.0 as f64 / 1000.0);
        format!(
            "The mirror has been silent for {silent} s, and commits wait for it; after {patience} s it is taken for \
             disconnected."
        )
    }

    fn failover_words(&self, peer: &Peer) -> String {
        let redo = peer.hardened.since(peer.applied) + self.hardened.since(peer.hardened);
        // A mirror may say any position.
        let ms = FAILOVER_BASE_MS + redo.saturating_mul(1_000) / REDO_PER_SECOND;
        format!("Fail over now: 0 lost, about {ms} ms")
    }

    fn permissions(&self) -> Vec<Permission> {
        let resolve =
            |may: fn(&Core, crate::ids::ServerId) -> Result<(), crate::message::Refusal>| {
                self.must_be_principal()
                    .and_then(|()| self.resolve_partner(None))
                    .and_then(|server| may(self, server))
            };
        vec![
            Permission::new("failover", resolve(Core::may_fail_over)),
            Permission::new("promote", self.may_promote(false)),
            Permission::new("suspend", resolve(Core::may_suspend)),
            Permission::new("resume", resolve(Core::may_resume)),
            Permission::new("mirror stop", self.may_stop()),
            Permission::new("mirror rejoin", self.may_rejoin()),
        ]
    }
}

fn pages_way(since: Option<Lsn>) -> Way {
    if since.is_some() { Way::Pages } else { Way::Compare }
}

fn state_words(state: PairState) -> &'static str {
    match state {
        PairState::Synchronizing => "synchronizing",
        PairState::Synchronized => "synchronized",
        PairState::Suspended => "suspended",
        PairState::PendingFailover => "failing over",
        PairState::Disconnected => "disconnected",
    }
}
