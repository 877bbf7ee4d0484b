//! The directory that a restore writes into, and the file in it that says that not all is there yet.
//!
//! That file comes first and goes last. Whoever finds it without a control file knows that everything beside it is a
//! restore's, to be thrown away by the next one; nothing else is ever deleted here.

use std::{io, path::Path, sync::Arc};

use counterpart_journal::{
    Disk, atomic_write,
    disk::{LOCK_FILE, remove_if_there},
    sync_dir,
};

use super::RestoreError;
use crate::databases::database_file;

/// There while a restore is not at its end.
const UNFINISHED: &str = "restoring";

/// Says that a restore has begun.
pub(super) fn begin(data: &Path) -> io::Result<()> {
    atomic_write(&data.join(UNFINISHED), b"")
}

/// Whether a restore into this directory has not come to its end.
pub(crate) fn is_unfinished(data: &Path) -> io::Result<bool> {
    Ok(data.join(UNFINISHED).try_exists()? && !data.join("control").try_exists()?)
}

/// With the control file there, all is there.
pub(crate) fn forget_finished(disk: &Arc<dyn Disk>, data: &Path) -> io::Result<()> {
    remove_if_there(disk.as_ref(), &data.join(UNFINISHED))
}

/// Nothing may be there but the lock, or what an interrupted restore has left.
pub(super) fn refuse_what_is_there(data: &Path) -> Result<(), RestoreError> {
    let failed = |cause| RestoreError::Io { path: data.to_owned(), cause };
    let unfinished = is_unfinished(data).map_err(failed)?;
    for item in std::fs::read_dir(data).map_err(failed)? {
        let name = item.map_err(failed)?.file_name();
        if name != LOCK_FILE && !(unfinished && name.to_str().is_some_and(is_ours)) {
            return Err(RestoreError::NotEmpty { path: data.to_owned() });
        }
    }
    Ok(())
}

/// Whether a restore makes files of this name.
fn is_ours(name: &str) -> bool {
    ["journal", UNFINISHED].contains(&name) || database_file(name).is_some()
}

/// Deletes what an interrupted restore has left; at last the file that says so.
pub(super) fn clear(data: &Path) -> io::Result<()> {
    if !is_unfinished(data)? {
        return Ok(());
    }
    for item in std::fs::read_dir(data)? {
        let item = item?;
        match item.file_name().to_str() {
            Some("journal") => std::fs::remove_dir_all(item.path())?,
            Some(name) if name != UNFINISHED && is_ours(name) => {
                std::fs::remove_file(item.path())?;
            }
            _ => {}
        }
    }
    sync_dir(data)?;
    std::fs::remove_file(data.join(UNFINISHED))
}
