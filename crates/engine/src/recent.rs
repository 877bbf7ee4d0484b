//! Recent images: what pages were before, so that capture can say what changed in them.
//!
//! One per server, bounded in bytes; whatever was not captured for the longest time goes first. A page that is not in it
//! is journaled as an image, which is never wrong. What must never happen is that it holds something else than the page as
//! its last captured commit left it: a delta upon that fits no copy. Hence:
//!
//! - images belong to a lineage: an unbroken row of captured commits of one opened database. Whatever breaks the row
//!   begins another one, and the images of the old one are never asked for again;
//! - capture takes an image out and puts the new one in, or none; so does apply, whose copies have the same pages: it need
//!   not ask SQLite for what it has just written.

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
        self.take(lineage, page).map(|image| image.bytes)
    }

    /// Puts in what the pages of a batch have become for everybody, unless they are so many that they would push out
    /// those of all others.
    pub(crate) fn give(&self, lineage: Lineage, pages: Vec<(u32, Box<[u8]>)>) {
        let size: usize = pages.iter().map(|(_, bytes)| bytes.len()).sum();
        if size > self.limit / 4 {
            return;
        }
        let mut state = self.lock();
        while state.bytes + size > self.limit {
            let Some((_, oldest)) = state.images.pop_lru() else { break };
            state.bytes -= oldest.bytes.len();
        }
        for (number, bytes) in pages {
            state.bytes += bytes.len();
            let image = RecentImage { mark: Lsn::ZERO, bytes };
            let before = state.images.put((lineage, PageNo(number)), image);
            state.bytes -= before.map_or(0, |before| before.bytes.len());
        }
    }

    /// Takes an image out. Only its place stays.
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
        while state.bytes + image.len() > self.limit {
            let Some((_, oldest)) = state.images.pop_lru() else { return };
            state.bytes -= oldest.bytes.len();
            if bytes.is_none() && oldest.bytes.len() == image.len() {
                bytes = Some(fill(oldest.bytes));
            }
        }
        let bytes = bytes.unwrap_or_else(|| image.into());
        state.bytes += bytes.len();
        state.images.put(key, RecentImage { mark, bytes });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
            return draft.push_change(page, None, image, &mut self.encoder);
        }
        let known = self.images.take(self.lineage, page);
        let fits = |known: &&RecentImage| known.mark == self.mark && page.0 <= self.before;
        let previous = known.as_ref().filter(fits).map(|known| &known.bytes[..]);
        let full = draft.push_change(page, previous, image, &mut self.encoder);
        if known.is_some() || self.welcome {
            let room = known.map(|known| known.bytes);
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
