//! What operators do with mirroring: starting, suspending, stopping, promoting, several mirrors, and servers that
//! return. Each command works where it is allowed, and is refused elsewhere with what is wrong and what to do.

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::{
    client::{Client, get_status},
    pair::{
        Pair, assert_equal, partner, partner_states, start_mirroring, wait_role, wait_state,
        wait_synchronized,
    },
    server::{Server, refused_with},
    wait_for,
    workload::{Workload, assert_has_all, create_table, rows_on},
};

/// A partner is lost soon, so that the tests are short; what happens is up to the operator.
const QUICK: [&str; 4] = ["--partner-timeout", "1s", "--rejoin", "manual"];

fn quick_pair() -> Pair {
    let pair = Pair::start_with(&QUICK, &[]);
    create_table(&pair.principal);
    pair
}

fn insert(client: &Client, n: u64) {
    client.run(&format!("insert into work values(1000, {n}, 'by hand')"));
}

fn count(server: &Server) -> u64 {
    server.client().value("select count(*) from work").as_u64().unwrap()
}

#[test]
fn a_pair_works_with_safety_off_and_with_safety_full() {
    for safety in ["off", "full"] {
        let pair = Pair::start_with(&[], &["--safety", safety]);
        create_table(&pair.principal);
        assert_eq!(pair.principal.status()["mirroring"]["safety"], safety);
        let load = Workload::start(0, 4, &[&pair.principal]);
        load.wait_progress(100);
        let (confirmed, failures) = load.stop();
        assert_eq!(failures, []);
        pair.assert_equal();
        assert_has_all(&pair.mirror, &confirmed);
        assert_eq!(pair.mirror.status()["mirroring"]["safety"], safety);
    }
}

#[test]
fn under_safety_off_commits_do_not_wait_for_a_mirror_that_hangs() {
    let pair = Pair::start_with(&["--partner-timeout", "30s"], &["--safety", "off"]);
    create_table(&pair.principal);
    pair.assert_equal();
    pair.mirror.signal("STOP");
    // It would wait for half a minute if it waited at all.
    let before = support::clock::now();
    insert(&pair.principal.client(), 1);
    assert!(before.elapsed().as_secs() < 20, "the commit waited for the mirror");
    let seen = partner(&pair.principal, &pair.mirror);
    assert_eq!(seen["state"], "SYNCHRONIZED", "the principal does not know yet: {seen}");
    assert!(seen["send_queue"].as_u64().unwrap() > 0, "{seen}");
    assert!(seen["send_queue_bytes"].as_u64().unwrap() > 0, "{seen}");
    pair.mirror.signal("CONT");
    pair.assert_equal();
}

#[test]
fn several_mirrors_have_their_own_positions_and_follow_a_new_principal_by_themselves() {
    let mut principal = Server::start_with(&QUICK);
    create_table(&principal);
    let (mut a, b, c) =
        (Server::start_with(&QUICK), Server::start_with(&QUICK), Server::start_with(&QUICK));
    for mirror in [&a, &b, &c] {
        start_mirroring(&principal, mirror, &[]);
    }
    let load = Workload::start(0, 4, &[&principal]);
    load.wait_progress(50);
    a.kill();
    wait_for("one lost and two synchronized", || {
        let states: BTreeSet<_> = partner_states(&principal.status()).into_iter().collect();
        (states.len() == 2 && partner(&principal, &b)["state"] == "SYNCHRONIZED").then_some(())
    });
    load.wait_progress(50);
    assert_eq!(partner_of(&principal, "DISCONNECTED"), 1);
    assert_eq!(partner_of(&principal, "SYNCHRONIZED"), 2);
    let (mut confirmed, failures) = load.stop();
    assert_eq!(failures, []);

    refused_with(principal.cli(&["failover", "--json"]), "PARTNER_NOT_NAMED");
    principal.cli_ok(&["failover", "--to", &c.url()]);
    wait_role(&c, "principal");
    wait_state(&principal, "SYNCHRONIZED");
    wait_state(&b, "SYNCHRONIZED");
    let load = Workload::start(10, 4, &[&c]);
    load.wait_progress(50);
    a.launch();
    wait_synchronized(&c);
    load.wait_progress(20);
    confirmed.extend(load.stop().0);
    for mirror in [&a, &b, &principal] {
        assert_equal(&c, mirror);
        assert_has_all(mirror, &confirmed);
    }

    // The principal dies: one mirror is promoted, and the other follows it.
    let mut gone = c;
    gone.kill();
    wait_state(&b, "DISCONNECTED");
    b.cli_ok(&["promote", "--yes"]);
    wait_for("the others to follow", || (partner_of(&b, "SYNCHRONIZED") == 2).then_some(()));
    insert(&b.client(), 1);
    assert_equal(&b, &a);
    assert_equal(&b, &principal);
    principal.kill();
}

