//! Databases come and go as events of the journal, like everything else.
//!
//! The file of a new database stands before its record is written, and belongs to nothing until the record is final.
//! What a crash leaves of either is put right at the next start.

use std::{path::Path, sync::Arc};

use counterpart_core::{
    DatabaseId, DatabaseName, Lsn, PageNo, PageSize,
    map::{known, page_hash},
    record::{Draft, TransactionDraft},
    session::Event,
};
use counterpart_engine::Database;
use counterpart_journal::crash_point;
use tokio::{sync::MutexGuard, task::spawn_blocking, time::timeout};

use crate::{
    clock,
    control::CatalogEntry,
    databases::{Hosted, file_path, not_found},
    refusal::Refusal,
    replay::{forget_database, remove_files},
    shared::Shared,
};

/// Room that the record of an empty database needs in the journal, generously.
const SMALL: u64 = 128 << 10;

/// Something that went wrong on this server while databases were changed.
pub(crate) fn failed(what: &str, cause: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        "STORAGE_FAILED",
        format!("{what}: {cause}"),
        "look into the server's log and after its disk, then try again",
    )
}

/// The database exists already.
pub(crate) fn exists(name: &DatabaseName) -> Refusal {
    Refusal::new(
        "DATABASE_EXISTS",
        format!("there is a database called {name} already"),
        "choose another name, or drop that one first",
    )
}

/// Makes an empty database.
pub(crate) async fn create_database(
    shared: &Arc<Shared>,
    name: &DatabaseName,
) -> Result<Arc<Hosted>, Refusal> {
    let _changes = admitted_changes(shared).await?;
    if shared.databases.exists(name) {
        return Err(exists(name));
    }
    let (making, name) = (Arc::clone(shared), name.clone());
    let (hosted, lsn) =
        in_background("creating the database", move || make_empty(&making, &name)).await?;
    shared.confirmations.wait(lsn).await?;
    Ok(hosted)
}

/// The lock on changes, once writes are admitted. Nobody waits for the door while holding it: a failover that shuts the
/// door needs the lock.
pub(crate) async fn admitted_changes(shared: &Shared) -> Result<MutexGuard<'_, ()>, Refusal> {
    loop {
        shared.admission.pass().await?;
        let changes = shared.databases.changes.lock().await;
        if shared.admission.is_open() {
            return Ok(changes);
        }
    }
}

/// Makes `main` if it is not there, on a server that has just begun to act. Does not wait until it is final.
pub(crate) async fn ensure_main(shared: &Arc<Shared>) -> Result<(), Refusal> {
    let _changes = shared.databases.changes.lock().await;
    // It may exist and be out of use: another one in its place would have it forgotten.
    if shared.databases.exists(&DatabaseName::main()) {
        return Ok(());
    }
    make_main(shared).await
}

/// Makes `main`; the caller holds the lock on changes.
pub(crate) async fn make_main(shared: &Arc<Shared>) -> Result<(), Refusal> {
    let making = Arc::clone(shared);
    in_background("creating main", move || make_empty(&making, &DatabaseName::main())).await?;
    Ok(())
}

/// Runs something that blocks.
pub(crate) async fn in_background<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    spawn_blocking(work).await.unwrap_or_else(|panicked| Err(failed(what, panicked)))
}

fn make_empty(shared: &Arc<Shared>, name: &DatabaseName) -> Result<(Arc<Hosted>, Lsn), Refusal> {
    let id = shared.control.read().next_database;
    let path = file_path(&shared.settings.data, id);
    remove_files(shared, id).map_err(|e| failed("the database can't be made", e))?;
    Database::create_file(&path, PageSize::DEFAULT)
        .map_err(|e| failed("the database can't be made", e))?;
    reserve(shared, SMALL)?;
    crash_point("create.file_made");
    let mut draft = TransactionDraft::new(id, PageSize::DEFAULT, clock::unix_now());
    let image = first_page(&path)?;
    let cut = draft.push_page(PageNo(1), &image);
    assert!(cut.is_none(), "an empty database is one small record");
    let checksum = known(page_hash(PageNo(1), &image));
    enter(shared, id, name, draft.finish_create(name, 1, checksum))
}

