//! Whether a pair is one database to its clients, whatever happens to it: concurrent clients with transactions over
//! several lists, through kills, promotions, failovers and network cuts, and a checker that sees only their answers.
//!
//! The workload is Elle's list-append, judged as Elle does (Kingsbury, Alvaro: "Elle: Inferring Isolation Anomalies
//! from Experimental Observations", 2020): reads of whole lists tell the order of all writes, and what must not be, a
//! cycle of dependencies, is searched for, not tried out. The principal has to be strictly serializable, a mirror has
//! to answer with states that the principal passed through.

mod check;
mod clients;
mod graph;
mod lists;
mod model;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use clients::Clients;
use model::{Promise, Told, Transaction};
use support::{
    chance::Chance,
    is_soak,
    pair::{Pair, start_mirroring, wait_role, wait_state},
    proxy::{Proxy, Wires},
    server::Server,
};

const DISTURBANCES: &[&str] =
    &["nothing", "restart", "promote", "failover", "mirror restarts", "cut", "both restart"];

/// Two servers that reach each other through wires that can be cut, and their clients.
struct Run {
    pair: Pair,
    wires: [Proxy; 2],
    /// Which of the two servers is the principal.
    principal: u32,
    clients: Clients,
    chance: Chance,
}

impl Run {
    fn start(mut chance: Chance) -> Run {
        let prepare = || {
            let settings = ["--partner-timeout", "3s", "--checkpoint-bytes", "1MiB"];
            let mut server = Server::prepare(&settings);
            let proxy = Proxy::before(&server.partner_address());
            server.partner_advertise = Some(proxy.address());
            server.launch();
            (server, proxy)
        };
        let ((principal, first), (mirror, second)) = (prepare(), prepare());
        start_mirroring(&principal, &mirror, &[]);
        let pair = Pair { principal, mirror };
        pair.wait_synchronized();
        pair.principal.cli_ok(&["db", "create", "second"]);
        for database in ["main", "second"] {
            let client = pair.principal.client().database(database);
            client.run("create table lists(k integer primary key, v text)");
        }
        // Mirrors have the table before anybody reads them.
        pair.assert_equal();
        let urls = vec![pair.principal.url(), pair.mirror.url()];
        let clients = Clients::start(urls, 6, 2, &mut chance);
        Run { pair, wires: [first, second], principal: 0, clients, chance }
    }

    fn disturb(mut self, how: &str) -> Run {
        let few = 10 + self.chance.below(60);
        match how {
            "nothing" => self.clients.wait_progress(few),
            "restart" => {
                self.pair.principal.kill();
                self.pair.principal.launch();
            }
            "mirror restarts" => {
                self.pair.mirror.kill();
                self.clients.wait_progress(few);
                self.pair.mirror.launch();
            }
            "both restart" => {
                self.pair.mirror.kill();
                self.pair.principal.kill();
                self.pair.mirror.spawn();
                self.pair.principal.launch();
                self.pair.mirror.end_whatever();
                self.pair.mirror.launch();
            }
            "cut" => {
                let (forth_cut, back_cut) =
                    *self.chance.pick(&[(true, false), (false, true), (true, true)]);
                let cut = Wires { forth_cut, back_cut, ..Wires::default() };
                self.wires.iter().for_each(|wires| wires.set(cut));
                wait_state(&self.pair.principal, "DISCONNECTED");
                self.clients.wait_progress(few);
                self.wires.iter().for_each(|wires| wires.set(Wires::default()));
            }
            "failover" => {
                self.clients.roles().changing();
                self.pair.principal.cli_ok(&["failover"]);
                self = self.swapped();
            }
            "promote" => {
                self.clients.roles().changing();
                self.pair.principal.kill();
                wait_state(&self.pair.mirror, "DISCONNECTED");
                self.pair.mirror.cli_ok(&["promote", "--yes"]);
                self = self.swapped();
                self.pair.mirror.launch();
                self.pair.wait_synchronized();
            }
            other => panic!("no disturbance {other}"),
        }
        self.pair.wait_synchronized();
        self.clients.wait_progress(few);
        self
    }

    fn swapped(mut self) -> Run {
        self.pair = self.pair.swapped();
        wait_role(&self.pair.principal, "principal");
        self.principal = 1 - self.principal;
        self.clients.roles().settled(self.principal);
        self
    }
}

/// What the judged history consists of, for the reader of a log.
fn summary(history: &[Transaction]) -> String {
    let mut counts = BTreeMap::new();
    for transaction in history {
        let promise = match transaction.promise {
            Promise::Strict => "strict",
            Promise::Prefix { .. } => "prefix",
        };
        *counts.entry((promise, format!("{:?}", transaction.told))).or_insert(0) += 1;
    }
    format!("{counts:?}")
}

fn judge(history: &[Transaction]) {
    match check::check(history) {
        Ok(judged) => {
            eprintln!("judged {judged:?}: {}", summary(history));
            let committed = history.iter().filter(|t| t.told == Told::Committed).count();
            assert!(judged.edges > committed, "the history says something: {judged:?}");
        }
        Err(anomalies) => {
            let stories: Vec<_> =
                anomalies.iter().take(10).map(|a| format!("{}: {}", a.kind, a.story)).collect();
            panic!("{} anomalies, among them:\n{}", anomalies.len(), stories.join("\n"));
        }
    }
}

#[test]
fn clients_see_one_serial_history_through_kills_promotions_failovers_and_cuts() {
    let mut chance = Chance::printed("history");
    let (histories, rounds) = if is_soak() { (20, 40) } else { (1, 10) };
    for _ in 0..histories {
        let mut run = Run::start(chance.split());
        // Each once, then by chance.
        for round in 0..rounds {
            let how = match DISTURBANCES.get(round) {
                Some(how) => how,
                None => *run.chance.pick(DISTURBANCES),
            };
            eprintln!("round {round}: {how}");
            run = run.disturb(how);
        }
        judge(&run.clients.stop());
        run.pair.assert_equal();
    }
}
