//! Who may ask for what: every endpoint of the document, with every role and with none.

use std::io::Write;

use counterpart_access::{Grant, Role};
use counterpart_node::{Refusal, audit::Ending};

use crate::{
    requests::eventually,
    routes::all_calls,
    wire::{Api, hang_up},
};

/// The roles that each endpoint is for, by the first letters of their names: admin, operator, writer and reader of all
/// databases, then writer and reader of another one than `main`. `-` stands for everybody, known or not.
fn expected(operation: &str) -> &'static str {
    match operation {
        "Health" | "HealthPrincipal" | "HealthMirror" | "Login" => "-",
        "Status" | "Metrics" | "ListAlarms" | "WhoAmI" | "OpenApi" => "aowrWR",
        "DescribeDatabase" | "ExportDatabase" => "aowr",
        "AcknowledgeAlarm" | "TestAlarms" | "ListDatabases" | "Backup" | "TakeBackup" | "Probe"
        | "CheckJoin" | "Join" | "CancelJoin" | "AddPartner" | "Failover" | "AssessPromotion"
        | "Promote" | "Suspend" | "Resume" | "StopMirroring" | "Rejoin" | "Scrub"
        | "StartScrub" | "Checksums" | "CompareChecksums" | "ListOrphans" | "ShowOrphans"
        | "OrphanRows" | "ExportOrphans" | "DropOrphans" => "ao",
        "CreateDatabase" | "DropDatabase" | "ImportDatabase" | "ListTokens" | "CreateToken"
        | "RevokeToken" | "ListUsers" | "CreateUser" | "SetPassword" | "DropUser" | "Audit" => "a",
        other => panic!("nobody has said who may ask for {other}"),
    }
}

#[test]
fn every_endpoint_is_for_the_roles_that_the_table_names() {
    let api = Api::start();
    let grant = |role, limits: Option<&[&str]>| Grant::new(role, limits).unwrap();
    let known = [
        ("a", grant(Role::Admin, None)),
        ("o", grant(Role::Operator, None)),
        ("w", grant(Role::Writer, None)),
        ("r", grant(Role::Reader, None)),
        ("W", grant(Role::Writer, Some(&["other"]))),
        ("R", grant(Role::Reader, Some(&["other"]))),
    ];
    let named = known.iter().map(|(token, grant)| ((*token).to_owned(), grant.clone()));
    *api.fake.guarded.lock().unwrap() = Some(named.collect());
    for call in all_calls(&counterpart_admin::openapi_document()) {
        let expected = expected(&call.operation);
        let ask = |headers: &str| api.call_with(&call.method, &call.path, headers, &call.body);
        let open = expected == "-";
        for nobody in ["", "authorization: Bearer x\r\n", "authorization: Basic a\r\n"] {
            let status = ask(nobody).status;
            assert_eq!(status != 401, open, "{} as nobody: {status}", call.operation);
        }
        for (token, _) in &known {
            let before = api.fake.calls().len();
            let status = ask(&format!("authorization: Bearer {token}\r\n")).status;
            let allowed = open || expected.contains(token);
            assert_eq!(status != 403, allowed, "{} as {token}: {status}", call.operation);
            assert_ne!(status, 401, "{} as {token}", call.operation);
            if !allowed {
                assert_eq!(api.fake.calls().len(), before, "{} was carried out", call.operation);
            }
        }
    }
}

#[test]
fn whoever_is_not_known_is_told_how_to_show_it() {
    let api = Api::start();
    *api.fake.guarded.lock().unwrap() = Some(Vec::new());
    let reply = api.call("GET", "/api/v1/status", "");
    assert_eq!(reply.status, 401);
    assert!(reply.head.contains("www-authenticate: bearer"), "{}", reply.head);
    assert_eq!(reply.json()["error"]["code"], "NOT_SIGNED_IN");
}

/// Whether the audit log tells of an operation, and what about it, asked for with the body and path of [`all_calls`].
fn noted(operation: &str) -> Option<&'static str> {
    let b = "00000000000000bb";
    Some(match operation {
        "Health" | "HealthPrincipal" | "HealthMirror" | "Login" | "Status" | "Metrics"
        | "ListAlarms" | "WhoAmI" | "OpenApi" | "DescribeDatabase" | "ListDatabases" | "Probe"
        | "CheckJoin" | "AssessPromotion" | "Scrub" | "Checksums" | "CompareChecksums"
        | "ListOrphans" | "ShowOrphans" | "OrphanRows" | "ListTokens" | "ListUsers" | "Audit" => {
            return None;
        }
        "AcknowledgeAlarm" => "3",
        "CreateDatabase" => "sales",
        "DropDatabase" | "ImportDatabase" | "ExportDatabase" => "main",
        "TakeBackup" => "main.db",
        "Join" => "http://a:6480",
        "AddPartner" => "http://b:6480",
        "Failover" | "Suspend" | "Resume" | "StopMirroring" => b,
        "ExportOrphans" => "1.2-5-6 main",
        "DropOrphans" => "1.2-5-6",
        "CreateToken" => "shop (reader)",
        "RevokeToken" => "shop",
        "CreateUser" => "anna (operator)",
        "SetPassword" | "DropUser" => "anna",
        "Backup" | "CancelJoin" | "TestAlarms" | "Promote" | "Rejoin" | "StartScrub" => "",
        other => panic!("nobody has said whether {other} is noted"),
    })
}

