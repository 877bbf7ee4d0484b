//! Persist, then send: the one place that keeps this order.
//!
//! Once a `Persist` is out and not yet done, everything that could depend on it waits here, in order. What may
//! pass at once is what only restricts, what only informs, and what is computed from the *saved* state.

use super::{Action, Core, Durable, Level, LinkId, Ticket};
use crate::message::{Envelope, Message, Role};

/// States on their way to the disk, and the actions behind them.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold {
    last_ticket: Ticket,
    saved: Option<Durable>,
    in_flight: std::collections::VecDeque<(Ticket, Durable)>,
    held: std::collections::VecDeque<(Ticket, Action)>,
}

impl Hold {
    pub(super) fn with_saved(saved: Durable) -> Hold {
        Hold { saved: Some(saved), ..Hold::default() }
    }

    /// Whether everything decided so far is on disk.
    pub(super) fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether a change of the engine's role waits here: an answer that comes now belongs to an older one.
    pub(super) fn holds_become(&self) -> bool {
        self.held.iter().any(|(_, action)| {
            matches!(
                action,
                Action::BecomePrincipal(_) | Action::BecomeStandalone { .. } | Action::BecomeMirror
            )
        })
    }

    /// What is on disk.
    pub(super) fn saved(&self) -> &Durable {
        self.saved.as_ref().expect("a started core has a saved state")
    }

    /// Every state that may be what the disk holds now or soon.
    pub(super) fn possible(&self) -> impl Iterator<Item = &Durable> {
        self.saved.iter().chain(self.in_flight.iter().map(|(_, durable)| durable))
    }
}

impl Core {
    /// Writes the wanted state down. Everything emitted from here on waits for it.
    pub(super) fn persist(&mut self) {
        self.hold.last_ticket.0 += 1;
        let ticket = self.hold.last_ticket;
        self.hold.in_flight.push_back((ticket, self.d.clone()));
        self.out.push(Action::Persist(ticket, Box::new(self.d.clone())));
    }

    pub(super) fn persisted(&mut self, ticket: Ticket) {
        while self.hold.in_flight.front().is_some_and(|&(t, _)| t <= ticket) {
            self.hold.saved = self.hold.in_flight.pop_front().map(|(_, durable)| durable);
        }
        while self.hold.held.front().is_some_and(|&(t, _)| t <= ticket) {
            self.out.extend(self.hold.held.pop_front().map(|(_, action)| action));
        }
    }

    /// Gives an action to the driver, now or as soon as what it may depend on is on disk.
    pub(super) fn emit(&mut self, action: Action) {
        let at_once = matches!(
            action,
            Action::SetCommitLsn(_)
                | Action::ApplyUpTo(_)
                | Action::Append(_)
                | Action::SetAdmission(_)
                | Action::Alarm(_)
                | Action::Log(..)
        );
        if at_once || self.hold.is_settled() {
            self.out.push(action);
        } else {
            self.hold.held.push_back((self.hold.last_ticket, action));
        }
    }

    pub(super) fn send(&mut self, link: LinkId, message: Message) {
        let envelope = Envelope { epoch: self.d.epoch, message };
        self.emit(Action::Send(link, envelope));
    }

    pub(super) fn log(&mut self, level: Level, text: impl Into<String>) {
        self.emit(Action::Log(level, text.into()));
    }

    /// Whether the disk says that this server may confirm in its present epoch.
    pub(super) fn office_is_saved(&self) -> bool {
        let saved = self.hold.saved();
        saved.role != Role::Mirror && saved.epoch == self.d.epoch
    }
}
