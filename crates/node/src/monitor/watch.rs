//! Once a second the peaks since the last time are taken and remembered.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{
    figures::{Figures, OfMirror},
    peaks::Second,
};
use crate::{clock, shared::Shared};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// Takes the peaks until the server ends.
pub(crate) async fn keep_watching(shared: Arc<Shared>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let second = take(&shared.figures);
        shared.figures.peaks.lock().expect("no holder of this lock panics").push(second);
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
