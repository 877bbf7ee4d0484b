//! Databases with the smallest and the largest pages, and in UTF-16, on every way that a database can go: imported,
//! mirrored, healed, backed up, restored, given to a mirror, kept as orphans.
#![allow(missing_docs)]

mod support;

use std::{os::unix::fs::FileExt, path::Path};

use rusqlite::Connection;
use serde_json::Value as Json;
use support::{
    pair::{Pair, start_mirroring, wait_state, wait_synchronized},
    server::{Server, run_cli},
    wait_for,
};

const QUICK: [&str; 4] = ["--partner-timeout", "1s", "--checkpoint-bytes", "1MiB"];

/// Name, page size and encoding.
const ODD: [(&str, u32, &str); 3] =
    [("small", 512, "UTF-16le"), ("large", 65_536, "UTF-16be"), ("tiny8", 512, "UTF-8")];

fn make(path: &Path, page_size: u32, encoding: &str) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA page_size = {page_size}; PRAGMA encoding = '{encoding}';
         CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE INDEX i ON t(v);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         INSERT INTO t SELECT i, 'ä€𝄞' || hex(randomblob(300)) FROM n"
    ))
    .unwrap();
}

/// What a client sees of a database, and that it is whole.
fn seen(server: &Server, name: &str) -> Vec<Json> {
    let client = server.client().database(name);
    assert_eq!(client.value("PRAGMA integrity_check"), "ok", "{name}");
    let one = |sql: &str| client.value(sql);
    vec![
        one("PRAGMA page_size"),
        one("PRAGMA encoding"),
        one("SELECT count(*) || ' ' || sum(length(v)) || ' ' || max(v) FROM t"),
    ]
}

/// Zeros in the middle of a database's file.
fn damage(server: &Server, name: &str) {
    let info: Json = serde_json::from_str(&server.cli_ok(&["db", "info", name, "--json"])).unwrap();
    let path = server.data().join(format!("{}.db", info["id"]));
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.write_all_at(&[0; 100_000], middle).unwrap();
}

fn assert_seen_alike(one: &Server, other: &Server) {
    for (name, page_size, encoding) in ODD {
        let seen_here = seen(one, name);
        assert_eq!((&seen_here[0], &seen_here[1]), (&page_size.into(), &encoding.into()));
        assert_eq!(seen_here, seen(other, name), "{name}");
    }
}

#[test]
fn the_smallest_and_the_largest_pages_and_utf_16_go_all_ways() {
    let pair = Pair::start_with(&QUICK, &[]);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for (name, page_size, encoding) in ODD {
        make(&directory.path().join(name), page_size, encoding);
        pair.principal.cli_ok(&["db", "import", &file(name)]);
        pair.principal.client().database(name).script(
            "UPDATE t SET v = 'ü' || id WHERE id % 7 = 0; DELETE FROM t WHERE id % 11 = 0;
             CREATE TABLE more(x); INSERT INTO more SELECT v FROM t",
        );
    }
    pair.assert_equal();
    assert_seen_alike(&pair.principal, &pair.mirror);

    // Damage on either side, found by reading everything back.
    for server in [&pair.principal, &pair.mirror] {
        wait_checkpointed(server, &pair.principal);
    }
    damage(&pair.mirror, "small");
    damage(&pair.principal, "large");
    let verified = pair.principal.cli_ok(&["verify", "--deep"]);
    assert!(verified.contains("4 of 4 databases equal"), "{verified}");
    pair.assert_equal();

    // A backup makes a server of its own, and a mirror.
    let backup = file("all.backup");
    pair.mirror.cli_ok(&["backup", &backup]);
    let mut restored = Server::prepare(&[]);
    let data = restored.data();
    run_cli(None, &["restore", &backup, "--data", data.to_str().unwrap()]).expect_ok(&["restore"]);
    restored.launch();
    assert_seen_alike(&pair.principal, &restored);
    let third = Server::start_with(&QUICK);
    start_mirroring(&restored, &third, &["--from-backup", &backup]);
    wait_synchronized(&restored);
    support::pair::assert_equal(&restored, &third);

    orphans_of_each(pair, &file);
}

/// What only a deposed principal has, of each.
fn orphans_of_each(mut pair: Pair, file: &dyn Fn(&str) -> String) {
    pair.mirror.kill();
    wait_state(&pair.principal, "DISCONNECTED");
    let alone = "INSERT INTO t VALUES (100000, 'ä nur hier'); UPDATE t SET v = 'ö' WHERE id = 1";
    for (name, ..) in ODD {
        pair.principal.client().database(name).script(alone);
    }
    pair.principal.kill();
    pair.mirror.launch();
    wait_state(&pair.mirror, "DISCONNECTED");
    pair.mirror.cli_ok(&["promote", "--yes"]);
    let mut pair = pair.swapped();
    pair.mirror.launch();
    pair.wait_synchronized();
    pair.assert_equal();
    assert_seen_alike(&pair.principal, &pair.mirror);
    let set = compared(&pair.mirror);
    for (name, page_size, encoding) in ODD {
        let found = databases(&set).find(|database| database["name"] == name).unwrap();
        let counts = |what: &str| found["differences"][what].as_u64().unwrap();
        assert_eq!((counts("inserted"), counts("updated"), counts("deleted")), (1, 1, 0), "{set}");
        let to = file(&format!("{name}.orphans"));
        let id = set["id"].as_str().unwrap();
        pair.mirror.cli_ok(&["orphans", "export", id, &to, "--database", name]);
        let db = Connection::open(to).unwrap();
        let text = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(text("SELECT v FROM t WHERE id = 100000"), "ä nur hier");
        assert_eq!(text("PRAGMA integrity_check"), "ok");
        assert_eq!(text("PRAGMA encoding"), encoding);
        let size: u32 = db.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
        assert_eq!(size, page_size);
    }
}

fn databases(set: &Json) -> impl Iterator<Item = &Json> {
    set["databases"].as_array().into_iter().flatten()
}

/// The only set of a server, once it was compared.
fn compared(server: &Server) -> Json {
    wait_for("the orphans to be compared", || {
        let list: Json =
            serde_json::from_str(&server.cli_ok(&["orphans", "list", "--json"])).unwrap();
        let set = list["sets"].get(0)?;
        let all = databases(set).all(|database| database["differences"].is_object());
        all.then(|| set.clone())
    })
}

/// Waits until everything is in the files: redo or the WAL would hide damage there.
fn wait_checkpointed(server: &Server, writer: &Server) {
    let last = writer.status()["journal"]["last"].as_u64().unwrap();
    wait_for("a checkpoint", || {
        // More than a checkpoint's worth of journal has one follow.
        writer
            .client()
            .script("CREATE TABLE IF NOT EXISTS f(x); INSERT INTO f VALUES (randomblob(300000))");
        (server.status()["journal"]["redo_after"].as_u64()? > last).then_some(())
    });
}
