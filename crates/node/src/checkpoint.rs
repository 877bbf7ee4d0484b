//! Checkpoints of an acting principal: WAL pages go into the database files, redo starts later, the journal shrinks.
//!
//! A page of an event that can still be taken back must never reach a file. So [its newest event is awaited](beside) before
//! a WAL is copied. A mirror checkpoints in [`crate::replay`], where everything that is applied is final already.

mod beside;

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

pub(crate) use beside::{copy_pass, is_worth_another, still};
use counterpart_core::{DatabaseId, Lsn, record::Draft};
use counterpart_engine::{FoldError, RepairOutcome, SqlError};
use counterpart_journal::{AppendError, ControlError, crash_point};
use tokio::{sync::Notify, task::spawn_blocking, time::sleep};

use crate::{clock, databases::Hosted, maps, refusal::Refusal, settings::Settings, shared::Shared};

/// How often it is looked whether a checkpoint is due. The rate of writing bounds the overshoot.
const LOOK: Duration = Duration::from_millis(250);

/// A checkpoint follows at least this often while anything is dirty.
pub(crate) const AT_LEAST: Duration = Duration::from_secs(60);

/// A checkpoint is due after so many times as many bytes of pages as of journal.
const PAGES_PER_JOURNAL: u64 = 4;

/// Why a checkpoint was not finished. Nothing is lost: redo starts where it did before.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The mark was not written.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// SQLite could not copy or sync.
    #[error("database {database}: {cause}")]
    Sqlite {
        /// The database's name.
        database: String,
        /// What SQLite says.
        cause: SqlError,
    },
    /// What was copied is not what was committed.
    #[error("database {database}: {cause}")]
    Differs {
        /// The database's name.
        database: String,
        /// Which pages.
        cause: FoldError,
    },
    /// The page map could not be saved.
    #[error("the page map of database {database} can't be saved: {cause}")]
    Map {
        /// The database's name.
        database: String,
        /// What the system says.
        cause: io::Error,
    },
    /// The control file was not written.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The events in the WAL did not become final.
    #[error("{0}")]
    NotFinal(Refusal),
}

/// Why a mark was not written.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// The journal takes no more.
    #[error("the mark was not written: {0}")]
    Append(#[from] AppendError),
    /// Nothing may be journaled now: the server is handing over, starting, or no principal any more.
    #[error("no mark is written while writes are not admitted")]
    NotAdmitted,
}

/// Checkpoints whenever enough was journaled or the WALs have grown enough, until the era ends.
///
/// A checkpoint that runs when the era ends is not broken off: SQLite copies on in its thread, and nobody may write
/// beside it. Whoever steps down ends all confirming and waits for the permits, so it does not last.
pub async fn keep_checkpointing(shared: Arc<Shared>, stop: Arc<Notify>) {
    let grown_to = || (shared.appended_bytes(), shared.captured_bytes());
    let (mut before, mut checked_at) = (grown_to(), clock::uptime());
    loop {
        tokio::select! {
            () = stop.notified() => return,
            () = sleep(LOOK) => {}
        }
        let grown = (grown_to().0 - before.0, grown_to().1 - before.1);
        let dirty = shared.databases.all().iter().any(|hosted| hosted.is_dirty());
        let busy = is_enough(&shared.settings, grown);
        let due = busy
            || shared.databases.resting.is_crowded()
            || (dirty && clock::uptime().saturating_sub(checked_at) >= AT_LEAST);
        if !due || !shared.admission.is_open() {
            continue;
        }
        (before, checked_at) = (grown_to(), clock::uptime());
        let outcome = checkpoint(&shared, busy).await;
        shared.figures.checkpoint(clock::uptime().saturating_sub(checked_at));
        report(&shared, outcome);
        shared.databases.resting.look();
    }
}

/// Whether so many bytes of journal, or of pages in WALs, are worth a checkpoint. Deltas take little journal, and the WAL has
/// whole pages; but each checkpoint makes the next change of every page an image.
pub(crate) fn is_enough(settings: &Settings, (journal, pages): (u64, u64)) -> bool {
    let enough = settings.checkpoint_bytes;
    journal >= enough || pages / PAGES_PER_JOURNAL >= enough
}

