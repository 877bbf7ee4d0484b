//! The book of alarms: what is active, what was, kept in one small file of the data directory.
//!
//! A file that is replaced whole, as the control file is: alarms change a few times a day, there is a bound on how many are kept, and
//! after a crash the file is the old one or the new one. The server's own database would be the wrong place, for an alarm must be
//! written down on a mirror, too, and most of all when databases can't be used. If the file itself can't be written, alarms go on
//! from memory.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use counterpart_core::{
    ServerId, UnixMicros,
    alarms::{Alarm, Alarms, Cause, Change, How, Limits, Seen, Step, Subject},
    message::Role,
    session,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::{
    outbox::{Channel, Notice, Outbox},
    seen::about,
};
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
    #[serde(default)]
    outbox: Outbox,
}

impl Kept {
    /// The role is this one now; it was that one. What is known already, because it was looked at before the report came, is no
    /// news.
    fn take_role(&mut self, at: UnixMicros, before: Option<Role>, now: Role) -> Option<Change> {
        if self.role.replace(now) == Some(now) {
            return None;
        }
        let before = before.filter(|before| is_news(*before, now))?;
        let text = format!("this server is {now} now; it was {before}");
        let seen = about(Cause::RoleChanged, None, How::Happened, text);
        self.alarms.see(at, &Limits::default(), seen)
    }
}

/// Who tells.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The server, its role, and where operators reach it.
    pub(crate) server: ServerId,
    pub(crate) role: Role,
    pub(crate) client_url: String,
    /// A mirror whose principal answers nobody: it tells what that one would tell.
    pub(crate) alone: bool,
}

impl Origin {
    /// Whether others hear of this cause from this server. What both partners see is told by the principal, and a change of roles by
    /// whoever is principal now.
    fn tells(&self, cause: Cause) -> bool {
        match cause {
            Cause::RoleChanged => self.role != Role::Mirror,
            Cause::PartnerLost | Cause::Differs | Cause::ReplayStopped => {
                self.role != Role::Mirror || self.alone
            }
            _ => true,
        }
    }

    fn body(&self, step: &str, at: UnixMicros, alarm: Option<&Alarm>) -> Value {
        json!({
            "step": step,
            "at": at,
            "server": self.server,
            "role": self.role.to_string(),
            "client_url": self.client_url,
            "alarm": alarm.map(show),
        })
    }
}

/// What was reported and not taken in yet.
enum Report {
    /// Something was seen; `logged` if whoever reports it has logged it.
    Seen { seen: Seen, logged: bool },
    /// The role was the first one, and is the second one.
    Role(Role, Role),
}

/// See the module's head.
pub(crate) struct Book {
    path: PathBuf,
    limits: Limits,
    kept: Mutex<Kept>,
    reports: Mutex<Vec<Report>>,
    unwritable: AtomicBool,
    channels: Vec<Channel>,
    /// Why a channel could not tell what it tells next.
    errors: Mutex<BTreeMap<Channel, String>>,
    /// Something was reported.
    pub(crate) reported: Notify,
    /// There may be something to tell.
    pub(crate) pushed: watch::Sender<()>,
}

impl Book {
    /// The book of a data directory. A file that can't be read is put aside: an old alarm must not keep a server from starting.
    pub(crate) fn open(data: &Path, limits: Limits, channels: &[Channel]) -> Book {
        let path = data.join(FILE);
        let mut kept = read(&path).unwrap_or_else(|error| {
            let aside = path.with_extension("json.unreadable");
            tracing::warn!(file = %path.display(), aside = %aside.display(), %error, "the book of alarms begins anew");
            if let Err(error) = counterpart_journal::rename_durably(&path, &aside) {
                tracing::warn!(%error, "the unreadable one could not be put aside");
            }
            Kept::default()
        });
        kept.outbox.set_channels(channels);
        Book {
            path,
            limits,
            kept: Mutex::new(kept),
            reports: Mutex::default(),
            unwritable: AtomicBool::new(false),
            channels: channels.to_vec(),
            errors: Mutex::default(),
            reported: Notify::new(),
            pushed: watch::Sender::new(()),
        }
    }

    /// Takes note of something at once; it is taken in soon.
    pub(crate) fn report(&self, seen: Seen) {
        self.push(Report::Seen { seen, logged: false });
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
        self.push(Report::Seen { seen, logged: true });
    }

    /// The role is another one, for however short a time.
    pub(crate) fn report_role(&self, before: Role, now: Role) {
        self.push(Report::Role(before, now));
    }

    fn push(&self, report: Report) {
        self.reports.lock().expect("no holder of this lock panics").push(report);
        self.reported.notify_one();
    }

