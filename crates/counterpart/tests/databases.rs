//! Databases as operators handle them: made, listed, described, dropped, imported from SQLite files of every kind and
//! exported to plain ones; all of it mirrored.

mod support;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};
use support::{
    client::send_json,
    pair::{Pair, databases, start_mirroring, wait_applied},
    server::{CliOutcome, Server},
    workload::{Workload, create_table},
};

fn refused_with(outcome: &CliOutcome, code: &str) -> Value {
    assert_ne!(outcome.code, Some(0), "it was accepted: {}", outcome.stdout);
    let failure: Value = serde_json::from_str(&outcome.stderr)
        .unwrap_or_else(|e| panic!("{e}: standard error is {:?}", outcome.stderr));
    assert_eq!(failure["error"]["code"], code, "{failure}");
    for part in ["what", "remedy"] {
        assert!(failure["error"][part].as_str().is_some_and(|s| !s.is_empty()), "{failure}");
    }
    failure
}

/// A SQLite file with a table of `rows` rows, made with these pragmas.
fn sqlite_file(path: &Path, pragmas: &str, rows: u32) -> PathBuf {
    let db = Connection::open(path).unwrap();
    db.execute_batch(pragmas).unwrap();
    db.execute_batch("create table t(id integer primary key, x text); create index i on t(x)")
        .unwrap();
    db.execute(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?1)
           insert into t select i, hex(randomblob(100)) from n",
        [rows],
    )
    .unwrap();
    db.close().unwrap();
    path.to_owned()
}

