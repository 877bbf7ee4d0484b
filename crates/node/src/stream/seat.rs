//! A request's place in a lane: what it does when its turn comes, and who is told.

use std::sync::Arc;

use counterpart_core::Lsn;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    Confirmed, Done, Worked,
    held::{HeldGuard, Slot},
    job::{Flow, Job, Permit},
    lane::{After, Turn},
    work,
};
use crate::{refusal::Refusal, shared::Shared};

/// See the module's head.
pub(super) struct Seat<J> {
    pub(super) shared: Arc<Shared>,
    pub(super) slot: Arc<Slot>,
    pub(super) job: J,
    pub(super) held: HeldGuard,
    pub(super) tell: oneshot::Sender<Result<Done<J>, Refusal>>,
    /// The newest position that its earlier turns could reveal.
    pub(super) reached: Lsn,
}

impl<J: Job> Seat<J> {
    pub(super) fn turn(self) -> Turn {
        Box::new(move |granted| match granted {
            Ok(permit) => self.take(permit),
            Err(refusal) => {
                self.refuse(refusal);
                After::Over(None)
            }
        })
    }

    fn take(mut self, permit: OwnedSemaphorePermit) -> After {
        self.held.permit = Some(permit);
        let Worked { job, held, outcome, spare } =
            work(&self.shared, &self.slot, self.job, self.held, Permit::Held);
        // While the permit is held, nobody else's commit is on its way.
        let reached = self.slot.hosted.visibility.last();
        let yields = matches!(outcome, Ok((Flow::Yields, _)));
        // A stream that has expired would begin anew, in the middle of what was to be one transaction.
        let yields = yields && held.connection.is_none() && held.expired.is_none();
        match spare {
            // What keeps nothing is as good as a request that has just come.
            Some(permit) if yields => {
                After::Again(Seat { job, held, reached, ..self }.turn(), permit)
            }
            spare => {
                drop(held);
                let (tell, outcome) = (self.tell, outcome.map(|(_flow, committed)| committed));
                self.shared.confirmations.then(reached, move |confirmed| {
                    let confirmed = Confirmed::Known(confirmed);
                    // A client that has gone does not need its answer.
                    drop(tell.send(Ok(Done { job, outcome, confirmed })));
                });
                After::Over(spare)
            }
        }
    }

    fn refuse(self, refusal: Refusal) {
        drop(self.held);
        let tell = self.tell;
        // After those whose turns it has had.
        self.shared.confirmations.then(self.reached, move |_confirmed| {
            drop(tell.send(Err(refusal)));
        });
    }
}
