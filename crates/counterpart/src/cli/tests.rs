//! Each verb against a fake server: what it asks, what it prints, how it ends.

use std::{
    cell::RefCell,
    io::{self, Write},
    rc::Rc,
};

use clap::Parser;
use serde_json::{Value, json};

use super::{fake::FakeServer, screen::Screen};
use crate::{
    args::{Cli, Command},
    cli,
    exit::{Exit, Failure},
};

/// What a command printed.
#[derive(Clone, Default)]
struct Printed(Rc<RefCell<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a command line against `server`.
fn run(server: &FakeServer, line: &[&str]) -> Result<String, Failure> {
    let url = server.url();
    let arguments = [&["counterpart"], line, &["--server", &url]].concat();
    let command = Cli::try_parse_from(arguments).unwrap().command;
    let printed = Printed::default();
    let screen = &mut Screen::of_test(command.wants_json(), printed.clone());
    match command {
        Command::Db(db) => cli::db::run(db, screen),
        Command::Status(status) => cli::status::run(&status, screen),
        Command::Alarms(alarms) => cli::alarms::run(alarms, screen),
        Command::Mirror(mirror) => cli::mirror::run(mirror, screen),
        Command::Failover(failover) => cli::failover::run(&failover, screen),
        Command::Promote(promote) => cli::promote::run(&promote, screen),
        Command::Suspend(which) => cli::suspend::run(&which, screen),
        Command::Resume(which) => cli::resume::run(&which, screen),
        Command::Verify(verify) => cli::verify::run(&verify, screen),
        Command::Orphans(orphans) => cli::orphans::run(orphans, screen),
        _ => panic!("{line:?} asks no server"),
    }?;
    let bytes = printed.0.borrow().clone();
    Ok(String::from_utf8(bytes).unwrap())
}

fn ok(value: Value) -> [(u16, Value); 1] {
    [(200, value)]
}

fn pair_status() -> Value {
    json!({
        "version": "0.1.0", "server": "00000000000000aa", "role": "principal",
        "words": "Principal, synchronized",
        "mirroring": { "session": "00000000000000cc", "partners": [{
            "server": "00000000000000bb", "state": "SYNCHRONIZED",
            "client_url": "http://b:6480", "partner_address": "b:6481",
        }]},
    })
}

#[test]
fn status_is_text_for_people_and_the_document_for_scripts() {
    let server = FakeServer::start();
    server.answers("GET /api/v1/status", ok(pair_status()));
    assert!(run(&server, &["status"]).unwrap().starts_with("Principal, synchronized\n"));
    let json: Value = serde_json::from_str(&run(&server, &["status", "--json"]).unwrap()).unwrap();
    assert_eq!(json, pair_status());
}

#[test]
fn databases_are_listed_made_described_and_dropped() {
    let server = FakeServer::start();
    let sales = json!({ "name": "sales", "id": 2, "size_bytes": 8192, "last_lsn": 7 });
    server.answers("GET /api/v1/databases", ok(json!({ "databases": [sales] })));
    assert_eq!(
        run(&server, &["db", "list"]).unwrap(),
        "name      size  last LSN\nsales  8.0 KiB         7\n"
    );
    server.answers("POST /api/v1/databases", [(201, sales.clone())]);
    assert_eq!(run(&server, &["db", "create", "sales"]).unwrap(), "database sales is there\n");
    assert_eq!(server.body_of("POST /api/v1/databases"), json!({ "name": "sales" }));
    let details = json!({
        "name": "sales", "size_bytes": 8192, "last_lsn": 7, "page_size": 4096, "pages": 2,
        "free_pages": 1, "wal_bytes": 0, "tables": ["t", "u"],
    });
    server.answers("GET /api/v1/databases/sales", ok(details));
    let info = run(&server, &["db", "info", "sales"]).unwrap();
    assert!(info.contains("pages       2 of 4096 B, 1 free\n"), "{info}");
    assert!(info.contains("tables      t, u\n"), "{info}");
    let unasked = run(&server, &["db", "drop", "sales"]).unwrap_err();
    assert_eq!((unasked.exit, unasked.code.as_str()), (Exit::Usage, "CONFIRMATION_NEEDED"));
    server.answers("DELETE /api/v1/databases/sales", ok(json!({ "done": true })));
    assert_eq!(
        run(&server, &["db", "drop", "sales", "--yes"]).unwrap(),
        "database sales is gone\n"
    );
    let expected = ["POST /api/v1/databases", "DELETE /api/v1/databases/sales"];
    assert_eq!(server.changes(), expected);
}

#[test]
fn a_refusal_keeps_its_code_what_and_remedy() {
    let server = FakeServer::start();
    server.refuses("POST /api/v1/databases", "DATABASE_EXISTS");
    let failure = run(&server, &["db", "create", "sales"]).unwrap_err();
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::Refused, "DATABASE_EXISTS"));
    assert_eq!(
        (failure.what.as_str(), failure.remedy.as_str()),
        ("DATABASE_EXISTS it is", "mend it")
    );
}

