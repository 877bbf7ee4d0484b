//! The core's view of itself, for the status.

use super::{Admission, Core, PairState, Peer, mirror::Stage};
use crate::{
    message::Role,
    status::{FollowingStatus, Measured, MirrorStatus, Permission, SeedStatus, Status, Writes},
};

/// A failover with nothing left to redo: drain, one fsync, two messages, two role changes. Milliseconds.
const FAILOVER_BASE_MS: u64 = 20;

impl Core {
    /// The status, with what the driver measured.
    #[must_use]
    pub fn status(&self, measured: &Measured) -> Status {
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
            hardened: self.hardened,
            commit: self.commit,
            applied: if mirror { self.applied } else { self.hardened },
            writes: match &self.admission {
                Some(Admission::Open) => Writes::Open,
                Some(Admission::Refuse { refusal, .. }) => Writes::Refused(refusal.clone()),
                Some(Admission::Hold) | None => Writes::Held,
            },
            exposed_since: d.exposed_since,
            mirrors: self.peers.iter().map(|peer| self.mirror_status(peer, measured)).collect(),
            following: mirror.then(|| self.following_status()),
            parked: self.parked(),
            in_doubt: self.is_in_doubt(),
            last_error: self.last_error.clone().or_else(|| self.journal_error()),
            failover_now: self.failover_now(measured),
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
            Role::Principal => {
                let states: Vec<&str> =
                    self.peers.iter().map(|peer| state_words(peer.state)).collect();
                let exposed = if self.d.exposed_since.is_some() { ", exposed" } else { "" };
                format!("Principal, {}{exposed}", states.join(" / "))
            }
            Role::Mirror if self.parked().is_some() => {
                "Mirror, suspended (deposed principal, parked)".to_owned()
            }
            Role::Mirror => format!("Mirror, {}", state_words(self.told_state())),
        }
    }

    fn told_state(&self) -> PairState {
        match self.upstream.stage {
            _ if self.parked().is_some() => PairState::Suspended,
            Stage::Down | Stage::Greeting => PairState::Disconnected,
            _ => self.upstream.told.unwrap_or(PairState::Synchronizing),
        }
    }

    fn mirror_status(&self, peer: &Peer, measured: &Measured) -> MirrorStatus {
        let member = self.member(peer.server).expect("every pair has a member");
        let known = measured.partners.iter().find(|m| m.server == peer.server);
        MirrorStatus {
            address: member.address.clone(),
            state: peer.state,
            words: format!("Mirror, {}", state_words(peer.state)),
            connected: peer.link.is_some(),
            commits_wait: member.synchronized,
            hardened: peer.hardened,
            applied: peer.applied,
            send_queue: self.hardened.since(peer.hardened),
            send_queue_bytes: known.map(|m| m.send_queue_bytes),
            redo_queue: peer.hardened.since(peer.applied),
            lag_millis: known.map(|m| m.lag_millis),
            last_heard: peer.heard,
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
        FollowingStatus {
            connected: !matches!(self.upstream.stage, Stage::Down | Stage::Greeting),
            state: self.told_state(),
            behind: self.upstream.hardened.since(self.end),
            redo_queue: self.hardened.since(self.applied),
            last_heard: self.upstream.heard.or(self.d.last_contact),
            was_synchronized: self.d.was_synchronized,
            seed: self.d.seeding.as_deref().cloned(),
        }
    }

    /// The first mirror that could take over now, and how long it would take; or why none can.
    fn failover_now(&self, measured: &Measured) -> String {
        if self.d.role == Role::Mirror {
            return "Fail over from the principal; promote here only if it is gone.".to_owned();
        }
        let mut why = "Mirroring has not been started.".to_owned();
        for peer in &self.peers {
            match self.may_fail_over(peer.server) {
                Ok(()) => {
                    let redo =
                        peer.hardened.since(peer.applied) + self.hardened.since(peer.hardened);
                    let per_second = measured.applied_per_second.max(10_000);
                    let trips = measured.partners.iter().find(|m| m.server == peer.server);
                    let trips = trips.map_or(0, |m| 3 * m.round_trip_micros / 1_000);
                    let ms = FAILOVER_BASE_MS + redo * 1_000 / per_second + trips;
                    return format!("Fail over now: 0 lost, about {ms} ms");
                }
                Err(refusal) => why = refusal.what,
            }
        }
        format!("Cannot fail over now: {why}")
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
        ]
    }
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
