//! The writes of one database that wait for their turn, and the thread that runs them one after the other.
//!
//! One permit serves many turns: handing it from request to request would cost each of them two changes of threads.
//! Whoever needs it otherwise (transactions, checkpoints, a drain) asks for it as ever, and gets it between two turns,
//! once they have been taken for [`STINT`]. A turn must be taken or refused, never both and never neither, unless its
//! client has gone.
//!
//! A turn that nobody else waits behind is taken where it is found, if it is known to be so short that waking a thread for it
//! would take longer: the only client that writes is answered in four fifths of the time.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use counterpart_core::Lsn;
use tokio::{sync::OwnedSemaphorePermit, time::sleep};

use super::{busy, get_permit};
use crate::{clock, databases::Hosted, refusal::Refusal, shared::Shared};

/// How long turns are taken before others who wait for the permit get it. The one that has begun by then is finished.
const STINT: Duration = Duration::from_millis(4);

/// A request that waits for its turn. Both do nothing if its client has gone.
pub(super) trait Turn: Send + Sync {
    /// Does what is to be done with the permit.
    fn take(&self, permit: OwnedSemaphorePermit) -> After;
    /// Does it where the sockets are, if a glance is enough for that.
    fn glance(&self, permit: OwnedSemaphorePermit) -> Glanced;
    /// Tells the client why there is no turn.
    fn refuse(&self, refusal: &Refusal);
}

/// What comes of a glance.
pub(super) enum Glanced {
    /// As [`After::Over`].
    Over(Option<OwnedSemaphorePermit>),
    /// It was not enough, and nothing has happened.
    NeedsTime(OwnedSemaphorePermit),
}

/// What comes after a turn.
pub(super) enum After {
    /// The request is done. This is the permit, unless its stream keeps it.
    Over(Option<OwnedSemaphorePermit>),
    /// It wants another turn, after those who wait.
    Again(OwnedSemaphorePermit),
}

/// The writes of one database that wait.
#[derive(Default)]
pub struct Lane(Mutex<State>);

#[derive(Default)]
struct State {
    /// Each with the uptime at which it came.
    waiting: VecDeque<(Duration, Arc<dyn Turn>)>,
    /// Somebody serves the lane, or waits for the permit to do so.
    served: bool,
    /// Somebody sees to it that nobody waits for too long.
    watched: bool,
    /// Why no turn is taken any more.
    ended: Option<Refusal>,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Lets a turn wait. None if the lane has ended, and it was refused.
    fn push(&self, turn: Arc<dyn Turn>) -> Option<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if let Some(why) = state.ended.clone() {
            drop(state);
            turn.refuse(&why);
            return None;
        }
        state.waiting.push_back((clock::uptime(), turn));
        Some(state)
    }

    fn next(&self) -> Option<Arc<dyn Turn>> {
        self.lock().waiting.pop_front().map(|(_, turn)| turn)
    }

    /// The turn that waits, if it is the only one.
    fn only(&self) -> Option<(Duration, Arc<dyn Turn>)> {
        let mut state = self.lock();
        if state.waiting.len() == 1 { state.waiting.pop_front() } else { None }
    }

    /// Lets a turn wait where it has waited.
    fn put_back(&self, since: Duration, turn: Arc<dyn Turn>) {
        let mut state = self.lock();
        match state.ended.clone() {
            None => state.waiting.push_front((since, turn)),
            Some(why) => {
                drop(state);
                turn.refuse(&why);
            }
        }
    }

    /// Whether anybody waits; if not, the lane is not served any more.
    fn is_wanted(&self) -> bool {
        let mut state = self.lock();
        state.served = !state.waiting.is_empty();
        state.served
    }

    /// When the turn that has waited longest came; if there is none, the lane is not watched any more.
    fn oldest(&self) -> Option<Duration> {
        let mut state = self.lock();
        let oldest = state.waiting.front().map(|(since, _)| *since);
        state.watched = oldest.is_some();
        oldest
    }

    /// Refuses the turns that came before.
    fn refuse(&self, before: Duration, refusal: &Refusal) {
        let mut state = self.lock();
        let count = state.waiting.partition_point(|(since, _)| *since <= before);
        let refused: Vec<_> = state.waiting.drain(..count).collect();
        drop(state);
        refused.iter().for_each(|(_, turn)| turn.refuse(refusal));
    }

    /// Refuses all turns, now and from now on. The one that is being taken is not touched.
    pub fn end(&self, why: &Refusal) {
        self.lock().ended.get_or_insert_with(|| why.clone());
        self.refuse(Duration::MAX, why);
    }
}