fn report(shared: &Shared, outcome: Result<Option<Lsn>, CheckpointError>) {
    match outcome {
        Ok(Some(mark)) => tracing::debug!(%mark, "checkpoint complete"),
        Ok(None) => tracing::debug!("checkpoint incomplete: a reader holds a snapshot"),
        Err(error) if error.is_full() => {
            tracing::warn!(%error, "the disk is full: this checkpoint is left to the next one");
        }
        Err(
            error @ (CheckpointError::Sqlite { .. }
            | CheckpointError::Differs { .. }
            | CheckpointError::Map { .. }
            | CheckpointError::Control(_)),
        ) => {
            // After a failed sync nothing is known about a file, and a second one that succeeds proves nothing.
            tracing::error!(%error, "checkpoint failed");
            shared.poison(&error.to_string());
        }
        Err(error) => tracing::warn!(%error, "checkpoint not finished"),
    }
}

impl CheckpointError {
    fn sqlite(hosted: &Hosted, cause: SqlError) -> CheckpointError {
        CheckpointError::Sqlite { database: hosted.name.to_string(), cause }
    }

    /// Whether it failed for want of space, before anything was synced: the WAL still has everything, and the next
    /// checkpoint copies it again.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            CheckpointError::Sqlite { cause, .. } => cause.code == "SQLITE_FULL",
            CheckpointError::Map { cause, .. } => counterpart_journal::disk::is_full(cause),
            _ => false,
        }
    }
}

/// One checkpoint of all databases. Returns the mark that redo starts at from now on, or nothing if a reader's
/// snapshot kept some WAL from being copied. While nobody is `busy`, WALs give back their memory.
///
/// # Errors
/// Why it was not finished.
pub async fn checkpoint(shared: &Arc<Shared>, busy: bool) -> Result<Option<Lsn>, CheckpointError> {
    // A database that comes or goes meanwhile would be missed, and redo starts after it.
    let _changes = shared.databases.changes.lock().await;
    // As of now: a server that stops takes all of them out while this goes on, and what is not there looks complete.
    let (all, well) = (shared.databases.all(), shared.databases.quarantine.is_empty());
    let mark = write_mark(shared).await?;
    crash_point("checkpoint.marked");
    let mut complete = true;
    for hosted in &all {
        if hosted.is_dirty() {
            complete &= beside::copy(shared, hosted, busy).await?;
        }
    }
    // Redo must not begin after events that a damaged database lacks.
    if !complete || !well || all.iter().any(|hosted| hosted.is_retired()) {
        return Ok(None);
    }
    shared.confirmations.wait(mark).await.map_err(CheckpointError::NotFinal)?;
    let advancing = Arc::clone(shared);
    let advanced = spawn_blocking(move || advance_redo(&advancing, mark)).await;
    advanced.expect("writing the control file does not panic")?;
    Ok(Some(mark))
}

/// Writes a mark, with no commit under way: it falls into no run of chunks, and what is encoded later knows of it.
///
/// # Errors
/// [`MarkError`].
pub async fn write_mark(shared: &Arc<Shared>) -> Result<Lsn, MarkError> {
    let marking = Arc::clone(shared);
    let marked = spawn_blocking(move || {
        let none = marking.runs.none();
        // Whoever drains shuts the door first and then waits for `none`, so nothing follows what it drained.
        if !marking.admission.admits_marks() {
            return Err(MarkError::NotAdmitted);
        }
        let mark = marking.append(Draft::mark(clock::unix_now()))?;
        none.marked(mark);
        Ok(mark)
    });
    marked.await.expect("appending does not panic")
}

/// Copies a database's WAL into its file, beside which nobody writes, and saves the map of that. Whether all was copied.
/// A WAL that nobody is `busy` with gives back what it takes.
///
/// # Errors
/// Why not. After an error of a sync nothing is known about the files: never try again, recover.
pub fn copy_wal(hosted: &Hosted, newest: Lsn, busy: bool) -> Result<bool, CheckpointError> {
    let complete = copy_all(hosted)?;
    if complete {
        harden(hosted, newest)?;
        hosted.note_clean();
        if !busy {
            empty_wal(hosted)?;
        }
    }
    Ok(complete)
}

