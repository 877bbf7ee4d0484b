//! A backup becomes a data directory: a standalone server of its own identity, whose history says where it came from.
//!
//! The whole file is verified before anything is written; a damaged one is refused by name. The databases are proven
//! by their checksums again once they are written. Until all is there, a file says that it is not: no server starts on
//! what an interrupted restore has left, and the next restore begins anew.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use counterpart_core::{
    DatabaseId, Lsn, ServerId,
    copy::{CopyDecoder, CopyError, Head, Item, Offer, Order, OrderError},
    map::{known, page_hash},
    record::Record,
    session::Durable,
};
use counterpart_engine::DatabaseMap;
use counterpart_journal::{
    self as journal, ControlError, ControlFile, Disk, Journal, RealDisk, disk::LockError,
    lock_directory, sync_dir, sync_file,
};

use crate::{
    boot::journal_identity,
    control::{CatalogEntry, Control},
    databases::file_path,
    maps, random,
};

mod place;

use place::{clear, refuse_what_is_there};
pub(crate) use place::{forget_finished, is_unfinished};

/// Bytes read at a time.
const STEP: usize = 1 << 20;

/// Bytes of records that may wait for the disk.
const IN_FLIGHT: usize = 16 << 20;

/// Why a backup was not restored. The data directory was not touched, unless the sentence says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup can't be read, or the data directory can't be written.
    #[error("{path}: {cause}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The backup does not verify.
    #[error("the backup {path} can't be used: {cause}", path = path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// What does not verify.
        cause: CopyError,
    },
    /// The backup is not whole.
    #[error("the backup {path} can't be used: {cause}", path = path.display())]
    NotWhole {
        /// The backup.
        path: PathBuf,
        /// What is wrong.
        cause: OrderError,
    },
    /// A database in it is not what it should be.
    #[error("the backup {path} can't be used: {}", self.why(), path = path.display())]
    Differs {
        /// The backup.
        path: PathBuf,
        /// The database.
        name: String,
        /// What is written down.
        wanted: u64,
        /// What it has.
        found: u64,
    },
    /// There is data already.
    #[error("the directory {path} is not empty", path = path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The disk has not enough space.
    #[error("{needed} bytes are needed in {path} and {free} are free", path = path.display())]
    Full {
        /// The directory.
        path: PathBuf,
        /// What it takes.
        needed: u64,
        /// What there is.
        free: u64,
    },
    /// The directory can't be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The control file can't be written.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The journal can't be written.
    #[error("the journal can't be written: {0}")]
    Journal(String),
}

impl RestoreError {
    /// The same without the name of the file, for those who know it by another one.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            RestoreError::Damaged { cause, .. } => cause.to_string(),
            RestoreError::NotWhole { cause, .. } => cause.to_string(),
            RestoreError::Differs { name, wanted, found, .. } => format!(
                "database {name} has checksum {found:016x}, and {wanted:016x} is written down"
            ),
            other => other.to_string(),
        }
    }
}

/// What a backup is.
#[derive(Clone, Debug)]
pub struct BackupInfo {
    /// What it is a copy of.
    pub head: Head,
    /// The position that it shows.
    pub end: Lsn,
    /// Bytes that its databases take.
    pub bytes: u64,
    /// Bytes of its journal records.
    pub tail: u64,
    /// Bytes of those that are newer than the pages of their databases.
    pub behind: u64,
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The backup.
    pub backup: BackupInfo,
    /// The new server.
    pub server: ServerId,
}

/// Goes through a backup; `take` gets each item that verified and is in its place. `progress` gets bytes read.
pub(super) fn read(
    path: &Path,
    progress: &mut dyn FnMut(u64),
    take: &mut dyn FnMut(&Item) -> Result<(), RestoreError>,
) -> Result<Order, RestoreError> {
    let failed = |cause| RestoreError::Io { path: path.to_owned(), cause };
    let mut file = File::open(path).map_err(failed)?;
    let (mut decoder, mut order) = (CopyDecoder::new(), Order::new());
    let mut piece = vec![0; STEP];
    loop {
        let item = decoder
            .next_item()
            .map_err(|cause| RestoreError::Damaged { path: path.to_owned(), cause })?;
        let Some(item) = item else {
            match file.read(&mut piece).map_err(failed)? {
                0 => break,
                read => decoder.buffer().extend_from_slice(&piece[..read]),
            }
            progress(decoder.taken());
            continue;
        };
        order
            .take(&item)
            .map_err(|cause| RestoreError::NotWhole { path: path.to_owned(), cause })?;
        take(&item)?;
    }
    let cut = if decoder.is_between_frames() { None } else { Some(OrderError::Incomplete) };
    match cut.map_or_else(|| order.finish(), Err) {
        Ok(()) => Ok(order),
        Err(cause) => Err(RestoreError::NotWhole { path: path.to_owned(), cause }),
    }
}

