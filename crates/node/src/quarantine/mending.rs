//! A principal's database that can't be opened because of single damaged pages is mended page by page, as soon as a
//! partner is there that has them, and opened then.
//!
//! A mirror's is not: replay has passed over its records meanwhile, so it needs a copy.

use std::{sync::Arc, time::Duration};

use counterpart_core::{Lsn, session::Event};
use counterpart_engine::{DatabaseMap, RepairOutcome};
use tokio::{task::spawn_blocking, time::sleep};

use super::Ill;
use crate::{
    boot::single::{self, CatchUpError},
    checkpoint,
    shared::Shared,
};

/// How often it is tried while there is something to mend.
const AGAIN: Duration = Duration::from_secs(1);

/// Mends whatever is ill until the server ends.
pub async fn keep_mending(shared: Arc<Shared>) {
    loop {
        sleep(AGAIN).await;
        if !shared.is_acting() || shared.databases.quarantine.is_empty() {
            continue;
        }
        for ill in shared.databases.quarantine.all() {
            let mending = Arc::clone(&shared);
            if let Err(panicked) = spawn_blocking(move || mend(&mending, &ill)).await {
                tracing::error!(%panicked, "mending a database broke down");
            }
        }
    }
}

fn mend(shared: &Arc<Shared>, ill: &Ill) {
    let (id, name) = (ill.entry.id, &ill.entry.name);
    let (Some(map), Some(shows)) = (&ill.map, ill.shows) else { return };
    match repair_all(map) {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            return tracing::warn!(database = %name, %error, "a damaged database can't be read back");
        }
    }
    // Nobody replays, and nobody changes what this server does meanwhile.
    let _applying = shared.applying.lock().expect("replay does not panic with the lock");
    if !shared.is_acting() || shared.databases.quarantine.get(id).is_none() {
        return;
    }
    match catch_up(shared, ill, map, shows) {
        Ok(true) => {}
        // It is tried again when what was passed over is final.
        Ok(false) => return,
        Err(error) => {
            return tracing::warn!(database = %name, %error, "a mended database can't be brought to the newest position");
        }
    }
    match shared.open_database(&ill.entry) {
        Ok(hosted) => {
            hosted.visibility.reset(shared.journal.last());
            hosted.engine.set_read_only(!shared.is_acting());
            shared.databases.insert(hosted);
            shared.databases.quarantine.release(id);
            tracing::warn!(database = %name, "a damaged database is mended and served again");
            shared.inputs.event(Event::Healed { database: id });
        }
        Err(error) => {
            tracing::warn!(database = %name, %error, "a damaged database still can't be opened")
        }
    }
}

/// Redoes what replay has passed over; whether all of that is final, so that it could be done. Nobody has written to it
/// since this server acts.
fn catch_up(
    shared: &Arc<Shared>,
    ill: &Ill,
    map: &Arc<DatabaseMap>,
    shows: Lsn,
) -> Result<bool, CatchUpError> {
    let (id, commit) = (ill.entry.id, shared.confirmations.commit_lsn());
    for record in shared.journal.records_after(commit) {
        if record?.header().database == id {
            return Ok(false);
        }
    }
    checkpoint::note_final(shared, commit)?;
    // From a mark on nothing builds on what the file holds: an attempt that broke off has left it between two positions.
    let after = shows.min(shared.control.read().redo_after);
    single::catch_up(shared, id, map, after, commit)?;
    // Should it not open yet, the next time begins here.
    shared.databases.quarantine.put(Ill { shows: Some(commit), ..ill.clone() });
    Ok(true)
}

/// Repairs every damaged page of a file; whether none is left.
fn repair_all(map: &DatabaseMap) -> std::io::Result<bool> {
    let damaged = map.damaged_pages()?;
    Ok(damaged.into_iter().all(|page| map.heal(page) == RepairOutcome::Repaired))
}
