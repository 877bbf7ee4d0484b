//! The status as the API gives it: the core's view, with what only this server can measure.

use std::{sync::Arc, time::Duration};

use counterpart_core::{
    Lsn,
    message::Role,
    session::Outcome,
    status::{SeedStatus, Writes},
};
use serde_json::{Value, json};

use crate::{clock, driver::View, shared::Shared};

/// The whole status. `started` is the uptime at which the server began to serve. May read from the disk.
pub(crate) fn render(shared: &Arc<Shared>, view: &View, started: Duration) -> Value {
    let status = &view.status;
    let journal = &shared.journal;
    let mut mirroring = serde_json::to_value(status).expect("plain values have a JSON form");
    mirroring["partners"] = partners(shared, view);
    if let Some(failure) = &view.apply_failure {
        mirroring["last_error"] = json!({
            "code": "APPLY_FAILED",
            "what": failure,
            "remedy": "restart this mirror; if that does not help, seed it again with `counterpart mirror start --replace`",
        });
    }
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "server": status.server,
        "role": status.role,
        "words": status.words,
        "uptime_seconds": clock::uptime().saturating_sub(started).as_secs(),
        "client_url": status.client_url,
        "partner_address": status.partner_address,
        "data_dir": shared.settings.data,
        "admits_writes": status.role != Role::Mirror && matches!(status.writes, Writes::Open),
        "serves_reads": shared.databases.is_available(),
        "databases": shared.databases.count(),
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
        "mirroring": mirroring,
    })
}

/// The journal after a position: its bytes, and the age in milliseconds of the oldest event in it.
fn lacking(shared: &Shared, after: Lsn) -> (u64, u64) {
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

/// The partners in one form, whichever side looks: a principal's mirrors, or a mirror's principal.
fn partners(shared: &Shared, view: &View) -> Value {
    let status = &view.status;
    let following = status.following.as_ref().zip(status.principal.as_ref()).map(|(following, principal)| {
        let (redo_bytes, lag) = lacking(shared, shared.applied());
        json!({
            "redo_queue_bytes": redo_bytes,
            "lag_millis": lag,
            "server": principal.server,
            "role": Role::Principal,
            "partner_address": principal.partner_address,
            "client_url": principal.client_url,
            "state": if status.parked.is_some() { json!("SUSPENDED") } else { json!(following.state) },
            "connected": following.connected,
            "behind": following.behind,
            "redo_queue": following.redo_queue,
            "last_heard": following.last_heard,
            "seed": following.seed,
            "progress": following.seed.as_ref().filter(|_| !view.announced.is_empty()).map(|seed| {
                progress(&SeedStatus::new(&view.announced, Some(seed)), view.seed_began)
            }),
        })
    });
    let mirrors = status.mirrors.iter().map(|mirror| {
        let mut value = serde_json::to_value(mirror).expect("plain values have a JSON form");
        let (send_bytes, _) = lacking(shared, mirror.hardened);
        let (unapplied_bytes, lag) = lacking(shared, mirror.applied);
        value["send_queue_bytes"] = json!(send_bytes);
        value["redo_queue_bytes"] = json!(unapplied_bytes.saturating_sub(send_bytes));
        value["lag_millis"] = json!(lag);
        value["server"] = json!(mirror.address.server);
        value["role"] = json!(Role::Mirror);
        value["progress"] = json!(mirror.seed.as_ref().map(|seed| progress(seed, view.seed_began)));
        value["partner_address"] = json!(mirror.address.partner_address);
        value["client_url"] = json!(mirror.address.client_url);
        value
    });
    mirrors.chain(following).collect()
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
    json!({ "done": done, "total": total, "rate": rate, "eta": eta })
}

/// Readers that hold a snapshot, and so keep the WAL from shrinking, oldest first.
fn readers(shared: &Shared) -> Value {
    let now = clock::unix_now();
    let mut all = Vec::new();
    for hosted in shared.databases.all() {
        for reader in hosted.engine.readers() {
            let age = now.0.saturating_sub(reader.since.0);
            all.push((age, json!({ "database": hosted.name, "connection": reader.connection, "age_ms": age / 1000 })));
        }
    }
    all.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    all.into_iter().map(|(_, reader)| reader).collect()
}

/// A command's success, as the API gives it.
pub(crate) fn outcome(outcome: &Outcome) -> Value {
    serde_json::to_value(outcome).expect("plain values have a JSON form")
}