fn partner_of(principal: &Server, state: &str) -> usize {
    partner_states(&principal.status()).iter().filter(|s| *s == state).count()
}

#[test]
fn suspended_mirroring_does_not_hold_up_commits_and_catches_up_when_resumed() {
    let mut pair = quick_pair();
    refused_with(pair.principal.cli(&["resume", "--json"]), "WRONG_STATE");
    for command in ["suspend", "resume"] {
        let failure = refused_with(pair.mirror.cli(&[command, "--json"]), "WRONG_ROLE");
        assert!(failure["error"]["remedy"].as_str().unwrap().contains(&pair.principal.url()));
    }
    pair.assert_equal();
    pair.principal.cli_ok(&["suspend"]);
    wait_state(&pair.principal, "SUSPENDED");
    wait_state(&pair.mirror, "SUSPENDED");
    assert!(pair.principal.status()["mirroring"]["exposed_since"].is_u64());
    let before = count(&pair.mirror);
    for n in 0..50 {
        insert(&pair.principal.client(), n);
    }
    assert_eq!(count(&pair.mirror), before, "nothing is sent while suspended");
    refused_with(pair.principal.cli(&["suspend", "--json"]), "WRONG_STATE");
    refused_with(pair.principal.cli(&["failover", "--json"]), "WRONG_STATE");

    // A restart of either side changes nothing about it.
    assert!(pair.mirror.terminate().success());
    pair.mirror.launch();
    wait_state(&pair.mirror, "SUSPENDED");
    assert_eq!(count(&pair.mirror), before);
    pair.principal.kill();
    pair.principal.launch();
    wait_state(&pair.principal, "SUSPENDED");
    insert(&pair.principal.client(), 100);
    assert_eq!(count(&pair.mirror), before, "still suspended");

    pair.principal.cli_ok(&["resume"]);
    pair.wait_synchronized();
    pair.assert_equal();
    assert_eq!(count(&pair.mirror), before + 51);
}

#[test]
fn mirroring_ends_from_either_server_and_leaves_two_independent_ones() {
    for from_mirror in [false, true] {
        let pair = quick_pair();
        insert(&pair.principal.client(), 1);
        pair.assert_equal();
        let asked = if from_mirror { &pair.mirror } else { &pair.principal };
        refused_with(asked.cli(&["mirror", "stop", "--json"]), "CONFIRMATION_NEEDED");
        pair.wait_synchronized();
        asked.cli_ok(&["mirror", "stop", "--yes"]);
        for server in [&pair.principal, &pair.mirror] {
            wait_role(server, "standalone");
            wait_for("writes to be taken", || {
                (server.status()["admits_writes"] == true).then_some(())
            });
        }
        insert(&pair.principal.client(), 2);
        insert(&pair.mirror.client(), 3);
        let third = |server: &Server| server.client().rows("select n from work where n > 1");
        assert_eq!(third(&pair.principal), [[json!(2)]]);
        assert_eq!(third(&pair.mirror), [[json!(3)]]);
        refused_with(asked.cli(&["mirror", "stop", "--yes", "--json"]), "WRONG_ROLE");
        // And they can be made a pair again, the other way round.
        start_mirroring(&pair.mirror, &pair.principal, &["--replace"]);
        let pair = pair.swapped();
        pair.wait_synchronized();
        pair.assert_equal();
    }
}

