//! From how things are to what the rules of alarms take in. Decides nothing about alarms: `counterpart-core` does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use counterpart_core::{
    ServerId,
    alarms::{Cause, How, Seen},
    message::Role,
    session::PairState,
    status::MirrorStatus,
};

use super::peaks::Second;
use crate::{driver::View, shared::Shared};

/// Everything that is watched, as it is now; `second` has the peaks since the last time, and `away` are partners that are for too
/// long. May ask the file system.
pub(super) fn watched(
    shared: &Shared,
    view: &View,
    second: &Second,
    away: &BTreeSet<ServerId>,
) -> Vec<Seen> {
    let mut look = Look { shared, view, second, away, all: Vec::new() };
    look.own();
    match view.status.role {
        Role::Principal => look.as_principal(),
        Role::Mirror => look.as_mirror(),
        Role::Standalone => {}
    }
    look.all
}

/// A look at everything.
struct Look<'a> {
    shared: &'a Shared,
    view: &'a View,
    second: &'a Second,
    away: &'a BTreeSet<ServerId>,
    /// What was seen so far.
    all: Vec<Seen>,
}

impl Look<'_> {
    /// What concerns a server in any role.
    fn own(&mut self) {
        let status = &self.view.status;
        if let Ok(free) = counterpart_journal::free_bytes(&self.shared.settings.data) {
            let text = format!("{free} bytes are free where the data directory is");
            self.push(Cause::DiskLow, None, How::Figure(free), text);
        }
        let ill = self.shared.databases.quarantine.all();
        let named = status.differs.iter().map(|(name, _)| name.to_string());
        let mut names: Vec<String> =
            named.chain(ill.iter().map(|ill| ill.entry.name.to_string())).collect();
        names.sort();
        names.dedup();
        let text = match names.is_empty() {
            true => "all databases here are what they should be".to_owned(),
            false => format!("not what they should be: {}", names.join(", ")),
        };
        self.push(Cause::Differs, None, How::Holds(!names.is_empty()), text);
        let stopped = self.view.apply_failure.as_ref().or(status.replay_stopped.as_ref());
        let text = stopped.cloned().unwrap_or_else(|| "records are applied again".to_owned());
        self.push(Cause::ReplayStopped, None, How::Holds(stopped.is_some()), text);
        let met = self.shared.storage.met();
        let text = if met.is_some() {
            "SQLite can't use the disk"
        } else {
            "SQLite can use the disk again"
        };
        self.push(Cause::Storage, None, How::Holds(met.is_some()), text);
        let failed = self.shared.journal.poisoned();
        let text =
            failed.as_ref().map_or_else(|| "the journal works".to_owned(), ToString::to_string);
        self.push(Cause::JournalFailed, None, How::Holds(failed.is_some()), text);
    }

    fn as_principal(&mut self) {
        let status = &self.view.status;
        let exposed = status.exposed_since.is_some();
        let text = match exposed {
            true => "commits are confirmed without a synchronized mirror",
            false => "a mirror is synchronized again",
        };
        self.push(Cause::Exposed, None, How::Holds(exposed), text);
        let text =
            format!("confirming by the mirror added {} to a commit", millis(self.second.overhead));
        self.push(Cause::CommitOverhead, None, How::Figure(self.second.overhead), text);
        let rolled_back = status.rolled_back.is_some();
        let text = "this server's disk is an older image of itself";
        self.push(Cause::RolledBack, None, How::Holds(rolled_back), text);
        let text = "a handover was sent and not answered";
        self.push(Cause::InDoubt, None, How::Holds(status.in_doubt), text);
        for mirror in &status.mirrors {
            self.of_mirror(mirror);
        }
    }

    fn of_mirror(&mut self, mirror: &MirrorStatus) {
        let server = mirror.address.server;
        let partner = Some(server);
        self.lost(server, mirror.connected);
        let synchronized =
            matches!(mirror.state, PairState::Synchronized | PairState::PendingFailover);
        // One that was never synchronized has left nothing.
        if synchronized || self.shared.alarms.is_active((Cause::NotSynchronized, partner)) {
            let text = format!("the pair with {server} is {}", mirror.state);
            self.push(Cause::NotSynchronized, partner, How::Holds(!synchronized), text);
        }
        let (queue, sending) = self.second.mirrors.get(&server).copied().unwrap_or_default();
        let queue = queue.max(mirror.send_queue.unwrap_or(0));
        let text = format!("{queue} events are hardened here and not at {server}");
        self.push(Cause::SendQueue, partner, How::Figure(queue), text);
        let text =
            format!("an event has waited for {} to be hardened at {server}", millis(sending));
        self.push(Cause::OldestUnsent, partner, How::Figure(sending), text);
        let differs = !mirror.differs.is_empty();
        let text = match differs {
            true => format!("{} databases of {server} differ", mirror.differs.len()),
            false => format!("no database of {server} is known to differ"),
        };
        self.push(Cause::Differs, partner, How::Holds(differs), text);
        let stopped = mirror.replay_stopped.as_ref();
        let text = stopped.cloned().unwrap_or_else(|| format!("{server} applies records again"));
        self.push(Cause::ReplayStopped, partner, How::Holds(stopped.is_some()), text);
    }

    fn as_mirror(&mut self) {
        let status = &self.view.status;
        if let Some((how, whom)) = status.following.as_ref().zip(status.principal.as_ref()) {
            self.lost(whom.server, how.connected);
            let queue = self.second.redo_queue.max(how.redo_queue);
            let text = format!("{queue} events are hardened here and not applied");
            self.push(Cause::RedoQueue, None, How::Figure(queue), text);
        }
        let own = [status.parked, status.saving_orphans, status.rejoining];
        let deposed = own.iter().any(Option::is_some);
        let text = match deposed {
            true => "this server was deposed, and has events that its principal lacks",
            false => "this server is in line with the principal again",
        };
        self.push(Cause::Deposed, None, How::Holds(deposed), text);
    }

    /// A partner that is away for a moment (a failover, a restart of the other side) is not lost: the session core says at once when
    /// a mirror is, and otherwise it is once it has been away for as long as the partner timeout allows.
    fn lost(&mut self, server: ServerId, connected: bool) {
        let known = self.shared.alarms.is_active((Cause::PartnerLost, Some(server)));
        let lost = !connected && (known || self.away.contains(&server));
        if connected || lost {
            let text = match lost {
                true => format!("partner {server} can't be reached"),
                false => format!("partner {server} is back"),
            };
            self.push(Cause::PartnerLost, Some(server), How::Holds(lost), text);
        }
    }

    fn push(&mut self, cause: Cause, partner: Option<ServerId>, how: How, text: impl Into<String>) {
        self.all.push(about(cause, partner, how, text));
    }
}