/// Verifies a backup from the first byte to the last: that nothing is missing, and that each database is what its
/// checksum says. `progress` gets bytes read.
///
/// # Errors
/// What is wrong with it.
pub fn verify_backup(
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<BackupInfo, RestoreError> {
    let mut current: Option<(Offer, u64)> = None;
    let (mut bytes, mut tail, mut behind, mut shown) = (0, 0, 0, BTreeMap::new());
    let order = read(path, progress, &mut |item| {
        match item {
            Item::Offer(offer) => {
                bytes += u64::from(offer.size_in_pages) * offer.page_size.bytes() as u64;
                shown.insert(offer.database, offer.at);
                current = Some((offer.clone(), 0));
            }
            Item::Pages(sent) => {
                if let Some((_, xor)) = &mut current {
                    *xor =
                        sent.iter().fold(*xor, |all, (page, image)| all ^ page_hash(page, image));
                }
            }
            Item::Whole(_) => {
                let (offer, xor) = current.take().expect("the order was checked");
                if known(xor) != offer.checksum {
                    let (path, name) = (path.to_owned(), offer.name.to_string());
                    let (wanted, found) = (offer.checksum, known(xor));
                    return Err(RestoreError::Differs { path, name, wanted, found });
                }
            }
            Item::Tail(records) => {
                let bytes = |record: &Record| record.bytes().len() as u64;
                let newer = |record: &&Record| {
                    shown.get(&record.header().database).is_some_and(|at| record.lsn() > *at)
                };
                tail += records.iter().map(bytes).sum::<u64>();
                behind += records.iter().filter(newer).map(bytes).sum::<u64>();
            }
            _ => {}
        }
        Ok(())
    })?;
    let head = order.head().expect("a whole copy has a head").clone();
    Ok(BackupInfo { head, end: order.reached(), bytes, tail, behind })
}

/// Restores a backup into an empty (or missing) data directory. `progress` gets bytes read, which are twice those of
/// the file in the end: it is verified first.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(
    path: &Path,
    data: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Restored, RestoreError> {
    let backup = verify_backup(path, progress)?;
    let length = std::fs::metadata(path).map_or(0, |file| file.len());
    let needed = backup.bytes + backup.tail + 2 * journal::Config::default().segment_bytes;
    let failed = |cause| RestoreError::Io { path: data.to_owned(), cause };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    disk.create_dir(data).map_err(failed)?;
    // Before the lock is made: a directory that is somebody else's must not get even that.
    refuse_what_is_there(data)?;
    let _lock = lock_directory(data)?;
    clear(data).map_err(failed)?;
    refuse_what_is_there(data)?;
    let free = journal::free_bytes(data).map_err(failed)?;
    if free < needed {
        return Err(RestoreError::Full { path: data.to_owned(), needed, free });
    }
    let server = ServerId(random::number().max(1));
    place::begin(data).map_err(failed)?;
    let written = write_all(path, data, &disk, server, &backup, &mut |at| progress(length + at));
    if written.is_err() {
        clear(data).map_err(failed)?;
    }
    let control = control(&backup, server, written?);
    sync_dir(data).map_err(failed)?;
    ControlFile::new(Arc::clone(&disk), &data.join("control")).save(&control)?;
    forget_finished(&disk, data).map_err(failed)?;
    Ok(Restored { backup, server })
}

/// Writes databases and journal; the databases' checksums.
fn write_all(
    path: &Path,
    data: &Path,
    disk: &Arc<dyn Disk>,
    server: ServerId,
    backup: &BackupInfo,
    progress: &mut dyn FnMut(u64),
) -> Result<BTreeMap<DatabaseId, u64>, RestoreError> {
    let failed = |cause| RestoreError::Io { path: data.to_owned(), cause };
    let broken = |error: &dyn std::fmt::Display| RestoreError::Journal(error.to_string());
    let directory = data.join("journal");
    disk.create_dir(&directory).map_err(failed)?;
    let journal = Journal::create(
        Arc::clone(disk),
        &directory,
        journal::Config::default(),
        journal_identity(server),
        backup.head.mark,
        Box::new(|_| ()),
    )
    .map_err(|error| broken(&error))?;
    let mut checksums = BTreeMap::new();
    let mut current: Option<(Offer, Arc<DatabaseMap>)> = None;
    let mut waiting = 0;
    read(path, progress, &mut |item| {
        match item {
            Item::Offer(offer) => {
                let map = maps::open_with(data, offer.database, offer.page_size, offer.at);
                let map = map.map_err(failed)?;
                map.resize_raw(offer.size_in_pages).map_err(failed)?;
                current = Some((offer.clone(), map));
            }
            Item::Pages(sent) => {
                let (offer, map) = current.as_ref().expect("the order was checked");
                for (number, image) in sent.iter() {
                    map.write_raw(number, image, offer.at).map_err(failed)?;
                }
            }
            Item::Whole(_) => {
                let (offer, map) = current.take().expect("the order was checked");
                let (found, _) = map.checksum_at();
                if known(found) != offer.checksum {
                    let (path, name) = (path.to_owned(), offer.name.to_string());
                    let (wanted, found) = (offer.checksum, known(found));
                    return Err(RestoreError::Differs { path, name, wanted, found });
                }
                sync_file(&file_path(data, offer.database)).map_err(failed)?;
                maps::save(&map, backup.head.mark).map_err(failed)?;
                checksums.insert(offer.database, offer.checksum);
            }
            Item::Tail(records) => {
                waiting += records.iter().map(|record| record.bytes().len()).sum::<usize>();
                let last = journal.append_records(records.clone()).map_err(|e| broken(&e))?;
                if waiting > IN_FLIGHT {
                    journal.wait_hardened(last).map_err(|e| broken(&e))?;
                    waiting = 0;
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    journal.flush_and_stop().map_err(|error| broken(&error))?;
    Ok(checksums)
}

/// A standalone server of its own: what it writes from now on bears its own epochs, after those of the backup.
fn control(backup: &BackupInfo, server: ServerId, checksums: BTreeMap<DatabaseId, u64>) -> Control {
    let head = &backup.head;
    let mut durable = Durable::new(server);
    durable.epoch = head.epoch;
    durable.history = head.history.clone();
    durable.history.cut(backup.end);
    let mut control = Control::new(durable);
    let entries = head.databases.iter();
    control.databases = entries.map(|d| CatalogEntry { id: d.id, name: d.name.clone() }).collect();
    control.catalog_lsn = head.catalog_lsn;
    control.next_database = head.next_database;
    control.redo_after = head.mark;
    control.commit_lsn = backup.end;
    control.checksums = checksums;
    control
}
