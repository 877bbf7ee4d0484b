//! The writes of one database that wait for their turn, and the thread that runs them one after the other.
//!
//! One permit serves many turns: handing it from request to request would cost each of them two changes of threads.
//! Whoever needs it otherwise (transactions, checkpoints, a drain) asks for it as ever, and gets it between two turns.
//! A turn must always be taken or refused: a client waits for it.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use counterpart_core::Lsn;
use tokio::sync::OwnedSemaphorePermit;

use super::wait_permit;
use crate::{clock, databases::Hosted, refusal::Refusal, shared::Shared};

/// How long turns are taken before others who wait for the permit get it. The one that has begun by then is finished.
const STINT: Duration = Duration::from_millis(4);

/// One turn: it gets the permit, or is refused.
pub(super) type Turn = Box<dyn FnOnce(Result<OwnedSemaphorePermit, Refusal>) -> After + Send>;

/// What comes after a turn.
pub(super) enum After {
    /// The request is done. This is the permit, unless its stream keeps it.
    Over(Option<OwnedSemaphorePermit>),
    /// It wants another turn, after those who wait.
    Again(Turn, OwnedSemaphorePermit),
}

/// The writes of one database that wait.
#[derive(Default)]
pub struct Lane(Mutex<State>);

#[derive(Default)]
struct State {
    /// Each with the uptime at which it came.
    waiting: VecDeque<(Duration, Turn)>,
    /// Somebody serves the lane, or waits for the permit to do so.
    served: bool,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }

    fn push(&self, turn: Turn) {
        self.lock().waiting.push_back((clock::uptime(), turn));
    }

    fn next(&self) -> Option<Turn> {
        self.lock().waiting.pop_front().map(|(_, turn)| turn)
    }

    /// When the turn that has waited longest came; if there is none, the lane is not served any more.
    fn oldest(&self) -> Option<Duration> {
        let mut state = self.lock();
        let oldest = state.waiting.front().map(|(since, _)| *since);
        state.served = oldest.is_some();
        oldest
    }

    /// Refuses the turns that came before.
    fn refuse(&self, before: Duration, refusal: &Refusal) {
        let mut state = self.lock();
        let count = state.waiting.partition_point(|(since, _)| *since <= before);
        let refused: Vec<_> = state.waiting.drain(..count).collect();
        drop(state);
        for (_, turn) in refused {
            // It had no permit, so there is none to give back.
            let _over = turn(Err(refusal.clone()));
        }
    }
}

/// Lets a turn be taken once those before it were.
pub(super) fn enter(shared: &Arc<Shared>, hosted: &Arc<Hosted>, turn: Turn) {
    let mut state = hosted.lane.lock();
    state.waiting.push_back((clock::uptime(), turn));
    if !std::mem::replace(&mut state.served, true) {
        drop(state);
        begin(Arc::clone(shared), Arc::clone(hosted));
    }
}

/// Has the lane served once the permit is there. For whoever has made it [`State::served`].
///
/// A task of its own: what else has arrived by now is in the lane when it runs, and a worker is woken once for all.
fn begin(shared: Arc<Shared>, hosted: Arc<Hosted>) {
    let io = shared.io.clone();
    io.spawn(wait_and_serve(shared, hosted));
}

async fn wait_and_serve(shared: Arc<Shared>, hosted: Arc<Hosted>) {
    while let Some(oldest) = hosted.lane.oldest() {
        let limit = shared.settings.permit_wait;
        let left = (oldest + limit).saturating_sub(clock::uptime());
        match wait_permit(&shared, &hosted, left).await {
            Ok(permit) => {
                let (workers, io) = (Arc::clone(&shared.workers), shared.io.clone());
                return workers.run(&io, move || serve(shared, hosted, permit));
            }
            Err(refusal) if refusal.code() == "SQLITE_BUSY" => {
                hosted.lane.refuse(clock::uptime().saturating_sub(limit), &refusal);
            }
            Err(refusal) => hosted.lane.refuse(Duration::MAX, &refusal),
        }
    }
}

/// The permit, if it can be had without waiting.
fn try_permit(shared: &Shared, hosted: &Hosted) -> Option<OwnedSemaphorePermit> {
    let permit = Arc::clone(&hosted.permit).try_acquire_owned().ok()?;
    shared.admission.is_open().then_some(permit)
}

/// Takes turns until nobody waits for one.
fn serve(shared: Arc<Shared>, hosted: Arc<Hosted>, mut permit: OwnedSemaphorePermit) {
    loop {
        let until = clock::uptime() + STINT;
        while clock::uptime() < until {
            let Some(turn) = hosted.lane.next() else { break };
            match take(&shared, &hosted, turn, permit) {
                After::Over(Some(back)) => permit = back,
                After::Over(None) => return begin(shared, hosted),
                After::Again(turn, back) => {
                    hosted.lane.push(turn);
                    permit = back;
                }
            }
            if !shared.admission.is_open() {
                break;
            }
        }
        drop(permit);
        if hosted.lane.oldest().is_none() {
            return;
        }
        match try_permit(&shared, &hosted) {
            Some(again) => permit = again,
            None => return begin(shared, hosted),
        }
    }
}

fn take(shared: &Shared, hosted: &Hosted, turn: Turn, permit: OwnedSemaphorePermit) -> After {
    catch_unwind(AssertUnwindSafe(|| turn(Ok(permit)))).unwrap_or_else(|_panic| {
        panicked(shared, hosted);
        After::Over(None)
    })
}

/// A worker panicked while it executed a statement: whether its commit reached the journal is unknown.
pub(super) fn panicked(shared: &Shared, hosted: &Hosted) -> Refusal {
    let refusal = shared.poison("a worker thread panicked while it executed a statement");
    // Whoever waits for its capture must not wait for ever, nor be answered.
    hosted.visibility.end_capture(Some(Lsn(u64::MAX)));
    refusal
}
