//! Whatever SQLite can do to a database reaches the mirror, and both copies are equal page by page.

mod support;

use serde_json::json;
use support::{
    pair::{Pair, databases, start_mirroring, wait_applied, wait_state, wait_synchronized},
    server::Server,
    stream::Stream,
    wait_for,
    workload::{Workload, assert_has_all, create_table},
};

#[test]
fn schema_changes_vacuum_and_virtual_tables_are_mirrored() {
    let pair = Pair::start();
    let client = pair.principal.client();
    client.script(
        "create table a(id integer primary key, t text unique, r real, b blob);
         create index a_r on a(r);
         create view v as select id from a;
         create trigger tr after insert on a begin update a set r = 1.5 where id = new.id; end;
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
           insert into a(t, b) select 'row ' || i, randomblob(200) from n;
         alter table a add column extra text default 'x';
         alter table a rename column r to ratio;
         create virtual table words using fts5(body);
         insert into words(body) select t from a;
         create virtual table boxes using rtree(id, x0, x1);
         insert into boxes values(1, 0.0, 1.0);
         delete from a where id % 2;",
    );
    pair.assert_equal();
    client.run("vacuum");
    pair.assert_equal();
    client.script("drop table words; drop index a_r; delete from a; reindex; analyze");
    client.run("vacuum");
    pair.assert_equal();
    assert_eq!(pair.mirror.client().value("select count(*) from a"), json!(0));
}

#[test]
fn auto_vacuum_and_a_shrinking_database_are_mirrored() {
    let pair = Pair::start();
    pair.principal.cli_ok(&["db", "create", "shrinks"]);
    let client = pair.principal.client().database("shrinks");
    // The setting takes effect with VACUUM, on the connection that made it: one script, one stream.
    client.script("pragma auto_vacuum = full; vacuum; create table t(x blob)");
    assert_eq!(client.value("pragma auto_vacuum"), json!(1));
    client.script(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)
           insert into t select randomblob(3000) from n",
    );
    let large = client.value("pragma page_count").as_u64().unwrap();
    pair.assert_equal();
    client.run("delete from t where rowid > 10");
    let small = client.value("pragma page_count").as_u64().unwrap();
    assert!(small * 10 < large, "{large} pages shrank to {small}");
    pair.assert_equal();
    client.script("insert into t select randomblob(9000) from t; delete from t");
    pair.assert_equal();
}

#[test]
fn an_update_that_changes_nothing_and_a_rollback_leave_both_equal() {
    let pair = Pair::start();
    let client = pair.principal.client();
    client.script("create table t(id integer primary key, v); insert into t values(1, 'a')");
    let before = pair.principal.status()["journal"]["last"].clone();
    client.run("update t set v = v where id = 1");
    client.run("update t set v = 'b' where id = 99");
    client.script("begin; update t set v = 'gone'; rollback");
    pair.assert_equal();
    assert_eq!(pair.mirror.client().value("select v from t"), json!("a"));
    assert!(before.as_u64().is_some());
}

#[test]
fn two_hundred_databases_are_mirrored_created_and_dropped() {
    let pair = Pair::start();
    for i in 0..200 {
        let name = format!("db-{i}");
        pair.principal.cli_ok(&["db", "create", &name]);
        pair.principal
            .client()
            .database(&name)
            .script(&format!("create table t(x); insert into t values({i})"));
    }
    for i in (0..200).step_by(3) {
        pair.principal.cli_ok(&["db", "drop", &format!("db-{i}"), "--yes"]);
    }
    pair.assert_equal();
    assert_eq!(databases(&pair.mirror).len(), 1 + 200 - 67);
    assert_eq!(pair.mirror.client().database("db-100").value("select x from t"), json!(100));
    let gone = pair.mirror.client().database("db-99").execute("select 1", &[]).unwrap_err();
    assert_eq!(gone.code, "DATABASE_NOT_FOUND");
}