/// Lets a turn be taken once those before it were.
pub(super) fn enter(shared: &Arc<Shared>, hosted: &Arc<Hosted>, turn: Arc<dyn Turn>) {
    let Some(mut state) = hosted.lane.push(turn) else { return };
    let served = std::mem::replace(&mut state.served, true);
    let watched = std::mem::replace(&mut state.watched, true);
    drop(state);
    if !served {
        begin(Arc::clone(shared), Arc::clone(hosted));
    }
    if !watched {
        let limit = shared.settings.permit_wait;
        shared.io.spawn(watch(limit, Arc::downgrade(shared), Arc::downgrade(hosted)));
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
    while hosted.lane.is_wanted() {
        match get_permit(&shared, &hosted).await {
            Ok(permit) => {
                let Some(permit) = glance(&shared, &hosted, permit) else { continue };
                let (workers, io) = (Arc::clone(&shared.workers), shared.io.clone());
                return workers.run(&io, move || serve(shared, hosted, permit));
            }
            Err(refusal) => hosted.lane.refuse(Duration::MAX, &refusal),
        }
    }
}

/// Takes the only turn that waits, if a glance is enough for it. The permit, if it is still wanted.
fn glance(
    shared: &Shared,
    hosted: &Hosted,
    permit: OwnedSemaphorePermit,
) -> Option<OwnedSemaphorePermit> {
    if !shared.journal.has_room() {
        return Some(permit);
    }
    let Some((since, turn)) = hosted.lane.only() else { return Some(permit) };
    match catch_unwind(AssertUnwindSafe(|| turn.glance(permit))) {
        // Whoever has come meanwhile asks for it.
        Ok(Glanced::Over(_spare)) => None,
        Ok(Glanced::NeedsTime(permit)) => {
            hosted.lane.put_back(since, turn);
            Some(permit)
        }
        Err(_panic) => {
            panicked(shared, hosted);
            None
        }
    }
}

/// Refuses whoever has waited for `limit`, be it for the permit or behind a turn that lasts. One task for all of them: a
/// timer for each would cost each something.
async fn watch(limit: Duration, shared: Weak<Shared>, hosted: Weak<Hosted>) {
    let mut left = limit;
    loop {
        sleep(left).await;
        let (Some(shared), Some(hosted)) = (shared.upgrade(), hosted.upgrade()) else { return };
        if let Some(before) = clock::uptime().checked_sub(limit) {
            hosted.lane.refuse(before, &busy(&shared, &hosted));
        }
        let Some(oldest) = hosted.lane.oldest() else { return };
        left = (oldest + limit).saturating_sub(clock::uptime());
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
            match take(&shared, &hosted, &*turn, permit) {
                After::Over(Some(back)) => permit = back,
                After::Over(None) => return begin(shared, hosted),
                After::Again(back) => {
                    drop(hosted.lane.push(turn));
                    permit = back;
                }
            }
            if !shared.admission.is_open() {
                break;
            }
        }
        drop(permit);
        if !hosted.lane.is_wanted() {
            return;
        }
        match try_permit(&shared, &hosted) {
            Some(again) => permit = again,
            None => return begin(shared, hosted),
        }
    }
}

fn take(shared: &Shared, hosted: &Hosted, turn: &dyn Turn, permit: OwnedSemaphorePermit) -> After {
    catch_unwind(AssertUnwindSafe(|| turn.take(permit))).unwrap_or_else(|_panic| {
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
