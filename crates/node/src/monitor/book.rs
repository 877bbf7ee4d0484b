//! The book of alarms: what is active, what was, kept in one small file of the data directory.
//!
//! A file that is replaced whole, as the control file is: alarms change a few times a day, there is a bound on how many are kept, and
//! after a crash the file is the old one or the new one. The server's own database would be the wrong place, for an alarm must be
//! written down on a mirror, too, and most of all when databases can't be used. If the file itself can't be written, alarms go on
//! from memory.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use counterpart_core::{
    alarms::{Alarm, Alarms, Cause, Change, How, Limits, Seen, Step, Subject},
    message::Role,
    session,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::seen::about;
use crate::{clock, refusal::Refusal};

/// The file's name in the data directory.
const FILE: &str = "alarms.json";

/// The version of the file's form.
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// The role that the server was seen in last.
    role: Option<Role>,
    alarms: Alarms,
}

/// What was reported and not taken in yet.
struct Report {
    seen: Seen,
    /// Whoever reports it has logged it.
    logged: bool,
}

/// See the module's head.
pub(crate) struct Book {
    path: PathBuf,
    limits: Limits,
    kept: Mutex<Kept>,
    reports: Mutex<Vec<Report>>,
    unwritable: AtomicBool,
    /// Something was reported.
    pub(crate) reported: Notify,
}

impl Book {
    /// The book of a data directory. A file that can't be read is put aside: an old alarm must not keep a server from starting.
    pub(crate) fn open(data: &Path, limits: Limits) -> Book {
        let path = data.join(FILE);
        let kept = read(&path).unwrap_or_else(|error| {
            let aside = path.with_extension("json.unreadable");
            tracing::warn!(file = %path.display(), aside = %aside.display(), %error, "the book of alarms begins anew");
            if let Err(error) = counterpart_journal::rename_durably(&path, &aside) {
                tracing::warn!(%error, "the unreadable one could not be put aside");
            }
            Kept::default()
        });
        Book {
            path,
            limits,
            kept: Mutex::new(kept),
            reports: Mutex::default(),
            unwritable: AtomicBool::new(false),
            reported: Notify::new(),
        }
    }

    /// Takes note of something at once; it is taken in soon.
    pub(crate) fn report(&self, seen: Seen) {
        self.push(Report { seen, logged: false });
    }

    /// The session core has raised or cleared an alarm of its own, and the driver has logged that.
    pub(crate) fn report_of_core(&self, alarm: &session::Alarm) {
        let cause = match alarm.kind {
            session::AlarmKind::Exposed => Cause::Exposed,
            session::AlarmKind::PartnerLost => Cause::PartnerLost,
            session::AlarmKind::Deposed => Cause::Deposed,
            session::AlarmKind::InDoubt => Cause::InDoubt,
            session::AlarmKind::JournalFailed => Cause::JournalFailed,
            session::AlarmKind::RolledBack => Cause::RolledBack,
            session::AlarmKind::Differs => Cause::Differs,
            session::AlarmKind::ReplayStopped => Cause::ReplayStopped,
        };
        // Which handover is in doubt is in the words; the status knows only that one is.
        let partner = alarm.partner.filter(|_| cause != Cause::InDoubt);
        let seen = about(cause, partner, How::Holds(alarm.raised), alarm.text.as_str());
        self.push(Report { seen, logged: true });
    }

    fn push(&self, report: Report) {
        self.reports.lock().expect("no holder of this lock panics").push(report);
        self.reported.notify_one();
    }

    /// Takes in what was reported. Writes the file.
    pub(crate) fn take_in_reports(&self) {
        let reports =
            std::mem::take(&mut *self.reports.lock().expect("no holder of this lock panics"));
        let mut kept = self.lock();
        let mut changed = false;
        for Report { seen, logged } in reports {
            let Some(change) = kept.alarms.see(clock::unix_now(), &self.limits, seen) else {
                continue;
            };
            changed = true;
            if !logged {
                log(&change);
            }
        }
        if changed {
            self.write(&kept);
        }
    }

