//! The figures as Prometheus reads them. Names and units follow its conventions: `counterpart_…_seconds`, `_bytes`, `_total`.
//!
//! What is not known has no sample: a zero would be taken for good news.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use counterpart_core::{
    Lsn, UnixMicros,
    message::Role,
    session::PairState,
    status::{MirrorStatus, Writes},
};

use super::{
    exposition::{Exposition, Kind, Label, seconds},
    peaks::Second,
    watch,
};
use crate::{clock, driver::View, shared::Shared, status::lacking};

const ROLES: [Role; 3] = [Role::Standalone, Role::Principal, Role::Mirror];

const STATES: [PairState; 5] = [
    PairState::Synchronizing,
    PairState::Synchronized,
    PairState::Suspended,
    PairState::PendingFailover,
    PairState::Disconnected,
];

/// All of them. `started` is the uptime at which the server began to serve. May read from the disk.
pub(crate) fn render(shared: &Arc<Shared>, view: &View, started: Duration) -> String {
    let mut to = Exposition::default();
    let peaks = shared.figures.peaks.lock().expect("no holder of this lock panics");
    let peak = peaks.highest(watch::current(&shared.figures));
    drop(peaks);
    server(&mut to, shared, view, started);
    journal(&mut to, shared, view);
    durations(&mut to, shared, view, &peak);
    match view.status.role {
        Role::Principal => mirrors(&mut to, shared, view, &peak),
        Role::Mirror => following(&mut to, shared, view, &peak),
        Role::Standalone => {}
    }
    storage(&mut to, shared, view);
    let help = "Alarms that are active";
    let mut family = to.family("counterpart_alarms_active", Kind::Gauge, help);
    for (cause, active) in shared.alarms.counts() {
        family.sample(&[("cause", &cause.to_string())], active as f64);
    }
    to.finish()
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn age(moment: UnixMicros) -> f64 {
    seconds(clock::unix_now().0.saturating_sub(moment.0))
}

fn server(to: &mut Exposition, shared: &Shared, view: &View, started: Duration) {
    let status = &view.status;
    let id = status.server.to_string();
    to.family("counterpart_build_info", Kind::Gauge, "The server and its version; always 1")
        .sample(&[("version", env!("CARGO_PKG_VERSION")), ("server", &id)], 1.0);
    let up = clock::uptime().saturating_sub(started).as_secs_f64();
    to.single("counterpart_uptime_seconds", Kind::Gauge, "For how long the server has served", up);
    let roles = ROLES.map(|role| role.to_string());
    to.family("counterpart_role", Kind::Gauge, "1 for the role that the server has").one_of(
        &[],
        "role",
        &roles.each_ref().map(String::as_str),
        &status.role.to_string(),
    );
    let writes = status.role != Role::Mirror && matches!(status.writes, Writes::Open);
    to.single(
        "counterpart_admits_writes",
        Kind::Gauge,
        "1 where writes are executed",
        flag(writes),
    );
    let reads = shared.databases.is_available();
    to.single("counterpart_serves_reads", Kind::Gauge, "1 where reads are served", flag(reads));
    let exposed = status.exposed_since;
    let help = "1 while commits are confirmed without a synchronized mirror";
    to.single("counterpart_exposed", Kind::Gauge, help, flag(exposed.is_some()));
    let help = "For how long that has been so; 0 where it is not";
    to.single("counterpart_exposed_seconds", Kind::Gauge, help, exposed.map_or(0.0, age));
    let help = "Streams of clients that are open";
    to.single("counterpart_streams_open", Kind::Gauge, help, shared.figures.streams() as f64);
    let databases = shared.databases.of_users() as f64;
    to.single("counterpart_databases", Kind::Gauge, "Databases that are hosted", databases);
    let awake = shared.databases.all().iter().filter(|hosted| hosted.engine.is_awake()).count();
    let help = "Databases that do not rest, the server's own among them";
    to.single("counterpart_databases_open", Kind::Gauge, help, awake as f64);
}

fn journal(to: &mut Exposition, shared: &Shared, view: &View) {
    let (journal, figures) = (&shared.journal, &shared.figures);
    let position = |to: &mut Exposition, name, help: &str, lsn: Lsn| {
        to.single(name, Kind::Gauge, help, lsn.0 as f64);
    };
    position(to, "counterpart_journal_last_lsn", "The newest event in the journal", journal.last());
    position(to, "counterpart_hardened_lsn", "Hardened here up to this LSN", journal.hardened());
    position(to, "counterpart_commit_lsn", "Final up to this LSN", view.status.commit);
    position(to, "counterpart_applied_lsn", "In the databases up to this LSN", shared.applied());
    let help = "Bytes of the journal's segments";
    to.single("counterpart_journal_size_bytes", Kind::Gauge, help, journal.size_bytes() as f64);
    let mut count = |name, help, value: u64| to.single(name, Kind::Counter, help, value as f64);
    count(
        "counterpart_transactions_total",
        "Transactions that were committed here",
        figures.transactions.load(Relaxed),
    );
    count(
        "counterpart_journal_appended_bytes_total",
        "Bytes of records that were written here as principal or standalone server",
        shared.appended_bytes(),
    );
    count(
        "counterpart_partner_sent_bytes_total",
        "Bytes that went to partners, copies and seeds aside",
        figures.sent_bytes.load(Relaxed),
    );
    count(
        "counterpart_partner_received_bytes_total",
        "Bytes that came from partners, copies and seeds aside",
        figures.received_bytes.load(Relaxed),
    );
    let (number, took) = figures.checkpoints();
    count("counterpart_checkpoints_total", "Checkpoints that were begun", number);
    let help = "Time that they took together";
    to.single("counterpart_checkpoint_seconds_total", Kind::Counter, help, took.as_secs_f64());
}

fn durations(to: &mut Exposition, shared: &Shared, view: &View, peak: &Second) {
    if view.status.role == Role::Mirror {
        let help = "From hardened here to applied here, for each event";
        to.family("counterpart_apply_seconds", Kind::Histogram, help)
            .histogram(&[], &shared.figures.applying);
        let help = "The longest of the last 60 seconds";
        let longest = seconds(peak.applying);
        return to.single("counterpart_apply_peak_seconds", Kind::Gauge, help, longest);
    }
    let help = "From hardened here to final: what confirming by the mirror added, for each event";
    to.family("counterpart_commit_overhead_seconds", Kind::Histogram, help)
        .histogram(&[], &shared.figures.overhead);
    let help = "The longest of the last 60 seconds";
    let longest = seconds(peak.overhead);
    to.single("counterpart_commit_overhead_peak_seconds", Kind::Gauge, help, longest);
}

/// Writes a family with a sample of each mirror of which something is known.
fn each(
    to: &mut Exposition,
    (name, help): (&'static str, &str),
    mirrors: &[(String, &MirrorStatus)],
    value: impl Fn(&MirrorStatus) -> Option<f64>,
) {
    let mut family = to.family(name, Kind::Gauge, help);
    for (id, mirror) in mirrors {
        if let Some(value) = value(mirror) {
            family.sample(&[("partner", id)], value);
        }
    }
}

fn state(to: &mut Exposition, states: &[(String, PairState)]) {
    let words = STATES.map(|state| state.to_string());
    let words = words.each_ref().map(String::as_str);
    let help = "1 for the state that the pair has";
    let mut family = to.family("counterpart_partner_state", Kind::Gauge, help);
    for (id, state) in states {
        family.one_of(&[("partner", id)], "state", &words, &state.to_string());
    }
}

const CONNECTED: (&str, &str) = ("counterpart_partner_connected", "1 while there is a connection");
const SILENT: (&str, &str) =
    ("counterpart_partner_silent_seconds", "How long the partner's last sign of life is ago");

fn mirrors(to: &mut Exposition, shared: &Shared, view: &View, peak: &Second) {
    let all: Vec<(String, &MirrorStatus)> =
        view.status.mirrors.iter().map(|m| (m.address.server.to_string(), m)).collect();
    let states: Vec<_> = all.iter().map(|(id, mirror)| (id.clone(), mirror.state)).collect();
    state(to, &states);
    each(to, CONNECTED, &all, |mirror| Some(flag(mirror.connected)));
    each(to, SILENT, &all, |mirror| mirror.last_heard.map(age));
    let unsent = |mirror: &MirrorStatus| Some(lacking(shared, mirror.hardened?));
    let unapplied = |mirror: &MirrorStatus| Some(lacking(shared, mirror.applied?));
    let name = ("counterpart_send_queue_events", "Hardened here and not yet at the mirror");
    each(to, name, &all, |mirror| Some(mirror.send_queue? as f64));
    let name = ("counterpart_send_queue_bytes", "The same in bytes");
    each(to, name, &all, |mirror| Some(unsent(mirror)?.0 as f64));
    let name = ("counterpart_send_queue_peak_events", "The most of the last 60 seconds");
    let of = |mirror: &MirrorStatus| peak.mirrors.get(&mirror.address.server).copied();
    each(to, name, &all, |mirror| Some(of(mirror)?.0.max(mirror.send_queue?) as f64));
    let name = ("counterpart_oldest_unsent_seconds", "Age of the oldest event in the send queue");
    each(to, name, &all, |mirror| Some(unsent(mirror)?.1 as f64 / 1e3));
    let name = ("counterpart_redo_queue_events", "Hardened at the mirror and not yet applied");
    each(to, name, &all, |mirror| Some(mirror.redo_queue? as f64));
    let name = ("counterpart_redo_queue_bytes", "The same in bytes");
    each(to, name, &all, |mirror| {
        Some(unapplied(mirror)?.0.saturating_sub(unsent(mirror)?.0) as f64)
    });
    let name = ("counterpart_lag_seconds", "Age of the oldest event that is not applied there");
    each(to, name, &all, |mirror| Some(unapplied(mirror)?.1 as f64 / 1e3));
    let name = ("counterpart_partner_differing_databases", "Databases of it that differ");
    each(to, name, &all, |mirror| Some(mirror.differs.len() as f64));
    let name = ("counterpart_send_peak_seconds", "The longest time to send of the last 60 seconds");
    each(to, name, &all, |mirror| Some(seconds(of(mirror)?.1)));
    let mut noted = shared.figures.of_mirrors();
    noted.retain(|(server, _)| all.iter().any(|(_, mirror)| mirror.address.server == *server));
    let help = "From hardened here to hardened at the mirror, for each event";
    let mut family = to.family("counterpart_send_seconds", Kind::Histogram, help);
    for (server, figures) in &noted {
        family.histogram(&[("partner", &server.to_string())], &figures.sending);
    }
    let help = "How often the pair has left SYNCHRONIZED, for however short a time";
    let mut family = to.family("counterpart_partner_left_synchronized_total", Kind::Counter, help);
    for (server, figures) in &noted {
        family.sample(&[("partner", &server.to_string())], figures.left() as f64);
    }
}

fn following(to: &mut Exposition, shared: &Shared, view: &View, peak: &Second) {
    let status = &view.status;
    let Some((how, whom)) = status.following.as_ref().zip(status.principal.as_ref()) else {
        return;
    };
    let id = whom.server.to_string();
    state(to, &[(id.clone(), how.state)]);
    let labels: [Label<'_>; 1] = [("partner", &id)];
    let (name, help) = CONNECTED;
    to.family(name, Kind::Gauge, help).sample(&labels, flag(how.connected));
    if let Some(heard) = how.last_heard {
        let (name, help) = SILENT;
        to.family(name, Kind::Gauge, help).sample(&labels, age(heard));
    }
    if let Some(behind) = how.behind {
        let help = "Events of the principal that have not arrived here";
        to.single("counterpart_behind_events", Kind::Gauge, help, behind as f64);
    }
    let help = "Hardened here and not yet applied";
    to.single("counterpart_redo_queue_events", Kind::Gauge, help, how.redo_queue as f64);
    let (bytes, oldest) = lacking(shared, shared.applied());
    to.single("counterpart_redo_queue_bytes", Kind::Gauge, "The same in bytes", bytes as f64);
    let help = "The most of the last 60 seconds";
    let most = peak.redo_queue.max(how.redo_queue);
    to.single("counterpart_redo_queue_peak_events", Kind::Gauge, help, most as f64);
    if how.connected {
        let help = "Age of the oldest event that is not applied here";
        to.single("counterpart_lag_seconds", Kind::Gauge, help, oldest as f64 / 1e3);
    }
}

fn storage(to: &mut Exposition, shared: &Shared, view: &View) {
    if let Ok(free) = counterpart_journal::free_bytes(&shared.settings.data) {
        let help = "Bytes that are free where the data directory is";
        to.single("counterpart_disk_free_bytes", Kind::Gauge, help, free as f64);
    }
    let help = "1 while SQLite can't use the disk";
    let failing = shared.storage.met().is_some();
    to.single("counterpart_storage_failing", Kind::Gauge, help, flag(failing));
    let help = "1 once the journal has failed: nothing is confirmed until a restart";
    let failed = shared.journal.poisoned().is_some();
    to.single("counterpart_journal_failed", Kind::Gauge, help, flag(failed));
    let help = "1 while nothing is applied here any more";
    let stopped = view.apply_failure.is_some() || view.status.replay_stopped.is_some();
    to.single("counterpart_replay_stopped", Kind::Gauge, help, flag(stopped));
    let help = "Databases here that are not what they should be";
    let differing = view.status.differs.len().max(shared.databases.quarantine.all().len());
    to.single("counterpart_differing_databases", Kind::Gauge, help, differing as f64);
    let damage = shared.repairs.damage();
    let help = "Pages that were found damaged since the start";
    to.single("counterpart_damaged_pages_total", Kind::Counter, help, damage.found as f64);
    let help = "Of these: pages that are good again";
    to.single("counterpart_repaired_pages_total", Kind::Counter, help, damage.repaired as f64);
    let scrub = shared.scrub.progress();
    let help = "1 while everything is being read back";
    to.single("counterpart_scrub_running", Kind::Gauge, help, flag(scrub.running.is_some()));
    let Some(last) = scrub.last else { return };
    if let Some(ended) = last.ended {
        let help = "When everything had been read back";
        to.single(
            "counterpart_scrub_last_end_timestamp_seconds",
            Kind::Gauge,
            help,
            seconds(ended.0),
        );
    }
    let help = "What the last scrub found and could not put right";
    let unmended = (last.damaged_pages - last.repaired_pages)
        + (last.damaged_segments - last.repaired_segments);
    to.single("counterpart_scrub_unrepaired", Kind::Gauge, help, unmended as f64);
}
