//! A seed that something befalls: the network, the disk, a kill, the operator. And what it costs whoever commits meanwhile.

mod support;

use std::time::Duration;

use support::{
    fs::SmallFs,
    pair::{
        assert_equal, databases, partner_states, start_mirroring, wait_role, wait_state,
        wait_synchronized,
    },
    proxy::{Proxy, Wires},
    server::Server,
    wait_for,
    workload::{Workload, assert_has_all, create_table},
};

/// Bytes of a seed, as this side of it tells them. The principal hears of them when they are durable on the mirror.
fn seeded_bytes(server: &Server) -> Option<u64> {
    let status = server.try_status().ok()?;
    status.pointer("/mirroring/partners/0/progress/done")?.as_u64()
}

#[test]
fn a_seed_that_is_interrupted_goes_on_where_it_broke_off() {
    let mut principal = Server::prepare(&["--statement-timeout", "5m"]);
    let proxy = Proxy::before(&principal.partner_address());
    principal.partner_advertise = Some(proxy.address());
    principal.launch();
    let mut mirror = Server::start();
    principal.client().run("create table big(id integer primary key, x blob)");
    for _ in 0..16 {
        principal.client().run(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 160)
               insert into big(x) select randomblob(100000) from n",
        );
    }
    // A slow network, so that the kill falls into the seed and not behind it.
    proxy.set(Wires { delay: Duration::from_millis(2), ..Wires::default() });
    start_mirroring(&principal, &mirror, &["--no-wait"]);
    let before = wait_for("a part of the seed to be durable", || {
        seeded_bytes(&principal).filter(|bytes| *bytes > 60 << 20)
    });
    mirror.kill();
    principal.client().run("update big set x = randomblob(10) where id % 5 = 0");
    mirror.launch();
    let after = wait_for("the seed to go on", || {
        assert_ne!(partner_states(&mirror.status()), ["SYNCHRONIZED"], "too late");
        seeded_bytes(&mirror)
    });
    assert!(after >= before, "{before} bytes were there, and it began again at {after}");
    proxy.set(Wires::default());
    wait_synchronized(&principal);
    wait_state(&mirror, "SYNCHRONIZED");
    assert_equal(&principal, &mirror);
}

/// A pair whose mirror is being seeded over slow wires, with some of the seed on its disk already.
fn half_seeded() -> (Server, Server, Proxy) {
    half_seeded_on(None)
}

/// The same, with the mirror's data on a disk of its own.
fn half_seeded_on(disk: Option<&SmallFs>) -> (Server, Server, Proxy) {
    let mut principal = Server::prepare(&["--statement-timeout", "5m", "--partner-timeout", "1s"]);
    let proxy = Proxy::before(&principal.partner_address());
    principal.partner_advertise = Some(proxy.address());
    principal.launch();
    let mut mirror = Server::prepare(&["--partner-timeout", "1s"]);
    mirror.data_dir = disk.map(|disk| disk.path().join("data"));
    mirror.launch();
    principal.cli_ok(&["db", "create", "big"]);
    principal.client().database("big").script(
        "create table big(id integer primary key, x blob);
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000)
           insert into big(x) select randomblob(100000) from n",
    );
    proxy.set(Wires { delay: Duration::from_millis(2), ..Wires::default() });
    start_mirroring(&principal, &mirror, &["--no-wait"]);
    wait_for("a part of the seed to be there", || {
        seeded_bytes(&mirror).filter(|bytes| *bytes > 10 << 20)
    });
    (principal, mirror, proxy)
}

#[test]
fn a_database_that_is_dropped_while_it_is_seeded_is_dropped_on_the_mirror_too() {
    let (principal, mirror, proxy) = half_seeded();
    principal.cli_ok(&["db", "drop", "big", "--yes"]);
    proxy.set(Wires::default());
    wait_synchronized(&principal);
    principal.client().script("create table after(x); insert into after values (1)");
    assert_equal(&principal, &mirror);
    assert_eq!(databases(&mirror), ["main"]);
    principal.cli_ok(&["verify", "--deep"]);
}

#[test]
fn mirroring_that_ends_while_a_seed_runs_leaves_two_servers_that_serve() {
    for from_mirror in [false, true] {
        let (principal, mirror, _proxy) = half_seeded();
        let asked = if from_mirror { &mirror } else { &principal };
        asked.cli_ok(&["mirror", "stop", "--yes"]);
        for server in [&principal, &mirror] {
            wait_role(server, "standalone");
            wait_for("writes to be taken", || {
                (server.status()["admits_writes"] == true).then_some(())
            });
            server.client().script("create table own(x); insert into own values (1)");
        }
        // What was half there is gone: the mirror had nothing whole to show.
        assert_eq!(databases(&mirror), ["main"]);
        assert_eq!(databases(&principal), ["big", "main"]);
    }
}

