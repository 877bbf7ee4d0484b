//! What two partners say to each other, apart from records and seed pages, which travel as raw frames.
//!
//! Every message travels in an [`Envelope`] that carries its sender's epoch, so that a lower epoch can be
//! refused on every single message. Encoded with postcard inside a control frame (see [`crate::frame`]).
//!
//! How versions live together: the connection's opening carries the wire version (what a frame looks like) and
//! [`Hello`] the range of protocol versions its sender speaks. Within one protocol version the encoding never
//! changes. A later version may append variants at the end of an enum, never reorder or remove them, and sends
//! a new variant only to a partner whose range includes it; a struct that must grow gets a new variant. Bytes
//! that do not decode close the connection with a sentence, they are never skipped.

mod about;
mod check;
mod refusal;
mod seed;

pub use about::{About, DataState, Intent, PartnerAddress, Role, Safety};
pub use refusal::{Code, Refusal};
pub use seed::{SeedContents, SeedDatabase, SeedProgress};

use serde::{Deserialize, Serialize};

use crate::{
    epoch::{Epoch, EpochHistory},
    fingerprint::Fingerprint,
    ids::{DatabaseId, Lsn, PageNo, ServerId, SessionId},
    session::PairState,
};

/// The oldest protocol version that this build speaks.
pub const PROTOCOL_MIN: u16 = 3;
/// The newest protocol version that this build speaks.
pub const PROTOCOL_MAX: u16 = 4;
/// The protocol version from which on [`Message::ClientKey`] is understood.
pub const PROTOCOL_CLIENT_KEY: u16 = 4;

/// A message with the epoch that its sender holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// The highest epoch that the sender has accepted (and made durable).
    pub epoch: Epoch,
    /// What it says.
    pub message: Message,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The bytes are not an envelope that this version knows.
    #[error("{length} bytes from the partner are not a message that this version knows: {cause}")]
    Unknown {
        /// How many bytes there were.
        length: usize,
        /// What the decoder stumbled over.
        cause: String,
    },
    /// A message was followed by bytes that do not belong to it.
    #[error("a message from the partner is followed by {0} bytes that do not belong to it")]
    Trailing(usize),
}

impl Envelope {
    /// The bytes of a control frame's payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a message of plain values always encodes")
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`MessageError`] for anything else; never panics.
    pub fn decode(bytes: &[u8]) -> Result<Envelope, MessageError> {
        let (envelope, rest) = postcard::take_from_bytes(bytes).map_err(|error| {
            MessageError::Unknown { length: bytes.len(), cause: error.to_string() }
        })?;
        if rest.is_empty() { Ok(envelope) } else { Err(MessageError::Trailing(rest.len())) }
    }
}

