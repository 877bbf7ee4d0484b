//! What the core tells the driver. Actions are performed in the order in which they are given; none waits for an
//! earlier one to end, because the core itself holds back whatever must follow a `Persist` until it is done.

use bytes::Bytes;

use crate::{
    epoch::Epoch,
    fingerprint::Fingerprint,
    ids::{DatabaseId, Lsn, PageNo, ServerId},
    message::{Envelope, Refusal, SeedProgress},
    session::{CommandError, CommandId, DialId, Durable, LinkId, Outcome, Ticket},
};

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Replace the control file's content, durably; then say `Persisted`. In order; several may be coalesced
    /// into the last one.
    Persist(Ticket, Box<Durable>),

    /// Connect to this partner address; answer `Connected` or `DialFailed` (bounded by the partner timeout).
    Dial(DialId, String),
    /// Send a message. A link that is closed by now is no error.
    Send(LinkId, Envelope),
    /// Principal: keep in mind which TLS key this mirror shows its clients, for as long as the process runs.
    NoteClientKey(ServerId, Fingerprint),
    /// Send what is queued, as far as that goes quickly, and close. Stops streams and seeds on it.
    CloseLink(LinkId),

    /// Principal: send every record after this position, and those to come, until stopped or closed. Replaces an
    /// earlier stream on this link.
    StreamFrom(LinkId, Lsn),
    /// Principal: send no more records and no more pages of a seed or copy on this link.
    StopStreaming(LinkId),
    /// Principal: choose the mark for a seed. With a progress: go on from its mark, which the journal has.
    PrepareSeed(LinkId, Option<Box<SeedProgress>>),
    /// Principal: send the pages that this progress lacks, then say `SeedSent`. Every snapshot that pages are
    /// read from must be at or above the mark and at or below the commit LSN; wait for it if need be.
    SendSeed(LinkId, Box<SeedProgress>),
    /// Mirror: be ready for the pages of a seed that go on from this progress.
    ReceiveSeed(LinkId, Box<SeedProgress>),
    /// Mirror: make every page received durable, then say `SeedFinished`.
    FinishSeed(LinkId, Lsn),

    /// Principal: estimate the bytes of both ways for a mirror; answer `Estimated`, within a second or so.
    EstimateCatchUp {
        /// The connection.
        link: LinkId,
        /// The journal would follow from here.
        after: Lsn,
        /// Or the pages that are newer than this, and the journal since.
        base: Lsn,
    },
    /// Principal: choose the mark for a copy (the newest will do, if the journal has it); answer `PagesPrepared`.
    PreparePages(LinkId),
    /// Principal: send the copy: the pages newer than `since` (`None`: those that differ), read from snapshots at or
    /// above the mark and at or below the commit LSN, then the journal after the mark up to an end that is final and at
    /// or above every snapshot; then say `PagesSent`.
    SendPages {
        /// The connection.
        link: LinkId,
        /// The mark.
        mark: Lsn,
        /// What the mirror's files hold, if that is a position.
        since: Option<Lsn>,
    },
    /// Mirror: be ready to spool a copy, beside what is here, which stays as it is. What an earlier attempt spooled
    /// counts as held.
    ReceivePages {
        /// The connection.
        link: LinkId,
        /// The mark.
        mark: Lsn,
        /// As in `SendPages`.
        since: Option<Lsn>,
    },
    /// Mirror: make the spool durable, with the journal up to this end; then say `PagesSpooled`.
    FinishPages(LinkId, Lsn),
    /// Mirror: let the spool take the place of the journal and of the pages that it brings: empty the journal, so that it
    /// begins after the mark, put the spooled one into it, write the pages into the closed files; then `PagesAdopted`, or
    /// `AdoptFailed` if the spool is not whole. Done again from the start after a crash.
    AdoptPages {
        /// The mark.
        mark: Lsn,
        /// The end of the spooled journal.
        end: Lsn,
    },
    /// Keep the events of this range, which only this server has, as orphans; then `OrphansSaved` or `OrphansFailed`.
    /// The journal of a mirror that was seeded may begin later: the copies of the databases show the rest. Nothing new is
    /// applied or appended meanwhile (what `ApplyUpTo` asked for before may be). Again after a crash.
    SaveOrphans {
        /// The last event in common.
        common: Lsn,
        /// The journal's end.
        end: Lsn,
    },
    /// A partner lacks this page: answer `PageProvided`, soon.
    ProvidePage {
        /// The connection.
        link: LinkId,
        /// The database.
        database: DatabaseId,
        /// The page.
        page: PageNo,
        /// The hash of the image wanted.
        hash: u64,
    },
    /// A partner lacks records of the journal: answer `RecordsProvided`, soon, with at most 4 MiB of them.
    ProvideRecords {
        /// The connection.
        link: LinkId,
        /// The first.
        first: Lsn,
        /// The last.
        last: Lsn,
    },
    /// The answer to `RecordsDamaged`. Whether they are what was asked for is still to be checked.
    TakeRecords {
        /// As it was asked.
        first: Lsn,
        /// As it was asked.
        last: Lsn,
        /// The first of the records, or all; `None` if no partner has them.
        bytes: Option<Bytes>,
    },
    /// The answer to `PageDamaged`: to all that were told alike. The hash is still to be checked.
    TakePage {
        /// The database.
        database: DatabaseId,
        /// The page.
        page: PageNo,
        /// The hash of the image wanted.
        hash: u64,
        /// The image; `None` if no partner has it.
        bytes: Option<Bytes>,
    },
    /// Principal: send a copy of one database (what differs), from a snapshot at or below the commit LSN; then say
    /// `HealSent` or `HealNotSent`.
    SendHeal(LinkId, DatabaseId),
    /// Mirror: be ready for the copy of one database.
    ReceiveHeal(LinkId, DatabaseId),
    /// Mirror: put the copy of one database in place, in one transaction, and go on with its records after `at`; then
    /// `Healed` or `HealFailed`.
    FinishHeal {
        /// The database.
        database: DatabaseId,
        /// What the copy shows.
        at: Lsn,
    },

    /// Mirror: put the records of the event that caused this into the journal.
    Append(LinkId),
    /// Cut the journal to this end (after what is queued for it was written); then say `Truncated`.
    TruncateJournal(Lsn),
    /// Mirror, before a seed: drop all databases and empty the journal so that it begins after this position;
    /// then say `JournalReset`.
    ResetJournal(Lsn),

    /// Principal and standalone: everything up to here is final; confirm what waits for it.
    SetCommitLsn(Lsn),
    /// Mirror: apply up to here.
    ApplyUpTo(Lsn),

    /// Apply the whole journal, drop incomplete chunk runs, and be ready to write in this epoch; then `Became`.
    BecomePrincipal(Epoch),
    /// The same without mirroring. With `discard`: the data is not whole, begin empty.
    BecomeStandalone {
        /// The epoch to write in.
        epoch: Epoch,
        /// Whether the data must be thrown away.
        discard: bool,
    },
    /// Stop writing, roll back what is open, forget what is above the commit LSN in the databases (not in the
    /// journal), say `Applied` with the position the databases show, then `Became`.
    BecomeMirror,
    /// What happens to clients' writes from now on.
    SetAdmission(Admission),
    /// Wait until no write is in flight, ending interactive transactions after a bounded time; then `Drained`.
    /// Until writes are admitted again nothing may be appended, no mark either: `PrepareSeed` waits.
    Drain,

    /// Raise or clear an alarm.
    Alarm(Alarm),
    /// Write a line to the log.
    Log(Level, String),
    /// Answer a command.
    Reply(CommandId, Result<Outcome, CommandError>),
}

