//! Starting a process from what is on its disk, as the node does it: control file, journal, databases, core.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use counterpart_core::{
    Lsn, ServerId, SessionId,
    message::{Role, Safety},
    session::{Action, Config, Core, Durable, Recovered, Rejoin},
};
use counterpart_journal::{
    ControlFile, Disk, Journal, Progress, Recovery, disk::memory::MemoryDisk,
};

use super::{
    Around, Control, ControlKeeper, Door, Process, Saver, database::directory, wait::Confirmations,
};
use crate::truth::Truth;

/// Where partners reach a server.
#[must_use]
pub fn address(server: usize) -> String {
    format!("{}:1", Truth::name(server))
}

/// The name under which a server's journal files know each other.
#[must_use]
pub fn journal_identity(server: ServerId) -> SessionId {
    SessionId(server.0)
}

type Told = Arc<Mutex<VecDeque<Progress>>>;

/// A process and the first actions of its core.
///
/// # Errors
/// Why it does not start. With a whole disk there is no reason.
pub fn boot(
    around: &mut Around,
    me: usize,
    life: u64,
    disk: &MemoryDisk,
) -> Result<(Process, Vec<Action>), String> {
    disk.create_dir(directory()).map_err(super::redo::text)?;
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let file: ControlFile<Control> = ControlFile::new(shared, &directory().join("control"));
    let control = match file.load().map_err(|error| error.to_string())? {
        Some(control) => control,
        None => {
            let fresh = Control::new(Durable::new(around.truth.ids[me]));
            file.save(&fresh).map_err(|error| error.to_string())?;
            fresh
        }
    };
    let reached = control.redo_after.max(control.commit_lsn);
    let must_reach = if control.is_whole() { reached } else { Lsn::ZERO };
    let progress = Told::default();
    let (journal, recovery) =
        open_journal(around, disk, control.session.server, must_reach, &progress)?;
    let records: Result<Vec<_>, _> = journal.records_after(recovery.first.before()).collect();
    let records = records.map_err(|error| error.to_string())?;
    around.truth.recovered(me, recovery.first, &records);
    if control.session.role == Role::Principal {
        around.truth.holds_office(me, control.session.epoch);
    }
    let in_record = records.last().map_or(Lsn::ZERO, |record| record.header().commit_lsn);
    let durable = control.session.clone();
    let known = control.commit_lsn.max(in_record).max(control.redo_after).min(recovery.end);
    let commit = if decides_alone(&durable) { recovery.end } else { known };
    if decides_alone(&durable) {
        around.truth.committed(me, commit, &crate::truth::Facts::default());
    }
    let keeper = ControlKeeper::new(file, control);
    let mut process = new(around, me, life, disk, keeper, journal, progress, commit);
    let redoable = process.control.read().may_be_redone();
    process.applied = match &durable.seeding {
        Some(seed) => seed.mark,
        None if !redoable => commit,
        None => {
            process.remove_strays()?;
            process.reload(around, commit)?;
            commit
        }
    };
    let base = process.control.read().redo_after;
    let recovered = Recovered {
        durable,
        journal_after: recovery.first.before(),
        journal_end: recovery.end,
        commit,
        applied: process.applied,
        base,
        has_spool: false,
        stride: u16::try_from(around.dice.below(1 << 16)).expect("16 bits"),
    };
    let mut actions = Vec::new();
    let now = process.now(around);
    process.core = Core::start(config(around, me), recovered, now, &mut actions);
    Ok((process, actions))
}

fn open_journal(
    around: &Around,
    disk: &MemoryDisk,
    server: ServerId,
    must_reach: Lsn,
    progress: &Told,
) -> Result<(Journal, Recovery), String> {
    let config = counterpart_journal::Config {
        segment_bytes: 32 << 10,
        queue_bytes: 1 << 20,
        tail_bytes: 16 << 10,
        retention_bytes: around.plan.retention,
        must_reach,
    };
    let told = Arc::clone(progress);
    let listener = Box::new(move |progress| told.lock().expect("one thread").push_back(progress));
    let (shared, dir) = (Arc::new(disk.clone()), directory().join("journal"));
    disk.create_dir(&dir).map_err(super::redo::text)?;
    Journal::open_pumped(shared, &dir, config, journal_identity(server), listener)
        .map_err(|error| error.to_string())
}

/// Whether everything that this server has hardened was final without anybody else's word.
fn decides_alone(durable: &Durable) -> bool {
    let waits = durable.safety == Safety::Full && durable.partners.iter().any(|p| p.synchronized);
    durable.role != Role::Mirror && durable.pending_handover.is_none() && !waits
}

fn config(around: &mut Around, me: usize) -> Config {
    let mut config = Config::new(&address(me), &format!("http://{}", Truth::name(me)));
    config.partner_timeout = counterpart_core::session::Millis(around.plan.partner_timeout);
    config.jitter_seed = around.dice.number();
    config.rejoin = if around.plan.rejoin { Rejoin::Automatic } else { Rejoin::Manual };
    config.build = "simulated".to_owned();
    config
}

/// A core that does nothing, until the real one starts.
fn placeholder(id: ServerId) -> Core {
    let durable = Durable::new(id);
    let recovered = Recovered {
        durable,
        journal_after: Lsn::ZERO,
        journal_end: Lsn::ZERO,
        commit: Lsn::ZERO,
        applied: Lsn::ZERO,
        base: Lsn::ZERO,
        has_spool: false,
        stride: 0,
    };
    Core::start(Config::new("", ""), recovered, Default::default(), &mut Vec::new())
}

#[expect(clippy::too_many_arguments, reason = "called once, with what has just been opened")]
fn new(
    around: &Around,
    me: usize,
    life: u64,
    disk: &MemoryDisk,
    control: ControlKeeper,
    journal: Journal,
    progress: Told,
    commit: Lsn,
) -> Process {
    let mut confirmations = Confirmations::default();
    confirmations.begin(commit);
    let id = control.read().session.server;
    Process {
        me,
        life,
        disk: disk.clone(),
        control,
        journal,
        progress,
        pumping: false,
        core: placeholder(id),
        inputs: VecDeque::new(),
        turning: false,
        ticks: 0,
        tick_at: None,
        databases: BTreeMap::new(),
        available: false,
        door: Door::Hold,
        confirmations,
        applied: Lsn::ZERO,
        acting: false,
        runs_begun: BTreeMap::new(),
        appended: 0,
        links: BTreeMap::new(),
        early: BTreeMap::new(),
        arrived: None,
        announced: BTreeMap::new(),
        replay: None,
        replaying: false,
        pruned: Lsn::ZERO,
        apply_goal: Lsn::ZERO,
        seed_end: None,
        unfinal: None,
        alarms: BTreeSet::new(),
        drains: 0,
        reloading: false,
        changes: 0,
        changing: VecDeque::new(),
        checkpoints: 0,
        checkpoint: None,
        marked_at: (0, around.agenda.now()),
        saver: Saver::default(),
        seed_marks: BTreeMap::new(),
        retain_at: 0,
        receiver: None,
        spool: None,
        ops: BTreeMap::new(),
        big: BTreeMap::new(),
        commands: 0,
        promoting: None,
        poisoned: None,
        dropping: None,
        dropped: BTreeMap::new(),
        stuck: false,
        slow: 1,
    }
}
