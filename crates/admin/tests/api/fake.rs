//! Operations without a server behind them: they note what they were asked and answer as they were told to.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use counterpart_access::{Credential, Grant, Identity, Password, Token};
use counterpart_core::{DatabaseId, DatabaseName, Epoch, Lsn, ServerId, UnixMicros};
use counterpart_node::{
    Operations, Refusal,
    audit::{Act, AuditEntry, Ending},
    checksums::{Checksum, Comparison, Verdict},
    operations::{
        Backup, DatabaseDetails, DatabaseSummary, Export, JoinRequest, PartnerRequest, PeerIdentity,
    },
    orphans::{Differences, Form, OrphanDatabase, OrphanSet},
    scrub,
    system::{Attempt, LoggedIn, NewToken, NewUser, TokenSummary, UserSummary},
};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

/// The fake.
pub struct Fake {
    /// What every operation refuses with, if set.
    pub refusal: Mutex<Option<Refusal>>,
    /// What was asked, in order.
    pub calls: Mutex<Vec<String>>,
    pub status: Mutex<Value>,
    /// What an export sends, and the length that it announces.
    pub export: Mutex<(u64, Vec<Result<Bytes, Refusal>>)>,
    pub staging: tempfile::TempDir,
    staged: AtomicU32,
    /// `suspend` waits for this, if `hold_suspend` is set.
    pub release: Notify,
    pub hold_suspend: Mutex<bool>,
    /// What was noted, in order.
    pub noted: Mutex<Vec<Act>>,
    /// Who is let in, by token, which is the name too; everybody without.
    pub guarded: Mutex<Option<Vec<(String, Grant)>>>,
}

impl Fake {
    pub fn new() -> Fake {
        Fake {
            refusal: Mutex::default(),
            calls: Mutex::default(),
            status: Mutex::new(json!({
                "version": "0.1.0", "server": "00000000000000aa", "role": "principal",
                "admits_writes": true, "serves_reads": true, "databases": 1,
                "mirroring": { "session": null, "partners": [], "failover_now": "no" },
            })),
            export: Mutex::new((6, vec![Ok(Bytes::from("abc")), Ok(Bytes::from("def"))])),
            staging: tempfile::tempdir().unwrap(),
            staged: AtomicU32::new(0),
            release: Notify::new(),
            hold_suspend: Mutex::new(false),
            noted: Mutex::default(),
            guarded: Mutex::default(),
        }
    }

    pub fn refuse(&self, refusal: Refusal) {
        *self.refusal.lock().unwrap() = Some(refusal);
    }

    pub fn set_status(&self, status: Value) {
        *self.status.lock().unwrap() = status;
    }

    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    /// Files in the staging directory.
    pub fn staged_files(&self) -> usize {
        std::fs::read_dir(self.staging.path()).unwrap().count()
    }

    fn called<T>(&self, call: String, answer: T) -> Result<T, Refusal> {
        self.calls.lock().unwrap().push(call);
        match &*self.refusal.lock().unwrap() {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(answer),
        }
    }
}

fn alarm(cleared: Option<u64>) -> Value {
    json!({
        "id": 3, "cause": "SendQueue", "severity": "warning", "state": "raised",
        "partner": "00000000000000aa", "text": "words", "raised": 5, "raised_millis": 1, "told": 6,
        "times": 2, "worst": 7, "limit": 8, "acknowledged": { "at": 6, "by": "ann" }, "cleared": cleared,
    })
}

fn summary(name: &DatabaseName) -> DatabaseSummary {
    DatabaseSummary { name: name.clone(), id: DatabaseId(1), size_bytes: 8192, last_lsn: Lsn(7) }
}

fn orphan_set() -> OrphanSet {
    let differences = Differences { present: true, inserted: 1, ..Differences::default() };
    let main = OrphanDatabase {
        id: DatabaseId(1),
        name: DatabaseName::main(),
        events: 2,
        copied: true,
        differences: Some(differences),
        why_not: None,
    };
    OrphanSet {
        id: "1.2-5-6".to_owned(),
        saved_at: UnixMicros(1),
        epoch: Epoch { term: 1, start: 2, server: ServerId(0xaa) },
        common: Lsn(4),
        end: Lsn(6),
        records_from: Lsn(5),
        last_at: None,
        databases: vec![OrphanDatabase { differences: None, ..main.clone() }, main],
    }
}

impl Operations for Fake {
    async fn status(&self) -> Value {
        self.status.lock().unwrap().clone()
    }

    async fn metrics(&self) -> Result<String, Refusal> {
        self.called("metrics".to_owned(), "counterpart_exposed 0\n".to_owned())
    }

    async fn alarms(&self) -> Result<Value, Refusal> {
        let list = json!({
            "active": [alarm(None)], "history": [alarm(Some(9))], "dropped": 0,
            "channels": [{ "channel": "webhook", "told": 1, "waiting": 2, "error": "words" }],
        });
        self.called("alarms".to_owned(), list)
    }

    async fn test_alarms(&self) -> Result<Value, Refusal> {
        self.called("test alarms".to_owned(), json!({ "number": 4, "channels": ["command"] }))
    }

