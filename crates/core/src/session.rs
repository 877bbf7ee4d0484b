//! The session core: one server's part in mirroring as a pure state machine.
//!
//! [`Core::step`] takes what happened and gives back what to do. It never reads a clock, touches a disk or a
//! socket, or draws a random number, so every run can be replayed from its events. The laws it keeps are written
//! down in this crate's `DESIGN.md`.

mod action;
mod catch_up;
mod command;
mod durable;
mod event;
mod pair;
mod time;

pub use action::{Action, Admission, Alarm, AlarmKind, Level};
pub use catch_up::{CatchUp, Offer, choose};
pub use command::{Assessment, Command, CommandError, CommandId, Loss, Outcome};
pub use durable::{Deposed, Durable, Ended, Member, Parked, PendingHandover};
pub use event::{DialId, Event, LinkId, Recovered, Ticket};
pub use pair::{Cause, PairState};
pub use time::{Config, Millis, Now};

/// One server's part in mirroring. See the module's head.
#[derive(Clone, Debug)]
pub struct Core {
    config: Config,
}

impl Core {
    /// A core that waits for [`Event::Start`].
    #[must_use]
    pub fn new(config: Config) -> Core {
        Core { config }
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}