#[test]
fn a_transaction_of_500_mb_is_mirrored_within_bounded_memory() {
    let mut pair = Pair::start_with(&["--statement-timeout", "5m"], &[]);
    let client = pair.principal.client();
    client.run("create table big(x blob)");
    client.script(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
           insert into big select randomblob(100000) from n",
    );
    assert_eq!(client.value("select count(*) from big"), json!(5000));
    wait_applied(&pair.principal, &pair.mirror);
    assert_eq!(pair.mirror.client().value("select count(*), sum(length(x)) from big"), json!(5000));
    pair.assert_equal();
    for server in [&pair.principal, &pair.mirror] {
        let peak = peak_rss_mib(server);
        assert!(peak < 500, "the peak of resident memory was {peak} MiB");
    }
    pair.mirror.kill();
    pair.mirror.launch();
    wait_synchronized(&pair.principal);
    pair.assert_equal();
}

fn peak_rss_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line =
        status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel tells the peak");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// The size of the seeded database in MiB.
fn seed_mib() -> u64 {
    if support::is_soak() { 8192 } else { 1024 }
}

#[test]
fn a_large_database_is_seeded_while_writes_go_on() {
    let (principal, mirror) = (Server::start_with(&["--statement-timeout", "5m"]), Server::start());
    create_table(&principal);
    principal.client().run("create table big(id integer primary key, x blob)");
    for _ in 0..seed_mib() / 16 {
        principal.client().run(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 160)
               insert into big(x) select randomblob(100000) from n",
        );
    }
    let load = Workload::start(0, 4, &[&principal]);
    let scattered = principal.client();
    start_mirroring(&principal, &mirror, &["--no-wait"]);
    let mut updates = 0;
    wait_for("the seed to end", || {
        updates += 1;
        scattered.run(&format!(
            "update big set x = randomblob(50000) where id = {}",
            1 + updates * 7919 % 1000
        ));
        let states = support::pair::partner_states(&principal.status());
        (states == ["SYNCHRONIZED"]).then_some(())
    });
    load.wait_progress(50);
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, []);
    wait_state(&mirror, "SYNCHRONIZED");
    assert_has_all(&principal, &confirmed);
    support::pair::assert_equal(&principal, &mirror);
    assert_has_all(&mirror, &confirmed);
}

#[test]
fn a_checkpoint_that_a_change_of_role_meets_copies_nothing_but_what_stays() {
    // A megabyte is enough for a checkpoint, so that one follows each of the large transactions at once.
    let serve = ["--checkpoint-bytes", "1MiB", "--statement-timeout", "5m"];
    let (principal, mirror) = (Server::start_with(&serve), Server::start());
    create_table(&principal);
    principal.client().run("create table big(x blob)");
    let load = Workload::start(0, 4, &[&principal]);
    for _ in 0..4 {
        principal.client().run(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 400)
               insert into big(x) select randomblob(100000) from n",
        );
        start_mirroring(&principal, &mirror, &["--no-wait"]);
        wait_synchronized(&principal);
        load.wait_progress(20);
        principal.cli_ok(&["mirror", "stop", "--yes"]);
        support::pair::wait_role(&mirror, "standalone");
        principal.client().run("delete from big");
    }
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, []);
    start_mirroring(&principal, &mirror, &[]);
    let words = principal.cli_ok(&["verify", "--deep"]);
    assert!(words.contains("equal, page by page"), "{words}");
    assert_eq!(principal.status()["integrity"]["damage"]["found"], json!(0));
    assert_has_all(&mirror, &confirmed);
}

/// It was tried again only after another checkpoint's worth of records, which may never come.
#[test]
fn a_mirrors_checkpoint_that_met_a_reader_is_made_up_for_when_nothing_more_is_written() {
    let pair = Pair::start_with(&["--checkpoint-bytes", "1MiB"], &[]);
    pair.principal.client().script("create table t(x); insert into t values (1)");
    pair.assert_equal();
    let mut reading = Stream::on(&pair.mirror.client());
    reading.run("begin");
    assert_eq!(reading.value("select count(*) from t"), 1);
    let redo_after = |server: &Server| server.status()["journal"]["redo_after"].as_u64().unwrap();
    let before = redo_after(&pair.principal);
    pair.principal.client().run("insert into t values (randomblob(1500000))");
    let mark = wait_for("the principal's checkpoint", || {
        Some(redo_after(&pair.principal)).filter(|mark| *mark > before)
    });
    wait_applied(&pair.principal, &pair.mirror);
    assert!(redo_after(&pair.mirror) < mark, "the reader was in its way");
    reading.run("commit");
    wait_for("the mirror's checkpoint", || (redo_after(&pair.mirror) >= mark).then_some(()));
}