/// Copies what is in the WAL into the file; whether that was all. Nobody may write meanwhile.
fn copy_all(hosted: &Hosted) -> Result<bool, CheckpointError> {
    match hosted.engine.copy_rest() {
        Ok(checkpoint) => Ok(checkpoint.complete),
        Err(counterpart_engine::CheckpointError::Differs(cause)) => {
            tracing::error!(database = %hosted.name, %cause, "pages were damaged on their way through the WAL");
            if repair(hosted, &cause) {
                return Ok(true);
            }
            Err(CheckpointError::Differs { database: hosted.name.to_string(), cause })
        }
        Err(counterpart_engine::CheckpointError::Sqlite(cause)) => {
            Err(CheckpointError::sqlite(hosted, cause))
        }
    }
}

/// Lets a WAL that was copied give back what it takes; a reader may keep it from that. Nobody may write meanwhile.
///
/// # Errors
/// What SQLite says.
fn empty_wal(hosted: &Hosted) -> Result<(), CheckpointError> {
    let emptied = hosted.engine.truncate_wal().map_err(SqlError::from);
    emptied.map(drop).map_err(|cause| CheckpointError::sqlite(hosted, cause))
}

/// Makes durable what was copied, and that the file holds everything up to `newest`.
fn harden(hosted: &Hosted, newest: Lsn) -> Result<(), CheckpointError> {
    hosted.engine.sync().map_err(|cause| CheckpointError::sqlite(hosted, cause))?;
    crash_point("checkpoint.wal_copied");
    if let Some(map) = hosted.engine.map() {
        let database = || hosted.name.to_string();
        maps::save(map, newest)
            .map_err(|cause| CheckpointError::Map { database: database(), cause })?;
    }
    crash_point("checkpoint.map_saved");
    Ok(())
}

/// Repairs the pages that a checkpoint wrote wrongly, from a partner; whether all are good again. If not, a restart
/// redoes them from the journal.
fn repair(hosted: &Hosted, cause: &FoldError) -> bool {
    let Some(map) = hosted.engine.map() else { return false };
    cause.pages.iter().all(|page| match map.scrub(*page, 1) {
        Ok(step) => step.bad.into_iter().all(|bad| map.heal(bad) == RepairOutcome::Repaired),
        Err(error) => {
            tracing::error!(database = %hosted.name, %page, %error, "a page can't be read back");
            false
        }
    })
}

/// Writes down that everything up to `lsn` is final, before a file may show it: a server that recovers must not take
/// what its files show for something that can be taken back.
///
/// # Errors
/// What the control file says.
pub fn note_final(shared: &Shared, lsn: Lsn) -> Result<(), ControlError> {
    shared.control.update(|control| control.commit_lsn = control.commit_lsn.max(lsn))
}

/// Redo starts after `mark` from now on, durably; the journal may drop what is older.
///
/// # Errors
/// What the control file says.
pub fn advance_redo(shared: &Shared, mark: Lsn) -> Result<(), ControlError> {
    let commit = shared.confirmations.commit_lsn();
    let checksums = file_checksums(shared);
    // Redo does not meet these any more; their files go at the next start.
    let drops = shared.databases.drops_up_to(mark);
    crash_point("checkpoint.before_control");
    shared.control.update(|control| {
        drops.iter().for_each(|&(id, lsn)| control.note_dropped(id, lsn));
        control.redo_after = control.redo_after.max(mark);
        control.commit_lsn = control.commit_lsn.max(commit);
        control.checksums = checksums;
    })?;
    crash_point("checkpoint.after_control");
    drops.iter().for_each(|&(id, _)| shared.databases.drop_is_noted(id));
    shared.inputs.redo_advanced();
    Ok(())
}

/// The checksum of what each database's file holds, where it is known.
pub fn file_checksums(shared: &Shared) -> BTreeMap<DatabaseId, u64> {
    let all = shared.databases.all().into_iter();
    all.filter_map(|hosted| Some((hosted.id, hosted.engine.map()?.file_checksum())))
        .filter(|(_, checksum)| *checksum != 0)
        .collect()
}
