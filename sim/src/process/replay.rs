//! Replay: a mirror applies records up to the commit LSN; a server that takes office applies all of them.

use std::collections::{BTreeMap, BTreeSet};

use counterpart_core::{
    DatabaseId, Epoch, Lsn,
    record::{Kind, Record},
    session::Event,
};

use super::{
    Around, CatalogEntry, Job, Process,
    database::{Model, Pages},
};
use crate::truth::Truth;

/// Journal bytes replayed at a time.
const STEP: usize = 16 << 10;

/// A replay under way, as the node's: runs of chunks, the newest mark, bytes since the last checkpoint.
#[derive(Default)]
pub struct Replay {
    runs: BTreeMap<DatabaseId, Vec<Record>>,
    resumed: bool,
    epoch: Option<Epoch>,
    mark: Option<Lsn>,
    since_checkpoint: u64,
}

impl Replay {
    /// Forgets unfinished runs: their principal is gone.
    pub fn drop_runs(&mut self, _process: &Process) {
        self.runs.clear();
    }
}

impl Process {
    pub(super) fn apply_up_to(&mut self, around: &mut Around, lsn: Lsn) {
        self.journal.set_commit_lsn(lsn);
        self.advance(around, lsn);
        self.apply_goal = lsn;
        if self.replay.is_some() {
            self.plan_replay(around);
        } else if !self.reloading {
            self.redo_seed(around, lsn);
        }
    }

    /// Redoes the journal over a seed that is complete, once it is known up to where the copy becomes whole.
    fn redo_seed(&mut self, around: &mut Around, lsn: Lsn) {
        let written = || {
            let control = self.control.read();
            control.session.seeding.as_ref().and_then(|seed| seed.consistent_at)
        };
        if self.seed_end.or_else(written).is_some_and(|consistent_at| consistent_at > lsn) {
            return;
        }
        self.reloading = true;
        self.change(around, super::Change::Reload(lsn));
    }

    /// The databases are whole: from here on the journal is replayed as it comes.
    pub(super) fn whole(&mut self, around: &mut Around, lsn: Lsn) {
        (self.reloading, self.seed_end) = (false, None);
        self.replay = Some(Replay::default());
        self.plan_replay(around);
        self.step(around, Event::Applied(lsn));
    }

    pub(super) fn plan_replay(&mut self, around: &mut Around) {
        if self.replay.is_some() && !std::mem::replace(&mut self.replaying, true) {
            let span = around.dice.around(200);
            self.soon(around, span, Job::Replay);
        }
    }

    pub(super) fn go_on_replaying(&mut self, around: &mut Around) {
        self.replaying = false;
        let Some(mut replay) = self.replay.take() else { return };
        let (before, goal) = (self.applied, self.apply_goal);
        if before < goal {
            if let Err(why) = self.advance_replay(around, &mut replay, goal, true) {
                let healthy = self.journal.poisoned().is_none() && !self.disk.has_failed();
                around.truth.demand(!healthy, || format!("{} can't apply: {why}", self.name()));
                // Each database shows whole transactions, but not all of them the same position.
                self.stuck = true;
                self.event(around, Event::ReplayFailed(why));
                return;
            }
            if self.applied > before {
                self.event(around, Event::Applied(self.applied));
            }
        }
        if let Err(why) = self.checkpoint_mirror(around, &mut replay) {
            self.poison(around, &why);
        }
        self.replay = Some(replay);
        if self.applied > before && self.applied < goal {
            self.plan_replay(around);
        }
    }

    /// Replays some records up to `target`.
    pub(super) fn advance_replay(
        &mut self,
        around: &mut Around,
        replay: &mut Replay,
        target: Lsn,
        as_mirror: bool,
    ) -> Result<(), String> {
        if !std::mem::replace(&mut replay.resumed, true) {
            self.resume_runs(replay)?;
        }
        let records =
            self.journal.read_records(self.applied, STEP).map_err(|error| error.to_string())?;
        for record in records.iter().take_while(|record| record.lsn() <= target) {
            self.replay_one(around, replay, record)?;
            self.applied = record.lsn();
            replay.since_checkpoint += record.bytes().len() as u64;
        }
        self.runs_begun = replay.runs.iter().map(|(&id, run)| (id, run[0].lsn())).collect();
        // A catalog that knows more than is applied here is ahead of the databases until they catch up.
        if self.control.read().catalog_lsn <= self.applied {
            around.truth.shows(self.me, self.applied, self.state(), as_mirror);
        }
        Ok(())
    }