/// How much others go before a thread, as the system counts it: 19 is the most.
fn niceness(stat: &str) -> i64 {
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap()
}

/// The threads of a server that others of it go before: their names, and by how much.
fn threads_that_give_way(server: &Server) -> Vec<(String, i64)> {
    let process = format!("/proc/{}", server.pid());
    let usual = niceness(&std::fs::read_to_string(format!("{process}/stat")).unwrap());
    let tasks = std::fs::read_dir(format!("{process}/task")).unwrap();
    let stats =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let name = |stat: &str| stat[stat.find('(').unwrap() + 1..stat.rfind(')').unwrap()].to_owned();
    let told = stats.map(|stat| (name(&stat), niceness(&stat) - usual));
    told.filter(|(_, more)| *more != 0).collect()
}

/// A thread begins as urgent as the one that started it: one that is started by a seed's would stay behind for good.
#[test]
fn a_seed_gives_way_and_nobody_else_does_because_of_it() {
    let (principal, mirror, proxy) = half_seeded();
    let among = |server: &Server, name: &str| {
        threads_that_give_way(server).iter().any(|(thread, more)| thread == name && *more > 0)
    };
    assert!(among(&principal, "seed") && among(&mirror, "seed"));
    create_table(&principal);
    let load = Workload::start(0, 8, &[&principal]);
    proxy.set(Wires::default());
    wait_synchronized(&principal);
    load.wait_progress(200);
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, []);
    assert_equal(&principal, &mirror);
    assert_has_all(&mirror, &confirmed);
    wait_for("nobody but replay to give way", || {
        let left = threads_that_give_way(&mirror);
        let only_replay = left.iter().all(|(name, more)| name == "replay" && *more > 0);
        (only_replay && threads_that_give_way(&principal).is_empty()).then_some(())
    });
    assert!(among(&mirror, "replay"));
}

/// The wires go dead within a frame, while a socket is at the thread of a seed.
#[test]
fn a_seed_whose_wires_go_dead_lets_go_of_the_socket_and_goes_on_over_others() {
    let (principal, mirror, proxy) = half_seeded();
    for _ in 0..3 {
        proxy.set(Wires { forth_cut: true, back_cut: true, ..Wires::default() });
        wait_state(&principal, "DISCONNECTED");
        wait_for("the threads of the seed to end", || {
            let all = [&principal, &mirror].map(threads_that_give_way).concat();
            (all.iter().all(|(name, _)| name != "seed")).then_some(())
        });
        proxy.set(Wires { delay: Duration::from_millis(2), ..Wires::default() });
        wait_for("the seed to go on", || seeded_bytes(&mirror));
    }
    proxy.set(Wires::default());
    wait_synchronized(&principal);
    assert_equal(&principal, &mirror);
    for server in [&principal, &mirror] {
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
}

#[test]
fn a_disk_that_a_seed_fills_up_is_told_and_the_seed_goes_on_when_there_is_room() {
    let Some(disk) = SmallFs::make(600) else { return };
    let (principal, mut mirror, proxy) = half_seeded_on(Some(&disk));
    // Filling it up takes longer than the rest of the seed may.
    proxy.set(Wires { forth_cut: true, back_cut: true, ..Wires::default() });
    let ballast = disk.fill(0);
    proxy.set(Wires::default());
    let why = wait_for("the mirror to tell", || {
        let log = mirror.log();
        log.lines().find(|line| line.contains("No space left")).map(str::to_owned)
    });
    assert!(why.contains("WARN") || why.contains("ERROR"), "{why}");
    principal.client().script("create table after(x); insert into after values (1)");
    std::fs::remove_file(ballast).unwrap();
    // By itself it would try again half a minute later.
    mirror.end_whatever();
    mirror.launch();
    wait_synchronized(&principal);
    assert_equal(&principal, &mirror);
    assert!(!mirror.log().contains("panicked"), "{}", mirror.log());
}

#[test]
fn servers_that_are_stopped_within_a_seed_end_in_order_and_go_on_with_it() {
    let (mut principal, mut mirror, proxy) = half_seeded();
    for principal_first in [true, false] {
        let (one, other) = if principal_first {
            (&mut principal, &mut mirror)
        } else {
            (&mut mirror, &mut principal)
        };
        for server in [one, other] {
            assert!(server.terminate().success(), "{}", server.log());
            assert!(!server.log().contains("panicked"), "{}", server.log());
        }
        principal.launch();
        mirror.launch();
        wait_for("the seed to go on", || seeded_bytes(&mirror));
    }
    proxy.set(Wires::default());
    wait_synchronized(&principal);
    assert_equal(&principal, &mirror);
}
