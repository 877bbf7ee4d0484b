//! What goes wrong, drawn one after the other.

use counterpart_core::message::Role;
use counterpart_journal::Disk;

use super::World;
use crate::{
    agenda::What,
    net,
    process::{Around, Job, database::directory},
    truth::Truth,
};

/// A disk with room for everything.
const ROOM: u64 = 64 << 20;

impl World {
    pub(super) fn fault(&mut self) {
        if self.calm || self.left == 0 {
            return;
        }
        self.left -= 1;
        let Around { agenda, dice, plan, .. } = &mut self.around;
        agenda.after(dice.around(plan.faults), What::Fault);
        let server = dice.index(self.machines.len());
        let kind = dice.below(20);
        let (crashes, cuts, disks) = (plan.crashes, plan.cuts, plan.disks);
        match kind {
            0 | 1 if crashes => self.cut_power(server),
            2 | 3 if crashes => {
                // In the middle of whatever changes the disk next.
                let operations = self.around.dice.between(1, 12);
                self.machines[server].disk.power_fails_after(operations);
            }
            4 | 5 if crashes => self.kill(server),
            6 if crashes => self.stop(server),
            7 if crashes => {
                // All at once, as when a building loses power.
                (0..self.machines.len()).for_each(|server| self.cut_power(server));
            }
            8..=11 if cuts => self.partition(),
            12 | 13 if cuts => self.disturb_connection(),
            14 | 15 if disks => self.disturb_disk(server),
            16 if disks => self.slow_disk(server),
            17 | 18 => self.jump(server),
            _ => {}
        }
    }

    /// A machine loses power: its disk keeps what was synced and any part of the rest; nobody hears from it.
    pub(super) fn cut_power(&mut self, server: usize) {
        let seed = self.around.dice.number();
        let machine = &mut self.machines[server];
        if machine.process.is_none() && !machine.disk.power_is_off() {
            return;
        }
        // Of a server that is in the session and has data: another one would be told to join anew.
        let belongs = machine.process.take().is_some_and(|process| {
            let control = process.control.read();
            control.is_whole() && control.session.role != Role::Standalone
        });
        machine.disk.restart(seed);
        self.exchange_disk(server, belongs);
        let machine = &mut self.machines[server];
        machine.up = false;
        self.wrongs.cuts += 1;
        self.say(|| format!("{} loses power", Truth::name(server)));
        for (conn, end) in self.around.net.of(server) {
            self.around.net.vanish(conn, end);
        }
        self.start_later(server);
    }

    /// Now and then a disk is remembered, or is what it was when it was remembered.
    fn exchange_disk(&mut self, server: usize, belongs: bool) {
        if !self.around.plan.images || self.calm {
            return;
        }
        let (keep, put_back) = (self.around.dice.one_in(3), self.around.dice.one_in(4));
        let machine = &mut self.machines[server];
        match machine.image.take() {
            Some((image, memory)) if put_back => {
                machine.disk.put_back(&image);
                self.wrongs.images += 1;
                self.say(|| format!("{} gets an older disk", Truth::name(server)));
                self.around.truth.put_back(server, memory);
            }
            None if keep && belongs => {
                let memory = self.around.truth.remember(server);
                machine.image = Some((machine.disk.image(), memory));
            }
            kept => machine.image = kept,
        }
    }

    /// A process is killed: the machine closes its connections, and its disk keeps what was written as it was.
    pub(super) fn kill(&mut self, server: usize) {
        if self.machines[server].process.take().is_none() {
            return;
        }
        self.machines[server].disk.kill();
        self.wrongs.kills += 1;
        self.say(|| format!("{} is killed", Truth::name(server)));
        self.hang_up(server);
        self.start_later(server);
    }

    fn hang_up(&mut self, server: usize) {
        let Around { net, agenda, dice, .. } = &mut self.around;
        for (conn, end) in net.of(server) {
            net.close(net::link(conn, end), agenda, dice);
        }
    }