    /// Takes in what was reported. Writes the file.
    pub(crate) fn take_in_reports(&self, origin: &Origin) {
        let reports =
            std::mem::take(&mut *self.reports.lock().expect("no holder of this lock panics"));
        let mut kept = self.lock();
        let mut changed = false;
        for report in reports {
            let (at, role) = (clock::unix_now(), kept.role);
            let (change, logged) = match report {
                Report::Seen { seen, logged } => (kept.alarms.see(at, &self.limits, seen), logged),
                Report::Role(before, now) => (kept.take_role(at, Some(before), now), false),
            };
            changed |= kept.role != role;
            let Some(change) = change else { continue };
            changed = true;
            if !logged {
                log(&change);
            }
            self.tell(&mut kept, origin, &change);
        }
        if changed {
            self.write(&kept);
        }
    }

    /// Takes in all that is watched, and the role in which it is. Writes the file if that changes anything.
    pub(crate) fn take_in(&self, origin: &Origin, all: Vec<Seen>) {
        let (at, role) = (clock::unix_now(), origin.role);
        let mut kept = self.lock();
        let mut changes = kept.alarms.watch(at, &self.limits, all);
        let before = kept.role;
        changes.extend(kept.take_role(at, before, role));
        for change in &changes {
            log(change);
            self.tell(&mut kept, origin, change);
        }
        let told = self.tell_the_rest(&mut kept, origin, at);
        if told || !changes.is_empty() || before != Some(role) {
            self.write(&kept);
        }
    }

    /// Has others told of a change, if they are to hear of it from this server.
    fn tell(&self, kept: &mut Kept, origin: &Origin, change: &Change) {
        let Change { step, at, alarm } = change;
        let known = kept.outbox.has_begun(alarm.id);
        let (word, tells) = match step {
            Step::Raised => ("raised", origin.tells(alarm.cause)),
            Step::Again => ("again", known || origin.tells(alarm.cause)),
            Step::Cleared => ("cleared", kept.outbox.end(alarm.id)),
            Step::Acknowledged => return,
        };
        if !tells || self.channels.is_empty() {
            return;
        }
        if *step != Step::Cleared {
            kept.outbox.begin(alarm.id);
        }
        kept.outbox.push(origin.body(word, *at, Some(alarm)));
        self.pushed.send_replace(());
    }

    /// Has others told of what is active and they have not heard of: the one who would have told is dead, or there was no channel.
    fn tell_the_rest(&self, kept: &mut Kept, origin: &Origin, at: UnixMicros) -> bool {
        let untold = |alarm: &&Alarm| origin.tells(alarm.cause) && !kept.outbox.has_begun(alarm.id);
        let untold: Vec<Alarm> = match self.channels.is_empty() {
            true => Vec::new(),
            false => kept.alarms.active().iter().filter(untold).cloned().collect(),
        };
        for alarm in &untold {
            self.tell(kept, origin, &Change { step: Step::Raised, at, alarm: alarm.clone() });
        }
        !untold.is_empty()
    }

    /// Whether others have been told of an active alarm about this.
    pub(crate) fn is_told(&self, (cause, partner): Subject) -> bool {
        let kept = self.lock();
        let mut active = kept.alarms.active().iter();
        let about = active.find(|alarm| (alarm.cause, alarm.partner) == (cause, partner));
        about.is_some_and(|alarm| kept.outbox.has_begun(alarm.id))
    }

    /// Has something told that is no alarm, to see whether it arrives.
    pub(crate) fn test(&self, origin: &Origin) -> Result<Value, Refusal> {
        if self.channels.is_empty() {
            let remedy = "start the server with --alarm-command or --alarm-webhook";
            return Err(Refusal::new("NO_CHANNELS", "this server tells nobody of alarms", remedy));
        }
        let mut kept = self.lock();
        let number = kept.outbox.push(origin.body("test", clock::unix_now(), None));
        self.write(&kept);
        drop(kept);
        self.pushed.send_replace(());
        let channels: Vec<&str> = self.channels.iter().map(|channel| channel.name()).collect();
        Ok(json!({ "number": number, "channels": channels }))
    }

    /// What a channel tells next.
    pub(crate) fn next(&self, channel: Channel) -> Option<Notice> {
        self.lock().outbox.next(channel).cloned()
    }

    /// A channel has told a notice, or has given it up for this reason. Writes the file.
    pub(crate) fn channel_told(&self, channel: Channel, number: u64, given_up: Option<String>) {
        self.note_error(channel, given_up);
        let mut kept = self.lock();
        kept.outbox.is_told(channel, number);
        self.write(&kept);
    }

