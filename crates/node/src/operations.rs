//! What an operator can ask of one server. The admin API is generic over this trait, so that its handlers can be
//! tested without a server behind them; the running server implements it.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use bytes::Bytes;
use counterpart_access::{Identity, Password, Token};
use counterpart_core::{DatabaseId, DatabaseName, Lsn, ServerId, SessionId};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{
    audit::{Act, AuditEntry},
    checksums::{Checksum, Comparison},
    orphans::{Form, OrphanSet},
    refusal::Refusal,
    scrub,
    system::{Attempt, LoggedIn, NewToken, NewUser, TokenSummary, UserSummary},
};

/// One database, as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseSummary {
    /// Its name.
    pub name: DatabaseName,
    /// Its number in the journal.
    pub id: DatabaseId,
    /// Size of the database in bytes (pages × page size).
    pub size_bytes: u64,
    /// The newest LSN that changed it.
    pub last_lsn: Lsn,
}

/// One database in detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseDetails {
    /// What the list shows.
    #[serde(flatten)]
    pub summary: DatabaseSummary,
    /// Page size in bytes.
    pub page_size: u32,
    /// Number of pages.
    pub pages: u64,
    /// Pages on the free list.
    pub free_pages: u64,
    /// Bytes in the `-wal` file.
    pub wal_bytes: u64,
    /// User tables, by name.
    pub tables: Vec<String>,
}

/// Who answers at a partner address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerIdentity {
    /// The server's identity.
    pub server: ServerId,
    /// Its build version.
    pub version: String,
    /// Its role in words.
    pub role: String,
    /// Where its clients and operators reach it.
    pub client_url: String,
}

/// A mirror joins a principal: what is asked of the mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The session to join.
    pub session: SessionId,
    /// The principal's identity.
    pub principal: ServerId,
    /// `host:port` of the principal's partner port.
    pub principal_partner_address: String,
    /// URL of the principal for clients and operators.
    pub principal_client_url: String,
    /// Give up this server's own data. Without it the server must be empty, or its data of the principal's origin.
    pub replace: bool,
}

/// A principal takes a mirror: what is asked of the principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartnerRequest {
    /// The session; a principal that already has one takes no other.
    pub session: SessionId,
    /// The mirror's identity.
    pub server: ServerId,
    /// `host:port` of the mirror's partner port.
    pub partner_address: String,
    /// URL of the mirror for clients and operators.
    pub client_url: String,
    /// `full` or `off`; `None` leaves it as it is (`full` at first).
    pub safety: Option<String>,
}

/// How far a long operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, 0 when unknown.
    pub total: u64,
}

/// A database on its way out: a plain SQLite file, piece by piece.
pub struct Export {
    /// Length of the file in bytes.
    pub length: u64,
    /// The file's bytes in order. The last item is an error if it broke off.
    pub pieces: mpsc::Receiver<Result<Bytes, Refusal>>,
}

/// A backup on its way out: the bytes of one file, of unknown length.
pub struct Backup {
    /// The file's bytes in order. The last item is an error if it broke off; the file itself tells as well.
    pub pieces: mpsc::Receiver<Result<Bytes, Refusal>>,
}

