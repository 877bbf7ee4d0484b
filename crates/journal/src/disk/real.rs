//! The machine's own disk, through the system calls that say exactly what is durable afterwards.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{CWD, FallocateFlags, RenameFlags, fallocate, fdatasync, fsync, renameat_with, statvfs},
    io::Errno,
};

use super::{Disk, DiskFile, parent, replace, replace_made_by};

/// The machine's file systems.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile(File);

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::rename(from, to)?)
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
            // The kernel answers INVAL for a file system that does not know the flag.
            Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
            other => Ok(other?),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // `Path::parent` of a bare file name is the empty path, which no system call accepts.
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        Ok(fsync(File::open(dir)?)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // The journal writes only plain names; one that is not UTF-8 cannot be of its making.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> =
            dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
        fs::create_dir_all(dir)?;
        // Each new directory is an entry of the one above it.
        for made in missing {
            self.sync_dir(parent(made)?)?;
        }
        Ok(())
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match self.0.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(fdatasync(&self.0)?)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn preallocate(&self, length: u64, between: &dyn Fn()) -> io::Result<()> {
        let have = self.length()?;
        if have >= length {
            return Ok(());
        }
        match fallocate(&self.0, FallocateFlags::empty(), have, length - have) {
            // A file system that has no call for it: the zeros take the space.
            Err(Errno::OPNOTSUPP) => {}
            other => other?,
        }
        fill_with_zeros(&self.0, have, length, between)
    }
}

/// Writes the zeros that an allocation only promises.
///
/// A sync of a block that was allocated and never written must change the file system's own records too. That costs
/// a third more, and a file system that is shut down by an error in that moment has been seen to report success for
/// what a remount then reads as zeros.
fn fill_with_zeros(file: &File, from: u64, to: u64, between: &dyn Fn()) -> io::Result<()> {
    // Synced in steps, so that a commit that is synced meanwhile never waits for all of it.
    const STEP: usize = 256 << 10;
    let zeros = vec![0; STEP];
    let mut at = from;
    while at < to {
        let step = usize::try_from(to - at).unwrap_or(STEP).min(STEP);
        file.write_all_at(&zeros[..step], at)?;
        fdatasync(file)?;
        at += step as u64;
        between();
    }
    Ok(())
}

/// Makes the bytes and the length of a file durable.
///
/// Never for a file that SQLite has open in this process: closing the descriptor would drop SQLite's locks.
///
/// # Errors
/// What the system says.
pub fn sync_file(path: &Path) -> io::Result<()> {
    Ok(fdatasync(OpenOptions::new().read(true).open(path)?)?)
}

/// Makes the entries of a directory durable: files created, renamed or removed in it.
///
/// # Errors
/// What the system says.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    RealDisk.sync_dir(path)
}

/// Replaces a small file as a whole, durably; see [`replace`].
///
/// # Errors
/// What the system says; the file then has the old content or the new.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(&RealDisk, path, bytes)
}

/// Replaces a small file as a whole, durably, by one that only its owner can read; see [`replace`].
///
/// # Errors
/// What the system says; the file then has the old content or the new.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_made_by(&RealDisk, path, bytes, |path| {
        // Private from its first moment.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Arc::new(RealFile(file)))
    })
}

/// Adds to the end of a small file that only its owner can read, durably; it is made if it is not there. A crash meanwhile may
/// leave a part of what was added.
///
/// # Errors
/// What the system says; a part may have been added.
pub fn append_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, bytes)?;
    fdatasync(&file)?;
    match is_new {
        true => RealDisk.sync_dir(parent(path)?),
        false => Ok(()),
    }
}

/// Renames a file, replacing what had the name, and makes that durable. Its content must have been synced.
///
/// # Errors
/// What the system says.
pub fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    RealDisk.rename(from, to)?;
    let (old, new) = (parent(from)?, parent(to)?);
    RealDisk.sync_dir(new)?;
    if old != new {
        RealDisk.sync_dir(old)?;
    }
    Ok(())
}

/// Bytes that an ordinary user can still allocate on the file system of `path`.
///
/// # Errors
/// What the system says.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    RealDisk.free_bytes(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::replace_in_turn;

    #[test]
    fn a_private_file_is_its_owners_alone_whatever_was_there_before() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "something longer, for everybody").unwrap();
        write_private(&path, b"secret").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"secret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_private(&dir.path().join("no/such"), b"").is_err());
        append_private(&path, b" and more").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"secret and more");
        let other = dir.path().join("other");
        append_private(&other, b"first").unwrap();
        assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_replaced_file_has_the_new_content_and_leaves_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small");
        atomic_write(&path, b"one").unwrap();
        // What a crash in the middle of a replacement leaves must not stop the next one.
        fs::write(dir.path().join("small.new"), b"half").unwrap();
        atomic_write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["small"]);
    }

    #[test]
    fn a_file_replaced_in_turn_has_the_new_content_and_the_last_one_waits_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small");
        for (new, last) in [(b"one", b"one"), (b"two", b"one"), (b"few", b"two")] {
            replace_in_turn(&RealDisk, &path, new).unwrap();
            assert_eq!(fs::read(&path).unwrap(), new);
            assert_eq!(fs::read(dir.path().join("small.spare")).unwrap(), last);
        }
        replace_in_turn(&RealDisk, &path, b"longer").unwrap();
        replace_in_turn(&RealDisk, &path, b"s").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"s");
    }

    #[test]
    fn preallocated_bytes_read_as_zeros_and_what_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&dir.path().join("f")).unwrap();
        file.write_at(0, b"abc").unwrap();
        file.preallocate(10_000, &|| {}).unwrap();
        assert_eq!(file.length().unwrap(), 10_000);
        let mut bytes = vec![1; 20_000];
        assert_eq!(file.read_at(0, &mut bytes).unwrap(), 10_000);
        assert_eq!(&bytes[..3], b"abc");
        assert!(bytes[3..10_000].iter().all(|&b| b == 0));
    }

    #[test]
    fn directories_are_made_with_those_above_them() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        RealDisk.create_dir(&deep).unwrap();
        RealDisk.create_dir(&deep).unwrap();
        assert!(deep.is_dir());
        assert!(free_bytes(&deep).unwrap() > 0);
    }
}
