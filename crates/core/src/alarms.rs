//! The rules of alarms: what is told, when it is told again, and when it is over.
//!
//! Pure: what is seen and the time come in, changes go out. Nothing here knows how a figure was taken or whom a change is told to.
//!
//! ```text
//!               raised                  acknowledged
//!   (nothing) ─────────▶ active, open ──────────────▶ active, known
//!                          │   ▲  ▲                      │    │
//!                          │   └──┼──── worse: again ────┘    │
//!                          ▼      │                           ▼
//!                       cleared ──┴── raised anew, new id   cleared
//! ```
//!
//! A figure is raised when it reaches its limit, told again at each further multiple of it, and cleared once it is well below.

mod cause;
mod limits;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

pub use cause::{Cause, Severity};
pub use limits::Limits;

use crate::ids::{ServerId, UnixMicros};

/// Alarms that are over and still kept, the newest ones.
pub const KEPT: usize = 500;

/// What an alarm is about: the cause, and the partner if it is about one. At most one alarm is active for each.
pub type Subject = (Cause, Option<ServerId>);

/// An alarm, from when it is raised.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alarm {
    /// Its number on this server, never given twice.
    pub id: u64,
    /// The cause.
    pub cause: Cause,
    /// The partner that it is about, if it is about one.
    pub partner: Option<ServerId>,
    /// In words, as it was told last.
    pub text: String,
    /// When it was raised.
    pub raised: UnixMicros,
    /// When it was told last, and how often it was.
    pub told: UnixMicros,
    /// See `told`; 1 at first.
    pub times: u64,
    /// Of a figure: the worst that was seen, in its cause's unit.
    pub worst: Option<u64>,
    /// Of a figure: its limit when it was raised.
    pub limit: Option<u64>,
    /// Of a figure: the multiple of the limit that was told last.
    multiple: u64,
    /// Who knows of it, and since when; nobody again after it has become worse.
    pub acknowledged: Option<Acknowledged>,
    /// When it was over.
    pub cleared: Option<UnixMicros>,
}

/// Somebody knows of an alarm.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Since when.
    pub at: UnixMicros,
    /// Who.
    pub by: String,
}

/// What has become of an alarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It is new.
    Raised,
    /// It has become worse.
    Again,
    /// Somebody knows of it.
    Acknowledged,
    /// It is over.
    Cleared,
}

/// An alarm has changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// How.
    pub step: Step,
    /// When.
    pub at: UnixMicros,
    /// The alarm as it is now.
    pub alarm: Alarm,
}

/// What was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Of which cause.
    pub cause: Cause,
    /// About which partner.
    pub partner: Option<ServerId>,
    /// How it is.
    pub how: How,
    /// In words, for whoever is told.
    pub text: String,
}

/// How it is with a cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// It is so, or it is not.
    Holds(bool),
    /// The worst value of a figure since it was seen last, in its cause's unit.
    Figure(u64),
    /// It has happened, once more if the alarm is active.
    Happened,
}

/// Why an alarm can't be acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AcknowledgeError {
    /// There is no such alarm any more, or there never was.
    #[error("no alarm {0} is active")]
    NotActive(u64),
}

/// All alarms of a server. What is serialized is all there is.
///
/// - at most one alarm is active for each subject;
/// - ids ascend in the order in which alarms were raised; those of `history` in the order in which they were cleared.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Alarms {
    last: u64,
    active: Vec<Alarm>,
    history: VecDeque<Alarm>,
}

impl Alarms {
    /// Those that are active, in the order in which they were raised.
    #[must_use]
    pub fn active(&self) -> &[Alarm] {
        &self.active
    }

    /// Those that are over, the newest last; at most [`KEPT`].
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Alarm> {
        self.history.iter()
    }

    /// Whether there is an active alarm about this.
    #[must_use]
    pub fn is_active(&self, (cause, partner): Subject) -> bool {
        self.active.iter().any(|alarm| (alarm.cause, alarm.partner) == (cause, partner))
    }

    /// Takes in everything that is watched as it is now. Whatever is watched and is not among it is over: the partner has left the
    /// session, say, or the role is another one.
    pub fn watch(&mut self, at: UnixMicros, limits: &Limits, all: Vec<Seen>) -> Vec<Change> {
        let seen: BTreeSet<Subject> = all.iter().map(|seen| (seen.cause, seen.partner)).collect();
        let mut changes: Vec<Change> =
            all.into_iter().filter_map(|seen| self.see(at, limits, seen)).collect();
        let gone = |alarm: &&Alarm| {
            alarm.cause.is_watched() && !seen.contains(&(alarm.cause, alarm.partner))
        };
        let over: Vec<Subject> =
            self.active.iter().filter(gone).map(|alarm| (alarm.cause, alarm.partner)).collect();
        for subject in over {
            changes.extend(self.clear(
                at,
                subject,
                "it does not concern this server any more".to_owned(),
            ));
        }
        changes
    }

