//! Many more databases than may stay open: they rest and wake under writers, readers, mirrors, failovers and restarts, and
//! nobody notices.

mod support;

use std::collections::BTreeMap;

use serde_json::json;
use support::{
    pair::{Pair, databases, wait_applied, wait_role, wait_synchronized},
    server::Server,
    stream::Stream,
    wait_for,
};

const DATABASES: u64 = 40;

/// Databases that may stay open, and the settings that say so.
const OPEN: usize = 4;
const FEW: [&str; 2] = ["--open-databases", "4"];

fn name(n: u64) -> String {
    format!("d{n}")
}

/// How many of a server's databases SQLite has open.
fn open(server: &Server) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let mut opened = BTreeMap::new();
    for target in targets {
        let target = target.to_string_lossy().into_owned();
        if target.ends_with(".db") {
            *opened.entry(target).or_insert(0) += 1;
        }
    }
    // One descriptor of each belongs to its page map.
    opened.values().filter(|count| **count > 1).count()
}

/// Waits until no more databases are open than this. Of those that were written to, as many again as may stay open wait for
/// the next checkpoint.
fn wait_few_open(server: &Server, most: usize) {
    wait_for("most databases to rest", || (open(server) <= most).then_some(()));
}

fn create_all(server: &Server) {
    for n in 1..=DATABASES {
        server.cli_ok(&["db", "create", &name(n)]);
        server.client().database(&name(n)).script(
            "create table t(n integer, filler blob); insert into t values(0, randomblob(5000))",
        );
    }
}

/// One more row in each database, by several clients at once.
fn write_all(server: &Server, round: u64) {
    std::thread::scope(|scope| {
        for part in 0..4 {
            let client = server.client();
            scope.spawn(move || {
                for n in (1..=DATABASES).filter(|n| n % 4 == part) {
                    let database = client.database(&name(n));
                    let sql = "insert into t values(?, randomblob(300))";
                    database.execute(sql, &[json!(round)]).unwrap();
                    assert_eq!(database.value("select max(n) from t"), json!(round));
                }
            });
        }
    });
}

fn assert_rounds(server: &Server, rounds: u64) {
    for n in 1..=DATABASES {
        let counted = server.client().database(&name(n)).value("select count(*) from t");
        assert_eq!(counted, json!(rounds + 1), "{} of {}", name(n), server.url());
    }
}

#[test]
fn many_databases_are_written_read_mirrored_and_handed_over_while_few_stay_open() {
    let pair = Pair::start_with(&FEW, &[]);
    create_all(&pair.principal);
    for round in 1..=3 {
        write_all(&pair.principal, round);
        wait_applied(&pair.principal, &pair.mirror);
        assert_rounds(&pair.mirror, round);
    }
    wait_few_open(&pair.principal, 2 * OPEN);
    pair.principal.cli_ok(&["failover"]);
    let mut pair = pair.swapped();
    wait_role(&pair.principal, "principal");
    wait_synchronized(&pair.principal);
    write_all(&pair.principal, 4);
    pair.assert_equal();

    pair.mirror.kill();
    write_all(&pair.principal, 5);
    pair.principal.kill();
    pair.principal.launch();
    pair.mirror.launch();
    wait_synchronized(&pair.principal);
    wait_few_open(&pair.principal, 2 * OPEN);
    write_all(&pair.principal, 6);
    pair.assert_equal();
    assert_rounds(&pair.mirror, 6);
    assert_eq!(databases(&pair.mirror).len() as u64, DATABASES + 1);
    for server in [&pair.principal, &pair.mirror] {
        let log = server.log();
        assert!(!log.contains("ERROR"), "{log}");
    }
}

#[test]
fn a_transaction_and_a_snapshot_stay_whole_while_all_other_databases_pass_by() {
    let mut server = Server::start_with(&[FEW[0], FEW[1], "--stream-idle", "10m"]);
    create_all(&server);
    // From now on all are in their files.
    assert_eq!(server.terminate().code(), Some(0));
    server.launch();
    let mut writer = Stream::on(&server.client().database(&name(1)));
    writer.run("begin immediate");
    writer.run("insert into t values(1, 'not yet')");
    let mut reader = Stream::on(&server.client().database(&name(2)));
    reader.run("begin");
    assert_eq!(reader.value("select count(*) from t"), json!(1));
    let mut own = Stream::on(&server.client().database(&name(3)));
    own.run("create temp table mine(x)");
    server.client().database(&name(2)).run("insert into t values(1, 'later')");
    for n in 4..=DATABASES {
        server.client().database(&name(n)).run("insert into t values(1, null)");
    }
    // These three, besides.
    wait_few_open(&server, 2 * OPEN + 3);
    assert_eq!(reader.value("select count(*) from t"), json!(1), "its snapshot");
    reader.run("commit");
    assert_eq!(reader.value("select count(*) from t"), json!(2));
    assert_eq!(server.client().database(&name(1)).value("select count(*) from t"), json!(1));
    writer.run("commit");
    own.run("insert into mine values(7)");
    assert_eq!(own.value("select x from mine"), json!(7));
    assert_rounds_of_three(&server);
}

fn assert_rounds_of_three(server: &Server) {
    for n in [1, 2, DATABASES] {
        let counted = server.client().database(&name(n)).value("select count(*) from t");
        assert_eq!(counted, json!(2), "{}", name(n));
    }
}
