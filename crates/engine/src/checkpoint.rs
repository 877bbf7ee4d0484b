//! Checkpoint: WAL pages go into the database file, and the file to the disk.
//!
//! SQLite copies whatever is committed when it begins to, and only that, while others write on. So whoever calls this
//! holds the write permit until it begins, and has waited until every event that is in the WAL then is final; for the
//! last pages, after which the WAL begins anew, the permit is held to the end. The file is synced through SQLite's own
//! handle, never through another descriptor.

use rusqlite::ffi;

use crate::{
    database::{Database, wal_checkpoint},
    error::{SqlError, code},
    map::FoldError,
    vfs,
};

/// Why a checkpoint failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// SQLite could not copy or sync. After an error of the sync nothing is known about the file: never try again,
    /// recover.
    #[error(transparent)]
    Sqlite(#[from] SqlError),
    /// The WAL was copied, and is not what was committed.
    #[error(transparent)]
    Differs(#[from] FoldError),
}

impl From<CheckpointError> for SqlError {
    fn from(error: CheckpointError) -> SqlError {
        match error {
            CheckpointError::Sqlite(error) => error,
            CheckpointError::Differs(error) => SqlError::new(code::DATA_DAMAGED, error.to_string()),
        }
    }
}

/// What a checkpoint did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Frames in the WAL when it began.
    pub wal_frames: u32,
    /// Frames of these that are in the database file.
    pub copied_frames: u32,
    /// Whether these are all. If not, a reader pins the WAL.
    pub complete: bool,
}

impl Database {
    /// Copies what readers allow from the WAL into the file, and makes it durable. Nobody may write meanwhile.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn checkpoint(&self) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = self.copy_rest()?;
        self.sync()?;
        Ok(checkpoint)
    }

    /// Copies what readers allow from the WAL into the file, as of when it begins, and others may write on from then: just
    /// before the first page is written, `begun` is called on this thread, and no page is written before it returns, nor
    /// if it returns `false`. It is not called if there is nothing to copy. After every 256 KiB `between` is called, which may
    /// leave the machine to others for a while. Not durable before [`sync`](Self::sync).
    ///
    /// # Errors
    /// What SQLite says: `SQLITE_INTERRUPT` if it was not to go on.
    pub fn copy_beside_writers(
        &self,
        begun: impl FnOnce() -> bool + 'static,
        between: impl Fn() + 'static,
    ) -> Result<Checkpoint, SqlError> {
        let keeper = self.keeper()?;
        let interrupt = keeper.get_interrupt_handle();
        let begun = move || {
            if !begun() {
                interrupt.interrupt();
            }
        };
        vfs::when_copying(begun, between, || passive(&keeper))
    }

    /// Copies what readers allow from the WAL into the file. Nobody may write meanwhile; once it is complete, the next
    /// write begins the WAL anew. Not durable before [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn copy_rest(&self) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = passive(&*self.keeper()?)?;
        if checkpoint.complete {
            self.fold_map()?;
        }
        Ok(checkpoint)
    }

    fn fold_map(&self) -> Result<(), FoldError> {
        self.map().map_or(Ok(()), |map| map.lock().fold())
    }

    /// Cuts the WAL file to nothing, after a complete checkpoint, if nobody reads from it. `false` if somebody does.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn truncate_wal(&self) -> Result<bool, CheckpointError> {
        let keeper = self.keeper()?;
        match wal_checkpoint(&keeper, ffi::SQLITE_CHECKPOINT_TRUNCATE) {
            Ok(_) => self.fold_map().map(|()| true).map_err(CheckpointError::from),
            Err(error) if error.code.starts_with("SQLITE_BUSY") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Copies from the WAL into the file without waiting for anybody.
fn passive(keeper: &rusqlite::Connection) -> Result<Checkpoint, SqlError> {
    let (wal_frames, copied_frames) = wal_checkpoint(keeper, ffi::SQLITE_CHECKPOINT_PASSIVE)?;
    Ok(Checkpoint { wal_frames, copied_frames, complete: wal_frames == copied_frames })
}

/// Syncs the main database file through SQLite's own descriptor.
pub(crate) fn sync_file(db: &rusqlite::Connection) -> Result<(), SqlError> {
    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    // SAFETY: the connection is open and this thread has it; SQLite stores a pointer to its own file object,
    // which lives as long as the connection, and whose methods are those of the VFS.
    let result = unsafe {
        let target = std::ptr::from_mut(&mut file).cast();
        let op = ffi::SQLITE_FCNTL_FILE_POINTER;
        match ffi::sqlite3_file_control(db.handle(), c"main".as_ptr(), op, target) {
            ffi::SQLITE_OK => {
                assert!(!file.is_null(), "an open database has a file");
                let methods = (*file).pMethods;
                let sync = (!methods.is_null()).then(|| (*methods).xSync).flatten();
                let sync = sync.expect("the file of an open database can be synced");
                sync(file, ffi::SQLITE_SYNC_NORMAL)
            }
            failed => failed,
        }
    };
    if result == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(SqlError::sqlite(result, "the database file could not be synced".to_owned()))
}
