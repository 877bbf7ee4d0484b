//! Refusals: one stable code, one sentence of what, one of what to do. Partners, commands and clients' writes
//! are all refused in this form.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// Why something is refused; the texts are stable and part of the operator API.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// The stable text.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The partner is this very server.
    PartnerIsSelf => "PARTNER_IS_SELF",
    /// The two have no protocol version in common.
    Incompatible => "INCOMPATIBLE_VERSION",
    /// The sender belongs to another session, or to none.
    WrongSession => "WRONG_SESSION",
    /// The sender is not a member of the session.
    Stranger => "NOT_A_PARTNER",
    /// The sender's epoch is lower than one already known.
    StaleEpoch => "STALE_EPOCH",
    /// The receiver is not the principal.
    NotPrincipal => "NOT_PRINCIPAL",
    /// The receiver is not a mirror.
    NotMirror => "NOT_MIRROR",
    /// The sender has applied or served events that the principal does not have.
    Diverged => "DIVERGED",
    /// The mirroring between the two has ended.
    MirroringEnded => "MIRRORING_ENDED",
    /// The message is not possible at this point.
    Unexpected => "UNEXPECTED_MESSAGE",
    /// The server has not finished starting, or is changing its role.
    NotReady => "NOT_READY",
    /// The command needs a state that the pair is not in.
    WrongState => "WRONG_STATE",
    /// The command needs a role that the server does not have.
    WrongRole => "WRONG_ROLE",
    /// The server holds data and the operator did not say that it may be replaced.
    NotEmpty => "NOT_EMPTY",
    /// No such partner.
    UnknownPartner => "UNKNOWN_PARTNER",
    /// Several partners and none was named.
    PartnerNotNamed => "PARTNER_NOT_NAMED",
    /// Another command is still being carried out.
    Busy => "BUSY",
    /// The partner was lost before the command could be carried out.
    PartnerLost => "PARTNER_LOST",
    /// It took longer than allowed.
    TimedOut => "TIMED_OUT",
    /// A handover was sent and not answered: who is principal is not known here.
    InDoubt => "HANDOVER_IN_DOUBT",
    /// The data is not whole yet.
    NotConsistent => "NOT_CONSISTENT",
    /// Nothing can be undone any more.
    TooLate => "TOO_LATE",
    /// Writes need a synchronized mirror and there is none.
    MirrorRequired => "MIRROR_REQUIRED",
    /// This server is a mirror; writes go to the principal.
    ReadOnlyMirror => "READ_ONLY_MIRROR",
    /// This server was deposed; writes go to the new principal.
    Deposed => "DEPOSED",
    /// The journal failed; nothing can be written until the server is restarted.
    JournalFailed => "JOURNAL_FAILED",
    /// The two servers' data never had anything in common.
    NoCommonOrigin => "NO_COMMON_ORIGIN",
    /// The server holds less than it once confirmed: its disk is an older image of itself.
    RolledBack => "ROLLED_BACK",
    /// A database of the mirror differs from the principal's, and is not healed yet.
    Differs => "DATABASE_DIFFERS",
    /// The mirror cannot apply any more.
    ReplayStopped => "REPLAY_STOPPED",
    /// A message says what no server says.
    Nonsense => "NONSENSE",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{what} {remedy} ({code})")]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What is refused and why: one sentence.
    pub what: String,
    /// What to do: one sentence.
    pub remedy: String,
}

impl Refusal {
    /// A refusal with its two sentences.
    pub fn new(code: Code, what: impl Into<String>, remedy: impl Into<String>) -> Refusal {
        Refusal { code, what: what.into(), remedy: remedy.into() }
    }
}
