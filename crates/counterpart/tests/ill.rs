//! A database that is out of use while its server goes on: what was written meanwhile must be in it before it is used
//! again, and nobody may take the rest for everything.
#![allow(missing_docs)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use support::{
    at_rest::{Image, flip_page, main_file},
    pair::{Pair, wait_applied},
    server::{Server, refused_with},
    wait_for,
};

const QUICK: [&str; 4] = ["--partner-timeout", "1s", "--checkpoint-bytes", "1MiB"];

/// Rows that fill a few thousand pages, all of them in the files.
fn filled(safety: &str) -> Pair {
    let pair = Pair::start_with(&QUICK, &["--safety", safety]);
    pair.principal.client().script(
        "create table t(id integer primary key, v text);
         create table newest(id integer primary key, v integer);
         insert into newest values (1, 0); create table filler(v blob);
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 4000)
         insert into t select i, hex(randomblob(2000)) from n",
    );
    let last = pair.principal.status()["journal"]["last"].as_u64().unwrap();
    pair.assert_equal();
    for server in [&pair.principal, &pair.mirror] {
        // Otherwise redo would mend what a test damages.
        wait_checkpointed(server, last - 1);
    }
    pair
}

fn wait_checkpointed(server: &Server, after: u64) {
    wait_for("a checkpoint", || {
        (server.status()["journal"]["redo_after"].as_u64()? > after).then_some(())
    });
}

fn totals(server: &Server) -> Result<Value, String> {
    let rows = server.client().execute("select count(*), sum(length(v)) from t", &[]);
    rows.map(|result| result["rows"].clone()).map_err(|failure| failure.code)
}

/// Replay passes over the records of a database that is out of use. The copy that heals it is as of the moment when the
/// principal took it, and the mirror had passed over later records by the time it was put in place: these were never
/// applied. While somebody wrote, the database differed again at once; when nobody did, it stayed behind in silence.
#[test]
fn a_database_that_is_written_to_while_it_is_healed_has_all_of_it() {
    // Commits that wait for the mirror would wait for what heals it, too.
    let mut pair = filled("off");
    pair.mirror.terminate();
    let old = Image::of(&pair.mirror);
    pair.mirror.launch();
    pair.wait_synchronized();
    pair.principal.client().script("update t set v = hex(randomblob(2000))");
    pair.assert_equal();
    // Or redo would bring the update once more. A checkpoint that met a reader is made up for by a later one.
    let updated = pair.mirror.status()["applied"].as_u64().unwrap();
    wait_for("a checkpoint of the update", || {
        pair.principal.client().run("insert into filler values (randomblob(400000))");
        (pair.mirror.status()["journal"]["redo_after"].as_u64()? >= updated).then_some(())
    });
    pair.mirror.terminate();
    old.put_back();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for first in [10_000, 20_000] {
            let (client, done) = (pair.principal.client(), &done);
            scope.spawn(move || {
                for id in first.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    client.run(&format!("insert into t values ({id}, 'x')"));
                }
            });
        }
        pair.mirror.launch();
        wait_for("the database to be healed", || totals(&pair.mirror).ok());
        done.store(true, Ordering::Relaxed);
    });
    wait_applied(&pair.principal, &pair.mirror);
    assert_eq!(totals(&pair.mirror), totals(&pair.principal));
    pair.assert_equal();
    let evidence = std::fs::read_dir(pair.mirror.data().join("damage")).unwrap();
    let told = evidence.filter(|file| {
        file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|e| e == "json"))
    });
    assert_eq!(told.count(), 1, "it differed once, and was healed once");
}

/// A principal that starts applies what is not known to be final only when it acts, and passed over the records of a
/// database whose file could not be opened. Mended, it was served without them: confirmed rows were gone, and the
/// mirror, which had them, was then made like it.
#[test]
fn a_mended_database_of_a_principal_has_what_was_confirmed_last() {
    let mut pair = filled("full");
    let client = pair.principal.client();
    // Redo would mend page 1, too: these commits leave it as it is.
    for value in 1..=20 {
        client.run(&format!("update newest set v = {value}"));
    }
    pair.principal.kill();
    flip_page(&main_file(&pair.principal), 1);
    pair.principal.launch();
    let found = wait_for("the database to be mended", || totals(&pair.principal).ok());
    assert_eq!(found, totals(&pair.mirror).unwrap());
    assert_eq!(pair.principal.client().value("select v from newest"), 20);
    pair.principal.client().run("update newest set v = v + 1");
    pair.assert_equal();
    assert!(!pair.mirror.data().join("damage").exists(), "the mirror never differed");
}

