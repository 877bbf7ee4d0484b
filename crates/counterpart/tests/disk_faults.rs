//! Disks that fail under a running pair: an fsync or a write that ends with an error, a file system that goes
//! read-only, one that is full at a bad moment. Nothing confirmed is lost, somebody is told, and a restart mends it.
//!
//! Each test needs a tool or a right that not every machine grants, and is skipped, with the reason, where it lacks.

mod support;

use std::{collections::BTreeMap, path::Path, time::Duration};

use support::{
    chance::Chance,
    client::Failure,
    clock::now,
    fault::{self, Fault},
    fs::SmallFs,
    is_soak,
    pair::{Pair, partner_states, start_mirroring},
    server::Server,
    wait_for,
    workload::{Workload, assert_has_all, create_table},
};

const SETTINGS: &[&str] =
    &["--partner-timeout", "1s", "--checkpoint-bytes", "2MiB", "--retention-bytes", "64MiB"];

/// A pair with its tables; on file systems of its own, if there are any.
fn pair(disks: &[SmallFs]) -> Pair {
    let server = |nth: usize| {
        let mut server = Server::prepare(SETTINGS);
        server.data_dir = disks.get(nth).map(|disk| disk.path().join("data"));
        server.launch();
        server
    };
    let pair = Pair { principal: server(0), mirror: server(1) };
    start_mirroring(&pair.principal, &pair.mirror, &[]);
    pair.wait_synchronized();
    create_table(&pair.principal);
    pair.principal.client().run("create table bulk(id integer primary key, x blob)");
    pair
}

/// Large rows, replaced again and again, so that the journal grows and checkpoints happen; the first refusal.
fn write_bulk(server: &Server, rows: u64) -> Option<Failure> {
    (0..rows).find_map(|n| {
        let sql = format!("insert or replace into bulk values({}, randomblob(400000))", n % 10);
        server.client().execute(&sql, &[]).err()
    })
}

/// Whether somebody learned of it: a client by a refusal, or the operator by the log.
fn was_told(server: &Server, log_before: usize, failures: &[Failure]) -> bool {
    let log = server.log();
    let new = &log[log_before..];
    assert!(!new.contains("panicked"), "{new}");
    !failures.is_empty() || new.contains(" WARN ") || new.contains(" ERROR ")
}

/// The victim is started again, the pair becomes level, and has what was confirmed.
fn judge(pair: &mut Pair, on_principal: bool, load: Workload) -> Vec<Failure> {
    let victim = if on_principal { &mut pair.principal } else { &mut pair.mirror };
    victim.end_whatever();
    let (confirmed, failures) = load.stop();
    victim.launch();
    pair.wait_synchronized();
    assert_has_all(&pair.principal, &confirmed);
    pair.assert_equal();
    assert_eq!(pair.principal.client().value("pragma integrity_check"), "ok");
    pair.principal.client().run("delete from work");
    failures
}

#[test]
fn an_fsync_or_write_that_fails_loses_nothing_confirmed_and_is_told() {
    if !fault::is_possible() {
        return;
    }
    let mut chance = Chance::printed("failing system calls");
    let mut pair = pair(&[]);
    let calls = ["fdatasync", "pwrite64", "fsync", "fallocate"];
    let mut counts = BTreeMap::new();
    for round in 0..if is_soak() { 100 } else { 6 } {
        let (call, on_principal) = (calls[round % 8 / 2], round % 2 == 0);
        let victim = if on_principal { &pair.principal } else { &pair.mirror };
        let log_before = victim.log().len();
        let load = Workload::start(0, 4, &[&pair.principal]);
        let error = if call == "fallocate" { "ENOSPC" } else { "EIO" };
        let most = if call == "fsync" || call == "fallocate" { 1 } else { 30 };
        let fault = Fault::error(victim.pid(), call, error, 1 + chance.below(most));
        let deadline = now() + Duration::from_secs(20);
        while !fault.has_been() && now() < deadline {
            let _refused = write_bulk(&pair.principal, 3);
        }
        let hit = fault.has_been();
        drop(fault);
        if hit {
            // It shows when the next write comes by.
            let _refused = write_bulk(&pair.principal, 2);
        }
        let victim = if on_principal { &pair.principal } else { &pair.mirror };
        let told_by_log = was_told(victim, log_before, &[]);
        let failures = judge(&mut pair, on_principal, load);
        assert!(!hit || told_by_log || !failures.is_empty(), "round {round}: nobody was told");
        *counts.entry((call, on_principal, hit)).or_insert(0) += 1;
    }
    eprintln!("failed calls (call, on the principal, did it happen): {counts:?}");
    assert!(counts.keys().any(|(_, _, hit)| *hit), "no call failed: {counts:?}");
}

