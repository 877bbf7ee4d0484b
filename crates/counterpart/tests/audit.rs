//! The audit log: who did what, on either server, through failover and crash, whoever tries to fill it.
#![allow(missing_docs)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{
    people::{Operator, REQUIRED, execute, send},
    server::Server,
    wait_for,
};

impl Operator {
    fn audit(&self, server: &Server) -> Vec<Value> {
        let args = ["audit", "--json", "--limit", "1000"];
        let log: Value = serde_json::from_str(&self.cli_ok(server, &args)).unwrap();
        log["entries"].as_array().unwrap().clone()
    }
}

/// What an entry says, but for when and where.
fn told(entry: &Value) -> String {
    let text = |field: &str| entry[field].as_str().unwrap();
    format!("{}: {} {} {}", text("who"), text("what"), text("about"), text("result"))
}

fn all_told(entries: &[Value]) -> Vec<String> {
    entries.iter().map(told).collect()
}

#[track_caller]
fn assert_has(entries: &[Value], wanted: &[&str]) {
    let told = all_told(entries);
    for wanted in wanted {
        assert_eq!(told.iter().filter(|told| told == wanted).count(), 1, "{wanted}: {told:#?}");
    }
}

#[test]
fn what_is_done_or_refused_is_noted_with_who_and_from_where_and_without_secrets() {
    let mut server = Server::start_with(REQUIRED);
    let admin = Operator::of(&[&server]);
    admin.cli_ok(&server, &["db", "create", "shop"]);
    let token = admin.token(&server, &["till", "--role", "writer", "--database", "shop"]);
    execute(&server, "shop", &token, "create table t(secret)").unwrap();
    assert_eq!(send("DELETE", &server, "/api/v1/databases/shop", Some(&token), None).0, 403);
    assert_eq!(send("DELETE", &server, "/api/v1/databases/nosuch", None, None).0, 401);
    admin.cli(&server, &["db", "drop", "nosuch", "--yes"]);
    admin.cli_ok(&server, &["backup", server.data().join("../b").to_str().unwrap()]);
    let entries = admin.audit(&server);
    let machine = "admin of this machine";
    assert_eq!(
        all_told(&entries),
        [
            format!("{machine}: Backup  done"),
            format!("{machine}: DropDatabase nosuch DATABASE_NOT_FOUND"),
            "token till: DropDatabase shop FORBIDDEN".to_owned(),
            format!("{machine}: CreateToken till (writer) done"),
            format!("{machine}: CreateDatabase shop done"),
        ]
    );
    for entry in &entries {
        assert_eq!(entry["from"], "127.0.0.1", "{entry}");
        assert_eq!(entry["server"], server.status_as(&token)["server"]);
    }
    assert!(!json!(entries).to_string().contains(&token[4..]), "no token is in it");
    // All of it is in the mirrored database soon, and nothing is left beside.
    wait_for("all entries to have their places", || {
        admin.audit(&server).iter().all(|entry| entry["id"].is_u64()).then_some(())
    });
    server.kill();
    server.launch();
    assert_eq!(all_told(&admin.audit(&server)), all_told(&entries));
    // Page by page.
    let page = admin.cli_ok(&server, &["audit", "--json", "--limit", "2"]);
    let page: Value = serde_json::from_str(&page).unwrap();
    let before = page["entries"][1]["id"].to_string();
    let next = admin.cli_ok(&server, &["audit", "--json", "--limit", "2", "--before", &before]);
    let next: Value = serde_json::from_str(&next).unwrap();
    assert_eq!(all_told(next["entries"].as_array().unwrap()), all_told(&entries)[2..4]);
    let (status, answer) = send("GET", &server, "/api/v1/audit", Some(&token), None);
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("FORBIDDEN")));
}

