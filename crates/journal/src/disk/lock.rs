//! One server per data directory: two would write the same journal.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// The name of the lock file in the data directory. It holds the server's process id as text.
pub const LOCK_FILE: &str = "counterpart.lock";

/// Holds a data directory for this process; released when dropped, and by the system when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// Why a data directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "{} is in use by another server{}; stop that one first, or give this one a directory of its own",
        dir.display(),
        pid.map_or(String::new(), |pid| format!(" (process {pid})"))
    )]
    LockedBy {
        /// The data directory.
        dir: PathBuf,
        /// Who has it; `None` in the instant before it has written its id.
        pid: Option<u32>,
    },
    /// The lock file could not be used.
    #[error("cannot lock {}: {source}", dir.display())]
    Io {
        /// The data directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Takes `dir`, which must exist, for this process.
///
/// # Errors
/// [`LockError::LockedBy`] when another server has it.
pub fn lock_directory(dir: &Path) -> Result<DirectoryLock, LockError> {
    let failed = |source| LockError::Io { dir: dir.to_owned(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(LOCK_FILE))
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(failed)?;
            return Err(LockError::LockedBy { dir: dir.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(error) => return Err(failed(error.into())),
    }
    // The id is for people; the lock itself is the system's, so nothing here needs to be durable.
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(DirectoryLock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_told_the_process_id_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock_directory(dir.path()).unwrap();
        let error = lock_directory(dir.path()).unwrap_err();
        assert!(
            matches!(error, LockError::LockedBy { pid: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        lock_directory(dir.path()).unwrap();
    }
}
