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
    let mut all = Vec::new();
    own(&mut all, shared, view);
    match view.status.role {
        Role::Principal => as_principal(&mut all, shared, view, second, away),
        Role::Mirror => as_mirror(&mut all, shared, view, second, away),
        Role::Standalone => {}
    }
    all
}

/// What concerns a server in any role.
fn own(all: &mut Vec<Seen>, shared: &Shared, view: &View) {
    let status = &view.status;
    if let Ok(free) = counterpart_journal::free_bytes(&shared.settings.data) {
        let text = format!("{free} bytes are free where the data directory is");
        all.push(about(Cause::DiskLow, None, How::Figure(free), text));
    }
    let ill = shared.databases.quarantine.all();
    let named = status.differs.iter().map(|(name, _)| name.to_string());
    let mut names: Vec<String> =
        named.chain(ill.iter().map(|ill| ill.entry.name.to_string())).collect();
    names.sort();
    names.dedup();
    let text = match names.is_empty() {
        true => "all databases here are what they should be".to_owned(),
        false => format!("not what they should be: {}", names.join(", ")),
    };
    all.push(about(Cause::Differs, None, How::Holds(!names.is_empty()), text));
    let stopped = view.apply_failure.as_ref().or(status.replay_stopped.as_ref());
    let text = stopped.cloned().unwrap_or_else(|| "records are applied again".to_owned());
    all.push(about(Cause::ReplayStopped, None, How::Holds(stopped.is_some()), text));
    let met = shared.storage.met();
    let text =
        if met.is_some() { "SQLite can't use the disk" } else { "SQLite can use the disk again" };
    all.push(about(Cause::Storage, None, How::Holds(met.is_some()), text));
    let failed = shared.journal.poisoned();
    let text = failed.as_ref().map_or_else(|| "the journal works".to_owned(), ToString::to_string);
    all.push(about(Cause::JournalFailed, None, How::Holds(failed.is_some()), text));
}

fn as_principal(
    all: &mut Vec<Seen>,
    shared: &Shared,
    view: &View,
    second: &Second,
    away: &BTreeSet<ServerId>,
) {
    let status = &view.status;
    let exposed = status.exposed_since.is_some();
    let text = match exposed {
        true => "commits are confirmed without a synchronized mirror",
        false => "a mirror is synchronized again",
    };
    all.push(about(Cause::Exposed, None, How::Holds(exposed), text));
    let text = format!("confirming by the mirror added {} to a commit", millis(second.overhead));
    all.push(about(Cause::CommitOverhead, None, How::Figure(second.overhead), text));
    let rolled_back = status.rolled_back.is_some();
    let text = "this server's disk is an older image of itself";
    all.push(about(Cause::RolledBack, None, How::Holds(rolled_back), text));
    let text = "a handover was sent and not answered";
    all.push(about(Cause::InDoubt, None, How::Holds(status.in_doubt), text));
    for mirror in &status.mirrors {
        of_mirror(all, shared, mirror, second, away);
    }
}

fn of_mirror(
    all: &mut Vec<Seen>,
    shared: &Shared,
    mirror: &MirrorStatus,
    second: &Second,
    away: &BTreeSet<ServerId>,
) {
    let server = mirror.address.server;
    let partner = Some(server);
    lost(all, shared, away, (server, mirror.connected));
    let synchronized = matches!(mirror.state, PairState::Synchronized | PairState::PendingFailover);
    // One that was never synchronized has left nothing.
    if synchronized || shared.alarms.is_active((Cause::NotSynchronized, partner)) {
        let text = format!("the pair with {server} is {}", mirror.state);
        all.push(about(Cause::NotSynchronized, partner, How::Holds(!synchronized), text));
    }
    let (queue, sending) = second.mirrors.get(&server).copied().unwrap_or_default();
    let queue = queue.max(mirror.send_queue.unwrap_or(0));
    let text = format!("{queue} events are hardened here and not at {server}");
    all.push(about(Cause::SendQueue, partner, How::Figure(queue), text));
    let text = format!("an event has waited for {} to be hardened at {server}", millis(sending));
    all.push(about(Cause::OldestUnsent, partner, How::Figure(sending), text));
    let differs = !mirror.differs.is_empty();
    let text = match differs {
        true => format!("{} databases of {server} differ", mirror.differs.len()),
        false => format!("no database of {server} is known to differ"),
    };
    all.push(about(Cause::Differs, partner, How::Holds(differs), text));
    let stopped = mirror.replay_stopped.as_ref();
    let text = stopped.cloned().unwrap_or_else(|| format!("{server} applies records again"));
    all.push(about(Cause::ReplayStopped, partner, How::Holds(stopped.is_some()), text));
}

fn as_mirror(
    all: &mut Vec<Seen>,
    shared: &Shared,
    view: &View,
    second: &Second,
    away: &BTreeSet<ServerId>,
) {
    let status = &view.status;
    if let Some((how, whom)) = status.following.as_ref().zip(status.principal.as_ref()) {
        lost(all, shared, away, (whom.server, how.connected));
        let queue = second.redo_queue.max(how.redo_queue);
        let text = format!("{queue} events are hardened here and not applied");
        all.push(about(Cause::RedoQueue, None, How::Figure(queue), text));
    }
    let own = [status.parked, status.saving_orphans, status.rejoining];
    let deposed = own.iter().any(Option::is_some);
    let text = match deposed {
        true => "this server was deposed, and has events that its principal lacks",
        false => "this server is in line with the principal again",
    };
    all.push(about(Cause::Deposed, None, How::Holds(deposed), text));
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

/// A partner that is away for a moment (a failover, a restart of the other side) is not lost: the session core says at once when
/// a mirror is, and otherwise it is once it has been away for as long as the partner timeout allows.
fn lost(
    all: &mut Vec<Seen>,
    shared: &Shared,
    away: &BTreeSet<ServerId>,
    (server, connected): (ServerId, bool),
) {
    let known = shared.alarms.is_active((Cause::PartnerLost, Some(server)));
    let lost = !connected && (known || away.contains(&server));
    if connected || lost {
        let text = match lost {
            true => format!("partner {server} can't be reached"),
            false => format!("partner {server} is back"),
        };
        all.push(about(Cause::PartnerLost, Some(server), How::Holds(lost), text));
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
