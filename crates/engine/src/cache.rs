//! Larger page caches, for connections that write.
//!
//! SQLite forgets what a connection has cached once another one writes. So of a database's connections only the one that wrote
//! last makes use of a cache that holds more than a few statements need; and if many databases are written to, memory is
//! there for some of them. The others read from files, which are most likely in the system's memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::error::SqlError;

/// Kibibytes of a larger cache.
const LARGE_KIB: u32 = 12 << 10;

/// The larger caches of a server: so many may be in use at a time.
#[derive(Debug)]
pub struct PageCaches(AtomicUsize);

impl PageCaches {
    /// As many as fit into so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> PageCaches {
        PageCaches(AtomicUsize::new(bytes / ((LARGE_KIB as usize) << 10)))
    }

    fn take(self: &Arc<Self>) -> Option<LargeCache> {
        let taken = self.0.fetch_update(Relaxed, Relaxed, |free| free.checked_sub(1));
        taken.is_ok().then(|| LargeCache(Arc::clone(self)))
    }
}

/// The right to a larger cache.
#[derive(Debug)]
pub(crate) struct LargeCache(Arc<PageCaches>);

impl LargeCache {
    /// Lets a connection cache more of a schema's database, if one of the larger caches is left.
    ///
    /// # Errors
    /// What SQLite says; the cache is as it was.
    pub(crate) fn give(
        caches: &Arc<PageCaches>,
        db: &rusqlite::Connection,
        schema: &str,
    ) -> Result<Option<LargeCache>, SqlError> {
        let large = caches.take();
        if large.is_some() {
            set_size(db, schema, LARGE_KIB)?;
        }
        Ok(large)
    }
}

impl Drop for LargeCache {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Relaxed);
    }
}

/// Sets how much of a schema's database a connection may cache. What is beyond it is forgotten.
pub(crate) fn set_size(db: &rusqlite::Connection, schema: &str, kib: u32) -> Result<(), SqlError> {
    Ok(db.execute_batch(&format!("PRAGMA {schema}.cache_size=-{kib}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_fit_and_those_that_are_given_back_are_given_again() {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        let size =
            || db.query_row("PRAGMA main.cache_size", [], |row| row.get::<_, i64>(0)).unwrap();
        let usual = size();
        let caches = Arc::new(PageCaches::new((2 * LARGE_KIB as usize + 1) << 10));
        let give = || LargeCache::give(&caches, &db, "main").unwrap();
        let (one, two) = (give(), give());
        assert!(one.is_some() && two.is_some());
        assert_eq!(size(), -i64::from(LARGE_KIB));
        set_size(&db, "main", 2_000).unwrap();
        assert!(give().is_none());
        assert_eq!((size(), usual), (-2_000, -2_000));
        drop(one);
        assert!(give().is_some());
    }
}
