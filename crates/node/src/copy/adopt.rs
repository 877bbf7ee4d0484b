//! A whole spool takes the place of what a mirror had: its pages go into the closed files, its tail becomes the
//! journal. What follows is a redo from the mark to the end, as after a seed.
//!
//! The control file says beforehand that this is to be done. A crash anywhere in it does no harm: at the next start all
//! of it is done again, with the same outcome, because the spool stays until the databases are whole.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use counterpart_core::{
    DatabaseId, DatabaseName, Lsn,
    copy::{Item, Offer, SentPages},
    record::Record,
    session::Event,
};
use counterpart_engine::{Database, DatabaseMap};
use counterpart_journal::{
    AppendError, ChangeError, ControlError, WaitError, crash_point, sync_dir, sync_file,
};

use super::{
    receive::checksum_over,
    snapshot::hashes,
    spool::{Attempt, Spool, SpoolError},
};
use crate::{
    boot::{self, BootError},
    control::CatalogEntry,
    databases::file_path,
    maps,
    replay::Replayer,
    shared::Shared,
};

/// Bytes of records that may wait for the disk while the tail becomes the journal.
const IN_FLIGHT: usize = 16 << 20;

/// Why a spool was not adopted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the spool does not hold the copy from {mark} to {end} any more")]
    NotWhole { mark: Lsn, end: Lsn },
    #[error("database {0} would not be what was offered")]
    Differs(DatabaseName),
    #[error("{path}: {cause}", path = path.display())]
    Io { path: PathBuf, cause: io::Error },
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("the journal can't begin anew: {0}")]
    Reset(#[from] ChangeError),
    #[error("the spooled journal can't be taken over: {0}")]
    Append(#[from] AppendError),
    #[error("the spooled journal can't be hardened: {0}")]
    Harden(#[from] WaitError),
}

impl AdoptError {
    /// Whether the spool is at fault, so that only another copy can help. Everything else is this server's disk, and a
    /// restart tries again.
    fn needs_a_copy(&self) -> bool {
        matches!(
            self,
            AdoptError::Spool(SpoolError::Damaged { .. })
                | AdoptError::NotWhole { .. }
                | AdoptError::Differs(_)
        )
    }
}

/// Adopts the spool; says `PagesAdopted`, or `AdoptFailed` if it can't be used.
pub(crate) fn start(shared: &Arc<Shared>, mark: Lsn, end: Lsn, replayer: Option<Replayer>) {
    let shared = Arc::clone(shared);
    let body = move || {
        // Whoever replays must be done with the files before they are replaced.
        drop(replayer.map(Replayer::stop));
        let turn = Arc::clone(&shared);
        let _turn = turn.seeding.lock().expect("a receiver does not panic with the lock");
        let adopted = adopt(&shared, mark, end);
        shared.still.end();
        match adopted {
            Ok(()) => shared.inputs.event(Event::PagesAdopted { mark, end }),
            Err(error) if error.needs_a_copy() => {
                discard(&shared);
                shared.inputs.event(Event::AdoptFailed(error.to_string()));
            }
            Err(error) => {
                tracing::error!(%error, "the copy could not be adopted; a restart tries again");
                shared.poison(&error.to_string());
            }
        }
    };
    let thread = std::thread::Builder::new().name("adopt".to_owned()).spawn(body);
    drop(thread.expect("the system gives a thread"));
}

/// Deletes a spool that has served, or can't.
pub(crate) fn discard(shared: &Shared) {
    if let Err(error) = super::spool::discard(&shared.settings.data) {
        tracing::warn!(%error, "the spool takes space; delete the directory `spool` when the server is stopped");
    }
}

/// Deletes, at a start with whole databases, a spool that was adopted; one that was interrupted is kept.
pub(crate) fn discard_served(shared: &Shared) {
    if !super::spool::exists(&shared.settings.data) {
        return;
    }
    match Spool::open(&shared.settings.data) {
        Ok(spool) if spool.attempt().is_some_and(|attempt| !attempt.is_whole()) => {}
        Ok(_) => discard(shared),
        Err(error) => {
            tracing::warn!(%error, "the spool can't be read and is given up");
            discard(shared);
        }
    }
}

fn adopt(shared: &Arc<Shared>, mark: Lsn, end: Lsn) -> Result<(), AdoptError> {
    // A database that is just being healed is put in its place first, or not at all.
    let _applying = shared.applying.lock().expect("replay does not panic with the lock");
    boot::close_databases(shared, boot::not_seeded())?;
    shared.note_runs(&BTreeMap::new());
    let mut spool = Spool::open(&shared.settings.data)?;
    let attempt = spool.attempt().cloned().filter(|attempt| {
        attempt.is_whole() && attempt.head.mark == mark && attempt.reached == end
    });
    let attempt = attempt.ok_or(AdoptError::NotWhole { mark, end })?;
    tracing::info!(%mark, %end, databases = attempt.parts.len(), "taking over the copy");
    crash_point("adopt.begun");
    let files = Files::open(shared, &attempt)?;
    files.check(&spool)?;
    files.write(&mut spool)?;
    files.finish(&shared.settings.data, mark)?;
    crash_point("adopt.files_durable");
    take_catalog(shared, &attempt)?;
    crash_point("adopt.catalog_taken");
    boot::remove_strays(shared)?;
    take_journal(shared, &mut spool, &attempt)?;
    crash_point("adopt.tail_taken");
    shared.set_applied(mark);
    Ok(())
}

/// The databases of a copy, by name, each with its file's map.
struct Files {
    open: BTreeMap<DatabaseName, (Offer, Arc<DatabaseMap>)>,
}

impl Files {
    fn open(shared: &Shared, attempt: &Attempt) -> Result<Files, AdoptError> {
        let mut open = BTreeMap::new();
        for part in &attempt.parts {
            let map = open_file(shared, &part.offer)?;
            open.insert(part.offer.name.clone(), (part.offer.clone(), map));
        }
        Ok(Files { open })
    }

    /// Nothing is written unless all of it will be what was offered.
    fn check(&self, spool: &Spool) -> Result<(), AdoptError> {
        for (name, (offer, map)) in &self.open {
            if checksum_over(spool, offer, hashes(&map.file_snapshot())) != offer.checksum {
                return Err(AdoptError::Differs(name.clone()));
            }
        }
        Ok(())
    }

    /// Writes all pages of the spool, the later ones over the earlier.
    fn write(&self, spool: &mut Spool) -> Result<(), AdoptError> {
        for (offer, map) in self.open.values() {
            let resized = map.resize_raw(offer.size_in_pages);
            resized.map_err(|cause| AdoptError::Io { path: map.map_path().to_owned(), cause })?;
        }
        // Earlier attempts may have known a database by another number, but not by another name.
        let mut name = None;
        spool.read_again(|item| {
            match item {
                Item::Offer(offer) => name = Some(offer.name),
                Item::Pages(sent) => {
                    if let Some((offer, map)) = name.as_ref().and_then(|n| self.open.get(n)) {
                        write_pages(offer, map, &sent)?;
                        crash_point("adopt.page_written");
                    }
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn finish(self, data: &Path, mark: Lsn) -> Result<(), AdoptError> {
        for (name, (offer, map)) in self.open {
            let file = map.file_snapshot();
            if file.size() != offer.size_in_pages || file.checksum() != offer.checksum {
                return Err(AdoptError::Differs(name));
            }
            let path = map.map_path().to_owned();
            let failed = |cause| AdoptError::Io { path: path.clone(), cause };
            sync_file(&file_path(data, offer.database)).map_err(failed)?;
            maps::save(&map, mark).map_err(failed)?;
        }
        Ok(())
    }
}

/// The file of an offered database, with a map that knows all of its pages.
pub(super) fn open_file(shared: &Shared, offer: &Offer) -> Result<Arc<DatabaseMap>, AdoptError> {
    let path = file_path(&shared.settings.data, offer.database);
    let map_path = maps::map_path(&shared.settings.data, offer.database);
    let failed = |cause| AdoptError::Io { path: path.clone(), cause };
    Database::discard_wal(&path).map_err(failed)?;
    let size = DatabaseMap::page_size_of(&path, &map_path, offer.database).map_err(failed)?;
    if size.is_some_and(|size| size != offer.page_size) {
        // What has another page size has nothing in common.
        for path in [&map_path, &path] {
            counterpart_journal::disk::remove_if_there(shared.disk.as_ref(), path)
                .map_err(failed)?;
        }
    }
    let created = std::fs::File::options().create(true).truncate(false).write(true).open(&path);
    created.map_err(failed)?;
    let opened = DatabaseMap::open(&path, &map_path, offer.database, offer.page_size);
    let (map, loaded) = opened.map_err(failed)?;
    if loaded.unknown_pages > 0 {
        map.rebuild(offer.at, &mut |_, _| ()).map_err(failed)?;
    }
    Ok(map)
}

pub(super) fn write_pages(
    offer: &Offer,
    map: &DatabaseMap,
    sent: &SentPages,
) -> Result<(), AdoptError> {
    if sent.page_size != offer.page_size {
        return Ok(());
    }
    for (number, image) in sent.iter() {
        // Pages of an earlier attempt may lie behind the end.
        if number.0 <= offer.size_in_pages {
            map.write_raw(number, image, offer.at)
                .map_err(|cause| AdoptError::Io { path: map.map_path().to_owned(), cause })?;
        }
    }
    Ok(())
}

/// From now on the catalog is that of the copy, and redo starts at its mark.
fn take_catalog(shared: &Shared, attempt: &Attempt) -> Result<(), AdoptError> {
    let head = &attempt.head;
    let entries = head.databases.iter();
    let entries = entries.map(|d| CatalogEntry { id: d.id, name: d.name.clone() }).collect();
    let parts = attempt.parts.iter();
    let checksums = parts.map(|part| (part.offer.database, part.offer.checksum)).collect();
    let highest = head.databases.iter().map(|d| d.id.0 + 1).max().unwrap_or(1);
    shared.control.update(|control| {
        control.databases = entries;
        control.catalog_lsn = head.catalog_lsn;
        control.next_database = DatabaseId(head.next_database.0.max(highest));
        control.redo_after = head.mark;
        control.commit_lsn = head.mark;
        control.checksums = checksums;
    })?;
    // Another sequence of numbers may begin: a higher commit LSN of the old one would make everything final at once.
    shared.confirmations.begin(head.mark);
    Ok(())
}

/// The journal begins after the mark, and holds the tail.
fn take_journal(shared: &Shared, spool: &mut Spool, attempt: &Attempt) -> Result<(), AdoptError> {
    let (mark, end) = (attempt.head.mark, attempt.reached);
    let identity = boot::journal_identity(shared.control.read().session.server);
    shared.journal.reset(mark, identity)?;
    crash_point("adopt.journal_begun");
    let (mut waiting, mut heads) = (0, 0);
    spool.read_again(|item| {
        let records: Vec<Record> = match item {
            // The tails of earlier attempts may be of another history.
            Item::Tail(records) if heads > attempt.earlier => records,
            Item::Head(_) => {
                heads += 1;
                return Ok(());
            }
            _ => return Ok(()),
        };
        waiting += records.iter().map(|record| record.bytes().len()).sum::<usize>();
        let last = shared.journal.append_records(records)?;
        if waiting > IN_FLIGHT {
            shared.journal.wait_hardened(last)?;
            waiting = 0;
        }
        Ok::<(), AdoptError>(())
    })?;
    if shared.journal.last() != end {
        return Err(AdoptError::NotWhole { mark, end });
    }
    shared.journal.wait_hardened(end)?;
    let data = &shared.settings.data;
    sync_dir(data).map_err(|cause| AdoptError::Io { path: data.clone(), cause })
}
