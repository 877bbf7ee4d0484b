//! Catching up by pages: only what differs travels, nothing twice, and neither a kill nor a break loses anything.

mod support;

use serde_json::Value;
use support::{
    pair::{Pair, wait_role, wait_synchronized},
    server::{Server, copy_tree},
    wait_for,
    workload::{Workload, assert_has_all, create_table},
};

/// Events that change few pages, `count` of them.
fn many_events(server: &Server, count: u32) {
    let one = "update few set n = n + 1 where id = 1; update few set n = n + 1 where id = 50;";
    for _ in 0..count / 1000 {
        server.client().script(&one.repeat(500));
    }
}

fn few_rows(server: &Server) {
    server.client().run("create table few(id integer primary key, n integer, x blob)");
    server.client().run(
        "with recursive i(i) as (select 1 union all select i + 1 from i where i < 100)
           insert into few select i, 0, randomblob(2000) from i",
    );
}

/// A table of about `mib` MiB that does not compress.
fn much_data(server: &Server, mib: u32) {
    server.client().run("create table if not exists much(id integer primary key, x blob)");
    for _ in 0..mib {
        server.client().run(
            "with recursive i(i) as (select 1 union all select i + 1 from i where i < 256)
               insert into much(x) select randomblob(4000) from i",
        );
    }
}

/// The copies that a server has sent, or received.
fn copies(server: &Server, sending: bool) -> Vec<Value> {
    let status = server.status();
    let all = status["copies"].as_array().expect("a list of copies").clone();
    all.into_iter().filter(|copy| copy["sending"] == sending).collect()
}

/// A copy that has taken its place is redone first; the journal is there before.
fn wait_serves(server: &Server) {
    wait_for("the mirror to serve reads", || {
        (server.try_status().ok()?["serves_reads"] == true).then_some(())
    });
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} is a number: {value}"))
}

#[test]
fn a_mirror_that_missed_many_events_on_few_pages_catches_up_by_pages() {
    let mut pair = Pair::start();
    few_rows(&pair.principal);
    much_data(&pair.principal, 4);
    create_table(&pair.principal);
    pair.wait_synchronized();
    pair.mirror.terminate();
    let before = number(&pair.principal.status()["journal"], "last");
    many_events(&pair.principal, 40_000);
    let missed = number(&pair.principal.status()["journal"], "last") - before;
    assert!(missed >= 40_000, "{missed} events were missed");
    let load = Workload::start(0, 2, &[&pair.principal]);
    pair.mirror.launch();
    wait_synchronized(&pair.principal);
    wait_serves(&pair.mirror);
    load.wait_progress(20);
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, [], "the principal never stopped");
    let sent = copies(&pair.principal, true);
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(number(&sent[0], "pages") < 1_500, "only what changed was sent: {sent:?}");
    assert_has_all(&pair.principal, &confirmed);
    pair.assert_equal();
    assert!(!pair.mirror.data().join("spool").exists(), "the spool is gone once it has served");
}

#[test]
fn a_mirror_whose_journal_is_gone_on_the_principal_is_not_seeded_again() {
    let small = ["--retention-bytes", "16MiB", "--checkpoint-bytes", "8MiB"];
    let mut pair = Pair::start_with(&small, &[]);
    much_data(&pair.principal, 4);
    few_rows(&pair.principal);
    pair.wait_synchronized();
    pair.mirror.terminate();
    let last = number(&pair.principal.status()["journal"], "last");
    wait_for("the journal to lose what the mirror lacks", || {
        pair.principal.client().run("update few set x = randomblob(200000) where id < 20");
        (number(&pair.principal.status()["journal"], "first") > last + 1).then_some(())
    });
    pair.mirror.launch();
    wait_synchronized(&pair.principal);
    wait_serves(&pair.mirror);
    assert_eq!(copies(&pair.principal, true).len(), 1);
    pair.assert_equal();
}

