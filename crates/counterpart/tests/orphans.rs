//! Divergence: what only a deposed principal has is kept, listed and exported, and the server rejoins by itself.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use support::{
    pair::{Pair, assert_equal, wait_state, wait_synchronized},
    server::{Server, copy_tree},
    wait_for,
    workload::rows_on,
};

/// Losing a partner is noticed in a second.
const QUICK: [&str; 2] = ["--partner-timeout", "1s"];

fn pair() -> Pair {
    let pair = Pair::start_with(&QUICK, &[]);
    pair.principal.client().script(
        "create table work(client, n, text, primary key(client, n)); create table t(id integer primary key, v);
         insert into t values (1, 'one'), (2, 'two'), (3, 'three')",
    );
    insert(&pair.principal, 1);
    pair.assert_equal();
    pair
}

fn insert(server: &Server, n: u64) {
    server.client().run(&format!("insert into work values (0, {n}, 'row {n}')"));
}

fn numbers(server: &Server) -> Vec<u64> {
    rows_on(server).into_iter().map(|(_, n)| n).collect()
}

/// The principal confirms alone what `alone` does, then dies; its mirror, which lacks that, is promoted.
fn depose(pair: Pair, alone: impl FnOnce(&Server)) -> Pair {
    let mut pair = pair;
    pair.mirror.kill();
    wait_state(&pair.principal, "DISCONNECTED");
    alone(&pair.principal);
    pair.principal.kill();
    pair.mirror.launch();
    wait_state(&pair.mirror, "DISCONNECTED");
    pair.mirror.cli_ok(&["promote", "--yes"]);
    pair.swapped()
}

/// The sets that a server keeps.
fn sets(server: &Server) -> Vec<Value> {
    let list: Value = serde_json::from_str(&server.cli_ok(&["orphans", "list", "--json"])).unwrap();
    list["sets"].as_array().unwrap().clone()
}

/// The sets, once all of them were compared.
fn compared(server: &Server, count: usize) -> Vec<Value> {
    wait_for("the orphans to be compared", || {
        let sets = sets(server);
        let all = sets.iter().flat_map(|set| set["databases"].as_array().unwrap());
        (sets.len() == count && all.clone().all(|database| database["differences"].is_object()))
            .then_some(sets)
    })
}

#[test]
fn a_deposed_principal_keeps_its_orphans_and_rejoins_by_itself() {
    let mut pair = depose(pair(), |old| {
        insert(old, 2);
        old.client().script("update t set v='zwei' where id=2; delete from t where id=3");
    });
    insert(&pair.principal, 4);
    pair.mirror.launch();
    pair.wait_synchronized();
    pair.assert_equal();
    assert_eq!(numbers(&pair.mirror), [1, 4]);

    let old = &pair.mirror;
    let sets = compared(old, 1);
    let (set, main) = (sets[0]["id"].as_str().unwrap(), &sets[0]["databases"][0]);
    assert_eq!(main["name"], "main");
    let found = &main["differences"];
    assert_eq!(
        (&found["inserted"], &found["updated"], &found["deleted"]),
        (&1.into(), &1.into(), &2.into()),
        "row 2 is only here; t.2 differs; t.3 and row 4 are only there: {found}"
    );
    let shown = old.cli_ok(&["orphans", "show", set]);
    assert!(shown.contains("zwei") && shown.contains("row 2"), "{shown}");
    assert!(pair.principal.cli_ok(&["orphans", "list"]).contains("no orphans"));

    // The SQL makes them part of the new principal again, if the operator wants that.
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (sql, copy) = (file("orphans.sql"), file("orphans.db"));
    old.cli_ok(&["orphans", "export", set, &sql, "--form", "sql"]);
    old.cli_ok(&["orphans", "export", set, &copy]);
    let sql = std::fs::read_to_string(sql).unwrap();
    let wanted = sql.lines().filter(|line| line.contains("row 2") || line.contains("zwei"));
    for statement in wanted {
        pair.principal.client().run(statement.trim_end_matches(';'));
    }
    assert_eq!(numbers(&pair.principal), [1, 2, 4]);
    assert_eq!(pair.principal.client().value("select v from t where id=2"), "zwei");

    // The SQLite file is the database as it was, and any server takes it.
    let other = Server::start();
    other.cli_ok(&["db", "import", &copy, "--name", "orphans"]);
    let found = other.client().database("orphans").rows("select n from work order by n");
    assert_eq!(found, [[Value::from(1)], [Value::from(2)]]);

    let refused = old.cli(&["orphans", "drop", set]);
    assert_ne!(refused.code, Some(0), "not without a yes: {}", refused.stdout);
    old.cli_ok(&["orphans", "drop", set, "--yes"]);
    assert_eq!(compared(old, 0), [] as [Value; 0]);
}

