//! The audit log: who did what to this server or was not let in, from where, with what result.
//!
//! It is a table of the server's own database, so it is mirrored, and there after a takeover. Whatever is noted goes through an
//! outbox of this server first, because the database cannot always be written: not by a mirror, not while the disk is full.
//!
//! - No request waits for the log longer than a second or two, and none fails because of it. What could be kept nowhere is in the server's
//!   own log.
//! - It alone never makes the server's own database on a server without partners: that server could not join a principal
//!   any more. What it notes waits until there is a partner, a token or a user.
//! - No secrets are in it, and nothing in it is longer than agreed, whoever sent it.

mod outbox;
mod table;

use std::{
    collections::HashSet,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use counterpart_access::{Damper, Identity, Source};
use counterpart_core::ServerId;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
    time::timeout,
};

use crate::{clock, node::Node, random, refusal::Refusal, shared::Shared};
use outbox::Outbox;

/// A request waits so long until what it did is noted.
const PATIENCE: Duration = Duration::from_secs(1);

/// What could not be written is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// Entries that are written at a time.
const BATCH: usize = 500;

/// Characters of what a text in an entry tells.
const LONGEST: usize = 200;

/// What [`AuditEntry::what`] says of credentials that were refused.
const SIGN_IN: &str = "SignIn";

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its place in the mirrored log; nothing while it waits on this server to be written there.
    pub id: Option<u64>,
    /// What it is known by before it has a place, and after: 16 hexadecimal digits.
    pub entry: String,
    /// When, in microseconds of UTC since 1970, by that server's clock.
    pub at: u64,
    /// On which server.
    pub server: ServerId,
    /// Who: the kind of credential, and its name. `nobody` who is known.
    pub who: String,
    /// The address that it was asked from; empty if that is not known.
    pub from: String,
    /// What was asked for: an operation of the API, or `SignIn`.
    pub what: String,
    /// Of what: a database's name, say. Empty if that needs no saying.
    pub about: String,
    /// `done`, `asked` (how it ended stands in another entry), or the refusal's code.
    pub result: String,
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It has not yet, and when it has, this server may not be able to write that down.
    Asked,
    /// As asked for.
    Done,
    /// With this code.
    Refused(String),
}

/// Something that is to be noted.
#[derive(Clone, Debug)]
pub struct Act {
    /// Who; nothing for somebody who is not known.
    pub who: Option<Arc<Identity>>,
    /// From where.
    pub from: Option<IpAddr>,
    /// What was asked for.
    pub what: &'static str,
    /// Of what.
    pub about: String,
    /// How it ended.
    pub ending: Ending,
}

/// The log, as the running server has it.
#[derive(Debug)]
pub(crate) struct Audit {
    outbox: Outbox,
    /// For who is not known.
    unknown: Mutex<Damper>,
    /// For who is, and may not do what was asked for.
    forbidden: Mutex<Damper>,
    wake: Notify,
    /// Changes whenever something was written.
    written: watch::Sender<()>,
}

impl Audit {
    /// That of a server with this data directory, and what waits there.
    pub(crate) fn open(data: &Path) -> Arc<Audit> {
        let written = watch::Sender::new(());
        Arc::new(Audit {
            outbox: Outbox::open(data),
            unknown: Mutex::default(),
            forbidden: Mutex::default(),
            wake: Notify::new(),
            written,
        })
    }

    /// What is to be noted of an act, if anything.
    fn entry_of(&self, server: ServerId, act: Act) -> Option<AuditEntry> {
        let left_out = match (&act.who, &act.ending) {
            (None, _) => damped(&self.unknown, act.from)?,
            (Some(_), Ending::Refused(code)) if code == "FORBIDDEN" => {
                damped(&self.forbidden, act.from)?
            }
            _ => 0,
        };
        let about = match left_out {
            0 => act.about,
            more => format!("{}; {more} more before", act.about),
        };
        let who = act.who.map_or("nobody".to_owned(), |identity| identity.to_string());
        Some(AuditEntry {
            id: None,
            entry: format!("{:016x}", random::number()),
            at: clock::unix_now().0,
            server,
            who: short(&who),
            from: act.from.map(|from| from.to_canonical().to_string()).unwrap_or_default(),
            what: act.what.to_owned(),
            about: short(about.trim_start_matches("; ")),
            result: match act.ending {
                Ending::Asked => "asked".to_owned(),
                Ending::Done => "done".to_owned(),
                Ending::Refused(code) => short(&code),
            },
        })
    }
}

