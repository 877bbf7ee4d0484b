//! The newest position that a snapshot of one database could contain.
//!
//! A commit becomes visible to readers a moment before the journal gives it an LSN. A reader in that moment must not
//! believe that it saw only what is older, so the writer raises a flag before the commit can become visible and
//! lowers it when the LSN is known.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use counterpart_core::Lsn;
use tokio::{runtime::Handle, sync::Notify};

/// One database's newest visible position.
#[derive(Default)]
pub struct Visibility {
    last: AtomicU64,
    capturing: AtomicBool,
    captured: Notify,
}

impl Visibility {
    /// A commit is about to become visible. Called by the holder of the write permit, before SQLite commits.
    pub fn begin_capture(&self) {
        self.capturing.store(true, Ordering::SeqCst);
    }

    /// The capture is over: the commit got `lsn`, or there was none.
    pub fn end_capture(&self, lsn: Option<Lsn>) {
        if let Some(lsn) = lsn {
            self.last.fetch_max(lsn.0, Ordering::SeqCst);
        }
        if self.capturing.swap(false, Ordering::SeqCst) {
            self.captured.notify_waiters();
        }
    }

    /// The newest LSN given to a commit of this database.
    #[must_use]
    pub fn last(&self) -> Lsn {
        Lsn(self.last.load(Ordering::SeqCst))
    }

    /// Forgets what was visible: the database's content was replaced as a whole and ends at `lsn`.
    pub fn reset(&self, lsn: Lsn) {
        self.last.store(lsn.0, Ordering::SeqCst);
        self.end_capture(None);
    }

    /// The newest LSN that a snapshot taken before this call could contain.
    pub async fn newest(&self) -> Lsn {
        loop {
            let captured = self.captured.notified();
            if !self.capturing.load(Ordering::SeqCst) {
                return self.last();
            }
            captured.await;
        }
    }

    /// [`newest`](Self::newest) for a thread that may block.
    pub fn newest_blocking(&self, io: &Handle) -> Lsn {
        // As good as always, and without a look at the runtime.
        if !self.capturing.load(Ordering::SeqCst) {
            return self.last();
        }
        io.block_on(self.newest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_during_a_capture_waits_for_its_lsn() {
        let visibility = Visibility::default();
        visibility.end_capture(Some(Lsn(3)));
        assert_eq!(visibility.newest().await, Lsn(3));
        visibility.begin_capture();
        let (newest, ()) = tokio::join!(visibility.newest(), async {
            tokio::task::yield_now().await;
            visibility.end_capture(Some(Lsn(4)));
        });
        assert_eq!(newest, Lsn(4));
    }

    #[tokio::test]
    async fn a_commit_that_came_to_nothing_changes_nothing() {
        let visibility = Visibility::default();
        visibility.end_capture(Some(Lsn(3)));
        visibility.begin_capture();
        visibility.end_capture(None);
        assert_eq!(visibility.newest().await, Lsn(3));
    }
}
