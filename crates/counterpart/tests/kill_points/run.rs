//! A pair of which one server is made to die, and what its clients were told.

use std::{
    collections::BTreeSet,
    process::{Child, Command, Stdio},
    time::Duration,
};

use counterpart_journal::CRASH_AT;

use crate::support::{
    clock::now,
    fault::Fault,
    pair::{Pair, partner_states, start_mirroring, wait_role, wait_state},
    server::{BINARY, Server},
    wait_for,
    workload::{Row, Workload, assert_has_all, create_table},
};

/// Where a server dies.
#[derive(Debug)]
pub enum Point {
    /// At this system call, counted from when the phase begins.
    Call(&'static str, u64),
    /// Where the code says so, counted from its start.
    Named(String),
}

/// A pair in which one server may be dead, and what its clients were told.
pub struct Run {
    pub pair: Pair,
    pub confirmed: BTreeSet<Row>,
    clients: u64,
    /// A command that is still running.
    pub operator: Option<Child>,
}

impl Run {
    pub fn start() -> Run {
        let settings = ["--partner-timeout", "3s", "--checkpoint-bytes", "1MiB"];
        let pair = Pair::start_with(&settings, &[]);
        create_table(&pair.principal);
        pair.principal.client().run("create table bulk(id integer primary key, x blob)");
        Run { pair, confirmed: BTreeSet::new(), clients: 0, operator: None }
    }

    /// Clients of the principal, or of whoever takes writes.
    pub fn load(&mut self, of_both: bool) -> Workload {
        self.clients += 2;
        let both = [&self.pair.principal, &self.pair.mirror];
        Workload::start(self.clients, 2, if of_both { &both } else { &both[..1] })
    }

    pub fn stop(&mut self, load: Workload) {
        let (confirmed, _failures) = load.stop();
        self.confirmed.extend(confirmed);
    }

    pub fn bulk(&self) {
        for id in 0..4 {
            // It may die meanwhile: that is what this is for.
            let sql = format!("insert or replace into bulk values({id}, randomblob(300000))");
            let _told = self.pair.principal.client().execute(&sql, &[]);
        }
    }

    pub fn victim(&mut self, on_principal: bool) -> &mut Server {
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
    pub fn arm(&mut self, on_principal: bool, point: &Point) -> Option<Fault> {
        let victim = self.victim(on_principal);
        match point {
            Point::Named(at) => {
                if victim.is_running() {
                    victim.kill();
                }
                victim.environment.push((CRASH_AT.into(), at.clone()));
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
    pub fn round(&mut self, phase: &str, on_principal: bool, point: &Point) -> bool {
        self.prepare(phase);
        let fault = self.arm(on_principal, point);
        for server in [&mut self.pair.principal, &mut self.pair.mirror] {
            if !server.is_running() && phase != "promote" {
                server.spawn();
            }
        }
        if phase == "promote" {
            self.wait_level_or_dead();
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
        self.end_operator();
        drop(fault);
        self.disarm(on_principal);
        died
    }

    /// A point that was not passed must not wait for a later round, in which another server is to die.
    pub fn disarm(&mut self, on_principal: bool) {
        let victim = self.victim(on_principal);
        victim.environment.clear();
        victim.end_whatever();
    }

    /// The command waits for the mirror as long as it takes, dead or not; the operator does not.
    pub fn ask_for_seed(&mut self) {
        let (p, m) = (self.pair.principal.url(), self.pair.mirror.url());
        let start = ["mirror", "start", "--principal", &p, "--mirror", &m];
        let mut command = Command::new(BINARY);
        command.args(start).args(["--replace", "--yes"]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.operator = Some(command.spawn().unwrap());
    }

    /// The operator's command is interrupted, if it still runs.
    pub fn end_operator(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            operator.kill().unwrap();
            operator.wait().unwrap();
        }
    }

    fn go_through(&mut self, phase: &str) {
        let (principal, mirror) = (&mut self.pair.principal, &self.pair.mirror);
        match phase {
            "seed" => self.ask_for_seed(),
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
    pub fn heal(mut self, phase: &str) -> Run {
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

    /// What the principal confirms while the mirror is away may be lost by promoting the mirror, and rightly so.
    fn wait_level_or_dead(&mut self) {
        wait_for("the mirror to be level again, or to die", || {
            (self.pair.mirror.ended().is_some() || self.is_level()).then_some(())
        });
    }

    pub fn is_level(&self) -> bool {
        let level = |server: &Server, role: &str| {
            let status = server.try_status().ok()?;
            let synchronized = partner_states(&status).iter().any(|s| s == "SYNCHRONIZED");
            (status["role"] == role && synchronized).then_some(())
        };
        level(&self.pair.principal, "principal").is_some()
            && level(&self.pair.mirror, "mirror").is_some()
    }

    /// The operator ends what was begun, on both servers, and begins again.
    pub fn start_again(&self) {
        for server in [&self.pair.principal, &self.pair.mirror] {
            let _standalone_already = server.cli(&["mirror", "stop", "--yes"]);
            wait_role(server, "standalone");
        }
        start_mirroring(&self.pair.principal, &self.pair.mirror, &["--replace"]);
    }

    pub fn judge(&self) {
        self.pair.wait_synchronized();
        assert_has_all(&self.pair.principal, &self.confirmed);
        // A database that stands still is not equal yet, and is healed by itself.
        wait_for("the databases to be equal", || {
            (self.pair.principal.cli(&["verify"]).code == Some(0)).then_some(())
        });
        self.pair.assert_equal();
        assert_eq!(self.pair.principal.client().value("pragma integrity_check"), "ok");
    }
}