    /// Takes the chunks of unfinished runs again that lie at or before what is applied.
    fn resume_runs(&mut self, replay: &mut Replay) -> Result<(), String> {
        let begun = self.runs_begun.clone();
        let Some(first) = begun.values().min() else { return Ok(()) };
        for record in self.journal.records_after(first.before()) {
            let record = record.map_err(|error| error.to_string())?;
            if record.lsn() > self.applied {
                break;
            }
            let header = record.header();
            let begins = begun.get(&header.database).is_some_and(|first| *first <= record.lsn());
            if header.kind == Kind::Chunk && begins {
                replay.epoch = Some(header.epoch);
                replay.runs.entry(header.database).or_default().push(record);
            }
        }
        Ok(())
    }

    fn replay_one(
        &mut self,
        around: &mut Around,
        replay: &mut Replay,
        record: &Record,
    ) -> Result<(), String> {
        let (header, id) = (record.header(), record.header().database);
        if replay.epoch.replace(header.epoch).is_some_and(|before| before != header.epoch) {
            replay.runs.clear();
        }
        let gone =
            record.lsn() <= self.control.read().catalog_lsn && !self.databases.contains_key(&id);
        match header.kind {
            Kind::Mark => {
                replay.runs.clear();
                replay.mark = Some(record.lsn());
            }
            Kind::DropDatabase => {
                replay.runs.remove(&id);
                self.forget_database(around, id, record.lsn())?;
            }
            _ if gone => {}
            Kind::Chunk => replay.runs.entry(id).or_default().push(record.clone()),
            Kind::Transaction => {
                let run = replay.runs.remove(&id).unwrap_or_default();
                let Some(model) = self.databases.get_mut(&id) else {
                    return Err(format!("there is no database {id} for {}", record.lsn()));
                };
                apply(model, &run, record)?;
            }
            Kind::CreateDatabase => {
                let run = replay.runs.remove(&id).unwrap_or_default();
                let name = record.created_name().expect("a creation has a name");
                let entry = CatalogEntry { id, name: name.clone() };
                let mut model = self
                    .databases
                    .remove(&id)
                    .unwrap_or_else(|| Model::with(id, name, Pages::default(), record.lsn()));
                apply(&mut model, &run, record)?;
                self.databases.insert(id, model);
                let commit = self.confirmations.commit_lsn().min(record.lsn());
                self.update(|control| {
                    control.note_created(entry, record.lsn());
                    control.commit_lsn = control.commit_lsn.max(commit);
                })?;
            }
        }
        Ok(())
    }

    fn checkpoint_mirror(
        &mut self,
        around: &mut Around,
        replay: &mut Replay,
    ) -> Result<(), String> {
        // A copy was compared with the files as they are.
        if replay.since_checkpoint < around.plan.checkpoint || self.is_spooling() {
            return Ok(());
        }
        let Some(mark) = replay.mark else { return Ok(()) };
        replay.since_checkpoint = 0;
        self.note_final(self.applied)?;
        for (id, model) in &mut self.databases {
            if model.is_dirty && !replay.runs.contains_key(id) {
                match model.checkpoint(&self.disk) {
                    Ok(()) => {
                        let (me, at) = (Truth::name(self.me), self.applied);
                        around.trace.line(around.agenda.now(), || {
                            format!(
                                "{me} copies database {id} at {at}, {:016x}",
                                model.map.checksum()
                            )
                        });
                    }
                    Err(error) if counterpart_journal::disk::is_full(&error) => return Ok(()),
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
        if self.databases.values().all(|model| !model.is_dirty) {
            replay.mark = None;
            self.advance_redo(around, mark)?;
        }
        Ok(())
    }
}

/// Applies a transaction and what came of it in chunks; compares what the record says.
pub(super) fn apply(model: &mut Model, run: &[Record], last: &Record) -> Result<(), String> {
    let mut changed = BTreeSet::new();
    for record in run.iter().chain([last]) {
        changed.extend(model.pages.decode(record).map_err(|error| error.to_string())?);
    }
    let header = last.header();
    model.changed(changed, header.size_in_pages, last.lsn());
    let (expected, found) = (header.database_checksum, model.map.checksum());
    if expected != 0 && expected != found {
        return Err(format!(
            "database {} differs at {}: {expected:016x}, {found:016x}",
            model.id,
            last.lsn()
        ));
    }
    Ok(())
}
