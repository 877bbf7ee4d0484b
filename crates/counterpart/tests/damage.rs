//! Damage under a running pair, and found at a start: nothing wrong is served, and what a partner has is repaired.
#![allow(missing_docs)]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{
    at_rest::{Image, flip_page, main_file},
    client::send_json,
    pair::{Pair, start_mirroring, wait_applied, wait_synchronized},
    server::{Server, refused_with},
    stream::Stream,
    wait_for,
};

const QUICK: [&str; 4] = ["--partner-timeout", "1s", "--checkpoint-bytes", "1MiB"];
const PAGE: u64 = 4096;

/// Rows that fill a few hundred pages, and one more table.
fn filled() -> Pair {
    let pair = Pair::start_with(&QUICK, &[]);
    pair.principal.client().script(
        "create table t(id integer primary key, v text);
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 4000)
         insert into t select i, hex(randomblob(250)) from n",
    );
    pair.assert_equal();
    for server in [&pair.principal, &pair.mirror] {
        wait_checkpointed(server);
    }
    pair
}

/// Waits until everything is in the files: the WAL is of no use to whoever looks for damage there.
fn wait_checkpointed(server: &Server) {
    // More than a checkpoint's worth of journal has one follow.
    wait_for("a checkpoint", || {
        let status = server.status();
        (status["journal"]["redo_after"].as_u64()? > 4).then_some(())
    });
}

fn pages(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len() / PAGE
}

fn count(server: &Server) -> Result<Value, String> {
    let rows = server.client().execute("select count(*), sum(length(v)) from t", &[]);
    rows.map(|result| result["rows"].clone()).map_err(|failure| failure.code)
}

fn integrity(server: &Server) -> Value {
    server.status()["integrity"].clone()
}

/// Reads everything back on both and compares; the outcome as JSON.
fn verify(server: &Server) -> (bool, Value) {
    let outcome = server.cli(&["verify", "--deep", "--json"]);
    let text = outcome.stdout.trim();
    let value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    (outcome.code == Some(0), value)
}

#[test]
fn a_pair_verifies_by_checksum_and_by_reading_everything_back() {
    let pair = filled();
    let words = pair.principal.cli_ok(&["verify"]);
    assert!(words.contains("equal, page by page"), "{words}");
    // From the mirror, too, and while writes go on.
    pair.principal.client().run("insert into t values (5001, 'more')");
    let words = pair.mirror.cli_ok(&["verify", "--deep"]);
    assert!(words.contains("all good"), "{words}");
    assert!(words.contains("equal, page by page"), "{words}");
}

#[test]
fn a_page_that_is_damaged_at_rest_is_repaired_on_either_side_before_it_is_read() {
    let mut pair = filled();
    let right = count(&pair.principal).unwrap();
    for turn in 0..2 {
        let server = if turn == 0 { &mut pair.mirror } else { &mut pair.principal };
        server.terminate();
        let path = main_file(server);
        for page in [1, 2, 3, pages(&path) / 2, pages(&path)] {
            flip_page(&path, page);
        }
        server.launch();
        pair.wait_synchronized();
        let server = if turn == 0 { &pair.mirror } else { &pair.principal };
        wait_for("the damaged pages to be repaired by whoever reads them", || {
            (count(server).ok()? == right).then_some(())
        });
        let damage = integrity(server)["damage"].clone();
        // Without page 1 a database can't be opened: all of it is mended then, instead of page by page.
        assert!(damage["found"].as_u64().unwrap() >= 1, "{damage}");
        let (good, outcome) = verify(server);
        assert!(good, "{outcome}");
    }
    pair.assert_equal();
}

#[test]
fn without_a_partner_a_damaged_page_is_refused_by_name_and_the_others_are_served() {
    let mut pair = filled();
    pair.mirror.terminate();
    pair.principal.terminate();
    let path = main_file(&pair.principal);
    flip_page(&path, pages(&path) / 2);
    pair.principal.launch();
    assert_eq!(count(&pair.principal), Err("DATA_DAMAGED".to_owned()));
    let first = pair.principal.client().value("select length(v) from t where id = 1");
    assert_eq!(first, 500, "a page that is not damaged");
    let outcome = pair.principal.cli(&["verify", "--deep", "--json"]);
    assert_ne!(outcome.code, Some(0));
    // As soon as the mirror is there again, it is repaired.
    pair.mirror.launch();
    pair.wait_synchronized();
    wait_for("the page to be repaired", || count(&pair.principal).ok());
    let (good, outcome) = verify(&pair.principal);
    assert!(good, "{outcome}");
}

