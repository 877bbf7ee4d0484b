//! A request's place in a lane: what it does when its turn comes, and who is told.
//!
//! The lane has it, and so has the future that waits for it, which takes the request back when it is dropped: whoever
//! does not wait any more must not be kept in memory, nor executed.

use std::sync::{Arc, Mutex, MutexGuard};

use counterpart_core::Lsn;
use counterpart_engine::SqlError;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    Confirmed, Done, Worked,
    held::{HeldGuard, Slot},
    job::{Desk, Flow, Job, Permit},
    lane::{After, Glanced, Turn},
    work,
};
use crate::{refusal::Refusal, shared::Shared};

/// See the module's head.
pub(super) struct Seat<J>(Mutex<State<J>>);

enum State<J> {
    Waits(Waiting<J>),
    /// It has its turn, or has had it.
    Taken,
    /// Its client has gone.
    Left,
}

/// A request that waits.
pub(super) struct Waiting<J> {
    pub(super) shared: Arc<Shared>,
    pub(super) slot: Arc<Slot>,
    pub(super) job: J,
    pub(super) held: HeldGuard,
    pub(super) tell: oneshot::Sender<Result<Done<J>, Refusal>>,
    /// The newest position that its earlier turns could reveal.
    pub(super) reached: Lsn,
}

/// What has become of a request in its turn.
enum HadTurn<J> {
    /// It is to have another one; the permit is for whoever is next.
    Waits(Waiting<J>, OwnedSemaphorePermit),
    /// It is executed. The permit is for whoever is next, unless the request's stream keeps it.
    Over(Option<OwnedSemaphorePermit>),
}

impl<J: Job> Seat<J> {
    pub(super) fn new(waiting: Waiting<J>) -> Arc<Seat<J>> {
        Arc::new(Seat(Mutex::new(State::Waits(waiting))))
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// The request, for whoever executes or refuses it.
    fn take_out(&self) -> Option<Waiting<J>> {
        let mut state = self.lock();
        if !matches!(*state, State::Waits(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Waits(waiting) => Some(waiting),
            State::Taken | State::Left => None,
        }
    }

    /// Lets it wait again; not if its client has gone meanwhile.
    fn put_back(&self, waiting: Waiting<J>) {
        let mut state = self.lock();
        if matches!(*state, State::Taken) {
            *state = State::Waits(waiting);
        }
    }
}

impl<J: Job> Turn for Seat<J> {
    fn take(&self, permit: OwnedSemaphorePermit) -> After {
        let Some(waiting) = self.take_out() else { return After::Over(Some(permit)) };
        match waiting.with(permit).work(J::step) {
            HadTurn::Waits(waiting, permit) => {
                self.put_back(waiting);
                After::Again(permit)
            }
            HadTurn::Over(spare) => After::Over(spare),
        }
    }

    fn glance(&self, permit: OwnedSemaphorePermit) -> Glanced {
        let Some(waiting) = self.take_out() else { return Glanced::Over(Some(permit)) };
        if !waiting.job.is_ready(&waiting.slot.hosted) {
            self.put_back(waiting);
            return Glanced::NeedsTime(permit);
        }
        // What is tried in vain must not show in the stream's numbers.
        let scope = waiting.held.scope;
        match waiting.with(permit).work(J::glance) {
            HadTurn::Waits(mut waiting, permit) => {
                waiting.held.scope = scope;
                self.put_back(waiting);
                Glanced::NeedsTime(permit)
            }
            HadTurn::Over(spare) => Glanced::Over(spare),
        }
    }

    fn refuse(&self, refusal: &Refusal) {
        let Some(Waiting { shared, held, tell, reached, .. }) = self.take_out() else { return };
        drop(held);
        let refusal = refusal.clone();
        // After those whose turns it has had.
        shared.confirmations.then(reached, move |_confirmed| drop(tell.send(Err(refusal))));
    }
}

impl<J: Job> Waiting<J> {
    fn with(mut self, permit: OwnedSemaphorePermit) -> Waiting<J> {
        self.held.permit = Some(permit);
        self
    }

    /// Works on, and waits again if it is to have another turn.
    fn work(self, how: fn(&mut J, &mut Desk<'_>) -> Result<Flow, SqlError>) -> HadTurn<J> {
        let Worked { job, held, outcome, spare } =
            work(&self.shared, &self.slot, self.job, self.held, Permit::Held, how);
        // While the permit is held, nobody else's commit is on its way.
        let reached = self.slot.hosted.visibility.last();
        let yields = matches!(outcome, Ok((Flow::Yields, _)));
        // A stream that has expired would begin anew, in the middle of what was to be one transaction.
        let yields = yields && held.connection.is_none() && held.expired.is_none();
        // Of this one nothing has happened.
        let waits = yields || matches!(outcome, Ok((Flow::NeedsTime, _)));
        match spare {
            // What keeps nothing is as good as a request that has just come.
            Some(permit) if waits => HadTurn::Waits(Waiting { job, held, reached, ..self }, permit),
            spare => {
                drop(held);
                let (tell, outcome) = (self.tell, outcome.map(|(_flow, committed)| committed));
                self.shared.confirmations.then(reached, move |confirmed| {
                    let confirmed = Confirmed::Known(confirmed);
                    // A client that has gone does not need its answer.
                    drop(tell.send(Ok(Done { job, outcome, confirmed })));
                });
                HadTurn::Over(spare)
            }
        }
    }
}

/// Somebody waits for a seat's turn.
pub(super) struct Sitting<J: Job>(pub(super) Arc<Seat<J>>);

impl<J: Job> Drop for Sitting<J> {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *self.0.lock(), State::Left);
        // No lock is held: this drops the request.
        drop(before);
    }
}