#[test]
fn a_partner_that_was_away_learns_that_mirroring_has_ended() {
    for from_mirror in [false, true] {
        let mut pair = quick_pair();
        let (asked, away) = if from_mirror {
            (&mut pair.mirror, &mut pair.principal)
        } else {
            (&mut pair.principal, &mut pair.mirror)
        };
        away.kill();
        wait_state(asked, "DISCONNECTED");
        asked.cli_ok(&["mirror", "stop", "--yes"]);
        wait_role(asked, "standalone");
        insert(&asked.client(), 1);
        away.launch();
        wait_role(away, "standalone");
        wait_for("writes to be taken", || (away.status()["admits_writes"] == true).then_some(()));
        insert(&away.client(), 2);
        let rows = |server: &Server| rows_on(server).into_iter().collect::<Vec<_>>();
        assert_eq!((rows(asked), rows(away)), (vec![(1000, 1)], vec![(1000, 2)]));
    }
}

#[test]
fn promotion_is_refused_until_disconnected_says_what_may_be_lost_and_asks() {
    let mut pair = quick_pair();
    insert(&pair.principal.client(), 1);
    let wrong = refused_with(pair.mirror.cli(&["promote", "--yes", "--json"]), "WRONG_STATE");
    assert!(wrong["error"]["what"].as_str().unwrap().contains("connected"), "{wrong}");
    refused_with(pair.principal.cli(&["promote", "--yes", "--json"]), "WRONG_ROLE");
    pair.principal.kill();
    wait_state(&pair.mirror, "DISCONNECTED");
    let status = pair.mirror.cli_ok(&["status"]);
    assert!(status.contains("Mirror, disconnected"), "{status}");
    assert!(status.contains("0 lost"), "{status}");

    let asked = pair.mirror.cli(&["promote"]);
    assert_eq!(asked.code, Some(2), "without a terminal nobody has confirmed: {}", asked.stderr);
    assert!(asked.stdout.contains("0 lost"), "it says what may be lost: {}", asked.stdout);
    assert_eq!(pair.mirror.status()["role"], "mirror");
    let before = support::clock::now();
    pair.mirror.cli_ok(&["promote", "--yes"]);
    insert(&pair.mirror.client(), 2);
    assert!(before.elapsed().as_secs() < 10, "a promotion takes seconds at most");
    assert_eq!(rows_on(&pair.mirror).len(), 2);
}

#[test]
fn a_promotion_of_a_mirror_that_was_not_waited_for_does_not_say_that_nothing_is_lost() {
    let mut pair = Pair::start_with(&QUICK, &["--safety", "off"]);
    pair.principal.kill();
    wait_state(&pair.mirror, "DISCONNECTED");
    let asked = pair.mirror.cli(&["promote"]);
    assert_eq!(asked.code, Some(2), "{}", asked.stderr);
    assert!(!asked.stdout.contains("0 lost"), "{}", asked.stdout);
    assert!(asked.stdout.contains("may be lost"), "{}", asked.stdout);
}

#[test]
fn a_mirror_that_was_started_anew_does_not_say_that_nothing_is_lost() {
    let mut pair = quick_pair();
    insert(&pair.principal.client(), 1);
    pair.assert_equal();
    pair.mirror.kill();
    wait_state(&pair.principal, "DISCONNECTED");
    pair.principal.kill();
    pair.mirror.launch();
    wait_state(&pair.mirror, "DISCONNECTED");
    let asked = pair.mirror.cli(&["promote"]);
    assert_eq!(asked.code, Some(2), "{}", asked.stderr);
    assert!(asked.stdout.contains("0 lost if the principal confirmed nothing"), "{}", asked.stdout);
}

/// The principal confirms rows alone, then dies; its mirror, which lacks them, is promoted and goes on.
fn deposed_with_extra_rows() -> Pair {
    let mut pair = quick_pair();
    insert(&pair.principal.client(), 1);
    pair.assert_equal();
    pair.mirror.kill();
    wait_state(&pair.principal, "DISCONNECTED");
    insert(&pair.principal.client(), 2);
    insert(&pair.principal.client(), 3);
    pair.principal.kill();
    pair.mirror.launch();
    wait_state(&pair.mirror, "DISCONNECTED");
    pair.mirror.cli_ok(&["promote", "--yes"]);
    insert(&pair.mirror.client(), 4);
    pair
}

