//! Databases that nobody has used for the longest time rest, so that memory and open files do not grow with their number.
//!
//! A database that rests is served like any other: it wakes for whoever asks, and everything about it (its page map, what is
//! final, who may write) stays known. It must never be closed under anybody: not with a writer, a reader, an applier, or a
//! WAL that holds what its file does not.

use std::sync::{
    Arc, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tokio::{sync::Notify, task::spawn_blocking};

use crate::{databases::Hosted, shared::Shared};

/// What is known of how many databases are awake.
#[derive(Debug, Default)]
pub(crate) struct Resting {
    looked_for: Notify,
    crowded: AtomicBool,
}

impl Resting {
    /// One has woken, or may rest now.
    pub(crate) fn look(&self) {
        self.looked_for.notify_one();
    }

    /// Whether more than twice as many are awake as should be: they wait for a checkpoint.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.load(Relaxed)
    }
}

/// Lets databases rest whenever too many are awake.
pub(crate) async fn keep_resting(shared: Arc<Shared>) {
    loop {
        shared.databases.resting.looked_for.notified().await;
        let looking = Arc::clone(&shared);
        let looked = spawn_blocking(move || {
            let applying = looking.applying.lock().unwrap_or_else(PoisonError::into_inner);
            relieve(&looking, &applying);
        });
        if let Err(panicked) = looked.await {
            tracing::error!(%panicked, "letting databases rest");
        }
    }
}

/// Lets those rest that were not used for the longest time, if more are awake than should be. Those that can't rest yet give
/// back the connections that nobody uses.
pub(crate) fn relieve(shared: &Shared, applying: &MutexGuard<'_, ()>) {
    let most = shared.settings.open_databases.max(1);
    let mut awake = shared.databases.all();
    awake.retain(|hosted| hosted.engine.is_awake());
    let mut count = awake.len();
    if count > most {
        awake.sort_by_cached_key(|hosted| hosted.last_use());
        // Some more than needed: the next one that wakes need not look again.
        let oldest = count - most + most / 16;
        count -= awake.iter().take(oldest).filter(|hosted| rest(shared, hosted, applying)).count();
    }
    shared.databases.resting.crowded.store(count > 2 * most, Relaxed);
}

/// Lets a database rest, if it can. Nobody applies meanwhile.
pub(crate) fn rest(shared: &Shared, hosted: &Arc<Hosted>, _applying: &MutexGuard<'_, ()>) -> bool {
    hosted.engine.close_idle();
    // Whoever copies has said that the file holds everything, and makes it durable now.
    let Ok(_copying) = hosted.copying.try_acquire() else { return false };
    let Ok(_permit) = hosted.permit.try_acquire() else { return false };
    if hosted.is_dirty() || shared.databases.quarantine.get(hosted.id).is_some() {
        return false;
    }
    hosted.engine.rest().unwrap_or_else(|error| {
        tracing::warn!(database = %hosted.name, %error, "a database could not be let rest");
        false
    })
}