    /// An orderly stop.
    fn stop(&mut self, server: usize) {
        let Some(mut process) = self.machines[server].process.take() else { return };
        self.wrongs.stops += 1;
        self.say(|| format!("{} is stopped", Truth::name(server)));
        process.stop(&mut self.around);
        drop(process);
        if self.machines[server].disk.power_is_off() {
            return self.cut_power(server);
        }
        self.machines[server].disk.kill();
        self.hang_up(server);
        self.start_later(server);
    }

    fn partition(&mut self) {
        let count = self.machines.len();
        let Around { agenda, dice, net, .. } = &mut self.around;
        let (from, to) = (dice.index(count), dice.index(count));
        if from == to {
            return;
        }
        self.wrongs.partitions += 1;
        let span = dice.pick(&[20_000, 500_000, 3_000_000, 15_000_000]);
        let mut ways = vec![(from, to)];
        if dice.one_in(2) {
            ways.push((to, from));
        }
        for (from, to) in ways {
            net.cut(from, to);
            agenda.after(dice.around(span), What::Heal(from, to));
        }
        self.say(|| format!("the way from {} to {} is cut", Truth::name(from), Truth::name(to)));
    }

    fn disturb_connection(&mut self) {
        let Around { agenda, dice, net, plan, .. } = &mut self.around;
        let all = net.all();
        if all.is_empty() {
            return;
        }
        self.wrongs.connections += 1;
        let conn = all[dice.index(all.len())];
        if dice.one_in(2) {
            return net.slow(conn, dice.between(1_000, 4_000_000));
        }
        // Reset: both ends hear of it, or one only when it says something.
        let ends: &[usize] = dice.pick::<&[usize]>(&[&[0, 1], &[0, 1], &[0], &[1]]);
        // Without a word: the other end lives on beside the next connection, and what is on its way there arrives.
        let silent = plan.late && ends.len() == 1 && dice.one_in(2);
        for &end in ends {
            let Some(ways) = net.get(conn) else { return };
            let (server, life) = (ways.ends[end], ways.lives[end]);
            if ways.open[end] {
                ways.open[end] = !silent;
                let job = Job::Broken(net::link(conn, end));
                agenda.after(dice.around(1_000), What::Job(server, life, job));
            }
        }
    }

    fn disturb_disk(&mut self, server: usize) {
        let dice = &mut self.around.dice;
        let disk = &self.machines[server].disk;
        self.wrongs.disks += 1;
        match dice.below(3) {
            0 => disk.fail_sync(dice.between(1, 20)),
            1 => disk.fail_write(dice.between(1, 40)),
            _ => {
                let used = ROOM - disk.free_bytes(directory()).unwrap_or(0).min(ROOM);
                disk.set_capacity(used + dice.below(128 << 10));
            }
        }
        let span = self.around.dice.between(500_000, 10_000_000);
        self.around.agenda.after(span, What::DiskHeals(server));
        self.say(|| format!("the disk of {} fails", Truth::name(server)));
    }

    fn slow_disk(&mut self, server: usize) {
        let slow = self.around.dice.pick(&[20, 200]);
        if let Some(process) = &mut self.machines[server].process {
            process.slow = slow;
            self.wrongs.disks += 1;
            let span = self.around.dice.between(500_000, 5_000_000);
            self.around.agenda.after(span, What::DiskHeals(server));
        }
    }

    /// The disk is as it should be; a server that has failed with it is started again by its operator.
    pub(super) fn heal_disk(&mut self, server: usize) {
        self.machines[server].disk.set_capacity(ROOM);
        if let Some(process) = &mut self.machines[server].process {
            process.slow = 1;
            if process.poisoned.is_some() || process.stuck {
                self.kill(server);
            }
        }
    }

    fn jump(&mut self, server: usize) {
        const DAY: u64 = 86_400_000_000;
        self.wrongs.clocks += 1;
        let jump = self.around.dice.below(2 * DAY);
        self.around.clocks[server].calendar =
            i64::try_from(jump).expect("two days") - i64::try_from(DAY).expect("a day");
    }
}
