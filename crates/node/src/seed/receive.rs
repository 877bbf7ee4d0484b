//! The mirror's side of a seed: pages go straight into the database files, which SQLite has not opened yet.

use std::{collections::HashMap, io, sync::Arc};

use bytes::Bytes;
use counterpart_core::{
    DatabaseId, Lsn, PageNo,
    frame::SeedPages,
    message::{Role, SeedContents, SeedDatabase, SeedProgress},
    session::{Event, LinkId},
};
use counterpart_engine::{BulkWriter, DatabaseMap};
use counterpart_journal::{ControlError, crash_point, sync_dir, sync_file};
use tokio::sync::mpsc;

use super::NICE;
use crate::{
    boot::{self, BootError},
    control::CatalogEntry,
    databases::file_path,
    driver::Input,
    link::{Ended, SeedIn},
    maps, priority,
    replay::Replayer,
    shared::Shared,
};

/// What may wait for this thread: a frame, and the word that there are no more.
const WAITING: usize = 2;

/// Bytes after which what arrived is made durable, so that an interrupted seed goes on from there.
const DURABLE_EVERY: usize = 64 << 20;

/// Why a seed can't be received.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error("the seed can't be written: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Wipe(#[from] BootError),
}

struct Receiver {
    shared: Arc<Shared>,
    link: LinkId,
    progress: SeedProgress,
    announced: HashMap<DatabaseId, SeedDatabase>,
    next_database: DatabaseId,
    /// The database being written.
    file: Option<(DatabaseId, BulkWriter)>,
    undurable: usize,
    /// What frames are read into, one after the other.
    memory: Bytes,
}

/// Starts a thread that writes what arrives; the way to it. It answers `SeedProgressed` now and then, `SeedFinished`
/// at the end, or `SeedFailed`.
pub(crate) fn start(
    shared: &Arc<Shared>,
    link: LinkId,
    progress: SeedProgress,
    contents: SeedContents,
    replayer: Option<Replayer>,
) -> mpsc::Sender<SeedIn> {
    let (sink, pages) = mpsc::channel(WAITING);
    let SeedContents { databases, next_database } = contents;
    let announced = databases.into_iter().map(|database| (database.id, database)).collect();
    let mut receiver = Receiver {
        shared: Arc::clone(shared),
        link,
        progress,
        announced,
        next_database,
        file: None,
        undurable: 0,
        memory: Bytes::new(),
    };
    let body = move || {
        priority::give_way(NICE);
        // Whoever replays must be done with the files before they are replaced.
        drop(replayer.map(Replayer::stop));
        if let Err(error) = receiver.run(pages) {
            receiver.shared.inputs.event(Event::SeedFailed(link, error.to_string()));
        }
    };
    let thread = std::thread::Builder::new().name("seed".to_owned()).spawn(body);
    drop(thread.expect("the system gives a thread"));
    sink
}

impl Receiver {
    fn run(&mut self, mut pages: mpsc::Receiver<SeedIn>) -> Result<(), ReceiveError> {
        // The receiver of a link that has just ended may still be writing its last pages.
        let turn = Arc::clone(&self.shared);
        let _turn = turn.seeding.lock().expect("a receiver does not panic with the lock");
        // Its session may have ended before its turn came; what is here now is not its to empty.
        if self.shared.control.read().session.role != Role::Mirror {
            return Ok(());
        }
        self.make_room()?;
        while let Some(arrived) = pages.blocking_recv() {
            match arrived {
                SeedIn::Frame(frame) => {
                    let reading = frame.read(&mut self.memory);
                    match self.shared.io.block_on(reading) {
                        Ok(pages) => self.write(&pages)?,
                        Err(Ended) => break,
                    }
                }
                SeedIn::Finish(consistent_at) => {
                    self.finish()?;
                    if consistent_at <= self.progress.mark {
                        // Nothing was written meanwhile, so there is nothing to redo: the copy is whole as it is. Only
                        // the principal can tell: of a database that it dropped, a part may have come.
                        boot::reload(&self.shared, self.progress.mark)?;
                        self.shared.inputs.send(Input::Whole(self.progress.mark));
                    }
                    crash_point("seed.whole");
                    self.shared.inputs.event(Event::SeedFinished(self.link));
                    return Ok(());
                }
            }
        }
        // The link ended; what is durable stays, and the next link goes on from there.
        Ok(())
    }

