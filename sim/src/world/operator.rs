//! The operator: sets up mirroring, and later gives commands, right ones, wrong ones and late ones.

use counterpart_core::{
    SessionId,
    message::{PartnerAddress, Role, Safety},
    session::Command,
};

use super::World;
use crate::{
    agenda::What,
    plan::SECOND,
    process::{Around, Door, Input, boot::address},
    truth::Truth,
};

const SESSION: SessionId = SessionId(0x5e55);

impl World {
    fn partner(&self, server: usize) -> PartnerAddress {
        PartnerAddress {
            server: self.around.truth.ids[server],
            partner_address: address(server),
            client_url: format!("http://{}", Truth::name(server)),
        }
    }

    fn command(&mut self, server: usize, command: Command) {
        self.wrongs.commands += 1;
        let life = self.machines[server].life;
        self.with(server, life, |process, around| {
            process.input(around, Input::Command(command));
        });
    }

    /// One principal, the others its mirrors, before anything goes wrong.
    pub(super) fn begin_mirroring(&mut self) {
        let (safety, require_mirror) = (self.around.plan.safety, self.around.plan.require_mirror);
        self.pass(SECOND / 2);
        for mirror in 1..self.machines.len() {
            let partner = self.partner(mirror);
            let add = Command::AddPartner { session: SESSION, partner, safety, require_mirror };
            self.command(0, add);
            self.pass(SECOND / 4);
            let principal = self.partner(0);
            let join = Command::JoinSession {
                session: SESSION,
                principal,
                replace: true,
                holds_data: false,
                history: None,
            };
            // What was told while it was alone goes with the operator's word.
            self.around.truth.replaced(mirror);
            self.command(mirror, join);
            self.pass(SECOND / 4);
        }
        self.wrongs.commands = 0;
    }

    pub(super) fn operate(&mut self) {
        if self.calm || self.left == 0 {
            return;
        }
        self.left -= 1;
        let count = self.machines.len();
        let Around { agenda, dice, plan, .. } = &mut self.around;
        agenda.after(dice.around(plan.commands), What::Operator);
        let (server, other) = (dice.index(count), dice.index(count));
        let (kind, force, coin) = (dice.below(12), dice.one_in(3), dice.one_in(3));
        let partner = self.around.truth.ids[other];
        let Some(process) = &self.machines[server].process else { return };
        let core = &process.core;
        match kind {
            // Mostly what is allowed; now and then whatever comes to mind.
            0..=4 if core.may_fail_over(partner).is_ok() || coin => {
                self.command(server, Command::Failover(Some(partner)));
            }
            5..=7 if core.may_promote(force).is_ok() => {
                self.command(server, Command::Promote { force });
            }
            8 => self.command(server, Command::Suspend(Some(partner))),
            9 | 10 => self.command(server, Command::Resume(Some(partner))),
            11 => {
                let safety = if coin { Safety::Off } else { Safety::Full };
                let require_mirror = force && coin;
                self.command(server, Command::SetSafety { safety, require_mirror });
            }
            _ => {}
        }
    }

    /// A parked server saves what only it has, and follows.
    pub(super) fn rejoin(&mut self, server: usize) {
        self.command(server, Command::Rejoin);
    }

    /// Whoever refuses writes for want of a mirror may write alone: its mirrors may all be parked.
    pub(super) fn allow_writes_alone(&mut self) {
        for server in 0..self.machines.len() {
            let process = self.machines[server].process.as_ref();
            let Some(process) = process.filter(|p| p.door == Door::Closed(true)) else { continue };
            let safety = process.core.durable().safety;
            self.command(server, Command::SetSafety { safety, require_mirror: false });
        }
    }

    /// A principal with an older disk refuses writes until the mirror that has more is promoted.
    pub(super) fn promote_what_has_more(&mut self) {
        for server in 0..self.machines.len() {
            let process = self.machines[server].process.as_ref();
            let found = process.and_then(|process| process.core.durable().rolled_back);
            let Some(mirror) = found.and_then(|f| self.around.truth.index(f.mirror)) else {
                continue;
            };
            let there = self.machines[mirror].process.as_ref();
            let Some(there) = there else { continue };
            // One that follows again has nothing more than this principal, which then serves on.
            let chosen = if there.core.may_promote(true).is_ok() { mirror } else { server };
            self.command(chosen, Command::Promote { force: true });
        }
    }

    /// Where a principal got the disk of the mirror that it once was, nobody is principal until one is promoted.
    pub(super) fn promote_somebody(&mut self) {
        let core = |server: usize| self.machines[server].process.as_ref().map(|p| &p.core);
        let mirrors = (0..self.machines.len()).filter_map(|server| Some((server, core(server)?)));
        let (mut best, mut all) = (None, 0);
        for (server, core) in mirrors.filter(|(_, core)| core.durable().role == Role::Mirror) {
            all += 1;
            if core.may_promote(true).is_ok() {
                best = best.max(Some((core.durable().epoch, core.hardened(), server)));
            }
        }
        if let (Some((_, _, server)), true) = (best, all == self.machines.len()) {
            self.command(server, Command::Promote { force: true });
        }
    }

    /// Everything that was suspended goes on.
    pub(super) fn resume_all(&mut self) {
        for server in 0..self.machines.len() {
            for other in 0..self.machines.len() {
                let partner = self.around.truth.ids[other];
                let process = self.machines[server].process.as_ref();
                if process.is_some_and(|process| process.core.may_resume(partner).is_ok()) {
                    self.command(server, Command::Resume(Some(partner)));
                }
            }
        }
    }
}