/// What an operator can ask of one server.
///
/// Every refusal is a [`Refusal`] with a stable code; a refused operation has changed nothing.
pub trait Operations: Send + Sync + 'static {
    /// The whole status, as `GET /api/v1/status` gives it.
    fn status(&self) -> impl Future<Output = serde_json::Value> + Send;
    /// The figures, in Prometheus' text format.
    fn metrics(&self) -> impl Future<Output = Result<String, Refusal>> + Send;
    /// All alarms: those that are active, and those that are over.
    fn alarms(&self) -> impl Future<Output = Result<serde_json::Value, Refusal>> + Send;
    /// Has something told that is no alarm, to see whether it arrives. `NO_CHANNELS`.
    fn test_alarms(&self) -> impl Future<Output = Result<serde_json::Value, Refusal>> + Send;
    /// `by` knows of an alarm. `ALARM_NOT_FOUND`.
    fn acknowledge_alarm(
        &self,
        id: u64,
        by: String,
    ) -> impl Future<Output = Result<serde_json::Value, Refusal>> + Send;
    /// All databases, by name.
    fn databases(&self) -> Vec<DatabaseSummary>;
    /// One database in detail. `DATABASE_NOT_FOUND`.
    fn database(
        &self,
        name: DatabaseName,
    ) -> impl Future<Output = Result<DatabaseDetails, Refusal>> + Send;
    /// Makes an empty database. `DATABASE_EXISTS`, and what every write can meet.
    fn create_database(
        &self,
        name: DatabaseName,
    ) -> impl Future<Output = Result<DatabaseSummary, Refusal>> + Send;
    /// Drops a database; `main` can't be. `DATABASE_NOT_FOUND`, `DATABASE_PROTECTED`, and what every write can meet.
    fn drop_database(&self, name: DatabaseName)
    -> impl Future<Output = Result<(), Refusal>> + Send;
    /// A path in the data directory for an upload that is to become the database `name`, on the file system where it
    /// will live. Refuses at once what [`import_database`](Self::import_database) would refuse after gigabytes have
    /// come: `DISK_FULL`, `DATABASE_EXISTS`, and what every write can meet.
    fn staging_path(&self, name: &DatabaseName, bytes: u64) -> Result<PathBuf, Refusal>;
    /// Makes the staged file the database `name`, which must not exist (an empty `main` may be replaced). The staged
    /// file is gone afterwards, whatever the outcome. `IMPORT_INVALID`, `DATABASE_EXISTS`, …
    fn import_database(
        &self,
        name: DatabaseName,
        staged: PathBuf,
    ) -> impl Future<Output = Result<DatabaseSummary, Refusal>> + Send;
    /// A consistent snapshot of a database as a plain SQLite file. `DATABASE_NOT_FOUND`.
    fn export_database(
        &self,
        name: DatabaseName,
    ) -> impl Future<Output = Result<Export, Refusal>> + Send;
    /// A backup of all databases, while writes go on. What reading meets: `SEEDING`, `NOT_FINAL`.
    fn backup(&self) -> impl Future<Output = Result<Backup, Refusal>> + Send;
    /// A path in the data directory for a backup file of this many bytes, on a server that is to be a mirror. Refuses at
    /// once what [`take_backup`](Self::take_backup) would refuse: `NOT_EMPTY`, `WRONG_ROLE`, `DISK_FULL`.
    fn backup_path(&self, bytes: u64) -> impl Future<Output = Result<PathBuf, Refusal>> + Send;
    /// On a server that is to be a mirror: keeps the staged file, which the operator called `name`, to compare with when it
    /// joins. The staged file is gone afterwards. `BACKUP_DAMAGED`, `INVALID_DATABASE_NAME`.
    fn take_backup(
        &self,
        name: String,
        staged: PathBuf,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Dials a partner address and asks who is there. `PARTNER_UNREACHABLE`, `PARTNER_IS_SELF`, `VERSION_MISMATCH`.
    fn probe(
        &self,
        partner_address: String,
    ) -> impl Future<Output = Result<PeerIdentity, Refusal>> + Send;
    /// What joining would need, checked without changing anything: role free, disk for `bytes`, and empty or `replace`,
    /// or data of the same origin as that of the `principal` at this partner address.
    fn check_join(
        &self,
        replace: bool,
        bytes: u64,
        principal: Option<String>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// On the mirror: joins a session. `ROLE_TAKEN`, `NOT_EMPTY`, …
    fn join(&self, request: JoinRequest) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// On the mirror: takes back a join that the principal never confirmed; the server is as it was.
    fn cancel_join(&self) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// On the principal: takes a mirror. `ROLE_TAKEN`, `SESSION_MISMATCH`, …
    fn add_partner(
        &self,
        request: PartnerRequest,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// On the principal: swaps roles with a synchronized mirror (`to`, or the only one). Returns once the mirror serves.
    fn failover(
        &self,
        to: Option<ServerId>,
    ) -> impl Future<Output = Result<serde_json::Value, Refusal>> + Send;
    /// On a disconnected mirror: what a promotion would mean, in numbers and words.
    fn assess_promotion(&self) -> impl Future<Output = Result<serde_json::Value, Refusal>> + Send;
    /// On a disconnected mirror: makes it the principal, with `force` also where the operator must know better. Returns
    /// once it serves.
    fn promote(
        &self,
        force: bool,
    ) -> impl Future<Output = Result<serde_json::Value, Refusal>> + Send;
    /// On the principal: suspends a mirror (`partner`, or all).
    fn suspend(
        &self,
        partner: Option<ServerId>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// On the principal: resumes a suspended mirror (`partner`, or all).
    fn resume(&self, partner: Option<ServerId>)
    -> impl Future<Output = Result<(), Refusal>> + Send;
    /// On either server: ends mirroring, with `partner` only where one of several mirrors is meant.
    fn stop_mirroring(
        &self,
        partner: Option<ServerId>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// How far the scrub is, and what the last one found.
    fn scrub(&self) -> scrub::Progress;
    /// Reads every page and record back from the disk now, at full speed.
    fn start_scrub(&self) -> scrub::Progress;
    /// The checksum of each database here, by name.
    fn checksums(&self) -> Vec<Checksum>;
    /// Compares what another server says of its databases with what is here.
    fn compare_checksums(
        &self,
        theirs: Vec<Checksum>,
    ) -> impl Future<Output = Result<Vec<Comparison>, Refusal>> + Send;
    /// On a deposed principal that parks: saves its orphans and joins the new principal. `WRONG_STATE`.
    fn rejoin(&self) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// The sets of orphans that this server keeps, the oldest first.
    fn orphans(&self) -> impl Future<Output = Result<Vec<OrphanSet>, Refusal>> + Send;
    /// One set. `ORPHANS_NOT_FOUND`.
    fn orphan_set(&self, set: String) -> impl Future<Output = Result<OrphanSet, Refusal>> + Send;
    /// The first rows that differ, in a database of a set. `ORPHANS_NOT_FOUND`, `DATABASE_NOT_FOUND`, `NOT_COMPARED`.
    fn orphan_rows(
        &self,
        set: String,
        database: Option<DatabaseName>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<serde_json::Value>, Refusal>> + Send;
    /// A database of a set as a file. `ORPHANS_NOT_FOUND`, `DATABASE_NOT_FOUND`, `NOT_COMPARED`, `NOT_COPIED`.
    fn export_orphans(
        &self,
        set: String,
        database: Option<DatabaseName>,
        form: Form,
    ) -> impl Future<Output = Result<Export, Refusal>> + Send;
    /// Deletes a set for good. `ORPHANS_NOT_FOUND`.
    fn drop_orphans(&self, set: String) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Who shows this token, or nothing. `NOT_SIGNED_IN`, and what reading meets.
    fn who(
        &self,
        shown: Option<String>,
    ) -> impl Future<Output = Result<Arc<Identity>, Refusal>> + Send;
    /// Notes something in the audit log, whose state is no reason to hold anybody up.
    fn note(&self, act: Act) -> impl Future<Output = ()> + Send;
    /// Notes that somebody was not let in, unless there is too much of that: from where, trying what, with which code.
    fn note_refused(
        &self,
        from: Option<IpAddr>,
        about: &str,
        code: &str,
    ) -> impl Future<Output = ()> + Send;
    /// The newest entries of the audit log first, or those before a place in it. What reading meets.
    fn audit(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<AuditEntry>, Refusal>> + Send;
    /// All tokens, by name.
    fn tokens(&self) -> impl Future<Output = Result<Vec<TokenSummary>, Refusal>> + Send;
    /// Makes a token. `TOKEN_INVALID`, `TOKEN_EXISTS`, and what every write can meet.
    fn create_token(&self, new: NewToken) -> impl Future<Output = Result<Token, Refusal>> + Send;
    /// All users, by name.
    fn users(&self) -> impl Future<Output = Result<Vec<UserSummary>, Refusal>> + Send;
    /// Makes a user. `USER_INVALID`, `USER_EXISTS`, and what every write can meet.
    fn create_user(&self, new: NewUser) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Gives a user another password; its logins end. `USER_NOT_FOUND`, and what every write can meet.
    fn set_password(
        &self,
        name: String,
        password: Password,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Drops a user; its logins end. `USER_NOT_FOUND`, and what every write can meet.
    fn drop_user(&self, name: String) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Lets a user in who knows the password, and notes that. `LOGIN_REFUSED`, `TOO_MANY_ATTEMPTS`, `LOGIN_INVALID`.
    fn login(&self, attempt: Attempt) -> impl Future<Output = Result<LoggedIn, Refusal>> + Send;
    /// Revokes a token. `TOKEN_NOT_FOUND`, and what every write can meet.
    fn revoke_token(&self, name: String) -> impl Future<Output = Result<(), Refusal>> + Send;
}
