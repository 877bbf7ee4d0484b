//! A world: servers on machines, the network between them, clients and an operator, and everything that can go wrong.
//! One thread, one agenda; the same plan gives the same world, down to the last byte.

mod conclude;
mod faults;
mod operator;

use counterpart_core::ServerId;
use counterpart_journal::disk::memory::{Image, MemoryDisk};

use crate::{
    agenda::{Agenda, What},
    clock::Clock,
    dice::Dice,
    net::{self, Net, Piece},
    plan::{Plan, SECOND},
    process::{Around, Input, Job, Process, boot, ops::Wish},
    trace::Trace,
    truth::{Memory, Truth},
};

/// A machine: its disk stays, its processes come and go.
pub struct Machine {
    /// The disk.
    pub disk: MemoryDisk,
    /// Processes so far.
    pub life: u64,
    /// The process, while one runs.
    pub process: Option<Process>,
    /// Whether the machine has power and is on the network.
    pub up: bool,
    /// A start is planned.
    pub starting: bool,
    /// The disk as it was at an earlier moment, and what the checker knew of it.
    pub image: Option<(Image, Memory)>,
}

/// Counts of what went wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wrongs {
    /// Power failures.
    pub cuts: u64,
    /// Killed processes.
    pub kills: u64,
    /// Orderly stops.
    pub stops: u64,
    /// Ways cut between machines.
    pub partitions: u64,
    /// Connections broken or slowed.
    pub connections: u64,
    /// Disks that failed, filled up or were slow.
    pub disks: u64,
    /// Disks replaced by older images of themselves.
    pub images: u64,
    /// Clocks that jumped.
    pub clocks: u64,
    /// Commands.
    pub commands: u64,
}

impl Wrongs {
    /// Both together.
    #[must_use]
    pub fn with(self, other: Wrongs) -> Wrongs {
        Wrongs {
            cuts: self.cuts + other.cuts,
            kills: self.kills + other.kills,
            stops: self.stops + other.stops,
            partitions: self.partitions + other.partitions,
            connections: self.connections + other.connections,
            disks: self.disks + other.disks,
            images: self.images + other.images,
            clocks: self.clocks + other.clocks,
            commands: self.commands + other.commands,
        }
    }
}

/// See the module's head.
pub struct World {
    /// What is not one server's own.
    pub around: Around,
    /// The machines.
    pub machines: Vec<Machine>,
    /// What went wrong.
    pub wrongs: Wrongs,
    /// Faults and commands still allowed.
    left: u64,
    /// Nothing goes wrong any more.
    calm: bool,
}

/// How a schedule ended.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What is wrong, if anything is.
    pub violation: Option<String>,
    /// All that happened, as one number.
    pub digest: u64,
    /// Counts of what was told.
    pub tally: crate::truth::Tally,
    /// Counts of what went wrong.
    pub wrongs: Wrongs,
    /// Servers that ended parked.
    pub parked: u64,
    /// Simulated seconds.
    pub seconds: u64,
}

impl World {
    /// A world in which nothing has happened yet.
    #[must_use]
    pub fn new(plan: Plan, loud: bool) -> World {
        let mut dice = Dice::new(plan.seed);
        let ids = (0..plan.servers).map(|n| ServerId(10 + n as u64)).collect();
        let clocks = (0..plan.servers).map(|_| Clock {
            drift: i64::try_from(dice.below(40_000)).expect("small") - 20_000,
            zero: dice.below(1 << 30),
            calendar: i64::try_from(dice.below(20_000_000)).expect("small") - 10_000_000,
        });
        let clocks = clocks.collect();
        let machines = (0..plan.servers).map(|_| Machine {
            disk: MemoryDisk::new(64 << 20),
            life: 0,
            process: None,
            up: true,
            starting: false,
            image: None,
        });
        let mut net = Net::default();
        net.way = plan.way;
        World {
            machines: machines.collect(),
            left: plan.most,
            around: Around {
                agenda: Agenda::default(),
                dice,
                net,
                truth: Truth::new(ids),
                trace: Trace::new(loud),
                plan,
                clocks,
                numbers: 0,
            },
            wrongs: Wrongs::default(),
            calm: false,
        }
    }

