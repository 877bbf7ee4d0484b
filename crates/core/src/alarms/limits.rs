//! The limits of figures.

use super::Cause;

/// From where on a figure is an alarm; `None` never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Events.
    pub send_queue: Option<u64>,
    /// Events.
    pub redo_queue: Option<u64>,
    /// Microseconds.
    pub oldest_unsent: Option<u64>,
    /// Microseconds.
    pub commit_overhead: Option<u64>,
    /// Bytes, below which it is one.
    pub disk_free: Option<u64>,
}

impl Default for Limits {
    /// What no healthy pair reaches, and no operator wants to hear of later: some seconds' worth of events at full load,
    /// half a minute, a second that somebody waits for a commit, and room for a few checkpoints and segments.
    fn default() -> Limits {
        Limits {
            send_queue: Some(100_000),
            redo_queue: Some(100_000),
            oldest_unsent: Some(30_000_000),
            commit_overhead: Some(1_000_000),
            disk_free: Some(1 << 30),
        }
    }
}

impl Limits {
    /// The limit of a cause; nothing for one that is no figure. A limit of 0 is none.
    #[must_use]
    pub fn of(&self, cause: Cause) -> Option<u64> {
        let limit = match cause {
            Cause::SendQueue => self.send_queue,
            Cause::RedoQueue => self.redo_queue,
            Cause::OldestUnsent => self.oldest_unsent,
            Cause::CommitOverhead => self.commit_overhead,
            Cause::DiskLow => self.disk_free,
            _ => None,
        };
        limit.filter(|limit| *limit > 0)
    }
}
