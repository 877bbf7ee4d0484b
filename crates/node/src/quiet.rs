//! Before the files of a database are changed beneath SQLite, or opened as another database, SQLite must have let go
//! of them altogether: connections of one process share what they know about a file, and it would be wrong.

use std::{sync::Arc, time::Duration};

use counterpart_engine::DatabaseMap;

use crate::{
    clock,
    control::CatalogEntry,
    databases::{Hosted, file_path, gone},
    refusal::Refusal,
    shared::Shared,
};

/// Statements that cannot be interrupted get this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether all is closed.
const LOOK: Duration = Duration::from_millis(5);

/// Somebody does not let go.
#[derive(Debug, thiserror::Error)]
#[error("a statement on database {0} runs on although it was interrupted")]
pub struct StillOpen(String);

/// Ends whoever uses a database, which nobody new can find any more, and closes it. Blocks.
///
/// # Errors
/// [`StillOpen`].
pub fn close(shared: &Shared, hosted: &Arc<Hosted>) -> Result<(), StillOpen> {
    hosted.retire(&gone());
    hosted.recall();
    hosted.engine.shut();
    let Some(map) = hosted.engine.map() else { return Ok(()) };
    let until = clock::uptime() + PATIENCE;
    while map.open_files() > 0 {
        for (slot, mut held) in shared.transactions.resting() {
            if Arc::ptr_eq(&slot.hosted, hosted) {
                held.expire(Refusal::stream_expired(
                    "the database was replaced by a copy from the partner",
                ));
            }
        }
        for reader in hosted.engine.readers() {
            reader.interrupt();
        }
        if clock::uptime() >= until {
            return Err(StillOpen(hosted.name.to_string()));
        }
        clock::pause(LOOK);
    }
    Ok(())
}

/// Makes sure that nobody has the file of a database open that was closed once: who did not let go in time then may
/// have it open to this day.
///
/// # Errors
/// [`StillOpen`].
pub fn is_closed(shared: &Shared, entry: &CatalogEntry) -> Result<(), StillOpen> {
    let map = DatabaseMap::of(&file_path(&shared.settings.data, entry.id));
    match map {
        Some(map) if map.open_files() > 0 => Err(StillOpen(entry.name.to_string())),
        _ => Ok(()),
    }
}

/// Closes all of them.
///
/// # Errors
/// [`StillOpen`].
pub fn close_all(shared: &Shared, all: &[Arc<Hosted>]) -> Result<(), StillOpen> {
    all.iter().try_for_each(|hosted| close(shared, hosted))
}
