//! Recent images: the previous versions of pages, which capture makes deltas from, and apply pages from deltas.
//!
//! One per server, bounded in bytes; what was not put in for the longest time goes first. A page that is not in it is
//! journaled as an image, or its previous version is read from the copy, neither of which is ever wrong. What must never
//! happen is that it holds something else than the page as the last commit left it: a delta upon that fits no copy. Hence:
//!
//! - images belong to a lineage: an unbroken row of commits that were captured, or applied, of one opened database.
//!   Whatever breaks the row begins another one, and the images of the old one are never asked for again;
//! - whoever takes an image out puts in what the page has become, or nothing.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use counterpart_core::{
    Lsn, PageNo,
    record::{Draft, PageEncoder, TransactionDraft},
};
use lru::LruCache;

/// See the module's head.
pub struct RecentImages {
    limit: usize,
    lineages: AtomicU64,
    state: Mutex<State>,
}

/// An unbroken row of captured commits of one database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Lineage(u64);

/// A page as its last captured commit left it.
struct RecentImage {
    /// The newest mark before that commit.
    mark: Lsn,
    bytes: Box<[u8]>,
}

struct State {
    images: LruCache<(Lineage, PageNo), RecentImage>,
    /// Of all images.
    bytes: usize,
    /// Of captures that are over: there are as many as ever ran at once.
    encoders: Vec<PageEncoder>,
}

impl fmt::Debug for RecentImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentImages").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl RecentImages {
    /// Keeps so many bytes of images; with 0, all pages are journaled as images.
    #[must_use]
    pub fn new(limit: usize) -> RecentImages {
        let state = State { images: LruCache::unbounded(), bytes: 0, encoders: Vec::new() };
        RecentImages { limit, lineages: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// Bytes of images kept now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Begins a row of commits, of which nothing is known yet.
    pub(crate) fn lineage(&self) -> Lineage {
        Lineage(self.lineages.fetch_add(1, Relaxed))
    }

    /// Begins to journal a commit: of a lineage, after a mark, upon a database of so many pages.
    pub(crate) fn commit(
        &self,
        lineage: Lineage,
        mark: Lsn,
        before: u32,
        bytes: usize,
    ) -> Commit<'_> {
        // One large load must not push out the pages of all others.
        let welcome = bytes <= self.limit / 4;
        let encoder = self.lock().encoders.pop().unwrap_or_default();
        Commit { images: self, lineage, mark, before, welcome, encoder }
    }

    /// Takes out what a page was, to make of it what it becomes. It is not known here before it is given back.
    pub(crate) fn take_bytes(&self, lineage: Lineage, page: PageNo) -> Option<Box<[u8]>> {
        let mut state = self.lock();
        let image = state.images.pop(&(lineage, page))?;
        state.bytes -= image.bytes.len();
        Some(image.bytes)
    }

    /// Puts in what the pages of a batch have become for everybody, unless they are so many that they would push out
    /// those of all others.
    pub(crate) fn give(&self, lineage: Lineage, pages: Vec<(u32, Box<[u8]>)>) {
        let size: usize = pages.iter().map(|(_, bytes)| bytes.len()).sum();
        if size > self.limit / 4 {
            return;
        }
        let mut state = self.lock();
        state.make_room(self.limit, size, drop);
        for (number, bytes) in pages {
            state.insert((lineage, PageNo(number)), RecentImage { mark: Lsn::ZERO, bytes });
        }
    }

    /// Takes an image out. Its place stays, for what is put in at once.
    fn take(&self, lineage: Lineage, page: PageNo) -> Option<RecentImage> {
        let mut state = self.lock();
        let there =
            state.images.get_mut(&(lineage, page)).filter(|image| !image.bytes.is_empty())?;
        let image = RecentImage { mark: there.mark, bytes: std::mem::take(&mut there.bytes) };
        state.bytes -= image.bytes.len();
        Some(image)
    }

    /// Puts an image in, in `room` or in the room of those that have to go.
    fn put(&self, key: (Lineage, PageNo), mark: Lsn, image: &[u8], room: Option<Box<[u8]>>) {
        let fill = |mut room: Box<[u8]>| {
            room.copy_from_slice(image);
            room
        };
        let mut bytes = room.map(fill);
        let mut state = self.lock();
        let there_is_room = state.make_room(self.limit, image.len(), |gone| {
            if bytes.is_none() && gone.len() == image.len() {
                bytes = Some(fill(gone));
            }
        });
        if there_is_room {
            let bytes = bytes.unwrap_or_else(|| image.into());
            state.insert(key, RecentImage { mark, bytes });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets images go until there is room for so many bytes within the limit; `false` if there is not even then.
    fn make_room(&mut self, limit: usize, bytes: usize, mut gone: impl FnMut(Box<[u8]>)) -> bool {
        while self.bytes + bytes > limit {
            let Some((_, oldest)) = self.images.pop_lru() else { return false };
            self.bytes -= oldest.bytes.len();
            gone(oldest.bytes);
        }
        true
    }

    fn insert(&mut self, key: (Lineage, PageNo), image: RecentImage) {
        self.bytes += image.bytes.len();
        let before = self.images.put(key, image);
        self.bytes -= before.map_or(0, |before| before.bytes.len());
    }
}

/// A commit on its way into the journal. Its lineage has no other one meanwhile.
pub(crate) struct Commit<'a> {
    images: &'a RecentImages,
    lineage: Lineage,
    mark: Lsn,
    before: u32,
    welcome: bool,
    encoder: PageEncoder,
}

impl Commit<'_> {
    /// Adds a page to the draft: as a delta if a commit since the newest mark has journaled it, and it is in the database
    /// still. What was cut off meanwhile is in no copy any more. A full chunk is returned.
    pub(crate) fn push(
        &mut self,
        draft: &mut TransactionDraft,
        page: PageNo,
        image: &[u8],
    ) -> Option<Draft> {
        if page == PageNo(1) {
            return draft.push_version(page, None, image, &mut self.encoder);
        }
        let previous = self.images.take(self.lineage, page);
        let fits = |previous: &&RecentImage| previous.mark == self.mark && page.0 <= self.before;
        let base = previous.as_ref().filter(fits).map(|previous| &previous.bytes[..]);
        let full = draft.push_version(page, base, image, &mut self.encoder);
        if previous.is_some() || self.welcome {
            let room = previous.map(|previous| previous.bytes);
            self.images.put((self.lineage, page), self.mark, image, room);
        }
        full
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        self.images.lock().encoders.push(std::mem::take(&mut self.encoder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a mirror took out for a batch that was too large to be given back left a place for each page, for good.
    #[test]
    fn places_of_images_that_are_gone_are_bounded_too() {
        let recent = RecentImages::new(1 << 20);
        let lineage = recent.lineage();
        for round in 0..200u32 {
            let numbers = round * 240..(round + 1) * 240;
            for some in numbers.clone().collect::<Vec<_>>().chunks(60) {
                let pages = some.iter().map(|number| (number + 2, vec![1; 4096].into())).collect();
                recent.give(lineage, pages);
            }
            // As an applier does for a batch of 240 pages, which are more than a quarter of the room.
            for number in numbers {
                assert!(recent.take_bytes(lineage, PageNo(number + 2)).is_some());
            }
            assert_eq!(recent.bytes(), 0);
        }
        let places = recent.lock().images.len();
        assert!(places <= (1 << 20) / 4096, "{places} places, and not one image");
    }
}
