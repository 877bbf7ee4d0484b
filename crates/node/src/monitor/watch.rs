//! Once a second, and whenever something is reported: the peaks since the last time are taken and remembered, and the rules of alarms
//! take in how things are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use counterpart_core::{
    ServerId,
    alarms::{Cause, How},
};
use tokio::{
    sync::oneshot,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{
    alone::answers,
    book::Origin,
    figures::{Figures, OfMirror},
    peaks::Second,
    seen::{Apart, about, watched},
};
use crate::{
    clock,
    driver::{Input, View},
    refusal::Refusal,
    shared::Shared,
};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// What was counted when it was looked at last.
#[derive(Default)]
struct Counted {
    left: BTreeMap<ServerId, u64>,
    damage: u64,
}

/// How things are, after a look at all of them.
struct Whole {
    view: View,
    second: Second,
    away: BTreeSet<ServerId>,
}

/// Watches until the server ends.
pub(crate) async fn keep_watching(shared: Arc<Shared>) {
    let (mut counted, mut apart) = (Counted::default(), Apart::default());
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let whole = tokio::select! {
            _ = ticks.tick() => true,
            () = shared.alarms.reported.notified() => false,
        };
        counted.report(&shared);
        let second = whole.then(|| take(&shared.figures));
        let view = match &second {
            // What is reported from here on is newer than this view, and is taken in after it.
            Some(_) => {
                if take_in(&shared, None, false).await.is_none() {
                    return;
                }
                look(&shared).await
            }
            None => None,
        };
        let alone = match &view {
            Some(view) => is_alone(&shared, view).await,
            None => false,
        };
        let limit = shared.settings.partner_timeout;
        let seen = view.zip(second).map(|(view, second)| {
            let away = apart.note(&view, clock::uptime(), limit);
            Whole { view, second, away }
        });
        if take_in(&shared, seen, alone).await.is_none() {
            return;
        }
    }
}

/// How things are; nothing once the driver has ended.
async fn look(shared: &Shared) -> Option<View> {
    let (reply, view) = oneshot::channel();
    shared.inputs.send(Input::Look(reply));
    view.await.ok()
}

/// Whether this is a mirror that has lost its principal, and nobody answers where that was.
async fn is_alone(shared: &Arc<Shared>, view: &View) -> bool {
    let status = &view.status;
    let following = status.following.as_ref().zip(status.principal.as_ref());
    let Some((_, principal)) = following.filter(|(how, _)| !how.connected) else { return false };
    let subject = (Cause::PartnerLost, Some(principal.server));
    let asking = Arc::clone(shared);
    let known = spawn_blocking(move || {
        let alarms = &asking.alarms;
        alarms.is_active(subject).then(|| alarms.is_told(subject))
    });
    match known.await {
        // It was alone before, and has told so.
        Ok(Some(true)) => true,
        Ok(Some(false)) => !answers(&principal.client_url).await,
        // Not lost for long enough to be an alarm.
        Ok(None) => false,
        Err(panicked) => {
            tracing::error!(%panicked, "who tells of alarms can't be found out");
            true
        }
    }
}

/// How this server shows itself to others. A report is told by the role that is on the disk.
fn origin(shared: &Shared, alone: bool) -> Origin {
    let session = &shared.control.read().session;
    let client_url = shared.settings.client_url.clone();
    Origin { server: session.server, role: session.role, client_url, alone }
}

/// Has something told that is no alarm.
pub(crate) fn test(shared: &Shared) -> Result<serde_json::Value, Refusal> {
    shared.alarms.test(&origin(shared, false))
}

/// Takes in what was reported, or how things are, where files may be written; nothing if that has broken down.
async fn take_in(shared: &Arc<Shared>, seen: Option<Whole>, alone: bool) -> Option<()> {
    let shared = Arc::clone(shared);
    let taken = spawn_blocking(move || match seen {
        None => shared.alarms.take_in_reports(&origin(&shared, alone)),
        Some(Whole { view, second, away }) => {
            let all = watched(&shared, &view, &second, &away);
            let origin = Origin { role: view.status.role, ..origin(&shared, alone) };
            shared.alarms.take_in(&origin, all);
            let mut peaks = shared.figures.peaks.lock().expect("no holder of this lock panics");
            peaks.push(second);
        }
    });
    taken.await.inspect_err(|panicked| tracing::error!(%panicked, "the monitor has ended")).ok()
}

impl Counted {
    /// Reports what has happened since the last time, however short it was.
    fn report(&mut self, shared: &Shared) {
        for (server, figures) in shared.figures.of_mirrors() {
            let before = self.left.insert(server, figures.left()).unwrap_or(0);
            if figures.left() > before {
                let text = format!("the pair with {server} is not synchronized any more");
                shared.alarms.report(about(
                    Cause::NotSynchronized,
                    Some(server),
                    How::Holds(true),
                    text,
                ));
            }
        }
        let damage = shared.repairs.damage();
        if damage.found > self.damage {
            let text = format!(
                "{} pages were found damaged since the start, and {} of them are good again",
                damage.found, damage.repaired
            );
            shared.alarms.report(about(Cause::Damage, None, How::Happened, text));
        }
        self.damage = damage.found;
    }
}

fn take(figures: &Figures) -> Second {
    let (mirrors, now) = (figures.of_mirrors().into_iter(), clock::uptime());
    Second {
        overhead: figures.overhead.longest.take(),
        applying: figures.applying.longest.take(),
        redo_queue: figures.redo_queue.take(),
        mirrors: mirrors
            .map(|(server, of)| {
                (server, (of.send_queue.take(), longest(of.sending.longest.take(), &of, now)))
            })
            .collect(),
    }
}

/// The peaks of the second that is not over.
pub(super) fn current(figures: &Figures) -> Second {
    let (mirrors, now) = (figures.of_mirrors().into_iter(), clock::uptime());
    Second {
        overhead: figures.overhead.longest.get(),
        applying: figures.applying.longest.get(),
        redo_queue: figures.redo_queue.get(),
        mirrors: mirrors
            .map(|(server, of)| {
                (server, (of.send_queue.get(), longest(of.sending.longest.get(), &of, now)))
            })
            .collect(),
    }
}

/// What is still on its way has taken as long as it has waited.
fn longest(arrived: u64, of: &OfMirror, now: Duration) -> u64 {
    arrived.max(u64::try_from(of.oldest(now).as_micros()).unwrap_or(u64::MAX))
}