#[test]
fn a_deposed_principal_with_events_of_its_own_parks_and_is_seeded_anew_on_the_operators_word() {
    let mut pair = deposed_with_extra_rows();
    pair.principal.launch();
    let (old, new) = (&pair.principal, &pair.mirror);
    wait_state(old, "SUSPENDED");
    let refused = old.client().execute("insert into work values(1, 1, 'never')", &[]).unwrap_err();
    assert_eq!(refused.code, "READ_ONLY_MIRROR", "{refused:?}");
    assert!(refused.message.contains(&new.url()), "it names the principal: {refused:?}");
    let rows = rows_on(old).into_iter().map(|(_, n)| n).collect::<Vec<_>>();
    assert_eq!(rows, [1, 2, 3], "its data is untouched and can be read");

    let status = old.status();
    assert_eq!(status["role"], "mirror");
    assert_eq!(get_status(&format!("{}/health/principal", old.url())), 503);
    let parked = &status["mirroring"]["parked"];
    let events = parked["end"].as_u64().unwrap() - parked["common"].as_u64().unwrap();
    assert!(events >= 2, "{parked}");
    let words = old.cli_ok(&["status"]);
    assert!(words.contains("only this server has"), "it says what differs: {words}");
    assert!(words.contains("mirror rejoin"), "it says how to rejoin: {words}");
    let seen = partner(new, old);
    assert_eq!(seen["last_error"]["code"], "DIVERGED", "{seen}");

    // Neither time nor another restart makes it serve.
    pair.principal.kill();
    pair.principal.launch();
    let (old, new) = (&pair.principal, &pair.mirror);
    wait_state(old, "SUSPENDED");
    assert_eq!(rows_on(old).len(), 3);
    insert(&new.client(), 5);
    let without = old.cli(&["mirror", "start", "--principal", &new.url(), "--mirror", &old.url()]);
    assert_eq!(without.code, Some(1), "not without the operator's word: {}", without.stdout);
    assert_eq!(rows_on(old).len(), 3);
    start_mirroring(new, old, &["--replace"]);
    let pair = pair.swapped();
    pair.wait_synchronized();
    pair.assert_equal();
    assert_eq!(rows_on(&pair.mirror).into_iter().map(|(_, n)| n).collect::<Vec<_>>(), [1, 4, 5]);
}

#[test]
fn a_deposed_principal_without_events_of_its_own_joins_by_itself() {
    let mut pair = quick_pair();
    insert(&pair.principal.client(), 1);
    pair.assert_equal();
    pair.principal.kill();
    wait_state(&pair.mirror, "DISCONNECTED");
    pair.mirror.cli_ok(&["promote", "--yes"]);
    insert(&pair.mirror.client(), 2);
    pair.principal.launch();
    let pair = pair.swapped();
    wait_role(&pair.mirror, "mirror");
    pair.wait_synchronized();
    pair.assert_equal();
    assert_eq!(rows_on(&pair.mirror).len(), 2);
}

#[test]
fn with_require_mirror_writes_are_refused_while_no_mirror_is_synchronized() {
    let mut pair = Pair::start_with(&["--partner-timeout", "1s", "--require-mirror"], &[]);
    create_table(&pair.principal);
    insert(&pair.principal.client(), 1);
    let failure = refused_with(pair.principal.cli(&["suspend", "--json"]), "MIRROR_REQUIRED");
    assert!(failure["error"]["what"].as_str().unwrap().contains("last one"), "{failure}");
    pair.mirror.kill();
    wait_state(&pair.principal, "DISCONNECTED");
    let refused = wait_for("writes to be refused", || {
        pair.principal.client().execute("insert into work values(1, 1, '')", &[]).err()
    });
    assert_eq!(refused.code, "MIRROR_REQUIRED", "{refused:?}");
    assert_eq!(count(&pair.principal), 1, "reads go on");
    assert_eq!(get_status(&format!("{}/health/principal", pair.principal.url())), 503);
    pair.mirror.launch();
    pair.wait_synchronized();
    wait_for("writes to be taken", || {
        (pair.principal.status()["admits_writes"] == true).then_some(())
    });
    insert(&pair.principal.client(), 2);
    pair.assert_equal();
}

