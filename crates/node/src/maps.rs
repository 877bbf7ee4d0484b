//! The page map of each database: found or made before anything else opens the file, saved when the file is whole.
//!
//! A map that is missing or damaged is made anew from the file's pages. That trusts the file, so what comes of it is
//! compared with what the journal or the control file says of the database before anybody is served.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use counterpart_core::{DatabaseId, Lsn, PageSize};
use counterpart_engine::DatabaseMap;
use counterpart_journal::{sync_dir, sync_file};

use crate::databases::file_path;

/// Pages hashed between two lines of progress in the log.
const REPORT_EVERY: u32 = 1 << 18;

/// The file of a database's map.
#[must_use]
pub(crate) fn map_path(directory: &Path, id: DatabaseId) -> PathBuf {
    directory.join(format!("{}.map", id.0))
}

/// The map of a database whose file stands. Pages of which nothing is known are hashed, and count as changed at
/// `position`, which must be at or above every change in the file. `None` if nothing says how large its pages are, so
/// that SQLite will not open it either.
///
/// # Errors
/// What the file system says.
pub(crate) fn open(
    directory: &Path,
    id: DatabaseId,
    position: Lsn,
) -> io::Result<Option<Arc<DatabaseMap>>> {
    let path = file_path(directory, id);
    if let Some(map) = DatabaseMap::of(&path) {
        return Ok(Some(map));
    }
    match DatabaseMap::page_size_of(&path, &map_path(directory, id), id)? {
        Some(page_size) => open_with(directory, id, page_size, position).map(Some),
        None => Ok(None),
    }
}

/// The same for a file whose page size is known, and which is made if it is not there.
///
/// # Errors
/// What the file system says.
pub(crate) fn open_with(
    directory: &Path,
    id: DatabaseId,
    page_size: PageSize,
    position: Lsn,
) -> io::Result<Arc<DatabaseMap>> {
    let path = file_path(directory, id);
    if let Some(map) = DatabaseMap::of(&path) {
        return Ok(map);
    }
    std::fs::File::options().create(true).append(true).open(&path).map(drop)?;
    let (map, loaded) = DatabaseMap::open(&path, &map_path(directory, id), id, page_size)?;
    if let Some(why) = loaded.why.filter(|_| loaded.unknown_pages > 0) {
        tracing::info!(database = %id, pages = loaded.unknown_pages, why, "building the page map");
    }
    if loaded.unknown_pages > 0 {
        map.rebuild(position, &mut |done, of| {
            if done.is_multiple_of(REPORT_EVERY) && done > 0 {
                let percent = u64::from(done) * 100 / u64::from(of);
                tracing::info!(database = %id, pages = done, of, percent, "building the page map");
            }
        })?;
    }
    Ok(map)
}

/// Makes the map of what the file holds durable; the file holds everything up to `at`.
///
/// # Errors
/// What the file system says.
pub(crate) fn save(map: &DatabaseMap, at: Lsn) -> io::Result<()> {
    let is_new = !map.map_path().exists();
    let path = map.save(at)?;
    sync_file(path)?;
    match path.parent().filter(|_| is_new) {
        Some(directory) => sync_dir(directory),
        None => Ok(()),
    }
}