    async fn acknowledge_alarm(&self, id: u64, by: String) -> Result<Value, Refusal> {
        self.called(format!("acknowledge {id} by {by}"), alarm(None))
    }

    fn databases(&self) -> Vec<DatabaseSummary> {
        vec![summary(&DatabaseName::main())]
    }

    async fn database(&self, name: DatabaseName) -> Result<DatabaseDetails, Refusal> {
        let details = DatabaseDetails {
            summary: summary(&name),
            page_size: 4096,
            pages: 2,
            free_pages: 0,
            wal_bytes: 0,
            tables: vec!["t".to_owned()],
        };
        self.called(format!("database {name}"), details)
    }

    async fn create_database(&self, name: DatabaseName) -> Result<DatabaseSummary, Refusal> {
        self.called(format!("create {name}"), summary(&name))
    }

    async fn drop_database(&self, name: DatabaseName) -> Result<(), Refusal> {
        self.called(format!("drop {name}"), ())
    }

    fn staging_path(&self, _name: &DatabaseName, bytes: u64) -> Result<PathBuf, Refusal> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        self.called(format!("stage {bytes}"), self.staging.path().join(number.to_string()))
    }

    async fn import_database(
        &self,
        name: DatabaseName,
        staged: PathBuf,
    ) -> Result<DatabaseSummary, Refusal> {
        let content = std::fs::read(&staged).unwrap();
        std::fs::remove_file(&staged).unwrap();
        self.called(format!("import {name} {}", content.len()), summary(&name))
    }

    async fn export_database(&self, name: DatabaseName) -> Result<Export, Refusal> {
        let (length, pieces) = std::mem::take(&mut *self.export.lock().unwrap());
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sender.try_send(piece).unwrap();
        }
        self.called(format!("export {name}"), Export { length, pieces: receiver })
    }

    async fn backup(&self) -> Result<Backup, Refusal> {
        let (_, pieces) = std::mem::take(&mut *self.export.lock().unwrap());
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sender.try_send(piece).unwrap();
        }
        self.called("backup".to_owned(), Backup { pieces: receiver })
    }

    async fn backup_path(&self, _bytes: u64) -> Result<PathBuf, Refusal> {
        let name = DatabaseName::main();
        self.staging_path(&name, 0)
    }

    async fn take_backup(&self, name: String, staged: PathBuf) -> Result<(), Refusal> {
        std::fs::remove_file(staged).unwrap();
        self.called(format!("take-backup {name}"), ())
    }

    async fn probe(&self, partner_address: String) -> Result<PeerIdentity, Refusal> {
        let peer = PeerIdentity {
            server: ServerId(0xbb),
            version: "0.1.0".to_owned(),
            role: "standalone".to_owned(),
            client_url: "http://b:6480".to_owned(),
        };
        self.called(format!("probe {partner_address}"), peer)
    }

    async fn check_join(
        &self,
        replace: bool,
        bytes: u64,
        _principal: Option<String>,
    ) -> Result<(), Refusal> {
        self.called(format!("check-join {replace} {bytes}"), ())
    }

    async fn join(&self, request: JoinRequest) -> Result<(), Refusal> {
        self.called(format!("join {} {}", request.session, request.replace), ())
    }

    async fn cancel_join(&self) -> Result<(), Refusal> {
        self.called("cancel-join".to_owned(), ())
    }

    async fn add_partner(&self, request: PartnerRequest) -> Result<(), Refusal> {
        self.called(format!("add-partner {} {:?}", request.server, request.safety), ())
    }

    async fn failover(&self, to: Option<ServerId>) -> Result<Value, Refusal> {
        self.called(format!("failover {to:?}"), json!({ "words": "swapped" }))
    }

    async fn assess_promotion(&self) -> Result<Value, Refusal> {
        self.called("assess".to_owned(), json!({ "words": "0 lost" }))
    }

    async fn promote(&self, force: bool) -> Result<Value, Refusal> {
        self.called(format!("promote {force}"), json!({ "words": "promoted" }))
    }

    async fn suspend(&self, partner: Option<ServerId>) -> Result<(), Refusal> {
        if *self.hold_suspend.lock().unwrap() {
            self.calls.lock().unwrap().push("suspend began".to_owned());
            self.release.notified().await;
        }
        self.called(format!("suspend {partner:?}"), ())
    }

    async fn resume(&self, partner: Option<ServerId>) -> Result<(), Refusal> {
        self.called(format!("resume {partner:?}"), ())
    }

    async fn stop_mirroring(&self, partner: Option<ServerId>) -> Result<(), Refusal> {
        self.called(format!("stop {partner:?}"), ())
    }

    fn scrub(&self) -> scrub::Progress {
        scrub::Progress { running: None, last: Some(scrub::Pass::default()) }
    }

    fn start_scrub(&self) -> scrub::Progress {
        scrub::Progress { running: Some(scrub::Pass::default()), last: None }
    }

    fn checksums(&self) -> Vec<Checksum> {
        let checksum = Some("00000000000000ff".to_owned());
        vec![Checksum { id: DatabaseId(1), name: DatabaseName::main(), lsn: Lsn(7), checksum }]
    }

    async fn compare_checksums(&self, theirs: Vec<Checksum>) -> Result<Vec<Comparison>, Refusal> {
        let compared = theirs.iter().map(|one| Comparison {
            id: one.id,
            verdict: Verdict::Equal,
            lsn: one.lsn,
            here: one.checksum.clone(),
            there: one.checksum.clone(),
        });
        self.called(format!("compare-checksums {}", theirs.len()), compared.collect())
    }

    async fn rejoin(&self) -> Result<(), Refusal> {
        self.called("rejoin".to_owned(), ())
    }

    async fn orphans(&self) -> Result<Vec<OrphanSet>, Refusal> {
        self.called("orphans".to_owned(), vec![orphan_set()])
    }

    async fn orphan_set(&self, set: String) -> Result<OrphanSet, Refusal> {
        self.called(format!("orphan-set {set}"), orphan_set())
    }

    async fn orphan_rows(
        &self,
        set: String,
        database: Option<DatabaseName>,
        limit: usize,
    ) -> Result<Vec<Value>, Refusal> {
        self.called(format!("orphan-rows {set} {database:?} {limit}"), vec![json!({})])
    }

    async fn export_orphans(
        &self,
        set: String,
        database: Option<DatabaseName>,
        form: Form,
    ) -> Result<Export, Refusal> {
        let (sender, pieces) = mpsc::channel(1);
        sender.try_send(Ok(Bytes::from("abc"))).unwrap();
        let call = format!("export-orphans {set} {database:?} {form:?}");
        self.called(call, Export { length: 3, pieces })
    }

    async fn drop_orphans(&self, set: String) -> Result<(), Refusal> {
        self.called(format!("drop-orphans {set}"), ())
    }

    async fn who(&self, shown: Option<String>) -> Result<Arc<Identity>, Refusal> {
        let Some(guarded) = &*self.guarded.lock().unwrap() else {
            return Ok(Identity::admin("anybody", Credential::Nothing));
        };
        let who = shown.and_then(|shown| guarded.iter().find(|(token, _)| *token == shown));
        let unknown = || Refusal::new("NOT_SIGNED_IN", "this server wants to know", "show a token");
        who.map(|(name, grant)| {
            let (by, grant) = (Credential::Token, grant.clone());
            Arc::new(Identity { name: name.clone(), by, grant })
        })
        .ok_or_else(unknown)
    }

    async fn note(&self, act: Act) {
        self.noted.lock().unwrap().push(act);
    }

    async fn note_refused(&self, from: Option<IpAddr>, about: &str, code: &str) {
        let (about, ending) = (about.to_owned(), Ending::Refused(code.to_owned()));
        self.note(Act { who: None, from, what: "SignIn", about, ending }).await;
    }

    async fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, Refusal> {
        let entry = AuditEntry {
            id: Some(6),
            entry: "00000000000000ee".to_owned(),
            at: 1,
            server: ServerId(0xaa),
            who: "token night".to_owned(),
            from: "127.0.0.1".to_owned(),
            what: "Suspend".to_owned(),
            about: String::new(),
            result: "done".to_owned(),
        };
        self.called(format!("audit {before:?} {limit}"), vec![entry])
    }

    async fn tokens(&self) -> Result<Vec<TokenSummary>, Refusal> {
        let token = TokenSummary {
            name: "shop".to_owned(),
            role: "writer".to_owned(),
            databases: Some(vec!["main".to_owned()]),
            created: 1,
            expires: None,
        };
        self.called("tokens".to_owned(), vec![token])
    }

    async fn create_token(&self, new: NewToken) -> Result<Token, Refusal> {
        let call = format!("create-token {} {} {:?}", new.name, new.grant.role(), new.lifetime);
        self.called(call, Token::generate())
    }

    async fn users(&self) -> Result<Vec<UserSummary>, Refusal> {
        let user = UserSummary {
            name: "anna".to_owned(),
            role: "operator".to_owned(),
            databases: None,
            created: 1,
        };
        self.called("users".to_owned(), vec![user])
    }

    async fn create_user(&self, new: NewUser) -> Result<(), Refusal> {
        self.called(format!("create-user {} {}", new.name, new.grant.role()), ())
    }

    async fn set_password(&self, name: String, _password: Password) -> Result<(), Refusal> {
        self.called(format!("set-password {name}"), ())
    }

    async fn drop_user(&self, name: String) -> Result<(), Refusal> {
        self.called(format!("drop-user {name}"), ())
    }

    async fn login(&self, attempt: Attempt) -> Result<LoggedIn, Refusal> {
        let identity = Identity::admin(&attempt.name, Credential::User);
        let logged_in = LoggedIn { token: Token::generate(), identity, expires: 9 };
        self.called(format!("login {} {:?}", attempt.name, attempt.from), logged_in)
    }

    async fn revoke_token(&self, name: String) -> Result<(), Refusal> {
        self.called(format!("revoke-token {name}"), ())
    }
}