#[test]
fn a_file_is_imported_under_its_own_or_another_name() {
    let server = FakeServer::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sales.sqlite");
    std::fs::write(&file, [b"SQLite format 3\0".as_slice(), &[7; 100_000]].concat()).unwrap();
    let file = file.to_str().unwrap();
    let made = json!({ "name": "x", "size_bytes": 100_016 });
    for (arguments, name) in [
        (vec!["db", "import", file], "sales"),
        (vec!["db", "import", file, "--name", "other"], "other"),
    ] {
        let request = format!("PUT /api/v1/databases/{name}/content");
        server.answers(&request, [(201, made.clone())]);
        let printed = run(&server, &arguments).unwrap();
        assert_eq!(printed, format!("database {name} is there (97.7 KiB)\n"));
        assert_eq!(server.body_of(&request), json!({ "bytes": 100_016 }));
    }
    server.refuses("PUT /api/v1/databases/sales/content", "IMPORT_INVALID");
    assert_eq!(run(&server, &["db", "import", file]).unwrap_err().code, "IMPORT_INVALID");
}

#[test]
fn an_export_writes_the_file_and_a_refused_one_touches_nothing() {
    let server = FakeServer::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sales.sqlite");
    let file = path.to_str().unwrap();
    server.answers("GET /api/v1/databases/sales/content", ok(json!({ "$raw": "the content" })));
    run(&server, &["db", "export", file]).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "the content");
    assert_eq!(run(&server, &["db", "export", file]).unwrap_err().code, "FILE_EXISTS");
    server.refuses("GET /api/v1/databases/sales/content", "DATABASE_NOT_FOUND");
    let failure = run(&server, &["db", "export", file, "--overwrite"]).unwrap_err();
    assert_eq!(failure.code, "DATABASE_NOT_FOUND");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "the content");
}

#[test]
fn a_partner_is_named_by_identity_url_or_address() {
    let server = FakeServer::start();
    let mut joined = pair_status();
    joined["role"] = "mirror".into();
    let failover = "POST /api/v1/mirroring/failover";
    server.answers(failover, ok(json!({ "failed_over": { "client_url": "http://b:6480" } })));
    for name in ["00000000000000bb", "http://b:6480/", "b:6481"] {
        let before_and_after = [(200, pair_status()), (200, joined.clone())];
        server.answers("GET /api/v1/status", before_and_after);
        let printed = run(&server, &["failover", "--to", name]).unwrap();
        assert_eq!(
            printed,
            "the roles are swapped; nothing was lost\nthe principal is now http://b:6480\n"
        );
        assert_eq!(server.body_of(failover), json!({ "to": "00000000000000bb" }), "{name}");
    }
    assert_eq!(run(&server, &["failover", "--to", "c:1"]).unwrap_err().code, "UNKNOWN_PARTNER");
    run(&server, &["failover"]).unwrap();
    assert_eq!(server.body_of(failover), json!({ "to": null }));
    for verb in ["suspend", "resume"] {
        let request = format!("POST /api/v1/mirroring/{verb}");
        server.answers(&request, ok(json!({ "done": true })));
        run(&server, &[verb, "--partner", "b:6481"]).unwrap();
        assert_eq!(server.body_of(&request), json!({ "partner": "00000000000000bb" }));
    }
}

#[test]
fn a_promotion_shows_what_may_be_lost_and_needs_a_yes() {
    let server = FakeServer::start();
    let promotion = "/api/v1/mirroring/promotion";
    server.answers(&format!("GET {promotion}"), ok(json!({ "words": "0 lost" })));
    server.answers(
        &format!("POST {promotion}"),
        ok(json!({ "promoted": { "epoch": { "term": 2, "start": 1 } } })),
    );
    assert_eq!(run(&server, &["promote"]).unwrap_err().code, "CONFIRMATION_NEEDED");
    assert_eq!(server.changes(), Vec::<String>::new());
    let printed = run(&server, &["promote", "--yes"]).unwrap();
    assert_eq!(printed, "0 lost\nthis server is now the principal\n");
    server.refuses(&format!("GET {promotion}"), "WRONG_STATE");
    assert_eq!(run(&server, &["promote", "--yes"]).unwrap_err().code, "WRONG_STATE");
    assert_eq!(server.body_of(&format!("POST {promotion}")), json!({ "force": false }));
}

#[test]
fn a_promotion_by_force_tells_what_speaks_against_it() {
    let server = FakeServer::start();
    let promotion = "/api/v1/mirroring/promotion";
    server.refuses(&format!("GET {promotion}"), "DATABASE_DIFFERS");
    server.answers(&format!("POST {promotion}"), ok(json!({})));
    assert_eq!(run(&server, &["promote", "--force"]).unwrap_err().code, "CONFIRMATION_NEEDED");
    assert_eq!(server.changes(), Vec::<String>::new());
    let printed = run(&server, &["promote", "--force", "--yes"]).unwrap();
    assert!(printed.starts_with("DATABASE_DIFFERS: "), "{printed}");
    assert_eq!(server.body_of(&format!("POST {promotion}")), json!({ "force": true }));
}

