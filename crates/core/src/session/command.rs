//! Operators' commands and their answers.

use serde::{Deserialize, Serialize};

use crate::{
    epoch::{Epoch, EpochHistory},
    ids::{Lsn, ServerId, SessionId, UnixMicros},
    message::{PartnerAddress, Refusal, Safety},
};

/// A command, as the driver numbers them; the reply carries it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub u64);

/// Why a command was refused or failed; nothing was changed then, unless the sentence says otherwise.
pub type CommandError = Refusal;

/// What an operator asks for. Where a partner may be left out, it may only be so if there is exactly one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// On the principal-to-be (or principal): take in a mirror. First half of starting mirroring.
    AddPartner {
        /// The session's identity if a new one begins; ignored if there is one already. Never 0.
        session: SessionId,
        /// The mirror.
        partner: PartnerAddress,
        /// The session's safety.
        safety: Safety,
        /// Whether writes are refused rather than confirmed without a synchronized mirror.
        require_mirror: bool,
    },
    /// On the mirror-to-be: join a session. Second half of starting mirroring.
    JoinSession {
        /// The session, as the first half returned it.
        session: SessionId,
        /// The principal.
        principal: PartnerAddress,
        /// The operator allows that all data here is replaced.
        replace: bool,
        /// Whether there is data here that a user would miss; the driver finds out.
        holds_data: bool,
        /// The principal's epochs, where the operator's tool knows them: data that has an epoch in common with them is
        /// kept, and brought in line.
        history: Option<EpochHistory>,
    },
    /// On the mirror: undo `JoinSession`, as long as nothing here was replaced yet.
    CancelJoin,
    /// On the principal: swap roles with a synchronized mirror, losing nothing.
    Failover(Option<ServerId>),
    /// On a disconnected mirror: become the principal.
    Promote {
        /// The operator's word that a server which parks, or whose handover is in doubt, shall serve again.
        force: bool,
    },
    /// On the principal: stop sending to a mirror; commits no longer wait for it.
    Suspend(Option<ServerId>),
    /// On the principal: send again.
    Resume(Option<ServerId>),
    /// On the principal: change when commits are confirmed.
    SetSafety {
        /// The new safety.
        safety: Safety,
        /// Whether writes are refused rather than confirmed without a synchronized mirror.
        require_mirror: bool,
    },
    /// On a server that parks: save what only it has as orphans, and follow the principal.
    Rejoin,
    /// On either: end mirroring. On the principal with one partner, or with all (`None`); on a mirror its own.
    StopMirroring(Option<ServerId>),
}

/// A command's success.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done, durably.
    Done,
    /// The partner is a member of this session now.
    Partner(SessionId),
    /// Another server is the principal now.
    FailedOver {
        /// The new principal.
        to: ServerId,
        /// Where its clients reach it.
        client_url: String,
        /// Its epoch.
        epoch: Epoch,
    },
    /// This server is the principal now.
    Promoted {
        /// Its epoch.
        epoch: Epoch,
        /// What was known beforehand.
        assessment: Assessment,
    },
}

/// What a promotion may lose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Nothing that was confirmed before the last contact, nor after it unless the principal went on alone.
    Nothing,
    /// At least this many events that the principal had are missing here, and whatever came since.
    AtLeast(u64),
    /// Not known.
    Unknown,
}

/// What is known before a promotion.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Assessment {
    /// Whether commits waited for this mirror when the contact was lost.
    pub was_synchronized: bool,
    /// The session's safety.
    pub safety: Safety,
    /// Everything that this mirror has hardened; all of it is adopted.
    pub position: Lsn,
    /// The last sign of life from the principal, if there was one.
    pub last_contact: Option<UnixMicros>,
    /// What may be lost.
    pub loss: Loss,
    /// The same in one or two sentences.
    pub words: String,
}