    /// Closes whatever is open. A seed that begins anew also empties the directory and takes over the catalog.
    fn make_room(&self) -> Result<(), ReceiveError> {
        // A database that is just being healed is put in its place first, or not at all.
        let applying = self.shared.applying.lock();
        let _applying = applying.expect("replay does not panic with the lock");
        boot::close_databases(&self.shared, boot::not_seeded())?;
        let p = &self.progress;
        if !p.done.is_empty() || p.database.is_some() {
            return Ok(());
        }
        crash_point("seed.before_discard");
        boot::discard_data(&self.shared)?;
        crash_point("seed.discarded");
        let mark = self.progress.mark;
        let mut entries: Vec<_> = self
            .announced
            .values()
            .map(|d| CatalogEntry { id: d.id, name: d.name.clone() })
            .collect();
        entries.sort_by_key(|entry| entry.id);
        let highest = entries.last().map_or(1, |entry| entry.id.0 + 1);
        let next = self.next_database.0.max(highest);
        self.shared.control.update(|control| {
            control.databases = entries;
            control.catalog_lsn = mark;
            control.next_database = DatabaseId(next);
            control.redo_after = mark;
            control.commit_lsn = mark;
        })?;
        crash_point("seed.catalog_taken");
        self.shared.set_applied(mark);
        // Another sequence of numbers begins: a higher commit LSN of the old one would make everything final at once.
        self.shared.confirmations.begin(mark);
        Ok(())
    }

    fn write(&mut self, pages: &SeedPages) -> Result<(), ReceiveError> {
        let id = pages.database;
        if !self.announced.contains_key(&id) {
            // Made after the mark: all of it comes with the journal.
            return Ok(());
        }
        if self.file.as_ref().is_none_or(|(open, _)| *open != id) {
            self.leave_database()?;
            let directory = &self.shared.settings.data;
            let map = maps::open_with(directory, id, pages.page_size, pages.shown)?;
            self.progress.database = Some(id);
            self.progress.next_page = pages.first;
            self.file = Some((id, BulkWriter::new(map)?));
        }
        let (_, file) = self.file.as_mut().expect("it was just opened");
        file.write(pages.first, &pages.bytes, pages.shown)?;
        let map = Arc::clone(file.map());
        crash_point("seed.page_written");
        self.progress.next_page = PageNo(pages.first.0 + pages.count());
        self.progress.copied_at = self.progress.copied_at.max(pages.shown);
        self.undurable += pages.bytes.len();
        if self.undurable >= DURABLE_EVERY {
            self.make_durable(id, &map)?;
            self.tell();
        }
        Ok(())
    }

    fn make_durable(&mut self, id: DatabaseId, map: &DatabaseMap) -> io::Result<()> {
        sync_file(&file_path(&self.shared.settings.data, id))?;
        crash_point("seed.file_durable");
        self.undurable = 0;
        // It is not whole yet: nothing is said of how far.
        maps::save(map, Lsn::ZERO)
    }

    /// The database at hand is complete.
    fn leave_database(&mut self) -> Result<(), ReceiveError> {
        if let Some((id, file)) = self.file.take() {
            self.make_durable(id, file.map())?;
            crash_point("seed.database_done");
            self.progress.done.push(id);
            self.progress.database = None;
            self.progress.next_page = PageNo(1);
            self.tell();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ReceiveError> {
        self.leave_database()?;
        Ok(sync_dir(&self.shared.settings.data)?)
    }

    fn tell(&self) {
        let mut progress = self.progress.clone();
        progress.journal_reset = true;
        self.shared.inputs.event(Event::SeedProgressed(self.link, Box::new(progress)));
    }
}