/// If something that was refused is to be noted: how many before it were not.
fn damped(damper: &Mutex<Damper>, from: Option<IpAddr>) -> Option<u64> {
    let mut damper = damper.lock().unwrap_or_else(PoisonError::into_inner);
    damper.refused(Source::of(from), clock::uptime())
}

/// A text that harms neither the disk nor a terminal.
fn short(text: &str) -> String {
    let mut told: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if told.len() < text.len() && text.chars().nth(LONGEST).is_some() {
        told.push('…');
    }
    told
}

impl Node {
    /// Notes what was done or refused. Returns once that is on this server's disk, or soon in any case.
    pub async fn note(&self, act: Act) {
        let Some(audit) = &self.audit else { return };
        let server = self.shared.control.read().session.server;
        let first = act.ending == Ending::Asked;
        let Some(entry) = audit.entry_of(server, act) else { return };
        let key = entry.entry.clone();
        audit.outbox.push(entry.clone());
        audit.wake.notify_one();
        let storing = Arc::clone(audit);
        let stored = spawn_blocking(move || storing.outbox.store(&entry));
        match timeout(PATIENCE, stored).await {
            Ok(Ok(())) => {}
            Ok(Err(panicked)) => tracing::error!(%panicked, "keeping an audit entry broke down"),
            Err(_) => tracing::warn!("the disk takes an audit entry slowly; nobody waits for it"),
        }
        if first && self.shared.admission.is_open() {
            let mut written = audit.written.subscribe();
            // It goes on in any case: what is asked for may be urgent.
            let _written =
                timeout(PATIENCE, written.wait_for(|()| !audit.outbox.holds(&key))).await;
        }
    }

    /// Notes that somebody was not let in, unless there is too much of that.
    pub async fn note_refused(&self, from: Option<IpAddr>, about: &str, code: &str) {
        if self.audit.is_some() {
            let ending = Ending::Refused(code.to_owned());
            let about = about.to_owned();
            self.note(Act { who: None, from, what: SIGN_IN, about, ending }).await;
        }
    }

    /// The newest entries first, or those before a place in the log; at most `limit`. What waits on this server is among the
    /// newest.
    ///
    /// # Errors
    /// Why nothing can be read now.
    pub async fn audit(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Refusal> {
        // In this order: what is written between the two is in both, not in neither.
        let mut waiting = match (&self.audit, before) {
            (Some(audit), None) => audit.outbox.all(),
            _ => Vec::new(),
        };
        let mut entries = table::read(&self.shared, before, limit).await?;
        let known: HashSet<&str> = entries.iter().map(|entry| entry.entry.as_str()).collect();
        waiting.retain(|entry| !known.contains(entry.entry.as_str()));
        entries.extend(waiting);
        // What is of one moment stays in the order of its places.
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        entries.truncate(limit);
        Ok(entries)
    }
}

/// Writes what waits into the server's own database, whenever it can be written.
pub(crate) async fn keep_writing(shared: Arc<Shared>, audit: Arc<Audit>) {
    let mut told = false;
    loop {
        let batch = audit.outbox.first(BATCH);
        if batch.is_empty() {
            audit.wake.notified().await;
            continue;
        }
        shared.admission.opened().await;
        match table::write(&shared, &batch).await {
            Ok(true) => {
                told = false;
                let removing = Arc::clone(&audit);
                let removed = spawn_blocking(move || removing.outbox.remove(&batch)).await;
                if let Err(panicked) = removed {
                    tracing::error!(%panicked, "noting what is in the audit log broke down");
                }
                audit.written.send_replace(());
                continue;
            }
            Ok(false) => {}
            // It has just become a mirror, or is about to end.
            Err(_) if !shared.admission.is_open() => {}
            Err(refusal) if told => tracing::debug!(%refusal, "audit entries still wait"),
            Err(refusal) => {
                tracing::warn!(%refusal, "the audit log can't be written; its entries wait on this server");
                told = true;
            }
        }
        // Something new is a reason to try, and so is time.
        let _woken = timeout(AGAIN, audit.wake.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_an_entry_is_short_and_moves_no_cursor() {
        assert_eq!(short("till-7"), "till-7");
        assert_eq!(short("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        let long = "ä".repeat(LONGEST);
        assert_eq!(short(&long), long);
        assert_eq!(short(&"ä".repeat(10_000)), format!("{long}…"));
    }
}