#[test]
fn a_principal_without_its_mirror_says_that_it_is_exposed() {
    let mut pair = quick_pair();
    let status = pair.principal.status();
    assert_eq!(status["mirroring"]["exposed_since"], Value::Null, "{status}");
    pair.mirror.kill();
    wait_state(&pair.principal, "DISCONNECTED");
    insert(&pair.principal.client(), 1);
    let status = pair.principal.status();
    assert!(status["mirroring"]["exposed_since"].is_u64(), "{status}");
    assert_eq!(status["words"], "Principal, disconnected, exposed");
    // A restart does not make it forget, nor wait for the mirror.
    pair.principal.kill();
    pair.principal.launch();
    insert(&pair.principal.client(), 2);
    assert!(pair.principal.status()["mirroring"]["exposed_since"].is_u64());
    pair.mirror.launch();
    pair.wait_synchronized();
    assert_eq!(pair.principal.status()["mirroring"]["exposed_since"], Value::Null);
    pair.assert_equal();
}

#[test]
fn a_mirror_that_restarts_while_its_principal_is_away_serves_reads_and_reconnects() {
    let mut pair = quick_pair();
    insert(&pair.principal.client(), 1);
    pair.assert_equal();
    pair.principal.kill();
    wait_state(&pair.mirror, "DISCONNECTED");
    pair.mirror.kill();
    pair.mirror.launch();
    wait_state(&pair.mirror, "DISCONNECTED");
    // Whether the very last event is final is the principal's to say; all before it are.
    assert!(count(&pair.mirror) <= 1);
    let refused = pair.mirror.client().execute("delete from work", &[]).unwrap_err();
    assert_eq!(refused.code, "READ_ONLY_MIRROR");
    let status = pair.mirror.status();
    assert_eq!(status["mirroring"]["last_error"]["code"], "PARTNER_LOST", "{status}");
    pair.principal.launch();
    pair.wait_synchronized();
    insert(&pair.principal.client(), 2);
    pair.assert_equal();
}

#[test]
fn a_principal_that_restarts_during_a_seed_goes_on_with_it() {
    let mut principal = Server::start_with(&QUICK);
    create_table(&principal);
    principal.client().script(
        "create table big(x blob);
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 600)
           insert into big select randomblob(100000) from n",
    );
    let mirror = Server::start_with(&QUICK);
    start_mirroring(&principal, &mirror, &["--no-wait"]);
    principal.kill();
    principal.launch();
    insert(&principal.client(), 1);
    wait_synchronized(&principal);
    wait_state(&mirror, "SYNCHRONIZED");
    assert_equal(&principal, &mirror);
}

#[test]
fn the_principals_restart_is_survived_by_the_mirror_without_anyones_doing() {
    let mut pair = quick_pair();
    for round in 0..3 {
        let load = Workload::start(round * 4, 4, &[&pair.principal]);
        load.wait_progress(50);
        if round == 1 {
            assert!(pair.principal.terminate().success());
        } else {
            pair.principal.kill();
        }
        let (confirmed, _) = load.stop();
        pair.principal.launch();
        pair.wait_synchronized();
        pair.assert_equal();
        assert_has_all(&pair.mirror, &confirmed);
    }
    let starts = pair.mirror.log().matches("initialising as mirror").count();
    assert_eq!(starts, 1, "the mirror itself was never started again");
}

#[test]
fn the_status_tells_positions_queues_lag_and_what_a_failover_would_cost() {
    let pair = quick_pair();
    insert(&pair.principal.client(), 1);
    pair.assert_equal();
    let status = pair.principal.status();
    assert_eq!(status["words"], "Principal, synchronized");
    let now = status["mirroring"]["failover_now"].as_str().unwrap();
    assert!(now.starts_with("Fail over now: 0 lost, about"), "{now}");
    // The principal hears now and then how far the mirror has applied.
    let mirror = wait_for("the principal to hear that all is applied", || {
        let mirror = partner(&pair.principal, &pair.mirror);
        (mirror["redo_queue"] == 0).then_some(mirror)
    });
    for (field, value) in [
        ("role", json!("mirror")),
        ("state", json!("SYNCHRONIZED")),
        ("client_url", json!(pair.mirror.url())),
        ("partner_address", json!(pair.mirror.partner_address())),
        ("connected", json!(true)),
        ("send_queue", json!(0)),
        ("send_queue_bytes", json!(0)),
        ("redo_queue", json!(0)),
        ("redo_queue_bytes", json!(0)),
        ("lag_millis", json!(0)),
        ("last_error", Value::Null),
    ] {
        assert_eq!(mirror[field], value, "{field} in {mirror}");
    }
    let status = pair.mirror.status();
    assert_eq!(status["words"], "Mirror, synchronized");
    let principal = partner(&pair.mirror, &pair.principal);
    assert_eq!((&principal["role"], &principal["behind"]), (&json!("principal"), &json!(0)));
    assert_eq!(principal["client_url"], pair.principal.url());

    let words = pair.principal.cli_ok(&["status"]);
    for expected in
        ["Principal, synchronized", "Mirror, synchronized", &pair.mirror.url(), "0 lost"]
    {
        assert!(words.contains(expected), "{expected:?} is not in:\n{words}");
    }
    let as_json: Value = serde_json::from_str(&pair.mirror.cli_ok(&["status", "--json"])).unwrap();
    assert_eq!(as_json["role"], "mirror");

    let health = |server: &Server| {
        ["", "/principal", "/mirror"]
            .map(|path| get_status(&format!("{}/health{path}", server.url())))
    };
    assert_eq!(health(&pair.principal), [200, 200, 503]);
    assert_eq!(health(&pair.mirror), [200, 503, 200]);
    let alone = Server::start();
    assert_eq!(health(&alone), [200, 200, 503]);
    assert!(alone.cli_ok(&["status"]).contains("Standalone"));
}

