//! Backup files that a mirror-to-be is given before it joins: they become a spool, with which the principal's databases
//! are compared, so that only what differs is sent.
//!
//! Nothing in them is trusted for more than its content: what the principal does not have alike is sent by it. A
//! damaged backup is refused by name before anything is changed.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use counterpart_core::{
    DatabaseId, DatabaseName, EpochHistory, Lsn, PageNo, SessionId,
    copy::{CopyDecoder, Head, Item, Offer, SentPages, Whole, pages_per_frame},
    session::Event,
};
use counterpart_engine::{ImportInfo, import_check};

use super::create::{failed, in_background};
use crate::{
    clock, copy::spool::Spool, ops::restore::verify_backup, refusal::Refusal, shared::Shared,
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
    verify_backup(path, &mut |_| ()).map_err(|e| damaged(name, &e.to_string()))?;
    let spooled = |e| failed("the backup can't be kept", e);
    let mut spool = Spool::open(&shared.settings.data).map_err(spooled)?;
    let mut decoder = CopyDecoder::new();
    let mut file = File::open(path).map_err(unreadable)?;
    let mut piece = vec![0; 1 << 20];
    loop {
        while let Some(item) = decoder.next_item().map_err(|e| damaged(name, &e.to_string()))? {
            // The journal in it is of no use here: the principal sends its own.
            if !matches!(item, Item::Tail(_) | Item::End(_)) {
                spool.append_item(&item).map_err(spooled)?;
            }
        }
        match file.read(&mut piece).map_err(unreadable)? {
            0 => break,
            read => decoder.buffer().extend_from_slice(&piece[..read]),
        }
    }
    spool.sync().map_err(spooled)
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
    let spooled = |e| failed("the backup can't be kept", e);
    let mut spool = Spool::open(&shared.settings.data).map_err(spooled)?;
    let id = DatabaseId(u32::MAX);
    spool.append_item(&Item::Head(Box::new(nobodys_head(shared)))).map_err(spooled)?;
    let offer = Offer {
        database: id,
        name: database,
        page_size: info.page_size,
        size_in_pages: info.size_in_pages,
        at: Lsn::ZERO,
        checksum: 0,
        ranges: Vec::new(),
    };
    spool.append_item(&Item::Offer(offer)).map_err(spooled)?;
    let pages = spool_pages(&mut spool, id, &info, name, path)?;
    spool.append_item(&Item::Whole(Whole { database: id, pages })).map_err(spooled)?;
    spool.sync().map_err(spooled)
}

fn spool_pages(
    spool: &mut Spool,
    id: DatabaseId,
    info: &ImportInfo,
    name: &str,
    path: &Path,
) -> Result<u32, Refusal> {
    let unreadable = |e: std::io::Error| failed(&format!("{name} can't be read"), e);
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable)?);
    let size = info.page_size.bytes();
    let (mut numbers, mut bytes, mut pages) = (Vec::new(), Vec::new(), 0);
    for number in 1..=info.size_in_pages {
        let from = bytes.len();
        bytes.resize(from + size, 0);
        file.read_exact(&mut bytes[from..]).map_err(unreadable)?;
        if PageNo(number) == info.page_size.lock_page() {
            bytes.truncate(from);
        } else {
            numbers.push(PageNo(number));
        }
        let full = numbers.len() == pages_per_frame(info.page_size);
        if !numbers.is_empty() && (full || number == info.size_in_pages) {
            pages += u32::try_from(numbers.len()).expect("as many as fit a frame");
            let numbers = std::mem::take(&mut numbers);
            let bytes = std::mem::take(&mut bytes).into();
            let sent = SentPages { database: id, page_size: info.page_size, numbers, bytes };
            spool
                .append_item(&Item::Pages(sent))
                .map_err(|e| failed("the backup can't be kept", e))?;
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

fn damaged(name: &str, why: &str) -> Refusal {
    Refusal::new(
        "BACKUP_DAMAGED",
        format!("{name} can't be used: {why}"),
        "give another backup, or none; nothing was changed",
    )
}