#[test]
fn orphans_survive_a_kill_and_are_saved_once() {
    let mut pair = depose(pair(), |old| insert(old, 2));
    insert(&pair.principal, 4);
    pair.mirror.launch();
    // Whenever it is hit, the next start goes on.
    for _ in 0..3 {
        pair.mirror.kill();
        pair.mirror.launch();
    }
    pair.wait_synchronized();
    pair.assert_equal();
    assert_eq!(compared(&pair.mirror, 1).len(), 1);
    assert_eq!(numbers(&pair.mirror), [1, 4]);
}

#[test]
fn a_database_that_cannot_be_compared_is_not_in_the_way_of_the_others() {
    let pair = pair();
    pair.principal.cli_ok(&["db", "create", "other"]);
    pair.assert_equal();
    let mut pair = depose(pair, |old| {
        insert(old, 2);
        old.client().database("other").script("create table t(x)");
    });
    // Of the same name, but in another encoding: SQLite does not read both at once.
    pair.principal.cli_ok(&["db", "drop", "other", "--yes"]);
    pair.principal.cli_ok(&["db", "create", "other"]);
    let anew = pair.principal.client().database("other");
    anew.script("pragma encoding='UTF-16le'; create table t(x)");
    // A drop or a save that the server did not live to end.
    let remains = pair.mirror.data().join("orphans/1.1-1-1.partial");
    std::fs::create_dir_all(&remains).unwrap();
    pair.mirror.launch();
    pair.wait_synchronized();
    assert!(!remains.exists());
    let set = wait_for("main to be compared", || {
        let set = sets(&pair.mirror).first()?.clone();
        let compared = |database: &&Value| database["differences"].is_object();
        set["databases"].as_array()?.iter().find(compared).map(|_| set.clone())
    });
    let of = |name: &str| {
        let mut all = set["databases"].as_array().unwrap().iter();
        all.find(|database| database["name"] == name).unwrap()["differences"].clone()
    };
    assert_eq!((&of("main")["inserted"], &of("other")), (&1.into(), &Value::Null), "{set}");
    let shown = pair.mirror.cli_ok(&["orphans", "show", set["id"].as_str().unwrap()]);
    assert!(shown.contains("row 2") && shown.contains("other: can't be compared"), "{shown}");
}

#[test]
fn a_fork_that_happens_twice_leaves_two_sets() {
    let mut pair = depose(pair(), |old| insert(old, 2));
    insert(&pair.principal, 3);
    pair.mirror.launch();
    pair.wait_synchronized();
    // Now the other way round: the one that was promoted is deposed in its turn.
    let mut pair = depose(pair, |old| insert(old, 5));
    insert(&pair.principal, 6);
    pair.mirror.launch();
    pair.wait_synchronized();
    pair.assert_equal();
    assert_eq!(numbers(&pair.mirror), [1, 3, 6]);
    assert_eq!(compared(&pair.mirror, 1).len(), 1, "row 5");
    assert_eq!(compared(&pair.principal, 1).len(), 1, "row 2, from the time when it was deposed");
}

#[test]
fn with_manual_rejoining_a_deposed_principal_parks_until_it_is_told() {
    let serve = [&QUICK[..], &["--rejoin", "manual"]].concat();
    let first = Pair::start_with(&serve, &[]);
    first.principal.client().script("create table work(client, n, text)");
    insert(&first.principal, 1);
    first.assert_equal();
    let mut pair = depose(first, |old| insert(old, 2));
    pair.mirror.launch();
    wait_state(&pair.mirror, "SUSPENDED");
    assert_eq!(numbers(&pair.mirror), [1, 2], "its data is untouched and can be read");
    let words = pair.mirror.cli_ok(&["status"]);
    assert!(words.contains("mirror rejoin"), "it says what to do: {words}");
    pair.mirror.cli_ok(&["mirror", "rejoin", "--yes"]);
    pair.wait_synchronized();
    pair.assert_equal();
    assert_eq!(compared(&pair.mirror, 1).len(), 1);
}

#[test]
fn a_principal_restored_from_an_old_image_yields_to_its_mirror() {
    let mut pair = pair();
    let image = tempfile::tempdir().unwrap();
    pair.principal.terminate();
    copy_tree(&pair.principal.data(), &image.path().join("data"));
    pair.principal.launch();
    pair.wait_synchronized();
    insert(&pair.principal, 2);
    pair.assert_equal();
    pair.principal.terminate();
    std::fs::remove_dir_all(pair.principal.data()).unwrap();
    copy_tree(&image.path().join("data"), &pair.principal.data());
    pair.principal.launch();
    let refused = wait_for("the old image to stop writing", || {
        let outcome = pair.principal.client().execute("insert into work values (0, 9, 'x')", &[]);
        outcome.err().filter(|failure| failure.code == "ROLLED_BACK")
    });
    assert!(refused.message.contains("promote"), "it says what to do: {refused:?}");
    assert_eq!(numbers(&pair.mirror), [1, 2], "the mirror keeps what was confirmed");
    pair.mirror.cli_ok(&["promote", "--yes"]);
    let pair = pair.swapped();
    wait_synchronized(&pair.principal);
    let found = numbers(&pair.principal);
    assert!(found.starts_with(&[1, 2]), "{found:?}");
    assert_equal(&pair.principal, &pair.mirror);
}
