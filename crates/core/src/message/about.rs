//! How a server describes itself to a partner. Says only what is durable or safe to repeat.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::seed::SeedProgress;
use crate::{
    epoch::{Epoch, EpochHistory},
    ids::{Lsn, ServerId, SessionId},
};

/// What a server does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// No mirroring.
    Standalone,
    /// Serves clients and sends to mirrors.
    Principal,
    /// Holds an exact live copy.
    Mirror,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Standalone => "standalone",
            Role::Principal => "principal",
            Role::Mirror => "mirror",
        })
    }
}

/// When a commit is confirmed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Safety {
    /// When the principal and every synchronized mirror have hardened it.
    #[default]
    Full,
    /// When the principal has hardened it.
    Off,
}

impl fmt::Display for Safety {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Safety::Full => "full",
            Safety::Off => "off",
        })
    }
}

/// Where a member of the session is reached.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PartnerAddress {
    /// The server.
    pub server: ServerId,
    /// Where its partners reach it (`host:port`).
    pub partner_address: String,
    /// Where its clients reach it (a URL).
    pub client_url: String,
}

/// What a server's data is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataState {
    /// Nothing that could be built upon; a seed comes first.
    Empty,
    /// Whole and usable at its applied LSN.
    Consistent,
    /// A seed is not finished; unusable until it is.
    Seeding(Box<SeedProgress>),
}

/// Why a connection was opened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// A mirror wants to follow.
    Join,
    /// A principal asks a partner of its session what it knows.
    Inquire,
    /// An operator's check before mirroring starts; says nothing about the session.
    Probe,
}

/// A server as it describes itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// The server's identity.
    pub server: ServerId,
    /// Its session, 0 for none.
    pub session: SessionId,
    /// Its role.
    pub role: Role,
    /// The highest epoch it has accepted.
    pub epoch: Epoch,
    /// The epochs of its journal.
    pub history: EpochHistory,
    /// The end of its journal; not everything below need be hardened yet.
    pub end: Lsn,
    /// Hardened up to here.
    pub hardened: Lsn,
    /// Applied up to here.
    pub applied: Lsn,
    /// Its database files hold everything up to here: the mark from which its redo starts.
    pub base: Lsn,
    /// What its data is.
    pub data: DataState,
    /// Whether its journal must not be cut before what only it has is saved: it is a deposed principal, or it joins
    /// with data of its own.
    pub deposed: bool,
    /// Whether what only it has is saved as orphans, so that its data may be brought in line.
    pub orphans_saved: bool,
    /// Whether a copy that was not finished, or that came from backup files, is here to compare with.
    pub has_spool: bool,
    /// Where its partners reach it.
    pub partner_address: String,
    /// Where its clients reach it.
    pub client_url: String,
    /// The program's version, for people.
    pub build: String,
}

impl About {
    /// The addresses in it.
    #[must_use]
    pub fn address(&self) -> PartnerAddress {
        PartnerAddress {
            server: self.server,
            partner_address: self.partner_address.clone(),
            client_url: self.client_url.clone(),
        }
    }
}