/// Nothing is left of uploads that were refused.
fn no_remains(server: &Server) {
    let staging = server.data().join("staging");
    let left: Vec<_> = std::fs::read_dir(&staging)
        .map(|dir| dir.map(|item| item.unwrap().path()).collect())
        .unwrap_or_default();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn databases_are_made_listed_described_and_dropped_and_the_mirror_follows() {
    let pair = Pair::start();
    let server = &pair.principal;
    let made: Value =
        serde_json::from_str(&server.cli_ok(&["db", "create", "books", "--json"])).unwrap();
    assert_eq!(made["name"], "books");
    refused_with(&server.cli(&["db", "create", "books", "--json"]), "DATABASE_EXISTS");
    server.client().database("books").script("create table t(x); insert into t values(1)");
    let list = server.cli_ok(&["db", "list"]);
    assert!(list.contains("books") && list.contains("main"), "{list}");
    let info: Value =
        serde_json::from_str(&server.cli_ok(&["db", "info", "books", "--json"])).unwrap();
    assert_eq!((&info["tables"], &info["page_size"]), (&json!(["t"]), &json!(4096)), "{info}");
    pair.assert_equal();
    let on_mirror = pair.mirror.cli(&["db", "create", "other", "--json"]);
    let failure = refused_with(&on_mirror, "READ_ONLY_MIRROR");
    assert!(failure.to_string().contains(&server.url()), "{failure}");
    refused_with(&pair.mirror.cli(&["db", "drop", "books", "--yes", "--json"]), "READ_ONLY_MIRROR");

    refused_with(&server.cli(&["db", "drop", "books", "--json"]), "CONFIRMATION_NEEDED");
    refused_with(&server.cli(&["db", "drop", "main", "--yes", "--json"]), "DATABASE_PROTECTED");
    refused_with(&server.cli(&["db", "drop", "none", "--yes", "--json"]), "DATABASE_NOT_FOUND");
    server.cli_ok(&["db", "drop", "books", "--yes"]);
    pair.assert_equal();
    assert_eq!(databases(&pair.mirror), ["main"]);
    refused_with(&server.cli(&["db", "info", "books", "--json"]), "DATABASE_NOT_FOUND");
}

#[test]
fn names_with_odd_characters_are_refused_everywhere_with_what_is_allowed() {
    let server = Server::start();
    let long = "a".repeat(64);
    let odd = ["", "A", "-a", "_a", "a b", "a/b", "../a", "ä", "a\u{0}b", "a.b", "'; drop", &long];
    for name in odd {
        let (status, body) = send_json(
            "POST",
            &format!("{}/api/v1/databases", server.url()),
            &json!({"name": name}),
        );
        assert_eq!(status, 400, "{name:?}: {body}");
        assert_eq!(body["error"]["code"], "INVALID_DATABASE_NAME", "{name:?}: {body}");
        if !name.contains('\0') {
            let outcome = server.cli(&["db", "create", "--", name]);
            assert_eq!(outcome.code, Some(2), "{name:?}: {}", outcome.stderr);
        }
    }
    assert_eq!(databases(&server), ["main"]);
    let longest = "z".repeat(63);
    for name in ["0", "a-b_c", "9lives", &longest] {
        server.cli_ok(&["db", "create", name]);
        server.client().database(name).run("create table t(x)");
    }
    for path in ["/db/NOPE/v2/pipeline", "/db/%2e%2e/v2/pipeline", "/db/a%00b/v2/pipeline"] {
        let (status, body) = server.client().post(path, &json!({"requests": []})).unwrap();
        assert!((400..500).contains(&status), "{path}: {status} {body}");
    }
}

#[test]
fn sqlite_files_of_every_kind_are_imported_exactly_and_mirrored() {
    let (pair, dir) = (Pair::start(), tempfile::tempdir().unwrap());
    let mut kinds: Vec<(String, String)> = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
        .iter()
        .map(|size| (format!("pages-{size}"), format!("pragma page_size={size}")))
        .collect();
    for (name, pragmas) in [
        ("wal", "pragma journal_mode=wal"),
        ("full-auto-vacuum", "pragma auto_vacuum=full"),
        ("incremental-vacuum", "pragma auto_vacuum=incremental"),
        ("utf16", "pragma encoding='UTF-16le'"),
        ("app-id", "pragma application_id=77; pragma user_version=5"),
    ] {
        kinds.push((name.to_owned(), pragmas.to_owned()));
    }
    for (name, pragmas) in &kinds {
        let file = sqlite_file(&dir.path().join(format!("{name}.sqlite")), pragmas, 2_000);
        pair.principal.cli_ok(&["db", "import", file.to_str().unwrap(), "--name", name]);
        let client = pair.principal.client().database(name);
        assert_eq!(client.value("select count(*) from t"), json!(2_000), "{name}");
        client.run("update t set x = 'changed' where id % 7 = 0");
        client.run("delete from t where id > 1500");
        if pragmas.contains("auto_vacuum=incremental") {
            client.run("pragma incremental_vacuum");
        }
    }
    pair.assert_equal();
    for (name, _) in &kinds {
        let there = pair.mirror.client().database(name);
        assert_eq!(there.value("select count(*) from t"), json!(1_500), "{name}");
    }
    assert_eq!(pair.mirror.client().database("pages-512").value("pragma page_size"), json!(512));
    assert_eq!(pair.mirror.client().database("app-id").value("pragma user_version"), json!(5));
    no_remains(&pair.principal);

    // After a crash of both they are still there: the import was an event like others.
    let mut pair = pair;
    pair.mirror.kill();
    pair.principal.kill();
    pair.principal.launch();
    pair.mirror.launch();
    pair.wait_synchronized();
    pair.assert_equal();
}

#[test]
fn what_is_no_intact_sqlite_file_is_refused_and_changes_nothing() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let good = std::fs::read(sqlite_file(&dir.path().join("good.db"), "", 2_000)).unwrap();
    let wal =
        std::fs::read(sqlite_file(&dir.path().join("wal.db"), "pragma journal_mode=wal", 2_000))
            .unwrap();
    let noise: Vec<u8> =
        (0..50_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let mut flipped = good.clone();
    for byte in &mut flipped[8192..12_288] {
        *byte ^= 0x5a;
    }
    let mut odd_size = good.clone();
    odd_size[16..18].copy_from_slice(&[3, 7]);
    let cases: [(&str, &[u8]); 9] = [
        ("nothing", b""),
        ("text", b"create table t(x);"),
        ("header-only", b"SQLite format 3\0"),
        ("encrypted", &noise),
        ("truncated", &good[..good.len() / 2]),
        ("truncated-wal-mode", &wal[..wal.len() / 2]),
        ("not-whole-pages", &good[..good.len() - 100]),
        ("damaged-page", &flipped),
        ("odd-page-size", &odd_size),
    ];
    let before = server.status()["journal"]["last"].clone();
    for (name, bytes) in cases {
        let url = format!("{}/api/v1/databases/{name}/content", server.url());
        let address = format!("{}:{}", server.address, server.port);
        let path = url.strip_prefix(&server.url()).unwrap();
        let (status, body) = support::raw::http(&address, "PUT", path, bytes);
        assert_eq!(status, 400, "{name}: {body}");
        let error: Value =
            serde_json::from_str(&body).unwrap_or_else(|e| panic!("{name}: {e}: {body}"));
        assert_eq!(error["error"]["code"], "IMPORT_INVALID", "{name}: {error}");
        assert!(!error["error"]["remedy"].as_str().unwrap().is_empty(), "{name}: {error}");
        if !bytes.is_empty() {
            let file = dir.path().join("candidate.db");
            std::fs::write(&file, bytes).unwrap();
            let outcome = server.cli(&["db", "import", file.to_str().unwrap(), "--json"]);
            refused_with(&outcome, "IMPORT_INVALID");
        }
        no_remains(&server);
    }
    assert_eq!(databases(&server), ["main"]);
    assert_eq!(server.status()["journal"]["last"], before, "nothing was journaled");
    let missing = server.cli(&["db", "import", "/no/such/file.db"]);
    assert_eq!(missing.code, Some(5), "{}", missing.stderr);

    // A file whose application has not merged its write-ahead log would lose what is there.
    let open = Connection::open(dir.path().join("open.db")).unwrap();
    open.execute_batch("pragma journal_mode=wal; create table t(x)").unwrap();
    let in_use = dir.path().join("open.db");
    refused_with(
        &server.cli(&["db", "import", in_use.to_str().unwrap(), "--json"]),
        "IMPORT_FILE_IN_USE",
    );
}

#[test]
fn an_upload_that_breaks_off_changes_nothing() {
    use std::io::Write;
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let good = std::fs::read(sqlite_file(&dir.path().join("good.db"), "", 2_000)).unwrap();
    let mut stream = support::raw::connect(&format!("{}:{}", server.address, server.port));
    let head = support::raw::http_head("PUT", "/api/v1/databases/half/content", good.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&good[..good.len() / 2]).unwrap();
    support::wait_for("the upload to be under way", || {
        let staging = std::fs::read_dir(server.data().join("staging")).ok()?;
        (staging.count() == 1).then_some(())
    });
    drop(stream);
    support::wait_for("the upload to be forgotten", || {
        let staging = std::fs::read_dir(server.data().join("staging")).ok()?;
        (staging.count() == 0).then_some(())
    });
    assert_eq!(databases(&server), ["main"]);
}

/// Gigabytes were sent first, and then refused for a reason that had been known all along.
#[test]
fn an_upload_that_cannot_succeed_is_refused_before_it_is_sent() {
    use std::io::Write;
    let pair = Pair::start();
    for (server, name, code) in
        [(&pair.principal, "books", "DATABASE_EXISTS"), (&pair.mirror, "other", "READ_ONLY_MIRROR")]
    {
        if name == "books" {
            server.cli_ok(&["db", "create", name]);
        }
        let mut stream = support::raw::connect(&format!("{}:{}", server.address, server.port));
        let head = format!(
            "PUT /api/v1/databases/{name}/content HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\
             expect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 1024];
        let length = std::io::Read::read(&mut stream, &mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
        assert!(answer.contains(code), "{answer}");
    }
}

#[test]
fn an_upload_that_the_servers_end_broke_off_leaves_nothing() {
    use std::io::Write;
    let mut server = Server::start();
    let mut stream = support::raw::connect(&format!("{}:{}", server.address, server.port));
    let head = support::raw::http_head("PUT", "/api/v1/databases/half/content", 1 << 20);
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[0; 1000]).unwrap();
    let uploads = |server: &Server| {
        std::fs::read_dir(server.data().join("staging")).map_or(0, Iterator::count)
    };
    support::wait_for("the upload to be under way", || (uploads(&server) == 1).then_some(()));
    server.kill();
    assert_eq!(uploads(&server), 1, "it had no time to clear up");
    server.launch();
    no_remains(&server);
    assert_eq!(databases(&server), ["main"]);
}

#[test]
fn a_file_is_imported_into_an_empty_main_and_not_into_one_that_holds_something() {
    let (pair, dir) = (Pair::start(), tempfile::tempdir().unwrap());
    let file = sqlite_file(&dir.path().join("app.db"), "pragma page_size=8192", 500);
    let file = file.to_str().unwrap();
    pair.principal.cli_ok(&["db", "import", file, "--name", "main"]);
    assert_eq!(pair.principal.client().value("select count(*) from t"), json!(500));
    pair.principal.client().run("insert into t values(1000, 'after')");
    pair.assert_equal();
    assert_eq!(pair.mirror.client().value("pragma page_size"), json!(8192));
    for name in ["main", "main"] {
        let again = pair.principal.cli(&["db", "import", file, "--name", name, "--json"]);
        refused_with(&again, "DATABASE_EXISTS");
    }
    let on_mirror = pair.mirror.cli(&["db", "import", file, "--name", "other", "--json"]);
    refused_with(&on_mirror, "READ_ONLY_MIRROR");
    pair.assert_equal();
}

#[test]
fn an_export_while_writes_go_on_is_one_moment_and_a_plain_sqlite_file() {
    let (pair, dir) = (Pair::start(), tempfile::tempdir().unwrap());
    create_table(&pair.principal);
    pair.principal.client().script(
        "create table account(id integer primary key, money integer, pad blob);
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 400)
           insert into account select i, 100, randomblob(2000) from n",
    );
    // The mirror may show an earlier moment, but of this table there is none worth an export.
    wait_applied(&pair.principal, &pair.mirror);
    let load = Workload::start(0, 2, &[&pair.principal]);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let transfers = {
        let (client, stop) = (pair.principal.client(), std::sync::Arc::clone(&stop));
        std::thread::spawn(move || {
            for i in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return i;
                }
                let (from, to) = (1 + i * 37 % 400, 1 + i * 91 % 400);
                client.script(&format!(
                    "begin immediate; update account set money = money - 1 where id = {from};
                     update account set money = money + 1 where id = {to}; commit"
                ));
            }
            0
        })
    };
    for (i, server) in
        [&pair.principal, &pair.mirror, &pair.principal, &pair.mirror].iter().enumerate()
    {
        let file = dir.path().join(format!("export-{i}.db"));
        let path = file.to_str().unwrap();
        server.cli_ok(&["db", "export", path, "--name", "main"]);
        let db = Connection::open(&file).unwrap();
        let text = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(text("pragma integrity_check"), "ok");
        assert_eq!(text("pragma journal_mode"), "delete");
        let sum: i64 =
            db.query_row("select sum(money) from account", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 400 * 100, "a transfer is there whole or not at all");
        db.execute("insert into account(money) values(0)", []).unwrap();
        drop(db);
        assert!(!file.with_extension("db-wal").exists(), "it is one plain file");
        let again = server.cli(&["db", "export", path, "--name", "main"]);
        assert_eq!(again.code, Some(5), "an existing file is not overwritten: {}", again.stderr);
    }
    load.wait_progress(10);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(transfers.join().unwrap() > 0);
    assert_eq!(load.stop().1, []);
    pair.assert_equal();

    // What was exported can be imported again.
    let file = dir.path().join("export-0.db");
    pair.principal.cli_ok(&["db", "import", file.to_str().unwrap(), "--name", "again"]);
    pair.assert_equal();
}

