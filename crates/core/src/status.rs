//! The status: what an operator sees of a server's mirroring, computed purely from the core. The API, the CLI and
//! the console all show this one value, so they cannot disagree; and what it says about commands comes from the
//! very predicates that accept or refuse them.

use serde::{Deserialize, Serialize};

use crate::{
    epoch::Epoch,
    ids::{DatabaseId, DatabaseName, Lsn, ServerId, SessionId, UnixMicros},
    message::{PartnerAddress, Refusal, Role, Safety, SeedDatabase, SeedProgress},
    session::{Assessment, PairState, Parked, RolledBack},
};

/// A server's mirroring at a glance.
#[derive(Clone, PartialEq, Debug)]
pub struct Status {
    /// The server.
    pub server: ServerId,
    /// Its role.
    pub role: Role,
    /// Role and state in words: "Principal, synchronized".
    pub words: String,
    /// Its session, `None` for a standalone server.
    pub session: Option<SessionId>,
    /// The epoch it holds.
    pub epoch: Epoch,
    /// The session's safety.
    pub safety: Safety,
    /// Whether writes are refused without a synchronized mirror.
    pub require_mirror: bool,
    /// Where partners reach it.
    pub partner_address: String,
    /// Where clients reach it.
    pub client_url: String,
    /// The principal, as far as known; `None` if this server is it or there is none.
    pub principal: Option<PartnerAddress>,
    /// The commit LSN known here.
    pub commit: Lsn,
    /// What happens to clients' writes.
    pub writes: Writes,
    /// Since when commits have been confirmed without a synchronized mirror.
    pub exposed_since: Option<UnixMicros>,
    /// On the principal: its mirrors.
    pub mirrors: Vec<MirrorStatus>,
    /// On a mirror: how it follows.
    pub following: Option<FollowingStatus>,
    /// On a deposed principal that parks: what differs.
    pub parked: Option<Parked>,
    /// Events that only this server has are being saved as orphans.
    pub saving_orphans: Option<Parked>,
    /// They are saved, and this server is being brought in line with the principal.
    pub rejoining: Option<Parked>,
    /// A principal whose disk is an older image of itself: what it lacks, and who has it.
    pub rolled_back: Option<RolledBack>,
    /// Databases here that differ from what the records say, and since which record.
    pub differs: Vec<(DatabaseName, Lsn)>,
    /// Why nothing is applied here any more.
    pub replay_stopped: Option<String>,
    /// A handover was sent and not answered.
    pub in_doubt: bool,
    /// The last error with its remedy.
    pub last_error: Option<Refusal>,
    /// "Fail over now: 0 lost, about 12 ms", or why not.
    pub failover_now: String,
    /// On a mirror: what a promotion may lose.
    pub promotion: Option<Assessment>,
    /// Which commands are allowed now, and why the others are not.
    pub commands: Vec<Permission>,
}

/// What happens to clients' writes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writes {
    /// They are executed.
    Open,
    /// They wait.
    Held,
    /// They are refused.
    Refused(Refusal),
}

/// A mirror as its principal sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct MirrorStatus {
    /// Who and where.
    pub address: PartnerAddress,
    /// The pair's state.
    pub state: PairState,
    /// The state in words.
    pub words: String,
    /// Whether there is a connection.
    pub connected: bool,
    /// Whether commits wait for it under safety full.
    pub commits_wait: bool,
    /// Hardened there; `None` until it has said so since this principal took office.
    pub hardened: Option<Lsn>,
    /// Applied there, likewise.
    pub applied: Option<Lsn>,
    /// Events hardened here and not there, likewise.
    pub send_queue: Option<u64>,
    /// Events hardened there and not applied, likewise.
    pub redo_queue: Option<u64>,
    /// Its last sign of life.
    pub last_heard: Option<UnixMicros>,
    /// How it catches up, until it is synchronized.
    pub way: Option<Way>,
    /// Databases of it that differ from this principal's.
    pub differs: Vec<DatabaseId>,
    /// Why it applies nothing any more.
    pub replay_stopped: Option<String>,
    /// A seed under way.
    pub seed: Option<SeedStatus>,
    /// The last error with its remedy.
    pub last_error: Option<Refusal>,
    /// Which commands are allowed for this pair.
    pub commands: Vec<Permission>,
}

/// A seed's progress.
#[derive(Clone, PartialEq, Debug)]
pub struct SeedStatus {
    /// What is copied.
    pub databases: Vec<SeedDatabase>,
    /// How far it is on the mirror.
    pub progress: Option<SeedProgress>,
    /// Pages that are there.
    pub pages_done: u64,
    /// Pages that there were at the beginning.
    pub pages_total: u64,
}

impl SeedStatus {
    /// Counts the pages of a seed.
    #[must_use]
    pub fn new(databases: &[SeedDatabase], progress: Option<&SeedProgress>) -> SeedStatus {
        let pages_total = databases.iter().map(|database| u64::from(database.pages)).sum();
        let copied = |database: &SeedDatabase| match progress {
            Some(progress) if progress.done.contains(&database.id) => database.pages,
            Some(progress) if progress.database == Some(database.id) => {
                progress.next_page.0.saturating_sub(1).min(database.pages)
            }
            _ => 0,
        };
        let pages_done = databases.iter().map(|database| u64::from(copied(database))).sum();
        SeedStatus {
            databases: databases.to_vec(),
            progress: progress.cloned(),
            pages_done,
            pages_total,
        }
    }
}

/// How a mirror follows.
#[derive(Clone, PartialEq, Debug)]
pub struct FollowingStatus {
    /// Whether there is a connection.
    pub connected: bool,
    /// The pair's state as the principal told it; `DISCONNECTED` without a connection.
    pub state: PairState,
    /// The state in words.
    pub words: String,
    /// Events that the principal has and this mirror has not received; `None` without a connection.
    pub behind: Option<u64>,
    /// Events hardened here and not applied.
    pub redo_queue: u64,
    /// The principal's last sign of life.
    pub last_heard: Option<UnixMicros>,
    /// How it catches up, until it is synchronized.
    pub way: Option<Way>,
    /// A seed or a copy that is not finished.
    pub seed: Option<SeedProgress>,
}

/// How a mirror catches up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// It gets the events that it lacks.
    Journal,
    /// It gets the pages that are newer than what it has.
    Pages,
    /// It gets the pages that differ.
    Compare,
    /// It gets everything.
    Seed,
    /// What it got takes the place of what it had.
    Switching,
}

/// Whether a command is allowed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Permission {
    /// The command's name in the CLI.
    pub command: String,
    /// Whether it would be accepted now.
    pub allowed: bool,
    /// Why not.
    pub reason: Option<Refusal>,
}

impl Permission {
    /// From a predicate's verdict.
    #[must_use]
    pub fn new(command: &str, verdict: Result<(), Refusal>) -> Permission {
        let command = command.to_owned();
        Permission { command, allowed: verdict.is_ok(), reason: verdict.err() }
    }
}