/// One message. The dialling side speaks first, with [`Message::Hello`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Who I am and what I want; opens every connection, and may be said again on the same one to join anew.
    Hello(Box<Hello>),
    /// Principal → mirror: you are in, and this is how you catch up.
    Welcome(Box<Welcome>),
    /// Either way: no, with the reason; the connection is closed after it.
    Refused(Box<Refused>),
    /// The answer to a [`Hello`] that only inquires or probes.
    Answer(Box<About>),
    /// Mirror → principal: how far I am.
    Ack {
        /// Everything up to here is hardened on the mirror.
        hardened: Lsn,
        /// Everything up to here is applied on the mirror.
        applied: Lsn,
    },
    /// Principal → mirror: everything up to here is final and may be applied.
    Commit {
        /// The commit LSN.
        lsn: Lsn,
    },
    /// Either way, at least every quarter of the partner timeout: I live, and this is how far I am.
    Heartbeat {
        /// Hardened on the sender.
        hardened: Lsn,
        /// Principal: the commit LSN; mirror: the applied LSN.
        reached: Lsn,
    },
    /// Principal → mirror: the state of our pair is now this one.
    StateChanged {
        /// The new state.
        state: PairState,
    },
    /// Principal → mirror: say your [`Hello`] again, on this connection (after a suspension, or in doubt).
    JoinAgain,
    /// Principal → mirror: a seed begins (or goes on); answered by [`Message::SeedAck`] once the mirror's journal
    /// begins after the mark.
    SeedBegin {
        /// The mark that the seed builds on; the journal follows from here.
        mark: Lsn,
        /// What will be copied.
        contents: SeedContents,
    },
    /// Mirror → principal: this much of the seed is durable here. The first one starts pages and journal.
    SeedAck(Box<SeedProgress>),
    /// Principal → mirror: all pages are sent; the copy is consistent once redone up to this position.
    SeedDone {
        /// The LSN to redo up to; at most the commit LSN.
        consistent_at: Lsn,
    },
    /// Mirror → principal: the copy is consistent and that is durable.
    SeedComplete,
    /// Principal → mirror: take over. Nothing follows `last`; the sender will confirm nothing more.
    Handover {
        /// The last LSN of the old principal.
        last: Lsn,
        /// The epoch to take.
        epoch: Epoch,
    },
    /// Mirror → old principal: I am the principal, durably; join me.
    TookOver {
        /// The new epoch.
        epoch: Epoch,
        /// The position it began after.
        began_after: Lsn,
        /// Where its clients reach the new principal.
        client_url: String,
    },
    /// Either way: the mirroring between us has ended; you are on your own from now on.
    EndMirroring {
        /// The session that ended.
        session: SessionId,
    },
    /// Principal → mirror: all members of the session, the principal first.
    Partners(Vec<PartnerAddress>),
    /// Principal → mirror: pages will be copied from snapshots at or above this mark; answered by
    /// [`Message::PagesReady`].
    PagesBegin {
        /// The mark that the copy builds on.
        mark: Lsn,
    },
    /// Mirror → principal: offer the databases; I spool what I lack.
    PagesReady,
    /// Principal → mirror: the copy and the journal (mark, end] are on their way, all of it.
    PagesDone {
        /// The end of the journal that belongs to the copy; at most the commit LSN.
        end: Lsn,
    },
    /// Either way: send me this page if yours has this hash. Answered by [`Message::PageIs`].
    PageWanted {
        /// The database.
        database: DatabaseId,
        /// The page.
        page: PageNo,
        /// The hash of the image wanted.
        hash: u64,
    },
    /// Either way: the answer to [`Message::PageWanted`], which it repeats.
    PageIs {
        /// The database.
        database: DatabaseId,
        /// The page.
        page: PageNo,
        /// The hash of the image wanted.
        hash: u64,
        /// The image; `None` if the sender does not have it.
        bytes: Option<Vec<u8>>,
    },
    /// Mirror → principal: send me a copy of this one database; I compare.
    HealWanted {
        /// The database.
        database: DatabaseId,
    },
    /// Principal → mirror: the copy of this database is on its way, all of it.
    HealDone {
        /// The database.
        database: DatabaseId,
        /// The position that the copy shows; at most the commit LSN.
        at: Lsn,
    },
    /// Principal → mirror: the copy cannot be sent now; ask again later.
    HealFailed {
        /// The database.
        database: DatabaseId,
        /// Why.
        why: String,
    },
    /// Mirror → principal: these databases here differ from yours; empty once all are healed.
    Differs(Vec<DatabaseId>),
    /// Mirror → principal: nothing is applied here any more, for this reason; empty once it goes on.
    ReplayStopped(String),
    /// Either way: send me these records of the journal, both ends included. Answered by [`Message::RecordsAre`].
    RecordsWanted {
        /// The first.
        first: Lsn,
        /// The last.
        last: Lsn,
    },
    /// Either way: the answer to [`Message::RecordsWanted`], which it repeats.
    RecordsAre {
        /// As it was asked.
        first: Lsn,
        /// As it was asked.
        last: Lsn,
        /// The records from the first on, one after the other, as many as fit; `None` if they are not here.
        bytes: Option<Vec<u8>>,
    },
    /// Mirror → principal: whoever answers at my client URL shows this TLS key. Since protocol version 4.
    ClientKey(Fingerprint),
}