    /// Takes in all that is watched, and the role in which it is. Writes the file if that changes anything.
    pub(crate) fn take_in(&self, role: Role, all: Vec<Seen>) {
        let at = clock::unix_now();
        let mut kept = self.lock();
        let mut changes = kept.alarms.watch(at, &self.limits, all);
        let before = kept.role.replace(role);
        if let Some(before) = before.filter(|before| is_news(*before, role)) {
            let text = format!("this server is {role} now; it was {before}");
            let seen = about(Cause::RoleChanged, None, How::Happened, text);
            changes.extend(kept.alarms.see(at, &self.limits, seen));
        }
        changes.iter().for_each(log);
        if !changes.is_empty() || before != Some(role) {
            self.write(&kept);
        }
    }

    /// Somebody knows of an alarm. Writes the file.
    pub(crate) fn acknowledge(&self, id: u64, by: &str) -> Result<Value, Refusal> {
        let mut kept = self.lock();
        let change = kept.alarms.acknowledge(clock::unix_now(), id, by);
        let change = change.map_err(|error| {
            Refusal::new(
                "ALARM_NOT_FOUND",
                error.to_string(),
                "list them with `counterpart alarms list`",
            )
        })?;
        tracing::info!(alarm = %change.alarm.cause, id, by, "acknowledged");
        self.write(&kept);
        Ok(show(&change.alarm))
    }

    /// Whether there is an active alarm about this.
    pub(crate) fn is_active(&self, subject: Subject) -> bool {
        self.lock().alarms.is_active(subject)
    }

    /// How many alarms are active of each cause.
    pub(crate) fn counts(&self) -> Vec<(Cause, usize)> {
        let kept = self.lock();
        let of =
            |cause: Cause| kept.alarms.active().iter().filter(|alarm| alarm.cause == cause).count();
        Cause::ALL.into_iter().map(|cause| (cause, of(cause))).collect()
    }

    /// All alarms, as the API gives them: the active ones in the order in which they were raised, the others newest first.
    pub(crate) fn show(&self) -> Value {
        let kept = self.lock();
        let active: Vec<Value> = kept.alarms.active().iter().map(show).collect();
        let history: Vec<Value> = kept.alarms.history().rev().map(show).collect();
        json!({ "active": active, "history": history })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no holder of this lock panics")
    }

    fn write(&self, kept: &Kept) {
        let kept = Kept { version: VERSION, ..kept.clone() };
        let bytes = serde_json::to_vec(&kept).expect("plain values have a JSON form");
        let failed = counterpart_journal::atomic_write(&self.path, &bytes).err();
        let before = self.unwritable.swap(failed.is_some(), Ordering::Relaxed);
        if let Some(error) = failed.filter(|_| !before) {
            tracing::warn!(%error, "the book of alarms can't be written; alarms go on, and a restart forgets these");
        }
    }
}

/// A failover, a promotion, a principal that was deposed: what an operator has to know, whoever did it. That a session begins or ends
/// is what somebody has just asked for.
fn is_news(before: Role, now: Role) -> bool {
    before != now && before != Role::Standalone && now != Role::Standalone
}

