//! The driver: one loop that tells the session core what happens and does what the core says.
//!
//! Nothing here decides about states, epochs or what is final. An event is applied without waiting for anything; what
//! takes time runs elsewhere and comes back as another event.

mod care;
mod copies;
mod inputs;
mod perform;
mod points;
mod roles;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use counterpart_core::{
    DatabaseId, Lsn, ServerId,
    message::{Message, SeedContents},
    record::Record,
    session::{
        Action, AlarmKind, CommandError, CommandId, Core, Event, LinkId, Millis, Now, Outcome,
    },
};
pub use inputs::{Input, Inputs, View};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::{AbortHandle, JoinHandle},
    time::{Duration, sleep},
};

use crate::{clock, link::Link, monitor::Gauges, replay::Replayer, shared::Shared};

/// Events handled before the loop lets other tasks run.
const BATCH: usize = 256;

/// What the mirrors have received is told to the journal about this often, while anything happens.
const RETAIN_EVERY: Duration = Duration::from_secs(1);

/// The session core and everything that it steers.
pub struct Driver {
    core: Core,
    shared: Arc<Shared>,
    links: HashMap<LinkId, Link>,
    last_link: u64,
    /// The records whose event is being handled.
    arrived: Option<Vec<Record>>,
    /// What each principal said that its seed consists of.
    announced: HashMap<LinkId, SeedContents>,
    replies: BTreeMap<CommandId, oneshot::Sender<Result<Outcome, CommandError>>>,
    last_command: u64,
    replayer: Option<Replayer>,
    /// The journal has the records after this position, as the core was told.
    pruned: Lsn,
    /// The uptime at which the newest seed began.
    seed_began: Option<Duration>,
    /// Up to where the core last said to apply.
    apply_goal: Lsn,
    /// Where the seed at hand becomes whole, once the principal has said so.
    seed_end: Option<Lsn>,
    /// The databases show up to here, and not all of it is known to be final.
    unfinal: Option<Lsn>,
    /// The alarms that are raised.
    alarms: BTreeSet<(AlarmKind, Option<ServerId>)>,
    /// A drain that is under way.
    draining: Option<AbortHandle>,
    /// The databases are being brought to a position.
    reloading: bool,
    /// A spooled copy is taking the place of what was here.
    adopting: bool,
    /// The databases came from the spool, which may go once that is written down.
    spool_served: bool,
    /// Changes of role so far, and the newest one while it runs.
    changes: u64,
    changing: Option<JoinHandle<()>>,
    /// Ends the checkpoints of an acting principal.
    checkpoints: Option<Arc<Notify>>,
    saver: perform::Saver,
    /// Where single databases are asked for, on a principal's links.
    heals: HashMap<LinkId, mpsc::UnboundedSender<DatabaseId>>,
    /// Links on which this mirror receives single databases.
    healing: BTreeSet<LinkId>,
    /// Positions from which each link's stream or seed still needs the journal.
    seed_marks: HashMap<LinkId, Lsn>,
    /// When the journal is to hear again what may go, as an uptime.
    retain_at: Duration,
    /// How long what takes.
    gauges: Gauges,
}

/// The present moment, as the core wants it.
#[must_use]
pub fn now() -> Now {
    let ticks = Millis(u64::try_from(clock::uptime().as_millis()).unwrap_or(u64::MAX));
    Now { ticks, unix: clock::unix_now() }
}

