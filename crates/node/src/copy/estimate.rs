//! What it would cost to bring a mirror level by its journal, or by the pages that changed.

use std::sync::Arc;

use counterpart_core::{
    Lsn,
    session::{Event, LinkId},
};
use counterpart_engine::DatabaseMap;
use tokio::task::spawn_blocking;

use crate::shared::Shared;

/// Pages shrink on the way to about one part in so many.
const SHRINK: u64 = 2;

/// Answers `Estimated`.
pub(crate) fn start(shared: &Arc<Shared>, link: LinkId, after: Lsn, base: Lsn) {
    let shared = Arc::clone(shared);
    spawn_blocking(move || {
        let journal_bytes = shared.journal.bytes_after(after);
        let page_bytes = pages_since(&shared, base);
        shared.inputs.event(Event::Estimated { link, journal_bytes, page_bytes });
    });
}

/// The bytes of all pages that may have changed after `base`. The journal from a new mark on is next to nothing.
fn pages_since(shared: &Shared, base: Lsn) -> u64 {
    let of = |map: Arc<DatabaseMap>| {
        let live = map.live_snapshot();
        let pages = live.newer_than(base).count() + live.unknown().count();
        pages as u64 * live.page_size().bytes() as u64 / SHRINK
    };
    let all = shared.databases.all();
    all.iter().filter_map(|hosted| DatabaseMap::of(hosted.engine.path())).map(of).sum()
}
