//! One server's process: the real session core, the real journal, and around them what the node's driver does, as
//! steps of one agenda instead of threads and tasks.
//!
//! It follows the node's code step by step, in the same order and with the same waits, so that what is found here is
//! found there. What it must never do: decide anything that the node leaves to the core.

pub mod boot;
mod checkpoint;
#[path = "../../crates/node/src/control.rs"]
mod control;
mod copy;
pub mod database;
mod driver;
mod link;
pub mod ops;
mod orphans;
mod perform;
mod redo;
mod replay;
mod roles;
mod seed;
mod spool;
mod wait;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use counterpart_core::{
    DatabaseId, Epoch, Lsn, ServerId,
    message::{Role, SeedContents},
    record::Record,
    session::{AlarmKind, Command, CommandId, Core, DialId, Durable, Event, LinkId, Now, Ticket},
};
use counterpart_journal::{Journal, Progress, disk::memory::MemoryDisk};

pub use control::{CatalogEntry, Control, ControlKeeper};

use crate::{
    agenda::{Agenda, Micros, What},
    clock::Clock,
    dice::Dice,
    net::Net,
    plan::Plan,
    trace::Trace,
    truth::{Facts, Truth},
};
use checkpoint::Checkpoint;
use database::Model;
use link::Link;
use ops::Op;
use replay::Replay;
use seed::Receiver;
use wait::Confirmations;

/// Everything that is not one server's own.
pub struct Around {
    /// Time.
    pub agenda: Agenda,
    /// Chance.
    pub dice: Dice,
    /// The network.
    pub net: Net,
    /// The checker.
    pub truth: Truth,
    /// What happened.
    pub trace: Trace,
    /// The schedule's make-up.
    pub plan: Plan,
    /// Where each server is: its clocks.
    pub clocks: Vec<Clock>,
    /// Numbers given to client operations, values and commands.
    pub numbers: u64,
}

