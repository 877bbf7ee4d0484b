//! Changing what the server does, one change after the other, as the node's driver does it.

use std::collections::BTreeMap;

use counterpart_core::{Epoch, Lsn, message::Role, session::Event};

use super::{Around, Change, Changed, Input, Job, Process, replay::Replay};
use crate::agenda::Micros;

/// Open transactions get this long before a failover rolls them back.
const DRAIN_WAIT: Micros = 500_000;

impl Process {
    pub(super) fn act(&mut self, around: &mut Around, epoch: Epoch, role: Role, discard: bool) {
        let replay = self.replay.take();
        self.change(around, Change::Act { epoch, role, discard, replay });
    }

    /// Runs a change after the one before it, which it makes obsolete.
    pub(super) fn change(&mut self, around: &mut Around, change: Change) {
        self.end_checkpoints(around);
        self.changes += 1;
        self.changing.push_back((self.changes, change));
        if self.changing.len() == 1 {
            let span = around.dice.around(300);
            self.soon(around, span, Job::Change);
        }
    }

    /// The change at hand goes on, and ends unless it waits.
    pub(super) fn go_on_changing(&mut self, around: &mut Around) {
        let Some((number, change)) = self.changing.pop_front() else { return };
        let changed = match change {
            Change::Act { epoch, role, discard, replay } => {
                match self.begin_acting(around, epoch, discard, replay) {
                    Ok(()) => Changed::Acting(role),
                    Err(why) => return self.cannot_change(around, &why),
                }
            }
            Change::StepDown(None) => {
                let end = self.stop_writing(around);
                return self.wait_for_change(around, number, Change::StepDown(Some(end)));
            }
            Change::StepDown(Some(end)) => {
                let waits = self.journal.hardened() < end && self.journal.poisoned().is_none();
                if waits && self.poisoned.is_none() {
                    return self.wait_for_change(around, number, Change::StepDown(Some(end)));
                }
                self.step_down(around)
            }
            Change::Reload(lsn) => match self.reload(around, lsn) {
                Ok(()) => Changed::Reloaded(lsn),
                Err(why) => return self.cannot_change(around, &why),
            },
        };
        self.input(around, Input::Changed(number, changed));
        self.next_change(around);
    }

    fn wait_for_change(&mut self, around: &mut Around, number: u64, change: Change) {
        self.plan_pump(around);
        self.changing.push_front((number, change));
        let span = around.dice.around(300);
        self.soon(around, span, Job::Change);
    }

    fn next_change(&mut self, around: &mut Around) {
        if !self.changing.is_empty() {
            let span = around.dice.around(300);
            self.soon(around, span, Job::Change);
        }
    }

    fn cannot_change(&mut self, around: &mut Around, why: &str) {
        // With a whole disk there is no reason why it could not.
        let healthy = self.journal.poisoned().is_none() && !self.disk.has_failed();
        around.truth.demand(!healthy, || format!("{} can't change its role: {why}", self.name()));
        self.poison(around, why);
        self.next_change(around);
    }

    fn begin_acting(
        &mut self,
        around: &mut Around,
        epoch: Epoch,
        discard: bool,
        replay: Option<Replay>,
    ) -> Result<(), String> {
        if self.acting && !discard {
            self.set_epoch(around, epoch);
            return Ok(());
        }
        let mut replay = replay.unwrap_or_default();
        if discard {
            self.discard_data(around)?;
        }
        let end = self.journal.last();
        while self.applied < end {
            let before = self.applied;
            self.advance_replay(around, &mut replay, end, false)?;
            if self.applied == before {
                return Err(format!("the journal has no record after {before}"));
            }
        }
        replay.drop_runs(self);
        for model in self.databases.values_mut() {
            model.visible = end;
            model.permit = None;
            // What it changed when it acted before may be older than a mark that its successor has written. No seed of 150
            // notices when this is left out: it takes two failovers, a checkpoint by that mark, half another, and a crash.
            model.recent.clear();
        }
        self.set_epoch(around, epoch);
        let commit = self.confirmations.commit_lsn();
        self.confirmations.begin(commit);
        self.acting = true;
        self.available = true;
        self.ensure_main(around)
    }

    fn set_epoch(&mut self, around: &mut Around, epoch: Epoch) {
        let newest = around.truth.epoch_at(self.me, self.journal.last());
        around.truth.demand(newest <= Some(epoch), || {
            format!("{} takes {epoch} with {newest:?} in its journal", self.name())
        });
        if newest <= Some(epoch) {
            self.journal.set_epoch(epoch);
        }
    }

    /// Ends all writing and confirming; the journal's end.
    fn stop_writing(&mut self, around: &mut Around) -> Lsn {
        let acted = std::mem::take(&mut self.acting);
        if acted {
            self.end_confirmations(around);
            self.evict_all(around);
        }
        let end = self.journal.last();
        if acted {
            // A run that its epoch left unfinished goes on elsewhere, unless something was written after it here.
            if end > self.applied {
                self.runs_begun = BTreeMap::new();
            }
            self.applied = end;
        }
        end
    }

    fn step_down(&mut self, around: &mut Around) -> Changed {
        let hardened = self.journal.hardened();
        self.event(around, Event::Hardened(hardened));
        let commit = self.confirmations.commit_lsn();
        for model in self.databases.values_mut() {
            model.visible = Lsn::ZERO;
        }
        self.confirmations.begin(commit);
        let (applied, whole) = (self.applied, self.control.read().is_whole());
        if self.control.read().session.empty && self.control.read().session.before_join.is_some() {
            // Until now it answered from the data that its operator had replaced.
            around.truth.replaced(self.me);
        }
        let unfinal = whole && (applied > commit || self.journal.poisoned().is_some());
        self.available = whole && !unfinal;
        Changed::Mirror { applied, unfinal }
    }

    /// A change of role is done; the core hears of it unless it has asked for another one since.
    pub(super) fn changed(&mut self, around: &mut Around, number: u64, changed: Changed) {
        if number != self.changes {
            return;
        }
        let role = match changed {
            Changed::Acting(role) => {
                self.begin_checkpoints(around);
                role
            }
            Changed::Reloaded(lsn) => return self.whole(around, lsn),
            Changed::Mirror { applied, unfinal } => {
                self.reloading = false;
                self.unfinal = unfinal.then_some(applied);
                let whole = self.control.read().is_whole();
                self.replay = whole.then(Replay::default);
                self.plan_replay(around);
                self.step(around, Event::Applied(applied));
                Role::Mirror
            }
        };
        self.step(around, Event::Became(role));
    }

    pub(super) fn drain(&mut self, around: &mut Around) {
        self.drains += 1;
        let until = around.agenda.now() + DRAIN_WAIT;
        self.soon(around, 10, Job::Drain(self.drains, until));
    }

    pub(super) fn go_on_draining(&mut self, around: &mut Around, number: u64, until: Micros) {
        if number != self.drains {
            return;
        }
        let busy = self.databases.values().any(|model| model.permit.is_some());
        let copying = self.databases.values().any(|model| model.permit == Some(0));
        if copying || (busy && around.agenda.now() < until) {
            return self.soon(around, 5_000, Job::Drain(number, until));
        }
        self.evict_all(around);
        let last = self.journal.last();
        self.event(around, Event::Drained(last));
    }
}