/// Makes sure that the journal can take this many bytes of records.
pub(crate) fn reserve(shared: &Shared, bytes: u64) -> Result<(), Refusal> {
    let reserved = shared.journal.reserve(bytes);
    reserved.map_err(|e| Refusal::new("DISK_FULL", e.to_string(), "free some space"))
}

fn first_page(path: &Path) -> Result<Vec<u8>, Refusal> {
    use std::io::Read;
    let mut image = vec![0; PageSize::DEFAULT.bytes()];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut image));
    read.map_err(|e| failed("the new database can't be read", e))?;
    Ok(image)
}

/// Journals the creation that `last` completes, and hosts the database, whose file stands.
pub(crate) fn enter(
    shared: &Arc<Shared>,
    id: DatabaseId,
    name: &DatabaseName,
    last: Draft,
) -> Result<(Arc<Hosted>, Lsn), Refusal> {
    let entry = CatalogEntry { id, name: name.clone() };
    let hosted =
        shared.open_database(&entry).map_err(|e| failed("the new database can't be opened", e))?;
    let lsn = shared.append(last).map_err(|e| failed("the creation can't be journaled", e))?;
    crash_point("create.journaled");
    hosted.visibility.reset(lsn);
    // Its file is whole, but perhaps not on the disk yet: the next checkpoint sees to that.
    hosted.note_change(lsn);
    shared.databases.insert(Arc::clone(&hosted));
    // The catalog must not know of a database that the journal may still lose.
    shared.journal.wait_hardened(lsn).map_err(|e| shared.poison(&e.to_string()))?;
    crash_point("create.hardened");
    shared
        .control
        .update(|control| control.note_created(entry, lsn))
        .map_err(|e| shared.poison(&e.to_string()))?;
    crash_point("create.entered");
    Ok((hosted, lsn))
}

/// Drops a database.
pub(crate) async fn drop_database(
    shared: &Arc<Shared>,
    name: &DatabaseName,
) -> Result<(), Refusal> {
    if *name == DatabaseName::main() {
        return Err(Refusal::new(
            "DATABASE_PROTECTED",
            "the database main is what clients without a name reach, and can't be dropped",
            "drop its tables instead",
        ));
    }
    let _changes = admitted_changes(shared).await?;
    if let Some(hosted) = shared.databases.present(name) {
        return drop_hosted(shared, &hosted).await;
    }
    let ill = shared.databases.quarantine.named(name).ok_or_else(|| not_found(name))?;
    match ill.refusal {
        // A partner may still have all of it.
        Some(refusal) if !shared.is_alone() => Err(refusal),
        _ => {
            journal_drop(shared, ill.entry.id).await?;
            shared.inputs.event(Event::Healed { database: ill.entry.id });
            Ok(())
        }
    }
}

/// Drops a database; the caller holds the lock on changes.
pub(crate) async fn drop_hosted(shared: &Arc<Shared>, hosted: &Arc<Hosted>) -> Result<(), Refusal> {
    // Whoever writes finishes first; nobody begins after it.
    let turn = timeout(shared.settings.permit_wait, Arc::clone(&hosted.permit).acquire_owned());
    let Ok(Ok(_permit)) = turn.await else {
        return Err(Refusal::new(
            "SQLITE_BUSY",
            format!("database {} is being written to and can't be dropped now", hosted.name),
            "try again when its transactions have ended",
        ));
    };
    journal_drop(shared, hosted.id).await
}

/// Drops a database to which nobody writes any more.
async fn journal_drop(shared: &Arc<Shared>, id: DatabaseId) -> Result<(), Refusal> {
    let appending = Arc::clone(shared);
    let lsn = in_background("dropping the database", move || {
        appending
            .append(Draft::drop_database(id, clock::unix_now()))
            .map_err(|e| failed("the drop can't be journaled", e))
    })
    .await?;
    crash_point("drop.journaled");
    shared.databases.note_drop(id, lsn);
    shared.databases.remove(id);
    // Files go only when nothing can take the drop back any more.
    shared.confirmations.wait(lsn).await?;
    let forgetting = Arc::clone(shared);
    in_background("dropping the database", move || {
        forget_database(&forgetting, id, lsn)
            .map_err(|e| failed("the dropped database's files stay", e))
    })
    .await
}