#[test]
fn a_scrub_finds_and_repairs_what_nobody_reads_while_both_serve() {
    let pair = filled();
    for server in [&pair.mirror, &pair.principal] {
        let path = main_file(server);
        let last = pages(&path);
        // Beneath SQLite, which has these pages in no cache after the files were copied.
        for page in [last - 3, last - 2, last - 1] {
            flip_page(&path, page);
        }
        let (good, outcome) = verify(server);
        assert!(good, "{outcome}");
        let found = outcome["scrubs"].as_array().unwrap();
        let sum = |name: &str| found.iter().map(|s| s[name].as_u64().unwrap()).sum::<u64>();
        assert_eq!((sum("damaged_pages"), sum("repaired_pages")), (3, 3), "{outcome}");
    }
    pair.assert_equal();
}

#[test]
fn a_damaged_segment_of_the_journal_is_mended_from_the_partner() {
    let pair = filled();
    let mut segments: Vec<_> = std::fs::read_dir(pair.mirror.data().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_str().unwrap().contains("spare"))
        .collect();
    segments.sort();
    flip_page(&segments[0], 3);
    let (good, outcome) = verify(&pair.principal);
    assert!(good, "{outcome}");
    let mended = |s: &Value| s["repaired_segments"] == 1;
    assert!(outcome["scrubs"].as_array().unwrap().iter().any(mended), "{outcome}");
    assert_eq!(verify(&pair.principal).1["scrubs"][0]["damaged_segments"], 0);
    pair.assert_equal();
}

/// The only segment of a stopped mirror's journal, damaged where records are that were hardened.
fn damage_journal(mirror: &Server) -> std::path::PathBuf {
    let segments = std::fs::read_dir(mirror.data().join("journal")).unwrap();
    let paths = segments.map(|entry| entry.unwrap().path());
    let path = paths.into_iter().find(|path| !path.to_str().unwrap().contains("spare")).unwrap();
    flip_page(&path, 100);
    path
}

#[test]
fn a_mirror_with_a_damaged_journal_starts_and_gets_what_differs_from_its_partner() {
    let mut pair = filled();
    pair.principal.client().script("create table more(x); insert into more values (1)");
    pair.assert_equal();
    pair.mirror.terminate();
    pair.principal
        .client()
        .script("insert into more values (2); update t set v = 'new' where id < 9");
    damage_journal(&pair.mirror);
    let path = main_file(&pair.mirror);
    // Not even the map tells of this one any more.
    flip_page(&path, pages(&path) / 2);
    pair.mirror.launch();
    assert!(pair.mirror.log().contains("goes on without its journal"), "{}", pair.mirror.log());
    pair.wait_synchronized();
    pair.assert_equal();
    assert_eq!(pair.mirror.client().value("select sum(x) from more"), 3);
    let copied = pair.mirror.log().contains("the pages that differ follow");
    assert!(copied, "{}", pair.mirror.log());
    let (good, outcome) = verify(&pair.principal);
    assert!(good, "{outcome}");
    let aside = pair.mirror.data().join("given-up");
    wait_for("what was given up to be deleted", || (!aside.exists()).then_some(()));
    pair.mirror.terminate();
    pair.mirror.launch();
    pair.wait_synchronized();
    pair.assert_equal();
    pair.principal.cli_ok(&["failover"]);
}

#[test]
fn a_mirror_with_a_damaged_journal_and_no_partner_in_reach_stays_as_it_is() {
    let mut pair = filled();
    let right = count(&pair.principal).unwrap();
    pair.mirror.terminate();
    pair.principal.terminate();
    let segment = damage_journal(&pair.mirror);
    let (control, before) =
        (std::fs::read(pair.mirror.data().join("control")).unwrap(), pair.mirror.log().len());
    let ended = pair.mirror.launch_or_end().expect_err("it does not start");
    assert_eq!(ended.code(), Some(7));
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(pair.mirror.log()[before..].contains(name), "{}", pair.mirror.log());
    assert_eq!(std::fs::read(pair.mirror.data().join("control")).unwrap(), control);
    flip_page(&segment, 100);
    pair.mirror.launch();
    assert_eq!(count(&pair.mirror).unwrap(), right);
}

#[test]
fn a_file_cut_short_or_gone_is_whole_again_on_the_mirror() {
    let mut pair = filled();
    let right = count(&pair.principal).unwrap();
    for gone in [false, true] {
        pair.mirror.terminate();
        let path = main_file(&pair.mirror);
        if gone {
            std::fs::remove_file(&path).unwrap();
        } else {
            let half = std::fs::metadata(&path).unwrap().len() / 2;
            std::fs::File::options().write(true).open(&path).unwrap().set_len(half).unwrap();
        }
        pair.mirror.launch();
        wait_for("the mirror to be whole", || (count(&pair.mirror).ok()? == right).then_some(()));
        wait_synchronized(&pair.principal);
        let (good, outcome) = verify(&pair.principal);
        assert!(good, "{outcome}");
    }
    pair.assert_equal();
}

