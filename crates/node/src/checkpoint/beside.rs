//! One database's WAL goes into its file while others write on.
//!
//! SQLite copies what is in the WAL when it begins to, so whoever writes waits only until it begins. What they have written
//! by the end is little, and the same again gives less. Only for the last few pages is the permit held to the end:
//! with nothing left in the WAL, the next write begins it anew. What takes a disk's time, making all that durable, is
//! beside them again.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use super::{CheckpointError, copy_all, empty_wal, harden, note_final};
use crate::{clock, databases::Hosted, shared::Shared};

/// Frames that may be left for the time in which the permit is held: SQLite copies so many in a millisecond or two.
const FEW: u32 = 256;

/// How long commits have the disk and the processor for themselves after each step.
const PAUSE: Duration = Duration::from_millis(2);

/// Whoever writes faster than SQLite copies must not keep a checkpoint for ever.
const PASSES: u32 = 8;

/// Copies the WAL, which begins anew then, and makes the file durable; whether it holds everything. If not, a reader pins
/// the WAL, or the database is gone. A WAL that nobody is `busy` with gives back what it takes.
pub(super) async fn copy(
    shared: &Arc<Shared>,
    hosted: &Arc<Hosted>,
    busy: bool,
) -> Result<bool, CheckpointError> {
    Ok(copy_most(shared, hosted).await? && copy_rest(shared, hosted, busy).await?)
}

/// Copies nearly everything that is in the WAL. `false` if a reader pins it, or the database is gone.
async fn copy_most(shared: &Arc<Shared>, hosted: &Arc<Hosted>) -> Result<bool, CheckpointError> {
    let mut before = 0;
    for pass in 0..PASSES {
        // Not again: what is written in a pause has to be copied, too.
        let pauses = pass == 0;
        let Some(copied) = copy_once(shared, hosted, pauses).await? else { return Ok(false) };
        if !is_worth_another(before, copied) {
            break;
        }
        before = copied;
    }
    Ok(true)
}

/// Whether what writers left meanwhile is worth another pass, after one that brought the frames in the file from `before` to
/// `copied`.
pub(crate) fn is_worth_another(before: u32, copied: u32) -> bool {
    copied.saturating_sub(before) > FEW
}

/// Copies what is in the WAL now, with or without pauses; how many frames of it are in the file. Nothing if a reader pins it,
/// or the database is gone.
async fn copy_once(
    shared: &Arc<Shared>,
    hosted: &Arc<Hosted>,
    pauses: bool,
) -> Result<Option<u32>, CheckpointError> {
    let Some((copying, permit)) = both(hosted).await else { return Ok(None) };
    let (shared, hosted) = (Arc::clone(shared), Arc::clone(hosted));
    let copied = spawn_blocking(move || {
        let _copying = copying;
        let newest = hosted.visibility.last();
        let admitting = Arc::clone(&shared);
        let begun = move || {
            drop(permit);
            shared.confirmations.wait_blocking(newest).map_err(CheckpointError::NotFinal)?;
            Ok(note_final(&shared, newest)?)
        };
        // Whoever steps down waits for the end of this.
        copy_pass(&hosted, begun, move || pauses && admitting.admission.is_open())
    });
    copied.await.expect("SQLite does not panic")
}

/// Copies what is in the WAL now; how many frames of it are in the file, or nothing if a reader pins it. Just before the first
/// page reaches the file, `begun` says whether it may. There are pauses between steps as long as it `may_pause`.
///
/// # Errors
/// What `begun` says, or SQLite.
pub(crate) fn copy_pass(
    hosted: &Hosted,
    begun: impl FnOnce() -> Result<(), CheckpointError> + 'static,
    may_pause: impl Fn() -> bool + 'static,
) -> Result<Option<u32>, CheckpointError> {
    let why_not = Arc::new(Mutex::new(None));
    let told = Arc::clone(&why_not);
    let begun = move || {
        let why_not = begun().err();
        let goes_on = why_not.is_none();
        *told.lock().unwrap_or_else(PoisonError::into_inner) = why_not;
        goes_on
    };
    let between = move || {
        if may_pause() {
            clock::pause(PAUSE);
        }
    };
    let copied = hosted.engine.copy_beside_writers(begun, between);
    if let Some(why_not) = why_not.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(why_not);
    }
    let copied = copied.map_err(|cause| CheckpointError::sqlite(hosted, cause))?;
    Ok(copied.complete.then_some(copied.copied_frames))
}

/// Copies what is left in the WAL, and makes the file durable.
async fn copy_rest(
    shared: &Arc<Shared>,
    hosted: &Arc<Hosted>,
    busy: bool,
) -> Result<bool, CheckpointError> {
    let Some((copying, permit)) = both(hosted).await else { return Ok(false) };
    let newest = hosted.visibility.last();
    shared.confirmations.wait(newest).await.map_err(CheckpointError::NotFinal)?;
    let (shared, hosted) = (Arc::clone(shared), Arc::clone(hosted));
    let copied = spawn_blocking(move || {
        // Both are the thread's own: it copies on whatever becomes of the task that waits for it.
        let _copying = copying;
        note_final(&shared, newest)?;
        if !copy_all(&hosted)? {
            return Ok(false);
        }
        hosted.note_clean();
        if !busy {
            empty_wal(&hosted)?;
        }
        drop(permit);
        // Redo begins where it did, so nothing depends on the file yet; but the next checkpoint must not pass it over.
        harden(&hosted, newest).inspect_err(|_| hosted.note_dirty())?;
        Ok(true)
    });
    copied.await.expect("SQLite does not panic")
}

/// The right to copy a database's WAL, and the permit. Nothing if the database is gone.
async fn both(hosted: &Hosted) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
    let take = |semaphore: &Arc<Semaphore>| Arc::clone(semaphore).acquire_owned();
    let copying = take(&hosted.copying).await.ok()?;
    Some((copying, take(&hosted.permit).await.ok()?))
}

/// Waits until nobody copies the WAL of any database. Whoever would begin to needs that its events become final.
pub(crate) async fn still(shared: &Shared) {
    for hosted in shared.databases.all() {
        drop(hosted.copying.acquire().await);
    }
}
