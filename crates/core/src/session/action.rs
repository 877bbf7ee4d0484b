//! What the core tells the driver. Actions are performed in the order in which they are given; none waits for an
//! earlier one to end, because the core itself holds back whatever must follow a `Persist` until it is done.

use crate::{
    epoch::Epoch,
    ids::{Lsn, ServerId},
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
    /// Send what is queued, as far as that goes quickly, and close. Stops streams and seeds on it.
    CloseLink(LinkId),

    /// Principal: send every record after this position, and those to come, until stopped or closed. Replaces an
    /// earlier stream on this link.
    StreamFrom(LinkId, Lsn),
    /// Principal: send no more records and no more pages of a seed on this link.
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