#[test]
fn a_copy_that_breaks_off_goes_on_without_sending_anything_twice() {
    let mut pair = Pair::start();
    few_rows(&pair.principal);
    pair.wait_synchronized();
    pair.mirror.terminate();
    much_data(&pair.principal, 48);
    // So that the pages are fewer than the journal.
    pair.principal.client().run("update much set x = randomblob(4000)");
    many_events(&pair.principal, 5_000);
    let mut kills = 0;
    for goal in [1_000, 1_000, 1_000] {
        pair.mirror.launch();
        let reached = wait_for("the copy to be under way, or over", || {
            let received = copies(&pair.mirror, false);
            let done = received.first().map_or(0, |copy| number(copy, "pages"));
            (done >= goal || !received.is_empty() && received[0]["running"] == false)
                .then_some(done)
        });
        assert!(reached > 0);
        pair.mirror.kill();
        kills += 1;
    }
    pair.mirror.launch();
    wait_synchronized(&pair.principal);
    wait_serves(&pair.mirror);
    pair.assert_equal();
    let sent: u64 = copies(&pair.principal, true).iter().map(|copy| number(copy, "pages")).sum();
    let status = pair.principal.export("main");
    let pages = status.len() as u64 / 4096;
    // What was on its way at a kill is sent again, a few frames each.
    assert!(sent <= pages + kills * 8 * 256 * 2, "{sent} pages were sent for {pages}");
}

#[test]
fn a_mirror_killed_during_the_switch_goes_on_with_it() {
    let mut pair = Pair::start();
    few_rows(&pair.principal);
    pair.wait_synchronized();
    for round in 0..6 {
        pair.mirror.terminate();
        much_data(&pair.principal, 3);
        many_events(&pair.principal, 5_000);
        pair.mirror.launch();
        let wanted =
            ["is whole in the spool", "switching", "taking over", "is in place"][round % 4];
        let seen = pair.mirror.log().matches(wanted).count();
        wait_for(wanted, || (pair.mirror.log().matches(wanted).count() > seen).then_some(()));
        pair.mirror.kill();
        pair.mirror.launch();
        wait_synchronized(&pair.principal);
        wait_serves(&pair.mirror);
        pair.assert_equal();
    }
}

#[test]
fn a_mirror_that_only_spools_can_still_be_promoted() {
    let mut pair = Pair::start();
    few_rows(&pair.principal);
    pair.wait_synchronized();
    pair.mirror.terminate();
    much_data(&pair.principal, 32);
    pair.principal.client().run("update much set x = randomblob(4000)");
    many_events(&pair.principal, 5_000);
    pair.mirror.launch();
    wait_for("the copy to be under way", || {
        (!copies(&pair.mirror, false).is_empty()).then_some(())
    });
    pair.principal.kill();
    wait_for("the promotion to be possible", || {
        (pair.mirror.cli(&["promote", "--yes"]).code == Some(0)).then_some(())
    });
    wait_role(&pair.mirror, "principal");
    let sum = pair.mirror.client().value("select sum(n) from few");
    assert!(sum.is_number(), "its old state is there: {sum}");
    assert_eq!(pair.mirror.client().value("pragma integrity_check"), "ok");
}

#[test]
fn an_older_copy_of_a_data_directory_joins_by_what_differs() {
    let mut pair = Pair::start_with(&["--checkpoint-bytes", "1MiB"], &[]);
    much_data(&pair.principal, 6);
    few_rows(&pair.principal);
    pair.wait_synchronized();
    let filled = number(&pair.principal.status()["journal"], "last");
    wait_for("the mirror's files to hold the data", || {
        pair.principal.client().run("update few set x = randomblob(20000)");
        (number(&pair.mirror.status()["journal"], "redo_after") >= filled).then_some(())
    });
    pair.mirror.terminate();
    let older = pair.mirror.data().with_file_name("older");
    copy_tree(&pair.mirror.data(), &older);
    pair.mirror.launch();
    many_events(&pair.principal, 6_000);
    pair.wait_synchronized();
    pair.mirror.terminate();
    std::fs::remove_dir_all(pair.mirror.data()).unwrap();
    copy_tree(&older, &pair.mirror.data());
    pair.mirror.launch();
    wait_synchronized(&pair.principal);
    wait_serves(&pair.mirror);
    let sent = copies(&pair.principal, true);
    let pages: u64 = sent.iter().map(|copy| number(copy, "pages")).sum();
    assert!(pages < 1_500, "only what differs was sent: {sent:?}");
    pair.assert_equal();
}
