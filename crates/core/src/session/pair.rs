//! The state of one principal–mirror pair, and every way from one state to another.

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
    /// The mirror joined.
    Joined,
    /// The mirror has hardened everything up to the principal's hardened LSN.
    CaughtUp,
    /// The link ended or fell silent.
    Lost,
    /// The operator suspended the pair.
    Suspend,
    /// The operator resumed it.
    Resume,
    /// The operator asked for a failover.
    Failover,
    /// The failover was given up before the handover was sent, or is known not to have happened.
    FailoverAborted,
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
