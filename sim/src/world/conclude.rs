//! The end: everything heals, time passes, and all must be well: one principal that confirms, mirrors that are equal
//! to it byte for byte or parked with what only they have, and nothing lost that somebody was told.

use counterpart_core::{message::Role, session::PairState};

use super::World;
use crate::{
    plan::SECOND,
    process::{Door, Process, database::Model, ops::Wish},
    truth::Truth,
};

/// Simulated seconds that healing may take: partners dial every 30 s at worst, and some things need two tries.
const PATIENCE: u64 = 300;

impl World {
    /// Heals everything and demands that all is well; how many servers are parked.
    pub(super) fn conclude(&mut self) -> u64 {
        if self.around.truth.violation.is_some() {
            return 0;
        }
        self.calm = true;
        self.say(|| "everything heals".to_owned());
        self.heal();
        let Some(principal) = self.settle() else { return 0 };
        self.judge(principal);
        let parked: Vec<usize> =
            (0..self.machines.len()).filter(|&server| self.is_parked(server)).collect();
        if !parked.is_empty() && self.around.truth.violation.is_none() {
            // The operator decides: what only they have is saved, and they follow. Told once, each of them.
            let told: Vec<usize> = parked.clone();
            told.into_iter().for_each(|server| self.rejoin(server));
            let Some(principal) = self.settle() else { return 0 };
            self.judge(principal);
            let left = (0..self.machines.len()).find(|&server| self.is_parked(server));
            self.around.truth.demand(left.is_none(), || {
                format!("{} parks although it was told to rejoin", Truth::name(left.unwrap_or(0)))
            });
        }
        parked.len() as u64
    }

    fn judge(&mut self, principal: usize) {
        self.confirm_once_more(principal);
        self.around.truth.conclude(principal);
        self.compare(principal);
    }

    /// Lets time pass until all are level; the principal.
    fn settle(&mut self) -> Option<usize> {
        for waited in 1.. {
            self.pass(2 * SECOND);
            self.heal();
            if self.around.truth.violation.is_some() {
                break;
            }
            match self.level() {
                Ok(principal) if waited > 5 => return Some(principal),
                Err(why) if 2 * waited >= PATIENCE => {
                    self.around.truth.wrong(|| format!("after {PATIENCE} s of calm {why}"));
                    break;
                }
                _ => {}
            }
            if waited % 10 == 0 {
                self.resume_all();
                self.promote_what_has_more();
                if self.around.plan.images {
                    self.promote_somebody();
                }
                self.allow_writes_alone();
            }
        }
        None
    }

    fn heal(&mut self) {
        self.around.net.heal_all(&mut self.around.agenda);
        for server in 0..self.machines.len() {
            self.machines[server].disk.mend();
            self.heal_disk(server);
            if self.machines[server].process.is_none() && !self.machines[server].starting {
                self.start_later(server);
            }
        }
    }

    fn is_parked(&self, server: usize) -> bool {
        let process = self.machines[server].process.as_ref();
        process.is_some_and(|process| {
            let deposed = process.core.durable().deposed.as_ref();
            deposed.is_some_and(|deposed| deposed.parked.is_some())
        })
    }

    /// The principal, if every other server is level with it or parked; else what is not.
    fn level(&self) -> Result<usize, String> {
        let mut principal = None;
        for (server, machine) in self.machines.iter().enumerate() {
            let name = Truth::name(server);
            let Some(process) = &machine.process else { return Err(format!("{name} is down")) };
            if process.core.durable().role == Role::Mirror {
                continue;
            }
            if process.door != Door::Open {
                return Err(format!("{name} admits nothing: {:?}", process.door));
            }
            if let Some(other) = principal.replace(server) {
                return Err(format!("{name} and {} both serve", Truth::name(other)));
            }
        }
        let principal = principal.ok_or("nobody serves")?;
        for server in (0..self.machines.len()).filter(|&server| server != principal) {
            if !self.is_parked(server) {
                self.is_level(server, principal)?;
            }
        }
        Ok(principal)
    }

    fn is_level(&self, server: usize, principal: usize) -> Result<(), String> {
        let process = |server: usize| self.machines[server].process.as_ref().ok_or("one is down");
        let (mirror, office) = (process(server)?, process(principal)?);
        let name = Truth::name(server);
        let state = office.core.pair_state(self.around.truth.ids[server]);
        if state != Some(PairState::Synchronized) {
            return Err(format!("{name} is {state:?}"));
        }
        let (shown, end) = (mirror.applied, office.journal.last());
        if shown == end { Ok(()) } else { Err(format!("{name} shows {shown} of {end}")) }
    }

    fn confirm_once_more(&mut self, principal: usize) {
        let before = self.around.truth.tally.confirmed;
        for _ in 0..20 {
            let life = self.machines[principal].life;
            self.with(principal, life, |process, around| {
                process.ask_for(around, Wish::Write(0), SECOND);
            });
            self.pass(5 * SECOND);
            if self.around.truth.tally.confirmed > before {
                break;
            }
        }
        let confirmed = self.around.truth.tally.confirmed > before;
        self.around.truth.demand(confirmed, || {
            format!("{} confirms nothing although all is well", Truth::name(principal))
        });
        for _ in 0..20 {
            if self.level() == Ok(principal) {
                return;
            }
            self.pass(2 * SECOND);
        }
        let level = self.level();
        self.around
            .truth
            .demand(level == Ok(principal), || format!("after a last write {level:?}"));
    }

    /// Page by page.
    fn compare(&mut self, principal: usize) {
        let Some(office) = &self.machines[principal].process else { return };
        for (server, machine) in self.machines.iter().enumerate() {
            let Some(process) = machine.process.as_ref().filter(|_| server != principal) else {
                continue;
            };
            if self.is_parked(server) {
                continue;
            }
            let same = process.databases.len() == office.databases.len()
                && process.databases.values().zip(office.databases.values()).all(|(one, other)| {
                    one.id == other.id && one.name == other.name && one.pages == other.pages
                });
            let names = |process: &Process| {
                let named = |m: &Model| format!("{} {} of {}", m.id, m.name, m.pages.size());
                process.databases.values().map(named).collect::<Vec<_>>().join(", ")
            };
            self.around.truth.demand(same, || {
                let (one, other) = (Truth::name(server), Truth::name(principal));
                format!("{one} ({}) and {other} ({}) are not equal", names(process), names(office))
            });
        }
    }
}