    /// Runs the whole schedule.
    #[must_use]
    pub fn run(mut self) -> Verdict {
        let plan = self.around.plan.clone();
        self.say(|| format!("{plan:?}"));
        for server in 0..self.machines.len() {
            self.start(server);
        }
        self.begin_mirroring();
        for client in 0..plan.clients {
            self.around.agenda.after(SECOND, What::Client(client));
        }
        if plan.faults > 0 {
            self.around.agenda.after(plan.faults, What::Fault);
        }
        if plan.commands > 0 {
            self.around.agenda.after(plan.commands, What::Operator);
        }
        self.pass(plan.rough);
        let parked = self.conclude();
        Verdict {
            violation: self.around.truth.violation.clone(),
            digest: self.around.trace.digest(),
            tally: self.around.truth.tally,
            wrongs: self.wrongs,
            parked,
            seconds: self.around.agenda.now() / SECOND,
        }
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        let now = self.around.agenda.now();
        self.around.trace.line(now, line);
    }

    /// Lets time pass, until then or until something is wrong.
    fn pass(&mut self, span: u64) {
        let end = self.around.agenda.now() + span;
        while self.around.truth.violation.is_none() {
            let Some(what) = self.around.agenda.next_before(end) else { return };
            self.happen(what);
        }
    }

    fn happen(&mut self, what: What) {
        let now = self.around.agenda.now();
        match what {
            What::Job(server, life, job) => {
                self.around.trace.numbers(&[now, server as u64, life]);
                self.with(server, life, |process, around| process.run(around, job));
            }
            What::Arrive(conn, end) => self.arrive(conn, end),
            What::Reach(conn) => self.reach(conn),
            What::GiveUp(conn) => self.around.net.vanish(conn, 0),
            What::Client(client) => self.client(client),
            What::Fault => self.fault(),
            What::Heal(from, to) => self.around.net.heal(from, to, &mut self.around.agenda),
            What::DiskHeals(server) => self.heal_disk(server),
            What::Start(server) => self.start(server),
            What::Operator => self.operate(),
        }
    }

    /// Has a process do something, if it is the process of that life; what it does may cut its own power.
    fn with(&mut self, server: usize, life: u64, act: impl FnOnce(&mut Process, &mut Around)) {
        let machine = &mut self.machines[server];
        let Some(process) = machine.process.as_mut().filter(|process| process.life == life) else {
            return;
        };
        act(process, &mut self.around);
        if machine.disk.power_is_off() {
            self.cut_power(server);
        }
    }

    fn arrive(&mut self, conn: u64, end: usize) {
        let Around { net, agenda, dice, .. } = &mut self.around;
        let Some(piece) = net.arrive(conn, end, agenda, dice) else { return };
        let Some(ways) = net.get(conn) else { return };
        let (here, life, open) = (ways.ends[end], ways.lives[end], ways.open[end]);
        let (there, other_life) = (ways.ends[1 - end], ways.lives[1 - end]);
        let link = net::link(conn, end);
        let ended = matches!(piece, Piece::End);
        if open {
            self.with(here, life, |process, around| process.receive(around, link, piece));
            if ended {
                // Whoever reads the end holds on until it closes its own side.
                self.around.net.tidy(conn);
            }
        } else if self.machines[here].up && !ended {
            // Nobody is there any more, and the machine says so.
            let Around { net, agenda, dice, .. } = &mut self.around;
            net.send(link, Piece::End, agenda, dice);
        }
        self.around.net.tidy(conn);
        let other = net::link(conn, 1 - end);
        self.with(there, other_life, |process, around| process.wake(around, other));
    }

