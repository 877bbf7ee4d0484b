//! Care for what is here: damaged pages out of a partner's hands, orphans into files.

use std::sync::Arc;

use bytes::Bytes;
use counterpart_core::{
    DatabaseId, Lsn, PageNo,
    session::{Action, Event, LinkId},
};
use tokio::task::spawn_blocking;

use super::{Driver, Input, roles::follow};
use crate::{mend, orphans, replay::Replayer, shared::Shared};

impl Driver {
    /// Looks for a page that a partner lacks.
    pub(super) fn provide_page(&self, link: LinkId, database: DatabaseId, page: PageNo, hash: u64) {
        let shared = Arc::clone(&self.shared);
        spawn_blocking(move || {
            let bytes = find_page(&shared, database, page, hash);
            shared.inputs.event(Event::PageProvided { link, database, page, hash, bytes });
        });
    }

    /// Looks for records that a partner lacks.
    pub(super) fn provide_records(&self, link: LinkId, first: Lsn, last: Lsn) {
        let shared = Arc::clone(&self.shared);
        spawn_blocking(move || {
            let bytes = mend::find_records(&shared, first, last);
            shared.inputs.event(Event::RecordsProvided { link, first, last, bytes });
        });
    }

    /// Saves orphans while nobody applies anything.
    pub(super) fn save_orphans(&mut self, common: Lsn, end: Lsn) {
        let (shared, replayer) = (Arc::clone(&self.shared), self.replayer.take());
        spawn_blocking(move || {
            drop(replayer.map(Replayer::stop));
            let saved = orphans::save(&shared, common, end);
            let event = match saved {
                Ok(_) => Event::OrphansSaved { common, end },
                Err(error) => Event::OrphansFailed(error.to_string()),
            };
            shared.inputs.send(Input::OrphansDone(event));
        });
    }

    /// Saving orphans has ended, well or not; replay goes on.
    pub(super) fn orphans_done(&mut self, event: Event, actions: &mut Vec<Action>) {
        // A change of role or a copy may have begun meanwhile, and has its own.
        let whole = self.shared.control.read().is_whole();
        let busy = self.reloading || self.adopting || self.changing_role().is_some();
        if whole && self.replayer.is_none() && !busy {
            let replayer = self.replayer.insert(follow(&self.shared));
            replayer.set_target(self.apply_goal);
        }
        self.step(event, actions);
    }
}

/// The page with this hash, if this server has it: in its file, or as it is now.
fn find_page(shared: &Shared, database: DatabaseId, page: PageNo, hash: u64) -> Option<Bytes> {
    let hosted = shared.databases.numbered(database)?;
    hosted.engine.find_page(page, hash).unwrap_or_else(|error| {
        tracing::warn!(%database, %page, %error, "a page that a partner lacks can't be read here");
        None
    })
}
