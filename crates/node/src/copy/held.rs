//! What a mirror holds already of a database that is offered to it, in its files, and keeping that still meanwhile.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use counterpart_core::{DatabaseId, Lsn, PageSize, session::LinkId};
use counterpart_engine::DatabaseMap;
use counterpart_journal::{sync_dir, sync_file};

use super::snapshot::hashes;
use crate::{boot::given_up, databases::file_path, maps, shared::Shared};

/// Whether checkpoints may change the database files of a mirror.
///
/// A copy is compared with what the files hold; a page that is equal then must be so still when the copy takes their place.
#[derive(Debug, Default)]
pub(crate) struct Still {
    state: Mutex<StillFor>,
    changed: Condvar,
    distrusted: AtomicBool,
}

#[derive(Debug, Default)]
struct StillFor {
    /// The link whose copy is compared with the files.
    link: Option<LinkId>,
    /// Checkpoints that change files now.
    checkpoints: u32,
}

impl Still {
    fn lock(&self) -> MutexGuard<'_, StillFor> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// From now on no checkpoint changes a file; one that is under way is waited for.
    pub(crate) fn begin(&self, link: LinkId) {
        let mut state = self.lock();
        state.link = Some(link);
        let waited = self.changed.wait_while(state, |state| state.checkpoints > 0);
        drop(waited.expect("no holder of this lock panics"));
    }

    /// The copy of this link comes to nothing. Checkpoints may go on, unless another one has begun.
    pub(crate) fn end_of(&self, link: LinkId) {
        self.lock().link.take_if(|of| *of == link);
    }

    /// Checkpoints may go on.
    pub(crate) fn end(&self) {
        self.lock().link = None;
    }

    /// Whether somebody has the files, or waits for the end of a checkpoint to have them.
    pub(crate) fn is_wanted(&self) -> bool {
        self.lock().link.is_some()
    }

    /// What was chosen by position did not make the files what was offered.
    pub(crate) fn distrust(&self) {
        self.distrusted.store(true, Ordering::Relaxed);
    }

    /// Whether pages are to be compared, even if a position is known.
    pub(crate) fn is_distrusted(&self) -> bool {
        self.distrusted.load(Ordering::Relaxed)
    }

    /// Runs a checkpoint, unless the files must stay as they are.
    pub(crate) fn unless<T>(&self, checkpoint: impl FnOnce() -> T) -> Option<T> {
        let mut state = self.lock();
        if state.link.is_some() {
            return None;
        }
        state.checkpoints += 1;
        drop(state);
        let _checkpoint = UnderWay(self);
        Some(checkpoint())
    }
}

/// A checkpoint, until this is dropped.
struct UnderWay<'a>(&'a Still);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().checkpoints -= 1;
        self.0.changed.notify_all();
    }
}

/// The hashes of the pages that the file of a database holds, page 1 first; none if there is no such file, or one
/// of another page size.
pub(crate) fn file_hashes(shared: &Shared, id: DatabaseId, page_size: PageSize) -> Vec<u64> {
    let map = DatabaseMap::of(&file_path(&shared.settings.data, id));
    match map.filter(|map| map.page_size() == page_size) {
        Some(map) => hashes(&map.file_snapshot()),
        // Nobody has the databases open of a server that does without its journal.
        None if given_up::exists(&shared.settings.data) => closed_file_hashes(
            &shared.settings.data,
            id,
            page_size,
        )
        .unwrap_or_else(|error| {
            tracing::warn!(database = %id, %error, "a file can't be read; all of it is asked for");
            Vec::new()
        }),
        None => Vec::new(),
    }
}

fn closed_file_hashes(data: &Path, id: DatabaseId, page_size: PageSize) -> io::Result<Vec<u64>> {
    let (path, map_path) = (file_path(data, id), maps::map_path(data, id));
    if DatabaseMap::page_size_of(&path, &map_path, id)? != Some(page_size) {
        return Ok(Vec::new());
    }
    let (map, _) = DatabaseMap::open(&path, &map_path, id, page_size)?;
    map.rebuild(Lsn::ZERO, &mut |_, _| ())?;
    Ok(hashes(&map.file_snapshot()))
}

/// Makes durable what the files hold and what their maps say of it: after a crash nobody could tell otherwise.
///
/// # Errors
/// What the file system says.
pub(crate) fn make_durable(shared: &Arc<Shared>) -> std::io::Result<()> {
    let at = shared.control.read().redo_after;
    for hosted in shared.databases.all() {
        if let Some(map) = DatabaseMap::of(hosted.engine.path()) {
            hosted.engine.sync().map_err(std::io::Error::other)?;
            sync_file(map.save(at)?)?;
        }
    }
    sync_dir(&shared.settings.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mirror whose connection broke just when its copy was whole, and which then caught up by the journal, never
    /// checkpointed again: nobody ended what that copy had begun.
    #[test]
    fn what_one_copy_began_is_ended_for_it_and_not_for_the_next() {
        let still = Still::default();
        let checkpoints = |still: &Still| still.unless(|| ()).is_some();
        still.begin(LinkId(1));
        assert!(!checkpoints(&still));
        still.end_of(LinkId(1));
        assert!(checkpoints(&still));
        still.begin(LinkId(2));
        still.end_of(LinkId(1));
        assert!(!checkpoints(&still), "the next one is being compared");
        still.end();
        assert!(checkpoints(&still));
    }

    #[test]
    fn whoever_wants_the_files_as_they_are_waits_for_the_checkpoint_that_changes_them() {
        let still = Arc::new(Still::default());
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let running = Arc::clone(&still);
        let checkpoint = std::thread::spawn(move || {
            let ran = running.unless(|| {
                begun.send(()).unwrap();
                assert!(ended.recv().is_err());
            });
            assert!(ran.is_some());
        });
        has_begun.recv().unwrap();
        assert!(!still.is_wanted());
        let wanting = Arc::clone(&still);
        let wants = std::thread::spawn(move || wanting.begin(LinkId(1)));
        while !still.is_wanted() {
            std::thread::yield_now();
        }
        assert!(!wants.is_finished() && still.unless(|| ()).is_none());
        drop(end);
        wants.join().unwrap();
        checkpoint.join().unwrap();
    }
}