/// Redo writes pages behind the end of such a file and leaves holes before them, which are zeros and nobody's.
#[test]
fn a_mirror_with_an_older_and_shorter_file_serves_no_holes() {
    let mut pair = filled();
    pair.mirror.terminate();
    let old = Image::of(&pair.mirror);
    pair.mirror.launch();
    pair.wait_synchronized();
    let more = |from: u32, to: u32| {
        pair.principal.client().run(&format!(
            "with recursive n(i) as (select {from} union all select i + 1 from n where i < {to})
             insert into t select i, hex(randomblob(250)) from n"
        ));
    };
    more(5000, 12_000);
    pair.assert_equal();
    let grown = pair.mirror.status()["applied"].as_u64().unwrap();
    wait_for("a checkpoint of what was added", || {
        more(20_000, 20_000);
        pair.principal.client().run("delete from t where id = 20000");
        (pair.mirror.status()["journal"]["redo_after"].as_u64()? >= grown).then_some(())
    });
    more(30_000, 30_100);
    wait_applied(&pair.principal, &pair.mirror);
    let right = count(&pair.principal).unwrap();
    pair.mirror.kill();
    old.put_back();
    pair.mirror.launch();
    let served = wait_for("the mirror to serve", || count(&pair.mirror).ok());
    assert_eq!(served, right);
    let (good, outcome) = verify(&pair.principal);
    assert!(good, "{outcome}");
    pair.assert_equal();
}

#[test]
fn a_mirror_whose_database_is_another_one_is_healed_while_the_others_go_on() {
    let mut pair = filled();
    pair.principal.cli_ok(&["db", "create", "other"]);
    pair.assert_equal();
    pair.mirror.terminate();
    let old = Image::of(&pair.mirror);
    pair.mirror.launch();
    pair.wait_synchronized();
    pair.principal.client().script("update t set v = hex(randomblob(200)) where id % 3 = 0");
    pair.assert_equal();
    wait_for("a checkpoint of the update", || {
        let status = pair.mirror.status();
        (status["journal"]["redo_after"].as_u64()? + 2 >= status["applied"].as_u64()?).then_some(())
    });
    pair.mirror.terminate();
    old.put_back();
    pair.mirror.launch();
    let other = pair.principal.client().database("other");
    other.script("create table o(x); insert into o values (1)");
    wait_applied(&pair.principal, &pair.mirror);
    wait_for("the database to be healed", || {
        let (good, _) = verify(&pair.principal);
        good.then_some(())
    });
    assert_eq!(count(&pair.mirror).unwrap(), count(&pair.principal).unwrap());
    pair.principal.client().run("insert into t values (6001, 'after')");
    pair.assert_equal();
    let evidence = std::fs::read_dir(pair.mirror.data().join("damage")).unwrap().count();
    assert!(evidence > 0, "what was found is kept");
}

#[test]
fn a_mirror_is_seeded_anew_although_clients_have_it_open() {
    let pair = filled();
    let mut reading = Stream::on(&pair.mirror.client());
    reading.run("begin");
    assert_eq!(reading.value("select count(*) from t"), 4000);
    let mut marked = Stream::on(&pair.mirror.client());
    marked.run("create temp table mine(x)");
    pair.principal.client().run("insert into t values (7001, 'new')");
    start_mirroring(&pair.principal, &pair.mirror, &["--replace"]);
    pair.wait_synchronized();
    pair.assert_equal();
    for stream in [&mut reading, &mut marked] {
        assert_eq!(stream.code("select count(*) from t"), "STREAM_EXPIRED");
    }
    let (good, outcome) = verify(&pair.principal);
    assert!(good, "{outcome}");
}

#[test]
fn what_is_asked_of_a_comparison_must_make_sense() {
    let server = Server::start();
    let url = format!("{}/api/v1/checksums/compare", server.url());
    let (status, answer) = send_json("POST", &url, &json!({ "databases": [{ "id": "x" }] }));
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("INVALID_BODY")), "{answer}");
    let nobody = json!([{ "id": 77, "name": "nobody", "lsn": 1, "checksum": null }]);
    let (_, answer) = send_json("POST", &url, &json!({ "databases": nobody }));
    assert_eq!(answer["databases"][0]["verdict"], "missing", "{answer}");
    refused_with(server.cli(&["orphans", "show", "../../etc", "--json"]), "ORPHANS_NOT_FOUND");
}
