//! The state of one principal–mirror pair, and every way from one state to another.
//!
//! ```text
//!                      Joined                      CaughtUp
//!   ┌──────────────┐ ─────────▶ ┌───────────────┐ ─────────▶ ┌──────────────┐
//!   │ DISCONNECTED │            │ SYNCHRONIZING │            │ SYNCHRONIZED │
//!   └──────────────┘ ◀───────── └───────────────┘ ◀───────── └──────────────┘
//!     ▲  ▲   │  ▲        Lost     │  ▲    Joined (again)      │ │  ▲   │
//!     │  │   │  └────────────────────────────────── Lost ──────┘ │  │   │ Failover
//!     │  │   │ Suspend            │  │ ResumeLinked     Suspend  │  │   ▼
//!     │  │   ▼                    ▼  │                           │  │ ┌──────────────────┐
//!     │  │  ┌───────────────────────────┐                        │  └─│ PENDING_FAILOVER │
//!     │  └──│         SUSPENDED         │ ◀──────────────────────┘    └──────────────────┘
//!     │Resume└──────────────────────────┘       FailoverAborted (up)           │
//!     └───────────────────────────────────────────────────── HandoverRefuted ──┘
//! ```
//!
//! `PENDING_FAILOVER` has no way out by a lost link: before the handover was sent the failover is aborted first,
//! after it only an answer, a higher epoch or the operator ends the doubt.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PairState {
    /// Connected; the mirror does not have everything yet.
    Synchronizing,
    /// The mirror has everything; under safety full commits wait for it.
    Synchronized,
    /// The operator stopped sending.
    Suspended,
    /// A planned role swap is under way.
    PendingFailover,
    /// No connection.
    Disconnected,
}

/// Why a pair changes its state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// The mirror joined, or joined again on the same connection.
    Joined,
    /// The mirror has hardened everything that could have been confirmed without it.
    CaughtUp,
    /// The link ended or fell silent.
    Lost,
    /// The operator suspended the pair.
    Suspend,
    /// The operator resumed it while there is no link.
    Resume,
    /// The operator resumed it while there is a link.
    ResumeLinked,
    /// The operator asked for a failover.
    Failover,
    /// The failover was given up before the handover was sent.
    FailoverAborted,
    /// The target of a handover says that it did not take over.
    HandoverRefuted,
}

impl PairState {
    /// All states.
    pub const ALL: [PairState; 5] = [
        PairState::Synchronizing,
        PairState::Synchronized,
        PairState::Suspended,
        PairState::PendingFailover,
        PairState::Disconnected,
    ];

    /// The state that follows, with the sentence that logs say about it; `None` where the cause cannot occur.
    #[must_use]
    pub fn next(self, cause: Cause) -> Option<(PairState, &'static str)> {
        use PairState::{Disconnected, PendingFailover, Suspended, Synchronized, Synchronizing};
        Some(match (self, cause) {
            (Disconnected | Synchronizing | Synchronized, Cause::Joined) => {
                (Synchronizing, "the mirror joined and catches up")
            }
            (Synchronizing, Cause::CaughtUp) => {
                (Synchronized, "the mirror has everything; commits wait for it under safety full")
            }
            (Synchronizing | Synchronized, Cause::Lost) => {
                (Disconnected, "the connection to the mirror was lost")
            }
            (Disconnected | Synchronizing | Synchronized, Cause::Suspend) => {
                (Suspended, "the operator suspended mirroring")
            }
            (Suspended, Cause::Resume) => {
                (Disconnected, "the operator resumed mirroring; the mirror is not connected")
            }
            (Suspended, Cause::ResumeLinked) => (Synchronizing, "the operator resumed mirroring"),
            (Synchronized, Cause::Failover) => {
                (PendingFailover, "the operator asked for a failover")
            }
            (PendingFailover, Cause::FailoverAborted) => {
                (Synchronized, "the failover was given up; this server stays the principal")
            }
            (PendingFailover, Cause::HandoverRefuted) => {
                (Disconnected, "the mirror did not take over; this server stays the principal")
            }
            _ => return None,
        })
    }
}

impl fmt::Display for PairState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PairState::Synchronizing => "SYNCHRONIZING",
            PairState::Synchronized => "SYNCHRONIZED",
            PairState::Suspended => "SUSPENDED",
            PairState::PendingFailover => "PENDING_FAILOVER",
            PairState::Disconnected => "DISCONNECTED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUSES: [Cause; 9] = [
        Cause::Joined,
        Cause::CaughtUp,
        Cause::Lost,
        Cause::Suspend,
        Cause::Resume,
        Cause::ResumeLinked,
        Cause::Failover,
        Cause::FailoverAborted,
        Cause::HandoverRefuted,
    ];

    #[test]
    fn only_a_synchronized_pair_fails_over_and_only_a_synchronizing_one_becomes_synchronized() {
        for state in PairState::ALL {
            let fails_over = state.next(Cause::Failover).is_some();
            assert_eq!(fails_over, state == PairState::Synchronized, "{state}");
            let catches_up = state.next(Cause::CaughtUp).is_some();
            assert_eq!(catches_up, state == PairState::Synchronizing, "{state}");
        }
    }

    #[test]
    fn a_pending_failover_is_left_only_by_knowing_its_outcome() {
        for cause in CAUSES {
            let left = PairState::PendingFailover.next(cause).is_some();
            let known = matches!(cause, Cause::FailoverAborted | Cause::HandoverRefuted);
            assert_eq!(left, known, "{cause:?}");
        }
    }

    #[test]
    fn every_state_is_reached_and_left() {
        for state in PairState::ALL {
            let reached = PairState::ALL.iter().any(|from| {
                CAUSES.iter().any(|&cause| from.next(cause).is_some_and(|(to, _)| to == state))
            });
            let left = CAUSES.iter().any(|&cause| state.next(cause).is_some());
            assert!(reached && left, "{state}");
        }
    }
}
