//! What the driver tells the core.

use crate::{
    epoch::Epoch,
    ids::Lsn,
    message::{Envelope, Role, SeedDatabase, SeedProgress},
    session::{Command, CommandId, Durable},
};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub u64);
    };
}

counter! {
    /// One connection to a partner, as the driver numbers them; never used twice while the process lives.
    LinkId
}
counter! {
    /// One attempt to connect, as the core numbers them.
    DialId
}
counter! {
    /// One request to persist. Answering a ticket answers all lower ones.
    Ticket
}

/// What was found on disk at start-up; given to `Core::start`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The control file's content.
    pub durable: Durable,
    /// The journal still has the records after this position.
    pub journal_after: Lsn,
    /// The journal's end; all of it is hardened.
    pub journal_end: Lsn,
    /// The highest commit LSN that the control file or a record tells of; ≤ `journal_end`.
    pub commit: Lsn,
    /// Redone into the databases up to here.
    pub applied: Lsn,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Time passed; call at `Core::next_deadline` or a little later.
    Tick,
    /// The durable state of this ticket, and of all before it, is on disk.
    Persisted(Ticket),
    /// The engine has the role that the newest `Become…` asked for; one that a newer one overtook is not answered. For a mirror: nothing is queued for the journal
    /// any more, and `Hardened` with its end and `Applied` were said before.
    Became(Role),

    /// The local journal is hardened up to here.
    Hardened(Lsn),
    /// Mirror: the databases show everything up to here.
    Applied(Lsn),
    /// Answers `TruncateJournal`: the journal's durable end is now this.
    Truncated(Lsn),
    /// Answers `ResetJournal`: the journal is empty and begins after this position.
    JournalReset(Lsn),
    /// The journal dropped old segments: it has the records after this position.
    Pruned(Lsn),
    /// The journal failed for good (the first write or fsync error); nothing is written any more.
    JournalFailed(String),

    /// A dial succeeded.
    Connected(DialId, LinkId),
    /// A dial failed.
    DialFailed(DialId, String),
    /// A partner connected to us.
    Accepted(LinkId),
    /// A connection ended, from either side. Not needed after `CloseLink`, but harmless.
    LinkDown(LinkId, String),
    /// Bytes of any kind arrived (for records and seed pages; messages count by themselves).
    Heard(LinkId),
    /// A message arrived.
    Received(LinkId, Envelope),
    /// Records of one epoch arrived, without gaps among themselves. The core answers with `Append` if the
    /// journal may take them, with nothing if it has them already, and closes the link otherwise.
    Records {
        /// The connection.
        link: LinkId,
        /// The epoch in all their headers.
        epoch: Epoch,
        /// The first record's LSN.
        first: Lsn,
        /// The last record's LSN.
        last: Lsn,
    },

    /// Answers `PrepareSeed`: the mark is written (or still in the journal, on resuming).
    SeedPrepared {
        /// The connection.
        link: LinkId,
        /// The mark's LSN.
        mark: Lsn,
        /// What will be copied.
        databases: Vec<SeedDatabase>,
    },
    /// Answers `SendSeed`: all pages are on their way; none shows an event above `consistent_at`, which is
    /// at most the commit LSN.
    SeedSent {
        /// The connection.
        link: LinkId,
        /// The position to redo up to.
        consistent_at: Lsn,
    },
    /// Mirror: this much of the seed is durable here (tell at least every few seconds).
    SeedProgressed(LinkId, Box<SeedProgress>),
    /// Mirror, answers `FinishSeed`: every page received is durable.
    SeedFinished(LinkId),
    /// Either side could not go on with a seed; the link is closed and it resumes later.
    SeedFailed(LinkId, String),

    /// Answers `Drain`: no write is in flight and the journal ends here (not all of it need be hardened yet).
    Drained(Lsn),

    /// An operator's command.
    Command(CommandId, Command),
}
