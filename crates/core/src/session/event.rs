//! What the driver tells the core.

use bytes::Bytes;

use crate::{
    epoch::Epoch,
    ids::{DatabaseId, DatabaseName, Lsn, PageNo},
    message::{Envelope, Role, SeedContents, SeedProgress},
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
    /// The mark from which redo started: the database files hold everything up to here.
    pub base: Lsn,
    /// A copy that is not finished, or came from backup files, is here.
    pub has_spool: bool,
    /// Drawn at random for this start: two copies of one data directory must not name different events alike.
    pub stride: u16,
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
    /// A checkpoint is complete: the database files hold everything up to this mark.
    Checkpointed(Lsn),
    /// Mirror: nothing is applied any more, for this reason. What can't pass by itself is mended only by a restart, or
    /// by a new copy.
    ReplayFailed(String),
    /// Mirror: what kept it from applying has passed.
    ReplayGoesOn,

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
        /// The commit LSN in the last record's header: everything up to here is final.
        commit: Lsn,
    },

    /// Answers `PrepareSeed`: the mark is written (or still in the journal, on resuming).
    SeedPrepared {
        /// The connection.
        link: LinkId,
        /// The mark's LSN.
        mark: Lsn,
        /// What will be copied.
        contents: SeedContents,
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
    /// A copy came from backup files and is here to compare with.
    SpoolFound,
    /// Either side could not go on with a seed or a copy; the link is closed and it resumes later.
    SeedFailed(LinkId, String),

    /// Answers `EstimateCatchUp`.
    Estimated {
        /// The connection.
        link: LinkId,
        /// Bytes of the journal that would follow.
        journal_bytes: u64,
        /// Bytes of the pages that would follow, and of the journal since.
        page_bytes: u64,
    },
    /// Answers `PreparePages`.
    PagesPrepared {
        /// The connection.
        link: LinkId,
        /// The mark's LSN; the journal has everything after it, and keeps it for this link.
        mark: Lsn,
    },
    /// Answers `SendPages`: everything is on its way.
    PagesSent {
        /// The connection.
        link: LinkId,
        /// The end of the journal that was sent with it; at most the commit LSN.
        end: Lsn,
    },
    /// Mirror, answers `FinishPages`: the spool is whole and durable.
    PagesSpooled {
        /// The connection.
        link: LinkId,
        /// The mark.
        mark: Lsn,
        /// The end of the spooled journal.
        end: Lsn,
    },
    /// Mirror, answers `AdoptPages`: the journal begins after the mark and ends, hardened, at the end; the files hold the
    /// pages and are redone from the mark by `ApplyUpTo`.
    PagesAdopted {
        /// The mark.
        mark: Lsn,
        /// The journal's end.
        end: Lsn,
    },
    /// Mirror, answers `AdoptPages`: the spool is not whole any more; what is here must be seeded anew.
    AdoptFailed(String),

    /// Answers `SaveOrphans`: they are on disk.
    OrphansSaved {
        /// As it was asked.
        common: Lsn,
        /// As it was asked.
        end: Lsn,
    },
    /// Answers `SaveOrphans`: they could not be saved; this server parks.
    OrphansFailed(String),

    /// A page does not have the hash that it must have. Answered by `TakePage`.
    PageDamaged {
        /// The database.
        database: DatabaseId,
        /// The page.
        page: PageNo,
        /// The hash of the image wanted.
        hash: u64,
    },
    /// Records of the journal here are damaged. Answered by `TakeRecords`.
    RecordsDamaged {
        /// The first.
        first: Lsn,
        /// The last.
        last: Lsn,
    },
    /// Answers `ProvideRecords`.
    RecordsProvided {
        /// The connection.
        link: LinkId,
        /// As it was asked.
        first: Lsn,
        /// As it was asked.
        last: Lsn,
        /// The records from the first on, one after the other, as many as fit into a message; `None` if they are not here.
        bytes: Option<Bytes>,
    },
    /// Answers `ProvidePage`.
    PageProvided {
        /// The connection.
        link: LinkId,
        /// The database.
        database: DatabaseId,
        /// The page.
        page: PageNo,
        /// The hash of the image wanted.
        hash: u64,
        /// The image, if it is here.
        bytes: Option<Bytes>,
    },
    /// The checksum of a database is not what the record says. Its records are skipped until it is healed.
    DatabaseDiffers {
        /// The database.
        database: DatabaseId,
        /// Its name.
        name: DatabaseName,
        /// The record.
        lsn: Lsn,
        /// What the record says.
        expected: u64,
        /// What is here.
        found: u64,
    },
    /// Principal, answers `SendHeal`: the copy is on its way.
    HealSent {
        /// The connection.
        link: LinkId,
        /// The database.
        database: DatabaseId,
        /// What the copy shows; at most the commit LSN.
        at: Lsn,
    },
    /// Principal, answers `SendHeal`: it cannot be sent now.
    HealNotSent {
        /// The connection.
        link: LinkId,
        /// The database.
        database: DatabaseId,
        /// Why.
        why: String,
    },
    /// Mirror, answers `FinishHeal`; or the database differs no more for another reason (it was dropped).
    Healed {
        /// The database.
        database: DatabaseId,
    },
    /// Mirror: the copy did not come whole, or did not mend the database; it is asked for again.
    HealFailed {
        /// The database.
        database: DatabaseId,
        /// Why.
        why: String,
    },

    /// Answers `Drain`: no write is in flight and the journal ends here (not all of it need be hardened yet).
    Drained(Lsn),

    /// An operator's command.
    Command(CommandId, Command),
}