#[test]
fn what_changes_something_or_hands_out_everything_is_noted_with_how_it_ended_and_nothing_else_is() {
    let api = Api::start();
    let grant = |role| Grant::new::<&str>(role, None).unwrap();
    let known = [("a".to_owned(), grant(Role::Admin)), ("r".to_owned(), grant(Role::Reader))];
    *api.fake.guarded.lock().unwrap() = Some(known.to_vec());
    let mut asked = 0;
    for call in all_calls(&counterpart_admin::openapi_document()) {
        for (token, refuse) in [("a", false), ("a", true), ("r", false)] {
            let refusal = Refusal::new("DISK_FULL", "the disk is full", "free some space");
            *api.fake.refusal.lock().unwrap() = refuse.then_some(refusal);
            let headers = format!("authorization: Bearer {token}\r\n");
            let reply = api.call_with(&call.method, &call.path, &headers, &call.body);
            let mut all = std::mem::take(&mut *api.fake.noted.lock().unwrap());
            let what = format!("{} as {token}: {reply:?}", call.operation);
            let Some(about) = noted(&call.operation) else {
                assert!(all.is_empty(), "{what}: {all:?}");
                continue;
            };
            if call.operation == "Failover" && token == "a" {
                assert_eq!(all.remove(0).ending, Ending::Asked, "{what}");
            }
            assert_eq!(all.len(), 1, "{what}: {all:?}");
            let act = all.remove(0);
            assert_eq!(act.what, call.operation);
            assert_eq!(act.who.unwrap().to_string(), format!("token {token}"));
            assert_eq!(act.from, Some("127.0.0.1".parse().unwrap()));
            let ending = match reply.status {
                200..300 => Ending::Done,
                403 => Ending::Refused("FORBIDDEN".to_owned()),
                _ => Ending::Refused("DISK_FULL".to_owned()),
            };
            assert_eq!(act.ending, ending, "{what}");
            if act.ending == Ending::Done {
                assert_eq!(act.about, about, "{what}");
            }
            asked += 1;
        }
    }
    assert_eq!(asked, 3 * 25);
}

#[test]
fn what_is_done_is_noted_though_the_client_has_gone() {
    let api = Api::start();
    *api.fake.hold_suspend.lock().unwrap() = true;
    let mut stream = api.connect();
    let head = "POST /api/v1/mirroring/suspend HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    eventually("the operation begins", || api.fake.calls() == ["suspend began"]);
    hang_up(&stream);
    assert!(api.fake.noted.lock().unwrap().is_empty());
    api.fake.release.notify_one();
    eventually("it is noted", || !api.fake.noted.lock().unwrap().is_empty());
    assert_eq!(api.fake.noted.lock().unwrap()[0].ending, Ending::Done);
}

#[test]
fn a_credential_that_is_refused_is_noted_and_none_at_all_is_not() {
    let api = Api::start();
    *api.fake.guarded.lock().unwrap() = Some(Vec::new());
    assert_eq!(api.call("GET", "/api/v1/status", "").status, 401);
    assert!(api.fake.noted.lock().unwrap().is_empty());
    let headers = "authorization: Bearer stolen\r\n";
    assert_eq!(api.call_with("GET", "/api/v1/status", headers, "").status, 401);
    let noted = api.fake.noted.lock().unwrap().pop().unwrap();
    assert!(noted.who.is_none());
    assert_eq!(noted.ending, Ending::Refused("NOT_SIGNED_IN".to_owned()));
    assert!(!format!("{noted:?}").contains("stolen"), "{noted:?}");
}

#[test]
fn whoever_tries_too_often_is_told_when_to_come_back() {
    let api = Api::start();
    api.fake.refuse(Refusal::new("TOO_MANY_ATTEMPTS", "too many", "wait").after(17));
    let reply = api.call("POST", "/api/v1/login", r#"{"name":"anna","password":"wrong"}"#);
    assert_eq!((reply.status, reply.code().as_str()), (429, "TOO_MANY_ATTEMPTS"));
    assert!(reply.head.contains("\r\nretry-after: 17"), "{}", reply.head);
    assert_eq!(api.fake.calls(), ["login anna Some(127.0.0.1)"]);
}