/// What happens to clients' writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Admission {
    /// They are executed.
    Open,
    /// They wait (bounded by the driver); a failover or a start-up is under way.
    Hold,
    /// They are refused.
    Refuse {
        /// The code and the sentences.
        refusal: Refusal,
        /// The principal's client URL, if known.
        principal: Option<String>,
    },
}

/// An alarm's subject. At most one alarm of a kind is raised per partner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AlarmKind {
    /// Commits are confirmed without a synchronized mirror.
    Exposed,
    /// A partner cannot be reached.
    PartnerLost,
    /// This server was deposed and parks.
    Deposed,
    /// A handover was sent and not answered.
    InDoubt,
    /// The journal failed.
    JournalFailed,
    /// This server's disk is an older image of itself.
    RolledBack,
    /// A database differs from the principal's: here, or on that partner.
    Differs,
    /// Nothing is applied any more: here, or on that partner.
    ReplayStopped,
}

/// A change of an alarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// The subject.
    pub kind: AlarmKind,
    /// The partner it is about, if it is about one.
    pub partner: Option<ServerId>,
    /// Raised or cleared.
    pub raised: bool,
    /// In words.
    pub text: String,
}

/// How much a log line matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// What normally happens.
    Info,
    /// What an operator should know.
    Warn,
    /// What an operator must act upon.
    Error,
}