    /// A channel could not tell, and tries again; or nothing hinders it any more.
    pub(crate) fn note_error(&self, channel: Channel, why: Option<String>) {
        let mut errors = self.errors.lock().expect("no holder of this lock panics");
        match why {
            Some(why) => drop(errors.insert(channel, why)),
            None => drop(errors.remove(&channel)),
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
        if change.alarm.cleared.is_some() {
            kept.outbox.end(id);
        }
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
        let errors = self.errors.lock().expect("no holder of this lock panics");
        let channel = |channel: &Channel| {
            let (told, waiting) = kept.outbox.progress(*channel);
            let error = errors.get(channel);
            json!({ "channel": channel.name(), "told": told, "waiting": waiting, "error": error })
        };
        let channels: Vec<Value> = self.channels.iter().map(channel).collect();
        let dropped = kept.outbox.dropped();
        json!({ "active": active, "history": history, "channels": channels, "dropped": dropped })
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
        Book::open(dir.path(), Limits::default(), &[])
    }

    fn origin(role: Role, alone: bool) -> Origin {
        Origin { server: ServerId(7), role, client_url: "http://a:1".to_owned(), alone }
    }

    #[test]
    fn what_was_told_is_known_after_a_restart_and_is_not_told_again() {
        let dir = tempfile::tempdir().unwrap();
        let book = open(&dir);
        book.take_in(&origin(Role::Principal, false), exposed(true));
        book.acknowledge(1, "ann").unwrap();
        let before = book.show();
        assert_eq!(before["active"][0]["state"], "acknowledged");
        // As a crash leaves it: nothing is done at the end.
        let book = open(&dir);
        book.take_in(&origin(Role::Principal, false), exposed(true));
        assert_eq!(book.show(), before);
        book.take_in(&origin(Role::Mirror, false), vec![]);
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
        book.take_in_reports(&origin(Role::Principal, false));
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
            assert_eq!(book.show()["active"], json!([]), "{content}");
            let aside = dir.path().join("alarms.json.unreadable");
            assert_eq!(std::fs::read_to_string(aside).unwrap(), content);
            book.take_in(&origin(Role::Principal, false), exposed(true));
            assert!(open(&dir).is_active((Cause::Exposed, None)));
        }
    }

    #[test]
    fn a_role_that_lasts_for_less_than_a_look_is_told_and_one_that_was_seen_is_not_told_twice() {
        use Role::{Mirror, Principal, Standalone};
        let dir = tempfile::tempdir().unwrap();
        let book = open(&dir);
        let times = |book: &Book| {
            book.take_in_reports(&origin(Principal, false));
            book.show()["active"][0]["times"].as_u64()
        };
        book.take_in(&origin(Standalone, false), vec![]);
        // It joined and took over at once; whoever looked saw the end of it first.
        book.take_in(&origin(Principal, false), vec![]);
        book.report_role(Standalone, Mirror);
        book.report_role(Mirror, Principal);
        assert_eq!(times(&book), Some(1));
        book.take_in(&origin(Mirror, false), vec![]);
        book.report_role(Principal, Mirror);
        assert_eq!(times(&book), Some(2));
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

    fn told(book: &Book) -> Vec<(String, String)> {
        let mut all = Vec::new();
        while let Some(notice) = book.next(Channel::Webhook) {
            let part =
                |pointer: &str| notice.body.pointer(pointer).unwrap().as_str().unwrap().to_owned();
            all.push((part("/step"), part("/alarm/cause")));
            book.channel_told(Channel::Webhook, notice.number, None);
        }
        all
    }

    #[test]
    fn what_both_see_is_told_by_the_principal_and_by_the_mirror_only_if_it_is_alone() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Book::open(dir.path(), Limits::default(), &[Channel::Webhook]);
        let lost =
            |holds| vec![about(Cause::PartnerLost, Some(ServerId(9)), How::Holds(holds), "words")];
        let book = open();
        book.take_in(&origin(Role::Mirror, false), lost(true));
        assert_eq!(told(&book), []);
        let pair = |step: &str| (step.to_owned(), "PartnerLost".to_owned());
        // The principal, which has told until now, does not answer any more; nor is that forgotten in a crash.
        book.take_in(&origin(Role::Mirror, true), lost(true));
        let book = open();
        assert!(book.is_told((Cause::PartnerLost, Some(ServerId(9)))));
        book.take_in(&origin(Role::Mirror, true), lost(true));
        assert_eq!(told(&book), [pair("raised")]);
        book.take_in(&origin(Role::Mirror, false), lost(false));
        assert_eq!(told(&book), [pair("cleared")]);
        // What nobody was told of has no end that anybody is told of.
        book.take_in(&origin(Role::Mirror, false), lost(true));
        book.take_in(&origin(Role::Mirror, false), lost(false));
        assert_eq!(told(&book), []);
    }
}
