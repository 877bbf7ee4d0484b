//! A principal's database that can't be opened because of single damaged pages is mended page by page, as soon as a
//! partner is there that has them, and opened then.
//!
//! A mirror's is not: replay has passed over its records meanwhile, so it needs a copy.

use std::{sync::Arc, time::Duration};

use counterpart_core::{PageNo, session::Event};
use counterpart_engine::{DatabaseMap, RepairOutcome};
use tokio::{task::spawn_blocking, time::sleep};

use super::Ill;
use crate::shared::Shared;

/// How often it is tried while there is something to mend.
const AGAIN: Duration = Duration::from_secs(1);

/// Bytes read back at a time.
const STEP: usize = 4 << 20;

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
    let is_open = shared.databases.numbered(id).is_some();
    let Some(map) = ill.map.as_ref().filter(|_| !is_open) else { return };
    match repair_all(map) {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            return tracing::warn!(database = %name, %error, "a damaged database can't be read back");
        }
    }
    let opened = shared.open_database(&ill.entry).and_then(|hosted| {
        let failed = |cause| counterpart_engine::OpenError::Sqlite {
            path: hosted.engine.path().to_owned(),
            cause,
        };
        hosted.engine.rebase_capture().map_err(failed)?;
        Ok(hosted)
    });
    match opened {
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

/// Repairs every damaged page of a file; whether none is left.
fn repair_all(map: &DatabaseMap) -> std::io::Result<bool> {
    let mut next = Some(PageNo(1));
    while let Some(from) = next {
        let step = map.scrub(from, STEP)?;
        for page in step.bad {
            if map.heal(page) != RepairOutcome::Repaired {
                return Ok(false);
            }
        }
        next = step.next;
    }
    Ok(true)
}