/// Since when partners have not been connected.
#[derive(Default)]
pub(super) struct Apart(BTreeMap<ServerId, Duration>);

impl Apart {
    /// Takes note of who is connected, and says who has not been for `limit`.
    pub(super) fn note(
        &mut self,
        view: &View,
        now: Duration,
        limit: Duration,
    ) -> BTreeSet<ServerId> {
        let status = &view.status;
        let mirrors = status.mirrors.iter().map(|mirror| (mirror.address.server, mirror.connected));
        let following = status.following.as_ref().zip(status.principal.as_ref());
        let principal = following.map(|(how, whom)| (whom.server, how.connected));
        let apart = mirrors.chain(principal).filter(|(_, connected)| !connected);
        self.0 = apart
            .map(|(server, _)| (server, self.0.get(&server).copied().unwrap_or(now)))
            .collect();
        let long = self.0.iter().filter(|(_, since)| now.saturating_sub(**since) >= limit);
        long.map(|(server, _)| *server).collect()
    }
}

pub(super) fn about(
    cause: Cause,
    partner: Option<ServerId>,
    how: How,
    text: impl Into<String>,
) -> Seen {
    Seen { cause, partner, how, text: text.into() }
}

fn millis(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        10_000..10_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{} s", micros / 1_000_000),
    }
}