#[test]
fn a_table_dropped_database_can_be_made_again_under_its_name() {
    let mut pair = Pair::start();
    for round in 0..5 {
        pair.principal.cli_ok(&["db", "create", "again"]);
        let client = pair.principal.client().database("again");
        client.script(&format!("create table t(x); insert into t values({round})"));
        if round == 2 {
            pair.mirror.kill();
            pair.mirror.launch();
            pair.wait_synchronized();
        }
        pair.assert_equal();
        let there = pair.mirror.client().database("again").value("select x from t");
        assert_eq!(there, json!(round));
        pair.principal.cli_ok(&["db", "drop", "again", "--yes"]);
    }
    pair.principal.kill();
    pair.principal.launch();
    pair.wait_synchronized();
    pair.assert_equal();
    assert_eq!(databases(&pair.mirror), ["main"]);
}

/// A mirror was seeded after databases had been dropped, and took over: it gave their numbers again. Then the old principal,
/// whose journal reached further back, took the records of the one for the other's.
#[test]
fn a_database_never_gets_the_number_of_one_that_was_dropped() {
    let (principal, mirror) = (Server::start(), Server::start());
    for name in ["first", "second"] {
        principal.cli_ok(&["db", "create", name]);
        principal.client().database(name).script("create table t(x); insert into t values(1)");
        principal.cli_ok(&["db", "drop", name, "--yes"]);
    }
    start_mirroring(&principal, &mirror, &[]);
    let pair = Pair { principal, mirror };
    pair.wait_synchronized();
    pair.principal.cli_ok(&["failover"]);
    let mut pair = pair.swapped();
    pair.principal.cli_ok(&["db", "create", "third"]);
    pair.principal.client().database("third").script("create table t(x); insert into t values(3)");
    pair.wait_synchronized();
    pair.assert_equal();
    for server in [&pair.principal, &pair.mirror] {
        let exists = |number: u32| server.data().join(format!("{number}.db")).exists();
        assert!(!exists(2) && !exists(3) && exists(4), "one and two were given before");
    }
    pair.mirror.kill();
    pair.mirror.launch();
    pair.wait_synchronized();
    pair.assert_equal();
}
