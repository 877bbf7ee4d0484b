//! One database as it is at a known position, for as long as it takes to send it.
//!
//! The moment in which snapshot, page map and position are taken is the only one in which writers wait.

use std::sync::Arc;

use bytes::Bytes;
use counterpart_core::{
    Lsn, PageNo,
    copy::{Offer, PageSet, RANGES_MOST, RangeHashes, Want, differing_pages},
    map::PageMap,
};
use counterpart_engine::{DatabaseMap, SnapshotReader, SqlError};
use tokio::task::{JoinError, spawn_blocking};

use crate::{clock, databases::Hosted, shared::Shared};

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("database {0} can't be read: {1}")]
    Read(String, SqlError),
    #[error("the page map of database {0} is not there yet")]
    NoMap(String),
    #[error("a task panicked: {0}")]
    Panicked(#[from] JoinError),
}

/// See the module's head.
///
/// - `map` describes exactly the pages that `reader` reads.
#[derive(Debug)]
pub(crate) struct Snapshot {
    reader: SnapshotReader,
    map: PageMap,
    /// What is said of it.
    pub offer: Offer,
}

impl Snapshot {
    /// Takes a snapshot at or above `mark`; nothing if the database has been dropped. It may show events that are not
    /// final yet, up to its position.
    pub(crate) async fn take(
        shared: &Arc<Shared>,
        hosted: &Arc<Hosted>,
        mark: Lsn,
    ) -> Result<Option<Snapshot>, SnapshotError> {
        // Who acts writes with the permit; who follows applies under a lock of its own.
        let Ok(permit) = Arc::clone(&hosted.permit).acquire_owned().await else {
            return Ok(None);
        };
        let (shared, hosted) = (Arc::clone(shared), Arc::clone(hosted));
        let taken = spawn_blocking(move || {
            let applying = shared.applying.lock().expect("replay does not panic with the lock");
            let reader = hosted.engine.snapshot(clock::unix_now());
            let map = DatabaseMap::of(hosted.engine.path()).map(|map| map.live_snapshot());
            let newest =
                if shared.is_acting() { hosted.visibility.last() } else { shared.applied() };
            drop((applying, permit));
            let name = hosted.name.to_string();
            let reader = reader.map_err(|error| SnapshotError::Read(name.clone(), error))?;
            let map = map.filter(|map| map.size() == reader.size_in_pages());
            let map = map.ok_or(SnapshotError::NoMap(name))?;
            let offer = describe(&hosted, &map, newest.max(mark));
            Ok(Some(Snapshot { reader, map, offer }))
        });
        taken.await?
    }

    /// Which pages are sent to a receiver that wants this.
    pub(crate) fn choose(&self, want: Want, chosen: &mut PageSet) {
        match want {
            Want::Equal => {}
            Want::All => chosen.add_from(PageNo(1)),
            Want::Since(lsn) => {
                self.map.newer_than(lsn).for_each(|page| chosen.add(page));
                // Of these not even the position is known.
                self.map.unknown().for_each(|page| chosen.add(page));
            }
            Want::Hashes { size_in_pages, ranges } => self.compare(size_in_pages, &ranges, chosen),
        }
    }

    fn compare(&self, size_in_pages: u32, ranges: &[RangeHashes], chosen: &mut PageSet) {
        differing_pages(&hashes(&self.map), ranges, chosen);
        chosen.add_from(PageNo(size_in_pages.saturating_add(1)));
    }

    /// No page of it, for [`choose`](Self::choose) to add to.
    pub(crate) fn no_pages(&self) -> PageSet {
        PageSet::none(self.offer.size_in_pages, self.offer.page_size)
    }

    /// These pages.
    pub(crate) fn read(&mut self, numbers: &[PageNo]) -> Result<Bytes, SnapshotError> {
        let failed = |error| SnapshotError::Read(self.offer.name.to_string(), error);
        self.reader.read(numbers).map_err(failed)
    }
}

/// The hashes of all pages, page 1 first.
pub(crate) fn hashes(map: &PageMap) -> Vec<u64> {
    map.entries().iter().map(|entry| entry.hash).collect()
}

fn describe(hosted: &Hosted, map: &PageMap, at: Lsn) -> Offer {
    let ranges = map.range_checksums();
    Offer {
        database: hosted.id,
        name: hosted.name.clone(),
        page_size: map.page_size(),
        size_in_pages: map.size(),
        at,
        checksum: map.checksum(),
        ranges: if ranges.len() > RANGES_MOST { Vec::new() } else { ranges },
    }
}
