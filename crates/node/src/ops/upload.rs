//! Backup files that a mirror-to-be is given before it joins: they become a spool, with which the principal's databases
//! are compared, so that only what differs is sent.
//!
//! Nothing in them is trusted for more than its content: what the principal does not have alike is sent by it. A
//! damaged backup is refused by name before anything is changed.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    sync::{Arc, MutexGuard},
};

use counterpart_core::{
    DatabaseId, DatabaseName, EpochHistory, Lsn, PageNo, PageSize, SessionId,
    copy::{Head, Item, Offer, SentPages, Whole, pages_per_frame},
    message::Role,
    session::Event,
};
use counterpart_engine::import_check;

use super::{
    create::{failed, in_background},
    restore::{read, verify_backup},
    roll::{WORTH_IT, roll_forward},
};
use crate::{
    clock,
    copy::spool::{Spool, SpoolError},
    refusal::Refusal,
    shared::Shared,
};

/// Takes a staged file, which is gone afterwards, into the spool. `name` is what the operator called it.
pub(crate) async fn take(
    shared: &Arc<Shared>,
    name: String,
    staged: PathBuf,
) -> Result<(), Refusal> {
    let taking = Arc::clone(shared);
    let path = staged.clone();
    let taken = in_background("taking the backup", move || take_file(&taking, &name, &path)).await;
    if let Err(error) = std::fs::remove_file(&staged) {
        tracing::warn!(file = %staged.display(), %error, "an upload could not be deleted");
    }
    taken?;
    shared.inputs.event(Event::SpoolFound);
    Ok(())
}

fn take_file(shared: &Shared, name: &str, path: &Path) -> Result<(), Refusal> {
    let mut start = [0; 16];
    let unreadable = |e: std::io::Error| failed("the backup can't be read", e);
    let read =
        File::open(path).and_then(|file| file.take(16).read(&mut start)).map_err(unreadable)?;
    if start[..read] == *b"SQLite format 3\0" {
        return take_database(shared, name, path);
    }
    // All of it, before anything is changed.
    let backup = verify_backup(path, &mut |_| ()).map_err(|e| damaged(name, &e.why()))?;
    let mut to = Spooling::open(shared, name)?;
    let free = counterpart_journal::free_bytes(&shared.settings.data).unwrap_or(0);
    // Without the room for it, more is sent; nothing else changes.
    if backup.behind >= WORTH_IT && free >= backup.bytes.saturating_mul(2) {
        roll_forward(&mut to, path, &path.with_extension("rolled"))?;
    } else {
        spool_as_it_is(&mut to, path)?;
    }
    to.sync()
}

/// Where an upload goes, and what it is called. Nobody else writes to the spool meanwhile, neither another upload nor a
/// receiver.
pub(super) struct Spooling<'a> {
    spool: Spool,
    pub(super) name: &'a str,
    _turn: MutexGuard<'a, ()>,
}

/// Backup files are for a server that has no partners yet.
pub(crate) fn refuse_partners(shared: &Shared) -> Result<(), Refusal> {
    match shared.control.read().session.role {
        Role::Standalone => Ok(()),
        _ => Err(Refusal::new(
            "WRONG_ROLE",
            "this server mirrors already, or is mirrored",
            "give backup files to a server that is to become a mirror",
        )),
    }
}

impl<'a> Spooling<'a> {
    fn open(shared: &'a Shared, name: &'a str) -> Result<Spooling<'a>, Refusal> {
        let turn = shared.seeding.lock().expect("a receiver does not panic with the lock");
        // An upload takes long, and this server may have joined since it began: the spool is the receiver's then.
        refuse_partners(shared)?;
        let spool = Spool::open(&shared.settings.data).map_err(unkept)?;
        Ok(Spooling { spool, name, _turn: turn })
    }

    pub(super) fn append(&mut self, item: &Item) -> Result<(), Refusal> {
        self.spool.append_item(item).map_err(unkept)
    }

    fn sync(&self) -> Result<(), Refusal> {
        self.spool.sync().map_err(unkept)
    }
}

