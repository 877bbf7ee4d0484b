//! The causes: a closed list, so that each has its words, its severity and its unit.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why an alarm is raised. The names are stable: they are in log lines, in the API, and in what is told to others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// A pair has left `SYNCHRONIZED` and is not back.
    NotSynchronized,
    /// A partner can't be reached.
    PartnerLost,
    /// Commits are confirmed without a synchronized mirror.
    Exposed,
    /// The server has another role in its session.
    RoleChanged,
    /// Events that are hardened here and not at the mirror.
    SendQueue,
    /// Events that are hardened and not applied, on a mirror.
    RedoQueue,
    /// Microseconds for which an event has waited to be hardened at the mirror.
    OldestUnsent,
    /// Microseconds that confirming by the mirror added to a commit.
    CommitOverhead,
    /// Bytes that are free on the disk.
    DiskLow,
    /// A database differs from the principal's.
    Differs,
    /// Nothing is applied any more.
    ReplayStopped,
    /// Pages or segments were found damaged.
    Damage,
    /// SQLite can't use the disk.
    Storage,
    /// The journal has failed; nothing is confirmed any more.
    JournalFailed,
    /// This server was deposed, and is not in line with the principal yet.
    Deposed,
    /// A handover was sent and not answered.
    InDoubt,
    /// This server's disk is an older image of itself.
    RolledBack,
    /// A backup was not finished.
    BackupFailed,
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should look.
    Warning,
    /// Commits, data or the takeover are at stake.
    Critical,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 18] = [
        Cause::NotSynchronized,
        Cause::PartnerLost,
        Cause::Exposed,
        Cause::RoleChanged,
        Cause::SendQueue,
        Cause::RedoQueue,
        Cause::OldestUnsent,
        Cause::CommitOverhead,
        Cause::DiskLow,
        Cause::Differs,
        Cause::ReplayStopped,
        Cause::Damage,
        Cause::Storage,
        Cause::JournalFailed,
        Cause::Deposed,
        Cause::InDoubt,
        Cause::RolledBack,
        Cause::BackupFailed,
    ];

    /// How bad it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Cause::NotSynchronized
            | Cause::RoleChanged
            | Cause::SendQueue
            | Cause::RedoQueue
            | Cause::OldestUnsent
            | Cause::CommitOverhead
            | Cause::Damage
            | Cause::BackupFailed => Severity::Warning,
            Cause::PartnerLost
            | Cause::Exposed
            | Cause::DiskLow
            | Cause::Differs
            | Cause::ReplayStopped
            | Cause::Storage
            | Cause::JournalFailed
            | Cause::Deposed
            | Cause::InDoubt
            | Cause::RolledBack => Severity::Critical,
        }
    }

    /// Whether it is seen all the time whether it is so. What is not watched has happened, and is over when somebody
    /// knows of it.
    #[must_use]
    pub fn is_watched(self) -> bool {
        !matches!(self, Cause::RoleChanged | Cause::Damage | Cause::BackupFailed)
    }

    /// How many times the limit a value is: 0 means that all is well. Of what should be plenty, half of the limit is twice.
    #[must_use]
    pub(super) fn multiple(self, value: u64, limit: u64) -> u64 {
        match self {
            Cause::DiskLow if value >= limit => 0,
            Cause::DiskLow => limit / value.max(1),
            _ => value / limit.max(1),
        }
    }

    /// Whether a value is so far on the good side of the limit that the alarm is over: a fifth, so that a value that goes up
    /// and down around the limit is one alarm.
    #[must_use]
    pub(super) fn is_well(self, value: u64, limit: u64) -> bool {
        match self {
            Cause::DiskLow => value >= limit.saturating_add(limit / 5),
            _ => value < limit - limit / 5,
        }
    }

    /// The worse of two values.
    #[must_use]
    pub(super) fn worse(self, one: u64, other: u64) -> u64 {
        match self {
            Cause::DiskLow => one.min(other),
            _ => one.max(other),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names are what the log has always had.
        fmt::Debug::fmt(self, f)
    }
}
