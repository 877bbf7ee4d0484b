//! The driver's loop: tells the core what happens, and does what it says.

use counterpart_core::{
    Lsn,
    message::Message,
    session::{Action, CommandId, Event, LinkId},
};
use counterpart_journal::Progress;

use super::{Around, Input, Job, Process};
use crate::agenda::What;

/// Inputs handled in one turn.
const BATCH: usize = 16;

/// What the mirrors have received is told to the journal about this often.
const RETAIN_EVERY: u64 = 1_000_000;

impl Process {
    pub(super) fn turn(&mut self, around: &mut Around) {
        self.turning = false;
        for _ in 0..BATCH {
            let Some(input) = self.inputs.pop_front() else { break };
            self.handle(around, input);
        }
        if around.agenda.now() >= self.retain_at {
            self.retain(around);
        }
        if !self.inputs.is_empty() && !self.turning {
            self.turning = true;
            self.soon(around, 5, Job::Turn);
        }
    }

    /// One step of the core, and what it asks for.
    pub(super) fn step(&mut self, around: &mut Around, event: Event) {
        let now = self.now(around);
        let mut actions = Vec::new();
        self.core.step(now, event, &mut actions);
        if let Some(broken) = self.core.broken_invariant() {
            around.truth.wrong(|| format!("{}: {broken}", self.name()));
        }
        self.perform(around, actions);
        if self.unfinal.is_some_and(|shown| self.core.shows_only_final(shown)) {
            self.unfinal = None;
            self.available = true;
        }
        self.plan_tick(around);
    }

    /// The next moment at which the core wants to know what time it is.
    fn plan_tick(&mut self, around: &mut Around) {
        let Some(due) = self.core.next_deadline() else { return };
        let when = around.clocks[self.me].when(due);
        // One that is planned already will do.
        if self.tick_at != Some(when) {
            self.tick_at = Some(when);
            self.ticks += 1;
            around.agenda.at(when, What::Job(self.me, self.life, Job::Tick(self.ticks)));
        }
    }

    pub(super) fn tick(&mut self, around: &mut Around, number: u64) {
        if number == self.ticks {
            self.tick_at = None;
            self.step(around, Event::Tick);
            if around.agenda.now() >= self.retain_at {
                self.retain(around);
            }
        }
    }

    /// Performs the first actions of a core that has just started.
    pub fn begin(&mut self, around: &mut Around, actions: Vec<Action>) {
        self.perform(around, actions);
        self.plan_tick(around);
        self.plan_pump(around);
    }

    fn handle(&mut self, around: &mut Around, input: Input) {
        let kept_after = self.journal.first().before();
        if kept_after > self.pruned {
            self.pruned = kept_after;
            self.step(around, Event::Pruned(kept_after));
        }
        match input {
            Input::Event(event) => self.handle_event(around, event),
            Input::Records(link, records) => {
                let newest = records[records.len() - 1].header();
                let (first, last, commit) = (records[0].lsn(), newest.lsn, newest.commit_lsn);
                let epoch = newest.epoch;
                self.arrived = Some(records);
                self.step(around, Event::Records { link, epoch, first, last, commit });
                self.arrived = None;
            }
            Input::Dialed(dial, Ok(link)) => {
                self.take_link(around, link);
                self.step(around, Event::Connected(dial, link));
            }
            Input::Dialed(dial, Err(why)) => self.step(around, Event::DialFailed(dial, why)),
            Input::Accepted(link) => {
                self.take_link(around, link);
                self.step(around, Event::Accepted(link));
            }
            Input::Command(command) => {
                self.commands += 1;
                let id = CommandId(self.commands);
                if matches!(command, counterpart_core::session::Command::Promote { .. }) {
                    self.promoting = Some(id);
                    around.truth.promoting[self.me] = true;
                }
                around
                    .trace
                    .line(around.agenda.now(), || format!("{} is told: {command:?}", self.name()));
                self.step(around, Event::Command(id, command));
            }
            Input::Changed(number, changed) => self.changed(around, number, changed),
            Input::Whole(lsn) => self.whole(around, lsn),
            Input::RedoAdvanced => {
                self.retain(around);
                let mark = self.control.read().redo_after;
                self.step(around, Event::Checkpointed(mark));
            }
        }
    }

    fn handle_event(&mut self, around: &mut Around, event: Event) {
        match &event {
            Event::LinkDown(link, _) => self.drop_link(around, *link),
            Event::JournalFailed(why) => {
                self.poisoned.get_or_insert_with(|| why.clone());
                self.end_confirmations(around);
            }
            Event::Received(link, envelope) => match &envelope.message {
                Message::SeedBegin { contents, .. } => {
                    self.announced.insert(*link, contents.clone());
                }
                Message::Hello(_) => {
                    let pruned = self.journal.first().before();
                    self.step(around, Event::Pruned(pruned));
                }
                _ => {}
            },
            Event::SeedPrepared { link, mark, .. } => {
                self.seed_marks.insert(*link, *mark);
                self.retain(around);
            }
            _ => {}
        }
        self.step(around, event);
    }

    pub(super) fn drop_link(&mut self, around: &mut Around, link: LinkId) {
        self.announced.remove(&link);
        self.seed_marks.remove(&link);
        self.stop_spooling(link);
        self.close_link(around, link);
    }

    /// Tells the journal what may go: nothing that redo, or a connected mirror, still needs.
    fn retain(&mut self, around: &mut Around) {
        self.retain_at = around.agenda.now() + RETAIN_EVERY;
        let redo = self.control.read().redo_after;
        let positions = self.core.positions();
        if !positions.copying {
            self.seed_marks.clear();
        }
        let wanted = positions.hardened.into_iter().chain(self.seed_marks.values().copied()).min();
        self.journal.retain_needed(
            redo.next(),
            wanted.map_or(redo.next(), |lsn: Lsn| lsn.next().min(redo.next())),
        );
        self.plan_pump(around);
    }

    /// Has the journal's thread look, soon.
    pub(super) fn plan_pump(&mut self, around: &mut Around) {
        if !std::mem::replace(&mut self.pumping, true) {
            let span = self.sync_span(around);
            self.soon(around, span, Job::Pump);
        }
    }

    pub(super) fn pump(&mut self, around: &mut Around) {
        self.pumping = false;
        let more = self.journal.pump();
        self.hear_of_progress(around);
        if more {
            self.plan_pump(around);
        }
    }

    /// Passes on what the journal has told its listener.
    pub(super) fn hear_of_progress(&mut self, around: &mut Around) {
        if self.disk.power_is_off() {
            return;
        }
        loop {
            let next = self.progress.lock().expect("one thread").pop_front();
            match next {
                None => return,
                Some(Progress::Hardened(lsn)) => {
                    around.truth.hardened(self.me, lsn);
                    self.event(around, Event::Hardened(lsn));
                }
                Some(Progress::Poisoned(why)) => {
                    let why = why.to_string();
                    self.poisoned.get_or_insert_with(|| why.clone());
                    self.event(around, Event::JournalFailed(why));
                }
            }
        }
    }
}
