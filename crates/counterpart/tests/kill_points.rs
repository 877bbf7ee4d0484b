//! `kill -9` at chosen points of everything that a pair does: while it writes and checkpoints, is seeded, catches up,
//! fails over, promotes and rejoins.
//!
//! A point is a system call (the n-th write, fsync, rename … from outside, by strace), or one that the code names: a
//! binary built with named points aborts at the n-th passing of the one in `COUNTERPART_CRASH_AT=name:count`. Their
//! names are given in `COUNTERPART_TEST_CRASH_POINTS`, separated by commas. The judge knows only what clients were
//! told.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Child, Command, Stdio},
    time::Duration,
};

use support::{
    chance::Chance,
    clock::now,
    fault::{self, Fault},
    is_soak,
    pair::{Pair, partner_states, start_mirroring, wait_role, wait_state},
    server::{BINARY, Server},
    wait_for,
    workload::{Row, Workload, assert_has_all, create_table},
};

const PHASES: &[&str] = &["write", "catch up", "seed", "fail over", "promote", "start"];
const CALLS: &[(&str, u64)] = &[
    ("pwrite64", 60),
    ("fdatasync", 20),
    ("fsync", 3),
    ("renameat2", 2),
    ("ftruncate", 2),
    ("unlink", 3),
    ("openat", 30),
    ("sendto", 60),
];

/// Where a server dies.
#[derive(Debug)]
enum Point {
    /// At this system call, counted from when the phase begins.
    Call(&'static str, u64),
    /// Where the code says so, counted from its start.
    Named(String),
}

fn point(chance: &mut Chance) -> Point {
    let named = std::env::var("COUNTERPART_TEST_CRASH_POINTS").unwrap_or_default();
    let named: Vec<&str> = named.split(',').filter(|name| !name.is_empty()).collect();
    if !named.is_empty() && chance.below(2) == 0 {
        return Point::Named(format!("{}:{}", chance.pick(&named), 1 + chance.below(5)));
    }
    let (call, most) = *chance.pick(CALLS);
    Point::Call(call, 1 + chance.below(most))
}

/// A pair in which one server may be dead, and what its clients were told.
struct Run {
    pair: Pair,
    confirmed: BTreeSet<Row>,
    clients: u64,
    /// A command that is still running.
    operator: Option<Child>,
}

impl Run {
    fn start() -> Run {
        let settings = ["--partner-timeout", "1s", "--checkpoint-bytes", "1MiB"];
        let pair = Pair::start_with(&settings, &[]);
        create_table(&pair.principal);
        pair.principal.client().run("create table bulk(id integer primary key, x blob)");
        Run { pair, confirmed: BTreeSet::new(), clients: 0, operator: None }
    }

    /// Clients of the principal, or of whoever takes writes.
    fn load(&mut self, of_both: bool) -> Workload {
        self.clients += 2;
        let both = [&self.pair.principal, &self.pair.mirror];
        Workload::start(self.clients, 2, if of_both { &both } else { &both[..1] })
    }

    fn stop(&mut self, load: Workload) {
        let (confirmed, _failures) = load.stop();
        self.confirmed.extend(confirmed);
    }

    fn bulk(&self) {
        for id in 0..4 {
            // It may die meanwhile: that is what this is for.
            let sql = format!("insert or replace into bulk values({id}, randomblob(300000))");
            let _told = self.pair.principal.client().execute(&sql, &[]);
        }
    }

    fn victim(&mut self, on_principal: bool) -> &mut Server {
        if on_principal { &mut self.pair.principal } else { &mut self.pair.mirror }
    }

    /// What has to be before the phase.
    fn prepare(&mut self, phase: &str) {
        match phase {
            "catch up" | "start" => {
                self.pair.mirror.kill();
                wait_state(&self.pair.principal, "DISCONNECTED");
                let load = self.load(false);
                load.wait_progress(100);
                self.bulk();
                self.stop(load);
                if phase == "start" {
                    self.pair.principal.kill();
                }
            }
            "seed" => {
                self.pair.principal.cli_ok(&["mirror", "stop", "--yes"]);
                wait_role(&self.pair.principal, "standalone");
            }
            _ => {}
        }
    }

    /// Lets the victim run, with death waiting for it at the point.
    fn arm(&mut self, on_principal: bool, point: &Point) -> Option<Fault> {
        let victim = self.victim(on_principal);
        match point {
            Point::Named(at) => {
                if victim.is_running() {
                    victim.kill();
                }
                victim.environment.push(("COUNTERPART_CRASH_AT".into(), at.clone()));
                victim.spawn();
                None
            }
            Point::Call(call, nth) => {
                if !victim.is_running() {
                    victim.spawn();
                }
                Some(Fault::kill(victim.pid(), call, *nth))
            }
        }
    }