#[test]
fn mirroring_is_stopped_with_one_partner_or_with_all() {
    let server = FakeServer::start();
    server.answers("DELETE /api/v1/mirroring", ok(json!({ "done": true })));
    let one = "DELETE /api/v1/mirroring?partner=00000000000000bb";
    server.answers(one, ok(json!({ "done": true })));
    assert_eq!(run(&server, &["mirror", "stop"]).unwrap_err().code, "CONFIRMATION_NEEDED");
    run(&server, &["mirror", "stop", "--yes"]).unwrap();
    run(&server, &["mirror", "stop", "--yes", "--partner", "00000000000000bb"]).unwrap();
    assert_eq!(server.changes(), ["DELETE /api/v1/mirroring", one]);
}

#[test]
fn a_partner_that_is_away_does_not_keep_a_server_from_being_verified() {
    let (server, gone) = (FakeServer::start(), FakeServer::start().url());
    let mut status = pair_status();
    status["mirroring"]["partners"][0]["client_url"] = json!(gone);
    server.answers("GET /api/v1/status", ok(status));
    server.answers("POST /api/v1/scrub", ok(json!({ "running": { "began": 5 } })));
    let pass = json!({ "began": 5, "ended": 6, "bytes": 1, "failures": [] });
    server.answers("GET /api/v1/scrub", ok(json!({ "running": null, "last": pass })));
    let failure = run(&server, &["verify", "--deep"]).unwrap_err();
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::Unreachable, "PARTNER_UNREACHABLE"));
    assert!(failure.what.contains(&gone), "{failure}");
    assert_eq!(server.changes(), ["POST /api/v1/scrub"]);
}

#[test]
fn orphans_that_are_not_saved_yet_are_told() {
    let server = FakeServer::start();
    server.answers("GET /api/v1/orphans", ok(json!({ "sets": [] })));
    server.answers("GET /api/v1/status", ok(pair_status()));
    assert!(run(&server, &["orphans", "list"]).unwrap().starts_with("no orphans"));
    let mut status = pair_status();
    status["mirroring"]["parked"] = json!({ "common": 305, "end": 308 });
    server.answers("GET /api/v1/status", ok(status));
    let told = run(&server, &["orphans", "list"]).unwrap();
    assert!(told.starts_with("only this server has 3 events after LSN 305"), "{told}");
    assert!(told.contains("counterpart mirror rejoin"), "{told}");
}

#[test]
fn alarms_are_listed_and_acknowledged_by_id() {
    let server = FakeServer::start();
    let alarm = |id: u64, state: &str| {
        json!({ "id": id, "cause": "SendQueue", "severity": "warning", "state": state,
                "raised_millis": 2_000, "text": "words",
                "acknowledged": { "at": 1, "by": "ann" } })
    };
    let list = json!({ "active": [alarm(7, "acknowledged")], "history": [alarm(3, "cleared")] });
    server.answers("GET /api/v1/alarms", ok(list));
    let shown = run(&server, &["alarms", "list"]).unwrap();
    assert!(
        shown.contains("7   warning   acknowledged by ann  SendQueue  2.0 s ago  words"),
        "{shown}"
    );
    assert!(!shown.contains("cleared"), "{shown}");
    let all = run(&server, &["alarms", "list", "--history"]).unwrap();
    assert!(all.contains("3   warning   cleared "), "{all}");
    server.answers("POST /api/v1/alarms/7/acknowledge", ok(alarm(7, "acknowledged")));
    let told = run(&server, &["alarms", "acknowledge", "7"]).unwrap();
    assert_eq!(told, "alarm 7 (SendQueue) is acknowledged; it is active until it is over\n");
    server.answers("GET /api/v1/alarms", ok(json!({ "active": [], "history": [] })));
    assert_eq!(run(&server, &["alarms", "list"]).unwrap(), "no alarms\n");
}

#[test]
fn a_test_of_alarms_ends_when_all_channels_have_told_it_or_one_can_not() {
    let server = FakeServer::start();
    let channels = |told: u64, error: Value| {
        let one = json!({ "channel": "webhook", "told": told, "waiting": 1, "error": error });
        (200, json!({ "active": [], "history": [], "channels": [one] }))
    };
    server.answers("POST /api/v1/alarms/test", ok(json!({ "number": 5, "channels": ["webhook"] })));
    server.answers("GET /api/v1/alarms", [channels(4, Value::Null), channels(5, Value::Null)]);
    assert_eq!(run(&server, &["alarms", "test"]).unwrap(), "told by webhook\n");
    server.answers("GET /api/v1/alarms", [channels(4, json!("refused"))]);
    let failure = run(&server, &["alarms", "test"]).unwrap_err();
    assert_eq!(failure.code, "NOT_TOLD");
    assert!(failure.what.contains("refused"), "{}", failure.what);
}
