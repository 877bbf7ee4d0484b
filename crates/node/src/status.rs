//! The status as the API gives it: the core's view, with what only this server can measure.

use std::{sync::Arc, time::Duration};

use counterpart_core::{
    DatabaseId, Lsn, ServerId, UnixMicros,
    message::{PartnerAddress, Refusal, Role},
    session::{Outcome, PairState},
    status::{FollowingStatus, MirrorStatus, Permission, SeedStatus, Way, Writes},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{clock, copy::meter::Purpose, driver::View, shared::Shared};

/// The whole status. `started` is the uptime at which the server began to serve. May read from the disk.
///
/// Moments are in microseconds since 1970, other times bear their unit in the name.
pub(crate) fn render(shared: &Arc<Shared>, view: &View, started: Duration) -> Value {
    let status = &view.status;
    let journal = &shared.journal;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "server": status.server,
        "role": status.role,
        "words": status.words,
        "uptime_seconds": clock::uptime().saturating_sub(started).as_secs(),
        "client_url": status.client_url,
        "partner_address": status.partner_address,
        "tls": shared.settings.certificate.as_ref().map(|shown| shown.borrow().show()),
        "data_dir": shared.settings.data,
        "admits_writes": status.role != Role::Mirror && matches!(status.writes, Writes::Open),
        "serves_reads": shared.databases.is_available(),
        "databases": shared.databases.of_users(),
        "journal": {
            "first": journal.first(),
            "last": journal.last(),
            "hardened": journal.hardened(),
            "commit": shared.confirmations.commit_lsn(),
            "redo_after": shared.control.read().redo_after,
            "bytes": journal.size_bytes(),
        },
        "applied": shared.applied(),
        "readers": readers(shared),
        "integrity": integrity(shared),
        "storage_error": shared.storage.met(),
        "copies": shared.copies.show(),
        "mirroring": {
            "session": status.session,
            "epoch": status.epoch,
            "safety": status.safety,
            "require_mirror": status.require_mirror,
            "writes": status.writes,
            "exposed_since": status.exposed_since,
            "exposed_millis": status.exposed_since.map(millis_since),
            "in_doubt": status.in_doubt,
            "parked": status.parked,
            "saving_orphans": status.saving_orphans,
            "rejoining": status.rejoining,
            "rolled_back": status.rolled_back,
            "differs": differing_here(shared, view),
            "replay_stopped": status.replay_stopped,
            "partners": partners(shared, view),
            "last_error": apply_failure(view).unwrap_or_else(|| json!(status.last_error)),
            "failover_now": status.failover_now,
            "promotion": status.promotion,
            "commands": status.commands,
        },
    })
}

/// Why this mirror's databases stand still, if they do.
fn apply_failure(view: &View) -> Option<Value> {
    let failure = view.apply_failure.as_ref()?;
    Some(json!({
        "code": "APPLY_FAILED",
        "what": failure,
        "remedy": "mend its disk or make room; it goes on by itself where room was all it lacked. Otherwise restart this mirror, or seed \
                   it again with `counterpart mirror start --replace`",
    }))
}

/// The databases that are not what they should be here, since when if that is known, and why they can't be read if
/// they can't.
fn differing_here(shared: &Shared, view: &View) -> Vec<Value> {
    let mut all: Vec<Value> = view
        .status
        .differs
        .iter()
        .map(|(name, since)| json!({ "database": name, "since": since, "why": null }))
        .collect();
    for ill in shared.databases.quarantine.all() {
        let why = ill.refusal.as_ref().map(|refusal| refusal.what().to_owned());
        match all.iter_mut().find(|known| known["database"] == *ill.entry.name.as_str()) {
            Some(known) => known["why"] = json!(why),
            None => all.push(json!({ "database": ill.entry.name, "since": null, "why": why })),
        }
    }
    all
}

/// What a partner differs in, by name.
fn names(shared: &Shared, ids: &[DatabaseId]) -> Vec<String> {
    let name = |id: &DatabaseId| {
        shared.databases.numbered(*id).map_or_else(|| id.to_string(), |d| d.name.to_string())
    };
    ids.iter().map(name).collect()
}

