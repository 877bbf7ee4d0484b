//! Which of the session's durable changes are worth dying at: right before the control file says so, and right after.

use counterpart_core::{message::Role, session::Durable};
use counterpart_journal::crash_point;

/// What changes, as far as a crash makes a difference.
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// A principal hands over.
    Handover,
    /// A server takes office.
    Epoch,
    /// A seed or a copy begins, gets on, or has served.
    Seeding,
    /// A principal learns that it is none any more.
    Deposed,
    /// Something else.
    Other,
}

impl Change {
    pub(super) fn between(before: &Durable, after: &Durable) -> Change {
        if before.pending_handover.is_none() && after.pending_handover.is_some() {
            Change::Handover
        } else if before.role != Role::Principal && after.role == Role::Principal {
            Change::Epoch
        } else if before.deposed.is_none() && after.deposed.is_some() {
            Change::Deposed
        } else if before.seeding != after.seeding {
            Change::Seeding
        } else {
            Change::Other
        }
    }

    pub(super) fn is_due(self) {
        match self {
            Change::Handover => crash_point("control.before_handover"),
            Change::Epoch => crash_point("control.before_epoch"),
            Change::Seeding => crash_point("control.before_seeding"),
            Change::Deposed => crash_point("control.before_deposed"),
            Change::Other => {}
        }
    }

    pub(super) fn is_durable(self) {
        match self {
            Change::Handover => crash_point("control.after_handover"),
            Change::Epoch => crash_point("control.after_epoch"),
            Change::Seeding => crash_point("control.after_seeding"),
            Change::Deposed => crash_point("control.after_deposed"),
            Change::Other => {}
        }
    }
}