    /// Takes in one thing that was seen.
    pub fn see(&mut self, at: UnixMicros, limits: &Limits, seen: Seen) -> Option<Change> {
        let Seen { cause, partner, how, text } = seen;
        let subject = (cause, partner);
        match how {
            How::Holds(false) => self.clear(at, subject, text),
            How::Holds(true) if self.is_active(subject) => None,
            How::Holds(true) => Some(self.raise(at, subject, text)),
            How::Happened if self.is_active(subject) => self.again(at, subject, text),
            How::Happened => Some(self.raise(at, subject, text)),
            How::Figure(value) => self.see_figure(at, limits, subject, value, text),
        }
    }

    fn see_figure(
        &mut self,
        at: UnixMicros,
        limits: &Limits,
        subject: Subject,
        value: u64,
        text: String,
    ) -> Option<Change> {
        let cause = subject.0;
        let Some(limit) = limits.of(cause) else { return self.clear(at, subject, text) };
        if self.is_active(subject) && cause.is_well(value, limit) {
            return self.clear(at, subject, text);
        }
        let multiple = cause.multiple(value, limit);
        let Some(alarm) = self.find(subject) else {
            if multiple == 0 {
                return None;
            }
            self.raise(at, subject, text);
            let alarm = self.find(subject).expect("it was raised");
            (alarm.worst, alarm.limit, alarm.multiple) = (Some(value), Some(limit), multiple);
            let alarm = alarm.clone();
            return Some(Change { step: Step::Raised, at, alarm });
        };
        alarm.worst = alarm.worst.map(|worst| cause.worse(worst, value));
        if multiple <= alarm.multiple {
            return None;
        }
        alarm.multiple = multiple;
        self.again(at, subject, text)
    }

    /// Somebody knows of an alarm. One of what has only happened is over with that.
    ///
    /// # Errors
    /// [`AcknowledgeError`].
    pub fn acknowledge(
        &mut self,
        at: UnixMicros,
        id: u64,
        by: &str,
    ) -> Result<Change, AcknowledgeError> {
        let index = self.active.iter().position(|alarm| alarm.id == id);
        let index = index.ok_or(AcknowledgeError::NotActive(id))?;
        self.active[index].acknowledged = Some(Acknowledged { at, by: by.to_owned() });
        let alarm = if self.active[index].cause.is_watched() {
            self.active[index].clone()
        } else {
            self.take(at, index)
        };
        Ok(Change { step: Step::Acknowledged, at, alarm })
    }

    fn find(&mut self, (cause, partner): Subject) -> Option<&mut Alarm> {
        self.active.iter_mut().find(|alarm| (alarm.cause, alarm.partner) == (cause, partner))
    }

    fn raise(&mut self, at: UnixMicros, (cause, partner): Subject, text: String) -> Change {
        self.last += 1;
        let alarm = Alarm {
            id: self.last,
            cause,
            partner,
            text,
            raised: at,
            told: at,
            times: 1,
            worst: None,
            limit: None,
            multiple: 0,
            acknowledged: None,
            cleared: None,
        };
        self.active.push(alarm.clone());
        Change { step: Step::Raised, at, alarm }
    }

    fn again(&mut self, at: UnixMicros, subject: Subject, text: String) -> Option<Change> {
        let alarm = self.find(subject)?;
        (alarm.told, alarm.times, alarm.text) = (at, alarm.times + 1, text);
        // Whoever knew of it knew of less.
        alarm.acknowledged = None;
        Some(Change { step: Step::Again, at, alarm: alarm.clone() })
    }

    fn clear(&mut self, at: UnixMicros, (cause, partner): Subject, text: String) -> Option<Change> {
        let mut all = self.active.iter();
        let index = all.position(|alarm| (alarm.cause, alarm.partner) == (cause, partner))?;
        self.active[index].text = text;
        let alarm = self.take(at, index);
        Some(Change { step: Step::Cleared, at, alarm })
    }

    /// Out of the active ones into the history.
    fn take(&mut self, at: UnixMicros, index: usize) -> Alarm {
        let mut alarm = self.active.remove(index);
        alarm.cleared = Some(at);
        if self.history.len() >= KEPT {
            self.history.pop_front();
        }
        self.history.push_back(alarm.clone());
        alarm
    }
}