impl Around {
    /// The next number that was never used.
    pub fn fresh(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

/// One thing that a process does.
#[derive(Clone, Debug)]
pub enum Job {
    /// The driver's loop takes what is queued.
    Turn,
    /// The core's deadline of this number.
    Tick(u64),
    /// The journal's thread writes.
    Pump,
    /// The thread of the control file saves.
    Save,
    /// The journal is cut.
    Truncate(Lsn),
    /// The journal is emptied.
    Reset(Lsn),
    /// The change of role at hand goes on.
    Change,
    /// The mirror's replay goes on.
    Replay,
    /// The principal's checkpoint of this number goes on.
    Checkpoint(u64),
    /// It is looked whether a checkpoint is due.
    LookForCheckpoint(u64),
    /// A drain of this number goes on, until this moment.
    Drain(u64, Micros),
    /// A seed is prepared.
    PrepareSeed(LinkId, Option<Lsn>),
    /// The sender of a seed goes on.
    SendSeed(LinkId),
    /// What was captured for a copy is final.
    Copy(LinkId),
    /// The spool takes its place.
    Adopt(Lsn, Lsn),
    /// Orphans are saved.
    SaveOrphans(Lsn, Lsn),
    /// Both ways of catching up are weighed.
    Estimate(LinkId, Lsn, Lsn),
    /// What was read for a seed is final.
    SeedIsFinal(LinkId),
    /// The receiver of a seed goes on.
    ReceiveSeed,
    /// The sending half of a link goes on.
    Send(LinkId),
    /// A client's operation goes on.
    Op(u64),
    /// A connection was made some time ago.
    Dialled(DialId, LinkId),
    /// A connection attempt came to nothing.
    Undialed(DialId, &'static str),
    /// A connection broke.
    Broken(LinkId),
}

/// One thing for the driver to handle.
pub enum Input {
    /// Something that the core is told as it is.
    Event(Event),
    /// Records of one epoch arrived.
    Records(LinkId, Vec<Record>),
    /// A dial ended.
    Dialed(DialId, Result<LinkId, String>),
    /// A partner connected.
    Accepted(LinkId),
    /// An operator's command.
    Command(Command),
    /// A change of role is done.
    Changed(u64, Changed),
    /// A seed had nothing to redo.
    Whole(Lsn),
    /// Redo starts later from now on.
    RedoAdvanced,
}

/// How a change of role ended.
#[derive(Clone, Copy, Debug)]
pub enum Changed {
    /// The server acts.
    Acting(Role),
    /// It follows.
    Mirror {
        /// What its databases show.
        applied: Lsn,
        /// Whether some of that is not final.
        unfinal: bool,
    },
    /// It follows on, with databases brought to this position.
    Reloaded(Lsn),
}

/// A change of role that is asked for, or under way.
pub enum Change {
    /// To act in an epoch.
    Act {
        /// The epoch.
        epoch: Epoch,
        /// Principal or standalone.
        role: Role,
        /// Whether the data is thrown away.
        discard: bool,
        /// What replayed until now.
        replay: Option<Replay>,
    },
    /// To follow. `Some`: writing has ended, and the journal is hardened up to there before it goes on.
    StepDown(Option<Lsn>),
    /// To bring the databases of a complete seed to a position.
    Reload(Lsn),
}

/// Whether writes may begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// They may.
    Open,
    /// They wait.
    Hold,
    /// They are refused; `true`: only because no mirror is synchronized.
    Closed(bool),
}

/// The thread of the control file.
#[derive(Default)]
pub struct Saver {
    queue: VecDeque<(Ticket, Box<Durable>)>,
    busy: bool,
}

/// See the module's head.
pub struct Process {
    /// The server's number.
    pub me: usize,
    /// Which of its processes this is.
    pub life: u64,
    /// Its disk.
    pub disk: MemoryDisk,
    /// Its control file.
    pub control: ControlKeeper,
    /// Its journal.
    pub journal: Journal,
    progress: Arc<Mutex<VecDeque<Progress>>>,
    pumping: bool,
    /// The real session core.
    pub core: Core,
    inputs: VecDeque<Input>,
    turning: bool,
    ticks: u64,
    tick_at: Option<Micros>,

    /// The databases that are open.
    pub databases: BTreeMap<DatabaseId, Model>,
    /// Whether clients may read.
    pub available: bool,
    /// Whether clients may write.
    pub door: Door,
    confirmations: Confirmations,
    /// What the databases show, of a mirror.
    pub applied: Lsn,
    /// Whether it executes writes.
    pub acting: bool,
    runs_begun: BTreeMap<DatabaseId, Lsn>,
    appended: u64,

    links: BTreeMap<LinkId, Link>,
    /// What arrived on connections that the driver has not taken yet.
    early: BTreeMap<LinkId, Vec<crate::net::Piece>>,
    arrived: Option<Vec<Record>>,
    announced: BTreeMap<LinkId, SeedContents>,
    replay: Option<Replay>,
    replaying: bool,
    pruned: Lsn,
    apply_goal: Lsn,
    seed_end: Option<Lsn>,
    unfinal: Option<Lsn>,
    alarms: BTreeSet<(AlarmKind, Option<ServerId>)>,
    drains: u64,
    reloading: bool,
    changes: u64,
    changing: VecDeque<(u64, Change)>,
    checkpoints: u64,
    checkpoint: Option<Checkpoint>,
    marked_at: (u64, Micros),
    saver: Saver,
    seed_marks: BTreeMap<LinkId, Lsn>,
    retain_at: Micros,
    receiver: Option<Receiver>,
    spool: Option<spool::Spool>,
    ops: BTreeMap<u64, Op>,
    /// Large transactions that are being journaled; no mark falls between their chunks.
    big: BTreeMap<u64, ops::Big>,
    commands: u64,
    promoting: Option<CommandId>,
    /// Why it can do no more than a restart would mend.
    pub poisoned: Option<String>,
    /// A database that is dropped, while that is not final: nobody creates, drops, checkpoints or lists meanwhile.
    dropping: Option<DatabaseId>,
    /// Drops that are in the journal and not in the catalog: nobody replays them.
    dropped: BTreeMap<DatabaseId, Lsn>,
    /// Replay has stopped for good.
    pub stuck: bool,
    /// How much slower its disk is.
    pub slow: u64,
}

impl Process {
    /// Plans a job of this process.
    pub fn soon(&self, around: &mut Around, span: Micros, job: Job) {
        around.agenda.after(span, What::Job(self.me, self.life, job));
    }

    /// Gives the driver something to handle.
    pub fn input(&mut self, around: &mut Around, input: Input) {
        self.inputs.push_back(input);
        if !std::mem::replace(&mut self.turning, true) {
            let span = around.dice.around(20);
            self.soon(around, span, Job::Turn);
        }
    }

    fn event(&mut self, around: &mut Around, event: Event) {
        self.input(around, Input::Event(event));
    }

    fn now(&self, around: &Around) -> Now {
        around.clocks[self.me].read(around.agenda.now())
    }

    /// How long something that ends with a sync takes now.
    fn sync_span(&self, around: &mut Around) -> Micros {
        around.dice.around(around.plan.sync * self.slow.max(1))
    }

    /// Whether somebody holds the lock on creations and drops.
    fn is_listing(&self) -> bool {
        self.dropping.is_some() || self.checkpoint.is_some() || !self.big.is_empty()
    }

    fn name(&self) -> &'static str {
        Truth::name(self.me)
    }

    /// What this server's disk says.
    pub fn facts(&self, truth: &Truth) -> Facts {
        let control = self.control.read();
        let durable = &control.session;
        let full = durable.safety == counterpart_core::message::Safety::Full;
        let awaited = durable.partners.iter().filter(|member| full && member.synchronized);
        Facts {
            acts: durable.role != Role::Mirror,
            epoch: durable.epoch,
            in_doubt: durable.pending_handover.is_some(),
            awaited: awaited.filter_map(|member| truth.index(member.address.server)).collect(),
        }
    }

    /// One number for all databases.
    #[must_use]
    pub fn state(&self) -> u64 {
        self.databases.values().fold(0, |state, model| state ^ model.sum())
    }

    /// Does one job.
    pub fn run(&mut self, around: &mut Around, job: Job) {
        match job {
            Job::Turn => self.turn(around),
            Job::Tick(number) => self.tick(around, number),
            Job::Pump => self.pump(around),
            Job::Save => self.save(around),
            Job::Truncate(lsn) => self.truncate_journal(around, lsn),
            Job::Reset(lsn) => self.reset_journal(around, lsn),
            Job::Change => self.go_on_changing(around),
            Job::Replay => self.go_on_replaying(around),
            Job::Checkpoint(number) => self.go_on_checkpointing(around, number),
            Job::LookForCheckpoint(number) => self.look_for_checkpoint(around, number),
            Job::Drain(number, until) => self.go_on_draining(around, number, until),
            Job::PrepareSeed(link, mark) => self.prepare_seed(around, link, mark),
            Job::SendSeed(link) => self.go_on_seeding(around, link),
            Job::Copy(link) => self.go_on_copying(around, link),
            Job::Adopt(mark, end) => self.adopt(around, mark, end),
            Job::SaveOrphans(common, end) => self.save_orphans(around, common, end),
            Job::Estimate(link, after, base) => self.estimate(around, link, after, base),
            Job::SeedIsFinal(link) => self.seed_is_final(around, link),
            Job::ReceiveSeed => self.go_on_receiving(around),
            Job::Send(link) => self.go_on_sending(around, link),
            Job::Op(number) => self.go_on_with(around, number),
            Job::Dialled(dial, link) => self.input(around, Input::Dialed(dial, Ok(link))),
            Job::Undialed(dial, why) => {
                self.input(around, Input::Dialed(dial, Err(why.to_owned())));
            }
            Job::Broken(link) => self.link_broke(around, link, "connection reset"),
        }
    }

    /// An orderly end: what was decided is on the disk, the journal is hardened, what is final is noted.
    pub fn stop(&mut self, around: &mut Around) {
        while !self.saver.queue.is_empty() {
            self.save(around);
        }
        let stopped = self.journal.clone().flush_and_stop();
        self.hear_of_progress(around);
        if stopped.is_ok() {
            let commit = self.confirmations.commit_lsn().min(self.journal.hardened());
            // The next start finds out again if this fails.
            drop(self.update(|control| control.commit_lsn = control.commit_lsn.max(commit)));
        }
    }

    /// Nothing more can be journaled or confirmed; a restart recovers.
    fn poison(&mut self, around: &mut Around, why: &str) {
        around.trace.line(around.agenda.now(), || format!("{} can't go on: {why}", self.name()));
        self.poisoned.get_or_insert_with(|| why.to_owned());
        self.event(around, Event::JournalFailed(why.to_owned()));
        self.door = Door::Closed(false);
        self.end_confirmations(around);
    }
}
