//! The only place of the project that fsyncs, renames or pre-allocates.
//!
//! Everything that has to survive a crash goes through here, so that one file tells which system calls make it
//! so, and a simulated disk can be put under the real journal. It must never retry an fsync: after a failed one
//! the kernel may have dropped the dirty pages and report success for data that is gone.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

mod lock;
#[cfg(feature = "simulated")]
pub mod memory;
mod real;

pub use lock::{DirectoryLock, LOCK_FILE, LockError, lock_directory};
pub use real::{
    RealDisk, append_private, atomic_write, free_bytes, rename_durably, sync_dir, sync_file,
    write_private,
};

/// The files and directories that the journal and the control file need of a machine.
///
/// - Creating, renaming and removing are durable after [`sync_dir`](Disk::sync_dir) of the directory, not before.
/// - Paths are used as given; no implementation interprets them beyond splitting off the last part.
pub trait Disk: Send + Sync {
    /// Makes an empty file.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, atomically replacing what had it.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives two files each other's names, atomically.
    ///
    /// # Errors
    /// `Unsupported` where the file system cannot; `NotFound`, or what the system says.
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the directory's entries durable.
    ///
    /// # Errors
    /// What the system says; the state of the entries is unknown then.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in a directory, in no particular order.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a directory and those above it, durably; no error if it is there.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that can still be allocated on the file system of `dir`.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file. Any number of threads may use it at once.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`; durable only after [`sync_data`](DiskFile::sync_data).
    ///
    /// # Errors
    /// What the system says; any part of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `bytes` from `offset`, as far as the file goes; the number of bytes read.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Makes the file's bytes and length durable (not its name).
    ///
    /// # Errors
    /// What the system says. Never call it again after an error: success would prove nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file to `length` bytes, or extends it with zeros.
    ///
    /// # Errors
    /// What the system says.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Extends the file to `length` bytes that read as zeros and whose space on the disk is taken already; durably,
    /// so that syncing what is written there later syncs nothing else. If that takes long, it is done in steps, and
    /// `between` is called between them: whoever has time leaves the disk to others for a while.
    ///
    /// # Errors
    /// `StorageFull`, or what the system says.
    fn preallocate(&self, length: u64, between: &dyn Fn()) -> io::Result<()>;
}

/// Replaces a small file as a whole: after a crash at any moment it has the old content or the new, and after
/// this returns the new.
///
/// # Errors
/// What the system says; the file then has the old content or the new.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_made_by(disk, path, bytes, |path| disk.create(path))
}

/// [`replace`], with a file that somebody else creates.
fn replace_made_by(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
    create: impl FnOnce(&Path) -> io::Result<Arc<dyn DiskFile>>,
) -> io::Result<()> {
    let parent = parent(path)?;
    let temporary = beside(path, ".new");
    // A crash may have left one behind; its content means nothing.
    remove_if_there(disk, &temporary)?;
    let file = create(&temporary)?;
    file.write_at(0, bytes)?;
    file.sync_data()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(parent)
}

/// Replaces a small file like [`replace`], and goes on being able to when the disk is full.
///
/// What is written is the file that was replaced the last time: it waits beside `path` with its space taken. The
/// bytes should always be of one length, since a file that grows needs space. On a file system that cannot exchange
/// two names this is `replace`. After an error it must not be called again for this file in the same process.
///
/// # Errors
/// What the system says; the file then has the old content or the new.
pub fn replace_in_turn(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = parent(path)?;
    let spare = beside(path, ".spare");
    let write = || {
        let file = disk.open(&spare)?;
        file.write_at(0, bytes)?;
        if file.length()? != bytes.len() as u64 {
            file.set_length(bytes.len() as u64)?;
        }
        file.sync_data()?;
        disk.exchange(&spare, path)?;
        disk.sync_dir(parent)
    };
    match write() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            return replace(disk, path, bytes);
        }
        done => return done,
    }
    replace(disk, path, bytes)?;
    replace(disk, &spare, bytes)
}

/// The path of a file with something added to its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Removes a file; it is no error if it is not there.
///
/// # Errors
/// What the system says.
pub fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a directory of the real disk with all that is in it; it is no error if it is not there.
///
/// # Errors
/// What the system says.
pub fn remove_dir_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether an error says that there is no space left, for everybody or for this user.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reads a small file as a whole.
///
/// # Errors
/// `NotFound`, or what the system says.
pub fn read_whole(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The directory that holds `path`.
fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} names no file in a directory", path.display()),
        )
    })
}