fn read(path: &Path) -> io::Result<Kept> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        read => read?,
    };
    let kept: Kept = serde_json::from_slice(&bytes)?;
    if kept.version > VERSION {
        let what = format!("it has version {}, and this server knows {VERSION}", kept.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(kept)
}

/// Logs a change with the cause as its stable code. What has a line of its own already has no second one.
fn log(change: &Change) {
    let Change { step, alarm, .. } = change;
    if alarm.cause == Cause::Storage {
        return;
    }
    let (cause, id, text) = (alarm.cause, alarm.id, alarm.text.as_str());
    match step {
        Step::Raised | Step::Again => {
            tracing::warn!(alarm = %cause, id, times = alarm.times, "{text}")
        }
        Step::Cleared | Step::Acknowledged => tracing::info!(alarm = %cause, id, "{text}"),
    }
}

/// An alarm as the API gives it. Moments are in microseconds since 1970.
pub(super) fn show(alarm: &Alarm) -> Value {
    let state = match (alarm.cleared, &alarm.acknowledged) {
        (Some(_), _) => "cleared",
        (None, Some(_)) => "acknowledged",
        (None, None) => "raised",
    };
    json!({
        "id": alarm.id,
        "cause": alarm.cause,
        "severity": alarm.cause.severity(),
        "state": state,
        "partner": alarm.partner,
        "text": alarm.text,
        "raised": alarm.raised,
        "raised_millis": clock::unix_now().0.saturating_sub(alarm.raised.0) / 1000,
        "told": alarm.told,
        "times": alarm.times,
        "worst": alarm.worst,
        "limit": alarm.limit,
        "acknowledged": alarm.acknowledged,
        "cleared": alarm.cleared,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposed(holds: bool) -> Vec<Seen> {
        vec![about(Cause::Exposed, None, How::Holds(holds), "words")]
    }

    fn open(dir: &tempfile::TempDir) -> Book {
        Book::open(dir.path(), Limits::default())
    }

    #[test]
    fn what_was_told_is_known_after_a_restart_and_is_not_told_again() {
        let dir = tempfile::tempdir().unwrap();
        let book = open(&dir);
        book.take_in(Role::Principal, exposed(true));
        book.acknowledge(1, "ann").unwrap();
        let before = book.show();
        assert_eq!(before["active"][0]["state"], "acknowledged");
        // As a crash leaves it: nothing is done at the end.
        let book = open(&dir);
        book.take_in(Role::Principal, exposed(true));
        assert_eq!(book.show(), before);
        book.take_in(Role::Mirror, vec![]);
        let after = book.show();
        assert_eq!(after["active"][0]["cause"], "RoleChanged");
        assert_eq!(after["history"][0]["state"], "cleared");
        assert_eq!(book.acknowledge(1, "ann").unwrap_err().code(), "ALARM_NOT_FOUND");
    }

    #[test]
    fn what_began_and_ended_between_two_looks_is_in_the_history() {
        let dir = tempfile::tempdir().unwrap();
        let book = open(&dir);
        for holds in [true, false] {
            book.report(exposed(holds).remove(0));
        }
        book.take_in_reports();
        let shown = book.show();
        assert_eq!(
            (shown["active"].as_array().unwrap().len(), &shown["history"][0]["cause"]),
            (0, &json!("Exposed"))
        );
    }

    #[test]
    fn a_file_that_is_none_is_put_aside_and_alarms_begin_anew() {
        for content in [
            "",
            "{",
            "[]",
            "{\"version\":99,\"role\":null,\"alarms\":{\"last\":0,\"active\":[],\"history\":[]}}",
        ] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(FILE), content).unwrap();
            let book = open(&dir);
            assert_eq!(book.show(), json!({ "active": [], "history": [] }), "{content}");
            let aside = dir.path().join("alarms.json.unreadable");
            assert_eq!(std::fs::read_to_string(aside).unwrap(), content);
            book.take_in(Role::Principal, exposed(true));
            assert!(open(&dir).is_active((Cause::Exposed, None)));
        }
    }

    #[test]
    fn what_a_session_brings_is_no_change_of_role_that_somebody_has_to_be_told_of() {
        use Role::{Mirror, Principal, Standalone};
        let news = [(Principal, Mirror), (Mirror, Principal)];
        for before in [Standalone, Principal, Mirror] {
            for now in [Standalone, Principal, Mirror] {
                assert_eq!(is_news(before, now), news.contains(&(before, now)), "{before} {now}");
            }
        }
    }
}