    /// One phase in which one server dies at a point, if it passes there; whether it did.
    fn round(&mut self, phase: &str, on_principal: bool, point: &Point) -> bool {
        self.prepare(phase);
        let fault = self.arm(on_principal, point);
        for server in [&mut self.pair.principal, &mut self.pair.mirror] {
            if !server.is_running() && phase != "promote" {
                server.spawn();
            }
        }
        let load = self.load(phase != "seed");
        self.go_through(phase);
        // Until it has died, or passed whatever it may pass.
        let deadline = now() + Duration::from_secs(3);
        let mut died = false;
        while !died && now() < deadline {
            self.bulk();
            died = self.victim(on_principal).ended().is_some();
        }
        self.stop(load);
        if let Some(mut operator) = self.operator.take() {
            operator.kill().unwrap();
            operator.wait().unwrap();
        }
        drop(fault);
        self.victim(on_principal).environment.clear();
        died
    }

    fn go_through(&mut self, phase: &str) {
        let (principal, mirror) = (&mut self.pair.principal, &self.pair.mirror);
        match phase {
            "seed" => {
                // It waits for the mirror as long as it takes, dead or not; the operator does not.
                let (p, m) = (principal.url(), mirror.url());
                let start = ["mirror", "start", "--principal", &p, "--mirror", &m];
                let mut command = Command::new(BINARY);
                command.args(start).args(["--replace", "--yes"]).stdin(Stdio::null());
                command.stdout(Stdio::null()).stderr(Stdio::null());
                self.operator = Some(command.spawn().unwrap());
            }
            "fail over" => {
                let _outcome = principal.cli(&["failover"]);
            }
            "promote" => {
                principal.end_whatever();
                let deadline = now() + Duration::from_secs(5);
                // Refused until the mirror knows that it is alone; dead, it is not asked for long.
                while mirror.cli(&["promote", "--yes"]).code != Some(0) && now() < deadline {}
            }
            _ => {}
        }
    }

    /// Whoever is dead comes back, and the two become a pair again: by themselves, but that an operator whose command
    /// was interrupted gives it again.
    fn heal(mut self, phase: &str) -> Run {
        // The mirror first: it may have been promoted, and the other one has to be told.
        for server in [&mut self.pair.mirror, &mut self.pair.principal] {
            if !server.is_running() {
                server.launch();
            }
        }
        if phase == "seed" && !self.is_level() {
            self.start_again();
        }
        let mut parked = false;
        wait_for("the pair to be one again", || {
            if self.is_level() {
                return Some(());
            }
            let status = self.pair.mirror.try_status().ok()?;
            if status["role"] == "principal" {
                std::mem::swap(&mut self.pair.principal, &mut self.pair.mirror);
            } else if !parked && partner_states(&status).iter().any(|s| s == "SUSPENDED") {
                start_mirroring(&self.pair.principal, &self.pair.mirror, &["--replace"]);
                parked = true;
            }
            None
        });
        self
    }

    fn is_level(&self) -> bool {
        let level = |server: &Server, role: &str| {
            let status = server.try_status().ok()?;
            let synchronized = partner_states(&status).iter().any(|s| s == "SYNCHRONIZED");
            (status["role"] == role && synchronized).then_some(())
        };
        level(&self.pair.principal, "principal").is_some()
            && level(&self.pair.mirror, "mirror").is_some()
    }

    /// The operator ends what was begun, on both servers, and begins again.
    fn start_again(&self) {
        for server in [&self.pair.principal, &self.pair.mirror] {
            let _standalone_already = server.cli(&["mirror", "stop", "--yes"]);
            wait_role(server, "standalone");
        }
        start_mirroring(&self.pair.principal, &self.pair.mirror, &["--replace"]);
    }

    fn judge(&self) {
        self.pair.wait_synchronized();
        assert_has_all(&self.pair.principal, &self.confirmed);
        self.pair.assert_equal();
        assert_eq!(self.pair.principal.client().value("pragma integrity_check"), "ok");
    }
}

#[test]
fn a_server_that_dies_at_any_point_of_any_phase_loses_nothing_confirmed() {
    if !fault::is_possible() {
        return;
    }
    let mut chance = Chance::printed("kill points");
    let mut run = Run::start();
    let mut counts = BTreeMap::new();
    for round in 0..if is_soak() { 500 } else { 12 } {
        let phase = PHASES[round % PHASES.len()];
        // Who promotes is the mirror; in all else it may be either.
        let on_principal = phase != "promote" && (round / PHASES.len()).is_multiple_of(2);
        let point = point(&mut chance);
        eprintln!("round {round}: {phase}, on the principal: {on_principal}, {point:?}");
        let died = run.round(phase, on_principal, &point);
        run = run.heal(phase);
        run.judge();
        *counts.entry((phase, on_principal, died)).or_insert(0) += 1;
    }
    eprintln!("kills (phase, on the principal, did it die): {counts:?}");
    assert!(counts.keys().any(|(_, _, died)| *died), "nobody ever died: {counts:?}");
}
