//! A backup with much journal behind its pages: what the journal did to them is redone first, so that the comparison
//! finds only what is newer than the backup's end.
//!
//! Redone into files beside the upload, which are gone afterwards. Nothing of it need be right: the principal's pages are
//! compared by content. So what the journal created or dropped is left to the comparison.

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use counterpart_core::{
    DatabaseId, PageNo,
    copy::{Item, Offer, Whole},
    record::{Kind, Record},
};
use counterpart_engine::RedoFile;

use super::upload::{Spooling, damaged, spool_file};
use crate::{
    ops::{create::failed, restore::read},
    refusal::Refusal,
};

/// Redoing less than this costs more than sending the pages does.
pub(super) const WORTH_IT: u64 = 1 << 20;

/// A database on its way.
struct Rolled {
    offer: Offer,
    path: PathBuf,
    file: File,
    redo: Option<RedoFile>,
}

/// Spools the databases of a verified backup as they are at its end. `directory` is made, and gone afterwards.
pub(super) fn roll_forward(
    to: &mut Spooling<'_>,
    backup: &Path,
    directory: &Path,
) -> Result<(), Refusal> {
    let kept = |e: std::io::Error| failed("the backup can't be rolled forward", e);
    std::fs::create_dir_all(directory).map_err(kept)?;
    let rolled = roll(to, backup, directory);
    if let Err(error) = std::fs::remove_dir_all(directory) {
        tracing::warn!(directory = %directory.display(), %error, "a directory of an upload could not be deleted");
    }
    rolled
}

fn roll(to: &mut Spooling<'_>, backup: &Path, directory: &Path) -> Result<(), Refusal> {
    let mut all: BTreeMap<DatabaseId, Rolled> = BTreeMap::new();
    let mut refused = None;
    // A refusal ends what is done with the items; the file itself was verified before.
    let outcome = read(backup, &mut |_| (), &mut |item| {
        if refused.is_none() {
            refused = take(to, &mut all, directory, item).err();
        }
        Ok(())
    });
    outcome.map_err(|error| damaged(to.name, &error.why()))?;
    refused.map_or(Ok(()), Err)?;
    all.into_values().try_for_each(|rolled| spool(to, rolled))
}

fn take(
    to: &mut Spooling<'_>,
    all: &mut BTreeMap<DatabaseId, Rolled>,
    directory: &Path,
    item: &Item,
) -> Result<(), Refusal> {
    let kept = |e: std::io::Error| failed("the backup can't be rolled forward", e);
    match item {
        Item::Head(_) => to.append(item),
        Item::Offer(offer) => {
            let path = directory.join(format!("{}.db", offer.database.0));
            let file = File::options().create_new(true).read(true).write(true).open(&path);
            let file = file.map_err(kept)?;
            let length = u64::from(offer.size_in_pages) * offer.page_size.bytes() as u64;
            file.set_len(length).map_err(kept)?;
            let (offer, redo) = (offer.clone(), None);
            all.insert(offer.database, Rolled { offer, path, file, redo });
            Ok(())
        }
        Item::Pages(sent) => {
            let rolled = all.get(&sent.database).expect("the order was checked");
            sent.iter().try_for_each(|(PageNo(number), image)| {
                rolled
                    .file
                    .write_all_at(image, u64::from(number - 1) * image.len() as u64)
                    .map_err(kept)
            })
        }
        Item::Tail(records) => records.iter().try_for_each(|record| redo(to.name, all, record)),
        _ => Ok(()),
    }
}

fn redo(
    backup: &str,
    all: &mut BTreeMap<DatabaseId, Rolled>,
    record: &Record,
) -> Result<(), Refusal> {
    let header = record.header();
    let Some(rolled) = all.get_mut(&header.database) else { return Ok(()) };
    // What the pages show already is redone, too: there may be a transaction in chunks that began before and ends later.
    if !matches!(header.kind, Kind::Chunk | Kind::Transaction | Kind::CreateDatabase) {
        return Ok(());
    }
    let redo = match &mut rolled.redo {
        Some(redo) => redo,
        None => {
            let opened = RedoFile::open(&rolled.path, rolled.offer.page_size);
            let opened = opened.map_err(|e| failed("the backup can't be rolled forward", e))?;
            rolled.redo.insert(opened)
        }
    };
    redo.push(record).map_err(|error| damaged(backup, &error.to_string()))
}

fn spool(to: &mut Spooling<'_>, rolled: Rolled) -> Result<(), Refusal> {
    let Rolled { mut offer, path, file, redo } = rolled;
    if let Some(redo) = redo {
        redo.finish().map_err(|error| damaged(to.name, &error.to_string()))?;
        // What they were before is not what follows.
        (offer.checksum, offer.ranges) = (0, Vec::new());
    }
    let length = file.metadata().map_err(|e| failed("the backup can't be read", e))?.len();
    let pages = length / offer.page_size.bytes() as u64;
    offer.size_in_pages =
        u32::try_from(pages).map_err(|_| damaged(to.name, "it has too many pages"))?;
    drop(file);
    let (database, page_size, size) = (offer.database, offer.page_size, offer.size_in_pages);
    to.append(&Item::Offer(offer))?;
    let pages = spool_file(to, database, &path, page_size, size)?;
    to.append(&Item::Whole(Whole { database, pages }))
}

#[cfg(test)]
mod tests {
    use counterpart_core::{
        Epoch, Lsn, PageSize, ServerId, UnixMicros,
        record::{Draft, Stamp, TransactionDraft},
    };

    use super::*;

    /// A backup that a mirror makes within a large transaction shows none of it, although part of it is below where the
    /// pages are as of.
    #[test]
    fn a_transaction_in_chunks_that_began_before_what_the_pages_show_is_redone_whole() {
        let directory = tempfile::tempdir().unwrap();
        let (path, database) = (directory.path().join("1.db"), DatabaseId(1));
        std::fs::write(&path, [0; 4096]).unwrap();
        let file = File::open(&path).unwrap();
        let offer = Offer {
            database,
            name: "it".parse().unwrap(),
            page_size: PageSize::DEFAULT,
            size_in_pages: 1,
            at: Lsn(7),
            checksum: 0,
            ranges: Vec::new(),
        };
        let mut all =
            BTreeMap::from([(database, Rolled { offer, path: path.clone(), file, redo: None })]);
        let mut draft = TransactionDraft::new(database, PageSize::DEFAULT, UnixMicros(1));
        assert!(draft.push_page(PageNo(2), &[2; 4096]).is_none());
        let chunk = draft.cut_early().expect("it has a page");
        assert!(draft.push_page(PageNo(3), &[3; 4096]).is_none());
        let epoch = Epoch { term: 1, start: 1, server: ServerId(1) };
        let at = |lsn, draft: Draft| draft.seal(Stamp { lsn, commit_lsn: Lsn(7), epoch });
        for record in [at(Lsn(7), chunk), at(Lsn(8), draft.finish(3, 0))] {
            redo("it", &mut all, &record).unwrap();
        }
        all.remove(&database).unwrap().redo.expect("it was begun").finish().unwrap();
        let pages = std::fs::read(&path).unwrap();
        assert_eq!((pages[4096], pages[8192], pages.len()), (2, 3, 3 * 4096));
    }
}
