//! Orphans: what only this server has is kept as files before anything of it is overwritten: its records, as far as the
//! journal still has them, and a copy of each database with all of them in it.
//!
//! Retention looks after the mirrors that are connected and after this server's own redo, not after a divergence that
//! may come: what it has removed meanwhile is in the copies.

use std::collections::BTreeMap;

use counterpart_core::{
    DatabaseId, Lsn,
    record::{Kind, Record},
    session::Event,
};
use counterpart_journal::{Disk, disk::remove_if_there};

use super::{
    Around, Process,
    database::{Model, Pages, directory},
    redo::text,
    replay::apply,
};

/// What was saved.
struct Saved {
    /// The first record.
    from: Lsn,
    /// One number for the databases that were copied.
    state: u64,
}

impl Process {
    pub(super) fn save_orphans(&mut self, around: &mut Around, common: Lsn, end: Lsn) {
        match self.try_to_save_orphans(common, end) {
            Ok(saved) => {
                around.truth.orphaned(self.me, common, end, saved.from, saved.state);
                self.event(around, Event::OrphansSaved { common, end });
            }
            Err(why) => {
                around.trace.line(around.agenda.now(), || format!("{}: {why}", self.name()));
                self.event(around, Event::OrphansFailed(why));
            }
        }
    }

    fn try_to_save_orphans(&self, common: Lsn, end: Lsn) -> Result<Saved, String> {
        let from = common.next().max(self.journal.first());
        let records = self.records_between(from.before(), end)?;
        let copies = self.databases_at(end)?;
        let path = |what: &str| directory().join(format!("orphans-{common}-{end}{what}"));
        let bytes: Vec<u8> = records.iter().flat_map(|record| record.bytes().to_vec()).collect();
        self.write_whole(&path(""), &bytes).map_err(text)?;
        for model in copies.values() {
            let image = |number| model.pages.get(number).unwrap_or_default().to_vec();
            let numbers = (1..=model.pages.size()).map(counterpart_core::PageNo);
            let bytes: Vec<u8> = numbers.flat_map(image).collect();
            self.write_whole(&path(&format!("-{}", model.id.0)), &bytes).map_err(text)?;
        }
        self.disk.sync_dir(directory()).map_err(text)?;
        let state = copies.values().fold(0, |state, model| state ^ model.sum());
        Ok(Saved { from, state })
    }

    fn write_whole(&self, path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
        remove_if_there(&self.disk, path)?;
        let file = self.disk.create(path)?;
        file.write_at(0, bytes)?;
        file.sync_data()
    }

    /// The records after one position up to another, all of them.
    fn records_between(&self, after: Lsn, end: Lsn) -> Result<Vec<Record>, String> {
        let mut found = Vec::new();
        for record in self.journal.records_after(after) {
            let record = record.map_err(|error| error.to_string())?;
            if record.lsn() > end {
                break;
            }
            found.push(record);
        }
        let count = found.len() as u64;
        if count == end.since(after) {
            Ok(found)
        } else {
            Err(format!(
                "{count} records after {after} are in the journal, which should reach {end}"
            ))
        }
    }

    /// What the databases are with everything up to `end` in them.
    fn databases_at(&self, end: Lsn) -> Result<BTreeMap<DatabaseId, Model>, String> {
        let copy = |model: &Model| {
            Model::with(model.id, model.name.clone(), model.pages.clone(), self.applied)
        };
        let mut all: BTreeMap<DatabaseId, Model> =
            self.databases.values().map(|model| (model.id, copy(model))).collect();
        let mut runs = self.runs_at(self.applied)?;
        let mut epoch = runs.values().flatten().map(|record| record.header().epoch).next();
        for record in self.records_between(self.applied.min(end), end)? {
            let (header, id) = (record.header(), record.header().database);
            if epoch.replace(header.epoch).is_some_and(|before| before != header.epoch) {
                runs.clear();
            }
            // Dropped later, as the catalog knows already.
            let gone =
                header.lsn <= self.control.read().catalog_lsn && !self.control.read().knows(id);
            match header.kind {
                Kind::Mark => runs.clear(),
                Kind::DropDatabase => drop((runs.remove(&id), all.remove(&id))),
                _ if gone => {}
                Kind::Chunk => runs.entry(id).or_default().push(record),
                Kind::Transaction | Kind::CreateDatabase => {
                    if let Some(name) = record.created_name() {
                        let fresh = || Model::with(id, name, Pages::default(), record.lsn());
                        all.entry(id).or_insert_with(fresh);
                    }
                    let run = runs.remove(&id).unwrap_or_default();
                    let model = all.get_mut(&id).ok_or(format!("there is no database {id}"))?;
                    apply(model, &run, &record)?;
                }
            }
        }
        Ok(all)
    }

    /// Chunks of unfinished runs that lie at or before this position.
    fn runs_at(&self, position: Lsn) -> Result<BTreeMap<DatabaseId, Vec<Record>>, String> {
        let mut runs: BTreeMap<DatabaseId, Vec<Record>> = BTreeMap::new();
        let Some(first) = self.runs_begun.values().min() else { return Ok(runs) };
        for record in self.records_between(first.before(), position)? {
            let header = record.header();
            let begins = self.runs_begun.get(&header.database).is_some_and(|at| *at <= header.lsn);
            if header.kind == Kind::Chunk && begins {
                runs.entry(header.database).or_default().push(record);
            }
        }
        Ok(runs)
    }
}
