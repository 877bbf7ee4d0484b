//! Planned failover: back and forth under load, nothing lost, nothing failed but writes to a mirror.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use support::{
    client::Client,
    clock::now,
    pair::{Pair, wait_role},
    server::Server,
    workload::{Workload, assert_has_all, create_table},
};

#[test]
fn fifty_failovers_under_load_lose_nothing_and_fail_nothing_but_writes_to_the_mirror() {
    let mut pair = Pair::start();
    create_table(&pair.principal);
    let load = Workload::start(0, 8, &[&pair.principal, &pair.mirror]);
    for _ in 0..50 {
        load.wait_progress(100);
        pair.wait_synchronized();
        pair.principal.cli_ok(&["failover"]);
        pair = pair.swapped();
        wait_role(&pair.principal, "principal");
        wait_role(&pair.mirror, "mirror");
    }
    load.wait_progress(100);
    let (confirmed, failures) = load.stop();
    let others: Vec<_> = failures.iter().filter(|f| f.code != "READ_ONLY_MIRROR").collect();
    assert!(
        others.is_empty(),
        "{} requests failed otherwise, the first: {:?}",
        others.len(),
        others[0]
    );
    assert_has_all(&pair.principal, &confirmed);
    pair.wait_synchronized();
    pair.assert_equal();
}

#[test]
fn failover_is_refused_with_the_reason_where_the_state_forbids_it() {
    let alone = Server::start();
    let outcome = alone.cli(&["failover"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("standalone"), "{}", outcome.stderr);

    let mut pair = Pair::start();
    let outcome = pair.mirror.cli(&["failover"]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains(&pair.principal.url()),
        "it names the principal: {}",
        outcome.stderr
    );
    let outcome = pair.mirror.cli(&["promote", "--yes"]);
    assert_eq!(outcome.code, Some(1), "a connected mirror is not promoted");
    pair.mirror.kill();
    support::pair::wait_state(&pair.principal, "DISCONNECTED");
    let outcome = pair.principal.cli(&["failover"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("DISCONNECTED"), "{}", outcome.stderr);
}

#[test]
fn a_write_that_arrives_during_a_failover_is_executed_by_the_new_principal() {
    let mut pair = Pair::start();
    pair.principal.client().run("create table t(client integer, n integer)");
    for round in 0..10 {
        let url = pair.principal.url();
        let go_on = AtomicBool::new(true);
        let begun = AtomicU64::new(0);
        let failed = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|client| {
                    let (go_on, begun, url) = (&go_on, &begun, &url);
                    scope.spawn(move || {
                        let client_of = Client::new(url);
                        let mut failed = Vec::new();
                        while go_on.load(Ordering::Relaxed) {
                            let at = now();
                            begun.fetch_add(1, Ordering::Relaxed);
                            let sql = "insert into t values(?, ?)";
                            if let Err(failure) =
                                client_of.execute(sql, &[client.into(), round.into()])
                            {
                                failed.push((at, failure));
                            }
                        }
                        failed
                    })
                })
                .collect();
            support::wait_for("the writers to be at work", || {
                (begun.load(Ordering::Relaxed) > 50).then_some(())
            });
            let commanded = now();
            pair.principal.cli_ok(&["failover"]);
            go_on.store(false, Ordering::Relaxed);
            let failed = writers.into_iter().flat_map(|writer| writer.join().unwrap());
            failed.filter(|(at, _)| *at < commanded).collect::<Vec<_>>()
        });
        assert!(
            failed.is_empty(),
            "{} writes failed that were under way, the first: {:?}",
            failed.len(),
            failed[0]
        );
        pair = pair.swapped();
        wait_role(&pair.principal, "principal");
        pair.wait_synchronized();
    }
    pair.assert_equal();
}

/// The principal goes on alone to high positions, its mirror is promoted from a lower one, and the old principal is
/// seeded again: its numbers go down. It once went on believing in the commit LSN of its old numbers, and as principal
/// confirmed writes that were hardened nowhere.
#[test]
fn a_server_that_was_seeded_at_lower_positions_confirms_nothing_early() {
    let mut pair = Pair::start_with(&["--rejoin", "manual"], &[]);
    create_table(&pair.principal);
    pair.mirror.kill();
    support::pair::wait_state(&pair.principal, "DISCONNECTED");
    let alone = Workload::start(0, 8, &[&pair.principal]);
    alone.wait_progress(1500);
    let _lost = alone.stop();
    pair.principal.kill();
    pair.mirror.launch();
    support::pair::wait_state(&pair.mirror, "DISCONNECTED");
    pair.mirror.cli_ok(&["promote", "--yes"]);
    pair.principal.launch();
    support::pair::wait_state(&pair.principal, "SUSPENDED");
    let mut pair = pair.swapped();
    support::pair::start_mirroring(&pair.principal, &pair.mirror, &["--replace"]);
    pair.wait_synchronized();
    pair.principal.cli_ok(&["failover"]);
    pair = pair.swapped();
    wait_role(&pair.principal, "principal");
    pair.wait_synchronized();
    let load = Workload::start(100, 8, &[&pair.principal]);
    load.wait_progress(200);
    let journal = pair.principal.status()["journal"].clone();
    assert!(journal["commit"].as_u64() <= journal["hardened"].as_u64(), "{journal}");
    pair.principal.kill();
    let (confirmed, _failures) = load.stop();
    support::pair::wait_state(&pair.mirror, "DISCONNECTED");
    pair.mirror.cli_ok(&["promote", "--yes"]);
    wait_role(&pair.mirror, "principal");
    assert_has_all(&pair.mirror, &confirmed);
}