fn unkept(error: SpoolError) -> Refusal {
    failed("the backup can't be kept", error)
}

/// The databases as the backup's pages show them. The journal in it is of no use here: the principal sends its own.
fn spool_as_it_is(to: &mut Spooling<'_>, path: &Path) -> Result<(), Refusal> {
    let mut refused = None;
    let outcome = read(path, &mut |_| (), &mut |item| {
        if refused.is_none() && !matches!(item, Item::Tail(_) | Item::End(_)) {
            refused = to.append(item).err();
        }
        Ok(())
    });
    outcome.map_err(|error| damaged(to.name, &error.why()))?;
    refused.map_or(Ok(()), Err)
}

/// A plain SQLite file, called like the database that it is an older state of.
fn take_database(shared: &Shared, name: &str, path: &Path) -> Result<(), Refusal> {
    let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let database: DatabaseName =
        stem.parse().map_err(|e: counterpart_core::DatabaseNameError| {
            Refusal::new(
                "INVALID_DATABASE_NAME",
                format!("{name} is not called like a database: {e}"),
                "call the file NAME.db, with the name of the database that it is a copy of",
            )
        })?;
    let info = import_check(path, |_, _| ()).map_err(|e| damaged(name, &e.to_string()))?;
    let mut to = Spooling::open(shared, name)?;
    let id = DatabaseId(u32::MAX);
    to.append(&Item::Head(Box::new(nobodys_head(shared))))?;
    let (page_size, size_in_pages) = (info.page_size, info.size_in_pages);
    to.append(&Item::Offer(Offer {
        database: id,
        name: database,
        page_size,
        size_in_pages,
        at: Lsn::ZERO,
        checksum: 0,
        ranges: Vec::new(),
    }))?;
    let pages = spool_file(&mut to, id, path, page_size, size_in_pages)?;
    to.append(&Item::Whole(Whole { database: id, pages }))?;
    to.sync()
}

/// Spools all pages of a file but the lock page; how many they are.
pub(super) fn spool_file(
    to: &mut Spooling<'_>,
    database: DatabaseId,
    path: &Path,
    page_size: PageSize,
    size_in_pages: u32,
) -> Result<u32, Refusal> {
    let name = to.name;
    let unreadable = |e: std::io::Error| failed(&format!("{name} can't be read"), e);
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable)?);
    let size = page_size.bytes();
    let (mut numbers, mut bytes, mut pages) = (Vec::new(), Vec::new(), 0);
    for number in 1..=size_in_pages {
        let from = bytes.len();
        bytes.resize(from + size, 0);
        file.read_exact(&mut bytes[from..]).map_err(unreadable)?;
        if PageNo(number) == page_size.lock_page() {
            bytes.truncate(from);
        } else {
            numbers.push(PageNo(number));
        }
        let full = numbers.len() == pages_per_frame(page_size);
        if !numbers.is_empty() && (full || number == size_in_pages) {
            pages += u32::try_from(numbers.len()).expect("as many as fit a frame");
            let numbers = std::mem::take(&mut numbers);
            let bytes = std::mem::take(&mut bytes).into();
            to.append(&Item::Pages(SentPages { database, page_size, numbers, bytes }))?;
        }
    }
    Ok(pages)
}

/// What a file without a head is a copy of: nobody's journal, at no position.
fn nobodys_head(shared: &Shared) -> Head {
    Head {
        build: env!("CARGO_PKG_VERSION").to_owned(),
        server: shared.control.read().session.server,
        session: SessionId(0),
        epoch: counterpart_core::Epoch::default(),
        history: EpochHistory::default(),
        made_at: clock::unix_now(),
        mark: Lsn::ZERO,
        catalog_lsn: Lsn::ZERO,
        next_database: DatabaseId(1),
        databases: Vec::new(),
    }
}

pub(super) fn damaged(name: &str, why: &str) -> Refusal {
    Refusal::new(
        "BACKUP_DAMAGED",
        format!("{name} can't be used: {why}"),
        "give another backup, or none; nothing was changed",
    )
}
