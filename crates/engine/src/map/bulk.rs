//! Writing a whole database file from one end to the other, past the system's cache.
//!
//! Memory for the cache has to be found, and what is in it is copied once more and looked for when it is written back: that
//! costs more than everything else that is done to a page of a seed. It would also push out what others read.
//! It must never be used for a file that SQLite has open.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    sync::Arc,
};

use counterpart_core::{Lsn, PageNo};

use super::DatabaseMap;

/// What addresses, offsets and lengths must be multiples of: of the disk's blocks, whose size is at most this.
const BLOCK: usize = 4_096;

/// Writes runs of pages into a database file, and into its map what they are.
pub struct BulkWriter {
    map: Arc<DatabaseMap>,
    /// The file without the cache; `None` where the file system has no such thing.
    direct: Option<File>,
    /// For a run that is not where the disk can take it from: as long as the longest one, and a block.
    room: Vec<u8>,
}

impl std::fmt::Debug for BulkWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkWriter").field("map", &self.map).finish_non_exhaustive()
    }
}

impl BulkWriter {
    /// A writer into the file that this is the map of.
    ///
    /// # Errors
    /// What the file system says, except that it can't do without its cache.
    pub fn new(map: Arc<DatabaseMap>) -> io::Result<BulkWriter> {
        let opened = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&map.path);
        let direct = match opened {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => None,
            opened => Some(opened?),
        };
        Ok(BulkWriter { map, direct, room: Vec::new() })
    }

    /// The map of the file.
    #[must_use]
    pub fn map(&self) -> &Arc<DatabaseMap> {
        &self.map
    }

    /// As [`DatabaseMap::write_raw`].
    ///
    /// # Errors
    /// As [`DatabaseMap::write_raw`].
    ///
    /// # Panics
    /// As [`DatabaseMap::write_raw`].
    pub fn write(&mut self, first: PageNo, bytes: &[u8], changed: Lsn) -> io::Result<()> {
        let map = Arc::clone(&self.map);
        map.write_runs(first, bytes, changed, |page, run| {
            if self.write_direct(page, run)? { Ok(()) } else { map.write_page(page, run) }
        })
    }

    /// `false` if these bytes can't be written so: small pages begin and end within a block.
    fn write_direct(&mut self, page: PageNo, run: &[u8]) -> io::Result<bool> {
        let offset = self.map.offset(page);
        let whole = run.len().is_multiple_of(BLOCK) && offset.is_multiple_of(BLOCK as u64);
        let Some(file) = self.direct.as_ref().filter(|_| whole) else { return Ok(false) };
        let there = run.as_ptr().align_offset(BLOCK) == 0;
        // In a served file page 1 says that the database is in WAL mode.
        let bytes = if there && (page != PageNo(1) || run[18..20] == [2, 2]) {
            run
        } else {
            aligned(&mut self.room, run, page)
        };
        match file.write_all_at(bytes, offset) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                // Larger blocks, or a file system that says so late.
                self.direct = None;
                Ok(false)
            }
            written => written.map(|()| true),
        }
    }
}

/// The run copied to where the disk can take it from, and made what it must be in a served file.
fn aligned<'a>(room: &'a mut Vec<u8>, run: &[u8], page: PageNo) -> &'a [u8] {
    room.resize(room.len().max(run.len() + BLOCK), 0);
    let skipped = room.as_ptr().align_offset(BLOCK);
    let copy = &mut room[skipped..skipped + run.len()];
    copy.copy_from_slice(run);
    if page == PageNo(1) {
        copy[18..20].fill(2);
    }
    copy
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use counterpart_core::{DatabaseId, PageSize};

    use super::*;

    fn map(directory: &Path) -> Arc<DatabaseMap> {
        let path = directory.join("one.db");
        std::fs::write(&path, b"").unwrap();
        let map =
            DatabaseMap::open(&path, &directory.join("one.map"), DatabaseId(1), PageSize::DEFAULT);
        map.unwrap().0
    }

    /// A writer whose way past the cache leads to another file, which answers as no disk of this machine does.
    fn writer_to(file: &str, map: &Arc<DatabaseMap>) -> BulkWriter {
        let direct = Some(OpenOptions::new().write(true).open(file).unwrap());
        BulkWriter { map: Arc::clone(map), direct, room: Vec::new() }
    }

    #[test]
    fn what_a_full_disk_says_is_told_and_the_pages_are_not_taken_for_whole() {
        let directory = tempfile::tempdir().unwrap();
        let map = map(directory.path());
        let mut writer = writer_to("/dev/full", &map);
        let told = writer.write(PageNo(1), &[7; 8 * 4096], Lsn(3)).unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::StorageFull);
        assert!(writer.direct.is_some(), "a disk that is full can still be written past the cache");
        let read = map.read_settled(PageNo(1), 8, &mut bytes::BytesMut::new());
        assert_eq!(read.unwrap(), None);
    }

    #[test]
    fn a_file_that_refuses_only_when_it_is_written_to_is_written_through_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let map = map(directory.path());
        // It takes numbers only, and says so as a disk with larger blocks does.
        let mut writer = writer_to("/proc/self/oom_score_adj", &map);
        let pages = [7; 8 * 4096];
        writer.write(PageNo(1), &pages, Lsn(3)).unwrap();
        assert!(writer.direct.is_none());
        writer.write(PageNo(9), &pages, Lsn(3)).unwrap();
        let mut read = bytes::BytesMut::new();
        assert_eq!(map.read_settled(PageNo(2), 15, &mut read).unwrap(), Some(16));
        assert!(read[..] == [7; 15 * 4096]);
    }
}
