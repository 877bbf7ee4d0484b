//! Checkpoints of an acting principal: a mark, then each database once its newest event is final and nobody writes to
//! it, then the mark in the control file.

use std::collections::VecDeque;

use counterpart_core::{DatabaseId, Lsn, UnixMicros, record::Draft};

use super::{Around, Door, Job, Process, wait::Waiter};
use crate::agenda::Micros;

/// How often it is looked whether a checkpoint is due.
const LOOK: Micros = 250_000;

/// A checkpoint follows at least this often while anything is dirty.
const AT_LEAST: Micros = 20_000_000;

/// A checkpoint under way.
pub struct Checkpoint {
    mark: Lsn,
    rest: VecDeque<DatabaseId>,
    /// The database at hand waits for its newest event.
    waited: bool,
}

impl Process {
    pub(super) fn begin_checkpoints(&mut self, around: &mut Around) {
        self.checkpoints += 1;
        self.marked_at = (self.appended, around.agenda.now());
        self.soon(around, LOOK, Job::LookForCheckpoint(self.checkpoints));
    }

    pub(super) fn end_checkpoints(&mut self, _around: &mut Around) {
        self.checkpoints += 1;
        if let Some(under_way) = self.checkpoint.take()
            && let Some(id) = under_way.rest.front()
            && let Some(model) = self.databases.get_mut(id)
            && model.permit == Some(0)
        {
            model.permit = None;
        }
    }

    pub(super) fn look_for_checkpoint(&mut self, around: &mut Around, number: u64) {
        if number != self.checkpoints {
            return;
        }
        self.soon(around, LOOK, Job::LookForCheckpoint(number));
        let now = around.agenda.now();
        let dirty = self.databases.values().any(|model| model.is_dirty);
        let due = self.appended - self.marked_at.0 >= around.plan.checkpoint
            || (dirty && now - self.marked_at.1 >= AT_LEAST);
        if !due || self.door != Door::Open || self.is_listing() {
            return;
        }
        self.marked_at = (self.appended, now);
        let Ok(mark) = self.write_mark(around) else { return };
        let dirty = self.databases.values().filter(|model| model.is_dirty);
        let rest = dirty.map(|model| model.id).collect();
        self.checkpoint = Some(Checkpoint { mark, rest, waited: false });
        let span = around.dice.around(300);
        self.soon(around, span, Job::Checkpoint(number));
    }

    /// Writes a mark, if this server may.
    pub(super) fn write_mark(&mut self, around: &mut Around) -> Result<Lsn, String> {
        if !matches!(self.door, Door::Open | Door::Closed(true)) {
            return Err("no mark is written while writes are not admitted".to_owned());
        }
        // It waits for runs of chunks to end.
        self.finish_big(around);
        self.databases.values_mut().for_each(|model| model.recent.clear());
        let state = self.state();
        self.append_own(around, Draft::mark(UnixMicros(around.agenda.now())), state)
    }

    /// Appends an event of this server's own, after which its databases are `state`.
    pub(super) fn append_own(
        &mut self,
        around: &mut Around,
        draft: Draft,
        state: u64,
    ) -> Result<Lsn, String> {
        self.appended += draft.length() as u64;
        let lsn = self.journal.append(draft).map_err(|error| error.to_string())?;
        let record = self.journal.read_records(lsn.before(), 1).map_err(|e| e.to_string())?;
        around.trace.line(around.agenda.now(), || {
            let header = record[0].header();
            let (kind, id, size) = (header.kind, header.database, header.size_in_pages);
            let sum = header.database_checksum;
            format!(
                "{} writes {lsn}: {kind:?} of database {id}, {size} pages, {sum:016x}",
                self.name()
            )
        });
        around.truth.wrote(self.me, &record[0], state);
        self.plan_pump(around);
        self.wake_senders(around);
        Ok(lsn)
    }

    pub(super) fn give_up_checkpoint(&mut self, around: &mut Around, number: u64) {
        if number == self.checkpoints {
            self.end_checkpoints(around);
            self.begin_checkpoints(around);
        }
    }

    pub(super) fn go_on_checkpointing(&mut self, around: &mut Around, number: u64) {
        let Some(mut at) = self.checkpoint.take() else { return };
        if number != self.checkpoints {
            return;
        }
        let Some(&id) = at.rest.front() else { return self.finish_checkpoint(around, number, at) };
        let Some(model) = self.databases.get_mut(&id) else {
            at.rest.pop_front();
            at.waited = false;
            self.checkpoint = Some(at);
            return self.soon(around, 1, Job::Checkpoint(number));
        };
        if !at.waited {
            if model.permit.is_some() {
                self.checkpoint = Some(at);
                return self.soon(around, 1_000, Job::Checkpoint(number));
            }
            // Nobody writes until it is copied.
            model.permit = Some(0);
            at.waited = true;
            let newest = model.visible;
            self.checkpoint = Some(at);
            return self.when_final(around, newest, Waiter::Checkpoint(number));
        }
        (model.permit, at.waited) = (None, false);
        let newest = model.visible;
        at.rest.pop_front();
        self.checkpoint = Some(at);
        around.trace.line(around.agenda.now(), || {
            let commit = self.confirmations.commit_lsn();
            format!("{} copies database {id} at {newest}, final {commit}", self.name())
        });
        if let Err(why) = self.note_final(newest) {
            return self.poison(around, &why);
        }
        let Some(model) = self.databases.get_mut(&id) else { return };
        match model.checkpoint(&self.disk) {
            Ok(()) => {
                let span = self.sync_span(around);
                self.soon(around, span, Job::Checkpoint(number));
            }
            Err(error) if counterpart_journal::disk::is_full(&error) => {
                self.give_up_checkpoint(around, number);
            }
            Err(error) => self.poison(around, &error.to_string()),
        }
    }

    /// All files are copied: redo starts at the mark once that is final.
    fn finish_checkpoint(&mut self, around: &mut Around, number: u64, mut at: Checkpoint) {
        if !at.waited {
            at.waited = true;
            let mark = at.mark;
            self.checkpoint = Some(at);
            return self.when_final(around, mark, Waiter::Checkpoint(number));
        }
        if let Err(why) = self.advance_redo(around, at.mark) {
            self.poison(around, &why);
        }
    }
}