    /// A connection attempt gets there, or not.
    fn reach(&mut self, conn: u64) {
        let Some(ways) = self.around.net.get(conn) else { return };
        ways.making = false;
        let ([from, to], dial, life) = (ways.ends, ways.dial, ways.lives[0]);
        let blocked = self.around.net.is_cut(from, to) || self.around.net.is_cut(to, from);
        let runs = self.machines[to].process.as_ref().map(|process| process.life);
        let lost = blocked || !self.machines[to].up || self.around.dice.one_in(50);
        if let (false, Some(other)) = (lost, runs) {
            let ways = self.around.net.get(conn).expect("just looked at");
            (ways.open, ways.lives[1]) = ([true; 2], other);
            let (near, far) = (net::link(conn, 0), net::link(conn, 1));
            self.with(to, other, |process, around| process.input(around, Input::Accepted(far)));
            // The dialling side may hear of it much later, or be gone.
            let runs = self.machines[from].process.as_ref().is_some_and(|p| p.life == life);
            if !runs {
                return self.around.net.vanish(conn, 0);
            }
            let Around { agenda, dice, plan, .. } = &mut self.around;
            if plan.late && !self.calm && dice.one_in(6) {
                let (span, patience) =
                    (dice.between(1, plan.partner_timeout * 2_000), plan.partner_timeout * 1_000);
                if span < patience {
                    return agenda.after(span, What::Job(from, life, Job::Dialled(dial, near)));
                }
                agenda.after(patience, What::GiveUp(conn));
                let job = Job::Undialed(dial, "no answer");
                return agenda.after(patience, What::Job(from, life, job));
            }
            self.with(from, life, |process, around| {
                process.input(around, Input::Dialed(dial, Ok(near)));
            });
            return;
        }
        self.around.net.forget(conn);
        let span = if lost { self.around.plan.partner_timeout * 1_000 } else { 100 };
        let why = if lost { "no answer" } else { "connection refused" };
        self.around.agenda.after(span, What::Job(from, life, Job::Undialed(dial, why)));
    }

    fn client(&mut self, client: usize) {
        if self.calm {
            return;
        }
        let think = self.around.plan.think;
        let Around { agenda, dice, .. } = &mut self.around;
        agenda.after(dice.around(think), What::Client(client));
        let wish = match dice.below(40) {
            0 => Wish::Create,
            1 => Wish::Drop,
            2..=5 => Wish::Write(dice.between(1, 400_000)),
            6..=13 => Wish::Read,
            _ => Wish::Write(0),
        };
        let patience = dice.pick(&[0, 100_000, 3_000_000]);
        // Most clients know where to go; some do not.
        let acting: Vec<usize> = (0..self.machines.len())
            .filter(|&n| self.machines[n].process.as_ref().is_some_and(|p| p.acting))
            .collect();
        let lost = acting.is_empty() || matches!(wish, Wish::Read) || dice.one_in(10);
        let server =
            if lost { dice.index(self.machines.len()) } else { acting[dice.index(acting.len())] };
        let life = self.machines[server].life;
        self.with(server, life, |process, around| process.ask_for(around, wish, patience));
    }

    /// Starts a server's process from its disk, if none runs.
    fn start(&mut self, server: usize) {
        let machine = &mut self.machines[server];
        machine.starting = false;
        if machine.process.is_some() {
            return;
        }
        machine.up = true;
        machine.life += 1;
        let (disk, life) = (machine.disk.clone(), machine.life);
        self.say(|| format!("{} starts", Truth::name(server)));
        match boot::boot(&mut self.around, server, life, &disk) {
            Ok((mut process, actions)) => {
                process.begin(&mut self.around, actions);
                self.machines[server].process = Some(process);
                if disk.power_is_off() {
                    self.cut_power(server);
                }
            }
            Err(_) if disk.power_is_off() => self.cut_power(server),
            Err(why) => {
                let excused = disk.has_failed();
                self.around
                    .truth
                    .demand(excused, || format!("{} does not start: {why}", Truth::name(server)));
                self.machines[server].disk.kill();
                self.start_later(server);
            }
        }
    }

    fn start_later(&mut self, server: usize) {
        if !std::mem::replace(&mut self.machines[server].starting, true) {
            let Around { agenda, dice, .. } = &mut self.around;
            let longest = if self.calm { 1_000_000 } else { 8_000_000 };
            agenda.after(dice.between(1_000, longest), What::Start(server));
        }
    }
}
