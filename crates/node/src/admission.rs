//! Whether writes may begin: at once, after a wait, or not at all.
//!
//! During a failover writes wait here, they do not fail; what they wait for decides which answer they get.

use counterpart_core::message::Code;
use tokio::sync::watch;

use crate::refusal::Refusal;

/// What happens to a write that arrives now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// It may begin.
    Open,
    /// It waits: the server is starting, or a failover is under way.
    Hold,
    /// It is answered with this.
    Closed(Refusal),
}

/// The door that every write passes, shared by all databases.
pub struct Admission(watch::Sender<Door>);

impl Admission {
    /// A door in its first position.
    #[must_use]
    pub fn new(door: Door) -> Admission {
        Admission(watch::Sender::new(door))
    }

    /// Moves the door; those who wait see it at once.
    pub fn set(&self, door: Door) {
        self.0.send_if_modified(|now| {
            let changed = *now != door;
            *now = door;
            changed
        });
    }

    /// The door's position now.
    #[must_use]
    pub fn now(&self) -> Door {
        self.0.borrow().clone()
    }

    /// Whether a write may begin at this moment.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(*self.0.borrow(), Door::Open)
    }

    /// Whether this server may journal marks of its own. It may while it refuses clients only because no mirror is
    /// synchronized: without a mark no mirror could be seeded, and none would ever be.
    #[must_use]
    pub fn admits_marks(&self) -> bool {
        match &*self.0.borrow() {
            Door::Open => true,
            Door::Hold => false,
            Door::Closed(refusal) => refusal.code() == Code::MirrorRequired.as_str(),
        }
    }

    /// Waits until writes may begin, however long that takes.
    pub async fn opened(&self) {
        let mut door = self.0.subscribe();
        let opened = door.wait_for(|door| *door == Door::Open).await;
        opened.expect("the sender lives as long as this object");
    }

    /// Waits until writes may begin.
    ///
    /// # Errors
    /// The refusal, when the door is or gets closed.
    pub async fn pass(&self) -> Result<(), Refusal> {
        let mut door = self.0.subscribe();
        let decided = door.wait_for(|door| *door != Door::Hold).await;
        match &*decided.expect("the sender lives as long as this object") {
            Door::Closed(refusal) => Err(refusal.clone()),
            Door::Open | Door::Hold => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_waits_at_a_held_door_and_learns_how_it_ended() {
        let admission = Admission::new(Door::Hold);
        let refusal = Refusal::read_only_mirror("http://b");
        let (answer, ()) = tokio::join!(admission.pass(), async {
            tokio::task::yield_now().await;
            admission.set(Door::Closed(refusal.clone()));
        });
        assert_eq!(answer, Err(refusal));
        let ((), ()) = tokio::join!(admission.opened(), async {
            tokio::task::yield_now().await;
            admission.set(Door::Open);
        });
        assert_eq!(admission.pass().await, Ok(()));
    }
}