#[test]
fn the_status_of_a_lost_mirror_tells_the_error_its_remedy_and_the_queue() {
    let mut pair = quick_pair();
    pair.assert_equal();
    pair.mirror.kill();
    wait_state(&pair.principal, "DISCONNECTED");
    for n in 0..10 {
        insert(&pair.principal.client(), n);
    }
    let mirror = wait_for("the error to be known", || {
        let mirror = partner(&pair.principal, &pair.mirror);
        mirror["last_error"].is_object().then_some(mirror)
    });
    assert_eq!(mirror["last_error"]["code"], "PARTNER_LOST", "{mirror}");
    assert!(!mirror["last_error"]["remedy"].as_str().unwrap().is_empty());
    assert!(mirror["send_queue"].as_u64().unwrap() >= 10, "{mirror}");
    assert!(mirror["send_queue_bytes"].as_u64().unwrap() >= 1000, "{mirror}");
    let now = pair.principal.status()["mirroring"]["failover_now"].clone();
    assert!(now.as_str().unwrap().starts_with("Cannot fail over now"), "{now}");
    let words = pair.principal.cli_ok(&["status"]);
    assert!(words.contains("what to do"), "{words}");
    assert!(words.contains("Mirror, disconnected"), "{words}");
    assert!(words.contains("exposed"), "{words}");
}

#[test]
fn a_returning_mirror_logs_its_steps_in_order_and_its_progress_every_ten_thousand_events() {
    let mut pair = quick_pair();
    pair.assert_equal();
    pair.mirror.kill();
    wait_state(&pair.principal, "DISCONNECTED");
    let earlier = pair.mirror.log().len();
    // Pages that are mostly zeros are small in the journal: it is the cheapest way.
    let step = json!({"stmt": {"sql": "insert into work values(5, 5, zeroblob(8000))"}});
    let batch = json!([{"type": "batch", "batch": {"steps": vec![step; 1000]}}, {"type": "close"}]);
    for _ in 0..16 {
        let (outcomes, _) = pair.principal.client().pipeline(None, &batch).unwrap();
        assert!(outcomes[0].is_ok(), "{outcomes:?}");
    }
    pair.mirror.launch();
    pair.wait_synchronized();
    let log = pair.mirror.log()[earlier..].to_owned();
    let steps = [
        "initialising",
        "checking against the principal",
        "catching up: 16",
        "events/s",
        "up and running",
    ];
    let mut rest = log.as_str();
    for step in steps {
        let at = rest.find(step).unwrap_or_else(|| panic!("{step:?} is not next in:\n{log}"));
        rest = &rest[at..];
    }
    let progress: Vec<_> = log.lines().filter(|line| line.contains("events/s")).collect();
    assert!(progress.len() >= 2, "a line at least every 10,000 events: {progress:?}");
    for (line, word) in
        progress.iter().flat_map(|line| ["%", "events left", "to go"].map(|w| (line, w)))
    {
        assert!(line.contains(word), "{line}");
    }
    assert_equal(&pair.principal, &pair.mirror);
}