impl Driver {
    /// A driver for a core that has started with `actions`.
    #[must_use]
    pub fn new(core: Core, shared: Arc<Shared>) -> Driver {
        let saver = perform::Saver::start(&shared);
        Driver {
            core,
            shared,
            links: HashMap::new(),
            last_link: 0,
            arrived: None,
            announced: HashMap::new(),
            replies: BTreeMap::new(),
            last_command: 0,
            replayer: None,
            pruned: Lsn::ZERO,
            seed_began: None,
            apply_goal: Lsn::ZERO,
            seed_end: None,
            unfinal: None,
            alarms: BTreeSet::new(),
            draining: None,
            reloading: false,
            adopting: false,
            spool_served: false,
            changes: 0,
            changing: None,
            checkpoints: None,
            saver,
            heals: HashMap::new(),
            healing: BTreeSet::new(),
            seed_marks: HashMap::new(),
            retain_at: Duration::ZERO,
            gauges: Gauges::new(),
        }
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self, first: Vec<Action>, mut inputs: mpsc::UnboundedReceiver<Input>) {
        let mut actions = first;
        self.perform(&mut actions);
        loop {
            let due =
                self.core.next_deadline().map(|at| Duration::from_millis(at.since(now().ticks).0));
            let input = tokio::select! {
                biased;
                input = inputs.recv() => input,
                () = sleep(due.unwrap_or(Duration::from_secs(3600))), if due.is_some() => {
                    self.step(Event::Tick, &mut actions);
                    self.retain_now_and_then();
                    continue;
                }
            };
            let Some(mut input) = input else { break };
            for handled in 1_usize.. {
                if let Input::Stop(done) = input {
                    self.stop().await;
                    // Whoever asked may have given up.
                    let _gone = done.send(());
                    return;
                }
                self.handle(input, &mut actions);
                match inputs.try_recv() {
                    Ok(next) => input = next,
                    Err(_) => break,
                }
                if handled.is_multiple_of(BATCH) {
                    self.retain_now_and_then();
                    tokio::task::yield_now().await;
                }
            }
            self.retain_now_and_then();
        }
    }

    fn step(&mut self, event: Event, actions: &mut Vec<Action>) {
        self.core.step(now(), event, actions);
        self.perform(actions);
        self.show_what_is_final();
        if let Some((before, now)) = self.gauges.note(&self.core, &self.shared.figures) {
            self.shared.alarms.report_role(before, now);
        }
    }

    fn handle(&mut self, input: Input, actions: &mut Vec<Action>) {
        let kept_after = self.shared.journal.first().before();
        if kept_after > self.pruned {
            self.pruned = kept_after;
            self.step(Event::Pruned(kept_after), actions);
        }
        match input {
            Input::Event(event) => self.handle_event(event, actions),
            Input::Records(link, records) => {
                let newest = records[records.len() - 1].header();
                let (first, last, commit) = (records[0].lsn(), newest.lsn, newest.commit_lsn);
                let epoch = newest.epoch;
                self.arrived = Some(records);
                self.step(Event::Records { link, epoch, first, last, commit }, actions);
                self.arrived = None;
            }
            Input::Dialed(dial, Ok(stream)) => {
                let link = self.take_link(stream);
                self.step(Event::Connected(dial, link), actions);
            }
            Input::Dialed(dial, Err(why)) => self.step(Event::DialFailed(dial, why), actions),
            Input::Accepted(stream) => {
                let link = self.take_link(stream);
                self.step(Event::Accepted(link), actions);
            }
            Input::Command(command, reply) => {
                self.last_command += 1;
                let id = CommandId(self.last_command);
                self.replies.insert(id, reply);
                self.step(Event::Command(id, command), actions);
            }
            Input::Look(reply) => {
                let apply_failure = self.replayer.as_ref().and_then(Replayer::failure);
                // Whoever asked may have given up.
                let _gone = reply.send(View {
                    status: self.core.status(),
                    apply_failure,
                    announced: self
                        .announced
                        .values()
                        .next()
                        .map_or_else(Vec::new, |c| c.databases.clone()),
                    seed_began: self.seed_began,
                });
            }
            Input::Changed(number, changed) => self.changed(number, changed, actions),
            Input::Whole(lsn) => self.whole(lsn, actions),
            Input::OrphansDone(event) => self.orphans_done(event, actions),
            Input::RedoAdvanced => {
                self.retain();
                let mark = self.shared.control.read().redo_after;
                self.step(Event::Checkpointed(mark), actions);
            }
            Input::Stop(_) => unreachable!("the loop handles it"),
        }
    }