#[test]
fn a_file_system_that_goes_read_only_loses_nothing_confirmed_and_is_told() {
    for on_principal in [true, false] {
        let (Some(one), Some(two)) = (SmallFs::make(400), SmallFs::make(400)) else { return };
        let disks = [one, two];
        let mut pair = pair(&disks);
        let load = Workload::start(0, 4, &[&pair.principal]);
        load.wait_progress(100);
        let log_before = pair.mirror.log().len();
        disks[usize::from(!on_principal)].make_read_only();
        if on_principal {
            let insert = "insert into work values(1000, 0, '')";
            let refused = wait_for("writes to be refused", || {
                pair.principal.client().execute(insert, &[]).err()
            });
            assert!(refused.is_refusal() && !refused.message.is_empty(), "{refused:?}");
            if refused.code.starts_with("SQLITE_") {
                // The journal may have failed first; otherwise the operator is told as early as the client.
                assert_eq!(pair.principal.status()["storage_error"]["code"], refused.code.as_str());
                assert!(pair.principal.log().contains("alarm=\"Storage\""));
            }
            // A read that would show what was never hardened is refused too; nothing else may happen to it.
            if let Err(failure) = pair.principal.client().execute("select count(*) from work", &[])
            {
                assert_eq!(failure.code, "JOURNAL_FAILED", "{failure:?}");
            }
        } else {
            wait_for("the principal to go on without it", || {
                let states = partner_states(&pair.principal.status());
                states.iter().all(|state| state != "SYNCHRONIZED").then_some(())
            });
            load.wait_progress(50);
            wait_for("its log to tell", || was_told(&pair.mirror, log_before, &[]).then_some(()));
        }
        // Stopped here, so that the file system can be mended.
        let victim = if on_principal { &mut pair.principal } else { &mut pair.mirror };
        victim.end_whatever();
        disks[usize::from(!on_principal)].remount();
        judge(&mut pair, on_principal, load);
    }
}

#[test]
fn a_disk_that_is_full_at_any_moment_loses_nothing_confirmed() {
    let (Some(one), Some(two)) = (SmallFs::make(500), SmallFs::make(500)) else { return };
    let mut chance = Chance::printed("full disks");
    let disks = [one, two];
    let mut pair = pair(&disks);
    let mut told = 0;
    for round in 0..if is_soak() { 60 } else { 4 } {
        let on_principal = round % 2 == 0;
        let victim = if on_principal { &pair.principal } else { &pair.mirror };
        let log_before = victim.log().len();
        let load = Workload::start(0, 4, &[&pair.principal]);
        load.wait_progress(chance.below(100));
        let ballast = disks[usize::from(!on_principal)].fill(chance.below(24 << 10));
        let refused: Vec<Failure> = write_bulk(&pair.principal, 100).into_iter().collect();
        told += u32::from(was_told(victim, log_before, &refused));
        std::fs::remove_file(ballast).unwrap();
        judge(&mut pair, on_principal, load);
    }
    assert!(told > 0, "no disk was ever too full");
}

/// Where the library of libfiu that answers in the place of the C library is, with the one that sets it up.
fn libfiu() -> Option<String> {
    let folders =
        [format!("/usr/lib/{}-linux-gnu/fiu", std::env::consts::ARCH), "/usr/lib/fiu".into()];
    let both = |folder: &String| {
        ["fiu_run_preload.so", "fiu_posix_preload.so"].map(|name| format!("{folder}/{name}"))
    };
    let found =
        folders.iter().map(both).find(|both| both.iter().all(|path| Path::new(path).exists()));
    if found.is_none() {
        eprintln!("skipped: short writes need libfiu (fiu-utils)");
    }
    found.map(|both| both.join(" "))
}

#[test]
fn short_writes_are_completed() {
    let Some(libraries) = libfiu() else { return };
    let mut pair = pair(&[]);
    // Each server gets every fourth write done by part only, from its next start on.
    for server in [&mut pair.principal, &mut pair.mirror] {
        server.environment.push(("LD_PRELOAD".into(), libraries.clone()));
        let short = "enable_random name=posix/io/rw/pwrite/reduce,probability=0.25";
        server.environment.push(("FIU_ENABLE".into(), short.into()));
        server.kill();
        server.launch();
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap();
        assert!(maps.contains("fiu_posix_preload"), "the library answers for the C library");
    }
    pair.wait_synchronized();
    for on_principal in [true, false] {
        let load = Workload::start(0, 4, &[&pair.principal]);
        load.wait_progress(200);
        assert_eq!(write_bulk(&pair.principal, 30), None);
        judge(&mut pair, on_principal, load);
    }
}