#[test]
fn the_log_survives_a_failover_and_a_promotion_and_a_mirror_keeps_what_it_cannot_write() {
    let (mut a, mut b) = (Server::start_with(REQUIRED), Server::start_with(REQUIRED));
    let admin = Operator::of(&[&a, &b]);
    admin.cli_ok(&a, &["db", "create", "shop"]);
    // Noting that alone keeps nobody from joining, and what was noted before is not lost.
    let (principal, mirror) = (a.url(), b.url());
    let start = ["mirror", "start", "--principal", &principal, "--mirror", &mirror];
    admin.cli_ok(&a, &start);
    let joined = format!("admin of this machine: Join {principal} done");
    let added = format!("admin of this machine: AddPartner {mirror} done");
    let created = "admin of this machine: CreateDatabase shop done";
    wait_for("the mirror to have the principal's log", || {
        let log = all_told(&admin.audit(&b));
        [created, &joined, &added].iter().all(|told| log.iter().any(|t| t == told)).then_some(())
    });
    // A mirror's own entries wait there, through a crash.
    let refused = admin.cli(&b, &["token", "create", "x", "--role", "reader"]);
    assert_ne!(refused.code, Some(0));
    let refused = "admin of this machine: CreateToken x (reader) READ_ONLY_MIRROR";
    assert_has(&admin.audit(&b), &[created, &added, &joined, refused]);
    assert!(
        fs::read_to_string(b.data().join("audit.waiting")).unwrap().contains("READ_ONLY_MIRROR")
    );
    b.kill();
    b.launch();
    assert_has(&admin.audit(&b), &[created, &added, &joined, refused]);
    support::people::wait_synchronized(&admin, &a);

    admin.cli_ok(&a, &["failover"]);
    // The new principal writes what had to wait, and knows who asked for the failover.
    let asked = "admin of this machine: Failover  asked";
    wait_for("the new principal to write what waited", || {
        let log = admin.audit(&b);
        let has = |wanted: &str| log.iter().any(|e| told(e) == wanted && e["id"].is_u64());
        [created, &added, &joined, refused, asked].into_iter().all(has).then_some(())
    });
    wait_for("nothing to wait there", || (!b.data().join("audit.waiting").exists()).then_some(()));
    // What it wrote is on its mirror as well.
    support::people::wait_synchronized(&admin, &b);
    let done = "admin of this machine: Failover  done";
    assert_has(&admin.audit(&a), &[asked, done]);

    b.kill();
    wait_for("the mirror to miss its principal", || {
        admin.cli(&a, &["promote", "--yes"]).code.filter(|code| *code == 0)
    });
    let promoted = "admin of this machine: Promote  done";
    wait_for("the promotion to be written", || {
        let log = admin.audit(&a);
        let has = |wanted: &str| log.iter().any(|e| told(e) == wanted && e["id"].is_u64());
        [done, promoted].into_iter().all(has).then_some(())
    });
    assert_has(&admin.audit(&a), &[created, &added, &joined, refused, asked, done, promoted]);
    a.kill();
    a.launch();
    assert_has(&admin.audit(&a), &[created, &added, &joined, refused, asked, done, promoted]);
}

#[test]
fn whoever_is_not_let_in_fills_nothing() {
    let server = Server::start_with(REQUIRED);
    let admin = Operator::of(&[&server]);
    let reader = admin.token(&server, &["report", "--role", "reader"]);
    for n in 0..50 {
        let token = format!("cpt_{n}");
        assert_eq!(send("GET", &server, "/api/v1/status", Some(&token), None).0, 401);
        execute(&server, "main", &token, "select 1").unwrap_err();
        assert_eq!(send("DELETE", &server, "/api/v1/tokens/x", Some(&reader), None).0, 403);
    }
    let entries = admin.audit(&server);
    assert_has(&entries, &["nobody: SignIn Status NOT_SIGNED_IN"]);
    assert_has(&entries, &["token report: RevokeToken x FORBIDDEN"]);
    // A run that takes longer than a minute notes each once more.
    assert!(entries.len() < 10, "{:#?}", all_told(&entries));
    assert!(!json!(entries).to_string().contains("cpt_"), "{entries:?}");
}

#[test]
fn a_server_that_asks_nobody_keeps_no_log() {
    let server = Server::start();
    server.cli_ok(&["db", "create", "shop"]);
    let told = server.cli_ok(&["audit"]);
    assert!(told.contains("--require-token"), "{told}");
    assert!(!server.data().join("audit.waiting").exists());
}