    fn handle_event(&mut self, event: Event, actions: &mut Vec<Action>) {
        self.note_copy(&event);
        match &event {
            Event::Hardened(lsn) => drop(self.shared.hardened.send_replace(*lsn)),
            Event::Truncated(lsn) | Event::JournalReset(lsn) => {
                self.shared.hardened.send_replace(*lsn);
            }
            Event::LinkDown(link, why) => self.drop_link(*link, why),
            // Nothing more is hardened here: whoever waits for that is told now, not when patience ends.
            Event::JournalFailed(why) => {
                self.shared.confirmations.end(&crate::shared::poisoned(why));
            }
            Event::Received(link, envelope) => {
                match &envelope.message {
                    Message::SeedBegin { contents, .. } => {
                        self.seed_began = Some(clock::uptime());
                        self.announced.insert(*link, contents.clone());
                    }
                    // What retention has removed by now must not be promised in this conversation.
                    Message::Hello(_) => {
                        let pruned = self.shared.journal.first().before();
                        self.step(Event::Pruned(pruned), actions);
                    }
                    _ => {}
                }
            }
            Event::SeedPrepared { link, mark, .. } => {
                self.seed_began = Some(clock::uptime());
                self.seed_marks.insert(*link, *mark);
                self.retain();
            }
            _ => {}
        }
        let spooled = match &event {
            Event::PagesSpooled { link, .. } => Some(*link),
            _ => None,
        };
        let healed = matches!(event, Event::Healed { .. });
        self.step(event, actions);
        if healed {
            // Comparing makes way for whoever heals.
            self.compare_orphans();
        }
        if let Some(link) = spooled {
            self.note_spooled(link);
        }
    }

    fn take_link(&mut self, stream: tokio::net::TcpStream) -> LinkId {
        self.last_link += 1;
        let id = LinkId(self.last_link);
        self.links.insert(id, Link::start(&self.shared, id, stream));
        id
    }

    fn drop_link(&mut self, id: LinkId, why: &str) {
        self.announced.remove(&id);
        self.seed_marks.remove(&id);
        self.heals.remove(&id);
        self.healing.remove(&id);
        if let Some(link) = self.links.remove(&id) {
            tracing::debug!(link = id.0, peer = %link.peer, why, "a link ended");
            link.close(&self.shared);
        }
    }

    /// Mirrors acknowledge all the time; the journal need not hear of it as often.
    fn retain_now_and_then(&mut self) {
        if clock::uptime() >= self.retain_at {
            self.retain();
        }
    }

    /// Tells the journal what may go: nothing that redo, or a connected mirror, still needs.
    fn retain(&mut self) {
        self.retain_at = clock::uptime() + RETAIN_EVERY;
        let redo = self.shared.control.read().redo_after;
        let positions = self.core.positions();
        if !positions.copying {
            self.seed_marks.clear();
        }
        let held = self.seed_marks.values().copied().chain(self.shared.holds.least());
        let wanted = positions.hardened.into_iter().chain(held).min();
        self.shared.journal.retain_needed(
            redo.next(),
            wanted.map_or(redo.next(), |lsn| lsn.next().min(redo.next())),
        );
    }

    /// An orderly end: links closed, replay ended, what was decided is on the disk.
    async fn stop(mut self) {
        for (_, link) in self.links.drain() {
            link.close(&self.shared);
        }
        if let Some(stop) = self.checkpoints.take() {
            stop.notify_one();
        }
        if let Some(replayer) = self.replayer.take() {
            let stopped = tokio::task::spawn_blocking(move || drop(replayer.stop()));
            if stopped.await.is_err() {
                tracing::error!("replay ended in a panic");
            }
        }
        self.saver.finish().await;
    }
}
