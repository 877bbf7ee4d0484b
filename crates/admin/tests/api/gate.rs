//! Who may ask for what: every endpoint of the document, with every role and with none.

use counterpart_access::{Grant, Role};

use crate::{routes::all_calls, wire::Api};

/// The roles that each endpoint is for, by the first letters of their names: admin, operator, writer and reader of all
/// databases, then writer and reader of another one than `main`. `-` stands for everybody, known or not.
fn expected(operation: &str) -> &'static str {
    match operation {
        "Health" | "HealthPrincipal" | "HealthMirror" => "-",
        "Status" | "Metrics" | "ListAlarms" | "WhoAmI" | "OpenApi" => "aowrWR",
        "DescribeDatabase" | "ExportDatabase" => "aowr",
        "AcknowledgeAlarm" | "TestAlarms" | "ListDatabases" | "Backup" | "TakeBackup" | "Probe"
        | "CheckJoin" | "Join" | "CancelJoin" | "AddPartner" | "Failover" | "AssessPromotion"
        | "Promote" | "Suspend" | "Resume" | "StopMirroring" | "Rejoin" | "Scrub"
        | "StartScrub" | "Checksums" | "CompareChecksums" | "ListOrphans" | "ShowOrphans"
        | "OrphanRows" | "ExportOrphans" | "DropOrphans" => "ao",
        "CreateDatabase" | "DropDatabase" | "ImportDatabase" | "ListTokens" | "CreateToken"
        | "RevokeToken" => "a",
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
