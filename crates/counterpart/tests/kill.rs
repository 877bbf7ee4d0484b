//! Servers killed with `kill -9` under load: nothing confirmed is lost, nothing is there twice.

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::{
    pair::{Pair, databases, wait_role, wait_state, wait_synchronized},
    server::Server,
    wait_for,
    workload::{Workload, assert_has_all, create_table},
};

/// How often each kind of kill is repeated; more in a soak.
fn rounds(normal: u64) -> u64 {
    if support::is_soak() { normal * 20 } else { normal }
}

/// A number that differs from round to round, so that kills hit different moments.
fn moment(round: u64) -> u64 {
    40 + round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 400
}

#[test]
fn a_promoted_mirror_has_every_row_that_the_killed_principal_confirmed() {
    let mut pair = Pair::start();
    create_table(&pair.principal);
    let mut all = BTreeSet::new();
    for round in 0..rounds(20) {
        let load = Workload::start(round * 8, 8, &[&pair.principal]);
        load.wait_progress(moment(round));
        pair.principal.kill();
        let (confirmed, _failures) = load.stop();
        all.extend(confirmed);
        wait_state(&pair.mirror, "DISCONNECTED");
        pair.mirror.cli_ok(&["promote", "--yes"]);
        wait_role(&pair.mirror, "principal");
        assert_has_all(&pair.mirror, &all);
        pair.mirror
            .client()
            .run("insert into work values(1000000, (select count(*) from work), 'promoted')");

        // The old one comes back, finds itself deposed, and is taken in again.
        pair.principal.launch();
        pair = pair.swapped();
        pair.wait_synchronized();
        pair.assert_equal();
    }
}

#[test]
fn a_killed_mirror_comes_back_level_and_the_principal_never_stops() {
    let mut pair = Pair::start();
    create_table(&pair.principal);
    let load = Workload::start(0, 8, &[&pair.principal]);
    for round in 0..rounds(20) {
        load.wait_progress(moment(round));
        pair.mirror.kill();
        load.wait_progress(20);
        pair.mirror.launch();
        wait_synchronized(&pair.principal);
    }
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, [], "the principal's clients noticed nothing");
    assert_has_all(&pair.principal, &confirmed);
    pair.assert_equal();
}

#[test]
fn both_killed_at_once_lose_nothing_confirmed() {
    let mut pair = Pair::start();
    create_table(&pair.principal);
    let mut all = BTreeSet::new();
    for round in 0..rounds(20) {
        let load = Workload::start(round * 8, 8, &[&pair.principal]);
        load.wait_progress(moment(round));
        if round % 2 == 0 {
            pair.principal.kill();
            pair.mirror.kill();
        } else {
            pair.mirror.kill();
            pair.principal.kill();
        }
        let (confirmed, _failures) = load.stop();
        all.extend(confirmed);
        pair.principal.launch();
        pair.mirror.launch();
        pair.wait_synchronized();
        assert_has_all(&pair.principal, &all);
        pair.assert_equal();
    }
}

/// A transaction of many chunks is confirmed while the newest commit LSN that a record tells of lies in its middle. A
/// recovery that began there took its second half for the whole.
#[test]
fn a_large_transaction_that_was_confirmed_right_before_a_kill_is_whole_afterwards() {
    let mut pair = Pair::start();
    let client = pair.principal.client();
    client.run("create table big(id integer primary key, round integer, x blob)");
    client.run(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 400)
           insert into big select i, 0, randomblob(50000) from n",
    );
    for round in 1..=rounds(6) {
        let sql = format!("update big set round = {round}, x = randomblob(50000)");
        pair.principal.client().run(&sql);
        pair.principal.kill();
        if round % 2 == 0 {
            pair.mirror.kill();
            pair.mirror.spawn();
        }
        pair.principal.launch();
        pair.wait_synchronized();
        let client = pair.principal.client();
        let sql = format!("select count(*) from big where round = {round} and length(x) = 50000");
        assert_eq!(client.value(&sql), 400);
        assert_eq!(client.value("pragma integrity_check"), "ok");
        pair.assert_equal();
    }
}

/// What a server knows when it starts: its control file, which has one line before the JSON.
fn control(server: &Server) -> Value {
    let text = std::fs::read_to_string(server.data().join("control")).unwrap();
    serde_json::from_str(text.split_once('\n').expect("a first line").1).unwrap()
}

/// A mirror noted a creation or a drop in its catalog and forgot, at a restart, that it had been final. A principal
/// that was promoted without that event had it cut from the mirror's journal, and the catalog kept a ghost: a database
/// under the name of another one with the same number.
#[test]
fn what_a_killed_mirror_has_in_its_catalog_is_final_when_it_starts_again() {
    let mut pair = Pair::start();
    for (change, there) in [("create", true), ("drop", false)] {
        let before = control(&pair.mirror)["catalog_lsn"].as_u64().unwrap();
        pair.principal.cli_ok(&["db", change, "ghost", if there { "--json" } else { "--yes" }]);
        wait_for("the mirror's catalog to change", || {
            (databases(&pair.mirror).contains(&"ghost".to_owned()) == there
                && control(&pair.mirror)["catalog_lsn"].as_u64()? > before)
                .then_some(())
        });
        pair.mirror.kill();
        let known = control(&pair.mirror);
        assert!(
            known["commit_lsn"].as_u64() >= known["catalog_lsn"].as_u64(),
            "what the catalog says might be cut: {known}"
        );
        pair.mirror.launch();
        pair.wait_synchronized();
        pair.assert_equal();
    }
}