/// An attempt brought the file to the end and failed after that: the next one must not build on what it finds there.
#[test]
fn a_mending_that_broke_off_is_begun_again_from_a_mark() {
    let mut pair = filled("full");
    let client = pair.principal.client();
    client.run(
        "with recursive n(i) as (select 2 union all select i + 1 from n where i < 100)
         insert into newest select i, i from n",
    );
    // What is kept behind a row that goes moves up: a second time is not like the first.
    for id in 41..=60 {
        client.run(&format!("delete from newest where id = {id}"));
    }
    pair.principal.kill();
    pair.mirror.terminate();
    flip_page(&main_file(&pair.principal), 1);
    pair.principal.launch();
    assert_eq!(totals(&pair.principal), Err("DATA_DAMAGED".to_owned()));
    let map = pair.principal.data().join("1.map");
    let away = map.with_extension("away");
    std::fs::hard_link(&map, &away).unwrap();
    std::fs::remove_file(&map).unwrap();
    // It leads nowhere, so that the map can't be made durable.
    std::os::unix::fs::symlink(&map, &map).unwrap();
    pair.mirror.launch();
    wait_for("an attempt to fail", || {
        pair.principal.log().contains("can't be brought to the newest position").then_some(())
    });
    std::fs::remove_file(&map).unwrap();
    std::fs::hard_link(&away, &map).unwrap();
    wait_for("the database to be mended", || totals(&pair.principal).ok());
    assert_eq!(pair.principal.client().value("select count(*) from newest"), 80);
    pair.assert_equal();
    assert!(!pair.mirror.data().join("damage").exists(), "the mirror never differed");
}

/// A server without a partner did not start at all when one of its databases was damaged.
#[test]
fn a_server_alone_refuses_the_database_that_is_damaged_and_serves_the_others() {
    let mut server = Server::start_with(&QUICK);
    for name in ["second", "third"] {
        server.cli_ok(&["db", "create", name]);
        let client = server.client().database(name);
        client.script("create table t(x); insert into t values (1)");
    }
    let mark = server.status()["journal"]["last"].as_u64().unwrap();
    server
        .client()
        .script("create table filler(v blob); insert into filler values (randomblob(2000000))");
    wait_checkpointed(&server, mark);
    let count = |server: &Server, name: &str| {
        let rows = server.client().database(name).execute("select count(*) from t", &[]);
        rows.map(|result| result["rows"][0][0]["value"].clone())
    };
    // Not in the file yet: redo must have it for whoever puts the file right.
    server.client().database("second").run("insert into t values (2)");
    server.terminate();
    let path = server.data().join("2.db");
    let sound = std::fs::read(&path).unwrap();
    flip_page(&path, 1);
    std::fs::remove_file(server.data().join("3.db")).unwrap();
    for round in 0..2 {
        server.launch();
        for name in ["second", "third"] {
            let refused = count(&server, name).unwrap_err();
            assert_eq!(refused.code, "DATA_DAMAGED", "round {round}: {refused:?}");
            let remedy = format!("counterpart db drop {name}");
            assert!(refused.message.contains(&remedy), "{refused:?}");
        }
        // More than a checkpoint's worth, and a catalog that is newer than where redo begins.
        server.client().run("insert into filler values (randomblob(2000000))");
        server.cli_ok(&["db", "create", &format!("new{round}")]);
        assert_eq!(server.client().value("select count(*) from filler"), round + 2);
        let shown = server.cli_ok(&["status"]);
        assert!(shown.contains("second") && shown.contains("db drop"), "{shown}");
        server.terminate();
    }
    std::fs::write(&path, sound).unwrap();
    server.launch();
    assert_eq!(count(&server, "second").unwrap(), "2");
    server.cli_ok(&["db", "drop", "third", "--yes"]);
    assert_eq!(count(&server, "third").unwrap_err().code, "DATABASE_NOT_FOUND");
    let dropped = server.status()["journal"]["last"].as_u64().unwrap();
    server.client().run("insert into filler values (randomblob(2000000))");
    wait_checkpointed(&server, dropped);
    server.terminate();
    server.launch();
    assert_eq!(count(&server, "second").unwrap(), "2");
    assert_eq!(server.status()["mirroring"]["differs"], serde_json::json!([]));
}

/// A copy lists the databases that are open. Made while one is out of use, it was a backup without that database; and a
/// mirror that took it deleted its own, the only good one that was left.
#[test]
fn a_server_that_lacks_a_database_makes_no_copy_of_the_rest() {
    let mut pair = filled("full");
    pair.principal.cli_ok(&["db", "create", "other"]);
    pair.assert_equal();
    pair.mirror.terminate();
    pair.principal.terminate();
    flip_page(&main_file(&pair.principal), 1);
    pair.principal.launch();
    assert_eq!(totals(&pair.principal), Err("DATA_DAMAGED".to_owned()));
    let backup = pair.principal.data().join("../incomplete.backup");
    let told = pair.principal.cli(&["backup", backup.to_str().unwrap(), "--json"]);
    refused_with(told, "DATA_DAMAGED");
    // The mirror has the page. With it, all is there again.
    pair.mirror.launch();
    pair.wait_synchronized();
    wait_for("the database to be mended", || totals(&pair.principal).ok());
    pair.principal.cli_ok(&["backup", backup.to_str().unwrap()]);
    std::fs::remove_file(backup).unwrap();
    pair.assert_equal();
}
