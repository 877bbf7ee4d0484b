//! Power cuts: what was not made durable is lost, of the principal, the mirror or both at once, in the middle of
//! writing. Needs file systems of its own, and is skipped, with the reason, where the machine does not allow that.
//!
//! The judge knows which rows were confirmed, and nothing of what the servers keep.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::{
    chance::Chance,
    fs::SmallFs,
    is_soak,
    pair::{Pair, start_mirroring, wait_role, wait_state},
    server::Server,
    workload::{Row, Workload, assert_has_all, create_table},
};

const CUTS: &[&str] = &["principal", "mirror", "both", "principal for good"];

/// A pair, each server with a file system of its own.
struct Powered {
    pair: Pair,
    /// The principal's and the mirror's.
    disks: [SmallFs; 2],
    confirmed: BTreeSet<Row>,
    clients: u64,
}

impl Powered {
    fn start() -> Option<Powered> {
        let disks = [SmallFs::make(600)?, SmallFs::make(600)?];
        let settings = ["--partner-timeout", "3s", "--checkpoint-bytes", "2MiB"];
        let server = |disk: &SmallFs| {
            let mut server = Server::prepare(&settings);
            server.data_dir = Some(disk.path().join("data"));
            server.launch();
            server
        };
        let pair = Pair { principal: server(&disks[0]), mirror: server(&disks[1]) };
        start_mirroring(&pair.principal, &pair.mirror, &[]);
        pair.wait_synchronized();
        create_table(&pair.principal);
        pair.principal.client().run("create table bulk(id integer primary key, x blob)");
        Some(Powered { pair, disks, confirmed: BTreeSet::new(), clients: 0 })
    }

    /// Rows of many clients, and a few large ones so that checkpoints happen.
    fn load(&mut self, chance: &mut Chance) -> Workload {
        let load = Workload::start(self.clients, 4, &[&self.pair.principal]);
        self.clients += 4;
        for _ in 0..chance.below(12) {
            let (id, bytes) = (chance.below(10), 1000 + chance.below(500_000));
            let sql = format!("insert or replace into bulk values({id}, randomblob({bytes}))");
            self.pair.principal.client().run(&sql);
        }
        load.wait_progress(chance.below(200));
        load
    }

    /// What clients were told before, they find now.
    fn judge(&self) {
        assert_has_all(&self.pair.principal, &self.confirmed);
        self.pair.assert_equal();
        for server in [&self.pair.principal, &self.pair.mirror] {
            assert_eq!(server.client().value("pragma integrity_check"), "ok");
        }
    }

    fn cut(mut self, what: &str, chance: &mut Chance) -> Powered {
        let load = self.load(chance);
        if what != "mirror" {
            self.disks[0].cut_power();
        }
        if matches!(what, "mirror" | "both") {
            self.disks[1].cut_power();
        }
        if what == "mirror" {
            // The principal goes on without it.
            load.wait_progress(20);
        }
        let (confirmed, _failures) = load.stop();
        self.confirmed.extend(confirmed);
        if what == "principal for good" {
            return self.promote();
        }
        let ends = [what != "mirror", what != "principal"];
        for (i, server) in [&mut self.pair.principal, &mut self.pair.mirror].into_iter().enumerate()
        {
            if ends[i] {
                server.end_whatever();
                self.disks[i].remount();
            }
        }
        for (i, server) in [&mut self.pair.principal, &mut self.pair.mirror].into_iter().enumerate()
        {
            if ends[i] {
                server.launch();
            }
        }
        self.pair.wait_synchronized();
        self
    }

    /// The mirror takes over; the old principal comes back later and joins.
    fn promote(mut self) -> Powered {
        self.pair.principal.end_whatever();
        wait_state(&self.pair.mirror, "DISCONNECTED");
        self.pair.mirror.cli_ok(&["promote", "--yes"]);
        self.pair = self.pair.swapped();
        self.disks.reverse();
        wait_role(&self.pair.principal, "principal");
        assert_has_all(&self.pair.principal, &self.confirmed);
        let id = 1_000_000 + self.clients;
        self.pair.principal.client().run(&format!("insert into work values({id}, 0, 'promoted')"));
        self.disks[1].remount();
        self.pair.mirror.launch();
        self.pair.wait_synchronized();
        self
    }
}

#[test]
fn a_power_cut_of_either_server_or_of_both_loses_nothing_confirmed() {
    let mut chance = Chance::printed("power cuts");
    let Some(mut powered) = Powered::start() else { return };
    let mut counts = BTreeMap::new();
    for round in 0..if is_soak() { 200 } else { 8 } {
        // Each twice, then by chance.
        let what = match CUTS.get(round % 8 / 2) {
            Some(what) if round < 8 => *what,
            _ => *chance.pick(CUTS),
        };
        eprintln!("cut {round}: {what}");
        powered = powered.cut(what, &mut chance);
        powered.judge();
        *counts.entry(what).or_insert(0) += 1;
    }
    eprintln!("power cuts: {counts:?}, {} rows confirmed", powered.confirmed.len());
}