/// The journal after a position: its bytes, and the age in milliseconds of the oldest event in it.
pub(crate) fn lacking(shared: &Shared, after: Lsn) -> (u64, u64) {
    let journal = &shared.journal;
    if after >= journal.last() {
        return (0, 0);
    }
    // Removed by retention: the age of the oldest that is left is the best that can be said.
    let after = after.max(journal.first().before());
    let oldest = journal.read_records(after, 1).ok().and_then(|records| records.into_iter().next());
    let age = oldest
        .map_or(0, |record| clock::unix_now().0.saturating_sub(record.header().committed_at.0));
    (journal.bytes_after(after), age / 1000)
}

/// A principal's mirror, or a mirror's principal. What is not known, or makes no sense for the role, is null.
#[derive(Serialize)]
struct Partner<'a> {
    server: ServerId,
    role: Role,
    client_url: &'a str,
    partner_address: &'a str,
    state: PairState,
    words: String,
    connected: bool,
    /// Its last sign of life: a moment, and how long that is ago.
    last_heard: Option<UnixMicros>,
    silent_millis: Option<u64>,
    /// Whether commits wait for this mirror.
    commits_wait: Option<bool>,
    /// This mirror's positions.
    hardened: Option<Lsn>,
    applied: Option<Lsn>,
    /// Events of this principal that have not arrived here.
    behind: Option<u64>,
    send_queue: Option<u64>,
    send_queue_bytes: Option<u64>,
    redo_queue: Option<u64>,
    redo_queue_bytes: Option<u64>,
    /// The age of the oldest event that is not applied on the mirror.
    lag_millis: Option<u64>,
    /// How the mirror catches up, and how far it is; `way` is "heal" while single databases of it are healed.
    way: Option<Value>,
    progress: Option<Value>,
    /// The mirror's databases that differ from the principal's, by name.
    differs: Option<Vec<String>>,
    /// Why that mirror applies nothing any more.
    replay_stopped: Option<&'a str>,
    last_error: Option<&'a Refusal>,
    commands: &'a [Permission],
}

fn partners<'a>(shared: &Shared, view: &'a View) -> Vec<Partner<'a>> {
    let status = &view.status;
    let mirrors = status.mirrors.iter().map(|mirror| mirror_partner(shared, view, mirror));
    let following = status.following.as_ref().zip(status.principal.as_ref());
    let principal = following.map(|(how, whom)| principal_partner(shared, view, how, whom));
    mirrors.chain(principal).collect()
}

fn mirror_partner<'a>(shared: &Shared, view: &View, mirror: &'a MirrorStatus) -> Partner<'a> {
    let sending = mirror.hardened.map(|hardened| lacking(shared, hardened).0);
    let unapplied = mirror.applied.map(|applied| lacking(shared, applied));
    Partner {
        server: mirror.address.server,
        role: Role::Mirror,
        client_url: &mirror.address.client_url,
        partner_address: &mirror.address.partner_address,
        state: mirror.state,
        words: mirror.words.clone(),
        connected: mirror.connected,
        last_heard: mirror.last_heard,
        silent_millis: mirror.last_heard.map(millis_since),
        commits_wait: Some(mirror.commits_wait),
        hardened: mirror.hardened,
        applied: mirror.applied,
        behind: None,
        send_queue: mirror.send_queue,
        send_queue_bytes: sending,
        redo_queue: mirror.redo_queue,
        redo_queue_bytes: unapplied
            .zip(sending)
            .map(|((unapplied, _), sending)| unapplied.saturating_sub(sending)),
        lag_millis: unapplied.map(|(_, lag)| lag),
        way: way(mirror.way, !mirror.differs.is_empty()),
        progress: match &mirror.seed {
            Some(seed) => Some(progress(seed, view.seed_began)),
            None => copying(shared, view, mirror),
        },
        differs: Some(names(shared, &mirror.differs)),
        replay_stopped: mirror.replay_stopped.as_deref(),
        last_error: mirror.last_error.as_ref(),
        commands: &mirror.commands,
    }
}