impl Message {
    /// The message's name, as logs and transcripts show it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Message::Hello(_) => "Hello",
            Message::Welcome(_) => "Welcome",
            Message::Refused(_) => "Refused",
            Message::Answer(_) => "Answer",
            Message::Ack { .. } => "Ack",
            Message::Commit { .. } => "Commit",
            Message::Heartbeat { .. } => "Heartbeat",
            Message::StateChanged { .. } => "StateChanged",
            Message::JoinAgain => "JoinAgain",
            Message::SeedBegin { .. } => "SeedBegin",
            Message::SeedAck(_) => "SeedAck",
            Message::SeedDone { .. } => "SeedDone",
            Message::SeedComplete => "SeedComplete",
            Message::Handover { .. } => "Handover",
            Message::TookOver { .. } => "TookOver",
            Message::EndMirroring { .. } => "EndMirroring",
            Message::Partners(_) => "Partners",
            Message::PagesBegin { .. } => "PagesBegin",
            Message::PagesReady => "PagesReady",
            Message::PagesDone { .. } => "PagesDone",
            Message::PageWanted { .. } => "PageWanted",
            Message::PageIs { .. } => "PageIs",
            Message::RecordsWanted { .. } => "RecordsWanted",
            Message::RecordsAre { .. } => "RecordsAre",
            Message::HealWanted { .. } => "HealWanted",
            Message::HealDone { .. } => "HealDone",
            Message::HealFailed { .. } => "HealFailed",
            Message::Differs(_) => "Differs",
            Message::ReplayStopped(_) => "ReplayStopped",
            Message::ClientKey(_) => "ClientKey",
        }
    }
}

/// The first message on a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest protocol version the sender speaks.
    pub protocol_min: u16,
    /// Newest protocol version the sender speaks.
    pub protocol_max: u16,
    /// What the sender wants.
    pub intent: Intent,
    /// Who the sender is.
    pub about: About,
}

/// The principal takes a mirror in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol version that both speak from here on.
    pub protocol: u16,
    /// The principal.
    pub server: ServerId,
    /// The session.
    pub session: SessionId,
    /// The principal's epochs; the mirror adopts them once its journal is cut to `truncate_to`.
    pub history: EpochHistory,
    /// The session's safety.
    pub safety: Safety,
    /// All members of the session, the principal first.
    pub partners: Vec<PartnerAddress>,
    /// The mirror keeps its journal up to here; what it holds above was never final and is cut.
    pub truncate_to: Lsn,
    /// How the mirror catches up.
    pub plan: Plan,
    /// The principal's hardened LSN now.
    pub hardened: Lsn,
    /// The principal's commit LSN now.
    pub commit: Lsn,
    /// Whether commits have waited for this mirror ever since it was last synchronized.
    pub still_synchronized: bool,
}

/// How a mirror catches up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Plan {
    /// The records after this position follow.
    Journal {
        /// The last position that the mirror has.
        after: Lsn,
    },
    /// A seed follows: [`Message::SeedBegin`] comes next.
    Seed {
        /// Whether it goes on where an interrupted one broke off.
        resumed: bool,
    },
    /// The pair is suspended: nothing is sent until [`Message::JoinAgain`].
    Wait,
    /// The pages that differ follow, beside what the mirror has: [`Message::PagesBegin`] comes next.
    Pages {
        /// The mirror's files hold everything up to here and nothing else: pages that are newer follow. `None`: what
        /// the two hold is compared.
        since: Option<Lsn>,
    },
}

/// A refusal and where to go instead.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// What is refused, why, and what to do.
    pub refusal: Refusal,
    /// The session that the refusal speaks of.
    pub session: SessionId,
    /// With `DIVERGED`: up to where both have the same events.
    pub common: Option<Lsn>,
    /// The principal, if the sender knows it and is not it.
    pub principal: Option<PartnerAddress>,
}