fn principal_partner<'a>(
    shared: &Shared,
    view: &View,
    following: &FollowingStatus,
    address: &'a PartnerAddress,
) -> Partner<'a> {
    let (redo_bytes, lag) = lacking(shared, shared.applied());
    let seed = following.seed.as_ref().filter(|_| !view.announced.is_empty());
    Partner {
        server: address.server,
        role: Role::Principal,
        client_url: &address.client_url,
        partner_address: &address.partner_address,
        state: following.state,
        words: following.words.clone(),
        connected: following.connected,
        last_heard: following.last_heard,
        silent_millis: following.last_heard.map(millis_since),
        commits_wait: None,
        hardened: None,
        applied: None,
        behind: following.behind,
        send_queue: None,
        send_queue_bytes: None,
        redo_queue: Some(following.redo_queue),
        redo_queue_bytes: Some(redo_bytes),
        // Without a connection nobody knows what the principal has by now.
        lag_millis: following.connected.then_some(lag),
        way: way(following.way, !view.status.differs.is_empty()),
        progress: match seed {
            Some(seed) => {
                let seed = SeedStatus::new(&view.announced, Some(seed));
                Some(progress(&seed, view.seed_began))
            }
            None => {
                let purposes = [Purpose::Receiving, Purpose::ReceivingHeal];
                purposes.into_iter().find_map(|purpose| shared.copies.progress(purpose))
            }
        },
        differs: None,
        replay_stopped: None,
        last_error: None,
        commands: &[],
    }
}

fn way(way: Option<Way>, heals: bool) -> Option<Value> {
    way.map(|way| json!(way)).or_else(|| heals.then(|| json!("heal")))
}

/// How far the copy for this mirror is, if it is the only one that is sent one.
fn copying(shared: &Shared, view: &View, mirror: &MirrorStatus) -> Option<Value> {
    let of = |other: &MirrorStatus| match other.way {
        Some(Way::Pages | Way::Compare) => Some(Purpose::Sending),
        None if !other.differs.is_empty() => Some(Purpose::SendingHeals),
        _ => None,
    };
    let purpose = of(mirror)?;
    let alone = view.status.mirrors.iter().filter(|other| of(other) == Some(purpose)).count() == 1;
    shared.copies.progress(purpose).filter(|_| alone)
}

/// By this server's calendar, which whoever reads the status need not share.
fn millis_since(moment: UnixMicros) -> u64 {
    clock::unix_now().0.saturating_sub(moment.0) / 1000
}

/// A seed in bytes, with the rate since it began (or went on) and the seconds that are left at that rate.
fn progress(seed: &SeedStatus, began: Option<Duration>) -> Value {
    let bytes = |pages: u64| {
        // Databases of different page sizes are rare; their mean is near enough for a progress bar.
        let total: u64 =
            seed.databases.iter().map(|d| u64::from(d.pages) * d.page_size.bytes() as u64).sum();
        pages * total / seed.pages_total.max(1)
    };
    let (done, total) = (bytes(seed.pages_done), bytes(seed.pages_total));
    let seconds = began.map_or(0.0, |at| clock::uptime().saturating_sub(at).as_secs_f64());
    let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    let eta = (rate > 0.0).then(|| (total - done) as f64 / rate);
    json!({
        "done": done,
        "total": total,
        "pages": seed.pages_done,
        "pages_total": seed.pages_total,
        "rate": rate,
        "eta": eta,
    })
}

/// What was found damaged and what became of it, and how far reading everything back is.
fn integrity(shared: &Shared) -> Value {
    let scrub = shared.scrub.progress();
    let read_back = scrub.last.as_ref().and_then(|pass| pass.ended).map(millis_since);
    json!({
        "scrub": scrub,
        "read_back_millis": read_back,
        "damage": shared.repairs.damage(),
    })
}

/// Readers that hold a snapshot, and so keep the WAL from shrinking, oldest first.
fn readers(shared: &Shared) -> Value {
    let now = clock::unix_now();
    let mut all = Vec::new();
    for hosted in shared.databases.all() {
        for reader in hosted.engine.readers() {
            let age = now.0.saturating_sub(reader.since.0);
            all.push((age, json!({ "database": hosted.name, "connection": reader.connection, "age_millis": age / 1000 })));
        }
    }
    all.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    all.into_iter().map(|(_, reader)| reader).collect()
}

/// A command's success, as the API gives it.
pub(crate) fn outcome(outcome: &Outcome) -> Value {
    serde_json::to_value(outcome).expect("plain values have a JSON form")
}
